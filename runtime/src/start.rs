//! A node from its open data directory to its end: one pinned thread for each shard.
//!
//! In this order, so that nothing half-started is ever seen: ports, then shards (each recovers
//! its log, makes its ring, says that it is ready), then listeners are armed. Stopping is the
//! reverse, by one message to each shard.

use crate::data_dir::{DataDir, DataDirError, Identity};
use crate::driver::{
    About, Answers, ClusterInfo, Connections, Control, Disk, Driver, Engine, Io, LateDoorbell,
    Members, Membership, MeshEndpoint, NATIVE, Peers, RESP, SegmentMaps, State, create_segment,
    errno, free_bytes,
};
use crate::log::{self, Completion, Log, OpenError, Request, SegmentSizes};
use crate::mesh::{Controls, MeshLimits, mesh};
use crate::net::{self, HotRing, HotRingConfig, RingError};
use crate::session::resp::Limits;
use crate::settings::{Durability, Secret, Settings};
use glommio::{Placement, PoolPlacement};
use ringmain_core::drive::TurnSettings;
use ringmain_core::id::{Boot, NodeId, ShardIndex};
use ringmain_core::membership::member::{Contact, Member, Name};
use ringmain_core::membership::topology::{Operation, Topology};
use ringmain_core::node::{Node, NodeConfig};
use ringmain_core::prng::Prng;
use ringmain_core::ring::{Ring, RingConfig};
use ringmain_core::shard::ShardConfig;
use ringmain_core::wire::handshake::Keys;
use ringmain_core::wire::hello::Cluster;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest reply to a command of many keys, bytes.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// How long the admin port waits for the members.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// What a node starts from: its directory is open and its identity is on disk.
#[derive(Debug)]
pub struct NodeStart {
    /// The settings, checked.
    pub settings: Settings,
    /// The data directory, locked until the node has stopped.
    pub dir: Arc<DataDir>,
    /// Who the node is.
    pub identity: Identity,
    /// The secret of its cluster.
    pub secret: Secret,
    /// This process life, on disk.
    pub boot: Boot,
    /// The CPU of each shard; none leaves them unpinned.
    pub cpus: Option<Vec<u16>>,
    /// Where the admin port listens.
    pub admin: SocketAddr,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Port {
        /// Which setting names it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The data directory fails.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file `members` is damaged.
    #[error("the file members is damaged")]
    Members,
    /// The log of a shard cannot be opened.
    #[error("shard {shard}: {error}")]
    Log {
        /// Which shard.
        shard: u16,
        /// What is wrong with it.
        error: OpenError,
    },
    /// The files of a shard's log cannot be read or written.
    #[error("the log of shard {shard}: {error}")]
    Files {
        /// Which shard.
        shard: u16,
        /// Why.
        error: io::Error,
    },
    /// The host does not give a shard its ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The host does not give a thread.
    #[error("no shard can be started: {0}")]
    Threads(String),
}

/// A node that serves.
pub struct Running {
    /// Where RESP clients connect.
    pub resp: SocketAddr,
    /// Where native clients and peers connect.
    pub native: SocketAddr,
    controls: Controls<Control, LateDoorbell>,
    shards: Vec<JoinHandle<Result<(), RingError>>>,
}

/// A way to ask a running node for its status, and to stop it, from any thread.
#[derive(Clone)]
pub struct Handle(Controls<Control, LateDoorbell>);

impl Handle {
    /// Tells every shard to stop; [`Running::wait`] returns once they have.
    pub fn stop(&self) {
        stop_all(&self.0);
    }

    /// The JSON of `cluster status`; none if the node does not answer.
    pub fn status(&self) -> Option<String> {
        let (reply, answer) = sync_channel(1);
        self.0.control(ShardIndex(0), Control::Status(reply)).ok()?;
        answer.recv_timeout(STATUS_TIMEOUT).ok()
    }
}

impl Running {
    /// A way to reach it.
    pub fn handle(&self) -> Handle {
        Handle(self.controls.clone())
    }

