//! What a frame asks or answers. A plain byte on the wire: an unknown one is an error value.

use super::epochs::Claim;
use super::layout;
use super::routes::RouteNode;
use super::{
    ADMIN_BYTES_MAX, CONTEXT_BYTES_MAX, COVERED_BYTES, FIRST_BYTES, HANDSHAKE_VERSION,
    ITEM_BYTES_MAX, SECRET_BYTES_MAX,
};
use crate::limits::{
    BODY_BYTES_MAX, COMPACT_ENTRY_COUNT_MAX, EXCHANGE_ENTRY_COUNT_MAX, EXCHANGE_FETCH_COUNT_MAX,
    EXCHANGE_HASH_COUNT_MAX, EXCHANGE_RANGE_COUNT_MAX, GOSSIP_BYTES_MAX, KEY_BYTES_MAX,
    MEMBER_COUNT_MAX, NAME_BYTES_MAX, OPERATION_COUNT_MAX, PARTITION_BITS_MAX, REPLICA_COUNT_MAX,
    STAGED_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX, UPDATE_COUNT_MAX, VALUE_BYTES_MAX,
};

codes! {
    /// The operation of a frame, with its number on the wire.
    pub enum Op {
        /// Dialer to acceptor, first: who I am, a nonce.
        Hello = 1,
        /// Acceptor to dialer: who I am, a nonce, my proof.
        HelloReply = 2,
        /// Dialer to acceptor: my proof.
        Proof = 3,
        /// Acceptor to dialer: go on.
        Welcome = 4,
        /// The connection ends, with a reason.
        Refused = 5,
        /// A client's read.
        Get = 16,
        /// A client's write.
        Put = 17,
        /// The answer to both.
        Reply = 18,
        /// Who coordinates which partition?
        Routes = 19,
        /// They do.
        RoutesReply = 20,
        /// Store this record, joined with yours.
        Replicate = 32,
        /// The same, and acknowledge only once it is on disk.
        ReplicateSync = 33,
        /// It is stored.
        Ack = 34,
        /// Send me your record of this key.
        Read = 35,
        /// Here it is.
        ReadReply = 36,
        /// No to REPLICATE or READ, with a reason.
        Reject = 37,
        /// The answer to READ of whoever has the version that the sender knows.
        ReadSame = 38,
        /// As REPLICATE, but keep it for an owner that is away.
        Hint = 39,
        /// The same, and acknowledge only once it is on disk.
        HintSync = 40,
        /// Nothing: so that the stamps of a link are never far apart.
        Beat = 41,
        /// Committed operations and known addresses.
        Topology = 48,
        /// The sender has all that it gains in the topology of the frame.
        Warm = 49,
        /// Operations that nobody has committed yet.
        Staged = 50,
        /// What the sender would commit to become a member.
        Candidate = 51,
        /// The keys of a partition from an order on, as clients may see them.
        Scan = 52,
        /// The keys of a partition from an order on, with their records but without values.
        Page = 53,
        /// Here they are, or some.
        PageReply = 54,
        /// What the sender knows of the reap epochs that nodes have had on disk.
        Epochs = 55,
        /// What the node knows of the cluster.
        Status = 64,
        /// Owners, of all partitions or of a key.
        Ring = 65,
        /// The answer to all requests from here on.
        AdminReply = 66,
        /// Check all that is stored, and give up what is lost if that is said.
        Scrub = 67,
        /// How far that is, and what it has found.
        ScrubStatus = 68,
        /// What the node keeps for others.
        Hints = 69,
        /// When copies were last found equal, and what differs.
        Exchanges = 70,
        /// Compare copies now.
        Repair = 71,
        /// How far that is.
        RepairStatus = 72,
        /// Put down a change of the membership, to be committed.
        Stage = 73,
        /// What a commit of all that is staged would do.
        Plan = 74,
        /// Commit it.
        Commit = 75,
        /// Drop it.
        Clear = 76,
        /// How far the node has caught up with what it gains.
        Transfers = 77,
        /// See now what may leave for good.
        Reap = 78,
        /// How far that is.
        ReapStatus = 79,
        /// Are you there?
        Ping = 80,
        /// Ask another node that for me.
        PingRequest = 81,
        /// I am here.
        Pong = 82,
        /// The other node is being asked.
        Relaying = 83,
        /// A hash of who is alive.
        Sync = 84,
        /// All that is known of who is alive.
        SyncTable = 85,
        /// Are our copies of a partition equal?
        ExchangeOpen = 96,
        /// They are.
        ExchangeSame = 97,
        /// Send me the children of these nodes of the tree.
        ExchangeNodes = 98,
        /// Here they are.
        ExchangeHashes = 99,
        /// Send me the keys and versions in these ranges.
        ExchangeList = 100,
        /// Here they are, or some.
        ExchangeListed = 101,
        /// Join this record with yours.
        ExchangeRecord = 102,
        /// Confirm what I sent, and send me the records of these orders.
        ExchangeFetch = 103,
        /// It is done.
        ExchangeFetched = 104,
        /// Send me all records from here on.
        ExchangeStream = 105,
        /// Here were some, and where to go on.
        ExchangeStreamed = 106,
        /// The exchange is over.
        ExchangeEnd = 107,
        /// Do you agree that these records leave?
        Survey = 112,
        /// To those I do.
        Surveyed = 113,
        /// All have agreed: they leave.
        Erase = 114,
    }
}

