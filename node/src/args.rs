//! The command line: every subcommand, its flags and its help.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use ringmain_runtime::settings::{Durability, LogLevel, WEIGHT_MAX};

use crate::config::units::{self, CpuList};

mod bench;
mod cluster;

pub(crate) use bench::{BenchArgs, Distribution, Target};
pub(crate) use cluster::{ClusterArgs, ClusterCommand, CommitArgs, RingArgs};

/// A Dynamo-style key-value store: always writeable, no leader, conflicts kept.
#[derive(Debug, Parser)]
#[command(name = "ringmain", version, max_term_width = 100)]
#[command(after_help = "Example: ringmain demo, then in another terminal redis-cli -p 7379")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node in the foreground
    Start(Box<StartArgs>),
    /// Start a local cluster of one process per node, until Ctrl-C
    Demo(DemoArgs),
    /// Print the value of a key
    Get(GetArgs),
    /// Store a value under a key
    Put(PutArgs),
    /// Delete a key
    Del(DelArgs),
    /// Look at the cluster, and change who is in it
    Cluster(ClusterArgs),
    /// Compare all copies, and make them equal, now
    Repair(RepairArgs),
    /// Let go of what was deleted or expired, and of copies that others own, now
    Reap(ReapArgs),
    /// Check all that a node stores, now
    Scrub(ScrubArgs),
    /// Check or list the records of a data directory whose node is stopped
    Log(LogArgs),
    /// Load a node, or any Redis server, and measure how long its answers take
    Bench(BenchArgs),
    /// Check kernel, io_uring, memlock, CPUs, file system and clock
    Doctor(DoctorArgs),
}

/// Settings come from flags, then RINGMAIN_* environment variables (RINGMAIN_DATA_DIR), then
/// the TOML file of --config (data_dir), then the defaults.
///
/// When the node is recovered and listens it prints one line: ready node=… resp=… native=…
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  ringmain start
      a cluster of one node on this machine, in ./ringmain-data
  ringmain start --listen 10.0.0.2 --seed 10.0.0.1:7400 --join --cluster-secret /etc/ringmain.key
      a further node of the cluster that 10.0.0.1 is in
  ringmain start --config node.toml --check-config
      what the file, the environment and the defaults amount to")]
pub(crate) struct StartArgs {
    /// TOML file with settings: the names below with _ for -
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the resolved settings as TOML and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// End with the process that started this one
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) parent: Option<u32>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

