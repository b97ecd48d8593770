//! Writes that have succeeded while owners have not done their share of them.

use super::*;
use crate::limits::TOPOLOGY_RETRY;

/// A write that its own share and that of `THREE` have made succeed.
fn answered_write(rig: &mut Rig) -> (RequestId, Output) {
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
    assert_eq!(rig.shard.request_count(), 0);
    (op, rig.keep(TWO))
}

fn check_over(rig: &mut Rig, op: RequestId) {
    assert_eq!(rig.shard.straggler_count(), 0);
    for node in [TWO, THREE] {
        assert_eq!(rig.reject(node, op, RejectReason::Busy), [], "it is over");
    }
    assert_eq!(rig.wait(TIMEOUT), []);
}

#[test]
fn who_stores_it_late_needs_no_hint() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = answered_write(&mut rig);
    assert_eq!(rig.ack(THREE, op), [], "twice");
    assert_eq!(rig.shard.straggler_count(), 1);
    assert_eq!(rig.ack(TWO, op), []);
    check_over(&mut rig, op);
    assert_eq!(rig.shard.health_figures().stragglers, 0);
}

#[test]
fn who_refuses_or_is_lost_or_never_answers_has_a_hint() {
    for way in 0..4 {
        let mut rig = Rig::new(Setup::default());
        let (op, keep) = answered_write(&mut rig);
        let outputs = match way {
            0 => rig.reject(TWO, op, RejectReason::NoSpace),
            1 => rig.input(Input::Unsent { node: TWO, op }),
            2 => {
                assert_eq!(rig.input(Input::PeerDown(TWO)), []);
                rig.fire()
            }
            _ => rig.wait(TIMEOUT),
        };
        assert_eq!(outputs, [keep]);
        assert_eq!(rig.shard.hint_targets().count(), 1);
        check_over(&mut rig, op);
        assert_eq!(rig.shard.health_figures().stragglers, 1);
    }
}

/// With W = 1 the client is answered before anybody else has it.
#[test]
fn of_all_that_are_slow_each_has_a_hint() {
    let mut rig = Rig::new(Setup::default());
    let (op, outputs) = rig.put(1, 0, 0);
    assert_eq!(outputs.last(), Some(&rig.stored(op)));
    let kept = rig.wait(TIMEOUT);
    assert_eq!(kept, [rig.keep(THREE), rig.keep(TWO)]);
    check_over(&mut rig, op);
}

/// Nobody cares what becomes of it: others have the record.
#[test]
fn an_own_share_that_is_late_needs_nothing() {
    let mut rig = Rig::new(Setup { sync_before_ack: true, ..Setup::default() });
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.input(Input::Acked { node: TWO, op, order: 70, durable: true }), []);
    let stored = rig.stored(op);
    let acked = Input::Acked { node: THREE, op, order: 70, durable: true };
    assert_eq!((rig.input(acked), rig.shard.straggler_count()), (vec![stored], 0));
    assert_eq!(rig.stored_to(AT_ONCE, AT_ONCE), []);
}

#[test]
fn another_node_stands_in_where_there_is_one() {
    let mut rig = Rig::new(Setup { nodes: 5, n: 4, w: 3, ..Setup::default() });
    let peers = rig.shard.rings().owners(KEY.partition).into_iter();
    let peers: Vec<_> = peers.filter(|node| *node != ME).collect();
    let fallback = rig.shard.rings().fallbacks(KEY.partition)[0];
    for takes in [true, false] {
        let (op, _) = rig.put(3, 0, 0);
        rig.ack(peers[0], op);
        assert_eq!(rig.ack(peers[1], op), [rig.stored(op)]);
        let outputs = rig.reject(peers[2], op, RejectReason::Busy);
        let [Output::Replicate { node, target, .. }] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!((node, target), (fallback, peers[2]));
        if takes {
            assert_eq!(rig.ack(fallback, op), []);
        } else {
            assert_eq!(rig.reject(fallback, op, RejectReason::NoSpace), [rig.keep(peers[2])]);
        }
        assert_eq!(rig.shard.straggler_count(), 0);
    }
}

#[test]
fn who_knew_another_topology_is_asked_again() {
    let mut rig = Rig::new(Setup::default());
    let (op, _) = answered_write(&mut rig);
    let differs = Output::TopologyDiffers { node: TWO };
    assert_eq!(rig.reject(TWO, op, RejectReason::StaleTopology), [differs]);
    let outputs = rig.wait(TOPOLOGY_RETRY);
    assert!(matches!(outputs[..], [Output::Replicate { node: TWO, .. }]), "{outputs:?}");
    assert_eq!(rig.ack(TWO, op), []);
    check_over(&mut rig, op);
}

/// The first one that was answered goes first, whatever came between.
#[test]
fn answered_writes_make_room_for_requests() {
    let mut rig = Rig::new(Setup { slots: 4, ..Setup::default() });
    let stragglers = [(); 3].map(|()| answered_write(&mut rig));
    assert_eq!(rig.ack(TWO, stragglers[1].0), [], "this one is over");
    let open = [(); 2].map(|()| rig.get(3, 0).0);
    let outputs = rig.request(get(3, 0));
    assert_eq!(outputs[0], stragglers[0].1);
    let outputs = rig.request(get(3, 0));
    assert_eq!(outputs[0], stragglers[2].1);
    assert_eq!((rig.shard.request_count(), rig.shard.straggler_count()), (4, 0));
    let outputs = rig.request(get(3, 0));
    assert_eq!(outputs, rig.refused(Failure::Busy), "requests make room for none");
    assert_eq!(rig.looked(open[0]), []);
}

#[test]
fn many_answered_writes_neither_refuse_nor_forget_anything() {
    let mut rig = Rig::new(Setup { slots: 64, ..Setup::default() });
    let mut kept = 0;
    for write in 0..1000 {
        let outputs = rig.request(put(2, 0, 0));
        let Some(Output::Apply { op, .. }) = outputs.last().copied() else {
            panic!("{outputs:?}");
        };
        rig.applied(op);
        let answered = rig.ack(THREE, op);
        assert_eq!(answered.last(), Some(&rig.stored(op)));
        kept += outputs.len() + answered.len() - 2;
        assert_eq!(rig.shard.straggler_count(), (write + 1).min(48), "of four slots three");
    }
    kept += rig.wait(TIMEOUT).len();
    assert_eq!(kept, 1000);
    assert_eq!(rig.shard.health_figures().stragglers, 1000);
}

/// A node that keeps no hints has nothing to wait for.
#[test]
fn without_hints_a_write_ends_with_its_answer() {
    let mut rig = Rig::new(Setup { keeps_hints: false, ..Setup::default() });
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
    check_over(&mut rig, op);
}
