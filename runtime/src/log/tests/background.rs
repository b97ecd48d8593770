//! Merging and snapshots.

use ringmain_core::checksum::Checksum;

use super::super::snapshot::{Encoder, Entry, Head, What, entries};
use super::*;

/// A log of some segments in which `count` keys were written `rounds` times, in a random order.
/// With the most bytes that its files took once all keys were there.
fn overwritten(config: Config, count: usize, rounds: usize) -> (World, Vec<Vec<u8>>, u64) {
    let names = names(count);
    let mut file_bytes_max = 0;
    let mut world = World::ready(config);
    let mut prng = Prng::new(7);
    for n in 0..count * rounds {
        let name = &names[if n < count { n } else { prng.below(count as u64) as usize }];
        while world.append(name, &value(&mut prng, 100)).is_err() {
            world.settle();
        }
        if n % 16 == 0 {
            turn(&mut world);
            let file_bytes = world.log.maps_mut().all_file_bytes();
            file_bytes_max = if n < count { 0 } else { file_bytes.max(file_bytes_max) };
        }
    }
    (world, names, file_bytes_max)
}

/// A turn of a driver that has other things to do.
fn turn(world: &mut World) {
    world.now = world.now + Duration::from_millis(1);
    world.log.handle_timeout(world.now);
    world.settle();
    for _ in 0..8 {
        if !world.log.is_step_due() {
            break;
        }
        world.log.step();
        world.settle();
    }
}

#[test]
fn overwriting_ten_times_takes_little_room_and_few_bytes() {
    // Segments of the largest size, and of the part of what is live that the log chooses.
    let sizes = MODES.map(|mode| (mode, 64 << 10));
    for (durability, max) in sizes.into_iter().chain([(Durability::Always, 1 << 20)]) {
        let sizes = SegmentSizes { min: 4096, max, spare: 0 };
        let (mut world, _, most) = overwritten(Config { sizes, ..config(durability) }, 6400, 11);
        let live = world.log.live_bytes();
        let segment = sizes.next(live, FREE, 0);
        assert!(live > 8 * u64::from(segment), "{live}");
        let (counts, appended) = (world.log.background_counts(), live * 11);
        let written = world.log.maps_mut().written_bytes;
        println!("{durability:?}, segments of {segment}: {live} live, files of {most} at most");
        println!("{written} written for {appended}, {counts:?}");
        assert!(most <= live * 3 / 2 + 2 * u64::from(segment), "{most} of {live}");
        assert!(written <= 3 * appended, "{written} for {appended}");
        assert!(counts.merged > 100, "{counts:?}");
        world.work();
        world.check();
        world.reopen();
    }
}

/// Below `spare` bytes of garbage nothing is merged, and hardly anything lives in what is then.
#[test]
fn a_small_log_that_is_overwritten_is_hardly_moved() {
    let spare = 1 << 20;
    let sizes = SegmentSizes { min: 32 << 10, max: 4 << 20, spare };
    let config = Config { sizes, ..config(Durability::Interval(Duration::from_millis(1))) };
    let (mut world, _, most) = overwritten(config, 640, 60);
    let (live, counts) = (world.log.live_bytes(), world.log.background_counts());
    let appended = live * 60;
    println!("{live} live, files of {most} at most, {counts:?}");
    assert!(most <= live * 3 / 2 + spare + 2 * (32 << 10), "{most} of {live}");
    assert!(counts.merged > 20, "{counts:?}");
    assert!(counts.moved_bytes < appended / 20, "{counts:?} of {appended}");
    // The newest need none yet, and in others hardly anything lives.
    assert!(counts.snapshots < counts.merged / 4, "{counts:?}");
    world.work();
    world.check();
    world.reopen();
}

/// Beyond what is spared, even what hardly lives gets its snapshot: a start would read all of it.
#[test]
fn much_garbage_is_not_left_to_a_start() {
    let sizes = SegmentSizes { min: 4096, max: 4096, spare: 4096 };
    let mut world = World::ready(Config { sizes, ..config(Durability::Always) });
    let mut prng = Prng::new(3);
    // Each batch opens with a header, which is garbage: so there are few.
    let mut append = |world: &mut World, name: &[u8]| {
        while world.append(name, &value(&mut prng, 100)).is_err() {
            world.settle();
        }
    };
    names(2_000).iter().for_each(|name| append(&mut world, name));
    // Far less garbage than two sevenths of what lives, but more than is spared.
    let hot = names(1);
    (0..300).for_each(|_| append(&mut world, &hot[0]));
    world.work();
    let disk = std::mem::take(world.log.maps_mut());
    let recovered = recover(&identity(), &disk.files(), Place(0)).unwrap();
    assert_eq!(world.log.background_counts().merged, 0, "it is not so much as to be merged");
    assert!(recovered.scanned.len() <= 2, "{:?}", recovered.scanned);
    *world.log.maps_mut() = disk;
    world.reopen();
}

