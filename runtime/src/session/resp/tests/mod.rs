//! A model of a node behind the seam, and a client that cuts what it sends.

mod codecs;
mod garbage;
mod golden;
mod limits;
mod oracle;
mod order;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ringmain_core::id::Partition;
use ringmain_core::prng::Prng;

use super::{Limits, Next, RespSession, context, inline};
use crate::session::request::{
    Answer, Condition, Failure, InfoLines, Request, Requests, Role, Section, Siblings, Source,
    Submitted, Ticket,
};

const LIMITS: Limits = Limits { key_bytes_max: 64, value_bytes_max: 300, reply_bytes_max: 4096 };
const CONNECTION: u64 = 9;

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

/// One sibling: its number among all writes of its key, and its value.
type Versions = Vec<(u64, Vec<u8>)>;

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
        r: Option<u8>,
        pr: Option<u8>,
        context: Option<Vec<u8>>,
    },
    Put {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
        token: Option<Vec<u8>>,
        condition: Condition,
        counts: [Option<u8>; 3],
    },
}

/// An answer that can wait.
#[derive(Clone, Debug)]
enum Kept {
    Got { context: Vec<u8>, live: Versions },
    Put { applied: bool, context: Option<Vec<u8>>, live: u16, old: Versions },
    Failed(Failure),
}

impl Kept {
    /// The answer, for ever: a test is short.
    fn leak(self) -> Answer<'static> {
        match self {
            Kept::Got { context, live } => {
                Answer::Got { context: context.leak(), siblings: leak(live) }
            }
            Kept::Put { applied, context, live, old } => {
                let context = context.map(|context| &*context.leak());
                let found = old.len() as u16;
                Answer::Put { applied, context, live, found, old: leak(old) }
            }
            Kept::Failed(failure) => Answer::Failed(failure),
        }
    }
}

fn leak(live: Versions) -> Siblings<'static> {
    let values: Vec<&[u8]> = live.into_iter().map(|(_, value)| &*value.leak()).collect();
    match values.len() {
        0 => Siblings::None,
        count => Siblings::Values { values: values.leak(), winner: count - 1 },
    }
}

/// Behind the seam.
struct Model {
    speed: Speed,
    prng: Prng,
    keys: BTreeMap<Vec<u8>, Entry>,
    submitted: Vec<Owned>,
    waiting: Vec<(Ticket, Result<Kept, Owned>)>,
}

impl Model {
    fn new(speed: Speed, seed: u64) -> Model {
        Model {
            speed,
            prng: Prng::new(seed),
            keys: BTreeMap::new(),
            submitted: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Keys whose name begins with `fail-` fail, in the way that the rest of the name says.
    fn apply(&mut self, request: &Owned) -> Kept {
        let (Owned::Get { key, .. } | Owned::Put { key, .. }) = request;
        if let Some(name) = key.strip_prefix(b"fail-") {
            return Kept::Failed(golden::failure(name));
        }
        let entry = self.keys.entry(key.clone()).or_default();
        let token = |entry: &Entry| match entry.seen {
            0 => Vec::new(),
            seen => seen.to_be_bytes().to_vec(),
        };
        match request {
            Owned::Get { .. } => Kept::Got { context: token(entry), live: entry.live.clone() },
            Owned::Put { value, token: given, condition, .. } => {
                let old = entry.live.clone();
                let applied = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => old.is_empty(),
                    Condition::IfPresent => !old.is_empty(),
                };
                if applied {
                    let covered = given.as_ref().map_or(entry.seen, |token| match token.len() {
                        8 => u64::from_be_bytes(token[..].try_into().unwrap()),
                        _ => 0,
                    });
                    entry.seen += 1;
                    entry.live.retain(|&(number, _)| number > covered);
                    let rest = entry.live.len();
                    entry.live.extend(value.iter().map(|value| (entry.seen, value.clone())));
                    let context = (rest == 0).then(|| token(entry));
                    let live = entry.live.len() as u16;
                    return Kept::Put { applied, context, live, old };
                }
                Kept::Put { applied, context: None, live: old.len() as u16, old }
            }
        }
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

fn owned(request: Request<'_>) -> Owned {
    match request {
        Request::Get { key, r, pr, context, .. } => {
            Owned::Get { key: key.into(), r, pr, context: context.map(Into::into) }
        }
        Request::Put { key, value, context, condition, w, pw, dw, .. } => Owned::Put {
            key: key.into(),
            value: value.map(Into::into),
            token: match context {
                Source::Token(token) => Some(token.into()),
                Source::Local | Source::ReadFirst => None,
            },
            condition,
            counts: [w, pw, dw],
        },
    }
}

impl Requests for Model {
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submitted<'_> {
        assert_eq!(ticket.connection, CONNECTION);
        let request = owned(request);
        self.submitted.push(request.clone());
        let speed = match self.speed {
            Speed::Mixed => [Speed::Now, Speed::Later, Speed::InOrder][self.prng.below(3) as usize],
            speed => speed,
        };
        match speed {
            Speed::Later => {
                self.waiting.push((ticket, Err(request)));
                Submitted::Later
            }
            Speed::InOrder => {
                let kept = self.apply(&request);
                self.waiting.push((ticket, Ok(kept)));
                Submitted::LaterInOrder
            }
            Speed::Now | Speed::Mixed => Submitted::Done(self.apply(&request).leak()),
        }
    }

    fn partition_count(&self) -> u32 {
        2
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
        let mut buffer = Vec::new();
        self.session.take_output(&mut buffer);
        self.received.extend_from_slice(&buffer);
        !buffer.is_empty()
    }

    /// Everything that the connection received, after the last answer.
    fn finish(mut self) -> Vec<u8> {
        while self.model.answer_one(&mut self.session) {}
        self.send(b"");
        while self.model.answer_one(&mut self.session) {}
        self.take();
        assert_eq!(self.session.pending(), 0);
        self.received
    }
}

/// Most bytes that a session may ask for: the arguments of the largest command.
const NEED_BYTES_MAX: usize = 16 * (context::TOKEN_TEXT_BYTES_MAX + 16);

/// `arguments` as a client library sends them.
fn resp(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A line of words as a client library sends it.
fn words(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    resp(&words)
}

/// Bytes for people; `|` is the end of a line.
fn show(bytes: &[u8]) -> String {
    let show = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    };
    bytes.iter().map(show).collect::<String>().replace("\\r\\n", "|")
}

/// Asserts that two long texts are the same, and shows only where they differ.
fn assert_same(got: &[u8], expected: &[u8], about: &str) {
    let same = got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
    let around = |bytes: &[u8]| show(&bytes[same.saturating_sub(40)..bytes.len().min(same + 40)]);
    assert!(got == expected, "{about}: got {}, not {}", around(got), around(expected));
}
