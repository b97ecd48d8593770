//! Whether this node's data directory is the newest that there was, or an older copy of it that
//! was put back.
//!
//! *Problem.* What is reaped leaves all nodes, and nothing remembers it: an older copy of one
//! member's directory may hold a value whose tombstone is gone, or a hint for one. (Writes that it
//! lacks are like those of a lost disk: the others have them.) A boot number does not tell an old
//! copy, as a life of a month has written it once. *Answer.* Each node has a *reap epoch* on disk,
//! which rises between the two questions of each reaping, and all remember which epochs the others
//! have had. Whoever is told that it had more than its disk says knows that the disk is old.
//!
//! ```text
//! survey: asks all, each says its epoch; m = the greatest ─► the asker's node raises to m + 1
//!   raised ─► on disk ─► claimed to all ─► they raise to that, on disk, claimed to all
//!   all claims known are above m ─► on disk: the floor is above m
//! survey: asks all again, each says its floor; erases only if all are above m
//! start:  Waiting ── a member tells its claims ─┬─ one of them is above mine ─► Outdated: ends
//!                                               └─ none is ──────────────────► Vouched
//! ```
//! *Why it holds.* When a member agrees the first time it has the tombstone, or nothing, on disk,
//! at an epoch of m at most. A copy of its disk that lacks that is older, so of an epoch of m at
//! most, too; whatever was erased, each member has on disk by then that it had more. A claim is a
//! fact that stays true, hence it is handed on, and the greatest holds; a node claims what it has
//! on disk alone, so only a copy can be told more than it has.
//!
//! Until it is vouched for, a node gives its shards the topology under a name of its own
//! ([`Node::published`]): whatever they send to others, or are asked by them, is refused as of
//! another topology. Clients are served as by a node that is cut off, if the disk is where the
//! last life left it ([`Audience`]): so one that starts alone answers them. It is vouched for by a
//! settled member that is itself; or, where none is, as after a stop of all, by all of them, or
//! after [`VOUCH_PAUSE`] by those that are there. But not where it was copied: those may be copies
//! of the same time. Who was never in a cluster with others has nobody to ask. It then has on disk
//! what it was told: an epoch that was raised for an erasing before it became a member, too.
//!
//! A copy may be put back in the midst of a reaping to which its former life has agreed. So a floor
//! counts what members said last themselves, not only the greatest that is known of them; and a
//! node raises its epoch only once it is vouched for, all members have told it theirs on the
//! current topology, and no frame is left of those that its former life has sent.
//!
//! *Left out.* A copy that was not made at one instant, of a node that was running; a snapshot of
//! one whose writes wait for their sync (`interval`, `none`), in the moment between the epoch and
//! what it had agreed to in a compaction; a member that was removed and one that was put back that
//! meet each other alone; a whole cluster that was put back, which has nobody who knows better: it
//! goes on if its parts are of one time; so does one of a node that was the only member then, until
//! it meets others.

use super::{Node, NodeOutput};
use crate::id::{NodeId, TopologyId};
use crate::limits::{MEMBER_COUNT_MAX, VOUCH_PAUSE};
use crate::time::Instant;
use crate::wire::epochs::{Claim, Epochs as Told};
use crate::wire::survey::Epochs;
use core::mem;
use heapless::Vec;

/// Ascending by node, none twice.
pub type Claims = Vec<Claim, MEMBER_COUNT_MAX>;

/// What this node knows of the epochs of all members.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When this life began.
    began: Option<Instant>,
    /// The greatest claims; its own is what is being raised.
    claims: Claims,
    /// As they were when the write began that goes on, or that ended last.
    written: Claims,
    /// What is on disk.
    durable: Claims,
    /// The least of those of all members, and of what they said last themselves.
    floor: u64,
    /// Who has told its claims in this life, on the topology that is published, and which epoch it
    /// had when it did so last.
    heard: Vec<(NodeId, u64), MEMBER_COUNT_MAX>,
    heard_in: TopologyId,
    /// One of those was vouched for itself.
    has_voucher: bool,
    /// When a settled member told its claims first.
    first_heard: Option<Instant>,
    trust: Trust,
    /// When its own was raised last in this life.
    raised_at: Option<Instant>,
    /// It is to be above this.
    wanted: Option<u64>,
    /// All are to be told, behind the current input.
    is_news: bool,
}

