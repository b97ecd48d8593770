//! Which nodes own which partition: a pure integer function of the committed members.
//!
//! Every node must name the same owners without asking anybody, nodes of greater weight must own
//! more, the copies of a partition must lie in different zones, and a change of membership must
//! move no more than the newcomer's (or the leaver's) fair share.
//!
//! Each partition has its own list of owners (no adjacency on a circle, hence no wrap-around
//! trouble). The members are ordered by weighted rendezvous hashing, anew for each partition;
//! the first R = min(n, members) are taken, skipping
//! - nodes at their cap: fair share × (1 + slack), slack = 100 % / √(mean share), 3 ..= 20 %;
//! - zones that hold ⌈R / zones⌉ of the partition already;
//! - zones that may only have more when others, which the rest of the pass cannot fill
//!   otherwise, got theirs (`Shares::next_partition`).
//!
//! A zone's fair share is R × Q divided by weight, but no more than it can hold; a node's is its
//! zone's divided likewise. Where zones have too few nodes, the zone limit is the least one that
//! suffices; where nobody is left below the cap, the cap gives way. Both are counted in
//! [`Relaxations`]. Of the owners, the one that leads the fewest partitions for its weight
//! leads; the others keep their order.
//!
//! Invariant: equal members and configuration give equal rings, on every machine and in
//! whatever order the members were learned; no partition names a node twice.
//!
//! Source: Dynamo §6.2 strategy 3 (fixed partitions); rendezvous hashing (Thaler and Ravishankar
//! 1998), weighted by exponential variables; consistent hashing with bounded loads (Mirrokni,
//! Thorup, Zadimoghaddam 2016). `figures.rs` holds what was measured.

mod placement;
mod rings;
mod score;
mod shares;

#[cfg(test)]
mod figures;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod rings_tests;
#[cfg(test)]
mod tests;

pub use rings::{OWNER_COUNT_MAX, Owners, Rings, Transition};

use heapless::Vec;

use crate::id::{NodeId, Partition};
use crate::limits::{MEMBER_COUNT_MAX, PARTITION_BITS_MAX, PARTITION_BITS_MIN, REPLICA_COUNT_MAX};
use crate::membership::member::{Member, Name};

/// What a cluster fixes when it is founded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RingConfig {
    /// log2 of the number of partitions Q, `PARTITION_BITS_MIN ..= PARTITION_BITS_MAX`. For
    /// small moves, Q × n / nodes should be 100 or more.
    pub partition_bits: u32,
    /// Owners per partition when there are as many nodes, `1 ..= REPLICA_COUNT_MAX`.
    pub n: usize,
    /// Makes the rings of different clusters differ.
    pub seed: u64,
}

impl RingConfig {
    /// Q, the number of partitions.
    pub fn partition_count(&self) -> usize {
        1 << self.partition_bits
    }

    /// How many [`NodeId`]s a [`Ring`] needs as storage: Q × n.
    pub fn slot_count(&self) -> usize {
        self.partition_count() * self.n
    }
}

/// How often a ring had to give up a goal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Relaxations {
    /// Replicas given to a node at its cap.
    pub cap: u32,
    /// Replicas beyond ⌈R / zones⌉ of their partition in one zone.
    pub zone: u32,
}

/// The owners of every partition. About 12 KiB, and the owners in storage that is lent once.
#[derive(Debug)]
pub struct Ring<'a> {
    config: RingConfig,
    /// A row of `config.n` per partition, of which the first `replica_count` are used.
    owners: &'a mut [NodeId],
    /// Ascending by node.
    seats: Vec<Seat, MEMBER_COUNT_MAX>,
    relaxations: Relaxations,
    hash: u64,
}

