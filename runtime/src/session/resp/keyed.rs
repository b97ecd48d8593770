//! Plain commands of one key, with the texts of Redis.

use ringmain_core::drive::Command;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Condition, Content, PutRequest, Replaces};

use super::answer::{Member, Shape};
use super::command::Name;
use super::encode;
use super::expiry::{Refused, Time, expire, persist};
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
        let command = put(lasting(value), Replaces::Local);
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
        let now = requests.wall();
        let parsed = match command {
            Name::Strlen => Ok((read(), Shape::Length)),
            Name::Type => Ok((read(), Shape::Type)),
            Name::Ttl => Ok((read(), Shape::TimeLeft { asked: now, unit_ms: 1000 })),
            Name::Pttl => Ok((read(), Shape::TimeLeft { asked: now, unit_ms: 1 })),
            Name::Getdel => {
                let request = put_after_read(Content::Tombstone, Condition::IfPresent, true);
                Ok((request, Shape::Old))
            }
            Name::Set => {
                set_options(&arguments[3..], now).map(|options| options.request(arguments[2]))
            }
            Name::Setex => set_until(Time::from_now(arguments[2], 1000), arguments[3], now),
            Name::Psetex => set_until(Time::from_now(arguments[2], 1), arguments[3], now),
            Name::Expire => expire(Time::from_now(arguments[2], 1000), &arguments[3..], now),
            Name::Pexpire => expire(Time::from_now(arguments[2], 1), &arguments[3..], now),
            Name::Persist => Ok(persist()),
            _ => return self.with_context(command, arguments, requests),
        };
        match parsed {
            Ok((request, shape)) => self.submit(requests, key, request, self.form(shape)),
            Err(refused) => {
                self.reply(|out| refused.write(command, out));
                Ok(())
            }
        }
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

/// A write with the cluster's `w`.
#[inline]
pub(super) fn put<'a>(content: Content<'a>, replaces: Replaces<'a>) -> Command<'a> {
    Command::Put(PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces,
        content,
    })
}

/// A write that replaces what a read finds that comes first.
pub(super) fn put_after_read(
    content: Content<'_>,
    condition: Condition,
    return_old: bool,
) -> Command<'_> {
    put(content, Replaces::ReadFirst { r: 0, condition, return_old })
}

/// A value that never expires.
#[inline]
pub(super) fn lasting(value: &[u8]) -> Content<'_> {
    Content::Value { expires: None, value }
}

/// SETEX and PSETEX.
fn set_until<'a>(
    time: Time<'a>,
    value: &'a [u8],
    now: UnixMs,
) -> Result<(Command<'a>, Shape), Refused<'a>> {
    let content = Content::Value { expires: Some(time.end(now)?), value };
    Ok((put(content, Replaces::Local), Shape::Ok))
}

/// The options of SET.
#[derive(Clone, Copy, Debug)]
struct SetOptions {
    condition: Condition,
    old: bool,
    keeps_expiry: bool,
    expires: Option<UnixMs>,
}

impl SetOptions {
    fn request(self, value: &[u8]) -> (Command<'_>, Shape) {
        let SetOptions { condition, old, keeps_expiry, expires } = self;
        let content = match keeps_expiry {
            true => Content::ValueOnly { value },
            false => Content::Value { expires, value },
        };
        let is_conditional = condition != Condition::Always;
        let request = match is_conditional || old || keeps_expiry {
            true => put_after_read(content, condition, old),
            false => put(content, Replaces::Local),
        };
        let shape = match (old, is_conditional) {
            (true, _) => Shape::Old,
            (false, true) => Shape::OkOrNull,
            (false, false) => Shape::Ok,
        };
        (request, shape)
    }
}

/// Reads `options`.
fn set_options<'a>(options: &[&'a [u8]], now: UnixMs) -> Result<SetOptions, Refused<'a>> {
    const NX: u64 = word("nx");
    const XX: u64 = word("xx");
    const GET: u64 = word("get");
    const KEEPTTL: u64 = word("keepttl");
    const EX: u64 = word("ex");
    const PX: u64 = word("px");
    const EXAT: u64 = word("exat");
    const PXAT: u64 = word("pxat");
    const SYNTAX: Refused<'static> = Refused::Text(encode::SYNTAX);
    let (mut if_absent, mut if_present, mut old, mut keeps_expiry) = (false, false, false, false);
    let mut time = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let option = word_of(option);
        match option {
            NX => if_absent = true,
            XX => if_present = true,
            GET => old = true,
            KEEPTTL => keeps_expiry = true,
            EX | PX | EXAT | PXAT if time.is_none() => {
                let text = options.next().ok_or(SYNTAX)?;
                time = Some(match option {
                    EX => Time::from_now(text, 1000),
                    PX => Time::from_now(text, 1),
                    EXAT => Time::since_1970(text, 1000),
                    _ => Time::since_1970(text, 1),
                });
            }
            _ => return Err(SYNTAX),
        }
    }
    let condition = match (if_absent, if_present) {
        (true, true) => return Err(SYNTAX),
        (true, false) => Condition::IfAbsent,
        (false, true) => Condition::IfPresent,
        (false, false) => Condition::Always,
    };
    if keeps_expiry && time.is_some() {
        return Err(SYNTAX);
    }
    let expires = time.map(|time| time.end(now)).transpose()?;
    Ok(SetOptions { condition, old, keeps_expiry, expires })
}
