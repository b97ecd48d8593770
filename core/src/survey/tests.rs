//! Surveys by hand: who is asked when, and what ends them.

use super::*;
use crate::limits::{
    COMPACT_KEY_COUNT_MAX, COMPACT_SYNC_PART, COMPACTED_COUNT_MAX, COMPACTED_PART, SURVEY_TIMEOUT,
};
use std::vec;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const AGE: Duration = Duration::from_secs(2);
/// The floor is above the epoch.
const KNOWN: Epochs = Epochs { raised: 6, floor: 7 };
const START: Instant = Instant(1_000_000);
const ALL: Bits = [u64::MAX; 2];

fn surveys(batches: usize) -> Surveys<'static> {
    let grace = Duration::from_secs(100);
    let settings = Settings { grace, frame_age_max: AGE, ..Settings::default() };
    Surveys::new(settings, vec![Batch::default(); batches].leak())
}

fn entries(count: u64) -> std::vec::Vec<Entry> {
    (0..count).map(|order| Entry::new(order, order + 1)).collect()
}

/// A survey of `count` entries in the first of one partition; its number.
fn listed(surveys: &mut Surveys<'_>, purpose: Purpose, count: u64) -> u32 {
    assert_eq!(surveys.next(START, 1), Some(Step::List { index: 0, from: 0, is_long: false }));
    assert_eq!(surveys.next(START, 1), None, "one listing at a time");
    let what = (Partition(7), purpose, 0);
    surveys.on_listed(START, what, (&entries(count), 0), None, &[A, B]);
    asked(surveys, START)
}

/// Both nodes are asked; the number.
fn asked(surveys: &mut Surveys<'_>, now: Instant) -> u32 {
    let Some(Step::Ask { number, node: A }) = surveys.next(now, 1) else { panic!("A is asked") };
    assert_eq!(surveys.next(now, 1), Some(Step::Ask { number, node: B }));
    number
}

/// Drops all of it; how many entries were agreed to.
fn concluded(surveys: &mut Surveys<'_>, now: Instant, number: u32) -> usize {
    let mut count = 0;
    while let Some(Step::Conclude { number: same }) = surveys.next(now, 1) {
        assert_eq!(same, number);
        let agreed = surveys.to_conclude(number, true).len();
        count += agreed;
        surveys.on_concluded(number, agreed as u64);
    }
    count
}

#[test]
fn reaping_asks_twice_with_the_longest_wait_between() {
    let mut surveys = surveys(1);
    let mut number = listed(&mut surveys, Purpose::Reap, 128);
    surveys.on_answer(START, number, A, (ALL, AGE, KNOWN));
    surveys.on_answer(START, number, A, (ALL, AGE, KNOWN));
    assert_eq!(surveys.next(START, 1), None, "B owes its answer");
    surveys.on_answer(START, number, B, (ALL, 3 * AGE, KNOWN));
    let end = START + 3 * AGE;
    assert_eq!(surveys.next(START, 1), Some(Step::Raise { above: 6 }), "once");
    assert_eq!(surveys.next_at(), Some(end));
    assert_eq!(surveys.next(Instant(end.0 - 1), 1), None);
    let first = std::mem::replace(&mut number, asked(&mut surveys, end));
    assert_ne!(first, number);
    surveys.on_answer(end, first, A, ([0; 2], AGE, KNOWN));
    surveys.on_answer(end, first, B, ([0; 2], AGE, KNOWN));
    assert_eq!(surveys.next(end, 1), None, "late answers to the first question count for nothing");
    surveys.on_answer(end, number, A, ([u64::MAX, 0b1011], AGE, KNOWN));
    surveys.on_answer(end, number, B, ([!1, u64::MAX], AGE, KNOWN));
    assert_eq!(concluded(&mut surveys, end, number), 63 + 3);
    assert_eq!(surveys.counts().reaped, 66);
    assert_eq!(surveys.counts().refused, 128 - 66);
    assert_eq!(surveys.last_pass().put_off, 128 - 66);
    assert!(!surveys.is_passing());
    assert_eq!(surveys.next_at(), Some(end + SURVEY_INTERVAL_MIN), "what was put off is soon");
}

