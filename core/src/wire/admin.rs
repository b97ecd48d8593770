//! What people ask of a node, and the answer to all of it. Questions that are not listed here have
//! no payload.

use super::ADMIN_BYTES_MAX;
use super::layout;
use super::payload::{Malformed, Payload};
use super::reply::Status;
use crate::id::Partition;

/// The payload of an ADMIN_REPLY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AdminReply<'a> {
    /// How the request ended.
    pub status: Status,
    /// JSON, at most `ADMIN_BYTES_MAX` bytes; may be empty if the status is not `Ok`. Not
    /// parsed here.
    pub text: &'a str,
}

impl<'a> AdminReply<'a> {
    /// Reads the payload of an ADMIN_REPLY. O(bytes).
    pub fn new_checked(payload: &'a [u8]) -> Result<AdminReply<'a>, Malformed> {
        let (fixed, text) = layout::split::<layout::AdminReply>(payload)?;
        let status = Status::from_number(fixed.status).ok_or(Malformed)?;
        if text.len() > ADMIN_BYTES_MAX {
            return Err(Malformed);
        }
        let text = core::str::from_utf8(text).map_err(|_| Malformed)?;
        Ok(AdminReply { status, text })
    }
}

impl Payload for AdminReply<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::AdminReply>() + self.text.len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.text.len() <= ADMIN_BYTES_MAX);
        let rest = layout::put(&layout::AdminReply { status: self.status.number() }, out);
        rest.copy_from_slice(self.text.as_bytes());
    }
}

/// SCRUB: the node checks all that it stores. A request while such a sweep is under way joins it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scrub {
    /// What cannot be read is given up: such keys are not found from then on.
    pub accepts_loss: bool,
}

const ACCEPT_LOSS: u8 = 1;

impl Scrub {
    /// Reads the payload of a SCRUB.
    pub fn new_checked(payload: &[u8]) -> Result<Scrub, Malformed> {
        let fixed = layout::exact::<layout::Scrub>(payload)?;
        if fixed.flags & !ACCEPT_LOSS != 0 || fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        Ok(Scrub { accepts_loss: fixed.flags & ACCEPT_LOSS != 0 })
    }
}

impl Payload for Scrub {
    fn bytes(&self) -> usize {
        size_of::<layout::Scrub>()
    }

    fn write(&self, out: &mut [u8]) {
        let flags = u8::from(self.accepts_loss) * ACCEPT_LOSS;
        assert!(layout::put(&layout::Scrub { flags, reserved: [0; 7] }, out).is_empty());
    }
}

/// REPAIR: the node compares its copies with those of the other owners now, as far as it is the one
/// that asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repair {
    /// Only this one.
    pub partition: Option<Partition>,
}

const ONE_PARTITION: u8 = 1;

impl Repair {
    /// Reads the payload of a REPAIR.
    pub fn new_checked(payload: &[u8]) -> Result<Repair, Malformed> {
        let fixed = layout::exact::<layout::Repair>(payload)?;
        let partition = Partition(fixed.partition.get());
        let is_one = fixed.flags == ONE_PARTITION;
        let is_known = is_one || fixed.flags == 0 && partition == Partition(0);
        if !is_known || fixed.reserved != 0 || fixed.reserved_too.get() != 0 {
            return Err(Malformed);
        }
        Ok(Repair { partition: is_one.then_some(partition) })
    }
}

impl Payload for Repair {
    fn bytes(&self) -> usize {
        size_of::<layout::Repair>()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::Repair {
            flags: u8::from(self.partition.is_some()) * ONE_PARTITION,
            reserved: 0,
            partition: self.partition.unwrap_or_default().0.into(),
            reserved_too: 0.into(),
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}
