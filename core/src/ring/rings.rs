//! Where partitions are, and where they are to be, while the membership changes.
//!
//! Between the commit of a change and the moment at which the last of its data has moved, two
//! topologies are in force: the settled one says who has the copies of a partition, hence who
//! coordinates; the committed one says who is to have them. Reads and writes need their quorum in
//! both (joint consensus does so, too: Ongaro and Ousterhout, Raft, 2014, §6): so they meet those
//! of coordinators that do not know of the change yet in the one, and those that know already that
//! it is over in the other. While nothing moves the two are one.
//!
//! Only who does not know of a change at all, and who knows that it is over, have no topology in
//! common. By then each partition that moved has lost its quorum for the former: whoever gained it
//! has heard of so many of its owners ([`Rings::warm_count`]), and these refuse what comes by an
//! older topology. Source: Garage's layout history, whose tests by Jepsen found reads that missed
//! writes as long as a change of the layout was followed at once.

use core::ops::Deref;

use heapless::Vec;

use super::{Ring, RingConfig};
use crate::id::{NodeId, Partition};
use crate::limits::{MEMBER_COUNT_MAX, REPLICA_COUNT_MAX};
use crate::membership::member::Member;

/// Most owners of a partition: those that it has, and as many that it is to have.
pub const OWNER_COUNT_MAX: usize = 2 * REPLICA_COUNT_MAX;

/// The owners of a partition in the topologies that are in force, none twice.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Owners {
    nodes: Vec<NodeId, OWNER_COUNT_MAX>,
    quorums: [u16; 2],
}

impl Owners {
    /// Of one topology.
    ///
    /// # Panics
    /// If there are more than `REPLICA_COUNT_MAX`.
    #[inline]
    pub fn new(nodes: &[NodeId]) -> Owners {
        assert!(nodes.len() <= REPLICA_COUNT_MAX);
        let nodes = Vec::from_slice(nodes).expect("at most as many as own a partition");
        let all = low_bits(nodes.len());
        Owners { nodes, quorums: [all, all] }
    }

    /// Which of them, by their position, count together in the settled topology and in the
    /// committed one: a bit for each; 0 if that topology does not matter here.
    pub fn quorums(&self) -> [u16; 2] {
        self.quorums
    }

    /// How many of them there are in the topology in which there are most.
    pub fn count_max(&self) -> usize {
        let counts = self.quorums.map(|quorum| quorum.count_ones() as usize);
        counts[0].max(counts[1])
    }

    /// Orders them by `rank`; equals stay as they are.
    pub fn sort_by<K: Ord>(&mut self, rank: impl Fn(NodeId) -> K) {
        // Few, and it keeps equals in order.
        for end in 1..self.nodes.len() {
            let mut index = end;
            while index > 0 && rank(self.nodes[index - 1]) > rank(self.nodes[index]) {
                self.swap(index - 1, index);
                index -= 1;
            }
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.nodes.swap(one, other);
        for quorum in &mut self.quorums {
            let differ = (*quorum >> one ^ *quorum >> other) & 1;
            *quorum ^= differ << one | differ << other;
        }
    }

    /// As `Owners::new`, in the settled topology alone: another one is committed.
    fn settled(nodes: &[NodeId]) -> Owners {
        let mut owners = Owners::new(nodes);
        owners.quorums[1] = 0;
        owners
    }

    /// `node` counts in the committed topology.
    fn commit(&mut self, node: NodeId) {
        let index = self.nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
            self.nodes.push(node).expect("at most as many as own a partition");
            self.nodes.len() - 1
        });
        self.quorums[1] |= 1 << index;
    }
}

impl Deref for Owners {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        &self.nodes
    }
}

impl IntoIterator for Owners {
    type Item = NodeId;
    type IntoIter = <Vec<NodeId, OWNER_COUNT_MAX> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.nodes.into_iter()
    }
}

/// The settled ring and the committed one.
#[derive(Debug)]
pub struct Rings<'a> {
    settled: Ring<'a>,
    committed: Ring<'a>,
    is_moving: bool,
    /// As in [`Transition`].
    lost: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// As in [`Transition`].
    leaving: Vec<NodeId, MEMBER_COUNT_MAX>,
}

