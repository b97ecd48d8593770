//! REPLY: the answer to GET and PUT, with the context and the live siblings.
//!
//! A reply is written piece by piece, straight from a record: [`reply_bytes`] says how long it
//! will be, [`ReplyWriter`] takes the context, then each sibling, and asserts that the length
//! was met.

use super::CONTEXT_BYTES_MAX;
use super::layout;
use super::payload::{Malformed, Payload};
use crate::time::UnixMs;

codes! {
    /// How a request ended.
    pub enum Status {
        /// Done. A read that found nothing has no siblings.
        Ok = 0,
        /// Too few answers in time; the outcome is unknown.
        NoQuorum = 1,
        /// Refused before anything was written.
        Unavailable = 2,
        /// The token does not parse or verify.
        BadContext = 3,
        /// The value or the key is longer than allowed.
        TooLarge = 4,
        /// The record has too many siblings, or is too large with them.
        Siblings = 5,
        /// Overload: try again.
        Busy = 6,
        /// The log cannot grow: the disk is full, or no file can be made.
        NoSpace = 7,
        /// The shard takes no writes, after a failed sync.
        ReadOnly = 8,
        /// The condition of a write that reads first did not hold; nothing was written.
        ConditionFailed = 9,
        /// The record may be damaged here, and no other copy answered.
        Damaged = 10,
        /// The payload is malformed.
        Malformed = 11,
        /// The request asks for something that this node does not do.
        Unsupported = 12,
        /// The sender may not ask this.
        NotPermitted = 13,
        /// No answer came to cover the context that the read was given.
        NotCovered = 14,
    }
}

/// The fixed part of a reply, but for what the writer counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyHead {
    /// How the request ended.
    pub status: Status,
    /// Answers that were needed.
    pub needed: u8,
    /// Answers that came.
    pub got: u8,
    /// Live siblings that a read found, or that a put left.
    pub live: u16,
    /// Live siblings that the read of a put with READ_FIRST found.
    pub found: u16,
    /// Of the key of the request, in its partition: a late reply is not taken for that to a
    /// later request of the same number.
    pub order: u64,
}

impl ReplyHead {
    /// The head of a reply that says only `status`.
    pub fn of(status: Status) -> ReplyHead {
        ReplyHead { status, needed: 0, got: 0, live: 0, found: 0, order: 0 }
    }
}

/// Without context and siblings, the head is a reply of its own.
impl Payload for ReplyHead {
    fn bytes(&self) -> usize {
        reply_bytes(0, 0, 0)
    }

    fn write(&self, out: &mut [u8]) {
        ReplyWriter::new(self, 0, 0, out).finish();
    }
}

/// One live sibling of a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplySibling<'a> {
    /// Stamp of the version.
    pub timestamp: UnixMs,
    /// When it ends by itself, not 0; `None` = never.
    pub expires: Option<UnixMs>,
    /// Its value.
    pub value: &'a [u8],
}

/// Length of a reply, bytes: `value_bytes` counts the values of all `sibling_count` siblings.
/// It may exceed what a frame takes; then the answer is [`Status::Siblings`].
pub const fn reply_bytes(context_bytes: usize, sibling_count: usize, value_bytes: usize) -> usize {
    size_of::<layout::Reply>()
        + context_bytes
        + sibling_count * size_of::<layout::Sibling>()
        + value_bytes
}

/// Writes a reply into lent bytes: the context first, then every sibling, then
/// [`finish`](ReplyWriter::finish).
#[derive(Debug)]
pub struct ReplyWriter<'o> {
    out: &'o mut [u8],
    context_bytes: usize,
    sibling_count: u16,
    newest: u64,
}

