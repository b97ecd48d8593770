//! PUT: a write, as a client asks and as one coordinator passes it to another. The flags of the
//! wire become a value in which they cannot contradict each other.

use super::CONTEXT_BYTES_MAX;
use super::layout::{self, flag};
use super::payload::{Malformed, Payload};
use crate::limits::VALUE_BYTES_MAX;
use crate::time::UnixMs;

/// The payload of a PUT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PutRequest<'a> {
    /// Nodes that must store it; 0 = the cluster's default.
    pub w: u8,
    /// How many of them primaries.
    pub pw: u8,
    /// How many of them synced.
    pub dw: u8,
    /// Passed on by another node: never pass it on again.
    pub forwarded: bool,
    /// The sender wants the new context in the reply.
    pub want_context: bool,
    /// Stamp of the new version; 0 = the coordinator's clock.
    pub timestamp: UnixMs,
    /// What the new version replaces.
    pub replaces: Replaces<'a>,
    /// What is written.
    pub content: Content<'a>,
}

/// What a write replaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Replaces<'a> {
    /// What this raw token covers, at most `CONTEXT_BYTES_MAX` bytes; empty: nothing.
    Given(&'a [u8]),
    /// What the coordinator knows at that moment (a plain SET).
    Local,
    /// What a read finds that comes first (DEL, NX, XX, GET, ...).
    ReadFirst {
        /// Answers that the read waits for; 0 = the cluster's default.
        r: u8,
        /// Whether to write at all.
        condition: Condition,
        /// Return in the reply the live siblings that the read found.
        return_old: bool,
    },
}

/// When a write that reads first goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Condition {
    /// In any case.
    Always,
    /// If the read found no live sibling (NX).
    IfAbsent,
    /// If it found one (XX).
    IfPresent,
}

/// What a write leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content<'a> {
    /// A deletion.
    Tombstone,
    /// A value.
    Value {
        /// When it ends by itself; `None` = never.
        expires: Option<UnixMs>,
        /// At most `VALUE_BYTES_MAX` bytes.
        value: &'a [u8],
    },
}

const FORWARDED: u16 = 1;
const TOMBSTONE: u16 = 2;
const EXPIRES: u16 = 4;
const CONTEXT_LOCAL: u16 = 8;
const READ_FIRST: u16 = 16;
const IF_ABSENT: u16 = 32;
const IF_PRESENT: u16 = 64;
const RETURN_OLD: u16 = 128;
const WANT_CONTEXT: u16 = 256;
const ALL: u16 = 2 * WANT_CONTEXT - 1;

impl<'a> PutRequest<'a> {
    /// Reads the payload of a PUT. Flags that contradict each other or the fields are
    /// malformed. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<PutRequest<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Put>(payload)?;
        let flags = fixed.flags.get();
        if flags & !ALL != 0 || fixed.reserved.get() != 0 {
            return Err(Malformed);
        }
        let context_bytes = fixed.context_bytes.get() as usize;
        let (context, value) = rest.split_at_checked(context_bytes).ok_or(Malformed)?;
        if value.len() != fixed.value_bytes.get() as usize {
            return Err(Malformed);
        }
        let put = PutRequest {
            w: fixed.w,
            pw: fixed.pw,
            dw: fixed.dw,
            forwarded: flags & FORWARDED != 0,
            want_context: flags & WANT_CONTEXT != 0,
            timestamp: UnixMs(fixed.timestamp_ms.get()),
            replaces: Replaces::new_checked(flags, fixed.r, context)?,
            content: Content::new_checked(flags, fixed.expires_ms.get(), value)?,
        };
        if put.is_valid() { Ok(put) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        self.context().len() <= CONTEXT_BYTES_MAX && self.value().len() <= VALUE_BYTES_MAX
    }

    fn context(&self) -> &'a [u8] {
        if let Replaces::Given(context) = self.replaces { context } else { &[] }
    }

    fn value(&self) -> &'a [u8] {
        if let Content::Value { value, .. } = self.content { value } else { &[] }
    }

    fn flags(&self) -> u16 {
        let replaces = match self.replaces {
            Replaces::Given(_) => 0,
            Replaces::Local => CONTEXT_LOCAL,
            Replaces::ReadFirst { condition, return_old, .. } => {
                let condition = match condition {
                    Condition::Always => 0,
                    Condition::IfAbsent => IF_ABSENT,
                    Condition::IfPresent => IF_PRESENT,
                };
                READ_FIRST | condition | flag(return_old, RETURN_OLD)
            }
        };
        let content = match self.content {
            Content::Tombstone => TOMBSTONE,
            Content::Value { expires, .. } => flag(expires.is_some(), EXPIRES),
        };
        replaces | content | flag(self.forwarded, FORWARDED) | flag(self.want_context, WANT_CONTEXT)
    }
}

impl<'a> Replaces<'a> {
    fn new_checked(flags: u16, r: u8, context: &'a [u8]) -> Result<Replaces<'a>, Malformed> {
        let of_read = flags & (IF_ABSENT | IF_PRESENT | RETURN_OLD);
        match flags & (CONTEXT_LOCAL | READ_FIRST) {
            0 if of_read == 0 && r == 0 => Ok(Replaces::Given(context)),
            CONTEXT_LOCAL if of_read == 0 && r == 0 && context.is_empty() => Ok(Replaces::Local),
            READ_FIRST if context.is_empty() => {
                let condition = match flags & (IF_ABSENT | IF_PRESENT) {
                    0 => Condition::Always,
                    IF_ABSENT => Condition::IfAbsent,
                    IF_PRESENT => Condition::IfPresent,
                    _ => return Err(Malformed),
                };
                let return_old = flags & RETURN_OLD != 0;
                Ok(Replaces::ReadFirst { r, condition, return_old })
            }
            _ => Err(Malformed),
        }
    }
}

impl<'a> Content<'a> {
    fn new_checked(flags: u16, expires: u64, value: &'a [u8]) -> Result<Content<'a>, Malformed> {
        match flags & (TOMBSTONE | EXPIRES) {
            0 if expires == 0 => Ok(Content::Value { expires: None, value }),
            EXPIRES => Ok(Content::Value { expires: Some(UnixMs(expires)), value }),
            TOMBSTONE if expires == 0 && value.is_empty() => Ok(Content::Tombstone),
            _ => Err(Malformed),
        }
    }
}

impl Payload for PutRequest<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Put>() + self.context().len() + self.value().len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let (context, value) = (self.context(), self.value());
        let r = if let Replaces::ReadFirst { r, .. } = self.replaces { r } else { 0 };
        let expires =
            if let Content::Value { expires, .. } = self.content { expires } else { None };
        let fixed = layout::Put {
            w: self.w,
            pw: self.pw,
            dw: self.dw,
            r,
            flags: self.flags().into(),
            reserved: 0.into(),
            timestamp_ms: self.timestamp.0.into(),
            expires_ms: expires.map_or(0, |at| at.0).into(),
            context_bytes: (context.len() as u32).into(),
            value_bytes: (value.len() as u32).into(),
        };
        let (front, back) = layout::put(&fixed, out).split_at_mut(context.len());
        front.copy_from_slice(context);
        back.copy_from_slice(value);
    }
}
