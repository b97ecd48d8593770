//! What ends an exchange: silence, other topologies, nonsense, a full disk.

use super::*;
use crate::wire::exchange::{EndReason, Fetched, Stream, Streamed};

fn ends() -> (Box<Initiator>, Box<Responder>) {
    let mut initiator = Box::new(Initiator::new(CONFIG));
    let mut responder = Box::new(Responder::new(CONFIG));
    initiator.start(parties(1), None);
    responder.start(Instant(0), parties(0));
    (initiator, responder)
}

/// Lets the end go out, and says why.
fn reason(initiator: &mut Initiator) -> EndReason {
    assert_eq!(initiator.summary(), None);
    assert_eq!(initiator.grant(Instant(0)), Step::Send);
    let Message::ExchangeEnd(end) = initiator.message() else { panic!("an end is sent") };
    assert_eq!(initiator.summary().unwrap().reason, end.reason);
    assert_eq!((initiator.want(), initiator.timeout()), (None, None));
    end.reason
}

/// Has the EXCHANGE_OPEN sent.
fn open(initiator: &mut Initiator, store: &Store) {
    assert_eq!(initiator.grant(Instant(0)), Step::Summarize);
    initiator.on_summarized(store.held().tree.root(), store.held().keys);
    assert_eq!(initiator.grant(Instant(0)), Step::Send);
}

#[test]
fn a_silent_peer_ends_it() {
    let store = Store::default();
    let (mut initiator, mut responder) = ends();
    open(&mut initiator, &store);
    let due = initiator.timeout().unwrap();
    assert_eq!(due, Instant(0) + CONFIG.silence);
    initiator.on_timeout(due - Duration::from_micros(1));
    assert_eq!(initiator.timeout(), Some(due));
    initiator.on_timeout(due);
    assert_eq!(reason(&mut initiator), EndReason::Silent);
    let message = Message::ExchangeSame;
    responder.on_frame(Instant(0), TOPOLOGY, &message, store.held());
    assert_eq!(responder.grant(Instant(0)), Step::Send);
    assert_eq!(responder.summary().unwrap().reason, EndReason::Malformed);
}

#[test]
fn a_responder_waits_longer_than_any_pause() {
    let store = Store::default();
    let (mut initiator, mut responder) = ends();
    open(&mut initiator, &store);
    responder.on_frame(Instant(0), TOPOLOGY, &initiator.message(), store.held());
    assert_eq!(responder.grant(Instant(0)), Step::Send);
    assert_eq!(responder.message(), Message::ExchangeSame);
    let due = responder.timeout().unwrap();
    assert!(due >= Instant(0) + CONFIG.recheck + CONFIG.silence);
    responder.on_timeout(due);
    assert_eq!(responder.grant(due), Step::Send);
    assert_eq!(responder.summary().unwrap().reason, EndReason::Silent);
}

#[test]
fn frames_of_another_topology_end_it() {
    let store = Store::default();
    let (mut initiator, mut responder) = ends();
    open(&mut initiator, &store);
    let other = TopologyId(8);
    initiator.on_frame(Instant(0), other, &Message::ExchangeSame, store.held());
    assert_eq!(reason(&mut initiator), EndReason::StaleTopology);
    assert!(!initiator.on_record(Instant(0), TOPOLOGY));
    assert!(!responder.on_record(Instant(0), other));
    assert_eq!(responder.grant(Instant(0)), Step::Send);
    assert_eq!(responder.summary().unwrap().reason, EndReason::StaleTopology);
}

#[test]
fn answers_to_what_was_not_asked_end_it() {
    let store = Store::default();
    let fetched = Fetched { served: 0, refused: 0 };
    for message in [
        Message::ExchangeFetched(fetched),
        Message::ExchangeStreamed(Streamed { next: None }),
        Message::ExchangeStream(Stream { from: 0, bytes: 1 }),
        Message::Welcome,
    ] {
        let (mut initiator, _) = ends();
        open(&mut initiator, &store);
        initiator.on_frame(Instant(0), TOPOLOGY, &message, store.held());
        assert_eq!(reason(&mut initiator), EndReason::Malformed);
    }
    let (mut initiator, _) = ends();
    open(&mut initiator, &store);
    assert!(!initiator.on_record(Instant(0), TOPOLOGY), "no record was asked for");
    assert_eq!(reason(&mut initiator), EndReason::Malformed);
}

#[test]
fn a_responder_can_end_it_but_not_call_it_finished() {
    let store = Store::default();
    for reason in EndReason::ALL.iter().copied() {
        let (mut initiator, _) = ends();
        open(&mut initiator, &store);
        let end = crate::wire::exchange::End { reason, differences: 0, sent: 0, got: 0 };
        initiator.on_frame(Instant(0), TOPOLOGY, &Message::ExchangeEnd(end), store.held());
        let summary = initiator.summary().unwrap();
        assert!(!summary.is_equal());
        assert_eq!(summary.reason == reason, reason != EndReason::Finished);
    }
}

#[test]
fn a_lost_connection_ends_it_without_a_word() {
    let (mut initiator, mut responder) = ends();
    initiator.on_disconnected();
    responder.on_disconnected();
    assert_eq!(initiator.summary().unwrap().reason, EndReason::Disconnected);
    assert_eq!(responder.summary().unwrap().reason, EndReason::Disconnected);
    assert_eq!((initiator.want(), responder.want()), (None, None));
    initiator.start(parties(1), None);
    assert!(initiator.want().is_some());
}

#[test]
fn a_record_that_cannot_be_joined_stays_a_difference() {
    for full in 0..2 {
        let mut world = World::new(3, 2);
        world.put(1 - full, (5, 0), [1, 0, 0]);
        world.put(1 - full, (1 << 60, 1), [1, 0, 0]);
        world.begin(0, 1, None, None);
        while !world.sessions[0].is_over() {
            world.grant();
            let session = &mut world.sessions[0];
            session.tasks.retain(|(_, end, task)| {
                let Task::Join((5, _), _) = task else { return true };
                match end {
                    End::Initiator => session.initiator.on_joined(5, None),
                    End::Responder => session.responder.on_joined(5, None),
                }
                false
            });
            world.step();
        }
        let summary = *world.sessions[0].initiator.summary().unwrap();
        assert_eq!((summary.differences, summary.repaired), (1, 1), "{full}");
        assert!(!summary.is_equal());
        let told = world.sessions[0].responder.summary().unwrap();
        assert_eq!((told.differences, told.reason), (1, EndReason::Finished));
        assert_eq!(world.stores[full].record((1 << 60, 1)), Some([1, 0, 0]));
        assert_eq!(world.stores[full].record((5, 0)), None);
    }
}
