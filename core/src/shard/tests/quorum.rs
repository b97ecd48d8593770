//! Every R, W, PR, PW and DW of three nodes, with every way in which they can answer.

use super::*;

/// What becomes of one peer's share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Share {
    Stored,
    Durable,
    Failed,
}

const SHARES: [Share; 3] = [Share::Stored, Share::Durable, Share::Failed];
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// How a write with these shares done so far ends, by sets and the best future.
fn put_ends(need: [u8; 3], shares: [Option<Share>; 3]) -> Option<Result<(), Failure>> {
    let [w, pw, dw] = need.map(usize::from);
    let having = |is: fn(Option<Share>) -> bool| shares.into_iter().filter(|s| is(*s)).count();
    let stored = having(|share| matches!(share, Some(Share::Stored | Share::Durable)));
    let durable = having(|share| share == Some(Share::Durable));
    let open = having(|share| share.is_none());
    let met = |stored: usize, durable: usize| stored >= w && stored >= pw && durable >= dw;
    if met(stored, durable) {
        Some(Ok(()))
    } else if met(stored + open, durable + open) {
        None
    } else {
        Some(Err(no_quorum(w.max(pw).max(dw) as u8, stored as u8)))
    }
}

/// Runs one write; `shares` are those of this node and its peers, done in `order`.
fn run_put(rig: &mut Rig, asked: [u8; 3], always: bool, shares: [Share; 3], order: [usize; 3]) {
    let [w, pw, dw] = asked;
    let sync = always || dw > 0;
    let outputs = rig.request(put(w, pw, dw));
    let need = [if w == 0 { 2 } else { w }, pw, dw];
    let most = asked.into_iter().max().unwrap();
    if most > 3 {
        return assert_eq!(outputs, rig.refused(Failure::Unavailable { needed: most, got: 3 }));
    }
    let [Output::Apply { op, birth: 1, gathered: false, .. }] = outputs[..] else {
        panic!("not applied: {outputs:?}");
    };
    let outputs = rig.applied(op);
    let sent = [TWO, THREE].map(|node| rig.replicate(op, node, sync));
    assert_eq!(outputs.iter().filter(|output| sent.contains(output)).count(), 2, "sent at once");
    assert_eq!(outputs.contains(&Output::Sync), sync && !always);
    // Without a sync, this node's own share is done with the append.
    let mut done = [(!sync).then_some(Share::Stored), None, None];
    let mut ended = put_ends(need, done);
    let replies = usize::from(ended.is_some());
    assert_eq!(answered(&outputs).len(), replies);
    if ended.is_some() {
        assert_eq!(outputs.last(), Some(&rig.stored(op)));
    }
    for node in order {
        let outputs = match (node, shares[node]) {
            (0, _) if !sync => continue,
            (0, _) => rig.stored_to(AT_ONCE, Place(rig.place.0 + 1)),
            (_, Share::Failed) => rig.reject(NodeId(node as u32 + 1), op, RejectReason::Busy),
            (_, share) => {
                let (node, durable) = (NodeId(node as u32 + 1), share == Share::Durable);
                rig.input(Input::Acked { node, op, order: KEY.order, durable })
            }
        };
        if let Some(end) = ended {
            let has_failed = node > 0 && shares[node] == Share::Failed;
            let kept = (end == Ok(()) && has_failed).then(|| rig.keep(NodeId(node as u32 + 1)));
            assert_eq!(outputs, Vec::from_iter(kept), "{asked:?} {shares:?} {order:?}");
            continue;
        }
        done[node] = Some(if node == 0 { Share::Durable } else { shares[node] });
        ended = put_ends(need, done);
        let mut expected = Vec::new();
        if done[node] == Some(Share::Failed) {
            expected.push(rig.keep(NodeId(node as u32 + 1)));
        }
        match ended {
            Some(Ok(())) => expected.push(rig.stored(op)),
            Some(Err(failure)) => {
                let open = (1..3).filter(|node| done[*node].is_none());
                expected.extend(open.map(|node| rig.keep(NodeId(node as u32 + 1))));
                expected.push(rig.failed(op, failure));
            }
            None => {}
        }
        assert_eq!(outputs, expected, "{asked:?} {shares:?} {order:?}");
    }
    let late = rig.wait(TIMEOUT);
    assert_eq!(late.len(), usize::from(ended.is_none()), "at the deadline it has ended");
}

#[test]
fn every_write_quorum_of_three_nodes() {
    for always in [false, true] {
        let mut rig = Rig::new(Setup { sync_before_ack: always, ..Setup::default() });
        for asked in 0..5 * 5 * 5 {
            let asked = [asked / 25, asked / 5 % 5, asked % 5];
            for shares in 0..9 {
                let shares = [Share::Durable, SHARES[shares / 3], SHARES[shares % 3]];
                for order in ORDERS {
                    run_put(&mut rig, asked, always, shares, order);
                }
            }
        }
        assert_eq!(rig.shard.request_count(), 0);
    }
}