impl<'o> ReplyWriter<'o> {
    /// Begins a reply.
    ///
    /// # Panics
    /// If `out` has no room for head and context, or the context is longer than
    /// `CONTEXT_BYTES_MAX`.
    pub fn new(
        head: &ReplyHead,
        context_bytes: usize,
        sibling_count: u16,
        out: &'o mut [u8],
    ) -> ReplyWriter<'o> {
        assert!(context_bytes <= CONTEXT_BYTES_MAX);
        let fixed = layout::Reply {
            status: head.status.number(),
            needed: head.needed,
            got: head.got,
            reserved: 0,
            live: head.live.into(),
            found: head.found.into(),
            context_bytes: (context_bytes as u32).into(),
            siblings: sibling_count.into(),
            reserved2: 0.into(),
            order: head.order.into(),
        };
        let out = layout::put(&fixed, out);
        assert!(out.len() >= context_bytes);
        ReplyWriter { out, context_bytes, sibling_count, newest: u64::MAX }
    }

    /// Lends the bytes of the context, to be filled whole; once, before any sibling. Not
    /// needed if the context has no bytes.
    pub fn context(&mut self, fill: impl FnOnce(&mut [u8])) {
        let context_bytes = core::mem::take(&mut self.context_bytes);
        fill(self.take(context_bytes));
    }

    /// Writes the next sibling.
    ///
    /// # Panics
    /// If the context is missing, more siblings come than were announced, or this one is
    /// newer than the one before.
    pub fn sibling(&mut self, sibling: &ReplySibling<'_>) {
        assert!(self.context_bytes == 0);
        assert!(self.sibling_count > 0);
        assert!(sibling.timestamp.0 <= self.newest);
        assert!(sibling.expires != Some(UnixMs(0)));
        let fixed = layout::Sibling {
            timestamp_ms: sibling.timestamp.0.into(),
            expires_ms: sibling.expires.map_or(0, |at| at.0).into(),
            value_bytes: (sibling.value.len() as u32).into(),
            reserved: 0.into(),
        };
        let place = self.take(size_of::<layout::Sibling>() + sibling.value.len());
        layout::put(&fixed, place).copy_from_slice(sibling.value);
        self.sibling_count -= 1;
        self.newest = sibling.timestamp.0;
    }

    /// Ends the reply.
    ///
    /// # Panics
    /// If anything that was announced is missing, or bytes are left.
    pub fn finish(self) {
        assert!(self.context_bytes == 0);
        assert!(self.sibling_count == 0);
        assert!(self.out.is_empty());
    }

    fn take(&mut self, bytes: usize) -> &'o mut [u8] {
        let (front, back) = core::mem::take(&mut self.out).split_at_mut(bytes);
        self.out = back;
        front
    }
}

/// A reply that was checked whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply<'a> {
    /// The fixed part.
    pub head: ReplyHead,
    /// Raw token; empty: none, or the one of a key never written.
    pub context: &'a [u8],
    siblings: Siblings<'a>,
}

impl<'a> Reply<'a> {
    /// Reads the payload of a REPLY. O(siblings).
    pub fn new_checked(payload: &'a [u8]) -> Result<Reply<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Reply>(payload)?;
        if fixed.reserved != 0 || fixed.reserved2.get() != 0 {
            return Err(Malformed);
        }
        let context_bytes = fixed.context_bytes.get() as usize;
        if context_bytes > CONTEXT_BYTES_MAX {
            return Err(Malformed);
        }
        let (context, rest) = rest.split_at_checked(context_bytes).ok_or(Malformed)?;
        let siblings = Siblings { rest, count: fixed.siblings.get() };
        siblings.check()?;
        let head = ReplyHead {
            status: Status::from_number(fixed.status).ok_or(Malformed)?,
            needed: fixed.needed,
            got: fixed.got,
            live: fixed.live.get(),
            found: fixed.found.get(),
            order: fixed.order.get(),
        };
        Ok(Reply { head, context, siblings })
    }

    /// The siblings, the winner first.
    pub fn siblings(&self) -> Siblings<'a> {
        self.siblings
    }
}

impl Payload for Reply<'_> {
    fn bytes(&self) -> usize {
        reply_bytes(self.context.len(), 0, self.siblings.rest.len())
    }

    fn write(&self, out: &mut [u8]) {
        let mut writer = ReplyWriter::new(&self.head, self.context.len(), self.siblings.count, out);
        writer.context(|out| out.copy_from_slice(self.context));
        for sibling in self.siblings {
            writer.sibling(&sibling);
        }
        writer.finish();
    }
}

/// Walks the siblings of a reply, the winner first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Siblings<'a> {
    rest: &'a [u8],
    count: u16,
}

impl<'a> Siblings<'a> {
    /// Takes the next sibling off.
    fn split(&mut self) -> Result<ReplySibling<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Sibling>(self.rest)?;
        if fixed.reserved.get() != 0 {
            return Err(Malformed);
        }
        let value_bytes = fixed.value_bytes.get() as usize;
        let (value, rest) = rest.split_at_checked(value_bytes).ok_or(Malformed)?;
        self.rest = rest;
        self.count -= 1;
        let expires = fixed.expires_ms.get();
        Ok(ReplySibling {
            timestamp: UnixMs(fixed.timestamp_ms.get()),
            expires: (expires != 0).then_some(UnixMs(expires)),
            value,
        })
    }

    /// Walks all of them once: as many as counted, none newer than the one before, no bytes
    /// left.
    fn check(mut self) -> Result<(), Malformed> {
        let mut newest = u64::MAX;
        while self.count > 0 {
            let sibling = self.split()?;
            if sibling.timestamp.0 > newest {
                return Err(Malformed);
            }
            newest = sibling.timestamp.0;
        }
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

impl<'a> Iterator for Siblings<'a> {
    type Item = ReplySibling<'a>;

    fn next(&mut self) -> Option<ReplySibling<'a>> {
        if self.count == 0 {
            return None;
        }
        // `Reply::new_checked` walked the same bytes.
        self.split().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::from(self.count);
        (count, Some(count))
    }
}

impl ExactSizeIterator for Siblings<'_> {}
