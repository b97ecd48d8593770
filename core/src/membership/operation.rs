//! One change of the membership, as it is committed, sent and kept.
//!
//! An encoding is 64 bytes, integers little-endian:
//!
//! | bytes | field | Add (1) | Remove (2) | SetWeight (3) | SetZone (4) |
//! |---|---|---|---|---|---|
//! | 0..4 | node | u32, not 0 | | | |
//! | 4 | kind | 1 | 2 | 3 | 4 |
//! | 5 | moving | 1, or 0: settled | | | |
//! | 6..8 | reserved | 0 | 0 | 0 | 0 |
//! | 8..24 | uuid | u128 | 0 | 0 | 0 |
//! | 24..28 | version | 0 | 0 | u32 | u32 |
//! | 28..30 | weight | u16, not 0 | 0 | u16, not 0 | 0 |
//! | 30 | lost | 0 | 1: it gives nothing back | 0 | 0 |
//! | 31 | reserved | 0 | 0 | 0 | 0 |
//! | 32..64 | zone | zero-padded name | 0 | 0 | zero-padded name |

use zerocopy::little_endian::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::member::{Member, Name};
use crate::id::NodeId;
use crate::limits::NAME_BYTES_MAX;

/// A change of the membership.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// The node is a member from now on.
    Add(Member),
    /// The node is none any more, for ever.
    Remove {
        /// The node.
        node: NodeId,
        /// It will not return: what it holds counts as gone, and nobody waits for it.
        is_lost: bool,
    },
    /// Its share relative to others.
    SetWeight {
        /// The node.
        node: NodeId,
        /// Greater than that of the change before.
        version: u32,
        /// The weight, not 0.
        weight: u16,
    },
    /// What fails together with it.
    SetZone {
        /// The node.
        node: NodeId,
        /// Greater than that of the change before.
        version: u32,
        /// The zone.
        zone: Name,
    },
}

impl Operation {
    /// Length of the encoding.
    pub const BYTES: usize = size_of::<OperationBytes>();

    /// The node that it is about.
    pub fn node(&self) -> NodeId {
        match *self {
            Operation::Add(Member { node, .. })
            | Operation::Remove { node, .. }
            | Operation::SetWeight { node, .. }
            | Operation::SetZone { node, .. } => node,
        }
    }

    /// On its way into a set: its data is still to move.
    pub fn moving(self) -> Committed {
        Committed { operation: self, is_moving: true }
    }

    /// Nothing is left to be done for it.
    pub fn settled(self) -> Committed {
        Committed { operation: self, is_moving: false }
    }
}

/// An operation in a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// What was committed.
    pub operation: Operation,
    /// Not all data is where the operation says.
    pub is_moving: bool,
}

impl Committed {
    /// Checks bytes from outside.
    pub fn from_bytes(bytes: &Encoded) -> Result<Committed, MalformedOperations> {
        let wire: OperationBytes = zerocopy::transmute!(*bytes);
        let (node, version, weight) =
            (NodeId(wire.node.get()), wire.version.get(), wire.weight.get());
        let zone = || Name::from_bytes(&wire.zone).map_err(|_| MalformedOperations::Zone);
        let operation = match wire.kind {
            KIND_ADD => {
                let (uuid, zone) = (wire.uuid.get(), zone()?);
                Operation::Add(Member { node, uuid, weight, zone })
            }
            KIND_REMOVE => Operation::Remove { node, is_lost: wire.lost == 1 },
            KIND_SET_WEIGHT => Operation::SetWeight { node, version, weight },
            KIND_SET_ZONE => Operation::SetZone { node, version, zone: zone()? },
            kind => return Err(MalformedOperations::Kind(kind)),
        };
        if node.0 == 0 {
            return Err(MalformedOperations::Node);
        }
        let has_weight = matches!(operation, Operation::Add(_) | Operation::SetWeight { .. });
        if has_weight && weight == 0 {
            return Err(MalformedOperations::Weight);
        }
        let committed = Committed { operation, is_moving: wire.moving == 1 };
        if committed.to_bytes() != *bytes {
            return Err(MalformedOperations::Reserved);
        }
        Ok(committed)
    }

    /// The encoding.
    ///
    /// # Panics
    /// If the node or a weight is 0, since no other node would accept that.
    pub fn to_bytes(&self) -> Encoded {
        let Committed { operation, is_moving } = *self;
        assert!(operation.node().0 != 0);
        let mut wire = OperationBytes { moving: u8::from(is_moving), ..OperationBytes::default() };
        wire.node = operation.node().0.into();
        match operation {
            Operation::Add(Member { uuid, weight, zone, .. }) => {
                assert!(weight != 0);
                (wire.kind, wire.uuid) = (KIND_ADD, uuid.into());
                (wire.weight, wire.zone) = (weight.into(), zone.to_bytes());
            }
            Operation::Remove { is_lost, .. } => {
                (wire.kind, wire.lost) = (KIND_REMOVE, u8::from(is_lost));
            }
            Operation::SetWeight { version, weight, .. } => {
                assert!(weight != 0);
                wire.kind = KIND_SET_WEIGHT;
                (wire.version, wire.weight) = (version.into(), weight.into());
            }
            Operation::SetZone { version, zone, .. } => {
                wire.kind = KIND_SET_ZONE;
                (wire.version, wire.zone) = (version.into(), zone.to_bytes());
            }
        }
        zerocopy::transmute!(wire)
    }
}

/// One encoded operation.
pub type Encoded = [u8; Operation::BYTES];

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
#[derive(Default, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct OperationBytes {
    node: U32,
    kind: u8,
    moving: u8,
    reserved_1: [u8; 2],
    uuid: U128,
    version: U32,
    weight: U16,
    lost: u8,
    reserved_2: u8,
    zone: [u8; NAME_BYTES_MAX],
}

/// What makes an operation the same as another.
pub(super) fn identity(encoded: &Encoded) -> Encoded {
    let mut identity = *encoded;
    identity[MOVING_AT] = 0;
    identity
}

pub(super) fn is_moving(encoded: &Encoded) -> bool {
    encoded[MOVING_AT] != 0
}

const KIND_ADD: u8 = 1;
const KIND_REMOVE: u8 = 2;
const KIND_SET_WEIGHT: u8 = 3;
const KIND_SET_ZONE: u8 = 4;

const MOVING_AT: usize = core::mem::offset_of!(OperationBytes, moving);

const _: () = assert!(Operation::BYTES == 64, "the documented size");
