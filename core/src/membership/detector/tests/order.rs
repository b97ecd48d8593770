//! Which claim holds: every order of few claims, against the greatest of them.

use super::*;
use crate::membership::detector::Stage;
use crate::wire::gossip::{Signal, Updates};

/// Every claim about `of` with boots 1 and 2, incarnations 0 and 1.
fn claims(of: NodeId) -> Vec<Update> {
    let mut all = Vec::new();
    for (boot, incarnation) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        for &status in Liveness::ALL {
            let accuser = NodeId(u32::from(status == Liveness::Suspect));
            all.push(Update { node: of, boot: Boot(boot), incarnation, status, accuser });
        }
    }
    all
}

fn hear(detector: &mut Detector<'_>, signal: Signal, updates: &[Update]) -> Vec<DetectorOutput> {
    let mut room = [[0; Update::BYTES]; MEMBER_COUNT_MAX];
    let updates = Updates::write(updates.iter().copied(), &mut room);
    detector.on_message(Instant(0), node(1), &Gossip { signal, updates });
    core::iter::from_fn(|| detector.poll()).collect()
}

const RELAYING: Signal = Signal::Relaying { sequence: 0, target: NodeId(1) };

#[test]
fn the_greatest_claim_holds_in_every_order() {
    let all = claims(node(2));
    let rank = |update: &Update| (update.boot, update.incarnation, update.status);
    for first in &all {
        for second in &all {
            for third in &all {
                let mut detector = detector(0, 3, 1, 1, Instant(0));
                let mut told = Liveness::Alive;
                for update in [first, second, third] {
                    for output in hear(&mut detector, RELAYING, &[*update]) {
                        let DetectorOutput::Changed { node: of, status } = output else { panic!() };
                        assert_eq!(of, node(2));
                        assert_ne!(status, told);
                        told = status;
                    }
                }
                let greatest = [first, second, third].into_iter().map(rank).max().unwrap();
                let claim = detector.entries[detector.find(node(2)).unwrap()].claim;
                assert_eq!(claim.rank(), greatest);
                assert_eq!(told, greatest.2);
            }
        }
    }
}

#[test]
fn a_node_answers_every_claim_about_itself() {
    for (boot, incarnation) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        for update in claims(node(0)) {
            let mut detector = detector(0, 3, boot, 1, Instant(0));
            detector.me.claim.incarnation = incarnation;
            detector.me.sent = u8::MAX;
            let outputs = hear(&mut detector, RELAYING, &[update]);
            let mine = (Boot(boot), incarnation);
            let said = (update.boot, update.incarnation);
            let refutes = said == mine && update.status != Liveness::Alive;
            if said > mine {
                assert_eq!(outputs, [DetectorOutput::Superseded]);
                assert_eq!(detector.stage, Stage::Stopped);
                assert_eq!(detector.next_deadline(), None);
                let ping = Signal::Ping { sequence: 1, origin: node(1) };
                assert_eq!(hear(&mut detector, ping, &[]), []);
                continue;
            }
            assert_eq!(outputs, []);
            let now = (detector.me.claim.boot, detector.me.claim.incarnation);
            assert_eq!(now, (Boot(boot), incarnation + u32::from(refutes)));
            let tells = update.status != Liveness::Alive;
            assert_eq!(detector.me.sent == 0, tells);
            assert_eq!(detector.health, u32::from(refutes));
        }
    }
}

#[test]
fn claims_about_strangers_change_nothing() {
    let mut detector = detector(0, 3, 1, 1, Instant(0));
    let digest = detector.digest();
    for update in claims(NodeId(5)) {
        for is_request in [false, true] {
            let outputs = hear(&mut detector, Signal::SyncTable { is_request }, &[update]);
            assert_eq!(outputs.len(), usize::from(is_request));
        }
    }
    assert_eq!((detector.count, detector.digest()), (2, digest));
    assert_eq!(detector.status(NodeId(5)), None);
}

#[test]
fn a_table_suspects_where_gossip_is_believed() {
    let down = claims(node(2))[2];
    assert_eq!(down.status, Liveness::Down);
    let table = Signal::SyncTable { is_request: false };
    let alive = claims(node(2))[0];
    let mut detector = detector(0, 3, 1, 1, Instant(0));
    assert_eq!(hear(&mut detector, RELAYING, &[alive]), []);
    let expected = |status| [DetectorOutput::Changed { node: node(2), status }];
    assert_eq!(hear(&mut detector, table, &[down]), expected(Liveness::Suspect));
    assert_eq!(hear(&mut detector, RELAYING, &[down]), expected(Liveness::Down));
    // Of a life that this node knows nothing of, the table is believed.
    let later = Update { boot: Boot(2), ..down };
    assert_eq!(hear(&mut detector, RELAYING, &[Update { boot: Boot(2), ..alive }]).len(), 1);
    let later_still = Update { boot: Boot(3), ..later };
    assert_eq!(hear(&mut detector, table, &[later_still]), expected(Liveness::Down));
}
