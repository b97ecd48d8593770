//! The fixed parts of the table in [`super`], field by field.
//!
//! Every integer is little-endian with alignment 1, so a reference to any of these may point
//! anywhere into a buffer; `IntoBytes` refuses padding.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::payload::Malformed;
use crate::limits::SURVEY_ENTRY_COUNT_MAX;

/// Takes a `T` off the front of `bytes`; also returns what is behind it.
pub(super) fn split<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Malformed>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_prefix(bytes).map_err(|_| Malformed)
}

/// Reads `bytes` as one `T` and nothing more.
pub(super) fn exact<T>(bytes: &[u8]) -> Result<&T, Malformed>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_bytes(bytes).map_err(|_| Malformed)
}

/// Writes `fixed` at the front of `out` and returns the rest.
///
/// # Panics
/// If `out` is shorter than `fixed`.
pub(super) fn put<'o>(fixed: &(impl Immutable + IntoBytes), out: &'o mut [u8]) -> &'o mut [u8] {
    let bytes = fixed.as_bytes();
    let (front, rest) = out.split_at_mut(bytes.len());
    front.copy_from_slice(bytes);
    rest
}

/// `bit` if `on`.
pub(super) const fn flag(on: bool, bit: u16) -> u16 {
    if on { bit } else { 0 }
}

/// Declares the structs below: one place for what all of them derive.
macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }

        #[cfg(test)]
        impl $name {
            /// Offset, bytes and name of every field.
            pub(super) const FIELDS: &[(usize, usize, &str)] = &[$((
                core::mem::offset_of!($name, $field), size_of::<$type>(), stringify!($field),
            ),)*];
        }
    )*};
}

