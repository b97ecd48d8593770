//! The steps of exchanges, done against store and connections.

use super::compact::on_entries;
use super::park::{Lack, Wait};
use super::{AtHand, Bodies, FrameRefused, Links, Notice, To, Turn, Waiting};
use crate::causality::Record;
use crate::checksum::Checksum;
use crate::exchange::{ExchangeFrame, Finished, Held, Sent, Session, Step, Versions, Way};
use crate::hash::Key;
use crate::id::{NodeId, Partition};
use crate::limits::{EXCHANGE_READ_AHEAD_COUNT, EXCHANGE_STEP_COUNT};
use crate::merkle::Tree;
use crate::records::{self, Joined, Place, Records, Unread};
use crate::request::{KeyPlace, Link};
use crate::shard::{ExchangeEvent, Input};
use crate::time::Instant;
use crate::wire::FIRST_BYTES;
use crate::wire::exchange::{End, EndReason, Entry};
use crate::wire::frame::{Frame, Hop, frame_length, write_frame};
use crate::wire::message::Message;
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use heapless::Vec;

/// Keys that one step looks at: their orders and places.
type Keys = Vec<(u64, Place), EXCHANGE_STEP_COUNT>;
/// What of them is listed.
type Entries = Vec<Entry, EXCHANGE_STEP_COUNT>;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// A frame of an exchange.
    pub(super) fn on_exchange(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let node = node.filter(|node| *node != self.shard.config().node);
        let node = node.ok_or(FrameRefused::NotPermitted)?;
        let message = Message::new_checked(&frame)?;
        let from = exchange_frame(link, node, frame.hop());
        if let Message::ExchangeRecord(record) = message {
            Record::new_checked(record).map_err(|_| FrameRefused::Malformed)?;
            let key = self.place(frame.key());
            let hand = AtHand::Frame(key, frame, self.deadline(0));
            self.run(Input::Exchange(ExchangeEvent::Record { frame: from }), hand);
            return Ok(());
        }
        let partition = match message {
            Message::ExchangeOpen(open) => Some(open.partition),
            _ => self.shard.exchange_partition(from),
        };
        let partition = partition.filter(|partition| self.shard.owns(*partition));
        let held = partition.map(|partition| {
            let keys = self.store.key_count(partition);
            Held { tree: Tree::new(self.store.leaves(partition)), keys }
        });
        let event = ExchangeEvent::Frame { frame: from, message, held };
        self.shard.handle_input(self.now, Input::Exchange(event));
        self.drain(AtHand::Nothing);
        Ok(())
    }

    /// Does a step of an exchange, and says what became of it.
    pub(super) fn exchange(&mut self, session: Session, partition: Partition, step: Step) {
        match step {
            Step::Send => self.send_message(session),
            Step::Summarize => {
                let keys = self.store.key_count(partition);
                let root = Held { tree: Tree::new(self.store.leaves(partition)), keys }.root();
                self.tell_exchange(ExchangeEvent::Summarized { session, root, keys });
            }
            Step::List { after, last } => match self.list(partition, after, last) {
                Ok((entries, more)) => {
                    let entries = &entries[..];
                    self.tell_exchange(ExchangeEvent::Listed { session, entries, more });
                }
                Err(Cold) => self.tell_exchange(ExchangeEvent::Cold { session, step }),
            },
            Step::Push { order } => {
                match self.send_records(session, partition, (order, order), u64::MAX) {
                    Ok((_, sent)) => {
                        self.tell_exchange(ExchangeEvent::Pushed { session, order, sent });
                    }
                    Err(Cold) => self.tell_exchange(ExchangeEvent::Cold { session, step }),
                }
            }
            Step::Stream { from, bytes } => {
                match self.send_records(session, partition, (from, u64::MAX), bytes.into()) {
                    Ok((next, sent)) => {
                        self.tell_exchange(ExchangeEvent::Streamed { session, next, sent });
                    }
                    Err(Cold) => self.tell_exchange(ExchangeEvent::Cold { session, step }),
                }
            }
        }
    }

    /// Joins the record at hand, or has it wait for what the store lacks.
    pub(super) fn join_exchanged(&mut self, from: (Link, NodeId), hand: AtHand<'_>) {
        let AtHand::Frame(key, frame, deadline) = hand else { unreachable!("a frame brought it") };
        match self.must_wait(&key, true) {
            Some(wait) => self.park_frame(from, &key, frame, (wait, deadline)),
            None => self.join_exchanged_now(from, key, frame, deadline),
        }
    }

    /// As [`Turn::join_exchanged`], of a frame that need not wait for its record.
    pub(super) fn join_exchanged_now(
        &mut self,
        from: (Link, NodeId),
        key: Key<'_>,
        frame: Frame<'_>,
        deadline: Instant,
    ) {
        let record = Record::new_checked(frame.payload()).expect("checked at the border");
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::RecordNotJoined) {
            let received = record.version(&key);
            let versions = Versions { before: 0, received, after: received };
            return self.tell_joined(from, frame.hop(), key.order, Some(versions));
        }
        let joined = records::join_exchanged(self.store, &key, record, frame.body());
        if let Some(Lack::Room) = joined.err().and_then(|refusal| self.lack_of(refusal)) {
            return self.park_frame(from, &key, frame, (Wait::For(Lack::Room), deadline));
        }
        let joined = joined.ok();
        let boot = self.shard.config().boot;
        if joined.is_some_and(|joined| joined.lost_mine == Some(boot)) {
            self.links.notice(Notice::LostOwnEvents);
        }
        let received = record.version(&key);
        let joined = joined.map(|joined| {
            let Joined { before, after, entries, .. } = joined;
            on_entries((self.shard, self.store), &key, entries);
            Versions { before, received, after }
        });
        self.tell_joined(from, frame.hop(), key.order, joined);
    }

    /// The record in a frame was joined, or could not be.
    pub(super) fn tell_joined(
        &mut self,
        (link, node): (Link, NodeId),
        hop: &Hop,
        order: u64,
        joined: Option<Versions>,
    ) {
        let frame = exchange_frame(link, node, hop);
        self.tell_exchange(ExchangeEvent::Joined { frame, order, joined });
    }

    /// An exchange has finished.
    pub(super) fn on_exchanged(&mut self, finished: Finished) {
        if finished.differences == 0 {
            let Finished { partition, peer, .. } = finished;
            let me = self.shard.config().node;
            let owners = self.shard.rings().owners(partition);
            let others = owners.iter().filter(|owner| **owner != me).count();
            self.store.on_equal(partition, peer, others);
        }
        if finished.repaired + finished.differences > 0 {
            self.links.notice(Notice::Exchanged(finished));
        }
    }

    pub(super) fn refuse_exchange(&mut self, link: Link, number: u32, reason: EndReason) {
        let end = End { reason, differences: 0, sent: 0, got: 0 };
        self.send(To::Link(link), self.hop(Op::ExchangeEnd, number), &[], &end);
    }

    fn tell_exchange(&mut self, event: ExchangeEvent<'_>) {
        self.shard.handle_input(self.now, Input::Exchange(event));
    }

    fn send_message(&mut self, session: Session) {
        let to = to(self.shard.exchange_way(session));
        let message = self.shard.exchange_message(session);
        let hop = self.hop(message.op(), session.number());
        let bytes = frame_length(0, message.bytes());
        let sent = self.links.send(to, bytes, |out| write_frame::<C>(&hop, &[], &message, out));
        if sent.is_err() {
            self.tell_exchange(ExchangeEvent::Lost { session });
        }
    }

    /// Entries above `after` of orders up to `last`, whole orders; damaged records are left out:
    /// another owner has them.
    fn list(
        &mut self,
        partition: Partition,
        after: Entry,
        last: u64,
    ) -> Result<(Entries, bool), Cold> {
        let first = after.order();
        if self.store.mend_leaves(partition, first..=last).is_err() {
            return Err(self.read_keys_ahead(partition, first, last));
        }
        let mut from = first;
        loop {
            let (keys, more) = self.whole_orders(partition, from, last);
            let (mut entries, is_cold) = self.entries(&keys, after);
            if is_cold {
                let order = entries.last().map_or(from, |entry| entry.order());
                let cold = self.read_keys_ahead(partition, order, last);
                return if entries.is_empty() { Err(cold) } else { Ok((entries, true)) };
            }
            entries.sort_unstable();
            match keys.last() {
                // All of them are damaged, or were listed before.
                Some((order, _)) if more && entries.is_empty() => from = order + 1,
                _ => return Ok((entries, more)),
            }
        }
    }

    /// The entries of some keys, unless they are listed already; and whether those that follow are
    /// cold.
    fn entries(&self, keys: &Keys, after: Entry) -> (Entries, bool) {
        let mut entries = Entries::new();
        for (order, place) in keys {
            match self.version_at(*place) {
                Ok(version) => {
                    let entry = Entry::new(*order, version);
                    if entry > after {
                        entries.push(entry).expect("as many as there are keys");
                    }
                }
                Err(Unread::Damaged) => {}
                Err(Unread::Cold) => {
                    // What was listed of that order is not all of it.
                    entries.retain(|entry| entry.order() != *order);
                    entries.sort_unstable();
                    return (entries, true);
                }
            }
        }
        (entries, false)
    }

    /// Version of the record at `place`, checked.
    fn version_at(&self, place: Place) -> Result<u64, Unread> {
        let body = self.store.body(place)?;
        let key = self.stored_key(body.key())?;
        match self.store.record_left(&key)? {
            Some(stored) if stored.place == place => Ok(stored.record.version(&key)),
            _ => Err(Unread::Damaged),
        }
    }

    /// Sends the records of some orders, whole orders, up to about `bytes`; the order to go on
    /// from, if there is one. Damaged ones are left out.
    fn send_records(
        &mut self,
        session: Session,
        partition: Partition,
        (first, last): (u64, u64),
        bytes: u64,
    ) -> Result<(Option<u64>, Sent), Cold> {
        let to = to(self.shard.exchange_way(session));
        let hop = self.hop(Op::ExchangeRecord, session.number());
        let (keys, more) = self.whole_orders(partition, first, last);
        let mut sent = Sent::default();
        let mut at = first;
        for (order, place) in &keys {
            if *order != at && sent.bytes >= bytes {
                return Ok((Some(*order), sent));
            }
            match self.version_at(*place) {
                Err(Unread::Damaged) => {}
                Err(Unread::Cold) => {
                    let cold = self.read_keys_ahead(partition, *order, last);
                    // Of an order whose first records went, these go once more.
                    return if *order > first { Ok((Some(*order), sent)) } else { Err(cold) };
                }
                Ok(_) => {
                    if self.copy_body(to, hop, *place) != Some(true) {
                        self.tell_exchange(ExchangeEvent::Lost { session });
                        return Ok((None, sent));
                    }
                    let body = self.store.body(*place).expect("it was sent just now");
                    sent.records += 1;
                    sent.bytes += (FIRST_BYTES + body.bytes().len()) as u64;
                }
            }
            at = *order;
        }
        let next = keys.last().filter(|_| more).map(|(order, _)| order + 1);
        Ok((next, sent))
    }

    /// The next keys from order `first` to `last`, as many as one step takes, and whether there are
    /// more; all of each order.
    fn whole_orders(&self, partition: Partition, first: u64, last: u64) -> (Keys, bool) {
        let mut keys = Keys::new();
        for (order, place) in self.store.keys_from(partition, first) {
            if order > last {
                break;
            }
            if keys.push((order, place)).is_ok() {
                continue;
            }
            // That so many keys have one order is out of reach of anybody who chooses keys: then
            // some of them are passed over.
            let whole = keys.iter().rposition(|(other, _)| *other != order);
            keys.truncate(whole.map_or(keys.len(), |last| last + 1));
            return (keys, true);
        }
        (keys, false)
    }

    /// Has the next records from `order` on read into memory.
    pub(super) fn read_keys_ahead(&mut self, partition: Partition, order: u64, last: u64) -> Cold {
        let keys = self.store.keys_from(partition, order).take_while(|(order, _)| *order <= last);
        let mut cold = Vec::<(u64, Place), EXCHANGE_READ_AHEAD_COUNT>::new();
        for (order, place) in keys {
            let is_cold = self.store.body(place).err() == Some(Unread::Cold);
            if is_cold && cold.push((order, place)).is_err() {
                break;
            }
        }
        for (order, place) in cold {
            self.store.fetch_listed(KeyPlace { partition, order }, place);
        }
        Cold
    }
}

/// Records are being read into memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold;

fn to(way: Way) -> To {
    match way {
        Way::Node(node, partition) => To::Node(node, partition),
        Way::Link(link) => To::Link(link),
    }
}

fn exchange_frame(link: Link, node: NodeId, hop: &Hop) -> ExchangeFrame {
    ExchangeFrame { link, node, number: hop.request.0, topology: hop.topology }
}
