//! One thing at a time.

use ringmain_core::causality::{Change, Context, Write};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::records::{self, Author};
use ringmain_core::time::UnixMs;

use ringmain_core::request::KeyPlace;

use super::*;
use crate::log::limits::UNSYNCED_BYTES_STALL;

#[test]
fn a_record_is_readable_at_once_from_the_tail_then_from_the_map() {
    let mut world = World::ready(config(Durability::Always));
    let name = &names(1)[0];
    let place = world.append(name, b"one").unwrap();
    assert!(place >= world.log.written());
    world.check();
    world.submit();
    assert!(place >= world.log.written(), "in flight");
    world.check();
    let second = world.append(name, b"two").unwrap();
    world.check();
    world.settle();
    assert!(second < world.log.synced());
    world.check();
    world.log.maps_mut().is_cold = true;
    assert_eq!(world.log.record(&key(name)).unwrap_err(), Unread::Cold);
    assert_eq!(world.append(name, b"three"), Err(Full::Busy));
    assert_eq!(world.log.refusal(), Some(Refusal::Unread));
    world.log.maps_mut().is_cold = false;
    world.check();
}

#[test]
fn a_cold_record_is_wanted_once() {
    let mut world = World::ready(config(Durability::Always));
    let [one, absent] = &names(2)[..] else { panic!("two names") };
    let place = world.append(one, b"one").unwrap();
    let (key, absent) = (key(one), key(absent));
    world.log.maps_mut().is_cold = true;
    assert!(!world.log.is_cold(&key), "it is in the tail");
    world.settle();
    assert!(world.log.is_cold(&key));
    assert!(!world.log.is_cold(&absent));
    for wanted in [&key, &absent, &key] {
        world.log.fetch(wanted);
    }
    let bytes = 4096 - place.offset() % 4096;
    let cold = Wanted { key: KeyPlace::of(&key), place, bytes, is_awaited: true };
    // Whoever waits for what is there after all must hear of it, too.
    let there =
        |key| Wanted { key: KeyPlace::of(key), place: Place(0), bytes: 0, is_awaited: true };
    assert_eq!(world.log.take_wanted(), [cold, there(&absent)]);
    assert_eq!(world.log.take_wanted(), []);
    world.log.maps_mut().is_cold = false;
    world.log.fetch(&key);
    assert_eq!(world.log.take_wanted(), [there(&key)]);
}

#[test]
fn always_groups_what_comes_during_a_sync() {
    let mut world = World::ready(config(Durability::Always));
    let names = names(8);
    let before = world.log.maps_mut().sync_count;
    let first = world.append(&names[0], b"first").unwrap();
    world.submit();
    for name in &names[1..] {
        world.append(name, b"meanwhile").unwrap();
        world.submit();
    }
    world.complete(0, Fate::Whole);
    assert!(world.log.synced() <= first, "written, not synced");
    world.complete(0, Fate::Whole);
    assert!(world.log.synced() > first);
    world.settle();
    assert_eq!(world.log.synced(), world.log.end());
    assert_eq!(world.log.maps_mut().sync_count, before + 2);
}

#[test]
fn interval_writes_each_turn_and_syncs_when_due() {
    let mut world = World::ready(config(MODES[1]));
    let name = &names(1)[0];
    let before = world.log.maps_mut().sync_count;
    assert_eq!(world.log.poll_timeout(), Some(world.now + Duration::from_millis(10)));
    world.now = world.now + Duration::from_millis(10);
    world.log.handle_timeout(world.now);
    assert_eq!(world.log.poll_timeout(), None);
    world.settle();
    for _ in 0..3 {
        world.append(name, b"x").unwrap();
        world.settle();
    }
    assert_eq!(world.log.maps_mut().sync_count, before);
    assert_eq!(world.log.poll_timeout(), Some(world.now + Duration::from_millis(10)));
    world.now = world.now + Duration::from_millis(10);
    world.log.handle_timeout(world.now);
    world.settle();
    assert_eq!(world.log.maps_mut().sync_count, before + 1);
    assert_eq!(world.log.synced(), world.log.end());
}

