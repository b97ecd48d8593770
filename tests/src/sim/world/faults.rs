//! Faults of processes, clocks and connections, at times that the seed draws.

use std::time::Duration;

use ringmain_core::time::Instant;

use super::super::host::LIFE_COUNT_SPARED;
use super::super::mark::Mark;
use super::super::oracle::Violation;
use super::super::swarm::Durability;
use super::{Event, Fault, Stage, World, note};

/// Mean time between two faults of a kind while nodes are added.
const EARLY_INTERVAL: Duration = Duration::from_secs(1);
/// Usual length of a split, a pause or an absence while nodes are added: about as long as nodes
/// wait for each other.
const EARLY_LENGTH: Duration = Duration::from_secs(1);

/// All kinds.
const FAULTS: [Fault; 11] = [
    Fault::Split,
    Fault::Reset,
    Fault::Clog,
    Fault::Crash,
    Fault::Pause,
    Fault::ClockStep,
    Fault::Change,
    Fault::Space,
    Fault::Rot,
    Fault::Upgrade,
    Fault::PutBack,
];

impl World<'_> {
    /// Whether faults happen now.
    pub(super) fn faults_happen(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Whether nodes are being added amid faults.
    pub(super) fn is_early(&self) -> bool {
        self.faults_happen() && !self.early_left().is_zero()
    }

    /// How long nodes are still being added amid faults.
    pub(super) fn early_left(&self) -> Duration {
        self.swarm.early.unwrap_or_default().saturating_sub(self.now.since(Instant(0)))
    }

    /// How long a fault lasts that usually lasts `length`.
    pub(super) fn fault_length(&mut self, length: Duration) -> Duration {
        let length = if self.is_early() { EARLY_LENGTH } else { length };
        self.random.delay(length)
    }

    /// Faults may happen from now on.
    pub(super) fn unleash(&mut self) {
        self.network.set_faulty(true);
        for fault in FAULTS {
            self.schedule_fault(fault);
        }
    }

    /// Mean time between two faults of that kind.
    fn interval(&self, fault: Fault) -> Option<Duration> {
        let options = &self.swarm.faults;
        let is_apart = matches!(
            fault,
            Fault::Clog
                | Fault::Space
                | Fault::Rot
                | Fault::ClockStep
                | Fault::Change
                | Fault::Upgrade
                | Fault::PutBack
        );
        if self.is_early() && !is_apart {
            return Some(EARLY_INTERVAL);
        }
        match fault {
            Fault::Split => options.split,
            Fault::Reset => options.reset,
            Fault::Clog => options.clog,
            Fault::Crash => options.crash,
            Fault::Pause => options.pause,
            Fault::ClockStep => options.clock_step,
            Fault::Change => options.change,
            Fault::Space => self.swarm.disk.space,
            Fault::Rot => self.swarm.disk.rot,
            Fault::Upgrade => options.upgrade,
            Fault::PutBack => self.swarm.put_back.map(|options| options.interval),
        }
    }

    fn schedule_fault(&mut self, fault: Fault) {
        if let Some(interval) = self.interval(fault) {
            let delay = self.random.delay(interval);
            self.after(delay, Event::Fault(fault));
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) -> Result<(), Violation> {
        if !self.faults_happen() {
            return Ok(());
        }
        self.schedule_fault(fault);
        let node = self.random.below(self.hosts.len());
        match fault {
            Fault::Split if self.hosts.len() > 1 => self.split(),
            Fault::Split => {}
            Fault::Reset => return self.reset_pair(),
            Fault::Clog => self.clog(node),
            Fault::Crash if self.hosts[node].lives_left() > LIFE_COUNT_SPARED => {
                return self.crash(node);
            }
            Fault::Crash => {}
            Fault::Pause => self.pause(node),
            Fault::ClockStep => {
                self.marks.hit(Mark::ClockStep);
                self.hosts[node].wall = self.random.between(0, 1 << 41);
                note!(self, "the wall clock of n{node} jumps");
            }
            Fault::Change => return self.change_membership(),
            Fault::Space => self.change_space(node),
            Fault::Rot => self.rot(node),
            Fault::Upgrade => return self.change_build(),
            Fault::PutBack => return self.put_back(),
        }
        Ok(())
    }

    /// Somebody restarts a process whose log has failed, if it still is that process.
    pub(super) fn replace(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        if self.life(node) == life && self.hosts[node].has_failed() {
            self.crash(node)?;
        }
        Ok(())
    }

    /// A process ends at once.
    pub(super) fn crash(&mut self, node: usize) -> Result<(), Violation> {
        let life = self.life(node);
        if life == 0 {
            return Ok(());
        }
        // Only durability `always` promises anything about power failures.
        let always = self.swarm.durability == Durability::Always;
        let host = &mut self.hosts[node];
        // After a failed sync the kernel may have dropped what was written.
        let power_loss =
            always && (self.random.chance(self.swarm.faults.power_loss) || host.has_failed());
        self.marks.hit(Mark::Crash);
        host.process = None;
        host.stopped = None;
        let lost = self.reopen(node, power_loss)?;
        if lost > 0 {
            self.marks.hit(Mark::CrashLost);
        }
        note!(self, "n{node} crashes, power loss {power_loss}, lost records {lost}");
        self.network.reset(node, node);
        self.connected[node].fill(false);
        for peer in 0..self.hosts.len() {
            if peer != node && self.swarm.faults.notices {
                let delay = self.random.delay(Duration::from_millis(5));
                self.after(delay, Event::Disconnect { a: node, b: peer });
            }
        }
        self.lose_tickets(node, life)?;
        let back = self.fault_length(self.swarm.faults.restart);
        self.after(back, Event::Restart { node });
        self.judge.check_nothing_lost(&self.hosts)
    }

    /// A process ends, and the disk with it: nobody will see them again.
    pub(super) fn destroy(&mut self, node: usize) -> Result<(), Violation> {
        note!(self, "n{node} is gone for good");
        self.hosts[node].is_damaged = true;
        self.hosts[node].is_gone = true;
        self.judge.on_damage(&self.hosts, self.settings.hash_seed);
        // Who was put back has by now what the others had. Reads under way may have asked it
        // before, and wait for nobody else once this one is given up.
        if self.hosts.iter().any(|host| host.is_put_back) {
            self.tickets.require_nothing();
        }
        self.crash(node)
    }

    fn pause(&mut self, node: usize) {
        if !self.hosts[node].is_running() {
            return;
        }
        note!(self, "n{node} is stopped");
        self.marks.hit(Mark::Pause);
        self.hosts[node].stopped = Some(Vec::new());
        let length = self.fault_length(self.swarm.faults.pause_length);
        self.after(length, Event::Resume { node });
    }

    /// A stopped process goes on with what came in meanwhile.
    pub(super) fn resume(&mut self, node: usize) -> Result<(), Violation> {
        let Some(waiting) = self.hosts[node].stopped.take() else { return Ok(()) };
        note!(self, "n{node} goes on with {} events", waiting.len());
        for event in waiting {
            self.handle(event)?;
        }
        Ok(())
    }
}
