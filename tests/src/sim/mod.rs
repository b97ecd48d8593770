//! The simulator: whole clusters of the shipped machines in one thread, under one seed.
//!
//! Virtual time and a queue of events replace the world; the network, the disks, the clocks and
//! the clients are simulated, and fail as the seed says. What is under test is what ships:
//! `Node`, `Shard` and the loop body `drive` of `ringmain-core`. A judge with the exact causal
//! history of every key looks at every record that is stored and every reply that is given.
//!
//! ```
//! let report = ringmain_tests::sim::run(1, false);
//! assert_eq!(report.violation, None);
//! assert_eq!(report.hash, ringmain_tests::sim::run(1, false).hash);
//! ```
//!
//! Sources: FoundationDB's simulation; TigerBeetle's VOPR (swarm options, safety phase, then
//! heal and demand convergence); correctness §7.

pub mod bodies;
pub mod client;
pub mod host;
pub mod judge;
pub mod mark;
pub mod network;
pub mod oracle;
pub mod outbox;
pub mod queue;
pub mod random;
pub mod store;
pub mod swarm;
pub mod trace;
pub mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use host::Memory;
use mark::Marks;
use oracle::{Invariant, Violation};
use random::Random;
use swarm::Swarm;
use trace::Trace;
use world::World;

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// Equal for equal runs.
    pub hash: u64,
    /// Operations whose clients were told that they succeeded.
    pub acknowledged: u64,
    /// Faults that had an effect.
    pub effective_faults: u64,
    /// The seed drew a run without faults.
    pub calm: bool,
    /// Situations reached.
    pub marks: Marks,
    /// What went wrong.
    pub violation: Option<Violation>,
    /// What happened, line by line; empty unless verbose.
    pub lines: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, verbose: bool) -> Report {
    let mut random = Random::new(seed);
    let swarm = Swarm::draw(&mut random);
    run_swarm(swarm, random, verbose)
}

/// Runs a chosen mix.
pub fn run_swarm(swarm: Swarm, random: Random, verbose: bool) -> Report {
    let trace = Rc::new(RefCell::new(Trace::new(verbose)));
    let calm = swarm.is_calm();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut memory = Memory::new(&swarm);
        let mut world = World::new(swarm, random, memory.pool(), Rc::clone(&trace));
        let violation = world.run().err();
        let (marks, effective_faults) = (world.marks.clone(), world.effective_faults());
        (violation, marks, effective_faults, world.clients.acknowledged)
    }));
    // S17: a panic of the machines is a violation like any other.
    let (violation, marks, effective_faults, acknowledged) = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let violation = Violation::new(Invariant::OneReply, format!("a panic: {text}"));
        (Some(violation), Marks::default(), 0, 0)
    });
    let trace = trace.borrow();
    let (hash, lines) = (trace.hash(), trace.lines().to_vec());
    Report { hash, acknowledged, effective_faults, calm, marks, violation, lines }
}
