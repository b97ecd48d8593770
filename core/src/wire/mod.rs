//! The native protocol, byte by byte: how clients, peers and the log write things down.
//!
//! A **frame** is a *hop part* of 32 bytes and a *body*: covered header, key, payload. A record
//! of the log is a *place part* of 32 bytes and the same body, so a record travels from the
//! coordinator into every replica's log unchanged, with one checksum computed once. All
//! integers are little-endian; nothing is aligned or padded; reserved bytes are 0 and anything
//! else is refused. Bytes from outside are checked once, by the `new_checked` of each type, and
//! give an error, never a panic; what a writer asserts, its reader checks.
//!
//! A connection opens with HELLO (its frame may carry topology and digest 0), HELLO_REPLY,
//! PROOF, then WELCOME or REFUSED; see [`handshake`]. These five keep their layout, and say version
//! 1, in every later version, so that any two nodes can tell each other why they part. All other
//! frames of a connection say the version on which its ends agreed; see [`version`], also for the
//! rule: never change the bytes of a frame without a version. `since` names the version that
//! brought an op; the others are of version 1.
//!
//! The log has versions of its own: of its files (FORMAT_VERSION in the runtime), which covers the
//! covered header and Record v1 as they lie there, and of the place part. Both travel unchanged
//! between wire and log, so whoever changes one of them raises both.
//!
//! Columns: offset, bytes, field, meaning. `+` is behind the field above; a length that is a
//! name is the value of that field; `rest` goes up to the end. A test holds this to the code.
//!
//! ```text
//! hop part: 32 bytes, on the wire; not covered by the CRC, may be rewritten at every hop
//!    0   2  magic            a7 52
//!    2   1  version          1 in a handshake, then the one agreed on
//!    3   1  op               the numbers below
//!    4   4  body             bytes behind these 32: 8..=BODY_BYTES_MAX, less for most ops
//!    8   4  request          the sender's name for it; an answer repeats it
//!   12   2  deadline_ms      what is left of the request's time at sending
//!   14   2  sent_ms          between nodes: when it was put into the sender's output, in ms since
//!                            the sender's end of the connection began, modulo 65536; else 0
//!   16   8  topology         the sender's topology id, 0 = none
//!   24   8  cluster_digest   of the cluster id, 0 = none
//! place part: 32 bytes, in the log
//!    0   2  magic            a7 4c
//!    2   1  version          1
//!    3   1  kind             1 record, 2 batch header, 3 hint, 4 erasure
//!    4   4  body             bytes behind these 32
//!    8   4  segment          where this record stands
//!   12   2  mine             0 none, else 1 + index in the version vector
//!   14   2  flags            the log's
//!   16   8  offset           where this record stands: bytes from the segment's start
//!   24   4  guard            CRC-32C of bytes 0..24 of this, of the body's 4 bytes of CRC, and
//!                            of a hint's or an erasure's target
//!   28   4  target           the node that a hint is kept for, or was; 0 of others
//! covered header: 8 bytes, then the key, then the payload
//!    0   4  crc32c           CRC-32C of the body behind these 4 bytes
//!    4   2  key_bytes        0..=KEY_BYTES_MAX
//!    6   2  reserved
//!    8 key_bytes  key
//!    + rest  payload         by op:
//!
//! HELLO=1: 56 bytes
//!    0   1  version_min      oldest version that the dialer speaks, >= 1
//!    1   1  version_max      newest
//!    2   1  kind             1 peer, 2 client, 3 joiner
//!    3   1  reserved
//!    4   2  shard            shard asked for (0 always exists)
//!    6   2  source_shard     the dialer's shard, clients 0
//!    8   2  shards           shards of the dialer, clients 0
//!   10   2  reserved2
//!   12   4  node             the dialer, clients 0
//!   16   8  boot             40 bits, clients 0
//!   24  16  nonce            random, new for every connection
//!   40  16  cluster          0 = not known yet
//! HELLO_REPLY=2: 80 bytes, then the secret
//!    0   1  version          chosen
//!    1   1  flags            1 SECRET: a secret follows (joiners over loopback only)
//!    2   1  partition_bits   log2 of the partitions, 0 = this node is in no cluster
//!    3   1  n                0 = as above, so for r, w, hash_seed, cluster
//!    4   1  r
//!    5   1  w
//!    6   2  shards
//!    8   4  node
//!   12   2  secret_bytes     0 or 32..=256
//!   14   2  reserved
//!   16   8  boot
//!   24   8  hash_seed        of the key hash
//!   32  16  cluster
//!   48  16  nonce            random, new for every connection
//!   64  16  proof            of the acceptor
//!   80 secret_bytes  secret
//! PROOF=3: 16 bytes
//!    0  16  proof            of the dialer
//! WELCOME=4: 0 bytes
//! REFUSED=5: 8 bytes
//!    0   1  reason           see hello::Reason
//!    1   1  version_min      versions that the acceptor speaks
//!    2   1  version_max
//!    3   5  reserved
//!
//! GET=16: 8 bytes, then the context; has a key
//!    0   1  r                0 = the cluster's
//!    1   1  pr
//!    2   1  flags            1 FORWARDED, 2 WANT_CONTEXT
//!    3   1  reserved
//!    4   4  context_bytes
//!    8 context_bytes  context  raw token that the answer must cover
//! PUT=17: 32 bytes, then context and value; has a key
//!    0   1  w                0 = the cluster's
//!    1   1  pw
//!    2   1  dw
//!    3   1  r                0 = the cluster's; 0 without READ_FIRST
//!    4   2  flags            1 FORWARDED, 2 TOMBSTONE, 4 EXPIRES, 8 CONTEXT_LOCAL,
//!                            16 READ_FIRST, 32 VALUE_ONLY, 64 EXPIRY_ONLY, 128 RETURN_OLD,
//!                            256 WANT_CONTEXT; of TOMBSTONE, VALUE_ONLY (without EXPIRES)
//!                            and EXPIRY_ONLY one, the last two with READ_FIRST
//!    6   1  condition        see put::Condition; 0 without READ_FIRST
//!    7   1  reserved
//!    8   8  timestamp_ms     0 = the coordinator stamps
//!   16   8  expires_ms       1..=EXPIRES_MS_MAX; 0 without EXPIRES
//!   24   4  context_bytes    0 with CONTEXT_LOCAL or READ_FIRST
//!   28   4  value_bytes      0 with TOMBSTONE or EXPIRY_ONLY
//!   32 context_bytes  context  raw token; empty = the empty context
//!    + value_bytes  value
//! REPLY=18: 24 bytes, then the context, then the siblings, timestamps descending
//!    0   1  status           see reply::Status
//!    1   1  needed           answers that were needed
//!    2   1  got              answers that came
//!    3   1  reserved
//!    4   2  live             live siblings (of a put: after it)
//!    6   2  found            live siblings that a READ_FIRST found
//!    8   4  context_bytes    0 = no context, or the empty one of a key never written
//!   12   2  siblings         how many follow
//!   14   2  reserved2
//!   16   8  order            of the key of the request, in its partition
//!   24 context_bytes  context
//! sibling in a REPLY: 24 bytes, then its value
//!    0   8  timestamp_ms
//!    8   8  expires_ms       0 = never
//!   16   4  value_bytes
//!   20   4  reserved
//!   24 value_bytes  value
//! ROUTES=19: 8 bytes; since 2
//!    0   8  known            topology of the routes that the client has, 0 = none
//! ROUTES_REPLY=20: 8 bytes, then nodes, then the places of all partitions; since 2
//!    0   1  partition_bits   log2 of the partitions; 0 = the routes asked about hold, and the
//!                            rest is 0
//!    1   1  row              places for each partition, 0..=REPLICA_COUNT_MAX
//!    2   2  node_count       0..=MEMBER_COUNT_MAX
//!    4   4  reserved
//! node in a ROUTES_REPLY: 24 bytes
//!    0   4  node             not 0
//!    4   2  native_port      not 0
//!    6   2  shards           1..=SHARD_COUNT_MAX; partition p is with shard
//!                            p x shards / partitions, and HELLO names the shard
//!    8  16  ip               IPv4 as ::ffff:a.b.c.d
//! place in a ROUTES_REPLY: 2 bytes
//!    0   2  index            of a node that coordinates the partition, the first to be asked
//!                            first; behind the last 65535
//!
//! REPLICATE=32 REPLICATE_SYNC=33: 0 bytes, then Record v1; has a key
//! ACK=34: 16 bytes
//!    0   8  order            of the key, in its partition
//!    8   1  flags            1 DURABLE
//!    9   7  reserved
//! READ=35: 16 bytes; has a key
//!    0   8  known            version that the sender has of it, 0 = none
//!    8   4  target           the hint kept for this node is wanted, 0 = the own copy
//!   12   4  reserved
//! READ_REPLY=36: 0 bytes, then Record v1, nothing = not found; has a key
//! REJECT=37: 16 bytes
//!    0   1  reason           see peer::RejectReason
//!    1   7  reserved
//!    8   8  order            of the key, in its partition
//! READ_SAME=38: 16 bytes
//!    0   8  order            of the key, in its partition
//!    8   8  version          the one that the reader knows
//! HINT=39 HINT_SYNC=40: 8 bytes, then Record v1; has a key
//!    0   4  target           the owner for which it is to be kept
//!    4   4  reserved
//! BEAT=41: 0 bytes
//!
//! TOPOLOGY=48: 8 bytes, then operations and contacts
//!    0   2  operation_count
//!    2   2  operation_bytes  of each
//!    4   2  contact_count
//!    6   2  contact_bytes    of each
//! WARM=49: 0 bytes
//! STAGED=50: 16 bytes, then operations
//!    0   8  revision         of what is staged; the highest holds
//!    8   2  operation_count
//!   10   2  operation_bytes  of each
//!   12   4  reserved
//! CANDIDATE=51: 0 bytes, then an operation
//! EPOCHS=55: 8 bytes, then claims, ascending by node, none twice
//!    0   1  flags            1 ASKS, 2 VOUCHED
//!    1   7  reserved
//! claim in an EPOCHS: 12 bytes
//!    0   4  node             not 0
//!    4   8  raised           a reap epoch that it has had on disk, >= 1
//!
//! SCAN=52 PAGE=53: 16 bytes
//!    0   2  partition
//!    2   2  count            keys that are enough, 0..=SCAN_PAGE_COUNT_MAX; 0: only how many
//!                            there are
//!    4   4  reserved
//!    8   8  from             the first order that is wanted
//! PAGE_REPLY=54: 32 bytes, then entries, ascending by order and key
//!    0   2  partition
//!    2   2  entries          how many follow
//!    4   4  reserved
//!    8   8  from             as asked
//!   16   8  last             all keys from there up to this order are listed; nothing of a
//!                            page of no keys
//!   24   8  keys             in the partition, if count was 0; else 0
//! entry of a PAGE_REPLY: 16 bytes, then the key, then a Record v1 whose values are empty
//!    0   8  order            from..=last
//!    8   2  key_bytes        1..=KEY_BYTES_MAX
//!   10   2  reserved
//!   12   4  record_bytes     >= 1
//!   16 key_bytes  key
//!    + record_bytes  record
//! context of a REPLY to SCAN: 16 bytes; its siblings are keys, without stamp and expiry
//!    0   8  last             as in a PAGE_REPLY
//!    8   8  keys             likewise
//!
//! STATUS=64: 0 bytes
//! RING=65: 0 bytes; may have a key
//! ADMIN_REPLY=66: 1 bytes, then JSON in UTF-8
//!    0   1  status           see reply::Status
//! SCRUB=67: 8 bytes
//!    0   1  flags            1 ACCEPT_LOSS
//!    1   7  reserved
//! SCRUB_STATUS=68: 0 bytes
//! HINTS=69: 0 bytes
//! EXCHANGES=70: 0 bytes
//! REPAIR=71: 8 bytes
//!    0   1  flags            1 ONE_PARTITION
//!    1   1  reserved
//!    2   2  partition        0 without the flag
//!    4   4  reserved_too
//! REPAIR_STATUS=72: 0 bytes
//! STAGE=73: 8 bytes, then two words in UTF-8
//!    0   1  verb             see admin::Verb
//!    1   1  flags            1 FORCE, of a FORGET only
//!    2   2  weight           >= 1 of a WEIGHT, else 0
//!    4   2  node_bytes       1..=32, 0 with a JOIN of the node that is asked
//!    6   2  argument_bytes   1..=32 of REPLACE and ZONE, else 0
//!    8 node_bytes  node      an id of 8 hex digits, or a name
//!    + argument_bytes  argument  the other node, or the zone
//! PLAN=74: 0 bytes
//! COMMIT=75: 16 bytes
//!    0   8  hash             of the plan
//!    8   1  flags            1 ACCEPT_LOSS
//!    9   7  reserved
//! CLEAR=76: 0 bytes
//! TRANSFERS=77: 0 bytes
//! REAP=78: 0 bytes; since 2
//! REAP_STATUS=79: 0 bytes; since 2
//!
//! PING=80 PING_REQUEST=81 PONG=82 RELAYING=83: 8 bytes, then at most UPDATE_COUNT_MAX updates
//!    0   4  sequence         the prober's number of its probe
//!    4   4  node             PING, PONG: who probes; else: whom to probe
//! SYNC=84: 8 bytes, then at most UPDATE_COUNT_MAX updates
//!    0   8  digest           of the sender's table
//! SYNC_TABLE=85: 8 bytes, then the sender's table as updates
//!    0   1  flags            1 REQUEST
//!    1   7  reserved
//! update in a PING to SYNC_TABLE: 24 bytes
//!    0   4  node
//!    4   4  incarnation
//!    8   8  boot             40 bits
//!   16   4  accuser          who suspects it, 0 if it is not suspect
//!   20   1  status           see gossip::Liveness
//!   21   3  reserved
//! EXCHANGE_OPEN=96: 24 bytes
//!    0   2  partition
//!    2   6  reserved
//!    8   8  root             of the sender's tree
//!   16   8  keys             that the sender holds in the partition
//! EXCHANGE_SAME=97: 0 bytes
//! EXCHANGE_NODES=98: 40 bytes
//!    0   1  level            0..=2, the root's being 0
//!    1   7  reserved
//!    8  32  bits             of node i: bit i mod 64 of the u64 at 8 x (i / 64); 1..=16 are set
//! EXCHANGE_HASHES=99: 16 bytes, then the hashes of children, 16 for each node
//!    0   1  level            of the nodes
//!    1   7  reserved
//!    8   8  keys             that the sender holds in the partition
//!   16 rest  hashes          8 bytes each, 16..=256
//! EXCHANGE_LIST=100: 16 bytes, then ranges
//!    0   8  order            entries above this and the version are wanted
//!    8   8  version
//!   16 rest  ranges          first u64 and last u64 of each, 1..=256, ascending, apart
//! EXCHANGE_LISTED=101: 8 bytes, then entries
//!    0   1  flags            1 DONE; if not, there is at least one entry
//!    1   7  reserved
//!    8 rest  entries         order u64 and version u64 of each, 0..=512, ascending
//! EXCHANGE_RECORD=102: 0 bytes, then Record v1; has a key
//! EXCHANGE_FETCH=103: 8 bytes, then orders
//!    0   4  bytes            of records that are enough for one answer, >= 1
//!    4   4  reserved
//!    8 rest  orders          8 bytes each, 0..=64
//! EXCHANGE_FETCHED=104: 8 bytes
//!    0   4  served           orders, from the first on
//!    4   4  refused          records that could not be joined
//! EXCHANGE_STREAM=105: 16 bytes
//!    0   8  from             the first order
//!    8   4  bytes            of records that are enough for one answer, >= 1
//!   12   4  reserved
//! EXCHANGE_STREAMED=106: 16 bytes
//!    0   8  next             order to go on from; 0 without MORE
//!    8   1  flags            1 MORE
//!    9   7  reserved
//! EXCHANGE_END=107: 24 bytes
//!    0   1  reason           see exchange::EndReason
//!    1   3  reserved
//!    4   4  differences      keys in which the two differ still
//!    8   8  sent             records
//!   16   8  got              records
//! SURVEY=112: 16 bytes, then 1..=SURVEY_ENTRY_COUNT_MAX entries as in EXCHANGE_LISTED; since 2
//!    0   8  order            of the key, to compact: entries are dots, upper half first; else 0
//!    8   2  partition
//!   10   1  purpose          1 reap, 2 fence, 3 compact
//!   11   1  flags            1 LAST: what was agreed to before must be on disk; to compact
//!   12   4  reserved
//! SURVEYED=113: 40 bytes; since 2
//!    0  16  agreed           a bit for each entry, from the lowest of the first byte on
//!   16   4  frame_age_max_ms how old a frame may be that the sender takes
//!   20   4  reserved
//!   24   8  raised           the reap epoch of the sender
//!   32   8  floor            the least one that it knows of any member, on disk
//! ERASE=114: 16 bytes, then 1..=ERASE_ENTRY_COUNT_MAX entries as in EXCHANGE_LISTED; since 2
//!    0   8  order            as in SURVEY; to compact, there are up to COMPACT_ENTRY_COUNT_MAX
//!    8   2  partition
//!   10   1  purpose          1 reap, 3 compact
//!   11   5  reserved
//! ```

