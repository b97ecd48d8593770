//! Hints: records that this node keeps for other nodes, which lacked them when they were written.
//!
//! They lie in the log like all others, so one write and one sync are for both; what is apart is
//! where they are found: for each node an index table of its own, and their places in the order of
//! writing, so that the oldest is delivered first. A place is looked at only when it comes to the
//! front, so one that was replaced or dropped costs no search; when more than half of them are
//! such, they are swept out.
//!
//! Hints that were delivered are erased like any record: one that a restart found again could
//! bring back what was reaped meanwhile.

use std::collections::{BTreeMap, VecDeque};

use ringmain_core::id::{NodeId, Partition};
use ringmain_core::records::Place;

use super::index::Table;
use super::limits::HINT_BYTES_PART;
use super::{Log, Maps};

/// What is kept for all nodes.
#[derive(Debug)]
pub(super) struct Hints {
    kept: BTreeMap<NodeId, Kept>,
    /// For nodes for which nothing is.
    nothing: Table,
    /// Not only as many as [`Log::has_room_for_hint`] says.
    takes_all: bool,
    /// One was refused since free space was told of.
    pub(super) is_refused: bool,
}

/// What is kept for one node.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) table: Table,
    /// Ascending; those of hints that are gone are among them.
    places: VecDeque<Place>,
    count: usize,
    /// What was lost counted as the average ([`Hints::lose`]), so this may be too small.
    bytes: u64,
}

impl Default for Hints {
    fn default() -> Hints {
        Hints {
            kept: BTreeMap::new(),
            nothing: Table::new(Partition(0)),
            takes_all: false,
            is_refused: false,
        }
    }
}

impl Hints {
    /// Whether anything is kept for `target`.
    pub(super) fn contains(&self, target: NodeId) -> bool {
        self.kept.contains_key(&target)
    }

    /// The table of `target`, empty if nothing is kept for it.
    pub(super) fn table(&self, target: NodeId) -> &Table {
        self.kept.get(&target).map_or(&self.nothing, |kept| &kept.table)
    }

    /// The same, to change it.
    pub(super) fn table_mut(&mut self, target: NodeId) -> &mut Table {
        &mut self.kept.entry(target).or_insert_with(Kept::new).table
    }

    /// Whether one of a key of that order is kept, for whomever.
    pub(super) fn has_order(&self, order: u64) -> bool {
        self.kept.values().any(|kept| kept.table.guess(order).is_some())
    }

    /// A hint of so many bytes lies at `place` now, the last one of the log; one that it replaced
    /// had `replaced` bytes.
    pub(super) fn on_kept(
        &mut self,
        target: NodeId,
        place: Place,
        bytes: usize,
        replaced: Option<usize>,
    ) {
        let kept = self.kept.entry(target).or_insert_with(Kept::new);
        debug_assert!(kept.places.back().is_none_or(|last| *last < place));
        kept.places.push_back(place);
        kept.count += usize::from(replaced.is_none());
        kept.bytes =
            (kept.bytes + bytes as u64).saturating_sub(replaced.unwrap_or_default() as u64);
    }

    /// The hint of so many bytes is kept no longer.
    pub(super) fn on_dropped(&mut self, target: NodeId, bytes: usize) {
        let Some(kept) = self.kept.get_mut(&target) else { return };
        kept.count -= 1;
        kept.bytes = kept.bytes.saturating_sub(bytes as u64);
        if kept.count == 0 {
            self.kept.remove(&target);
        }
    }

    /// The oldest place above `after` for `target` that `is_live`. Amortized O(log places).
    pub(super) fn next(
        &self,
        target: NodeId,
        after: Place,
        is_live: impl Fn(Place) -> bool,
    ) -> Option<Place> {
        let places = &self.kept.get(&target)?.places;
        let first = places.partition_point(|place| *place <= after);
        places.range(first..).copied().find(|place| is_live(*place))
    }