/// Whom a node may answer, by what is known of its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audience {
    /// The disk is the newest that there was, as members have said; or there are no others.
    All,
    /// Nobody has said so yet, but the disk is where the last life left it.
    Clients,
    /// Nobody has said so yet, and the disk was copied, or may have been: what was deleted and has
    /// left all others since may be on it.
    Nobody,
}

/// The life of a data directory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Trust {
    /// Nobody has said yet whether it is the newest.
    #[default]
    Waiting,
    /// It is.
    Vouched,
    /// It is not, for ever.
    Outdated,
}

impl Node<'_> {
    /// What shards say of this node when they are asked whether records may leave: to be told them
    /// before anything is done for an output.
    pub fn epochs(&self) -> Epochs {
        let raised = raised(&self.epochs.claims, self.config.member.node);
        Epochs { raised, floor: self.epochs.floor }
    }

    /// Whether the data directory was found to be the newest.
    pub fn is_vouched(&self) -> bool {
        self.epochs.trust == Trust::Vouched
    }

    /// Whom the shards may answer.
    pub fn audience(&self) -> Audience {
        match self.is_vouched() {
            true => Audience::All,
            false if self.config.in_place => Audience::Clients,
            false => Audience::Nobody,
        }
    }

    /// What [`NodeOutput::SendEpochs`] sends, and what goes with each topology: all claims that
    /// this node knows, its own as it is on disk.
    pub fn claims(&self) -> Claims {
        let me = self.config.member.node;
        let mut claims = self.epochs.claims.clone();
        claims.retain(|claim| claim.node() != me);
        raise(&mut claims, me, raised(&self.epochs.durable, me));
        claims
    }

    /// What is to be written to disk besides the operations.
    pub fn claims_to_keep(&self) -> &[Claim] {
        &self.epochs.claims
    }

    /// Whether `node` has not told its claims on this topology yet.
    pub fn asks_epochs(&self, node: NodeId) -> bool {
        self.epochs.stated(node).is_none()
    }

    /// What was on disk when this life began.
    pub(super) fn restore_claims(&mut self, claims: &[Claim]) {
        self.epochs.claims = Vec::from_slice(claims).expect("no more than members");
        self.epochs.written.clone_from(&self.epochs.claims);
        self.epochs.durable.clone_from(&self.epochs.claims);
    }

    /// The name of the published topology for the shards: its own id once this node is vouched
    /// for, or has nothing to give as it is no member.
    pub(super) fn shown_topology(&self) -> TopologyId {
        if self.epochs.trust == Trust::Vouched || !self.is_member() {
            return self.published;
        }
        TopologyId(!self.published.0 ^ u64::from(self.config.member.node.0))
    }

    pub(super) fn begin_life(&mut self, now: Instant) {
        self.epochs.began.get_or_insert(now);
    }

    /// The claims are about to be written with the operations.
    pub(super) fn on_writing_claims(&mut self) {
        self.epochs.written.clone_from(&self.epochs.claims);
    }

    /// They were written.
    pub(super) fn on_claims_written(&mut self) {
        let me = self.config.member.node;
        let before = raised(&self.epochs.durable, me);
        self.epochs.durable.clone_from(&self.epochs.written);
        self.epochs.is_news |= raised(&self.epochs.durable, me) != before;
        self.update_floor();
    }

    /// Another topology is in force: what was told on the one before says nothing of those that
    /// changed to it meanwhile.
    pub(super) fn on_epoch_topology(&mut self, now: Instant) {
        let me = self.config.member.node;
        let Node { epochs, rings, published, .. } = self;
        if epochs.heard_in != *published {
            epochs.heard_in = *published;
            epochs.heard.clear();
            if epochs.trust == Trust::Waiting {
                (epochs.has_voucher, epochs.first_heard) = (false, None);
            }
        }
        // Others may still tell its own to one that has left.
        epochs.claims.retain(|claim| claim.node() == me || rings.contains(claim.node()));
        self.update_floor();
        // It is about to be published.
        self.vouch(now);
    }

    /// `from` tells its claims, and names `topology`.
    pub(super) fn on_epochs(
        &mut self,
        now: Instant,
        (from, topology): (NodeId, TopologyId),
        told: &Told<'_>,
    ) {
        let me = self.config.member.node;
        let own = raised(&self.epochs.claims, me);
        #[cfg(feature = "plant")]
        let own =
            if crate::plant::is(crate::plant::Plant::BackupUnnoticed) { u64::MAX } else { own };
        if raised(told.claims, me) > own {
            self.epochs.trust = Trust::Outdated;
            return self.output(NodeOutput::Outdated { told_by: from });
        }
        let stated = raised(told.claims, from);
        if told.asks && !told.vouched && raised(&self.epochs.claims, from) > stated {
            self.output(NodeOutput::PeerOutdated { node: from });
        }
        for claim in told.claims {
            if claim.node() != me && self.rings.contains(claim.node()) {
                raise(&mut self.epochs.claims, claim.node(), claim.raised());
            }
        }
        let is_known = topology == self.published && self.rings.contains(from);
        if is_known {
            self.on_heard(now, (from, stated), told.vouched);
            if stated > raised(&self.epochs.claims, me) {
                self.take_over(now, stated);
            }
        }
        if told.asks {
            self.output(NodeOutput::SendEpochs { to: from, asks: false });
        }
        if self.floor(&self.epochs.claims) > self.floor(&self.epochs.written) {
            self.persist();
        }
        self.review(now);
    }

    fn on_heard(&mut self, now: Instant, (from, stated): (NodeId, u64), is_vouched: bool) {
        let heard = &mut self.epochs.heard;
        match heard.iter().position(|(node, _)| *node == from) {
            Some(index) => heard[index].1 = stated,
            None => heard.push((from, stated)).expect("no more than members"),
        }
        self.update_floor();
        if self.rings.holders().any(|node| node == from) {
            self.epochs.first_heard.get_or_insert(now);
            self.epochs.has_voucher |= is_vouched;
        }
    }

    /// A shard is to reap what members of an epoch of `above` at most have agreed to.
    pub(super) fn on_raise(&mut self, now: Instant, above: u64) {
        let own = raised(&self.epochs.claims, self.config.member.node);
        if own > above {
            // Whoever has not answered that is told again.
            for index in 0..self.peers.len() {
                let to = self.peers[index];
                if self.rings.contains(to) && raised(&self.epochs.claims, to) <= above {
                    self.output(NodeOutput::SendEpochs { to, asks: true });
                }
            }
        } else {
            self.epochs.wanted = self.epochs.wanted.max(Some(above));
            self.raise_wanted(now);
        }
    }

    /// Another member has that epoch: this one is to have it, too, as soon as it may.
    fn take_over(&mut self, now: Instant, epoch: u64) {
        if self.may_raise() && self.raises_from() <= now {
            self.raise_to(now, epoch);
        } else if self.may_raise() {
            self.epochs.wanted = self.epochs.wanted.max(Some(epoch - 1));
        }
    }

    /// Raises the epoch as far as shards want, if it was not raised just now: those that agree a
    /// little later share the next one.
    pub(super) fn raise_wanted(&mut self, now: Instant) {
        let Some(above) = self.epochs.wanted else { return };
        let own = raised(&self.epochs.claims, self.config.member.node);
        if own > above || !self.may_raise() {
            // Where it may not rise, what waits for it is put off, and asked about again.
            self.epochs.wanted = None;
        } else if self.next_raise().is_some_and(|at| at <= now) {
            self.raise_to(now, above.saturating_add(1));
        }
    }

    /// When [`Node::raise_wanted`] has something to do.
    pub(super) fn next_raise(&self) -> Option<Instant> {
        let Known { wanted, raised_at, .. } = &self.epochs;
        let pause = self.config.frame_age_max / RAISES_PER_WAIT;
        wanted.map(|_| raised_at.map_or(Instant(0), |at| at + pause).max(self.raises_from()))
    }

    /// `from` is there: it is asked again for what it has not told.
    pub(super) fn ask_epochs_again(&mut self, from: NodeId) {
        let is_wanted = self.epochs.trust == Trust::Waiting || self.asks_epochs(from);
        if is_wanted && self.is_member() && self.rings.contains(from) && self.is_reachable(from) {
            self.output(NodeOutput::SendEpochs { to: from, asks: true });
        }
    }

    /// When the members that are there are enough to be vouched for by.
    pub(super) fn next_review(&self) -> Option<Instant> {
        let is_waiting = self.epochs.trust == Trust::Waiting
            && self.config.in_place
            && self.is_member()
            && !self.persisting;
        self.epochs.first_heard.filter(|_| is_waiting).map(|at| at + VOUCH_PAUSE)
    }

    /// Looks whether this node is vouched for by now: then its shards may speak.
    pub(super) fn review(&mut self, now: Instant) {
        if self.vouch(now) {
            self.output(NodeOutput::Publish { topology: self.published() });
        }
    }

    /// Whether this node is vouched for from now on, and was not before.
    fn vouch(&mut self, now: Instant) -> bool {
        if self.epochs.trust != Trust::Waiting || !self.is_member() {
            return false;
        }
        let Known { has_voucher, first_heard, .. } = &self.epochs;
        let me = self.config.member.node;
        let has_told = |node: NodeId| node == me || self.epochs.stated(node).is_some();
        let has_waited = first_heard.is_some_and(|at| at + VOUCH_PAUSE <= now);
        let is_enough = *has_voucher
            || self.rings.holders().all(has_told)
            || self.config.in_place && has_waited;
        if !is_enough {
            return false;
        }
        // Whoever is vouched for vouches for others, also in its next life.
        if self.epochs.claims != self.epochs.durable {
            if self.epochs.claims != self.epochs.written || !self.persisting {
                self.persist();
            }
            return false;
        }
        self.epochs.trust = Trust::Vouched;
        self.epochs.is_news = true;
        true
    }

    /// Tells all members, if there is something that they do not know.
    pub(super) fn tell_epochs(&mut self) {
        if !mem::take(&mut self.epochs.is_news) {
            return;
        }
        for index in 0..self.peers.len() {
            let to = self.peers[index];
            if self.rings.contains(to) {
                self.output(NodeOutput::SendEpochs { to, asks: false });
            }
        }
    }

    /// All are told with a topology.
    pub(super) fn on_epochs_told(&mut self) {
        self.epochs.is_news = false;
    }

    fn raise_to(&mut self, now: Instant, epoch: u64) {
        self.epochs.raised_at = Some(now);
        raise(&mut self.epochs.claims, self.config.member.node, epoch);
        self.persist();
    }

    /// From then on no frame is left that a former life has sent.
    fn raises_from(&self) -> Instant {
        self.epochs.began.map_or(Instant(u64::MAX), |at| at + self.config.frame_age_max)
    }

    fn may_raise(&self) -> bool {
        let me = self.config.member.node;
        let is_heard = |node: &NodeId| *node == me || self.epochs.stated(*node).is_some();
        self.is_vouched() && self.rings.nodes().iter().all(is_heard)
    }

    /// What was handed on by others does not count here: a member that was put back, and of which
    /// nobody has heard yet that it had more, says less.
    fn update_floor(&mut self) {
        let me = self.config.member.node;
        let stated = self.rings.nodes().into_iter().filter(|node| *node != me);
        let least = stated.map(|node| self.epochs.stated(node).unwrap_or(0)).min();
        let known = self.floor(&self.epochs.durable);
        self.epochs.floor = least.map_or(known, |least| least.min(known));
    }

    /// The least claim of any member; 0 if one has made none.
    fn floor(&self, claims: &[Claim]) -> u64 {
        let of_all = self.rings.nodes().into_iter().map(|node| raised(claims, node));
        of_all.min().unwrap_or(0)
    }
}

impl Known {
    /// The epoch that `node` had when it told its claims last; none if it has not.
    fn stated(&self, node: NodeId) -> Option<u64> {
        self.heard.iter().find(|(known, _)| *known == node).map(|(_, epoch)| *epoch)
    }
}

/// How often an epoch rises at most while a survey waits for its second question.
const RAISES_PER_WAIT: u32 = 2;

/// What `node` has claimed; 0 if nothing.
fn raised(claims: &[Claim], node: NodeId) -> u64 {
    claims.binary_search_by_key(&node, Claim::node).map_or(0, |index| claims[index].raised())
}

/// `node` claims that epoch, or has claimed more.
fn raise(claims: &mut Claims, node: NodeId, epoch: u64) {
    match claims.binary_search_by_key(&node, Claim::node) {
        Ok(index) => {
            let epoch = claims[index].raised().max(epoch);
            claims[index] = Claim::new(node, epoch);
        }
        Err(index) if epoch > 0 => {
            // More than there may be members are there for one that has left, which reaps nothing.
            let _full = claims.insert(index, Claim::new(node, epoch));
        }
        Err(_) => {}
    }
}
