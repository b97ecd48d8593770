//! What damage took comes back with another owner's copy, and the leaves are sums again.

use ringmain_core::causality::Record;
use ringmain_core::limits::FETCH_COUNT_MAX;
use ringmain_core::records::{join_exchanged, leaf_of, leaf_orders};
use ringmain_core::wire::body::Body;

use super::super::limits::FAILED_READ_COUNT_MAX;
use super::scrub::{check_leaves, frames, restart, rotting, sweep};
use super::*;

/// The body of every key, as another owner has it.
fn bodies(world: &World) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let body = |name: &Vec<u8>| {
        let place = world.log.record(&key(name)).unwrap().unwrap().place;
        (name.clone(), world.log.body(place).unwrap().bytes().to_vec())
    };
    world.latest.keys().map(body).collect()
}

/// Joins another owner's copy of `name`.
fn join(world: &mut World, name: &[u8], body: &[u8]) {
    let body = Body::without_checksum(body).unwrap();
    let record = Record::new_checked(body.payload()).unwrap();
    join_exchanged(&mut world.log, &key(name), record, body).unwrap();
}

/// An exchange lists the leaf of `name`.
fn mend(world: &mut World, name: &[u8]) {
    let key = key(name);
    let (first, last) = leaf_orders(leaf_of(key.order));
    world.log.mend_leaves(key.partition, first..=last).unwrap();
}

#[test]
fn a_damaged_record_is_replaced_and_its_leaf_summed_anew() {
    let opened = || {
        let mut world = rotting(Durability::Always, 24, 80, 2);
        world.reopen();
        world.work();
        world
    };
    let whole = opened();
    let bodies = bodies(&whole);
    let mut replaced = 0;
    for (part, frames) in frames(&whole) {
        for (from, bytes) in frames {
            let mut world = opened();
            world.log.maps_mut().rot(part.segment, from + bytes - 1);
            let place = Place::new(part.segment, from);
            let is_it = |name: &&Vec<u8>| {
                let key = key(name);
                world.log.keys_from(key.partition, key.order).next() == Some((key.order, place))
            };
            let Some(name) = world.latest.keys().find(is_it).cloned() else { continue };
            let (partition, leaf) = (key(&name).partition, leaf_of(key(&name).order));
            let before = world.log.leaves.of(partition)[leaf];
            assert_eq!(world.log.unmended_count(), 0);
            sweep(&mut world, false);
            assert_eq!(world.log.unmended_count(), 1);
            assert_ne!(world.log.leaves.of(partition)[leaf], before, "an exchange looks");
            mend(&mut world, &name);
            assert_ne!(world.log.leaves.of(partition)[leaf], before, "it is still lost");
            assert_eq!(world.log.record(&key(&name)).unwrap_err(), Unread::Damaged);

            join(&mut world, &name, &bodies[&name]);
            let stored = world.log.record_left(&key(&name)).unwrap().unwrap();
            assert!(stored.mine.is_none() && stored.place > place);
            mend(&mut world, &name);
            assert_eq!(world.log.unmended_count(), 0);
            check_leaves(&mut world);
            assert_eq!(world.log.leaves.of(partition)[leaf], before);
            // One owner may have an older record than what was lost; all together have it.
            for (peer, expected) in
                [(2, Err(Unread::Damaged)), (2, Err(Unread::Damaged)), (3, Ok(()))]
            {
                world.log.on_equal(partition, NodeId(peer), 2);
                assert_eq!(world.log.record(&key(&name)).map(drop), expected);
            }
            world.settle();
            assert_eq!(sweep(&mut world, false).keys_lost, 0);
            replaced += 1;
        }
    }
    assert!(replaced > 10, "{replaced}");
}

/// A read notices what no sweep has seen yet.
#[test]
fn a_read_marks_the_leaf_of_what_it_cannot_read() {
    let (mut world, damage) = restart(rotting(Durability::Always, 24, 80, 2));
    assert!(damage.is_empty());
    let place = |name: &Vec<u8>| {
        let key = key(name);
        world.log.keys_from(key.partition, key.order).next().unwrap().1
    };
    let name = world.latest.keys().min_by_key(|name| place(name)).unwrap().clone();
    let place = place(&name);
    world.log.maps_mut().rot(place.segment(), place.offset() + 60);
    assert_eq!(world.log.record(&key(&name)).unwrap_err(), Unread::Damaged);
    assert_eq!(world.log.unmended_count(), 0);
    world.settle();
    assert_eq!(world.log.unmended_count(), 1);
}

