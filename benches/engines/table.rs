//! Figures as Markdown: what was measured, ours against the best of the others, and what must be
//! known to read it.

use std::fmt::Write as _;

use crate::cells::{Figure, Operation, Workload};
use crate::engine::{Engine, Listed};
use crate::host::version;
use crate::ringmain::Ringmain;

const OPERATIONS: [Operation; 6] = [
    Operation::Load,
    Operation::Put,
    Operation::Get,
    Operation::PutBatch,
    Operation::GetBatch,
    Operation::PutBatchSynced,
];

/// All tables, and the settings of every engine.
pub(crate) fn table(engines: &[Listed], workloads: &[Workload], figures: &[Figure]) -> String {
    let mut out = String::new();
    speeds(&mut out, engines, workloads, figures);
    sizes(&mut out, engines, workloads, figures);
    settings(&mut out, engines);
    out
}

fn speeds(out: &mut String, engines: &[Listed], workloads: &[Workload], figures: &[Figure]) {
    out.push_str("Thousand keys per second (CPU microseconds per key, all threads); ratios above ");
    out.push_str("1 are in our favor:\n\n");
    let ratios = ["ours / best peer", "least CPU of a peer / ours"];
    head(out, &["value × keys", "keys asked for", ""], engines, &ratios);
    for workload in workloads {
        for operation in OPERATIONS {
            row(out, workload, operation.name());
            let mut best = Best::default();
            for engine in engines {
                let cell = cell(figures, engine, workload, operation);
                let speed = median(&cell, |figure| figure.per_second);
                let cpu = median(&cell, |figure| figure.cpu_us);
                let (Some(speed), Some(cpu)) = (speed, cpu) else {
                    out.push_str(" failed |");
                    continue;
                };
                let part = part(&cell, workload.key_count);
                let is_equal = operation != Operation::PutBatchSynced || engine.is_durable;
                let mark = if is_equal { "" } else { " \\*" };
                let _ = write!(out, " {} ({cpu:.2}){part}{mark} |", decimals(speed / 1000.0));
                if engine.name == Ringmain::NAME {
                    best.ours = Some((speed, cpu));
                } else if is_equal {
                    best.add(speed, cpu);
                }
            }
            let _ = writeln!(out, "{}", best.ratios());
        }
    }
    out.push('\n');
}

/// Ours, and the best of the others: most per second, least CPU.
#[derive(Default)]
struct Best {
    ours: Option<(f64, f64)>,
    peers: Option<(f64, f64)>,
}

impl Best {
    fn add(&mut self, speed: f64, cpu: f64) {
        let (speed_max, cpu_min) = self.peers.unwrap_or((speed, cpu));
        self.peers = Some((speed.max(speed_max), cpu.min(cpu_min)));
    }

    fn ratios(&self) -> String {
        match (self.ours, self.peers) {
            (Some(ours), Some(peers)) => {
                format!(" {:.2} | {:.2} |", ours.0 / peers.0, peers.1 / ours.1)
            }
            _ => " | |".into(),
        }
    }
}

fn sizes(out: &mut String, engines: &[Listed], workloads: &[Workload], figures: &[Figure]) {
    out.push_str("MiB on disk / of own memory / of mapped files in memory, behind a cell:\n\n");
    head(out, &["value × keys", "keys asked for", "behind"], engines, &[]);
    for workload in workloads {
        for operation in [Operation::Load, Operation::PutBatchSynced] {
            row(out, workload, operation.name());
            for engine in engines {
                let cell = cell(figures, engine, workload, operation);
                let mib = |of: fn(&Figure) -> u64| {
                    let bytes = median(&cell, |figure| of(figure) as f64)?;
                    Some(format!("{:.0}", bytes / f64::from(1 << 20)))
                };
                let all = [
                    mib(|one| one.disk_bytes),
                    mib(|one| one.own_bytes),
                    mib(|one| one.mapped_bytes),
                ];
                let shown: Vec<String> = all.into_iter().flatten().collect();
                let shown = if shown.is_empty() { "failed".into() } else { shown.join(" / ") };
                let _ = write!(out, " {shown} |");
            }
            out.push('\n');
        }
    }
    out.push('\n');
}

fn settings(out: &mut String, engines: &[Listed]) {
    head(out, &["engine", "version", "settings", "lost by a kill behind a put"], &[], &[]);
    for engine in engines {
        let Listed { name, package, settings, killed, .. } = engine;
        let _ = writeln!(out, "| {name} | {} | {settings} | {killed} |", version(package));
    }
    out.push('\n');
    out.push_str(NOTES);
}

fn head(out: &mut String, before: &[&str], engines: &[Listed], after: &[&str]) {
    let names = engines.iter().map(|engine| engine.name);
    let columns: Vec<&str> =
        before.iter().copied().chain(names).chain(after.iter().copied()).collect();
    let _ = writeln!(out, "| {} |", columns.join(" | "));
    let _ = writeln!(out, "|{}", "---|".repeat(columns.len()));
}

fn row(out: &mut String, workload: &Workload, name: &str) {
    let Workload { value_bytes, key_count, distribution, .. } = workload;
    let distribution = distribution.name();
    let _ = write!(out, "| {value_bytes} B × {key_count} | {distribution} | {name} |");
}

fn cell<'a>(
    figures: &'a [Figure],
    engine: &Listed,
    workload: &Workload,
    operation: Operation,
) -> Vec<&'a Figure> {
    let is_of = |figure: &&Figure| {
        figure.engine == engine.name
            && figure.value_bytes == workload.value_bytes
            && figure.distribution == workload.distribution
            && figure.operation == operation
    };
    figures.iter().filter(is_of).collect()
}

/// How many keys there were, if the load ran out of time.
fn part(cell: &[&Figure], wanted: u64) -> String {
    let fewest = cell.iter().map(|figure| figure.keys).min().unwrap_or(0);
    if fewest < wanted { format!(", only {fewest} keys") } else { String::new() }
}

fn median(cell: &[&Figure], of: impl Fn(&Figure) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = cell.iter().map(|figure| of(figure)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn decimals(number: f64) -> String {
    if number < 10.0 { format!("{number:.2}") } else { format!("{number:.0}") }
}

const NOTES: &str = "\
Keys have 16 bytes, in random order; the zipfian exponent is 0.99. One thread asks, one call after
another; engines may use threads of their own. `by 64` is one batch of 64 keys by the engine's own
means, the load too. Keys are drawn while no clock runs. A cell of puts ends early at 2 GiB of
values. Files are in the page cache, where they fit. The order of the cells is that of the rows;
behind each cell of puts everything is synced, and the engine's threads may finish what they have
to do, for a minute at most: no clock runs, but their CPU counts for that cell. What the kernel's
threads write back is in no figure of CPU.
\\*: its sync does not reach the disk, so it is not among the peers of that ratio.
";
