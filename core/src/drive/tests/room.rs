//! Writes that find no room in the store, and what comes behind them.

use super::cold::{ONE, get, got, put};
use super::*;
use crate::limits::FETCH_COUNT_MAX;

#[test]
fn writes_that_find_no_room_wait_in_order() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.command(2, b"other", put(set(b"warm")));
    cluster.stall(true);
    assert_eq!(cluster.answered(), [1, 2]);
    cluster.command(3, b"k", get(1));
    assert_eq!(cluster.answers(), [(3, got(b"old"))], "a read needs no room");
    cluster.command(4, b"k", put(set(b"new")));
    cluster.command(5, b"k", get(1));
    cluster.command(6, b"k", put(delete(first(Condition::Always, b""))));
    cluster.command(7, b"other", get(1));
    assert_eq!(cluster.answers(), [(7, got(b"warm"))], "nor do reads of other keys wait");
    for _ in 0..2 * FETCH_COUNT_MAX {
        assert_eq!(cluster.roomless(), [b"k"]);
        cluster.resume(b"k");
        assert_eq!((cluster.answered(), cluster.waiting()), (vec![], 3), "however often");
    }
    cluster.make_room(b"k");
    let answers = cluster.answers();
    let order: Vec<u64> = answers.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(order, [4, 5, 6]);
    assert_eq!(answers[1].1, got(b"new"));
    cluster.check_idle();
}

/// Room came, but what has waited for it did not go on yet: else new writes could take all of it.
#[test]
fn a_new_write_waits_behind_those_that_wait_for_room() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(1, b"other", put(set(b"old")));
    cluster.stall(true);
    cluster.command(2, b"k", put(set(b"first")));
    cluster.stall(false);
    cluster.command(3, b"other", put(set(b"later")));
    cluster.command(4, b"third", get(1));
    assert_eq!(cluster.answered(), [1, 4], "a read needs no room");
    assert_eq!(cluster.roomless(), [b"k".to_vec(), b"other".to_vec()]);
    cluster.resume(b"k");
    cluster.resume(b"other");
    assert_eq!(cluster.answered(), [2, 3]);
    cluster.command(5, b"other", put(set(b"now")));
    assert_eq!(cluster.answered(), [5], "nobody waits any more");
    cluster.check_idle();
}

/// Frames of coordinators, and a write that had read other nodes when the store stalled.
#[test]
fn every_kind_of_write_waits_for_room() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.run();
    cluster.command(2, b"k", put(first(Condition::IfPresent, b"first")));
    cluster.stall(true);
    cluster.send(at(2, 0), b"other", Command::Put(PutRequest { w: 3, ..set(b"v") }));
    cluster.run();
    assert_eq!((cluster.answered(), cluster.waiting()), (vec![1], 2));
    cluster.command(3, b"k", get(1));
    assert_eq!(cluster.waiting(), 3, "the read is behind the write");
    assert_eq!(cluster.roomless(), [b"other".to_vec(), b"k".to_vec()]);
    cluster.stall(false);
    cluster.resume(b"other");
    cluster.run();
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    cluster.resume(b"k");
    cluster.run();
    let mut answers = cluster.answers();
    answers.sort();
    assert_eq!((answers.len(), answers[1].clone()), (2, (3, got(b"first"))));
    assert_eq!(cluster.copy(2, b"k"), [b"first"]);
    cluster.check_idle();
}

#[test]
fn a_write_waits_for_room_until_its_deadline() {
    let mut cluster = Cluster::new(ONE);
    cluster.stall(true);
    cluster.command(1, b"k", put(set(b"v")));
    cluster.pass(TIMEOUT);
    let answers = cluster.answers();
    assert!(answers[0].1.starts_with("Failed(Unavailable { needed: 1, got: 0 })"), "{answers:?}");
    assert_eq!(cluster.waiting(), 0);
    cluster.make_room(b"k");
    assert_eq!(cluster.answered(), [], "nobody waits");
    cluster.check_idle();
}

