//! The stages of a run, and its end: heal, read every key from all owners, write it to all, and
//! demand that they agree.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::hash::Key;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::wire::VERSION;
use ringmain_core::wire::gossip::Liveness;

use super::super::Figures;
use super::super::client::Known;
use super::super::host::Host;
use super::super::mark::{EFFECTIVE, Mark};
use super::super::oracle::{Invariant, Set, Violation};
use super::super::outbox::{PARTITION_BITS, node_id, node_index};
use super::super::store::Entry;
use super::clients::Sender;
use super::{Event, Stage, World, note};

/// How long a cluster may take to form, or requests to succeed again.
const PATIENCE: Duration = Duration::from_secs(120);
/// Effective faults that a run should have.
const EFFECTIVE_MIN: u64 = 5;
/// A run waits for them at most until it has acknowledged this many operations.
const ACKNOWLEDGED_MAX: u64 = 1000;
/// Longest time with faults.
const RUNNING_MAX: Duration = Duration::from_secs(60);
/// Time for the last frames to arrive.
const QUIET: Duration = Duration::from_secs(5);
/// Attempts that a last request has.
const ATTEMPT_COUNT_MAX: u32 = 500;

/// The last reads and writes.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The key that is being closed.
    key: usize,
    /// What its last read found; none before that.
    read: Option<Known>,
    /// The request under way.
    pub(super) waits: Option<u64>,
    attempts: u32,
    /// The request under way, or the one that ended last, writes.
    is_writing: bool,
    /// All keys are closed.
    done: bool,
}

