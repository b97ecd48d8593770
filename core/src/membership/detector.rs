//! Which members answer: SWIM with the Lifeguard extensions, as a value that a node holds once.
//!
//! Every T a node probes one member, round robin in a shuffled order. If no PONG comes in time,
//! up to three others are asked to try; if still none comes before T ends, the member is
//! suspected. A suspect that does not refute in time is down. Updates travel on the back of
//! probes, the least sent first. A claim is ordered by (boot, incarnation, status); only its owner
//! raises an incarnation, so what it says last holds everywhere.
//!
//! ```text
//!            on_probe_failed, on_update              on_suspicion_timeout, on_update
//!   Alive ──────────────────────────► Suspect ──────────────────────────────────► Down
//!     ▲◄── higher incarnation or boot ───┘                                          │
//!     └───────────────── higher incarnation or boot: it was probed, and refutes ────┘
//! ```
//!
//! Lifeguard: a node that hears nothing doubts itself first (its probes and its suspects get up to
//! 8 times as long); more accusers shorten the time to refute; what is claimed of a member is told
//! it in every message to it. A node that was paused gives the time back to its suspects.
//! Members that are down are probed for ever, so that splits heal without operators. Tables are
//! compared by digest with a random member each 30 s, by a new node when it connects, and by the
//! two ends of a split that has healed.
//!
//! Memory: no heap; 48 bytes for each other member, lent, and less than 640 bytes beside them.
//! Invariants: the set of members is given, never changed by what is heard; memory is fixed; one
//! mutation asks for at most [`SEND_COUNT_MAX`] messages.
//! Source: SWIM (Das et al. 2002), Lifeguard (Dadgar et al. 2017), memberlist's figures.

mod claim;
mod pace;
mod probe;
mod spread;
mod table;

#[cfg(test)]
mod tests;

pub use table::Entry;

use core::time::Duration;

use heapless::{Deque, Vec};

use crate::id::{Boot, NodeId};
use crate::limits::{BOOT_BITS, HEALTH_MULTIPLIER_MAX, MEMBER_COUNT_MAX};
use crate::prng::Prng;
use crate::time::Instant;
use crate::wire::gossip::{Gossip, Liveness, Signal};
use pace::Pace;
use probe::{Probe, Times};

/// Most messages that one mutation asks for: a request to each relay is the most that is needed,
/// or a relayed ping, its notice and a digest.
pub const SEND_COUNT_MAX: usize = 4;

/// What a detector is told once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DetectorConfig {
    /// This node. Not 0.
    pub node: NodeId,
    /// Its process life.
    pub boot: Boot,
    /// T, the time between two probes; [`PROBE_INTERVAL`](crate::limits::PROBE_INTERVAL) unless
    /// people chose another. At least a millisecond.
    pub interval: Duration,
    /// Random, for the order of probes.
    pub seed: u64,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DetectorOutput {
    /// Send a message: [`Detector::gossip`] writes it, before the next mutation.
    Send {
        /// To this member, or to whom a message came from.
        to: NodeId,
        /// What it asks or answers.
        signal: Signal,
    },
    /// A member that was given is held for this from now on; at first it is held for alive.
    Changed {
        /// The member. Never this node.
        node: NodeId,
        /// What is claimed of it.
        status: Liveness,
    },
    /// Another process runs under this node's id, and is younger: a data directory was copied.
    /// This one must stop. The detector does nothing more.
    Superseded,
}

/// Whether the detector works; its variants read as its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// It does.
    Running,
    /// It heard of a younger process.
    Superseded,
    /// It has said so.
    Stopped,
}

/// The detector. See the module's page.
#[derive(Debug)]
pub struct Detector<'a> {
    config: DetectorConfig,
    stage: Stage,
    /// The first `count` are the other members, ascending by node.
    entries: &'a mut [Entry],
    count: usize,
    /// What this node claims of itself.
    me: Entry,
    is_member: bool,
    /// How much this node doubts itself: one less than its multiplier.
    health: u32,
    /// Indices of members that this round has still to probe.
    round: Vec<u8, MEMBER_COUNT_MAX>,
    probe: Option<Probe>,
    sequence: u32,
    /// Nothing happens while there is nobody to watch.
    times: Option<Times>,
    prng: Prng,
    sends: Deque<(NodeId, Signal), SEND_COUNT_MAX>,
    /// An entry may have changed since it was told.
    has_changed: bool,
    /// No table has come yet.
    is_new: bool,
    /// Until then, tables are compared at their regular times only.
    compared_until: Instant,
}

