//! Sweeps: what rots is found, and what is given up stays away.

use std::collections::BTreeSet;

use ringmain_core::records::leaf_of;

use super::super::limits::SEEK_PAGE_BYTES;
use super::super::scrub::Part;
use super::*;

/// A log of some segments with dead records and snapshots, and what rots is on the disk, too.
pub(super) fn rotting(durability: Durability, count: usize, appends: usize, seed: u64) -> World {
    let mut world = unmerged(durability, count, appends, seed);
    world.work();
    world
}

/// The same before any background work.
fn unmerged(durability: Durability, count: usize, appends: usize, seed: u64) -> World {
    let names = names(count);
    let mut world = World::ready(config(durability));
    let mut prng = Prng::new(seed);
    for n in 0..appends {
        let name = &names[if n < count { n } else { prng.below(count as u64) as usize }];
        let bytes = 40 + prng.below(260) as usize;
        while world.append(name, &value(&mut prng, bytes)).is_err() {
            world.settle();
        }
        if n % 4 == 0 {
            world.settle();
        }
    }
    world.log.sync_wanted();
    world.settle();
    world
}

/// Recovers a world without believing that all is well.
pub(super) fn restart(mut world: World) -> (World, Vec<Damage>) {
    let disk = std::mem::take(world.log.maps_mut());
    let recovered = recover(&world.config.identity, &disk.files(), Place(0)).unwrap();
    let damage = recovered.damage.clone();
    world.config.seed += 1;
    world.synced = Place(0);
    world.log = Log::new(world.config, disk, recovered, FREE);
    (world, damage)
}

/// The written part of every segment, and its frames, found without the code that is tested.
pub(super) fn frames(world: &World) -> Vec<(Part, Vec<(u32, u32)>)> {
    let mut all = Vec::new();
    for part in world.log.writer.written_parts() {
        let bytes = world.log.maps.bytes_of(part.segment);
        let mut frames = vec![(0, SEGMENT_HEADER_BYTES as u32)];
        let mut at = SEGMENT_HEADER_BYTES;
        while at < part.end as usize {
            let body = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
            frames.push((at as u32, 32 + body));
            at += (32 + body as usize).next_multiple_of(8);
        }
        assert_eq!(at, part.end as usize);
        all.push((part, frames));
    }
    all
}

/// Keys whose place lies in `damage`.
fn lost(world: &World, damage: &[Damage]) -> BTreeSet<Vec<u8>> {
    let is_in = |place: Place| {
        let (segment, at) = (place.segment(), place.offset());
        damage.iter().any(|one| one.segment == segment && (one.offset..one.end).contains(&at))
    };
    let names = world.latest.keys().filter(|name| {
        let key = key(name);
        let mut places = world.log.keys_from(key.partition, key.order);
        places.next().is_some_and(|(order, place)| order == key.order && is_in(place))
    });
    names.cloned().collect()
}

pub(super) fn sweep(world: &mut World, accepts_loss: bool) -> SweepReport {
    world.log.begin_sweep(accepts_loss);
    world.work();
    let report = world.log.sweep_report().clone();
    assert!(!report.is_running && report.is_asked);
    assert_eq!(report.bytes, report.bytes_checked);
    report
}

/// Keys that are not lost have their values, and no others are found.
fn check(world: &World, lost: &BTreeSet<Vec<u8>>) {
    for (name, entry) in world.expected() {
        let entry = Some(entry).filter(|_| !lost.contains(&name));
        world.check_read(&name, entry);
    }
    assert_eq!(world.log.key_count(), world.latest.len() - lost.len());
    assert!(world.log.record(&key(b"unknown-1")).unwrap().is_none());
}

