//! Every limit of the load generator.

use std::time::Duration;

/// Connections.
pub(crate) const CONNECTION_COUNT_MAX: u64 = 10_000;
/// Requests in flight on one connection.
pub(crate) const PIPELINE_COUNT_MAX: u64 = 1024;
/// Keys: their numbers have twelve digits, and [`Draw`](super::draw::Draw) scatters as many.
pub(crate) const KEY_COUNT_MAX: u64 = 1_000_000_000;
/// Requests per second.
pub(crate) const RATE_MAX: u64 = 10_000_000;
/// Requests in flight on one connection while keys are written.
pub(super) const LOAD_PIPELINE_COUNT: u64 = 64;
/// How often the writing of a key is refused, for each key on average and once more, until the
/// load is given up.
pub(super) const LOAD_REFUSED_PER_KEY_MAX: u64 = 3;
/// How long an answer may take once nothing is sent any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Kinds of errors that are told apart.
pub(super) const ERROR_KINDS_MAX: usize = 16;
/// The line that says how long what follows is, or that is all of an answer in RESP.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;
/// A bulk string in RESP: what Redis takes.
pub(super) const BULK_BYTES_MAX: usize = 512 << 20;
/// Latencies are told apart up to here; longer ones count as this.
pub(super) const LATENCY_MAX: Duration = Duration::from_secs(1000);