impl<'a> Detector<'a> {
    /// A detector that watches nobody yet. `entries` are lent: one for every other member.
    ///
    /// # Panics
    /// If `entries` are more than `MEMBER_COUNT_MAX`, the node is 0, the boot has more than 40
    /// bits, or the interval is too short.
    pub fn new(config: DetectorConfig, entries: &'a mut [Entry]) -> Detector<'a> {
        assert!(entries.len() <= MEMBER_COUNT_MAX);
        assert!(config.node.0 != 0);
        assert!(config.boot.0 >> BOOT_BITS == 0);
        assert!(config.interval >= Duration::from_millis(1));
        let mut prng = Prng::new(config.seed);
        Detector {
            config,
            stage: Stage::Running,
            entries,
            count: 0,
            me: Entry::of_self(config.node, config.boot),
            is_member: false,
            health: 0,
            round: Vec::new(),
            probe: None,
            sequence: prng.next_u64() as u32,
            times: None,
            prng,
            sends: Deque::new(),
            has_changed: false,
            is_new: true,
            compared_until: Instant(0),
        }
    }

    /// The members are these; this node may be one. Those that stay keep their state, a new one
    /// is held for alive. O(members²).
    ///
    /// # Panics
    /// If the outputs were not drained, or there are more others than lent entries.
    pub fn on_members(&mut self, now: Instant, members: impl Iterator<Item = NodeId> + Clone) {
        self.assert_drained();
        self.retain(|node| members.clone().any(|member| member == node));
        self.is_member = false;
        for node in members {
            if node == self.config.node {
                self.is_member = true;
            } else {
                self.insert(node);
            }
        }
        self.round.clear();
        let probed = self.probe.map(|probe| probe.target);
        if probed.is_some_and(|target| self.find(target).is_none()) {
            self.probe = None;
        }
        if self.count == 0 {
            self.times = None;
        } else if self.times.is_none() {
            self.start(now);
        }
        assert!(self.entries[..self.count].is_sorted_by_key(Entry::node));
        self.check_invariants();
    }

    /// A connection to `node` is there. If it is not held for alive, it is asked; otherwise a node
    /// that has seen no table yet compares its own, with one peer in T: were all to do it at every
    /// connection, a restart would cost each of n nodes n tables.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn on_peer_up(&mut self, now: Instant, node: NodeId) {
        self.assert_drained();
        self.resume(now);
        match self.find(node).map(|index| self.entries[index].claim.status) {
            _ if !self.is_running() => {}
            Some(Liveness::Alive) if self.is_new => self.compare(now, node),
            Some(Liveness::Suspect | Liveness::Down) => drop(self.ping(node)),
            Some(Liveness::Alive) | None => {}
        }
        self.check_invariants();
    }

    /// `from` sent a message. What it says of nodes that are no members is ignored. O(members).
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn on_message(&mut self, now: Instant, from: NodeId, gossip: &Gossip<'_>) {
        self.assert_drained();
        if !self.is_running() {
            return;
        }
        self.resume(now);
        let before = self.find(from).map(|index| self.entries[index].claim);
        let is_table = matches!(gossip.signal, Signal::SyncTable { .. });
        self.is_new &= !is_table;
        for update in gossip.updates.iter() {
            self.on_update(now, from, update, is_table);
        }
        self.on_signal(from, gossip.signal);
        let after = self.find(from).map(|index| self.entries[index].claim);
        if let (Some(before), Some(after)) = (before, after)
            && before.status == Liveness::Down
            && after.status == Liveness::Alive
            && before.boot == after.boot
        {
            // A split has healed: the rest of what was missed is not left to chance.
            self.compare(now, from);
        }
        self.check_invariants();
    }

    /// Handles at most one expired deadline. O(members).
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn on_timeout(&mut self, now: Instant) {
        self.assert_drained();
        self.resume(now);
        let Some(times) = self.times.filter(|_| self.is_running()) else { return };
        let relay_at = self.probe.and_then(|probe| probe.relay_at);
        if let Some(index) = self.expired_suspicion(now) {
            self.on_suspicion_timeout(now, index);
        } else if relay_at.is_some_and(|at| at <= now) {
            self.on_probe_silent();
        } else if times.period <= now {
            self.on_period(now);
        } else if times.down <= now {
            self.on_down_probe(now);
        } else if times.sync <= now {
            self.on_sync(now);
        }
        self.check_invariants();
    }

    /// What the driver has to do next; none when it is drained. O(members) after a change.
    pub fn poll(&mut self) -> Option<DetectorOutput> {
        if self.stage == Stage::Superseded {
            self.stage = Stage::Stopped;
            self.sends.clear();
            self.has_changed = false;
            return Some(DetectorOutput::Superseded);
        }
        if let Some((to, signal)) = self.sends.pop_front() {
            return Some(DetectorOutput::Send { to, signal });
        }
        if !self.has_changed {
            return None;
        }
        let changed = self.entries[..self.count].iter_mut().find_map(Entry::tell);
        self.has_changed = changed.is_some();
        changed.map(|(node, status)| DetectorOutput::Changed { node, status })
    }

    /// When [`Detector::on_timeout`] has something to do. O(members).
    pub fn next_deadline(&self) -> Option<Instant> {
        let times = self.times.filter(|_| self.is_running())?;
        let relay_at = self.probe.and_then(|probe| probe.relay_at);
        let suspicions = self.entries[..self.count].iter().filter_map(|entry| self.until(entry));
        let first = times.period.min(times.down).min(times.sync);
        suspicions.chain(relay_at).chain([first]).min()
    }

    /// What is claimed of a member; `None` if it was not given. Of this node: alive.
    pub fn status(&self, node: NodeId) -> Option<Liveness> {
        if node == self.config.node {
            return Some(Liveness::Alive);
        }
        self.find(node).map(|index| self.entries[index].claim.status)
    }

    /// By how much this node stretches its times now, `1 ..= HEALTH_MULTIPLIER_MAX`: more than 1
    /// says that the fault may be its own.
    pub fn health_multiplier(&self) -> u32 {
        self.health + 1
    }

    fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    fn pace(&self) -> Pace {
        Pace::new(self.config.interval, self.count as u32 + 1)
    }

    fn send(&mut self, to: NodeId, signal: Signal) {
        self.sends.push_back((to, signal)).expect("the bound of messages per mutation holds");
    }

    fn assert_drained(&self) {
        assert!(self.sends.is_empty(), "outputs are drained before the next mutation");
        assert!(!self.has_changed, "outputs are drained before the next mutation");
        assert!(self.stage != Stage::Superseded, "outputs are drained before the next mutation");
    }

    fn check_invariants(&self) {
        assert!(self.count <= self.entries.len());
        assert!(self.round.len() <= self.count);
        assert!(self.health < HEALTH_MULTIPLIER_MAX);
        assert!(self.times.is_some() == (self.count > 0));
        assert!(self.me.claim.status == Liveness::Alive);
    }
}
