//! Commands of several keys: read and submitted key by key, so that their size costs nothing.

use ringmain_core::drive::Command;
use ringmain_core::wire::put::{Condition, Content, Replaces};

use super::answer::{Member, Outcome, Shape, Whole};
use super::command::Name;
use super::encode;
use super::keyed::{lasting, put, put_after_read, read};
use super::parse::{self, Stop};
use super::slots::Form;
use super::{RespSession, Skip};
use crate::session::request::Requests;

/// A command of several keys that is being read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Multi {
    command: Name,
    resp3: bool,
    /// How many keys it has; 0 once the first was submitted.
    first_of: u32,
    /// Keys that are still to be read, at least 1.
    left: u32,
}

impl Multi {
    /// A command of `count` arguments, with the name.
    pub(super) fn new(command: Name, count: usize, resp3: bool) -> Multi {
        let keys = ((count - 1) / command.entry().key_step) as u32;
        assert!(keys > 0);
        Multi { command, resp3, first_of: keys, left: keys }
    }

    /// With its next key as the last one.
    pub(super) fn cut_short(self) -> Multi {
        Multi { left: 1, ..self }
    }

    fn form(self) -> Form {
        let (shape, whole) = match self.command {
            Name::Mget => (Shape::Value, Whole::Array),
            Name::Exists => (Shape::Exists, Whole::Sum),
            Name::Mset => (Shape::Stored, Whole::Ok),
            _ => (Shape::Removed, Whole::Sum),
        };
        let member = Member { group: Some(whole), first_of: self.first_of, last: self.left == 1 };
        Form { shape, member, resp3: self.resp3 }
    }

    fn request(self, value: &[u8]) -> Command<'_> {
        match self.command {
            Name::Mget | Name::Exists => read(),
            Name::Mset => put(lasting(value), Replaces::Local),
            _ => put_after_read(Content::Tombstone, Condition::IfPresent, false),
        }
    }
}

impl RespSession {
    /// Reads and submits the next key of `multi`, with its value if it has one.
    pub(super) fn member<R: Requests>(
        &mut self,
        multi: Multi,
        bytes: &[u8],
        requests: &mut R,
    ) -> Result<usize, Stop> {
        let pairs = multi.command == Name::Mset;
        let (key, at) = match parse::bulk(bytes, 0, self.limits.key_bytes_max) {
            Err(Stop::Long { body, bytes }) => {
                self.skip = Skip { arguments: pairs.into(), bytes };
                self.fail_member(multi, |out| multi.command.write_too_long(1, out));
                return Ok(body);
            }
            read => read?,
        };
        let (value, at) = match pairs {
            false => (&[][..], at),
            true => match parse::bulk(bytes, at, self.limits.value_bytes_max) {
                Err(Stop::Long { body, bytes }) => {
                    self.skip = Skip { arguments: 0, bytes };
                    self.fail_member(multi, |out| multi.command.write_too_long(2, out));
                    return Ok(body);
                }
                read => read?,
            },
        };
        if key.is_empty() {
            self.fail_member(multi, |out| encode::error(out, &[encode::EMPTY_KEY]));
        } else {
            self.submit(requests, key, multi.request(value), multi.form())?;
            self.advance(multi);
        }
        Ok(at)
    }

    /// The next key of `multi` gives an error, which `write` appends.
    pub(super) fn fail_member(&mut self, multi: Multi, write: impl FnOnce(&mut Vec<u8>)) {
        let failed = Outcome { failed: true, count: 0 };
        let member = multi.form().member;
        if self.slots.is_empty() {
            self.group.put(&mut self.out, member, self.limits.reply_bytes_max, |out| {
                write(out.tail());
                failed
            });
        } else {
            self.slots.push_done(member, |slot| {
                write(slot.held.tail());
                slot.outcome = failed;
            });
        }
        self.advance(multi);
    }

    fn advance(&mut self, multi: Multi) {
        let left = multi.left - 1;
        self.multi = (left > 0).then_some(Multi { first_of: 0, left, ..multi });
    }
}
