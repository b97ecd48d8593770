//! Owners that are away: who stands in for them, and what is kept for them.

use super::*;

/// Five nodes with three owners for each key, of which this node is one or is not.
struct Five {
    rig: Rig,
    key: KeyPlace,
    /// The owners without this node.
    owners: Vec<NodeId>,
    /// Who stands in, in that order.
    fallbacks: Vec<NodeId>,
}

fn five(is_owner: bool) -> Five {
    let rig = Rig::new(Setup { nodes: 5, ..Setup::default() });
    let is_wanted = |partition: &Partition| rig.shard.owns(*partition) == is_owner;
    let partition = (0..1 << BITS).map(Partition).find(is_wanted).unwrap();
    let ring = rig.shard.rings();
    let others = ring.owners(partition).into_iter().filter(|node| *node != ME);
    let (owners, fallbacks) = (others.collect(), ring.fallbacks(partition).to_vec());
    Five { rig, key: KeyPlace { partition, order: KEY.order }, owners, fallbacks }
}

impl Five {
    fn down(&mut self, node: NodeId) -> Vec<Output> {
        assert_eq!(self.rig.input(Input::PeerDown(node)), []);
        self.rig.fire()
    }

    fn request(&mut self, kind: Kind, forwarded: bool) -> Vec<Output> {
        let request = Request { key: self.key, forwarded, ..self.rig.new_request(kind) };
        self.rig.input(Input::Request(request))
    }

    /// A write up to its append, applied to what is kept for `target`.
    fn put(&mut self, kind: Kind, target: NodeId) -> (RequestId, Vec<Output>) {
        let outputs = self.request(kind, true);
        let [Output::Apply { op, target: kept, .. }] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(kept, target);
        (op, self.rig.applied(op))
    }

    fn replicate(&self, op: RequestId, node: NodeId, target: NodeId) -> Output {
        let (place, deadline_ms, partition) = (self.rig.place, 1000, self.key.partition);
        Output::Replicate { op, node, partition, place, sync: false, deadline_ms, target }
    }

    fn ask(&self, op: RequestId, node: NodeId, target: NodeId) -> Output {
        Output::Ask { op, node, partition: self.key.partition, deadline_ms: 1000, target }
    }
}

#[test]
fn the_first_fallback_in_reach_stands_in_for_each_owner_that_is_away() {
    for away in 0..2 {
        let mut five = five(true);
        let [first, second] = five.fallbacks[..] else { panic!() };
        let (gone, stays) = (five.owners[away], five.owners[1 - away]);
        assert_eq!(five.down(gone), []);
        let (op, outputs) = five.put(put(3, 0, 0), OWN);
        let expected = [five.replicate(op, stays, OWN), five.replicate(op, first, gone)];
        assert_eq!(outputs, expected);
        assert_eq!(five.rig.ack(first, op), []);
        assert_eq!(five.rig.ack(stays, op), [five.rig.stored(op)]);
        // The first one is away, too.
        assert_eq!(five.down(first), []);
        let (op, outputs) = five.put(put(3, 0, 0), OWN);
        let expected = [five.replicate(op, stays, OWN), five.replicate(op, second, gone)];
        assert_eq!(outputs, expected);
        assert_eq!(five.rig.ack(first, op), [], "it was not asked");
        assert_eq!(five.rig.ack(second, op), []);
        assert_eq!(five.rig.ack(stays, op), [five.rig.stored(op)]);
        // Nobody is left.
        assert_eq!(five.down(second), []);
        let (op, outputs) = five.put(put(2, 0, 0), OWN);
        assert_eq!(outputs, [five.replicate(op, stays, OWN), five.rig.keep(gone)]);
        let outputs = five.request(put(3, 0, 0), false);
        assert_eq!(outputs, five.rig.refused(Failure::Unavailable { needed: 3, got: 2 }));
        assert_eq!(five.rig.ack(stays, op).len(), 1);
    }
}

