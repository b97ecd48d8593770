//! What a store is to the protocol, and the one place that changes records.
//!
//! Reading the local record, event or join, append and Merkle update are one function each here,
//! generic over [`Records`]; the server's log and the simulator's implement the trait, and nobody
//! else calls `event` or `join` of [`causality`](crate::causality). Value bytes pass through slices
//! lent by the store; nothing is allocated.
//!
//! A store keeps hints, too: records that other nodes lack, by key and node ([`Key::target`]),
//! apart from its own copies.
//!
//! Invariant: the leaf of a key always holds the wrapping sum of the
//! [`version`](crate::causality::Record::version) of each of the own copies in it, so equal leaves
//! mean equal sibling sets (flat range fingerprints; Meyer, arXiv 2212.13567).

mod compact;
mod join;
mod leaf;
#[cfg(test)]
pub(crate) mod tests;

pub use compact::compact;
pub use join::{Joined, join, join_exchanged, join_record};
pub use leaf::{leaf_index, leaf_of, leaf_orders};

use crate::causality::{Event, Record, Write};
use crate::hash::Key;
use crate::id::{Boot, NodeId, Partition};
use crate::limits;
use crate::request::KeyPlace;
use crate::time::UnixMs;
use crate::wire::body::Body;
use core::ops::RangeInclusive;

/// A position in a shard's log: segment << 32 | offset. Ordered; what lies at a place never
/// changes. A record is durable once the log's synced position is above its place.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place(pub u64);

impl Place {
    /// The place of `offset` (bytes) in `segment`.
    pub fn new(segment: u32, offset: u32) -> Place {
        Place(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The segment; 0 is none.
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The offset in the segment, bytes.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// A record as the store holds it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The record.
    pub record: Record<'a>,
    /// Index, in the record's version vector, of the actor that this node may extend (V5 of
    /// the record's invariants). Local: it never leaves the node.
    pub mine: Option<u16>,
    /// Where it lies.
    pub place: Place,
}

/// Why a record could not be read. Neither is "not found".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unread {
    /// It is on disk but not in memory: the operation waits for the read.
    Cold,
    /// Its bytes fail their checksum.
    Damaged,
}

/// Why the log did not take a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Full {
    /// Too much waits to be written: try again soon.
    Busy,
    /// The log cannot grow: the disk is full, or no file can be made.
    NoSpace,
    /// A write or sync failed; the log takes no more until the node restarts.
    ReadOnly,
}

/// A shard's store, as the protocol sees it.
pub trait Records {
    /// The current record of `key`.
    ///
    /// # Errors
    /// [`Unread`] if it exists but cannot be read now.
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread>;

    /// Whether [`Records::record`] would say [`Unread::Cold`]: asked before every operation on
    /// `key`, so worth a shortcut while everything is known to be in memory. A key of another
    /// shard is not cold.
    fn is_cold(&self, key: &Key<'_>) -> bool {
        matches!(self.record(key), Err(Unread::Cold))
    }

    /// Whether appends may say [`Full::Busy`] for a while: asked before every operation that
    /// appends, which then waits.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Whether operations wait for room, or go on with room that they were told of: what comes
    /// later waits behind them, although the store is not stalled any more.
    fn is_room_awaited(&self) -> bool {
        false
    }

    /// An operation on `key` waits for its cold record, which is read into memory; asked twice, it
    /// is read once. When it is there, at once if it is by now, or the read has failed, the store
    /// says so to its driver, which then calls [`Turn::resume`](crate::drive::Turn::resume).
    ///
    /// # Panics
    /// A store that is never cold and never stalled need not implement it.
    fn fetch(&mut self, key: &Key<'_>) {
        unreachable!("a store that says cold can fetch, here of partition {:?}", key.partition);
    }

    /// An operation on `key` waits since the store is stalled, or behind others that do. When it is
    /// not any more, the store says so to its driver, for one key after another, and the driver
    /// calls [`Turn::resume`](crate::drive::Turn::resume).
    ///
    /// # Panics
    /// A store that is never stalled need not implement it.
    fn await_room(&mut self, key: &Key<'_>) {
        unreachable!(
            "a store that stalls says when it ends, here to partition {:?}",
            key.partition
        );
    }

    /// Appends a new record of `bytes` bytes for `key` and makes it current. `fill` gets the
    /// record that was current and writes the whole new one.
    ///
    /// # Errors
    /// [`Full`]; then nothing changed and `fill` was not called.
    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full>;

    /// Appends a body (covered header, key, record) as it was received, with its checksum, and
    /// makes it current, with no actor of ours.
    ///
    /// # Errors
    /// [`Full`]; then nothing changed.
    fn append_received(&mut self, key: &Key<'_>, body: Body<'_>) -> Result<Place, Full>;