/// Appends MiBs, and has the disk do all but sync, until `is_enough` or there are `most`; how many.
fn append_mibs(world: &mut World, most: u64, is_enough: fn(&mut World) -> bool) -> u64 {
    let name = &names(1)[0];
    let mut count = 0;
    while count < most && !is_enough(world) {
        world.append(name, &[1; 1 << 20]).unwrap();
        count += 1;
        world.submit();
        while let Some(choice) = world.log.maps_mut().beside_syncs() {
            world.complete(choice, Fate::Whole);
            world.submit();
        }
    }
    count
}

/// A disk that is slower than its writers: bytes, too, bound what is not on disk.
#[test]
fn a_timed_sync_waits_for_its_time_or_for_many_bytes() {
    let is_syncing = |world: &mut World| !world.log.maps_mut().is_idle();
    let limit = UNSYNCED_BYTES_STALL >> 20;
    for durability in [MODES[1], Durability::None] {
        let config = Config { sizes: SegmentSizes::default(), ..config(durability) };
        let mut world = World::ready(config);
        world.log.sync_wanted();
        world.settle();
        if durability == Durability::None {
            assert_eq!(append_mibs(&mut world, limit + 1, is_syncing), limit + 1, "never");
            assert!(!world.log.is_stalled());
            continue;
        }
        // Records are a little larger than their values.
        assert_eq!(append_mibs(&mut world, limit, is_syncing), limit / 2);
        append_mibs(&mut world, limit / 4, |world| world.log.is_stalled());
        assert!(!world.log.is_stalled());
        world.settle();
        assert!(world.log.synced() < world.log.end(), "what came meanwhile waits for its time");
        append_mibs(&mut world, limit, |world| world.log.is_stalled());
        let first = world.history.partition_point(|entry| entry.place < world.log.synced());
        assert_eq!((world.history.len() - first) as u64, limit);
        world.settle();
        assert!(!world.log.is_stalled());
        world.check();
    }
}

#[test]
fn none_syncs_only_when_wanted() {
    let mut world = World::ready(config(Durability::None));
    let name = &names(1)[0];
    let before = world.log.maps_mut().sync_count;
    world.append(name, b"x").unwrap();
    world.settle();
    assert_eq!((world.log.poll_timeout(), world.log.maps_mut().sync_count), (None, before));
    world.append(name, b"y").unwrap();
    world.log.sync_wanted();
    world.settle();
    assert_eq!(world.log.maps_mut().sync_count, before + 1);
    assert_eq!(world.log.synced(), world.log.end());
}

#[test]
fn a_tail_that_is_not_written_refuses_and_then_takes_again() {
    let config = Config { sizes: SegmentSizes::default(), ..config(Durability::Always) };
    let mut world = World::ready(config);
    let names = names(20);
    let value = vec![7; 3 << 20];
    let mut taken = 0;
    for name in names.iter().cycle() {
        if world.append(name, &value).is_err() {
            break;
        }
        taken += 1;
        // Segments come, writes do not.
        world.submit();
        if let Some(choice) = world.log.maps_mut().creating() {
            world.complete(choice, Fate::Whole);
        }
    }
    assert_eq!(world.log.refusal(), Some(Refusal::Busy));
    assert!((5..11).contains(&taken), "{taken} records of 3 MiB wait");
    world.settle();
    world.append(&names[0], &value).unwrap();
    world.settle();
    world.check();
}

#[test]
fn a_record_larger_than_segments_gets_a_segment_of_its_size() {
    let mut world = World::ready(config(Durability::Always));
    let name = &names(1)[0];
    let value = vec![1; 100_000];
    assert_eq!(world.append(name, &value), Err(Full::Busy));
    assert_eq!(world.log.refusal(), Some(Refusal::Busy));
    world.settle();
    world.append(name, &value).unwrap();
    world.settle();
    world.check();
    let key = key(name);
    let too_large = world.log.append(&key, None, BODY_BYTES_MAX, |_, _| panic!("not called"));
    assert_eq!((too_large, world.log.refusal()), (Err(Full::NoSpace), Some(Refusal::TooLarge)));
}

