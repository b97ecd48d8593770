//! The answer to STATUS and RING, which themselves have no payload.

use super::ADMIN_BYTES_MAX;
use super::layout;
use super::payload::{Malformed, Payload};
use super::reply::Status;

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
