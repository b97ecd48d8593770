//! The mergeable set of committed topology operations, and the members that follow from it.
//!
//! Operators change the membership on both sides of a split, and nobody may have to choose
//! between the two results. So the topology is a set that only grows, merged by union; the
//! members are a function of the set, hence so is the ring. No claimant, no version numbers that
//! conflict. Any frame names the set that its sender works with by 64 bits ([`TopologyId`]).
//!
//! An operation is 64 bytes, integers little-endian. A set is its operations one after the
//! other, ascending as byte strings, none twice:
//!
//! | bytes | field | in an Add |
//! |---|---|---|
//! | 0..4 | node | u32, not 0 |
//! | 4 | kind | 1 (2 Remove, 3 SetWeight, 4 SetZone: reserved, not accepted yet) |
//! | 5..8 | reserved | 0 |
//! | 8..24 | uuid | u128 |
//! | 24..28 | version | 0 (of a later change of weight or zone: the highest holds) |
//! | 28..30 | weight | u16, not 0 |
//! | 30..32 | reserved | 0 |
//! | 32..64 | zone | zero-padded name |
//!
//! Operations about one node are therefore neighbors. Two Adds of one node are possible: two
//! newcomers drew the same id on two sides of a split, or one was added twice with different
//! weights. The greatest (uuid, weight, zone) is the member; the other Add stays in the set
//! without effect, and its node finds another uuid under its id and must join under a new one.
//!
//! Invariant: equal sets have equal ids, members and encodings, however they were merged.
//! Source: grow-only set (Shapiro et al. 2011); ScyllaDB and Garage show what happens without.

use heapless::Vec;
use zerocopy::little_endian::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::id::{NodeId, TopologyId};
use crate::limits::{MEMBER_COUNT_MAX, NAME_BYTES_MAX, OPERATION_COUNT_MAX};
use crate::membership::member::{Member, Name};

/// A committed change of the membership.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// The node is a member from now on.
    Add(Member),
}

impl Operation {
    /// Length of the encoding.
    pub const BYTES: usize = size_of::<OperationBytes>();

    /// Checks bytes from outside.
    pub fn from_bytes(bytes: &Encoded) -> Result<Operation, MalformedOperations> {
        let wire: OperationBytes = zerocopy::transmute!(*bytes);
        if wire.kind != KIND_ADD {
            return Err(MalformedOperations::Kind(wire.kind));
        }
        let reserved = wire.reserved_1 != [0; 3] || wire.reserved_2 != [0; 2];
        if reserved || wire.version.get() != 0 {
            return Err(MalformedOperations::Reserved);
        }
        if wire.node.get() == 0 {
            return Err(MalformedOperations::Node);
        }
        if wire.weight.get() == 0 {
            return Err(MalformedOperations::Weight);
        }
        Ok(Operation::Add(Member {
            node: NodeId(wire.node.get()),
            uuid: wire.uuid.get(),
            weight: wire.weight.get(),
            zone: Name::from_bytes(&wire.zone).map_err(|_| MalformedOperations::Zone)?,
        }))
    }

    /// The encoding.
    ///
    /// # Panics
    /// If the node or the weight is 0, since no other node would accept that.
    pub fn to_bytes(&self) -> Encoded {
        let Operation::Add(member) = self;
        assert!(member.node.0 != 0);
        assert!(member.weight != 0);
        zerocopy::transmute!(OperationBytes {
            node: member.node.0.into(),
            kind: KIND_ADD,
            reserved_1: [0; 3],
            uuid: member.uuid.into(),
            version: 0.into(),
            weight: member.weight.into(),
            reserved_2: [0; 2],
            zone: member.zone.to_bytes(),
        })
    }
}

