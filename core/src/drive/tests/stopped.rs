//! What lay in the buffers of a process while it was stopped.

use super::*;
use crate::limits::{STOP_GRACE, STOP_MIN};
use crate::wire::peer::{Reject, RejectReason};

/// All processes are stopped for that long, and wake up; nothing was looked at yet.
fn stop(cluster: &mut Cluster, time: Duration) {
    cluster.now = cluster.now + time;
}

/// A cluster that has run for a while.
fn running() -> Cluster {
    let mut cluster = Cluster::new(THREE);
    cluster.pass(Duration::from_millis(300));
    cluster.run();
    cluster
}

fn rejected(flight: &Flight) -> RejectReason {
    let frame = Frame::new_checked::<Software>(&flight.bytes).unwrap();
    assert_eq!(frame.op(), Op::Reject);
    Reject::new_checked(frame.payload()).unwrap().reason
}

#[test]
fn a_replica_does_nothing_that_its_coordinator_has_given_up() {
    for (stopped, is_late) in [(2 * TIMEOUT, true), (TIMEOUT / 2, false)] {
        for command in [Command::Get(GetRequest { r: 3, ..GET }), Command::Put(set(b"v"))] {
            let mut cluster = running();
            cluster.send(at(1, 0), b"k", command);
            let sent = std::mem::take(&mut cluster.network.flights);
            assert_eq!(sent.len(), 2);
            stop(&mut cluster, stopped);
            for flight in sent {
                cluster.deliver(&flight);
                let answer = cluster.network.flights.pop_front().unwrap();
                assert_eq!(answer.op() == Op::Reject, is_late);
                assert!(!is_late || rejected(&answer) == RejectReason::TooOld);
                let is_put = matches!(command, Command::Put(_));
                let holds = cluster.copy(flight.to.node, b"k").len() == 1;
                assert_eq!(holds, is_put && !is_late);
            }
        }
    }
}

/// The first look of a process that wakes up is at its buffers, and the last at a timer.
#[test]
fn a_coordinator_does_nothing_that_its_client_has_given_up() {
    for looks_at_timers_first in [false, true] {
        let mut cluster = running();
        stop(&mut cluster, 2 * TIMEOUT);
        for (key, command) in [(b"g", Command::Get(GET)), (b"p", Command::Put(set(b"late")))] {
            if looks_at_timers_first {
                cluster.turn(at(1, 0), |turn| turn.timeouts(usize::MAX));
            }
            let got = cluster.ask(at(1, 0), key, command);
            let status = if key == b"g" { Status::NoQuorum } else { Status::Unavailable };
            assert_eq!((got.status, got.needed, got.got), (status, 2, 0));
            cluster.command(1, key, command);
            assert_eq!(cluster.answered(), [1]);
            assert_eq!(cluster.copy(1, key), Vec::<Vec<u8>>::new());
        }
        // What comes from then on is new.
        cluster.pass(Duration::ZERO);
        cluster.pass(STOP_GRACE);
        assert_eq!(cluster.put(at(1, 0), b"p", set(b"new")).status, Status::Ok);
        assert_eq!(cluster.copy(1, b"p"), [b"new"]);
    }
}

/// Half of its time has gone by.
#[test]
fn a_short_stop_takes_its_time_from_the_deadline() {
    let mut cluster = running();
    let before = cluster.now;
    stop(&mut cluster, TIMEOUT / 2);
    cluster.send(at(1, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"v") }));
    cluster.network.flights.clear();
    cluster.pass(TIMEOUT / 2 - STOP_MIN - Duration::from_millis(10));
    assert_eq!(cluster.reply(), None);
    cluster.pass(STOP_MIN + Duration::from_millis(10));
    assert_eq!(cluster.reply().unwrap().status, Status::NoQuorum);
    assert!(cluster.now < before + TIMEOUT + 3 * TICK);
}

#[test]
fn who_was_a_little_late_was_not_stopped() {
    let mut cluster = running();
    stop(&mut cluster, PULSE + STOP_MIN / 2);
    cluster.send(at(1, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"v") }));
    cluster.network.flights.clear();
    cluster.pass(TIMEOUT - Duration::from_millis(20));
    assert_eq!(cluster.reply(), None, "it has all of its time");
}
