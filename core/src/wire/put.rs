//! PUT: a write, as a client asks and as one coordinator passes it to another. The flags of the
//! wire become a value in which they cannot contradict each other.

use super::CONTEXT_BYTES_MAX;
use super::layout::{self, flag};
use super::payload::{Malformed, Payload};
use crate::limits::{EXPIRES_MS_MAX, VALUE_BYTES_MAX};
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
    /// Stamp of the new version; 0 = the coordinator's clock. No meaning with
    /// [`Content::ExpiryOnly`].
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

codes! {
    /// When a write that reads first goes on.
    pub enum Condition {
        /// In any case.
        Always = 0,
        /// If the read found no live sibling (SET NX).
        IfAbsent = 1,
        /// If it found one (SET XX).
        IfPresent = 2,
        /// If it found one that expires (EXPIRE XX, PERSIST).
        IfExpires = 3,
        /// If it found some, and none that expires (EXPIRE NX).
        IfLasting = 4,
        /// If it found some, all of which expire before the write does (EXPIRE GT).
        IfLater = 5,
        /// If it found some, all of which expire after the write does, or never (EXPIRE LT).
        IfEarlier = 6,
    }
}

/// What a write leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content<'a> {
    /// A deletion.
    Tombstone,
    /// A value.
    Value {
        /// When it ends by itself, 1..=`EXPIRES_MS_MAX`; `None` = never.
        expires: Option<UnixMs>,
        /// At most `VALUE_BYTES_MAX` bytes.
        value: &'a [u8],
    },
    /// A value that ends when that one does which a plain GET would have shown (KEEPTTL); only
    /// behind a read.
    ValueOnly {
        /// At most `VALUE_BYTES_MAX` bytes.
        value: &'a [u8],
    },
    /// All the values that there are, to end at another time (EXPIRE, PERSIST); only behind a
    /// read, and if it found one.
    ExpiryOnly {
        /// As of a value.
        expires: Option<UnixMs>,
    },
}

impl<'a> Content<'a> {
    /// The value, if there is a new one.
    pub fn value(&self) -> Option<&'a [u8]> {
        match *self {
            Content::Value { value, .. } | Content::ValueOnly { value } => Some(value),
            Content::Tombstone | Content::ExpiryOnly { .. } => None,
        }
    }

    /// The time that is given for its end.
    pub fn expires(&self) -> Option<UnixMs> {
        match *self {
            Content::Value { expires, .. } | Content::ExpiryOnly { expires } => expires,
            Content::Tombstone | Content::ValueOnly { .. } => None,
        }
    }
}

const FORWARDED: u16 = 1;
const TOMBSTONE: u16 = 2;
const EXPIRES: u16 = 4;
const CONTEXT_LOCAL: u16 = 8;
const READ_FIRST: u16 = 16;
const VALUE_ONLY: u16 = 32;
const EXPIRY_ONLY: u16 = 64;
const RETURN_OLD: u16 = 128;
const WANT_CONTEXT: u16 = 256;
const ALL: u16 = 2 * WANT_CONTEXT - 1;

impl<'a> PutRequest<'a> {
    /// Reads the payload of a PUT. Flags that contradict each other or the fields are
    /// malformed. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<PutRequest<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Put>(payload)?;
        let flags = fixed.flags.get();
        if flags & !ALL != 0 || fixed.reserved != 0 {
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
            replaces: Replaces::new_checked(flags, fixed.r, fixed.condition, context)?,
            content: Content::new_checked(flags, fixed.expires_ms.get(), value)?,
        };
        if put.is_valid() { Ok(put) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        let reads_first = matches!(self.replaces, Replaces::ReadFirst { .. });
        let is_part =
            matches!(self.content, Content::ValueOnly { .. } | Content::ExpiryOnly { .. });
        let expires = self.content.expires();
        self.context().len() <= CONTEXT_BYTES_MAX
            && self.value().len() <= VALUE_BYTES_MAX
            && expires.is_none_or(|at| (1..=EXPIRES_MS_MAX).contains(&at.0))
            && (reads_first || !is_part)
    }

    fn context(&self) -> &'a [u8] {
        if let Replaces::Given(context) = self.replaces { context } else { &[] }
    }

    fn value(&self) -> &'a [u8] {
        self.content.value().unwrap_or(&[])
    }

    fn flags(&self) -> u16 {
        let replaces = match self.replaces {
            Replaces::Given(_) => 0,
            Replaces::Local => CONTEXT_LOCAL,
            Replaces::ReadFirst { return_old, .. } => READ_FIRST | flag(return_old, RETURN_OLD),
        };
        let content = match self.content {
            Content::Tombstone => TOMBSTONE,
            Content::Value { .. } => 0,
            Content::ValueOnly { .. } => VALUE_ONLY,
            Content::ExpiryOnly { .. } => EXPIRY_ONLY,
        };
        replaces
            | content
            | flag(self.content.expires().is_some(), EXPIRES)
            | flag(self.forwarded, FORWARDED)
            | flag(self.want_context, WANT_CONTEXT)
    }
}

impl<'a> Replaces<'a> {
    fn new_checked(
        flags: u16,
        r: u8,
        condition: u8,
        context: &'a [u8],
    ) -> Result<Replaces<'a>, Malformed> {
        let return_old = flags & RETURN_OLD != 0;
        let is_plain = !return_old && r == 0 && condition == Condition::Always.number();
        match flags & (CONTEXT_LOCAL | READ_FIRST) {
            0 if is_plain => Ok(Replaces::Given(context)),
            CONTEXT_LOCAL if is_plain && context.is_empty() => Ok(Replaces::Local),
            READ_FIRST if context.is_empty() => {
                let condition = Condition::from_number(condition).ok_or(Malformed)?;
                Ok(Replaces::ReadFirst { r, condition, return_old })
            }
            _ => Err(Malformed),
        }
    }
}

impl<'a> Content<'a> {
    fn new_checked(flags: u16, expires: u64, value: &'a [u8]) -> Result<Content<'a>, Malformed> {
        let is_expiring = flags & EXPIRES != 0;
        if !is_expiring && expires != 0 {
            return Err(Malformed);
        }
        let expires = is_expiring.then_some(UnixMs(expires));
        match flags & (TOMBSTONE | VALUE_ONLY | EXPIRY_ONLY) {
            0 => Ok(Content::Value { expires, value }),
            TOMBSTONE if !is_expiring && value.is_empty() => Ok(Content::Tombstone),
            VALUE_ONLY if !is_expiring => Ok(Content::ValueOnly { value }),
            EXPIRY_ONLY if value.is_empty() => Ok(Content::ExpiryOnly { expires }),
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
        let (r, condition) = match self.replaces {
            Replaces::ReadFirst { r, condition, .. } => (r, condition),
            Replaces::Given(_) | Replaces::Local => (0, Condition::Always),
        };
        let fixed = layout::Put {
            w: self.w,
            pw: self.pw,
            dw: self.dw,
            r,
            flags: self.flags().into(),
            condition: condition.number(),
            reserved: 0,
            timestamp_ms: self.timestamp.0.into(),
            expires_ms: self.content.expires().map_or(0, |at| at.0).into(),
            context_bytes: (context.len() as u32).into(),
            value_bytes: (value.len() as u32).into(),
        };
        let (front, back) = layout::put(&fixed, out).split_at_mut(context.len());
        front.copy_from_slice(context);
        back.copy_from_slice(value);
    }
}