    /// Waits until every shard has stopped.
    ///
    /// # Errors
    /// Why the first one that failed did.
    pub fn wait(self) -> Result<(), String> {
        for shard in self.shards {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("a shard panicked".into()),
            }
        }
        Ok(())
    }
}

fn stop_all(controls: &Controls<Control, LateDoorbell>) {
    for shard in (0..controls.shards()).map(ShardIndex) {
        // A shard whose queue is full at that moment is told again by the next signal.
        let _full = controls.control(shard, Control::Stop);
    }
}

/// Writes what makes an empty directory the first node of a cluster: the identity last.
///
/// # Errors
/// If the directory cannot be written.
pub fn found(
    dir: &DataDir,
    settings: &Settings,
    identity: &Identity,
    secret: &Secret,
) -> Result<(), DataDirError> {
    let mut storage = [[0; Operation::BYTES]; 1];
    let mut topology = Topology::new(&mut storage);
    let add = Operation::Add(member(settings, identity));
    topology.insert(&add).expect("one operation has room");
    dir.write_secret(secret)?;
    dir.write_members(&Members::founding(topology.operations()).to_bytes())?;
    dir.write_identity(identity)
}

/// Writes what makes an empty directory one of a node that wants to enter a cluster.
///
/// # Errors
/// If the directory cannot be written.
pub fn enter(dir: &DataDir, identity: &Identity, secret: &Secret) -> Result<(), DataDirError> {
    dir.write_secret(secret)?;
    dir.write_members(&Members::default().to_bytes())?;
    dir.write_identity(identity)
}

/// Starts a node. It serves when this returns. Signals are the caller's: a thread that exists
/// before they are blocked would take them, so `main` blocks them first of all.
///
/// # Errors
/// [`StartError`]; then nothing runs any more.
pub fn start(start: NodeStart) -> Result<Running, StartError> {
    let settings = &start.settings;
    let resp = bind("--resp-port", settings.listen, settings.resp_port)?;
    let native = bind("--port", settings.listen, settings.port)?;
    let addresses = (address_of(&resp)?, address_of(&native)?);
    let plan = Arc::new(Plan::new(start, addresses)?);
    let shards = usize::from(plan.start.identity.shards);
    let doorbells: Vec<_> = (0..shards).map(|_| LateDoorbell::default()).collect();
    let limits = MeshLimits::for_shards(plan.start.identity.shards);
    let endpoints: Vec<MeshEndpoint> = mesh(doorbells.clone(), limits);
    let controls = endpoints[0].controls();
    let (tell, told) = sync_channel(shards);
    let mut threads = Vec::new();
    for (endpoint, doorbell) in endpoints.into_iter().zip(doorbells) {
        let listeners = (clone(&resp)?, clone(&native)?);
        let begin = Begin { plan: Arc::clone(&plan), endpoint, doorbell, listeners };
        threads.push(spawn(begin, tell.clone())?);
    }
    drop(tell);
    if let Err(error) = all_ready(&told, shards) {
        stop_all(&controls);
        return Err(error);
    }
    Ok(Running { resp: addresses.0, native: addresses.1, controls, shards: threads })
}

fn all_ready(told: &Receiver<Result<(), StartError>>, shards: usize) -> Result<(), StartError> {
    for _ in 0..shards {
        told.recv().unwrap_or_else(|_| Err(StartError::Threads("a shard ended".into())))?;
    }
    Ok(())
}

fn bind(setting: &'static str, ip: IpAddr, port: u16) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(ip, port);
    TcpListener::bind(address).map_err(|error| StartError::Port { setting, address, error })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Threads(error.to_string()))
}

fn clone(listener: &TcpListener) -> Result<TcpListener, StartError> {
    listener.try_clone().map_err(|error| StartError::Threads(error.to_string()))
}

