//! What a shard counts while it serves. A counter that several cores write costs a cache miss
//! per request, and a locked instruction costs more than the counting: so each shard has cells
//! of its own that it alone writes (relaxed load, then relaxed store), and readers add them up.
//!
//! Invariant: one [`Recorder`] per shard exists, it cannot be cloned or shared between threads,
//! so no update is lost. Readers may see counters of one moment and sums of the next; each
//! counter alone only grows. Encoding for people and Prometheus is the reader's business.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

mod histogram;

use histogram::Histogram;
pub use histogram::{BUCKET_COUNT, Buckets, bucket_of, bucket_top};

/// Declares a closed enum of measured things with their Prometheus names and help texts; the
/// sizes of the cells derive from it.
macro_rules! measured {
    ($(#[$doc:meta])* $type:ident { $($variant:ident $name:literal $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $type { $(#[doc = $help] $variant,)* }

        impl $type {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// Name without the `ringmain_` in front.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }

            /// What it measures, with the unit.
            pub fn help(self) -> &'static str {
                match self { $($type::$variant => $help,)* }
            }
        }
    };
}

measured! {
    /// What only grows.
    Counter {
        ConnectionsAccepted "connections_accepted_total" "Connections accepted.",
        ConnectionsRefused "connections_refused_total" "Connections closed at the limit.",
        ConnectionsApart "connections_apart_total" "Not made: no wire version in common.",
        ConnectionsEvicted "connections_evicted_total" "Closed, since they do not read.",
        BytesReceived "received_bytes_total" "Bytes received from sockets.",
        BytesSent "sent_bytes_total" "Bytes sent to sockets.",
        BytesLent "lent_bytes_total" "Of these, sent from the log without a copy.",
        FramesRefused "frames_refused_total" "Frames of another cluster or version.",
        FramesMalformed "frames_malformed_total" "Frames that failed their checks.",
        FramesStale "frames_stale_total" "Frames sent too long ago: each has closed its link.",
        LinksStuck "links_stuck_total" "Links closed since what they had to send did not go.",
        FramesLost "frames_lost_total" "Frames to peers and shards that found no room.",
        FramesShed "frames_shed_total" "Long answers of peers dropped for lack of memory.",
        CommandsShed "commands_shed_total" "Long commands given up half-way for lack of memory.",
        RequestsFailed "requests_failed_total" "Requests answered with an error.",
        RequestsBusy "requests_busy_total" "Of these, told to try again: too much waits.",
        RequestsForwarded "requests_forwarded_total" "Requests passed on to who has the key.",
        PeersSuspected "peers_suspected_total" "Peers found silent behind standing links.",
        SuspectWaits "suspect_waits_total" "Frames to suspects that a quorum needed.",
        ReadHedges "read_hedges_total" "Reads that asked one node more.",
        StragglerHints "straggler_hints_total" "Hints for owners that missed a success.",
        LogBytes "log_bytes_total" "Bytes appended to the log.",
        LogSyncs "log_syncs_total" "Syncs of the log ended.",
        LogErrors "log_errors_total" "Reads, writes and syncs of the log that failed.",
        LogSegmentsMerged "log_segments_merged_total" "Segments of the log merged away.",
        LogBytesMoved "log_moved_bytes_total" "Bytes of records that merging has moved.",
        LogSnapshots "log_snapshots_total" "Snapshots of segments written.",
        ScrubbedBytes "scrubbed_bytes_total" "Bytes of the log that sweeps have checked.",
        ScrubDamage "scrub_damage_total" "Damaged ranges that sweeps have met, in each anew.",
        DamagedReads "damaged_reads_total" "Damaged records that operations have met.",
        Exchanges "exchanges_total" "Comparisons with another owner that ended well.",
        ExchangesFailed "exchanges_failed_total" "Comparisons that ended early, to be tried again.",
        KeysRepaired "exchange_keys_repaired_total" "Keys that such a comparison made equal.",
        KeysUnrepaired "exchange_keys_unrepaired_total" "Keys that it could not make equal.",
        Reaped "reaped_total" "Records that left all owners: deleted or expired.",
        GivenAway "given_away_total" "Copies dropped since others own and have them.",
        Compacted "compacted_total" "Version vectors that restarts had made long, made short.",
        ExchangeRecords "exchange_records_sent_total" "Records sent to other owners in them.",
        ExchangeBytes "exchange_bytes_sent_total" "Bytes sent to other owners in them.",
        ColdReads "cold_reads_total" "Records read from disk since they were not in memory.",
        MajorFaults "major_faults_total" "Times the shard's thread waited for the disk in a fault.",
        Turns "turns_total" "Turns of the driver.",
        LongTurns "long_turns_total" "Turns over 1 ms, less the time that others had the CPU.",
        Parks "parks_total" "Times the driver gave its core back.",
    }
}

