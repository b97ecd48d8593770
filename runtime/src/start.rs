//! A node from its open data directory to its end: one pinned thread for each shard.
//!
//! In this order, so that nothing half-started is ever seen: ports, then shards (each recovers
//! its log, makes its ring, says that it is ready), then listeners are armed. Stopping is the
//! reverse, by one message to each shard.

use crate::admission::{Memory, shard_bytes};
use crate::data_dir::{DataDir, DataDirError, Identity};
use crate::driver::{
    Answers, Clerk, Connections, Control, Driver, Engine, Files, Io, LateDoorbell, Latencies,
    Looks, Members, MeshEndpoint, NATIVE, Peers, RESP, STOP_TIMEOUT, Scrub, State, Told,
};
use crate::log::OpenError;
use crate::mesh::{Controls, MeshLimits, mesh};
use crate::metrics::{Metrics, Recorder};
use crate::net::{self, HotRing, HotRingConfig, RingError};
use crate::reshard::NoSpace;
use crate::session::resp::Limits;
use crate::settings::{Secret, Settings};
use crate::sys::usable_memory;
use glommio::{Placement, PoolPlacement};
use ringmain_core::id::{Boot, ShardIndex};
use ringmain_core::membership::operation::Operation;
use ringmain_core::membership::topology::Topology;
use ringmain_core::prng::Prng;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod handle;
mod plan;
mod ports;

pub use handle::{Handle, Unready};
use plan::{Plan, member, ring_config};
pub use plan::{check_begun, client_count_max, file_errors};
pub use ports::listen;
use ports::{address_of, bind, clone};

/// Longest reply to a command of many keys, bytes.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// How long shards with full queues are told to stop, all together.
const TELL_PATIENCE: Duration = Duration::from_millis(250);
/// Pause between two such tries.
const TELL_PAUSE: Duration = Duration::from_millis(1);

/// Longest time from [`Handle::stop`] until [`Running::wait`] returns.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(6);
const _: () = assert!(
    STOP_TIMEOUT.as_millis() + TELL_PATIENCE.as_millis() < STOP_TIME_MAX.as_millis(),
    "a shard that is told last gives itself up before it is given up"
);

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
    /// The file `members` is missing or not what it was.
    #[error("the file members is missing or damaged")]
    Members,
    /// The log of a shard cannot be opened.
    #[error("shard {shard}: {error}")]
    Log {
        /// Which shard.
        shard: u16,
        /// What is wrong with it.
        error: OpenError,
    },
    /// A shard's log is damaged: it can be opened, but not copied to other shards, where what was
    /// lost would be taken for "not found".
    #[error("re-sharding needs sound logs, and in shard {shard} {error}")]
    Unsound {
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
    /// Another shard count needs more room than there is.
    #[error("re-sharding needs {} MiB free, and there are {}", .0.needed >> 20, .0.free >> 20)]
    Space(NoSpace),
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
    /// How many members its disk knew when it started, 0 until it has joined.
    pub member_count: usize,
    shards: Vec<JoinHandle<()>>,
    handle: Handle,
    events: Receiver<Event>,
}

/// What a running node is waited for.
#[derive(Debug)]
enum Event {
    /// It was asked to stop.
    Stopping,
    /// A shard has ended; the error says which one.
    Ended(Result<(), String>),
}

impl Running {
    /// A way to reach it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until every shard has stopped, or one has failed or does not stop: then others may
    /// still run, and the process must end.
    ///
    /// # Errors
    /// Why that one failed, or how many did not stop.
    pub fn wait(self) -> Result<(), String> {
        all_ended(&self.events, self.shards.len(), STOP_TIME_MAX)?;
        for shard in self.shards {
            // It has said how it ended.
            let _ended = shard.join();
        }
        Ok(())
    }
}

