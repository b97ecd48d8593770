//! What nodes tell each other of reap epochs; see [`Node`](crate::node::Node). Claims are lent as
//! they travel.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout;
use super::payload::{Malformed, Payload};
use crate::id::NodeId;
use crate::limits::MEMBER_COUNT_MAX;

/// A node had this reap epoch on its disk once. As it travels and as it is stored, 12 bytes.
#[derive(
    Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned,
)]
#[repr(C)]
pub struct Claim {
    node: U32,
    raised: U64,
}

impl Claim {
    /// Of a node that is not 0; the epoch is at least 1.
    pub const fn new(node: NodeId, raised: u64) -> Claim {
        Claim { node: U32::new(node.0), raised: U64::new(raised) }
    }

    /// Claims back to back, ascending by node, none twice; none if the bytes are not that.
    pub fn list(bytes: &[u8]) -> Option<&[Claim]> {
        let claims = <[Claim]>::ref_from_bytes(bytes).ok()?;
        is_sound(claims).then_some(claims)
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        NodeId(self.node.get())
    }

    /// The epoch.
    pub fn raised(&self) -> u64 {
        self.raised.get()
    }
}

/// EPOCHS: what the sender knows of the reap epochs that nodes have had on disk, its own among
/// them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Epochs<'a> {
    /// The sender wants to know the same of the receiver.
    pub asks: bool,
    /// The sender's data directory was found to be the newest that there was.
    pub vouched: bool,
    /// At most `MEMBER_COUNT_MAX`, ascending by node, none twice.
    pub claims: &'a [Claim],
}

const ASKS: u8 = 1;
const VOUCHED: u8 = 2;

impl<'a> Epochs<'a> {
    /// Reads the payload of an EPOCHS. O(claims).
    pub fn new_checked(payload: &'a [u8]) -> Result<Epochs<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Epochs>(payload)?;
        if fixed.flags & !(ASKS | VOUCHED) != 0 || fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        let claims = Claim::list(rest).ok_or(Malformed)?;
        let (asks, vouched) = (fixed.flags & ASKS != 0, fixed.flags & VOUCHED != 0);
        Ok(Epochs { asks, vouched, claims })
    }
}

impl Payload for Epochs<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Epochs>() + size_of_val(self.claims)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(is_sound(self.claims));
        let flags = (u8::from(self.asks) * ASKS) | (u8::from(self.vouched) * VOUCHED);
        let rest = layout::put(&layout::Epochs { flags, reserved: [0; 7] }, out);
        rest.copy_from_slice(self.claims.as_bytes());
    }
}

fn is_sound(claims: &[Claim]) -> bool {
    claims.len() <= MEMBER_COUNT_MAX
        && claims.iter().all(|claim| claim.node().0 != 0 && claim.raised() != 0)
        && claims.is_sorted_by(|one, next| one.node() < next.node())
}
