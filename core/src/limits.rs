//! Every bound of the protocol, in one place: name, unit, and how it relates to the others.

use core::time::Duration;

/// Longest key, bytes. `--max-key-bytes` may lower it.
pub const KEY_BYTES_MAX: usize = 4096;
/// Largest value that `--max-value-bytes` may allow, bytes.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The latest time at which a value may expire, Unix milliseconds, as in Redis.
pub const EXPIRES_MS_MAX: u64 = i64::MAX as u64;
/// Most siblings that a client write may leave in a record.
pub const SIBLING_COUNT_MAX: usize = 100;
/// Largest record that a client write may leave, bytes. Joins may exceed it.
pub const RECORD_BYTES_MAX: usize = 8 << 20;
/// Most version-vector entries that a client write may leave in a record.
pub const VERSION_VECTOR_COUNT_MAX: usize = 4096;
/// Largest body of a frame or log record, bytes: two full records may join into one.
pub const BODY_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX + KEY_BYTES_MAX + 64;
/// Smallest and largest number of partitions of a cluster, as powers of two.
pub const PARTITION_BITS_MIN: u32 = 6;
/// See [`PARTITION_BITS_MIN`].
pub const PARTITION_BITS_MAX: u32 = 14;
/// Most owners of a partition (`--n`).
pub const REPLICA_COUNT_MAX: usize = 8;
/// Most members of a cluster.
pub const MEMBER_COUNT_MAX: usize = 256;
/// Most committed topology operations that a node keeps.
pub const OPERATION_COUNT_MAX: usize = 4096;
/// Most of them behind one that an operator commits: what two sides of a split commit apart from
/// each other must have room together.
pub const COMMIT_OPERATION_COUNT_MAX: usize = OPERATION_COUNT_MAX / 2;
/// The same, of one that removes a member: who is lost must go even then.
pub const REMOVE_OPERATION_COUNT_MAX: usize = OPERATION_COUNT_MAX / 4 * 3;
/// Most operations that are staged at once.
pub const STAGED_COUNT_MAX: usize = 64;
/// Nodes that wait to become members and that a member shows by their names.
pub const CANDIDATE_COUNT_MAX: usize = 64;
/// Most shards of a node.
pub const SHARD_COUNT_MAX: usize = 256;
/// Longest deadline of a request; frames carry it in 16 bits of milliseconds.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// No frame of a peer is acted upon that was put into its sender's output longer ago: two longest
/// deadlines, whatever deadlines nodes are set to, since hints and exchanges have others, and since
/// whoever waits until no older frame can come need not ask the others for theirs.
pub const FRAME_AGE_MAX: Duration = Duration::from_secs(2 * REQUEST_TIMEOUT_MAX.as_secs());
/// An end of a link that has put nothing into its output for so long says something.
pub const BEAT_PAUSE: Duration = Duration::from_secs(20);
/// After this long the times in frames are the same again.
pub const STAMP_WRAP: Duration = Duration::from_millis(1 << 16);
/// Leaves of a partition's Merkle tree: a constant of the cluster.
pub const MERKLE_LEAF_COUNT: usize = 1 << 12;
/// Children of a node of that tree.
pub const MERKLE_FANOUT: usize = 16;
/// Nodes of a Merkle tree whose children one frame of an exchange asks for.
pub const EXCHANGE_NODE_COUNT_MAX: usize = 16;
/// Hashes in one frame of an exchange.
pub const EXCHANGE_HASH_COUNT_MAX: usize = EXCHANGE_NODE_COUNT_MAX * MERKLE_FANOUT;
/// Ranges that one frame of an exchange asks to be listed: leaves, or single orders.
pub const EXCHANGE_RANGE_COUNT_MAX: usize = 256;
/// Keys in one list of an exchange.
pub const EXCHANGE_ENTRY_COUNT_MAX: usize = 512;
/// Orders whose records one frame of an exchange asks for, and pushes that one confirms.
pub const EXCHANGE_FETCH_COUNT_MAX: usize = 64;
/// Records of an exchange that travel before the receiver confirms them, about, bytes.
pub const EXCHANGE_WINDOW_BYTES: usize = 64 << 10;
/// Differences that one exchange knows at once.
pub const EXCHANGE_DIFFERENCE_COUNT_MAX: usize = 512;
/// How often one exchange sends the records of one order, when each join says something new.
pub const EXCHANGE_PUSH_COUNT_MAX: u8 = 3;
/// After this long without a word of the peer, an exchange ends.
pub const EXCHANGE_SILENCE: Duration = Duration::from_secs(10);
/// How often every pair of owners of a partition has an exchange.
pub const EXCHANGE_INTERVAL: Duration = Duration::from_secs(60);
/// Pause before an exchange that ended early is tried again.
pub const EXCHANGE_RETRY: Duration = Duration::from_secs(1);
/// Within which the exchanges begin that hand over partitions.
pub const HANDOFF_SPREAD: Duration = Duration::from_millis(100);
/// Until two copies are compared again of which one was handed over, as long as others are not.
pub const HANDOFF_AGAIN: Duration = Duration::from_secs(10);
/// With fewer keys on both sides, differences are found one by one, never by streaming all.
pub const EXCHANGE_BULK_KEYS_MIN: u64 = 512;
/// Exchanges that one shard asks for at once. Where writes go on, most wait for those in flight, so
/// few would not come round in an interval.
pub const EXCHANGE_ASKING_COUNT_MAX: usize = 32;
/// Exchanges that one shard answers at once: as many as two others ask for.
pub const EXCHANGE_ANSWERING_COUNT_MAX: usize = 64;
/// Bytes that the exchanges of one shard send in a second, in the long run.
pub const EXCHANGE_BYTES_PER_SECOND: u64 = 8 << 20;
/// As many more at once, bytes.
pub const EXCHANGE_BURST_BYTES: u64 = 256 << 10;
/// Own keys that one step of an exchange lists, or sends: it takes some microseconds.
pub const EXCHANGE_STEP_COUNT: usize = 64;
/// Records that are read into memory ahead when a step of an exchange meets a cold one.
pub const EXCHANGE_READ_AHEAD_COUNT: usize = 128;
/// Pause before that step is done again: a read of a slow disk.
pub const EXCHANGE_FETCH_PAUSE: Duration = Duration::from_millis(10);
/// How often that happens before the exchange ends: for three seconds.
pub const EXCHANGE_FETCH_COUNT: u32 = 300;
/// Keys that one page of a scan lists, live or not: so many records are read in one step.
pub const SCAN_PAGE_COUNT_MAX: usize = 128;
/// A page ends behind the key with which it has so many bytes.
pub const SCAN_PAGE_BYTES: usize = 64 << 10;
/// Keys that one SCAN looks at at most, whatever its COUNT.
pub const SCAN_COUNT_MAX: u64 = 4096;
/// Keys that one SCAN looks at where no COUNT is given, as in Redis.
pub const SCAN_COUNT_DEFAULT: u64 = 10;
/// Longest pattern of a SCAN, bytes: matching it costs at most its length for each byte of a key.
pub const SCAN_PATTERN_BYTES_MAX: usize = 512;
/// The reply of one SCAN ends with the page with which it has so many bytes of keys.
pub const SCAN_REPLY_BYTES: usize = 256 << 10;
/// Pages of one SCAN that are asked for at once: no more than are likely to be needed.
pub const SCAN_WINDOW: usize = 16;
/// Pages that one SCAN asks for before it answers with what it has found, be that nothing: a small
/// data set lies in partitions that are mostly empty.
pub const SCAN_ASKED_COUNT_MAX: u32 = 256;
/// After this long a SCAN asks for no more, and answers with what it has found.
pub const SCAN_TIME: Duration = Duration::from_millis(250);
/// Partitions that one DBSIZE asks for at once.
pub const DBSIZE_WINDOW: usize = 64;
/// Longest name of a node or zone, bytes.
pub const NAME_BYTES_MAX: usize = 32;

