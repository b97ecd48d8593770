//! The part of a member while another node is being added.

use super::{Message, Node, NodeOutput, Verdict};
use crate::id::{NodeId, TopologyId};
use crate::limits::{HOLD_QUERY, JOIN_TIMEOUT, MEMBER_COUNT_MAX};
use crate::membership::topology::Operation;
use crate::time::Instant;
use heapless::Vec;

/// A member's word that it holds writes for an attempt to add a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vote {
    /// The newcomer's number for its attempt.
    pub attempt: u32,
    /// The operation.
    pub operation: Operation,
}

/// What is held for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    newcomer: NodeId,
    attempt: u32,
    operation: Operation,
    /// When the newcomer counts as silent, or the others are asked again.
    until: Instant,
}

/// Whether client writes are held; the variants read as the life of a hold.
#[derive(Debug)]
pub(super) enum Hold {
    /// They are not.
    None,
    /// The shards are being told.
    Closing(Held),
    /// The vote goes to disk: a restart must not forget it.
    Voting(Held),
    /// HELD was sent: the newcomer decides.
    Waiting(Held),
    /// No COMMIT is accepted any more; the others are asked to promise the same.
    Asking(Held),
    /// COMMIT was accepted; the Add is being persisted.
    Committing(Held),
}

impl Hold {
    pub(super) fn is_holding(&self) -> bool {
        !matches!(self, Hold::None)
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        match self {
            Hold::Waiting(held) | Hold::Asking(held) => Some(held.until),
            Hold::None | Hold::Closing(_) | Hold::Voting(_) | Hold::Committing(_) => None,
        }
    }

    fn held(&self) -> Option<&Held> {
        match self {
            Hold::None => None,
            Hold::Closing(held)
            | Hold::Voting(held)
            | Hold::Waiting(held)
            | Hold::Asking(held)
            | Hold::Committing(held) => Some(held),
        }
    }

    fn is_for(&self, attempt: u32, operation: &Operation) -> bool {
        self.held().is_some_and(|held| held.attempt == attempt && held.operation == *operation)
    }
}

