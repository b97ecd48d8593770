//! The messages of surveys: samples, and the rules of each.

use super::*;
use crate::causality::{Actor, Dot};
use crate::id::Partition;
use crate::id::{Boot, NodeId};
use crate::limits::{COMPACT_ENTRY_COUNT_MAX, ERASE_ENTRY_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX};
use crate::wire::exchange::Entry;
use crate::wire::payload::Malformed;
use crate::wire::survey::{Epochs, Erase, Purpose, Survey, Surveyed, dot_of, entry_of};

static ENTRIES: [Entry; 2] = [Entry::new(5, 10), Entry::new(6, 1)];
static DOTS: [Entry; 2] = [Entry::new(5, 1), Entry::new(5, 2)];

pub(super) fn samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let (partition, purpose) = (Partition(0x3132), Purpose::Reap);
    let survey = Survey { partition, purpose, order: 0, is_last: false, entries: &ENTRIES };
    let purpose = Purpose::Compact;
    let spent = Survey { partition, purpose, order: 7, is_last: true, entries: &DOTS };
    let epochs = Epochs { raised: 0x1112_1314_1516_1718, floor: 7 };
    let surveyed = Surveyed { agreed: [3, 1 << 63], frame_age_max_ms: 60_000, epochs };
    let erase = Erase { partition, purpose: Purpose::Reap, order: 0, entries: &ENTRIES };
    let erase_spent = Erase { partition, purpose, order: 7, entries: &DOTS };
    vec![
        ("survey", b"", Message::Survey(survey)),
        ("survey_spent", b"", Message::Survey(spent)),
        ("surveyed", b"", Message::Surveyed(surveyed)),
        ("erase", b"", Message::Erase(erase)),
        ("erase_spent", b"", Message::Erase(erase_spent)),
    ]
}

/// The fixed part of a SURVEY, of an ERASE if there are no flags: order 0, partition 1.
fn first(purpose: u8, flags: u8) -> [u8; 16] {
    let mut first = [0; 16];
    (first[8], first[10], first[11]) = (1, purpose, flags);
    first
}

fn list(first: [u8; 16], entries: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut bytes = first.to_vec();
    for (order, version) in entries {
        bytes.extend(order.to_le_bytes());
        bytes.extend(version.to_le_bytes());
    }
    bytes
}

#[test]
fn entries_ascend_are_present_and_few() {
    let up_to = |count: usize| (0..count as u64).map(|order| (order, 7));
    let limits = |most: usize| [(0, false), (1, true), (most, true), (most + 1, false)];
    for (count, is_sound) in limits(SURVEY_ENTRY_COUNT_MAX) {
        for purpose in 1..=3 {
            let bytes = list(first(purpose, 0), up_to(count));
            assert_eq!(Survey::new_checked(&bytes).is_ok(), is_sound, "{purpose} {count}");
        }
    }
    for (purpose, most) in [(1, ERASE_ENTRY_COUNT_MAX), (3, COMPACT_ENTRY_COUNT_MAX)] {
        for (count, is_sound) in limits(most) {
            let bytes = list(first(purpose, 0), up_to(count));
            assert_eq!(Erase::new_checked(&bytes).is_ok(), is_sound, "{purpose} {count}");
        }
    }
    for wrong in [[(1, 1), (1, 2)], [(2, 1), (1, 1)], [(1, 0), (2, 1)]] {
        let bytes = list(first(1, 0), wrong.into_iter());
        assert_eq!(Erase::new_checked(&bytes), Err(Malformed), "{wrong:?}");
    }
    // Of a version vector: several with one upper half, but none that names no write.
    for (dots, is_sound) in [
        ([(1, 1), (1, 2)], true),
        ([(1, 2), (1, 2)], false),
        ([(1, 2), (1, 1)], false),
        ([(1, 1 << 28), (1, 1 << 28 | 1)], false),
    ] {
        let bytes = list(first(3, 0), dots.into_iter());
        assert_eq!(Erase::new_checked(&bytes).is_ok(), is_sound, "{dots:?}");
        assert_eq!(Survey::new_checked(&bytes).is_ok(), is_sound, "{dots:?}");
    }
}

#[test]
fn a_survey_has_a_purpose_and_nothing_else() {
    let with = |at: usize, value: u8, mut first: [u8; 16]| {
        first[at] = value;
        first
    };
    for (first, is_survey, is_erase) in [
        (first(1, 0), true, true),
        (first(2, 0), true, false),
        (first(3, 0), true, true),
        (first(3, 1), true, false),
        (first(0, 0), false, false),
        (first(4, 0), false, false),
        (first(1, 1), false, false),
        (first(2, 1), false, false),
        (first(3, 2), false, false),
        (with(0, 1, first(3, 0)), true, true),
        (with(7, 1, first(1, 0)), false, false),
        (with(0, 1, first(2, 0)), false, false),
        (with(15, 1, first(1, 0)), false, false),
        (with(12, 1, first(3, 0)), false, false),
    ] {
        let bytes = list(first, [(1, 1)].into_iter());
        assert_eq!(Survey::new_checked(&bytes).is_ok(), is_survey, "{first:?}");
        assert_eq!(Erase::new_checked(&bytes).is_ok(), is_erase, "{first:?}");
    }
    let mut bytes = [0; 40];
    assert!(Surveyed::new_checked(&bytes).is_ok());
    bytes[23] = 1;
    assert_eq!(Surveyed::new_checked(&bytes), Err(Malformed));
}

#[test]
fn an_entry_of_a_version_vector_is_a_pair() {
    let dot = Dot::new(Actor::new(NodeId(u32::MAX), Boot(1 << 39 | 3), 1 << 27 | 1), 5);
    assert_eq!(dot_of(entry_of(dot)), dot);
    let after = Dot::new(dot.actor(), 6);
    assert!(entry_of(dot) < entry_of(after));
}
