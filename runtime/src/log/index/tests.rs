use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;
use ringmain_core::prng::Prng;

use super::*;

/// Names a key by its order and a number that tells equal orders apart; the place carries it.
type Name = (u64, u8);

/// A record of no interest.
fn lasting(n: u64) -> (Place, Lifespan) {
    (Place(n << 3), Lifespan::Lasting)
}

struct Model {
    table: Table,
    oracle: BTreeMap<Name, Place>,
    next: u64,
}

impl Model {
    fn new() -> Model {
        Model { table: Table::new(Partition(0)), oracle: BTreeMap::new(), next: 0 }
    }

    fn probe(&self, (order, number): Name) -> Probe {
        let same = |place: Place, _| Ok::<_, Infallible>((place.0 >> 3) as u8 == number);
        self.table.find(order, same).unwrap()
    }

    fn put(&mut self, name: Name) {
        self.next += 1;
        let place = Place(self.next << 11 | u64::from(name.1) << 3);
        let lifespan = match self.next % 3 {
            0 => Lifespan::Lasting,
            1 => Lifespan::Expiring,
            _ => Lifespan::Ended,
        };
        let record = (place, lifespan);
        self.table.put(self.probe(name), name.0, record, self.next.is_multiple_of(2));
        self.oracle.insert(name, place);
    }

    fn remove(&mut self, name: Name) {
        let wrong = Place(u64::from(name.1) << 60 | 8);
        assert!(!self.table.remove_at(name.0, wrong), "nothing lies there");
        match self.oracle.remove(&name) {
            Some(place) => assert!(self.table.remove_at(name.0, place)),
            None => assert!(matches!(self.probe(name), Probe::Vacant(_))),
        }
    }

    /// Begins a growth, if none is going on, and moves so many slots.
    fn grow(&mut self, slots: usize) {
        if self.table.array.capacity == 0 {
            return;
        }
        if !self.table.is_growing() {
            self.table.size += self.table.size / GROWTH;
            self.table.begin();
        }
        self.table.move_slots(slots);
    }

    fn replace(&mut self, name: Name) {
        let wrong = Place(u64::from(name.1) << 60 | 8);
        assert!(!self.table.replace(name.0, wrong, Place(8)), "nothing lies there");
        let Some(place) = self.oracle.get_mut(&name) else { return };
        self.next += 1;
        let new = Place(self.next << 11 | u64::from(name.1) << 3);
        assert!(self.table.replace(name.0, *place, new));
        *place = new;
    }

    fn check(&self) {
        self.table.check_invariants();
        let mut found: Vec<_> = self.table.iter_from(0).collect();
        assert!(found.is_sorted_by_key(|&(order, _)| order));
        found.sort();
        let mut wanted: Vec<_> = self.oracle.iter().map(|(name, &place)| (name.0, place)).collect();
        wanted.sort();
        assert_eq!(found, wanted);
        for (&name, &place) in &self.oracle {
            let Probe::Found(spot) = self.probe(name) else { panic!("{name:?} is lost") };
            assert_eq!(self.table.slot(spot).place(), place);
            let twins = self.oracle.range((name.0, 0)..=(name.0, u8::MAX)).count();
            assert_eq!(self.table.has_twin(name.0), twins > 1);
            let guess = self.table.guess(name.0).map(|place| (name.0, (place.0 >> 3) as u8));
            assert!(guess.is_some_and(|guess| self.oracle.contains_key(&guess)));
        }
    }

    fn check_iter_from(&self, order: u64) {
        let found = self.table.iter_from(order).count();
        assert_eq!(found, self.oracle.range((order, 0)..).count());
    }
}

#[test]
fn every_order_of_few_operations_on_few_colliding_keys() {
    // Two names of one order, one just above it, and both ends of the range: all 6-step histories
    // of puts, removes and steps of growth over them. The second such step ends between the two
    // keys of one order.
    let names = [(u64::MAX - 1, 0), (u64::MAX - 1, 1), (u64::MAX, 0), (0, 0)];
    let choices = names.len() * 2 + 1;
    for history in 0..choices.pow(6) {
        let mut model = Model::new();
        let mut rest = history;
        for _ in 0..6 {
            let choice = rest % choices;
            match names.get(choice / 2) {
                Some(&name) if choice % 2 == 0 => model.put(name),
                Some(&name) => model.remove(name),
                None => model.grow(8),
            }
            rest /= choices;
        }
        model.check();
    }
}

