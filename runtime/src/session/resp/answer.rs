//! From the answers of single-key requests to replies, and from the replies of a command's keys
//! to the one reply of the command.

use ringmain_core::causality::{Live, base64url_bytes, encode_base64url};
use ringmain_core::drive::Answer;
use ringmain_core::request::{Failure, Outcome as Ended};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::reply::{self, ReplyHead, Status};

use super::encode;
use super::slots::Form;
use crate::session::request::Lend;
use crate::sys::{Mark, SendBuffer};

/// How the answer to a request is shown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Shape {
    /// The winner, or null: GET, and each key of MGET.
    #[default]
    Value,
    /// The bytes of the winner: STRLEN.
    Length,
    /// TYPE.
    Type,
    /// Until the winner expires, rounded: TTL, PTTL.
    TimeLeft {
        /// By the clock when the command came.
        asked: UnixMs,
        /// What is counted, milliseconds.
        unit_ms: u64,
    },
    /// Nothing but its count of 1 for a live key: EXISTS.
    Exists,
    /// Nothing but its count of 1 for a live key that was deleted: DEL, UNLINK.
    Removed,
    /// Nothing: MSET.
    Stored,
    /// SET.
    Ok,
    /// OK, or null when the condition did not hold: SET with NX or XX.
    OkOrNull,
    /// 1, or 0 when the condition did not hold: EXPIRE, PERSIST.
    Changed,
    /// The winner before the write, or null: GETDEL, SET with GET.
    Old,
    /// Context and every sibling: RM.GET.
    Siblings,
    /// New context and number of siblings: RM.PUT, RM.DEL.
    Written,
    /// Nothing: a page of SCAN or DBSIZE, which its walk takes.
    Page,
}

/// What a request is to its command.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Member {
    /// How the replies of the command's keys become one; `None`: it has one key.
    pub(super) group: Option<Whole>,
    /// The first of so many; 0 for all behind the first.
    pub(super) first_of: u32,
    /// The last one.
    pub(super) last: bool,
}

/// What several keys give together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whole {
    /// An array of the replies: MGET.
    Array,
    /// The sum of the counts: EXISTS, DEL, UNLINK.
    Sum,
    /// OK: MSET.
    Ok,
}

/// What a reply counts to its group.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Outcome {
    /// The reply is an error.
    pub(super) failed: bool,
    /// To a [`Whole::Sum`].
    pub(super) count: u32,
}

/// Appends the reply to a request, with the values that are lent.
#[inline]
pub(super) fn write(
    out: &mut SendBuffer,
    form: Form,
    answer: &Answer<'_>,
    lend: &Lend<'_>,
) -> Outcome {
    let Form { shape, resp3, .. } = form;
    let (applied, found, live) = match ended(answer) {
        Ok(ended) => ended,
        Err(failure) => {
            failure.write(out.tail(), shape.writes());
            return Outcome { failed: true, count: 0 };
        }
    };
    let siblings = Siblings::of(answer);
    let value = |out: &mut SendBuffer, value: &[u8]| match lend(value) {
        Some(part) => encode::lent_bulk(out, part),
        None => encode::bulk(out.tail(), value),
    };
    match shape {
        Shape::Value | Shape::Old => match siblings.winner() {
            Some((winner, _)) => value(out, winner),
            None => encode::null(out.tail(), resp3),
        },
        Shape::Length => {
            let length = siblings.winner().map_or(0, |(value, _)| value.len() as u64);
            encode::integer(out.tail(), length);
        }
        Shape::Type => {
            let name = if siblings.winner().is_some() { "string" } else { "none" };
            encode::simple(out.tail(), name);
        }
        Shape::TimeLeft { asked, unit_ms } => match siblings.winner() {
            None => out.tail().extend_from_slice(NO_KEY),
            Some((_, None)) => out.tail().extend_from_slice(NO_EXPIRY),
            Some((_, Some(expires))) => {
                let left_ms = expires.0.saturating_sub(asked.0);
                encode::integer(out.tail(), left_ms.saturating_add(unit_ms / 2) / unit_ms);
            }
        },
        Shape::Ok => out.tail().extend_from_slice(encode::OK),
        Shape::OkOrNull if applied => out.tail().extend_from_slice(encode::OK),
        Shape::OkOrNull => encode::null(out.tail(), resp3),
        Shape::Changed => encode::integer(out.tail(), applied.into()),
        Shape::Siblings => {
            encode::array(out.tail(), 1 + siblings.count());
            if !write_context(out.tail(), answer) {
                encode::bulk(out.tail(), b"-");
            }
            siblings.for_each(|sibling| value(out, sibling));
        }
        Shape::Written => {
            encode::array(out.tail(), 2);
            if !write_context(out.tail(), answer) {
                encode::null(out.tail(), resp3);
            }
            encode::integer(out.tail(), live.into());
        }
        Shape::Stored => {}
        Shape::Page => unreachable!("a walk takes it"),
        Shape::Exists => {
            return Outcome { failed: false, count: siblings.winner().is_some().into() };
        }
        Shape::Removed => return Outcome { failed: false, count: (found > 0).into() },
    }
    Outcome::default()
}

