//! To which entries a node agrees, rule by rule, and what becomes of a long version vector.

use super::*;
use crate::causality::{Actor, Dot, Record, Sibling, VersionVector, encode_record, record_bytes};
use crate::id::Boot;
use crate::limits::{COMPACT_COUNT_MIN, COMPACTED_PART, FRAME_AGE_MAX};
use crate::records;
use crate::wire::exchange::Entry;
use crate::wire::survey::{Erase, Purpose, Survey, Surveyed, dot_of, entry_of};

const A: At = At { node: 1, shard: 0 };
const B: At = At { node: 2, shard: 0 };

/// The first of the lives in which node 1 has written; none of them is the one that runs.
const FIRST: u64 = 100;

/// The write of node 1 in this life, counted from 1.
fn of(life: u64) -> Dot {
    Dot::new(Actor::new(NodeId(1), Boot(FIRST + life - 1), 1), 1)
}

/// A record that node 1 has written in each of these lives; what it wrote in those that are `live`
/// is a sibling still.
fn record(lives: impl Iterator<Item = u64>, live: &[u64]) -> Vec<u8> {
    let live: Vec<Dot> = live.iter().map(|life| of(*life)).collect();
    record_of(&lives.map(of).collect::<Vec<_>>(), &live)
}

fn record_of(entries: &[Dot], live: &[Dot]) -> Vec<u8> {
    let entries: Vec<[u8; 16]> = entries.iter().map(|dot| dot.to_bytes()).collect();
    let version_vector = VersionVector::new_checked(&entries).unwrap();
    let (timestamp, expires, value) = (UnixMs(1), None, &b"value"[..]);
    let sibling = |dot: &Dot| Sibling { dot: *dot, flags: 0, timestamp, expires, value };
    let siblings: Vec<Sibling<'_>> = live.iter().map(sibling).collect();
    let mut out = vec![0; record_bytes(version_vector, &siblings)];
    encode_record(version_vector, &siblings, &mut out);
    out
}

impl Cluster {
    /// Joins a record of "k" into the store of a node, as a frame would.
    fn receive(&mut self, at: At, record: &[u8]) {
        let frame = frame_of(self.hop(Op::Replicate, 0), b"k", &record);
        self.offer(at, B.link(), Some(B.node), &frame).unwrap().unwrap();
    }

    /// The node's process ends, and another one goes on with its store.
    fn start_again(&mut self, at: At, boot: Boot) {
        let others: Vec<At> = self.ats().into_iter().filter(|other| *other != at).collect();
        for other in &others {
            self.turn(*other, |turn| turn.input(Input::PeerDown(NodeId(at.node))));
        }
        self.run();
        let old = self.sites.remove(&at).unwrap();
        let mut site = Box::new(Site::new(at, &THREE, boot));
        site.store = old.store;
        self.sites.insert(at, site);
        self.members(&[1, 2, 3], TopologyId(1));
        self.synced();
        for other in others {
            self.turn(other, |turn| turn.input(Input::PeerUp(NodeId(at.node))));
            self.turn(at, |turn| turn.input(Input::PeerUp(NodeId(other.node))));
        }
        self.run();
    }

    fn put_all(&mut self, at: At, keys: &[&[u8]]) {
        for key in keys {
            assert_eq!(self.put(at, key, set(b"value")).status, Status::Ok);
        }
        self.run();
    }

    /// Entries of the longest version vector of any copy.
    fn longest(&self, keys: &[&[u8]]) -> usize {
        let copies = self.sites.values().flat_map(|site| {
            keys.iter().map(|key| site.store.record(&self.key(key)).unwrap().unwrap())
        });
        copies.map(|stored| stored.record.version_vector().len()).max().unwrap()
    }

    fn entries_of(&self, at: At) -> Vec<u64> {
        let stored = self.sites[&at].store.record(&self.key(b"k")).unwrap().unwrap();
        stored.record.version_vector().iter().map(|dot| dot.actor().boot().0 + 1 - FIRST).collect()
    }

    /// To which of the writes of these lives the node agrees.
    fn spent(&mut self, at: At, lives: &[u64], is_last: bool) -> Vec<u64> {
        let Key { partition, order, .. } = self.key(b"k");
        let entries: Vec<Entry> = lives.iter().map(|life| entry_of(of(*life))).collect();
        let purpose = Purpose::Compact;
        let survey = Survey { partition, purpose, order, is_last, entries: &entries };
        let frame = frame_of(self.hop(Op::Survey, 9), b"", &survey);
        self.offer(at, B.link(), Some(B.node), &frame).unwrap().unwrap();
        let at = self.network.flights.iter().rposition(|one| one.op() == Op::Surveyed).unwrap();
        let answer = self.network.flights.remove(at).unwrap();
        let answer = Frame::new_checked::<Software>(&answer.bytes).unwrap();
        let agreed = Surveyed::new_checked(answer.payload()).unwrap().agreed;
        let is_agreed = |at: usize| agreed[at / 64] >> (at % 64) & 1 == 1;
        lives.iter().enumerate().filter(|(at, _)| is_agreed(*at)).map(|(_, life)| *life).collect()
    }
}

