//! Random stores, writes during exchanges, lost writes, cold reads and cut connections.

use super::*;

/// An order that is often in a crowded leaf, and sometimes that of another key.
fn random_key(prng: &mut Prng, keys: u64) -> KeyId {
    let number = prng.below(keys);
    let mut spread = Prng::new(number);
    let order = match number % 4 {
        0 => spread.next_u64() >> 20,
        1 => 0xabc0_0000_0000_0000 + spread.below(4),
        _ => spread.next_u64(),
    };
    (order, number)
}

fn write_some(world: &mut World, keys: u64, lost_percent: u64) {
    for _ in 0..world.prng.below(20) {
        let key = random_key(&mut world.prng, keys);
        let node = world.prng.below(world.stores.len() as u64) as usize;
        world.write(node, key, 300_000, lost_percent);
    }
}

fn run(seed: u64) {
    let nodes = 2 + (seed % 2) as usize;
    let mut world = World::new(seed, nodes);
    let keys = 1 + world.prng.below(3000);
    let lost_percent = world.prng.below(60);
    world.list_max = 1 + world.prng.below(300) as usize;
    world.config.difference_count_max = 1 + world.prng.below(300) as usize;
    world.delay_max = 1 + world.prng.below(20_000);
    world.config.bulk_keys_min = world.prng.below(1000);
    for _ in 0..world.prng.below(300) {
        write_some(&mut world, keys, lost_percent);
    }
    let cut_percent = world.prng.below(50);
    for _ in 0..3 {
        for (a, b) in [(0, 1), (0, 2), (1, 2)].into_iter().filter(|(_, b)| *b < nodes) {
            let cut = world.prng.below(200) as usize;
            let cut = world.prng.chance(cut_percent).then_some(cut);
            world.begin(a, b, None, cut);
        }
        while !world.sessions.iter().all(Session::is_over) {
            world.step();
            if world.prng.chance(5) {
                write_some(&mut world, keys, lost_percent);
            }
        }
        world.sessions.clear();
        if world.prng.chance(10) {
            // What only this node had is lost with it, and no exchange's fault.
            let lost = world.prng.below(nodes as u64) as usize;
            world.stores[lost].clear();
            world.truth.clear();
            let pending = world.in_flight.values().map(|(_, key, record)| (*key, *record));
            let stored = world.stores.iter().flat_map(|store| store.records(0..=u64::MAX));
            for (key, record) in stored.chain(pending) {
                store::join(world.truth.entry(key).or_default(), record);
            }
        }
    }
    world.quiesce();
    let pairs: &[(usize, usize)] =
        if nodes == 2 { &[(0, 1)] } else { &[(0, 1), (0, 2), (1, 2), (0, 1), (0, 2)] };
    for &(a, b) in pairs {
        let (summary, _) = world.exchange(a, b);
        assert!(summary.is_equal(), "{seed} {summary:?}");
    }
    world.check_converged(&seed);
    for &(a, b) in pairs {
        let (summary, traffic) = world.exchange(a, b);
        assert!(summary.is_equal() && summary.repaired == 0, "{seed} {summary:?}");
        assert_eq!((traffic.frames, traffic.records), (3, 0), "the roots are equal");
    }
}

#[test]
fn random_stores_become_equal() {
    (0..10).for_each(run);
}

#[test]
#[ignore = "takes minutes"]
fn many_random_stores_become_equal() {
    (10..1000).for_each(run);
}