    /// The body (covered header, key, record) at `place`, where a record was appended. Never cold
    /// in the turn in which the record was appended or read.
    ///
    /// # Errors
    /// [`Unread`] if it cannot be read now.
    fn body(&self, place: Place) -> Result<Body<'_>, Unread>;

    /// Where the oldest hint for `target` lies above `after`. Only the newest one of a key counts,
    /// in memory or not.
    fn next_hint(&self, _target: NodeId, _after: Place) -> Option<Place> {
        None
    }

    /// The record of `key` is to be sent soon, but cold: it is read into memory, though nobody
    /// waits for it yet.
    fn fetch_ahead(&mut self, key: &Key<'_>) {
        self.fetch(key);
    }

    /// The hint at `place` is to be sent, but cold: it is read into memory. Asked twice, it is read
    /// once. Nobody need be told when it is there; a driver that feeds
    /// [`Input::Hinted`](crate::shard::Input::Hinted) then makes it go on sooner.
    ///
    /// # Panics
    /// A store whose hints are never cold need not implement it.
    fn fetch_place(&mut self, place: Place) {
        unreachable!("a store whose hints are cold can fetch them, here at {place:?}");
    }

    /// What lies at `place` leaves the store, if `key` has that: its own copy, or its hint. Returns
    /// a place: once that is on disk, no start finds anything that the key had before. `None` if it
    /// has another record by now, or this one cannot be read; then nothing changed.
    ///
    /// The leaf of an own copy is for the caller to change.
    ///
    /// # Errors
    /// [`Full`]; then nothing changed.
    ///
    /// # Panics
    /// A store from which nothing leaves need not implement it.
    fn erase(&mut self, key: &Key<'_>, place: Place) -> Result<Option<Place>, Full> {
        unreachable!("a store from which records leave erases them, here of {key:?} at {place:?}");
    }

    /// The place behind all that was appended, whether it is stored or not.
    ///
    /// # Panics
    /// A store whose shard has no exchanges need not implement it.
    fn end(&self) -> Place {
        unreachable!("a store whose shard has exchanges knows its end");
    }

    /// How many own copies there are in `partition`.
    ///
    /// # Panics
    /// A store whose shard has no exchanges need not implement it.
    fn key_count(&self, partition: Partition) -> u64 {
        unreachable!("a store whose shard has exchanges counts its keys, here of {partition:?}");
    }

    /// How many of the own copies in `partition` have a value, expired or not: a store that cannot
    /// tell counts deleted ones, too.
    fn live_count(&self, partition: Partition) -> u64 {
        self.key_count(partition)
    }

    /// Orders and places of the own copies in `partition` from `order` on, ascending by order.
    ///
    /// # Panics
    /// As [`Records::key_count`].
    fn keys_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        let keys = self.key_count(partition);
        assert!(keys == 0, "a store whose shard has exchanges lists its keys, here from {order}");
        core::iter::empty()
    }

    /// Whether a hint is kept of a key of this partition and order, for whomever. It may be of
    /// another partition.
    fn keeps_hint(&self, _key: KeyPlace) -> bool {
        false
    }

    /// Keeps the own copy of `key` at `place` as a hint for `target`, too. False, and nothing
    /// changed, if there is such a hint already, or the copy cannot be read.
    ///
    /// # Errors
    /// [`Full`]; then nothing changed.
    ///
    /// # Panics
    /// As [`Records::erase`].
    fn set_aside(&mut self, key: &Key<'_>, place: Place, target: NodeId) -> Result<bool, Full> {
        unreachable!("a store from which records leave keeps {key:?} of {place:?} for {target:?}");
    }

    /// As [`Records::keys_from`], of keys whose records do not last ([`Lifespan`]); others may be
    /// among them.
    ///
    /// [`Lifespan`]: crate::causality::Lifespan
    fn ending_from(&self, partition: Partition, order: u64) -> impl Iterator<Item = (u64, Place)> {
        self.keys_from(partition, order)
    }

    /// The own copy of a key that [`Records::keys_from`] listed is to be read, but cold: it is read
    /// into memory, as by [`Records::fetch_place`].
    fn fetch_listed(&mut self, _key: KeyPlace, place: Place) {
        self.fetch_place(place);
    }

    /// As [`Records::record`], for what another owner sends: an older record of this node is
    /// joined with it even if what came behind it here is lost.
    ///
    /// # Errors
    /// As [`Records::record`].
    fn record_left(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        self.record(key)
    }

    /// Another owner has sent `body`, its copy of `key`. Is the own one damaged, it is given up,
    /// and `body` appended in its place, as by [`Records::append_received`]; none if it is not.
    ///
    /// # Errors
    /// [`Full`]; then nothing changed.
    fn replace_damaged(&mut self, _: &Key<'_>, _: Body<'_>) -> Result<Option<Place>, Full> {
        Ok(None)
    }

    /// The leaves that hold these orders are about to be listed: what damage has left in them that
    /// is no sum of versions is put right, if all of their records can be read.
    ///
    /// # Errors
    /// [`Unread::Cold`] if it must be tried again once records are in memory.
    fn mend_leaves(&mut self, _: Partition, _: RangeInclusive<u64>) -> Result<(), Unread> {
        Ok(())
    }

    /// An exchange has found this node's copy of `partition` equal to that of `peer`, one of so
    /// many `others` that own it: once it is equal to all, nothing is left that damage of unknown
    /// extent could have taken from this node alone.
    fn on_equal(&mut self, _partition: Partition, _peer: NodeId, _others: usize) {}

    /// The Merkle leaves of `partition`: `limits::MERKLE_LEAF_COUNT` of them.
    fn leaves(&mut self, partition: Partition) -> &mut [u64];
}

