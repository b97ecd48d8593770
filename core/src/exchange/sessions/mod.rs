//! The exchanges of one shard: those that it asks for by its [`Schedule`], and those that it
//! answers; which of them goes on, and how fast. Of a partition there is one at a time, asking or
//! answering: two owners at once would both send an empty copy all of it.
//!
//! Each goes on one step at a time, in turn, and only as fast as its [`Pace`] allows: what is sent
//! is paid for, and so is what is listed. A session is found by the number of its frames: an asking
//! one by that which this shard gave it, an answering one by that which the link's other end gave.

mod slot;
mod turns;

pub use slot::{Answering, Asking};

use slot::Slot;

use slot::Later;

use core::ops::RangeInclusive;
use core::time::Duration;

use heapless::Vec;

use super::{Config, Held, Machine, Pair, Parties, Schedule, Sent, Step, Versions};
use crate::id::{NodeId, Partition, TopologyId};
use crate::limits::{
    EXCHANGE_ANSWERING_COUNT_MAX, EXCHANGE_ASKING_COUNT_MAX, EXCHANGE_BULK_KEYS_MIN,
    EXCHANGE_BURST_BYTES, EXCHANGE_BYTES_PER_SECOND, EXCHANGE_DIFFERENCE_COUNT_MAX,
    EXCHANGE_FETCH_COUNT, EXCHANGE_FETCH_PAUSE, EXCHANGE_INTERVAL, EXCHANGE_SILENCE,
    EXCHANGE_WINDOW_BYTES,
};
use crate::pace::Pace;
use crate::request::Link;
use crate::ring::Rings;
use crate::time::Instant;
use crate::wire::exchange::{EndReason, Entry};
use crate::wire::message::Message;

/// What a shard is told about its exchanges.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Every pair of owners of a partition has one once per interval: at least a millisecond.
    pub interval: Duration,
    /// How long a write may be in flight: the longest deadline of a request.
    pub request_timeout: Duration,
    /// Random, for when which pair has its turn.
    pub seed: u64,
}

impl Default for Settings {
    /// The default interval, and requests of a second.
    fn default() -> Settings {
        let (interval, request_timeout) = (EXCHANGE_INTERVAL, Duration::from_secs(1));
        Settings { interval, request_timeout, seed: 0 }
    }
}

impl Settings {
    /// The bounds of each exchange.
    pub fn config(&self) -> Config {
        Config {
            recheck: 2 * self.request_timeout,
            silence: EXCHANGE_SILENCE,
            window_bytes: EXCHANGE_WINDOW_BYTES as u32,
            bulk_keys_min: EXCHANGE_BULK_KEYS_MIN,
            difference_count_max: EXCHANGE_DIFFERENCE_COUNT_MAX,
        }
    }
}

/// The memory of a shard's exchanges, lent once. With none for sessions there are no exchanges.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Partitions of the shard × (2 × N - 1): two topologies may be in force.
    pub pairs: &'a mut [Pair],
    /// At most `limits::EXCHANGE_ASKING_COUNT_MAX`.
    pub asking: &'a mut [Asking],
    /// At most `limits::EXCHANGE_ANSWERING_COUNT_MAX`.
    pub answering: &'a mut [Answering],
}

impl Memory<'_> {
    /// None: the shard has no exchanges, and answers none.
    pub fn none() -> Self {
        Memory { pairs: &mut [], asking: &mut [], answering: &mut [] }
    }
}

/// Which side of an exchange this shard is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The initiator.
    Asking,
    /// The responder.
    Answering,
}

/// One exchange of a shard. The number tells it from others that had its slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Session {
    role: Role,
    slot: u8,
    number: u32,
}

impl Session {
    /// The request number of its frames.
    pub fn number(self) -> u32 {
        self.number
    }
}

/// Where the frames of an exchange go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// To the shard of this node that holds the partition.
    Node(NodeId, Partition),
    /// Back over the link.
    Link(Link),
}

