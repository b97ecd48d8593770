//! Judges what nodes store and what clients are told. Every function states the invariant that
//! it checks.

mod found;
mod meeting;
mod reaped;

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::causality::{Record, decode_token};
use ringmain_core::hash::Key;
use ringmain_core::id::{Boot, NodeId, TopologyId};
use ringmain_core::limits::{PULSE, STOP_MIN};
use ringmain_core::ring::Rings;
use ringmain_core::time::{Instant, UnixMs};

use found::{changed_expiry, found_by, found_by_reads};
pub(super) use meeting::Required;
use meeting::Topologies;

use super::bodies::{Kept, Request};
use super::client::{Known, Put, Written};
use super::host::Host;
use super::mark::{Mark, Marks};
use super::oracle::{
    Appended, Decoded, History, Invariant, Issued, Set, Violation, decoded_entries as entries,
};
use super::outbox::{PARTITION_BITS, Reply, node_id};
use super::store::{Entry, Store};
use super::swarm::{Durability, Swarm};

/// Stops of a process that are shorter may remain unseen by it.
const UNSEEN_STOP_MAX: Duration =
    PULSE.saturating_add(STOP_MIN).saturating_add(Duration::from_millis(10));

/// A write whose client was told that it succeeded.
#[derive(Clone, Copy, Debug)]
struct Acked {
    stamp: u64,
    /// Nodes that must have stored it.
    w: u8,
    /// Owners among them.
    pw: u8,
    /// The cluster's W then, at most: whoever asks for less may be missed behind a change of the
    /// membership.
    full: u8,
    /// It asked for that.
    is_default: bool,
    /// A node had it on disk, or held it if the mode asks for no more, whose disks were sound.
    is_held: bool,
}

/// A record that was stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// By this node.
    pub(super) node: usize,
    /// In this process life.
    pub(super) boot: u64,
    /// At this time.
    pub(super) now: Instant,
    /// When its clock showed this.
    pub(super) wall: UnixMs,
    /// The history of the record that it replaced.
    pub(super) before: &'a Set,
    /// The record.
    pub(super) record: Record<'a>,
    /// The request of whose event it is the record, if it is one.
    pub(super) request: Option<&'a Request>,
    /// What the shard keeps of requests in flight.
    pub(super) kept: &'a Kept,
    /// See there.
    pub(super) is_doubtful: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Judge {
    swarm: Swarm,
    index: BTreeMap<Vec<u8>, usize>,
    histories: Vec<History>,
    acked: Vec<Vec<Acked>>,
    /// What no read may show any more, by key: what had been replaced when the key was reaped.
    buried: Vec<Set>,
    /// To which node each write was sent and when, by its stamp; none if it was sent again.
    sent: BTreeMap<u64, Option<(usize, Instant)>>,
    /// Owners that a partition had at least when each write was sent, or since, by its stamp.
    fewest: BTreeMap<u64, u8>,
    /// The hashes of the rings of each topology.
    rings: BTreeMap<TopologyId, (u64, u64)>,
    topologies: Topologies,
    /// The last write sent when a disk was put back: who acknowledged it may have lost it.
    put_back_behind: Option<u64>,
    /// Most nodes that a published ring had.
    pub(super) member_count: usize,
}

impl Judge {
    /// Nothing has happened to `keys`.
    pub(super) fn new(swarm: &Swarm, keys: &[Vec<u8>]) -> Judge {
        let index = keys.iter().cloned().zip(0..).collect();
        Judge {
            swarm: swarm.clone(),
            index,
            histories: keys.iter().map(|_| History::default()).collect(),
            acked: keys.iter().map(|_| Vec::new()).collect(),
            buried: keys.iter().map(|_| Set::default()).collect(),
            sent: BTreeMap::new(),
            fewest: BTreeMap::new(),
            rings: BTreeMap::new(),
            topologies: Topologies::default(),
            put_back_behind: None,
            member_count: 0,
        }
    }

    /// The owners that every partition has on the largest ring.
    pub(super) fn owner_count(&self) -> u8 {
        (self.member_count as u8).min(self.swarm.n)
    }

