//! What two owners of a partition say in an exchange. The request number of the frames names the
//! session; the initiator asks, the responder answers. Lists are lent as they travel.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout;
use super::payload::{Malformed, Payload};
use crate::id::Partition;
use crate::limits::{
    EXCHANGE_ENTRY_COUNT_MAX, EXCHANGE_FETCH_COUNT_MAX, EXCHANGE_HASH_COUNT_MAX,
    EXCHANGE_NODE_COUNT_MAX, EXCHANGE_RANGE_COUNT_MAX, MERKLE_FANOUT,
};
use crate::merkle::{LEAF_LEVEL, node_count};

/// Declares pairs of numbers that travel in lists, compared from left to right.
macro_rules! pairs {
    ($($(#[$doc:meta])* $name:ident {
        $(#[$left_doc:meta])* $left:ident, $(#[$right_doc:meta])* $right:ident
    })*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Ord,
            PartialEq, PartialOrd, Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $left: U64, $right: U64 }

        impl $name {
            /// The pair of the two.
            pub const fn new($left: u64, $right: u64) -> $name {
                $name { $left: U64::new($left), $right: U64::new($right) }
            }

            $(#[$left_doc])*
            pub const fn $left(self) -> u64 {
                self.$left.get()
            }

            $(#[$right_doc])*
            pub const fn $right(self) -> u64 {
                self.$right.get()
            }
        }
    )*};
}

pairs! {
    /// One key in a list. Two keys of one order are two entries.
    Entry {
        /// Order of the key in its partition.
        order,
        /// Version of its record, never 0: with 0, an entry is the point before its order.
        version
    }
    /// Orders from one to another, both included.
    Range {
        /// The first of them.
        first,
        /// The last of them.
        last
    }
}

/// EXCHANGE_OPEN: are our copies of a partition equal?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Open {
    /// The partition.
    pub partition: Partition,
    /// Root of the sender's tree.
    pub root: u64,
    /// Keys that the sender holds in it.
    pub keys: u64,
}

impl Open {
    /// Reads the payload of an EXCHANGE_OPEN.
    pub fn new_checked(payload: &[u8]) -> Result<Open, Malformed> {
        let fixed = layout::exact::<layout::ExchangeOpen>(payload)?;
        if fixed.reserved != [0; 6] {
            return Err(Malformed);
        }
        let partition = Partition(fixed.partition.get());
        Ok(Open { partition, root: fixed.root.get(), keys: fixed.keys.get() })
    }
}

impl Payload for Open {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeOpen>()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::ExchangeOpen {
            partition: self.partition.0.into(),
            reserved: [0; 6],
            root: self.root.into(),
            keys: self.keys.into(),
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// EXCHANGE_NODES: the children of these nodes are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nodes {
    /// Their level: 0, 1 or 2.
    pub level: u8,
    /// Which nodes of the level, one bit each: 1..=`EXCHANGE_NODE_COUNT_MAX` of them.
    pub bits: [u64; 4],
}

impl Nodes {
    /// Reads the payload of an EXCHANGE_NODES.
    pub fn new_checked(payload: &[u8]) -> Result<Nodes, Malformed> {
        let fixed = layout::exact::<layout::ExchangeNodes>(payload)?;
        let nodes = Nodes { level: fixed.level, bits: fixed.bits.map(U64::get) };
        if fixed.reserved == [0; 7] && nodes.is_valid() { Ok(nodes) } else { Err(Malformed) }
    }

    /// How many nodes these are.
    pub fn count(&self) -> usize {
        self.bits.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Their indexes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let bits = self.bits;
        (0..256).filter(move |index| bits[index / 64] >> (index % 64) & 1 == 1)
    }

    fn is_valid(&self) -> bool {
        self.level < LEAF_LEVEL
            && (1..=EXCHANGE_NODE_COUNT_MAX).contains(&self.count())
            && self.iter().all(|index| index < node_count(self.level))
    }
}

impl Payload for Nodes {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeNodes>()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let bits = self.bits.map(U64::new);
        let fixed = layout::ExchangeNodes { level: self.level, reserved: [0; 7], bits };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// EXCHANGE_HASHES: the children of nodes, node by node; to an EXCHANGE_OPEN, those of the root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hashes<'a> {
    /// Level of the nodes whose children these are.
    pub level: u8,
    /// Keys that the sender holds in the partition.
    pub keys: u64,
    /// 16 for each node; at most `EXCHANGE_HASH_COUNT_MAX`.
    pub hashes: &'a [U64],
}

impl<'a> Hashes<'a> {
    /// Reads the payload of an EXCHANGE_HASHES. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<Hashes<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::ExchangeHashes>(payload)?;
        let hashes = list(rest)?;
        let hashes = Hashes { level: fixed.level, keys: fixed.keys.get(), hashes };
        if fixed.reserved == [0; 7] && hashes.is_valid() { Ok(hashes) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        self.level < LEAF_LEVEL
            && (1..=EXCHANGE_HASH_COUNT_MAX).contains(&self.hashes.len())
            && self.hashes.len().is_multiple_of(MERKLE_FANOUT)
    }
}

impl Payload for Hashes<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeHashes>() + size_of_val(self.hashes)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let (level, keys) = (self.level, self.keys.into());
        let rest = layout::put(&layout::ExchangeHashes { level, reserved: [0; 7], keys }, out);
        rest.copy_from_slice(self.hashes.as_bytes());
    }
}

