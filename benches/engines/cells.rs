//! One engine, one value size, one distribution: the child's part of the comparison.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::draw::{Distribution, Draw, Values, check, name};
use crate::engine::{BATCH_COUNT, Engine, Name, Pair, engines};
use crate::host::{disk_bytes, memory};
use crate::meter::Meter;

/// A cell of puts ends early at so many bytes of values, so that disks need not be large.
const PUT_BYTES_MAX: u64 = 2 << 30;

/// What a child does.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Workload {
    pub(crate) value_bytes: usize,
    pub(crate) key_count: u64,
    pub(crate) distribution: Distribution,
    /// Of each cell.
    pub(crate) seconds: f64,
    /// Of the load at most; then the keys loaded so far have to do.
    pub(crate) load_seconds: f64,
    /// Keys drawn at once while no clock runs, a multiple of the batch.
    pub(crate) round_count: usize,
    /// Whether the engine's own threads may finish behind each cell of puts.
    pub(crate) is_rested: bool,
}

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    Load,
    Put,
    Get,
    PutBatch,
    GetBatch,
    PutBatchSynced,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Load => "load, by 64",
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::PutBatch => "put, by 64",
            Operation::GetBatch => "get, by 64",
            Operation::PutBatchSynced => "put, by 64, synced",
        }
    }
}

/// The figures of a cell.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    pub(crate) engine: String,
    pub(crate) value_bytes: usize,
    pub(crate) distribution: Distribution,
    pub(crate) operation: Operation,
    /// Keys in the store.
    pub(crate) keys: u64,
    /// Keys or pairs, not batches.
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    /// Allocated on disk behind the cell, bytes.
    pub(crate) disk_bytes: u64,
    /// Memory behind the cell, bytes: the process's own, and pages of files it maps.
    pub(crate) own_bytes: u64,
    pub(crate) mapped_bytes: u64,
}

/// Runs the engine that a parent named.
///
/// # Panics
/// If the parent's words make no sense, or the engine fails.
pub(crate) fn run_child(engine: &str, workload: &str, dir: &Path) {
    let workload = serde_json::from_str(workload).expect("the parent wrote it");
    let listed = engines().into_iter().find(|listed| listed.name == engine);
    (listed.expect("the parent has the same list").run)(&workload, dir);
}

/// Loads, then measures every operation.
pub(crate) fn run<E: Engine>(workload: &Workload, dir: &Path) {
    assert!(workload.round_count.is_multiple_of(BATCH_COUNT));
    let mut engine = E::open(dir);
    let mut values = Values::new(workload.value_bytes);
    let (keys, load) = load(workload, &mut engine, &mut values);
    let report = |operation, meter: &Meter| {
        let (own_bytes, mapped_bytes) = memory();
        let figure = Figure {
            engine: E::NAME.into(),
            value_bytes: workload.value_bytes,
            distribution: workload.distribution,
            operation,
            keys,
            operations: meter.operations,
            seconds: meter.took.as_secs_f64(),
            per_second: meter.per_second(),
            cpu_us: meter.cpu_us(),
            disk_bytes: disk_bytes(dir),
            own_bytes,
            mapped_bytes,
        };
        println!("{}", serde_json::to_string(&figure).expect("numbers and names"));
    };
    let mut cell = Cell { workload, draw: Draw::new(workload.distribution, keys, 1), values };
    // What is still to be written back or merged burdens the cell that wrote it, not the next.
    let rested = |engine: &mut E, mut meter: Meter| {
        engine.sync();
        if workload.is_rested {
            meter.rest();
        }
        meter
    };
    report(Operation::Load, &rested(&mut engine, load));
    let put = cell.put(&mut engine);
    report(Operation::Put, &rested(&mut engine, put));
    report(Operation::Get, &cell.get(&mut engine));
    let put = cell.put_batch(&mut engine, E::put_batch);
    report(Operation::PutBatch, &rested(&mut engine, put));
    report(Operation::GetBatch, &cell.get_batch(&mut engine));
    let put = cell.put_batch(&mut engine, E::put_batch_synced);
    report(Operation::PutBatchSynced, &rested(&mut engine, put));
    // Its folder is removed next: nothing has to be put in order before.
    std::mem::forget(engine);
}

/// Puts every key once, as far as there is time; how many there are.
fn load<E: Engine>(workload: &Workload, engine: &mut E, values: &mut Values) -> (u64, Meter) {
    let mut meter = Meter::default();
    let mut pairs = values.pairs(BATCH_COUNT);
    let mut names = [[0; 16]; BATCH_COUNT];
    let until = Instant::now() + Duration::from_secs_f64(workload.load_seconds);
    let mut keys = 0;
    while keys < workload.key_count && Instant::now() < until {
        let count = (workload.key_count - keys).min(BATCH_COUNT as u64) as usize;
        let (names, pairs) = (&mut names[..count], &mut pairs[..count]);
        for drawn in &mut *names {
            *drawn = name(keys);
            keys += 1;
        }
        values.fill(pairs, names);
        meter.measure(count, || engine.put_batch(pairs));
    }
    (keys, meter)
}

struct Cell<'a> {
    workload: &'a Workload,
    draw: Draw,
    values: Values,
}

impl Cell<'_> {
    fn put<E: Engine>(&mut self, engine: &mut E) -> Meter {
        self.rounds(PUT_BYTES_MAX, |values, names| {
            for name in names {
                engine.put(name, values.next(name));
            }
        })
    }

    fn get<E: Engine>(&mut self, engine: &mut E) -> Meter {
        let bytes = self.workload.value_bytes;
        self.rounds(u64::MAX, |_, names| {
            for name in names {
                assert!(engine.get(name, |value| check(name, value, bytes)));
            }
        })
    }

    fn put_batch<E: Engine>(&mut self, engine: &mut E, put: fn(&mut E, &[Pair])) -> Meter {
        let mut pairs = self.values.pairs(BATCH_COUNT);
        self.rounds(PUT_BYTES_MAX, |values, names| {
            for names in names.chunks_exact(BATCH_COUNT) {
                values.fill(&mut pairs, names);
                put(engine, &pairs);
            }
        })
    }

    fn get_batch<E: Engine>(&mut self, engine: &mut E) -> Meter {
        let bytes = self.workload.value_bytes;
        self.rounds(u64::MAX, |_, names| {
            for names in names.chunks_exact(BATCH_COUNT) {
                let found = engine.get_batch(names, |at, value| check(&names[at], value, bytes));
                assert_eq!(found, names.len());
            }
        })
    }

    /// Draws and measures until time is over or so many bytes of values were handled.
    fn rounds(&mut self, bytes_max: u64, mut work: impl FnMut(&mut Values, &[Name])) -> Meter {
        let mut meter = Meter::default();
        let mut names = vec![[0; 16]; self.workload.round_count];
        let is_over = |meter: &Meter| {
            meter.took.as_secs_f64() >= self.workload.seconds
                || meter.operations * self.workload.value_bytes as u64 >= bytes_max
        };
        while !is_over(&meter) {
            self.draw.fill(&mut names);
            meter.measure(names.len(), || work(&mut self.values, &names));
        }
        meter
    }
}