/// A frame of an exchange, without its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExchangeFrame {
    /// The connection it came over.
    pub link: Link,
    /// The node behind it.
    pub node: NodeId,
    /// The request number of the frame.
    pub number: u32,
    /// The topology that the sender works on.
    pub topology: TopologyId,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// Its session has it, or there is none that wants it.
    Taken,
    /// It gets an EXCHANGE_END.
    Refused(EndReason),
}

/// What exchanges have done since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// That this shard asked for, and finished.
    pub finished: u64,
    /// That it asked for, and that ended early.
    pub failed: u64,
    /// Orders found different and repaired, of those that it asked for.
    pub repaired: u64,
    /// Orders or records that could not be repaired.
    pub unrepaired: u64,
    /// Records sent, asking and answering.
    pub sent: u64,
    /// Records received.
    pub got: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// An exchange that has finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Finished {
    /// Of this partition.
    pub partition: Partition,
    /// With this owner.
    pub peer: NodeId,
    /// Orders that were found different and repaired; 0 at the side that answered.
    pub repaired: u32,
    /// Orders that differ still. With none the copies were equal, but for writes in flight.
    pub differences: u32,
}

/// The exchanges of a shard, over lent memory.
#[derive(Debug)]
pub struct Exchanges<'a> {
    schedule: Schedule<'a>,
    asking: &'a mut [Asking],
    answering: &'a mut [Answering],
    /// Sessions that have not ended.
    active: Vec<Session, SESSION_COUNT_MAX>,
    /// The one that goes on next.
    turn: usize,
    last_number: u32,
    pace: Pace,
    /// This node may not join records now: no exchange begins.
    is_held: bool,
    /// When [`Exchanges::step`] has something to do.
    next: Option<Instant>,
    counts: Counts,
}

const SESSION_COUNT_MAX: usize = EXCHANGE_ASKING_COUNT_MAX + EXCHANGE_ANSWERING_COUNT_MAX;

impl<'a> Exchanges<'a> {
    /// No exchanges, and no pairs.
    ///
    /// # Panics
    /// If there is more memory for sessions than `limits` says.
    pub fn new(settings: &Settings, memory: Memory<'a>) -> Exchanges<'a> {
        let Memory { pairs, asking, answering } = memory;
        assert!(asking.len() <= EXCHANGE_ASKING_COUNT_MAX);
        assert!(answering.len() <= EXCHANGE_ANSWERING_COUNT_MAX);
        let Settings { interval, seed, .. } = *settings;
        Exchanges {
            schedule: Schedule::new(pairs, interval, asking.len().max(1), seed),
            asking,
            answering,
            active: Vec::new(),
            turn: 0,
            last_number: 0,
            pace: Pace::new(EXCHANGE_BYTES_PER_SECOND, EXCHANGE_BURST_BYTES),
            is_held: false,
            next: None,
            counts: Counts::default(),
        }
    }

    /// The pairs that this shard asks for, ascending by partition and peer.
    pub fn pairs(&self) -> &[Pair] {
        self.schedule.pairs()
    }

    /// What was done.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Sessions that have not ended.
    pub fn active_count(&self) -> usize {
        self.active.len()
    }

    /// When [`Exchanges::step`] has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// See [`Pace::set_share`].
    pub(crate) fn set_share(&mut self, per_mille: u16) {
        self.pace.set_share(per_mille);
    }

    /// This node may not join records now, or may again.
    pub(crate) fn hold(&mut self, now: Instant, is_held: bool) {
        self.is_held = is_held;
        if is_held {
            self.schedule.defer_all();
        }
        self.update_next(now);
    }

    /// Takes new rings: what runs is of old ones, and ends.
    pub(crate) fn on_rings(
        &mut self,
        now: Instant,
        rings: &Rings<'_>,
        me: NodeId,
        partitions: RangeInclusive<u16>,
    ) {
        self.end_all(now, |_| true);
        if !self.asking.is_empty() {
            self.schedule.on_rings(now, rings, me, partitions);
        }
        self.update_next(now);
    }

    /// `peer` can be reached.
    pub(crate) fn on_peer_up(&mut self, now: Instant, peer: NodeId) {
        self.schedule.on_peer_up(now, peer);
        self.update_next(now);
    }

    /// `peer` cannot be reached: exchanges with it end without a word.
    pub(crate) fn on_peer_down(&mut self, now: Instant, peer: NodeId) {
        self.end_all(now, |parties| parties.peer == peer);
        self.update_next(now);
    }

    /// All pairs, or those of one partition, have their turn now; see [`Schedule::repair`].
    pub(crate) fn repair(&mut self, now: Instant, partition: Option<Partition>) {
        self.schedule.repair(now, partition, !self.is_held);
        self.update_next(now);
    }

    /// One step: an exchange that is due begins, one whose peer is silent ends, or one goes on by
    /// the step that is returned.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        topology: TopologyId,
        is_reachable: impl Fn(NodeId) -> bool,
    ) -> (Option<(Session, Partition, Step)>, Option<Finished>) {
        if self.next.is_none_or(|at| at > now) {
            return (None, None);
        }
        self.begin(now, topology, is_reachable);
        let granted = self.go_on(now);
        let finished = self.collect(now);
        self.update_next(now);
        (granted, finished)
    }

