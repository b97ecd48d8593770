//! Percentiles of what a put and a get take, of live nodes, as figures that criterion tracks.
//!
//! *Problem.* Criterion times batches of operations, so what it tracks of a node is a mean, and a
//! mean hides that every hundredth request waits. *Answer.* Its samples are percentiles here
//! ([`measure`]): each is what one short run of the load generator told (`ringmain bench`, open
//! loop: requests are due at a fixed rate, and what one took counts from then), so criterion holds
//! p50, p99 and p99.9 against the last ones, with its confidence intervals, and says which got
//! worse. *Invariant.* One run gives one sample to each percentile, and a run in which a request
//! failed gives none.
//!
//! ```sh
//! cargo build --release
//! cargo bench -p ringmain-benches --bench latency                   # two minutes
//! cargo bench -p ringmain-benches --bench latency -- p99.9
//! cargo bench -p ringmain-benches --bench latency -- --test         # tiny
//! ```
#![forbid(unsafe_code)]

mod measure;
#[path = "../cluster/nodes.rs"]
#[expect(dead_code, reason = "`cluster` asks nodes more")]
mod nodes;
mod runs;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode};

use measure::Nanoseconds;
use nodes::{release_binary, tiny_binary};
use runs::{Kind, PERCENTILES, Runs};

/// Runs of each cluster, and one before that is not counted.
const SAMPLE_COUNT: usize = 15;

fn main() {
    let is_tiny = std::env::args().any(|argument| argument == "--test");
    let binary = if is_tiny { tiny_binary() } else { release_binary() };
    if !binary.exists() {
        eprintln!("latency: skipped: there is no {}: cargo build --release", binary.display());
        return;
    }
    // Runs are made before they are measured, so measuring takes no time.
    let mut criterion = Criterion::default()
        .with_measurement(Nanoseconds)
        .sample_size(SAMPLE_COUNT)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_millis(1))
        .configure_from_args();
    for (name, count) in [("latency_one_node", 1), ("latency_three_nodes", 3)] {
        let runs = match is_tiny {
            true => Runs::tiny(&binary, count),
            false => Runs::new(&binary, count, SAMPLE_COUNT),
        };
        percentiles(&mut criterion, name, runs);
    }
    criterion.final_summary();
}

fn percentiles(criterion: &mut Criterion<Nanoseconds>, name: &str, mut runs: Runs) {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    for kind in [Kind::Get, Kind::Put] {
        for percentile in PERCENTILES {
            // The rarer, the noisier.
            group.noise_threshold(percentile.noise);
            let mut run = 0;
            group.bench_function(BenchmarkId::new(kind.name(), percentile.name), |bencher| {
                let sample = runs.sample(run, kind, percentile);
                run += 1;
                // Criterion divides by it.
                bencher.iter_custom(|iterations| sample * iterations as f64);
            });
        }
    }
    group.finish();
}