#[test]
fn fencing_asks_once_and_what_differs_is_left_to_set_aside() {
    let mut surveys = surveys(1);
    let number = listed(&mut surveys, Purpose::Fence, 3);
    surveys.on_answer(START, number, B, ([0b101, 0], AGE, KNOWN));
    surveys.on_answer(START, number, A, ([0b010, 0], AGE, KNOWN));
    assert_eq!(surveys.next(START, 1), Some(Step::Conclude { number }));
    assert_eq!(surveys.to_conclude(number, true).len(), 0);
    assert_eq!(surveys.to_conclude(number, false).len(), 3);
    surveys.on_concluded(number, 3);
    assert_eq!((surveys.counts().fenced, surveys.counts().refused), (3, 0));
}

#[test]
fn nobody_is_asked_about_what_all_have_refused() {
    let mut surveys = surveys(1);
    let number = listed(&mut surveys, Purpose::Reap, 2);
    surveys.on_answer(START, number, A, ([0b01, 0], AGE, KNOWN));
    surveys.on_answer(START, number, B, ([0b10, 0], AGE, KNOWN));
    assert_eq!(surveys.next(START, 1), None);
    assert_eq!(surveys.last_pass().put_off, 2);
    assert_eq!(surveys.batch(number), None);
}

#[test]
fn silence_a_lost_node_and_another_topology_end_a_survey() {
    for how in 0..3 {
        let mut surveys = surveys(1);
        let number = listed(&mut surveys, Purpose::Reap, 5);
        surveys.on_answer(START, number, A, (ALL, AGE, KNOWN));
        let mut now = START;
        match how {
            0 => {
                now = START + SURVEY_TIMEOUT;
                assert_eq!(surveys.next_at(), Some(now));
            }
            1 => surveys.on_unsent(number),
            _ => surveys.on_rings(now),
        }
        let next = surveys.next(now, 1);
        assert_eq!(next.is_some(), how == 2, "a new topology begins a pass");
        assert_eq!(surveys.counts().given_up, 1);
        surveys.on_answer(now, number, B, (ALL, AGE, KNOWN));
        assert_eq!(surveys.batch(number), None, "a late answer is of no use");
    }
}

#[test]
fn a_pass_goes_over_all_partitions_as_far_as_there_is_room() {
    let mut surveys = surveys(2);
    let what = (Partition(0), Purpose::Reap, 0);
    let numbers = [0, 9].map(|from| {
        assert_eq!(surveys.next(START, 3), Some(Step::List { index: 0, from, is_long: false }));
        surveys.on_listed(START, what, (&entries(1), 4), (from == 0).then_some(9), &[A]);
        let Some(Step::Ask { number, node: A }) = surveys.next(START, 3) else { panic!("A") };
        number
    });
    // Both batches are taken.
    assert_eq!(surveys.next(START, 3), None);
    assert_eq!(surveys.next_at(), Some(START + SURVEY_TIMEOUT), "no listing without room");
    surveys.on_answer(START, numbers[0], A, ([0; 2], AGE, KNOWN));
    assert_eq!(surveys.next_at(), Some(Instant(0)));
    assert_eq!(surveys.next(START, 3), Some(Step::List { index: 1, from: 0, is_long: false }));
    surveys.on_cold(START);
    assert_eq!(surveys.next(START, 3), None, "the disk has a moment");
    assert_eq!(surveys.next_at(), Some(START + EXCHANGE_FETCH_PAUSE));
    let later = START + EXCHANGE_FETCH_PAUSE;
    assert_eq!(surveys.next(later, 3), Some(Step::List { index: 1, from: 0, is_long: false }));
    surveys.on_passed();
    assert_eq!(surveys.next(later, 3), Some(Step::List { index: 2, from: 0, is_long: false }));
    surveys.on_away(6, None);
    assert_eq!(surveys.next(later, 3), None);
    assert!(surveys.is_passing(), "a survey goes on");
    surveys.on_answer(later, numbers[1], A, ([0; 2], AGE, KNOWN));
    assert_eq!(surveys.next(later, 3), None);
    let pass = Pass { dropped: 0, put_off: 1 + 1 + 6, away: 1, young: 8, too_old: None };
    assert_eq!(*surveys.last_pass(), pass);
    // Once more, as it is asked for.
    surveys.want_pass(later);
    assert_eq!(surveys.next(later, 3), Some(Step::List { index: 0, from: 0, is_long: false }));
}