/// Every setting: the one list that flags, environment, file and help derive from.
#[derive(Args, Clone, Debug)]
pub(crate) struct SettingArgs {
    /// Data directory: created if missing, locked while in use
    #[arg(long, value_name = "DIR", default_value = "./ringmain-data")]
    pub(crate) data_dir: PathBuf,
    /// Address that all ports listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) listen: IpAddr,
    /// Address that others are told [default: as --listen; needed when that is a wildcard]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise: Option<IpAddr>,
    /// RESP port, for Redis clients; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 7379)]
    pub(crate) resp_port: u16,
    /// Native port, for clients and peers; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    pub(crate) port: u16,
    /// HTTP port, for health and status; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 7480)]
    pub(crate) admin_port: u16,
    /// Native address of any node of the cluster to enter; repeatable
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',', value_parser = units::address)]
    pub(crate) seed: Vec<SocketAddr>,
    /// Found a new cluster in an empty data directory (implied on loopback without --seed)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) found: bool,
    /// File with the cluster's secret, 32 bytes or more; required to listen beyond loopback
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_secret: Option<PathBuf>,
    /// Stage and commit this node's own join once it has reached the cluster
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) join: bool,
    /// Name shown to people [default: the host's]
    #[arg(long, value_parser = units::name)]
    pub(crate) name: Option<String>,
    /// Zone: the owners of a partition lie in different zones where they can
    #[arg(long, default_value = "default", value_parser = units::name)]
    pub(crate) zone: String,
    /// Share of the data relative to other nodes
    #[arg(long, default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(WEIGHT_MAX)))]
    pub(crate) weight: u32,
    /// Executors [default: one per CPU of --cpus, else as stored, else one per usable CPU];
    /// another number than stored has the data laid out anew before the node serves
    #[arg(long, value_name = "COUNT", value_parser = units::shards)]
    pub(crate) shards: Option<u16>,
    /// CPUs to pin executors to, as in 0-3,6
    #[arg(long, value_name = "LIST", value_parser = units::cpus)]
    pub(crate) cpus: Option<CpuList>,
    /// Partitions, a power of two from 64 to 16384; only read when founding
    #[arg(long, value_name = "COUNT", default_value = "1024", value_parser = units::partitions)]
    pub(crate) partitions: u32,
    /// Copies of each key; only read when founding
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = units::replicas)]
    pub(crate) n: u8,
    /// Copies that a read waits for; only read when founding
    #[arg(long, value_name = "COUNT", default_value = "2", value_parser = units::replicas)]
    pub(crate) r: u8,
    /// Copies that a write waits for; only read when founding
    #[arg(long, value_name = "COUNT", default_value = "2", value_parser = units::replicas)]
    pub(crate) w: u8,
    /// When a write counts as stored: always (after fdatasync), interval:10ms, none
    #[arg(long, value_name = "MODE", default_value = "always", value_parser = units::durability)]
    pub(crate) durability: Durability,
    /// Deadline of one request, at most 30s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::request_timeout)]
    pub(crate) request_timeout: Duration,
    /// Between two comparisons of a partition with a peer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::interval)]
    pub(crate) anti_entropy_interval: Duration,
    /// Between two deliveries of hints
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::interval)]
    pub(crate) hint_interval: Duration,
    /// Between two probes of the failure detector
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = units::interval)]
    pub(crate) probe_interval: Duration,
    /// How long a deleted key's tombstone is kept at least (and ten request time-outs)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::duration)]
    pub(crate) reap_grace: Duration,
    /// How fast the log is checked for damage, again and again, as in 4MiB/s; 0 never
    #[arg(long, value_name = "RATE", default_value = "4MiB/s", value_parser = units::rate)]
    pub(crate) scrub_rate: u32,
    /// Longest key, at most 4KiB
    #[arg(long, value_name = "SIZE", default_value = "4096", value_parser = units::size)]
    pub(crate) max_key_bytes: u32,
    /// Longest value, at most 4MiB
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = units::size)]
    pub(crate) max_value_bytes: u32,
    /// Most client connections of the node, RESP and native, all shards together
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
    /// Least severe log lines: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = units::log_level)]
    pub(crate) log_level: LogLevel,
}

/// Starts one process per node on 127.0.0.1, 127.0.0.2, … with the same ports, forms the ring,
/// prints how to connect, and stops all of them on Ctrl-C.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain demo
      three nodes, their data gone at the end
  ringmain demo --nodes 5 --data-dir ./demo
      five nodes that find their data again next time
  ringmain demo --network 127.7.7.0
      beside another demo")]
pub(crate) struct DemoArgs {
    /// How many nodes
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) nodes: u8,
    /// Where the nodes keep their data [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Loopback network whose addresses .1, .2, … the nodes listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.0", value_parser = units::network)]
    pub(crate) network: Ipv4Addr,
    /// Least severe log lines of the nodes: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = units::log_level)]
    pub(crate) log_level: LogLevel,
}

/// Prints the value. Of several siblings: each one, numbered, and the context with which a put
/// replaces them all. Not found: exit code 1.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain get cart
  ringmain get cart --r 3 --json
