//! One detector, message by message.

use super::*;
use crate::limits::{HEALTH_MULTIPLIER_MAX, UPDATE_COUNT_MAX};
use crate::wire::gossip::{Signal, Updates};

type Sent = Vec<(NodeId, Signal)>;

/// Drains; what was to be sent, and what changed.
fn drain(detector: &mut Detector<'_>) -> (Sent, Vec<(NodeId, Liveness)>) {
    let (mut sent, mut changed) = (Vec::new(), Vec::new());
    while let Some(output) = detector.poll() {
        match output {
            DetectorOutput::Send { to, signal } => sent.push((to, signal)),
            DetectorOutput::Changed { node, status } => changed.push((node, status)),
            DetectorOutput::Superseded => panic!("nobody else runs"),
        }
    }
    (sent, changed)
}

/// Lets the next deadline pass.
fn step(detector: &mut Detector<'_>) -> (Instant, Sent, Vec<(NodeId, Liveness)>) {
    let now = detector.next_deadline().unwrap();
    detector.on_timeout(now);
    let (sent, changed) = drain(detector);
    (now, sent, changed)
}

fn answer(detector: &mut Detector<'_>, now: Instant, from: NodeId, signal: Signal) -> Sent {
    detector.on_message(now, from, &Gossip { signal, updates: Updates::EMPTY });
    drain(detector).0
}

#[test]
fn a_silent_member_is_probed_by_three_others_then_suspected_then_down() {
    let mut detector = detector(0, 6, 1, 3, Instant(0));
    let (begin, sent, _) = step(&mut detector);
    let [(target, Signal::Ping { sequence, origin })] = sent[..] else { panic!("{sent:?}") };
    assert_eq!(origin, node(0));
    let (relayed, sent, _) = step(&mut detector);
    assert_eq!(relayed, begin + millis(150));
    let mut relays: Vec<NodeId> = sent.iter().map(|(to, _)| *to).collect();
    relays.sort_unstable();
    relays.dedup();
    assert_eq!(relays.len(), 3);
    assert!(!relays.contains(&target));
    assert!(sent.iter().all(|(_, asked)| *asked == Signal::PingRequest { sequence, target }));
    let relaying = Signal::Relaying { sequence, target };
    assert_eq!(answer(&mut detector, relayed, relays[0], relaying), []);
    let failed = begin + millis(500);
    loop {
        let (now, sent, changed) = step(&mut detector);
        match changed[..] {
            [] => {}
            [(node, Liveness::Suspect)] => assert_eq!((node, now), (target, failed)),
            _ => {
                assert_eq!(changed, [(target, Liveness::Down)]);
                assert_eq!(now, failed + seconds(12));
                // A relay answered, the other four did: the fault is not here.
                return assert!(detector.health_multiplier() <= 2);
            }
        }
        for (to, signal) in sent.iter().filter(|(to, _)| *to != target) {
            if let Signal::Ping { sequence, .. } = *signal {
                answer(&mut detector, now, *to, Signal::Pong { sequence, origin });
            }
        }
    }
}

#[test]
fn whoever_hears_nothing_at_all_doubts_itself() {
    let mut detector = detector(0, 12, 1, 3, Instant(0));
    for _ in 0..60 {
        step(&mut detector);
    }
    assert_eq!(detector.health_multiplier(), HEALTH_MULTIPLIER_MAX);
    let probe = loop {
        let (now, sent, _) = step(&mut detector);
        if let Some((to, Signal::Ping { sequence, .. })) = sent.first() {
            break (now, *to, *sequence);
        }
    };
    let (now, from, sequence) = probe;
    answer(&mut detector, now, from, Signal::Pong { sequence, origin: node(0) });
    assert!(detector.health_multiplier() >= HEALTH_MULTIPLIER_MAX - 1);
}

#[test]
fn pings_are_answered_and_relayed() {
    let mut detector = detector(0, 4, 1, 3, Instant(0));
    let now = Instant(0);
    let ping = Signal::Ping { sequence: 9, origin: node(1) };
    let pong = Signal::Pong { sequence: 9, origin: node(1) };
    assert_eq!(answer(&mut detector, now, node(1), ping), [(node(1), pong)]);
    // A stranger hears that this node is there, and no more.
    let stranger = NodeId(1);
    assert_eq!(answer(&mut detector, now, stranger, ping), [(stranger, pong)]);
    let request = |target| Signal::PingRequest { sequence: 9, target };
    let relaying = Signal::Relaying { sequence: 9, target: node(2) };
    let relayed = [(node(2), ping), (node(1), relaying)];
    assert_eq!(answer(&mut detector, now, node(1), request(node(2))), relayed);
    assert_eq!(answer(&mut detector, now, node(2), pong), [(node(1), pong)]);
    assert_eq!(answer(&mut detector, now, node(1), request(node(0))), [(node(1), pong)]);
    assert_eq!(answer(&mut detector, now, node(1), request(stranger)), []);
    let lost = Signal::Pong { sequence: 9, origin: stranger };
    assert_eq!(answer(&mut detector, now, node(2), lost), []);
}

