//! Turns of shards: the loop body that the server runs, too, between the simulated parts; and
//! what the oracle sees of them.

use std::marker::PhantomData;
use std::time::Duration;

use ringmain_core::checksum::Software;
use ringmain_core::drive::{Command, Notice, Turn, Waiting};
use ringmain_core::hash::Key;
use ringmain_core::id::NodeId;
use ringmain_core::request::{KeyPlace, Origin};
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;
use ringmain_runtime::log::Wanted;

use super::super::bodies::Kept;
use super::super::client::Operation;
use super::super::disk::Fate;
use super::super::host::{LIFE_COUNT_SPARED, ShardProcess};
use super::super::judge::Seen;
use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::{Invariant, Set, Violation};
use super::super::outbox::{Outbox, PARTITION_BITS, Sent, node_index};
use super::super::parking::Parking;
use super::super::store::{News, Store};
use super::{Event, World, note};

/// The longest that a disk takes.
const DISK_DELAY_MAX: Duration = Duration::from_secs(5);

/// Deadlines that a turn handles.
const TIMEOUT_COUNT: usize = 4;

/// The turn of a simulated shard.
pub(super) type SimTurn<'d, 'm, 'w> = Turn<'d, 'm, Store, Outbox<'w>, Kept, Parking, Software>;

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
        host.stores[site.shard].set_now(self.now);
        let (now, wall) = (host.local(self.now), host.wall(self.now));
        let process = host.process.as_mut().expect("its process runs");
        let shard = &mut process.shards[site.shard];
        let health = shard.machine.health_figures();
        let mut outbox = Outbox {
            site,
            shards: &self.swarm.shards,
            connected: &self.connected[site.node],
            network: &self.network,
            unsent: if self.stage == super::Stage::Running { self.swarm.faults.unsent } else { 0 },
            random: &mut self.random,
            marks: &mut self.marks,
            wall,
            sent: Sent::default(),
        };
        let mut turn = Turn {
            shard: &mut shard.machine,
            store: &mut host.stores[site.shard],
            links: &mut outbox,
            bodies: &mut shard.bodies,
            waiting: &mut shard.waiting,
            settings: &self.settings,
            epochs: process.epochs,
            now,
            wall,
            checksum: PhantomData,
        };
        act(&mut turn);
        turn.timeouts(TIMEOUT_COUNT);
        let sent = outbox.sent;
        super::health::mark(&mut self.marks, health, shard.machine.health_figures());
        for mark in shard.waiting.take_reached() {
            self.marks.hit(mark);
        }
        self.observe(site)?;
        self.flush(site, sent)
    }

    /// Shows the oracle what the store took in this turn.
    fn observe(&mut self, site: Site) -> Result<(), Violation> {
        let Site { node, shard } = site;
        let host = &mut self.hosts[node];
        let (wall, is_doubtful) = (host.wall(self.now), host.is_doubtful());
        let (boot, now, store) = (host.lives, self.now, &mut host.stores[shard]);
        let process = host.process.as_mut().expect("its process runs");
        let ShardProcess { machine, bodies, waiting, .. } = &mut process.shards[shard];
        while let Some((entry, before)) = store.unseen() {
            let before = before.and_then(|entry| entry.history.clone()).unwrap_or_default();
            let key = self.judge.key_index(entry.key())?;
            if entry.is_erasure() {
                let placed = Key::new(entry.key(), self.settings.hash_seed, PARTITION_BITS);
                let whose = match entry.target() {
                    NodeId(0) if machine.owns(placed.partition) => {
                        self.judge.on_reaped((key, node), &before, wall)?;
                        self.marks.hit(Mark::Reaped);
                        "reaps"
                    }
                    NodeId(0) => {
                        self.marks.hit(Mark::Fenced);
                        "gives away"
                    }
                    _ => "no longer keeps",
                };
                self.trace.borrow_mut().note(now, format_args!("{site:?} {whose} k{key}"));
                store.on_seen(Set::default());
                continue;
            }
            let request = entry.op.and_then(|op| bodies.request(op));
            let (before, record) = (&before, entry.record());
            let seen =
                Seen { node, boot, now, wall, before, record, request, kept: bodies, is_doubtful };
            let (history, text) = self.judge.on_append(key, &seen, &mut self.marks)?;
            let mut trace = self.trace.borrow_mut();
            match entry.target() {
                NodeId(0) => trace.note(now, format_args!("{site:?} stores k{key}: {text}")),
                target => {
                    let target = node_index(target);
                    trace.note(now, format_args!("{site:?} keeps k{key} for n{target}: {text}"));
                    self.marks.hit(Mark::HintKept);
                    if target == node {
                        self.marks.hit(Mark::SetAside);
                    }
                }
            }
            store.on_seen(history);
        }
        let has_dropped = std::mem::take(&mut store.has_dropped);
        let has_given_up = std::mem::take(&mut store.has_given_up);
        bodies.forget_released();
        let (kept, in_flight) = (bodies.count(), machine.request_count());
        if waiting.count() > self.swarm.waiting_count {
            let detail = format!("{} operations wait at {site:?}", waiting.count());
            return Err(Violation::new(Invariant::Bounds, detail));
        }
        if kept > in_flight || in_flight > self.swarm.slot_count {
            let detail = format!("{site:?} keeps {kept} of {in_flight} requests in flight");
            return Err(Violation::new(Invariant::Bounds, detail));
        }
        if has_given_up {
            self.marks.hit(Mark::DamageRepaired);
        }
        if has_dropped {
            self.marks.hit(Mark::HintDelivered);
            // What a damaged node has got may be lost with it.
            self.judge.on_damage(&self.hosts, self.settings.hash_seed);
        }
        Ok(())
    }

    /// Acts on what a turn sent.
    fn flush(&mut self, site: Site, sent: Sent) -> Result<(), Violation> {
        for (to, mut bytes) in sent.frames {
            self.check_shown(site, &bytes)?;
            self.send(site, to, &mut bytes);
        }
        if sent.notices.contains(&Notice::Sync) {
            self.hosts[site.node].stores[site.shard].log().sync_wanted();
        }
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
                Notice::Exchanged(finished) => {
                    note!(self, "{site:?}: {finished:?}");
                    self.marks.hit(match finished.differences {
                        0 => Mark::ExchangeRepaired,
                        _ => Mark::ExchangeUnrepaired,
                    });
                }
                Notice::HintUnsendable { target, place } => {
                    let target = node_index(target);
                    note!(self, "{site:?} cannot send the hint at {place:?} to n{target}");
                    self.marks.hit(Mark::HintUnsendable);
                }
                Notice::Raise(above) => {
                    let (node, life) = (site.node, self.life(site.node));
                    self.after(Duration::ZERO, Event::Raise { node, life, above });
                }
                Notice::Warm(topology) => {
                    note!(self, "{site:?} is warm in {:016x}", topology.0);
                    let (node, life) = (site.node, self.life(site.node));
                    self.after(Duration::ZERO, Event::ShardWarm { node, life, topology });
                }
                Notice::LostOwnEvents => {
                    // Disks keep what was synced, and boots never return: nothing is lost.
                    let detail = format!("{site:?} lost events of its own");
                    return Err(Violation::new(Invariant::DotUniqueness, detail));
                }
            }
        }
        let life = self.life(site.node);
        for wanted in self.hosts[site.node].stores[site.shard].log().take_wanted() {
            let delay = self.disk_delay();
            self.after(delay, Event::Fetched { site, life, wanted });
        }
        if let Some(key) = self.hosts[site.node].stores[site.shard].log().next_roomy() {
            self.marks.hit(Mark::RoomAwaited);
            self.after(Duration::ZERO, Event::Roomy { site, life, key });
        }
        self.schedule_wake(site);
        self.pump(site)
    }

    pub(super) fn on_wake(&mut self, site: Site) -> Result<(), Violation> {
        let now = self.now;
        let shard = self.shard_mut(site);
        // Another one came earlier, and what was due now was scheduled anew.
        if shard.wake.is_none_or(|wake| wake > now) {
            return Ok(());
        }
        shard.wake = None;
        let now = self.local(site.node);
        self.hosts[site.node].stores[site.shard].on_timeout(now);
        self.turn(site, |_| {})?;
        self.note_waiting_surveys(site);
        Ok(())
    }

    /// Schedules what the shard at `site` and its log have to do later.
    fn schedule_wake(&mut self, site: Site) {
        let life = self.life(site.node);
        let log = self.hosts[site.node].stores[site.shard].timeout();
        let shard = self.shard_mut(site);
        let timers = [log, shard.machine.poll_timeout(), shard.waiting.next_deadline()];
        let Some(local) = timers.into_iter().flatten().min() else { return };
        let at = self.hosts[site.node].global(self.now, local);
        let shard = self.shard_mut(site);
        if shard.wake.is_none_or(|wake| at < wake) {
            shard.wake = Some(at);
            self.queue.push(at, Event::Wake { site, life });
        }
    }

    /// Hands the requests of the log at `site` to its disk, and tells the machine what became of
    /// earlier ones.
    fn pump(&mut self, site: Site) -> Result<(), Violation> {
        let now = self.local(site.node);
        while let Some((number, inline)) = self.hosts[site.node].stores[site.shard].poll(now) {
            if inline {
                self.complete(site, number);
            } else {
                self.schedule_disk(site, number);
            }
        }
        match self.hosts[site.node].stores[site.shard].news() {
            None => Ok(()),
            Some(News::Stored(written, synced)) => {
                note!(self, "{site:?} wrote below {:x}, synced below {:x}", written.0, synced.0);
                self.turn(site, |turn| turn.input(Input::Stored { written, synced }))
            }
            Some(News::Failed) => {
                note!(self, "the log of {site:?} fails");
                self.marks.hit(Mark::LogFailed);
                let back = self.random.delay(self.swarm.faults.restart);
                let (node, life) = (site.node, self.life(site.node));
                self.after(back, Event::Replace { node, life });
                self.turn(site, |turn| turn.input(Input::LogFailed))
            }
        }
    }

    fn schedule_disk(&mut self, site: Site, number: u64) {
        let (delay, life) = (self.disk_delay(), self.life(site.node));
        self.after(delay, Event::Disk { site, life, number });
    }

    /// How long the disk takes for the next request.
    fn disk_delay(&mut self) -> Duration {
        let mut delay = self.random.delay(self.swarm.disk.sync);
        if self.faults_happen() && self.random.chance(self.swarm.disk.slow) {
            delay *= self.random.between(2, 300) as u32;
        }
        delay = delay.min(DISK_DELAY_MAX);
        if delay.as_millis() > 100 {
            self.marks.hit(Mark::SlowDisk);
        }
        delay
    }

    /// A cold record was read, or could not be: what waits for it goes on.
    pub(super) fn on_fetched(&mut self, site: Site, wanted: Wanted) -> Result<(), Violation> {
        let is_read = !(self.faults_happen() && self.random.chance(self.swarm.disk.unread));
        if wanted.is_awaited {
            self.followers.on_fetched(site, wanted.key, is_read);
        }
        if !is_read {
            note!(self, "{site:?} cannot read its record at {:?}", wanted.place);
            self.marks.hit(Mark::FetchFailed);
        } else {
            let store = &mut self.hosts[site.node].stores[site.shard];
            store.set_now(self.now);
            store.on_fetched(&wanted);
        }
        if !wanted.is_awaited {
            // It may be gone from memory again soon.
            let targets = self.hosts[site.node].stores[site.shard].hint_targets();
            return self.turn(site, |turn| {
                targets.iter().for_each(|target| turn.input(Input::Hinted { target: *target }));
            });
        }
        self.on_roomy(site, wanted.key)
    }

    /// There is room for a write, or a record is in memory: what waits for its key goes on, in
    /// steps between which others come.
    pub(super) fn on_roomy(&mut self, site: Site, key: KeyPlace) -> Result<(), Violation> {
        let mut has_more = false;
        self.turn(site, |turn| has_more = turn.resume(key))?;
        if has_more {
            let life = self.life(site.node);
            self.after(Duration::ZERO, Event::Roomy { site, life, key });
        }
        Ok(())
    }

    pub(super) fn on_disk(&mut self, site: Site, number: u64) -> Result<(), Violation> {
        self.complete(site, number);
        self.turn(site, |_| {})
    }

    /// Ends a request of the log; a sync that is linked behind it begins.
    fn complete(&mut self, site: Site, number: u64) {
        let faulty = self.faults_happen();
        let (short, errors) = (self.swarm.disk.short, self.swarm.disk.errors);
        let spared = self.hosts[site.node].lives_left() <= LIFE_COUNT_SPARED / 2;
        let store = &mut self.hosts[site.node].stores[site.shard];
        let is_failing = faulty && !spared && store.is_failing(number);
        let fate =
            if is_failing || faulty && !spared && self.random.below(100_000) < errors as usize {
                self.marks.hit(Mark::DiskError);
                Fate::Error
            } else if faulty && self.random.chance(short) {
                self.marks.hit(Mark::ShortWrite);
                Fate::Short
            } else {
                Fate::Whole
            };
        let linked = self.hosts[site.node].stores[site.shard].complete(number, fate);
        self.observe_disk(site);
        if let Some(linked) = linked {
            self.schedule_disk(site, linked);
        }
    }

    /// What a fresh process does first: its logs say how far they are on disk.
    pub(super) fn recover(&mut self, node: usize) -> Result<(), Violation> {
        for shard in 0..self.hosts[node].stores.len() {
            self.turn(Site { node, shard }, |_| {})?;
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
        self.turn(site, |turn| turn.command(Origin::Session(ticket), &key, command))?;
        self.follow(site, ticket, operation);
        Ok(())
    }

    /// The local time of the node's machine.
    pub(super) fn local(&self, node: usize) -> Instant {
        self.hosts[node].local(self.now)
    }
}
