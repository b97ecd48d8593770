//! The log against embedded key-value stores, in the same run, one process for each.
//!
//! *Problem.* What a storage engine costs depends on values, keys and on who asks how; figures of
//! different runs and settings cannot be compared. *Answer.* [`compare`](crate::compare) starts
//! this binary again for every engine, value size and distribution, so that none inherits memory,
//! threads or caches of another; each child loads the keys, then overwrites and reads them one by
//! one, then by batches of 64, then with a sync behind each batch ([`cells`](crate::cells)).
//! [`durable`](crate::durable) holds synced writes of 64 writers against a bare loop of the same
//! writes and syncs. *Invariant.* All engines see the same keys, values and order, write a log
//! before they answer as far as they have one, and sync only when told; every value read is
//! checked in length and first bytes. What differs is said beside the table.
//!
//! ```sh
//! cargo bench -p ringmain-benches --bench engines -- compare             # an hour or two
//! cargo bench -p ringmain-benches --bench engines -- compare --scale 0.1 --seconds 2
//! cargo bench -p ringmain-benches --bench engines -- durable
//! cargo bench -p ringmain-benches --bench engines -- --test              # all, tiny
//! ```
//!
//! RocksDB takes part with `--features rocksdb`, which compiles it.
#![forbid(unsafe_code)]

mod cells;
mod compare;
mod draw;
mod durable;
mod engine;
mod host;
mod machine;
mod meter;
mod peers;
mod ringmain;
mod segments;
mod table;

use clap::{Parser, Subcommand};

/// What the binary is told.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Every engine, value size and distribution: a table in Markdown.
    Compare(compare::Options),
    /// Synced writes of 64 writers beside a bare loop of the same writes.
    Durable(durable::Options),
    /// One engine, as the comparison starts it; prints a line of JSON for each figure.
    #[command(hide = true)]
    Child { engine: String, workload: String, dir: std::path::PathBuf },
}

/// Every name of a [`Task`]: other arguments are those of benchmarks that run beside this one.
const TASKS: [&str; 4] = ["compare", "durable", "child", "--help"];

fn main() {
    // Cargo adds it.
    let arguments: Vec<String> =
        std::env::args().filter(|argument| argument != "--bench").collect();
    let is_task = arguments.get(1).is_some_and(|first| TASKS.contains(&first.as_str()));
    if !is_task {
        if arguments.iter().any(|argument| argument == "--test") {
            compare::run(&compare::Options::tiny());
            durable::run(&durable::Options::tiny());
        } else {
            eprintln!("engines: takes long, so it runs only when told: -- compare | durable");
        }
        return;
    }
    match Arguments::parse_from(arguments).task {
        Task::Compare(options) => compare::run(&options),
        Task::Durable(options) => durable::run(&options),
        Task::Child { engine, workload, dir } => cells::run_child(&engine, &workload, &dir),
    }
}