/// Three nodes that have a key of so many lives, all on disk; the last two of them are siblings.
fn long(last: u64) -> Cluster {
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    let bytes = record(1..=last, &[last - 1, last]);
    for at in cluster.ats() {
        cluster.receive(at, &bytes);
    }
    cluster.run();
    cluster
}

#[test]
fn an_owner_agrees_to_what_it_has_seen_and_shows_no_more() {
    let mut cluster = long(8);
    cluster.pass(FRAME_AGE_MAX);
    assert_eq!(cluster.spent(A, &[1, 2, 6, 7, 8, 9], false), [1, 2, 6]);
    // Of a key that it does not have, to nothing.
    let Key { partition, order, .. } = cluster.key(b"k");
    let entries = [entry_of(of(1))];
    let (purpose, order) = (Purpose::Compact, order ^ 1);
    let survey = Survey { partition, purpose, order, is_last: false, entries: &entries };
    let frame = frame_of(cluster.hop(Op::Survey, 9), b"", &survey);
    cluster.offer(A, B.link(), Some(B.node), &frame).unwrap().unwrap();
    let answer = cluster.network.flights.pop_back().unwrap();
    let answer = Frame::new_checked::<Software>(&answer.bytes).unwrap();
    assert_eq!(Surveyed::new_checked(answer.payload()).unwrap().agreed, [0; 2]);
}

/// Places for long keys are few, and only the first owner of a partition takes one out again.
#[test]
fn only_who_asks_notes_a_long_version_vector() {
    let mut cluster = long(17);
    let Key { partition, .. } = cluster.key(b"k");
    let first = cluster.sites[&A].shard.rings().committed().owners(partition)[0];
    for at in cluster.ats() {
        let shard = &mut cluster.sites.get_mut(&at).unwrap().shard;
        let is_noted = shard.take_long(partition, 0).is_some();
        assert_eq!(is_noted, NodeId(at.node) == first, "{at:?}");
    }
}

#[test]
fn a_node_keeps_the_entries_of_its_running_life() {
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    cluster.pass(FRAME_AGE_MAX);
    assert_eq!(cluster.put(A, b"k", set(b"value")).status, Status::Ok);
    cluster.run();
    cluster.receive(A, &record(1..=2, &[2]));
    let key = cluster.key(b"k");
    let seen = cluster.sites[&A].store.record(&key).unwrap().unwrap().record.version_vector();
    let own = seen.dot(0);
    assert_eq!(own.actor().boot(), cluster.sites[&A].shard.config().boot);
    // Another one has replaced what it wrote.
    let context = record_of(&[own, of(2), of(3)], &[of(3)]);
    cluster.receive(A, &context);
    assert!(cluster.sites[&A].store.record(&key).unwrap().unwrap().record.is_spent(own));
    let Key { partition, order, .. } = key;
    let (purpose, entries) = (Purpose::Compact, [entry_of(own), entry_of(of(2))]);
    let survey = Survey { partition, purpose, order, is_last: false, entries: &entries };
    let frame = frame_of(cluster.hop(Op::Survey, 9), b"", &survey);
    cluster.offer(A, B.link(), Some(B.node), &frame).unwrap().unwrap();
    let answer = cluster.network.flights.pop_back().unwrap();
    let answer = Frame::new_checked::<Software>(&answer.bytes).unwrap();
    assert_eq!(Surveyed::new_checked(answer.payload()).unwrap().agreed, [0b10, 0]);
}

#[test]
fn nobody_agrees_while_an_older_copy_may_be_left() {
    let mut cluster = long(4);
    assert_eq!(cluster.spent(A, &[1], false), [], "of its earlier life");
    cluster.pass(FRAME_AGE_MAX);
    assert_eq!(cluster.spent(A, &[1], false), [1]);
    let hint = cluster.key(b"k").kept_for(NodeId(3));
    let older = record(1..=1, &[1]);
    let older = Record::new_checked(&older).unwrap();
    records::join_record(&mut cluster.sites.get_mut(&A).unwrap().store, &hint, older).unwrap();
    assert_eq!(cluster.spent(A, &[1], false), [], "it keeps a hint");
    cluster.turn(A, |turn| turn.input(Input::Hinted { target: NodeId(3) }));
    cluster.pass(Duration::from_millis(10));
    cluster.run();
    cluster.pass(Duration::from_millis(10));
    assert_eq!(cluster.spent(A, &[1], false), [], "it sent one just now");
    cluster.pass(FRAME_AGE_MAX);
    assert_eq!(cluster.spent(A, &[1], false), [1]);
}

