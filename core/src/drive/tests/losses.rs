//! Frames that are not taken, peers that go, logs that wait, rings that change.

use super::*;
use crate::id::Partition;
use crate::limits::TOPOLOGY_RETRY;
use std::collections::HashSet;

#[test]
fn a_frame_that_is_not_taken_fails_its_node_at_once() {
    let mut cluster = Cluster::new(THREE);
    cluster.network.cut.insert((1, 2));
    assert_eq!(cluster.put(at(1, 0), b"k", set(b"v")).status, Status::Ok);
    let put = cluster.put(at(1, 0), b"k", PutRequest { w: 3, ..set(b"v") });
    assert_eq!((put.status, put.needed, put.got), (Status::NoQuorum, 3, 1));
    assert_eq!(cluster.get(at(1, 0), b"k", 2).values, [b"v"]);
    let got = cluster.get(at(1, 0), b"k", 3);
    assert_eq!((got.status, got.needed, got.got), (Status::NoQuorum, 3, 1));
    cluster.network.cut.insert((1, 3));
    let put = cluster.put(at(1, 0), b"k", set(b"w"));
    assert_eq!((put.status, put.needed, put.got), (Status::NoQuorum, 2, 1));
    let got = cluster.put(at(1, 0), b"k", first(Condition::Always, b"x"));
    assert_eq!((got.status, got.needed, got.got), (Status::Unavailable, 2, 1));
    cluster.check_idle();
}

#[test]
fn a_request_that_cannot_be_forwarded_is_unavailable_or_busy() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    let cut = (1..=5).flat_map(|from| (1..=5).map(move |to| (from, to)));
    cluster.network.cut.extend(cut);
    let key = cluster.key(b"k");
    for to in cluster.ats() {
        let get = cluster.get(to, b"k", 1);
        let put = cluster.put(to, b"k", set(b"v"));
        let site = &cluster.sites[&to];
        if ShardIndex::of(key.partition, 2, BITS).0 != to.shard {
            assert_eq!((get.status, put.status), (Status::Busy, Status::Busy));
        } else if site.shard.owns(key.partition) {
            assert_eq!((get.status, put.status), (Status::Ok, Status::NoQuorum));
        } else {
            assert_eq!((get.status, put.status), (Status::Unavailable, Status::Unavailable));
        }
    }
    cluster.check_idle();
}

#[test]
fn a_silent_cluster_ends_every_request_at_its_deadline() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    for from in cluster.ats() {
        for key in [&b"a"[..], b"b", b"c"] {
            let commands = [
                Command::Get(GET),
                Command::Put(set(b"v")),
                Command::Put(first(Condition::Always, b"v")),
            ];
            for command in commands {
                cluster.send(from, key, command);
            }
        }
    }
    cluster.network.flights.clear();
    cluster.pass(TIMEOUT + crate::limits::FORWARD_GRACE);
    cluster.network.flights.clear();
    assert_eq!(cluster.network.replies.len(), 10 * 9);
    let numbers: HashSet<Vec<u8>> =
        cluster.network.replies.iter().map(|reply| reply[8..12].to_vec()).collect();
    assert_eq!(numbers.len(), 10 * 9, "one each");
    cluster.check_idle();
}

#[test]
fn a_lost_peer_ends_what_waited_for_it() {
    let mut cluster = Cluster::new(Setup { nodes: 5, ..THREE });
    let key = cluster.key(b"k");
    let owners = cluster.sites[&at(1, 0)].shard.rings().owners(key.partition).to_vec();
    let stranger = (1..=5).find(|node| !owners.contains(&NodeId(*node))).unwrap();
    cluster.send(at(stranger, 0), b"k", Command::Put(set(b"v")));
    cluster.turn(at(stranger, 0), |turn| {
        turn.input(Input::PeerDown(owners[0]));
        turn.timeouts(usize::MAX);
    });
    let got = cluster.reply().unwrap();
    assert_eq!((got.status, got.needed, got.got), (Status::NoQuorum, 1, 0));
    cluster.run();
    assert_eq!(cluster.reply(), None, "its reply comes too late");
    assert_eq!(cluster.copy(owners[0].0, b"k"), [b"v"], "the outcome was unknown");
    cluster.check_idle();
}

#[test]
fn acknowledged_means_synced_where_it_must() {
    let mut cluster = Cluster::new(Setup { sync_before_ack: true, ..THREE });
    let sync = |cluster: &mut Cluster, node: u32| {
        let synced = cluster.sites[&at(node, 0)].store.end();
        cluster.turn(at(node, 0), |turn| turn.input(Input::Stored { written: AT_ONCE, synced }));
        cluster.run();
    };
    cluster.send(at(1, 0), b"k", Command::Put(set(b"v")));
    cluster.run();
    assert_eq!(cluster.reply(), None);
    sync(&mut cluster, 2);
    assert_eq!(cluster.reply(), None);
    assert_eq!(cluster.get(at(3, 0), b"k", 1).values, [b"v"], "exposed before it is synced");
    cluster.requests -= 1;
    sync(&mut cluster, 1);
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    sync(&mut cluster, 3);
    assert!(cluster.network.notices.is_empty());
    cluster.check_idle();

    let mut cluster = Cluster::new(THREE);
    cluster.send(at(1, 0), b"k", Command::Put(PutRequest { dw: 2, ..set(b"v") }));
    cluster.run();
    assert_eq!(cluster.reply(), None);
    assert_eq!(cluster.network.notices, [Notice::Sync; 3]);
    sync(&mut cluster, 1);
    sync(&mut cluster, 3);
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    sync(&mut cluster, 2);
    cluster.check_idle();
}

