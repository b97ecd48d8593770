//! Every placement of up to three keys over two stores and two leaves.

use super::*;
use crate::records::leaf_orders;

/// What the two stores have of a key.
const PLACEMENTS: [[Option<Vector>; 2]; 8] = [
    [None, None],
    [Some([1, 0, 0]), Some([1, 0, 0])],
    [Some([1, 0, 0]), None],
    [None, Some([0, 1, 0])],
    [Some([1, 0, 0]), Some([0, 1, 0])],
    [Some([2, 0, 0]), Some([1, 0, 0])],
    [Some([0, 1, 0]), Some([0, 2, 0])],
    [Some([1, 1, 0]), Some([1, 2, 1])],
];

#[test]
fn every_placement_is_repaired_by_one_exchange() {
    let [first, last] = [0, 4095].map(leaf_orders);
    let orders = [first.0, first.1, last.0, last.1];
    let choices = (0..64).map(|case| [case % 4, case / 4 % 4, case / 16]);
    for choice in choices.filter(|choice| choice.is_sorted()) {
        for placement in 0..512 {
            let placement = [placement % 8, placement / 8 % 8, placement / 64];
            // Keys of one order may change places.
            if (0..2).any(|at| choice[at] == choice[at + 1] && placement[at] > placement[at + 1]) {
                continue;
            }
            let mut world = World::new(1, 2);
            world.list_max = 1 + placement[0] % 3;
            world.config.difference_count_max = 1 + placement[1] % 3;
            let mut differing = 0;
            for (id, (order, placement)) in choice.into_iter().zip(placement).enumerate() {
                let key = (orders[order], id as u64);
                let [mine, theirs] = PLACEMENTS[placement];
                differing += usize::from(mine != theirs);
                for (node, record) in [mine, theirs].into_iter().enumerate() {
                    if let Some(record) = record {
                        world.put(node, key, record);
                    }
                }
            }
            let context = (choice, placement);
            let (summary, traffic) = world.exchange(0, 1);
            assert!(summary.is_equal(), "{context:?} {summary:?}");
            world.check_converged(&context);
            assert_eq!(summary.repaired == 0, differing == 0, "{context:?}");
            // A key goes there and back at most, and with it the others of its order.
            assert!(traffic.records <= 2 * 3 * differing, "{context:?} {traffic:?}");
        }
    }
}
