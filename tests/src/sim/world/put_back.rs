//! Data directories that are put back from older copies: one of a node whose process is gone is
//! kept, and takes the place of what the node has later; as new files, which the node notices, or
//! as a snapshot of the file system, which looks as if it had never stood elsewhere.

use super::super::host::LIFE_COUNT_SPARED;
use super::super::mark::Mark;
use super::super::oracle::{Invariant, Violation};
use super::super::swarm::PutBack;
use super::{Event, World, note};

impl World<'_> {
    /// The node that the mix names is stopped, and copied; or gets back the copy that there is.
    pub(super) fn put_back(&mut self) -> Result<(), Violation> {
        let Some(PutBack { node, .. }) = self.swarm.put_back else { return Ok(()) };
        let host = &self.hosts[node];
        let knows_itself = host.process.as_ref().is_some_and(|process| {
            process.node.as_ref().is_some_and(|machine| machine.is_member())
        });
        // As much as a lost disk: somebody else must have what it acknowledged.
        let is_spent = host.lives_left() <= LIFE_COUNT_SPARED;
        if is_spent
            || !knows_itself
            || !host.is_member()
            || !self.may_lose_one()
            || !self.others_stay(node)
        {
            return Ok(());
        }
        self.crash(node)?;
        let host = &mut self.hosts[node];
        if host.is_gone {
            return Ok(());
        }
        let Some((copies, persisted)) = host.copy.take() else {
            let copies = host.stores.iter_mut().map(|store| store.copy()).collect();
            host.copy = host.persisted.clone().map(|persisted| (copies, persisted));
            note!(self, "the disk of n{node} is copied");
            return Ok(());
        };
        let is_copied = self.random.chance(500);
        note!(self, "the disk of n{node} is put back from its copy, noticed: {is_copied}");
        self.marks.hit(Mark::PutBack);
        host.is_damaged = true;
        self.judge.on_damage(&self.hosts, self.settings.hash_seed);
        self.judge.on_put_back();
        self.tickets.require_nothing();
        let host = &mut self.hosts[node];
        (host.is_damaged, host.is_put_back, host.is_copied) = (false, true, is_copied);
        host.persisted = Some(persisted);
        for (store, copy) in host.stores.iter_mut().zip(copies) {
            store.put_back(copy, &mut self.random)?;
        }
        Ok(())
    }

    /// A node has stopped since its disk is an older copy: somebody says that it is gone.
    pub(super) fn on_outdated(&mut self, node: usize) -> Result<(), Violation> {
        if !self.hosts[node].is_put_back {
            let detail = format!("n{node} is told that its disk is old");
            return Err(Violation::new(Invariant::Liveness, detail));
        }
        note!(self, "n{node} knows that its disk is an older copy");
        self.marks.hit(Mark::PutBackNoticed);
        self.destroy(node)?;
        self.forget(node)
    }

    /// The machine of `node` wants its process to end.
    pub(super) fn schedule_outdated(&mut self, node: usize) {
        let life = self.life(node);
        self.after(std::time::Duration::ZERO, Event::Outdated { node, life });
    }
}
