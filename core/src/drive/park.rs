//! Operations that meet a cold record, and writes that a stalled store would refuse: they wait,
//! and all others on their key behind them.
//!
//! An operation is parked before the machine sees it, so it runs from scratch once the record was
//! read, on the topology and with the log of then. Only a write that read other nodes first, a
//! record that turned cold meanwhile, or one that is larger than what a log still takes can meet
//! that later; then a request keeps its slot and waits by its number. Operations of one key take
//! effect in the order of their arrival, also behind a cold one (protocol: records and frames).

use super::hints::target_of;
use super::kept::{kept, kept_bytes, read_kept, write_kept};
use super::waiting::{End, Late, NoRoom, Parked, Waiter, Waiting};
use super::{AtHand, Bodies, Command, Links, Turn};
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::{NodeId, RequestId};
use crate::limits::{FETCH_COUNT_MAX, RESUME_COUNT_MAX};
use crate::records::{Full, Records, Refusal, Unread};
use crate::request::{Failure, KeyPlace, Link, Origin};
use crate::shard::{Input, Shard};
use crate::time::Instant;
use crate::wire::FIRST_BYTES;
use crate::wire::frame::{Frame, Hop};
use crate::wire::op::Op;
use crate::wire::peer::RejectReason;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// The cold record of `key` was read, or could not be: what waits for it goes on, in order.
    /// At most `RESUME_COUNT_MAX` operations; whether it must be called again, in this turn or
    /// the next. Nothing happens if nobody waits.
    #[must_use]
    pub fn resume(&mut self, key: KeyPlace) -> bool {
        let mut has_met = false;
        for _ in 0..RESUME_COUNT_MAX {
            let Some((waiter, lack)) = self.front(key) else { return false };
            let is_late = waiter.deadline <= self.now;
            let waits_on = match lack {
                _ if is_late => None,
                Some(Lack::Record) if self.waiting.count_read(key) > FETCH_COUNT_MAX => None,
                lack => lack,
            };
            if let Some(lack) = waits_on {
                self.ask_for_front(key, lack);
                return false;
            }
            let (waiter, bytes) = self.waiting.pop(key).expect("it was there just now");
            let is_last = !self.waiting.contains(key);
            if is_late {
                self.end_late(waiter, bytes.as_ref());
            } else {
                has_met |= lack.is_none();
                self.go_on(waiter, bytes.as_ref(), lack.is_some());
            }
            // It waits again, as the first, and so has asked the store.
            if is_last && self.waiting.contains(key) {
                return false;
            }
        }
        // Its record was there: if it leaves memory before the next step, reads help.
        if has_met {
            self.waiting.forget_reads(key);
        }
        self.waiting.contains(key)
    }

    /// The key of what is stored. What has rotted may show another one, even of another shard.
    pub(super) fn stored_key<'k>(&self, bytes: &'k [u8]) -> Result<Key<'k>, Unread> {
        let key = self.place(bytes);
        if self.shard.holds(key.partition) { Ok(key) } else { Err(Unread::Damaged) }
    }

    /// What a command on `key` has to wait for, if it `appends` or not. One that goes on elsewhere
    /// does not wait for what is here.
    pub(super) fn command_must_wait(&self, key: &Key<'_>, appends: bool) -> Option<Wait> {
        let wait = self.must_wait(key, appends);
        wait.filter(|wait| *wait == Wait::Turn || self.shard.coordinates(key))
    }

    /// What an operation on `key` has to wait for, if it `appends` or not.
    pub(super) fn must_wait(&self, key: &Key<'_>, appends: bool) -> Option<Wait> {
        if self.is_behind(key) {
            return Some(Wait::Turn);
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::ColdTakenForAbsent) {
            return None;
        }
        let is_overtaking = appends && self.store.is_room_awaited();
        let lack = if is_overtaking { Some(Lack::Room) } else { self.lack(key, appends) }?;
        self.shard.keeps(key).then_some(Wait::For(lack))
    }

    /// Whether operations on `key` wait, which go first.
    pub(super) fn is_behind(&self, key: &Key<'_>) -> bool {
        let is_behind = !self.waiting.is_empty() && self.waiting.contains(KeyPlace::of(key));
        #[cfg(feature = "plant")]
        let is_behind = is_behind && !crate::plant::is(crate::plant::Plant::ColdOvertaken);
        is_behind
    }

    /// What the store lacks for now, if that is why it refuses.
    pub(super) fn lack_of(&self, refusal: Refusal) -> Option<Lack> {
        match refusal {
            Refusal::Unread(Unread::Cold) => Some(Lack::Record),
            Refusal::Full(Full::Busy) if self.store.is_stalled() => Some(Lack::Room),
            _ => None,
        }
    }

    /// What the store lacks for an operation on `key`. Room first: a record that is read into
    /// memory for a write that then waits on was read for nothing.
    fn lack(&self, key: &Key<'_>, appends: bool) -> Option<Lack> {
        if appends && self.store.is_stalled() {
            Some(Lack::Room)
        } else {
            self.store.is_cold(key).then_some(Lack::Record)
        }
    }

    /// A client's command waits, or is refused.
    pub(super) fn park_command(
        &mut self,
        origin: Origin,
        key: &Key<'_>,
        command: &Command<'_>,
        (wait, deadline): (Wait, Instant),
    ) {
        let waiter = Waiter { parked: Parked::Command(origin), deadline };
        let bytes = kept_bytes(key.bytes, command);
        let fill = |out: &mut [u8]| write_kept(key.bytes, command, out);
        let parked = park((self.store, self.waiting), key, wait, waiter, bytes, fill);
        if parked.is_err() {
            self.answer_failure(origin, Failure::Busy);
        }
    }

    /// A frame of a coordinator waits, or is refused.
    pub(super) fn park_frame(
        &mut self,
        (link, node): (Link, NodeId),
        key: &Key<'_>,
        frame: Frame<'_>,
        (wait, deadline): (Wait, Instant),
    ) {
        let (hop, body) = (frame.hop(), frame.body().bytes());
        let waiter = Waiter { parked: Parked::Frame { link, node }, deadline };
        let fill = |out: &mut [u8]| {
            let (first, rest) = out.split_at_mut(FIRST_BYTES);
            hop.write(body.len(), first);
            rest.copy_from_slice(body);
        };
        let bytes = FIRST_BYTES + body.len();
        let parked = park((self.store, self.waiting), key, wait, waiter, bytes, fill);
        if parked.is_err() {
            self.refuse_parked((link, node), hop, key.order);
        }
    }

    /// The write `op`, which is being applied, waits before all others on its key; false if there
    /// is no room to wait.
    pub(super) fn park_write(&mut self, op: RequestId, lack: Lack, hand: AtHand<'_>) -> bool {
        self.keep(op, hand);
        let Some((bytes, _)) = kept(self.bodies, op) else { unreachable!("it was kept just now") };
        let bits = self.shard.config().partition_bits;
        let target = self.shard.stands_for(op);
        let key = Key::new(bytes, self.settings.hash_seed, bits).kept_for(target);
        let waiter = Waiter { parked: Parked::Write(op), deadline: self.shard.apply_deadline(op) };
        park((self.store, self.waiting), &key, Wait::For(lack), waiter, 0, |_| {}).is_ok()
    }

    /// Ends one operation whose deadline passed while it waited; false if there is none.
    pub(super) fn end_one_late(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let Some(late) = self.waiting.pop_late(self.now) else { return false };
        let Late { key, waiter, bytes, was_first } = late;
        // What it waited for may be long in coming, and the next one may not need it.
        if was_first
            && self.store.is_stalled()
            && appends(waiter.parked, bytes.as_ref())
            && let Some((_, lack)) = self.front(key)
            && lack != Some(Lack::Room)
        {
            self.ask_for_front(key, Lack::Record);
        }
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
            Parked::Frame { link, node } => {
                let (hop, key) = self.parked_frame(bytes);
                self.refuse_parked((link, node), &hop, key.order);
            }
            // The machine ends it by its own deadline.
            Parked::Write(_) => {}
        }
    }

    /// A frame that waits, or would, is refused: its record was not joined.
    fn refuse_parked(&mut self, from: (Link, NodeId), hop: &Hop, order: u64) {
        if hop.op == Op::ExchangeRecord {
            self.tell_joined(from, hop, order, None);
        } else {
            self.reject(from.0, hop.request.0, order, RejectReason::Busy);
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
                let key = self.place(key);
                if let Command::Get(get) = command
                    && self.answer_alone(origin, &key, get)
                {
                    return;
                }
                self.run_command(origin, key, command, waiter.deadline);
            }
            Parked::Frame { link, node } => {
                let frame = frame_of(bytes);
                if frame.op() == Op::ExchangeRecord {
                    let key = self.place(frame.key());
                    return self.join_exchanged_now((link, node), key, frame, waiter.deadline);
                }
                let data = self.data_input(link, node, frame);
                let (key, input) = data.expect("its payload was checked before it was parked");
                self.run(input, AtHand::Frame(key, frame, waiter.deadline));
            }
            Parked::Write(op) if is_cold => {
                let result = Err(Refusal::Unread(Unread::Cold));
                self.input(Input::Applied { op, result });
            }
            Parked::Write(op) => self.input(Input::Fetched { op }),
        }
    }

    /// What waits first for `key`, and what it lacks. Writes that have ended are dropped.
    fn front(&mut self, key: KeyPlace) -> Option<(Waiter, Option<Lack>)> {
        loop {
            let (waiter, kept) = self.waiting.front(key)?;
            if let Some((bytes, target)) = front_key(self.waiting, self.bodies, self.shard, key) {
                let whole = self.place(bytes).kept_for(target);
                let lack = self.lack(&whole, appends(waiter.parked, kept));
                return Some((waiter, lack));
            }
            self.waiting.pop(key);
        }
    }

    /// What waits first for `key` has the store say when it has what it lacks.
    fn ask_for_front(&mut self, key: KeyPlace, lack: Lack) {
        let Some((bytes, target)) = front_key(self.waiting, self.bodies, self.shard, key) else {
            return;
        };
        let bits = self.shard.config().partition_bits;
        let whole = Key::new(bytes, self.settings.hash_seed, bits).kept_for(target);
        ask(self.store, &whole, lack);
        if lack == Lack::Room {
            self.waiting.forget_reads(key);
        }
    }

    /// The hop part and the key of a frame that waits.
    fn parked_frame<'f>(&self, bytes: &'f [u8]) -> (Hop, Key<'f>) {
        let frame = frame_of(bytes);
        (*frame.hop(), self.place(frame.key()))
    }
}

