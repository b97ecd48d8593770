//! The part of a node that wants to become a member.

use super::{Message, Node, NodeOutput, Verdict};
use crate::id::NodeId;
use crate::limits::{JOIN_PAUSE, JOIN_PAUSE_DOUBLED_MAX, JOIN_TIMEOUT, MEMBER_COUNT_MAX};
use crate::membership::topology::Operation;
use crate::prng::Prng;
use crate::time::Instant;
use core::time::Duration;
use heapless::Vec;

/// What the newcomer waits for; its variants read as its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// For the pause between two attempts to end.
    Resting { until: Instant },
    /// For every member to be reachable; `until` then nobody is told that one is not.
    Awaiting { until: Instant },
    /// For every member to hold.
    Holding { until: Instant },
    /// For a member to have persisted.
    Committing { until: Instant },
}

/// The newcomer's attempts.
#[derive(Debug)]
pub(super) struct Newcomer {
    stage: Stage,
    attempt: u32,
    /// Members that have not answered in this stage.
    waited: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Members asked in this attempt.
    asked: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Attempts in a row that met another newcomer's.
    busy_count: u32,
    /// The timer is armed.
    active: bool,
    prng: Prng,
}

impl Newcomer {
    pub(super) fn new(seed: u64) -> Newcomer {
        let mut prng = Prng::new(seed);
        Newcomer {
            stage: Stage::Resting { until: Instant(0) },
            // A restarted newcomer must not repeat the numbers of its earlier life.
            attempt: prng.next_u64() as u32,
            waited: Vec::new(),
            asked: Vec::new(),
            busy_count: 0,
            active: false,
            prng,
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        let (Stage::Resting { until }
        | Stage::Awaiting { until }
        | Stage::Holding { until }
        | Stage::Committing { until }) = self.stage;
        self.active.then_some(until)
    }

    fn answered(&mut self, node: NodeId) {
        self.waited.retain(|waited| *waited != node);
    }
}

impl Node<'_> {
    /// Starts an attempt if this node wants to join, has rested, and reaches every member.
    pub(super) fn try_join(&mut self, now: Instant) {
        let me = self.config.member.node;
        if !self.config.join || self.persisting || self.operations().is_empty() {
            return;
        }
        let members = self.topology.members();
        if members.iter().any(|member| member.node == me) {
            self.newcomer.active = false;
            return;
        }
        let is_awaiting = match self.newcomer.stage {
            Stage::Resting { until } if until > now => {
                self.newcomer.active = true;
                return;
            }
            Stage::Resting { .. } => false,
            Stage::Awaiting { .. } => true,
            Stage::Holding { .. } | Stage::Committing { .. } => return,
        };
        if members.iter().any(|member| !self.is_reachable(member.node)) {
            if !is_awaiting {
                self.newcomer.stage = Stage::Awaiting { until: now + JOIN_PAUSE };
                self.newcomer.active = true;
            }
            return;
        }
        self.newcomer.attempt = self.newcomer.attempt.wrapping_add(1);
        self.newcomer.asked.clear();
        self.newcomer.asked.extend(members.iter().map(|member| member.node));
        self.newcomer.waited = self.newcomer.asked.clone();
        self.newcomer.stage = Stage::Holding { until: now + JOIN_TIMEOUT };
        self.newcomer.active = true;
        self.send_to_asked(Message::Hold);
    }

    fn send_to_asked(&mut self, message: Message) {
        let operation = Operation::Add(self.config.member);
        for index in 0..self.newcomer.asked.len() {
            let (to, attempt) = (self.newcomer.asked[index], self.newcomer.attempt);
            self.send(to, attempt, message, operation);
        }
    }

    pub(super) fn on_held(&mut self, now: Instant, from: NodeId, attempt: u32, verdict: Verdict) {
        let holding = matches!(self.newcomer.stage, Stage::Holding { .. });
        if attempt != self.newcomer.attempt || !holding || !self.newcomer.active {
            return;
        }
        if verdict != Verdict::Yes {
            let is_busy = verdict == Verdict::Busy;
            self.newcomer.busy_count = if is_busy { self.newcomer.busy_count + 1 } else { 0 };
            self.output(NodeOutput::JoinRefused { by: from, verdict });
            return self.give_up(now);
        }
        self.newcomer.answered(from);
        if self.newcomer.waited.is_empty() {
            self.newcomer.waited = self.newcomer.asked.clone();
            self.newcomer.stage = Stage::Committing { until: now + JOIN_TIMEOUT };
            self.send_to_asked(Message::Commit);
        }
    }

    pub(super) fn on_committed(
        &mut self,
        now: Instant,
        from: NodeId,
        attempt: u32,
        verdict: Verdict,
    ) {
        if verdict == Verdict::Yes {
            // The member has it on disk: committed, whatever the others say.
            if self.topology.insert(&Operation::Add(self.config.member)) == Ok(true) {
                self.persist();
            }
            return;
        }
        let committing = matches!(self.newcomer.stage, Stage::Committing { .. });
        if attempt == self.newcomer.attempt && committing {
            self.newcomer.answered(from);
            if self.newcomer.waited.is_empty() {
                self.rest(now);
            }
        }
    }

    pub(super) fn on_newcomer_timeout(&mut self, now: Instant) {
        match self.newcomer.stage {
            Stage::Resting { .. } => {
                self.newcomer.active = false;
                self.try_join(now);
            }
            Stage::Awaiting { .. } => {
                self.newcomer.active = false;
                let (by, verdict) = (self.config.member.node, Verdict::MemberAway);
                self.output(NodeOutput::JoinRefused { by, verdict });
            }
            Stage::Holding { .. } => self.give_up(now),
            // Some members may have committed: their topology will say so.
            Stage::Committing { .. } => self.rest(now),
        }
    }

    pub(super) fn on_newcomer_peer_down(&mut self, now: Instant, node: NodeId) {
        let holding = matches!(self.newcomer.stage, Stage::Holding { .. });
        if holding && self.newcomer.active && self.newcomer.asked.contains(&node) {
            self.give_up(now);
        }
    }

    /// Ends an attempt that was not committed: nobody got a COMMIT of it, nobody ever will.
    fn give_up(&mut self, now: Instant) {
        assert!(matches!(self.newcomer.stage, Stage::Holding { .. }));
        self.send_to_asked(Message::Abort);
        self.rest(now);
    }

    /// Pauses a random while, so that two newcomers do not meet again; the longer, the more often
    /// they did: there may be many.
    fn rest(&mut self, now: Instant) {
        let doubled = self.newcomer.busy_count.min(JOIN_PAUSE_DOUBLED_MAX);
        let pause = JOIN_PAUSE.as_micros() as u64 * (1 << doubled);
        let pause = Duration::from_micros(pause + self.newcomer.prng.below(pause));
        self.newcomer.stage = Stage::Resting { until: now + pause };
        self.newcomer.active = true;
    }
}