/// After this long without an answer, a read asks one more replica, while nothing is known of how
/// long the one that is waited for usually takes.
pub const READ_HEDGE: Duration = Duration::from_millis(20);
/// The shortest such time: a turn of a busy shard is no reason to ask more.
pub const READ_HEDGE_MIN: Duration = Duration::from_millis(2);
/// The longest one.
pub const READ_HEDGE_MAX: Duration = Duration::from_millis(100);
/// Of so many reads one asks all owners, so that the latencies of all are known.
pub const READ_EXPLORE: u32 = 128;
/// Silence of a peer that is always borne: twice as much, and it is suspect.
pub const SILENCE_FLOOR: Duration = Duration::from_millis(100);
/// No more is borne of any peer, however slow.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Pause before a suspect is asked for the first sign of life; each is twice the one before.
pub const SIGN_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest one.
pub const SIGN_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a shard looks whether it was stopped.
pub const PULSE: Duration = Duration::from_millis(100);
/// A shard that is late by more was stopped.
pub const STOP_MIN: Duration = Duration::from_millis(100);
/// How long a shard that was stopped may take to read what has come meanwhile.
pub const STOP_GRACE: Duration = Duration::from_millis(50);
/// Copies that reads of one shard bring up to date in a second, in the long run: a read must not
/// cost much more while a node that was away for long is behind.
pub const READ_REPAIR_PER_SECOND: u64 = 2_000;
/// As many more at once.
pub const READ_REPAIR_BURST: u64 = 500;
/// Bytes of hints that one shard hands off in a second, in the long run: a node that comes back has
/// requests to serve, and so have those that kept hints for it.
pub const HANDOFF_BYTES_PER_SECOND: u64 = 4 << 20;
/// As many more at once, bytes.
pub const HANDOFF_BURST_BYTES: u64 = 256 << 10;
/// Most hints in flight to one node: enough to share its syncs, few enough for its queues.
pub const HANDOFF_COUNT_MAX: usize = 32;
/// Records that a survey asks about at most.
pub const SURVEY_ENTRY_COUNT_MAX: usize = 128;
/// Surveys of one shard at a time, at most.
pub const SURVEY_COUNT_MAX: usize = 512;
/// How long a node that has started waits for a member that was vouched for, once it was told by
/// one that was not, that its disk is the newest: as after a stop of all.
pub const VOUCH_PAUSE: Duration = Duration::from_secs(2);
/// How long a survey waits for answers.
pub const SURVEY_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time between two looks for what can leave; a quarter of the grace if that is shorter.
pub const SURVEY_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// The shortest one, and the pause before a look that was put off is tried again.
pub const SURVEY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Version vectors that a write or a join leaves with more entries may be compacted.
pub const COMPACT_COUNT_MIN: usize = 16;
/// Entries that a compaction takes from one version vector at most.
pub const COMPACT_ENTRY_COUNT_MAX: usize = SURVEY_ENTRY_COUNT_MAX;
/// Keys with such version vectors that one shard knows at a time.
pub const COMPACT_KEY_COUNT_MAX: usize = 128;
/// Pause between the last two questions about entries that are to go, several syncs of a slow disk,
/// as a part of the time for which a frame is taken: 5 s.
pub const COMPACT_SYNC_PART: u32 = 12;
/// Keys of which a shard knows at a time which entries have gone.
pub const COMPACTED_COUNT_MAX: usize = 64;
/// How long it does, until what others sent before they heard of it has come, as such a part: 10 s.
pub const COMPACTED_PART: u32 = 6;
/// Records that one step drops at most.
pub const ERASE_ENTRY_COUNT_MAX: usize = 32;
/// How long a hint waits for its acknowledgment: many times as long as a sync takes.
pub const HANDOFF_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest pause after a hint that was not taken; each is twice the one before.
pub const HANDOFF_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest one.
pub const HANDOFF_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause before a hint that is being read into memory is looked for again: a read of a slow disk.
pub const HANDOFF_FETCH_PAUSE: Duration = Duration::from_millis(10);
/// How often that happens before the hint is passed over until the next pass: for a second.
pub const HANDOFF_FETCH_COUNT_MAX: u32 = 100;
/// Default time after which nodes for which hints are left are looked at again.
pub const HINT_INTERVAL: Duration = Duration::from_secs(10);
/// Reads of a cold record that may bring nothing, in a row, before what waits for it is refused and
/// the record counts as damaged.
pub const FETCH_COUNT_MAX: u32 = 3;
/// Operations on one key that go on in one step when the record that they waited for was read.
pub const RESUME_COUNT_MAX: usize = 32;
/// Pause before a replica that knew another topology, or one that reads the first records of a
/// page into memory, is asked again.
pub const TOPOLOGY_RETRY: Duration = Duration::from_millis(10);
/// How much longer than the deadline a forwarded request waits for its reply.
pub const FORWARD_GRACE: Duration = Duration::from_millis(50);
/// How long a newcomer waits for all members, and a member for a newcomer's decision.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest pause between two attempts of a newcomer; the longest is twice that.
pub const JOIN_PAUSE: Duration = Duration::from_millis(100);
/// How often both are doubled at most while a newcomer meets others: a few dozen get in at once.
pub const JOIN_PAUSE_DOUBLED_MAX: u32 = 6;
/// How often a member with a silent newcomer asks the others.
pub const HOLD_QUERY: Duration = Duration::from_millis(500);
/// Births of one partition in one process life: they travel in 28 bits.
pub const BIRTH_MAX: u32 = (1 << 28) - 1;
/// Bits of a process life ([`Boot`](crate::id::Boot)).
pub const BOOT_BITS: u32 = 40;