impl<'a> Ring<'a> {
    /// A ring without members: it owns nothing.
    ///
    /// # Panics
    /// If `config` is out of its bounds or `storage` is not [`RingConfig::slot_count`] long.
    pub fn new(storage: &'a mut [NodeId], config: RingConfig) -> Ring<'a> {
        assert!(config.partition_bits >= PARTITION_BITS_MIN);
        assert!(config.partition_bits <= PARTITION_BITS_MAX);
        assert!(config.n >= 1);
        assert!(config.n <= REPLICA_COUNT_MAX);
        assert!(storage.len() == config.slot_count());
        let relaxations = Relaxations::default();
        Ring { config, owners: storage, seats: Vec::new(), relaxations, hash: 0 }
    }

    /// Computes the ring of `members`, which ascend by node. Q × members hashes and Q sorts:
    /// about 15 ms for 100 members and 4096 partitions, 160 ms for 256 and 16384.
    ///
    /// # Panics
    /// If `members` do not ascend strictly by node, one has weight 0, or there are more than
    /// `MEMBER_COUNT_MAX`.
    pub fn rebuild(&mut self, members: &[Member]) {
        assert!(members.len() <= MEMBER_COUNT_MAX);
        assert!(members.is_sorted_by(|a, b| a.node < b.node));
        let mut zones = Vec::<Name, MEMBER_COUNT_MAX>::new();
        self.seats.clear();
        for member in members {
            assert!(member.weight > 0);
            let zone = zones.iter().position(|&zone| zone == member.zone).unwrap_or_else(|| {
                zones.push(member.zone).expect("no more zones than members");
                zones.len() - 1
            });
            let seat = Seat::new(member, zone as u16);
            self.seats.push(seat).expect("at most MEMBER_COUNT_MAX, asserted above");
        }
        self.relaxations = placement::place_all(&mut self.seats, &self.config, self.owners);
        self.hash = self.hash_owners();
        self.check_invariants();
    }

    /// Makes this ring equal to `other`, without computing anything.
    ///
    /// # Panics
    /// If the two were configured differently.
    pub fn copy_from(&mut self, other: &Ring<'_>) {
        assert!(self.config == other.config);
        self.owners.copy_from_slice(other.owners);
        self.seats.clone_from(&other.seats);
        self.relaxations = other.relaxations;
        self.hash = other.hash;
    }

    /// What the cluster fixed.
    pub fn config(&self) -> &RingConfig {
        &self.config
    }

    /// Owners of every partition: min(n, members).
    pub fn replica_count(&self) -> usize {
        self.config.n.min(self.seats.len())
    }

    /// The members, ascending.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        self.seats.iter().map(|seat| seat.node)
    }

    /// Whether `node` is a member.
    pub fn contains(&self, node: NodeId) -> bool {
        self.seat(node).is_some()
    }

