//! One connection of a router to one shard of a node: what it waits for, and what waits for it.

use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use ringmain_core::id::{NodeId, RequestId, ShardIndex, TopologyId};
use ringmain_core::prng::Prng;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::{Hop, stamp_frames};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;

use crate::checksum::Hardware;
use crate::session::native::dialer::Backoff;
use crate::session::native::frames::{FRAME_BYTES_MAX, FrameReader, append_frame};

/// The life of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Not to be dialed before that time, if there is one.
    Resting(Option<Instant>),
    /// Dialed then, and not connected yet.
    Dialing(Instant),
    /// Connected; it waits for HELLO_REPLY, since it was dialed.
    Greeting(Instant),
    /// It stands.
    Ready,
}

/// A frame without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) slot: usize,
    /// Where it begins in all that was ever put into the output.
    at: u64,
}

/// Output of a link above which nothing more is put into it, bytes.
const OUT_BYTES_STOP: usize = 4 << 20;
/// Memory of an output buffer that is kept, bytes.
const OUT_BYTES_KEPT: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) shard: ShardIndex,
    /// Whose; `None`: of a seed that has not said it yet.
    pub(super) node: Option<NodeId>,
    pub(super) state: State,
    /// How often it was dialed: what belongs to an earlier connection is stale.
    pub(super) dials: u32,
    backoff: Backoff,
    /// Lent out while it reads.
    pub(super) reader: Option<FrameReader<Hardware>>,
    /// What both ends speak.
    pub(super) version: u8,
    pub(super) digest: u64,
    out: Vec<u8>,
    /// All that was taken out of the output, bytes.
    taken_bytes: u64,
    /// The shell was told that there is output.
    is_flagged: bool,
    pub(super) sent: AHashMap<u32, Sent>,
    /// Requests that are sent once it stands.
    pub(super) queue: Vec<usize>,
    numbers: u32,
    /// Frames that were sent and not answered, given up or not.
    unanswered: u32,
    /// Since when there has been one, and nothing has come.
    waits_since: Option<Instant>,
    /// The number of a ROUTES without an answer.
    pub(super) routes_number: Option<u32>,
}

impl Link {
    pub(super) fn new(address: SocketAddr, shard: ShardIndex, node: Option<NodeId>) -> Link {
        Link {
            address,
            shard,
            node,
            state: State::Resting(None),
            dials: 0,
            backoff: Backoff::default(),
            reader: None,
            version: 0,
            digest: 0,
            out: Vec::new(),
            taken_bytes: 0,
            is_flagged: false,
            sent: AHashMap::new(),
            queue: Vec::new(),
            numbers: 0,
            unanswered: 0,
            waits_since: None,
            routes_number: None,
        }
    }

    /// It is to be dialed.
    pub(super) fn dial(&mut self, now: Instant) {
        assert!(matches!(self.state, State::Resting(_)));
        self.state = State::Dialing(now);
        self.dials += 1;
    }

    /// It is connected: what it says first is `hello`.
    pub(super) fn greet(&mut self, hop: &Hop, hello: &impl Payload) {
        let State::Dialing(since) = self.state else { panic!("it was not dialed") };
        self.state = State::Greeting(since);
        self.reader = Some(FrameReader::new(FRAME_BYTES_MAX));
        append_frame::<Hardware>(&mut self.out, hop, hello);
    }

    /// Its node has answered.
    pub(super) fn stand(&mut self, version: u8, digest: u64) {
        self.state = State::Ready;
        (self.version, self.digest) = (version, digest);
        self.backoff.on_success();
    }

    /// It is gone. What was in flight and what waited is the caller's to take first.
    ///
    /// # Panics
    /// If anything still does.
    pub(super) fn rest(&mut self, now: Instant, prng: &mut Prng) {
        assert!(self.sent.is_empty());
        assert!(self.queue.is_empty());
        self.state = State::Resting(Some(now + self.backoff.on_failure(prng)));
        self.reader = None;
        self.taken_bytes += self.out.len() as u64;
        self.out = Vec::new();
        (self.is_flagged, self.unanswered, self.waits_since) = (false, 0, None);
        self.routes_number = None;
    }

    /// Whether it takes requests now.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Ready && self.out.len() <= OUT_BYTES_STOP
    }

    /// How long it has answered nothing of what it was asked.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        self.waits_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long it has been dialed, if it does not stand.
    pub(super) fn age(&self, now: Instant) -> Duration {
        match self.state {
            State::Dialing(since) | State::Greeting(since) => now.saturating_duration_since(since),
            State::Resting(_) | State::Ready => Duration::ZERO,
        }
    }

    /// Bytes came: of a long answer, perhaps.
    pub(super) fn hear(&mut self, now: Instant) {
        self.waits_since = self.waits_since.map(|_| now);
    }

    /// An answer came.
    pub(super) fn hear_answer(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.waits_since = self.waits_since.filter(|_| self.unanswered > 0);
    }

    /// Puts the frame of a request into the output; says its number.
    pub(super) fn send(&mut self, op: Op, body: &[u8], deadline_ms: u16, now: Instant) -> u32 {
        let hop = self.hop(op, deadline_ms, now);
        let begin = self.out.len();
        self.out.resize(begin + FIRST_BYTES, 0);
        hop.write(body.len(), &mut self.out[begin..]);
        self.out.extend_from_slice(body);
        stamp_frames(&mut self.out[begin..], self.version, 0);
        hop.request.0
    }

    /// Asks for routes; `known` is what is known.
    pub(super) fn ask_routes(&mut self, payload: &impl Payload, now: Instant) {
        let hop = self.hop(Op::Routes, 0, now);
        let begin = self.out.len();
        append_frame::<Hardware>(&mut self.out, &hop, payload);
        stamp_frames(&mut self.out[begin..], self.version, 0);
        self.routes_number = Some(hop.request.0);
    }

    fn hop(&mut self, op: Op, deadline_ms: u16, now: Instant) -> Hop {
        // 0 names the frames of the handshake.
        self.numbers = self.numbers.wrapping_add(1).max(1);
        self.unanswered += 1;
        self.waits_since.get_or_insert(now);
        Hop {
            op,
            request: RequestId(self.numbers),
            deadline_ms,
            sent_ms: 0,
            topology: TopologyId(0),
            cluster_digest: self.digest,
        }
    }

    /// The frame that was just put into the output is one of request `slot`.
    pub(super) fn note(&mut self, number: u32, slot: usize, frame_bytes: usize) {
        let at = self.taken_bytes + (self.out.len() - frame_bytes) as u64;
        self.sent.insert(number, Sent { slot, at });
    }

    /// Whether none of that frame has left.
    pub(super) fn is_unsent(&self, sent: &Sent) -> bool {
        sent.at >= self.taken_bytes
    }

    /// Whether the shell has to be told now that there is output.
    pub(super) fn flag(&mut self) -> bool {
        !self.out.is_empty() && !mem::replace(&mut self.is_flagged, true)
    }

    /// Takes the output, in exchange for an empty buffer.
    ///
    /// # Panics
    /// If `buffer` is not empty.
    pub(super) fn take_output(&mut self, buffer: &mut Vec<u8>) {
        assert!(buffer.is_empty());
        if buffer.capacity() > OUT_BYTES_KEPT {
            *buffer = Vec::new();
        }
        self.taken_bytes += self.out.len() as u64;
        mem::swap(&mut self.out, buffer);
        self.is_flagged = false;
    }
}
