//! Runs seeds of the simulator: `simulate --seeds A..B [--nodes COUNT] [--plant NAME]`.
//!
//! One line per seed; exit 1 at the first violation, with its seed, the invariant and a trace.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::process::ExitCode;

use ringmain_core::plant::{self, Plant};
use ringmain_tests::sim::mark::Marks;
use ringmain_tests::sim::{self, Figures};

const USAGE: &str = "usage: simulate --seeds A..B [--nodes COUNT] [--plant NAME] [--list-plants] \
[--verbose]
example: simulate --seeds 0..100
  --seeds A..B    run the seeds A, A+1, ... B-1
  --nodes COUNT   of clusters of so many nodes, not of as many as each seed draws
  --plant NAME    switch on a known bug, which must then be found
  --list-plants   print the names of all plants
  --verbose       print what each seed did, and the coverage of the whole range";

/// Most nodes of a cluster here: more take long.
const NODE_COUNT_MAX: usize = 64;

/// Lines of the trace that are shown in front of a violation.
const TRACE_LINES: usize = 8000;

struct Arguments {
    seeds: Range<u64>,
    nodes: Option<usize>,
    plant: Plant,
    list_plants: bool,
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("simulate: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.list_plants {
        Plant::ALL.iter().for_each(|plant| println!("{}", plant.name()));
        return ExitCode::SUCCESS;
    }
    plant::set(arguments.plant);
    let (mut marks, mut weak) = (Marks::default(), 0);
    for seed in arguments.seeds {
        let report = sim::run_with(seed, arguments.nodes, false);
        if report.violation.is_some() {
            explain(seed, arguments.nodes);
            return ExitCode::FAILURE;
        }
        println!("seed {seed} ok hash={:016x}", report.hash);
        let Figures { acknowledged, effective_faults, marks: reached, .. } = report.figures;
        if arguments.verbose {
            println!("  acknowledged {acknowledged}, effective faults {effective_faults}");
        }
        weak += u64::from(!report.calm && effective_faults < 5);
        marks.add(&reached);
    }
    if arguments.verbose {
        println!("seeds with fewer than 5 effective faults, calm ones aside: {weak}");
        for (mark, count) in marks.rarest_first() {
            println!("{count:>10} {mark:?}");
        }
    }
    ExitCode::SUCCESS
}

/// Runs a seed that failed once more, and prints what led to the violation.
fn explain(seed: u64, nodes: Option<usize>) {
    let report = sim::run_with(seed, nodes, true);
    let Some(violation) = report.violation else {
        println!("seed {seed} FAILED once, and not again: the simulator is not deterministic");
        return;
    };
    let skipped = report.lines.len().saturating_sub(TRACE_LINES);
    if skipped > 0 {
        println!("{}\n  ... {} lines ...", report.lines[0], skipped - 1);
    }
    report.lines[skipped..].iter().for_each(|line| println!("{line}"));
    println!("seed {seed} FAILED hash={:016x}: {violation}", report.hash);
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 0..0,
        nodes: None,
        plant: Plant::None,
        list_plants: false,
        verbose: false,
    };
    let mut seeds = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => {
                let text = words.next().ok_or("--seeds needs a range like 0..100")?;
                let parsed = range(&text).ok_or(format!("{text} is no range like 0..100"))?;
                seeds = Some(parsed);
            }
            "--nodes" => {
                let text = words.next().ok_or("--nodes needs a number")?;
                let count = text.parse().ok().filter(|count| (1..=NODE_COUNT_MAX).contains(count));
                arguments.nodes =
                    Some(count.ok_or(format!("{text} is not 1 to {NODE_COUNT_MAX}"))?);
            }
            "--plant" => {
                let name = words.next().ok_or("--plant needs a name")?;
                let found = Plant::ALL.iter().find(|plant| plant.name() == name);
                arguments.plant = *found.ok_or(format!("no plant is called {name}"))?;
            }
            "--list-plants" => arguments.list_plants = true,
            "--verbose" => arguments.verbose = true,
            _ => return Err(format!("{word} is not an option")),
        }
    }
    if !arguments.list_plants {
        arguments.seeds = seeds.ok_or("--seeds is missing")?;
    }
    Ok(arguments)
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some(from..to)
}
