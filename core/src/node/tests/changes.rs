//! Changes of the membership: when they settle, and what is only staged.

use super::*;
use crate::membership::operation::Committed;

#[test]
fn nothing_settles_before_who_gains_is_warm() {
    let mut world = World::new(8, 4, 0);
    world.servers.get_mut(&4).unwrap().is_cold = true;
    for _ in 0..3000 {
        world.step();
    }
    for server in world.servers.values() {
        assert!(server.node.rings().is_moving());
        assert!(server.node.awaited().eq([NodeId(4)]));
    }
    // Its next life has what it gains.
    world.servers.get_mut(&4).unwrap().is_cold = false;
    world.crash(4);
    world.restart(4);
    step_until(&mut world, World::all_members);
}

#[test]
fn nothing_settles_without_more_than_half_of_those_who_had_the_data() {
    let mut world = World::new(9, 5, 0);
    step_until(&mut world, World::all_members);
    // It gains nothing, so that only the number of members counts.
    let weight = Operation::SetWeight { node: NodeId(2), version: 1, weight: 101 };
    for gone in [3, 4, 5] {
        world.crash(gone);
    }
    world.commit(1, weight);
    for _ in 0..3000 {
        world.step();
    }
    assert!(world.servers[&2].node.operations().is_moving(), "it was told");
    for back in [3, 4, 5] {
        world.restart(back);
    }
    step_until(&mut world, World::all_members);
}

#[test]
fn commits_on_two_sides_of_a_split_become_one() {
    let mut world = World::new(10, 6, 0);
    step_until(&mut world, World::all_members);
    world.loss_percent = 100;
    world.commit(1, Operation::Remove { node: NodeId(6), is_lost: false });
    let weight = Operation::SetWeight { node: NodeId(2), version: 1, weight: 300 };
    world.commit(4, weight);
    for _ in 0..2000 {
        world.step();
    }
    assert!(world.servers[&1].node.rings().is_moving());
    assert!(world.servers[&4].node.operations().contains(&weight));
    assert!(!world.servers[&1].node.operations().contains(&weight));
    world.loss_percent = 0;
    for number in 1..=6 {
        world.connect(number);
    }
    step_until(&mut world, |world| world.are_settled(5));
    let hashes = world.ring_hashes();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    assert!(world.servers[&6].node.operations().contains(&weight));
    assert!(!world.servers[&6].node.is_member());
}

#[test]
fn who_was_removed_cannot_join_again() {
    let mut world = World::new(11, 4, 0);
    step_until(&mut world, World::all_members);
    world.crash(4);
    world.commit(2, Operation::Remove { node: NodeId(4), is_lost: true });
    step_until(&mut world, |world| world.are_settled(3));
    // Its disk says nothing of that; its peers do.
    world.restart(4);
    step_until(&mut world, |world| world.servers[&4].is_removed);
    assert!(!world.servers[&4].node.is_member());
    assert!(world.are_settled(3));
}

#[test]
fn what_is_staged_reaches_all_and_is_gone_once_committed_or_dropped() {
    let mut world = World::new(12, 4, 0);
    step_until(&mut world, World::all_members);
    let weight = |node| Operation::SetWeight { node: NodeId(node), version: 1, weight: 300 };
    let staged = |world: &World, number: u32| {
        let operations = world.servers[&number].node.staged().1;
        operations.iter().map(|committed| committed.operation).collect::<StdVec<_>>()
    };
    let all_have =
        |world: &World, wanted: &[Operation]| (1..=4).all(|number| staged(world, number) == wanted);
    world.input(1, NodeInput::Stage { operation: weight(2) });
    world.input(3, NodeInput::Stage { operation: weight(3) });
    step_until(&mut world, |world| all_have(world, &[weight(2), weight(3)]));
    // Who was away hears of it, and what it knows alone of an older revision is dropped.
    world.crash(4);
    world.input(2, NodeInput::ClearStaged);
    world.input(2, NodeInput::Stage { operation: weight(4) });
    world.restart(4);
    step_until(&mut world, |world| all_have(world, &[weight(4)]));
    world.commit(3, weight(4));
    step_until(&mut world, |world| all_have(world, &[]));
    step_until(&mut world, World::all_members);
    assert!(world.servers[&1].node.operations().contains(&weight(4)));
    // As many as fit, and one more.
    for node in 11..=15 {
        assert!(!world.servers[&1].is_staged_full);
        world.input(1, NodeInput::Stage { operation: weight(node) });
    }
    assert!(world.servers[&1].is_staged_full);
    assert_eq!(staged(&world, 1).len(), 4);
    // They stop talking of it.
    for _ in 0..2000 {
        world.step();
    }
    assert!(world.frames.iter().all(|frame| !matches!(frame.3, Frame::Staged(..))));
}

