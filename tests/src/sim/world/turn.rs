//! Turns of shards: the loop body that the server runs, too, between the simulated parts; and
//! what the oracle sees of them.

use std::marker::PhantomData;
use std::time::Duration;

use ringmain_core::checksum::Software;
use ringmain_core::drive::{Command, Notice, Turn};
use ringmain_core::records::Place;
use ringmain_core::request::Origin;
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;

use super::super::bodies::Kept;
use super::super::client::Operation;
use super::super::host::ShardProcess;
use super::super::judge::Seen;
use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::{Invariant, Violation};
use super::super::outbox::{Outbox, PARTITION_BITS, Sent, node_index};
use super::super::store::Store;
use super::super::swarm::Durability;
use super::{Event, World, note};

/// The longest sync.
const SYNC_MAX: Duration = Duration::from_secs(5);

/// Deadlines that a turn handles.
const TIMEOUT_COUNT: usize = 4;

/// The turn of a simulated shard.
pub(super) type SimTurn<'d, 'm, 'w> = Turn<'d, 'm, Store, Outbox<'w>, Kept, Software>;

impl<'m> World<'m> {
    /// The running shard at `site`.
    pub(super) fn shard_mut(&mut self, site: Site) -> &mut ShardProcess<'m> {
        let process = self.hosts[site.node].process.as_mut().expect("its process runs");
        &mut process.shards[site.shard]
    }

    /// One turn of the shard at `site`, in which `act` feeds it.
    pub(super) fn turn(
        &mut self,
        site: Site,
        act: impl FnOnce(&mut SimTurn<'_, 'm, '_>),
    ) -> Result<(), Violation> {
        let host = &mut self.hosts[site.node];
        let (now, wall) = (host.local(self.now), host.wall(self.now));
        let process = host.process.as_mut().expect("its process runs");
        let shard = &mut process.shards[site.shard];
        let mut outbox = Outbox {
            site,
            shards: &self.swarm.shards,
            hash_seed: self.settings.hash_seed,
            connected: &self.connected[site.node],
            network: &self.network,
            unsent: if self.stage == super::Stage::Running { self.swarm.faults.unsent } else { 0 },
            random: &mut self.random,
            marks: &mut self.marks,
            sent: Sent::default(),
        };
        let mut turn = Turn {
            shard: &mut shard.machine,
            store: &mut host.stores[site.shard],
            links: &mut outbox,
            bodies: &mut shard.bodies,
            settings: &self.settings,
            now,
            wall,
            checksum: PhantomData,
        };
        act(&mut turn);
        turn.timeouts(TIMEOUT_COUNT);
        let sent = outbox.sent;
        self.observe(site)?;
        self.flush(site, sent)
    }

    /// Shows the oracle what the store took in this turn.
    fn observe(&mut self, site: Site) -> Result<(), Violation> {
        let Site { node, shard } = site;
        let host = &mut self.hosts[node];
        let (boot, store) = (host.lives, &mut host.stores[shard]);
        let process = host.process.as_mut().expect("its process runs");
        let ShardProcess { machine, bodies, .. } = &mut process.shards[shard];
        while let Some((entry, before)) = store.unseen() {
            let before = before.and_then(|entry| entry.history.clone()).unwrap_or_default();
            let key = self.judge.key_index(entry.key())?;
            let seen = Seen { node, boot, before: &before, record: entry.record(), kept: bodies };
            let (history, text) = self.judge.on_append(key, &seen, &mut self.marks)?;
            let now = self.now;
            let mut trace = self.trace.borrow_mut();
            trace.note(now, format_args!("{site:?} stores k{key}: {text}"));
            store.on_seen(history);
        }
        bodies.forget_released();
        let (kept, in_flight) = (bodies.count(), machine.request_count());
        if kept > in_flight || in_flight > self.swarm.slot_count {
            let detail = format!("{site:?} keeps {kept} of {in_flight} requests in flight");
            return Err(Violation::new(Invariant::Bounds, detail));
        }
        Ok(())
    }

    /// Acts on what a turn sent.
    fn flush(&mut self, site: Site, sent: Sent) -> Result<(), Violation> {
        for (to, bytes) in &sent.frames {
            self.send(site, *to, bytes);
        }
        self.schedule_sync(site, sent.notices.contains(&Notice::Sync));
        self.schedule_wake(site);
        for (ticket, reply) in sent.replies {
            self.on_reply(site, ticket, &reply)?;
        }
        for notice in sent.notices {
            match notice {
                Notice::Sync => {}
                Notice::TopologyDiffers(peer) => {
                    self.marks.hit(Mark::TopologyDiffers);
                    note!(self, "{site:?} and n{} differ in topology", node_index(peer));
                    let (node, life) = (site.node, self.life(site.node));
                    self.after(Duration::ZERO, Event::Differs { node, life, peer });
                }
                Notice::LostOwnEvents => {
                    // Disks keep what was synced, and boots never return: nothing is lost.
                    let detail = format!("{site:?} lost events of its own");
                    return Err(Violation::new(Invariant::DotUniqueness, detail));
                }
            }
        }
        Ok(())
    }

    fn schedule_wake(&mut self, site: Site) {
        let life = self.life(site.node);
        let Some(local) = self.shard_mut(site).machine.poll_timeout() else { return };
        let at = self.hosts[site.node].global(self.now, local);
        let shard = self.shard_mut(site);
        if shard.wake.is_none_or(|wake| at < wake) {
            shard.wake = Some(at);
            self.queue.push(at, Event::Wake { site, life });
        }
    }

    /// Starts the sync that the log of `site` needs, if any.
    fn schedule_sync(&mut self, site: Site, wanted: bool) {
        let life = self.life(site.node);
        let store = &self.hosts[site.node].stores[site.shard];
        let unsynced = store.end() > store.synced();
        let durability = self.swarm.durability;
        let shard = self.shard_mut(site);
        shard.sync_wanted |= wanted || durability == Durability::Always;
        if !unsynced {
            return;
        }
        if let Durability::Interval(interval) = durability
            && !shard.sync_due
            && !shard.syncing
        {
            shard.sync_due = true;
            self.after(interval, Event::SyncDue { site, life });
        }
        let shard = self.shard_mut(site);
        if shard.sync_wanted && !shard.syncing {
            shard.syncing = true;
            shard.sync_wanted = false;
            self.start_sync(site, life);
        }
    }

    fn start_sync(&mut self, site: Site, life: u64) {
        let mut delay = self.random.delay(self.swarm.disk.sync);
        if self.faults_happen() && self.random.chance(self.swarm.disk.slow) {
            delay *= self.random.between(2, 300) as u32;
        }
        delay = delay.min(SYNC_MAX);
        if delay.as_millis() > 100 {
            self.marks.hit(Mark::SlowSync);
        }
        let up_to = self.hosts[site.node].stores[site.shard].end();
        self.after(delay, Event::Synced { site, life, up_to });
    }

    pub(super) fn on_synced(&mut self, site: Site, up_to: Place) -> Result<(), Violation> {
        note!(self, "{site:?} synced below {}", up_to.0);
        self.hosts[site.node].stores[site.shard].on_synced(up_to);
        self.shard_mut(site).syncing = false;
        self.turn(site, |turn| turn.input(Input::Stored { up_to }))
    }

    pub(super) fn on_sync_due(&mut self, site: Site) {
        self.shard_mut(site).sync_due = false;
        self.schedule_sync(site, true);
    }

    /// What a fresh process does first: it reads its disk.
    pub(super) fn recover(&mut self, node: usize) -> Result<(), Violation> {
        for shard in 0..self.hosts[node].stores.len() {
            let store = &mut self.hosts[node].stores[shard];
            store.rebuild_leaves(self.settings.hash_seed, PARTITION_BITS);
            let up_to = store.synced();
            self.turn(Site { node, shard }, |turn| turn.input(Input::Stored { up_to }))?;
        }
        Ok(())
    }

    pub(super) fn on_command(
        &mut self,
        site: Site,
        ticket: u64,
        operation: &Operation,
    ) -> Result<(), Violation> {
        let key = self.clients.key(operation.key).to_vec();
        note!(self, "{site:?} gets {ticket}: {operation:?}");
        let command: Command<'_> = operation.command();
        self.turn(site, |turn| turn.command(Origin::Session(ticket), &key, command))
    }

    /// The local time of the node's machine.
    pub(super) fn local(&self, node: usize) -> Instant {
        self.hosts[node].local(self.now)
    }
}
