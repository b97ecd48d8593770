//! What is kept for other nodes: in the order of writing, until it is dropped.

use super::super::hints::{Hints, PLACE_COUNT_MIN};
use super::super::limits::HINT_BYTES_PART;
use super::*;

const THREE: NodeId = NodeId(3);

/// All hints for node 3, the oldest first.
fn oldest_first(world: &World) -> Vec<Place> {
    let next = |after: &Place| world.log.oldest_hint(THREE, *after);
    std::iter::successors(next(&Place(0)), next).collect()
}

fn hints(count: usize) -> Vec<Vec<u8>> {
    names(count).iter().map(|name| [name, &b"@3"[..]].concat()).collect()
}

#[test]
fn a_hint_and_the_own_copy_of_a_key_are_apart() {
    let mut world = World::ready(config(Durability::None));
    let [own, three, four] = [&b""[..], b"@3", b"@4"].map(|kept| [&names(1)[0], kept].concat());
    for name in [&own, &three, &four, &three, &own] {
        world.append(name, b"value").unwrap();
        world.check();
    }
    let targets: Vec<_> =
        world.log.hint_targets().map(|(node, count, _)| (node.0, count)).collect();
    assert_eq!((world.log.key_count(), targets), (1, vec![(3, 1), (4, 1)]));
    world.settle();
    world.reopen();
    assert_eq!(oldest_first(&world), [world.expected()[&three].place]);
}

#[test]
fn the_oldest_hint_comes_first_whatever_becomes_of_the_others() {
    let mut prng = Prng::new(8);
    for _ in 0..20 {
        let mut world = World::ready(config(Durability::None));
        let names = hints(40);
        // Their places and names, oldest first.
        let mut kept: Vec<(Place, Vec<u8>)> = Vec::new();
        for _ in 0..300 {
            let name = names[prng.below(40) as usize].clone();
            if prng.chance(30) && !kept.is_empty() {
                let (place, name) = kept.remove(prng.below(kept.len() as u64) as usize);
                assert!(world.log.erase(&key(&name), place).unwrap().is_some());
                assert_eq!(world.log.erase(&key(&name), place), Ok(None));
                assert!(world.log.record(&key(&name)).unwrap().is_none());
                continue;
            }
            kept.retain(|(_, other)| *other != name);
            let record = record_of(1 + prng.below(1000) as u32, &value(&mut prng, 60));
            let out = |_: Option<Stored<'_>>, out: &mut [u8]| out.copy_from_slice(&record);
            match world.log.append(&key(&name), None, record.len(), out) {
                Ok(place) => kept.push((place, name)),
                Err(full) => panic!("{full:?}"),
            }
            world.settle();
            let places: Vec<Place> = kept.iter().map(|(place, _)| *place).collect();
            assert_eq!(oldest_first(&world), places);
        }
    }
}

/// An older hint than the one that is kept was delivered: the newer one stays.
#[test]
fn a_hint_that_was_replaced_is_not_dropped() {
    let mut world = World::ready(config(Durability::None));
    let name = &hints(1)[0];
    let older = world.append(name, b"older").unwrap();
    let newer = world.append(name, b"newer").unwrap();
    assert_eq!(world.log.erase(&key(name), older), Ok(None));
    assert_eq!(oldest_first(&world), [newer]);
    // Twice: it had been sent twice, and came home twice.
    assert!(world.log.erase(&key(name), newer).unwrap().is_some());
    assert_eq!(world.log.erase(&key(name), newer), Ok(None));
    assert!(!world.log.index.hints.contains(THREE));
    assert_eq!(oldest_first(&world), []);
    assert_eq!(world.log.hint_targets().count(), 0);
    assert_eq!(world.log.live_bytes(), world.log.erasure_bytes());
}

#[test]
fn merging_moves_hints_and_keeps_their_order() {
    let mut world = World::ready(config(Durability::None));
    let (hints, names) = (hints(10), names(4));
    for round in 0..400 {
        if round % 40 == 0 {
            world.append(&hints[round / 40], &[1; 50]).unwrap();
        }
        world.append(&names[round % 4], &[2; 200]).unwrap();
        world.work();
    }
    assert!(world.log.background_counts().merged > 3);
    world.check();
    let places = oldest_first(&world);
    assert_eq!(places.len(), 10);
    assert!(places.is_sorted());
    // All that is left for a start to find, in segments with a snapshot and without.
    world.reopen();
    let found = oldest_first(&world);
    assert_eq!(found.len(), 10);
    assert!(found.is_sorted());
}

#[test]
fn hints_take_no_more_than_their_part() {
    let mut world = World::ready(config(Durability::None));
    world.log.offer_space(1 << 20);
    let hints = hints(2000);
    let refused = hints.iter().position(|name| {
        world.append(name, &[7; 100]) == {
            world.settle();
            Err(Full::NoSpace)
        }
    });
    let kept: u64 = world.log.hint_targets().map(|(_, _, bytes)| bytes).sum();
    assert_eq!(world.log.refusal(), Some(Refusal::HintsFull));
    // Half of the free space is the other shard's.
    let most = ((1 << 19) + world.log.file_bytes()) / HINT_BYTES_PART;
    assert!(refused.is_some() && kept <= most && kept + 200 > most / 2, "{kept} of {most}");
    world.append(&names(1)[0], &[7; 100]).unwrap();
}

/// Of the place list nothing shows but its memory.
#[test]
fn a_hint_replaced_for_ever_keeps_few_places() {
    let mut world = World::ready(config(Durability::None));
    let name = &hints(1)[0];
    for _ in 0..5000 {
        world.append(name, &[7; 10]).unwrap();
        world.work();
        assert!(world.log.index.hints.place_count(THREE) <= PLACE_COUNT_MIN + 3);
    }
    assert_eq!(oldest_first(&world).len(), 1);
}

#[test]
fn a_log_that_takes_over_hints_takes_more_than_their_part() {
    let mut world = World::ready(config(Durability::None));
    world.log.offer_space(1 << 20);
    world.log.take_all_hints();
    for name in &hints(2000) {
        world.append(name, &[7; 100]).unwrap();
        world.settle();
    }
    assert_eq!(oldest_first(&world).len(), 2000);
}

/// What is lost counts as the average: what is left may be counted too low, but never below zero.
#[test]
fn large_hints_outlive_small_ones_that_were_lost() {
    let mut hints = Hints::default();
    let places: Vec<_> = (1..=10).map(|number| Place(number * 4096)).collect();
    for (order, &place) in places.iter().enumerate() {
        let table = hints.table_mut(THREE);
        let probe = table.find(order as u64, |_, _| Ok::<_, ()>(false)).unwrap();
        table.put(probe, order as u64, (place, Lifespan::Lasting), true);
        hints.on_kept(THREE, place, if order == 9 { 4096 } else { 32 }, None);
    }
    assert_eq!(hints.lose(|place| place < places[9]), 9);
    hints.on_kept(THREE, Place(1 << 20), 32, Some(4096));
    hints.on_dropped(THREE, 4096);
    assert_eq!(hints.targets().count(), 0);
}
