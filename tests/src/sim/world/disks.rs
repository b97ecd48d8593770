//! What happens to the disks of nodes beside their requests, and to nodes by them.

use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::Violation;
use super::{World, note};

/// Most free space of a full disk, bytes: of one of these kinds.
const FREE_BYTES: [u64; 4] = [0, 3000, 10_000, 300_000];

impl World<'_> {
    /// Others fill the disk of `node`, or clear it.
    pub(super) fn change_space(&mut self, node: usize) {
        let most = *self.random.pick(&FREE_BYTES);
        let is_full = self.random.chance(700);
        let free_bytes = is_full.then(|| self.random.between(0, most));
        note!(self, "the disk of n{node} has {free_bytes:?} bytes left");
        for store in &mut self.hosts[node].stores {
            store.disk().set_free_bytes(free_bytes);
        }
    }

    /// A bit of a disk of `node` turns, if its disks may lose something.
    pub(super) fn rot(&mut self, node: usize) {
        if self.swarm.disk.victims >> node & 1 == 0 {
            return;
        }
        let shard = self.random.below(self.hosts[node].stores.len());
        if self.hosts[node].stores[shard].disk().rot() {
            note!(self, "a bit turns on the disk of shard {shard} of n{node}");
        }
        self.observe_disk(Site { node, shard });
    }

    /// Takes in what went wrong with the disk at `site`.
    pub(super) fn observe_disk(&mut self, site: Site) {
        let host = &mut self.hosts[site.node];
        let store = &mut host.stores[site.shard];
        store.disk().take_reached().into_iter().for_each(|mark| self.marks.hit(mark));
        (0..store.take_unread()).for_each(|_| self.marks.hit(Mark::DamagedUnread));
        if store.take_damaged() {
            note!(self, "the disk of {site:?} is damaged");
            host.is_damaged = true;
            self.judge.on_damage(&self.hosts, self.settings.hash_seed);
        }
    }

    /// The logs of `node` are opened again, now that its process is gone. Where one cannot be, the
    /// node stays away. Returns how many records were lost.
    pub(super) fn reopen(&mut self, node: usize, power_loss: bool) -> Result<usize, Violation> {
        let mut lost = 0;
        for shard in 0..self.hosts[node].stores.len() {
            if self.swarm.disk.rot.is_some() && self.random.chance(300) && self.faults_happen() {
                // While nobody looks.
                self.rot(node);
            }
            let store = &mut self.hosts[node].stores[shard];
            let is_damaged = store.disk().is_damaged();
            let opened = store.restart(power_loss, &mut self.random)?;
            lost += opened.unwrap_or(0);
            if is_damaged {
                let is_open = opened.is_some();
                self.marks.hit(if is_open { Mark::DamagedOpened } else { Mark::DamagedRefused });
            }
            if opened.is_none() {
                note!(self, "the log of shard {shard} of n{node} cannot go on");
                self.hosts[node].is_gone = true;
            }
            self.observe_disk(Site { node, shard });
        }
        Ok(lost)
    }
}
