//! Whom this shard can reach, and whom it does without: peers whose links stand may hang all the
//! same. See [`health`](crate::health).
//!
//! A suspect is as good as out of reach as long as there are others: reads ask these, writes have
//! somebody else stand in, requests are handed on elsewhere. But suspicion makes no request fail: a
//! quorum that cannot be met without suspects is asked of them, too, and has until its deadline.

use super::coordinate::Nodes;
use super::{Output, Shard};
use crate::health::{Due, HealthFigures};
use crate::id::{NodeId, Partition, RequestId};
use crate::quorum::{Need, Tally, Verdict};
use crate::request::{Kind, Phase, Request, Target};
use crate::ring::Owners;
use crate::time::Instant;

impl Shard<'_> {
    /// What this shard has come to with its peers.
    pub fn health_figures(&self) -> HealthFigures {
        self.health.figures
    }

    /// The peers that are silent although their links stand, ascending.
    pub fn suspects(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.health.suspects()
    }

    /// The earliest time at which what is read at `now` may have arrived: long ago, if this process
    /// was stopped meanwhile.
    pub fn arrived(&self, now: Instant) -> Instant {
        self.pulse.arrived(now)
    }

    /// Links to it stand; or it is this node.
    pub(super) fn is_reachable(&self, node: NodeId) -> bool {
        node == self.config.node || self.reachable.binary_search(&node).is_ok()
    }

    /// It can be reached, and is not suspect.
    pub(super) fn is_well(&self, node: NodeId) -> bool {
        self.is_reachable(node) && !self.health.is_suspect(node)
    }

    /// It is suspect, but can be reached.
    fn is_doubtful(&self, node: NodeId) -> bool {
        self.is_reachable(node) && self.health.is_suspect(node)
    }

    /// The first of `nodes` that is well; else the first that can be reached.
    pub(super) fn first_near(&self, nodes: &[NodeId]) -> Option<NodeId> {
        let find = |is: &dyn Fn(NodeId) -> bool| nodes.iter().copied().find(|node| is(*node));
        find(&|node| self.is_well(node)).or_else(|| find(&|node| self.is_reachable(node)))
    }

    /// Whether the request behind `tally` may succeed although nobody does anything for it who is
    /// suspect or out of reach, and others stand in for those as far as there are any.
    fn can_spare_suspects(&self, partition: Partition, tally: &Tally) -> bool {
        let open: Nodes = tally.open().filter(|node| !self.is_well(*node)).collect();
        let mut tally = *tally;
        for node in open {
            let owner = tally.target(node).unwrap_or(node);
            if let Some(stand_in) = self.next_stand_in(partition, &tally, owner) {
                tally.stand_in(stand_in, owner);
            }
            tally.on_failure(node);
        }
        tally.verdict() != Verdict::Impossible
    }

    /// What a write that needs `need` of `owners` needs and cannot get whatever happens, and how
    /// much of it can be had; none if it may succeed.
    pub(super) fn out_of_reach(&self, owners: &Owners, need: Need) -> Option<(u8, u8)> {
        if owners.iter().all(|owner| self.is_reachable(*owner)) {
            return None;
        }
        let mut tally = Tally::new(owners, need);
        let is_spare = |node: &NodeId| self.is_reachable(*node) && !owners.contains(node);
        let mut spare = self.rings.committed().nodes().filter(is_spare);
        for owner in owners.iter().filter(|owner| !self.is_reachable(**owner)) {
            if self.config.keeps_hints
                && let Some(node) = spare.next()
            {
                tally.stand_in(node, *owner);
            }
            tally.on_failure(*owner);
        }
        (tally.verdict() == Verdict::Impossible).then(|| tally.outlook())
    }

    /// Whether the write behind `tally` goes on without `node`.
    pub(super) fn does_without(&self, partition: Partition, tally: &Tally, node: NodeId) -> bool {
        !self.is_reachable(node)
            || self.is_doubtful(node) && self.can_spare_suspects(partition, tally)
    }

    /// Whether the read behind `tally` asks who stands in for `node` instead of `node`. One for
    /// which nobody does is asked when all others were.
    pub(super) fn reads_past(&self, request: &Request, tally: &Tally, node: NodeId) -> bool {
        let owner = tally.target(node).unwrap_or(node);
        !self.is_reachable(node)
            || self.is_doubtful(node) && self.next_reader(request, tally, owner).is_some()
    }

    /// A peer said something; about the request `op`, if it is an answer.
    pub(super) fn on_heard(&mut self, now: Instant, node: NodeId, op: RequestId) {
        if node != self.config.node && self.health.on_heard(now, node, op) {
            self.handoff.on_reachable(now, node);
        }
    }

    /// Notes that a frame goes to a peer.
    pub(super) fn note_sent(&mut self, output: &Output) {
        let now = self.now;
        let (node, partition) = match *output {
            Output::Replicate { node, partition, .. } => (node, partition),
            Output::Forward { target: Target::Node(node), partition, .. } => (node, partition),
            Output::Ask { op, node, partition, .. } => {
                // A page takes longer than a record, and says nothing of how long that takes.
                let request = self.table.get(op).map(|pending| pending.request.kind);
                if !matches!(request, Some(Kind::Scan { .. })) {
                    self.health.time(now, node, op);
                }
                (node, partition)
            }
            _ => return,
        };
        self.health.on_sent(now, node, partition);
    }

    /// What is due for peers, of each at most once; whoever waits for a new suspect is visited.
    pub(super) fn step_health(&mut self, now: Instant) {
        while self.has_room()
            && let Some(due) = self.health.step(now)
        {
            match due {
                Due::Sign { node, partition } if self.is_reachable(node) => {
                    self.output(Output::Probe { node, partition });
                }
                Due::Opened => self.walk = Some(0),
                Due::Sign { .. } => {}
            }
        }
    }

    /// How long the read `op` waits before it asks one more: as long as the slowest of those that
    /// it waits for usually takes.
    pub(super) fn hedge_delay(&self, op: RequestId) -> core::time::Duration {
        let me = self.config.node;
        let get = match self.table.get(op).map(|pending| &pending.phase) {
            Some(Phase::Reading(get)) => get,
            _ => return crate::limits::READ_HEDGE,
        };
        let peers = get.tally().waited().filter(|node| *node != me);
        let slowest = peers.map(|node| self.health.hedge(node)).max();
        slowest.unwrap_or(crate::limits::READ_HEDGE)
    }
}