/// The longest body of a frame that carries some updates.
const GOSSIP_BODY_BYTES_MAX: usize =
    COVERED_BYTES + size_of::<layout::Probe>() + UPDATE_COUNT_MAX * size_of::<layout::Update>();

const _: () = assert!(FIRST_BYTES + GOSSIP_BODY_BYTES_MAX <= GOSSIP_BYTES_MAX);

impl Op {
    /// The longest body that a frame of this op may have: known before the body arrives, so
    /// that a stranger cannot make a node keep megabytes for a HELLO.
    pub const fn body_bytes_max(self) -> usize {
        let keyed = COVERED_BYTES + KEY_BYTES_MAX;
        let items = (OPERATION_COUNT_MAX + MEMBER_COUNT_MAX) * ITEM_BYTES_MAX;
        match self {
            Op::Hello => COVERED_BYTES + size_of::<layout::Hello>(),
            Op::HelloReply => COVERED_BYTES + size_of::<layout::HelloReply>() + SECRET_BYTES_MAX,
            Op::Proof => COVERED_BYTES + size_of::<layout::Proof>(),
            Op::Welcome
            | Op::Beat
            | Op::Warm
            | Op::Status
            | Op::ScrubStatus
            | Op::Hints
            | Op::Exchanges
            | Op::RepairStatus
            | Op::Plan
            | Op::Clear
            | Op::Transfers
            | Op::Reap
            | Op::ReapStatus
            | Op::ExchangeSame => COVERED_BYTES,
            Op::Refused => COVERED_BYTES + size_of::<layout::Refused>(),
            Op::Get => keyed + size_of::<layout::Get>() + CONTEXT_BYTES_MAX,
            Op::Put => keyed + size_of::<layout::Put>() + CONTEXT_BYTES_MAX + VALUE_BYTES_MAX,
            Op::Reply
            | Op::Replicate
            | Op::ReplicateSync
            | Op::ReadReply
            | Op::Hint
            | Op::HintSync
            | Op::PageReply
            | Op::ExchangeRecord => BODY_BYTES_MAX,
            Op::Routes => COVERED_BYTES + size_of::<layout::Routes>(),
            Op::RoutesReply => {
                let nodes = MEMBER_COUNT_MAX * size_of::<RouteNode>();
                let rows = (2 * REPLICA_COUNT_MAX) << PARTITION_BITS_MAX;
                COVERED_BYTES + size_of::<layout::RoutesReply>() + nodes + rows
            }
            Op::Ack => COVERED_BYTES + size_of::<layout::Ack>(),
            Op::Read => keyed + size_of::<layout::Read>(),
            Op::Reject => COVERED_BYTES + size_of::<layout::Reject>(),
            Op::ReadSame => COVERED_BYTES + size_of::<layout::ReadSame>(),
            Op::Topology => COVERED_BYTES + size_of::<layout::Topology>() + items,
            Op::Staged => {
                COVERED_BYTES + size_of::<layout::Staged>() + STAGED_COUNT_MAX * ITEM_BYTES_MAX
            }
            Op::Candidate => COVERED_BYTES + ITEM_BYTES_MAX,
            Op::Epochs => {
                let claims = MEMBER_COUNT_MAX * size_of::<Claim>();
                COVERED_BYTES + size_of::<layout::Epochs>() + claims
            }
            Op::Scan | Op::Page => COVERED_BYTES + size_of::<layout::Scan>(),
            Op::Ring => keyed,
            Op::Scrub => COVERED_BYTES + size_of::<layout::Scrub>(),
            Op::Repair => COVERED_BYTES + size_of::<layout::Repair>(),
            Op::Stage => COVERED_BYTES + size_of::<layout::Stage>() + 2 * NAME_BYTES_MAX,
            Op::Commit => COVERED_BYTES + size_of::<layout::Commit>(),
            Op::Ping | Op::PingRequest | Op::Pong | Op::Relaying | Op::Sync => {
                GOSSIP_BODY_BYTES_MAX
            }
            Op::SyncTable => {
                let updates = MEMBER_COUNT_MAX * size_of::<layout::Update>();
                COVERED_BYTES + size_of::<layout::SyncTable>() + updates
            }
            Op::AdminReply => COVERED_BYTES + size_of::<layout::AdminReply>() + ADMIN_BYTES_MAX,
            compared => COVERED_BYTES + compared.comparing_bytes_max(),
        }
    }

