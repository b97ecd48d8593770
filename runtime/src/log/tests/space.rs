//! Full disks, and a tail that is full.

use super::super::limits::TAIL_BYTES_MAX;
use super::*;
use ringmain_core::request::KeyPlace;

/// A log whose files have `bytes_max` at most.
fn bounded(bytes_max: u64, sizes: SegmentSizes) -> World {
    let mut world = World::new(Config { sizes, ..config(Durability::Always) });
    world.log.maps_mut().bytes_max = Some(bytes_max);
    work_and_look(&mut world);
    world
}

/// Does all that can be done, and says what space there is, as drivers do when a segment was made
/// or removed and from time to time.
fn work_and_look(world: &mut World) {
    for _ in 0..8 {
        world.work();
        let free_bytes = world.log.maps_mut().free_bytes();
        world.log.offer_space(free_bytes);
    }
    world.work();
}

/// Fills the disk with records that are all live; how many.
fn fill(world: &mut World, names: &[Vec<u8>], bytes: impl Fn(usize) -> usize) -> usize {
    for (count, name) in names.iter().enumerate() {
        let mut tries = 0;
        while world.append(name, &vec![1; bytes(count)]).is_err() {
            // Merging may still find some room.
            if tries == 5 {
                return count;
            }
            tries += 1;
            work_and_look(world);
        }
        world.settle();
    }
    panic!("the disk is never full");
}

#[test]
fn no_space_for_a_segment_is_told_and_healed() {
    let mut world = World::ready(config(Durability::Always));
    let name = &names(1)[0];
    while world.append(name, &[1; 1000]).is_ok() {
        settle_without_space(&mut world);
    }
    assert_eq!(world.log.refusal(), Some(Refusal::NoSpace));
    assert!(!world.log.is_stalled(), "nobody waits for what may never come");
    world.check();
    assert!(world.log.is_refused());
    world.log.offer_space(FREE);
    assert!(!world.log.is_stalled());
    assert!(world.append(name, &[1; 1000]).is_err());
    assert_eq!(world.log.refusal(), Some(Refusal::NoSpace), "until a segment is there");
    world.settle();
    assert!(!world.log.is_refused());
    world.append(name, &[1; 1000]).unwrap();
    world.check();
}

/// The last segment that the disk has room for is kept for merging, and a part of the one before
/// for deletes.
#[test]
fn what_is_smaller_than_what_it_replaces_is_taken_on_a_full_disk() {
    let names = names(400);
    let mut world = bounded(80_000, config(Durability::Always).sizes);
    let count = fill(&mut world, &names, |_| 500);
    assert_eq!(world.log.refusal(), Some(Refusal::NoSpace));
    assert!(world.log.is_refused() && !world.log.is_stalled());
    assert_eq!(world.append(&names[0], &[1; 500]), Err(Full::NoSpace), "no smaller");
    world.append(&names[0], &[1; 400]).expect("smaller");
    assert_eq!(world.append(&names[count], &[1; 500]), Err(Full::NoSpace));
    world.check();
}

/// However many there are, in whatever order, with records of all sizes, and nothing that others
/// free: merging always finds a segment that what is kept has room for.
#[test]
fn deletes_give_a_full_disk_back() {
    let names = names(8000);
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let (bytes_max, most) = (400_000 + 50_000 * seed, 50 << (seed % 6));
        let sizes: Vec<_> = names.iter().map(|_| 10 + prng.below(most) as usize).collect();
        let mut world = bounded(bytes_max, SegmentSizes { min: 32 << 10, max: 64 << 10, spare: 0 });
        let count = fill(&mut world, &names, |at| sizes[at]);
        let mut left: Vec<_> = (0..count).collect();
        for _ in 0..count * 4 / 5 {
            let name = &names[left.swap_remove(prng.below(left.len() as u64) as usize)];
            let mut tries = 0;
            while world.append(name, b"").is_err() {
                assert!(tries < 50, "seed {seed}: {} of {count} are left", left.len());
                tries += 1;
                work_and_look(&mut world);
            }
            world.settle();
            // Deletes come while something is being merged, too.
            for _ in 0..prng.below(3) {
                world.log.step();
                world.settle();
            }
        }
        work_and_look(&mut world);
        assert!(world.log.background_counts().merged > 0);
        for name in &names[count..count + 10] {
            world.append(name, &[1; 20]).unwrap_or_else(|_| panic!("seed {seed}: no space"));
            world.settle();
        }
        world.check();
    }
}

