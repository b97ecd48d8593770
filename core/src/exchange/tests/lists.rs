//! The comparison of two lists against the difference of two multisets.

use super::super::comparison::{Comparison, Need, Side};
use super::*;
use crate::wire::exchange::{Entry, Listed, Range};

const ALL: [(u64, u64); 6] = [(1, 5), (1, 5), (1, 6), (2, 1), (5, u64::MAX), (7, 3)];

fn subset(case: usize) -> Vec<Entry> {
    let chosen = ALL.iter().enumerate().filter(|(bit, _)| case >> bit & 1 == 1);
    chosen.map(|(_, (order, version))| Entry::new(*order, *version)).collect()
}

/// What is left of `these` when `those` are taken away, each once.
fn without(these: &[Entry], those: &[Entry]) -> Vec<Entry> {
    let mut left = these.to_vec();
    for entry in those {
        if let Some(at) = left.iter().position(|other| other == entry) {
            left.remove(at);
        }
    }
    left
}

/// Up to `most` entries above `after` in `range`, and whether there are more.
fn piece(all: &[Entry], after: Entry, range: Range, most: usize) -> (Vec<Entry>, bool) {
    let inside =
        |entry: &&Entry| **entry > after && (range.first()..=range.last()).contains(&entry.order());
    let inside: Vec<Entry> = all.iter().filter(inside).copied().collect();
    let mut piece = inside.clone();
    piece.truncate(most);
    // Equal entries come together: nothing tells where to go on between them.
    while let Some(next) = inside.get(piece.len())
        && piece.last() == Some(next)
    {
        piece.push(*next);
    }
    (piece.clone(), piece.len() < inside.len())
}

fn compare(mine: &[Entry], theirs: &[Entry], most: [usize; 2]) -> [Vec<Entry>; 2] {
    let mut comparison = Comparison::new();
    for range in [Range::new(1, 2), Range::new(5, 5), Range::new(6, 7)] {
        comparison.add(range);
    }
    let mut found = [Vec::new(), Vec::new()];
    let mut need = Need::Theirs;
    for _ in 0..100 {
        need = match need {
            Need::Theirs => {
                let question = comparison.question();
                let all = question
                    .ranges
                    .iter()
                    .flat_map(|range| piece(theirs, question.after, *range, usize::MAX).0);
                let all: Vec<Entry> = all.collect();
                let (entries, more) =
                    piece(&all, Entry::default(), Range::new(0, u64::MAX), most[1]);
                comparison.on_theirs(&Listed { done: !more, entries: &entries }).unwrap()
            }
            Need::Mine { after, last } => {
                let (entries, more) = piece(mine, after, Range::new(0, last), most[0]);
                comparison.on_mine(&entries, more, |side, entry| {
                    found[usize::from(side == Side::Theirs)].push(entry);
                    true
                })
            }
            Need::Nothing => return found,
            Need::Room { .. } => unreachable!("there is room"),
        };
    }
    panic!("a comparison comes to an end");
}

#[test]
fn every_pair_of_small_lists_in_every_size_of_pieces() {
    for case in 0..64 * 64 {
        let (mine, theirs) = (subset(case % 64), subset(case / 64));
        let expected = [without(&mine, &theirs), without(&theirs, &mine)];
        for most in [[1, 1], [1, 2], [2, 1], [3, 7], [7, 3], [7, 7]] {
            assert_eq!(compare(&mine, &theirs, most), expected, "{mine:?} {theirs:?} {most:?}");
        }
    }
}

#[test]
fn what_was_not_asked_for_is_refused() {
    let mut comparison = Comparison::new();
    comparison.add(Range::new(4, 6));
    comparison.add(Range::new(9, 9));
    for (order, is_asked) in [(3, false), (4, true), (7, false), (9, true), (10, false)] {
        let entries = [Entry::new(order, 1)];
        let read = comparison.clone().on_theirs(&Listed { done: true, entries: &entries });
        assert_eq!(read.is_ok(), is_asked, "{order}");
    }
}
