//! What one node is told at its start: the settings of `ringmain start`, typed and checked.
//!
//! The binary reads them from flags, environment and file, and checks them; from here on each
//! value is within its bounds. Sizes are in bytes, durations are `Duration`s.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Every setting of one node. See [`Settings::default`] for the documented defaults.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The data directory: created if missing, locked while in use.
    pub data_dir: PathBuf,
    /// The address that all ports listen on; may be a wildcard.
    pub listen: IpAddr,
    /// The address that others are told; never a wildcard.
    pub advertise: IpAddr,
    /// RESP port; 0 picks a free one.
    pub resp_port: u16,
    /// Native port, for clients and peers; 0 picks a free one.
    pub port: u16,
    /// HTTP port; 0 picks a free one.
    pub admin_port: u16,
    /// Native addresses of nodes of the cluster to enter; at most [`SEED_COUNT_MAX`].
    pub seeds: Vec<SocketAddr>,
    /// Found a new cluster in an empty data directory.
    pub found: bool,
    /// The cluster's secret as given; `None` leaves it to the data directory or the founder.
    pub cluster_secret: Option<Secret>,
    /// Stage and commit this node's own join once it has reached the cluster.
    pub join: bool,
    /// The name shown to people: 1..=`limits::NAME_BYTES_MAX` bytes without white space.
    pub name: String,
    /// The zone for placement, bounded as `name`.
    pub zone: String,
    /// The share of data relative to other nodes, 1..=[`WEIGHT_MAX`].
    pub weight: u32,
    /// Executors; `None` takes the stored count, then one per CPU of `cpus`, then one per
    /// usable CPU.
    pub shards: Option<u16>,
    /// The CPUs to pin shards to, in order and without repetition; `None` leaves the choice.
    pub cpus: Option<Vec<u16>>,
    /// Partitions of a cluster being founded: a power of two.
    pub partitions: u32,
    /// Owners per partition of a cluster being founded.
    pub n: u8,
    /// Replicas that a read waits for, 1..=n, of a cluster being founded.
    pub r: u8,
    /// Replicas that a write waits for, 1..=n, of a cluster being founded.
    pub w: u8,
    /// When a write counts as stored.
    pub durability: Durability,
    /// Deadline of one request, at most `limits::REQUEST_TIMEOUT_MAX`.
    pub request_timeout: Duration,
    /// Between two exchanges of one partition with one peer.
    pub anti_entropy_interval: Duration,
    /// Between two deliveries of hints.
    pub hint_interval: Duration,
    /// Between two probes of the failure detector.
    pub probe_interval: Duration,
    /// How old a tombstone must be to be reaped, as configured; see [`Settings::reap_grace`].
    pub reap_grace: Duration,
    /// Bytes of the log that sweeps check in a second, all shards together; 0 = none does.
    pub scrub_rate: u32,
    /// Longest key accepted from clients.
    pub max_key_bytes: u32,
    /// Longest value accepted from clients.
    pub max_value_bytes: u32,
    /// Most client connections of the node.
    pub max_connections: u32,
    /// The least severe log lines written.
    pub log_level: LogLevel,
}

/// Most `--seed`s.
pub const SEED_COUNT_MAX: usize = 64;
/// Largest `--weight`.
pub const WEIGHT_MAX: u32 = 10_000;
/// Shortest and longest secret, bytes: as it may travel to a joiner over loopback.
pub const SECRET_BYTES_MIN: usize = ringmain_core::wire::SECRET_BYTES_MIN;
/// See [`SECRET_BYTES_MIN`].
pub const SECRET_BYTES_MAX: usize = ringmain_core::wire::SECRET_BYTES_MAX;

/// When a stored write may be acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// After fdatasync; syncs are shared by the writes of one batch.
    Always,
    /// At once; a sync follows within this time.
    Interval(Duration),
    /// At once; the kernel decides when to write.
    None,
}

/// How severe a log line must be to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogLevel {
    /// Only what needs an operator.
    Error,
    /// And what may need one.
    Warn,
    /// And what happened: starts, joins, members that came and went.
    Info,
    /// And why.
    Debug,
    /// And each step.
    Trace,
}

/// A cluster secret: [`SECRET_BYTES_MIN`]..=[`SECRET_BYTES_MAX`] bytes, never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// `None` if `bytes` are too few or too many.
    pub fn new(bytes: &[u8]) -> Option<Secret> {
        let bounded = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len());
        bounded.then(|| Secret(bytes.into()))
    }

    /// The bytes, for deriving keys and for the data directory; not for people.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl Settings {
    /// The grace in force: never below ten request timeouts.
    pub fn reap_grace(&self) -> Duration {
        self.reap_grace.max(self.request_timeout * 10)
    }

    /// Whether only this machine can reach the node: then the machine is the trust boundary.
    pub fn is_loopback(&self) -> bool {
        self.listen.is_loopback()
    }
}

impl Default for Settings {
    /// The documented defaults; the name is `ringmain` (the binary puts the host's there).
    fn default() -> Settings {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        Settings {
            data_dir: PathBuf::from("./ringmain-data"),
            listen: loopback,
            advertise: loopback,
            resp_port: 7379,
            port: 7400,
            admin_port: 7480,
            seeds: Vec::new(),
            found: false,
            cluster_secret: None,
            join: false,
            name: "ringmain".into(),
            zone: "default".into(),
            weight: 100,
            shards: None,
            cpus: None,
            partitions: 1024,
            n: 3,
            r: 2,
            w: 2,
            durability: Durability::Always,
            request_timeout: Duration::from_secs(1),
            anti_entropy_interval: Duration::from_secs(60),
            hint_interval: Duration::from_secs(10),
            probe_interval: Duration::from_millis(500),
            reap_grace: Duration::from_secs(3600),
            scrub_rate: 4 << 20,
            max_key_bytes: 4096,
            max_value_bytes: 1 << 20,
            max_connections: 10_000,
            log_level: LogLevel::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_bounded_and_not_shown() {
        assert_eq!(Secret::new(&[7; SECRET_BYTES_MIN - 1]), None);
        assert_eq!(Secret::new(&[7; SECRET_BYTES_MAX + 1]), None);
        let secret = Secret::new(&[b'x'; SECRET_BYTES_MIN]).unwrap();
        assert_eq!(secret.bytes(), [b'x'; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
    }

    #[test]
    fn reap_grace_covers_ten_requests() {
        let timeout = Duration::from_secs(30);
        let grace = Duration::from_secs(20);
        let short = Settings { request_timeout: timeout, reap_grace: grace, ..Default::default() };
        assert_eq!(short.reap_grace(), Duration::from_secs(300));
        assert_eq!(Settings::default().reap_grace(), Duration::from_secs(3600));
    }
}
