//! The hot ring itself: entering the kernel, and turning completions into events.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::config::{HotRingConfig, RingError};
use super::connection::{ConnectionId, Connections};
use super::doorbell::{Bed, Doorbell};
use super::event::{Event, Token};
use super::file::Writes;
use super::listener::Listener;
use super::park::Parked;
use crate::sys::{Completion, Ring, Wait};

/// One shard's sockets, files and wake-ups, on one `io_uring`. It is used on the thread that made
/// it, and lives as long as its executor. Dropping it cancels what is in flight; a write that runs
/// is waited for, up to two seconds.
pub struct HotRing {
    pub(super) ring: Ring<Token>,
    pub(super) config: HotRingConfig,
    pub(super) connections: Connections,
    /// By index, which tokens name.
    pub(super) listeners: Vec<Option<Listener>>,
    pub(super) writes: Writes,
    pub(super) doorbell: Doorbell,
    /// Slots of connections that wait for receive buffers, in order; each at most once.
    pub(super) starved: VecDeque<usize>,
    /// Connections that are closed and quiet.
    pub(super) closed: VecDeque<ConnectionId>,
    /// To park on, until that is made: no file may be left to open by then.
    pub(super) bed: Option<OwnedFd>,
    pub(super) parked: Option<Parked>,
    pub(super) counts: Counts,
    /// The bell was rung, and nobody was told yet.
    is_rung: bool,
    /// The buffer that the last event showed.
    shown: Option<u16>,
}

/// What happened so far, for the metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Receives that found no buffer: more of them would help if it grows.
    pub starved: u64,
    /// Errors of the host that made a listener rest.
    pub rests: u64,
    /// Sends that the kernel took only a part of.
    pub short_sends: u64,
    /// Times that the shard blocked, parked or not.
    pub sleeps: u64,
}

/// An event, with a buffer still named by its number.
pub(super) enum Step {
    Received { connection: ConnectionId, buffer: u16 },
    Other(Event<'static>),
}

impl HotRing {
    /// Makes the ring of the calling thread.
    pub fn new(config: HotRingConfig) -> Result<HotRing, RingError> {
        let config = config.rounded();
        let ring = Ring::new(
            config.submission_count,
            config.completion_count,
            config.buffer_count,
            config.buffer_bytes,
        )
        .map_err(RingError::Setup)?;
        let doorbell = Doorbell::new().map_err(RingError::Doorbell)?;
        let bed = doorbell.executor_bed().map_err(RingError::Doorbell)?;
        let mut ring = HotRing {
            ring,
            config,
            connections: Connections::new(config.connection_count_max),
            listeners: Vec::new(),
            writes: Writes::new(config.file_operation_count_max),
            doorbell,
            starved: VecDeque::new(),
            closed: VecDeque::new(),
            bed: Some(bed),
            parked: None,
            counts: Counts::default(),
            is_rung: false,
            shown: None,
        };
        ring.arm_doorbell(vec![0; size_of::<u64>()]);
        Ok(ring)
    }

    /// A way for other threads to wake this one.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Connections now, those that are closing included.
    pub fn connection_count(&self) -> usize {
        self.connections.count()
    }

    /// Submits all that was started, and takes in what the kernel has completed. If there is no
    /// event at all, blocks until there is one, at most `timeout` (`None`: without end). It may
    /// also return early without an event.
    pub fn submit_and_wait(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        self.unpark();
        self.hide();
        self.arm_starved();
        let wait = match timeout {
            Some(Duration::ZERO) => Wait::No,
            _ if self.has_event() || !self.doorbell.fall_asleep(Bed::Ring) => Wait::No,
            Some(timeout) => Wait::UpTo(timeout),
            None => Wait::Forever,
        };
        self.counts.sleeps += u64::from(wait != Wait::No);
        let entered = self.ring.enter(wait);
        self.is_rung |= self.doorbell.wake();
        entered.map_err(RingError::Enter)
    }

    /// The next event, without entering the kernel; `None` until the next `submit_and_wait`.
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        self.hide();
        match self.next_step()? {
            Step::Other(event) => Some(event),
            Step::Received { connection, buffer } => {
                self.shown = Some(buffer);
                let bytes = self.ring.buffers().filled(buffer);
                Some(Event::Received { connection, bytes })
            }
        }
    }

    /// What the next completions, at most so many, have received; each will still be an event.
    pub fn look_ahead<'r>(&'r mut self, count: usize, on_bytes: impl FnMut(&'r [u8])) {
        self.ring.look_ahead(count, on_bytes);
    }

    /// Whether `next_event` may have something to say.
    pub(super) fn has_event(&mut self) -> bool {
        self.is_rung || !self.closed.is_empty() || self.ring.has_completion()
    }

    /// Notes that a ring of the bell was seen outside of `submit_and_wait`.
    pub(super) fn note_bell(&mut self) {
        self.is_rung |= self.doorbell.wake();
    }

    fn next_step(&mut self) -> Option<Step> {
        if std::mem::take(&mut self.is_rung) {
            return Some(Step::Other(Event::Doorbell));
        }
        loop {
            if let Some(connection) = self.closed.pop_front() {
                let unsent = self.connections.remove(connection).and_then(|it| it.unsent);
                return Some(Step::Other(Event::Closed { connection, unsent }));
            }
            let completion = self.ring.next_completion()?;
            if let Some(step) = self.on_completion(completion) {
                return Some(step);
            }
        }
    }

    fn on_completion(&mut self, completion: Completion<Token>) -> Option<Step> {
        let event = match completion.token {
            Token::Receive(connection) => return self.on_received(connection, completion),
            Token::Send(connection) => self.on_sent(connection, completion),
            Token::Accept(index) => self.on_accepted(index, completion),
            Token::Rest(index) => self.on_rested(index),
            Token::Connect(connection) => self.on_connected(connection, completion),
            Token::Write(slot) => self.on_written(slot, completion),
            Token::SyncBehind(slot) => self.on_synced_behind(slot, completion),
            Token::SyncAfter(slot) => self.on_synced_after(slot, completion),
            Token::Sync(tag) => Some(self.on_synced(tag, completion)),
            Token::Read(tag) => self.on_read(tag, completion),
            Token::Doorbell => self.on_doorbell(completion),
            Token::Deadline => self.on_deadline(completion),
        };
        event.map(Step::Other)
    }

    /// Gives the buffer that the last event showed back to the kernel.
    fn hide(&mut self) {
        if let Some(buffer) = self.shown.take() {
            self.ring.buffers().give_back(buffer);
        }
    }

    fn arm_doorbell(&mut self, bytes: Vec<u8>) {
        let eventfd = std::sync::Arc::clone(self.doorbell.in_ring());
        self.ring.read(&eventfd, 0, (bytes, false), Token::Doorbell);
    }

    /// The word says whether the bell was rung; the read only woke the ring up.
    fn on_doorbell(&mut self, completion: Completion<Token>) -> Option<Event<'static>> {
        if let crate::sys::Lent::Bytes(bytes) = completion.lent {
            self.arm_doorbell(bytes);
        }
        None
    }
}