use crate::limits::{
    BODY_BYTES_MAX, KEY_BYTES_MAX, MEMBER_COUNT_MAX, OPERATION_COUNT_MAX, VALUE_BYTES_MAX,
    VERSION_VECTOR_COUNT_MAX,
};

#[macro_use]
mod codes;

pub mod admin;
pub mod age;
pub mod body;
pub mod epochs;
pub mod exchange;
pub mod frame;
pub mod get;
pub mod gossip;
pub mod handshake;
pub mod hello;
mod layout;
pub mod message;
pub mod op;
pub mod payload;
pub mod peer;
pub mod place;
pub mod put;
pub mod reply;
pub mod routes;
pub mod scan;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod topology;
pub mod version;

/// Newest version of the protocol that this build speaks.
pub const VERSION: u8 = if cfg!(feature = "wire-older") { 1 } else { 2 };
/// Oldest: the one before, so that nodes can be upgraded one by one.
pub const VERSION_MIN: u8 = if VERSION > 1 { VERSION - 1 } else { 1 };
/// What the frames of a handshake say, for ever.
pub const HANDSHAKE_VERSION: u8 = 1;
/// Version of the place part of a log record.
pub const PLACE_VERSION: u8 = 1;
/// Begins every frame. Not text, so neither HTTP nor RESP is mistaken for a frame.
pub const HOP_MAGIC: u16 = 0x52a7;
/// Begins every log record. Differs from [`HOP_MAGIC`] in four bits.
pub const PLACE_MAGIC: u16 = 0x4ca7;
/// Length of a hop part, and of a place part.
pub const FIRST_BYTES: usize = 32;
/// Length of a covered header: the shortest body.
pub const COVERED_BYTES: usize = 8;
/// Largest raw context token: a joined record may have 65535 version-vector entries.
pub const CONTEXT_BYTES_MAX: usize = 1 << 20;
/// Bounds of a cluster secret on the wire.
pub const SECRET_BYTES_MIN: usize = 32;
/// See [`SECRET_BYTES_MIN`].
pub const SECRET_BYTES_MAX: usize = 256;
/// Largest topology operation or contact.
pub const ITEM_BYTES_MAX: usize = 256;
/// Largest answer to an admin request: a full ring of 2^14 partitions with 8 owners each.
pub const ADMIN_BYTES_MAX: usize = 4 << 20;

const _: () = assert!(16 * u16::MAX as usize + 16 <= CONTEXT_BYTES_MAX, "any token fits");
const _: () = assert!(VERSION_VECTOR_COUNT_MAX <= u16::MAX as usize);
const _: () = assert!(
    COVERED_BYTES + KEY_BYTES_MAX + 32 + CONTEXT_BYTES_MAX + VALUE_BYTES_MAX <= BODY_BYTES_MAX,
    "every put fits a frame"
);
const _: () = assert!(
    COVERED_BYTES + 8 + (OPERATION_COUNT_MAX + MEMBER_COUNT_MAX) * ITEM_BYTES_MAX <= BODY_BYTES_MAX,
    "every topology fits a frame"
);
const _: () = assert!(ADMIN_BYTES_MAX < BODY_BYTES_MAX);