layouts! {
    /// The first part of a frame.
    Hop {
        magic: U16,
        version: u8,
        op: u8,
        body: U32,
        request: U32,
        deadline_ms: U16,
        sent_ms: U16,
        topology: U64,
        cluster_digest: U64,
    }
    /// The first part of a log record.
    Place {
        magic: U16,
        version: u8,
        kind: u8,
        body: U32,
        segment: U32,
        mine: U16,
        flags: U16,
        offset: U64,
        guard: U32,
        target: U32,
    }
    /// What a body begins with.
    Covered {
        crc32c: U32,
        key_bytes: U16,
        reserved: U16,
    }
    /// HELLO.
    Hello {
        version_min: u8,
        version_max: u8,
        kind: u8,
        reserved: u8,
        shard: U16,
        source_shard: U16,
        shards: U16,
        reserved2: U16,
        node: U32,
        boot: U64,
        nonce: [u8; 16],
        cluster: U128,
    }
    /// HELLO_REPLY without the secret.
    HelloReply {
        version: u8,
        flags: u8,
        partition_bits: u8,
        n: u8,
        r: u8,
        w: u8,
        shards: U16,
        node: U32,
        secret_bytes: U16,
        reserved: U16,
        boot: U64,
        hash_seed: U64,
        cluster: U128,
        nonce: [u8; 16],
        proof: [u8; 16],
    }
    /// PROOF.
    Proof {
        proof: [u8; 16],
    }
    /// REFUSED.
    Refused {
        reason: u8,
        version_min: u8,
        version_max: u8,
        reserved: [u8; 5],
    }
    /// GET without the context.
    Get {
        r: u8,
        pr: u8,
        flags: u8,
        reserved: u8,
        context_bytes: U32,
    }
    /// PUT without context and value.
    Put {
        w: u8,
        pw: u8,
        dw: u8,
        r: u8,
        flags: U16,
        condition: u8,
        reserved: u8,
        timestamp_ms: U64,
        expires_ms: U64,
        context_bytes: U32,
        value_bytes: U32,
    }
    /// REPLY without context and siblings.
    Reply {
        status: u8,
        needed: u8,
        got: u8,
        reserved: u8,
        live: U16,
        found: U16,
        context_bytes: U32,
        siblings: U16,
        reserved2: U16,
        order: U64,
    }
    /// A sibling of a REPLY without its value.
    Sibling {
        timestamp_ms: U64,
        expires_ms: U64,
        value_bytes: U32,
        reserved: U32,
    }
    /// ACK.
    Ack {
        order: U64,
        flags: u8,
        reserved: [u8; 7],
    }
    /// READ.
    Read {
        known: U64,
        target: U32,
        reserved: U32,
    }
    /// HINT and HINT_SYNC without the record.
    Hint {
        target: U32,
        reserved: U32,
    }
    /// REJECT.
    Reject {
        reason: u8,
        reserved: [u8; 7],
        order: U64,
    }
    /// READ_SAME.
    ReadSame {
        order: U64,
        version: U64,
    }
    /// TOPOLOGY without its items.
    Topology {
        operation_count: U16,
        operation_bytes: U16,
        contact_count: U16,
        contact_bytes: U16,
    }
    /// EPOCHS without its claims.
    Epochs {
        flags: u8,
        reserved: [u8; 7],
    }
    /// STAGED without its operations.
    Staged {
        revision: U64,
        operation_count: U16,
        operation_bytes: U16,
        reserved: U32,
    }
    /// ROUTES.
    Routes {
        known: U64,
    }
    /// ROUTES_REPLY without nodes and rows.
    RoutesReply {
        partition_bits: u8,
        row: u8,
        node_count: U16,
        reserved: U32,
    }
    /// SCAN and PAGE.
    Scan {
        partition: U16,
        count: U16,
        reserved: U32,
        from: U64,
    }
    /// PAGE_REPLY without its entries.
    PageReply {
        partition: U16,
        entries: U16,
        reserved: U32,
        from: U64,
        last: U64,
        keys: U64,
    }
    /// An entry of a PAGE_REPLY without key and record.
    PageEntry {
        order: U64,
        key_bytes: U16,
        reserved: U16,
        record_bytes: U32,
    }
    /// The context of a REPLY to SCAN.
    Scanned {
        last: U64,
        keys: U64,
    }
    /// ADMIN_REPLY without the text.
    AdminReply {
        status: u8,
    }
    /// SCRUB.
    Scrub {
        flags: u8,
        reserved: [u8; 7],
    }
    /// REPAIR.
    Repair {
        flags: u8,
        reserved: u8,
        partition: U16,
        reserved_too: U32,
    }
    /// STAGE without the names.
    Stage {
        verb: u8,
        flags: u8,
        weight: U16,
        node_bytes: U16,
        argument_bytes: U16,
    }
    /// COMMIT.
    Commit {
        hash: U64,
        flags: u8,
        reserved: [u8; 7],
    }
    /// PING, PING_REQUEST, PONG and RELAYING without the updates.
    Probe {
        sequence: U32,
        node: U32,
    }
    /// SYNC without the updates.
    Sync {
        digest: U64,
    }
    /// SYNC_TABLE without the updates.
    SyncTable {
        flags: u8,
        reserved: [u8; 7],
    }
    /// An update of a PING to SYNC_TABLE.
    Update {
        node: U32,
        incarnation: U32,
        boot: U64,
        accuser: U32,
        status: u8,
        reserved: [u8; 3],
    }
    /// EXCHANGE_OPEN.
    ExchangeOpen {
        partition: U16,
        reserved: [u8; 6],
        root: U64,
        keys: U64,
    }
    /// EXCHANGE_NODES.
    ExchangeNodes {
        level: u8,
        reserved: [u8; 7],
        bits: [U64; 4],
    }
    /// EXCHANGE_HASHES without the hashes.
    ExchangeHashes {
        level: u8,
        reserved: [u8; 7],
        keys: U64,
    }
    /// EXCHANGE_LISTED without the entries.
    ExchangeListed {
        flags: u8,
        reserved: [u8; 7],
    }
    /// EXCHANGE_FETCH without the orders.
    ExchangeFetch {
        bytes: U32,
        reserved: U32,
    }
    /// EXCHANGE_FETCHED.
    ExchangeFetched {
        served: U32,
        refused: U32,
    }
    /// EXCHANGE_STREAM.
    ExchangeStream {
        from: U64,
        bytes: U32,
        reserved: U32,
    }
    /// EXCHANGE_STREAMED.
    ExchangeStreamed {
        next: U64,
        flags: u8,
        reserved: [u8; 7],
    }
    /// SURVEY.
    Survey {
        order: U64,
        partition: U16,
        purpose: u8,
        flags: u8,
        reserved: U32,
    }
    /// SURVEYED.
    Surveyed {
        agreed: [U64; SURVEY_ENTRY_COUNT_MAX / 64],
        frame_age_max_ms: U32,
        reserved: U32,
        raised: U64,
        floor: U64,
    }
    /// ERASE.
    Erase {
        order: U64,
        partition: U16,
        purpose: u8,
        reserved: [u8; 5],
    }
    /// EXCHANGE_END.
    ExchangeEnd {
        reason: u8,
        reserved: [u8; 3],
        differences: U32,
        sent: U64,
        got: U64,
    }
}

const _: () = assert!(size_of::<Hop>() == super::FIRST_BYTES);
const _: () = assert!(size_of::<Place>() == super::FIRST_BYTES);
const _: () = assert!(size_of::<Covered>() == super::COVERED_BYTES);