    /// S2: what is stored is stored under a key that somebody wrote.
    pub(super) fn key_index(&self, key: &[u8]) -> Result<usize, Violation> {
        let invented = || Violation::new(Invariant::NoInvention, format!("key {key:?}"));
        self.index.get(key).copied().ok_or_else(invented)
    }

    /// A client sends a write.
    pub(super) fn on_issue(&mut self, hosts: &[Host<'_>], key: usize, put: &Put) {
        self.fewest.insert(put.stamp, fewest_owners(hosts));
        self.note_topologies(put);
        let content = match &put.content {
            Written::Nothing => Issued::Tombstone,
            Written::Value(value) => Issued::Value(value.clone()),
            Written::Expiry => Issued::Expiry,
        };
        self.histories[key].issue(put.stamp, put.context(), content, put.expires);
    }

    /// The write stamped `stamp` is sent to `node`.
    pub(super) fn on_sent(&mut self, now: Instant, node: usize, stamp: u64) {
        let again = self.sent.insert(stamp, Some((node, now))).is_some();
        if again {
            self.sent.insert(stamp, None);
        }
    }

    /// S20: a write begins, that of the client itself if the node had it from nobody else.
    fn check_age(&self, seen: &Seen<'_>, stamp: u64) -> Result<(), Violation> {
        let Some((node, at)) = self.sent.get(&stamp).copied().flatten() else { return Ok(()) };
        let age = seen.now.since(at);
        if node == seen.node && age > self.swarm.request_timeout + UNSEEN_STOP_MAX {
            let detail = format!("n{node} does write {stamp} {age:?} after it was sent");
            return Err(Violation::new(Invariant::Staleness, detail));
        }
        Ok(())
    }

    /// S2, S3, S4, S8: what a node stores is the exact result of an event, or of a join; and its
    /// history does not shrink. Returns that history, and what happened in words.
    pub(super) fn on_append(
        &mut self,
        key: usize,
        seen: &Seen<'_>,
        marks: &mut Marks,
    ) -> Result<(Set, String), Violation> {
        let record = Decoded::of(seen.record);
        let history = &self.histories[key];
        let news = record.siblings.iter().find(|sibling| history.find(sibling.dot).is_none());
        let again = seen.request.and_then(changed_expiry);
        let news = news.map(|sibling| again.map_or(sibling.stamp, |put| put.timestamp.0));
        if let Some(stamp) = news {
            self.check_age(seen, stamp)?;
        }
        let history = &mut self.histories[key];
        let (after, text) = match news {
            Some(stamp) => {
                let found = match seen.request.filter(|_| again.is_some()) {
                    Some(request) => vec![found_by(request, history)?],
                    None => found_by_reads(seen.kept, history, stamp)?,
                };
                let appended = Appended {
                    node: node_id(seen.node),
                    boot: Boot(seen.boot),
                    before: seen.before,
                    after: &record,
                    found: &found,
                    wall: seen.wall,
                };
                let (event, after) = match again {
                    Some(_) => history.append_again(&appended, stamp)?,
                    None => history.append(&appended)?,
                };
                (after, format!("write {stamp}, event {event}"))
            }
            None => match history.compact(seen.before, &record)? {
                0 => {
                    marks.hit(Mark::Joined);
                    (history.check(&record)?, "a join".into())
                }
                count => {
                    marks.hit(Mark::Compacted);
                    (history.check(&record)?, format!("without {count} old events"))
                }
            },
        };
        if let Some(lost) = seen.before.first_missing_in(&after) {
            let detail = format!("n{} forgot event {lost} of k{key}: {record:?}", seen.node);
            return Err(Violation::new(Invariant::MonotoneContexts, detail));
        }
        if record.siblings.len() > 1 {
            marks.hit(Mark::Concurrent);
        }
        if !seen.is_doubtful {
            self.check_buried(key, &after, format_args!("n{} has", seen.node))?;
        }
        let history = &self.histories[key];
        Ok((after.clone(), format!("{text}, siblings {:?}", history.siblings(&after))))
    }

    /// S9: a client is told that its write succeeded.
    pub(super) fn on_stored(
        &mut self,
        hosts: &[Host<'_>],
        (key, key_bytes): (usize, &[u8]),
        put: &Put,
    ) -> Result<(), Violation> {
        let history = &self.histories[key];
        // While the membership changes, whoever coordinated may have known fewer members.
        let before = self.fewest.get(&put.stamp).copied().unwrap_or(0);
        let default = self.swarm.w.min(before).min(fewest_owners(hosts));
        let w = (if put.w == 0 { default } else { put.w }).max(put.pw).max(put.dw);
        let covers =
            |entry: &Entry| entry.history.as_ref().is_some_and(|set| history.holds(put.stamp, set));
        let (mut stored, mut synced, mut is_held) = (0, 0, false);
        let always = self.swarm.durability == Durability::Always;
        for host in hosts {
            let mut written = host.stores.iter().flat_map(|store| store.written_copies(key_bytes));
            let mut durable = host.stores.iter().flat_map(|store| store.synced_copies(key_bytes));
            let (is_stored, is_synced) = (written.any(covers), durable.any(covers));
            stored += u8::from(is_stored);
            synced += u8::from(is_synced);
            is_held |= !host.is_damaged && if always { is_synced } else { is_stored };
        }
        let durable = if always { w } else { put.dw };
        let lost = u8::from(self.put_back_behind >= Some(put.stamp));
        if stored + lost < w || synced + lost < durable {
            let detail = format!(
                "write {} of k{key} succeeded with W {w}, DW {durable}: {stored} nodes \
                 stored it, {synced} synced it",
                put.stamp
            );
            return Err(Violation::new(Invariant::AckAccounting, detail));
        }
        let (full, is_default) = (self.swarm.w.min(self.owner_count()), put.w == 0);
        let (w, pw, stamp) = (w - lost.min(w), put.pw - lost.min(put.pw), put.stamp);
        self.acked[key].push(Acked { stamp, w, pw, full, is_default, is_held });
        Ok(())
    }

    /// S9: a client is told that its write was refused: it was not applied, and never will be.
    pub(super) fn on_refused(&mut self, key: usize, stamp: u64) -> Result<(), Violation> {
        if self.swarm.network.duplicated > 0 {
            // A duplicated command may be refused and applied.
            return Ok(());
        }
        self.histories[key].refuse(stamp)
    }

    /// S2, S3, S8, S10: a read was answered with exactly the siblings that its context implies,
    /// and the context covers what it must.
    pub(super) fn on_read(
        &self,
        (key, key_bytes): (usize, &[u8]),
        reply: &Reply,
        context_key: &[u8; 16],
        required: &Required,
        cover: Option<&Known>,
    ) -> Result<Known, Violation> {
        let known = self.decode(key, key_bytes, &reply.context, context_key)?;
        self.check_shown((key, key_bytes), reply, context_key)?;
        if let Some(stamp) = self.missed(key, required, &known.events) {
            let detail = format!("a read of k{key} missed write {stamp}, acknowledged before");
            return Err(Violation::new(Invariant::StrictQuorum, detail));
        }
        let uncovered = cover.and_then(|cover| cover.events.first_missing_in(&known.events));
        if let Some(event) = uncovered {
            let detail = format!("a read of k{key} does not cover event {event} of its context");
            return Err(Violation::new(Invariant::MonotoneContexts, detail));
        }
        Ok(known)
    }

    /// S2, S3, S22: the answer to a read shows exactly the siblings that its context implies, but
    /// for those that have expired by the clock of the node that decided it; where that is not
    /// known, those that expire may be shown or not.
    pub(super) fn check_shown(
        &self,
        (key, key_bytes): (usize, &[u8]),
        reply: &Reply,
        context_key: &[u8; 16],
    ) -> Result<(), Violation> {
        let known = self.decode(key, key_bytes, &reply.context, context_key)?;
        let history = &self.histories[key];
        let siblings = history.siblings(&known.events);
        let live = |wall| history.live(&siblings, wall);
        let mut got = reply.siblings.clone();
        got.sort_unstable();
        let (least, most) = (live(reply.wall.or(Some(UnixMs(u64::MAX)))), live(reply.wall));
        if is_part(&least, &got) && is_part(&got, &most) {
            return Ok(());
        }
        let is_late = is_part(&least, &got) && is_part(&got, &live(None));
        let invariant = if is_late { Invariant::Expiry } else { Invariant::Exactness };
        let stamps = |all: &[(u64, Vec<u8>)]| Vec::from_iter(all.iter().map(|one| one.0));
        let (most, got) = (stamps(&most), stamps(&got));
        let detail = format!("a read of k{key} gave {got:?} and the context of {most:?}");
        Err(Violation::new(invariant, detail))
    }

    /// Whether the answer to a read leaves values out, since they have expired.
    pub(super) fn has_expired(&self, key: usize, read: &Known, reply: &Reply) -> bool {
        let history = &self.histories[key];
        history.live(&history.siblings(&read.events), None).len() > reply.siblings.len()
    }

    /// S3: the context that comes with a put covers it and nothing that its writer did not see:
    /// the new version is all that is left of what it covers.
    pub(super) fn on_put_context(
        &self,
        (key, key_bytes): (usize, &[u8]),
        stamp: u64,
        context: &[u8],
        context_key: &[u8; 16],
    ) -> Result<Known, Violation> {
        let known = self.decode(key, key_bytes, context, context_key)?;
        let history = &self.histories[key];
        let siblings = history.siblings(&known.events);
        if siblings.len() != 1 || !history.holds(stamp, &siblings) {
            let detail = format!("write {stamp} of k{key} got the context of {siblings:?}");
            return Err(Violation::new(Invariant::Exactness, detail));
        }
        Ok(known)
    }

    /// S19: a read that came behind the write stamped `stamp` over its connection covers it, unless
    /// that was refused; `is_open` = it has no answer yet.
    pub(super) fn on_follower(
        &self,
        (key, key_bytes): (usize, &[u8]),
        stamp: u64,
        is_open: bool,
        reply: &Reply,
        context_key: &[u8; 16],
    ) -> Result<(), Violation> {
        let known = self.decode(key, key_bytes, &reply.context, context_key)?;
        let history = &self.histories[key];
        if history.holds(stamp, &known.events) || !is_open && !history.is_applied(stamp) {
            return Ok(());
        }
        let detail = format!("a read of k{key} overtook write {stamp} of the same connection");
        Err(Violation::new(Invariant::Order, detail))
    }

    /// S6: a serial client that reads before it writes sees at most one sibling.
    pub(super) fn on_sequential(&self, key: usize, read: &Known) -> Result<(), Violation> {
        let siblings = self.histories[key].siblings(&read.events);
        if siblings.len() > 1 {
            let detail = format!("k{key} has {siblings:?} though its one writer saw each");
            return Err(Violation::new(Invariant::SequentialWriter, detail));
        }
        Ok(())
    }

    /// A host is damaged from now on: what nobody else has may be lost with it. What is left of a
    /// partition where others own it by now is no copy.
    pub(super) fn on_damage(&mut self, hosts: &[Host<'_>], hash_seed: u64) {
        let always = self.swarm.durability == Durability::Always;
        for (key_bytes, &key) in &self.index {
            let partition = Key::new(key_bytes, hash_seed, PARTITION_BITS).partition;
            let is_copy = |host: &Host<'_>, entry: &Entry| {
                host.may_hold(partition, entry.target() != NodeId(0))
            };
            let held = match always {
                true => held(hosts, |store| store.synced_copies(key_bytes), is_copy),
                false => held(hosts, |store| store.written_copies(key_bytes), is_copy),
            };
            for acked in &mut self.acked[key] {
                acked.is_held &= self.histories[key].holds(acked.stamp, &held);
            }
        }
    }

    /// S1: some copy that is not destroyed covers every acknowledged write.
    pub(super) fn check_nothing_lost(&self, hosts: &[Host<'_>]) -> Result<(), Violation> {
        for (key_bytes, &key) in &self.index {
            let held = held(hosts, |store| store.copies(key_bytes), |_, _| true);
            self.check_covered(key, &held, "no copy")?;
        }
        Ok(())
    }

    /// S1: `held` covers every acknowledged write of key `key` that was not lost with its disks.
    pub(super) fn check_covered(&self, key: usize, held: &Set, who: &str) -> Result<(), Violation> {
        let history = &self.histories[key];
        let is_missing = |acked: &&Acked| acked.is_held && !history.holds(acked.stamp, held);
        match self.acked[key].iter().find(is_missing) {
            None => Ok(()),
            Some(Acked { stamp, .. }) => {
                let detail = format!("write {stamp} of k{key} was acknowledged, {who} covers it");
                Err(Violation::new(Invariant::NoLostWrite, detail))
            }
        }
    }

    /// S11: equal operations give equal rings, and owners are distinct members.
    pub(super) fn on_rings(
        &mut self,
        node: usize,
        topology: TopologyId,
        rings: &Rings<'_>,
    ) -> Result<(), Violation> {
        let hashes = (rings.settled().hash(), rings.committed().hash());
        let known = *self.rings.entry(topology).or_insert(hashes);
        let wrong = |text: &str| {
            let detail = format!("n{node}, topology {:016x}: {text}", topology.0);
            Err(Violation::new(Invariant::RingAgreement, detail))
        };
        if known != hashes {
            return wrong("another ring from the same operations");
        }
        for ring in [rings.settled(), rings.committed()] {
            let nodes = ring.nodes().len();
            for partition in 0..ring.config().partition_count() {
                let owners = ring.owners(ringmain_core::id::Partition(partition as u16));
                let distinct = (1..owners.len()).all(|at| !owners[..at].contains(&owners[at]));
                let members = owners.iter().all(|owner| ring.contains(*owner));
                if !distinct || !members || owners.len() != nodes.min(usize::from(self.swarm.n)) {
                    return wrong("owners are not distinct members");
                }
            }
            self.member_count = self.member_count.max(nodes);
        }
        // Writes under way may be decided by it, also of a node that is gone when that is told.
        let owners = rings.committed().replica_count() as u8;
        let fewest = self.fewest.values_mut().filter(|fewest| **fewest > owners && owners > 0);
        fewest.for_each(|fewest| *fewest = owners);
        Ok(())
    }

    /// S3: the exact history behind a context token.
    fn decode(
        &self,
        key: usize,
        key_bytes: &[u8],
        token: &[u8],
        context_key: &[u8; 16],
    ) -> Result<Known, Violation> {
        if token.is_empty() {
            return Ok(Known::default());
        }
        let version_vector = decode_token(context_key, key_bytes, token).map_err(|_| {
            Violation::new(Invariant::Exactness, format!("k{key}: a token that does not verify"))
        })?;
        let events = self.histories[key].covered(&entries(version_vector))?;
        Ok(Known { token: token.to_vec(), events })
    }
}

/// Whether `all` has everything that `part` has, as often; both are sorted.
fn is_part<T: Eq>(part: &[T], all: &[T]) -> bool {
    let mut all = all.iter();
    part.iter().all(|one| all.any(|other| other == one))
}

/// Owners that a partition has at least, as far as anybody knows that is a member.
fn fewest_owners(hosts: &[Host<'_>]) -> u8 {
    let processes = hosts.iter().filter_map(|host| host.process.as_ref());
    let shards = processes.flat_map(|process| &process.shards);
    let owners = shards.map(|shard| shard.machine.rings().committed().replica_count() as u8);
    owners.filter(|count| *count > 0).min().unwrap_or(0)
}

/// What the entries that `find` names and that are such cover in all hosts with sound disks.
fn held<'h, I: Iterator<Item = &'h Entry>>(
    hosts: &'h [Host<'_>],
    find: impl Fn(&'h Store) -> I,
    is: impl Fn(&Host<'_>, &Entry) -> bool,
) -> Set {
    let mut held = Set::default();
    for host in hosts.iter().filter(|host| !host.is_damaged) {
        let entries = host.stores.iter().flat_map(&find).filter(|entry| is(host, entry));
        entries.filter_map(|entry| entry.history.as_ref()).for_each(|set| held.extend(set));
    }
    held
}