#[test]
fn a_node_on_another_topology_is_asked_until_it_agrees() {
    let mut cluster = Cluster::new(THREE);
    let old = ring(&[1, 2, 3]);
    cluster.turn(at(1, 0), |turn| {
        turn.input(Input::Rings { rings: &old, topology: TopologyId(9) });
        turn.timeouts(usize::MAX);
    });
    cluster.send(at(1, 0), b"k", Command::Put(set(b"v")));
    cluster.run();
    assert_eq!(cluster.reply(), None);
    let differs = |node| Notice::TopologyDiffers(NodeId(node));
    cluster.network.notices.sort_unstable_by_key(|notice| format!("{notice:?}"));
    assert_eq!(cluster.network.notices, [differs(1), differs(1), differs(2), differs(3)]);
    assert!(cluster.copy(2, b"k").is_empty());
    cluster.turn(at(2, 0), |turn| {
        turn.input(Input::Rings { rings: &old, topology: TopologyId(9) });
        turn.timeouts(usize::MAX);
    });
    cluster.pass(TOPOLOGY_RETRY);
    cluster.run();
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    assert_eq!(cluster.copy(2, b"k"), [b"v"]);
    assert!(cluster.copy(3, b"k").is_empty());
    cluster.check_idle();
}

/// `count` keys of one partition that node 1 owns.
fn keys(cluster: &Cluster, count: usize) -> Vec<Vec<u8>> {
    let shard = &cluster.sites[&at(1, 0)].shard;
    let partition = (0..1 << BITS).map(Partition).find(|partition| shard.owns(*partition));
    let names = (0..u32::MAX).map(|number| number.to_be_bytes().to_vec());
    let fits = |key: &Vec<u8>| Some(cluster.key(key).partition) == partition;
    names.filter(fits).take(count).collect()
}

/// A ring that takes a partition away and gives it back, with many requests in flight. The local
/// records are looked up again, and each lookup leads to an append: births must be used once, and
/// the driver's queue of results has a bound, also when no frame is taken.
#[test]
fn a_ring_that_changes_twice_under_many_requests() {
    for cut in [false, true] {
        let mut cluster = Cluster::new(Setup { nodes: 4, ..THREE });
        let keys = keys(&cluster, 180);
        let partition = cluster.key(&keys[0]).partition;
        let owners = cluster.sites[&at(1, 0)].shard.rings().owners(partition).to_vec();
        let (stays, fails) = match owners.iter().filter(|n| n.0 != 1).collect::<Vec<_>>()[..] {
            [stays, fails] => (stays.0, fails.0),
            _ => unreachable!(),
        };
        for key in &keys {
            let put = PutRequest { w: 1, ..first(Condition::Always, b"w") };
            cluster.send(at(1, 0), key, Command::Put(put));
        }
        // Of the owners without this node, one answers, one cannot be reached, one is silent.
        cluster.turn(at(1, 0), |turn| {
            turn.input(Input::PeerDown(NodeId(fails)));
            turn.timeouts(usize::MAX);
        });
        cluster.members(&[2, 3, 4], TopologyId(2));
        for _ in 0..2 {
            cluster.run_but(|flight| flight.to.node != stays && flight.from.node != stays);
            cluster.pass(TOPOLOGY_RETRY);
        }
        assert_eq!(cluster.network.replies.len(), 0);
        cluster.network.flights.clear();
        if cut {
            cluster.network.cut.extend([(1, 2), (1, 3), (1, 4)]);
        }
        cluster.members(&[1, 2, 3, 4], TopologyId(3));
        cluster.run();
        assert_eq!(cluster.network.replies.len(), keys.len());
        let mut births = HashSet::new();
        let store = &cluster.sites[&at(1, 0)].store;
        for key in &keys {
            let stored = store.record(&cluster.key(key)).unwrap().unwrap();
            let mine = stored.mine.expect("this node wrote it");
            let actor = stored.record.version_vector().dot(usize::from(mine)).actor();
            assert!(births.insert(actor), "a birth was used twice");
        }
        cluster.check_idle();
    }
}

#[test]
fn lost_events_of_the_running_life_are_told() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"one"));
    let old = cluster.sites[&at(1, 0)].store.clone();
    cluster.put(at(1, 0), b"k", set(b"two"));
    cluster.sites.get_mut(&at(1, 0)).unwrap().store = old;
    cluster.put(at(2, 0), b"k", set(b"three"));
    assert_eq!(cluster.network.notices, [Notice::LostOwnEvents]);
    assert_eq!(cluster.get(at(1, 0), b"k", 1).values, [b"three"]);
    cluster.check_idle();
}
