//! Which session begins, which goes on, and which is over.

use super::super::{Machine, Parties, Sent, Start, Step, Summary};
use super::{ExchangeFrame, Exchanges, Finished, Role, Session, Slot};
use crate::id::{NodeId, Partition, TopologyId};
use crate::request::Link;
use crate::time::Instant;
use crate::wire::exchange::EndReason;

impl Exchanges<'_> {
    /// Begins an exchange that is due, if there is a free slot.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        topology: TopologyId,
        is_reachable: impl Fn(NodeId) -> bool,
    ) {
        if self.is_held {
            return;
        }
        let Some(slot) = self.asking.iter().position(Slot::is_free) else { return };
        let Some(start) = self.schedule.next(now, is_reachable) else { return };
        let Start { partition, peer, resume } = start;
        if self.is_compared(partition) {
            return self.schedule.put_off(now, partition, peer);
        }
        self.last_number = self.last_number.wrapping_add(1).max(1);
        let asking = &mut self.asking[slot];
        asking.begin(Link(0), self.last_number);
        asking.machine.start(Parties { partition, peer, topology }, resume);
        self.add(Role::Asking, slot, self.last_number);
    }

    /// An EXCHANGE_OPEN came: it gets a session, or a reason why not.
    pub(super) fn open(
        &mut self,
        now: Instant,
        (me, topology): (NodeId, TopologyId),
        frame: ExchangeFrame,
        partition: Partition,
        is_owner: bool,
    ) -> Result<(), EndReason> {
        if frame.topology != topology {
            return Err(EndReason::StaleTopology);
        }
        if !is_owner || frame.node >= me {
            return Err(EndReason::NotOwner);
        }
        let ExchangeFrame { link, node: peer, number, .. } = frame;
        // Who asks again knows nothing of an earlier exchange; so does a new process.
        for answering in self.answering.iter_mut() {
            let parties = answering.machine.parties();
            let is_pair = (parties.peer, parties.partition) == (peer, partition);
            if is_pair || (answering.link, answering.number) == (link, number) {
                answering.machine.on_disconnected();
            }
        }
        self.collect(now);
        if self.is_compared(partition) {
            return Err(EndReason::Busy);
        }
        if self.is_held {
            return Err(EndReason::Held);
        }
        let slot = self.answering.iter().position(Slot::is_free).ok_or(EndReason::Busy)?;
        let answering = &mut self.answering[slot];
        answering.begin(link, number);
        answering.machine.start(now, Parties { partition, peer, topology });
        self.add(Role::Answering, slot, number);
        Ok(())
    }

    /// Whether an exchange of `partition` goes on. One at a time: two owners at once would both
    /// send an empty copy all of it.
    fn is_compared(&self, partition: Partition) -> bool {
        self.active.iter().any(|session| self.side(*session).parties().partition == partition)
    }

    fn add(&mut self, role: Role, slot: usize, number: u32) {
        let session = Session { role, slot: slot as u8, number };
        self.active.push(session).expect("as many as there are slots");
    }

    /// Lets the next session go on that wants to and may.
    pub(super) fn go_on(&mut self, now: Instant) -> Option<(Session, Partition, Step)> {
        let may_send = self.pace.next() <= now;
        for _ in 0..self.active.len() {
            self.turn = (self.turn + 1) % self.active.len();
            let session = self.active[self.turn];
            let (machine, later) = self.parts(session).expect("an active session");
            let partition = machine.parties().partition;
            if let Some(later) = later
                && later.at <= now
                && !later.is_running
                && may_send
            {
                later.is_running = true;
                return Some((session, partition, later.step));
            }
            machine.on_timeout(now);
            if let Some(bytes) = machine.want().filter(|_| may_send) {
                let step = machine.grant(now);
                if step == Step::Send {
                    self.pay(now, Sent { records: 0, bytes: bytes as u64 });
                }
                return Some((session, partition, step));
            }
        }
        None
    }

    /// Ends sessions without a word.
    pub(super) fn end_all(&mut self, now: Instant, is_meant: impl Fn(&Parties) -> bool) {
        for asking in self.asking.iter_mut().filter(|one| is_meant(one.machine.parties())) {
            asking.machine.on_disconnected();
        }
        for answering in self.answering.iter_mut().filter(|one| is_meant(one.machine.parties())) {
            answering.machine.on_disconnected();
        }
        self.collect(now);
    }

    /// Forgets the sessions that have ended. At most one finishes in one event.
    pub(super) fn collect(&mut self, now: Instant) -> Option<Finished> {
        let mut finished = None;
        let mut index = 0;
        while let Some(session) = self.active.get(index).copied() {
            let side = self.side(session);
            let Parties { partition, peer, .. } = *side.parties();
            let Some(summary) = side.summary().copied() else {
                index += 1;
                continue;
            };
            self.active.swap_remove(index);
            self.count(session.role, &summary);
            if session.role == Role::Asking {
                self.schedule.on_end(now, partition, peer, &summary);
            }
            if summary.reason == EndReason::Finished {
                let Summary { repaired, differences, .. } = summary;
                finished = Some(Finished { partition, peer, repaired, differences });
            }
        }
        finished
    }

    fn count(&mut self, role: Role, summary: &Summary) {
        let counts = &mut self.counts;
        counts.sent += summary.sent;
        counts.got += summary.got;
        if role == Role::Asking {
            let has_finished = summary.reason == EndReason::Finished;
            *(if has_finished { &mut counts.finished } else { &mut counts.failed }) += 1;
            counts.repaired += u64::from(summary.repaired);
            counts.unrepaired += u64::from(summary.differences);
        }
    }

    pub(super) fn update_next(&mut self, now: Instant) {
        let asking = self.active.iter().filter(|session| session.role == Role::Asking).count();
        let may_begin = asking < self.asking.len() && !self.is_held;
        let begin = self.schedule.timeout().filter(|_| may_begin);
        let paid = self.pace.next().max(now);
        let sessions = self.active.iter().filter_map(|session| {
            let slot = usize::from(session.slot);
            let later = match session.role {
                Role::Asking => self.asking[slot].later,
                Role::Answering => self.answering[slot].later,
            };
            let side = self.side(*session);
            let later = later.filter(|later| !later.is_running).map(|later| later.at.max(paid));
            let want = side.want().map(|_| paid);
            [later, want, side.timeout()].into_iter().flatten().min()
        });
        self.next = sessions.chain(begin).min();
    }

    /// Whose frame it is: the lower node asks.
    pub(super) fn find(&self, me: NodeId, frame: ExchangeFrame) -> Option<Session> {
        let ExchangeFrame { link, node, number, .. } = frame;
        self.active.iter().copied().find(|session| {
            let is_its = match session.role {
                Role::Asking => node > me && self.side(*session).parties().peer == node,
                Role::Answering => {
                    node < me && self.answering[usize::from(session.slot)].link == link
                }
            };
            is_its && session.number == number
        })
    }
}
