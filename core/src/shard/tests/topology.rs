//! Frames of other topologies, and rings that change under requests in flight.

use super::*;

use crate::limits::TOPOLOGY_RETRY;

const NEXT: TopologyId = TopologyId(2);
const STALE: RejectReason = RejectReason::StaleTopology;

fn sent(outputs: &[Output]) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Ask { node, .. } | Output::Replicate { node, .. } => Some(*node),
            _ => None,
        })
        .collect();
    nodes.sort_unstable();
    nodes
}

#[test]
fn frames_of_another_topology_are_refused() {
    let mut rig = Rig::new(Setup::default());
    let stale = DataFrame { topology: NEXT, ..frame(TWO, 5) };
    let reject = Output::Reject { link: Link(2), request: 5, order: KEY.order, reason: STALE };
    let expected = [reject, Output::TopologyDiffers { node: TWO }];
    assert_eq!(rig.input(Input::Replicate(stale)), expected);
    assert_eq!(rig.input(Input::Read(stale)), expected);
    assert_eq!(rig.input(Input::Read(frame(TWO, 5))).len(), 1, "the right one is served");
}

#[test]
fn frames_for_others_are_refused() {
    let reason = RejectReason::NotOwner;
    let reject = |order| Output::Reject { link: Link(2), request: 5, order, reason };
    let mut rig = Rig::new(Setup { nodes: 5, ..Setup::default() });
    let mut refused = 0;
    for partition in (0..1 << BITS).map(Partition) {
        let key = KeyPlace { partition, order: 9 };
        let frame = DataFrame { key, ..frame(TWO, 5) };
        let outputs = rig.input(Input::Read(frame));
        let owner = rig.shard.rings().is_owner(partition, ME);
        assert_eq!(outputs == [reject(9)], !owner);
        let outputs = rig.input(Input::Replicate(frame));
        assert_eq!(outputs == [reject(9)], !owner);
        refused += u32::from(!owner);
    }
    assert!(refused > 0);
    // A partition of this node that another shard holds.
    let mut rig = Rig::new(Setup { shards: 2, ..Setup::default() });
    let key = KeyPlace { partition: Partition(40), order: 9 };
    assert_eq!(rig.input(Input::Read(DataFrame { key, ..frame(TWO, 5) })), [reject(9)]);
}

#[test]
fn a_replica_on_another_topology_is_asked_again_after_a_pause() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(3, 0, 0);
    for node in [TWO, THREE] {
        assert_eq!(rig.reject(node, op, STALE), [Output::TopologyDiffers { node }]);
    }
    assert_eq!(rig.fire(), []);
    for _ in 0..3 {
        assert_eq!(sent(&rig.wait(TOPOLOGY_RETRY)), [TWO, THREE]);
        assert_eq!(rig.wait(TOPOLOGY_RETRY), [], "once for each refusal");
        rig.reject(TWO, op, STALE);
        rig.reject(THREE, op, STALE);
    }
    assert_eq!(rig.ack(TWO, op), [], "an answer while it waits to be asked");
    assert_eq!(sent(&rig.wait(TOPOLOGY_RETRY)), [THREE]);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);

    let (op, _) = rig.get(3, 0);
    rig.looked(op);
    rig.reject(TWO, op, STALE);
    assert_eq!(sent(&rig.wait(TOPOLOGY_RETRY)), [TWO]);
    rig.answer(TWO, op);
    assert_eq!(rig.answer(THREE, op), [rig.reply(op, Outcome::Got)]);
}

#[test]
fn a_replica_that_never_agrees_ends_at_the_deadline() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(3, 0, 0);
    rig.ack(TWO, op);
    let end = rig.now + TIMEOUT;
    loop {
        rig.reject(THREE, op, STALE);
        let outputs = rig.wait(TOPOLOGY_RETRY);
        if sent(&outputs) != [THREE] {
            assert!(rig.now >= end);
            let failed = rig.failed(op, no_quorum(3, 2));
            return assert_eq!(outputs, [rig.keep(THREE), failed]);
        }
        assert!(rig.now < end);
    }
}

#[test]
fn a_replica_that_is_gone_when_it_is_to_be_asked_again_has_failed() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(2, 0, 0);
    rig.reject(THREE, op, STALE);
    assert_eq!(rig.reject(TWO, op, RejectReason::Busy), [rig.keep(TWO)]);
    rig.input(Input::PeerDown(THREE));
    assert_eq!(rig.fire(), []);
    let failed = rig.failed(op, no_quorum(2, 1));
    assert_eq!(rig.wait(TOPOLOGY_RETRY), [rig.keep(THREE), failed]);
}

