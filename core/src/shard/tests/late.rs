//! Answers that come twice, late, for somebody else or from nobody who was asked.

use super::*;

#[test]
fn an_answer_that_comes_twice_counts_once() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(3, 0, 0);
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(rig.ack(ME, op), [], "this node counted itself already");
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
    assert_eq!(rig.ack(THREE, op), [], "it is over");

    let (op, _) = rig.get(3, 0);
    assert_eq!(rig.looked(op), []);
    assert_eq!(rig.looked(op), []);
    assert_eq!(rig.answer(TWO, op), []);
    assert_eq!(rig.answer(TWO, op), []);
    assert_eq!(rig.answer(THREE, op), [rig.reply(op, Outcome::Got)]);
    assert_eq!(rig.answer(THREE, op), []);
}

#[test]
fn a_node_that_was_not_asked_does_not_count() {
    let mut rig = Rig::new(Setup { nodes: 5, ..Setup::default() });
    let owned = (0..1 << BITS).map(Partition).find(|partition| rig.shard.owns(*partition));
    let key = KeyPlace { partition: owned.unwrap(), order: 3 };
    let owners = rig.shard.rings().owners(key.partition).to_vec();
    let strangers = (1..=9).map(NodeId).filter(|node| !owners.contains(node));
    let request = Request { key, ..rig.new_request(put(2, 0, 0)) };
    let [Output::Apply { op, .. }] = rig.input(Input::Request(request))[..] else { panic!() };
    rig.applied(op);
    for node in strangers {
        assert_eq!(rig.input(Input::Acked { node, op, order: 3, durable: true }), []);
    }
    let node = *owners.iter().find(|node| **node != ME).unwrap();
    let outputs = rig.input(Input::Acked { node, op, order: 3, durable: false });
    assert_eq!(outputs, [rig.stored(op)]);
}

/// Every answer that can name `op`, from `node`.
fn answers(node: NodeId, op: RequestId, order: u64) -> Vec<Input<'static>> {
    let rejected = |reason| Input::Rejected { node, op, order, reason };
    vec![
        Input::Acked { node, op, order, durable: true },
        Input::Answered { node, op, order, found: FOUND },
        rejected(RejectReason::Busy),
        rejected(RejectReason::Damaged),
    ]
}

#[test]
fn answers_for_the_last_user_of_a_slot_do_nothing() {
    let mut rig = Rig::new(Setup { slots: 1, ..Setup::default() });
    let (old, outputs) = rig.put(1, 0, 0);
    assert_eq!(answered(&outputs).len(), 1);
    assert_eq!([rig.ack(TWO, old), rig.ack(THREE, old)], [[], []]);
    let stale = |node| {
        let mut inputs = answers(node, old, KEY.order);
        inputs.push(Input::Unsent { node, op: old });
        inputs.push(Input::Looked { op: old, result: Ok(FOUND) });
        inputs.push(Input::ForwardReplied { op: old, node, order: KEY.order });
        inputs.push(Input::ForwardLost { op: old });
        inputs
    };
    let (op, _) = rig.put(3, 0, 0);
    assert_ne!(op, old);
    assert_eq!(op.0 & 0xffff, old.0 & 0xffff, "the same slot");
    for input in [ME, TWO, THREE].into_iter().flat_map(stale) {
        assert_eq!(rig.input(input), [], "{input:?}");
    }
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);

    let (op, _) = rig.get(3, 0);
    for input in [ME, TWO, THREE].into_iter().flat_map(stale) {
        assert_eq!(rig.input(input), [], "{input:?}");
    }
    rig.answer(TWO, op);
    rig.answer(THREE, op);
    assert_eq!(rig.looked(op), [rig.reply(op, Outcome::Got)]);
}

#[test]
fn answers_for_another_key_do_nothing() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(3, 0, 0);
    for input in [TWO, THREE].into_iter().flat_map(|node| answers(node, op, KEY.order + 1)) {
        assert_eq!(rig.input(input), [], "{input:?}");
    }
    let reason = RejectReason::StaleTopology;
    let stale = Input::Rejected { node: TWO, op, order: KEY.order + 1, reason };
    assert_eq!(rig.input(stale), [Output::TopologyDiffers { node: TWO }]);
    assert_eq!(rig.wait(crate::limits::TOPOLOGY_RETRY), [], "and nothing is sent again");
    rig.ack(TWO, op);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);

    let (op, _) = rig.get(3, 0);
    for input in [TWO, THREE].into_iter().flat_map(|node| answers(node, op, KEY.order + 1)) {
        assert_eq!(rig.input(input), [], "{input:?}");
    }
    rig.answer(TWO, op);
    rig.looked(op);
    assert_eq!(rig.answer(THREE, op), [rig.reply(op, Outcome::Got)]);
}

