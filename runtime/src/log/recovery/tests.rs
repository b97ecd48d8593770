//! Keys of equal order: no key has the order of another by its hash, so a start is shown entries
//! that say so.

use ringmain_core::hash::Key;
use ringmain_core::records::{Place, Records, Stored};

use super::super::Durability;
use super::super::tests::{World, config, identity, key, names, record_of};
use super::build::Builder;
use super::scan::Scan;
use super::segment::Segment;
use super::{File, Index, Leaves};

/// What a start finds at the order that all of `keys` are said to have: places, ascending.
fn found(files: &[File<'_>], shown: &Key<'_>) -> Vec<Place> {
    let identity = identity();
    let mut segments: Vec<_> =
        files.iter().map(|file| Segment::open(&identity, file).unwrap()).collect();
    segments.sort_by_key(|segment| segment.segment);
    let (first, count) = identity.partitions();
    let leaves = Leaves::new(first, count).unwrap();
    let mut builder = Builder::new(Index::new(first, count), leaves);
    for segment in segments.iter().rev() {
        let mut scan = Scan { identity: &identity, segment, synced: Place(u64::MAX) };
        let mut entries = scan.run(segment.bytes.len(), |_| false).entries;
        for entry in &mut entries {
            (entry.partition, entry.order) = (shown.partition, shown.order);
        }
        builder.add(&segments, segment, entries.into_iter().rev(), true).unwrap();
    }
    let (index, _) = builder.into_parts();
    let mut places: Vec<_> = index.table(shown.partition).iter_from(0).map(|one| one.1).collect();
    places.sort();
    places
}

/// Every history of six writes and erasures of three keys of the same order: a start finds what
/// the index had.
#[test]
fn erased_keys_of_equal_order_are_told_apart() {
    let names = names(1);
    let shown = key(&names[0]);
    let bytes: Vec<Vec<u8>> = identical_shard_names();
    let keys: Vec<_> = bytes.iter().map(|bytes| Key { bytes, ..shown }).collect();
    let mut erased = 0;
    for history in 0..6_u32.pow(6) {
        // The first step writes the first key: others are the same with other names.
        if history % 6 != 0 {
            continue;
        }
        let mut world = World::ready(config(Durability::None));
        for step in 0..6 {
            let choice = (history / 6_u32.pow(step) % 6) as usize;
            let twin = &keys[choice % 3];
            if choice < 3 {
                let record = record_of(step + 1, b"v");
                let put = |_: Option<Stored<'_>>, out: &mut [u8]| out.copy_from_slice(&record);
                world.log.append(twin, None, record.len(), put).unwrap();
            } else if let Some(place) = world.log.record(twin).unwrap().map(|found| found.place) {
                assert!(world.log.erase(twin, place).unwrap().is_some());
                erased += 1;
            }
        }
        world.settle();
        let mut wanted: Vec<_> = world.log.keys_from(shown.partition, 0).map(|one| one.1).collect();
        wanted.sort();
        let disk = std::mem::take(world.log.maps_mut());
        assert_eq!(found(&disk.files(), &shown), wanted, "history {history}");
    }
    assert!(erased > 1000);
}

/// Names of the log's shard, since a start refuses others.
fn identical_shard_names() -> Vec<Vec<u8>> {
    names(4)[1..].to_vec()
}
