//! The mergeable set of committed topology operations, and the members that follow from it.
//!
//! Operators change the membership on both sides of a split, and nobody may have to choose
//! between the two results. So the topology is a set that only grows, merged by union; the
//! members are a function of the set, hence so is the ring. No claimant, no version numbers that
//! conflict. Any frame names the set that its sender works with by 64 bits ([`TopologyId`]).
//!
//! An operation is *moving* until the data is where it says, and *settled* from then on; settled
//! wins in a union. So a set is two topologies at once: the settled operations alone say where
//! data is, all of them where it is to be ([`Rings`](crate::ring::Rings)). What was committed in
//! between on one side of a split needs no memory of its own: whatever is written reaches the
//! quorums of both.
//!
//! A set is its operations ([`operation`](super::operation)) one after the other, ascending as
//! byte strings but for `moving`, none twice.
//! Operations about one node are therefore neighbors. Two Adds of one node are possible: two
//! newcomers drew the same id on two sides of a split, or one was added twice with different
//! weights. The greatest (uuid, weight, zone) is the member; the other Add stays in the set
//! without effect, and its node finds another uuid under its id and must join under a new one.
//! Of several SetWeights or SetZones the greatest (version, value) holds. A Remove is final,
//! whatever else is said of the node: who was once removed and came back could bring back what
//! was deleted meanwhile (ScyllaDB #14991).
//!
//! Invariant: equal sets have equal ids, members and encodings, however they were merged.
//! Source: grow-only set (Shapiro et al. 2011); ScyllaDB and Garage show what happens without.

use heapless::Vec;

use super::operation::{Committed, Encoded, MalformedOperations, Operation, identity, is_moving};
use crate::id::{NodeId, TopologyId};
use crate::limits::{MEMBER_COUNT_MAX, OPERATION_COUNT_MAX};
use crate::membership::member::{Member, Name};

/// The members that a set names, ascending by node.
pub type Members = Vec<Member, MEMBER_COUNT_MAX>;

/// A checked view over an encoded set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Operations<'a>(&'a [Encoded]);

impl<'a> Operations<'a> {
    /// The empty set.
    pub const EMPTY: Operations<'static> = Operations(&[]);