/// The store stays stalled: what only came behind a write needs no room.
#[test]
fn a_read_behind_a_write_that_was_too_late_goes_on_without_room() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.run();
    cluster.stall(true);
    cluster.command(2, b"k", put(set(b"2")));
    cluster.command(3, b"k", put(set(b"3")));
    assert_eq!(cluster.roomless(), [b"k"]);
    cluster.pass(TIMEOUT / 2);
    cluster.command(4, b"k", get(1));
    cluster.command(5, b"k", put(set(b"5")));
    cluster.pass(TIMEOUT / 2);
    assert_eq!(cluster.answered(), [1, 2, 3]);
    assert_eq!(cluster.fetched(), [b"k"], "once, for the read");
    cluster.resume(b"k");
    assert_eq!(cluster.answers(), [(4, got(b"old"))]);
    cluster.make_room(b"k");
    cluster.run();
    assert_eq!((cluster.answered(), cluster.copy(2, b"k")), (vec![5], vec![b"5".to_vec()]));
    cluster.check_idle();
}

/// A record that was read for a write which then waits on may be gone from memory again.
#[test]
fn room_comes_before_the_record_and_reads_for_naught_are_forgotten() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.cool(b"k");
    cluster.stall(true);
    cluster.command(2, b"k", put(set(b"new")));
    assert_eq!(cluster.answered(), [1]);
    for _ in 0..2 * FETCH_COUNT_MAX {
        assert_eq!(cluster.fetched(), Vec::<Vec<u8>>::new());
        cluster.make_room(b"k");
        assert_eq!((cluster.fetched(), cluster.waiting()), (vec![b"k".to_vec()], 1));
        cluster.stall(true);
        cluster.resume(b"k");
    }
    cluster.make_room(b"k");
    cluster.warm(b"k");
    assert_eq!(cluster.answered(), [2]);
    cluster.check_idle();
}

/// A log that is not stalled may still refuse what is larger than its room.
#[test]
fn a_frame_that_finds_no_room_when_it_is_joined_waits_before_others() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.run();
    cluster.site().store.stalls_next = true;
    cluster.send(at(2, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"new") }));
    cluster.run();
    assert_eq!((cluster.reply(), cluster.waiting()), (None, 1));
    cluster.command(2, b"k", get(1));
    assert_eq!(cluster.waiting(), 2, "behind it");
    cluster.make_room(b"k");
    cluster.run();
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    assert_eq!(cluster.answers().last(), Some(&(2, got(b"new"))));
    cluster.check_idle();
}

/// Each wait had begun the frame's time anew, so one that never found room never ended.
#[test]
fn a_frame_that_waits_again_keeps_its_deadline() {
    let mut cluster = Cluster::new(THREE);
    cluster.stall(true);
    cluster.send(at(2, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"new") }));
    cluster.run();
    let first = cluster.site().waiting.next_deadline();
    assert!(first.is_some_and(|at| at > cluster.now + TIMEOUT / 2), "{first:?}");
    cluster.now = cluster.now + TIMEOUT / 2;
    cluster.site().store.stalls_next = true;
    cluster.make_room(b"k");
    assert_eq!((cluster.waiting(), cluster.site().waiting.next_deadline()), (1, first));
    cluster.pass(TIMEOUT);
    cluster.run();
    assert_eq!((cluster.waiting(), cluster.reply().unwrap().status), (0, Status::NoQuorum));
}

/// Whoever finds no room after all asked for it twice, and a second answer counts as a read.
#[test]
fn what_waits_again_asks_once() {
    let mut cluster = Cluster::new(ONE);
    cluster.stall(true);
    cluster.command(1, b"k", put(set(b"new")));
    for _ in 0..2 {
        cluster.site().store.stalls_next = true;
        cluster.make_room(b"k");
        assert_eq!((cluster.answered(), cluster.waiting()), (vec![], 1));
    }
    cluster.make_room(b"k");
    assert_eq!(cluster.answered(), [1]);
    cluster.check_idle();
}

/// That room came says nothing of the record, which nobody has read yet.
#[test]
fn only_reads_are_counted() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.cool(b"k");
    cluster.stall(true);
    cluster.command(2, b"k", put(set(b"new")));
    cluster.make_room(b"k");
    for _ in 0..FETCH_COUNT_MAX {
        assert_eq!((cluster.fetched(), cluster.waiting()), (vec![b"k".to_vec()], 1));
        cluster.resume(b"k");
    }
    assert_eq!((cluster.fetched().len(), cluster.waiting()), (0, 0));
    assert_eq!(cluster.answers()[1], (2, String::from("Failed(Busy) [] 0 0 0")));
    cluster.check_idle();
}
