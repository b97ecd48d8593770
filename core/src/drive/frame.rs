//! Frames of peers and native clients, as inputs of the machine.

use super::hints::{record_of, target_of};
use super::kept::kept;
use super::park::is_write;
use super::{AtHand, Bodies, Command, FrameRefused, Links, Turn, Waiting};
use crate::causality::Record;
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::{NodeId, RequestId};
use crate::node::Audience;
use crate::records::Records;
use crate::request::{Failure, Found, KeyPlace, Link, Origin};
use crate::shard::{DataFrame, Input};
use crate::wire::frame::Frame;
use crate::wire::get::GetRequest;
use crate::wire::op::Op;
use crate::wire::payload::Malformed;
use crate::wire::peer::{Ack, ReadSame, Reject, RejectReason};
use crate::wire::put::PutRequest;
use crate::wire::reply::Reply;

impl From<Malformed> for FrameRefused {
    fn from(_: Malformed) -> FrameRefused {
        FrameRefused::Malformed
    }
}

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// A frame that came over `link`; `node` is the member behind it, none for clients, and this
    /// node itself for its other shards.
    ///
    /// # Errors
    /// [`FrameRefused`]: the connection should be closed; nothing changed.
    pub fn frame(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        if !frame.is_of(self.settings.cluster_digest) {
            return Err(FrameRefused::OtherCluster);
        }
        if matches!(frame.op(), Op::Get | Op::Put)
            && let Some(node) = node
        {
            self.input(Input::Heard { node, op: RequestId::NONE });
        }
        match frame.op() {
            Op::Get => self.on_get(link, node, frame),
            Op::Put => self.on_put(link, node, frame),
            Op::Scan => self.on_scan(link, node, frame),
            Op::Page => self.on_page(link, node, frame),
            Op::Reply | Op::Ack | Op::Reject | Op::ReadReply | Op::ReadSame | Op::PageReply => {
                self.on_answer(node, frame)
            }
            Op::Replicate | Op::ReplicateSync | Op::Read | Op::Hint | Op::HintSync => {
                self.on_data(link, node, frame)
            }
            op if op.is_exchange() => self.on_exchange(link, node, frame),
            Op::Survey | Op::Surveyed | Op::Erase => self.on_survey(link, node, frame),
            _ => Err(FrameRefused::NotForShard),
        }
    }

    fn on_get(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let mut get = GetRequest::new_checked(frame.payload())?;
        get.forwarded &= node.is_some();
        self.on_command((link, node), frame, Command::Get(get));
        Ok(())
    }

    fn on_put(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let mut put = PutRequest::new_checked(frame.payload())?;
        put.forwarded &= node.is_some();
        self.on_command((link, node), frame, Command::Put(put));
        Ok(())
    }

    fn on_command(
        &mut self,
        (link, node): (Link, Option<NodeId>),
        frame: Frame<'_>,
        command: Command<'_>,
    ) {
        let key = self.key(frame);
        let (request, order) = (frame.hop().request.0, key.order);
        let origin = Origin::Frame { link, request, order };
        if let Some(failure) = self.refusal(node) {
            return self.answer_failure(origin, failure);
        }
        let deadline = self.deadline(frame.hop().deadline_ms);
        self.command_until(origin, key, command, deadline);
    }

    /// Why nothing of this node may be told to `node`, which is none for clients. Its other shards
    /// are: they may have been told first that all may be answered.
    pub(super) fn refusal(&self, node: Option<NodeId>) -> Option<Failure> {
        match (self.shard.audience(), node) {
            (Audience::All, _) | (Audience::Clients, None) => None,
            (Audience::Nobody, None) => Some(Failure::Unavailable { needed: 0, got: 0 }),
            (_, Some(node)) => (node != self.shard.config().node).then_some(Failure::Busy),
        }
    }

    fn on_data(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let node = node.ok_or(FrameRefused::NotPermitted)?;
        let (key, input) = self.data_input(link, node, frame)?;
        let deadline = self.deadline(frame.hop().deadline_ms);
        if deadline <= self.now {
            let (request, order) = (frame.hop().request.0, key.order);
            self.reject(link, request, order, RejectReason::TooOld);
            self.input(Input::Heard { node, op: RequestId::NONE });
            return Ok(());
        }
        match self.must_wait(&key, is_write(frame.op())) {
            Some(wait) => {
                self.park_frame((link, node), &key, frame, (wait, deadline));
                self.input(Input::Heard { node, op: RequestId::NONE });
            }
            None => self.run(input, AtHand::Frame(key, frame, deadline)),
        }
        Ok(())
    }

    /// A data frame as an input, its payload checked.
    pub(super) fn data_input<'f>(
        &self,
        link: Link,
        node: NodeId,
        frame: Frame<'f>,
    ) -> Result<(Key<'f>, Input<'static>), FrameRefused> {
        let target = target_of(frame)?;
        let key = self.key(frame).kept_for(target);
        let data = DataFrame {
            link,
            node,
            request: frame.hop().request.0,
            topology: frame.hop().topology,
            key: KeyPlace::of(&key),
            sync: matches!(frame.op(), Op::ReplicateSync | Op::HintSync),
            target,
        };
        if frame.op() == Op::Read {
            return Ok((key, Input::Read(data)));
        }
        record_of(frame)?;
        Ok((key, Input::Replicate(data)))
    }

    fn on_answer(&mut self, node: Option<NodeId>, frame: Frame<'_>) -> Result<(), FrameRefused> {
        let node = node.ok_or(FrameRefused::NotPermitted)?;
        let op = frame.hop().request;
        match frame.op() {
            Op::Reply => {
                let order = Reply::new_checked(frame.payload())?.head.order;
                let hand = AtHand::Frame(self.key(frame), frame, self.now);
                self.run(Input::ForwardReplied { op, node, order }, hand);
            }
            Op::Ack => {
                let Ack { order, durable } = Ack::new_checked(frame.payload())?;
                self.input(Input::Acked { node, op, order, durable });
            }
            Op::Reject => {
                let Reject { order, reason } = Reject::new_checked(frame.payload())?;
                self.input(Input::Rejected { node, op, order, reason });
            }
            Op::ReadSame => {
                // It has what was gathered when it was asked, and nothing is taken back from that.
                let ReadSame { order, version } = ReadSame::new_checked(frame.payload())?;
                let found = Found { version, covered: self.covered(op, AtHand::Nothing) };
                self.input(Input::Answered { node, op, order, found });
            }
            Op::PageReply => self.on_page_reply(node, frame)?,
            _ => self.on_read_reply(node, frame)?,
        }
        Ok(())
    }

    fn on_read_reply(&mut self, node: NodeId, frame: Frame<'_>) -> Result<(), FrameRefused> {
        let op = frame.hop().request;
        let record = match frame.payload() {
            [] => None,
            bytes => Some(Record::new_checked(bytes).map_err(|_| FrameRefused::Malformed)?),
        };
        // A late reply finds nothing kept for it, or another key.
        if kept(self.bodies, op).is_none_or(|(kept, _)| kept != frame.key()) {
            self.input(Input::Heard { node, op });
            return Ok(());
        }
        let key = self.key(frame);
        // A write that read first has begun with what R nodes knew: it replaces no more than that.
        if let Some(record) = record.filter(|_| self.shard.is_reading(op)) {
            self.gather(op, record);
        }
        let version = record.map_or(0, |record| record.version(&key));
        let found = Found { version, covered: self.covered(op, AtHand::Nothing) };
        self.input(Input::Answered { node, op, order: key.order, found });
        Ok(())
    }

    fn key<'f>(&self, frame: Frame<'f>) -> Key<'f> {
        self.place(frame.key())
    }
}