#[test]
fn keys_of_equal_order_are_kept_apart() {
    let mut world = World::ready(config(Durability::Always));
    let name = &names(1)[0];
    let twins: Vec<Key<'_>> =
        [&b"a"[..], b"b", b"c"].iter().map(|bytes| Key { bytes, ..key(name) }).collect();
    for round in 0..3u32 {
        for (n, twin) in twins.iter().enumerate() {
            let record = record_of(10 * round + n as u32 + 1, b"v");
            let put = |_: Option<Stored<'_>>, out: &mut [u8]| out.copy_from_slice(&record);
            world.log.append(twin, None, record.len(), put).unwrap();
        }
        world.settle();
    }
    assert_eq!(world.log.key_count(), 3);
    for (n, twin) in twins.iter().enumerate() {
        let found = world.log.record(twin).unwrap().unwrap();
        assert_eq!(found.record.bytes(), record_of(20 + n as u32 + 1, b"v"));
    }
}

#[test]
fn an_unverified_record_is_checked_when_read() {
    let mut world = World::ready(config(Durability::Always));
    let names = names(2);
    for name in &names {
        let place = world.append(name, b"value").unwrap();
        let key = key(name);
        let table = world.log.index.table(key.partition);
        let probe = table.find(key.order, |at, _| Ok::<_, Unread>(at == place)).unwrap();
        let index::Probe::Found(spot) = probe else { panic!("it was appended") };
        table.set_verified(spot, false);
    }
    world.settle();
    let damaged = world.history[1].place;
    let mut files = std::mem::take(world.log.maps_mut()).into_files();
    let file = files.get_mut(&damaged.segment()).unwrap();
    file[damaged.offset() as usize + 50] ^= 1;
    *world.log.maps_mut() = Disk::from_files(&files);
    world.check_read(&names[0], Some(&world.history[0]));
    world.check_read(&names[0], Some(&world.history[0]));
    assert_eq!(world.log.damage_met().count, 0);
    for count in 1..3 {
        assert_eq!(world.log.record(&key(&names[1])).unwrap_err(), Unread::Damaged);
        assert_eq!(world.log.damage_met(), DamageMet { count, place: damaged });
    }
}

#[test]
fn restarts_without_writes_leave_no_files_behind() {
    let mut world = World::ready(config(Durability::Always));
    world.append(&names(1)[0], b"x").unwrap();
    world.settle();
    for round in 0..10 {
        if round % 2 == 0 {
            world.log.stop();
        }
        world.settle();
        let files = world.log.maps_mut().files().len();
        assert!(files <= 4, "{files} files");
        world.reopen();
        world.submit();
        let kept = world.log.maps_mut().files().len();
        assert_eq!(kept, files, "nothing goes before the new end is on disk");
    }
    assert_eq!(world.history.len(), 1);
}

#[test]
fn a_batch_header_that_says_nothing_new_is_left_out() {
    for durability in MODES {
        let mut world = World::ready(config(durability));
        let mut ends = Vec::new();
        for n in 0..6 {
            if n == 3 {
                world.log.sync_wanted();
                world.settle();
            }
            world.append(b"key", &[n; 100]).unwrap();
            world.settle();
            ends.push(world.log.end().offset());
        }
        let bytes: Vec<_> = ends.windows(2).map(|ends| ends[1] - ends[0]).collect();
        let record = *bytes.iter().min().unwrap();
        let headers: Vec<_> = bytes.iter().map(|bytes| *bytes > record).collect();
        let wanted = match durability {
            // Then every header is longer than none.
            Durability::Always => [false; 5],
            Durability::Interval(_) | Durability::None => [false, false, true, false, false],
        };
        assert_eq!(headers, wanted, "{durability:?}: {bytes:?}");
        assert!(bytes.iter().all(|bytes| *bytes <= record + record::BATCH_HEADER_BYTES as u32));
        world.check();
        world.reopen();
    }
}

#[test]
fn segment_sizes_follow_what_is_live_within_their_bounds() {
    let sizes = SegmentSizes::default();
    let mib = |n: u64| n << 20;
    assert_eq!(sizes.next(0, FREE, 0), 4 << 20);
    assert_eq!(sizes.next(mib(64), FREE, 0), 4 << 20);
    assert_eq!(sizes.next(mib(128), FREE, 0), 8 << 20);
    assert_eq!(sizes.next(mib(144), FREE, 0), 16 << 20);
    assert_eq!(sizes.next(mib(144), mib(160), 0), 10 << 20);
    assert_eq!(sizes.next(mib(4000), mib(100_000), 0), 256 << 20);
    assert_eq!(sizes.next(mib(4000), 0, 0), 4 << 20);
    assert_eq!(sizes.next(0, 0, 5 << 20), 5 << 20);
    let on_full = |free, need| sizes.on_full_disk(free, 0, need);
    assert_eq!([on_full(mib(9), 0), on_full(mib(3) + 9, 0)], [4 << 20, 3 << 20]);
    assert_eq!([on_full(64 << 10, 0), on_full((64 << 10) - 1, 0)], [64 << 10, 4 << 20]);
    assert_eq!([on_full(mib(3), 3 << 20), on_full(mib(3), 5 << 20)], [3 << 20, 3 << 20]);
    assert_eq!([on_full(mib(6), 5 << 20), on_full(mib(5) - 1, 5 << 20)], [5 << 20, 4 << 20]);
    assert_eq!(sizes.on_full_disk(mib(3), 5 << 20, 0), 5 << 20, "what it must have");
}

