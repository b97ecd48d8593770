//! What all shards of a node start from.

use super::{NodeStart, StartError};
use crate::data_dir::{DataDir, DataDirError, Identity, random_bytes};
use crate::driver::{
    About, Board, ClusterInfo, Ledger, Members, Membership, SharedEpochs, SharedRings, Sleepers,
    SocketCount,
};
use crate::log::{self, Log, SegmentSizes};
use crate::log_files::{LogFiles, SegmentMaps, free_bytes, has_segments};
use crate::metrics::Metrics;
use crate::settings::{Durability, Settings};
use crate::sys::raise_nofile;
use ringmain_core::drive::TurnSettings;
use ringmain_core::exchange;
use ringmain_core::id::{NodeId, ShardIndex, TopologyId};
use ringmain_core::limits::{
    FRAME_AGE_MAX, MEMBER_COUNT_MAX, OPERATION_COUNT_MAX, STAGED_COUNT_MAX,
};
use ringmain_core::membership::detector::Entry;
use ringmain_core::membership::member::{Contact, Member, Name};
use ringmain_core::membership::operation::Operation;
use ringmain_core::node::{Node, NodeConfig, NodeMemory};
use ringmain_core::prng::Prng;
use ringmain_core::records::Place;
use ringmain_core::ring::{RingConfig, Rings};
use ringmain_core::shard::ShardConfig;
use ringmain_core::survey;
use ringmain_core::time::Instant;
use ringmain_core::wire::handshake::Keys;
use ringmain_core::wire::hello::Cluster;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What all shards start from.
pub(super) struct Plan {
    pub(super) start: NodeStart,
    pub(super) members: Members,
    /// The directory is where the last process left it, as far as that is known.
    pub(super) in_place: bool,
    pub(super) keys: Keys,
    pub(super) resp: SocketAddr,
    pub(super) native: SocketAddr,
    pub(super) dir: Arc<DataDir>,
    /// Handed to the shards with every change; its memory is lent for the process's life.
    pub(super) rings: SharedRings,
    pub(super) epochs: Arc<SharedEpochs>,
    /// Counted by all shards together.
    pub(super) clients: SocketCount,
    /// Likewise: accepted native connections in their handshake.
    pub(super) strangers: SocketCount,
    /// Of one shard: those of clients, of peers, and those in their handshake. The kernel gives
    /// each to the shard that asks first, so one shard may have nearly all.
    pub(super) connection_count_max: u32,
    pub(super) sleepers: Sleepers,
    /// What the shards count.
    pub(super) metrics: Metrics,
    /// What their sweeps find.
    pub(super) board: Board,
    pub(super) ledger: Ledger,
    pub(super) started: std::time::Instant,
}

impl Plan {
    pub(super) fn new(
        start: NodeStart,
        (resp, native): (SocketAddr, SocketAddr),
        metrics: Metrics,
    ) -> Result<Plan, StartError> {
        let members = members(&start.dir)?;
        let in_place = in_place(&start.dir)?;
        let keys = Keys::derive(start.secret.bytes()).expect("a Secret has at least 32 bytes");
        let ring_config = ring_config(&start.identity);
        let owners = vec![NodeId(0); Rings::slot_count(&ring_config)].leak();
        let rings = Rings::new(owners, ring_config);
        let rings = Arc::new(Mutex::new((TopologyId::default(), rings)));
        let dir = Arc::clone(&start.dir);
        let started = std::time::Instant::now();
        let shards = u32::from(start.identity.shards);
        let limit = raise_nofile();
        let dirs = (0..start.identity.shards).map(|shard| dir.shard_dir(ShardIndex(shard)));
        let segments = dirs.flatten().map(|dir| segment_count(&dir)).sum();
        let room = file_count_max(limit, shards, segments);
        let asked = start.settings.max_connections;
        let clients = asked.min(client_count_max(limit, shards, segments));
        if clients < asked {
            tracing::warn!(
                "at most {clients} clients, not {asked}: raise the limit of open files (ulimit -n)"
            );
        }
        let each = clients.saturating_add(PEER_CONNECTION_COUNT_MAX).min(room);
        let connection_count_max = each.min(u32::from(u16::MAX));
        let clients = SocketCount::new(clients);
        let strangers = SocketCount::new(stranger_count_max(room));
        Ok(Plan {
            start,
            members,
            in_place,
            keys,
            resp,
            native,
            dir,
            rings,
            epochs: Arc::default(),
            clients,
            strangers,
            connection_count_max,
            sleepers: Sleepers::new(shards),
            metrics,
            board: Board::default(),
            ledger: Ledger::default(),
            started,
        })
    }