/// The leaves of the index, computed anew.
pub(super) fn check_leaves(world: &mut World) {
    let (first, count) = world.config.identity.partitions();
    for partition in (0..count as u16).map(|n| Partition(first.0 + n)) {
        let mut leaves = vec![0_u64; MERKLE_LEAF_COUNT];
        for (order, place) in world.log.keys_from(partition, 0) {
            let (name, stored) = world.log.record_at(place).unwrap();
            let leaf = &mut leaves[leaf_of(order)];
            *leaf = leaf.wrapping_add(stored.record.version(&key(name)));
        }
        assert!(world.log.leaves.of(partition) == leaves);
    }
}

#[test]
fn every_flipped_byte_is_found_where_it_is() {
    let mut world = rotting(Durability::Always, 30, 90, 1);
    let report = sweep(&mut world, false);
    assert!(!report.has_loss() && report.segments > 2 && report.keys_lost == 0);
    let (mut live, mut dead, mut padding) = (0, 0, 0);
    for (part, frames) in frames(&world) {
        for (from, bytes) in frames {
            let end = from + bytes.next_multiple_of(8);
            for at in from..end {
                world.log.maps_mut().flip(part.segment, at);
                let report = sweep(&mut world, false);
                if at >= from + bytes {
                    assert!(!report.has_loss(), "padding");
                    padding += 1;
                } else {
                    let damage = Damage { segment: part.segment, offset: from, end };
                    assert_eq!(report.damage, [damage], "byte {at}");
                    assert!(report.has_loss() && report.damage_count == 1);
                    let lost = lost(&world, &report.damage);
                    assert_eq!(report.keys_lost, lost.len() as u64);
                    for name in &lost {
                        assert_eq!(world.log.record(&key(name)).unwrap_err(), Unread::Damaged);
                    }
                    *(if lost.is_empty() { &mut dead } else { &mut live }) += 1;
                }
                world.log.maps_mut().flip(part.segment, at);
            }
        }
    }
    println!("{live} in live records, {dead} elsewhere, {padding} in padding");
    assert!(live > 500 && dead > 500 && padding > 10);
    assert!(!sweep(&mut world, false).has_loss());
    check(&world, &BTreeSet::new());
}

/// One byte of each frame, in its place part and in its body; the log lives on.
#[test]
fn what_is_given_up_while_running_stays_not_found() {
    let restarted = || {
        let mut world = rotting(Durability::Always, 24, 80, 2);
        world.reopen();
        world.work();
        world
    };
    let (mut live, mut dead) = (0, 0);
    for (part, frames) in frames(&restarted()) {
        for (from, bytes) in frames {
            for at in [from + 9, from + bytes - 1] {
                let mut world = restarted();
                world.log.maps_mut().rot(part.segment, at);
                let found = sweep(&mut world, false);
                assert_eq!(found.damage_count, 1);
                let lost = lost(&world, &found.damage);
                let report = sweep(&mut world, true);
                assert!(report.is_accepted && !report.has_loss());
                assert_eq!(report.damage, found.damage);
                assert_eq!(report.keys_lost, lost.len() as u64);
                check(&world, &lost);
                check_leaves(&mut world);
                let (mut world, damage) = restart(world);
                assert!(damage.is_empty(), "segment {} byte {at}: {damage:?}", part.segment);
                check(&world, &lost);
                check_leaves(&mut world);
                world.work();
                assert!(!sweep(&mut world, false).has_loss());
                *(if lost.is_empty() { &mut dead } else { &mut live }) += 1;
            }
        }
    }
    println!("{live} in live records, {dead} elsewhere");
    assert!(live > 10 && dead > 10);
}