#[test]
fn live_records_are_those_added_and_not_removed() {
    let mut prng = Prng::new(3);
    // The smallest records, back to back, up to the last byte.
    let count = 1000;
    let mut live = live::Live::none(64 + 48 * count);
    let mut model = std::collections::BTreeSet::new();
    for _ in 0..5000 {
        let offset = 64 + 48 * prng.below(u64::from(count)) as u32;
        match model.insert(offset) {
            true => live.add(offset, 48),
            false => {
                model.remove(&offset);
                live.remove(offset, 48);
            }
        }
        assert_eq!(live.bytes(), 48 * model.len() as u64);
    }
    let all = (0..count).map(|n| 64 + 48 * n);
    assert!(all.clone().all(|offset| live.holds(offset) == model.contains(&offset)));
    live.clear();
    assert!(!all.clone().any(|offset| live.holds(offset)) && live.bytes() == 0);
    assert!(!live.holds(u32::MAX));
}

#[test]
fn shards_share_all_partitions_out() {
    for partition_bits in [6, 10] {
        for shards in [1, 2, 3, 7, 64] {
            let mut next = 0;
            for shard in 0..shards {
                let one =
                    Identity { shard: ShardIndex(shard), shards, partition_bits, ..identity() };
                let (first, count) = one.partitions();
                assert_eq!(usize::from(first.0), next);
                for partition in next..next + count {
                    let partition = Partition(partition as u16);
                    let holder = ShardIndex::of(partition, shards, partition_bits);
                    assert_eq!(holder, ShardIndex(shard));
                }
                next += count;
            }
            assert_eq!(next, 1 << partition_bits);
        }
    }
}

/// The leaves that `event` and `join` of core maintain, in tail and map, are those of a recovery.
#[test]
fn leaves_are_rebuilt_as_they_were_maintained() {
    let mut world = World::ready(config(Durability::Always));
    let names = names(40);
    let mut prng = Prng::new(3);
    let author = Author { node: NodeId(5), boot: Boot(7), birth: 0, now: UnixMs(0) };
    for n in 0..200u32 {
        let name = &names[prng.below(40) as usize];
        let key = key(name);
        if n % 3 == 0 {
            let record = record_of(n + 1, b"theirs");
            let mut body = vec![0; body_bytes(name.len(), record.len())];
            write_body::<Hardware>(name, &mut body, |out| out.copy_from_slice(&record));
            let body = Body::without_checksum(&body).unwrap();
            let record = Record::new_checked(&record).unwrap();
            records::join(&mut world.log, &key, record, body).unwrap();
        } else {
            let timestamp = UnixMs(n.into());
            let value: &[u8] = if n % 5 == 0 { &[] } else { b"ours" };
            let change = match value {
                [] => Change::Tombstone,
                value => Change::Value { expires: None, value },
            };
            let write = Write { context: Context::Local, timestamp, change };
            let author = Author { birth: n, ..author };
            records::event(&mut world.log, &key, author, &write).unwrap();
        }
        world.settle();
    }
    let disk = std::mem::take(world.log.maps_mut());
    let mut recovered = recover(&identity(), &disk.files(), Place(0)).unwrap();
    let (first, count) = identity().partitions();
    let mut nonzero = 0;
    for partition in (first.0..).take(count).map(Partition) {
        let leaves = recovered.leaves.of(partition);
        assert_eq!(leaves, world.log.leaves(partition));
        nonzero += leaves.iter().filter(|&&leaf| leaf != 0).count();
    }
    assert_eq!(nonzero, world.log.key_count());
    assert!(nonzero > 30);
}