/// One encoded operation.
pub type Encoded = [u8; Operation::BYTES];

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
            Operation::from_bytes(operation)?;
        }
        if !encoded.is_sorted_by(|a, b| a < b) {
            return Err(MalformedOperations::Order);
        }
        if Union(encoded, &[]).node_count() > MEMBER_COUNT_MAX {
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
    pub fn iter(self) -> impl ExactSizeIterator<Item = Operation> + 'a {
        self.0.iter().map(decoded)
    }

    /// Names this set in frames: xxh3-64 of the encoding. The empty set alone is 0.
    pub fn id(self) -> TopologyId {
        if self.is_empty() {
            return TopologyId(0);
        }
        TopologyId(xxhash_rust::xxh3::xxh3_64(self.bytes()).max(1))
    }

    /// Whether every operation of `other` is in this set. O(both).
    pub fn covers(self, other: Operations<'_>) -> bool {
        Union(self.0, other.0).all(|(ours, _)| ours.is_some())
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

    /// The members, ascending by node; of two Adds of one node the greatest (uuid, weight, zone).
    pub fn members(self) -> Members {
        let mut members = Members::new();
        for Operation::Add(member) in self.iter() {
            match members.last_mut().filter(|last| last.node == member.node) {
                Some(last) if rank(last) < rank(&member) => *last = member,
                Some(_) => (),
                None => members.push(member).expect("at most MEMBER_COUNT_MAX nodes, checked"),
            }
        }
        members.sort_unstable_by_key(|member| member.node);
        members
    }
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

    /// The members, ascending by node.
    pub fn members(&self) -> Members {
        self.operations().members()
    }

    /// Adds one operation: whether that changed the set. [`Full`] changes nothing.
    ///
    /// # Panics
    /// As [`Operation::to_bytes`].
    pub fn insert(&mut self, operation: &Operation) -> Result<bool, Full> {
        self.merge(Operations(&[operation.to_bytes()]))
    }

    /// Takes the union with `other`: whether that changed the set. [`Full`] changes nothing,
    /// since half of a commit is not what anybody committed. O(both).
    pub fn merge(&mut self, other: Operations<'_>) -> Result<bool, Full> {
        let union = Union(&self.storage[..self.count], other.0);
        let added = union.filter(|(ours, _)| ours.is_none()).count();
        if added == 0 {
            return Ok(false);
        }
        if self.count + added > self.storage.len() || union.node_count() > MEMBER_COUNT_MAX {
            return Err(Full);
        }
        // From the back, so that nothing is overwritten before it was moved.
        let (mut left, mut right) = (self.count, other.0.len());
        for at in (0..self.count + added).rev() {
            let ours = self.storage[..left].last().copied();
            let theirs = other.0[..right].last().copied();
            left -= usize::from(ours >= theirs);
            right -= usize::from(theirs >= ours);
            self.storage[at] = ours.max(theirs).expect("the union has this many operations");
        }
        self.count += added;
        assert!(left == 0);
        assert!(right == 0);
        Ok(true)
    }
}

/// The set would exceed its storage, or `MEMBER_COUNT_MAX` members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// Why bytes are no set of operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MalformedOperations {
    /// Not a multiple of [`Operation::BYTES`].
    Length,
    /// More than `OPERATION_COUNT_MAX` operations, or `MEMBER_COUNT_MAX` members.
    TooMany,
    /// Not strictly ascending.
    Order,
    /// A kind that this version does not know.
    Kind(u8),
    /// A reserved field is not 0.
    Reserved,
    /// The node is 0.
    Node,
    /// The weight is 0.
    Weight,
    /// The zone is no name.
    Zone,
}

/// The table of the module, byte by byte.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct OperationBytes {
    node: U32,
    kind: u8,
    reserved_1: [u8; 3],
    uuid: U128,
    version: U32,
    weight: U16,
    reserved_2: [u8; 2],
    zone: [u8; NAME_BYTES_MAX],
}

/// Walks the union of two ascending slices: each operation once, and where it was found.
#[derive(Clone, Copy)]
struct Union<'a>(&'a [Encoded], &'a [Encoded]);

impl Union<'_> {
    /// How many different nodes the operations are about: those of one node are neighbors.
    fn node_count(self) -> usize {
        let mut last = None;
        let mut count = 0;
        for (ours, theirs) in self {
            let node = ours.or(theirs).map(|encoded| &encoded[..4]);
            count += usize::from(node != last);
            last = node;
        }
        count
    }
}

impl<'a> Iterator for Union<'a> {
    type Item = (Option<&'a Encoded>, Option<&'a Encoded>);

    fn next(&mut self) -> Option<Self::Item> {
        let (ours, theirs) = (self.0.first(), self.1.first());
        let least = match (ours, theirs) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        let found = (ours.filter(|a| Some(*a) == least), theirs.filter(|b| Some(*b) == least));
        self.0 = &self.0[usize::from(found.0.is_some())..];
        self.1 = &self.1[usize::from(found.1.is_some())..];
        least.map(|_| found)
    }
}

fn decoded(encoded: &Encoded) -> Operation {
    Operation::from_bytes(encoded).expect("every way into a set checks or encodes")
}

/// Which of two Adds of one node is the member: the greatest.
fn rank(member: &Member) -> (u128, u16, Name) {
    (member.uuid, member.weight, member.zone)
}

const KIND_ADD: u8 = 1;

const _: () = assert!(Operation::BYTES == 64, "the documented size");