/// Default time between two probes of a failure detector (T).
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// Members that are asked to probe a silent one.
pub const RELAY_COUNT_MAX: usize = 3;
/// Shortest time that a suspect has to refute: this × max(1, log10 n) × T.
pub const SUSPICION_PERIODS_MIN: u32 = 4;
/// Longest time that it has, in shortest times.
pub const SUSPICION_FACTOR_MAX: u32 = 6;
/// Members that must confirm an accusation before the suspect has the shortest time.
pub const CONFIRMATION_COUNT_MAX: usize = 2;
/// By how much a node that doubts itself stretches its probes, and the time of its suspects.
pub const HEALTH_MULTIPLIER_MAX: u32 = 8;
/// Time between two probes of members that are down, in T.
pub const DOWN_PROBE_PERIODS: u32 = 10;
/// Time between two exchanges of digests with a random member, up to 32 members.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(30);
/// Most updates that a message of a failure detector carries beside a whole table.
pub const UPDATE_COUNT_MAX: usize = 35;
/// Longest frame of such a message, bytes: it fits a packet of a common network.
pub const GOSSIP_BYTES_MAX: usize = 1400;

const _: () = assert!(VALUE_BYTES_MAX < RECORD_BYTES_MAX, "one sibling fits a record");
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize, "key lengths travel in 16 bits");
const _: () = assert!(SIBLING_COUNT_MAX <= u16::MAX as usize, "counts travel in 16 bits");
const _: () = assert!(VERSION_VECTOR_COUNT_MAX <= u16::MAX as usize);
const _: () = assert!(BODY_BYTES_MAX <= u32::MAX as usize, "body lengths travel in 32 bits");
const _: () = assert!(REQUEST_TIMEOUT_MAX.as_millis() <= u16::MAX as u128);
const _: () =
    assert!(FRAME_AGE_MAX.as_millis() < STAMP_WRAP.as_millis(), "what wraps unseen is too old");
