//! The simulator: whole clusters of the shipped machines in one thread, under one seed.
//!
//! Virtual time and a queue of events replace the world; the network, the disks, the clocks and
//! the clients are simulated, and fail as the seed says. What is under test is what ships:
//! `Node`, `Shard` and the loop body `drive` of `ringmain-core`, and the log of
//! `ringmain-runtime`. A judge with the exact causal
//! history of every key looks at every record that is stored and every reply that is given.
//!
//! ```
//! let report = ringmain_tests::sim::run(1, false);
//! assert_eq!(report.violation, None);
//! assert_eq!(report.hash, ringmain_tests::sim::run(1, false).hash);
//! ```
//!
//! Sources: FoundationDB's simulation; TigerBeetle's VOPR (swarm options, safety phase, then
//! heal and demand convergence).

mod bodies;
mod client;
mod cold;
mod disk;
mod host;
mod judge;
pub mod mark;
mod network;
pub mod oracle;
mod outbox;
mod parking;
mod queue;
pub mod random;
mod store;
pub mod swarm;
mod trace;
mod world;

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
    /// The seed drew a run without faults.
    pub calm: bool,
    /// What was reached; nothing after a panic.
    pub figures: Figures,
    /// What went wrong.
    pub violation: Option<Violation>,
    /// What happened, line by line; empty unless verbose.
    pub lines: Vec<String>,
}

/// What a run reached.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Operations whose clients were told that they succeeded.
    pub acknowledged: u64,
    /// Faults that had an effect.
    pub effective_faults: u64,
    /// Nodes whose damaged disks were given up; without them some quorums cannot be met.
    pub nodes_gone: u64,
    /// Situations reached.
    pub marks: Marks,
}

/// Runs one seed.
pub fn run(seed: u64, verbose: bool) -> Report {
    run_with(seed, None, verbose)
}

/// Runs one seed; with `nodes`, of a cluster of so many.
pub fn run_with(seed: u64, nodes: Option<usize>, verbose: bool) -> Report {
    let mut random = Random::new(seed);
    let mut swarm = Swarm::draw(&mut random);
    if let Some(nodes) = nodes {
        swarm.shards = swarm.shards.iter().cycle().take(nodes).copied().collect();
        swarm.put_back = swarm.put_back.filter(|options| options.node < nodes);
        // A few that were drawn stay those whose disks may be lost, if they are there.
        swarm.disk.victims &= u8::MAX.checked_shr(8_u32.saturating_sub(nodes as u32)).unwrap_or(0);
    }
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
        (violation, world.figures())
    }));
    // S17: a panic of the machines is a violation like any other.
    let (violation, figures) = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let violation = Violation::new(Invariant::OneReply, format!("a panic: {text}"));
        (Some(violation), Figures::default())
    });
    let trace = trace.borrow();
    Report { hash: trace.hash(), calm, figures, violation, lines: trace.lines().to_vec() }
}
