//! The paths, by the names that `core` has for them.

use std::hint::black_box;

use ringmain_core::wire::op::Op;
use ringmain_runtime::checksum::Hardware;

use crate::paths::{causality, cluster, merkle, quorum, ring, wire};

/// Goes through a path so many times.
type Run = fn(u64);

/// Each path.
pub(crate) const PATHS: [(&str, Run); 28] = [
    ("context/decode_binary", |times| repeat(times, causality::context_decode_binary())),
    ("context/decode_text", |times| repeat(times, causality::context_decode_text())),
    ("context/encode", |times| repeat(times, causality::context_encode())),
    ("event/plan", |times| repeat(times, causality::event_plan())),
    ("event/plan_and_write", |times| repeat(times, causality::event())),
    ("full_get/one_node", |times| repeat(times, cluster::get_one_node())),
    ("full_get/three_nodes", |times| repeat(times, cluster::get_three_nodes())),
    ("full_put/coordinator", |times| repeat(times, cluster::put_coordinator())),
    ("full_put/one_node", |times| repeat(times, cluster::put_one_node())),
    ("full_put/three_nodes", |times| repeat(times, cluster::put_three_nodes())),
    ("join_single_sibling/concurrent", |times| repeat(times, causality::join_concurrent())),
    ("join_single_sibling/concurrent_and_write", |times| {
        repeat(times, causality::join_concurrent_write());
    }),
    ("join_single_sibling/dominated", |times| repeat(times, causality::join_dominated())),
    ("join_single_sibling/equal", |times| repeat(times, causality::join_equal())),
    ("merkle_update/update", |times| repeat(times, merkle::update())),
    ("merkle_update/update_expected", |times| repeat(times, merkle::update_expected())),
    ("ring_lookup/owners", |times| repeat(times, ring::lookup())),
    ("tally/step_meets", |times| repeat(times, quorum::tally_step_meets())),
    ("tally/step_waits", |times| repeat(times, quorum::tally_step_waits())),
    ("tally/whole", |times| repeat(times, quorum::tally_whole())),
    ("wire_get/decode", |times| repeat(times, wire::decode::<Hardware>(Op::Get, wire::get(0)))),
    ("wire_get/encode", |times| repeat(times, wire::encode::<Hardware>(Op::Get, wire::get(0)))),
    ("wire_put/decode", |times| repeat(times, wire::decode::<Hardware>(Op::Put, wire::put()))),
    ("wire_put/encode", |times| repeat(times, wire::encode::<Hardware>(Op::Put, wire::put()))),
    ("wire_replicate/decode", |times| {
        repeat(times, wire::decode::<Hardware>(Op::Replicate, wire::replicate()));
    }),
    ("wire_replicate/encode", |times| {
        repeat(times, wire::encode::<Hardware>(Op::Replicate, wire::replicate()));
    }),
    ("wire_reply/decode", |times| {
        repeat(times, wire::decode::<Hardware>(Op::Reply, wire::reply()));
    }),
    ("wire_reply/encode", |times| {
        repeat(times, wire::encode::<Hardware>(Op::Reply, wire::reply()));
    }),
];

/// # Panics
/// If there is no such path.
pub(crate) fn run(path: &str, times: u64) {
    let found = PATHS.iter().find(|(name, _)| *name == path);
    let (_, run) = found.expect("the parent knows the same paths");
    run(times);
}

/// The loop is counted, too: a few instructions.
fn repeat<T>(times: u64, mut step: impl FnMut() -> T) {
    for _ in 0..times {
        black_box(step());
    }
}