#[test]
fn stand_ins_alone_meet_w() {
    let mut five = five(true);
    let (owners, fallbacks) = (five.owners.clone(), five.fallbacks.clone());
    owners.iter().for_each(|owner| assert_eq!(five.down(*owner), []));
    let (op, outputs) = five.put(put(3, 0, 0), OWN);
    let sent = [0, 1].map(|index| five.replicate(op, fallbacks[index], owners[index]));
    assert_eq!(outputs, sent);
    assert_eq!(five.rig.ack(fallbacks[0], op), []);
    assert_eq!(five.rig.ack(fallbacks[1], op), [five.rig.stored(op)]);
}

/// Also if nothing waits for the answer any more.
#[test]
fn a_hint_is_sent_although_the_own_share_is_enough() {
    let mut five = five(true);
    let (gone, stays, first) = (five.owners[0], five.owners[1], five.fallbacks[0]);
    five.down(gone);
    let (op, outputs) = five.put(put(1, 0, 0), OWN);
    let expected = [five.replicate(op, stays, OWN), five.replicate(op, first, gone)];
    assert_eq!(outputs, [expected[0], expected[1], five.rig.stored(op)]);
}

#[test]
fn stand_ins_are_no_primaries() {
    let mut five = five(true);
    let (gone, stays, first) = (five.owners[0], five.owners[1], five.fallbacks[0]);
    five.down(gone);
    let outputs = five.request(put(1, 3, 0), false);
    assert_eq!(outputs, five.rig.refused(Failure::Unavailable { needed: 3, got: 2 }));
    let (op, _) = five.put(put(2, 2, 0), OWN);
    assert_eq!(five.rig.ack(first, op), [], "two nodes, but one primary");
    assert_eq!(five.rig.ack(stays, op), [five.rig.stored(op)]);
    // What is lost on the way is kept by the next one, although the write has failed.
    let (op, _) = five.put(put(2, 2, 0), OWN);
    assert_eq!(five.rig.ack(first, op), []);
    let lost = five.down(stays);
    let sent = five.replicate(op, five.fallbacks[1], stays);
    let failed = five.rig.failed(op, no_quorum(2, 1));
    assert_eq!(lost, [sent, five.rig.keep(stays), failed], "of two primaries, one");
    // A read, too.
    let outputs = five.request(get(1, 2), false);
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(outputs.len(), 2, "nobody who stands in makes up for it");
    assert_eq!(outputs[1], five.rig.failed(op, no_quorum(2, 0)));
}

#[test]
fn a_stand_in_that_refuses_leaves_it_to_the_coordinator() {
    let reasons = [RejectReason::Busy, RejectReason::NoSpace, RejectReason::NotOwner];
    for reason in reasons {
        let mut five = five(true);
        let (gone, stays, first) = (five.owners[0], five.owners[1], five.fallbacks[0]);
        five.down(gone);
        let (op, _) = five.put(put(3, 0, 0), OWN);
        assert_eq!(five.rig.ack(stays, op), []);
        let failed = five.rig.failed(op, no_quorum(3, 2));
        assert_eq!(five.rig.reject(first, op, reason), [five.rig.keep(gone), failed]);
        assert_eq!(five.rig.reject(first, op, reason), [], "it is over");
    }
}

#[test]
fn what_was_kept_is_kept_once() {
    let mut five = five(true);
    let (gone, first) = (five.owners[0], five.fallbacks[0]);
    let (op, _) = five.put(put(2, 0, 0), OWN);
    let hint = five.replicate(op, first, gone);
    assert_eq!(five.rig.reject(gone, op, RejectReason::Busy), [hint], "an owner that refuses");
    assert_eq!(five.rig.reject(gone, op, RejectReason::Busy), [], "the same again");
    assert_eq!(five.rig.input(Input::Unsent { node: gone, op }), []);
    assert_eq!(five.rig.input(Input::Unsent { node: first, op }), [five.rig.keep(gone)]);
    assert_eq!(five.rig.reject(first, op, RejectReason::Busy), []);
    assert_eq!(five.down(first), []);
    assert_eq!(five.rig.ack(first, op), [five.rig.stored(op)], "a late success counts");
}

