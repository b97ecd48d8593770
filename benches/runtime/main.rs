//! Benchmarks of `ringmain-runtime`, one module for each hot path.
//!
//! Times alone say little on a machine that others use, so beside what is measured stands, in
//! the same group, a `control`: the least that any code for it would have to do. Compare the two.
#![forbid(unsafe_code)]

mod checksum;
mod log;
mod memory;
mod mesh;
mod metrics;
mod resp;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    checksum::benchmark(&mut criterion);
    log::benchmark(&mut criterion);
    mesh::benchmark(&mut criterion);
    metrics::benchmark(&mut criterion);
    resp::benchmark(&mut criterion);
    criterion.final_summary();
}