    /// Checks a set from outside, byte for byte: what is accepted encodes to the same bytes.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Operations<'a>, MalformedOperations> {
        let (encoded, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(MalformedOperations::Length);
        }
        if encoded.len() > OPERATION_COUNT_MAX {
            return Err(MalformedOperations::TooMany);
        }
        for operation in encoded {
            Committed::from_bytes(operation)?;
        }
        if !encoded.is_sorted_by(|a, b| identity(a) < identity(b)) {
            return Err(MalformedOperations::Order);
        }
        if Union(encoded, &[]).member_count_max() > MEMBER_COUNT_MAX {
            return Err(MalformedOperations::TooMany);
        }
        Ok(Operations(encoded))
    }

    /// The encoding: a multiple of [`Operation::BYTES`].
    pub fn bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }

    /// How many operations there are.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The operations in the order of their encodings.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Committed> + 'a {
        self.0.iter().map(decoded)
    }

    /// Names this set in frames: xxh3-64 of the encoding. The empty set alone is 0.
    pub fn id(self) -> TopologyId {
        if self.is_empty() {
            return TopologyId(0);
        }
        TopologyId(xxhash_rust::xxh3::xxh3_64(self.bytes()).max(1))
    }

    /// Whether every operation of `other` is in this set, and is settled here if it is there.
    /// O(both).
    pub fn covers(self, other: Operations<'_>) -> bool {
        Union(self.0, other.0).all(|(ours, theirs)| match (ours, theirs) {
            (Some(ours), Some(theirs)) => is_moving(theirs) || !is_moving(ours),
            (ours, _) => ours.is_some(),
        })
    }

    /// How this set stands to `other`. O(both).
    pub fn compare(self, other: Operations<'_>) -> Comparison {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Comparison::Equal,
            (true, false) => Comparison::Newer,
            (false, true) => Comparison::Older,
            (false, false) => Comparison::Diverged,
        }
    }

    /// Whether `operation` is among them, moving or settled.
    pub fn contains(self, operation: &Operation) -> bool {
        let known = identity(&operation.settled().to_bytes());
        self.0.binary_search_by_key(&known, identity).is_ok()
    }

    /// Whether an operation is not settled yet.
    pub fn is_moving(self) -> bool {
        self.0.iter().any(is_moving)
    }

    /// The members, ascending by node: where data is to be.
    pub fn members(self) -> Members {
        self.fold(|_| true)
    }

    /// The members by the settled operations, ascending by node: where data is.
    pub fn settled_members(self) -> Members {
        self.fold(|committed| !committed.is_moving)
    }

    /// Those whose removal is not settled, and that hold nothing any more.
    pub fn lost(self) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        self.removed(|is_lost| is_lost)
    }

    /// Those whose removal is not settled, and that give away what they hold.
    pub fn leaving(self) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let lost = self.lost();
        let mut leaving = self.removed(|is_lost| !is_lost);
        leaving.retain(|node| !lost.contains(node) && !self.is_removed_for_good(*node));
        leaving
    }

    /// Whether a removal of `node` is settled: whatever else says so has nothing to wait for.
    fn is_removed_for_good(self, node: NodeId) -> bool {
        self.iter().any(|committed| {
            let is_removal = matches!(committed.operation, Operation::Remove { .. });
            is_removal && committed.operation.node() == node && !committed.is_moving
        })
    }

    fn removed(self, is: impl Fn(bool) -> bool) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let moving = self.iter().filter(|committed| committed.is_moving);
        let removed = moving.filter_map(|committed| match committed.operation {
            Operation::Remove { node, is_lost } if is(is_lost) => Some(node),
            _ => None,
        });
        removed.collect()
    }

    /// What `node` is as a member, or was before it was removed.
    pub fn last_known(self, node: NodeId) -> Option<Member> {
        let of_node = self.iter().map(|committed| committed.operation);
        member(of_node.filter(|operation| {
            operation.node() == node && !matches!(operation, Operation::Remove { .. })
        }))
    }

    /// Whether `node` is a member whose Add is not settled.
    pub fn is_joining(self, node: NodeId) -> bool {
        let mut adds = self.iter().filter(|committed| {
            committed.operation.node() == node && matches!(committed.operation, Operation::Add(_))
        });
        adds.next().is_some_and(|first| first.is_moving) && adds.all(|other| other.is_moving)
    }

    /// Whether `node` was removed, also if others must still take over from it.
    pub fn is_removed(self, node: NodeId) -> bool {
        let is_it = |operation: &Operation| {
            operation.node() == node && matches!(operation, Operation::Remove { .. })
        };
        self.iter().any(|committed| is_it(&committed.operation))
    }

    /// What the next change of weight or zone of `node` must have as its version.
    pub fn next_version(self, node: NodeId) -> u32 {
        let of_node = self.iter().map(|committed| committed.operation);
        let versions =
            of_node.filter(|operation| operation.node() == node).map(|operation| match operation {
                Operation::SetWeight { version, .. } | Operation::SetZone { version, .. } => {
                    version
                }
                Operation::Add(_) | Operation::Remove { .. } => 0,
            });
        versions.max().unwrap_or(0).saturating_add(1)
    }

    fn fold(self, is_meant: impl Fn(&Committed) -> bool) -> Members {
        let mut members = Members::new();
        for of_node in self.0.chunk_by(|a, b| a[..4] == b[..4]) {
            let meant = of_node.iter().map(decoded).filter(|committed| is_meant(committed));
            if let Some(member) = member(meant.map(|committed| committed.operation)) {
                members.push(member).expect("at most MEMBER_COUNT_MAX members, checked");
            }
        }
        members.sort_unstable_by_key(|member| member.node);
        members
    }
}

/// What the operations about one node come to.
fn member(operations: impl Iterator<Item = Operation>) -> Option<Member> {
    let (mut member, mut weighed, mut zoned) = (None::<Member>, None, None);
    for operation in operations {
        match operation {
            Operation::Remove { .. } => return None,
            Operation::Add(added) => {
                member = member.filter(|known| rank(known) > rank(&added)).or(Some(added));
            }
            Operation::SetWeight { version, weight, .. } => {
                weighed = weighed.max(Some((version, weight)));
            }
            Operation::SetZone { version, zone, .. } => zoned = zoned.max(Some((version, zone))),
        }
    }
    let mut member = member?;
    member.weight = weighed.map_or(member.weight, |(_, weight)| weight);
    member.zone = zoned.map_or(member.zone, |(_, zone)| zone);
    Some(member)
}

/// How one set of operations stands to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// Both hold the same operations.
    Equal,
    /// This one lacks some of the other's, and has none that the other lacks.
    Older,
    /// This one has all of the other's, and more.
    Newer,
    /// Each has some that the other lacks.
    Diverged,
}

/// The operations that this node knows, in storage that is lent once.
#[derive(Debug)]
pub struct Topology<'a> {
    /// The first `count` are in use: ascending, none twice.
    storage: &'a mut [Encoded],
    count: usize,
}

impl<'a> Topology<'a> {
    /// The empty set. It holds as many operations as `storage` is long.
    ///
    /// # Panics
    /// If `storage` is longer than `OPERATION_COUNT_MAX`: others would refuse the set.
    pub fn new(storage: &'a mut [Encoded]) -> Topology<'a> {
        assert!(storage.len() <= OPERATION_COUNT_MAX);
        Topology { storage, count: 0 }
    }

    /// The set, to be read, encoded or compared.
    pub fn operations(&self) -> Operations<'_> {
        Operations(&self.storage[..self.count])
    }

