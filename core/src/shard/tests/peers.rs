//! Peers that go and come back, with many requests in flight.

use super::*;
use std::collections::BTreeSet;

const MANY: usize = 1000;

/// A machine with many writes (even tickets) and reads (odd ones) of all nodes in flight.
fn busy() -> (Rig, Vec<RequestId>) {
    let mut rig = Rig::new(Setup { slots: MANY + 1, ..Setup::default() });
    let mut ops = Vec::new();
    for _ in 0..MANY / 2 {
        ops.push(rig.get(3, 0).0);
        ops.push(rig.put(3, 0, 0).0);
    }
    (rig, ops)
}

#[test]
fn a_lost_peer_is_walked_in_bounded_steps() {
    let (mut rig, _) = busy();
    assert_eq!(rig.input(Input::PeerDown(TWO)), [], "the event itself does nothing");
    let (mut ended, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let mut steps = 0;
    while let Some(outputs) = rig.step() {
        assert!(outputs.len() <= OUTPUT_COUNT_MAX);
        for output in outputs {
            let (ticket, outcome) = match output {
                Output::Reply { origin: Origin::Session(ticket), outcome, .. } => (ticket, outcome),
                Output::Keep { place, target, .. } => {
                    assert!(kept.insert((place, target)), "once");
                    continue;
                }
                _ => panic!("{output:?}"),
            };
            let got = if ticket % 2 == 0 { 1 } else { 0 };
            assert_eq!(outcome, Outcome::Failed(no_quorum(3, got)));
            assert!(ended.insert(ticket), "one reply each");
        }
        steps += 1;
    }
    assert_eq!(ended.len(), MANY);
    let places = (1..=MANY as u64 / 2).map(|write| Place(100 + 10 * write));
    let lack = places.flat_map(|place| [(place, TWO), (place, THREE)]);
    assert_eq!(kept, lack.collect(), "the third node, too, may lack what has failed");
    assert!(steps >= MANY / OUTPUT_COUNT_MAX);
    assert_eq!(rig.shard.request_count(), 0);
    assert_eq!(rig.wait(TIMEOUT), []);
}

#[test]
fn a_peer_that_comes_back_during_the_walk_waits_for_its_end() {
    let (mut rig, _) = busy();
    rig.input(Input::PeerDown(TWO));
    assert!(rig.step().is_some());
    assert!(rig.shard.walk.is_some());
    assert_eq!(rig.input(Input::PeerUp(TWO)), []);
    assert_eq!(rig.input(Input::PeerUp(TWO)), [], "told twice");
    // What was sent before is lost, although the peer is back: nobody else would tell.
    let (op, outputs) = rig.put(2, 0, 0);
    let expected = [rig.replicate(op, THREE, false), rig.keep(TWO)];
    assert_eq!(outputs, expected, "it is not sent to yet");
    let stored = rig.stored(op);
    let outputs = rig.fire();
    assert!(!outputs.contains(&stored));
    assert_eq!(rig.shard.request_count(), 1, "all that waited for it has failed");
    assert_eq!(rig.ack(THREE, op), [stored]);
    let (op, outputs) = rig.put(3, 0, 0);
    assert_eq!(outputs.len(), 2, "now it is sent to: {op:?}");
}

#[test]
fn a_peer_that_goes_again_during_the_walk_stays_away() {
    let (mut rig, _) = busy();
    rig.input(Input::PeerDown(TWO));
    rig.step();
    rig.input(Input::PeerUp(TWO));
    rig.input(Input::PeerDown(TWO));
    rig.fire();
    let (op, outputs) = rig.put(2, 0, 0);
    assert_eq!(outputs, [rig.replicate(op, THREE, false), rig.keep(TWO)]);
    let refused = rig.request(put(3, 0, 0));
    assert_eq!(refused, rig.refused(Failure::Unavailable { needed: 3, got: 2 }));
    rig.input(Input::PeerUp(TWO));
    assert_eq!(rig.put(3, 0, 0).1.len(), 2);
}

#[test]
fn all_peers_at_once() {
    let (mut rig, _) = busy();
    rig.input(Input::PeerDown(TWO));
    rig.input(Input::PeerDown(THREE));
    rig.input(Input::PeerUp(THREE));
    let outputs = rig.fire();
    assert_eq!(answered(&outputs).len(), MANY);
    let (op, outputs) = rig.put(2, 0, 0);
    assert_eq!(outputs, [rig.replicate(op, THREE, false), rig.keep(TWO)]);
}

#[test]
fn what_does_not_need_the_lost_peer_goes_on() {
    let mut rig = Rig::new(Setup::default());
    let (write, _) = rig.put(2, 0, 0);
    let stored = rig.stored(write);
    let (read, outputs) = rig.get(2, 0);
    let [_, Output::Ask { node: lost, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let other = if lost == TWO { THREE } else { TWO };
    rig.input(Input::PeerDown(lost));
    let outputs = rig.fire();
    assert_eq!(outputs, [rig.keep(lost), ask(read, other)], "the next one is asked in its place");
    assert_eq!(rig.ack(other, write), [stored]);
    rig.looked(read);
    assert_eq!(rig.answer(other, read), [rig.reply(read, Outcome::Got)]);
}

#[test]
fn an_answer_that_was_counted_stays_when_its_node_goes() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(3, 0, 0);
    rig.ack(TWO, op);
    rig.input(Input::PeerDown(TWO));
    assert_eq!(rig.fire(), []);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
}

#[test]
fn frames_that_cannot_be_sent_fail_their_node() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.input(Input::Unsent { node: TWO, op }), [rig.keep(TWO)]);
    assert_eq!(rig.input(Input::Unsent { node: TWO, op }), [], "once");
    let outputs = rig.input(Input::Unsent { node: THREE, op });
    assert_eq!(outputs, [rig.keep(THREE), rig.failed(op, no_quorum(2, 1))]);
}

/// A node that owns a partition again reads its own copy: one look in each step, since a look
/// leads to an append, whose births and room are counted only then.
#[test]
fn looks_come_one_in_a_step() {
    let new = ring(2..=4, 2);
    let mut rig = Rig::new(Setup { nodes: 4, n: 2, slots: 200, ..Setup::default() });
    let lost = |p: &Partition| !new.is_owner(*p, ME) && rig.shard.owns(*p);
    let partition = (0..1 << BITS).map(Partition).find(lost).unwrap();
    let key = KeyPlace { partition, order: 5 };
    for _ in 0..200 {
        let request = Request { key, ..rig.new_request(read_first(2, 1)) };
        rig.input(Input::Request(request));
    }
    rig.input(Input::Rings { rings: &new, topology: TopologyId(2) });
    rig.fire();
    rig.input(Input::Rings { rings: &ring(1..=4, 2), topology: TopologyId(3) });
    let mut looks = 0;
    while let Some(outputs) = rig.step() {
        let count = outputs.iter().filter(|o| matches!(o, Output::Look { .. })).count();
        assert!(count <= 1, "{outputs:?}");
        looks += count;
    }
    assert_eq!(looks, 200);
}
