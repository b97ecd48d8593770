//! Counting the answers of replicas.

use std::hint::black_box;

use ringmain_core::id::NodeId;
use ringmain_core::quorum::{Need, Tally, Verdict};
use ringmain_core::ring::Owners;

const OWNERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// The answer of `node` to a write that needs two of three, all asked, of which `answered` have
/// answered. (Taken again it changes nothing, and costs the same.)
fn step(answered: &[NodeId], node: NodeId) -> impl FnMut() -> Verdict {
    let need = Need { nodes: 2, primaries: 0, durable: 0 };
    let mut tally = Tally::new(&Owners::new(&OWNERS), need);
    OWNERS.iter().for_each(|owner| tally.on_asked(*owner));
    for node in answered {
        tally.on_success(*node, false);
    }
    move || black_box(&mut tally).on_success(black_box(node), false)
}

/// The first of two answers.
pub(crate) fn tally_step_waits() -> impl FnMut() -> Verdict {
    let mut step = step(&[], OWNERS[0]);
    assert_eq!(step(), Verdict::Wait);
    step
}

/// The second one.
pub(crate) fn tally_step_meets() -> impl FnMut() -> Verdict {
    let mut step = step(&OWNERS[..1], OWNERS[1]);
    assert_eq!(step(), Verdict::Met);
    step
}

/// Counts the answers of one write from the first to the last.
pub(crate) fn tally_whole() -> impl FnMut() -> Verdict {
    let (owners, need) = (Owners::new(&OWNERS), Need { nodes: 2, primaries: 0, durable: 0 });
    move || {
        let mut tally = Tally::new(black_box(&owners), black_box(need));
        for owner in owners.iter() {
            tally.on_asked(*owner);
        }
        for owner in owners.iter() {
            black_box(tally.on_success(*black_box(owner), false));
        }
        tally.verdict()
    }
}