/// A start that met damage of unknown extent doubts all older records; where another owner's copy
/// is found equal, they are believed again.
#[test]
fn what_an_exchange_found_equal_is_suspect_no_more() {
    let whole = rotting(Durability::Always, 40, 110, 3);
    let bodies = bodies(&whole);
    let mut suspect = 0;
    for (part, frames) in frames(&whole) {
        for (from, bytes) in frames.into_iter().skip(2) {
            let mut world = rotting(Durability::Always, 40, 110, 3);
            world.log.maps_mut().rot(part.segment, from + bytes - 1);
            world.log.maps_mut().snapshots().clear();
            let files = recover(&identity(), &world.log.maps.files(), Place(0));
            if files.is_err_and(|error| matches!(error, OpenError::Missing { .. })) {
                continue;
            }
            let (mut world, damage) = restart(world);
            if damage.is_empty() {
                continue;
            }
            suspect += 1;
            world.work();
            let unknown = key(b"unknown-1");
            assert_eq!(world.log.record(&unknown).unwrap_err(), Unread::Damaged);
            for (name, body) in &bodies {
                join(&mut world, name, body);
                mend(&mut world, name);
            }
            assert_eq!(world.log.record(&unknown).unwrap_err(), Unread::Damaged);
            let (first, count) = world.config.identity.partitions();
            for peer in [2, 3].map(NodeId) {
                assert_eq!(world.log.record(&unknown).unwrap_err(), Unread::Damaged);
                (0..count as u16).for_each(|n| world.log.on_equal(Partition(first.0 + n), peer, 2));
            }
            assert!(world.log.record(&unknown).unwrap().is_none());
            for (name, entry) in world.expected() {
                let stored = world.log.record(&key(&name)).unwrap().unwrap();
                assert_eq!(stored.record.bytes(), entry.record, "{name:?}");
            }
            check_leaves(&mut world);
        }
    }
    assert!(suspect > 10, "{suspect}");
}

/// A bad sector: another owner's copy takes its place, too.
#[test]
fn a_record_that_no_disk_gives_is_damaged_and_replaced() {
    let name = &names(1)[0];
    let mut world = World::ready(config(Durability::Always));
    let place = world.append(name, &[7; 500]).unwrap();
    world.settle();
    let body = bodies(&world).remove(name).unwrap();
    world.log.maps_mut().is_cold = true;
    for _ in 0..FETCH_COUNT_MAX {
        assert_eq!(world.log.record(&key(name)).unwrap_err(), Unread::Cold);
        world.log.on_fetch_failed(place);
    }
    assert_eq!(world.log.record(&key(name)).unwrap_err(), Unread::Damaged);
    world.settle();
    assert_eq!(world.log.unmended_count(), 1);
    mend(&mut world, name);
    assert_eq!(world.log.unmended_count(), 1, "nobody waits for it any more");
    join(&mut world, name, &body);
    assert!(world.log.record_left(&key(name)).unwrap().unwrap().place > place);
    mend(&mut world, name);
    assert_eq!(world.log.unmended_count(), 0);
}

/// A disk that had a bad moment: a sweep reads all again.
#[test]
fn a_record_that_the_disk_gives_after_all_is_sound_again() {
    let (mut world, damage) = restart(rotting(Durability::Always, 24, 80, 2));
    assert!(damage.is_empty());
    let name = world.latest.keys().next().unwrap().clone();
    let key = key(&name);
    let place = world.log.record(&key).unwrap().unwrap().place;
    world.log.maps_mut().is_cold = true;
    (0..FETCH_COUNT_MAX).for_each(|_| world.log.on_fetch_failed(place));
    assert_eq!(world.log.record(&key).unwrap_err(), Unread::Damaged);
    sweep(&mut world, false);
    assert_eq!(world.log.record(&key).unwrap_err(), Unread::Cold);
    world.log.maps_mut().is_cold = false;
    assert!(world.log.record(&key).unwrap().is_some());
}

#[test]
fn so_many_places_that_the_disk_does_not_give_are_remembered() {
    let mut world = World::ready(config(Durability::Always));
    let given_up =
        |world: &World, offset: u32| world.log.failed_reads.is_given_up(Place::new(9, offset));
    let fail = |world: &mut World, offset: u32| {
        (0..FETCH_COUNT_MAX).for_each(|_| world.log.on_fetch_failed(Place::new(9, offset)));
    };
    let count = FAILED_READ_COUNT_MAX as u32;
    (0..count).for_each(|offset| fail(&mut world, offset));
    assert!((0..count).all(|offset| given_up(&world, offset)));
    fail(&mut world, count);
    assert!(!given_up(&world, 0));
    assert!((1..=count).all(|offset| given_up(&world, offset)));
}

#[test]
fn owners_that_lost_different_keys_of_a_leaf_differ() {
    let leaf = |seed: u64, order: u64| {
        let config = Config { seed, ..config(Durability::Always) };
        let mut world = World::ready(config);
        let partition = key(&names(1)[0]).partition;
        world.log.on_unreadable(partition, order);
        world.log.leaves.of(partition)[leaf_of(order)]
    };
    assert_eq!(leaf_of(1), leaf_of(2));
    assert_ne!(leaf(8, 1), leaf(10, 2));
}