/// Node 4 comes in; in some partition it takes the place of node 2 or 3.
fn moving() -> (KeyPlace, NodeId, NodeId) {
    let (old, new) = (ring(1..=3, 3), ring(1..=4, 3));
    for partition in (0..1 << BITS).map(Partition) {
        let gone = old.owners(partition).into_iter().find(|node| !new.is_owner(partition, *node));
        if let Some(gone) = gone.filter(|gone| *gone != ME) {
            let stays = if gone == TWO { THREE } else { TWO };
            return (KeyPlace { partition, order: KEY.order }, gone, stays);
        }
    }
    panic!("no partition moved");
}

fn start(rig: &mut Rig, key: KeyPlace, kind: Kind) -> RequestId {
    let request = Request { key, ..rig.new_request(kind) };
    let outputs = rig.input(Input::Request(request));
    match outputs[0] {
        Output::Look { op, .. } => op,
        Output::Apply { op, .. } => {
            rig.applied(op);
            op
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_moves_to_the_new_owners() {
    let (key, gone, stays) = moving();
    let four = NodeId(4);
    for acked in [None, Some(gone), Some(stays)] {
        let mut rig = Rig::new(Setup { n: 3, ..Setup::default() });
        rig.input(Input::PeerUp(four));
        let op = start(&mut rig, key, put(3, 0, 0));
        if let Some(node) = acked {
            assert_eq!(rig.ack(node, op), []);
        }
        assert_eq!(rig.input(Input::Rings { rings: &ring(1..=4, 3), topology: NEXT }), []);
        assert_eq!(rig.fire(), [of_partition(rig.replicate(op, four, false), key.partition)]);
        assert_eq!(rig.ack(gone, op), [], "it is no owner any more");
        assert_eq!(
            rig.ack(four, op),
            if acked == Some(stays) { vec![rig.stored(op)] } else { vec![] }
        );
        if acked != Some(stays) {
            assert_eq!(rig.ack(stays, op), [rig.stored(op)]);
        }
    }
}

#[test]
fn a_write_fails_when_too_few_owners_are_left() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(2, 0, 0);
    rig.input(Input::Rings { rings: &ring(1..=1, 3), topology: NEXT });
    assert_eq!(rig.fire(), [rig.failed(op, no_quorum(2, 1))]);
}

#[test]
fn a_read_moves_to_the_new_owners() {
    let (key, gone, stays) = moving();
    let mut rig = Rig::new(Setup::default());
    rig.input(Input::PeerUp(NodeId(4)));
    let op = start(&mut rig, key, get(3, 0));
    rig.looked(op);
    rig.answer(gone, op);
    rig.input(Input::Rings { rings: &ring(1..=4, 3), topology: NEXT });
    assert_eq!(rig.fire(), [of_partition(ask(op, NodeId(4)), key.partition)]);
    assert_eq!(rig.answer(NodeId(4), op), [], "the old owner does not count");
    assert_eq!(rig.answer(stays, op), [rig.reply(op, Outcome::Got)]);
}

/// A request that is due before the walk has come to it is moved first: an old owner would only
/// refuse it.
#[test]
fn a_request_is_moved_before_it_asks_again() {
    let (key, gone, stays) = moving();
    let slots = 600;
    let mut rig = Rig::new(Setup { slots, ..Setup::default() });
    rig.input(Input::PeerUp(NodeId(4)));
    let new = ring(1..=4, 3);
    let stays_as_it_is = |p: &Partition| (1..=3).all(|node| new.is_owner(*p, NodeId(node)));
    let partition = (0..1 << BITS).map(Partition).find(stays_as_it_is).unwrap();
    for _ in 1..slots {
        start(&mut rig, KeyPlace { partition, ..key }, put(3, 0, 0));
    }
    let op = start(&mut rig, key, put(3, 0, 0));
    assert_eq!(rig.reject(gone, op, STALE).len(), 1);
    rig.now = rig.now + TOPOLOGY_RETRY + TICK;
    rig.input(Input::Rings { rings: &ring(1..=4, 3), topology: NEXT });
    let mut to_last = Vec::new();
    let last = |output: &Output| match output {
        Output::Replicate { op: of, node, .. } if *of == op => Some(*node),
        _ => None,
    };
    while let Some(outputs) = rig.step() {
        to_last.extend(outputs.iter().filter_map(last));
    }
    assert_eq!(to_last, [NodeId(4)]);
    rig.ack(stays, op);
    assert_eq!(rig.ack(NodeId(4), op), [rig.stored(op)]);
}

#[test]
fn a_new_request_uses_the_new_ring_at_once() {
    let (key, gone, _) = moving();
    let mut rig = Rig::new(Setup::default());
    rig.input(Input::PeerUp(NodeId(4)));
    rig.input(Input::Rings { rings: &ring(1..=4, 3), topology: NEXT });
    let request = Request { key, ..rig.new_request(get(3, 0)) };
    let outputs = rig.input(Input::Request(request));
    assert!(!sent(&outputs).contains(&gone));
    assert!(sent(&outputs).contains(&NodeId(4)));
    assert_eq!(rig.shard.topology(), NEXT);
}

#[test]
fn a_shard_that_stops_takes_reads_only() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.input(Input::Stop), []);
    assert_eq!(rig.ack(TWO, op), [rig.stored(op)], "what was begun is ended");
    for kind in [put(1, 0, 0), read_first(1, 1)] {
        let outputs = rig.request(kind);
        assert_eq!(outputs, rig.refused(Failure::Busy));
    }
    let reason = RejectReason::Busy;
    let reject = Output::Reject { link: Link(2), request: 5, order: KEY.order, reason };
    assert_eq!(rig.input(Input::Replicate(frame(TWO, 5))), [reject]);
    assert!(matches!(rig.input(Input::Read(frame(TWO, 5)))[..], [Output::Serve { .. }]));
    let (op, _) = rig.get(1, 0);
    assert_eq!(rig.looked(op), [rig.reply(op, Outcome::Got)]);
}