/// What all shards start from.
struct Plan {
    start: NodeStart,
    members: Members,
    keys: Keys,
    resp: SocketAddr,
    native: SocketAddr,
    dir: Arc<DataDir>,
    /// Handed to the shards with every change; its memory is lent for the process's life.
    ring: Arc<Mutex<Ring<'static>>>,
    started: std::time::Instant,
}

impl Plan {
    fn new(start: NodeStart, (resp, native): (SocketAddr, SocketAddr)) -> Result<Plan, StartError> {
        let bytes = start.dir.members()?.unwrap_or_default();
        let members = match bytes.as_slice() {
            [] => Members::default(),
            bytes => Members::from_bytes(bytes).ok_or(StartError::Members)?,
        };
        let keys = Keys::derive(start.secret.bytes()).expect("a Secret has at least 32 bytes");
        let ring_config = ring_config(&start.identity);
        let owners = vec![NodeId(0); ring_config.slot_count()].leak();
        let ring = Arc::new(Mutex::new(Ring::new(owners, ring_config)));
        let dir = Arc::clone(&start.dir);
        let started = std::time::Instant::now();
        Ok(Plan { start, members, keys, resp, native, dir, ring, started })
    }

    fn shard_config(&self, shard: ShardIndex) -> ShardConfig {
        let Identity { node, shards, partition_bits, r, w, .. } = self.start.identity;
        ShardConfig {
            node,
            boot: self.start.boot,
            shard,
            shards,
            partition_bits: partition_bits.into(),
            r,
            w,
            sync_before_ack: self.start.settings.durability == Durability::Always,
        }
    }

    fn turn_settings(&self) -> TurnSettings {
        let settings = &self.start.settings;
        TurnSettings {
            cluster_digest: self.start.identity.cluster.digest(),
            hash_seed: self.start.identity.cluster.hash_seed(),
            context_key: self.keys.context,
            request_timeout: settings.request_timeout,
            key_bytes_max: settings.max_key_bytes as usize,
            value_bytes_max: settings.max_value_bytes as usize,
        }
    }

    fn about(&self) -> About {
        let Identity { cluster, node, partition_bits, r, w, .. } = self.start.identity;
        let settings = &self.start.settings;
        About {
            node,
            name: settings.name.clone(),
            resp: self.resp,
            native: self.native,
            durability: match settings.durability {
                Durability::Always => "always".into(),
                Durability::Interval(every) => format!("interval:{}ms", every.as_millis()),
                Durability::None => "none".into(),
            },
            cluster,
            r,
            w,
            partition_bits: partition_bits.into(),
            hash_seed: cluster.hash_seed(),
            started: self.started,
        }
    }

    fn cluster_info(&self) -> ClusterInfo {
        let Identity { cluster, partition_bits, n, r, w, .. } = self.start.identity;
        let hash_seed = cluster.hash_seed();
        ClusterInfo {
            cluster: Cluster { id: cluster, hash_seed, partition_bits, n, r, w },
            keys: self.keys,
            secret_for_joiners: Some(self.start.secret.clone()),
        }
    }

