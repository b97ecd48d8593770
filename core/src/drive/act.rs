//! What the machine asks for, done.

use super::answer::{self, Answer, Token};
use super::compact::on_entries;
use super::hints::record_of;
use super::kept::{gathered, kept, kept_bytes, write_kept};
use super::park::{Lack, Wait};
use super::{AtHand, Bodies, Command, Links, Notice, To, Turn, Waiting, write};
use crate::causality::{self, Context, Live, Record, VersionVector};
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::{NodeId, Partition, RequestId};
use crate::records::{self, Author, Joined, Place, Records, Refusal, Unread};
use crate::request::{Found, Link, Origin, Outcome, Target};
use crate::shard::{Input, Output};
use crate::wire::FIRST_BYTES;
use crate::wire::frame::{Hop, frame_length, write_frame};
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use crate::wire::peer::{Ack, Read, ReadSame, Reject, RejectReason};
use crate::wire::put::Replaces;
use crate::wire::reply::Reply;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// Does one output and says how it went, if that is of interest.
    pub(super) fn answer(&mut self, output: Output, hand: AtHand<'_>) -> Option<Input<'static>> {
        match output {
            Output::Look { op, target } => Some(self.look(op, target, hand)),
            Output::Apply { op, birth, gathered, target } => {
                self.apply((op, target), birth, gathered, hand)
            }
            Output::Join { link, node, request, order, sync } => {
                let result = self.join((link, node), hand)?;
                Some(Input::Joined { link, request, order, sync, result })
            }
            Output::Replicate { op, node, partition, place, sync, deadline_ms, target } => {
                let kind = match (target, sync) {
                    (NodeId(0), false) => Op::Replicate,
                    (NodeId(0), true) => Op::ReplicateSync,
                    (_, false) => Op::Hint,
                    (_, true) => Op::HintSync,
                };
                let hop = Hop { deadline_ms, ..self.hop(kind, op.0) };
                let to = To::Node(node, partition);
                let sent = if target == NodeId(0) {
                    self.copy_body(to, hop, place)
                } else {
                    self.send_hint(to, hop, place, target)
                };
                // That replica has failed this request.
                (sent != Some(true)).then_some(Input::Unsent { node, op })
            }
            Output::Ask { op, node, partition, deadline_ms, target } => {
                let to = To::Node(node, partition);
                let is_sent = self.ask(op, to, deadline_ms, target, hand);
                (!is_sent).then_some(Input::Unsent { node, op })
            }
            Output::Forward { op, target, partition, forwarded, deadline_ms } => {
                let to = match target {
                    Target::Shard(shard) => To::Shard(shard),
                    Target::Node(node) => To::Node(node, partition),
                };
                self.forward(op, to, forwarded, deadline_ms, hand)
            }
            Output::SeekHint { op, target, after } => {
                let result = self.seek_hint(op, target, after);
                Some(Input::Sought { op, result })
            }
            Output::SeekEnd => Some(Input::EndsAt { end: self.store.end() }),
            output => {
                self.give(output, hand);
                None
            }
        }
    }

    /// Does one output of which the machine hears nothing more.
    fn give(&mut self, output: Output, hand: AtHand<'_>) {
        match output {
            Output::Serve { link, request, order } => self.serve(link, request, order, hand),
            Output::Keep { place, key, target } => self.keep_hint(place, key, target),
            Output::Probe { node, partition } => self.probe(node, partition),
            Output::DropHint { target, place, sent } => self.drop_hint(target, place, sent),
            Output::Repair { op, node, version, partition } => {
                self.repair(op, (node, partition), version);
            }
            Output::Ack { link, request, order, durable } => {
                self.send(To::Link(link), self.hop(Op::Ack, request), &[], &Ack { order, durable });
            }
            Output::Reject { link, request, order, reason } => {
                self.reject(link, request, order, reason);
            }
            Output::Reply { op, origin, outcome, want_context } => {
                self.reply(op, origin, outcome, want_context, hand);
            }
            Output::Relay { op, origin } => self.relay(op, origin, hand),
            Output::ExchangeRefuse { link, number, reason } => {
                self.refuse_exchange(link, number, reason);
            }
            Output::Exchanged(finished) => self.on_exchanged(finished),
            Output::Sync => self.links.notice(Notice::Sync),
            Output::TopologyDiffers { node } => self.links.notice(Notice::TopologyDiffers(node)),
            Output::Raise { above } => self.links.notice(Notice::Raise(above)),
            Output::Warm { topology } => self.links.notice(Notice::Warm(topology)),
            Output::LostOwnEvents => self.links.notice(Notice::LostOwnEvents),
            Output::Look { .. }
            | Output::Apply { .. }
            | Output::Join { .. }
            | Output::Replicate { .. }
            | Output::Ask { .. }
            | Output::SeekHint { .. }
            | Output::SeekEnd
            | Output::Exchange { .. }
            | Output::ExchangeJoin { .. }
            | Output::SurveyList { .. }
            | Output::SurveyAsk { .. }
            | Output::SurveyConclude { .. }
            | Output::Forward { .. } => unreachable!("`act` does what is answered"),
        }
    }

    /// Joins the record at hand into the store; none if it waits for room.
    fn join(
        &mut self,
        (link, node): (Link, NodeId),
        hand: AtHand<'_>,
    ) -> Option<Result<Joined, Refusal>> {
        let AtHand::Frame(key, frame, deadline) = hand else {
            unreachable!("a frame asked for it");
        };
        let record = record_of(frame).expect("checked at the border");
        let result = if key.is_hint() {
            // Its body has a target before the record, which the log keeps elsewhere.
            records::join_record(self.store, &key, record)
        } else {
            records::join(self.store, &key, record, frame.body())
        };
        let lack = result.err().and_then(|refusal| self.lack_of(refusal));
        if lack == Some(Lack::Room) {
            self.park_frame((link, node), &key, frame, (Wait::For(Lack::Room), deadline));
            return None;
        }
        if let Ok(joined) = result {
            on_entries((self.shard, self.store), &key, joined.entries);
        }
        Some(result)
    }

    fn look(&mut self, op: RequestId, target: NodeId, hand: AtHand<'_>) -> Input<'static> {
        self.keep(op, hand);
        let (key, command) = kept(self.bodies, op).expect("it was kept just now");
        if let Command::Scan(scan) = command {
            return self.look_at_page(op, scan);
        }
        let bits = self.shard.config().partition_bits;
        let key = Key::new(key, self.settings.hash_seed, bits).kept_for(target);
        let mut version = 0;
        match self.store.record(&key) {
            #[cfg(feature = "plant")]
            Err(Unread::Cold) if crate::plant::is(crate::plant::Plant::ColdTakenForAbsent) => {}
            Err(unread) => return Input::Looked { op, result: Err(unread) },
            Ok(None) => {}
            Ok(Some(stored)) => {
                version = stored.record.version(&key);
                // The key is lent by what is kept, so the gathering is done by place.
                let place = stored.place;
                let Ok(()) = self.gather_place(op, place) else {
                    return Input::Looked { op, result: Err(Unread::Damaged) };
                };
            }
        }
        let covered = self.covered(op, hand);
        Input::Looked { op, result: Ok(Found { version, covered }) }
    }

    /// Applies the write `op`; none if it has to wait for a cold record or for room.
    fn apply(
        &mut self,
        (op, target): (RequestId, NodeId),
        birth: u32,
        use_gathered: bool,
        hand: AtHand<'_>,
    ) -> Option<Input<'static>> {
        if use_gathered {
            self.gather_own(op, target);
        }
        let bits = self.shard.config().partition_bits;
        let (key, command) = match hand {
            AtHand::Command(key, command) => (key, command),
            _ => {
                let Some((key, command)) = kept(self.bodies, op) else {
                    unreachable!("a write that read first was kept");
                };
                (Key::new(key, self.settings.hash_seed, bits), command)
            }
        };
        let key = key.kept_for(target);
        let Command::Put(put) = command else { unreachable!("only writes are applied") };
        let gathered = gathered(self.bodies, op);
        let found = self.live(gathered);
        if use_gathered && !write::holds(put, found) {
            return Some(Input::ConditionFailed { op });
        }
        let context = match put.replaces {
            Replaces::Local => Context::Local,
            Replaces::ReadFirst { .. } => {
                Context::Given(gathered.map_or(VersionVector::EMPTY, |r| r.version_vector()))
            }
            Replaces::Given([]) => Context::Given(VersionVector::EMPTY),
            Replaces::Given(token) => {
                let context_key = &self.settings.context_key;
                let context = causality::decode_token(context_key, key.bytes, token)
                    .expect("the token was checked when the command came");
                Context::Given(context)
            }
        };
        let write = write::of(put, context, found, self.wall);
        let config = self.shard.config();
        let author = Author { node: config.node, boot: config.boot, birth, now: self.wall };
        let result = records::event(self.store, &key, author, &write);
        match result {
            Ok(applied) => {
                on_entries((self.shard, self.store), &key, usize::from(applied.entries));
            }
            Err(refusal) => {
                if let Some(lack) = self.lack_of(refusal)
                    && self.park_write(op, lack, hand)
                {
                    return None;
                }
            }
        }
        Some(Input::Applied { op, result })
    }

    fn serve(&mut self, link: Link, request: u32, order: u64, hand: AtHand<'_>) {
        let AtHand::Frame(key, frame, ..) = hand else { unreachable!("a frame asked for it") };
        if frame.op() == Op::Page {
            return self.serve_page(link, request, frame);
        }
        let Read { known, .. } = Read::new_checked(frame.payload()).expect("checked at the border");
        match self.store.record(&key) {
            Ok(None) => {
                let hop = self.hop(Op::ReadReply, request);
                let nothing: &[u8] = &[];
                self.send(To::Link(link), hop, key.bytes, &nothing);
            }
            Ok(Some(stored)) if is_same(known, stored.record.version(&key)) => {
                let hop = self.hop(Op::ReadSame, request);
                self.send(To::Link(link), hop, &[], &ReadSame { order, version: known });
            }
            Ok(Some(stored)) => {
                let (place, hop) = (stored.place, self.hop(Op::ReadReply, request));
                if self.copy_body(To::Link(link), hop, place).is_none() {
                    self.reject(link, request, order, RejectReason::Damaged);
                }
            }
            Err(Unread::Cold) => self.reject(link, request, order, RejectReason::Busy),
            Err(Unread::Damaged) => self.reject(link, request, order, RejectReason::Damaged),
        }
    }

    pub(super) fn reject(&mut self, link: Link, request: u32, order: u64, reason: RejectReason) {
        let hop = self.hop(Op::Reject, request);
        self.send(To::Link(link), hop, &[], &Reject { reason, order });
    }

    /// Whether the body at `place` was sent; none if it could not be read.
    pub(super) fn copy_body(&mut self, to: To, hop: Hop, place: Place) -> Option<bool> {
        let body = self.store.body(place).ok()?.bytes();
        let sent = self.links.send(to, FIRST_BYTES + body.len(), |out| {
            let (first, rest) = out.split_at_mut(FIRST_BYTES);
            hop.write(body.len(), first);
            rest.copy_from_slice(body);
        });
        Some(sent.is_ok())
    }

    /// Whether the question was sent.
    fn ask(
        &mut self,
        op: RequestId,
        to: To,
        deadline_ms: u16,
        target: NodeId,
        hand: AtHand<'_>,
    ) -> bool {
        self.keep(op, hand);
        let (key, command) = kept(self.bodies, op).expect("it was kept just now");
        if let Command::Scan(scan) = command {
            return self.ask_page((op, to), deadline_ms, scan);
        }
        let hop = Hop { deadline_ms, ..self.hop(Op::Read, op.0) };
        let known = gathered(self.bodies, op).map_or(0, |record| record.version(&self.place(key)));
        let read = Read { known, target };
        let bytes = frame_length(key.len(), read.bytes());
        let sent = self.links.send(to, bytes, |out| {
            write_frame::<C>(&hop, key, &read, out);
        });
        sent.is_ok()
    }

    /// Gives `node`, which has `version`, what was gathered for the read `op`. Who has the same is
    /// not asked again; whether it is done is nobody's condition.
    fn repair(&mut self, op: RequestId, (node, partition): (NodeId, Partition), version: u64) {
        let Some((key, _)) = kept(self.bodies, op) else { return };
        let Some(record) = gathered(self.bodies, op) else { return };
        let config = self.shard.config();
        let key = Key::new(key, self.settings.hash_seed, config.partition_bits);
        if record.version(&key) == version {
            return;
        }
        if node == config.node {
            let joined = records::join_record(self.store, &key, record);
            if let Ok(joined) = joined {
                if joined.lost_mine == Some(config.boot) {
                    self.links.notice(Notice::LostOwnEvents);
                }
                on_entries((self.shard, self.store), &key, joined.entries);
            }
            return;
        }
        let hop = self.hop(Op::Replicate, RequestId::NONE.0);
        let bytes = frame_length(key.bytes.len(), record.bytes().len());
        let to = To::Node(node, partition);
        let _lost = self.links.send(to, bytes, |out| {
            write_frame::<C>(&hop, key.bytes, &record.bytes(), out);
        });
    }

    fn forward(
        &mut self,
        op: RequestId,
        to: To,
        forwarded: bool,
        deadline_ms: u16,
        hand: AtHand<'_>,
    ) -> Option<Input<'static>> {
        let kept = kept(self.bodies, op);
        let (key, mut command) = match hand {
            AtHand::Command(key, command) => (key.bytes, command),
            _ => kept?,
        };
        let kind = match &mut command {
            Command::Get(get) => {
                get.forwarded = forwarded;
                Op::Get
            }
            Command::Put(put) => {
                put.forwarded = forwarded;
                Op::Put
            }
            Command::Scan(_) => Op::Scan,
        };
        let hop = Hop { deadline_ms, ..self.hop(kind, op.0) };
        let bytes = frame_length(key.len(), command.bytes());
        let sent = self.links.send(to, bytes, |out| write_frame::<C>(&hop, key, &command, out));
        sent.is_err().then_some(Input::ForwardLost { op })
    }

    pub(super) fn send(&mut self, to: To, hop: Hop, key: &[u8], payload: &impl Payload) {
        let bytes = frame_length(key.len(), payload.bytes());
        // Who does not get an answer finds out by the deadline or by the lost connection.
        let _lost = self.links.send(to, bytes, |out| write_frame::<C>(&hop, key, payload, out));
    }

    fn reply(
        &mut self,
        op: Option<RequestId>,
        origin: Origin,
        outcome: Outcome,
        want_context: bool,
        hand: AtHand<'_>,
    ) {
        if let Some(op) = op
            && let Some((_, Command::Scan(_))) = kept(self.bodies, op)
        {
            return self.reply_to_scan(op, origin, outcome);
        }
        let hop = self.hop(Op::Reply, 0);
        let context_key = &self.settings.context_key;
        let gathered = op.and_then(|op| gathered(self.bodies, op));
        let command = match (hand, op.and_then(|op| kept(self.bodies, op))) {
            (_, Some(kept)) => Some(kept),
            (AtHand::Command(key, command), None) => Some((key.bytes, command)),
            _ => None,
        };
        let found = self.live(gathered);
        let found_count = found.count() as u16;
        let returned = gathered.and(returns_old(command).then_some(found));
        let answer = match outcome {
            Outcome::Got => {
                let key = command.map_or(&[][..], |(key, _)| key);
                let context = Token::of(want_context, context_key, key, gathered);
                let record = gathered.and(Some(found));
                Answer::Local { outcome, record, context, live: 0, found: 0 }
            }
            Outcome::Stored(applied) => {
                let sole = applied.sole;
                #[cfg(feature = "plant")]
                let sole = sole || crate::plant::is(crate::plant::Plant::ContextCoversUnseen);
                let body =
                    if want_context && sole { self.store.body(applied.place).ok() } else { None };
                let context = body.and_then(|body| {
                    let new = Record::new_checked(body.payload()).ok();
                    Token::of(true, context_key, body.key(), new)
                });
                let (record, live) = (returned, applied.live);
                Answer::Local { outcome, record, context, live, found: found_count }
            }
            Outcome::ConditionFailed => {
                let (record, live) = (returned, found_count);
                Answer::Local { outcome, record, context: None, live, found: live }
            }
            Outcome::Failed(failure) => Answer::failed(failure),
        };
        answer::give::<L, C>(self.links, hop, origin, answer);
        if let Some(op) = op {
            self.bodies.release(op);
        }
    }

    /// What a client would find in `record` now.
    fn live<'r>(&self, record: Option<Record<'r>>) -> Live<'r> {
        record.unwrap_or(Record::empty()).live(self.wall)
    }

    fn relay(&mut self, op: RequestId, origin: Origin, hand: AtHand<'_>) {
        let AtHand::Frame(_, frame, _) = hand else { unreachable!("a frame brought it") };
        let reply = Reply::new_checked(frame.payload()).expect("checked at the border");
        let hop = self.hop(Op::Reply, 0);
        answer::give::<L, C>(self.links, hop, origin, Answer::Remote(reply));
        self.bodies.release(op);
    }

    /// Keeps the command at hand, since its request outlives this turn.
    pub(super) fn keep(&mut self, op: RequestId, hand: AtHand<'_>) {
        if self.bodies.kept(op).is_some() {
            return;
        }
        let AtHand::Command(key, command) = hand else { return };
        let bytes = kept_bytes(key.bytes, &command);
        self.bodies.keep(op, bytes, |out| write_kept(key.bytes, &command, out));
    }
}

/// Whether a replica whose record has that version need not send it to who knows `known`.
fn is_same(known: u64, version: u64) -> bool {
    #[cfg(feature = "plant")]
    let version =
        if crate::plant::is(crate::plant::Plant::SameUnchecked) { known } else { version };
    known != 0 && known == version
}

fn returns_old(command: Option<(&[u8], Command<'_>)>) -> bool {
    let Some((_, Command::Put(put))) = command else { return false };
    matches!(put.replaces, Replaces::ReadFirst { return_old: true, .. })
}