/// The same output for a key of another partition.
fn of_partition(output: Output, other: Partition) -> Output {
    match output {
        Output::Ask { op, node, deadline_ms, .. } => {
            Output::Ask { op, node, partition: other, deadline_ms, target: OWN }
        }
        Output::Replicate { op, node, place, sync, deadline_ms, .. } => {
            Output::Replicate { op, node, partition: other, place, sync, deadline_ms, target: OWN }
        }
        other => panic!("{other:?} names no partition"),
    }
}

/// However it came: copies are equal by what was appended, and who leaves takes its own along.
#[test]
fn a_shard_is_warm_once_all_that_is_there_is_on_disk() {
    let mut rig = Rig::new(Setup { sync_before_ack: false, ..Setup::default() });
    let members = these(1..=3);
    let mut rings = no_rings(3);
    rings.rebuild(&Transition { is_moving: true, ..Transition::none(&members) });
    let outputs = rig.input(Input::Rings { rings: &rings, topology: NEXT });
    assert_eq!(outputs, [Output::SeekEnd], "nothing is missing");
    let outputs = rig.input(Input::EndsAt { end: Place(901) });
    assert_eq!(outputs, [Output::Sync], "the last record is not on disk");
    let at_once = Place(u64::MAX);
    assert_eq!(rig.stored_to(at_once, Place(900)), []);
    assert_eq!(rig.stored_to(at_once, Place(901)), [Output::Warm { topology: NEXT }]);
    assert_eq!(rig.stored_to(at_once, Place(902)), [], "it is told once");
}

/// The rings while these come in beside the members.
fn joining(settled: &[u32], committed: &[u32], n: usize) -> Rings<'static> {
    let (settled, committed) = (these(settled.iter().copied()), these(committed.iter().copied()));
    let (lost, leaving, mut rings) = (&[][..], &[][..], no_rings(n));
    let (settled, committed) = (&settled[..], &committed[..]);
    rings.rebuild(&Transition { settled, committed, lost, leaving, is_moving: true });
    rings
}

/// A partition that `node` loses while node 4 comes in to three.
fn lost_by(rings: &Rings<'_>, node: NodeId) -> Partition {
    let is_lost = |partition: &Partition| !rings.committed().is_owner(*partition, node);
    (0..1 << BITS).map(Partition).find(is_lost).expect("each loses some")
}

