//! Five nodes, three of which own a key, while some of those are away.

use super::cold::{ME, get, got, put};
use super::*;
use crate::causality::Record;
use crate::limits::{BODY_BYTES_MAX, FETCH_COUNT_MAX};
use crate::wire::body::body_bytes;
use crate::wire::peer::{Hint, Read};

pub(super) const FIVE: Setup = Setup { nodes: 5, ..THREE };

/// A cluster, and a key of which the first node keeps hints before others do.
pub(super) struct Five {
    pub(super) cluster: Cluster,
    pub(super) key: Vec<u8>,
    pub(super) owners: Vec<u32>,
    /// The node that keeps hints after the first.
    second: u32,
}

pub(super) fn five() -> Five {
    let cluster = Cluster::new(FIVE);
    let ring = cluster.sites[&ME].shard.rings();
    let fallbacks = |key: &[u8]| ring.fallbacks(cluster.key(key).partition);
    let mut keys = (0..100).map(|number| vec![b'k', number]);
    let key = keys.find(|key| fallbacks(key)[0] == NodeId(1)).unwrap();
    let second = fallbacks(&key)[1].0;
    let owners = ring.owners(cluster.key(&key).partition);
    let owners = owners.iter().map(|owner| owner.0).collect();
    Five { cluster, key, owners, second }
}

impl Cluster {
    /// Nobody can reach `node`, nor can it reach anybody.
    pub(super) fn away(&mut self, node: u32) {
        for at in self.ats() {
            let pairs = [(at.node, node), (node, at.node)];
            self.network.cut.extend(pairs.into_iter().filter(|(from, to)| from != to));
            let other = if at.node == node { None } else { Some(NodeId(node)) };
            self.turn(at, |turn| {
                other.into_iter().for_each(|node| turn.input(Input::PeerDown(node)));
                turn.timeouts(usize::MAX);
            });
        }
    }

    /// The values that `node` keeps for `target`, sorted; none if it keeps nothing.
    pub(super) fn hint(&self, node: u32, key: &[u8], target: u32) -> Option<Vec<Vec<u8>>> {
        let key = self.key(key).kept_for(NodeId(target));
        let stored = self.sites[&at(node, 0)].store.record(&key).unwrap()?;
        let values = stored.record.siblings().map(|sibling| sibling.value.to_vec());
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        Some(values)
    }

    /// How many hints each node keeps.
    pub(super) fn hints(&self) -> Vec<usize> {
        self.sites.values().map(|site| site.store.hints.len()).collect()
    }

    pub(super) fn ops(&self) -> Vec<(u32, Op)> {
        self.network.flights.iter().map(|flight| (flight.to.node, flight.op())).collect()
    }
}