impl Shape {
    fn writes(self) -> bool {
        match self {
            Shape::Value
            | Shape::Length
            | Shape::Type
            | Shape::TimeLeft { .. }
            | Shape::Exists
            | Shape::Siblings
            | Shape::Page => false,
            Shape::Removed
            | Shape::Stored
            | Shape::Ok
            | Shape::OkOrNull
            | Shape::Changed
            | Shape::Old
            | Shape::Written => true,
        }
    }
}

/// Whether a condition held, and the live siblings before and after a write; or why not.
#[inline]
pub(super) fn ended(answer: &Answer<'_>) -> Result<(bool, u16, u16), Failed> {
    match *answer {
        Answer::Local { outcome, live, found, .. } => match outcome {
            Ended::Got | Ended::Stored(_) => Ok((true, found, live)),
            Ended::ConditionFailed => Ok((false, found, live)),
            Ended::Failed(failure) => Err(failure.into()),
        },
        // It comes as the payload of a REPLY.
        Answer::Page { .. } => Ok((true, 0, 0)),
        Answer::Remote(ref reply) => {
            let ReplyHead { status, needed, got, live, found, .. } = reply.head;
            match status {
                Status::Ok => Ok((true, found, live)),
                Status::ConditionFailed => Ok((false, found, live)),
                status => Err(Failed { status, needed, got }),
            }
        }
    }
}