    pub(super) fn shard_config(&self, shard: ShardIndex) -> ShardConfig {
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
            keeps_hints: true,
            hint_interval: self.start.settings.hint_interval,
            exchanges: exchange::Settings {
                interval: self.start.settings.anti_entropy_interval,
                request_timeout: self.start.settings.request_timeout,
                seed: self.start.boot.0 ^ u64::from(shard.0) << 48 ^ u64::from(node.0),
            },
            surveys: survey::Settings {
                grace: self.start.settings.reap_grace(),
                ..survey::Settings::default()
            },
        }
    }

    pub(super) fn turn_settings(&self) -> TurnSettings {
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

    pub(super) fn about(&self) -> About {
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
            metrics: self.metrics.clone(),
            started: self.started,
        }
    }

    pub(super) fn cluster_info(&self) -> ClusterInfo {
        let Identity { cluster, partition_bits, n, r, w, .. } = self.start.identity;
        let hash_seed = cluster.hash_seed();
        let settings = &self.start.settings;
        ClusterInfo {
            cluster: Cluster { id: cluster, hash_seed, partition_bits, n, r, w },
            keys: self.keys,
            // Whoever was given a secret guards it; one that was made is told on this machine.
            secret_for_joiners: (settings.is_loopback() && settings.cluster_secret.is_none())
                .then(|| self.start.secret.clone()),
        }
    }

    pub(super) fn contact(&self) -> Contact {
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

    pub(super) fn membership(&self, prng: &mut Prng) -> Membership {
        let settings = &self.start.settings;
        let identity = &self.start.identity;
        let ring = ring_config(identity);
        let member = member(settings, identity);
        let config = NodeConfig {
            member,
            ring,
            join: settings.join,
            shards: identity.shards,
            boot: self.start.boot,
            in_place: self.in_place,
            frame_age_max: FRAME_AGE_MAX,
            probe_interval: settings.probe_interval,
            seed: prng.next_u64(),
        };
        let memory = NodeMemory {
            operations: vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX].leak(),
            staged: vec![[0; Operation::BYTES]; STAGED_COUNT_MAX].leak(),
            owners: vec![NodeId(0); Rings::slot_count(&ring)].leak(),
            entries: vec![Entry::EMPTY; MEMBER_COUNT_MAX].leak(),
        };
        Membership {
            node: Box::new(Node::new(config, memory)),
            dir: Arc::clone(&self.dir),
            in_place: self.in_place,
            is_restored: false,
            on_disk: Vec::new(),
            rings: Arc::clone(&self.rings),
            epochs: Arc::clone(&self.epochs),
            incoming: BTreeMap::new(),
            newest: BTreeMap::new(),
            seeds: settings.seeds.clone(),
            next_seeds: (!settings.seeds.is_empty()).then_some(Instant(0)),
            asking: None,
            told: None,
        }
    }

    /// Once all logs are open: notes that a folder without one has lost it from now on. Where the
    /// disk had no room for a log, the next start is to make it.
    pub(super) fn end_founding(&self) -> Result<(), StartError> {
        if !self.dir.is_new()? {
            return Ok(());
        }
        for shard in (0..self.start.identity.shards).map(ShardIndex) {
            let failed = |error| StartError::Files { shard: shard.0, error };
            if !has_segments(&self.dir.shard_dir(shard)?).map_err(failed)? {
                return Ok(());
            }
        }
        Ok(self.dir.write_identity(&self.start.identity)?)
    }

    /// Where the log of a shard was last stopped, as far as that is known.
    fn stopped(&self, shard: ShardIndex) -> Result<Place, StartError> {
        match self.dir.stopped(&self.start.identity, shard) {
            // A newer build wrote it, and perhaps more that this one does not know.
            Err(error @ DataDirError::UnknownVersion { .. }) => Err(StartError::DataDir(error)),
            Err(error) => {
                tracing::warn!("{error}: what the log lost at its end since is not noticed");
                Ok(Place(0))
            }
            Ok(place) => Ok(place),
        }
    }

    /// The log of a shard was stopped, and ends there.
    pub(super) fn note_stopped(&self, shard: ShardIndex, end: Place) {
        if let Err(error) = self.dir.write_stopped(&self.start.identity, shard, end) {
            tracing::warn!("{error}: what the log loses at its end is not noticed");
        }
    }

    /// On the shard's own thread: opens its log, and makes it ready for appends.
    pub(super) fn open_log(
        &self,
        shard: ShardIndex,
    ) -> Result<(Log<SegmentMaps>, LogFiles), StartError> {
        let files = |error| StartError::Files { shard: shard.0, error };
        let identity = log::Identity {
            cluster: self.start.identity.cluster,
            shard,
            shards: self.start.identity.shards,
            partition_bits: self.start.identity.partition_bits.into(),
        };
        let dir = self.dir.shard_dir(shard)?;
        let (mut disk, maps, snapshots) = LogFiles::open(&dir).map_err(files)?;
        let found = maps.files(&snapshots);
        check_begun(&self.dir, shard, &found)?;
        let recovered = log::recover(&identity, &found, self.stopped(shard)?)
            .map_err(|error| StartError::Log { shard: shard.0, error })?;
        maps.check_read(recovered.end()).map_err(files)?;
        disk.give_back_rest(recovered.end());
        drop(snapshots);
        maps.expect_random();
        for &log::Damage { segment, offset, end } in &recovered.damage {
            tracing::error!(
                "shard {}: log segment {segment} is damaged from offset {offset} to {end}: keys \
                 that were written last before it, or never, get errors here until other owners' \
                 copies were compared, or what is lost is given up with `ringmain scrub \
                 --accept-loss`",
                shard.0
            );
        }
        if !recovered.scanned.is_empty() {
            let count = recovered.scanned.len();
            tracing::info!(
                "shard {}: {count} log segments without a good snapshot were scanned",
                shard.0
            );
        }
        if let Some(cut) = recovered.cut {
            let (segment, offset) = (cut.place.segment(), cut.place.offset());
            tracing::info!("shard {}: a torn tail was cut at segment {segment}, {offset}", shard.0);
        }
        let durability = match self.start.settings.durability {
            Durability::Always => log::Durability::Always,
            Durability::Interval(every) => log::Durability::Interval(every),
            Durability::None => log::Durability::None,
        };
        // Of nonces that no client can guess, nor forge a batch header with.
        let seed = u64::from_le_bytes(random_bytes()?);
        let config = log::Config { identity, durability, sizes: SegmentSizes::default(), seed };
        let mut log = Log::new(config, maps, recovered, free_bytes(&dir));
        disk.make_ready(&mut log).map_err(files)?;
        let rate = u64::from(self.start.settings.scrub_rate);
        log.sweep_continuously(rate.div_ceil(self.start.identity.shards.into()), Instant(0));
        Ok((log, disk))
    }
}