    /// The partition of the session that a frame belongs to.
    pub(crate) fn partition_of(&self, me: NodeId, frame: ExchangeFrame) -> Option<Partition> {
        self.find(me, frame).map(|session| self.side(session).parties().partition)
    }

    /// A frame came, other than EXCHANGE_RECORD. `held` is this node's copy of the session's
    /// partition, or for EXCHANGE_OPEN of that which it names; none if this shard does not own it.
    pub(crate) fn on_frame(
        &mut self,
        now: Instant,
        (me, topology): (NodeId, TopologyId),
        frame: ExchangeFrame,
        message: &Message<'_>,
        held: Option<Held<'_>>,
    ) -> (Heard, Option<Finished>) {
        if let Message::ExchangeOpen(open) = message {
            let opened = self.open(now, (me, topology), frame, open.partition, held.is_some());
            if let Err(reason) = opened {
                return (Heard::Refused(reason), None);
            }
        }
        let (Some(session), Some(held)) = (self.find(me, frame), held) else {
            let is_question = frame.node < me && !matches!(message, Message::ExchangeEnd(_));
            let heard =
                if is_question { Heard::Refused(EndReason::Malformed) } else { Heard::Taken };
            return (heard, None);
        };
        let machine = self.machine(session).expect("it was found just now");
        machine.on_frame(now, frame.topology, message, held);
        let finished = self.collect(now);
        self.update_next(now);
        (Heard::Taken, finished)
    }

    /// An EXCHANGE_RECORD came; whether it goes to be joined.
    pub(crate) fn on_record(&mut self, now: Instant, me: NodeId, frame: ExchangeFrame) -> bool {
        let session = self.find(me, frame);
        let Some(machine) = session.and_then(|session| self.machine(session)) else { return false };
        let is_taken = machine.on_record(now, frame.topology);
        self.update_next(now);
        is_taken
    }

    /// A record that [`Exchanges::on_record`] took was joined; none: it could not be.
    pub(crate) fn on_joined(
        &mut self,
        now: Instant,
        me: NodeId,
        frame: ExchangeFrame,
        order: u64,
        versions: Option<Versions>,
    ) {
        let session = self.find(me, frame);
        if let Some(machine) = session.and_then(|session| self.machine(session)) {
            machine.on_joined(order, versions);
        }
        self.update_next(now);
    }

    /// A [`Step::Summarize`] was done.
    pub(crate) fn on_summarized(&mut self, now: Instant, session: Session, root: u64, keys: u64) {
        self.done(session);
        if let Some(machine) = self.machine(session) {
            machine.on_summarized(root, keys);
        }
        self.update_next(now);
    }