/// Killed again and again on a disk that others have filled to the brim: deletes are taken, and
/// give it back.
#[test]
fn a_full_disk_comes_back_after_kills() {
    let names = names(8000);
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let mut world = bounded(400_000, SegmentSizes { min: 32 << 10, max: 64 << 10, spare: 0 });
        let count = fill(&mut world, &names, |_| 60);
        let mut deleted = 0;
        for _ in 0..4 {
            // Others take what is left.
            let disk = world.log.maps_mut();
            disk.bytes_max = disk.bytes_max.map(|bytes| bytes - disk.free_bytes());
            disk.kill(&mut prng);
            world.reopen();
            work_and_look(&mut world);
            for name in &names[deleted..deleted + count / 6] {
                let mut tries = 0;
                while world.append(name, b"").is_err() {
                    assert!(tries < 50, "seed {seed}: {deleted} of {count}");
                    tries += 1;
                    work_and_look(&mut world);
                }
                deleted += 1;
                world.settle();
            }
        }
        world.log.maps_mut().bytes_max = Some(400_000);
        work_and_look(&mut world);
        for name in &names[count..count + 10] {
            world.append(name, &[1; 20]).unwrap_or_else(|_| panic!("seed {seed}: no space"));
            world.settle();
        }
        world.check();
    }
}

/// While a full disk refuses all appends and there is no idle turn, merging is due all the same.
#[test]
fn a_refused_append_makes_merging_due() {
    let names = names(400);
    let mut world = bounded(80_000, config(Durability::Always).sizes);
    let count = fill(&mut world, &names, |_| 500);
    while world.log.is_step_due() {
        world.log.step();
        world.settle();
    }
    assert_eq!(world.append(&names[count], &[1; 500]), Err(Full::NoSpace));
    assert!(world.log.is_step_due());
    world.work();
    assert!(!world.log.is_step_due(), "nothing is garbage");
}

/// Before this, a segment was begun and had no batch, so what left the log then was listed as a
/// part of it, and a stop waited for ever.
#[test]
fn no_segment_is_begun_before_the_tail_has_room_for_its_first_batch() {
    let sizes = SegmentSizes { min: TAIL_BYTES_MAX as u32, max: TAIL_BYTES_MAX as u32, spare: 0 };
    let mut world = World::ready(Config { sizes, ..config(Durability::None) });
    let names = names(40);
    let value = vec![1; 1_000_000];
    let segment = world.log.end().segment();
    let refused = names.iter().position(|name| world.append(name, &value).is_err());
    assert_eq!(refused, Some(33), "the tail is full, and so is the segment");
    assert_eq!(world.log.refusal(), Some(Refusal::Busy));
    assert_eq!(world.log.end().segment(), segment);
    world.settle();
    world.append(&names[33], &value).unwrap();
    assert!(world.log.end().segment() > segment);
    world.log.stop();
    world.settle();
    assert!(world.log.is_stopped());
}

/// Settles on a disk that has no room for another segment.
fn settle_without_space(world: &mut World) {
    loop {
        world.submit();
        if world.log.maps_mut().is_idle() {
            break;
        }
        match world.log.maps_mut().creating() {
            Some(choice) => world.complete(choice, Fate::Error),
            None => world.complete(0, Fate::Whole),
        }
    }
}

/// Settles while the next segment is not made yet.
fn settle_but_creates(world: &mut World) {
    loop {
        world.submit();
        let Some(choice) = world.log.maps_mut().beside_creates() else { return };
        world.complete(choice, Fate::Whole);
    }
}

#[test]
fn a_full_segment_still_has_room_for_the_last_header() {
    let name = &names(1)[0];
    let mut ends = std::collections::BTreeSet::new();
    for first in (0..200).step_by(4) {
        let mut world = World::new(config(Durability::Always));
        world.submit();
        world.complete(0, Fate::Whole);
        settle_but_creates(&mut world);
        let mut bytes = first;
        while world.append(name, &vec![1; bytes]).is_ok() {
            bytes = 1;
            if world.history.len().is_multiple_of(3) {
                settle_but_creates(&mut world);
            }
        }
        assert_eq!(world.log.refusal(), Some(Refusal::Busy), "the next one is not there yet");
        ends.insert(world.log.end().offset());
        world.log.stop();
        settle_without_space(&mut world);
        assert!(world.log.is_stopped());
        world.reopen();
        assert_eq!(world.log.key_count(), 1);
    }
    assert!(ends.len() > 10, "{ends:?}");
}