#[test]
fn who_is_no_owner_agrees_when_it_has_nothing() {
    let mut cluster = Cluster::new(Setup { nodes: 5, ..THREE });
    cluster.synced();
    cluster.pass(FRAME_AGE_MAX);
    let key = cluster.key(b"k");
    let owns = |cluster: &Cluster, at: At| cluster.sites[&at].shard.owns(key.partition);
    let at = cluster.ats().into_iter().find(|at| !owns(&cluster, *at) && *at != B).unwrap();
    assert_eq!(cluster.spent(at, &[1, 2], false), [1, 2]);
    let bytes = record(1..=2, &[2]);
    let copy = Record::new_checked(&bytes).unwrap();
    records::join_record(&mut cluster.sites.get_mut(&at).unwrap().store, &key, copy).unwrap();
    assert_eq!(cluster.spent(at, &[1, 2], false), [], "a copy that it has given away");
}

#[test]
fn the_last_question_is_whether_it_is_on_disk() {
    let mut cluster = Cluster::new(THREE);
    let sync = |cluster: &mut Cluster| {
        let synced = cluster.sites[&A].store.end();
        cluster.turn(A, |turn| turn.input(Input::Stored { written: AT_ONCE, synced }));
    };
    cluster.receive(A, &record(1..=2, &[2]));
    sync(&mut cluster);
    cluster.receive(A, &record(1..=4, &[4]));
    cluster.run();
    cluster.pass(FRAME_AGE_MAX);
    assert_eq!(cluster.spent(A, &[1], true), [], "it was not asked before");
    cluster.network.notices.clear();
    assert_eq!(cluster.spent(A, &[1], false), [1]);
    assert!(cluster.network.notices.contains(&Notice::Sync), "it soon is");
    assert_eq!(cluster.spent(A, &[1], true), [], "but it is not yet");
    sync(&mut cluster);
    assert_eq!(cluster.spent(A, &[1], true), [1]);
    cluster.pass(FRAME_AGE_MAX);
    assert_eq!(cluster.spent(A, &[1], true), [], "that was too long ago");
}

#[test]
fn what_left_is_not_let_in_again_for_a_while() {
    let mut cluster = long(4);
    let Key { partition, order, .. } = cluster.key(b"k");
    let version = |cluster: &Cluster| {
        let stored = cluster.sites[&A].store.record(&cluster.key(b"k")).unwrap().unwrap();
        stored.record.version(&cluster.key(b"k"))
    };
    let before = version(&cluster);
    let entries: Vec<Entry> = [1, 2, 3].map(|life| entry_of(of(life))).to_vec();
    let purpose = Purpose::Compact;
    let erase = Erase { partition, purpose, order, entries: &entries };
    let frame = frame_of(cluster.hop(Op::Erase, 0), b"", &erase);
    cluster.offer(A, B.link(), Some(B.node), &frame).unwrap().unwrap();
    assert_eq!(cluster.entries_of(A), [3, 4], "of 3 there is a sibling");
    assert_eq!(version(&cluster), before, "exchanges find no difference");
    // Another owner has not heard of it yet.
    cluster.receive(A, &record(1..=5, &[3, 5]));
    assert_eq!(cluster.entries_of(A), [3, 4, 5]);
    cluster.pass(FRAME_AGE_MAX / COMPACTED_PART);
    cluster.receive(A, &record(1..=6, &[3, 6]));
    assert_eq!(cluster.entries_of(A), [1, 2, 3, 4, 5, 6]);
    assert_eq!(dot_of(entries[0]), of(1));
}

#[test]
fn a_long_version_vector_becomes_short_and_a_short_one_stays() {
    for (count, is_long) in
        [(COMPACT_COUNT_MIN as u64, false), (COMPACT_COUNT_MIN as u64 + 1, true)]
    {
        let mut cluster = long(count);
        for _ in 0..60 {
            cluster.pass(Duration::from_secs(5));
            cluster.run();
        }
        for at in cluster.ats() {
            let left = cluster.entries_of(at);
            if is_long {
                assert_eq!(left, [count - 1, count], "{at:?}");
            } else {
                assert_eq!(left.len() as u64, count, "{at:?}");
            }
        }
        // A write goes on from there.
        assert_eq!(cluster.put(A, b"k", set(b"next")).status, Status::Ok);
        cluster.run();
    }
}

/// Three nodes are restarted one after the other, twenty seconds apart, and four minutes later
/// again, for ever; all the while all of them write the same keys: once after each start, then
/// every five seconds.
#[test]
fn restarts_without_end_leave_short_version_vectors() {
    let is_soak = std::env::var_os("RINGMAIN_SOAK").is_some();
    let (count, keys) = (if is_soak { 1000 } else { 12 }, [&b"k"[..], b"l", b"m"]);
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    let mut longest = 0;
    for round in 0..count {
        for at in cluster.ats() {
            cluster.start_again(at, Boot(2 + round));
            cluster.put_all(at, &keys);
            for step in 0..if at.node < 3 { 4 } else { 48 } {
                cluster.pass(Duration::from_secs(5));
                cluster.run();
                cluster.put_all(At { node: 1 + step % 3, shard: 0 }, &keys);
                longest = longest.max(cluster.longest(&keys));
            }
        }
    }
    assert!(longest <= 32, "{longest} entries");
    assert!(longest > COMPACT_COUNT_MIN, "as many restarts as make a vector long");
}
