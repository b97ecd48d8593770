//! What clients of a cluster notice: real processes under a load of a fixed rate.
//!
//! *Problem.* The paces of background work say how fast it may go, not what it costs those who ask
//! meanwhile. *Answer.* Nodes of the shipped binary on a loopback network, and clients in this
//! process that send at fixed times, whether answers have come or not ([`load`]); what a request
//! took is counted from the time at which it was to be sent, so a node that stalls is charged for
//! all that waits. [`join`] holds the time in which a third node gets all data against the time
//! before, in the same run. *Invariant.* Nothing here knows more of a node than its ports.
//!
//! ```sh
//! cargo build --release
//! cargo bench -p ringmain-benches --bench cluster -- join            # five minutes, 5 GiB of disk
//! cargo bench -p ringmain-benches --bench cluster -- --test          # tiny
//! ```
#![forbid(unsafe_code)]

mod join;
mod load;
#[path = "../engines/machine.rs"]
mod machine;
mod nodes;

use clap::{Parser, Subcommand};

/// What the binary is told.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// A third node joins two that have data: how fast that comes, and what clients notice.
    Join(join::Options),
}

/// Every name of a [`Task`]: other arguments are those of benchmarks that run beside this one.
const TASKS: [&str; 2] = ["join", "--help"];

fn main() {
    // Cargo adds it.
    let arguments: Vec<String> =
        std::env::args().filter(|argument| argument != "--bench").collect();
    let is_task = arguments.get(1).is_some_and(|first| TASKS.contains(&first.as_str()));
    if !is_task {
        if arguments.iter().any(|argument| argument == "--test") {
            join::run(&join::Options::tiny());
        } else {
            eprintln!("cluster: takes long, so it runs only when told: -- join");
        }
        return;
    }
    match Arguments::parse_from(arguments).task {
        Task::Join(options) => join::run(&options),
    }
}
