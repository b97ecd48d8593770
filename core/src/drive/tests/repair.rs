//! Reads that meet copies that differ, and reads of copies that do not.

use super::*;
use crate::limits::READ_REPAIR_BURST;
use crate::records::Full;

/// What was sent since the last call, by op.
fn sent(cluster: &mut Cluster, op: Op) -> usize {
    let mut count = 0;
    while let Some(flight) = cluster.network.flights.pop_front() {
        count += usize::from(flight.op() == op);
        cluster.deliver(&flight);
    }
    count
}

/// All three nodes have `old`, all but the third have `new`.
fn one_behind() -> Cluster {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", PutRequest { w: 3, ..set(b"old") });
    cluster.network.cut.insert((1, 3));
    assert_eq!(cluster.put(at(1, 0), b"k", set(b"new")).status, Status::Ok);
    cluster.network.cut.clear();
    assert_eq!([1, 2, 3].map(|node| cluster.copy(node, b"k")), [[b"new"], [b"new"], [b"old"]]);
    cluster
}

/// Whoever coordinates: the copy that is behind is its own, or another's.
#[test]
fn a_read_brings_the_copies_up_to_date_that_it_met() {
    for coordinator in 1..=3 {
        let mut cluster = one_behind();
        cluster.send(at(coordinator, 0), b"k", Command::Get(GetRequest { r: 3, ..GET }));
        let own = u32::from(coordinator == 3);
        assert_eq!(sent(&mut cluster, Op::Replicate), 1 - own as usize, "to the third alone");
        assert_eq!(cluster.reply().unwrap().values, [b"new"]);
        assert_eq!([1, 2, 3].map(|node| cluster.copy(node, b"k")), [[b"new"]; 3]);
        cluster.send(at(coordinator, 0), b"k", Command::Get(GetRequest { r: 3, ..GET }));
        assert_eq!(sent(&mut cluster, Op::Replicate), 0, "once");
        cluster.reply();
        cluster.check_idle();
    }
}

/// Two copies with a sibling each: both lack one, and so does whoever has none.
#[test]
fn siblings_are_repaired_everywhere() {
    let mut cluster = Cluster::new(THREE);
    for (node, others, value) in [(1, [2, 3], b"a"), (2, [1, 3], b"b")] {
        cluster.network.cut.extend(others.map(|other| (node, other)));
        let put = PutRequest { w: 1, replaces: Replaces::Given(&[]), ..set(value) };
        assert_eq!(cluster.put(at(node, 0), b"k", put).status, Status::Ok);
        cluster.network.cut.clear();
    }
    assert_eq!(cluster.copy(3, b"k"), Vec::<Vec<u8>>::new());
    assert_eq!(cluster.get(at(3, 0), b"k", 3).sorted(), [b"a", b"b"]);
    for node in 1..=3 {
        assert_eq!(cluster.copy(node, b"k"), [b"a", b"b"]);
    }
    cluster.check_idle();
}

/// What could not be stored or sent is left to the next read, and the answer is the same.
#[test]
fn a_repair_that_fails_changes_no_answer() {
    let mut cluster = one_behind();
    cluster.sites.get_mut(&at(3, 0)).unwrap().store.full = Some(Full::NoSpace);
    assert_eq!(cluster.get(at(3, 0), b"k", 3).values, [b"new"]);
    assert_eq!(cluster.copy(3, b"k"), [b"old"]);
    cluster.sites.get_mut(&at(3, 0)).unwrap().store.full = None;
    assert_eq!(cluster.get(at(1, 0), b"k", 3).values, [b"new"]);
    assert_eq!(cluster.copy(3, b"k"), [b"new"]);
    cluster.check_idle();
}

#[test]
fn repairs_have_a_pace() {
    let mut cluster = Cluster::new(THREE);
    let keys: Vec<Vec<u8>> = (0..READ_REPAIR_BURST + 3).map(|n| n.to_le_bytes().to_vec()).collect();
    cluster.network.cut.insert((1, 3));
    for key in &keys {
        cluster.put(at(1, 0), key, set(b"v"));
    }
    cluster.network.cut.clear();
    for key in &keys {
        assert_eq!(cluster.get(at(1, 0), key, 3).values, [b"v"]);
    }
    let behind =
        |cluster: &mut Cluster| keys.iter().filter(|key| cluster.copy(3, key).is_empty()).count();
    // Both that differ are asked for, and the one that lacks nothing is passed over.
    assert!(behind(&mut cluster) > 0, "one shard repairs no more at once");
    cluster.sites.values_mut().for_each(|site| site.store.hints.clear());
    cluster.pass(Duration::from_secs(5));
    for key in &keys {
        cluster.get(at(1, 0), key, 3);
        cluster.pass(Duration::from_millis(2));
    }
    assert_eq!(behind(&mut cluster), 0);
    cluster.check_idle();
}

#[test]
fn an_equal_record_is_not_sent() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", PutRequest { w: 3, ..set(&[7; 1000]) });
    cluster.send(at(1, 0), b"k", Command::Get(GetRequest { r: 3, ..GET }));
    let bytes = |cluster: &Cluster| cluster.network.flights.iter().map(|f| f.bytes.len()).max();
    assert!(bytes(&cluster) < Some(100));
    cluster.run_but(|flight| flight.op() == Op::ReadSame);
    assert_eq!(cluster.network.flights.len(), 2);
    assert!(bytes(&cluster) < Some(100));
    cluster.run();
    assert_eq!(cluster.reply().unwrap().values, [vec![7; 1000]]);
    // A key that nobody has is no equal record.
    assert_eq!(cluster.get(at(1, 0), b"none", 3).status, Status::Ok);
    cluster.check_idle();
}