measured! {
    /// What rises and falls.
    Gauge {
        Connections "connections" "Open connections.",
        Requests "requests_in_flight" "Requests being coordinated.",
        Keys "keys" "Keys in the index, those of deletions included.",
        IndexBytes "index_bytes" "Memory of the index.",
        BufferBytes "buffer_bytes" "Memory of connections and requests in flight.",
        BufferBytesMax "buffer_bytes_max" "From there on requests are refused as too many.",
        LogLiveBytes "log_live_bytes" "Bytes of the log that reads can reach.",
        LogFileBytes "log_file_bytes" "Bytes of the log on disk.",
        LogErasureBytes "log_erasure_bytes" "Bytes of the log that say what has left.",
        LogFailed "log_failed" "1 once a write or sync has failed: the shard takes no writes.",
        LogFull "log_full" "1 while there is no space for the log's next segment.",
        LogDamagedRanges "log_damaged_ranges" "Damaged ranges that the last whole sweep met.",
        LogLostKeys "log_lost_keys" "Keys in them, which cannot be read here.",
        BackgroundShare "background_share" "Thousandths that background work gets of its time.",
        Hints "hints" "Records kept for other nodes, which lack them.",
        HintBytes "hint_bytes" "Bytes of the log that those take.",
        Tombstones "tombstones" "Keys in the index that were deleted.",
        UnownedKeys "unowned_keys" "Keys in the index whose partition others own.",
        ReapPutOff "reap_put_off" "Records that could have left, had all nodes agreed.",
        Exchanging "exchanges_running" "Comparisons that go on, asked for or answered.",
        PeersReachable "peers_reachable" "Peers to which all links of the shard stand.",
        PeersSuspect "peers_suspect" "Of these, those that are silent: others are asked first.",
        PeersOlder "peers_older" "Peers whose build speaks an older wire version: reaping waits.",
        InRing "in_ring" "1 while the shard works for a ring that this node is in.",
        Serves "serves" "0 while nobody is served, as the data directory may be an old copy.",
        MembersAlive "members_alive" "Members that the cluster holds for alive.",
        MembersSuspect "members_suspect" "Members that are suspected, or that this node lacks.",
        MembersDown "members_down" "Members that the cluster holds for down.",
    }
}

measured! {
    /// What is timed, in nanoseconds; encoded in seconds.
    Timing {
        Get "get_seconds" "From a get's arrival to its reply.",
        Put "put_seconds" "From a put's arrival to its reply.",
        Delete "delete_seconds" "From a delete's arrival to its reply.",
        LogSync "log_sync_seconds" "One sync of the log, with the write that goes before it.",
        Turn "turn_seconds" "One busy turn of the driver.",
    }
}

/// The writing end of one shard's cells: may move to the shard's thread, cannot be shared.
#[derive(Debug)]
pub struct Recorder {
    cells: Arc<Cells>,
    /// `Cell` is not `Sync`, so neither is this: one thread at a time writes.
    single_writer: PhantomData<Cell<()>>,
}

/// The reading end of all shards' cells.
#[derive(Clone, Debug)]
pub struct Metrics {
    shards: Arc<[Arc<Cells>]>,
}

/// Aligned so that two shards' first cells share no cache line, nor a pair of prefetched ones.
#[derive(Debug)]
#[repr(align(128))]
struct Cells {
    counters: [AtomicU64; Counter::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    timings: [Histogram; Timing::ALL.len()],
}

impl Gauge {
    /// Those that shard 0 alone sets, for all of the node.
    pub fn is_of_node(self) -> bool {
        matches!(self, Gauge::MembersAlive | Gauge::MembersSuspect | Gauge::MembersDown)
    }
}

impl Metrics {
    /// Cells for `shards` shards: the reader, and one recorder per shard in order.
    /// About 21 KiB per shard.
    pub fn new(shards: usize) -> (Metrics, Vec<Recorder>) {
        let cells: Arc<[Arc<Cells>]> = (0..shards).map(|_| Arc::new(Cells::new())).collect();
        let recorders = cells
            .iter()
            .map(|cells| Recorder { cells: Arc::clone(cells), single_writer: PhantomData });
        let recorders = recorders.collect();
        (Metrics { shards: cells }, recorders)
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// A counter of one shard.
    ///
    /// # Panics
    /// If there is no such shard; so do [`gauge`](Self::gauge) and [`timing`](Self::timing).
    pub fn counter(&self, shard: usize, counter: Counter) -> u64 {
        self.shards[shard].counters[counter as usize].load(Ordering::Relaxed)
    }

    /// A counter of the node: the sum over its shards.
    pub fn counter_total(&self, counter: Counter) -> u64 {
        (0..self.shard_count()).map(|shard| self.counter(shard, counter)).sum()
    }

    /// A gauge of all shards, added up.
    pub fn gauge_total(&self, gauge: Gauge) -> u64 {
        (0..self.shard_count()).map(|shard| self.gauge(shard, gauge)).sum()
    }

    /// A gauge of one shard.
    pub fn gauge(&self, shard: usize, gauge: Gauge) -> u64 {
        self.shards[shard].gauges[gauge as usize].load(Ordering::Relaxed)
    }

    /// A copy of one shard's histogram.
    pub fn timing(&self, shard: usize, timing: Timing) -> Buckets {
        self.shards[shard].timings[timing as usize].read()
    }
}

impl Recorder {
    /// Counts `more` of something.
    pub fn add(&self, counter: Counter, more: u64) {
        bump(&self.cells.counters[counter as usize], more);
    }

    /// Says where something stands now.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.cells.gauges[gauge as usize].store(value, Ordering::Relaxed);
    }

    /// Takes over what something that counts by itself has come to.
    pub fn reach(&self, counter: Counter, total: u64) {
        self.cells.counters[counter as usize].store(total, Ordering::Relaxed);
    }

    /// Records one duration, in nanoseconds. Three cells are written.
    pub fn time(&self, timing: Timing, nanoseconds: u64) {
        self.time_many(timing, nanoseconds, 1);
    }

    /// Records as many equal durations at the price of one.
    pub fn time_many(&self, timing: Timing, nanoseconds: u64, count: u64) {
        self.cells.timings[timing as usize].record(nanoseconds, count);
    }
}

impl Cells {
    fn new() -> Cells {
        Cells {
            counters: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            gauges: [const { AtomicU64::new(0) }; Gauge::ALL.len()],
            timings: [const { Histogram::new() }; Timing::ALL.len()],
        }
    }
}

/// Adds without a locked instruction: right only because one thread writes the cell.
fn bump(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
