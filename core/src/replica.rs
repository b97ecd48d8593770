//! What waits for the log to sync: acknowledgments owed to coordinators, and this node's own
//! share of the writes that it coordinates.
//!
//! Places only grow, so one FIFO and one watermark decide all of it: an acknowledgment leaves
//! when everything up to its record is on disk (`on_persist_ready` of raft-rs, for one shard).

use crate::id::RequestId;
use crate::records::Place;
use crate::request::Link;

/// One acknowledgment that waits for a sync.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unsynced {
    place: Place,
    owed: Owed,
}

/// To whom it is owed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Owed {
    /// A request of this shard.
    Own(RequestId),
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
    synced: Place,
}

impl<'a> Replica<'a> {
    pub(crate) fn new(entries: &'a mut [Unsynced]) -> Replica<'a> {
        assert!(!entries.is_empty());
        Replica { entries, first: 0, count: 0, synced: Place(0) }
    }

    /// Room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.count < self.entries.len()
    }

    /// Whether the record at `place` is on disk.
    pub(crate) fn is_synced(&self, place: Place) -> bool {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::AckBeforeStored) {
            return true;
        }
        place < self.synced
    }

    /// Remembers what is owed once `place` is synced.
    ///
    /// # Panics
    /// If there is no room, or if `place` is synced already.
    pub(crate) fn push(&mut self, place: Place, owed: Owed) {
        assert!(self.has_room());
        assert!(!self.is_synced(place));
        // A join that changed nothing points at an older record: it may wait for a newer one.
        let place = self.last().map_or(place, |last| last.place.max(place));
        let index = (self.first + self.count) % self.entries.len();
        self.entries[index] = Unsynced { place, owed };
        self.count += 1;
    }

    /// Everything below `up_to` is on disk.
    pub(crate) fn on_synced(&mut self, up_to: Place) {
        assert!(up_to >= self.synced);
        self.synced = up_to;
    }

    /// The next acknowledgment that may leave.
    pub(crate) fn pop(&mut self) -> Option<Owed> {
        if !self.is_due() {
            return None;
        }
        self.drop_first()
    }

    /// Whether an acknowledgment may leave.
    pub(crate) fn is_due(&self) -> bool {
        self.count > 0 && self.entries[self.first].place < self.synced
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
    fn acknowledgments_leave_in_order_and_only_once_synced() {
        let mut memory = [Unsynced::default(); 3];
        let mut replica = Replica::new(&mut memory);
        replica.push(Place(10), own(1));
        replica.push(Place(20), own(2));
        replica.push(Place(5), own(3));
        assert!(!replica.has_room());
        assert_eq!(replica.pop(), None);
        replica.on_synced(Place(10));
        assert_eq!(replica.pop(), None, "the record at 10 ends above 10");
        replica.on_synced(Place(20));
        assert_eq!(replica.pop(), Some(own(1)));
        assert_eq!(replica.pop(), None);
        replica.on_synced(Place(21));
        assert_eq!(replica.pop(), Some(own(2)));
        assert_eq!(replica.pop(), Some(own(3)), "waits behind a newer one");
        assert!(replica.is_synced(Place(20)));
        assert!(!replica.is_synced(Place(21)));
    }

    #[test]
    #[should_panic(expected = "has_room")]
    fn one_past_the_limit_is_a_bug() {
        let mut memory = [Unsynced::default(); 1];
        let mut replica = Replica::new(&mut memory);
        replica.push(Place(1), own(1));
        replica.push(Place(2), own(2));
    }
}
