//! What is demanded of how shards treat slow and silent peers.

use ringmain_core::shard::HealthFigures;

use super::super::mark::{Mark, Marks};
use super::super::network::Site;
use super::super::oracle::{Invariant, Set, Violation};
use super::super::outbox::{node_id, node_index};
use super::World;

/// Marks what a turn has brought about.
pub(super) fn mark(marks: &mut Marks, before: HealthFigures, after: HealthFigures) {
    let HealthFigures { opened, closed, waits, hedges, stragglers, forwards: _ } = after;
    for (mark, before, after) in [
        (Mark::PeerSuspected, before.opened, opened),
        (Mark::SuspectHeard, before.closed, closed),
        (Mark::SuspectNeeded, before.waits, waits),
        (Mark::ReadHedged, before.hedges, hedges),
        (Mark::StragglerKept, before.stragglers, stragglers),
    ] {
        if after > before {
            marks.hit(mark);
        }
    }
}

impl World<'_> {
    /// S21: the shard at `site` has just heard a shard of the node `from`.
    pub(super) fn check_heard(&self, site: Site, from: usize) -> Result<(), Violation> {
        let process = self.hosts[site.node].process.as_ref().expect("its process runs");
        let mut suspects = process.shards[site.shard].machine.suspects();
        if suspects.any(|suspect| node_index(suspect) == from) {
            let detail = format!("{site:?} suspects n{from}, which it has just heard");
            return Err(Violation::new(Invariant::Suspicion, detail));
        }
        Ok(())
    }

    /// Whether no write waits any more for owners that were slower than its answer.
    pub(super) fn stragglers_are_settled(&self) -> bool {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let mut shards = processes.flat_map(|process| &process.shards);
        shards.all(|shard| shard.machine.straggler_count() == 0)
    }

    /// L6: where nothing that is kept can be lost, every owner has got every acknowledged write by
    /// now, though nobody has read or written since.
    pub(super) fn check_provided(&self) -> Result<(), Violation> {
        if !self.swarm.keeps_all_hints() {
            return Ok(());
        }
        for key in 0..self.clients.keys().len() {
            for node in self.owners_of(key) {
                let mut entries = self.hosts[node].stores.iter();
                let entry = entries.find_map(|store| store.get(self.clients.key(key)));
                let history = entry.and_then(|entry| entry.history.clone());
                let history = history.unwrap_or_else(Set::default);
                let who = format!("{:?} lacks it, and nobody keeps it for it:", node_id(node));
                let covered = self.judge.check_covered(key, &history, &who);
                covered.map_err(|lost| Violation::new(Invariant::Provided, lost.detail))?;
            }
        }
        Ok(())
    }
}
