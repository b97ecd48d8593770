//! What comes over the links, and what becomes of requests.

use std::io;
use std::time::Instant;

use ringmain_core::id::TopologyId;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::hello::HelloReply;
use ringmain_core::wire::message::Message;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::reply::{Reply, Status};
use ringmain_core::wire::routes::{RoutesReply, RoutesRequest};
use ringmain_core::wire::version::Versions;

use super::link::State;
use super::table::Table;
use super::{Done, REFRESH_ALL_PAUSE, REFRESH_INTERVAL, REFRESH_PAUSE, Router};
use crate::client::{ClientError, message};

/// What an answer means for a request.
enum Verdict {
    /// It is the answer.
    Done,
    /// Nothing was stored, or nothing is to be: somebody else may do it.
    Elsewhere,
    /// It will not be better elsewhere, or may have happened.
    Failed,
}

impl Verdict {
    fn of(status: Status, is_read: bool) -> Verdict {
        match status {
            Status::Ok => Verdict::Done,
            Status::Unavailable | Status::Busy | Status::NoSpace | Status::ReadOnly => {
                Verdict::Elsewhere
            }
            Status::NoQuorum | Status::NotCovered | Status::Damaged if is_read => {
                Verdict::Elsewhere
            }
            Status::NoQuorum
            | Status::NotCovered
            | Status::Damaged
            | Status::BadContext
            | Status::TooLarge
            | Status::Siblings
            | Status::ConditionFailed
            | Status::Malformed
            | Status::Unsupported
            | Status::NotPermitted => Verdict::Failed,
        }
    }
}

impl Router {
    /// A frame came. An error is the end of the link.
    pub(super) fn on_frame(
        &mut self,
        index: usize,
        frame: &Frame<'_>,
        now: Instant,
        done: &mut Done<'_>,
    ) -> Result<(), ClientError> {
        let link = &mut self.links[index];
        let is_standing = link.state == State::Ready;
        if matches!(frame.op(), Op::Reply | Op::RoutesReply) {
            link.hear_answer();
        }
        if is_standing && !frame.speaks(link.version) {
            return Err(ClientError::Malformed);
        }
        match message(frame)? {
            Message::HelloReply(reply) if !is_standing => self.on_hello_reply(index, &reply, now),
            Message::Reply(reply) if is_standing => {
                self.on_reply(index, frame, &reply, now, done);
                Ok(())
            }
            Message::RoutesReply(reply) if is_standing => {
                self.on_routes(index, frame, &reply);
                Ok(())
            }
            _ => Err(ClientError::Malformed),
        }
    }

    fn on_hello_reply(
        &mut self,
        index: usize,
        reply: &HelloReply<'_>,
        now: Instant,
    ) -> Result<(), ClientError> {
        if !Versions::OWN.contains(reply.version) {
            return Err(ClientError::Malformed);
        }
        let Some(cluster) = reply.cluster else { return Err(ClientError::NoCluster) };
        if self.cluster.is_some_and(|known| known.id != cluster.id) {
            return Err(ClientError::OtherCluster);
        }
        // Another node may have the address by now.
        if self.links[index].node.is_some_and(|node| node != reply.node) {
            return Err(ClientError::OtherNode);
        }
        self.cluster = Some(cluster);
        self.links[index].stand(reply.version, cluster.id.digest());
        if index < self.seed_count {
            self.next_seed = index;
            self.adopt(index, reply.node);
        }
        // An older node cannot tell.
        self.is_told |= reply.version < Op::Routes.since();
        self.refresh(now, None);
        self.on_stands(index, now);
        Ok(())
    }

    fn on_reply(
        &mut self,
        index: usize,
        frame: &Frame<'_>,
        reply: &Reply<'_>,
        now: Instant,
        done: &mut Done<'_>,
    ) {
        let number = frame.hop().request.0;
        if self.table.as_ref().is_some_and(|table| table.topology != frame.hop().topology) {
            // Who has answered knows another topology.
            self.refresh(now, Some(index));
        }
        // Else it was given up.
        let Some(sent) = self.links[index].sent.remove(&number) else { return };
        let slot = self.slots.at_mut(sent.slot);
        slot.attempts.retain(|attempt| (attempt.link, attempt.number) != (index, number));
        let status = reply.head.status;
        match Verdict::of(status, slot.is_read()) {
            Verdict::Done => {
                self.withdraw(sent.slot);
                let ticket = self.slots.remove(sent.slot);
                done(ticket, Ok(*reply));
            }
            Verdict::Elsewhere => {
                slot.failure = Some(failed(reply));
                if slot.attempts.is_empty() {
                    self.route(sent.slot, now);
                }
            }
            Verdict::Failed => self.end(sent.slot, failed(reply), done),
        }
    }

