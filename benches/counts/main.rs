//! How many instructions each hot path of `ringmain-core` takes, the same in every run.
//!
//! *Problem.* Times on a machine that others use change by more than most regressions. *Answer.*
//! Instructions do not: this binary runs itself under valgrind ([`callgrind`]), each path so many
//! times, then twice as many, so that what the difference shows is the path alone; what came out
//! stands in `counts.toml` ([`expected`]). *Invariant.* A path that takes a twentieth more or less
//! than it says there fails the check: if that is meant, the file changes with the code.
//!
//! ```sh
//! cargo bench -p ringmain-benches --bench counts -- check           # all, under a minute
//! cargo bench -p ringmain-benches --bench counts -- check full_put  # those whose name holds it
//! cargo bench -p ringmain-benches --bench counts -- write           # the file anew
//! cargo bench -p ringmain-benches --bench core -- full_put          # how long the same take
//! ```
//! Whether an instruction waits for memory does not show: see `core` for that.
#![forbid(unsafe_code)]

mod callgrind;
mod expected;
#[path = "../core/paths/mod.rs"]
mod paths;
#[path = "../core/records.rs"]
mod records;
mod steps;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the binary is told.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Counts, and fails if a path takes a twentieth more or less than counts.toml says.
    Check {
        /// Only those whose name holds this.
        filter: Option<String>,
    },
    /// Counts all paths, and writes counts.toml anew.
    Write,
    /// One path, as the others start it.
    #[command(hide = true)]
    Run { path: String, times: u64 },
}

/// Every name of a [`Task`]: other arguments are those of benchmarks that run beside this one.
const TASKS: [&str; 4] = ["check", "write", "run", "--help"];

fn main() -> ExitCode {
    // Cargo adds it.
    let arguments: Vec<String> =
        std::env::args().filter(|argument| argument != "--bench").collect();
    let is_task = arguments.get(1).is_some_and(|first| TASKS.contains(&first.as_str()));
    if !is_task {
        if arguments.iter().any(|argument| argument == "--test") {
            steps::PATHS.iter().for_each(|(_, run)| run(1));
        } else {
            eprintln!("counts: needs valgrind, so it runs only when told: -- check");
        }
        return ExitCode::SUCCESS;
    }
    match Arguments::parse_from(arguments).task {
        Task::Check { filter } => expected::check(filter.as_deref().unwrap_or_default()),
        Task::Write => expected::write(),
        Task::Run { path, times } => {
            callgrind::assert_features();
            steps::run(&path, times);
            ExitCode::SUCCESS
        }
    }
}
