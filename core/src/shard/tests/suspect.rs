//! Peers that are silent although their links stand: who is asked in their stead.

use super::*;
use crate::limits::{READ_EXPLORE, READ_HEDGE, SIGN_PAUSE_MIN, SILENCE_FLOOR};

/// A machine whose peers have had their time, and `silent` has not answered.
fn with_suspect(setup: Setup, silent: NodeId) -> Rig {
    let mut rig = Rig::new(setup);
    suspect(&mut rig, silent);
    rig
}

/// `silent` does not answer a write, and does not give a sign of life.
fn suspect(rig: &mut Rig, silent: NodeId) {
    let (op, _) = rig.put(1, 0, 0);
    for node in (2..=9).map(NodeId).filter(|node| *node != silent) {
        rig.ack(node, op);
    }
    // More is borne of who was silent before.
    let steps = (0..30).take_while(|_| {
        pass(rig, SILENCE_FLOOR);
        rig.shard.suspects().count() == 0
    });
    assert!(steps.count() < 30);
    assert_eq!(rig.shard.suspects().collect::<Vec<_>>(), [silent]);
}

/// Time passes in steps that are no stop.
fn pass(rig: &mut Rig, time: Duration) -> Vec<Output> {
    let (end, mut outputs) = (rig.now + time + TICK, Vec::new());
    while rig.now < end {
        rig.now = end.min(rig.now + SILENCE_FLOOR / 4);
        outputs.extend(rig.fire());
    }
    outputs
}

fn asked(outputs: &[Output]) -> Vec<NodeId> {
    let node = |output: &Output| match output {
        Output::Ask { node, .. } | Output::Replicate { node, .. } => Some(*node),
        _ => None,
    };
    outputs.iter().filter_map(node).collect()
}

#[test]
fn a_silent_peer_is_asked_for_a_sign_before_it_is_suspect() {
    let mut rig = Rig { sees_probes: true, ..Rig::new(Setup::default()) };
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
    let probe = Output::Probe { node: TWO, partition: KEY.partition };
    assert_eq!(pass(&mut rig, SILENCE_FLOOR), [probe]);
    assert_eq!(rig.shard.suspects().count(), 0);
    let heard = Input::Heard { node: TWO, op: RequestId::NONE };
    assert_eq!(rig.input(heard), [], "it is slow to store");
    assert_eq!(pass(&mut rig, 3 * SILENCE_FLOOR), []);
    assert_eq!(rig.shard.suspects().count(), 0);
    // The next one gets no sign.
    let (_, outputs) = rig.put(1, 0, 0);
    assert_eq!(asked(&outputs).len(), 2);
    let outputs = pass(&mut rig, 6 * SILENCE_FLOOR);
    assert!(outputs.contains(&probe));
    assert!(rig.shard.suspects().any(|node| node == TWO));
}

#[test]
fn a_suspect_is_asked_for_signs_and_nothing_else_until_it_gives_one() {
    let mut rig = with_suspect(Setup::default(), TWO);
    rig.sees_probes = true;
    let waits = rig.shard.health_figures().waits;
    let mut probes = 0;
    for _ in 0..50 {
        let (op, outputs) = rig.put(2, 0, 0);
        assert_eq!(outputs, [rig.replicate(op, THREE, false), rig.keep(TWO)]);
        assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
        let (op, outputs) = rig.get(2, 0);
        assert_eq!(asked(&outputs), [THREE]);
        assert_eq!(rig.looked(op), []);
        assert_eq!(rig.answer(THREE, op), [rig.reply(op, Outcome::Got)]);
        probes += pass(&mut rig, SIGN_PAUSE_MIN / 10).len();
    }
    assert!((2..=3).contains(&probes), "after 1 and 3 s of 5: {probes}");
    assert_eq!(rig.shard.health_figures().waits, waits, "nobody waits for it");
    // Any word of it, even that of a coordinator.
    for word in [Input::Read(frame(TWO, 1)), Input::Heard { node: TWO, op: RequestId::NONE }] {
        rig.input(word);
        assert_eq!(rig.shard.suspects().count(), 0);
        let (op, outputs) = rig.put(3, 0, 0);
        assert_eq!(asked(&outputs).len(), 2, "{op:?}");
        rig.ack(THREE, op);
        rig.ack(TWO, op);
        suspect(&mut rig, TWO);
    }
}

