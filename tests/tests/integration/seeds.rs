//! Seeds of the simulator: a few on every run, those that once failed, and the proof that it
//! finds what it should find.

use std::process::Command;

use ringmain_core::plant::Plant;
use ringmain_tests::sim::{self, mark::Marks};

/// Seeds that failed once, each with what they showed. They must pass for ever.
const FAILED_ONCE: [(u64, &str); 13] = [
    (4, "a crash lost events that peers knew; their return was taken for lost state, for ever"),
    (657, "a read that asked for more than the owners that were left began nothing, and went on"),
    (1307, "an old record was merged to a place behind damage, and passed for the current one"),
    (3994, "a read of the owners that were left missed what was written with less than their W"),
    (5504, "who left was let go before what others had of it was on their disks"),
    (6388, "the last write came to what was kept for an owner that never comes back"),
    (31_496, "the last member that a node knew was removed, which no operator may"),
    (40_793, "bytes that had rotted were sent on as a hint, under a checksum of its own"),
    (72_043, "who said R 1 was promised more than the copy of the owner that was asked"),
    (83_297, "a write was held to the owners that there were before its coordinator saw fewer"),
    (111_549, "a rotted key named a partition of another shard, and an exchange panicked"),
    (112_323, "a write that asked for more owners than are to be succeeded with fewer"),
    (201_625, "a read that had asked who was put back waited for an owner that was given up"),
];

#[test]
fn seeds_that_failed_once_pass() {
    for (seed, story) in FAILED_ONCE {
        let report = sim::run(seed, false);
        assert_eq!(report.violation, None, "seed {seed}: {story}");
    }
}

/// Every seed acknowledges enough, unless damaged disks took too many nodes, which one in 25
/// does; nearly every one with faults has enough of them; together they reach every mark. One in
/// 400 meets the rarest one, damage that another owner's copy repairs, and the range begins near
/// such a seed: where the first all miss it, the rest are tried too.
#[test]
fn a_range_of_seeds_reaches_everything() {
    let (mut marks, mut weak, mut lame) = (Marks::default(), Vec::new(), Vec::new());
    let mut tried = 0;
    for seed in 4090..4290 {
        if seed >= 4155 && marks.rarest_first()[0].1 > 0 {
            break;
        }
        tried += 1;
        let report = sim::run(seed, false);
        assert_eq!(report.violation, None, "seed {seed}");
        if report.figures.acknowledged < 300 {
            assert!(report.figures.nodes_gone > 0, "seed {seed}");
            lame.push(seed);
        }
        if !report.calm && report.figures.effective_faults < 5 {
            weak.push(seed);
        }
        marks.add(&report.figures.marks);
    }
    assert!(weak.len() <= 1, "seeds with few faults: {weak:?}");
    assert!(lame.len() * 10 <= tried, "seeds whose quorums damaged disks broke: {lame:?}");
    let (rarest, count) = marks.rarest_first()[0];
    assert!(count > 0, "{rarest:?} was never reached");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let (first, second) = (sim::run(7, true), sim::run(7, true));
    assert_eq!(first.lines, second.lines);
    assert_eq!(first.hash, second.hash);
    assert_eq!(first.hash, sim::run(7, false).hash);
    assert_ne!(first.hash, sim::run(8, false).hash);
}

/// What `simulate` prints and its exit code, with these arguments.
fn simulate(arguments: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
    let output = command.args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

/// A plant is a switch of the whole process, hence the processes.
#[test]
fn every_planted_bug_is_found() {
    for plant in Plant::ALL {
        // Near a seed that finds it, where hundreds do not: unoptimized, each takes its time.
        let seeds = match plant {
            Plant::ColdOvertaken => "10..500",
            Plant::SpentUnchecked => "20..500",
            Plant::CommittedRead => "40..500",
            Plant::RecordNotJoined => "50..500",
            Plant::LastChildSkipped => "62..500",
            Plant::CommittedQuorumAlone => "85..500",
            Plant::ReapAsksOwners => "95..500",
            Plant::CompactAtOnce => "254..500",
            Plant::StragglerForgotten => "322..500",
            Plant::FencedAgrees => "464..500",
            Plant::WarmTooEarly => "782..800",
            Plant::BackupUnnoticed => "4099..4110",
            Plant::ReapUnequal => "4409..4420",
            _ => "0..500",
        };
        let (text, code) = simulate(&["--seeds", seeds, "--plant", plant.name()]);
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(code, 1, "{} was not found", plant.name());
        let is_named = last.contains(": S") || last.contains(": L");
        assert!(last.contains(" FAILED hash=") && is_named, "{last}");
    }
}

#[test]
fn simulate_keeps_its_contract() {
    let (text, code) = simulate(&["--seeds", "3..5"]);
    let hash = |seed| sim::run(seed, false).hash;
    let expected = format!("seed 3 ok hash={:016x}\nseed 4 ok hash={:016x}\n", hash(3), hash(4));
    assert_eq!((text, code), (expected, 0));
    let (text, code) = simulate(&["--list-plants"]);
    assert_eq!((text.lines().count(), code), (Plant::ALL.len(), 0));
    assert_eq!(simulate(&["--seeds", "5..3"]).1, 2);
    assert_eq!(simulate(&["--seeds", "0..1", "--plant", "no-such"]).1, 2);
}