/// A start that met damage of unknown extent serves what is left once the loss is accepted.
#[test]
fn suspicion_ends_with_an_accepted_loss() {
    let whole = rotting(Durability::Always, 40, 110, 3);
    let mut suspect = 0;
    for (part, frames) in frames(&whole) {
        for (from, bytes) in frames.into_iter().skip(2) {
            let mut world = rotting(Durability::Always, 40, 110, 3);
            world.log.maps_mut().rot(part.segment, from + bytes - 1);
            world.log.maps_mut().snapshots().clear();
            let files = recover(&identity(), &world.log.maps.files(), Place(0));
            if files.is_err_and(|error| matches!(error, OpenError::Missing { .. })) {
                continue; // Which segments have left is told once.
            }
            let (mut world, damage) = restart(world);
            if damage.is_empty() {
                continue; // A torn tail: nobody knows better.
            }
            suspect += 1;
            world.work();
            assert_eq!(world.log.record(&key(b"unknown-1")).unwrap_err(), Unread::Damaged);
            let found = sweep(&mut world, false);
            assert!(found.is_suspect && found.has_loss() && found.damage == damage);
            assert_eq!(world.log.record(&key(b"unknown-1")).unwrap_err(), Unread::Damaged);
            let report = sweep(&mut world, true);
            assert!(report.is_accepted && !report.is_suspect, "{report:?}");
            let left = |world: &World| {
                let names = world.latest.keys();
                let read = |name: &Vec<u8>| {
                    let found = world.log.record(&key(name)).unwrap();
                    found.map(|stored| stored.record.bytes().to_vec())
                };
                names.map(read).collect::<Vec<_>>()
            };
            let before = left(&world);
            for (entry, found) in world.expected().values().zip(&before) {
                let is_written = |found: &Vec<u8>| {
                    world.history.iter().any(|one| one.name == entry.name && one.record == *found)
                };
                assert!(found.as_ref().is_none_or(is_written));
            }
            let same = world
                .expected()
                .values()
                .zip(&before)
                .filter(|(entry, found)| found.as_ref() == Some(&entry.record))
                .count();
            assert!(same + 1 >= world.latest.len(), "one record was lost");
            check_leaves(&mut world);
            let (mut world, damage) = restart(world);
            assert!(damage.is_empty());
            assert!(left(&world) == before);
            check_leaves(&mut world);
        }
    }
    assert!(suspect > 10, "{suspect}");
}

/// While a record of unknown key may be lost, no merging makes older ones look newer than that.
#[test]
fn merging_does_not_end_suspicion() {
    let mut world = unmerged(Durability::Always, 30, 200, 4);
    let last = world.log.end().segment();
    let is_finished = |entry: &&Entry| entry.place.segment() < last;
    let place = world.history.iter().rfind(is_finished).unwrap().place;
    world.log.maps_mut().rot(place.segment(), place.offset() + 60);
    let (mut world, damage) = restart(world);
    assert_eq!(damage.len(), 1);
    world.settle();
    let names = names(30);
    let is_unread = |world: &World, name: &[u8]| world.log.record(&key(name)).is_err();
    let before: Vec<_> = names.iter().filter(|name| is_unread(&world, name)).collect();
    assert!(before.len() > 3);
    let segments = &world.log.writer.segments;
    assert!(segments.is_full_of_garbage(0));
    assert!(
        segments.victim(world.log.synced(), (u64::MAX, 10), Place(0)).is_some(),
        "but for suspicion"
    );
    world.work();
    assert!(before.iter().all(|name| is_unread(&world, name)));
    assert!(sweep(&mut world, true).is_accepted);
    assert!(!before.iter().any(|name| is_unread(&world, name)));
    world.work();
    assert!(world.log.background_counts().merged > 3);
    assert!(!before.iter().any(|name| is_unread(&world, name)));
}