/// Of a small disk no more is spared than a part of what is free.
#[test]
fn a_disk_with_little_room_is_merged_early() {
    let spare = 512 << 10;
    let sizes = SegmentSizes { min: 32 << 10, max: 64 << 10, spare };
    let mut world = World::ready(Config { sizes, ..config(Durability::Always) });
    assert_eq!(world.log.writer.identity().shards, 2);
    let most = 2 * 16 * spare;
    for (free, expected) in [(most, spare), (most - 32, spare - 1), (0, 0)] {
        world.log.offer_space(free);
        assert_eq!(world.log.writer.spare_bytes(), expected);
    }
}

#[test]
fn every_finished_segment_gets_a_snapshot_that_a_start_believes() {
    let (mut world, ..) =
        overwritten(config(Durability::Interval(Duration::from_millis(1))), 300, 3);
    world.log.sync_wanted();
    world.work();
    assert!(world.log.background_counts().snapshots > 3);
    let mut disk = std::mem::take(world.log.maps_mut());
    let recovered = recover(&identity(), &disk.files(), Place(0)).unwrap();
    let bare: Vec<_> = recovered.scanned.clone();
    assert!(bare.len() <= 2, "{bare:?}");
    let count = recovered.record_count;
    // Without, or with damaged ones, the same comes out.
    let whole = disk.snapshots().clone();
    // The newest segment is scanned if nothing says that all of it was on disk.
    for (&segment, bytes) in whole.iter().rev().skip(1) {
        for at in (0..bytes.len()).step_by(7) {
            disk.snapshots().get_mut(&segment).unwrap()[at] ^= 1 << (at % 8);
            let recovered = recover(&identity(), &disk.files(), Place(0)).unwrap();
            let mut scanned: Vec<_> = [segment].iter().chain(&bare).copied().collect();
            scanned.sort_unstable();
            assert_eq!(recovered.scanned, scanned, "byte {at}");
            assert!(recovered.record_count >= count);
            disk.snapshots().insert(segment, bytes.clone());
        }
        disk.snapshots().get_mut(&segment).unwrap().pop();
        assert!(recover(&identity(), &disk.files(), Place(0)).unwrap().record_count >= count);
        disk.snapshots().insert(segment, bytes.clone());
    }
    disk.snapshots().clear();
    let recovered = recover(&identity(), &disk.files(), Place(0)).unwrap();
    assert!(recovered.scanned.len() >= whole.len() - 1);
    assert!(recovered.record_count >= count);
    *disk.snapshots() = whole;
    *world.log.maps_mut() = disk;
    world.reopen();
}

/// A log that is never idle, and holds no garbage: snapshots keep up with what is appended.
#[test]
fn snapshots_are_written_under_load() {
    for durability in MODES {
        let mut world = World::ready(config(durability));
        let mut behind_max = 0;
        for name in names(4_000) {
            world.append(&name, &[1; 100]).unwrap();
            while world.log.is_step_due() && world.log.step() {
                world.settle();
            }
            world.settle();
            let snapshots = world.log.maps_mut().snapshots().len();
            let segments = world.log.maps_mut().files().len() - snapshots;
            behind_max = behind_max.max(segments);
        }
        assert!(world.log.background_counts().snapshots > 20);
        // The one that takes appends and the one behind it; and those that are not on disk, or
        // only in part.
        assert!(behind_max <= 6, "{durability:?}: {behind_max} without");
    }
}