impl World<'_> {
    /// Goes on to the next stage when it is time. True at the end of the run.
    pub(super) fn advance(&mut self) -> Result<bool, Violation> {
        let passed = self.now.since(self.since);
        let enough = self.has_enough();
        match self.stage {
            Stage::Forming if self.swarm.early.is_some() || self.agrees() && self.is_whole() => {
                self.enter(Stage::Running);
                self.unleash();
                let head_start = self.swarm.early.unwrap_or_default();
                for client in 0..self.clients.count() {
                    let think = self.random.delay(self.swarm.clients.think);
                    self.after(head_start + think, Event::Client { client });
                }
            }
            Stage::Forming if passed > PATIENCE => return self.stuck("the cluster does not form"),
            Stage::Running => {
                let effective = self.effective_faults() >= EFFECTIVE_MIN;
                let hopeless = self.clients.acknowledged >= ACKNOWLEDGED_MAX;
                if enough && (effective || hopeless || self.swarm.is_calm()) || passed > RUNNING_MAX
                {
                    self.enter(Stage::Healing);
                    self.restore()?;
                }
            }
            Stage::Healing
                if enough
                    && self.clients.are_idle()
                    && self.tickets.is_empty()
                    && self.requests_have_ended()
                    && self.agrees()
                    && self.is_whole()
                    && self.stragglers_are_settled()
                    && self.hints_are_delivered()
                    && self.apart_left().is_empty()
                    && (self.swarm.anti_entropy.is_none() || self.copies_are_equal()) =>
            {
                if self.swarm.anti_entropy.is_some() {
                    self.marks.hit(Mark::Converged);
                }
                self.check_provided()?;
                self.enter(Stage::Closing);
                self.after(Duration::ZERO, Event::Close);
            }
            Stage::Healing if passed > PATIENCE => {
                let open = self.tickets.numbers();
                return self.stuck(&format!(
                    "not healed although all is well, open: {open:?}, enough: {enough}, clients \
                     idle: {}, topologies agree: {}, whole: {}, stragglers settled: {}, hints: \
                     {:?}, apart: {:?}, copies equal: {}",
                    self.clients.are_idle(),
                    self.agrees(),
                    self.is_whole(),
                    self.stragglers_are_settled(),
                    self.hints_left(),
                    self.apart_left(),
                    self.copies_are_equal()
                ));
            }
            Stage::Closing if self.closing.done && passed > QUIET && self.all_are_alive() => {
                self.check_end()?;
                return Ok(true);
            }
            Stage::Closing if self.closing.done && passed > PATIENCE => {
                return Err(Violation::new(Invariant::Liveness, "views differ in the end"));
            }
            Stage::Forming | Stage::Healing | Stage::Closing => {}
        }
        Ok(false)
    }

    /// Whether nobody asks for anything any more: what is under way then must end.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.done
    }

    /// Whether no shard works on a request: one whose client was told that its outcome is unknown
    /// may go on elsewhere.
    fn requests_have_ended(&self) -> bool {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let mut shards = processes.flat_map(|process| &process.shards);
        shards.all(|shard| shard.machine.request_count() + shard.waiting.count() == 0)
    }

    /// L3: every node is a member in every view, and nothing moves. What a node knew that is gone
    /// for good, others may never have heard.
    fn is_whole(&self) -> bool {
        let is_lame = self.hosts.iter().any(|host| host.is_gone && host.is_member());
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let mut shards = processes.flat_map(|process| &process.shards);
        shards.all(|shard| {
            let rings = shard.machine.rings();
            let members = self.hosts.iter().filter(|host| host.is_member()).count();
            let is_complete = rings.committed().nodes().len() == members;
            !rings.is_moving() && (is_complete || is_lame)
        })
    }

    /// What the run reached so far.
    pub(in super::super) fn figures(&self) -> Figures {
        Figures {
            acknowledged: self.clients.acknowledged,
            effective_faults: self.effective_faults(),
            nodes_gone: self.hosts.iter().filter(|host| host.is_gone).count() as u64,
            marks: self.marks.clone(),
        }
    }

    /// Whether enough operations were acknowledged. With nodes that never come back, none may be
    /// any more.
    pub(super) fn has_enough(&self) -> bool {
        let is_lame = self.stage != Stage::Running && self.hosts.iter().any(|host| host.is_gone);
        // Clients that never read fill their keys; then a refusal is an answer, too.
        let answered = self.clients.acknowledged + self.clients.crowded;
        is_lame || answered >= self.swarm.clients.acknowledged
    }

    fn effective_faults(&self) -> u64 {
        EFFECTIVE.iter().map(|mark| self.marks.count(*mark)).sum()
    }

    fn enter(&mut self, stage: Stage) {
        note!(self, "{:?} ends, {stage:?} begins", self.stage);
        self.stage = stage;
        self.since = self.now;
    }

    fn stuck(&self, text: &str) -> Result<bool, Violation> {
        Err(Violation::new(Invariant::Recovery, text))
    }

    /// Ends every fault.
    fn restore(&mut self) -> Result<(), Violation> {
        self.network.set_faulty(false);
        self.heal();
        for node in 0..self.hosts.len() {
            for store in &mut self.hosts[node].stores {
                store.busy = 0;
                store.disk().calm();
            }
            self.resume(node)?;
            // Nobody trusts a damaged disk once all is well; until it is replaced its node is gone.
            let is_damaged = self.hosts[node].is_damaged;
            // The last ones are upgraded.
            let is_old = std::mem::replace(&mut self.hosts[node].version, VERSION) < VERSION;
            if self.hosts[node].has_failed() || is_damaged || is_old {
                self.crash(node)?;
            }
            self.hosts[node].is_gone |= is_damaged;
            let is_awaited = !self.hosts[node].is_gone && !self.hosts[node].is_spare;
            if self.hosts[node].process.is_none() && is_awaited {
                self.start(node)?;
            }
        }
        if self.swarm.faults.change.is_some() || self.swarm.put_back.is_some() {
            self.commit_again()?;
        }
        for a in 0..self.hosts.len() {
            for b in a + 1..self.hosts.len() {
                self.disconnect(a, b)?;
                self.after(Duration::ZERO, Event::Connect { a, b });
            }
        }
        Ok(())
    }

    /// The next of the last requests.
    pub(super) fn on_close(&mut self) -> Result<(), Violation> {
        if self.closing.done || self.closing.waits.is_some() {
            return Ok(());
        }
        self.closing.attempts += 1;
        if self.closing.attempts > ATTEMPT_COUNT_MAX {
            let detail = format!("no success with all owners of k{}", self.closing.key);
            return Err(Violation::new(Invariant::Recovery, detail));
        }
        let key = self.closing.key;
        let all = self.owners_of(key).len() as u8;
        if all == 0 {
            return self.close_next();
        }
        self.closing.is_writing = self.closing.read.is_some();
        let operation = match self.closing.read.take() {
            None => self.clients.get_all(key, all),
            Some(read) => self.clients.put_all(key, all, &read),
        };
        self.request(Sender::Closer, operation);
        Ok(())
    }

    /// How long to wait before the next attempt: a write that failed may be under way still, and
    /// must not come after the last one.
    pub(super) fn closing_pause(&self) -> Duration {
        if self.closing.is_writing { QUIET } else { Duration::from_millis(100) }
    }

    /// S1: a read of all owners covers every acknowledged write.
    pub(super) fn on_closing_read(&mut self, key: usize, read: Known) -> Result<(), Violation> {
        let covered = self.with_kept(key, &read.events);
        self.judge.check_covered(key, &covered, "no owner")?;
        self.closing.read = Some(read);
        self.closing.waits = None;
        self.on_close()
    }

    pub(super) fn on_closing_write(&mut self) -> Result<(), Violation> {
        self.close_next()
    }

    fn close_next(&mut self) -> Result<(), Violation> {
        let next = self.closing.key + 1;
        self.closing = Closing { key: next, ..Closing::default() };
        if next < self.clients.keys().len() {
            return self.on_close();
        }
        self.closing.done = true;
        self.since = self.now;
        // Something must happen for time to pass.
        self.after(QUIET * 2, Event::Close);
        Ok(())
    }

    /// S1, S11, L1: at the end all members know the same topology, and all owners of a key hold
    /// the same: one sibling, everything acknowledged covered, and equal trees.
    fn check_end(&mut self) -> Result<(), Violation> {
        let machine = |host: &Host<'_>| {
            let process = host.process.as_ref().expect("every process runs in the end");
            let node = process.node.as_ref().expect("it is not at work");
            (node.published(), node.rings().committed().hash())
        };
        let awaited = self.hosts.iter().filter(|host| !host.is_gone && !host.is_spare);
        let mut views = awaited.map(machine);
        let Some(first) = views.next() else { return Ok(()) };
        if !views.all(|view| view == first) || !self.is_whole() {
            return Err(Violation::new(Invariant::RingAgreement, "views differ in the end"));
        }
        if !self.requests_have_ended() {
            return Err(Violation::new(Invariant::OneReply, "a request never ends"));
        }
        for key in 0..self.clients.keys().len() {
            self.check_key(key)?;
        }
        self.check_trees()
    }

    /// `events`, and what is kept of a key for nodes that never come back: it goes to the other
    /// owners once people say that these are gone. So does what members have of a partition that
    /// others own by now, which may have what fewer acknowledged than W.
    fn with_kept(&self, key: usize, events: &Set) -> Set {
        let mut covered = events.clone();
        let bytes = self.clients.key(key);
        let owners = self.owners_of(key);
        let apart = (0..self.hosts.len()).filter(|node| !owners.contains(node));
        let apart = apart.filter(|node| self.hosts[*node].is_member() && !self.is_lost(*node));
        let copies = apart.flat_map(|node| &self.hosts[node].stores);
        let copies = copies.filter_map(|store| store.get(bytes)?.history.as_ref());
        copies.for_each(|history| covered.extend(history));
        let of_gone = self.kept_for_gone(key);
        of_gone.filter_map(|entry| entry.history.as_ref()).for_each(|set| covered.extend(set));
        covered
    }

    /// What is kept of a key for nodes that never come back.
    fn kept_for_gone(&self, key: usize) -> impl Iterator<Item = &Entry> {
        let stores = self.hosts.iter().flat_map(|host| &host.stores);
        let kept = stores.flat_map(move |store| store.copies(self.clients.key(key)));
        kept.filter(|entry| self.is_gone(entry.target()))
    }

    fn is_lost(&self, node: usize) -> bool {
        self.hosts[node].is_gone || self.hosts[node].is_damaged
    }

    fn is_gone(&self, node: NodeId) -> bool {
        node != NodeId(0) && self.hosts[node_index(node)].is_gone
    }

    /// L2: no member keeps anything for a node that is there. Who has left may have kept in mind
    /// that an owner lacks what others have, too.
    fn hints_are_delivered(&self) -> bool {
        self.hints_left().is_empty()
    }

    /// Who keeps something, and for which nodes that are there.
    fn hints_left(&self) -> Vec<(usize, NodeId)> {
        let hosts = self.hosts.iter().enumerate();
        let sound = hosts.filter(|(_, host)| !host.is_gone && host.is_member());
        let stores = sound.flat_map(|(node, host)| host.stores.iter().map(move |one| (node, one)));
        let kept =
            stores.flat_map(|(node, one)| one.hint_targets().into_iter().map(move |to| (node, to)));
        // Of who was forgotten the others get them.
        let is_excused =
            |target| self.is_gone(target) && self.hosts[node_index(target)].is_member();
        kept.filter(|(_, target)| !is_excused(*target)).collect()
    }

    /// L7: no member has a copy of a key that others own, who are all there. Returns who has, and
    /// of which keys.
    fn apart_left(&self) -> Vec<(usize, usize)> {
        let mut left = Vec::new();
        for key in 0..self.clients.keys().len() {
            let owners = self.owners_of(key);
            let is_missing = owners.len() < usize::from(self.judge.owner_count());
            if is_missing || owners.iter().any(|owner| self.is_lost(*owner)) {
                continue;
            }
            let bytes = self.clients.key(key);
            let has = |node: &usize| {
                let host = &self.hosts[*node];
                let is_sound = host.is_member() && !self.is_lost(*node);
                is_sound && host.stores.iter().any(|store| store.get(bytes).is_some())
            };
            let apart = (0..self.hosts.len()).filter(|node| !owners.contains(node)).filter(has);
            left.extend(apart.map(|node| (node, key)));
        }
        left
    }

    /// L6: all owners that run have the same of every key, though nobody asked for it.
    fn copies_are_equal(&self) -> bool {
        (0..self.clients.keys().len()).all(|key| {
            let bytes = self.clients.key(key);
            let placed = Key::new(bytes, self.settings.hash_seed, PARTITION_BITS);
            let owners = self.owners(placed.partition);
            let mut versions = owners.iter().map(|node| {
                let mut entries = self.hosts[*node].stores.iter().filter_map(|s| s.get(bytes));
                entries.next().map(|entry| entry.record().version(&placed))
            });
            let first = versions.next();
            versions.all(|version| Some(version) == first)
        })
    }

    /// L4: every member that runs is alive in every view.
    fn all_are_alive(&self) -> bool {
        let is_there = |node: &usize| !self.hosts[*node].is_gone && self.hosts[*node].is_member();
        let running = || (0..self.hosts.len()).filter(is_there);
        running().all(|node| {
            let process = self.hosts[node].process.as_ref().expect("every process runs in the end");
            let machine = process.node.as_ref().expect("it is not at work");
            running().all(|other| {
                machine.liveness(node_id(other)).is_none_or(|held| held == Liveness::Alive)
            })
        })
    }

    /// The nodes that own `partition` and run; none if no node runs.
    fn owners(&self, partition: Partition) -> Vec<usize> {
        let members = self.hosts.iter().filter(|host| host.is_member());
        let Some(process) = members.filter_map(|host| host.process.as_ref()).next() else {
            return Vec::new();
        };
        let ring = process.node.as_ref().expect("it is not at work").rings().committed();
        let owners = ring.owners(partition).iter().map(|id| node_index(*id));
        owners.filter(|owner| !self.hosts[*owner].is_gone).collect()
    }

    /// The nodes that own key `key` and run.
    pub(super) fn owners_of(&self, key: usize) -> Vec<usize> {
        let key = Key::new(self.clients.key(key), self.settings.hash_seed, PARTITION_BITS);
        self.owners(key.partition)
    }

    fn check_key(&self, key: usize) -> Result<(), Violation> {
        let bytes = self.clients.key(key);
        let placed = Key::new(bytes, self.settings.hash_seed, PARTITION_BITS);
        let mut common: Option<(Set, u64)> = None;
        for node in self.owners(placed.partition) {
            let mut entries = self.hosts[node].stores.iter().filter_map(|store| store.get(bytes));
            let Some(entry) = entries.next() else {
                return self.diverged(format!("n{node} owns k{key} and has nothing of it"));
            };
            let history = entry.history.clone().expect("the oracle has seen it");
            let version = entry.record().version(&placed);
            let covered = self.with_kept(key, &history);
            self.judge.check_covered(key, &covered, &format!("n{node} does not"))?;
            // The last write may have gone to who stands in for an owner that never comes back:
            // what that keeps for it was beside what the read before has shown.
            let may_have_more = self.kept_for_gone(key).next().is_some();
            let has_more = entry.record().sibling_count() != 1 && !may_have_more;
            if has_more || entries.next().is_some() {
                return self.diverged(format!("n{node} has more of k{key} than one sibling"));
            }
            let (history_of_all, version_of_all) =
                common.get_or_insert_with(|| (history.clone(), version));
            if !history.same(history_of_all) || version != *version_of_all {
                return self.diverged(format!("n{node} has another record of k{key}"));
            }
        }
        Ok(())
    }

    fn check_trees(&mut self) -> Result<(), Violation> {
        let mut trees = Vec::new();
        for host in &mut self.hosts {
            let mut of_host = BTreeMap::new();
            let sound = host.stores.iter_mut().filter(|_| !host.is_gone);
            for store in sound {
                of_host.extend(store.checked_leaves(self.settings.hash_seed)?);
            }
            trees.push(of_host);
        }
        for (node, of_host) in trees.iter().enumerate() {
            for (partition, tree) in of_host {
                let owners = self.owners(*partition);
                if !owners.contains(&node) {
                    continue;
                }
                let differs = |owner: &&usize| trees[**owner].get(partition) != Some(tree);
                if let Some(other) = owners.iter().find(differs) {
                    let number = partition.0;
                    let text = format!("n{node} and n{other} differ in partition {number}");
                    return self.diverged(text);
                }
            }
        }
        Ok(())
    }

    fn diverged(&self, detail: String) -> Result<(), Violation> {
        Err(Violation::new(Invariant::Convergence, detail))
    }
}