/// A dead record of a lost key would be found again by a start that misses the newer one, so its
/// segment leaves, too; others of its age stay.
#[test]
fn an_older_value_of_a_lost_key_does_not_come_back() {
    const CHANGED: usize = 8;
    let names = names(120);
    let mut stayed = 0;
    for lost in 0..CHANGED {
        for has_snapshots in [true, false] {
            let mut world = World::ready(config(Durability::Always));
            let all = names[..100].iter().chain(&names[..CHANGED]).chain(&names[100..]);
            for (n, name) in all.enumerate() {
                while world.append(name, &[n as u8; 400]).is_err() {
                    world.settle();
                }
                if n % 8 == 0 {
                    world.settle();
                }
            }
            world.work();
            let entry = world.expected()[&names[lost]].clone();
            let old = world.history[lost].place.segment();
            assert!(old < entry.place.segment() && world.log.writer.holds(old));
            world.log.maps_mut().rot(entry.place.segment(), entry.place.offset() + 60);
            let before: Vec<_> = world.log.writer.written_parts().collect();
            let report = sweep(&mut world, true);
            assert!(report.is_accepted && report.keys_lost == 1);
            assert!(!world.log.writer.holds(old));
            assert_eq!(world.log.background_counts().merged, 0, "not by merging");
            let is_kept = |part: &&Part| world.log.writer.holds(part.segment);
            stayed += before.iter().filter(is_kept).count();
            if !has_snapshots {
                world.log.maps_mut().snapshots().clear();
            }
            let (mut world, damage) = restart(world);
            assert!(damage.is_empty());
            check(&world, &BTreeSet::from([names[lost].clone()]));
            check_leaves(&mut world);
        }
    }
    assert!(stayed > CHANGED, "{stayed}");
}

/// Sectors that cannot be read cost the frames that lie in them, and no others.
#[test]
fn bad_sectors_are_damage_of_their_own_size() {
    let mut world = rotting(Durability::Always, 30, 160, 5);
    let parts: Vec<_> = world.log.writer.written_parts().collect();
    let all = frames(&world);
    let page = SEEK_PAGE_BYTES;
    for (part, frames) in parts.iter().zip(&all) {
        for bad in 0..part.end.div_ceil(page) {
            let bad = (part.segment, bad * page..(bad + 1) * page);
            world.log.begin_sweep(false);
            let report = sweep_on_bad_disk(&mut world, &bad);
            let [damage] = report.damage[..] else { panic!("{report:?}") };
            let hit =
                |&&(from, bytes): &&(u32, u32)| from < bad.1.end && from + bytes > bad.1.start;
            let first = frames.1.iter().find(hit).unwrap().0;
            assert_eq!(damage.segment, part.segment);
            assert!(damage.offset <= bad.1.start.max(first) && damage.offset >= first);
            let next = frames.1.iter().find(|(from, _)| *from >= bad.1.end);
            assert_eq!(damage.end, next.map_or(part.end, |next| next.0));
        }
    }
    let report = sweep(&mut world, false);
    assert!(!report.has_loss(), "the disk is well again");
    check(&world, &BTreeSet::new());
}

fn sweep_on_bad_disk(world: &mut World, bad: &(u32, std::ops::Range<u32>)) -> SweepReport {
    while world.log.sweep_report().is_running {
        while let Some(request) = world.log.poll_request(world.now) {
            match request {
                Request::Read(read)
                    if read.segment == bad.0
                        && read.offset < bad.1.end
                        && read.offset + read.bytes > bad.1.start =>
                {
                    world.log.handle_read(read, Err(Errno(5)));
                }
                request => world.log.maps_mut().submit(request),
            }
        }
        if world.log.maps_mut().is_idle() {
            world.log.step();
        } else {
            world.complete(0, Fate::Whole);
        }
    }
    world.log.sweep_report().clone()
}

