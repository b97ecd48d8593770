//! Writes that read first: DEL, and SET with a condition.

use super::*;
use crate::records::Full;

/// A write up to the end of its read, with answers of this node and another.
fn read(rig: &mut Rig, w: u8) -> (RequestId, Vec<Output>) {
    let outputs = rig.request(read_first(2, w));
    let [Output::Look { op, .. }, Output::Ask { node, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(rig.looked(op), []);
    (op, rig.answer(node, op))
}

#[test]
fn it_writes_with_what_r_nodes_know() {
    let mut rig = Rig::new(Setup::default());
    let (op, outputs) = read(&mut rig, 2);
    assert_eq!(outputs, [apply(op, true)]);
    assert_eq!(rig.applied(op).len(), 2);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
    assert_eq!(rig.shard.request_count(), 0);
}

#[test]
fn one_that_reads_one_node_writes_in_the_same_turn() {
    let mut rig = Rig::new(Setup::default());
    let outputs = rig.request(read_first(1, 1));
    let [Output::Look { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(rig.looked(op), [apply(op, true)]);
    assert_eq!(rig.applied(op).last(), Some(&rig.stored(op)));
}

#[test]
fn a_condition_that_does_not_hold_ends_it() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = read(&mut rig, 2);
    let outputs = rig.input(Input::ConditionFailed { op });
    assert_eq!(outputs, [rig.reply(op, Outcome::ConditionFailed)]);
    assert_eq!(rig.shard.request_count(), 0);
}

#[test]
fn a_read_that_fails_says_that_nothing_was_written() {
    let mut rig = Rig::new(Setup::default());
    let outputs = rig.request(read_first(3, 1));
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    let unavailable = Failure::Unavailable { needed: 3, got: 0 };
    assert_eq!(rig.reject(TWO, op, RejectReason::Damaged), [rig.failed(op, unavailable)]);

    let outputs = rig.request(read_first(2, 1));
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    rig.looked(op);
    let outputs = rig.wait(TIMEOUT);
    let unavailable = Failure::Unavailable { needed: 2, got: 1 };
    assert_eq!(outputs.last(), Some(&rig.failed(op, unavailable)));
}

#[test]
fn a_write_that_fails_after_its_read_is_unknown() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = read(&mut rig, 2);
    rig.applied(op);
    let failed = rig.failed(op, no_quorum(2, 1));
    assert_eq!(rig.wait(TIMEOUT), [rig.keep(THREE), rig.keep(TWO), failed]);
}

#[test]
fn what_forbids_a_write_is_asked_again_after_the_read() {
    for (change, failure) in [
        (Input::Stop, Failure::Busy),
        (Input::LogFailed, Failure::ReadOnly),
        (Input::PeerDown(TWO), Failure::Unavailable { needed: 3, got: 2 }),
    ] {
        let mut rig = Rig::new(Setup::default());
        let outputs = rig.request(read_first(1, 3));
        let [Output::Look { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(rig.input(change), []);
        assert_eq!(rig.looked(op), [rig.failed(op, failure)], "{change:?}");
    }
}

#[test]
fn refusals_of_the_store_end_it() {
    let refusals = [
        (Refusal::Full(Full::Busy), Failure::Busy),
        (Refusal::Full(Full::NoSpace), Failure::NoSpace),
        (Refusal::Full(Full::ReadOnly), Failure::ReadOnly),
        (Refusal::Siblings, Failure::Siblings),
        (Refusal::TooLarge, Failure::TooLarge),
        (Refusal::Unread(Unread::Cold), Failure::Busy),
    ];
    let mut rig = Rig::new(Setup::default());
    for (refusal, failure) in refusals {
        let (op, _) = read(&mut rig, 2);
        let outputs = rig.input(Input::Applied { op, result: Err(refusal) });
        assert_eq!(outputs, [rig.failed(op, failure)]);
        let outputs = rig.request(put(2, 0, 0));
        let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
        let outputs = rig.input(Input::Applied { op, result: Err(refusal) });
        assert_eq!(outputs, [rig.failed(op, failure)]);
    }
}

const DAMAGED: Result<Applied, Refusal> = Err(Refusal::Unread(Unread::Damaged));

/// riak_kv #679 began with an event on a record that could not be read.
#[test]
fn a_damaged_record_is_never_written_on_but_left_to_another_owner() {
    let mut rig = Rig::new(Setup::default());
    let owners = rig.shard.rings().owners(KEY.partition).to_vec();
    let other = *owners.iter().find(|node| **node != ME).unwrap();
    for first in [false, true] {
        let (op, outputs) = if first {
            read(&mut rig, 2)
        } else {
            let outputs = rig.request(put(2, 0, 0));
            let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
            (op, outputs)
        };
        assert_eq!(outputs, [apply(op, first)]);
        let target = Target::Node(other);
        let forward = forward(op, target, KEY.partition, true);
        assert_eq!(rig.input(Input::Applied { op, result: DAMAGED }), [forward]);
        let origin = Origin::Session(rig.ticket);
        let outputs = rig.input(Input::ForwardReplied { op, node: other, order: KEY.order });
        assert_eq!(outputs, [Output::Relay { op, origin }]);
    }
}

#[test]
fn a_damaged_record_without_another_owner_is_a_failure() {
    let mut rig = Rig::new(Setup { nodes: 1, ..Setup::default() });
    let outputs = rig.request(put(1, 0, 0));
    let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let outputs = rig.input(Input::Applied { op, result: DAMAGED });
    assert_eq!(outputs, [rig.failed(op, Failure::Damaged)]);

    // One that was forwarded once is not forwarded again.
    let mut rig = Rig::new(Setup::default());
    let request = Request { forwarded: true, ..rig.new_request(put(1, 0, 0)) };
    let outputs = rig.input(Input::Request(request));
    let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let outputs = rig.input(Input::Applied { op, result: DAMAGED });
    assert_eq!(outputs, [rig.failed(op, Failure::Damaged)]);
}

#[test]
fn a_damaged_record_is_no_answer_of_the_read_before_it() {
    let mut rig = Rig::new(Setup::default());
    let outputs = rig.request(read_first(2, 2));
    let [Output::Look { op, .. }, Output::Ask { node, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    let other = if node == TWO { THREE } else { TWO };
    let outputs = rig.input(Input::Looked { op, result: Err(Unread::Damaged) });
    assert_eq!(outputs, [ask(op, other)]);
    assert_eq!(rig.answer(node, op), []);
    assert_eq!(rig.answer(other, op), [apply(op, true)]);
}

/// An event on a copy that this node no longer owns would be on a fenced copy.
#[test]
fn a_node_that_lost_the_partition_during_the_read_does_not_write() {
    let mut rig = Rig::new(Setup { nodes: 4, n: 2, ..Setup::default() });
    let lost = |partition: &Partition| {
        !ring(2..=4, 2).is_owner(*partition, ME) && rig.shard.owns(*partition)
    };
    let partition = (0..1 << BITS).map(Partition).find(lost).unwrap();
    let key = KeyPlace { partition, order: 5 };
    for forwarded in [false, true] {
        rig.members(1..=4, TOPOLOGY);
        let request = Request { key, forwarded, ..rig.new_request(read_first(2, 1)) };
        let outputs = rig.input(Input::Request(request));
        let [Output::Look { op, .. }, Output::Ask { node, .. }] = outputs[..] else {
            panic!("{outputs:?}");
        };
        assert_eq!(rig.input(Input::Answered { node, op, order: 5, found: FOUND }), []);
        let new = ring(2..=4, 2);
        rig.input(Input::Rings { rings: &new, topology: TopologyId(2) });
        // The read goes on with the new owners, of which one may have answered.
        let mut outputs = rig.fire();
        while let Some(Output::Ask { node, .. }) = outputs.first().copied() {
            outputs = rig.input(Input::Answered { node, op, order: 5, found: FOUND });
        }
        let target = Target::Node(new.owners(partition)[0]);
        let forward = forward(op, target, partition, true);
        let refused = rig.failed(op, Failure::Unavailable { needed: 1, got: 0 });
        assert_eq!(outputs, [if forwarded { refused } else { forward }]);
        if !forwarded {
            rig.input(Input::ForwardLost { op });
        }
    }
}

#[test]
fn births_are_used_once_and_only_when_minted() {
    let mut rig = Rig::new(Setup { nodes: 1, ..Setup::default() });
    let mut birth = |minted: bool, partition: u16| {
        let key = KeyPlace { partition: Partition(partition), order: 1 };
        let request = Request { key, ..rig.new_request(put(1, 0, 0)) };
        let outputs = rig.input(Input::Request(request));
        let [Output::Apply { op, birth, .. }] = outputs[..] else { panic!("{outputs:?}") };
        let result = Ok(Applied { minted, ..applied(rig.place) });
        rig.input(Input::Applied { op, result });
        birth
    };
    assert_eq!([true, false, false, true, true].map(|minted| birth(minted, 7)), [1, 2, 2, 2, 3]);
    assert_eq!(birth(true, 8), 1, "births are counted by partition");
    assert_eq!(birth(true, 7), 4);
}