    /// Forgets places that are not live if they are more than half.
    pub(super) fn sweep(&mut self, target: NodeId, is_live: impl Fn(Place) -> bool) {
        if let Some(kept) = self.kept.get_mut(&target)
            && kept.places.len() > 2 * kept.count + PLACE_COUNT_MIN
        {
            kept.places.retain(|place| is_live(*place));
        }
    }

    /// As recovery found them: sorts what [`Hints::on_found`] was told.
    pub(super) fn on_recovered(&mut self) {
        for kept in self.kept.values_mut() {
            kept.places.make_contiguous().sort_unstable();
        }
    }

    /// Recovery found a hint, in any order.
    pub(super) fn on_found(&mut self, target: NodeId, place: Place, bytes: usize) {
        let kept = self.kept.entry(target).or_insert_with(Kept::new);
        kept.places.push_back(place);
        kept.count += 1;
        kept.bytes += bytes as u64;
    }

    /// Forgets those whose places are lost; says how many.
    pub(super) fn lose(&mut self, is_lost: impl Fn(Place) -> bool) -> u64 {
        let mut count = 0;
        for kept in self.kept.values_mut() {
            let lost = kept.table.iter_from(0).filter(|(_, place)| is_lost(*place));
            for (order, place) in lost.collect::<Vec<_>>() {
                let is_removed = kept.table.remove_at(order, place);
                assert!(is_removed, "it was there just now");
                // Nobody can read how long it was.
                kept.bytes -= kept.bytes / kept.count as u64;
                kept.count -= 1;
                count += 1;
            }
        }
        self.kept.retain(|_, kept| kept.count > 0);
        count
    }

    /// Places listed for `target`, live or not.
    #[cfg(test)]
    pub(super) fn place_count(&self, target: NodeId) -> usize {
        self.kept.get(&target).map_or(0, |kept| kept.places.len())
    }

    /// Bytes of all hints.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.values().map(|kept| kept.bytes).sum()
    }

    /// The nodes for which something is kept, with its count and bytes, ascending by node.
    pub(super) fn targets(&self) -> impl Iterator<Item = (NodeId, usize, u64)> + '_ {
        let kept = self.kept.iter().filter(|(_, kept)| kept.count > 0);
        kept.map(|(target, kept)| (*target, kept.count, kept.bytes))
    }
}

impl<M: Maps> Log<M> {
    /// The nodes for which hints are kept, with their count and bytes, ascending by node.
    pub fn hint_targets(&self) -> impl Iterator<Item = (NodeId, usize, u64)> + '_ {
        self.index.hints.targets()
    }

    /// The places of the hints kept for `target`, in no order that means anything.
    pub fn hints_of(&self, target: NodeId) -> impl Iterator<Item = Place> + '_ {
        self.index.hints.table(target).iter_from(0).map(|(_, place)| place)
    }

    /// See [`Records::next_hint`].
    pub(super) fn oldest_hint(&self, target: NodeId, after: Place) -> Option<Place> {
        self.index.hints.next(target, after, |place| self.writer.segments.is_live(place))
    }

    /// Forgets places of hints for `target` that were dropped or replaced, if they are many.
    /// Amortized O(1) for each that became so.
    pub(super) fn sweep_hints(&mut self, target: NodeId) {
        let segments = &self.writer.segments;
        self.index.hints.sweep(target, |place| segments.is_live(place));
    }

    /// Takes hints whatever room they need, from a log that had room for them.
    pub fn take_all_hints(&mut self) {
        self.index.hints.takes_all = true;
    }

    /// Whether hints may take so many bytes more.
    pub(super) fn has_room_for_hint(&self, bytes: usize) -> bool {
        let shards = u64::from(self.writer.identity().shards);
        let room = self.writer.free_bytes() / shards + self.writer.file_bytes();
        let most = room / HINT_BYTES_PART;
        self.index.hints.takes_all || self.index.hints.bytes() + bytes as u64 <= most
    }
}

impl Kept {
    fn new() -> Kept {
        let table = Table::new(Partition(0));
        Kept { table, places: VecDeque::new(), count: 0, bytes: 0 }
    }
}

/// Fewer places than this are not worth a sweep.
pub(super) const PLACE_COUNT_MIN: usize = 1024;