/// EXCHANGE_LIST: the keys in these ranges are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct List<'a> {
    /// Only entries above this one.
    pub after: Entry,
    /// 1..=`EXCHANGE_RANGE_COUNT_MAX` ranges, ascending, not overlapping.
    pub ranges: &'a [Range],
}

impl<'a> List<'a> {
    /// Reads the payload of an EXCHANGE_LIST. O(ranges).
    pub fn new_checked(payload: &'a [u8]) -> Result<List<'a>, Malformed> {
        let (&after, rest) = layout::split::<Entry>(payload)?;
        let list = List { after, ranges: list(rest)? };
        if list.is_valid() { Ok(list) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        (1..=EXCHANGE_RANGE_COUNT_MAX).contains(&self.ranges.len())
            && self.ranges.iter().all(|range| range.first <= range.last)
            && self.ranges.is_sorted_by(|a, b| a.last < b.first)
    }
}

impl Payload for List<'_> {
    fn bytes(&self) -> usize {
        size_of::<Entry>() + size_of_val(self.ranges)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        layout::put(&self.after, out).copy_from_slice(self.ranges.as_bytes());
    }
}

/// EXCHANGE_LISTED: the keys in the ranges of an EXCHANGE_LIST, up to the last of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listed<'a> {
    /// These are all; otherwise there is at least one, and more behind it may follow.
    pub done: bool,
    /// At most `EXCHANGE_ENTRY_COUNT_MAX`, ascending; equal ones are two keys.
    pub entries: &'a [Entry],
}

const DONE: u8 = 1;

impl<'a> Listed<'a> {
    /// Reads the payload of an EXCHANGE_LISTED. O(entries).
    pub fn new_checked(payload: &'a [u8]) -> Result<Listed<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::ExchangeListed>(payload)?;
        if fixed.flags & !DONE != 0 || fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        let listed = Listed { done: fixed.flags & DONE != 0, entries: list(rest)? };
        if listed.is_valid() { Ok(listed) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        (self.done || !self.entries.is_empty())
            && self.entries.len() <= EXCHANGE_ENTRY_COUNT_MAX
            && self.entries.iter().all(|entry| entry.version() != 0)
            && self.entries.is_sorted()
    }
}

impl Payload for Listed<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeListed>() + size_of_val(self.entries)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let flags = u8::from(self.done) * DONE;
        let rest = layout::put(&layout::ExchangeListed { flags, reserved: [0; 7] }, out);
        rest.copy_from_slice(self.entries.as_bytes());
    }
}

/// EXCHANGE_FETCH: confirm the records sent before, then send those of these orders.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fetch<'a> {
    /// After about so many bytes of records, the rest may stay. Not 0.
    pub bytes: u32,
    /// At most `EXCHANGE_FETCH_COUNT_MAX`.
    pub orders: &'a [U64],
}

impl<'a> Fetch<'a> {
    /// Reads the payload of an EXCHANGE_FETCH. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<Fetch<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::ExchangeFetch>(payload)?;
        let fetch = Fetch { bytes: fixed.bytes.get(), orders: list(rest)? };
        if fixed.reserved.get() == 0 && fetch.is_valid() { Ok(fetch) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        self.bytes > 0 && self.orders.len() <= EXCHANGE_FETCH_COUNT_MAX
    }
}

impl Payload for Fetch<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeFetch>() + size_of_val(self.orders)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let fixed = layout::ExchangeFetch { bytes: self.bytes.into(), reserved: 0.into() };
        layout::put(&fixed, out).copy_from_slice(self.orders.as_bytes());
    }
}

/// EXCHANGE_FETCHED: what came before is joined, and the wanted records were sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fetched {
    /// How many of the orders were served, from the first on.
    pub served: u32,
    /// Records since the last EXCHANGE_FETCHED that could not be joined.
    pub refused: u32,
}