With --json: {\"key\":…,\"context\":\"…\",\"values\":[…]}; bytes that are not UTF-8 stand as
{\"base64url\":\"…\"}; not found is an empty list.")]
pub(crate) struct GetArgs {
    /// The key
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Copies to wait for [default: the cluster's]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) r: Option<u8>,
    /// How many of them owners [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) pr: Option<u8>,
    /// Fail rather than answer with less than this context has seen
    #[arg(long, value_name = "TOKEN")]
    pub(crate) context: Option<String>,
}

/// Stores a value. Without --context it replaces what the node knows of the key; with one, what
/// the get that printed it has seen, and concurrent values stay beside it as siblings.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain put cart apples
  ringmain put cart apples+pears --context TOKEN
  ringmain put picture - < picture.png
With --json: {\"key\":…,\"context\":\"…\" or null,\"siblings\":1}; the context is there when
the new value is the only one.")]
pub(crate) struct PutArgs {
    /// The key
    pub(crate) key: OsString,
    /// The value; - reads standard input
    pub(crate) value: OsString,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// Deletes a key. Without --context it deletes what a read of R owners finds.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain del cart
  ringmain del cart --context TOKEN
With --json: {\"key\":…,\"context\":\"…\" or null,\"siblings\":0}; siblings that the context
had not seen stay.")]
pub(crate) struct DelArgs {
    /// The key
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Copies to wait for [default: the cluster's]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) w: Option<u8>,
    /// How many of them at owners [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) pw: Option<u8>,
    /// How many of them synced to disk [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) dw: Option<u8>,
    /// What the new version replaces, as get or put printed it; - is nothing
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub(crate) context: Option<String>,
}

/// Which node to talk to, and how to print its answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeArgs {
    /// Native address of the node
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7400")]
    #[arg(value_parser = units::address)]
    pub(crate) node: SocketAddr,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads all that the node stores, and prints what is damaged: then the exit code is 1. Replace
/// such a node, or give up with --accept-loss what cannot be read.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain scrub
  ringmain scrub --node 10.0.0.1:7400 --cluster-secret /etc/ringmain.key --json
  ringmain scrub --accept-loss
      while the node runs: keys whose record is damaged are not found at this node from then on,
      and it starts clean. Once a start has met the damage, nobody knows which keys that were, and
      an older value of them may come back. Other nodes may have what this one lost")]
pub(crate) struct ScrubArgs {
    /// Give up what cannot be read
    #[arg(long)]
    pub(crate) accept_loss: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// File with the cluster's secret; needed from beyond loopback
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_secret: Option<PathBuf>,
}

/// Has every node compare its copies with those of other owners, and repair what differs; waits for
/// that. What cannot be compared now, since a member is away, is listed, and the exit code is 1.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain repair
  ringmain repair --partition 17 --json")]
pub(crate) struct RepairArgs {
    /// Only this one
    #[arg(long, value_name = "NUMBER")]
    pub(crate) partition: Option<u16>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// File with the cluster's secret; needed from beyond loopback
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_secret: Option<PathBuf>,
}

/// Has every node see what may leave for good, and waits for that. What is put off, since a member
/// is away or copies differ, is listed, and the exit code is 1.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain reap
  ringmain reap --node 10.0.0.1:7400 --cluster-secret /etc/ringmain.key --json
A key that was deleted, or has expired, longer ago than --reap-grace leaves once all members agree
twice, with 60 s in between: whatever was sent before has arrived by then. So this takes a minute
if anything is to leave, and two if an earlier look goes on. Copies of partitions that others own
leave as soon as their owners have what is in them. Put off, since a member is away or copies
differ: exit code 1. Nodes look by themselves, too, once a minute or more often.")]
pub(crate) struct ReapArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// File with the cluster's secret; needed from beyond loopback
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_secret: Option<PathBuf>,
}

/// Reads the log of each shard in a data directory that no node uses, and changes nothing there.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain log verify /var/lib/ringmain
  ringmain log dump /var/lib/ringmain | head")]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    pub(crate) command: LogCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check every current record, and tell of damage and of what a crash cut off
    #[command(after_help = "Example: ringmain log verify /var/lib/ringmain
Prints what was found, then a table: keys with the deleted ones, tombstones those alone. Progress
goes to stderr. Anything damaged: exit code 4. Replaced records are not looked at where a segment
has a snapshot.")]
    Verify(VerifyArgs),
    /// List every current record, one to a line
    #[command(after_help = "Examples:
  ringmain log dump /var/lib/ringmain
      shard, partition, segment:offset, bytes, values/tombstones, key; \\xff for other bytes
  ringmain log dump /var/lib/ringmain --json
      {\"shard\":0,\"partition\":7,\"segment\":1,\"offset\":120,\"bytes\":97,\"values\":1,
      \"tombstones\":0,\"key\":\"cart\"}, on one line
With --json a key that is not UTF-8 stands as {\"base64url\":\"…\"}. Bytes are those in the log,
without padding. What cannot be read is left out, and the exit code is 4.")]
    Dump(DumpArgs),
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Data directory of a node that is stopped
    pub(crate) dir: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    /// Data directory of a node that is stopped
    pub(crate) dir: PathBuf,
    /// One JSON object to a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints each check as ok, warn or fail, and what to do. Any fail: exit code 3.
#[derive(Args, Debug)]
#[command(after_help = "Example: ringmain doctor --data-dir /var/lib/ringmain")]
pub(crate) struct DoctorArgs {
    /// Data directory whose file system is checked
    #[arg(long, value_name = "DIR", default_value = "./ringmain-data")]
    pub(crate) data_dir: PathBuf,
}
