//! Plain commands of one key, with the texts of Redis.

use ringmain_core::drive::Command;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Condition, Content, PutRequest, Replaces};

use super::answer::{Member, Shape};
use super::command::Name;
use super::encode;
use super::parse::{self, Stop, word, word_of};
use super::slots::Form;
use super::{RespSession, Skip};
use crate::session::request::Requests;

impl RespSession {
    /// GET, without the detour of a list of arguments.
    #[inline]
    pub(super) fn get<R: Requests>(
        &mut self,
        bytes: &[u8],
        at: usize,
        requests: &mut R,
    ) -> Result<usize, Stop> {
        let (key, end) = match parse::bulk(bytes, at, self.limits.key_bytes_max) {
            Err(Stop::Long { body, bytes }) => {
                return Ok(self.skip_long(Name::Get, 1, 0, body, bytes));
            }
            read => read?,
        };
        if key.is_empty() {
            self.reply(|out| encode::error(out, &[encode::EMPTY_KEY]));
            return Ok(end);
        }
        self.submit(requests, key, read(), self.form(Shape::Value))?;
        Ok(end)
    }

    /// SET without options, likewise.
    #[inline]
    pub(super) fn set<R: Requests>(
        &mut self,
        bytes: &[u8],
        at: usize,
        requests: &mut R,
    ) -> Result<usize, Stop> {
        let (key, at) = match parse::bulk(bytes, at, self.limits.key_bytes_max) {
            Err(Stop::Long { body, bytes }) => {
                return Ok(self.skip_long(Name::Set, 1, 1, body, bytes));
            }
            read => read?,
        };
        let (value, end) = match parse::bulk(bytes, at, self.limits.value_bytes_max) {
            Err(Stop::Long { body, bytes }) => {
                return Ok(self.skip_long(Name::Set, 2, 0, body, bytes));
            }
            read => read?,
        };
        if key.is_empty() {
            self.reply(|out| encode::error(out, &[encode::EMPTY_KEY]));
            return Ok(end);
        }
        let command = put(Some(value), Replaces::Local);
        self.submit(requests, key, command, self.form(Shape::Ok))?;
        Ok(end)
    }

    /// A command of one key, `arguments[1]`, that was read whole.
    pub(super) fn keyed<R: Requests>(
        &mut self,
        command: Name,
        arguments: &[&[u8]],
        requests: &mut R,
    ) -> Result<(), Stop> {
        let key = arguments[1];
        if key.is_empty() {
            self.reply(|out| encode::error(out, &[encode::EMPTY_KEY]));
            return Ok(());
        }
        let (request, shape) = match command {
            Name::Strlen => (read(), Shape::Length),
            Name::Type => (read(), Shape::Type),
            Name::Getdel => (put_after_read(None, Condition::IfPresent, true), Shape::Old),
            Name::Set => match set_options(&arguments[3..]) {
                Ok(options) => options.request(arguments[2]),
                Err(error) => {
                    self.reply(|out| encode::error(out, &[error]));
                    return Ok(());
                }
            },
            _ => return self.with_context(command, arguments, requests),
        };
        self.submit(requests, key, request, self.form(shape))
    }

    /// How the answer to a command of one key is shown.
    #[inline]
    pub(super) fn form(&self, shape: Shape) -> Form {
        Form { shape, member: Member::default(), resp3: self.resp3 }
    }

    /// Refuses argument `index` of a command, of which `bytes` bytes begin at `body` and
    /// `arguments` more follow.
    #[cold]
    pub(super) fn skip_long(
        &mut self,
        command: Name,
        index: usize,
        arguments: usize,
        body: usize,
        bytes: usize,
    ) -> usize {
        self.reply(|out| command.write_too_long(index, out));
        self.skip = Skip { arguments, bytes };
        body
    }
}

/// A read with the cluster's `r`.
#[inline]
pub(super) fn read() -> Command<'static> {
    let context = &[];
    Command::Get(GetRequest { r: 0, pr: 0, forwarded: false, want_context: false, context })
}

/// A write with the cluster's `w`; `None` is a tombstone.
#[inline]
pub(super) fn put<'a>(value: Option<&'a [u8]>, replaces: Replaces<'a>) -> Command<'a> {
    Command::Put(PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces,
        content: content(value),
    })
}

/// A write that replaces what a read finds that comes first.
pub(super) fn put_after_read(
    value: Option<&[u8]>,
    condition: Condition,
    return_old: bool,
) -> Command<'_> {
    put(value, Replaces::ReadFirst { r: 0, condition, return_old })
}

/// What a write of `value` leaves.
pub(super) fn content(value: Option<&[u8]>) -> Content<'_> {
    value.map_or(Content::Tombstone, |value| Content::Value { expires: None, value })
}

/// The options of SET that are not about expiry.
#[derive(Clone, Copy, Debug, Default)]
struct SetOptions {
    if_absent: bool,
    if_present: bool,
    old: bool,
}

impl SetOptions {
    fn request(self, value: &[u8]) -> (Command<'_>, Shape) {
        let condition = match (self.if_absent, self.if_present) {
            (true, _) => Condition::IfAbsent,
            (_, true) => Condition::IfPresent,
            _ => Condition::Always,
        };
        // Without GET one of the two conditions was given, or there would be no options.
        let shape = if self.old { Shape::Old } else { Shape::OkOrNull };
        (put_after_read(Some(value), condition, self.old), shape)
    }
}

/// Reads `options`, or gives the text of the error.
fn set_options(options: &[&[u8]]) -> Result<SetOptions, &'static [u8]> {
    const NX: u64 = word("nx");
    const XX: u64 = word("xx");
    const GET: u64 = word("get");
    const KEEPTTL: u64 = word("keepttl");
    const EX: u64 = word("ex");
    const PX: u64 = word("px");
    const EXAT: u64 = word("exat");
    const PXAT: u64 = word("pxat");
    let mut read = SetOptions::default();
    let mut expiry_count = 0;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match word_of(option) {
            NX => read.if_absent = true,
            XX => read.if_present = true,
            GET => read.old = true,
            KEEPTTL => expiry_count += 1,
            EX | PX | EXAT | PXAT => {
                let time = options.next().ok_or(encode::SYNTAX)?;
                parse::integer(time).ok_or(encode::NO_INTEGER)?;
                expiry_count += 1;
            }
            _ => return Err(encode::SYNTAX),
        }
    }
    if read.if_absent && read.if_present || expiry_count > 1 {
        return Err(encode::SYNTAX);
    }
    if expiry_count > 0 {
        return Err(b"ERR SET with an expiry (EX PX EXAT PXAT KEEPTTL) is not supported yet");
    }
    Ok(read)
}