/// Node 4 comes in. A read asks no more nodes than it needs so that two of the owners of either
/// topology have answered, and those first that count in both.
#[test]
fn a_read_needs_its_quorum_in_both_topologies() {
    let rings = joining(&[1, 2, 3], &[1, 2, 3, 4], 3);
    let four = NodeId(4);
    for (gone, asked) in [(TWO, vec![THREE]), (ME, vec![TWO, THREE])] {
        let mut rig = Rig::new(Setup::default());
        rig.input(Input::PeerUp(four));
        rig.input(Input::Rings { rings: &rings, topology: NEXT });
        rig.fire();
        let key = KeyPlace { partition: lost_by(&rings, gone), order: KEY.order };
        let request = Request { key, ..rig.new_request(get(0, 0)) };
        let outputs = rig.input(Input::Request(request));
        let Output::Look { op, .. } = outputs[0] else { panic!("{outputs:?}") };
        assert_eq!(sent(&outputs), asked);
        let mut last = rig.looked(op);
        for node in &asked {
            assert_eq!(last, [], "not yet");
            last = rig.answer(*node, op);
        }
        assert_eq!(last, [rig.reply(op, Outcome::Got)]);
        // With both who stay away, the one that comes in and the one that goes are asked, too.
        let request = Request { key, ..rig.new_request(get(0, 0)) };
        let outputs = rig.input(Input::Request(request));
        let Output::Look { op, .. } = outputs[0] else { panic!("{outputs:?}") };
        assert_eq!(rig.looked(op), []);
        let more = rig.input(Input::PeerDown(THREE));
        let more = [more, rig.fire()].concat();
        let others = if gone == ME { vec![four] } else { vec![TWO, four] };
        assert_eq!(sent(&more), others, "{gone}");
    }
}

/// This node comes in to three others.
#[test]
fn who_gains_a_partition_answers_reads_and_hands_requests_on() {
    let mut rig = Rig::new(Setup { nodes: 4, ..Setup::default() });
    let rings = joining(&[2, 3, 4], &[1, 2, 3, 4], 3);
    rig.input(Input::Rings { rings: &rings, topology: NEXT });
    let gained = |partition: &Partition| rings.committed().is_owner(*partition, ME);
    let gained = (0..1 << BITS).map(Partition).find(gained).expect("it gains some");
    let key = KeyPlace { partition: gained, order: KEY.order };
    let read = DataFrame { topology: NEXT, key, ..frame(TWO, 5) };
    let serve = Output::Serve { link: Link(2), request: 5, order: KEY.order };
    assert_eq!(rig.input(Input::Read(read)), [serve]);
    let request = Request { key, ..rig.new_request(get(0, 0)) };
    let outputs = rig.input(Input::Request(request));
    assert!(matches!(outputs[..], [Output::Forward { .. }]), "{outputs:?}");
    let other = (0..1 << BITS).map(Partition).find(|partition| !rig.shard.owns(*partition));
    let key = KeyPlace { partition: other.expect("it gains not all"), order: KEY.order };
    let outputs = rig.input(Input::Read(DataFrame { key, ..read }));
    assert!(matches!(outputs[..], [Output::Reject { .. }]), "{outputs:?}");
}

/// The own copy is enough for R = 1 of one owner, but not of the two that there are to be, nor
/// where it is to be given up; for whoever asks for R = 1 it always is.
#[test]
fn a_read_is_answered_alone_if_that_is_a_quorum_in_both_topologies() {
    for (r, settled, committed, is_alone) in [
        (2, &[1][..], &[1][..], true),
        (2, &[1], &[1, 2], false),
        (1, &[1], &[1, 2], true),
        (1, &[1], &[2], false),
        (2, &[1, 2], &[1], false),
    ] {
        let mut rig = Rig::new(Setup { n: 2, r, ..Setup::default() });
        let rings = joining(settled, committed, 2);
        rig.input(Input::Rings { rings: &rings, topology: NEXT });
        let alone = [0, 1].map(|r| rig.shard.reads_alone(KEY.partition, r, 0));
        assert_eq!(alone, [is_alone, true], "{r} {settled:?} {committed:?}");
    }
}

/// A member is lost, and two others own everything before and behind that: all that there are is
/// enough.
#[test]
fn no_more_is_needed_by_default_than_owners_are_left() {
    let (mut rings, all) = (no_rings(3), these(1..=3));
    let (settled, committed, lost) = (&all[..], &all[..2], &[THREE][..]);
    rings.rebuild(&Transition { settled, committed, lost, leaving: &[], is_moving: true });
    let mut rig = Rig::new(Setup { r: 3, w: 3, ..Setup::default() });
    rig.input(Input::Rings { rings: &rings, topology: NEXT });
    let (op, outputs) = rig.put(0, 0, 0);
    assert_eq!(sent(&outputs), [TWO]);
    assert_eq!(rig.ack(TWO, op), [rig.stored(op)]);
    let (op, outputs) = rig.get(0, 0);
    assert_eq!(sent(&outputs), [TWO]);
    assert_eq!(rig.looked(op), []);
    assert_eq!(rig.answer(TWO, op), [rig.reply(op, Outcome::Got)]);
}
