//! Operations that meet a cold record, and writes that a stalled store would refuse: they wait,
//! and all others on their key behind them.
//!
//! An operation is parked before the machine sees it, so it runs from scratch once the record was
//! read, on the topology and with the log of then. Only a write that read other nodes first, or a
//! record that turned cold meanwhile, can meet one later; then the request keeps its slot and
//! waits by its number. Operations of one key take effect in the order of their arrival, also
//! behind a cold one (protocol: records and frames).

use super::kept::{kept, kept_bytes, read_kept, write_kept};
use super::waiting::{End, NoRoom, Parked, Waiter, Waiting};
use super::{AtHand, Bodies, Command, Links, Turn};
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::{NodeId, RequestId};
use crate::limits::{FETCH_COUNT_MAX, RESUME_COUNT_MAX};
use crate::records::{Records, Refusal, Unread};
use crate::request::{Failure, KeyPlace, Link, Origin};
use crate::shard::Input;
use crate::time::Instant;
use crate::wire::FIRST_BYTES;
use crate::wire::body::Body;
use crate::wire::frame::{Frame, Hop};
use crate::wire::op::Op;
use crate::wire::peer::RejectReason;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// The cold record of `key` was read, or could not be: what waits for it goes on, in order.
    /// At most `RESUME_COUNT_MAX` operations; whether it must be called again, in this turn or
    /// the next. Nothing happens if nobody waits.
    #[must_use]
    pub fn resume(&mut self, key: KeyPlace) -> bool {
        for _ in 0..RESUME_COUNT_MAX {
            let Some((waiter, lack)) = self.front(key) else { return false };
            let is_late = waiter.deadline <= self.now;
            let waits_on = match lack {
                _ if is_late => false,
                Lack::Nothing => false,
                Lack::Room => true,
                Lack::Record => self.waiting.count_miss(key) < FETCH_COUNT_MAX,
            };
            if waits_on {
                self.fetch_front(key);
                return false;
            }
            let (waiter, bytes) = self.waiting.pop(key).expect("it was there just now");
            if is_late {
                self.end_late(waiter, bytes.as_ref());
            } else {
                self.go_on(waiter, bytes.as_ref(), lack == Lack::Record);
            }
        }
        self.waiting.contains(key)
    }

    /// Whether an operation on `key` has to wait: behind others, for its record, or, if it
    /// `appends`, for room.
    pub(super) fn must_wait(&self, key: &Key<'_>, appends: bool) -> bool {
        let is_behind = !self.waiting.is_empty() && self.waiting.contains(KeyPlace::of(key));
        #[cfg(feature = "plant")]
        let is_behind = is_behind && !crate::plant::is(crate::plant::Plant::ColdOvertaken);
        if is_behind {
            return true;
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::ColdTakenForAbsent) {
            return false;
        }
        let is_unready = self.store.is_cold(key) || appends && self.store.is_stalled();
        is_unready && self.shard.owns(key.partition)
    }

    /// A client's command waits, or is refused.
    pub(super) fn park_command(
        &mut self,
        origin: Origin,
        key: &Key<'_>,
        command: &Command<'_>,
        deadline: Instant,
    ) {
        let waiter = Waiter { parked: Parked::Command(origin), deadline };
        let bytes = kept_bytes(key.bytes, command);
        let parked = self.park(key, waiter, bytes, |out| write_kept(key.bytes, command, out));
        if parked.is_err() {
            self.answer_failure(origin, Failure::Busy);
        }
    }

    /// A frame of a coordinator waits, or is refused.
    pub(super) fn park_frame(&mut self, link: Link, node: NodeId, key: &Key<'_>, frame: Frame<'_>) {
        let (hop, body) = (frame.hop(), frame.body().bytes());
        let deadline = self.deadline(hop.deadline_ms);
        let waiter = Waiter { parked: Parked::Frame { link, node }, deadline };
        let parked = self.park(key, waiter, FIRST_BYTES + body.len(), |out| {
            let (first, rest) = out.split_at_mut(FIRST_BYTES);
            hop.write(body.len(), first);
            rest.copy_from_slice(body);
        });
        if parked.is_err() {
            self.reject(link, hop.request.0, key.order, RejectReason::Busy);
        }
    }

    fn park(
        &mut self,
        key: &Key<'_>,
        waiter: Waiter,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), NoRoom> {
        let place = KeyPlace::of(key);
        let is_first = !self.waiting.contains(place);
        self.waiting.push(place, End::Back, waiter, bytes, fill)?;
        if is_first {
            self.store.fetch(key);
        }
        Ok(())
    }

    /// The write `op`, which is being applied, waits before all others on its key; false if there
    /// is no room.
    pub(super) fn park_write(&mut self, op: RequestId, hand: AtHand<'_>) -> bool {
        self.keep(op, hand);
        let Some((bytes, _)) = kept(self.bodies, op) else { unreachable!("it was kept just now") };
        let bits = self.shard.config().partition_bits;
        let key = Key::new(bytes, self.settings.hash_seed, bits);
        let place = KeyPlace::of(&key);
        let is_first = !self.waiting.contains(place);
        let deadline = self.shard.apply_deadline(op);
        let waiter = Waiter { parked: Parked::Write(op), deadline };
        if self.waiting.push(place, End::Front, waiter, 0, |_| {}).is_err() {
            return false;
        }
        if is_first {
            self.store.fetch(&key);
        }
        true
    }

    /// Ends one operation whose deadline passed while it waited; false if there is none.
    pub(super) fn end_one_late(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let Some((waiter, bytes)) = self.waiting.pop_late(self.now) else { return false };
        self.end_late(waiter, bytes.as_ref());
        true
    }

    /// Answers an operation whose deadline passed while it waited: it has changed nothing.
    fn end_late(&mut self, waiter: Waiter, bytes: &[u8]) {
        match waiter.parked {
            Parked::Command(origin) => {
                let (_, command) = read_kept(bytes);
                let failure = self.shard.late(command.kind());
                self.answer_failure(origin, failure);
            }
            Parked::Frame { link, .. } => {
                let (hop, key) = self.parked_frame(bytes);
                self.reject(link, hop.request.0, key.order, RejectReason::Busy);
            }
            // The machine ends it by its own deadline.
            Parked::Write(_) => {}
        }
    }

    /// Runs an operation that has waited; with `is_cold`, although its record could not be read.
    fn go_on(&mut self, waiter: Waiter, bytes: &[u8], is_cold: bool) {
        match waiter.parked {
            Parked::Command(origin) => {
                let (key, command) = read_kept(bytes);
                if is_cold && matches!(command, Command::Put(_)) {
                    return self.answer_failure(origin, Failure::Busy);
                }
                self.run_command(origin, self.place(key), command, waiter.deadline);
            }
            Parked::Frame { link, node } => {
                let frame = Frame::new_checked::<C>(bytes).expect("a frame was parked");
                let data = self.data_input(link, node, frame);
                let (key, input) = data.expect("its payload was checked before it was parked");
                self.run(input, AtHand::Frame(key, frame));
            }
            Parked::Write(op) if is_cold => {
                let result = Err(Refusal::Unread(Unread::Cold));
                self.input(Input::Applied { op, result });
            }
            Parked::Write(op) => self.input(Input::Fetched { op }),
        }
    }

    /// What waits first for `key`, and for what. Writes that have ended are dropped.
    fn front(&mut self, key: KeyPlace) -> Option<(Waiter, Lack)> {
        loop {
            let (waiter, kept) = self.waiting.front(key)?;
            if let Some(bytes) = front_key(self.waiting, self.bodies, key) {
                let lack = if self.store.is_cold(&self.place(bytes)) {
                    Lack::Record
                } else if self.store.is_stalled() && appends::<C>(waiter.parked, kept) {
                    Lack::Room
                } else {
                    Lack::Nothing
                };
                return Some((waiter, lack));
            }
            self.waiting.pop(key);
        }
    }

    /// Has what is waited for read, or told of, again.
    fn fetch_front(&mut self, key: KeyPlace) {
        let Some(bytes) = front_key(self.waiting, self.bodies, key) else { return };
        let bits = self.shard.config().partition_bits;
        self.store.fetch(&Key::new(bytes, self.settings.hash_seed, bits));
    }

    /// The hop part and the key of a frame that waits.
    fn parked_frame<'f>(&self, bytes: &'f [u8]) -> (Hop, Key<'f>) {
        let frame = Frame::new_checked::<C>(bytes).expect("a frame was parked");
        (*frame.hop(), self.place(frame.key()))
    }
}

/// What the first operation on a key waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lack {
    Nothing,
    /// It is cold.
    Record,
    /// The store is stalled.
    Room,
}

/// Whether an operation that waits will append.
fn appends<C: Checksum>(parked: Parked, bytes: &[u8]) -> bool {
    match parked {
        Parked::Command(_) => matches!(read_kept(bytes).1, Command::Put(_)),
        Parked::Frame { .. } => {
            let frame = Frame::new_checked::<C>(bytes).expect("a frame was parked");
            frame.op() != Op::Read
        }
        Parked::Write(_) => true,
    }
}

/// The key of what waits first for `key`; none if it is a write that has ended.
fn front_key<'a, W: Waiting, B: Bodies>(
    waiting: &'a W,
    bodies: &'a B,
    key: KeyPlace,
) -> Option<&'a [u8]> {
    let (waiter, bytes) = waiting.front(key)?;
    match waiter.parked {
        Parked::Command(_) => Some(read_kept(bytes).0),
        Parked::Frame { .. } => {
            let body = Body::without_checksum(&bytes[FIRST_BYTES..]);
            Some(body.expect("a frame was parked").key())
        }
        Parked::Write(op) => kept(bodies, op).map(|(key, _)| key),
    }
}
