//! Times at which values expire: read and refused as Redis does. A time becomes an absolute one
//! here, where its command comes in, so that it is the same wherever it is carried.

use ringmain_core::drive::Command;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::put::{Condition, Content};

use super::answer::Shape;
use super::command::Name;
use super::encode;
use super::keyed::put_after_read;
use super::parse::{self, word, word_of};

/// Why a command with a time is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused<'a> {
    /// With this text.
    Text(&'static [u8]),
    /// A time that is no future one, or none that there is.
    Time,
    /// An option that EXPIRE does not have.
    Option(&'a [u8]),
}

impl Refused<'_> {
    /// Appends the error reply.
    pub(super) fn write(self, command: Name, out: &mut Vec<u8>) {
        match self {
            Refused::Text(text) => encode::error(out, &[text]),
            Refused::Time => {
                let name = command.entry().name.as_bytes();
                encode::error(out, &[b"ERR invalid expire time in '", name, b"' command"]);
            }
            Refused::Option(option) => encode::error(out, &[b"ERR Unsupported option ", option]),
        }
    }
}

/// How a time is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Time<'a> {
    /// The number.
    text: &'a [u8],
    /// What it counts, milliseconds.
    unit_ms: i64,
    /// From now on, not since 1970.
    is_relative: bool,
}

impl<'a> Time<'a> {
    /// So many `unit_ms` from now on.
    pub(super) fn from_now(text: &'a [u8], unit_ms: i64) -> Time<'a> {
        Time { text, unit_ms, is_relative: true }
    }

    /// So many `unit_ms` since 1970.
    pub(super) fn since_1970(text: &'a [u8], unit_ms: i64) -> Time<'a> {
        Time { text, unit_ms, is_relative: false }
    }

    /// The time of a new value, whose number must be above 0.
    pub(super) fn end(self, now: UnixMs) -> Result<UnixMs, Refused<'a>> {
        let end = if self.number()? > 0 { self.unix_ms(now)? } else { 0 };
        if end > 0 { Ok(UnixMs(end as u64)) } else { Err(Refused::Time) }
    }

    fn number(self) -> Result<i64, Refused<'a>> {
        parse::integer(self.text).ok_or(Refused::Text(encode::NO_INTEGER))
    }

    /// Unix milliseconds, perhaps before 1970.
    fn unix_ms(self, now: UnixMs) -> Result<i64, Refused<'a>> {
        let origin = if self.is_relative { now } else { UnixMs(0) };
        let unix_ms = self.number()?.checked_mul(self.unit_ms);
        unix_ms.and_then(|ms| ms.checked_add_unsigned(origin.0)).ok_or(Refused::Time)
    }
}

/// EXPIRE and PEXPIRE: what has a time that has passed is deleted.
pub(super) fn expire<'a>(
    time: Time<'a>,
    options: &[&'a [u8]],
    now: UnixMs,
) -> Result<(Command<'a>, Shape), Refused<'a>> {
    let condition = condition(options)?;
    let end = time.unix_ms(now)?;
    let expires = u64::try_from(end).ok().map(UnixMs).filter(|end| *end > now);
    let content = match expires {
        Some(_) => Content::ExpiryOnly { expires },
        None => Content::Tombstone,
    };
    Ok((put_after_read(content, condition, false), Shape::Changed))
}

/// PERSIST.
pub(super) fn persist() -> (Command<'static>, Shape) {
    let content = Content::ExpiryOnly { expires: None };
    (put_after_read(content, Condition::IfExpires, false), Shape::Changed)
}

/// The options of EXPIRE.
fn condition<'a>(options: &[&'a [u8]]) -> Result<Condition, Refused<'a>> {
    const NX: u64 = word("nx");
    const XX: u64 = word("xx");
    const GT: u64 = word("gt");
    const LT: u64 = word("lt");
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in options {
        match word_of(option) {
            NX => nx = true,
            XX => xx = true,
            GT => gt = true,
            LT => lt = true,
            _ => return Err(Refused::Option(option)),
        }
    }
    match (nx, xx, gt, lt) {
        (false, false, false, false) => Ok(Condition::IfPresent),
        (true, false, false, false) => Ok(Condition::IfLasting),
        (false, true, false, false) => Ok(Condition::IfExpires),
        // What never expires is no earlier than anything.
        (false, _, true, false) => Ok(Condition::IfLater),
        (false, false, false, true) => Ok(Condition::IfEarlier),
        (true, ..) => Err(Refused::Text(
            b"ERR NX and XX, GT or LT options at the same time are not compatible",
        )),
        (_, _, true, true) => {
            Err(Refused::Text(b"ERR GT and LT options at the same time are not compatible"))
        }
        (_, true, _, true) => Err(Refused::Text(b"ERR XX with LT is not supported")),
    }
}
