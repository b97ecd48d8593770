//! With which partitions this shard catches up while the membership changes (correctness §2): those
//! that its node gains, and those that will have fewer owners.
//!
//! A partition is warm when exchanges on the current topology have found this node's copy equal to
//! those of so many of its readers that whatever a quorum acknowledged is on one of them; writes on
//! older topologies these readers refuse since. What came is on disk before the node says so. Who
//! leaves the cluster has to hand off what it keeps for others first.

use super::{Output, Shard};
use crate::id::{NodeId, Partition};
use crate::records::Place;
use crate::replica::Owed;

/// How far the copies have come.
#[derive(Debug)]
pub(super) struct Warming<'a> {
    /// For each partition of the shard, the readers whose copies were found equal: their bits, by
    /// position.
    heard: &'a mut [u8],
    /// Partitions that are not warm yet.
    cold_count: usize,
    /// The last record that came by an exchange.
    last: Place,
    state: State,
}

/// Whether the node was told; its variants read as the life of a topology.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Something is missing.
    Cold,
    /// All that came goes to disk.
    Syncing,
    /// It was, or nothing moves.
    Told,
}

impl<'a> Warming<'a> {
    pub(super) fn new(heard: &'a mut [u8]) -> Warming<'a> {
        heard.fill(0);
        Warming { heard, cold_count: 0, last: Place(0), state: State::Told }
    }

    /// A record that came by an exchange is at `place`.
    pub(super) fn on_joined(&mut self, place: Place) {
        self.last = self.last.max(place);
    }
}

impl Shard<'_> {
    /// Partitions of this shard that this node catches up with.
    pub fn cold_count(&self) -> usize {
        self.warming.cold_count
    }

    /// Whether this node still catches up with `partition`.
    pub fn is_cold(&self, partition: Partition) -> bool {
        let catches_up = self.rings.catches_up(partition, self.config.node);
        catches_up && self.heard_count(partition) < self.warm_count(partition)
    }

    /// Another topology is in force: nothing was heard on it yet.
    pub(super) fn begin_warming(&mut self) {
        self.warming.heard.fill(0);
        self.warming.cold_count = 0;
        self.warming.state = if self.rings.is_moving() { State::Cold } else { State::Told };
        if !self.rings.is_moving() {
            return;
        }
        for index in 0..self.warming.heard.len() {
            let partition = Partition(self.first_partition + index as u16);
            self.warming.cold_count += usize::from(self.is_cold(partition));
        }
    }

    /// The copies of `partition` here and at `peer` were equal, on the current topology.
    pub(super) fn on_equal(&mut self, partition: Partition, peer: NodeId) {
        if !self.is_cold(partition) {
            return;
        }
        let readers = self.rings.readers(partition);
        let Some(position) = readers.iter().position(|reader| *reader == peer) else { return };
        self.warming.heard[self.index_of(partition)] |= 1 << position;
        self.warming.cold_count -= usize::from(!self.is_cold(partition));
    }

    /// Has the node told, once, that this shard is warm.
    pub(super) fn tell_warm(&mut self) {
        if self.warming.state != State::Cold || self.warming.cold_count > 0 || self.must_hand_off()
        {
            return;
        }
        let last = self.warming.last;
        if self.replica.is_stored(last, true) {
            return self.on_warm_synced();
        }
        if self.replica.has_room() {
            self.warming.state = State::Syncing;
            self.replica.push(last, true, Owed::Warm(self.topology));
            if !self.config.sync_before_ack {
                self.output(Output::Sync);
            }
        }
    }

    /// All that came is on disk.
    pub(super) fn on_warm_synced(&mut self) {
        self.warming.state = State::Told;
        self.output(Output::Warm { topology: self.topology });
    }

    /// Whether this node leaves and keeps something for others.
    fn must_hand_off(&self) -> bool {
        let leaves = !self.rings.committed().contains(self.config.node);
        leaves && self.handoff.targets().next().is_some()
    }

    /// Of how many readers this node has all.
    fn heard_count(&self, partition: Partition) -> usize {
        let others = self.warming.heard[self.index_of(partition)].count_ones() as usize;
        others + usize::from(self.is_read(partition))
    }

    fn warm_count(&self, partition: Partition) -> usize {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::WarmTooEarly) {
            return 0;
        }
        self.rings.warm_count(partition, self.config.w)
    }

    fn index_of(&self, partition: Partition) -> usize {
        usize::from(partition.0 - self.first_partition)
    }
}