#[test]
fn every_change_at_every_frontier() {
    // Runs of all lengths at the bottom, in the middle and at the top, cut at every slot; then
    // each key, and each that is not there, comes or goes.
    let near = |at: u64, count: u64| (0..count).map(move |n| at.saturating_add(n / 2));
    let orders = || near(0, 4).chain(near(1 << 63, 5)).chain(near(u64::MAX - 1, 4));
    let names: Vec<Name> = orders().zip(0..).map(|(order, n)| (order, n % 2)).collect();
    for holds in (0..1 << names.len()).step_by(7) {
        for moved in 0..24 {
            let mut model = Model::new();
            let held = |n: &usize| holds >> n & 1 == 1;
            (0..names.len()).filter(held).take(11).for_each(|n| model.put(names[n]));
            model.grow(moved);
            let changed = names[(holds + moved) % names.len()];
            match (holds / 7) % 3 {
                0 => model.put(changed),
                1 => model.remove(changed),
                _ => model.replace(changed),
            }
            model.check();
            names.iter().for_each(|&(order, _)| model.check_iter_from(order));
            model.grow(3);
            model.check();
        }
    }
}

#[test]
fn orders_that_come_sorted_or_crowded_are_found_while_the_table_grows() {
    type Orders = fn(u64) -> u64;
    let shapes: [(&str, Orders); 6] = [
        ("ascending", |n| n << 52),
        ("descending", |n| !(n << 52)),
        ("ascending, equal top bits", |n| n | 7 << 60),
        ("descending, equal top bits", |n| (7 << 60) - n),
        ("at both ends", |n| if n.is_multiple_of(2) { n } else { !n }),
        ("many twins", |n| (n / 200) << 58),
    ];
    for (shape, order) in shapes {
        let mut model = Model::new();
        let mut growing = 0;
        for n in 0..3000 {
            model.put((order(n), n as u8));
            if n % 5 == 0 {
                model.remove((order(n / 2), (n / 2) as u8));
            }
            growing += usize::from(model.table.is_growing());
            if n % 100 == 0 {
                model.check();
                model.check_iter_from(model.table.frontier);
            }
        }
        model.check();
        assert!(growing > 50, "{shape}: {growing} changes in a growing table");
    }
}

#[test]
fn a_large_retired_array_goes_in_pieces() {
    let mut table = Table::new(Partition(0));
    table.retired = Slots::with_capacity(RELEASED_SLOTS * 2 + 5);
    table.retired.extend(RELEASED_SLOTS * 2 + 5);
    table.array = Array::with_capacity(100);
    table.array.extend(table.array.whole());
    table.size = 100 * SIZE_ONE;
    let sizes = (1..=4).map(|n| {
        let probe = table.find(n, |_, _| Ok::<_, Infallible>(false)).unwrap();
        table.put(probe, n, lasting(n), true);
        table.retired.capacity()
    });
    let sizes: Vec<usize> = sizes.collect();
    assert_eq!(sizes, [RELEASED_SLOTS + 5, 5, 0, 0]);
}

#[test]
fn slots_in_the_heap_and_in_a_map_are_the_same() {
    let small = (1 << 10) / size_of::<Slot>();
    for capacity in [0, 1, small, 64 * small - 1, 64 * small, 100 * small] {
        let mut slots = Slots::with_capacity(capacity);
        assert_eq!((slots.len(), slots.capacity()), (0, capacity));
        slots.extend(capacity / 2);
        slots.iter_mut().zip(1..).for_each(|(slot, n)| slot.order = n);
        slots.reserve(2 * capacity + 7);
        slots.extend(capacity + 7);
        let orders: Vec<_> = slots.iter().map(|slot| slot.order).collect();
        let ends = (1..=capacity as u64 / 2).chain(vec![0; capacity + 7 - capacity / 2]);
        assert_eq!(orders, ends.collect::<Vec<_>>());
        assert!(slots.iter().all(|slot| slot.is_empty()));
        slots.release(capacity + 7);
        assert_eq!((slots.len(), slots.capacity()), (0, 0));
    }
}

#[test]
fn keys_chosen_to_collide_cost_memory_in_proportion() {
    let mut model = Model::new();
    for n in 0..2000 {
        model.put((u64::MAX - n, 0));
        model.put((n / 100, n as u8));
    }
    model.check();
    let slots = model.table.bytes() / size_of::<Slot>();
    assert!(slots < 2 * 4000, "{slots} slots");
}