#[test]
fn a_pass_names_the_first_member_that_is_too_old_to_agree() {
    let mut surveys = surveys(2);
    for (index, (node, count)) in [(B, 3), (A, 4)].into_iter().enumerate() {
        assert_eq!(surveys.next(START, 2), Some(Step::List { index, from: 0, is_long: false }));
        surveys.on_too_old(node, count, None);
    }
    assert_eq!(surveys.next(START, 2), None);
    assert_eq!(*surveys.last_pass(), Pass { put_off: 7, too_old: Some(B), ..Pass::default() });
    assert!(surveys.next_at() <= Some(START + SURVEY_INTERVAL_MIN), "it is tried again soon");
}

#[test]
fn without_memory_nothing_is_asked() {
    let mut surveys = surveys(0);
    assert_eq!(surveys.next(START, 3), None);
    assert_eq!(surveys.next_at(), None);
}

#[test]
fn nothing_is_reaped_until_all_know_that_no_disk_may_be_older() {
    let epochs = |raised, floor| Epochs { raised, floor };
    // What all say first, and again: the least floor must be above the greatest epoch of the first.
    for (first, again, is_reaped) in [
        ([epochs(0, 0), epochs(0, 0)], [epochs(1, 1), epochs(1, 1)], true),
        ([epochs(0, 0), epochs(0, 0)], [epochs(1, 1), epochs(1, 0)], false),
        ([epochs(4, 3), epochs(6, 4)], [epochs(7, 7), epochs(9, 7)], true),
        ([epochs(4, 3), epochs(6, 4)], [epochs(7, 7), epochs(7, 6)], false),
        ([epochs(6, 9), epochs(4, 3)], [epochs(7, 6), epochs(7, 9)], false),
    ] {
        let mut surveys = surveys(1);
        let number = listed(&mut surveys, Purpose::Reap, 3);
        surveys.on_answer(START, number, A, (ALL, AGE, first[0]));
        surveys.on_answer(START, number, B, (ALL, AGE, first[1]));
        let above = first[0].raised.max(first[1].raised);
        assert_eq!(surveys.next(START, 1), Some(Step::Raise { above }));
        let number = asked(&mut surveys, START + AGE);
        surveys.on_answer(START + AGE, number, A, (ALL, AGE, again[0]));
        surveys.on_answer(START + AGE, number, B, (ALL, AGE, again[1]));
        let count = if is_reaped { 3 } else { 0 };
        assert_eq!(concluded(&mut surveys, START + AGE, number), count);
        assert_eq!(surveys.counts().reaped, count as u64);
        assert_eq!(surveys.last_pass().put_off, 3 - count as u64);
    }
}

#[test]
fn entries_are_asked_about_three_times_and_left_where_somebody_objects() {
    let mut surveys = surveys(2);
    let mut number = listed(&mut surveys, Purpose::Compact, 3);
    let mut now = START;
    for (round, pause) in [(1, AGE + AGE / 2), (2, AGE / COMPACT_SYNC_PART)] {
        assert!(!surveys.batch(number).unwrap().is_last, "{round}");
        surveys.on_answer(now, number, A, (ALL, Duration::ZERO, KNOWN));
        surveys.on_answer(now, number, B, ([0b110, 0], Duration::ZERO, KNOWN));
        if round == 1 {
            assert_eq!(surveys.next(now, 1), Some(Step::Raise { above: KNOWN.raised }));
        }
        assert_eq!(surveys.next(now, 1), None, "{round}");
        assert_eq!(surveys.next_at(), Some(now + pause), "{round}");
        let before = Instant((now + pause).0 - 1);
        assert_eq!(surveys.next(before, 1), None, "{round}");
        now = now + pause;
        let late = number;
        number = asked(&mut surveys, now);
        surveys.on_answer(now, late, A, ([0, 0], AGE, KNOWN));
    }
    assert!(surveys.batch(number).unwrap().is_last);
    surveys.on_answer(now, number, A, ([0b011, 0], AGE, KNOWN));
    surveys.on_answer(now, number, B, (ALL, AGE, KNOWN));
    assert_eq!(surveys.next(now, 1), Some(Step::Conclude { number }));
    assert_eq!(surveys.to_compact(number)[..], entries(3)[1..2], "all agreed to one, each time");
    surveys.on_concluded(number, 1);
    assert_eq!(surveys.batch(number), None);
    assert_eq!((surveys.counts().compacted, surveys.counts().refused), (1, 0));
    assert_eq!(surveys.next(now, 1), None);
    assert_eq!(*surveys.last_pass(), Pass::default(), "nobody waits for a version vector");
}

