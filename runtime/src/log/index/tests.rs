use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// Names a key by its order and a number that tells equal orders apart; the place carries it.
type Name = (u64, u8);

#[derive(Default)]
struct Model {
    table: Table,
    oracle: BTreeMap<Name, Place>,
    next: u64,
}

impl Model {
    fn probe(&self, (order, number): Name) -> Probe {
        let same = |place: Place, _| Ok::<_, Infallible>(place.0 as u8 == number);
        self.table.find(order, same).unwrap()
    }

    fn put(&mut self, name: Name) {
        self.next += 1;
        let place = Place(self.next << 8 | u64::from(name.1));
        self.table.put(self.probe(name), name.0, place, self.next.is_multiple_of(2));
        self.oracle.insert(name, place);
    }

    fn remove(&mut self, name: Name) {
        match self.probe(name) {
            Probe::Found(at) => {
                self.table.remove(at);
                assert!(self.oracle.remove(&name).is_some());
            }
            Probe::Vacant(_) => assert!(!self.oracle.contains_key(&name)),
        }
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
            let Probe::Found(at) = self.probe(name) else { panic!("{name:?} is lost") };
            assert_eq!(self.table.slots[at].place(), place);
            let guess = self.table.guess(name.0).map(|place| (name.0, place.0 as u8));
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
    // of puts and removes over them.
    let names = [(u64::MAX - 1, 0), (u64::MAX - 1, 1), (u64::MAX, 0), (0, 0)];
    let choices = names.len() * 2;
    for history in 0..choices.pow(6) {
        let mut model = Model::default();
        let mut rest = history;
        for _ in 0..6 {
            let name = names[rest % choices / 2];
            if rest % 2 == 0 {
                model.put(name)
            } else {
                model.remove(name)
            }
            rest /= choices;
        }
        model.check();
    }
}

#[test]
fn keys_chosen_to_collide_cost_memory_in_proportion() {
    let mut model = Model::default();
    for n in 0..2000 {
        model.put((u64::MAX - n, 0));
        model.put((n / 100, n as u8));
    }
    model.check();
    assert!(model.table.slots.len() < 2 * 4000, "{} slots", model.table.slots.len());
}

#[test]
fn spread_keys_take_about_21_bytes_each() {
    let mut table = Table::default();
    let mut prng = ringmain_core::prng::Prng::new(5);
    let mut fewest = f64::MAX;
    let mut most = 0f64;
    for n in 1..100_000u64 {
        let order = prng.next_u64();
        let probe = table.find(order, |_, _| Ok::<_, Infallible>(false)).unwrap();
        table.put(probe, order, Place(n), true);
        if n > 10_000 {
            let bytes = (table.slots.len() * size_of::<Slot>()) as f64 / n as f64;
            (fewest, most) = (fewest.min(bytes), most.max(bytes));
        }
    }
    table.check_invariants();
    assert!(fewest > 18.0, "load stays below 0.85: {fewest}");
    assert!(most < 24.0, "grown by a quarter: {most}");
}

#[test]
fn a_verified_bit_survives_moves_and_does_not_spread() {
    let mut table = Table::default();
    let put = |table: &mut Table, order: u64, verified| {
        let probe = table.find(order, |_, _| Ok::<_, Infallible>(true)).unwrap();
        table.put(probe, order, Place(order), verified);
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
    let (Probe::Found(at), _) = read(&table, 100) else { panic!("100 is there") };
    table.set_verified(at);
    assert_eq!(read(&table, 100).1, Some(true));
    assert_eq!(read(&table, 101).1, Some(false));
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_map(
        steps in prop::collection::vec((any::<bool>(), 0..200u64, 0..3u8, 0..4u32), 0..600)
    ) {
        let mut model = Model::default();
        for (puts, n, number, spread) in steps {
            // Crowded at the bottom, crowded at the top, spread, and spread in the top half.
            let order = match spread {
                0 => n,
                1 => u64::MAX - n,
                2 => n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                _ => n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63,
            };
            let name = (order, number);
            if puts || n % 3 > 0 { model.put(name) } else { model.remove(name) }
            model.check_iter_from(order);
        }
        model.check();
    }
}