#[test]
fn spread_keys_take_at_most_24_bytes_each_at_every_count() {
    // All partitions of a node, and those of one shard of several; as many keys in each, which is
    // the worst case for tables that grow alike.
    for (first, tables, keys) in [(0, 512, 200), (0, 512, 1000), (96, 32, 1000)] {
        let mut index = Index::new(Partition(first), tables);
        let mut prng = Prng::new(5);
        let mut fewest = f64::MAX;
        let mut most = 0f64;
        for n in 1..=keys * 5 / 4 {
            for partition in (first..).take(tables).map(Partition) {
                let table = index.table_mut(partition);
                let order = prng.next_u64();
                let probe = table.find(order, |_, _| Ok::<_, Infallible>(false)).unwrap();
                table.put(probe, order, lasting(n), true);
            }
            if n >= keys {
                let bytes = index.bytes() as f64 / index.key_count() as f64;
                (fewest, most) = (fewest.min(bytes), most.max(bytes));
            }
        }
        (first..).take(tables).for_each(|n| index.table(Partition(n)).check_invariants());
        let found = format!("{tables} tables of {keys}: {fewest:.2} to {most:.2} bytes per key");
        assert!(most <= 24.0 && most - fewest < 2.0, "{found}");
        println!("{found}");
    }
}

/// Prints what single inserts cost while tables grow from nothing to 5 million keys in all.
#[test]
#[ignore = "prints figures: run it alone, in release"]
fn longest_inserts_while_growing() {
    for tables in [1, 64] {
        let mut index = Index::new(Partition(0), tables);
        let mut prng = Prng::new(9);
        let mut times: Vec<u64> = Vec::with_capacity(5_000_000);
        for n in 1..=5_000_000 {
            let order = prng.next_u64();
            let table = index.table_mut(Partition((n % tables as u64) as u16));
            let start = std::time::Instant::now();
            let probe = table.find(order, |_, _| Ok::<_, Infallible>(false)).unwrap();
            table.put(probe, order, lasting(n), true);
            times.push(start.elapsed().as_nanos() as u64);
        }
        let mean = times.iter().sum::<u64>() / times.len() as u64;
        times.sort_unstable();
        let at = |part: f64| times[(times.len() as f64 * part) as usize];
        let (p99, p9999, max) = (at(0.99), at(0.9999), times[times.len() - 1]);
        println!("{tables} tables: mean {mean}, p99 {p99}, p99.99 {p9999}, max {max} ns");
    }
}

#[test]
fn a_verified_bit_survives_moves_and_does_not_spread() {
    let mut table = Table::new(Partition(0));
    let put = |table: &mut Table, order: u64, verified| {
        let probe = table.find(order, |_, _| Ok::<_, Infallible>(true)).unwrap();
        table.put(probe, order, lasting(order), verified);
    };
    (1..200).for_each(|order| put(&mut table, order, order % 3 == 0));
    let read = |table: &Table, order| {
        let mut verified = None;
        let probe = table.find(order, |_, bit| {
            verified = Some(bit);
            Ok::<_, Infallible>(true)
        });
        (probe.unwrap(), verified)
    };
    for order in 1..200 {
        assert_eq!(read(&table, order).1, Some(order % 3 == 0));
    }
    let (Probe::Found(spot), _) = read(&table, 100) else { panic!("100 is there") };
    table.set_verified(spot, true);
    assert_eq!(read(&table, 100).1, Some(true));
    assert_eq!(read(&table, 101).1, Some(false));
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(
        steps in prop::collection::vec((0..4u8, 0..200u64, 0..3u8, 0..4u32), 0..600)
    ) {
        let mut model = Model::new();
        for (step, n, number, spread) in steps {
            // Crowded at the bottom, crowded at the top, spread, and spread in the top half.
            let order = match spread {
                0 => n,
                1 => u64::MAX - n,
                2 => n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                _ => n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63,
            };
            let name = (order, number);
            match step {
                0 | 1 => model.put(name),
                2 if n % 3 > 0 => model.put(name),
                2 => model.replace(name),
                // Growth out of turn would make the table large: finish one, begin none.
                _ if model.table.is_growing() => model.table.move_slots(n as usize % 20),
                _ if n == 0 && model.table.bytes() < 1 << 14 => model.grow(3),
                _ => model.remove(name),
            }
            model.check_iter_from(order);
        }
        model.check();
    }
}

#[test]
fn a_reserved_table_does_not_grow() {
    for (before, room) in [(0, 1000), (0, 1), (5, 1000), (900, 100)] {
        let mut model = Model::new();
        let mut prng = Prng::new(before);
        (0..before).for_each(|_| model.put((prng.next_u64(), 0)));
        model.table.reserve(room);
        let capacity = model.table.capacity();
        model.check();
        (before..room as u64).for_each(|_| model.put((prng.next_u64(), 0)));
        assert!(!model.table.is_growing() || before > room as u64);
        assert_eq!(model.table.capacity(), capacity);
        model.check();
    }
}
