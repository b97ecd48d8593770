//! What is said of members, and what becomes of it.

use super::{Detector, Stage};
use crate::id::{Boot, NodeId};
use crate::limits::HEALTH_MULTIPLIER_MAX;
use crate::time::Instant;
use crate::wire::gossip::{Liveness, Update};

/// What somebody says of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Claim {
    pub(super) node: NodeId,
    pub(super) boot: Boot,
    pub(super) incarnation: u32,
    pub(super) status: Liveness,
}

impl Claim {
    /// Of two claims about one node the greater holds.
    pub(super) fn rank(&self) -> (Boot, u32, Liveness) {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::BootIgnored) {
            return (Boot(0), self.incarnation, self.status);
        }
        (self.boot, self.incarnation, self.status)
    }

    /// The claim as it travels.
    pub(super) fn update(&self, accuser: NodeId) -> Update {
        let &Claim { node, boot, incarnation, status } = self;
        Update { node, boot, incarnation, status, accuser }
    }
}

impl From<Update> for Claim {
    fn from(update: Update) -> Claim {
        let Update { node, boot, incarnation, status, .. } = update;
        Claim { node, boot, incarnation, status }
    }
}

impl Detector<'_> {
    /// `from` passes on what is said of a node.
    pub(super) fn on_update(&mut self, now: Instant, from: NodeId, update: Update, is_table: bool) {
        let mut claim = Claim::from(update);
        let mut accuser = update.accuser;
        if claim.node == self.config.node {
            return self.on_own_claim(claim);
        }
        let Some(index) = self.find(claim.node) else { return };
        // A table speaks of the past, perhaps of the other side of a split: a member that is
        // known here not to be down may answer first. (memberlist does the same.)
        let known = self.entries[index].claim;
        let is_up = known.boot == claim.boot && known.status != Liveness::Down;
        if is_table && is_up && claim.status == Liveness::Down {
            claim.status = Liveness::Suspect;
            accuser = from;
        }
        self.on_claim(now, index, claim, accuser);
    }

    /// Takes a claim about another member; `accuser` is 0 unless it is an accusation.
    pub(super) fn on_claim(&mut self, now: Instant, index: usize, claim: Claim, accuser: NodeId) {
        let factor = self.health_multiplier();
        let entry = &mut self.entries[index];
        if claim.rank() > entry.claim.rank() {
            entry.replace(now, claim, accuser, factor);
            self.has_changed = true;
        } else if claim == entry.claim && claim.status == Liveness::Suspect {
            entry.confirm(accuser);
        }
    }

    /// Somebody says something of this node itself.
    fn on_own_claim(&mut self, claim: Claim) {
        let mine = self.me.claim;
        // An incarnation is raised by its owner alone: a higher one is another process, too.
        if (claim.boot, claim.incarnation) > (mine.boot, mine.incarnation) {
            self.stage = Stage::Superseded;
            return;
        }
        if claim.status == Liveness::Alive {
            return;
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::SuspicionNotRefuted) {
            return;
        }
        if claim.rank() > mine.rank() {
            // At the last of four billion nothing can be refuted any more until a restart.
            self.me.claim.incarnation = mine.incarnation.saturating_add(1);
            self.lose_health();
        }
        // It was refuted before, perhaps, but the sender had not heard that.
        self.me.sent = 0;
    }

    /// The suspect has not refuted in time.
    pub(super) fn on_suspicion_timeout(&mut self, now: Instant, index: usize) {
        let known = self.entries[index].claim;
        assert!(known.status == Liveness::Suspect);
        self.on_claim(now, index, Claim { status: Liveness::Down, ..known }, NodeId(0));
    }

    pub(super) fn lose_health(&mut self) {
        self.health = (self.health + 1).min(HEALTH_MULTIPLIER_MAX - 1);
    }
}