/// The power fails after every number of steps of an accepted loss.
#[test]
fn power_may_fail_at_every_step_of_an_accepted_loss() {
    for has_snapshots in [true, false] {
        let (mut ended, mut seed) = (0, 0);
        for steps in 0.. {
            seed += 1;
            let mut prng = Prng::new(seed);
            let mut world = rotting(Durability::Always, 8, 60, 6);
            if !has_snapshots {
                world.log.maps_mut().snapshots().clear();
            }
            for at in [20, 40, 58] {
                let place = world.history[at].place;
                if world.log.writer.holds(place.segment()) {
                    world.log.maps_mut().rot(place.segment(), place.offset() + 60);
                }
            }
            let found = sweep(&mut world, false);
            let lost = lost(&world, &found.damage);
            assert!(!lost.is_empty());
            world.log.begin_sweep(true);
            for _ in 0..steps {
                world.submit();
                if world.log.maps_mut().is_idle() || prng.chance(30) {
                    world.log.step();
                } else {
                    world.complete(prng.next_u64(), Fate::Whole);
                }
            }
            let is_accepted = world.log.sweep_report().is_accepted;
            world.log.maps_mut().crash(&mut prng);
            let (mut world, damage) = restart(world);
            assert!(!is_accepted || damage.is_empty());
            for (name, entry) in world.expected() {
                match world.log.record(&key(&name)) {
                    Err(Unread::Cold) => unreachable!("it is in memory"),
                    Err(Unread::Damaged) => assert!(!is_accepted, "after {steps}"),
                    Ok(None) => assert!(lost.contains(&name)),
                    Ok(Some(stored)) => {
                        assert!(!lost.contains(&name), "an old value came back after {steps}");
                        assert_eq!(stored.record.bytes(), entry.record);
                    }
                }
            }
            world.work();
            let report = sweep(&mut world, true);
            assert!(!report.has_loss());
            let (mut world, damage) = restart(world);
            assert!(damage.is_empty());
            for (name, entry) in world.expected().into_iter().filter(|one| !lost.contains(&one.0)) {
                world.check_read(&name, Some(entry));
            }
            check_leaves(&mut world);
            ended += usize::from(is_accepted);
            if ended > 5 {
                println!("{steps} steps");
                break;
            }
        }
    }
}

/// A sweep beside everything else that a log does: it ends, and finds nothing.
#[test]
fn a_sweep_beside_appends_merges_and_failing_reads_harms_nothing() {
    for seed in 0..20 {
        let mut world = rotting(Durability::None, 40, 200, seed);
        let mut prng = Prng::new(seed);
        let names = names(40);
        let mut sweeps = 0;
        for _ in 0..3000 {
            match prng.below(10) {
                0..3 => {
                    let name = &names[prng.below(40) as usize];
                    let _busy = world.append(name, &[3; 150]);
                }
                3..5 => world.submit(),
                5..8 => world.complete(prng.next_u64(), Fate::Whole),
                _ => drop(world.log.step()),
            }
            if !world.log.sweep_report().is_running {
                let report = world.log.sweep_report();
                assert!(!report.has_loss(), "{report:?}");
                world.log.begin_sweep(sweeps % 2 == 1);
                sweeps += 1;
            }
        }
        assert!(sweeps > 5);
        world.work();
        world.check();
        world.log.sync_wanted();
        world.settle();
        world.reopen();
    }
}

/// The continuous sweep reads no faster than it may, and rests between two.
#[test]
fn a_continuous_sweep_keeps_its_pace() {
    let mut world = rotting(Durability::Always, 400, 1200, 7);
    let rate = 10_000;
    let start = world.now;
    world.log.sweep_continuously(rate, start);
    let mut ends = Vec::new();
    let mut was_running = false;
    loop {
        world.work();
        let is_running = world.log.sweep_report().is_running;
        if was_running && !is_running {
            ends.push((world.now, world.log.sweep_counts().bytes));
        }
        if ends.len() == 2 {
            break;
        }
        was_running = is_running;
        let next = world.log.poll_timeout().unwrap();
        assert!(next > world.now, "it does not spin");
        world.now = next;
    }
    let bytes = world.log.sweep_report().bytes;
    let [(first, one), (second, two)] = ends[..] else { unreachable!("two ends") };
    assert_eq!((one, two), (bytes, 2 * bytes));
    let least = Duration::from_micros((bytes - 16384) * 1_000_000 / rate);
    assert!(first.since(start) >= least, "{:?} {least:?}", first.since(start));
    assert!(second.since(start) >= super::super::limits::SWEEP_PAUSE);
    // Who asks does not wait for that.
    world.log.begin_sweep(false);
    world.work();
    assert!(!world.log.sweep_report().is_running);
}
