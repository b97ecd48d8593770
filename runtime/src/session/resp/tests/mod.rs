//! A model of a node behind the seam, and a client that cuts what it sends.

mod ahead;
mod codecs;
mod garbage;
mod golden;
mod limits;
mod oracle;
mod order;
mod scan;
mod short;
mod text;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringmain_core::causality::{
    Actor, Dot, EXPIRES, Record, Sibling, TOMBSTONE, VersionVector, encode_record, record_bytes,
};
use ringmain_core::drive::{Answer, Command};
use ringmain_core::id::{Boot, NodeId, Partition};
use ringmain_core::prng::Prng;
use ringmain_core::records::{Applied, Place};
use ringmain_core::request::{Failure, Outcome};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::put::{Condition, Content, Replaces};
use ringmain_core::wire::reply::{
    Reply, ReplyHead, ReplySibling, ReplyWriter, Status, reply_bytes,
};
use ringmain_core::wire::scan::ScanRequest;

use super::{Limits, Next, RespSession, context, inline};
use crate::session::request::{
    EXPECTED_COUNT_MAX, InfoLines, Lend, Requests, Role, Room, Section, Submitted, Ticket,
};
use crate::sys::tests::Lender;
use crate::sys::{MapPart, SendBuffer};
use text::{assert_same, resp, show, words};

const LIMITS: Limits = Limits { key_bytes_max: 64, value_bytes_max: 300, reply_bytes_max: 4096 };
const CONNECTION: u32 = 9;

/// When the model answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speed {
    /// At once.
    Now,
    /// When [`Model::answer_one`] picks it; it takes effect then.
    Later,
    /// The same, but it takes effect at once.
    InOrder,
    /// Any of them, at random.
    Mixed,
}

/// What the clock shows all the time.
const NOW: UnixMs = UnixMs(1_000_000);

/// One sibling: its number among all writes of its key, its value, and when that expires.
type Versions = Vec<(u64, Vec<u8>, Option<UnixMs>)>;

/// A key: how many writes it saw, and what is live. A context is the number of writes seen.
#[derive(Clone, Debug, Default)]
struct Entry {
    seen: u64,
    live: Versions,
}

/// A request as it was submitted.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Owned {
    Get {
        key: Vec<u8>,
        r: [u8; 2],
        context: Vec<u8>,
        want_context: bool,
    },
    Put {
        key: Vec<u8>,
        content: Content<'static>,
        /// `None`: what is known.
        token: Option<Vec<u8>>,
        condition: Condition,
        w: [u8; 3],
        want_context: bool,
    },
    Scan(ScanRequest),
}

/// An answer that can wait.
#[derive(Clone, Debug)]
enum Kept {
    Got { context: Vec<u8>, live: Versions },
    Put { applied: bool, context: Vec<u8>, live: u16, old: Versions },
    Failed(Failure),
    Refused(Status),
    Page(Vec<u8>),
}

impl Kept {
    /// The answer, for ever: a test is short. What has a context, and that a key is missing, is
    /// the reply of another node, the rest is the answer of this one.
    fn leak(self) -> Answer<'static> {
        match self {
            Kept::Got { context, live } if context.is_empty() => {
                let record = Some(record(&live).live(NOW));
                let outcome = Outcome::Got;
                Answer::Local { outcome, record, context: None, live: 0, found: 0 }
            }
            Kept::Got { context, live } => remote(ReplyHead::of(Status::Ok), &context, &live),
            Kept::Put { applied, context, live, old }
                if context.is_empty() && (applied || !old.is_empty()) =>
            {
                let stored =
                    Applied { place: Place(0), live, sole: false, minted: false, entries: 1 };
                let outcome =
                    if applied { Outcome::Stored(stored) } else { Outcome::ConditionFailed };
                let found = old.len() as u16;
                let record = (found > 0).then(|| record(&old).live(NOW));
                Answer::Local { outcome, record, context: None, live, found }
            }
            Kept::Put { applied, context, live, old } => {
                let status = if applied { Status::Ok } else { Status::ConditionFailed };
                let found = old.len() as u16;
                remote(ReplyHead { live, found, ..ReplyHead::of(status) }, &context, &old)
            }
            Kept::Failed(failure) => Answer::failed(failure),
            Kept::Page(payload) => Answer::Remote(Reply::new_checked(payload.leak()).unwrap()),
            Kept::Refused(status) => remote(ReplyHead::of(status), &[], &Versions::new()),
        }
    }
}