/// What a store lacks for an operation, or what others lacked that came before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lack {
    /// The record is cold.
    Record,
    /// The store is stalled.
    Room,
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// Others on its key, which came first.
    Turn,
    /// The store, before all others on its key.
    For(Lack),
}

fn park<S: Records, W: Waiting>(
    (store, waiting): (&mut S, &mut W),
    key: &Key<'_>,
    wait: Wait,
    waiter: Waiter,
    bytes: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<(), NoRoom> {
    let place = KeyPlace::of(key);
    let is_first = !waiting.contains(place);
    let end = if wait == Wait::Turn { End::Back } else { End::Front };
    waiting.push(place, end, waiter, bytes, fill)?;
    // Who waits already has asked; when that is answered, this one is looked at first.
    if let Wait::For(lack) = wait
        && is_first
    {
        if lack == Lack::Record {
            waiting.count_read(place);
        }
        ask(store, key, lack);
    }
    Ok(())
}

/// Has the store say when it has what it lacks.
fn ask<S: Records>(store: &mut S, key: &Key<'_>, lack: Lack) {
    match lack {
        Lack::Record => store.fetch(key),
        Lack::Room => store.await_room(key),
    }
}

/// Whether a frame of a coordinator will append.
pub(super) fn is_write(op: Op) -> bool {
    op != Op::Read
}

/// Whether an operation that waits will append.
fn appends(parked: Parked, bytes: &[u8]) -> bool {
    match parked {
        Parked::Command(_) => matches!(read_kept(bytes).1, Command::Put(_)),
        Parked::Frame { .. } => is_write(frame_of(bytes).op()),
        Parked::Write(_) => true,
    }
}

/// A frame that waits; it was checked when it came.
fn frame_of(bytes: &[u8]) -> Frame<'_> {
    Frame::without_checksum(bytes).expect("a frame was parked")
}

/// The key of what waits first for `key`, and for whom its record is kept; none if it is a write
/// that has ended.
fn front_key<'a, W: Waiting, B: Bodies>(
    waiting: &'a W,
    bodies: &'a B,
    shard: &Shard<'_>,
    key: KeyPlace,
) -> Option<(&'a [u8], NodeId)> {
    let (waiter, bytes) = waiting.front(key)?;
    match waiter.parked {
        Parked::Command(_) => {
            let (bytes, command) = read_kept(bytes);
            Some((bytes, shard.would_stand_for(key.partition, command.forwarded())))
        }
        Parked::Frame { .. } => {
            let frame = frame_of(bytes);
            let target = target_of(frame).expect("its payload was checked before it was parked");
            Some((frame.key(), target))
        }
        Parked::Write(op) => kept(bodies, op).map(|(key, _)| (key, shard.stands_for(op))),
    }
}