/// Refuses a shard that has lost all segments of its log: what it held is not "not found".
///
/// # Errors
/// As a missing file; or if the directory cannot be read.
pub fn check_begun(
    dir: &DataDir,
    shard: ShardIndex,
    files: &[log::File<'_>],
) -> Result<(), StartError> {
    if !files.is_empty() || dir.is_new()? {
        return Ok(());
    }
    let file = dir.shard_dir(shard)?.join("*.segment");
    Err(DataDirError::Missing { file }.into())
}

fn members(dir: &DataDir) -> Result<Members, StartError> {
    let members = dir.members()?.and_then(|bytes| Members::from_bytes(&bytes));
    members.ok_or(StartError::Members)
}

/// Whether the directory is where the last process left it, as far as that is known.
fn in_place(dir: &DataDir) -> Result<bool, StartError> {
    match dir.is_in_place() {
        // As of `stopped`: a newer build wrote it.
        Err(error @ DataDirError::UnknownVersion { .. }) => Err(StartError::DataDir(error)),
        Err(error) => {
            tracing::warn!("{error}: the data directory is taken for one that was copied");
            Ok(false)
        }
        Ok(in_place) => Ok(in_place),
    }
}

/// What is wrong with the files beside the logs of a member, each read as a start reads it.
/// Nothing is written. `origin` is none of them: a start does without.
pub fn file_errors(dir: &DataDir) -> Vec<StartError> {
    let missing = || DataDirError::Missing { file: dir.path().join("secret") };
    let secret = dir.secret().and_then(|secret| secret.ok_or_else(missing));
    let read = [
        dir.last_boot().map(drop).map_err(StartError::from),
        secret.map(drop).map_err(StartError::from),
        members(dir).map(drop),
    ];
    read.into_iter().filter_map(Result::err).collect()
}

/// Connections that all shards may have open together: what the limit of open files leaves beside
/// rings, doorbells and the files of logs, which may double while the node runs. Without a file for
/// the next segment a node could not go on.
fn file_count_max(limit: u64, shards: u32, segments: u64) -> u32 {
    let own = FILE_COUNT_OWN + u64::from(shards) * FILE_COUNT_OWN_PER_SHARD + 2 * segments;
    u32::try_from(limit.saturating_sub(own)).unwrap_or(u32::MAX).max(shards)
}

/// Clients that a node of `shards` shards and `segments` files of logs has room for when it may
/// have `limit` files open: of every four connections one is for peers.
pub fn client_count_max(limit: u64, shards: u32, segments: u64) -> u32 {
    let room = file_count_max(limit, shards, segments);
    room - room / 4
}

/// Native connections that may be in their handshake at once, of as many connections as there may
/// be: few enough to leave peers most of what is theirs.
pub(super) fn stranger_count_max(room: u32) -> u32 {
    (room / 16).clamp(1, STRANGER_COUNT_MAX)
}

/// Files of a shard's log. What cannot be read is told when the log is opened.
pub(super) fn segment_count(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_segment = |name: OsString| Path::new(&name).extension() == Some("segment".as_ref());
    entries.filter(|entry| is_segment(entry.file_name())).count() as u64
}

/// Open files of a node beside its connections and the segments that it finds: of the process, and
/// of each shard.
const FILE_COUNT_OWN: u64 = 64;
/// See [`FILE_COUNT_OWN`].
const FILE_COUNT_OWN_PER_SHARD: u64 = 64;
/// See [`stranger_count_max`].
const STRANGER_COUNT_MAX: u32 = 1024;
/// Connections of a shard beyond `--max-connections`: links to and from the shards of peers, and
/// handshakes.
const PEER_CONNECTION_COUNT_MAX: u32 = 4096;

/// This node as a member.
pub(super) fn member(settings: &Settings, identity: &Identity) -> Member {
    Member {
        node: identity.node,
        uuid: identity.uuid,
        weight: settings.weight as u16,
        zone: name(&settings.zone),
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("names are checked with the settings")
}

pub(super) fn ring_config(identity: &Identity) -> RingConfig {
    RingConfig {
        partition_bits: identity.partition_bits.into(),
        n: identity.n.into(),
        seed: identity.cluster.hash_seed(),
    }
}