/// Who coordinates an event and when, and which birth it may use for a new actor.
#[derive(Clone, Copy, Debug)]
pub struct Author {
    /// This node.
    pub node: NodeId,
    /// Its process life.
    pub boot: Boot,
    /// The next unused birth of the key's partition.
    pub birth: u32,
    /// What its wall clock shows.
    pub now: UnixMs,
}

/// What an event did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Applied {
    /// Where the new record lies.
    pub place: Place,
    /// Siblings that a read would see now.
    pub live: u16,
    /// There is one new version, and no other sibling, so its context may be given to the writer.
    pub sole: bool,
    /// [`Author::birth`] was used.
    pub minted: bool,
    /// Entries of the version vector.
    pub entries: u16,
}

/// Why nothing was stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The current record cannot be read.
    Unread(Unread),
    /// The log takes nothing.
    Full(Full),
    /// The record would have too many siblings or bytes.
    Siblings,
    /// The version vector would be too long; or a joined record would not fit a frame.
    TooLarge,
}

/// Applies a client's write to the record of `key`: discard what the context covers, add the new
/// versions with new dots (DVV, arXiv 1011.5808), append.
///
/// # Errors
/// [`Refusal`]; then nothing changed. Limits bind client writes only (Riak's lesson: a join that
/// is refused loses data); a write that shrinks the record always passes.
pub fn event<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    author: Author,
    write: &Write<'_>,
) -> Result<Applied, Refusal> {
    let old = records.record(key).map_err(Refusal::Unread)?;
    let (record, mine) = (old.map(|old| old.record), old.and_then(|old| old.mine));
    let event = Event::plan(record, mine, author.node, author.boot, author.birth, write);
    admit(record, &event)?;
    let before = record.map_or(0, |record| record.version(key));
    let mut after = 0;
    let mut live = 0;
    let place = records
        .append(key, Some(event.mine()), event.bytes(), |old, out| {
            event.write_to(old.map(|old| old.record), write, out);
            let record = Record::new_checked(out).expect("an event writes a well-formed record");
            after = record.version(key);
            live = record.live(author.now).count();
        })
        .map_err(Refusal::Full)?;
    update_leaf(records, key, before, after);
    Ok(Applied {
        place,
        live: live as u16,
        sole: event.sibling_count() == 1,
        minted: event.minted(),
        entries: event.version_vector_count() as u16,
    })
}

/// Takes the own copy of `key` out of the store, if it is what lies at `place`; returns a place as
/// [`Records::erase`] does.
///
/// # Errors
/// [`Refusal`]; then nothing changed.
pub fn erase<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    place: Place,
) -> Result<Option<Place>, Refusal> {
    assert!(!key.is_hint());
    let old = records.record(key).map_err(Refusal::Unread)?;
    let Some(old) = old.filter(|old| old.place == place) else { return Ok(None) };
    let before = old.record.version(key);
    let erasure = records.erase(key, place).map_err(Refusal::Full)?;
    if erasure.is_some() {
        update_leaf(records, key, before, 0);
    }
    Ok(erasure)
}

fn admit(old: Option<Record<'_>>, event: &Event) -> Result<(), Refusal> {
    let (siblings, bytes) = old.map_or((0, 0), |old| (old.sibling_count(), old.bytes().len()));
    if event.sibling_count() > limits::SIBLING_COUNT_MAX && event.sibling_count() >= siblings {
        return Err(Refusal::Siblings);
    }
    if event.bytes() > limits::RECORD_BYTES_MAX && event.bytes() >= bytes {
        return Err(Refusal::Siblings);
    }
    if event.version_vector_count() > limits::VERSION_VECTOR_COUNT_MAX {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}

fn update_leaf<R: Records>(records: &mut R, key: &Key<'_>, before: u64, after: u64) {
    if key.is_hint() {
        return;
    }
    let leaf = &mut records.leaves(key.partition)[leaf_index(key)];
    *leaf = leaf.wrapping_sub(before).wrapping_add(after);
}
