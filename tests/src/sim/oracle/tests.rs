//! The oracle, shown right and wrong records of a short history: two blind writes at one node,
//! then a third that saw the first.

use ringmain_core::causality::{Actor, Dot};
use ringmain_core::id::{Boot, NodeId};

use super::*;

const A: NodeId = NodeId(1);

fn dot(number: u32) -> Dot {
    Dot::new(Actor::new(A, Boot(1), 1), number)
}

fn sibling(number: u32) -> DecodedSibling {
    let stamp = u64::from(number);
    DecodedSibling { dot: dot(number), tombstone: false, stamp, value: vec![number as u8] }
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
    history.append(&Appended { node: A, boot: Boot(1), before, after, found: &[] })
}

fn three_writes() -> History {
    let mut history = History::default();
    history.issue(1, Context::Given(Set::default()), Some(&[1]));
    history.issue(2, Context::Given(Set::default()), Some(&[2]));
    history.issue(3, Context::Given(set(&[0])), Some(&[3]));
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
    history.issue(4, Context::Local, Some(&[4]));
    let wrong = |history: &mut History, after| invariant(apply(history, &[0, 1, 2], &after));
    // A plain SET that leaves a sibling, skips a number, or comes from another boot.
    assert_eq!(wrong(&mut history, record(4, &[2, 4])), Invariant::Exactness);
    let mut skipped = record(5, &[4]);
    skipped.siblings[0].dot = dot(5);
    assert_eq!(wrong(&mut history, skipped), Invariant::DotUniqueness);
    let after = record(4, &[4]);
    let before = &set(&[0, 1, 2]);
    let other = Appended { node: A, boot: Boot(2), before, after: &after, found: &[] };
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
    history.issue(4, Context::Local, Some(&[4]));
    assert_eq!(history.refuse(4), Ok(()));
    let result = apply(&mut history, &[0, 1, 2], &record(4, &[4]));
    assert_eq!(invariant(result), Invariant::AckAccounting);
}