    fn contact(&self) -> Contact {
        let ip = match self.start.settings.advertise {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Contact {
            node: self.start.identity.node,
            boot: self.start.boot,
            incarnation: 0,
            name: name(&self.start.settings.name),
            ip: ip.octets(),
            resp_port: self.resp.port(),
            native_port: self.native.port(),
            admin_port: self.start.admin.port(),
            shards: self.start.identity.shards,
        }
    }

    fn membership(&self, prng: &mut Prng) -> Membership {
        let settings = &self.start.settings;
        let identity = &self.start.identity;
        let ring = ring_config(identity);
        let member = member(settings, identity);
        let config = NodeConfig { member, ring, join: settings.join, seed: prng.next_u64() };
        let operations =
            vec![[0; Operation::BYTES]; ringmain_core::limits::OPERATION_COUNT_MAX].leak();
        let owners = vec![NodeId(0); ring.slot_count()].leak();
        Membership {
            node: Box::new(Node::new(config, operations, owners)),
            dir: Arc::clone(&self.dir),
            ring: Arc::clone(&self.ring),
            incoming: BTreeMap::new(),
            seeds: settings.seeds.clone(),
            next_seeds: (!settings.seeds.is_empty()).then_some(ringmain_core::time::Instant(0)),
            unheld: 0,
            all_empty: false,
            refused: None,
            told: None,
            shards: identity.shards,
        }
    }

    /// On the shard's own thread: opens its log, and makes it ready for appends.
    fn open_log(&self, shard: ShardIndex) -> Result<(Log<SegmentMaps>, Disk), StartError> {
        let files = |error| StartError::Files { shard: shard.0, error };
        let identity = log::Identity {
            cluster: self.start.identity.cluster,
            shard,
            shards: self.start.identity.shards,
            partition_bits: self.start.identity.partition_bits.into(),
        };
        let dir = self.dir.shard_dir(shard)?;
        let (mut disk, maps) = Disk::open(&dir).map_err(files)?;
        let recovered = log::recover(&identity, &maps.files())
            .map_err(|error| StartError::Log { shard: shard.0, error })?;
        if let Some(cut) = recovered.cut {
            let (segment, offset) = (cut.place.segment(), cut.place.offset());
            tracing::info!("{shard:?}: a torn tail was cut at segment {segment}, {offset}");
        }
        let durability = match self.start.settings.durability {
            Durability::Always => log::Durability::Always,
            Durability::Interval(every) => log::Durability::Interval(every),
            Durability::None => log::Durability::None,
        };
        let seed = self.started.elapsed().as_nanos() as u64 ^ self.start.boot.0 << 20;
        let config = log::Config { identity, durability, sizes: SegmentSizes::default(), seed };
        let mut log = Log::new(config, maps, recovered, free_bytes(&dir));
        make_ready(&mut log, &mut disk).map_err(files)?;
        Ok((log, disk))
    }
}

/// Does what a log that was just opened asks for, waiting for each.
fn make_ready(log: &mut Log<SegmentMaps>, disk: &mut Disk) -> io::Result<()> {
    let now = ringmain_core::time::Instant(1);
    while !log.is_ready() {
        let Some(request) = log.poll_request(now) else {
            return Err(io::Error::other("the log cannot be made ready"));
        };
        match request {
            Request::Create { segment, bytes, header } => {
                let made = create_segment(disk.dir(), segment, bytes, &header)?;
                disk.add(log.maps_mut(), made);
                log.handle_completion(Completion::Created { segment, result: Ok(()) });
            }
            Request::Write { segment, offset, buffer, then_sync } => {
                let completion = disk.write_inline(segment, offset, &buffer);
                drop(buffer);
                log.handle_completion(completion);
                if then_sync {
                    sync(log, disk, segment);
                }
            }
            Request::Sync { segment } => sync(log, disk, segment),
            Request::Remove { segment } => disk.remove(log.maps_mut(), segment),
        }
        if let Some(failure) = log.failure() {
            return Err(io::Error::other(failure.to_string()));
        }
    }
    Ok(())
}

fn sync(log: &mut Log<SegmentMaps>, disk: &Disk, segment: u32) {
    let file =
        disk.file(segment).map_or(Err(io::ErrorKind::NotFound.into()), |file| file.sync_data());
    let result = file.map_err(|error| errno(&error));
    log.handle_completion(Completion::Synced { result });
}

/// What one shard begins with.
struct Begin {
    plan: Arc<Plan>,
    endpoint: MeshEndpoint,
    doorbell: LateDoorbell,
    /// RESP, native.
    listeners: (TcpListener, TcpListener),
}

fn spawn(
    begin: Begin,
    tell: SyncSender<Result<(), StartError>>,
) -> Result<JoinHandle<Result<(), RingError>>, StartError> {
    let (plan, shard) = (&begin.plan, begin.endpoint.shard());
    let cpu = plan.start.cpus.as_ref().and_then(|cpus| cpus.get(usize::from(shard.0)).copied());
    let placement = cpu.map_or(Placement::Unbound, |cpu| Placement::Fixed(cpu.into()));
    let name = format!("shard-{}", shard.0);
    let run = move || {
        let pool = PoolPlacement::Unbound(1);
        let executor = net::executor(placement).blocking_thread_pool_placement(pool).make();
        let executor = match executor {
            Ok(executor) => executor,
            Err(error) => {
                let _gone = tell.send(Err(StartError::Threads(error.to_string())));
                return Ok(());
            }
        };
        executor.run(async move {
            match driver(begin) {
                Ok(driver) => {
                    let _gone = tell.send(Ok(()));
                    drop(tell);
                    driver.run().await
                }
                Err(error) => {
                    let _gone = tell.send(Err(error));
                    Ok(())
                }
            }
        })
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| StartError::Threads(error.to_string()))
}

/// Makes a shard, on its own thread.
fn driver(begin: Begin) -> Result<Driver, StartError> {
    let Begin { plan, endpoint: mesh, doorbell, listeners: (resp, native) } = begin;
    let shard = mesh.shard();
    let config = plan.shard_config(shard);
    let (log, disk) = plan.open_log(shard)?;
    let settings = &plan.start.settings;
    let connections = settings.max_connections.min(u32::from(u16::MAX));
    let ring = HotRingConfig { connection_count_max: connections, ..HotRingConfig::default() };
    let mut net = HotRing::new(ring)?;
    doorbell.0.set(net.doorbell()).expect("each shard sets its own, once");
    let mut prng = Prng::new(plan.start.boot.0 << 16 | u64::from(shard.0));
    let members = (shard == ShardIndex(0)).then(|| plan.membership(&mut prng));
    let peers = Peers::of(&config, prng.next_u64());
    let io = Io {
        connections: Connections::default(),
        peers,
        mesh,
        answers: Answers::default(),
        notices: Vec::new(),
        dirty: Vec::new(),
    };
    let engine = Engine::new(config, ring_config(&plan.start.identity), log, plan.turn_settings());
    let is_wildcard = settings.listen.is_unspecified();
    let limits = Limits {
        key_bytes_max: settings.max_key_bytes as usize,
        value_bytes_max: settings.max_value_bytes as usize,
        reply_bytes_max: REPLY_BYTES_MAX,
    };
    let stored = engine.log.synced();
    let mut state = State {
        engine,
        io,
        about: plan.about(),
        cluster: plan.cluster_info(),
        limits,
        disk,
        members,
        is_member: false,
        source: (!is_wildcard).then_some(settings.listen),
        prng,
        started: plan.started,
        work: VecDeque::new(),
        handshakes: VecDeque::new(),
        held_back: VecDeque::new(),
        stored: Default::default(),
        inline_from: Default::default(),
        has_failed: false,
        stopping: None,
    };
    state.begin(stored, plan.contact(), &plan.members);
    for (listener, tag) in [(resp, RESP), (native, NATIVE)] {
        net.listen(listener, tag).map_err(RingError::Setup)?;
    }
    Ok(Driver { net, state })
}

/// This node as a member.
fn member(settings: &Settings, identity: &Identity) -> Member {
    Member {
        node: identity.node,
        uuid: identity.uuid,
        weight: settings.weight as u16,
        zone: name(&settings.zone),
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("names are checked with the settings")
}

fn ring_config(identity: &Identity) -> RingConfig {
    RingConfig {
        partition_bits: identity.partition_bits.into(),
        n: identity.n.into(),
        seed: identity.cluster.hash_seed(),
    }
}
