//! Probes: one each T, and what is done at longer intervals.

use core::time::Duration;

use heapless::Vec;

use super::Detector;
use super::claim::Claim;
use crate::id::NodeId;
use crate::limits::RELAY_COUNT_MAX;
use crate::time::Instant;
use crate::wire::gossip::{Liveness, Signal};

/// The probe that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) target: NodeId,
    sequence: u32,
    /// When others are asked; `None` once they were.
    pub(super) relay_at: Option<Instant>,
    /// Some were asked, and none has said that it relays.
    are_relays_silent: bool,
}

/// When the next things happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The next probe; then the one under way has failed.
    pub(super) period: Instant,
    /// The next probe of a member that is down.
    pub(super) down: Instant,
    /// The next comparison of tables.
    pub(super) sync: Instant,
}

impl Detector<'_> {
    /// Begins to watch: each node at another moment.
    pub(super) fn start(&mut self, now: Instant) {
        let pace = self.pace();
        let mut within =
            |span: Duration| now + Duration::from_micros(self.prng.below(span.as_micros() as u64));
        self.times = Some(Times {
            period: within(pace.interval()),
            down: within(pace.down_interval()),
            sync: within(pace.sync_interval()),
        });
    }

    /// If nothing was handled for longer than T after it was due, this node was paused, and the
    /// silence of others is its own: all deadlines move by that much.
    pub(super) fn resume(&mut self, now: Instant) {
        let late = self.next_deadline().map_or(Duration::ZERO, |due| now.since(due));
        if late <= self.config.interval {
            return;
        }
        self.lose_health();
        for entry in &mut self.entries[..self.count] {
            entry.since = entry.since + late;
        }
        if let Some(times) = &mut self.times {
            times.period = times.period + late;
            times.down = times.down + late;
            times.sync = times.sync + late;
        }
        if let Some(relay_at) = self.probe.as_mut().and_then(|probe| probe.relay_at.as_mut()) {
            *relay_at = *relay_at + late;
        }
    }

    pub(super) fn on_signal(&mut self, from: NodeId, signal: Signal) {
        let me = self.config.node;
        match signal {
            Signal::Ping { sequence, origin } => {
                self.send(from, Signal::Pong { sequence, origin });
            }
            Signal::PingRequest { sequence, target } if target == me => {
                self.send(from, Signal::Pong { sequence, origin: from });
            }
            Signal::PingRequest { sequence, target } => {
                if self.find(target).is_some() {
                    self.send(target, Signal::Ping { sequence, origin: from });
                    self.send(from, Signal::Relaying { sequence, target });
                }
            }
            Signal::Pong { sequence, origin } if origin == me => self.on_pong(sequence),
            Signal::Pong { sequence, origin } => {
                if self.find(origin).is_some() {
                    self.send(origin, Signal::Pong { sequence, origin });
                }
            }
            Signal::Relaying { sequence, .. } => {
                let probe = self.probe.as_mut().filter(|probe| probe.sequence == sequence);
                if let Some(probe) = probe {
                    probe.are_relays_silent = false;
                }
            }
            Signal::Sync { digest } => {
                if digest != self.digest() {
                    self.send(from, Signal::SyncTable { is_request: true });
                }
            }
            Signal::SyncTable { is_request: true } => {
                self.send(from, Signal::SyncTable { is_request: false });
            }
            Signal::SyncTable { is_request: false } => {}
        }
    }

    fn on_pong(&mut self, sequence: u32) {
        if self.probe.is_some_and(|probe| probe.sequence == sequence) {
            self.probe = None;
            self.health = self.health.saturating_sub(1);
        }
    }

    /// The probed member has not answered directly: others try.
    pub(super) fn on_probe_silent(&mut self) {
        let Some(probe) = self.probe else { return };
        let mut taken: Vec<NodeId, { 1 + RELAY_COUNT_MAX }> = Vec::new();
        taken.extend([probe.target]);
        for _ in 0..RELAY_COUNT_MAX {
            let Some(relay) = self.choose(Liveness::Alive, &taken) else { break };
            taken.push(relay).expect("the target and every relay fit");
            let (sequence, target) = (probe.sequence, probe.target);
            self.send(relay, Signal::PingRequest { sequence, target });
        }
        let are_relays_silent = taken.len() > 1;
        self.probe = Some(Probe { relay_at: None, are_relays_silent, ..probe });
    }

    /// T is over.
    pub(super) fn on_period(&mut self, now: Instant) {
        if let Some(probe) = self.probe.take() {
            self.on_probe_failed(now, probe);
        }
        let multiplier = self.health_multiplier();
        let pace = self.pace();
        if let Some(times) = &mut self.times {
            times.period = now + pace.interval() * multiplier;
        }
        let Some(target) = self.next_target() else { return };
        let relay_at = Some(now + pace.probe_timeout() * multiplier);
        let sequence = self.ping(target);
        self.probe = Some(Probe { target, sequence, relay_at, are_relays_silent: false });
    }

    fn on_probe_failed(&mut self, now: Instant, probe: Probe) {
        let Some(index) = self.find(probe.target) else { return };
        let known = self.entries[index].claim;
        if known.status != Liveness::Down {
            let claim = Claim { status: Liveness::Suspect, ..known };
            self.on_claim(now, index, claim, self.config.node);
        }
        // If not even those answered that others hold for alive, it may be this node.
        if probe.are_relays_silent {
            self.lose_health();
        }
    }

    /// Whom this round probes next; a new round is shuffled anew. `None` if all are down.
    fn next_target(&mut self) -> Option<NodeId> {
        for _ in 0..2 {
            while let Some(index) = self.round.pop() {
                let claim = &self.entries[usize::from(index)].claim;
                if claim.status != Liveness::Down {
                    return Some(claim.node);
                }
            }
            self.round.extend((0..self.count).map(|index| index as u8));
            for last in (1..self.count).rev() {
                self.round.swap(last, self.prng.below(last as u64 + 1) as usize);
            }
        }
        None
    }

    /// Asks `target`; the number of the probe.
    pub(super) fn ping(&mut self, target: NodeId) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        let (sequence, origin) = (self.sequence, self.config.node);
        self.send(target, Signal::Ping { sequence, origin });
        sequence
    }

    /// One member that is down is told so: if it lives, it refutes.
    pub(super) fn on_down_probe(&mut self, now: Instant) {
        let next = now + self.pace().down_interval();
        if let Some(times) = &mut self.times {
            times.down = next;
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::DownNotProbed) {
            return;
        }
        if let Some(target) = self.choose(Liveness::Down, &[]) {
            self.ping(target);
        }
    }

    /// The table is compared with that of `peer` out of turn, if none was within T.
    pub(super) fn compare(&mut self, now: Instant, peer: NodeId) {
        if now >= self.compared_until {
            self.compared_until = now + self.config.interval;
            self.send(peer, Signal::Sync { digest: self.digest() });
        }
    }

    /// The table is compared with that of one member.
    pub(super) fn on_sync(&mut self, now: Instant) {
        let next = now + self.pace().sync_interval();
        if let Some(times) = &mut self.times {
            times.sync = next;
        }
        if let Some(peer) = self.choose(Liveness::Alive, &[]) {
            self.send(peer, Signal::Sync { digest: self.digest() });
        }
    }
}
