//! Reads: who is asked when, and contexts that must be covered.

use super::*;
use crate::limits::READ_HEDGE;

fn asked(outputs: &[Output]) -> Vec<NodeId> {
    let node = |output: &Output| match output {
        Output::Ask { node, .. } => *node,
        other => panic!("not an ask: {other:?}"),
    };
    outputs.iter().map(node).collect()
}

#[test]
fn a_slow_replica_is_hedged_by_one_more_each_time() {
    let mut rig = Rig::new(Setup { nodes: 5, n: 5, ..Setup::default() });
    let (op, outputs) = rig.get(2, 0);
    assert_eq!(rig.looked(op), []);
    let mut all = asked(&outputs[1..]);
    assert_eq!(all.len(), 1);
    for _ in 0..3 {
        assert_eq!(rig.shard.poll_timeout().map(|at| at > rig.now), Some(true));
        let more = asked(&rig.wait(READ_HEDGE));
        assert_eq!(more.len(), 1, "one more");
        all.extend(more);
    }
    assert_eq!(rig.wait(READ_HEDGE), [], "nobody is left");
    all.sort_unstable();
    assert_eq!(all, [2, 3, 4, 5].map(NodeId));
    assert_eq!(rig.answer(NodeId(5), op), [rig.reply(op, Outcome::Got)]);
    assert_eq!(rig.wait(TIMEOUT), []);
}

#[test]
fn a_hedge_passes_over_nodes_out_of_reach() {
    let mut rig = Rig::new(Setup { nodes: 5, n: 5, ..Setup::default() });
    let (op, outputs) = rig.get(2, 0);
    let first = asked(&outputs[1..])[0];
    let rest = (2..=5).map(NodeId).filter(|node| *node != first);
    let rest: Vec<NodeId> = rest.collect();
    rig.input(Input::PeerDown(rest[0]));
    rig.input(Input::PeerDown(rest[1]));
    assert_eq!(rig.fire(), [], "they were not asked yet");
    assert_eq!(asked(&rig.wait(READ_HEDGE)), [rest[2]]);
    rig.looked(op);
    assert_eq!(rig.wait(TIMEOUT), [rig.failed(op, no_quorum(2, 1))]);
}

#[test]
fn nodes_out_of_reach_are_asked_last_and_fail_at_once() {
    let mut rig = Rig::new(Setup { nodes: 5, n: 5, ..Setup::default() });
    for node in [2, 3] {
        rig.input(Input::PeerDown(NodeId(node)));
    }
    rig.fire();
    let (op, outputs) = rig.get(3, 0);
    let mut reachable = asked(&outputs[1..]);
    reachable.sort_unstable();
    assert_eq!(reachable, [4, 5].map(NodeId));
    assert_eq!(rig.looked(op), []);
    assert_eq!(rig.answer(NodeId(4), op), []);
    assert_eq!(rig.reject(NodeId(5), op, RejectReason::Damaged), [rig.failed(op, no_quorum(3, 2))]);
    // A quorum that cannot be met from the start fails in the same step.
    let outputs = rig.request(get(4, 0));
    let [Output::Look { op, .. }, Output::Ask { .. }, Output::Ask { .. }, reply] = outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(reply, rig.failed(op, no_quorum(4, 0)));
}

#[test]
fn a_read_of_all_owners_has_nobody_to_hedge_with() {
    let mut rig = Rig::new(Setup::default());
    let (op, outputs) = rig.get(3, 0);
    assert_eq!(outputs.len(), 3);
    rig.looked(op);
    assert_eq!(rig.wait(READ_HEDGE), []);
    assert_eq!(rig.wait(TIMEOUT), [rig.failed(op, no_quorum(3, 1))]);
}

#[test]
fn a_record_not_in_memory_is_read_elsewhere() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.get(1, 0);
    let outputs = rig.input(Input::Looked { op, result: Err(Unread::Cold) });
    let [Output::Ask { node, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(rig.answer(node, op), [rig.reply(op, Outcome::Got)]);
}

/// A read with R = 2 that must cover a context.
fn session(rig: &mut Rig) -> (RequestId, NodeId, NodeId) {
    let asked = Asked { nodes: 2, ..Asked::default() };
    let outputs = rig.request(Kind::Get { asked, cover: true });
    let [Output::Look { op, .. }, Output::Ask { node, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    (op, node, if node == TWO { THREE } else { TWO })
}

fn answer(rig: &mut Rig, node: NodeId, op: RequestId, covered: bool) -> Vec<Output> {
    let found = Found { covered, ..FOUND };
    rig.input(Input::Answered { node, op, order: KEY.order, found })
}

#[test]
fn a_session_read_that_is_covered_ends_with_its_quorum() {
    let mut rig = Rig::new(Setup::default());
    let (op, node, _) = session(&mut rig);
    assert_eq!(rig.looked(op), []);
    assert_eq!(answer(&mut rig, node, op, true), [rig.reply(op, Outcome::Got)]);
    // Whoever covers it: what is gathered only grows.
    let (op, node, _) = session(&mut rig);
    assert_eq!(rig.looked(op), []);
    assert_eq!(answer(&mut rig, node, op, false), [rig.reply(op, Outcome::Got)]);
}

#[test]
fn a_session_read_that_is_not_covered_asks_everybody() {
    let mut rig = Rig::new(Setup::default());
    let (op, node, other) = session(&mut rig);
    assert_eq!(rig.input(Input::Looked { op, result: Ok(UNCOVERED) }), []);
    assert_eq!(answer(&mut rig, node, op, false), [ask(op, other)]);
    assert_eq!(answer(&mut rig, other, op, true), [rig.reply(op, Outcome::Got)]);

    for good in [false, true] {
        let (op, node, other) = session(&mut rig);
        rig.input(Input::Looked { op, result: Ok(UNCOVERED) });
        answer(&mut rig, node, op, false);
        let outputs = if good {
            answer(&mut rig, other, op, false)
        } else {
            rig.reject(other, op, RejectReason::Busy)
        };
        assert_eq!(outputs, [rig.failed(op, Failure::NotCovered)], "all have answered");
    }

    let (op, node, _) = session(&mut rig);
    rig.input(Input::Looked { op, result: Ok(UNCOVERED) });
    answer(&mut rig, node, op, false);
    assert_eq!(rig.wait(TIMEOUT), [rig.failed(op, Failure::NotCovered)], "at the deadline");

    let (op, _, _) = session(&mut rig);
    rig.looked(op);
    let outputs = rig.wait(TIMEOUT);
    assert_eq!(outputs.last(), Some(&rig.failed(op, no_quorum(2, 1))), "too few answered");
}