#[test]
fn answers_of_the_other_kind_do_nothing() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(3, 0, 0);
    assert_eq!(rig.answer(TWO, op), []);
    assert_eq!(rig.looked(op), []);
    assert_eq!(rig.input(Input::ForwardReplied { op, node: TWO, order: KEY.order }), []);
    assert_eq!(rig.input(Input::ForwardLost { op }), []);
    rig.ack(TWO, op);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
    let (op, _) = rig.get(3, 0);
    assert_eq!(rig.ack(TWO, op), []);
    rig.looked(op);
    rig.answer(TWO, op);
    assert_eq!(rig.answer(THREE, op), [rig.reply(op, Outcome::Got)]);
}

#[test]
fn a_late_success_of_a_node_that_failed_counts() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.input(Input::Unsent { node: TWO, op }), [rig.keep(TWO)]);
    assert_eq!(rig.ack(TWO, op), [rig.stored(op)]);
    let (op, outputs) = rig.get(2, 0);
    let [_, Output::Ask { node: first, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let other = if first == TWO { THREE } else { TWO };
    assert_eq!(rig.input(Input::Unsent { node: first, op }), [ask(op, other)]);
    assert_eq!(rig.looked(op), []);
    assert_eq!(rig.answer(first, op), [rig.reply(op, Outcome::Got)]);
}

/// A write that read this node and the third first, while the second is silent.
fn write_after_hedged_read(rig: &mut Rig, w: u8) -> (RequestId, NodeId, NodeId) {
    let outputs = rig.request(read_first(2, w));
    let [Output::Look { op, .. }, Output::Ask { node: slow, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(rig.looked(op), []);
    let outputs = rig.wait(crate::limits::READ_HEDGE);
    let [Output::Ask { node: quick, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_ne!(quick, slow);
    assert_eq!(rig.answer(quick, op), [apply(op, true)]);
    rig.applied(op);
    (op, slow, quick)
}

/// The read before a write was answered by R nodes; then another refuses the read. It may well
/// store the write.
#[test]
fn a_late_refusal_of_the_read_is_no_refusal_of_the_write() {
    let mut rig = Rig::new(Setup::default());
    let (op, slow, quick) = write_after_hedged_read(&mut rig, 3);
    assert_eq!(rig.reject(slow, op, RejectReason::Damaged), [], "that was the read");
    assert_eq!(rig.ack(quick, op), []);
    assert_eq!(rig.ack(slow, op), [rig.stored(op)]);

    let (op, slow, quick) = write_after_hedged_read(&mut rig, 3);
    assert_eq!(rig.answer(slow, op), [], "a late answer of the read");
    assert_eq!(rig.ack(quick, op), []);
    let failed = [rig.keep(slow), rig.failed(op, no_quorum(3, 2))];
    assert_eq!(rig.reject(slow, op, RejectReason::Busy), failed, "and this is the write's");

    let (op, slow, quick) = write_after_hedged_read(&mut rig, 3);
    let stale = rig.reject(slow, op, RejectReason::StaleTopology);
    assert_eq!(stale, [Output::TopologyDiffers { node: slow }]);
    assert_eq!(rig.wait(crate::limits::TOPOLOGY_RETRY), [], "nothing to send again");
    let outputs = rig.reject(slow, op, RejectReason::Busy);
    let lack = [rig.keep(slow), rig.keep(quick)];
    assert_eq!(outputs, [lack[0], lack[1], rig.failed(op, no_quorum(3, 1))]);

    let (op, slow, quick) = write_after_hedged_read(&mut rig, 3);
    let outputs = rig.reject(quick, op, RejectReason::Busy);
    let lack = [rig.keep(quick), rig.keep(slow)];
    let failed = rig.failed(op, no_quorum(3, 1));
    assert_eq!(outputs, [lack[0], lack[1], failed], "it answered the read");
}
