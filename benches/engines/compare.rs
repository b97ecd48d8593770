//! The parent's part of the comparison: a child for each engine, value size and distribution, in
//! turn, so that none runs beside another; then the table.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cells::{Figure, Workload};
use crate::draw::Distribution;
use crate::engine::{BATCH_COUNT, Listed, engines};
use crate::machine::describe;
use crate::table;

/// Value sizes, bytes, and how many keys have one: at most 2 GiB of pairs.
const SIZES: [(usize, u64); 4] =
    [(16, 10_000_000), (128, 10_000_000), (1 << 10, 2_000_000), (16 << 10, 100_000)];
const SECONDS_MAX: f64 = 30.0;
const ROUND_COUNT: usize = 64 * BATCH_COUNT;

/// What is compared, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these engines.
    #[arg(long, value_delimiter = ',', ignore_case = true, value_parser = engine_names())]
    engines: Vec<String>,
    /// Only these value sizes, bytes.
    #[arg(long, value_delimiter = ',', value_parser = value_sizes())]
    sizes: Vec<usize>,
    /// Only these distributions.
    #[arg(long, value_delimiter = ',')]
    distributions: Vec<Distribution>,
    /// Seconds of each cell, at most 30.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds of a load at most.
    #[arg(long, default_value_t = 120.0)]
    load_seconds: f64,
    /// Part of the keys.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often all of it is done; the table has medians.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Where the stores are made; [default: the folder for temporary files].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also writes every figure to this file, a line of JSON each.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Whether this only shows that it works.
    #[arg(skip)]
    is_tiny: bool,
}

fn engine_names() -> PossibleValuesParser {
    PossibleValuesParser::new(engines().into_iter().map(|engine| engine.name))
}

fn value_sizes() -> impl TypedValueParser<Value = usize> {
    PossibleValuesParser::new(["16", "128", "1024", "16384"])
        .map(|size| size.parse().expect("these are numbers"))
}

impl Options {
    /// Every engine once, in no time.
    pub(crate) fn tiny() -> Options {
        Options {
            engines: Vec::new(),
            sizes: vec![128],
            distributions: vec![Distribution::Zipfian],
            seconds: 0.001,
            load_seconds: 1.0,
            scale: 1e-4,
            rounds: 1,
            dir: None,
            json: None,
            is_tiny: true,
        }
    }

    fn workloads(&self) -> Vec<Workload> {
        let sizes = SIZES.iter().filter(|(bytes, _)| is_chosen(&self.sizes, bytes));
        let distributions = [Distribution::Uniform, Distribution::Zipfian];
        let all = sizes.flat_map(|size| distributions.map(|distribution| (size, distribution)));
        let chosen = all.filter(|(_, distribution)| is_chosen(&self.distributions, distribution));
        let workload = |(size, distribution): (&(usize, u64), Distribution)| Workload {
            value_bytes: size.0,
            key_count: ((size.1 as f64 * self.scale) as u64).max(1),
            distribution,
            seconds: self.seconds.min(SECONDS_MAX),
            load_seconds: self.load_seconds,
            round_count: if self.is_tiny { BATCH_COUNT } else { ROUND_COUNT },
            is_rested: !self.is_tiny,
        };
        chosen.map(workload).collect()
    }
}

/// Compares, and prints the table.
///
/// # Panics
/// If a folder cannot be made or, when it should only show that it works, if an engine fails.
pub(crate) fn run(options: &Options) {
    let names = &options.engines;
    let is_named = |one: &Listed| names.iter().any(|name| name.eq_ignore_ascii_case(one.name));
    let engines: Vec<Listed> =
        engines().into_iter().filter(|one| names.is_empty() || is_named(one)).collect();
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let workloads = options.workloads();
    let mut figures = Vec::new();
    for round in 1..=options.rounds {
        for workload in &workloads {
            for engine in &engines {
                let Workload { value_bytes, distribution, .. } = workload;
                let distribution = distribution.name();
                eprintln!("{round}: {} {value_bytes} B, {distribution}", engine.name);
                let is_whole = child(engine.name, workload, &dir, &mut figures);
                assert!(is_whole || !options.is_tiny, "{} failed", engine.name);
            }
        }
    }
    if let Some(path) = &options.json {
        let line = |figure| serde_json::to_string(figure).expect("numbers and names") + "\n";
        let lines: String = figures.iter().map(line).collect();
        std::fs::write(path, lines).expect("the file can be written");
    }
    if !options.is_tiny {
        println!("{}\n", describe(&dir));
        println!(
            "{} s a cell, keys × {}, rounds: {}.\n",
            options.seconds.min(SECONDS_MAX),
            options.scale,
            options.rounds
        );
        print!("{}", table::table(&engines, &workloads, &figures));
    }
}

/// Runs one engine in a process of its own, in a folder that is removed behind it; false if it
/// failed. Its figures up to there count.
fn child(engine: &str, workload: &Workload, dir: &Path, figures: &mut Vec<Figure>) -> bool {
    let folder = tempfile::Builder::new().prefix("engines-").tempdir_in(dir);
    let folder = folder.expect("the folder for stores can be written to");
    let mut child = Command::new(std::env::current_exe().expect("it runs"))
        .args(["child", engine])
        .arg(serde_json::to_string(workload).expect("numbers and names"))
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary can be started again");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for line in lines.map_while(Result::ok) {
        let Ok(figure) = serde_json::from_str::<Figure>(&line) else { continue };
        let Figure { operation, per_second, cpu_us, .. } = &figure;
        eprintln!("    {:20} {per_second:10.0}/s {cpu_us:8.2} µs CPU", operation.name());
        figures.push(figure);
    }
    let status = child.wait().expect("it was started");
    if !status.success() {
        eprintln!("    failed: {status}");
    }
    status.success()
}

/// An empty choice is all.
fn is_chosen<T: PartialEq>(chosen: &[T], one: &T) -> bool {
    chosen.is_empty() || chosen.iter().any(|other| other == one)
}