/// Whoever waits when the suspicion comes up goes on as if the peer were gone.
#[test]
fn what_waits_for_a_new_suspect_goes_on_without_it() {
    let mut rig = Rig::new(Setup { nodes: 5, n: 4, ..Setup::default() });
    let peers = rig.shard.rings().owners(KEY.partition).into_iter();
    let peers: Vec<_> = peers.filter(|node| *node != ME).collect();
    let [silent, one, two] = peers[..] else { panic!("{peers:?}") };
    let (op, outputs) = rig.put(4, 0, 0);
    assert_eq!(asked(&outputs), peers);
    assert_eq!([rig.ack(one, op), rig.ack(two, op)], [[], []]);
    let outputs = pass(&mut rig, 2 * SILENCE_FLOOR);
    let [Output::Replicate { node: stand_in, target, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(target, silent);
    assert_eq!(rig.ack(stand_in, op), [rig.stored(op)]);
}

/// It may answer after all: late is better than never.
#[test]
fn a_quorum_that_needs_suspects_asks_them() {
    let mut rig = with_suspect(Setup::default(), TWO);
    let (op, outputs) = rig.put(3, 0, 0);
    assert_eq!(asked(&outputs), [THREE, TWO]);
    assert_eq!(rig.shard.health_figures().waits, 1);
    assert_eq!(rig.ack(THREE, op), []);
    assert_eq!(pass(&mut rig, TIMEOUT / 2), [], "it has until the deadline");
    assert_eq!(rig.ack(TWO, op), [rig.stored(op)]);
    suspect(&mut rig, TWO);
    let (op, outputs) = rig.get(3, 0);
    assert_eq!(asked(&outputs), [THREE, TWO]);
    rig.looked(op);
    rig.answer(THREE, op);
    assert_eq!(rig.answer(TWO, op), [rig.reply(op, Outcome::Got)]);
    // One that fails makes it needed.
    suspect(&mut rig, TWO);
    let (op, outputs) = rig.get(2, 0);
    assert_eq!(asked(&outputs), [THREE]);
    assert_eq!(pass(&mut rig, Duration::from_millis(90)), [], "nor does a slow one");
    assert_eq!(rig.reject(THREE, op, RejectReason::Busy), [ask_with(op, TWO, 905)]);
}

fn ask_with(op: RequestId, node: NodeId, deadline_ms: u16) -> Output {
    Output::Ask { op, node, partition: KEY.partition, deadline_ms, target: OWN }
}

#[test]
fn requests_are_handed_on_to_owners_that_are_well() {
    let mut rig = Rig::new(Setup { nodes: 5, ..Setup::default() });
    let wanted = |partition: &Partition| !rig.shard.owns(*partition);
    let partition = (0..1 << BITS).map(Partition).find(wanted).unwrap();
    let owners = rig.shard.rings().owners(partition).to_vec();
    let key = KeyPlace { partition, order: 1 };
    let forward = |rig: &mut Rig| {
        let request = Request { key, ..rig.new_request(get(1, 0)) };
        let outputs = rig.input(Input::Request(request));
        let [Output::Forward { op, target: Target::Node(node), .. }] = outputs[..] else {
            panic!("{outputs:?}");
        };
        (op, node)
    };
    let (op, first) = forward(&mut rig);
    assert_eq!(first, owners[0]);
    // A coordinator may wait for others, but gives a sign at once.
    pass(&mut rig, SILENCE_FLOOR);
    rig.input(Input::Heard { node: first, op: RequestId::NONE });
    pass(&mut rig, 3 * SILENCE_FLOOR);
    assert_eq!(forward(&mut rig).1, first);
    pass(&mut rig, 5 * SILENCE_FLOOR);
    assert_eq!(rig.shard.suspects().collect::<Vec<_>>(), [first]);
    assert_eq!(forward(&mut rig).1, owners[1]);
    let replied = Input::ForwardReplied { op, node: first, order: 1 };
    assert_eq!(rig.input(replied).len(), 1, "its answer still counts");
    assert_eq!(forward(&mut rig).1, first);
}

#[test]
fn the_quickest_replica_is_asked_and_all_are_tried_now_and_then() {
    let mut rig = Rig::new(Setup { nodes: 5, n: 5, ..Setup::default() });
    let slow_ms = |node: NodeId| u64::from(node.0) % 4 * 3 + 1;
    let (mut counts, mut all) = ([0; 6], 0);
    for _ in 0..2 * READ_EXPLORE {
        let (op, outputs) = rig.get(2, 0);
        let peers = asked(&outputs);
        all += usize::from(peers.len() == 4);
        if let [one] = peers[..] {
            counts[one.0 as usize] += 1;
        }
        rig.looked(op);
        let began = rig.now;
        let mut in_order = peers;
        in_order.sort_by_key(|node| slow_ms(*node));
        for node in in_order {
            rig.now = began + Duration::from_millis(slow_ms(node));
            rig.answer(node, op);
        }
    }
    // 4 is the quickest: 1 ms. Each of the others was tried once.
    assert_eq!(all, 2);
    assert_eq!(counts.iter().sum::<usize>(), 2 * READ_EXPLORE as usize - 2);
    assert!(counts[4] >= 2 * READ_EXPLORE as usize - 2 - 3, "{counts:?}");
}

#[test]
fn a_read_is_hedged_when_its_replica_takes_longer_than_usual() {
    let mut rig = Rig::new(Setup::default());
    let mut delays = Vec::new();
    for _ in 0..60 {
        let (op, outputs) = rig.get(2, 0);
        let [peer] = asked(&outputs)[..] else { panic!("{outputs:?}") };
        rig.looked(op);
        delays.push(rig.shard.next_task().unwrap().since(rig.now));
        rig.now = rig.now + Duration::from_millis(3);
        assert_eq!(rig.answer(peer, op), [rig.reply(op, Outcome::Got)]);
    }
    assert!(delays[0] >= READ_HEDGE, "while nothing is known");
    let last = *delays.last().unwrap();
    assert!(last > Duration::from_millis(3) && last < Duration::from_millis(3) + 2 * TICK);
    let (_, _) = rig.get(2, 0);
    assert_eq!(asked(&rig.wait(Duration::from_millis(4))).len(), 1);
    assert_eq!(rig.shard.health_figures().hedges, 1);
}

/// A hint waits for a target that is well.
#[test]
fn hints_wait_for_a_suspect_and_go_when_it_is_heard() {
    let mut rig = with_suspect(Setup { slots: 100, ..Setup::default() }, TWO);
    rig.sees_searches = true;
    let (op, outputs) = rig.put(2, 0, 0);
    assert!(outputs.contains(&rig.keep(TWO)));
    rig.ack(THREE, op);
    assert_eq!(pass(&mut rig, TIMEOUT / 2), []);
    rig.input(Input::Heard { node: TWO, op: RequestId::NONE });
    let outputs = rig.fire();
    assert!(matches!(outputs[..], [Output::SeekHint { target: TWO, .. }]), "{outputs:?}");
}

/// The answer that ends the read comes when the process wakes up.
#[test]
fn a_read_that_ends_behind_its_deadline_begins_no_write() {
    let mut rig = Rig::new(Setup::default());
    let outputs = rig.request(read_first(2, 2));
    let [Output::Look { op, .. }, Output::Ask { node, .. }] = outputs[..] else {
        panic!("{outputs:?}");
    };
    rig.looked(op);
    rig.now = rig.now + TIMEOUT;
    let failed = rig.failed(op, Failure::Unavailable { needed: 2, got: 0 });
    assert_eq!(rig.answer(node, op), [failed]);
}