    /// A [`Step::List`] was done.
    pub(crate) fn on_listed(
        &mut self,
        now: Instant,
        session: Session,
        entries: &[Entry],
        more: bool,
    ) {
        self.done(session);
        self.pace.pay(now, size_of_val(entries) as u64);
        if let Some(machine) = self.machine(session) {
            machine.on_listed(now, entries, more);
        }
        self.update_next(now);
    }

    /// A [`Step::Push`] was done.
    pub(crate) fn on_pushed(&mut self, now: Instant, session: Session, order: u64, sent: Sent) {
        self.done(session);
        self.pay(now, sent);
        if let Some(machine) = self.machine(session) {
            machine.on_pushed(order, sent);
        }
        self.update_next(now);
    }

    /// A [`Step::Stream`] was done; `next` is the order to go on from, if there is more.
    pub(crate) fn on_streamed(
        &mut self,
        now: Instant,
        session: Session,
        next: Option<u64>,
        sent: Sent,
    ) {
        self.done(session);
        self.pay(now, sent);
        if let Some(machine) = self.machine(session) {
            machine.on_streamed(next, sent);
        }
        self.update_next(now);
    }

    /// A step needs records that are being read into memory: it is done again soon.
    pub(crate) fn on_cold(&mut self, now: Instant, session: Session, step: Step) {
        let at = now + EXCHANGE_FETCH_PAUSE;
        let Some(later) = self.later(session) else { return };
        let count = later.map_or(0, |later| later.count) + 1;
        *later = Some(Later { step, at, count, is_running: false });
        if count > EXCHANGE_FETCH_COUNT {
            *later = None;
            self.machine(session).expect("it has a slot").give_up(EndReason::Busy);
        }
        self.update_next(now);
    }

    /// A frame of the exchange was not taken: the connection is gone, or its queue is full.
    pub(crate) fn on_lost(&mut self, now: Instant, session: Session) {
        if let Some(machine) = self.machine(session) {
            machine.on_disconnected();
        }
        self.collect(now);
        self.update_next(now);
    }

    /// The message of a [`Step::Send`], also of one that ended the exchange.
    pub(crate) fn message(&self, session: Session) -> Message<'_> {
        self.side(session).message()
    }

    /// Where the frames of a session go.
    pub(crate) fn way(&self, session: Session) -> Way {
        match session.role {
            Role::Asking => {
                let Parties { peer, partition, .. } = *self.side(session).parties();
                Way::Node(peer, partition)
            }
            Role::Answering => Way::Link(self.answering[usize::from(session.slot)].link),
        }
    }

    fn pay(&mut self, now: Instant, sent: Sent) {
        self.counts.bytes += sent.bytes;
        self.pace.pay(now, sent.bytes);
    }

    /// A step was done, and need not be again.
    fn done(&mut self, session: Session) {
        if let Some(later) = self.later(session) {
            *later = None;
        }
    }

    /// Either machine, of a session or of one that had its slot.
    fn side(&self, session: Session) -> &dyn Machine {
        let slot = usize::from(session.slot);
        match session.role {
            Role::Asking => &self.asking[slot].machine,
            Role::Answering => &self.answering[slot].machine,
        }
    }

    /// The machine of a session that has not ended.
    fn machine(&mut self, session: Session) -> Option<&mut dyn Machine> {
        self.parts(session).map(|(machine, _)| machine)
    }

    /// The step that is to be done again of a session that has not ended.
    fn later(&mut self, session: Session) -> Option<&mut Option<Later>> {
        self.parts(session).map(|(_, later)| later)
    }

    fn parts(&mut self, session: Session) -> Option<(&mut dyn Machine, &mut Option<Later>)> {
        let slot = usize::from(session.slot);
        if !self.active.contains(&session) {
            return None;
        }
        Some(match session.role {
            Role::Asking => {
                let Slot { machine, later, .. } = &mut self.asking[slot];
                (machine, later)
            }
            Role::Answering => {
                let Slot { machine, later, .. } = &mut self.answering[slot];
                (machine, later)
            }
        })
    }
}
