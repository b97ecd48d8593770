//! Benchmarks of `ringmain-core`, one module for each hot path; most of them are steps of
//! [`paths`], whose instructions `counts` counts.
//!
//! Times alone say little on a machine that others use, so beside what is measured stands, in
//! the same group, a `control`: the least that any code for it would have to do. Compare the two.
#![forbid(unsafe_code)]

mod causality;
mod hash;
mod merkle;
mod paths;
mod quorum;
mod records;
mod ring;
mod whole;
mod wire;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    causality::benchmark(&mut criterion);
    hash::benchmark(&mut criterion);
    merkle::benchmark(&mut criterion);
    quorum::benchmark(&mut criterion);
    ring::benchmark(&mut criterion);
    whole::benchmark(&mut criterion);
    wire::benchmark(&mut criterion);
    criterion.final_summary();
}