#[test]
fn tables_are_exchanged_if_they_differ() {
    let mut detector = detector(0, 4, 1, 3, Instant(0));
    let now = Instant(0);
    let digest = detector.digest();
    detector.on_peer_up(now, node(1));
    assert_eq!(drain(&mut detector).0, [(node(1), Signal::Sync { digest })]);
    detector.on_peer_up(now, node(2));
    assert_eq!(drain(&mut detector).0, [], "one in T is enough");
    detector.on_peer_up(now + PROBE_INTERVAL, node(2));
    assert_eq!(drain(&mut detector).0, [(node(2), Signal::Sync { digest })]);
    assert_eq!(answer(&mut detector, now, node(1), Signal::Sync { digest }), []);
    let table = |is_request| Signal::SyncTable { is_request };
    let other = Signal::Sync { digest: !digest };
    assert_eq!(answer(&mut detector, now, node(1), other), [(node(1), table(true))]);
    assert_eq!(answer(&mut detector, now, node(1), table(true)), [(node(1), table(false))]);
    assert_eq!(answer(&mut detector, now, node(1), table(false)), []);
    detector.on_peer_up(now + 2 * PROBE_INTERVAL, node(3));
    assert_eq!(drain(&mut detector).0, [], "it is no new node any more");
    let mut room = [[0; Update::BYTES]; MEMBER_COUNT_MAX];
    let gossip = detector.gossip(node(1), table(false), &mut room);
    let nodes: Vec<NodeId> = gossip.updates.iter().map(|update| update.node).collect();
    assert_eq!(nodes, [node(0), node(1), node(2), node(3)]);
}

/// The nodes that one message speaks of.
fn carried(detector: &mut Detector<'_>, to: NodeId) -> Vec<NodeId> {
    let mut room = [[0; Update::BYTES]; UPDATE_COUNT_MAX];
    let signal = Signal::Sync { digest: 0 };
    let gossip = detector.gossip(to, signal, &mut room);
    gossip.updates.iter().map(|update| update.node).collect()
}

#[test]
fn news_travels_least_sent_first_and_not_for_ever() {
    let count = 120;
    let mut detector = detector(0, count, 1, 3, Instant(0));
    let mut room = [[0; Update::BYTES]; MEMBER_COUNT_MAX];
    let down = |index| {
        let (boot, status, accuser) = (Boot(1), Liveness::Down, NodeId(0));
        Update { node: node(index), boot, incarnation: 0, status, accuser }
    };
    let updates = Updates::write((1..count).map(down), &mut room);
    let signal = Signal::SyncTable { is_request: false };
    detector.on_message(Instant(0), node(1), &Gossip { signal, updates });
    assert_eq!(drain(&mut detector).1.len(), count - 1);
    let mut times = BTreeMap::new();
    loop {
        // To a stranger, so that nobody is told of itself.
        let nodes = carried(&mut detector, NodeId(1));
        if nodes.is_empty() {
            break;
        }
        assert!(nodes.len() <= UPDATE_COUNT_MAX);
        for node in nodes {
            *times.entry(node).or_insert(0) += 1;
        }
        let (least, most) = (times.values().min().unwrap(), times.values().max().unwrap());
        assert!(times.len() < count || most - least <= 1, "{least} {most}");
    }
    assert_eq!(times.len(), count);
    assert!(times.values().all(|sent| *sent == 12));
    // The accused is told for ever.
    assert_eq!(carried(&mut detector, node(7)), [node(7)]);
}

#[test]
fn a_paused_node_gives_the_time_back() {
    let mut detector = detector(0, 5, 1, 3, Instant(0));
    while detector.entries[..4].iter().all(|entry| entry.claim.status == Liveness::Alive) {
        step(&mut detector);
    }
    let before = detector.next_deadline().unwrap();
    let now = before + seconds(100);
    detector.on_timeout(now);
    let (_, changed) = drain(&mut detector);
    assert!(changed.iter().all(|(_, status)| *status != Liveness::Down));
    assert!(detector.next_deadline().unwrap() >= now);
}

#[test]
fn members_come_and_go_and_the_others_keep_their_state() {
    let mut detector = detector(0, 5, 1, 3, Instant(0));
    let mut room = [[0; Update::BYTES]; 1];
    let (boot, status, accuser) = (Boot(4), Liveness::Down, NodeId(0));
    let down = Update { node: node(3), boot, incarnation: 2, status, accuser };
    let updates = Updates::write([down].into_iter(), &mut room);
    let signal = Signal::Relaying { sequence: 0, target: node(1) };
    detector.on_message(Instant(0), node(1), &Gossip { signal, updates });
    drain(&mut detector);
    for kept in 0..32_usize {
        let members = (0..5).filter(|index| kept >> index & 1 == 1).map(node);
        detector.on_members(Instant(0), members.clone());
        assert_eq!(detector.is_member, kept & 1 == 1);
        assert_eq!(detector.next_deadline().is_some(), kept >> 1 > 0);
        for index in 1..5 {
            let held = kept >> index & 1 == 1;
            assert_eq!(detector.status(node(index)).is_some(), held);
        }
        detector.on_members(Instant(0), (0..5).map(node));
    }
    assert_eq!(detector.status(node(3)), Some(Liveness::Alive), "it was away, and is new");
    drain(&mut detector);
}