/// Runs one read; `good` says which nodes answer, peers in `order`.
fn run_get(rig: &mut Rig, asked: [u8; 2], good: [bool; 3], swap: bool) {
    let [r, pr] = asked;
    let need = (if r == 0 { 2 } else { r }).max(pr);
    if need > 3 {
        let outputs = rig.request(get(r, pr));
        return assert_eq!(outputs, rig.refused(Failure::Unavailable { needed: need, got: 3 }));
    }
    let (op, outputs) = rig.get(r, pr);
    let mut expected = vec![Output::Look { op, target: OWN }];
    let owners: Vec<NodeId> = rig.shard.rings().owners(KEY.partition).to_vec();
    let mut unasked: Vec<NodeId> = owners.into_iter().filter(|node| *node != ME).collect();
    // Nodes that have answered are as quick as each other; those that have not are tried first.
    unasked.sort_by_key(|node| rig.shard.health.latency(*node));
    let mut waited = vec![ME];
    while waited.len() < usize::from(need) {
        let node = unasked.remove(0);
        expected.push(ask(op, node));
        waited.push(node);
    }
    assert_eq!(outputs, expected, "exactly as many as needed are asked");
    let mut got = 0;
    while !waited.is_empty() {
        let node = waited.remove(if swap { waited.len() - 1 } else { 0 });
        let good = good[node.0 as usize - 1];
        let outputs = match (node, good) {
            (ME, true) => rig.looked(op),
            (ME, false) => rig.input(Input::Looked { op, result: Err(Unread::Damaged) }),
            (_, true) => rig.answer(node, op),
            (_, false) => rig.reject(node, op, RejectReason::Damaged),
        };
        got += u8::from(good);
        let open = (waited.len() + unasked.len()) as u8;
        if got >= need {
            return assert_eq!(outputs, [rig.reply(op, Outcome::Got)]);
        } else if got + open < need {
            return assert_eq!(outputs, [rig.failed(op, no_quorum(need, got))]);
        } else if good {
            assert_eq!(outputs, []);
        } else {
            let next = unasked.remove(0);
            assert_eq!(outputs, [ask(op, next)], "the next one is asked at once");
            waited.push(next);
        }
    }
    panic!("the read never ended");
}

#[test]
fn every_read_quorum_of_three_nodes() {
    for asked in 0..5 * 5 {
        // New each time: many reads later one asks all, to learn how they do.
        let mut rig = Rig::new(Setup::default());
        for good in 0..8 {
            let good = [good & 1 > 0, good & 2 > 0, good & 4 > 0];
            for swap in [false, true] {
                run_get(&mut rig, [asked / 5, asked % 5], good, swap);
            }
        }
        assert_eq!(rig.shard.request_count(), 0);
    }
}

#[test]
fn defaults_are_capped_at_the_owners_there_are() {
    let mut rig = Rig::new(Setup { nodes: 2, r: 3, w: 3, ..Setup::default() });
    let (op, outputs) = rig.put(0, 0, 0);
    assert_eq!(outputs, [rig.replicate(op, TWO, false)]);
    assert_eq!(rig.ack(TWO, op), [rig.stored(op)]);
    let (op, outputs) = rig.get(0, 0);
    assert_eq!(outputs, [Output::Look { op, target: OWN }, ask(op, TWO)]);
    for kind in [put(3, 0, 0), put(0, 3, 0), put(1, 0, 3), get(3, 0), get(1, 3), read_first(3, 1)] {
        let outputs = rig.request(kind);
        assert_eq!(outputs, rig.refused(Failure::Unavailable { needed: 3, got: 2 }), "{kind:?}");
    }
}

#[test]
fn a_lone_node_serves_out_of_the_box() {
    let mut rig = Rig::new(Setup { nodes: 1, ..Setup::default() });
    let (op, outputs) = rig.put(0, 0, 0);
    assert_eq!(outputs, [rig.stored(op)]);
    let (op, outputs) = rig.get(0, 0);
    assert_eq!(outputs, [Output::Look { op, target: OWN }]);
    assert_eq!(rig.looked(op), [rig.reply(op, Outcome::Got)]);
    let outputs = rig.request(put(2, 0, 0));
    assert_eq!(outputs, rig.refused(Failure::Unavailable { needed: 2, got: 1 }));
    assert!(rig.shard.reads_alone(KEY.partition, 0, 0));
    assert!(!rig.shard.reads_alone(KEY.partition, 2, 0));
}

#[test]
fn a_node_in_no_ring_serves_nothing() {
    let mut rig = Rig::new(Setup { nodes: 0, ..Setup::default() });
    for kind in [put(0, 0, 0), get(0, 0), put(2, 0, 0)] {
        let asked = if let Kind::Put { asked, .. } = kind { asked.nodes } else { 0 };
        let outputs = rig.request(kind);
        let needed = asked.max(1);
        assert_eq!(outputs, rig.refused(Failure::Unavailable { needed, got: 0 }));
    }
    assert!(!rig.shard.reads_alone(KEY.partition, 0, 0));
    assert!(!rig.shard.reads_alone(KEY.partition, 1, 0));
}

#[test]
fn a_read_is_local_alone_only_with_r_1_at_an_owner() {
    let rig = Rig::new(Setup { nodes: 5, r: 2, ..Setup::default() });
    for partition in (0..1 << BITS).map(Partition) {
        let owner = rig.shard.rings().is_owner(partition, ME);
        assert_eq!(rig.shard.owns(partition), owner);
        assert_eq!(rig.shard.reads_alone(partition, 1, 0), owner);
        assert_eq!(rig.shard.reads_alone(partition, 1, 1), owner);
        assert!(!rig.shard.reads_alone(partition, 1, 2));
        assert!(!rig.shard.reads_alone(partition, 0, 0), "the default is 2");
    }
}

#[test]
fn a_write_that_cannot_reach_w_nodes_is_not_begun() {
    let mut rig = Rig::new(Setup::default());
    rig.input(Input::PeerDown(TWO));
    assert_eq!(rig.fire(), []);
    let (op, outputs) = rig.put(2, 0, 0);
    assert_eq!(outputs, [rig.replicate(op, THREE, false), rig.keep(TWO)]);
    for kind in [put(3, 0, 0), put(1, 3, 0), put(1, 0, 3), read_first(1, 3)] {
        let outputs = rig.request(kind);
        assert_eq!(outputs, rig.refused(Failure::Unavailable { needed: 3, got: 2 }));
    }
}
