//! Writes that read first, with and without a condition.

use super::*;

const ABSENT: Condition = Condition::IfAbsent;
const PRESENT: Condition = Condition::IfPresent;

#[test]
fn nx_and_xx_write_if_what_they_read_allows_it() {
    let mut cluster = Cluster::new(THREE);
    let got = cluster.put(at(1, 0), b"k", first(PRESENT, b"no"));
    assert_eq!((got.status, got.found, got.live), (Status::ConditionFailed, 0, 0));
    assert!(got.values.is_empty());
    assert!(cluster.copy(1, b"k").is_empty(), "nothing was written");
    let got = cluster.put(at(2, 0), b"k", first(ABSENT, b"one"));
    assert_eq!((got.status, got.found, got.live), (Status::Ok, 0, 1));
    let got = cluster.put(at(3, 0), b"k", first(ABSENT, b"no"));
    assert_eq!((got.status, got.found, got.live), (Status::ConditionFailed, 1, 1));
    assert_eq!(got.values, [b"one"], "the old value is returned");
    let got = cluster.put(at(1, 0), b"k", first(PRESENT, b"two"));
    assert_eq!((got.status, got.found, got.live), (Status::Ok, 1, 1));
    assert_eq!(got.values, [b"one"]);
    for node in 1..=3 {
        assert_eq!(cluster.copy(node, b"k"), [b"two"]);
    }
    cluster.check_idle();
}

#[test]
fn the_old_values_are_returned_only_where_asked_for() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"one"));
    for condition in [Condition::Always, ABSENT] {
        let replaces = Replaces::ReadFirst { r: 3, condition, return_old: false };
        let got = cluster.put(at(1, 0), b"k", PutRequest { replaces, ..set(b"two") });
        assert_eq!(got.found, 1);
        assert!(got.values.is_empty());
    }
}

#[test]
fn a_delete_counts_what_it_found() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", replace(&[], b"one"));
    cluster.put(at(2, 0), b"k", replace(&[], b"two"));
    let delete = delete(first(Condition::Always, b""));
    let got = cluster.put(at(3, 0), b"k", delete);
    assert_eq!((got.status, got.found, got.live), (Status::Ok, 2, 0));
    assert_eq!(got.sorted(), [b"one", b"two"]);
    let got = cluster.put(at(1, 0), b"k", delete);
    assert_eq!((got.status, got.found, got.live), (Status::Ok, 0, 0));
    cluster.check_idle();
}

#[test]
fn a_value_that_has_expired_is_not_there() {
    let mut cluster = Cluster::new(THREE);
    let expiring = |at: u64| {
        let content = Content::Value { expires: Some(UnixMs(at)), value: b"brief" };
        PutRequest { content, ..set(b"") }
    };
    let end = cluster.wall.0 + 10;
    cluster.put(at(1, 0), b"k", expiring(end));
    let got = cluster.put(at(2, 0), b"k", first(ABSENT, b"no"));
    assert_eq!((got.status, got.found), (Status::ConditionFailed, 1));
    cluster.wall = UnixMs(end);
    let got = cluster.put(at(2, 0), b"k", first(PRESENT, b"no"));
    assert_eq!((got.status, got.found), (Status::ConditionFailed, 0), "it ended at its end");
    let got = cluster.put(at(3, 0), b"k", first(ABSENT, b"next"));
    assert_eq!((got.status, got.found, got.live), (Status::Ok, 0, 1));
    assert_eq!(cluster.get(at(1, 0), b"k", 2).values, [b"next"], "and is replaced");
    cluster.put(at(1, 0), b"k", expiring(end));
    let got = cluster.put(at(1, 0), b"k", delete(first(Condition::Always, b"")));
    assert_eq!(got.found, 0, "nothing lived that was deleted");
}

#[test]
fn a_write_replaces_what_r_nodes_know_and_not_only_its_coordinator() {
    let mut cluster = Cluster::new(THREE);
    cluster.network.cut.insert((2, 1));
    cluster.network.cut.insert((2, 3));
    let blind = PutRequest { w: 1, ..set(b"hidden") };
    assert_eq!(cluster.put(at(2, 0), b"k", blind).status, Status::Ok);
    cluster.network.cut.clear();
    let replaces = Replaces::ReadFirst { r: 3, condition: Condition::Always, return_old: true };
    let got = cluster.put(at(1, 0), b"k", PutRequest { replaces, ..set(b"seen") });
    assert_eq!((got.found, got.live), (1, 1));
    assert_eq!(got.values, [b"hidden"]);
    for node in 1..=3 {
        assert_eq!(cluster.copy(node, b"k"), [b"seen"]);
    }
}

/// A replica that was asked in time answers the read when the write has begun: what it adds was
/// not replaced by the write, and may even be the write itself.
#[test]
fn answers_to_the_read_that_come_late_change_nothing() {
    for condition in [Condition::Always, PRESENT] {
        let mut cluster = Cluster::new(THREE);
        cluster.put(at(1, 0), b"k", set(b"old"));
        let w = PutRequest { w: 3, ..first(condition, b"new") };
        cluster.send(at(1, 0), b"k", Command::Put(w));
        let reads: Vec<Flight> = cluster.network.flights.drain(..).collect();
        assert_eq!(reads.len(), 1);
        // The node that was asked first is slow: another one is asked, and answers.
        cluster.pass(crate::limits::READ_HEDGE);
        cluster.run_but(|flight| !matches!(flight.op(), Op::Read | Op::ReadReply | Op::ReadSame));
        // The write is on its way; the slow node takes it, and then answers the read.
        let replicates = |flight: &Flight| flight.op() == Op::Replicate;
        assert_eq!(cluster.network.flights.iter().filter(|f| replicates(f)).count(), 2);
        cluster.run_but(|flight| flight.op() == Op::Ack);
        assert_eq!(cluster.copy(reads[0].to.node, b"k"), [b"new"]);
        cluster.deliver(&reads[0]);
        cluster.run_but(|flight| flight.op() == Op::Ack);
        cluster.run();
        let got = cluster.reply().unwrap();
        assert_eq!((got.status, got.found, got.live), (Status::Ok, 1, 1));
        assert_eq!(got.values, [b"old"]);
        cluster.check_idle();
    }
}

#[test]
fn one_that_reads_first_is_forwarded_whole() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    for from in cluster.ats() {
        let key = [from.node as u8, from.shard as u8];
        let got = cluster.put(from, &key, first(ABSENT, b"v"));
        assert_eq!((got.status, got.live), (Status::Ok, 1));
        let got = cluster.put(from, &key, first(ABSENT, b"w"));
        assert_eq!((got.status, got.found), (Status::ConditionFailed, 1));
        assert_eq!(got.values, [b"v"]);
    }
    cluster.check_idle();
}