/// A founder that leaves before it hears of those who joined settles that for itself alone: then
/// nobody is a settled member, and what the others committed is in force at once.
#[test]
fn members_whose_founder_has_gone_are_settled_before_anything_else_moves() {
    let mut world = World::new(12, 3, 0);
    step_until(&mut world, World::all_members);
    (1..=3).for_each(|number| world.crash(number));
    world.frames.clear();
    let storage = std::vec![[0; Operation::BYTES]; 8].leak();
    let mut set = Topology::new(storage);
    let add = |node| Operation::Add(member(node));
    let remove = Operation::Remove { node: NodeId(1), is_lost: false };
    let own = [add(1).settled(), remove.settled()];
    for (number, others) in [(1, &[][..]), (2, &[2, 3]), (3, &[])] {
        for operation in own.into_iter().chain(others.iter().map(|other| add(*other).moving())) {
            set.insert(operation).unwrap();
        }
        world.servers.get_mut(&number).unwrap().disk = set.operations().bytes().to_vec();
    }
    world.restart(2);
    for _ in 0..100 {
        world.step();
    }
    assert!(world.servers[&2].node.operations().is_moving(), "one of two is not more than half");
    assert!(!world.servers[&2].node.rings().is_moving(), "but both are in force");
    world.restart(3);
    step_until(&mut world, |world| {
        [2, 3].iter().all(|node| settled(&world.servers[node]).len() == 4)
    });
    // What is committed now moves.
    world.servers.get_mut(&3).unwrap().is_cold = true;
    world.commit(2, Operation::Remove { node: NodeId(2), is_lost: false });
    step_until(&mut world, |world| world.servers[&2].node.rings().is_moving());
}

/// Neither side of a split can take what the other has committed: each is told once, and is quiet
/// then. Once they answered each other with their own set, without end.
#[test]
fn two_sets_that_do_not_fit_together_are_told_once() {
    let mut weights = StdVec::from([1, 2].map(|node| Operation::Add(member(node)).settled()));
    let of = |node: u32| {
        let weight = move |version| Operation::SetWeight { node: NodeId(node), version, weight: 1 };
        (1..=40).map(move |version| weight(version).settled())
    };
    weights.extend(of(1));
    let first = encoded(&weights);
    weights.truncate(2);
    weights.extend(of(2));
    let sets = [first, encoded(&weights)];
    let mut nodes = [1, 2].map(|number| new_node(number, Boot(1), 1));
    for (node, set) in nodes.iter_mut().zip(&sets) {
        let operations = Operations::new_checked(set.as_flattened()).unwrap();
        node.handle_input(Instant(1), NodeInput::Restored { operations, claims: &[] });
        assert_eq!(tells(node), 0);
        let other = NodeId(3 - node.config.member.node.0);
        node.handle_input(Instant(1), NodeInput::PeerUp(other));
        assert_eq!(tells(node), 1, "a peer is told what there is");
    }
    for (node, set) in nodes.iter_mut().zip(sets.iter().rev()) {
        let from = NodeId(3 - node.config.member.node.0);
        let operations = Operations::new_checked(set.as_flattened()).unwrap();
        node.handle_input(Instant(1), NodeInput::Topology { from, operations });
        assert_eq!(node.poll_output(), Some(NodeOutput::TopologyFull));
        assert_eq!(tells(node), 0, "what would not fit is not answered");
        assert_eq!(node.operations().bytes().len() / Operation::BYTES, set.len(), "as it was");
    }
}

fn encoded(operations: &[Committed]) -> StdVec<Encoded> {
    let mut encoded: StdVec<_> = operations.iter().map(|operation| operation.to_bytes()).collect();
    encoded.sort_unstable();
    encoded
}

/// How often the node wants its set sent; whatever else it wants is done.
fn tells(node: &mut Node<'_>) -> usize {
    let mut count = 0;
    while let Some(output) = node.poll_output() {
        count += usize::from(matches!(output, NodeOutput::SendTopology { .. }));
        if matches!(output, NodeOutput::Persist { .. }) {
            node.handle_input(Instant(1), NodeInput::Persisted);
        }
    }
    count
}
