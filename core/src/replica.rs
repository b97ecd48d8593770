//! What waits for the log: acknowledgments owed to coordinators, and this node's own share of the
//! writes that it coordinates.
//!
//! Places only grow, so one FIFO and two watermarks decide all of it: an acknowledgment leaves when
//! everything up to its record is written, or on disk if it says so (`on_persist_ready` of raft-rs,
//! for one shard). Where few ask for a sync, those behind them wait for it, too: it is begun at
//! once, and one order is simpler than two.

use crate::id::{RequestId, TopologyId};
use crate::records::Place;
use crate::request::Link;

/// One acknowledgment that waits for the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unsynced {
    place: Place,
    /// It waits for the sync, not only for the write.
    sync: bool,
    owed: Owed,
}

/// To whom it is owed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Owed {
    /// A request of this shard.
    Own(RequestId),
    /// The node machine: all that came on this topology is on disk.
    Warm(TopologyId),
    /// The coordinator behind a link.
    Peer { link: Link, request: u32, order: u64 },
}

impl Default for Owed {
    fn default() -> Owed {
        Owed::Own(RequestId(0))
    }
}

/// The FIFO of acknowledgments that wait for the log, over lent memory.
#[derive(Debug)]
pub(crate) struct Replica<'a> {
    entries: &'a mut [Unsynced],
    first: usize,
    count: usize,
    written: Place,
    synced: Place,
}

impl<'a> Replica<'a> {
    pub(crate) fn new(entries: &'a mut [Unsynced]) -> Replica<'a> {
        assert!(!entries.is_empty());
        Replica { entries, first: 0, count: 0, written: Place(0), synced: Place(0) }
    }

    /// Room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.entries.len()
    }

    /// Whether the record at `place` is written; with `sync`, whether it is on disk.
    pub(crate) fn is_stored(&self, place: Place, sync: bool) -> bool {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::AckBeforeStored) {
            return true;
        }
        place < if sync { self.synced } else { self.written }
    }

    /// Remembers what is owed once `place` is stored, as in [`Replica::is_stored`].
    ///
    /// # Panics
    /// If there is no room, or if `place` is stored already.
    pub(crate) fn push(&mut self, place: Place, sync: bool, owed: Owed) {
        assert!(self.has_room());
        assert!(!self.is_stored(place, sync));
        // A join that changed nothing points at an older record: it may wait for a newer one.
        let place = self.last().map_or(place, |last| last.place.max(place));
        let index = (self.first + self.count) % self.entries.len();
        self.entries[index] = Unsynced { place, sync, owed };
        self.count += 1;
    }

    /// Everything below these places is written, and on disk.
    pub(crate) fn on_stored(&mut self, written: Place, synced: Place) {
        assert!(synced <= written);
        assert!(written >= self.written && synced >= self.synced);
        (self.written, self.synced) = (written, synced);
    }

    /// The next acknowledgment that may leave, and whether it may say that it is on disk.
    pub(crate) fn pop(&mut self) -> Option<(Owed, bool)> {
        if !self.is_due() {
            return None;
        }
        let sync = self.entries[self.first].sync;
        self.drop_first().map(|owed| (owed, sync))
    }

    /// Whether an acknowledgment may leave.
    pub(crate) fn is_due(&self) -> bool {
        let first = &self.entries[self.first];
        self.count > 0 && self.is_stored(first.place, first.sync)
    }

    /// Whether anything is owed.
    pub(crate) fn is_owed(&self) -> bool {
        self.count > 0
    }

    /// Gives up the oldest one: the log has failed.
    pub(crate) fn drop_first(&mut self) -> Option<Owed> {
        if self.count == 0 {
            return None;
        }
        let owed = self.entries[self.first].owed;
        self.first = (self.first + 1) % self.entries.len();
        self.count -= 1;
        Some(owed)
    }

    fn last(&self) -> Option<&Unsynced> {
        let last = self.count.checked_sub(1)?;
        Some(&self.entries[(self.first + last) % self.entries.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(number: u32) -> Owed {
        Owed::Own(RequestId(number))
    }

    #[test]
    fn acknowledgments_leave_in_order_and_only_once_stored() {
        let at_once = Place(u64::MAX);
        for sync in [false, true] {
            let up_to = |place| match sync {
                true => (at_once, Place(place)),
                false => (Place(place), Place(0)),
            };
            let mut memory = [Unsynced::default(); 3];
            let mut replica = Replica::new(&mut memory);
            replica.push(Place(10), sync, own(1));
            replica.push(Place(20), sync, own(2));
            replica.push(Place(5), sync, own(3));
            assert!(!replica.has_room());
            assert_eq!(replica.pop(), None);
            replica.on_stored(up_to(10).0, up_to(10).1);
            assert_eq!(replica.pop(), None, "the record at 10 ends above 10");
            replica.on_stored(up_to(20).0, up_to(20).1);
            assert_eq!(replica.pop(), Some((own(1), sync)));
            assert_eq!(replica.pop(), None);
            replica.on_stored(up_to(21).0, up_to(21).1);
            assert_eq!(replica.pop(), Some((own(2), sync)));
            assert_eq!(replica.pop(), Some((own(3), sync)), "waits behind a newer one");
            assert!(replica.is_stored(Place(20), sync));
            assert!(!replica.is_stored(Place(21), sync));
        }
    }

    #[test]
    fn what_is_written_waits_behind_what_waits_for_a_sync() {
        let mut memory = [Unsynced::default(); 3];
        let mut replica = Replica::new(&mut memory);
        replica.push(Place(10), false, own(1));
        replica.push(Place(20), true, own(2));
        replica.push(Place(30), false, own(3));
        replica.on_stored(Place(40), Place(20));
        assert_eq!(replica.pop(), Some((own(1), false)));
        assert_eq!(replica.pop(), None);
        replica.on_stored(Place(40), Place(21));
        assert_eq!(replica.pop(), Some((own(2), true)));
        assert_eq!(replica.pop(), Some((own(3), false)));
        assert!(!replica.is_owed());
    }

    #[test]
    #[should_panic(expected = "synced <= written")]
    fn nothing_is_on_disk_that_was_not_written() {
        let mut memory = [Unsynced::default(); 1];
        Replica::new(&mut memory).on_stored(Place(1), Place(2));
    }

    #[test]
    #[should_panic(expected = "has_room")]
    fn one_past_the_limit_is_a_bug() {
        let mut memory = [Unsynced::default(); 1];
        let mut replica = Replica::new(&mut memory);
        replica.push(Place(1), true, own(1));
        replica.push(Place(2), true, own(2));
    }
}
