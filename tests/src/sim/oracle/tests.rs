//! The oracle, shown right and wrong records of a short history: two blind writes at one node,
//! then a third that saw the first.

use ringmain_core::causality::{Actor, Dot};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::time::UnixMs;

use super::*;

const A: NodeId = NodeId(1);
const WALL: UnixMs = UnixMs(50);

fn dot(number: u32) -> Dot {
    Dot::new(Actor::new(A, Boot(1), 1), number)
}

fn sibling(number: u32) -> DecodedSibling {
    let stamp = u64::from(number);
    let (expires, value) = (None, vec![number as u8]);
    DecodedSibling { dot: dot(number), tombstone: false, stamp, expires, value }
}

fn record(last: u32, siblings: &[u32]) -> Decoded {
    Decoded {
        entries: vec![dot(last)],
        siblings: siblings.iter().map(|number| sibling(*number)).collect(),
    }
}

fn set(events: &[usize]) -> Set {
    events.iter().copied().collect()
}

/// Applies write `number` over a record with history `before`, and expects `after`.
fn apply(
    history: &mut History,
    before: &[usize],
    after: &Decoded,
) -> Result<(usize, Set), Violation> {
    let before = &set(before);
    history.append(&Appended { node: A, boot: Boot(1), before, after, found: &[], wall: WALL })
}

fn three_writes() -> History {
    let mut history = History::default();
    history.issue(1, Context::Given(Set::default()), Issued::Value(vec![1]), None);
    history.issue(2, Context::Given(Set::default()), Issued::Value(vec![2]), None);
    history.issue(3, Context::Given(set(&[0])), Issued::Value(vec![3]), None);
    apply(&mut history, &[], &record(1, &[1])).unwrap();
    apply(&mut history, &[0], &record(2, &[1, 2])).unwrap();
    let (event, after) = apply(&mut history, &[0, 1], &record(3, &[2, 3])).unwrap();
    assert_eq!((event, after), (2, set(&[0, 1, 2])));
    history
}

fn invariant<T: fmt::Debug>(result: Result<T, Violation>) -> Invariant {
    result.unwrap_err().invariant
}

#[test]
fn exact_records_pass() {
    let history = three_writes();
    for (record, events) in [
        (record(1, &[1]), &[0][..]),
        (record(2, &[1, 2]), &[0, 1]),
        (record(3, &[2, 3]), &[0, 1, 2]),
        (Decoded::default(), &[]),
    ] {
        assert_eq!(history.check(&record), Ok(set(events)));
        assert_eq!(history.siblings(&set(events)).len(), record.siblings.len());
    }
}

#[test]
fn every_way_to_be_inexact_is_found() {
    let history = three_writes();
    let check = |record: Decoded| invariant(history.check(&record));
    // A sibling is gone, or one that was replaced is back; the vector lags, or leads.
    assert_eq!(check(record(3, &[3])), Invariant::Exactness);
    assert_eq!(check(record(3, &[1, 2, 3])), Invariant::Exactness);
    assert_eq!(check(record(1, &[1, 2])), Invariant::Exactness);
    assert_eq!(check(record(4, &[2, 3])), Invariant::Exactness);
    // A value, a stamp or a dot that nobody wrote.
    let altered = |alter: fn(&mut DecodedSibling)| {
        let mut record = record(1, &[1]);
        alter(&mut record.siblings[0]);
        check(record)
    };
    assert_eq!(altered(|one| one.value.push(0)), Invariant::NoInvention);
    assert_eq!(altered(|one| one.tombstone = true), Invariant::NoInvention);
    assert_eq!(altered(|one| one.stamp = 2), Invariant::DotUniqueness);
    assert_eq!(altered(|one| one.dot = dot(9)), Invariant::NoInvention);
}