/// A record of one actor, with a tombstone that nobody must see beside several values or none.
fn record(live: &Versions) -> Record<'static> {
    let actor = Actor::new(NodeId(1), Boot(1), 1);
    let sibling = |number: u64, flags, expires, value| Sibling {
        dot: Dot::new(actor, number as u32 + 1),
        flags,
        timestamp: UnixMs(if flags == TOMBSTONE { u64::MAX } else { number }),
        expires,
        value,
    };
    let deleted = sibling(0, TOMBSTONE, None, &[]);
    let live = live.iter().map(|(number, value, expires)| {
        let flags = if expires.is_some() { EXPIRES } else { 0 };
        sibling(*number, flags, *expires, value)
    });
    let mut siblings: Vec<Sibling<'_>> = live.collect();
    if siblings.len() != 1 {
        siblings.insert(0, deleted);
    }
    let seen = [siblings[siblings.len() - 1].dot.to_bytes()].concat();
    let version_vector = VersionVector::from_bytes(&seen).unwrap();
    let mut bytes = vec![0; record_bytes(version_vector, &siblings)];
    encode_record(version_vector, &siblings, &mut bytes);
    Record::new_checked(bytes.leak()).unwrap()
}

fn remote(head: ReplyHead, context: &[u8], live: &Versions) -> Answer<'static> {
    let value_bytes = live.iter().map(|(_, value, _)| value.len()).sum();
    let mut bytes = vec![0; reply_bytes(context.len(), live.len(), value_bytes)];
    let mut writer = ReplyWriter::new(&head, context.len(), live.len() as u16, &mut bytes);
    writer.context(|out| out.copy_from_slice(context));
    for &(number, ref value, expires) in live.iter().rev() {
        writer.sibling(&ReplySibling { timestamp: UnixMs(number), expires, value });
    }
    writer.finish();
    Answer::Remote(Reply::new_checked(bytes.leak()).unwrap())
}

/// Behind the seam.
struct Model {
    speed: Speed,
    prng: Prng,
    keys: BTreeMap<Vec<u8>, Entry>,
    submitted: Vec<Owned>,
    waiting: Vec<(Ticket, Result<Kept, Owned>)>,
    /// How long it says that answers will be which come later.
    later_bytes: usize,
    /// What the shard has room for.
    room: Room,
    /// Keys that were named ahead.
    expected: RefCell<Vec<Vec<u8>>>,
    /// How many there are.
    partitions: u32,
    /// Scans of these partitions fail.
    unread: Vec<u16>,
    /// Made for the first value that is lent.
    lender: OnceCell<Lender>,
}

impl Model {
    fn new(speed: Speed, seed: u64) -> Model {
        Model {
            speed,
            prng: Prng::new(seed),
            keys: BTreeMap::new(),
            submitted: Vec::new(),
            waiting: Vec::new(),
            later_bytes: 0,
            room: Room::default(),
            expected: RefCell::default(),
            partitions: 2,
            unread: Vec::new(),
            lender: OnceCell::new(),
        }
    }

