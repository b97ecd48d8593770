//! GET: a read, as a client asks and as one coordinator passes it to another.

use super::CONTEXT_BYTES_MAX;
use super::layout::{self, flag};
use super::payload::{Malformed, Payload};

/// The payload of a GET.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GetRequest<'a> {
    /// Answers to wait for; 0 = the cluster's default.
    pub r: u8,
    /// How many of them from primaries.
    pub pr: u8,
    /// Passed on by another node: never pass it on again.
    pub forwarded: bool,
    /// The sender wants the context in the reply.
    pub want_context: bool,
    /// Raw token that the answer must cover, at most `CONTEXT_BYTES_MAX` bytes; empty: no such
    /// demand.
    pub context: &'a [u8],
}

const FORWARDED: u16 = 1;
const WANT_CONTEXT: u16 = 2;

impl<'a> GetRequest<'a> {
    /// Reads the payload of a GET. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<GetRequest<'a>, Malformed> {
        let (fixed, context) = layout::split::<layout::Get>(payload)?;
        let flags = u16::from(fixed.flags);
        if flags & !(FORWARDED | WANT_CONTEXT) != 0 || fixed.reserved != 0 {
            return Err(Malformed);
        }
        if fixed.context_bytes.get() as usize != context.len() {
            return Err(Malformed);
        }
        if context.len() > CONTEXT_BYTES_MAX {
            return Err(Malformed);
        }
        Ok(GetRequest {
            r: fixed.r,
            pr: fixed.pr,
            forwarded: flags & FORWARDED != 0,
            want_context: flags & WANT_CONTEXT != 0,
            context,
        })
    }
}

impl Payload for GetRequest<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Get>() + self.context.len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.context.len() <= CONTEXT_BYTES_MAX);
        let fixed = layout::Get {
            r: self.r,
            pr: self.pr,
            flags: (flag(self.forwarded, FORWARDED) | flag(self.want_context, WANT_CONTEXT)) as u8,
            reserved: 0,
            context_bytes: (self.context.len() as u32).into(),
        };
        layout::put(&fixed, out).copy_from_slice(self.context);
    }
}
