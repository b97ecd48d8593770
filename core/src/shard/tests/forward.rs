//! Requests that others coordinate.

use super::*;
use crate::limits::FORWARD_GRACE;

/// Of the keys of these requests.
const ORDER: u64 = 4;

/// A partition that this node does not own among five nodes.
fn elsewhere(rig: &Rig) -> KeyPlace {
    let partition = (0..1 << BITS).map(Partition).find(|partition| !rig.shard.owns(*partition));
    KeyPlace { partition: partition.unwrap(), order: ORDER }
}

/// A request forwarded to the first owner.
fn forward(rig: &mut Rig, kind: Kind) -> (RequestId, NodeId) {
    let key = elsewhere(rig);
    let node = rig.shard.rings().owners(key.partition)[0];
    let request = Request { key, ..rig.new_request(kind) };
    let outputs = rig.input(Input::Request(request));
    let [Output::Forward { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let target = Target::Node(node);
    assert_eq!(outputs, [super::forward(op, target, key.partition, true)]);
    (op, node)
}

fn five() -> Rig {
    Rig::new(Setup { nodes: 5, ..Setup::default() })
}

#[test]
fn a_node_that_does_not_own_the_key_passes_it_on_and_the_reply_back() {
    let mut rig = five();
    for kind in [get(2, 0), put(2, 0, 0), read_first(2, 2)] {
        let (op, node) = forward(&mut rig, kind);
        let origin = Origin::Session(rig.ticket);
        let replied = Input::ForwardReplied { op, node, order: ORDER };
        assert_eq!(rig.input(replied), [Output::Relay { op, origin }]);
        assert_eq!(rig.input(replied), [], "once");
        assert_eq!(rig.shard.request_count(), 0);
    }
}

#[test]
fn a_reply_about_another_key_is_late_for_an_earlier_request() {
    let mut rig = five();
    let (op, node) = forward(&mut rig, get(2, 0));
    assert_eq!(rig.input(Input::ForwardReplied { op, node, order: ORDER + 1 }), []);
    assert_eq!(rig.input(Input::ForwardReplied { op, node, order: ORDER }).len(), 1);
}

#[test]
fn only_the_node_that_was_asked_may_answer() {
    let mut rig = five();
    let (op, node) = forward(&mut rig, get(2, 0));
    for other in (1..=9).map(NodeId).filter(|other| *other != node) {
        assert_eq!(rig.input(Input::ForwardReplied { op, node: other, order: ORDER }), []);
    }
    assert_eq!(rig.input(Input::ForwardReplied { op, node, order: ORDER }).len(), 1);
}

#[test]
fn the_first_owner_in_reach_is_asked() {
    let mut rig = five();
    let key = elsewhere(&rig);
    let owners = rig.shard.rings().owners(key.partition).to_vec();
    for next in 1..=owners.len() {
        rig.input(Input::PeerDown(owners[next - 1]));
        rig.fire();
        let request = Request { key, ..rig.new_request(get(1, 0)) };
        let outputs = rig.input(Input::Request(request));
        match owners.get(next) {
            Some(node) => {
                let [Output::Forward { target, .. }] = outputs[..] else { panic!("{outputs:?}") };
                assert_eq!(target, Target::Node(*node));
            }
            None => {
                // Of the others, the one that comes first stands in.
                let first = rig.shard.rings().fallbacks(key.partition)[0];
                assert_ne!(first, ME, "as it happens");
                let [Output::Forward { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
                let target = Target::Node(first);
                assert_eq!(outputs, [super::forward(op, target, key.partition, true)]);
            }
        }
    }
}

#[test]
fn what_was_forwarded_once_is_not_forwarded_to_a_node_again() {
    let mut rig = five();
    let key = elsewhere(&rig);
    let partition = key.partition;
    let owner = rig.shard.rings().owners(partition)[0];
    for kind in [get(1, 0), put(1, 0, 0)] {
        let request = Request { key, forwarded: true, ..rig.new_request(kind) };
        let outputs = rig.input(Input::Request(request));
        let expected = match outputs[..] {
            [Output::Ask { op, .. }] => {
                Output::Ask { op, node: owner, partition, deadline_ms: 1000, target: OWN }
            }
            [Output::Apply { op, .. }] => {
                Output::Apply { op, birth: 1, gathered: false, target: owner }
            }
            _ => panic!("{outputs:?}"),
        };
        assert_eq!(outputs, [expected]);
    }
}

#[test]
fn another_shard_gets_it_marked_as_it_came() {
    let mut rig = Rig::new(Setup { shards: 2, ..Setup::default() });
    let key = KeyPlace { partition: Partition(40), order: ORDER };
    for forwarded in [false, true] {
        let request = Request { key, forwarded, ..rig.new_request(put(9, 0, 0)) };
        let outputs = rig.input(Input::Request(request));
        let [Output::Forward { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
        let target = Target::Shard(ShardIndex(1));
        assert_eq!(outputs, [super::forward(op, target, key.partition, forwarded)]);
        assert_eq!(
            rig.input(Input::ForwardReplied { op, node: TWO, order: ORDER }),
            [],
            "no node was asked"
        );
        let origin = Origin::Session(rig.ticket);
        let replied = Input::ForwardReplied { op, node: ME, order: ORDER };
        assert_eq!(rig.input(replied), [Output::Relay { op, origin }]);
    }
}

#[test]
fn what_cannot_be_forwarded_fails_before_anything_was_written() {
    let mut rig = five();
    let (op, _) = forward(&mut rig, put(2, 0, 0));
    let outputs = rig.input(Input::ForwardLost { op });
    assert_eq!(outputs, [rig.failed(op, Failure::Unavailable { needed: 1, got: 0 })]);
    let mut rig = Rig::new(Setup { shards: 2, ..Setup::default() });
    let key = KeyPlace { partition: Partition(40), order: ORDER };
    let request = Request { key, ..rig.new_request(get(1, 0)) };
    let outputs = rig.input(Input::Request(request));
    let [Output::Forward { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(rig.input(Input::ForwardLost { op }), [rig.failed(op, Failure::Busy)]);
}

#[test]
fn a_target_that_is_lost_leaves_the_outcome_unknown() {
    let mut rig = five();
    let (op, node) = forward(&mut rig, put(2, 0, 0));
    rig.input(Input::PeerDown(node));
    assert_eq!(rig.fire(), [rig.failed(op, no_quorum(1, 0))]);
    rig.input(Input::PeerUp(node));
    assert_eq!(rig.input(Input::ForwardReplied { op, node, order: ORDER }), [], "too late");
}

#[test]
fn a_forwarded_request_waits_a_little_longer_than_its_deadline() {
    let mut rig = five();
    let (op, _) = forward(&mut rig, put(2, 0, 0));
    let end = rig.now + TIMEOUT + FORWARD_GRACE;
    rig.now = Instant(end.0 - 1);
    assert_eq!(rig.fire(), []);
    rig.now = end + TICK;
    assert_eq!(rig.fire(), [rig.failed(op, no_quorum(1, 0))]);
}

#[test]
fn a_request_left_to_another_owner_waits_as_long() {
    let mut rig = Rig::new(Setup::default());
    let outputs = rig.request(put(2, 0, 0));
    let [Output::Apply { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let result = Err(Refusal::Unread(Unread::Damaged));
    assert!(matches!(rig.input(Input::Applied { op, result })[..], [Output::Forward { .. }]));
    let end = rig.now + TIMEOUT + FORWARD_GRACE;
    rig.now = Instant(end.0 - 1);
    assert_eq!(rig.fire(), [], "its coordinator may use all of the time");
    rig.now = end + TICK;
    assert_eq!(rig.fire(), [rig.failed(op, no_quorum(1, 0))]);
}

#[test]
fn a_change_of_the_ring_leaves_forwarded_requests_alone() {
    let mut rig = five();
    let (op, node) = forward(&mut rig, get(2, 0));
    rig.members(1..=4, TopologyId(2));
    assert_eq!(rig.input(Input::ForwardReplied { op, node, order: ORDER }).len(), 1);
}
