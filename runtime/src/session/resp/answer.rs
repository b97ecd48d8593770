//! From the answers of single-key requests to replies, and from the replies of a command's keys
//! to the one reply of the command (protocol.md §18).

use super::base64;
use super::encode;
use crate::session::request::{Answer, Failure, Quorum, Reason, Siblings};

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
    /// The winner before the write, or null: GETDEL, SET with GET.
    Old,
    /// Context and every sibling: RM.GET.
    Siblings,
    /// New context and number of siblings: RM.PUT, RM.DEL.
    Written,
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

/// Appends the reply to a request.
#[inline]
pub(super) fn write(out: &mut Vec<u8>, shape: Shape, resp3: bool, answer: &Answer<'_>) -> Outcome {
    match *answer {
        Answer::Got { context, ref siblings } => got(out, shape, resp3, context, siblings),
        Answer::Put { applied, context, live, found, ref old } => match shape {
            Shape::Stored => Outcome::default(),
            Shape::Removed => Outcome { failed: false, count: (found > 0).into() },
            _ => {
                put(out, shape, resp3, Written { applied, context, live }, old);
                Outcome::default()
            }
        },
        Answer::Failed(failure) => {
            write_failure(out, failure);
            Outcome { failed: true, count: 0 }
        }
    }
}

#[inline]
fn got(
    out: &mut Vec<u8>,
    shape: Shape,
    resp3: bool,
    context: &[u8],
    siblings: &Siblings<'_>,
) -> Outcome {
    match shape {
        Shape::Value => encode::bulk_or_null(out, resp3, siblings.winner()),
        Shape::Length => {
            encode::integer(out, siblings.winner().map_or(0, |value| value.len() as u64));
        }
        Shape::Type => {
            encode::simple(out, if siblings.is_empty() { "none" } else { "string" });
        }
        Shape::Exists => return Outcome { failed: false, count: (!siblings.is_empty()).into() },
        Shape::Siblings => {
            encode::array(out, 1 + siblings.len());
            write_token(out, context);
            for value in siblings.iter() {
                encode::bulk(out, value);
            }
        }
        Shape::Removed
        | Shape::Stored
        | Shape::Ok
        | Shape::OkOrNull
        | Shape::Old
        | Shape::Written => unreachable!("a write was answered as a read"),
    }
    Outcome::default()
}

struct Written<'a> {
    applied: bool,
    context: Option<&'a [u8]>,
    live: u16,
}

#[inline]
fn put(out: &mut Vec<u8>, shape: Shape, resp3: bool, written: Written<'_>, old: &Siblings<'_>) {
    match shape {
        Shape::Ok => out.extend_from_slice(encode::OK),
        Shape::OkOrNull if written.applied => out.extend_from_slice(encode::OK),
        Shape::OkOrNull => encode::null(out, resp3),
        Shape::Old => encode::bulk_or_null(out, resp3, old.winner()),
        Shape::Written => {
            encode::array(out, 2);
            match written.context {
                Some(context) => write_token(out, context),
                None => encode::null(out, resp3),
            }
            encode::integer(out, written.live.into());
        }
        Shape::Removed
        | Shape::Stored
        | Shape::Value
        | Shape::Length
        | Shape::Type
        | Shape::Exists
        | Shape::Siblings => unreachable!("a read was answered as a write"),
    }
}

/// A context token as text: `-` for the empty one.
fn write_token(out: &mut Vec<u8>, context: &[u8]) {
    if context.is_empty() {
        return encode::bulk(out, b"-");
    }
    let bytes = base64::text_bytes(context.len());
    encode::bulk_head(out, bytes);
    base64::encode(context, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends the error reply for `failure`, with the prefixes of contract.md §3.
#[cold]
pub(super) fn write_failure(out: &mut Vec<u8>, failure: Failure) {
    let text: &[u8] = match failure {
        Failure::NoQuorum { needed, got } => {
            return encode::error(out, &[format!("NOQUORUM {needed} {got}").as_bytes()]);
        }
        Failure::TooFewNodes { quorum, needed, nodes } => {
            let name = match quorum {
                Quorum::R => "R",
                Quorum::Pr => "PR",
                Quorum::W => "W",
                Quorum::Pw => "PW",
                Quorum::Dw => "DW",
            };
            let text = format!("UNAVAILABLE {name}={needed} nodes={nodes}");
            return encode::error(out, &[text.as_bytes()]);
        }
        Failure::Unavailable(Reason::NoRing) => b"UNAVAILABLE this node is in no ring yet",
        Failure::Unavailable(Reason::Stopping) => b"UNAVAILABLE this node is stopping",
        Failure::Unavailable(Reason::Damaged) => b"UNAVAILABLE the copy here is damaged",
        Failure::Unavailable(Reason::NoCoordinator) => {
            b"UNAVAILABLE no owner or fallback can be reached"
        }
        Failure::Unavailable(Reason::Behind) => {
            b"UNAVAILABLE no reachable replica covers the context"
        }
        Failure::BadContext => BAD_CONTEXT,
        Failure::TooLarge => b"TOOLARGE key or value over its limit",
        Failure::Siblings => b"SIBLINGS too many siblings, or a record too large: resolve them",
        Failure::Busy => b"BUSY too much to do, try again",
        Failure::NoSpace => b"NOSPACE the disk is full",
        Failure::ReadOnly => b"READONLY this node takes no writes after a failed sync",
    };
    encode::error(out, &[text]);
}

/// The text of every refused token.
pub(super) const BAD_CONTEXT: &[u8] = b"BADCONTEXT not a context of this key and cluster";

/// The reply of a command of several keys, while it is at the head of the connection. It grows
/// at the end of the output, from `start` on, and is released when it is whole.
#[derive(Debug, Default)]
pub(super) struct Group {
    open: bool,
    failed: bool,
    start: usize,
    sum: u64,
}

impl Group {
    /// How many bytes of `out` may be sent.
    #[inline]
    pub(super) fn released(&self, out: &[u8]) -> usize {
        if self.open { self.start } else { out.len() }
    }

    /// Whether a reply is unfinished.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The first `bytes` of the output were taken away.
    ///
    /// # Panics
    /// If they were not released.
    pub(super) fn output_taken(&mut self, bytes: usize) {
        if self.open {
            assert!(bytes <= self.start);
            self.start -= bytes;
        }
    }

    /// Puts the reply of one key, which `write` appends to `out`, to the others. The first
    /// error takes the place of everything, and so does one when the whole is larger than
    /// `bytes_max`.
    pub(super) fn put(
        &mut self,
        out: &mut Vec<u8>,
        member: Member,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Outcome,
    ) {
        let whole = member.group.expect("only members of a group are put to it");
        assert_eq!(self.open, member.first_of == 0);
        if member.first_of > 0 {
            *self = Group { open: true, failed: false, start: out.len(), sum: 0 };
            if whole == Whole::Array {
                encode::array(out, member.first_of as usize);
            }
        }
        let before = out.len();
        let outcome = write(out);
        if self.failed {
            out.truncate(before);
        } else if outcome.failed {
            out.drain(self.start..before);
            self.failed = true;
        } else if out.len() - self.start > bytes_max {
            out.truncate(self.start);
            encode::error(out, &[b"TOOLARGE reply over its limit, ask for fewer keys"]);
            self.failed = true;
        }
        self.sum += u64::from(outcome.count);
        if member.last {
            self.close(out, whole);
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