#[test]
fn an_owner_and_who_stands_in_for_it_are_one() {
    let mut five = five(true);
    let (slow, stays, first) = (five.owners[0], five.owners[1], five.fallbacks[0]);
    let (op, _) = five.put(put(3, 2, 0), OWN);
    assert_eq!(five.down(slow), [five.replicate(op, first, slow)]);
    assert_eq!(five.rig.ack(slow, op), [], "two of three shares, two primaries");
    assert_eq!(five.rig.reject(first, op, RejectReason::Busy), [], "the owner has it");
    assert_eq!(five.rig.ack(stays, op), [five.rig.stored(op)]);
    let (op, _) = five.put(put(3, 0, 0), OWN);
    assert_eq!(five.rig.ack(first, op), []);
    assert_eq!(five.rig.ack(slow, op), [], "what is kept for it will be dropped");
    assert_eq!(five.rig.ack(stays, op), [five.rig.stored(op)]);
}

#[test]
fn a_deadline_leaves_hints_for_all_that_did_not_answer() {
    let mut five = five(true);
    let (gone, stays) = (five.owners[0], five.owners[1]);
    five.down(gone);
    let (op, _) = five.put(put(3, 0, 0), OWN);
    let failed = five.rig.failed(op, no_quorum(3, 1));
    assert_eq!(five.rig.wait(TIMEOUT), [five.rig.keep(stays), five.rig.keep(gone), failed]);
}

#[test]
fn a_read_asks_who_stands_in() {
    let mut five = five(true);
    let (gone, stays, first) = (five.owners[0], five.owners[1], five.fallbacks[0]);
    let outputs = five.request(get(3, 0), false);
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(five.down(gone), [five.ask(op, first, gone)], "lost on the way");
    five.rig.looked(op);
    assert_eq!(five.rig.answer(stays, op), []);
    assert_eq!(five.rig.answer(first, op), [five.rig.reply(op, Outcome::Got)]);
    let outputs = five.request(get(3, 0), false);
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(outputs[1..], [five.ask(op, stays, OWN), five.ask(op, first, gone)]);
}

#[test]
fn nobody_stands_in_for_a_copy_that_is_damaged_or_refused() {
    let reasons = [RejectReason::Damaged, RejectReason::Busy, RejectReason::NotOwner];
    for reason in reasons {
        let mut five = five(true);
        let outputs = five.request(get(3, 0), false);
        let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
        let failed = five.rig.failed(op, no_quorum(3, 0));
        assert_eq!(five.rig.reject(five.owners[0], op, reason), [failed]);
    }
    let mut five = five(true);
    let outputs = five.request(get(3, 0), false);
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    let failed = five.rig.failed(op, no_quorum(3, 0));
    assert_eq!(five.rig.input(Input::Looked { op, result: Err(Unread::Damaged) }), [failed]);
}