/// Where a cluster stands between two memberships.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// The members by the settled operations, ascending by node.
    pub settled: &'a [Member],
    /// The members by all operations, ascending by node.
    pub committed: &'a [Member],
    /// Those that were removed and hold nothing any more.
    pub lost: &'a [NodeId],
    /// Those that were removed and give away what they hold. Some may never have been settled.
    pub leaving: &'a [NodeId],
    /// An operation is not settled.
    pub is_moving: bool,
}

impl<'a> Transition<'a> {
    /// None: nothing moves.
    pub fn none(members: &'a [Member]) -> Transition<'a> {
        Transition {
            settled: members,
            committed: members,
            lost: &[],
            leaving: &[],
            is_moving: false,
        }
    }
}

impl<'a> Rings<'a> {
    /// How many [`NodeId`]s are needed as storage.
    pub fn slot_count(config: &RingConfig) -> usize {
        2 * config.slot_count()
    }

    /// Rings without members.
    ///
    /// # Panics
    /// As [`Ring::new`]; `storage` is [`Rings::slot_count`] long.
    pub fn new(storage: &'a mut [NodeId], config: RingConfig) -> Rings<'a> {
        let (settled, committed) = storage.split_at_mut(config.slot_count());
        let (settled, committed) = (Ring::new(settled, config), Ring::new(committed, config));
        Rings { settled, committed, is_moving: false, lost: Vec::new(), leaving: Vec::new() }
    }

    /// Computes both; see [`Ring::rebuild`].
    ///
    /// # Panics
    /// As [`Ring::rebuild`].
    pub fn rebuild(&mut self, change: &Transition<'_>) {
        let Transition { settled, committed, lost, leaving, is_moving } = *change;
        self.lost = Vec::from_slice(lost).expect("no more than members");
        self.leaving = Vec::from_slice(leaving).expect("no more than members");
        self.committed.rebuild(committed);
        // Nobody is read whom no ring names: what was never settled is taken for settled.
        self.is_moving = is_moving && !settled.is_empty();
        if self.is_moving {
            self.settled.rebuild(settled);
        } else {
            self.settled.copy_from(&self.committed);
        }
    }

    /// Makes these equal to `other`, without computing anything.
    ///
    /// # Panics
    /// If the two were configured differently.
    pub fn copy_from(&mut self, other: &Rings<'_>) {
        self.settled.copy_from(&other.settled);
        self.committed.copy_from(&other.committed);
        self.is_moving = other.is_moving;
        self.lost.clone_from(&other.lost);
        self.leaving.clone_from(&other.leaving);
    }

    /// Where partitions are to be.
    pub fn committed(&self) -> &Ring<'a> {
        &self.committed
    }

    /// Where partitions are.
    pub fn settled(&self) -> &Ring<'a> {
        &self.settled
    }

    /// Whether the two differ.
    pub fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// Owners that a partition has at most in one of the two.
    pub fn replica_count_max(&self) -> usize {
        self.settled.replica_count().max(self.committed.replica_count())
    }

    /// Whether `node` is a member, or leaves.
    pub fn contains(&self, node: NodeId) -> bool {
        self.committed.contains(node) || self.leaving.contains(&node)
    }