impl Node<'_> {
    pub(super) fn on_hold(
        &mut self,
        now: Instant,
        from: NodeId,
        topology: TopologyId,
        attempt: u32,
        operation: Operation,
    ) {
        // Whoever knows another topology has not asked the same members.
        let same = topology == self.topology.id();
        let other = (!same).then_some(Verdict::Busy);
        let refusal = self.hold_refusal(attempt, &operation).or(other);
        if let Some(verdict) = refusal {
            if verdict == Verdict::Already || !same {
                self.output(NodeOutput::SendTopology { to: from });
            }
            return self.send(from, attempt, Message::Held(verdict), operation);
        }
        let until = now + JOIN_TIMEOUT;
        self.hold = Hold::Closing(Held { newcomer: from, attempt, operation, until });
        self.output(NodeOutput::HoldShards);
    }

    fn hold_refusal(&self, attempt: u32, operation: &Operation) -> Option<Verdict> {
        if !self.is_member() {
            return Some(Verdict::NotMember);
        }
        if self.operations().iter().any(|known| known == *operation) {
            return Some(Verdict::Already);
        }
        let Operation::Add(newcomer) = operation;
        let promised = self.promised.iter().any(|given| *given == (newcomer.node, attempt));
        if self.hold.is_holding() || self.persisting || promised {
            return Some(Verdict::Busy);
        }
        let members = self.topology.members();
        let away = members.iter().any(|member| !self.is_reachable(member.node));
        away.then_some(Verdict::MemberAway)
    }

    pub(super) fn on_shards_held(&mut self, empty: bool) {
        let Hold::Closing(held) = self.hold else { return };
        if empty {
            self.hold = Hold::Voting(held);
            return self.persist();
        }
        let verdict = Message::Held(Verdict::DataPresent);
        self.send(held.newcomer, held.attempt, verdict, held.operation);
        self.release();
    }

    /// What must survive a restart of the hold: whom HELD was, or may have been, sent to.
    pub fn vote(&self) -> Option<Vote> {
        let held = match &self.hold {
            Hold::None | Hold::Closing(_) => return None,
            hold => hold.held()?,
        };
        Some(Vote { attempt: held.attempt, operation: held.operation })
    }

    /// The process had voted in its earlier life: it holds until it knows what became of it.
    pub(super) fn restore_vote(&mut self, now: Instant, vote: Vote) {
        let Vote { attempt, operation } = vote;
        let Operation::Add(member) = operation;
        let newcomer = member.node;
        self.hold = Hold::Waiting(Held { newcomer, attempt, operation, until: now });
        self.output(NodeOutput::HoldShards);
    }

    pub(super) fn on_commit(&mut self, from: NodeId, attempt: u32, operation: Operation) {
        let known = self.operations().iter().any(|known| known == operation);
        if known && !self.persisting {
            return self.send(from, attempt, Message::Committed(Verdict::Yes), operation);
        }
        match self.hold {
            Hold::Waiting(held) if self.hold.is_for(attempt, &operation) => {
                if self.topology.insert(&operation).is_err() {
                    self.output(NodeOutput::TopologyFull);
                    let verdict = Message::Committed(Verdict::Busy);
                    return self.send(from, attempt, verdict, operation);
                }
                self.hold = Hold::Committing(held);
                self.persist();
            }
            Hold::Committing(_) if self.hold.is_for(attempt, &operation) => {}
            _ => self.send(from, attempt, Message::Committed(Verdict::Busy), operation),
        }
    }

    /// The topology is on disk; if it has the Add, writes may go on.
    pub(super) fn on_hold_persisted(&mut self, now: Instant) {
        if let Hold::Voting(held) = self.hold {
            let verdict = Message::Held(Verdict::Yes);
            self.send(held.newcomer, held.attempt, verdict, held.operation);
            self.hold = Hold::Waiting(Held { until: now + JOIN_TIMEOUT, ..held });
        }
        if let Hold::Committing(held) = self.hold {
            let verdict = Message::Committed(Verdict::Yes);
            self.send(held.newcomer, held.attempt, verdict, held.operation);
        }
        self.on_hold_topology();
    }

    /// Another member committed what is held for: once persisted, the hold is over.
    pub(super) fn on_hold_topology(&mut self) {
        let Some(held) = self.hold.held() else { return };
        let operation = held.operation;
        let known = self.operations().iter().any(|known| known == operation);
        if known && !self.persisting {
            self.release();
        }
    }

    pub(super) fn on_abort(&mut self, from: NodeId, attempt: u32, operation: Operation) {
        let known = self.operations().iter().any(|known| known == operation);
        let Operation::Add(newcomer) = operation;
        if known {
            self.output(NodeOutput::SendTopology { to: from });
            let verdict = Message::Aborted(Verdict::Already);
            return self.send(from, attempt, verdict, operation);
        }
        if from == newcomer.node {
            // The newcomer decides, and it decided against it.
            if self.hold.is_for(attempt, &operation) {
                self.release();
            }
            return;
        }
        if self.hold.is_for(attempt, &operation) {
            self.promise();
        }
        // Its HOLD may still be on the way: the promise binds then, too.
        if self.promised.is_full() {
            self.promised.pop_front();
        }
        self.promised.push_back((newcomer.node, attempt)).expect("room was made");
        self.send(from, attempt, Message::Aborted(Verdict::Yes), operation);
    }

    /// Never accepts a COMMIT of the current attempt any more.
    fn promise(&mut self) {
        if let Hold::Closing(held) | Hold::Voting(held) | Hold::Waiting(held) = self.hold {
            self.unpromised = self.others();
            self.hold = Hold::Asking(held);
        }
    }

    pub(super) fn on_hold_timeout(&mut self, now: Instant) {
        self.promise();
        let Hold::Asking(held) = &mut self.hold else { return };
        held.until = now + HOLD_QUERY;
        let held = *held;
        if self.unpromised.is_empty() {
            return self.release();
        }
        for index in 0..self.unpromised.len() {
            self.send(self.unpromised[index], held.attempt, Message::Abort, held.operation);
        }
    }

    pub(super) fn on_hold_peer_down(&mut self, now: Instant, node: NodeId) {
        if let Hold::Waiting(held) = &mut self.hold
            && held.newcomer == node
        {
            held.until = now;
        }
    }

    pub(super) fn on_aborted(
        &mut self,
        from: NodeId,
        attempt: u32,
        operation: Operation,
        verdict: Verdict,
    ) {
        if verdict != Verdict::Yes || !self.hold.is_for(attempt, &operation) {
            return;
        }
        let Hold::Asking(_) = self.hold else { return };
        self.unpromised.retain(|waited| *waited != from);
        if self.unpromised.is_empty() {
            self.release();
        }
    }

    fn release(&mut self) {
        assert!(self.hold.is_holding());
        let has_voted = self.vote().is_some();
        self.hold = Hold::None;
        self.output(NodeOutput::ReleaseShards);
        if has_voted {
            self.persist();
        }
    }

    /// The members without this node.
    fn others(&self) -> Vec<NodeId, MEMBER_COUNT_MAX> {
        let members = self.topology.members();
        let me = self.config.member.node;
        members.iter().map(|member| member.node).filter(|node| *node != me).collect()
    }
}
