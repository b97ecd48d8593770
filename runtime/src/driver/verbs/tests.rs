use super::*;
use ringmain_core::id::Boot;
use ringmain_core::limits::{FRAME_AGE_MAX, MEMBER_COUNT_MAX};
use ringmain_core::membership::detector::Entry;
use ringmain_core::membership::member::Contact;
use ringmain_core::node::{NodeConfig, NodeMemory, NodeOutput};
use ringmain_core::ring::{RingConfig, Rings};
use ringmain_core::time::Instant;
use std::time::Duration;

const RING: RingConfig = RingConfig { partition_bits: 6, n: 3, seed: 1 };
const ME: NodeId = NodeId(1);

fn of(node: u32) -> Member {
    let zone = Name::new("default").unwrap();
    Member { node: NodeId(node), uuid: node.into(), weight: 100, zone }
}

fn contact(node: u32, name: &str) -> Contact {
    Contact {
        node: NodeId(node),
        boot: Boot(1),
        incarnation: 0,
        name: Name::new(name).unwrap(),
        ip: [1; 16],
        resp_port: 1,
        native_port: 2,
        admin_port: 3,
        shards: 1,
    }
}

fn feed(node: &mut Node<'_>, input: NodeInput<'_>) {
    node.handle_input(Instant(1), input);
    let mut persists = false;
    while let Some(output) = node.poll_output() {
        persists |= matches!(output, NodeOutput::Persist { .. });
    }
    if persists {
        feed(node, NodeInput::Persisted);
    }
}

fn empty() -> Box<Node<'static>> {
    let config = NodeConfig {
        member: of(1),
        ring: RING,
        join: false,
        shards: 1,
        boot: Boot(1),
        in_place: true,
        frame_age_max: FRAME_AGE_MAX,
        probe_interval: Duration::from_secs(1),
        seed: 1,
    };
    Box::new(Node::new(
        config,
        NodeMemory {
            operations: vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX].leak(),
            staged: vec![[0; Operation::BYTES]; STAGED_COUNT_MAX].leak(),
            owners: vec![NodeId(0); Rings::slot_count(&RING)].leak(),
            entries: vec![Entry::EMPTY; MEMBER_COUNT_MAX].leak(),
        },
    ))
}

fn commit(node: &mut Node<'_>, operation: Operation) {
    let bytes = operation.settled().to_bytes();
    let operations = Operations::new_checked(&bytes).unwrap();
    feed(node, NodeInput::Commit { operations });
}

/// Members 1 to 3: oak, elm, and ash, which 3 is called, too, as is 4, which waits to join.
fn three() -> Box<Node<'static>> {
    let mut node = empty();
    feed(&mut node, NodeInput::Found);
    for (number, name) in [(1, "oak"), (2, "elm"), (3, "ash"), (4, "ash")] {
        feed(&mut node, NodeInput::Contact(contact(number, name)));
    }
    for number in 2..=3 {
        commit(&mut node, Operation::Add(of(number)));
    }
    feed(&mut node, NodeInput::PeerUp(NodeId(4)));
    feed(&mut node, NodeInput::Candidate(of(4)));
    node
}

fn stage<'a>(verb: Verb, node: &'a str, argument: &'a str) -> Stage<'a> {
    let weight = u16::from(verb == Verb::Weight) * 50;
    Stage { verb, is_forced: false, weight, node, argument }
}

fn refused(node: &Node<'_>, asked: &Stage<'_>, part: &str) {
    let Refusal { what, .. } = wanted(node, ME, asked).unwrap_err();
    assert!(what.contains(part), "{part} in {what}");
}

#[test]
fn nodes_have_ids_and_names() {
    let node = three();
    let leave = |word| wanted(&node, ME, &stage(Verb::Leave, word, ""));
    let remove = |number| Ok(vec![Operation::Remove { node: NodeId(number), is_lost: false }]);
    assert_eq!(leave("00000002"), remove(2));
    assert_eq!(leave("elm"), remove(2));
    assert_eq!(leave("00000003"), remove(3));
    refused(&node, &stage(Verb::Leave, "ash", ""), "2 nodes have the name ash");
    refused(&node, &stage(Verb::Leave, "fir", ""), "no node fir");
    refused(&node, &stage(Verb::Leave, "00000009", ""), "no node 00000009");
    refused(&node, &stage(Verb::Leave, "00000004", ""), "is no member");
}