    /// Names the set in frames.
    pub fn id(&self) -> TopologyId {
        self.operations().id()
    }

    /// The members of all operations, ascending by node.
    pub fn members(&self) -> Members {
        self.operations().members()
    }

    /// Adds one operation: whether that changed the set. [`Full`] changes nothing.
    ///
    /// # Panics
    /// As [`Committed::to_bytes`].
    pub fn insert(&mut self, committed: Committed) -> Result<bool, Full> {
        self.merge(Operations(&[committed.to_bytes()]))
    }

    /// Forgets all operations: of a set that nobody has committed.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Forgets the operations that are not such: of a set that nobody has committed.
    pub fn retain(&mut self, is: impl Fn(&Operation) -> bool) {
        let mut kept = 0;
        for index in 0..self.count {
            if is(&decoded(&self.storage[index]).operation) {
                self.storage[kept] = self.storage[index];
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// All operations are settled from now on: whether some were not.
    pub fn settle(&mut self) -> bool {
        let was_moving = self.operations().is_moving();
        for encoded in &mut self.storage[..self.count] {
            *encoded = identity(encoded);
        }
        was_moving
    }

    /// Takes the union with `other`: whether that changed the set. [`Full`] changes nothing,
    /// since half of a commit is not what anybody committed. O(both).
    pub fn merge(&mut self, other: Operations<'_>) -> Result<bool, Full> {
        let union = Union(&self.storage[..self.count], other.0);
        if self.operations().covers(other) {
            return Ok(false);
        }
        let count = union.count();
        if count > self.storage.len() || union.member_count_max() > MEMBER_COUNT_MAX {
            return Err(Full);
        }
        // From the back, so that nothing is overwritten before it was moved.
        let (mut left, mut right) = (self.count, other.0.len());
        for at in (0..count).rev() {
            let ours = self.storage[..left].last();
            let theirs = other.0[..right].last();
            let (key, other_key) = (ours.map(identity), theirs.map(identity));
            let is_ours = key >= other_key;
            let is_theirs = other_key >= key;
            let merged = merged((ours.filter(|_| is_ours), theirs.filter(|_| is_theirs)));
            (left, right) = (left - usize::from(is_ours), right - usize::from(is_theirs));
            self.storage[at] = merged.expect("the union has this many operations");
        }
        self.count = count;
        assert!(left == 0);
        assert!(right == 0);
        Ok(true)
    }
}

/// The set would exceed its storage, or `MEMBER_COUNT_MAX` members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// Walks the union of two ascending slices: each operation once, and where it was found.
#[derive(Clone, Copy)]
struct Union<'a>(&'a [Encoded], &'a [Encoded]);

impl Union<'_> {
    /// How many members the operations come to at most: nodes that were not removed, or that
    /// others still take over from. The operations of one node are neighbors.
    fn member_count_max(self) -> usize {
        let (mut count, mut last, mut is_gone) = (0, None, false);
        for found in self {
            let encoded = merged(found).expect("it was found on one side at least");
            let Committed { operation, is_moving } = decoded(&encoded);
            if last != Some(operation.node()) {
                (last, is_gone) = (Some(operation.node()), false);
                count += 1;
            }
            if matches!(operation, Operation::Remove { .. }) && !is_moving && !is_gone {
                is_gone = true;
                count -= 1;
            }
        }
        count
    }
}

impl<'a> Iterator for Union<'a> {
    type Item = (Option<&'a Encoded>, Option<&'a Encoded>);

    fn next(&mut self) -> Option<Self::Item> {
        let (ours, theirs) = (self.0.first(), self.1.first());
        let least = match (ours.map(identity), theirs.map(identity)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        let is_least = |encoded: &&Encoded| Some(identity(encoded)) == least;
        let found = (ours.filter(is_least), theirs.filter(is_least));
        self.0 = &self.0[usize::from(found.0.is_some())..];
        self.1 = &self.1[usize::from(found.1.is_some())..];
        least.map(|_| found)
    }
}

/// One operation as both sides together have it: settled if it is on one.
fn merged((ours, theirs): (Option<&Encoded>, Option<&Encoded>)) -> Option<Encoded> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(if is_moving(ours) { *theirs } else { *ours }),
        (one, other) => one.or(other).copied(),
    }
}

fn decoded(encoded: &Encoded) -> Committed {
    Committed::from_bytes(encoded).expect("every way into a set checks or encodes")
}

/// Which of two Adds of one node is the member: the greatest.
fn rank(member: &Member) -> (u128, u16, Name) {
    (member.uuid, member.weight, member.zone)
}
