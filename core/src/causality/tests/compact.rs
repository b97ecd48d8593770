//! What is spent, and records without it.

use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::limits::COMPACT_ENTRY_COUNT_MAX;

/// Write `number` of node `node` in life `boot` with birth `birth`.
fn of(node: u32, boot: u64, birth: u32, number: u32) -> Dot {
    Dot::new(Actor::new(NodeId(node), Boot(boot), birth), number)
}

fn compacted(record: Record<'_>, entries: &[Dot]) -> Vec<u8> {
    let mut out = vec![0xaa; compacted_bytes(record, entries)];
    write_compacted(record, entries, &mut out);
    out
}

#[test]
fn an_entry_is_spent_by_a_later_life_and_no_sibling() {
    let entries = [
        of(1, 1, 1, 2),
        of(1, 1, 2, 1),
        of(1, 3, 1, 4),
        of(1, 3, 2, 1),
        of(2, 9, 1, 1),
        of(3, 1, 1, 5),
        of(3, 2, 1, 1),
        of(3, 7, 1, 1),
    ];
    let siblings = [sibling(of(1, 1, 2, 1)), sibling(of(3, 1, 1, 2)), sibling(of(3, 7, 1, 1))];
    let bytes = encode(&entries, &siblings);
    let record = Record::new_checked(&bytes).unwrap();
    // Of life 1 of node 1 one is a sibling; its life 3 is its last; node 3 has a sibling of life 1.
    assert_eq!(record.spent()[..], [of(1, 1, 1, 2), of(3, 2, 1, 1)]);
    // Spent is what has been seen exactly, sibling or not, whatever life came later.
    for (entry, is_spent) in [
        (of(1, 1, 1, 2), true),
        (of(1, 1, 1, 1), false),
        (of(1, 1, 1, 3), false),
        (of(1, 1, 2, 1), false),
        (of(2, 9, 1, 1), true),
        (of(3, 1, 1, 5), false),
        (of(4, 1, 1, 1), false),
    ] {
        assert_eq!(record.is_spent(entry), is_spent, "{entry:?}");
    }
    let spent = record.spent();
    let shorter = compacted(record, &spent);
    let shorter = Record::new_checked(&shorter).unwrap();
    assert_canonical(shorter);
    assert_eq!(shorter.siblings().collect::<Vec<_>>(), siblings);
    let left = BTreeSet::from_iter(shorter.version_vector().iter());
    assert!(spent.iter().all(|entry| !left.contains(entry)));
    assert_eq!(left.len() + spent.len(), entries.len());
    assert!(shorter.spent().is_empty());
}

#[test]
fn one_compaction_takes_so_many_entries() {
    for (count, expected) in [
        (COMPACT_ENTRY_COUNT_MAX, COMPACT_ENTRY_COUNT_MAX - 1),
        (COMPACT_ENTRY_COUNT_MAX + 1, COMPACT_ENTRY_COUNT_MAX),
        (COMPACT_ENTRY_COUNT_MAX + 2, COMPACT_ENTRY_COUNT_MAX),
    ] {
        let entries: Vec<_> = (1..=count as u64).map(|boot| of(1, boot, 1, 1)).collect();
        let bytes = encode(&entries, &[]);
        let spent = Record::new_checked(&bytes).unwrap().spent();
        assert_eq!(spent[..], entries[..expected]);
    }
}

#[test]
fn the_actor_that_may_be_extended_keeps_its_index_or_leaves() {
    let entries = [of(1, 1, 1, 1), of(1, 2, 1, 1), of(2, 1, 1, 1), of(2, 3, 1, 1)];
    let bytes = encode(&entries, &[]);
    let record = Record::new_checked(&bytes).unwrap();
    let spent = record.spent();
    let shorter = compacted(record, &spent);
    let shorter = Record::new_checked(&shorter).unwrap();
    for index in 0..4 {
        let after = index_when_compacted(record, &spent, index);
        let entry = entries[usize::from(index)];
        let found = after.map(|after| shorter.version_vector().dot(usize::from(after)));
        assert_eq!(found, (!spent.contains(&entry)).then_some(entry), "{index}");
    }
}