/// The live siblings of an answer, in the order of a REPLY: the winner first, then descending by
/// (timestamp, dot), the same on every node.
enum Siblings<'a> {
    None,
    Record(Live<'a>),
    Reply(reply::Siblings<'a>),
}

impl<'a> Siblings<'a> {
    #[inline]
    fn of(answer: &Answer<'a>) -> Siblings<'a> {
        match *answer {
            Answer::Local { record: None, .. } | Answer::Page { .. } => Siblings::None,
            Answer::Local { record: Some(record), .. } => Siblings::Record(record),
            Answer::Remote(ref reply) => Siblings::Reply(reply.siblings()),
        }
    }

    /// The value and the expiry of the first.
    #[inline]
    fn winner(&self) -> Option<(&'a [u8], Option<UnixMs>)> {
        match *self {
            Siblings::None => None,
            Siblings::Record(record) => record.winner().map(|one| (one.value, one.expires)),
            Siblings::Reply(mut siblings) => siblings.next().map(|one| (one.value, one.expires)),
        }
    }

    fn count(&self) -> usize {
        match *self {
            Siblings::None => 0,
            Siblings::Record(record) => record.count(),
            Siblings::Reply(siblings) => siblings.len(),
        }
    }

    fn for_each(&self, mut each: impl FnMut(&'a [u8])) {
        match *self {
            Siblings::None => {}
            Siblings::Reply(siblings) => siblings.for_each(|sibling| each(sibling.value)),
            Siblings::Record(record) => record.for_each_winner_first(|sibling| each(sibling.value)),
        }
    }
}

/// Appends the context as text. False: there is none, and nothing was appended.
fn write_context(out: &mut Vec<u8>, answer: &Answer<'_>) -> bool {
    match *answer {
        Answer::Local { context: None, .. } | Answer::Page { .. } => return false,
        Answer::Local { context: Some(token), .. } => {
            write_token(out, token.bytes(), |raw| token.write(raw));
        }
        Answer::Remote(ref reply) if reply.context.is_empty() => return false,
        Answer::Remote(ref reply) => {
            write_token(out, reply.context.len(), |raw| raw.copy_from_slice(reply.context));
        }
    }
    true
}

/// Appends the text of a raw token of `bytes` bytes, which `fill` writes.
fn write_token(out: &mut Vec<u8>, bytes: usize, fill: impl FnOnce(&mut [u8])) {
    let text_bytes = base64url_bytes(bytes);
    encode::bulk_head(out, text_bytes);
    let start = out.len();
    // The raw bytes stand behind their text for a moment.
    out.resize(start + text_bytes + bytes, 0);
    let (text, raw) = out[start..].split_at_mut(text_bytes);
    fill(raw);
    encode_base64url(raw, text);
    out.truncate(start + text_bytes);
    out.extend_from_slice(b"\r\n");
}

/// How a request failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) status: Status,
    pub(super) needed: u8,
    pub(super) got: u8,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Failed {
        let (status, needed, got) = match failure {
            Failure::NoQuorum { needed, got } => (Status::NoQuorum, needed, got),
            Failure::Unavailable { needed, got } => (Status::Unavailable, needed, got),
            Failure::NotCovered => (Status::NotCovered, 0, 0),
            Failure::BadContext => (Status::BadContext, 0, 0),
            Failure::TooLarge => (Status::TooLarge, 0, 0),
            Failure::Siblings => (Status::Siblings, 0, 0),
            Failure::Busy => (Status::Busy, 0, 0),
            Failure::NoSpace => (Status::NoSpace, 0, 0),
            Failure::ReadOnly => (Status::ReadOnly, 0, 0),
            Failure::Damaged => (Status::Damaged, 0, 0),
        };
        Failed { status, needed, got }
    }
}

impl Failed {
    /// Appends the error reply, with the prefixes that README.md lists.
    #[cold]
    pub(super) fn write(self, out: &mut Vec<u8>, writes: bool) {
        let Failed { status, needed, got } = self;
        let text: &[u8] = match status {
            Status::NoQuorum => {
                return encode::error(out, &[format!("NOQUORUM {needed} {got}").as_bytes()]);
            }
            Status::Unavailable if needed == 0 => {
                b"UNAVAILABLE try another node, /ready of this one may say why"
            }
            Status::Unavailable => {
                let name = if writes { 'W' } else { 'R' };
                let text = format!("UNAVAILABLE {name}={needed} nodes={got}");
                return encode::error(out, &[text.as_bytes()]);
            }
            Status::NotCovered => b"UNAVAILABLE no reachable replica covers the context",
            Status::Damaged => b"UNAVAILABLE the copy here is damaged",
            Status::BadContext => BAD_CONTEXT,
            Status::TooLarge => b"TOOLARGE key, value or record over its limit",
            Status::Siblings => b"SIBLINGS too many siblings, or a record too large: resolve them",
            Status::Busy => b"BUSY too much to do, try again",
            Status::NoSpace => {
                b"NOSPACE the log cannot grow: the disk is full, or the node's messages say why"
            }
            Status::ReadOnly => b"READONLY this node takes no writes after a failed sync",
            Status::Malformed | Status::Unsupported | Status::NotPermitted => {
                b"ERR refused by the node that was to coordinate"
            }
            Status::Ok | Status::ConditionFailed => unreachable!("no failures"),
        };
        encode::error(out, &[text]);
    }
}

/// What TTL says of a key that is not there.
const NO_KEY: &[u8] = b":-2\r\n";
/// What TTL says of a value that never expires.
const NO_EXPIRY: &[u8] = b":-1\r\n";
/// The text of every refused token.
pub(super) const BAD_CONTEXT: &[u8] = b"BADCONTEXT not a context of this key and cluster";
/// The text of a node that knows no partitions.
pub(super) const NO_RING: &[u8] = b"UNAVAILABLE this node is in no ring yet";

/// The reply of a command of several keys, while it is at the head of the connection. It grows
/// at the end of the output, from `start` on, and is released when it is whole.
#[derive(Debug, Default)]
pub(super) struct Group {
    open: bool,
    failed: bool,
    start: Mark,
    sum: u64,
}

impl Group {
    /// How much of `out` may be sent.
    #[inline]
    pub(super) fn released(&self, out: &SendBuffer) -> Mark {
        if self.open { self.start } else { out.end() }
    }

    /// Whether a reply is unfinished.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The output before `end` was taken away.
    ///
    /// # Panics
    /// If it was not released.
    pub(super) fn output_taken(&mut self, end: Mark) {
        if self.open {
            self.start = self.start.behind(end);
        }
    }

    /// Puts the reply of one key, which `write` appends to `out`, to the others. The first
    /// error takes the place of everything, and so does one when the whole is larger than
    /// `bytes_max`.
    pub(super) fn put(
        &mut self,
        out: &mut SendBuffer,
        member: Member,
        bytes_max: usize,
        write: impl FnOnce(&mut SendBuffer) -> Outcome,
    ) {
        let whole = member.group.expect("only members of a group are put to it");
        assert_eq!(self.open, member.first_of == 0);
        if member.first_of > 0 {
            *self = Group { open: true, failed: false, start: out.end(), sum: 0 };
            if whole == Whole::Array {
                encode::array(out.tail(), member.first_of as usize);
            }
        }
        let before = out.end();
        let outcome = write(out);
        if self.failed {
            out.truncate(before);
        } else if outcome.failed {
            out.remove(self.start, before);
            self.failed = true;
        } else if out.bytes() - self.start.bytes() > bytes_max {
            out.truncate(self.start);
            let text = b"TOOLARGE reply over its limit, ask for fewer keys";
            encode::error(out.tail(), &[text]);
            self.failed = true;
        }
        self.sum += u64::from(outcome.count);
        if member.last {
            self.close(out.tail(), whole);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>, whole: Whole) {
        if !self.failed {
            match whole {
                Whole::Array => {}
                Whole::Sum => encode::integer(out, self.sum),
                Whole::Ok => out.extend_from_slice(encode::OK),
            }
        }
        self.open = false;
    }
}