    /// The members, and those that leave, ascending.
    pub fn nodes(&self) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let mut nodes: Vec<_, MEMBER_COUNT_MAX> = self.committed.nodes().collect();
        nodes.extend(self.leaving.iter().copied());
        nodes.sort_unstable();
        nodes
    }

    /// The settled members that still hold what they had, ascending.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.settled.nodes().filter(|node| !self.lost.contains(node))
    }

    /// Those that leave.
    pub fn leaving(&self) -> &[NodeId] {
        &self.leaving
    }

    /// The members that catch up with partitions, ascending. O(Q × n²).
    pub fn catching_up(&self) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let mut nodes = Vec::new();
        let partitions = 0..self.committed.config().partition_count();
        for partition in partitions.map(|index| Partition(index as u16)) {
            for node in self.committed.owners(partition) {
                if self.catches_up(partition, *node)
                    && let Err(index) = nodes.binary_search(node)
                {
                    nodes.insert(index, *node).expect("no more than members");
                }
            }
        }
        nodes
    }

    /// All owners of `partition`, of whom reads and writes need a quorum in each topology; those
    /// that coordinate first.
    ///
    /// # Panics
    /// If there is no such partition.
    #[inline]
    pub fn owners(&self, partition: Partition) -> Owners {
        if !self.is_moving {
            return Owners::new(self.committed.owners(partition));
        }
        let mut owners = self.coordinators(partition);
        owners.quorums[1] = 0;
        for node in self.committed.owners(partition) {
            owners.commit(*node);
        }
        owners
    }

    /// The owners of `partition` that coordinate, since they have its copies. Those that are to
    /// have it, if nobody is left who had.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn coordinators(&self, partition: Partition) -> Owners {
        if !self.is_moving {
            return Owners::new(self.committed.owners(partition));
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::CommittedRead) {
            return Owners::new(self.committed.owners(partition));
        }
        let settled = self.settled.owners(partition).iter().copied();
        let left: Vec<NodeId, REPLICA_COUNT_MAX> =
            settled.filter(|node| !self.lost.contains(node)).collect();
        if left.is_empty() {
            return Owners::new(self.committed.owners(partition));
        }
        Owners::settled(&left)
    }

    /// Whether `node` owns `partition` in either.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn is_owner(&self, partition: Partition, node: NodeId) -> bool {
        self.committed.is_owner(partition, node)
            || self.is_moving
                && self.settled.is_owner(partition, node)
                && !self.lost.contains(&node)
    }

    /// Whether `node` is among [`Rings::coordinators`].
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn is_coordinator(&self, partition: Partition, node: NodeId) -> bool {
        if self.is_moving {
            self.coordinators(partition).contains(&node)
        } else {
            self.committed.is_owner(partition, node)
        }
    }

    /// Whether `node` is to have `partition` and must catch up before others may rely on that: it
    /// gains it, or there will be fewer owners, so that those who stay may not have all that a
    /// quorum acknowledged.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn catches_up(&self, partition: Partition, node: NodeId) -> bool {
        let is_fewer = self.committed.replica_count() < self.settled.replica_count();
        self.is_moving
            && self.committed.is_owner(partition, node)
            && (is_fewer || !self.is_coordinator(partition, node))
    }

    /// Of how many of its coordinators a node that catches up with `partition` must have all
    /// records, itself included, before all settles: as many as leave fewer than `quorum` out, or
    /// all that are left. With a quorum of W it has whatever the owners acknowledged before; with
    /// one of R no read succeeds any more that knows the settled owners alone, since those that it
    /// has heard refuse to answer.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn warm_count(&self, partition: Partition, quorum: u8) -> usize {
        let owners = self.settled.replica_count();
        let needed = owners + 1 - usize::from(quorum).clamp(1, owners.max(1));
        needed.min(self.coordinators(partition).len())
    }

    /// Whether `node` leaves and has a copy of `partition`.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn gives_up(&self, partition: Partition, node: NodeId) -> bool {
        self.leaving.contains(&node) && self.is_coordinator(partition, node)
    }

    /// Whether `to` must have what `from` has of `partition` before all settles.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn hands_over(&self, partition: Partition, from: NodeId, to: NodeId) -> bool {
        self.catches_up(partition, to) && self.is_coordinator(partition, from)
            || self.gives_up(partition, from) && self.committed.is_owner(partition, to)
    }

    /// Members of the committed ring that own nothing of `partition`, in the order in which they
    /// stand in for an owner; see [`Ring::fallbacks`].
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn fallbacks(&self, partition: Partition) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let mut fallbacks = self.committed.fallbacks(partition);
        if self.is_moving {
            fallbacks.retain(|node| !self.is_owner(partition, *node));
        }
        fallbacks
    }
}

fn low_bits(count: usize) -> u16 {
    ((1_u32 << count) - 1) as u16
}

const _: () = assert!(OWNER_COUNT_MAX <= u16::BITS as usize, "each owner has a bit");