    fn on_routes(&mut self, index: usize, frame: &Frame<'_>, reply: &RoutesReply<'_>) {
        let link = &mut self.links[index];
        if link.routes_number.take_if(|number| *number == frame.hop().request.0).is_none() {
            return;
        }
        self.is_told = true;
        let (RoutesReply::Routes(routes), Some(cluster)) = (reply, &self.cluster) else { return };
        self.needs_all = false;
        // A node without a ring knows no better way.
        if !routes.nodes.is_empty() && !routes.rows.is_empty() {
            self.table = Some(Table::new(cluster, frame.hop().topology, routes));
        }
    }

    /// Asks for routes, if it is time: after a miss soon, and who has told of it; else rarely, and
    /// whoever stands.
    pub(super) fn refresh(&mut self, now: Instant, missed: Option<usize>) {
        let pause = match (missed, &self.table) {
            (Some(_), _) | (None, None) => REFRESH_PAUSE,
            (None, Some(_)) if self.needs_all => REFRESH_ALL_PAUSE,
            (None, Some(_)) => REFRESH_INTERVAL,
        };
        if self.asked_at.is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return;
        }
        let patience = self.patience();
        let can_tell = |index: &usize| {
            let link = &self.links[*index];
            let is_new_enough = Op::Routes.since() <= link.version;
            link.is_open() && is_new_enough && link.silence(now) < patience
        };
        let count = self.links.len();
        let first = missed.unwrap_or(self.prng.below(count as u64) as usize);
        let Some(index) = (0..count).map(|step| (first + step) % count).find(can_tell) else {
            return;
        };
        self.asked_at = Some(now);
        let known = self.table.as_ref().filter(|_| !self.needs_all);
        let known = known.map_or(TopologyId(0), |table| table.topology);
        self.links[index].ask_routes(&RoutesRequest { known }, now);
        self.flag(index);
    }

    /// A connection is gone: its requests go elsewhere, or end.
    pub(super) fn lose(
        &mut self,
        index: usize,
        now: Instant,
        error: &ClientError,
        done: &mut Done<'_>,
    ) {
        let link = &mut self.links[index];
        let sent: Vec<_> = std::mem::take(&mut link.sent).into_iter().collect();
        let queued = std::mem::take(&mut link.queue);
        let unsent: Vec<bool> = sent.iter().map(|(_, sent)| link.is_unsent(sent)).collect();
        // Who cannot be reached may have moved.
        self.needs_all |= link.state != State::Ready;
        link.rest(now, &mut self.prng);
        self.failure = Some(error.again());
        if index < self.seed_count {
            self.disown(index);
            self.next_seed = (index + 1) % self.seed_count;
        }
        for ((number, sent), is_unsent) in sent.into_iter().zip(unsent) {
            let slot = self.slots.at_mut(sent.slot);
            slot.attempts.retain(|attempt| (attempt.link, attempt.number) != (index, number));
            let may_go_on = slot.is_read() || is_unsent;
            slot.failure = Some(error.again());
            match (may_go_on, slot.attempts.is_empty()) {
                (true, true) => self.route(sent.slot, now),
                (true, false) => {}
                (false, _) => {
                    // Whatever broke the connection: it may have happened.
                    let broken = match error {
                        ClientError::Lost(_) | ClientError::TimedOut => error.again(),
                        other => ClientError::Lost(io::Error::other(other.to_string())),
                    };
                    self.end(sent.slot, broken, done);
                }
            }
        }
        for slot in queued {
            let known = self.slots.at_mut(slot);
            known.failure = Some(error.again());
            self.route(slot, now);
        }
        if self.has_begun && !self.is_told {
            self.seed(now);
        }
    }

    /// A request has failed.
    pub(super) fn end(&mut self, slot: usize, error: ClientError, done: &mut Done<'_>) {
        self.withdraw(slot);
        let ticket = self.slots.remove(slot);
        done(ticket, Err(error));
    }
}

fn failed(reply: &Reply<'_>) -> ClientError {
    let head = reply.head;
    ClientError::Failed { status: head.status, needed: head.needed, got: head.got }
}