#[test]
fn who_waits_may_join_and_replace() {
    let node = three();
    let add = Operation::Add(of(4));
    assert_eq!(wanted(&node, ME, &stage(Verb::Join, "00000004", "")), Ok(vec![add]));
    refused(&node, &stage(Verb::Join, "", ""), "is a member already");
    refused(&node, &stage(Verb::Join, "elm", ""), "is a member already");
    let replace = |old, is_lost| {
        let remove = Operation::Remove { node: NodeId(old), is_lost };
        assert_eq!(
            wanted(&node, ME, &stage(Verb::Replace, &NodeId(old).to_string(), "00000004")),
            Ok(vec![remove, add])
        );
    };
    replace(1, false);
    refused(&node, &stage(Verb::Replace, "oak", "elm"), "is a member already");
    refused(&empty(), &stage(Verb::Join, "", ""), "knows no member");
}

#[test]
fn who_answers_is_not_forgotten() {
    let mut node = three();
    let forget = stage(Verb::Forget, "elm", "");
    feed(&mut node, NodeInput::PeerUp(NodeId(2)));
    refused(&node, &forget, "answers");
    let lost = Operation::Remove { node: NodeId(2), is_lost: true };
    assert_eq!(wanted(&node, ME, &Stage { is_forced: true, ..forget }), Ok(vec![lost]));
    commit(&mut node, lost);
    refused(&node, &stage(Verb::Forget, "00000002", ""), "for ever");
}

#[test]
fn a_later_weight_holds() {
    let mut node = three();
    let version = |node: &Node<'_>| {
        let operations = wanted(node, ME, &stage(Verb::Weight, "elm", "")).unwrap();
        let [operation @ Operation::SetWeight { version, weight: 50, .. }] = operations[..] else {
            panic!("{operations:?}")
        };
        (version, operation)
    };
    let (first, operation) = version(&node);
    feed(&mut node, NodeInput::Stage { operation });
    assert_eq!((first, version(&node).0), (1, 2));
    commit(&mut node, Operation::SetWeight { node: NodeId(2), version: 7, weight: 9 });
    assert_eq!(version(&node).0, 8);
}

#[test]
fn the_last_member_stays_and_what_is_staged_is_bounded() {
    let mut node = three();
    for number in 2..=3 {
        let operation = Operation::Remove { node: NodeId(number), is_lost: false };
        feed(&mut node, NodeInput::Stage { operation });
    }
    refused(&node, &stage(Verb::Leave, "oak", ""), "no member would be left");
    let mut number = 0;
    let zone = stage(Verb::Zone, "elm", "east");
    while let Ok(operations) = wanted(&node, ME, &zone) {
        feed(&mut node, NodeInput::Stage { operation: operations[0] });
        number += 1;
        assert!(number <= STAGED_COUNT_MAX);
    }
    refused(&node, &zone, "changes are staged already");
    refused(&three(), &stage(Verb::Zone, "elm", "a b"), "is no name");
}

/// Weights of member 1 until so many operations are committed.
fn fill(node: &mut Node<'_>, count: usize) {
    let mut storage = vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX];
    let mut more = Topology::new(&mut storage);
    for version in node.operations().len()..count {
        let (node, version) = (NodeId(1), 10_000 + version as u32);
        let weight = Operation::SetWeight { node, version, weight: 7 };
        more.insert(weight.settled()).unwrap();
    }
    feed(node, NodeInput::Commit { operations: more.operations() });
    assert_eq!(node.operations().len(), count);
}

/// Two sides of a split that both go to the limit have room together, and who is lost can go.
#[test]
fn changes_end_before_the_room_for_them_does() {
    let mut node = three();
    let weight = stage(Verb::Weight, "oak", "");
    let forget = Stage { is_forced: true, ..stage(Verb::Forget, "elm", "") };
    fill(&mut node, COMMIT_OPERATION_COUNT_MAX - 1);
    assert_eq!(wanted(&node, ME, &weight).map(|all| all.len()), Ok(1));
    fill(&mut node, COMMIT_OPERATION_COUNT_MAX);
    refused(&node, &weight, "the cluster keeps 2048 changes already");
    fill(&mut node, REMOVE_OPERATION_COUNT_MAX - 1);
    assert_eq!(wanted(&node, ME, &forget).map(|all| all.len()), Ok(1));
    fill(&mut node, REMOVE_OPERATION_COUNT_MAX);
    refused(&node, &forget, "the cluster keeps 3072 changes already");
    let common = 3;
    assert!(2 * COMMIT_OPERATION_COUNT_MAX - common <= OPERATION_COUNT_MAX);
}
