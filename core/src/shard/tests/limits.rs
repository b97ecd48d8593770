//! At every limit and one past it; deadlines.

use super::*;
use crate::limits::{BIRTH_MAX, HANDOFF_PAUSE_MIN, REQUEST_TIMEOUT_MAX};

#[test]
fn one_request_more_than_slots_is_busy() {
    let mut rig = Rig::new(Setup { slots: 4, ..Setup::default() });
    let ops: Vec<RequestId> = (0..4).map(|_| rig.get(3, 0).0).collect();
    assert_eq!(rig.shard.request_count(), 4);
    let elsewhere = KeyPlace { partition: Partition(8), order: 1 };
    for kind in [get(1, 0), put(1, 0, 0), read_first(1, 1)] {
        let outputs = rig.request(kind);
        assert_eq!(outputs, rig.refused(Failure::Busy));
        let request = Request { key: elsewhere, ..rig.new_request(kind) };
        assert_eq!(rig.input(Input::Request(request)), rig.refused(Failure::Busy));
    }
    rig.reject(TWO, ops[2], RejectReason::Busy);
    assert_eq!(rig.shard.request_count(), 3, "one failed");
    assert_eq!(rig.put(2, 0, 0).1.len(), 2);
    let outputs = rig.request(get(1, 0));
    assert_eq!(outputs, rig.refused(Failure::Busy));
}

#[test]
fn births_end_with_busy() {
    let mut rig = Rig::new(Setup { nodes: 1, ..Setup::default() });
    rig.shard.births[7] = BIRTH_MAX - 1;
    let outputs = rig.request(put(1, 0, 0));
    let [Output::Apply { op, birth: BIRTH_MAX, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let result = Ok(Applied { minted: true, ..applied(rig.place) });
    rig.input(Input::Applied { op, result });
    let outputs = rig.request(put(1, 0, 0));
    assert_eq!(outputs, rig.refused(Failure::Busy));
}

#[test]
fn requests_end_at_their_deadline_and_not_before() {
    let mut rig = Rig::new(Setup::default());
    let (write, _) = rig.put(3, 0, 0);
    let write_fails = rig.failed(write, no_quorum(3, 1));
    let (read, _) = rig.get(3, 0);
    let read_fails = rig.failed(read, no_quorum(3, 0));
    let deadline = rig.now + TIMEOUT;
    rig.now = Instant(deadline.0 - 1);
    assert_eq!(rig.fire(), []);
    rig.now = deadline + TICK;
    let outputs = rig.fire();
    assert_eq!(outputs.len(), 4);
    assert!(outputs.contains(&rig.keep(TWO)));
    assert!(outputs.contains(&rig.keep(THREE)));
    assert!(outputs.contains(&write_fails));
    assert!(outputs.contains(&read_fails));
    assert_eq!(rig.wait(HANDOFF_PAUSE_MIN), []);
    assert_eq!(rig.shard.next_task(), None);
}

#[test]
fn one_deadline_fires_in_each_step() {
    let mut rig = Rig::new(Setup { slots: 100, ..Setup::default() });
    for _ in 0..100 {
        rig.put(3, 0, 0);
    }
    rig.now = rig.now + TIMEOUT + TICK;
    for _ in 0..100 {
        let outputs = rig.step().unwrap();
        assert!(matches!(
            outputs[..],
            [
                Output::Keep { place: one, target: THREE, .. },
                Output::Keep { place: two, target: TWO, .. },
                Output::Reply { .. }
            ] if one == two
        ));
    }
    assert_eq!(rig.step(), None);
}

#[test]
fn a_request_that_is_overdue_when_it_comes_ends_in_the_next_step() {
    let mut rig = Rig::new(Setup::default());
    let request = Request { deadline: rig.now, ..rig.new_request(get(2, 0)) };
    let outputs = rig.input(Input::Request(request));
    let [Output::Look { op, .. }, Output::Ask { deadline_ms: 1, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(rig.wait(Duration::ZERO), [rig.failed(op, no_quorum(2, 0))]);
}

/// A process that was stopped for minutes goes on with deadlines that are long overdue, and takes
/// new requests before it looks at them.
#[test]
fn a_long_stop_does_not_upset_the_deadlines() {
    for stop in [1, 4, 32, 34, 300, 100_000] {
        let mut rig = Rig::new(Setup::default());
        let (old, _) = rig.put(3, 0, 0);
        let old_fails = [rig.keep(THREE), rig.keep(TWO), rig.failed(old, no_quorum(3, 1))];
        rig.now = rig.now + Duration::from_secs(stop) + TICK;
        let deadline = rig.now + REQUEST_TIMEOUT_MAX;
        let request = Request { deadline, ..rig.new_request(get(3, 0)) };
        let outputs = rig.input(Input::Request(request));
        let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(rig.fire(), old_fails, "after {stop} s");
        rig.now = Instant(deadline.0 - 1);
        assert_eq!(rig.fire(), [], "not before its deadline");
        rig.now = deadline + TICK;
        assert_eq!(rig.fire(), [rig.failed(op, no_quorum(3, 0))]);
    }
}

#[test]
#[should_panic(expected = "drained")]
fn an_input_before_the_outputs_are_drained_is_a_bug() {
    let mut rig = Rig::new(Setup::default());
    let request = rig.new_request(get(2, 0));
    rig.shard.handle_input(rig.now, Input::Request(request));
    rig.shard.handle_input(rig.now, Input::PeerDown(TWO));
}

#[test]
fn every_partition_is_held_by_one_shard() {
    for shards in [1, 2, 3, 7, 64] {
        let config = |shard| ShardConfig {
            shard: ShardIndex(shard),
            shards,
            ..*Rig::new(Setup::default()).shard.config()
        };
        let counts = (0..shards).map(|shard| Shard::partition_count(&config(shard)));
        assert_eq!(counts.sum::<usize>(), 1 << BITS);
        for partition in 0..1 << BITS {
            let shard = ShardIndex::of(Partition(partition), shards, BITS);
            assert!(first_partition(shard, shards, BITS) <= partition);
            let next = ShardIndex(shard.0 + 1);
            assert!(partition < first_partition(next, shards, BITS));
        }
    }
}

/// Where unsynced shares fill the FIFO while the ring changes, a write fails here, not the process.
#[test]
fn an_own_share_without_room_has_failed() {
    let new = ring(2..=4, 2);
    let setup = Setup { nodes: 4, n: 2, unsynced: 1, sync_before_ack: true, ..Setup::default() };
    let mut rig = Rig::new(setup);
    let lost = |p: &Partition| !new.is_owner(*p, ME) && rig.shard.owns(*p);
    let partition = (0..1 << BITS).map(Partition).find(lost).unwrap();
    let key = KeyPlace { partition, order: 5 };
    let request = Request { key, ..rig.new_request(put(2, 0, 0)) };
    let outputs = rig.input(Input::Request(request));
    let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    rig.applied(op);
    rig.input(Input::Rings { rings: &new, topology: TopologyId(2) });
    rig.fire();
    rig.input(Input::Rings { rings: &ring(1..=4, 2), topology: TopologyId(3) });
    let other = ring(1..=4, 2).owners(partition).iter().copied().find(|node| *node != ME);
    let failed = [rig.keep(other.unwrap()), rig.failed(op, no_quorum(2, 0))];
    assert_eq!(rig.fire(), failed, "the FIFO holds its first share");
}