#[test]
fn events_that_break_the_model_are_found() {
    let mut history = three_writes();
    history.issue(4, Context::Local, Issued::Value(vec![4]), None);
    let wrong = |history: &mut History, after| invariant(apply(history, &[0, 1, 2], &after));
    // A plain SET that leaves a sibling, skips a number, or comes from another boot.
    assert_eq!(wrong(&mut history, record(4, &[2, 4])), Invariant::Exactness);
    let mut skipped = record(5, &[4]);
    skipped.siblings[0].dot = dot(5);
    assert_eq!(wrong(&mut history, skipped), Invariant::DotUniqueness);
    let after = record(4, &[4]);
    let before = &set(&[0, 1, 2]);
    let other = Appended { node: A, boot: Boot(2), before, after: &after, found: &[], wall: WALL };
    assert_eq!(invariant(history.append(&other)), Invariant::DotUniqueness);
    // It is applied to less than was there.
    assert_eq!(invariant(apply(&mut history, &[0, 1], &after)), Invariant::Exactness);
    // None of these attempts left a trace.
    assert_eq!(apply(&mut history, &[0, 1, 2], &after), Ok((3, set(&[0, 1, 2, 3]))));
    assert!(history.holds(4, &set(&[3])) && !history.holds(4, &set(&[2])));
}

#[test]
fn a_refused_write_is_never_applied() {
    let mut history = three_writes();
    assert_eq!(invariant(history.refuse(3)), Invariant::AckAccounting);
    history.issue(4, Context::Local, Issued::Value(vec![4]), None);
    assert_eq!(history.refuse(4), Ok(()));
    let result = apply(&mut history, &[0, 1, 2], &record(4, &[4]));
    assert_eq!(invariant(result), Invariant::AckAccounting);
}

/// Two siblings get another expiry: each is an event of its own, under the next numbers.
#[test]
fn another_expiry_is_given_to_every_value_that_lives() {
    let until = |number, stamp, expires| {
        let expires = Some(UnixMs(expires));
        DecodedSibling { dot: dot(number), stamp, expires, ..sibling(stamp as u32) }
    };
    let before = &set(&[0, 1, 2]);
    let mut history = three_writes();
    history.issue(4, Context::ReadFirst, Issued::Expiry, Some(UnixMs(70)));
    let mut again = |siblings: Vec<DecodedSibling>, wall| {
        let after = &Decoded { entries: vec![dot(5)], siblings };
        let found = std::slice::from_ref(before);
        let appended = Appended { node: A, boot: Boot(1), before, after, found, wall };
        history.append_again(&appended, 4)
    };
    let expiry = Invariant::Expiry;
    assert_eq!(invariant(again(vec![until(4, 2, 70)], WALL)), expiry, "a value is lost");
    assert_eq!(invariant(again(vec![until(4, 2, 70), until(5, 3, 71)], WALL)), expiry);
    let skipped = again(vec![until(5, 2, 70), until(6, 3, 70)], WALL);
    assert_eq!(invariant(skipped), Invariant::DotUniqueness);
    let both = again(vec![until(4, 2, 70), until(5, 3, 70)], WALL);
    assert_eq!(both, Ok((4, set(&[0, 1, 2, 3, 4]))));
    let siblings = history.siblings(&set(&[0, 1, 2, 3, 4]));
    let live = [(2, vec![2]), (3, vec![3])];
    assert_eq!(history.live(&siblings, Some(UnixMs(69))), live);
    assert_eq!(history.live(&siblings, Some(UnixMs(70))), []);
    assert_eq!(history.live(&siblings, None), live);
    assert!(history.holds(4, &siblings) && history.is_applied(4));
    // What has expired is replaced, and not given again.
    history.issue(5, Context::ReadFirst, Issued::Expiry, None);
    let siblings = vec![DecodedSibling { dot: dot(6), ..sibling(2) }];
    let after = &Decoded { entries: vec![dot(6)], siblings };
    let (before, wall) = (&set(&[0, 1, 2, 3, 4]), UnixMs(80));
    let found = std::slice::from_ref(before);
    let appended = Appended { node: A, boot: Boot(1), before, after, found, wall };
    assert_eq!(invariant(history.append_again(&appended, 5)), expiry);
}