    /// The longest payload of an exchange or a survey.
    const fn comparing_bytes_max(self) -> usize {
        match self {
            Op::ExchangeOpen => size_of::<layout::ExchangeOpen>(),
            Op::ExchangeNodes => size_of::<layout::ExchangeNodes>(),
            Op::ExchangeHashes => size_of::<layout::ExchangeHashes>() + 8 * EXCHANGE_HASH_COUNT_MAX,
            Op::ExchangeList => 16 + 16 * EXCHANGE_RANGE_COUNT_MAX,
            Op::ExchangeListed => {
                size_of::<layout::ExchangeListed>() + 16 * EXCHANGE_ENTRY_COUNT_MAX
            }
            Op::ExchangeFetch => size_of::<layout::ExchangeFetch>() + 8 * EXCHANGE_FETCH_COUNT_MAX,
            Op::ExchangeFetched => size_of::<layout::ExchangeFetched>(),
            Op::ExchangeStream => size_of::<layout::ExchangeStream>(),
            Op::ExchangeStreamed => size_of::<layout::ExchangeStreamed>(),
            Op::ExchangeEnd => size_of::<layout::ExchangeEnd>(),
            Op::Survey => size_of::<layout::Survey>() + 16 * SURVEY_ENTRY_COUNT_MAX,
            Op::Surveyed => size_of::<layout::Surveyed>(),
            Op::Erase => size_of::<layout::Erase>() + 16 * COMPACT_ENTRY_COUNT_MAX,
            // The others have their arms above.
            _ => 0,
        }
    }

    /// The version that brought it: it is never sent to who speaks an older one.
    pub const fn since(self) -> u8 {
        match self {
            Op::Routes | Op::RoutesReply => 2,
            Op::Reap | Op::ReapStatus | Op::Survey | Op::Surveyed | Op::Erase => 2,
            _ => 1,
        }
    }

    /// Whether it opens a connection, or says why there is none: alike in all versions.
    pub const fn is_handshake(self) -> bool {
        self.number() <= Op::Refused.number()
    }

    /// What a frame of it says in a build that speaks up to `newest`.
    pub const fn version(self, newest: u8) -> u8 {
        if self.is_handshake() { HANDSHAKE_VERSION } else { newest }
    }

    /// Whether it is one of the failure detector.
    pub fn is_gossip(self) -> bool {
        use Op::{Ping, PingRequest, Pong, Relaying, Sync, SyncTable};
        matches!(self, Ping | PingRequest | Pong | Relaying | Sync | SyncTable)
    }

    /// Whether it belongs to an exchange.
    pub fn is_exchange(self) -> bool {
        (Op::ExchangeOpen.number()..=Op::ExchangeEnd.number()).contains(&self.number())
    }

    /// Whether a frame of this op may carry a key of `key_bytes` (0: no key). The upper bound
    /// is `KEY_BYTES_MAX` for all.
    pub fn takes_key(self, key_bytes: usize) -> bool {
        match self {
            Op::Get
            | Op::Put
            | Op::Replicate
            | Op::ReplicateSync
            | Op::Read
            | Op::ReadReply
            | Op::Hint
            | Op::HintSync
            | Op::ExchangeRecord => (1..=KEY_BYTES_MAX).contains(&key_bytes),
            Op::Ring => key_bytes <= KEY_BYTES_MAX,
            _ => key_bytes == 0,
        }
    }
}