/// A log that has no segment yet, as one whose next one is being made.
#[test]
fn writes_that_wait_for_room_are_told_of_while_there_is_some() {
    let mut world = World::new(config(Durability::Always));
    assert!(world.log.is_stalled());
    let names = names(4);
    names.iter().for_each(|name| world.log.await_room(&key(name)));
    assert_eq!((world.log.next_roomy(), world.log.has_room()), (None, false));
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|at| KeyPlace::of(&key(&names[at])));
    world.log.forget_roomless(|one| one != second);
    world.settle();
    assert!(world.log.has_room());
    assert_eq!(world.log.next_roomy(), Some(first));
    while !world.log.is_stalled() {
        world.append(&names[0], &[0; 100]).unwrap();
    }
    assert_eq!((world.log.next_roomy(), world.log.has_room()), (None, false));
    world.settle();
    assert_eq!([world.log.next_roomy(), world.log.next_roomy()], [Some(third), Some(fourth)]);
    assert!(world.log.is_room_awaited(), "the last one may need all of it");
    assert_eq!((world.log.next_roomy(), world.log.roomless_count()), (None, 0));
    assert!(!world.log.is_room_awaited());
}

/// Whoever asks for more than there is waits like others: a larger segment is made.
#[test]
fn a_record_that_no_segment_has_room_for_waits_for_one() {
    let sizes = SegmentSizes::default();
    let mut world = World::ready(Config { sizes, ..config(Durability::None) });
    world.settle();
    let name = &names(1)[0];
    assert_eq!(world.append(name, &[1; 5 << 20]), Err(Full::Busy));
    assert!(world.log.is_stalled());
    // Another one asks for more than what is being made.
    world.submit();
    assert_eq!(world.append(name, &[1; 12 << 20]), Err(Full::Busy));
    assert!(world.log.is_stalled());
    world.settle();
    assert!(!world.log.is_stalled());
    world.append(name, &[1; 12 << 20]).unwrap();
    world.settle();
    world.check();
}

#[test]
fn a_record_that_the_tail_has_no_room_for_waits_for_it() {
    let sizes = SegmentSizes { min: 64 << 20, max: 64 << 20, spare: 0 };
    let mut world = World::ready(Config { sizes, ..config(Durability::None) });
    let name = &names(1)[0];
    for _ in 0..2 {
        world.append(name, &[1; 8 << 20]).unwrap();
    }
    assert!(!world.log.is_stalled(), "there is room for most");
    assert_eq!(world.append(name, &[1; 16 << 20]), Err(Full::Busy));
    assert!(world.log.is_stalled());
    world.settle();
    assert!(!world.log.is_stalled());
    world.append(name, &[1; 16 << 20]).unwrap();
    world.settle();
    world.check();
}

/// A shard that has a segment leaves room for the first ones of others.
#[test]
fn a_full_disk_is_shared() {
    let sizes = SegmentSizes { min: 256 << 10, max: 256 << 10, spare: 0 };
    let mut world = bounded(508 << 10, sizes);
    let left = world.log.maps_mut().free_bytes();
    assert!(world.log.is_ready() && left < 32 << 10, "the second one is smaller: {left}");
    assert!(bounded(left, sizes).log.is_ready());
}

/// The segment that the disk has room for is made, however often somebody asks for a larger one.
#[test]
fn who_asks_for_too_much_keeps_nobody_from_what_there_is() {
    let sizes = SegmentSizes { min: 256 << 10, max: 256 << 10, spare: 0 };
    let mut world = World::new(Config { sizes, ..config(Durability::Always) });
    world.log.maps_mut().bytes_max = Some(400 << 10);
    world.submit();
    world.complete(0, Fate::Whole);
    for _ in 0..8 {
        assert!(world.append(&names(1)[0], &[1; 200 << 10]).is_err() || world.history.len() == 1);
        world.work();
        let free_bytes = world.log.maps_mut().free_bytes();
        world.log.offer_space(free_bytes);
    }
    let left = world.log.maps_mut().free_bytes();
    assert!(left < 32 << 10, "a second segment is made: {left}");
    world.check();
}
