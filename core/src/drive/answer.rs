//! Answers: from records to sessions and REPLY frames.

use super::{Links, To};
use crate::causality::{self, Live, Record, Sibling, VersionVector};
use crate::checksum::Checksum;
use crate::id::RequestId;
use crate::request::{Failure, Origin, Outcome};
use crate::time::UnixMs;
use crate::wire::COVERED_BYTES;
use crate::wire::frame::{Hop, frame_length, write_frame};
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use crate::wire::reply::{Reply, ReplyHead, ReplySibling, ReplyWriter, Status, reply_bytes};
use crate::wire::scan::{Page, PageEntry, PageHead, Scanned};

/// A context that has not been written down yet.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    context_key: &'a [u8; 16],
    key: &'a [u8],
    version_vector: VersionVector<'a>,
}

impl<'a> Token<'a> {
    /// The context of `record`; none if it is not wanted. A key without a record has the empty
    /// context, whose token is empty, too.
    pub fn of(
        wanted: bool,
        context_key: &'a [u8; 16],
        key: &'a [u8],
        record: Option<Record<'a>>,
    ) -> Option<Token<'a>> {
        let version_vector = record?.version_vector();
        wanted.then_some(Token { context_key, key, version_vector })
    }

    /// Length of the raw token.
    pub fn bytes(&self) -> usize {
        causality::token_bytes(self.version_vector.len())
    }

    /// Writes the raw token into `out`, which is [`Token::bytes`] long.
    pub fn write(&self, out: &mut [u8]) {
        let written = causality::encode_token(self.context_key, self.key, self.version_vector, out);
        assert_eq!(written, out.len());
    }
}

/// How a command ended, with what the client may see of it.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Decided here.
    Local {
        /// How it ended.
        outcome: Outcome,
        /// What was read (GET), or the record before the write where that is to be returned.
        record: Option<Live<'a>>,
        /// The context, if it was asked for and may be given.
        context: Option<Token<'a>>,
        /// Live siblings after a write.
        live: u16,
        /// Live siblings that the read before a write found.
        found: u16,
    },
    /// A page of a scan, of which the client sees the keys that are live at that time.
    Page {
        /// The page, its records checked.
        page: Page<'a>,
        /// The time.
        now: UnixMs,
    },
    /// Decided by another shard or node.
    Remote(Reply<'a>),
}

impl Answer<'_> {
    /// A failure.
    pub fn failed(failure: Failure) -> Answer<'static> {
        let outcome = Outcome::Failed(failure);
        Answer::Local { outcome, record: None, context: None, live: 0, found: 0 }
    }
}

/// As the payload of a REPLY: to be sent, or kept until its session can take it.
impl Payload for Answer<'_> {
    /// O(siblings).
    fn bytes(&self) -> usize {
        match self {
            Answer::Remote(reply) => reply.bytes(),
            Answer::Page { page, now } => {
                let (keys, key_bytes) = shown(page, *now)
                    .fold((0, 0), |(keys, bytes), key| (keys + 1, bytes + key.len()));
                reply_bytes(Scanned::BYTES, keys, key_bytes)
            }
            Answer::Local { record, context, .. } => {
                let (siblings, value_bytes) = record.map_or((0, 0), live_bytes);
                reply_bytes(context.map_or(0, |token| token.bytes()), siblings, value_bytes)
            }
        }
    }

    fn write(&self, out: &mut [u8]) {
        self.write_for(0, out);
    }
}

impl Answer<'_> {
    /// As the payload of a REPLY to a request for the key of that order.
    fn write_for(&self, order: u64, out: &mut [u8]) {
        let (outcome, record, context, live, found) = match *self {
            Answer::Remote(mut reply) => {
                reply.head.order = order;
                return reply.write(out);
            }
            Answer::Page { page, now } => return write_page(page, now, out),
            Answer::Local { outcome, record, context, live, found } => {
                (outcome, record, context, live, found)
            }
        };
        let (siblings, _) = record.map_or((0, 0), live_bytes);
        let mut head = ReplyHead { order, ..head(outcome, live, found) };
        if matches!(outcome, Outcome::Got) {
            head.live = siblings as u16;
        }
        let context_bytes = context.map_or(0, |token| token.bytes());
        let mut writer = ReplyWriter::new(&head, context_bytes, siblings as u16, out);
        if let Some(token) = context {
            writer.context(|out| token.write(out));
        }
        if let Some(record) = record {
            record.for_each_winner_first(|sibling| {
                let Sibling { timestamp, expires, value, .. } = sibling;
                writer.sibling(&ReplySibling { timestamp, expires, value });
            });
        }
        writer.finish();
    }
}