pub(super) fn at_once(put: PutRequest<'_>) -> Command<'_> {
    Command::Put(PutRequest { w: 3, ..put })
}

#[test]
fn what_an_owner_misses_is_kept_by_another_node() {
    for (dw, op) in [(0, Op::Hint), (3, Op::HintSync)] {
        let Five { mut cluster, key, owners, .. } = five();
        let [one, two, gone] = owners[..] else { panic!() };
        cluster.away(gone);
        cluster.send(at(one, 0), &key, at_once(PutRequest { dw, ..set(b"v") }));
        assert!(cluster.ops().contains(&(1, op)));
        assert_eq!(cluster.ops().len(), 2);
        let flight = cluster.network.flights.iter().find(|flight| flight.op() == op).unwrap();
        let frame = Frame::new_checked::<Software>(&flight.bytes).unwrap();
        assert_eq!(Hint::new_checked(frame.payload()).unwrap().target, NodeId(gone));
        cluster.run();
        for node in [one, two, 1] {
            cluster.turn(at(node, 0), |turn| {
                turn.input(Input::Stored { written: AT_ONCE, synced: AT_ONCE });
            });
        }
        cluster.run();
        assert_eq!(cluster.reply().unwrap().status, Status::Ok);
        assert_eq!(cluster.hint(1, &key, gone), Some(vec![b"v".to_vec()]));
        assert_eq!(cluster.hints(), [1, 0, 0, 0, 0]);
        assert_eq!(cluster.copy(1, &key), Vec::<Vec<u8>>::new(), "it is no copy of its own");
        assert_eq!(cluster.copy(gone, &key), Vec::<Vec<u8>>::new());
        cluster.check_idle();
    }
}

/// A hint has a checksum of its own, under which damage would pass for what was written.
#[test]
fn a_damaged_record_is_not_sent_as_a_hint() {
    for is_damaged in [false, true] {
        let Five { mut cluster, key, owners, .. } = five();
        let [one, _, gone] = owners[..] else { panic!() };
        cluster.send(at(one, 0), &key, at_once(set(b"v")));
        if is_damaged {
            let (placed, site) = (cluster.key(&key), at(one, 0));
            cluster.sites.get_mut(&site).unwrap().store.rot(&placed);
        }
        cluster.network.flights.retain(|flight| flight.to.node != gone);
        cluster.away(gone);
        cluster.run();
        let hint = (!is_damaged).then(|| vec![b"v".to_vec()]);
        assert_eq!(cluster.hint(1, &key, gone), hint, "damaged: {is_damaged}");
        let status = if is_damaged { Status::NoQuorum } else { Status::Ok };
        assert_eq!(cluster.reply().unwrap().status, status);
        // Its coordinator keeps in mind who lacks it, and no bytes of it.
        assert_eq!(cluster.hint(one, &key, gone), is_damaged.then(Vec::new));
        cluster.check_idle();
    }
}

#[test]
fn hints_for_a_key_are_joined() {
    let Five { mut cluster, key, owners, .. } = five();
    let [one, two, gone] = owners[..] else { panic!() };
    cluster.away(gone);
    for value in [b"1", b"2", b"3"] {
        assert_eq!(cluster.ask(at(one, 0), &key, at_once(set(value))).status, Status::Ok);
        assert_eq!(cluster.hint(1, &key, gone), Some(vec![value.to_vec()]));
    }
    // Writes that do not know of each other.
    for (node, value) in [(one, b"a"), (two, b"b")] {
        let put = PutRequest { replaces: Replaces::Given(&[]), ..set(value) };
        assert_eq!(cluster.ask(at(node, 0), &key, at_once(put)).status, Status::Ok);
    }
    let all = ["3", "a", "b"].map(|value| value.as_bytes().to_vec());
    assert_eq!(cluster.hint(1, &key, gone).unwrap(), all, "none is lost");
    assert_eq!(cluster.hints(), [1, 0, 0, 0, 0]);
    let read = cluster.get(at(one, 0), &key, 3);
    assert_eq!(read.sorted(), all);
    let resolved = replace(&read.context, b"one");
    assert_eq!(cluster.ask(at(two, 0), &key, at_once(resolved)).status, Status::Ok);
    assert_eq!(cluster.hint(1, &key, gone).unwrap(), [b"one"]);
    cluster.check_idle();
}

/// A different hint for each owner, also where one node keeps several.
#[test]
fn hints_are_kept_apart_by_their_owner() {
    let Five { mut cluster, key, owners, second } = five();
    let [one, two, three] = owners[..] else { panic!() };
    cluster.away(two);
    assert_eq!(cluster.ask(at(one, 0), &key, at_once(set(b"1"))).status, Status::Ok);
    cluster.away(three);
    assert_eq!(cluster.ask(at(one, 0), &key, at_once(set(b"2"))).status, Status::Ok);
    assert_eq!(cluster.hint(1, &key, two).unwrap(), [b"2"]);
    assert_eq!(cluster.hint(second, &key, three).unwrap(), [b"2"]);
    assert_eq!(cluster.hints().iter().sum::<usize>(), 2);
    cluster.away(second);
    assert_eq!(cluster.put(at(one, 0), &key, set(b"3")).status, Status::Ok);
    assert_eq!(cluster.hint(1, &key, two).unwrap(), [b"3"]);
    assert_eq!(cluster.hint(one, &key, three), Some(vec![]), "nobody else is left for it");
    cluster.check_idle();
}

#[test]
fn a_read_asks_for_what_is_kept() {
    let Five { mut cluster, key, owners, .. } = five();
    let [one, two, gone] = owners[..] else { panic!() };
    cluster.away(gone);
    cluster.ask(at(one, 0), &key, at_once(set(b"v")));
    cluster.send(at(two, 0), &key, Command::Get(GetRequest { r: 3, ..GET }));
    let flight = cluster.network.flights.iter().find(|flight| flight.to == ME).unwrap();
    let frame = Frame::new_checked::<Software>(&flight.bytes).unwrap();
    let read = Read::new_checked(frame.payload()).unwrap();
    assert_eq!(read.target, NodeId(gone));
    assert_ne!(read.known, 0, "what the owner has itself");
    cluster.run_but(|flight| flight.op() == Op::ReadSame);
    assert_eq!(cluster.network.flights.len(), 2, "both have the same");
    cluster.run();
    assert_eq!(cluster.reply().unwrap().values, [b"v"]);
    // Of another key it has nothing, which is an answer.
    let ring = cluster.sites[&ME].shard.rings();
    let of_same = |other: &Vec<u8>| {
        let partition = cluster.key(other).partition;
        let owners: Vec<u32> = ring.owners(partition).iter().map(|node| node.0).collect();
        owners.contains(&two) && owners.contains(&gone) && other[..] != key[..]
    };
    let other = (0..100).map(|number| vec![b'k', number]).find(of_same).unwrap();
    let none = cluster.get(at(two, 0), &other, 3);
    assert_eq!((none.status, none.values), (Status::Ok, vec![]));
    cluster.check_idle();
}

/// The write is acknowledged by its coordinator and by the node that keeps it for the owner that
/// is away; then the coordinator goes, and the third owner, which never got it, is asked.
#[test]
fn an_owner_and_a_stand_in_see_an_acknowledged_write() {
    let Five { mut cluster, key, owners, .. } = five();
    let [gone, one, two] = owners[..] else { panic!() };
    cluster.away(gone);
    cluster.send(at(one, 0), &key, Command::Put(set(b"v")));
    let lost = |flight: &Flight| flight.to.node == two;
    cluster.run_but(lost);
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    cluster.network.flights.clear();
    cluster.away(one);
    assert_eq!(cluster.copy(two, &key), Vec::<Vec<u8>>::new());
    assert_eq!(cluster.get(at(two, 0), &key, 2).values, [b"v"]);
    assert_eq!(cluster.copy(two, &key), [b"v"], "and the owner is brought up to date");
    // Nor does a write that reads first pass it by.
    let put = cluster.put(at(two, 0), &key, first(Condition::IfAbsent, b"w"));
    assert_eq!((put.status, put.values), (Status::ConditionFailed, vec![b"v".to_vec()]));
    cluster.check_idle();
}

#[test]
fn nodes_that_own_nothing_serve_while_all_owners_are_away() {
    for node in 1..=5 {
        let Five { mut cluster, key, owners, second } = five();
        if owners.contains(&node) {
            continue;
        }
        owners.iter().for_each(|owner| cluster.away(*owner));
        let put = cluster.put(at(node, 0), &key, set(b"1"));
        assert_eq!(put.status, Status::Ok);
        let put = cluster.put(at(node, 0), &key, replace(&put.context, b"2"));
        assert_eq!(put.status, Status::Ok);
        assert_eq!(cluster.get(at(node, 0), &key, 2).values, [b"2"]);
        assert_eq!(cluster.hint(1, &key, owners[0]).unwrap(), [b"2"]);
        assert_eq!(cluster.hint(second, &key, owners[1]).unwrap(), [b"2"]);
        let none = cluster.ask(at(node, 0), &key, at_once(set(b"3")));
        assert_eq!((none.status, none.needed, none.got), (Status::Unavailable, 3, 2));
        cluster.check_idle();
    }
}

/// Where no other node is left, the coordinator keeps in mind who lacks its own copy: once.
#[test]
fn a_reference_to_the_own_copy_is_kept_once() {
    let mut cluster = Cluster::new(THREE);
    cluster.away(3);
    let mut end = Place(0);
    for value in [b"1", b"2", b"3"] {
        assert_eq!(cluster.put(ME, b"k", set(value)).status, Status::Ok);
        assert_eq!(cluster.hint(1, b"k", 3), Some(vec![]), "empty");
        assert_eq!(cluster.hints(), [1, 0, 0]);
        let appended = cluster.site().store.end().0 - end.0;
        assert_eq!(appended, if end == Place(0) { 3 } else { 1 });
        end = cluster.site().store.end();
    }
    let key = cluster.key(b"k").kept_for(NodeId(3));
    let stored = cluster.sites[&ME].store.record(&key).unwrap().unwrap();
    assert_eq!(stored.record.bytes(), Record::empty().bytes());
    // What finds no room is left to anti-entropy.
    cluster.send(ME, b"k", Command::Put(set(b"4")));
    cluster.stall(true);
    cluster.away(2);
    cluster.network.flights.clear();
    assert_eq!(cluster.reply().unwrap().status, Status::NoQuorum);
    assert_eq!((cluster.hints(), cluster.hint(1, b"k", 2)), (vec![1, 0, 0], None));
    cluster.check_idle();
}

#[test]
fn hints_wait_for_room() {
    let Five { mut cluster, key, owners, .. } = five();
    let [one, _, gone] = owners[..] else { panic!() };
    cluster.away(gone);
    for stalls_late in [false, true] {
        let store = &mut cluster.site().store;
        (store.is_stalled, store.stalls_next) = (!stalls_late, stalls_late);
        cluster.send(at(one, 0), &key, at_once(set(b"v")));
        cluster.run();
        assert_eq!((cluster.reply(), cluster.waiting()), (None, 1));
        cluster.make_room(&key);
        cluster.run();
        assert_eq!(cluster.reply().unwrap().status, Status::Ok);
        assert_eq!(cluster.hint(1, &key, gone).unwrap(), [b"v"]);
    }
    cluster.check_idle();
}

#[test]
fn hints_and_reads_of_them_wait_for_a_cold_one() {
    let Five { mut cluster, key, owners, .. } = five();
    let [one, two, gone] = owners[..] else { panic!() };
    cluster.away(gone);
    cluster.ask(at(one, 0), &key, at_once(set(b"1")));
    cluster.cool(&key);
    cluster.send(at(one, 0), &key, at_once(set(b"2")));
    cluster.run();
    assert_eq!((cluster.reply(), cluster.waiting()), (None, 1));
    cluster.send(at(two, 0), &key, Command::Get(GetRequest { r: 3, ..GET }));
    cluster.run();
    assert_eq!(cluster.waiting(), 2);
    cluster.warm(&key);
    cluster.run_but(|flight| flight.to.node == two);
    assert_eq!(cluster.hint(1, &key, gone).unwrap(), [b"2"]);
    cluster.network.replies.clear();
    cluster.run();
    assert_eq!(cluster.reply().unwrap().values, [b"2"], "read behind the write");
    cluster.check_idle();
}

/// A hint that stays cold is refused; then its coordinator keeps in mind who lacks the record.
#[test]
fn a_hint_that_stays_cold_is_refused() {
    let Five { mut cluster, key, owners, .. } = five();
    let [one, _, gone] = owners[..] else { panic!() };
    cluster.away(gone);
    cluster.ask(at(one, 0), &key, at_once(set(b"1")));
    cluster.cool(&key);
    cluster.send(at(one, 0), &key, at_once(set(b"2")));
    cluster.run();
    for _ in 0..FETCH_COUNT_MAX {
        assert_eq!(cluster.fetched(), [&key[..]]);
        cluster.resume(&key);
    }
    cluster.run();
    let put = cluster.reply().unwrap();
    assert_eq!((put.status, put.needed, put.got), (Status::NoQuorum, 3, 2));
    assert_eq!(cluster.hint(one, &key, gone), Some(vec![]));
    cluster.site().store.unread.clear();
    assert_eq!(cluster.hint(1, &key, gone).unwrap(), [b"1"]);
    cluster.check_idle();
}

/// Commands, too, where the node that stands in coordinates.
#[test]
fn what_a_stand_in_coordinates_waits_for_its_cold_hint() {
    let Five { mut cluster, key, owners, .. } = five();
    owners.iter().for_each(|owner| cluster.away(*owner));
    cluster.command(1, &key, put(PutRequest { w: 1, ..set(b"old") }));
    cluster.run();
    assert_eq!(cluster.answered(), [1]);
    cluster.cool(&key);
    cluster.command(2, &key, get(1));
    cluster.command(3, &key, put(PutRequest { w: 1, ..set(b"new") }));
    cluster.command(4, &key, get(1));
    cluster.run();
    assert_eq!((cluster.answered(), cluster.waiting()), (vec![], 3));
    cluster.warm(&key);
    cluster.run();
    let answers = cluster.answers();
    assert_eq!((answers[0].clone(), answers[2].clone()), ((2, got(b"old")), (4, got(b"new"))));
    // And for room.
    cluster.stall(true);
    cluster.command(5, &key, put(PutRequest { w: 1, ..set(b"last") }));
    assert_eq!((cluster.answered(), cluster.waiting()), (vec![], 1));
    cluster.make_room(&key);
    cluster.run();
    assert_eq!(cluster.answered(), [5]);
    assert_eq!(cluster.hint(1, &key, owners[0]).unwrap(), [b"last"]);
    cluster.check_idle();
}

/// A record that fills a frame leaves no room for the name of its owner.
#[test]
fn what_is_too_large_for_a_hint_is_not_sent() {
    let mut cluster = Cluster::new(FIVE);
    let most = BODY_BYTES_MAX - body_bytes(1, 0);
    let records = [(b"1", most - 8, true), (b"2", most - 7, false), (b"3", most, false)];
    for (bytes, record_bytes, is_sent) in records {
        let key = cluster.key(bytes);
        let place = cluster.site().store.append(&key, None, record_bytes, |_, _| {}).unwrap();
        let (hop, to) = (cluster.hop(Op::Hint, 1), To::Node(NodeId(2), key.partition));
        let sent = cluster.turn(ME, |turn| turn.send_hint(to, hop, place, NodeId(3)));
        assert_eq!(sent, Some(is_sent));
        assert_eq!(cluster.network.flights.drain(..).count(), usize::from(is_sent));
    }
}