/// The snapshot of one segment beside another one of the same number is none.
#[test]
fn a_snapshot_of_another_segment_is_not_believed() {
    let (mut world, ..) = overwritten(config(Durability::Always), 100, 2);
    world.work();
    let mut disk = std::mem::take(world.log.maps_mut());
    let bare = recover(&identity(), &disk.files(), Place(0)).unwrap().scanned;
    let (&segment, bytes) = disk.snapshots().first_key_value().unwrap();
    let mut bytes = bytes.clone();
    bytes[16] ^= 1;
    let end = bytes.len() - 4;
    let checksum = Hardware::crc32c(0, &bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    disk.snapshots().insert(segment, bytes);
    let scanned: Vec<_> = [segment].into_iter().chain(bare).collect();
    assert_eq!(recover(&identity(), &disk.files(), Place(0)).unwrap().scanned, scanned);
}

/// One of another format is as good as none: what it says is in its segment, too.
#[test]
fn a_snapshot_of_another_format_is_not_believed() {
    let (mut world, ..) = overwritten(config(Durability::Always), 100, 2);
    world.work();
    let mut disk = std::mem::take(world.log.maps_mut());
    let before = recover(&identity(), &disk.files(), Place(0)).unwrap();
    let (&segment, bytes) = disk.snapshots().first_key_value().unwrap();
    let mut bytes = bytes.clone();
    bytes[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let end = bytes.len() - 4;
    let checksum = Hardware::crc32c(0, &bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    disk.snapshots().insert(segment, bytes);
    let after = recover(&identity(), &disk.files(), Place(0)).unwrap();
    let scanned: Vec<_> = [segment].into_iter().chain(before.scanned).collect();
    assert_eq!((after.scanned, after.damage.len()), (scanned, 0));
}

/// A record that rots is found when it is to be moved; its segment is left as it is.
#[test]
fn a_damaged_record_is_never_moved() {
    // In its key, and in its value.
    for at in [40, 150] {
        a_record_damaged_at_is_never_moved(at);
    }
}

fn a_record_damaged_at_is_never_moved(at: u32) {
    let names = with_hints(names(60));
    let mut world = World::ready(config(Durability::Always));
    for name in &names {
        while world.append(name, &[7; 200]).is_err() {
            world.settle();
        }
    }
    world.settle();
    let place = world.history[1].place;
    world.log.maps_mut().flip(place.segment(), place.offset() + at);
    for _ in 0..8 {
        for name in &names[2..] {
            while world.append(name, &[8; 200]).is_err() {
                world.settle();
            }
        }
        turn(&mut world);
    }
    world.work();
    let counts = world.log.background_counts();
    assert_eq!(counts.damaged, 1);
    assert!(counts.merged > 3);
    assert_eq!(world.log.record(&key(&names[1])).unwrap_err(), Unread::Damaged);
    assert!(world.log.record(&key(&names[0])).unwrap().is_some());
    for name in &names[2..] {
        assert!(world.log.record(&key(name)).unwrap().is_some());
    }
}

/// The parts of a snapshot that was given up for a damaged record stayed until the next start.
#[test]
fn a_snapshot_that_is_given_up_leaves_nothing() {
    let sizes = SegmentSizes { min: 2 << 20, max: 2 << 20, spare: 0 };
    let mut world = World::ready(Config { sizes, ..config(Durability::Always) });
    let segment = world.log.end().segment();
    for name in names(20_000) {
        while world.append(&name, &[7; 50]).is_err() {
            world.settle();
        }
        if world.log.end().segment() > segment {
            break;
        }
    }
    world.settle();
    let last = world.history.iter().rfind(|entry| entry.place.segment() == segment).unwrap();
    let place = last.place;
    world.log.maps_mut().flip(segment, place.offset() + 90);
    let mut stored = 0;
    while world.log.background_counts().damaged == 0 {
        world.log.step();
        world.settle();
        stored = stored.max(world.log.maps_mut().unfinished_bytes());
    }
    assert!(stored >= limits::SNAPSHOT_PART_BYTES, "{stored}");
    assert_eq!(world.log.maps_mut().unfinished_bytes(), 0);
    assert!(world.log.maps_mut().snapshots().is_empty());
}

/// What replaced a record must be on disk before the segment of the old one goes, also in a mode
/// that syncs nothing.
#[test]
fn nothing_is_dropped_for_what_is_not_on_disk() {
    for seed in 0..15 {
        let (mut world, names, _) = overwritten(config(Durability::None), 60, 4);
        let mut prng = Prng::new(seed);
        world.log.sync_wanted();
        world.settle();
        let kept: Vec<_> = names.iter().map(|name| world.expected()[name].clone()).collect();
        for name in &names {
            while world.append(name, &[1; 150]).is_err() {
                world.submit();
                world.complete(prng.next_u64(), Fate::Whole);
            }
        }
        for _ in 0..prng.below(200) {
            world.log.step();
            world.submit();
            world.complete(prng.next_u64(), Fate::Whole);
        }
        world.log.maps_mut().crash(&mut prng);
        world.reopen();
        for entry in &kept {
            assert!(world.log.record(&key(&entry.name)).unwrap().is_some());
        }
    }
}

/// Even of a snapshot whose checksum holds, no entry may point out of its segment.
#[test]
fn a_snapshot_with_an_entry_behind_the_end_is_none() {
    let head = Head { segment: 3, nonce: 7, end: 4096 };
    for (offset, bytes, is_good) in [(64, 128, true), (3968, 128, true), (3976, 128, false)] {
        let mut encoder = Encoder::new(&head);
        let (partition, order, version) = (Partition(5), 9, 11);
        encoder.push(&Entry {
            what: What::Record(Lifespan::Lasting),
            partition,
            order,
            version,
            offset,
            bytes,
            is_twin: false,
            target: NodeId(0),
        });
        let (_, written) = encoder.take(true);
        assert_eq!(entries(&written, &head).is_some(), is_good, "{offset}");
    }
}