const _: () =
    assert!(3 * BEAT_PAUSE.as_millis() < STAMP_WRAP.as_millis(), "what is late does not wrap");
const _: () = assert!(READ_HEDGE_MAX.as_nanos() <= SILENCE_FLOOR.as_nanos(), "reads go on first");
const _: () = assert!(HANDOFF_TIMEOUT.as_nanos() <= REQUEST_TIMEOUT_MAX.as_nanos());
const _: () = assert!(MEMBER_COUNT_MAX <= 1 << 8, "a detector's round has indices of 8 bits");
const _: () = assert!(CONFIRMATION_COUNT_MAX == 2, "the fractions of their logarithm are listed");
const _: () = assert!(PARTITION_BITS_MAX <= 16, "a partition is a u16");
const _: () = assert!(EXCHANGE_RANGE_COUNT_MAX <= MERKLE_LEAF_COUNT);
const _: () = assert!(EXCHANGE_ASKING_COUNT_MAX <= 1 << 8, "a session has a slot of 8 bits");
const _: () = assert!(EXCHANGE_ANSWERING_COUNT_MAX <= 1 << 8);
const _: () = assert!(EXCHANGE_WINDOW_BYTES <= u32::MAX as usize, "it travels in 32 bits");
const _: () = assert!(SCAN_PAGE_COUNT_MAX <= u16::MAX as usize, "counts travel in 16 bits");
const _: () = assert!(SCAN_WINDOW <= DBSIZE_WINDOW);
const _: () = assert!(MERKLE_FANOUT.pow(3) == MERKLE_LEAF_COUNT, "three levels lead to a leaf");