impl Fetched {
    /// Reads the payload of an EXCHANGE_FETCHED.
    pub fn new_checked(payload: &[u8]) -> Result<Fetched, Malformed> {
        let fixed = layout::exact::<layout::ExchangeFetched>(payload)?;
        Ok(Fetched { served: fixed.served.get(), refused: fixed.refused.get() })
    }
}

impl Payload for Fetched {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeFetched>()
    }

    fn write(&self, out: &mut [u8]) {
        let (served, refused) = (self.served.into(), self.refused.into());
        assert!(layout::put(&layout::ExchangeFetched { served, refused }, out).is_empty());
    }
}

/// EXCHANGE_STREAM: all records from an order on are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stream {
    /// The first order.
    pub from: u64,
    /// After about so many bytes of records, the rest stays. Not 0.
    pub bytes: u32,
}

impl Stream {
    /// Reads the payload of an EXCHANGE_STREAM.
    pub fn new_checked(payload: &[u8]) -> Result<Stream, Malformed> {
        let fixed = layout::exact::<layout::ExchangeStream>(payload)?;
        let stream = Stream { from: fixed.from.get(), bytes: fixed.bytes.get() };
        if fixed.reserved.get() == 0 && stream.bytes > 0 { Ok(stream) } else { Err(Malformed) }
    }
}

impl Payload for Stream {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeStream>()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.bytes > 0);
        let (from, bytes) = (self.from.into(), self.bytes.into());
        let fixed = layout::ExchangeStream { from, bytes, reserved: 0.into() };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// EXCHANGE_STREAMED: all records below an order were sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Streamed {
    /// Where the next EXCHANGE_STREAM begins; none = there is nothing more.
    pub next: Option<u64>,
}

const MORE: u8 = 1;

impl Streamed {
    /// Reads the payload of an EXCHANGE_STREAMED.
    pub fn new_checked(payload: &[u8]) -> Result<Streamed, Malformed> {
        let fixed = layout::exact::<layout::ExchangeStreamed>(payload)?;
        let next = fixed.next.get();
        match (fixed.flags, next, fixed.reserved) {
            (MORE, _, [0, 0, 0, 0, 0, 0, 0]) => Ok(Streamed { next: Some(next) }),
            (0, 0, [0, 0, 0, 0, 0, 0, 0]) => Ok(Streamed { next: None }),
            _ => Err(Malformed),
        }
    }
}

impl Payload for Streamed {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeStreamed>()
    }

    fn write(&self, out: &mut [u8]) {
        let flags = u8::from(self.next.is_some()) * MORE;
        let next = self.next.unwrap_or(0).into();
        assert!(
            layout::put(&layout::ExchangeStreamed { next, flags, reserved: [0; 7] }, out)
                .is_empty()
        );
    }
}

codes! {
    /// Why an exchange ended.
    pub enum EndReason {
        /// All that differed was exchanged, or could not be.
        Finished = 1,
        /// Too many exchanges, one of the same partition, or a record that is not read in time: try
        /// again.
        Busy = 2,
        /// The partition is not owned here.
        NotOwner = 3,
        /// The topologies differ, or changed.
        StaleTopology = 4,
        /// The peer said nothing for too long.
        Silent = 5,
        /// The peer said what makes no sense here.
        Malformed = 6,
        /// The connection ended. Never sent.
        Disconnected = 7,
        /// The node may not join records now: its log takes none, or a member is being added.
        Held = 8,
    }
}

/// EXCHANGE_END: the exchange is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// Keys in which the two are known to differ still.
    pub differences: u32,
    /// Records that the sender of this sent.
    pub sent: u64,
    /// Records that it got.
    pub got: u64,
}

impl End {
    /// Reads the payload of an EXCHANGE_END.
    pub fn new_checked(payload: &[u8]) -> Result<End, Malformed> {
        let fixed = layout::exact::<layout::ExchangeEnd>(payload)?;
        if fixed.reserved != [0; 3] {
            return Err(Malformed);
        }
        let reason = EndReason::from_number(fixed.reason).ok_or(Malformed)?;
        let differences = fixed.differences.get();
        Ok(End { reason, differences, sent: fixed.sent.get(), got: fixed.got.get() })
    }
}

impl Payload for End {
    fn bytes(&self) -> usize {
        size_of::<layout::ExchangeEnd>()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::ExchangeEnd {
            reason: self.reason.number(),
            reserved: [0; 3],
            differences: self.differences.into(),
            sent: self.sent.into(),
            got: self.got.into(),
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// `bytes` as items without a rest.
fn list<T: FromBytes + Immutable + KnownLayout + Unaligned>(bytes: &[u8]) -> Result<&[T], Malformed>
where
    [T]: KnownLayout<PointerMetadata = usize>,
{
    <[T]>::ref_from_bytes(bytes).map_err(|_| Malformed)
}
