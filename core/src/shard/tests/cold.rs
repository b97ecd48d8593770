//! Writes that are not applied at once, since their record is cold.

use super::*;
use crate::limits::READ_HEDGE;

/// A write whose apply has to wait; with `first`, after a read of one node.
fn parked(rig: &mut Rig, first: bool, w: u8) -> RequestId {
    let outputs = rig.request(if first { read_first(1, w) } else { put(w, 0, 0) });
    let op = match outputs[..] {
        [Output::Look { op, .. }] => op,
        [Output::Apply { op, gathered: false, .. }] => return op,
        _ => panic!("{outputs:?}"),
    };
    let outputs = rig.looked(op);
    assert!(matches!(outputs[..], [Output::Apply { gathered: true, .. }]), "{outputs:?}");
    op
}

#[test]
fn a_write_is_tried_again_with_a_fresh_birth() {
    for first in [false, true] {
        let mut rig = Rig::new(Setup::default());
        let op = parked(&mut rig, first, 2);
        for birth in 1..4 {
            assert_eq!(
                rig.input(Input::Fetched { op }),
                [Output::Apply { op, birth, gathered: first, target: OWN }],
                "what another write of the partition has used is not used again"
            );
            let other = KeyPlace { order: 9, ..KEY };
            let request = Request { key: other, ..rig.new_request(put(1, 0, 0)) };
            let outputs = rig.input(Input::Request(request));
            let [Output::Apply { op: used, birth: other, .. }] = outputs[..] else {
                panic!("{outputs:?}");
            };
            assert_eq!(other, birth);
            let result = Ok(Applied { minted: true, ..applied(rig.place) });
            rig.input(Input::Applied { op: used, result });
        }
        let records = rig.applied(op);
        assert_eq!(records.len(), 2);
        assert!([TWO, THREE].iter().all(|to| records.contains(&rig.replicate(op, *to, false))));
        assert_eq!(rig.input(Input::Fetched { op }), [], "it waits no more");
    }
}

#[test]
fn what_forbids_a_write_is_asked_again_when_the_record_was_read() {
    for (change, failure) in [
        (Input::Stop, Failure::Busy),
        (Input::LogFailed, Failure::ReadOnly),
        (Input::PeerDown(TWO), Failure::Unavailable { needed: 3, got: 2 }),
    ] {
        for first in [false, true] {
            let mut rig = Rig::new(Setup::default());
            let op = parked(&mut rig, first, 3);
            assert_eq!(rig.input(change), []);
            assert_eq!(rig.fire(), []);
            assert_eq!(rig.input(Input::Fetched { op }), [rig.failed(op, failure)], "{change:?}");
        }
    }
}

#[test]
fn the_deadline_of_a_write_that_waits_says_that_nothing_was_written() {
    for first in [false, true] {
        let mut rig = Rig::new(Setup::default());
        let late = Failure::Unavailable { needed: 2, got: 0 };
        let op = parked(&mut rig, first, 0);
        assert_eq!(rig.wait(TIMEOUT), [rig.failed(op, late)]);
        assert_eq!(rig.input(Input::Fetched { op }), []);
        // The record is there before the wheel turns: too late, too.
        let op = parked(&mut rig, first, 0);
        rig.now = rig.now + TIMEOUT;
        assert_eq!(rig.input(Input::Fetched { op }), [rig.failed(op, late)]);
        assert_eq!(rig.wait(TIMEOUT), []);
        assert_eq!(rig.shard.request_count(), 0);
    }
}

/// An event on a copy that this node no longer owns would be on a fenced copy.
#[test]
fn a_write_whose_partition_moves_while_it_waits_is_left_to_an_owner() {
    let mut rig = Rig::new(Setup { nodes: 4, n: 2, ..Setup::default() });
    let new = ring(2..=4, 2);
    let lost = |partition: &Partition| !new.is_owner(*partition, ME) && rig.shard.owns(*partition);
    let partition = (0..1 << BITS).map(Partition).find(lost).unwrap();
    for forwarded in [false, true] {
        rig.members(1..=4, TOPOLOGY);
        let key = KeyPlace { partition, order: 5 };
        let request = Request { key, forwarded, ..rig.new_request(put(2, 0, 0)) };
        let outputs = rig.input(Input::Request(request));
        let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
        rig.members(2..=4, TopologyId(2));
        let forward = forward(op, Target::Node(new.owners(partition)[0]), partition, true);
        let refused = rig.failed(op, Failure::Unavailable { needed: 1, got: 0 });
        let outputs = rig.input(Input::Fetched { op });
        assert_eq!(outputs, [if forwarded { refused } else { forward }]);
        if !forwarded {
            rig.input(Input::ForwardLost { op });
        }
    }
}

/// A write that waits, after a read that `THREE` was asked for, too, and has not answered.
fn owed(rig: &mut Rig) -> RequestId {
    let outputs = rig.request(read_first(1, 3));
    let [Output::Look { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let asked = |outputs: &[Output]| matches!(outputs, [Output::Ask { node: THREE, .. }]);
    while !asked(&rig.wait(READ_HEDGE)) {}
    let outputs = rig.looked(op);
    assert_eq!(outputs, [apply(op, true)]);
    op
}

/// Whether the next refusal of `THREE` is taken for one of the write, which needs all three.
fn counts(rig: &mut Rig, op: RequestId) -> bool {
    assert_eq!(rig.input(Input::Fetched { op }), [apply(op, true)]);
    rig.applied(op);
    let outputs = rig.reject(THREE, op, RejectReason::Busy);
    let failed = [rig.keep(THREE), rig.keep(TWO), rig.failed(op, no_quorum(3, 1))];
    assert!(outputs.is_empty() || outputs == failed, "{outputs:?}");
    !outputs.is_empty()
}

/// Frames of a link stay in order, so the next answer of a node is to the read.
#[test]
fn answers_to_the_read_are_not_taken_for_answers_to_the_write() {
    let mut rig = Rig::new(Setup::default());
    let op = owed(&mut rig);
    assert!(!counts(&mut rig, op), "it is owed the answer to the read");

    let mut rig = Rig::new(Setup::default());
    let op = owed(&mut rig);
    assert_eq!(rig.answer(THREE, op), []);
    assert!(counts(&mut rig, op), "the answer to the read has come");

    let mut rig = Rig::new(Setup::default());
    let op = owed(&mut rig);
    assert_eq!(rig.reject(THREE, op, RejectReason::Busy), []);
    assert!(counts(&mut rig, op));

    let mut rig = Rig::new(Setup::default());
    let op = owed(&mut rig);
    assert_eq!(rig.input(Input::PeerDown(THREE)), []);
    assert_eq!(rig.fire(), []);
    assert_eq!(rig.input(Input::PeerUp(THREE)), []);
    assert!(counts(&mut rig, op), "what was owed was lost with the link");

    let mut rig = Rig::new(Setup::default());
    let op = owed(&mut rig);
    rig.members(1..=3, TopologyId(2));
    assert!(counts(&mut rig, op), "on another ring its place may be another node's");
}

#[test]
fn answers_for_a_write_that_waits_do_nothing_else() {
    let mut rig = Rig::new(Setup::default());
    let op = parked(&mut rig, true, 2);
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(rig.input(Input::Unsent { node: TWO, op }), []);
    assert_eq!(rig.input(Input::ForwardLost { op }), []);
    let outputs = rig.reject(TWO, op, RejectReason::StaleTopology);
    assert_eq!(outputs, [Output::TopologyDiffers { node: TWO }]);
    assert_eq!(rig.input(Input::Fetched { op }), [apply(op, true)]);
}