/// An answer on its way back, with the order of the key that was asked for.
struct Ordered<'a>(u64, Answer<'a>);

impl Payload for Ordered<'_> {
    fn bytes(&self) -> usize {
        self.1.bytes()
    }

    fn write(&self, out: &mut [u8]) {
        self.1.write_for(self.0, out);
    }
}

/// Gives an answer to whoever waits.
pub(super) fn give<L: Links, C: Checksum>(
    links: &mut L,
    hop: Hop,
    origin: Origin,
    answer: Answer<'_>,
) {
    let (link, request, order) = match origin {
        Origin::Session(ticket) => return links.answer(ticket, answer),
        Origin::Frame { link, request, order } => (link, request, order),
    };
    let hop = Hop { request: RequestId(request), ..hop };
    let bytes = answer.bytes();
    let (answer, bytes) = if COVERED_BYTES + bytes <= Op::Reply.body_bytes_max() {
        (answer, bytes)
    } else {
        let failed = Answer::failed(too_long(&answer));
        (failed, failed.bytes())
    };
    // Who does not get an answer finds out by the deadline or by the lost connection.
    let _lost = links.send(To::Link(link), frame_length(0, bytes), |out| {
        write_frame::<C>(&hop, &[], &Ordered(order, answer), out);
    });
}

/// What is said instead of an answer that fits no frame: of a write that was stored, and should
/// have returned what was there before, nothing that denies it.
fn too_long(answer: &Answer<'_>) -> Failure {
    match answer {
        Answer::Local { outcome: Outcome::Stored(_), .. } => {
            Failure::NoQuorum { needed: 0, got: 0 }
        }
        _ => Failure::Siblings,
    }
}

/// The keys of a page that a client may see.
fn shown<'a>(page: &Page<'a>, now: UnixMs) -> impl Iterator<Item = &'a [u8]> {
    let is_live = move |entry: &PageEntry<'_>| {
        let record = Record::new_checked(entry.record).expect("checked when its page came");
        record.live(now).siblings().next().is_some()
    };
    page.entries().filter(is_live).map(|entry| entry.key)
}

/// A page as the payload of a REPLY: its keys are siblings.
fn write_page(page: Page<'_>, now: UnixMs, out: &mut [u8]) {
    let PageHead { from: order, last, keys, .. } = page.head;
    let count = shown(&page, now).count() as u16;
    let head = ReplyHead { order, live: count, ..ReplyHead::of(Status::Ok) };
    let mut writer = ReplyWriter::new(&head, Scanned::BYTES, count, out);
    writer.context(|out| Scanned { last, keys }.write(out));
    for value in shown(&page, now) {
        writer.sibling(&ReplySibling { timestamp: UnixMs(0), expires: None, value });
    }
    writer.finish();
}

fn live_bytes(record: Live<'_>) -> (usize, usize) {
    let values = record.siblings().map(|sibling| sibling.value.len());
    values.fold((0, 0), |(count, bytes), value_bytes| (count + 1, bytes + value_bytes))
}

fn head(outcome: Outcome, live: u16, found: u16) -> ReplyHead {
    let head = ReplyHead { live, found, ..ReplyHead::of(Status::Ok) };
    match outcome {
        Outcome::Got | Outcome::Stored(_) => head,
        Outcome::ConditionFailed => ReplyHead { status: Status::ConditionFailed, ..head },
        Outcome::Failed(failure) => {
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
            ReplyHead { status, needed, got, ..head }
        }
    }
}
