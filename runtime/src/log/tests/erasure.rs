//! What was erased is never found again, and erasures do not stay for ever.

use super::super::limits::{ERASURE_BYTES_PART, ERASURE_BYTES_PART_ACTIVE};
use super::*;

/// Writes other keys until so many segments were merged.
fn merge(world: &mut World, names: &[Vec<u8>], count: u64) {
    let before = world.log.background_counts().merged;
    for round in 0.. {
        assert!(round < 10_000, "it merges");
        if world.log.background_counts().merged >= before + count {
            return;
        }
        world.append(&names[round % names.len()], &[2; 200]).unwrap();
        world.work();
    }
}

#[test]
fn an_erased_key_is_not_found_again_by_any_start() {
    for durability in MODES {
        let mut world = World::ready(config(durability));
        let (names, others) = (with_hints(names(6)), names(10)[6..].to_vec());
        for round in 0..4 {
            for name in &names {
                world.append(name, &[round; 100]).unwrap();
                merge(&mut world, &others, 1);
            }
        }
        for name in &names {
            assert_eq!(world.erase(name), Ok(true));
        }
        world.log.sync_wanted();
        world.work();
        for _ in 0..5 {
            world.reopen();
            assert!(names.iter().all(|name| !world.expected().contains_key(name)));
            world.settle();
            merge(&mut world, &others, 2);
        }
        // Written anew it is there, older than which nothing comes back.
        world.append(&names[0], b"again").unwrap();
        world.work();
        world.reopen();
        assert_eq!(world.erase(&names[0]), Ok(true));
        world.settle();
        world.log.sync_wanted();
        world.settle();
        world.reopen();
        assert!(!world.expected().contains_key(&names[0]));
    }
}

/// Of keys that nobody writes again, the oldest segments are full; but erasures go.
#[test]
fn erasures_are_dropped_though_the_oldest_records_stay() {
    let mut world = World::ready(config(Durability::None));
    let (old, names) = (names(60), names(400)[60..].to_vec());
    for name in &old {
        world.append(name, &[7; 300]).unwrap();
        world.work();
    }
    let mut most = 0;
    for round in 0..10 {
        for name in &names {
            world.append(name, &[round; 60]).unwrap();
            world.work();
            assert_eq!(world.erase(name), Ok(true));
            world.work();
            most = most.max(world.log.erasure_bytes());
        }
    }
    let live = world.log.live_bytes() - world.log.erasure_bytes();
    let allowed = (live / ERASURE_BYTES_PART).max(16_384 / u64::from(ERASURE_BYTES_PART_ACTIVE));
    // And what lies in segments that are not finished or not synced yet.
    assert!(most <= allowed + 2 * 16_384, "{most} bytes of erasures beside {live}");
    assert!(world.log.background_counts().dropped > 3000);
    world.check();
    world.reopen();
    assert_eq!(world.expected().len(), old.len());
}