/// Waits for as many good ends, or the first bad one. After a stop, for at most `patience`, all
/// are waited for, as each has something to sync.
fn all_ended(
    events: &Receiver<Event>,
    mut shards: usize,
    patience: Duration,
) -> Result<(), String> {
    let mut given_up: Option<Instant> = None;
    let mut first_bad = Ok(());
    while shards > 0 {
        let event = match given_up {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(Event::Stopping) => given_up = given_up.or(Some(Instant::now() + patience)),
            Ok(Event::Ended(end)) => {
                first_bad = first_bad.and(end);
                if given_up.is_none() {
                    first_bad.clone()?;
                }
                shards -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {
                return first_bad.and(Err(format!("{shards} shards do not stop")));
            }
            Err(RecvTimeoutError::Disconnected) => return Err("a shard is gone".into()),
        }
    }
    first_bad
}

/// Tells how a shard has ended, also when it panics.
struct End {
    shard: ShardIndex,
    events: Option<Sender<Event>>,
}

impl End {
    fn tell(mut self, end: Result<(), String>) {
        self.send(end);
    }

    fn send(&mut self, end: Result<(), String>) {
        if let Some(events) = self.events.take() {
            // Nobody waits after the first failure.
            let _gone = events.send(Event::Ended(end));
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.send(Err(format!("shard {} panicked", self.shard.0)));
    }
}

/// A shard empties its queue every turn; one that does not is past being stopped, and none of the
/// others waits for it.
fn stop_all(controls: &Controls<Control, LateDoorbell>, patience: Duration) {
    let given_up = Instant::now() + patience;
    let mut untold: Vec<_> = (0..controls.shards()).map(ShardIndex).collect();
    loop {
        untold.retain(|shard| controls.control(*shard, Control::Stop).is_err());
        if untold.is_empty() || Instant::now() >= given_up {
            return;
        }
        std::thread::sleep(TELL_PAUSE);
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
    topology.insert(add.settled()).expect("one operation has room");
    dir.write_secret(secret)?;
    dir.write_members(&Members::founding(topology.operations()).to_bytes())?;
    dir.make_shard_dirs(identity.shards)?;
    dir.keep_origin()?;
    dir.write_new_identity(identity)
}

/// Writes what makes an empty directory one of a node that wants to enter a cluster.
///
/// # Errors
/// If the directory cannot be written.
pub fn enter(dir: &DataDir, identity: &Identity, secret: &Secret) -> Result<(), DataDirError> {
    dir.write_secret(secret)?;
    dir.write_members(&Members::default().to_bytes())?;
    dir.make_shard_dirs(identity.shards)?;
    dir.keep_origin()?;
    dir.write_new_identity(identity)
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
    let (metrics, recorders) = Metrics::new(usize::from(start.identity.shards));
    let plan = Arc::new(Plan::new(start, addresses, metrics.clone())?);
    let shards = plan.start.identity.shards;
    let doorbells: Vec<_> = (0..shards).map(|_| LateDoorbell::default()).collect();
    let limits = MeshLimits::for_shards(shards);
    let endpoints: Vec<MeshEndpoint> = mesh(doorbells.clone(), limits);
    let member_count = plan.members.operations().members().len();
    let (events, ended) = channel();
    let controls = endpoints[0].controls();
    let handle = Handle { controls, events, is_stopping: Arc::default(), metrics };
    let parts = endpoints.into_iter().zip(doorbells).zip(recorders);
    let begins = parts.map(|((endpoint, doorbell), recorder)| {
        let listeners = (clone(&resp)?, clone(&native)?);
        Ok(Begin { plan: Arc::clone(&plan), endpoint, doorbell, recorder, listeners })
    });
    let shards = start_shards(begins, &handle)?;
    if let Err(error) = plan.end_founding() {
        tracing::warn!("{error}: the next start tries again");
    }
    let (resp, native) = addresses;
    Ok(Running { resp, native, member_count, shards, handle, events: ended })
}

/// Starts one thread each and waits until all are ready; if one cannot be, until all have ended.
fn start_shards(
    mut begins: impl ExactSizeIterator<Item = Result<Begin, StartError>>,
    handle: &Handle,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let shards = begins.len();
    let (tell, told) = sync_channel(shards);
    let mut threads = Vec::with_capacity(shards);
    let begun = begins.try_for_each(|begin| {
        threads.push(spawn(begin?, tell.clone(), handle.events.clone())?);
        Ok(())
    });
    drop(tell);
    if let Err(error) = begun.and_then(|()| all_ready(&told, shards)) {
        stop_all(&handle.controls, TELL_PATIENCE);
        for thread in threads {
            let _ended = thread.join();
        }
        return Err(error);
    }
    Ok(threads)
}

fn all_ready(told: &Receiver<Result<(), StartError>>, shards: usize) -> Result<(), StartError> {
    for _ in 0..shards {
        told.recv().unwrap_or_else(|_| Err(StartError::Threads("a shard ended".into())))?;
    }
    Ok(())
}

/// What one shard begins with.
struct Begin {
    plan: Arc<Plan>,
    endpoint: MeshEndpoint,
    doorbell: LateDoorbell,
    recorder: Recorder,
    /// RESP, native.
    listeners: (TcpListener, TcpListener),
}

fn spawn(
    begin: Begin,
    tell: SyncSender<Result<(), StartError>>,
    events: Sender<Event>,
) -> Result<JoinHandle<()>, StartError> {
    let (plan, shard) = (Arc::clone(&begin.plan), begin.endpoint.shard());
    let cpu = plan.start.cpus.as_ref().and_then(|cpus| cpus.get(usize::from(shard.0)).copied());
    let placement = cpu.map_or(Placement::Unbound, |cpu| Placement::Fixed(cpu.into()));
    let name = format!("shard-{}", shard.0);
    let end = End { shard, events: Some(events) };
    let run = move || {
        let pool = PoolPlacement::Unbound(1);
        let executor = net::executor(placement).blocking_thread_pool_placement(pool).make();
        let executor = match executor {
            Ok(executor) => executor,
            Err(error) => {
                let _gone = tell.send(Err(StartError::Threads(error.to_string())));
                return end.tell(Ok(()));
            }
        };
        // Dropped before the executor when the shard panics: that waits for threads of its own.
        let end = end;
        let ended = executor.run(async move {
            match driver(begin) {
                Ok(driver) => {
                    let _gone = tell.send(Ok(()));
                    drop(tell);
                    let stopped = driver.run().await;
                    stopped.map(|end| plan.note_stopped(shard, end))
                }
                Err(error) => {
                    let _gone = tell.send(Err(error));
                    Ok(())
                }
            }
        });
        drop(executor);
        end.tell(ended.map_err(|error| format!("shard {}: {error}", shard.0)));
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| StartError::Threads(error.to_string()))
}

/// Makes a shard, on its own thread.
fn driver(begin: Begin) -> Result<Driver, StartError> {
    let Begin { plan, endpoint: mesh, doorbell, recorder, listeners: (resp, native) } = begin;
    let shard = mesh.shard();
    let config = plan.shard_config(shard);
    let (log, disk) = plan.open_log(shard)?;
    let settings = &plan.start.settings;
    let ring = HotRingConfig {
        connection_count_max: plan.connection_count_max,
        ..HotRingConfig::default()
    };
    let mut net = HotRing::new(ring)?;
    doorbell.0.set(net.doorbell()).expect("each shard sets its own, once");
    let mut prng = Prng::new(plan.start.boot.0 << 16 | u64::from(shard.0));
    let members = (shard == ShardIndex(0)).then(|| plan.membership(&mut prng));
    let peers = Peers::of(&config, prng.next_u64());
    let io = io(&plan, mesh, peers);
    let ring = ring_config(&plan.start.identity);
    let epochs = Arc::clone(&plan.epochs);
    let engine = Engine::new(config, ring, log, plan.turn_settings(), epochs);
    let is_wildcard = settings.listen.is_unspecified();
    let limits = Limits {
        key_bytes_max: settings.max_key_bytes as usize,
        value_bytes_max: settings.max_value_bytes as usize,
        reply_bytes_max: REPLY_BYTES_MAX,
    };
    let files = Files::begin(disk.dir().to_owned(), shard, io.mesh.controls())
        .map_err(|error| StartError::Threads(error.to_string()))?;
    let mut state = State {
        engine,
        io,
        about: plan.about(),
        recorder,
        cluster: plan.cluster_info(),
        limits,
        disk,
        files,
        reads: Default::default(),
        scrub: Scrub::new(plan.board.clone()),
        clerk: Clerk::new(plan.ledger.clone()),
        members,
        is_member: false,
        source: (!is_wildcard).then_some(settings.listen),
        unsent: None,
        started: plan.started,
        work: VecDeque::new(),
        handshakes: VecDeque::new(),
        held_back: Default::default(),
        gone: Vec::new(),
        relief: Default::default(),
        sleepers: plan.sleepers.clone(),
        looks: Looks::default(),
        told: Told::default(),
        stored: Default::default(),
        inline_from: Default::default(),
        next_look: Default::default(),
        next_space: None,
        turns: Default::default(),
        has_failed: false,
        stopping: None,
    };
    state.begin(plan.contact(), &plan.members);
    for (listener, tag) in [(resp, RESP), (native, NATIVE)] {
        net.listen(listener, tag).map_err(RingError::Setup)?;
    }
    Ok(Driver { net, state, has_more: false })
}

/// Its connections: none yet.
fn io(plan: &Plan, mesh: MeshEndpoint, peers: Peers) -> Io {
    Io {
        connections: Connections::default(),
        clients: plan.clients.clone(),
        strangers: plan.strangers.clone(),
        peers,
        mesh,
        answers: Answers::default(),
        latencies: Latencies::default(),
        notices: Vec::new(),
        dirty: Vec::new(),
        memory: Memory::new(shard_bytes(usable_memory(), plan.start.identity.shards)),
        warm: VecDeque::new(),
        lost_count: 0,
        shed_count: 0,
    }
}

#[cfg(test)]
pub(crate) mod tests;