/// The read before a write asked a node that stands in, which then stands in for the write, too.
#[test]
fn a_late_refusal_of_the_read_is_no_refusal_of_the_hint() {
    let mut five = five(true);
    let (gone, stays, first) = (five.owners[0], five.owners[1], five.fallbacks[0]);
    five.down(gone);
    let outputs = five.request(read_first(2, 3), false);
    let [Output::Look { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(outputs[1..], [five.ask(op, stays, OWN)]);
    assert_eq!(five.rig.looked(op), []);
    let outputs = five.rig.wait(crate::limits::READ_HEDGE);
    assert!(matches!(outputs[..], [Output::Ask { node, .. }] if node == first), "{outputs:?}");
    assert_eq!(five.rig.answer(stays, op), [apply(op, true)]);
    assert_eq!(five.rig.applied(op).len(), 2);
    assert_eq!(five.rig.reject(first, op, RejectReason::Busy), [], "that was the read");
    assert_eq!(five.rig.ack(stays, op), []);
    assert_eq!(five.rig.ack(first, op), [five.rig.stored(op)]);
}

/// The first owner in reach; then the first of the others that is in reach; then this node.
#[test]
fn who_owns_nothing_hands_on_while_anybody_before_it_is_in_reach() {
    let mut five = five(false);
    let (owners, first) = (five.owners.clone(), five.fallbacks[0]);
    let before = if first == ME { owners.clone() } else { [&owners[..], &[first]].concat() };
    for node in before {
        let outputs = five.request(put(1, 0, 0), false);
        let [Output::Forward { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
        let forward = forward(op, Target::Node(node), five.key.partition, true);
        assert_eq!(outputs, [forward]);
        assert_eq!(five.down(node), [five.rig.failed(op, no_quorum(1, 0))]);
    }
    let outputs = five.request(put(1, 0, 0), false);
    let [Output::Apply { op, target, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(target, owners[0]);
    assert_eq!(five.rig.applied(op), [five.rig.stored(op)], "itself, and it keeps no other hint");
    let outputs = five.request(put(2, 0, 0), false);
    assert_eq!(outputs, five.rig.refused(Failure::Unavailable { needed: 2, got: 1 }));
    let outputs = five.request(get(1, 0), false);
    let [Output::Look { op, target }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(target, owners[0]);
    assert_eq!(five.rig.looked(op), [five.rig.reply(op, Outcome::Got)]);
}

#[test]
fn a_node_that_owns_nothing_coordinates_what_was_forwarded() {
    for away in 0..3 {
        let mut five = five(false);
        let (owners, gone) = (five.owners.clone(), five.owners[away]);
        let other = *five.fallbacks.iter().find(|node| **node != ME).unwrap();
        five.down(gone);
        let (op, outputs) = five.put(put(3, 0, 0), gone);
        let near = owners.iter().filter(|owner| **owner != gone);
        let expected: Vec<_> = near.clone().map(|owner| five.replicate(op, *owner, OWN)).collect();
        assert_eq!(outputs, expected, "it keeps the hint itself");
        let near: Vec<_> = near.copied().collect();
        assert_eq!(five.rig.ack(near[0], op), []);
        assert_eq!(five.down(near[1]), [five.replicate(op, other, near[1])]);
        assert_eq!(five.rig.ack(other, op), [five.rig.stored(op)]);
    }
}

#[test]
fn one_stand_in_coordinates_with_another_while_all_owners_are_away() {
    let mut five = five(false);
    let (owners, other) =
        (five.owners.clone(), *five.fallbacks.iter().find(|node| **node != ME).unwrap());
    owners.iter().for_each(|owner| assert_eq!(five.down(*owner), []));
    let (op, outputs) = five.put(put(2, 0, 0), owners[0]);
    assert_eq!(outputs, [five.replicate(op, other, owners[1])]);
    assert_eq!(five.rig.ack(other, op), [five.rig.stored(op)]);
    // One after the other, as the need grows.
    let outputs = five.request(get(2, 0), true);
    let [Output::Look { op, target }, ask] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((target, ask), (owners[0], five.ask(op, other, owners[1])));
    assert_eq!(five.rig.looked(op), []);
    assert_eq!(five.rig.answer(other, op), [five.rig.reply(op, Outcome::Got)]);
    for kind in [put(2, 1, 0), read_first(2, 3)] {
        let outputs = five.request(kind, true);
        let needed = if kind == put(2, 1, 0) { 1 } else { 3 };
        let got = needed - 1;
        assert_eq!(outputs, five.rig.refused(Failure::Unavailable { needed, got }));
    }
}

/// Births are used once, also where hints and copies of a partition change in turn.
#[test]
fn a_stand_in_uses_births_of_its_own() {
    let mut five = five(false);
    for birth in 1..4 {
        let outputs = five.request(put(1, 0, 0), true);
        let [Output::Apply { op, birth: used, .. }] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(used, birth);
        let result = Ok(Applied { minted: true, ..applied(five.rig.place) });
        five.rig.input(Input::Applied { op, result });
    }
}

/// A ring in which the owner is none any more, or this node is one itself.
fn other_ring(five: &Five, target: NodeId, owns: bool) -> Rings<'static> {
    let rings = (6..200).map(|more| ring([1, 2, 3, 4, 5, more], 3));
    let is_wanted = |ring: &Rings<'_>| {
        let partition = five.key.partition;
        ring.is_owner(partition, ME) == owns && ring.is_owner(partition, target) == owns
    };
    let fewer = (2..=5).map(|gone| ring((1..=5).filter(|node| *node != gone), 3));
    rings.chain(fewer).find(is_wanted).expect("some ring does")
}

const NEXT: TopologyId = TopologyId(2);

/// Nothing of a write is put where its owner does not look for it.
#[test]
fn a_ring_that_takes_the_stand_in_away_ends_what_it_coordinates() {
    let mut five = five(false);
    let target = five.owners[0];
    let new = other_ring(&five, target, false);
    // Not begun: left to an owner, unless it was handed on already.
    let outputs = five.request(put(2, 0, 0), true);
    let [Output::Apply { op: waits, target: kept, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(kept, target);
    let waits_fails = five.rig.failed(waits, Failure::Unavailable { needed: 1, got: 0 });
    let reads = five.request(read_first(2, 2), true);
    let [Output::Ask { op: reads, .. }, ..] = reads[..] else { panic!("{reads:?}") };
    let reads_fails = five.rig.failed(reads, Failure::Unavailable { needed: 2, got: 0 });
    let (writes, _) = five.put(put(3, 0, 0), target);
    let writes_fails = five.rig.failed(writes, no_quorum(3, 1));
    assert_eq!(five.rig.input(Input::Rings { rings: &new, topology: NEXT }), []);
    assert_eq!(five.rig.fire(), [reads_fails, writes_fails]);
    assert_eq!(five.rig.input(Input::Fetched { op: waits }), [waits_fails]);
    assert_eq!(five.rig.shard.request_count(), 0);
}

/// The answer that ends the read comes before the walk does.
#[test]
fn a_read_that_ends_on_another_ring_begins_no_write() {
    let mut five = five(false);
    let owners = five.owners.clone();
    let new = other_ring(&five, owners[0], false);
    let outputs = five.request(read_first(2, 2), true);
    let [Output::Ask { op, .. }, ..] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(five.rig.answer(owners[0], op), []);
    assert_eq!(five.rig.input(Input::Rings { rings: &new, topology: NEXT }), []);
    let failed = five.rig.failed(op, Failure::Unavailable { needed: 1, got: 0 });
    assert_eq!(five.rig.answer(owners[1], op), [failed]);
}

/// It has a copy that it no longer owns, and keeps no hint.
#[test]
fn who_was_an_owner_when_it_wrote_does_not_stand_in() {
    let mut five = five(true);
    let partition = five.key.partition;
    let six = NodeId(6);
    let new = ring((1..=5).chain([six.0]), 3);
    let moved =
        |partition: &Partition| five.rig.shard.owns(*partition) && !new.is_owner(*partition, ME);
    let partition = Some(partition).filter(moved).or((0..1 << BITS).map(Partition).find(moved));
    five.key.partition = partition.unwrap();
    assert_eq!(five.rig.input(Input::PeerUp(six)), []);
    let (op, _) = five.put(put(3, 0, 0), OWN);
    assert_eq!(five.rig.input(Input::Rings { rings: &new, topology: NEXT }), []);
    assert_eq!(five.rig.fire().len(), 1, "to the one that came in its place");
    let free = new.fallbacks(five.key.partition).into_iter().filter(|node| *node != ME);
    free.for_each(|node| assert_eq!(five.down(node), []));
    let gone = new.owners(five.key.partition)[0];
    let failed = five.rig.failed(op, no_quorum(3, 0));
    assert_eq!(five.down(gone), [failed], "nobody else is left");
}

#[test]
fn a_ring_that_leaves_the_stand_in_its_part_changes_nothing() {
    for is_owner in [true, false] {
        let mut five = five(is_owner);
        let gone = *five.owners.last().unwrap();
        let first = *five.fallbacks.iter().find(|node| **node != ME).unwrap();
        let near: Vec<_> = five.owners.iter().copied().filter(|node| *node != gone).collect();
        five.down(gone);
        let target = if is_owner { OWN } else { gone };
        let (op, _) = five.put(put(3, 0, 0), target);
        let stored = five.rig.stored(op);
        if is_owner {
            assert_eq!(five.rig.ack(first, op), []);
        }
        let read = five.request(get(3, 0), true);
        let read = match read[0] {
            Output::Ask { op, .. } | Output::Look { op, .. } => op,
            other => panic!("{other:?}"),
        };
        let same = ring(1..=5, 3);
        assert_eq!(five.rig.input(Input::Rings { rings: &same, topology: NEXT }), []);
        assert_eq!(five.rig.fire(), []);
        for node in &near[1..] {
            assert_eq!(five.rig.ack(*node, op), []);
        }
        assert_eq!(five.rig.ack(near[0], op), [stored]);
        five.rig.looked(read);
        for node in &near[1..] {
            assert_eq!(five.rig.answer(*node, read), []);
        }
        let others = if is_owner { first } else { near[0] };
        if is_owner {
            assert_eq!(five.rig.answer(near[0], read), []);
        }
        assert_eq!(five.rig.answer(others, read).len(), 1);
    }
}

#[test]
fn a_hint_is_taken_by_members_that_own_no_copy() {
    for is_owner in [true, false] {
        let mut five = five(is_owner);
        for (target, is_right) in
            [(five.owners[0], !is_owner), (five.fallbacks[0], false), (NodeId(9), false)]
        {
            let frame = DataFrame { key: five.key, target, ..frame(TWO, 5) };
            let (link, order, reason) = (Link(2), KEY.order, RejectReason::NotOwner);
            let refused = Output::Reject { link, request: 5, order, reason };
            let serve = Output::Serve { link, request: 5, order };
            let join = Output::Join { link, node: TWO, request: 5, order, sync: false };
            let expected = if is_right { [join, serve] } else { [refused, refused] };
            assert_eq!(five.rig.input(Input::Replicate(frame)), expected[..1]);
            assert_eq!(five.rig.input(Input::Read(frame)), expected[1..]);
        }
    }
}

/// Eight owners, and all peers go at once: each share finds somebody else, or is kept in mind.
#[test]
fn the_most_owners_there_can_be_go_at_once() {
    let setup = Setup { nodes: 16, n: 8, r: 8, w: 8, slots: 40, ..Setup::default() };
    for is_owner in [true, false] {
        let mut rig = Rig::new(setup);
        let wanted = |partition: &Partition| rig.shard.owns(*partition) == is_owner;
        let partition = (0..1 << BITS).map(Partition).find(wanted).unwrap();
        let key = KeyPlace { partition, order: 1 };
        for number in 0..40 {
            let kind = [put(8, 0, 0), get(8, 0), read_first(8, 8)][number % 3];
            let request = Request { key, forwarded: true, ..rig.new_request(kind) };
            let outputs = rig.input(Input::Request(request));
            if let [Output::Apply { op, .. }] = outputs[..] {
                rig.applied(op);
            }
        }
        let owners = rig.shard.rings().owners(partition).to_vec();
        for node in owners.into_iter().filter(|node| *node != ME) {
            assert_eq!(rig.input(Input::PeerDown(node)), []);
        }
        rig.fire();
        for node in (2..=16).map(NodeId) {
            rig.input(Input::PeerDown(node));
        }
        rig.fire();
        rig.wait(TIMEOUT);
        assert_eq!(rig.shard.request_count(), 0);
    }
}