    /// The owners of `partition`, [`Ring::replica_count`] different nodes, the leader first.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn owners(&self, partition: Partition) -> &[NodeId] {
        assert!(usize::from(partition.0) < self.config.partition_count());
        let start = usize::from(partition.0) * self.config.n;
        &self.owners[start..start + self.replica_count()]
    }

    /// Whether `node` owns `partition`.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn is_owner(&self, partition: Partition, node: NodeId) -> bool {
        self.owners(partition).contains(&node)
    }

    /// All members that do not own `partition`, in the order in which they stand in for an
    /// owner: nodes of zones without an owner first, then by score. Computed on demand: one
    /// hash per member and a sort.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn fallbacks(&self, partition: Partition) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let owners = self.owners(partition);
        let mut ranking = placement::Ranking::new();
        placement::rank(&self.seats, self.config.seed, partition, &mut ranking);
        let used = |zone: u16| {
            self.seats.iter().any(|seat| seat.zone == zone && owners.contains(&seat.node))
        };
        let mut fallbacks = Vec::new();
        for of_used_zones in [false, true] {
            let seats = ranking.iter().map(|rank| &self.seats[usize::from(rank.seat)]);
            fallbacks.extend(
                seats
                    .filter(|seat| !owners.contains(&seat.node))
                    .filter(|seat| used(seat.zone) == of_used_zones)
                    .map(|seat| seat.node),
            );
        }
        assert!(fallbacks.len() + owners.len() == self.seats.len());
        fallbacks
    }

    /// How many partitions `node` owns; 0 if it is no member.
    pub fn owned_count(&self, node: NodeId) -> u32 {
        self.seat(node).map_or(0, |seat| seat.owned)
    }

    /// How many partitions `node` leads; 0 if it is no member.
    pub fn led_count(&self, node: NodeId) -> u32 {
        self.seat(node).map_or(0, |seat| seat.led)
    }

    /// The largest of owned / fair share over all nodes, in thousandths, rounded up; 0 without
    /// members. A node's fair share is at most Q, whatever its weight.
    pub fn peak_over_fair_milli(&self) -> u64 {
        let ratio = |seat: &Seat| {
            let owned = u64::from(seat.owned) << shares::SHARE_BITS;
            (owned * 1000).div_ceil(seat.fair.max(1))
        };
        self.seats.iter().map(ratio).max().unwrap_or(0)
    }

    /// How many replicas must be copied to get from `older` to this ring: pairs of partition
    /// and owner that `older` does not have. O(Q × n²).
    ///
    /// # Panics
    /// If the two were configured differently.
    pub fn moves_from(&self, older: &Ring<'_>) -> u32 {
        assert!(self.config == older.config);
        let partitions = (0..self.config.partition_count()).map(|p| Partition(p as u16));
        let gained = |partition: Partition| {
            let older = older.owners(partition);
            self.owners(partition).iter().filter(|node| !older.contains(node)).count() as u32
        };
        partitions.map(gained).sum()
    }

    /// What had to give way.
    pub fn relaxations(&self) -> Relaxations {
        self.relaxations
    }

    /// A hash of all owners in order, to compare rings between nodes; 0 without members.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn seat(&self, node: NodeId) -> Option<&Seat> {
        let index = self.seats.binary_search_by_key(&node, |seat| seat.node).ok()?;
        Some(&self.seats[index])
    }

    fn hash_owners(&self) -> u64 {
        if self.seats.is_empty() {
            return 0;
        }
        let mut hash = u64::from(self.config.partition_bits);
        for partition in 0..self.config.partition_count() {
            let mut bytes = [0; 4 * REPLICA_COUNT_MAX];
            let owners = self.owners(Partition(partition as u16));
            for (four, owner) in bytes.chunks_exact_mut(4).zip(owners) {
                four.copy_from_slice(&owner.0.to_le_bytes());
            }
            hash = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[..4 * owners.len()], hash);
        }
        hash
    }

    fn check_invariants(&self) {
        let partitions = self.config.partition_count() as u32;
        let owned: u32 = self.seats.iter().map(|seat| seat.owned).sum();
        let led: u32 = self.seats.iter().map(|seat| seat.led).sum();
        assert!(owned == partitions * self.replica_count() as u32);
        assert!(led == if self.seats.is_empty() { 0 } else { partitions });
    }
}

/// A member as the ring sees it, and its share.
#[derive(Clone, Copy, Debug)]
struct Seat {
    uuid: u128,
    node: NodeId,
    weight: u16,
    /// Zones are numbered by their first node; the numbers do not influence the ring.
    zone: u16,
    /// Slots that the member should own, in 2^-`SHARE_BITS`.
    fair: u64,
    /// What its scores are divided by: more pull, lower scores.
    pull: u64,
    /// Slots that it may own before others are preferred.
    cap: u32,
    owned: u32,
    led: u32,
}

impl Seat {
    fn new(member: &Member, zone: u16) -> Seat {
        let Member { node, uuid, weight, .. } = *member;
        Seat { uuid, node, weight, zone, fair: 0, pull: 0, cap: 0, owned: 0, led: 0 }
    }
}