#[test]
fn entries_stay_until_all_know_that_no_disk_may_be_older() {
    for (floor, is_compacted) in [(6, false), (7, true)] {
        let mut surveys = surveys(2);
        let mut number = listed(&mut surveys, Purpose::Compact, 1);
        let mut now = START;
        for pause in [AGE + AGE / 2, AGE / COMPACT_SYNC_PART] {
            for node in [A, B] {
                surveys.on_answer(now, number, node, (ALL, AGE, Epochs { raised: 6, floor: 0 }));
            }
            while surveys.next(now, 1).is_some() {}
            now = now + pause;
            number = asked(&mut surveys, now);
        }
        for (node, floor) in [(A, 9), (B, floor)] {
            surveys.on_answer(now, number, node, (ALL, AGE, Epochs { raised: 9, floor }));
        }
        assert_eq!(surveys.next(now, 1).is_some(), is_compacted, "{floor}");
    }
}

#[test]
fn what_all_object_to_is_not_asked_again() {
    let mut surveys = surveys(2);
    let number = listed(&mut surveys, Purpose::Compact, 2);
    surveys.on_answer(START, number, A, ([0, 0], AGE, KNOWN));
    assert_eq!(surveys.batch(number), None);
}

#[test]
fn a_long_version_vector_is_listed_behind_what_may_leave() {
    let mut surveys = surveys(2);
    let key = |partition, order| KeyPlace { partition: Partition(partition), order };
    for (partition, order) in [(4, 9), (4, 7), (5, 8)] {
        surveys.note_long(key(partition, order));
        surveys.note_long(key(partition, order));
    }
    let list = |index, from, is_long| Some(Step::List { index, from, is_long });
    assert_eq!(surveys.next(START, 2), list(0, 0, false));
    surveys.on_passed();
    assert_eq!(surveys.next(START, 2), list(0, 0, true));
    assert!(surveys.has_long(Partition(4)) && !surveys.has_long(Partition(3)));
    assert_eq!(surveys.take_long(Partition(4), 0), Some(key(4, 7)));
    surveys.on_left_out(Some(8));
    assert_eq!(surveys.next(START, 2), list(0, 8, true));
    assert_eq!(surveys.take_long(Partition(4), 8), Some(key(4, 9)));
    assert_eq!(surveys.take_long(Partition(4), 0), None);
    surveys.on_passed();
    assert_eq!(surveys.next(START, 2), list(1, 0, false));
    assert_eq!(surveys.take_long(Partition(5), 9), None);
    // One whose place another one has taken is forgotten.
    surveys.note_long(key(5, 8 + COMPACT_KEY_COUNT_MAX as u64));
    assert_eq!(surveys.take_long(Partition(5), 0), Some(key(5, 8 + COMPACT_KEY_COUNT_MAX as u64)));
    assert_eq!(surveys.take_long(Partition(5), 0), None);
    surveys.on_passed();
    assert_eq!(surveys.next(START, 2), None, "nothing long is left, and the pass has ended");
    assert_eq!(surveys.counts().passes, 1);
}

#[test]
fn what_was_compacted_is_known_for_a_while() {
    let mut surveys = surveys(COMPACTED_COUNT_MAX + 2);
    let key = |order| KeyPlace { partition: Partition(1), order };
    for order in 0..=COMPACTED_COUNT_MAX as u64 {
        surveys.on_compacted(START, key(order), &entries(2));
    }
    let last = COMPACTED_COUNT_MAX as u64;
    assert_eq!(surveys.compacted(key(last - 1)), Some(&entries(2)[..]));
    assert_eq!(surveys.compacted(key(last)), None, "there was no room for one more");
    // Again, while it is known: what left last, from now on.
    let later = START + (AGE / COMPACTED_PART) / 2;
    surveys.on_compacted(later, key(0), &entries(1));
    assert_eq!(surveys.compacted(key(0)), Some(&entries(1)[..]));
    // It keeps no survey from going on.
    let number = listed(&mut surveys, Purpose::Fence, 1);
    assert!(surveys.batch(number).is_some());
    let mut now = START + (AGE / COMPACTED_PART);
    for (at, left) in [(now, 1), (later + (AGE / COMPACTED_PART), 0)] {
        now = at;
        for _ in 0..=COMPACTED_COUNT_MAX {
            surveys.next(now, 1);
        }
        let known = (0..last).filter(|order| surveys.compacted(key(*order)).is_some());
        assert_eq!(known.count(), left);
    }
    surveys.on_compacted(now, key(3), &entries(1));
    surveys.on_rings(now);
    assert_eq!(surveys.compacted(key(3)), None);
}
