//! The messages of surveys: samples, and the rules of each.

use super::*;
use crate::id::Partition;
use crate::limits::{ERASE_ENTRY_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX};
use crate::wire::exchange::Entry;
use crate::wire::payload::Malformed;
use crate::wire::survey::{Erase, Purpose, Survey, Surveyed};

static ENTRIES: [Entry; 2] = [Entry::new(5, 10), Entry::new(6, 1)];

pub(super) fn samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let (partition, purpose) = (Partition(0x3132), Purpose::Reap);
    let survey = Survey { partition, purpose, entries: &ENTRIES };
    let surveyed = Surveyed { agreed: [3, 1 << 63], frame_age_max_ms: 60_000 };
    let erase = Erase { partition, entries: &ENTRIES };
    vec![
        ("survey", b"", Message::Survey(survey)),
        ("surveyed", b"", Message::Surveyed(surveyed)),
        ("erase", b"", Message::Erase(erase)),
    ]
}

fn list(first: &[u8; 8], entries: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut bytes = first.to_vec();
    for (order, version) in entries {
        bytes.extend(order.to_le_bytes());
        bytes.extend(version.to_le_bytes());
    }
    bytes
}

#[test]
fn entries_ascend_are_present_and_few() {
    let first = [0x32, 0x31, 2, 0, 0, 0, 0, 0];
    let up_to = |count: usize| (0..count as u64).map(|order| (order, 7));
    for (count, is_sound) in
        [(0, false), (1, true), (SURVEY_ENTRY_COUNT_MAX, true), (SURVEY_ENTRY_COUNT_MAX + 1, false)]
    {
        let bytes = list(&first, up_to(count));
        assert_eq!(Survey::new_checked(&bytes).is_ok(), is_sound, "{count}");
    }
    let first = [0x32, 0x31, 0, 0, 0, 0, 0, 0];
    for (count, is_sound) in
        [(0, false), (1, true), (ERASE_ENTRY_COUNT_MAX, true), (ERASE_ENTRY_COUNT_MAX + 1, false)]
    {
        let bytes = list(&first, up_to(count));
        assert_eq!(Erase::new_checked(&bytes).is_ok(), is_sound, "{count}");
    }
    for wrong in [[(1, 1), (1, 2)], [(2, 1), (1, 1)], [(1, 0), (2, 1)]] {
        let bytes = list(&first, wrong.into_iter());
        assert_eq!(Erase::new_checked(&bytes), Err(Malformed), "{wrong:?}");
    }
}

#[test]
fn a_survey_has_a_purpose_and_nothing_else() {
    for (first, is_sound) in [
        ([1, 0, 1, 0, 0, 0, 0, 0], true),
        ([1, 0, 2, 0, 0, 0, 0, 0], true),
        ([1, 0, 0, 0, 0, 0, 0, 0], false),
        ([1, 0, 3, 0, 0, 0, 0, 0], false),
        ([1, 0, 1, 0, 0, 0, 0, 1], false),
    ] {
        let bytes = list(&first, [(1, 1)].into_iter());
        assert_eq!(Survey::new_checked(&bytes).is_ok(), is_sound, "{first:?}");
    }
    let mut bytes = [0; 24];
    assert!(Surveyed::new_checked(&bytes).is_ok());
    bytes[23] = 1;
    assert_eq!(Surveyed::new_checked(&bytes), Err(Malformed));
}