    /// Keys whose name begins with `fail-` fail, in the way that the rest of the name says.
    fn apply(&mut self, request: &Owned) -> Kept {
        let (Owned::Get { key, .. } | Owned::Put { key, .. }) = request else {
            let Owned::Scan(scan) = request else { unreachable!("what has no key is a scan") };
            return self.page(*scan);
        };
        if let Some(name) = key.strip_prefix(b"fail-") {
            return golden::failure(name);
        }
        let entry = self.keys.entry(key.clone()).or_default();
        let (Owned::Get { want_context, .. } | Owned::Put { want_context, .. }) = request else {
            unreachable!("a scan has no key")
        };
        let token = |entry: &Entry| match entry.seen {
            seen if seen > 0 && *want_context => seen.to_be_bytes().to_vec(),
            _ => Vec::new(),
        };
        let Owned::Put { content, token: given, condition, .. } = request else {
            return Kept::Got { context: token(entry), live: entry.live.clone() };
        };
        let old = entry.live.clone();
        let end = content.expires();
        let applied = match condition {
            Condition::Always => true,
            Condition::IfAbsent => old.is_empty(),
            Condition::IfPresent => !old.is_empty(),
            Condition::IfExpires => old.iter().any(|old| old.2.is_some()),
            Condition::IfLasting => !old.is_empty() && old.iter().all(|old| old.2.is_none()),
            Condition::IfLater => old.iter().any(|old| old.2.is_some_and(|at| end > Some(at))),
            Condition::IfEarlier => old.iter().any(|old| old.2.is_none_or(|at| end < Some(at))),
        };
        if !applied {
            return Kept::Put { applied, context: vec![], live: old.len() as u16, old };
        }
        let covered = given.as_ref().map_or(entry.seen, |token| match token.len() {
            8 => u64::from_be_bytes(token[..].try_into().unwrap()),
            _ => 0,
        });
        entry.seen += 1;
        entry.live.retain(|version| version.0 > covered);
        let rest = entry.live.len();
        entry.live.extend(match *content {
            Content::Tombstone => vec![],
            Content::Value { expires, value } => vec![(entry.seen, value.to_vec(), expires)],
            Content::ValueOnly { value } => {
                let expires = old.last().and_then(|winner| winner.2);
                vec![(entry.seen, value.to_vec(), expires)]
            }
            Content::ExpiryOnly { expires } => {
                old.iter().map(|old| (old.0, old.1.clone(), expires)).collect()
            }
        });
        entry.live.retain(|version| version.2.is_none_or(|at| at > NOW));
        let context = if rest == 0 { token(entry) } else { vec![] };
        Kept::Put { applied, context, live: entry.live.len() as u16, old }
    }

    /// Lends most values of what it answers at once: the rest is copied.
    fn lend(&self, value: &[u8]) -> Option<MapPart> {
        (value.len() % 4 != 1).then(|| self.lender.get_or_init(Lender::new).lend(value))
    }

    /// Answers one waiting request, picked at random. False: none waits.
    fn answer_one(&mut self, session: &mut RespSession) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let index = self.prng.below(self.waiting.len() as u64) as usize;
        let (ticket, waiting) = self.waiting.remove(index);
        let kept = waiting.unwrap_or_else(|request| self.apply(&request));
        let answer = kept.leak();
        assert!(session.answer(ticket, answer));
        assert!(!session.answer(ticket, answer), "answered twice");
        true
    }
}

fn owned(key: &[u8], command: Command<'_>) -> Owned {
    let key = key.to_vec();
    match command {
        Command::Get(get) => {
            let want_context = get.want_context;
            Owned::Get { key, r: [get.r, get.pr], context: get.context.into(), want_context }
        }
        Command::Scan(scan) => {
            assert!(key.is_empty());
            Owned::Scan(scan)
        }
        Command::Put(put) => {
            let (token, condition) = match put.replaces {
                Replaces::Given(token) => (Some(token.into()), Condition::Always),
                Replaces::Local => (None, Condition::Always),
                Replaces::ReadFirst { condition, .. } => (None, condition),
            };
            // For ever: a test is short.
            let leak = |value: &[u8]| &*value.to_vec().leak();
            let content = match put.content {
                Content::Tombstone => Content::Tombstone,
                Content::Value { expires, value } => Content::Value { expires, value: leak(value) },
                Content::ValueOnly { value } => Content::ValueOnly { value: leak(value) },
                Content::ExpiryOnly { expires } => Content::ExpiryOnly { expires },
            };
            let want_context = put.want_context;
            Owned::Put { key, content, token, condition, w: [put.w, put.pw, put.dw], want_context }
        }
    }
}

impl Requests for Model {
    fn wall(&self) -> UnixMs {
        NOW
    }

    fn room(&self) -> Room {
        self.room
    }

    fn expect(&self, keys: &[&[u8]]) {
        assert!((2..=EXPECTED_COUNT_MAX).contains(&keys.len()));
        self.expected.borrow_mut().extend(keys.iter().map(|key| key.to_vec()));
    }

