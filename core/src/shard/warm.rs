//! With which partitions this shard catches up while the membership changes (correctness §2): those
//! that its node gains, and those that will have fewer owners.
//!
//! A partition is warm when exchanges on the current topology have found this node's copy equal to
//! those of so many of its coordinators that whatever a quorum acknowledged is on one of them;
//! writes on older topologies these refuse since, and they are so many that no read on an older one
//! succeeds without them either. All that is here by then, however it came, is on disk before the
//! node says so: what was compared is what was appended, and whoever has it, too, may leave. Who
//! leaves the cluster hands off first what it keeps for others, and is found equal to all who have
//! its partitions from then on: so nothing is lost with it, though only one node acknowledged it.

use super::{Output, Shard};
use crate::id::{NodeId, Partition};
use crate::records::Place;
use crate::replica::Owed;
use crate::ring::Owners;

/// How far the copies have come.
#[derive(Debug)]
pub(super) struct Warming<'a> {
    /// For each partition of the shard, the nodes whose copies were found equal: their bits, by
    /// position among those that are asked.
    heard: &'a mut [u8],
    /// Partitions that are not caught up with, or handed over.
    cold_count: usize,
    state: State,
}

/// Whether the node was told; its variants read as the life of a topology.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Something is missing.
    Cold,
    /// The store is asked how much there is.
    Asking,
    /// All that goes to disk.
    Syncing,
    /// It was, or nothing moves.
    Told,
}

impl<'a> Warming<'a> {
    pub(super) fn new(heard: &'a mut [u8]) -> Warming<'a> {
        heard.fill(0);
        Warming { heard, cold_count: 0, state: State::Told }
    }
}

impl Shard<'_> {
    /// Partitions of this shard that this node catches up with, or hands over.
    pub fn cold_count(&self) -> usize {
        self.warming.cold_count
    }

    /// Whether this node still catches up with `partition`, or hands it over.
    pub fn is_cold(&self, partition: Partition) -> bool {
        let heard = self.warming.heard[self.index_of(partition)].count_ones() as usize;
        self.to_hear(partition).is_some_and(|(_, needed)| heard < needed)
    }

    /// Whose copies are to be found equal to the one here before all settles, and of how many of
    /// them: if this node catches up of enough coordinators, if it leaves of all who take over.
    fn to_hear(&self, partition: Partition) -> Option<(Owners, usize)> {
        let me = self.config.node;
        if self.rings.catches_up(partition, me) {
            let own = usize::from(self.rings.is_coordinator(partition, me));
            let others = self.warm_count(partition).saturating_sub(own);
            return Some((self.rings.coordinators(partition), others));
        }
        let owners = self.rings.committed().owners(partition);
        self.rings.gives_up(partition, me).then(|| (Owners::new(owners), owners.len()))
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
        let Some((nodes, _)) = self.to_hear(partition).filter(|_| self.is_cold(partition)) else {
            return;
        };
        let Some(position) = nodes.iter().position(|node| *node == peer) else { return };
        self.warming.heard[self.index_of(partition)] |= 1 << position;
        self.warming.cold_count -= usize::from(!self.is_cold(partition));
    }

    /// Has the node told, once, that this shard is warm.
    pub(super) fn tell_warm(&mut self) {
        if self.warming.state != State::Cold || self.warming.cold_count > 0 || self.must_hand_off()
        {
            return;
        }
        if self.replica.has_room() {
            self.warming.state = State::Asking;
            self.output(Output::SeekEnd);
        }
    }

    /// The store ends at `end`: all before that goes to disk.
    pub(super) fn on_end_found(&mut self, end: Place) {
        assert!(self.warming.state == State::Asking, "asked and answered in one turn");
        if !self.replica.has_room() {
            self.warming.state = State::Cold;
            return;
        }
        let last = Place(end.0.saturating_sub(1));
        if self.replica.is_stored(last, true) {
            return self.on_warm_synced();
        }
        self.warming.state = State::Syncing;
        self.replica.push(last, true, Owed::Warm(self.topology));
        if !self.config.sync_before_ack {
            self.output(Output::Sync);
        }
    }

    /// All of it is on disk.
    pub(super) fn on_warm_synced(&mut self) {
        self.warming.state = State::Told;
        self.output(Output::Warm { topology: self.topology });
    }

    /// Whether this node leaves and keeps something for others.
    fn must_hand_off(&self) -> bool {
        let leaves = !self.rings.committed().contains(self.config.node);
        leaves && self.handoff.targets().next().is_some()
    }

    fn warm_count(&self, partition: Partition) -> usize {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::WarmTooEarly) {
            return 0;
        }
        self.rings.warm_count(partition, self.config.r.min(self.config.w))
    }

    fn index_of(&self, partition: Partition) -> usize {
        usize::from(partition.0 - self.first_partition)
    }
}