    fn submit(
        &mut self,
        ticket: Ticket,
        key: &[u8],
        command: Command<'_>,
        answer: &mut dyn FnMut(Answer<'_>, &Lend<'_>),
    ) -> Submitted {
        assert_eq!(ticket.connection, CONNECTION);
        assert_eq!(Ticket::from_number(ticket.number()), ticket);
        let request = owned(key, command);
        self.submitted.push(request.clone());
        let speed = match self.speed {
            Speed::Mixed => [Speed::Now, Speed::Later, Speed::InOrder][self.prng.below(3) as usize],
            speed => speed,
        };
        match speed {
            Speed::Later => {
                self.waiting.push((ticket, Err(request)));
                Submitted::Later { bytes: self.later_bytes }
            }
            Speed::InOrder => {
                let kept = self.apply(&request);
                self.waiting.push((ticket, Ok(kept)));
                Submitted::LaterInOrder
            }
            Speed::Now | Speed::Mixed => {
                let kept = self.apply(&request).leak();
                answer(kept, &|value| self.lend(value));
                Submitted::Done
            }
        }
    }

    fn partition_count(&self) -> u32 {
        self.partitions
    }

    fn partition(&self, key: &[u8]) -> Partition {
        Partition(key.len() as u16 % 2)
    }

    fn placement(&self, partition: Partition, each: &mut dyn FnMut(Role, SocketAddr)) {
        let node = |last: u16| SocketAddr::from(([127, 0, 0, last as u8], 7379));
        each(Role::Owner, node(1 + partition.0));
        each(Role::Owner, node(2 - partition.0));
        each(Role::Fallback, node(3));
    }

    fn info(&self, section: Section, lines: &mut InfoLines<'_>) {
        match section {
            Section::Server => lines.line("tcp_port", 7379),
            Section::Keyspace => lines.line("keys", self.keys.len()),
            _ => {}
        }
    }

    fn config(&self, each: &mut dyn FnMut(&str, &str)) {
        each("appendonly", "yes");
        each("maxmemory", "0");
        each("save", "");
    }
}

/// One connection to a model.
struct Client {
    session: RespSession,
    model: Model,
    /// What the session has not consumed.
    rest: Vec<u8>,
    received: Vec<u8>,
    closed: bool,
    /// Answer only when the session cannot go on without, else at random moments too.
    patient: bool,
}

impl Client {
    fn new(speed: Speed, seed: u64) -> Client {
        let session = RespSession::new(CONNECTION, LIMITS);
        Client {
            session,
            model: Model::new(speed, seed),
            rest: Vec::new(),
            received: Vec::new(),
            closed: false,
            patient: false,
        }
    }

    fn send(&mut self, piece: &[u8]) {
        if self.closed {
            return;
        }
        self.rest.extend_from_slice(piece);
        loop {
            let progress = self.session.receive(&self.rest, &mut self.model);
            assert!(progress.consumed <= self.rest.len());
            self.rest.drain(..progress.consumed);
            let took = self.take();
            match progress.next {
                Next::Bytes(bytes) => {
                    assert!(bytes > self.rest.len(), "asks for what is there");
                    assert!(bytes <= inline::LINE_BYTES_MAX + 1 || bytes <= NEED_BYTES_MAX);
                    if !self.patient && self.model.prng.chance(50) {
                        self.model.answer_one(&mut self.session);
                    }
                    break;
                }
                Next::Wait => {
                    let answered = self.model.answer_one(&mut self.session);
                    assert!(answered || took, "waits for nothing");
                }
                Next::Close => {
                    assert!(self.rest.is_empty());
                    self.closed = true;
                    break;
                }
            }
        }
        self.take();
    }

    fn take(&mut self) -> bool {
        let mut buffer = SendBuffer::default();
        self.session.take_output(&mut buffer);
        self.received.extend_from_slice(&buffer.to_vec());
        !buffer.is_empty()
    }

    /// Everything that the connection received, after the last answer.
    fn finish(mut self) -> Vec<u8> {
        while self.model.answer_one(&mut self.session) {}
        self.send(b"");
        while self.model.answer_one(&mut self.session) {}
        self.take();
        assert_eq!(self.session.pending(), 0);
        let Client { session, model, received, .. } = self;
        // An unfinished command of several keys may hold some.
        drop(session);
        assert!(model.lender.get().is_none_or(|lender| lender.lent_count() == 0));
        received
    }
}

/// Most bytes that a session may ask for: the arguments of the largest command.
const NEED_BYTES_MAX: usize = 16 * (context::TOKEN_TEXT_BYTES_MAX + 16);
