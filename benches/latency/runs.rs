//! Runs of the load generator against nodes of their own, and what they told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::nodes::{Node, start_all};

/// Keys, which each run writes first.
const KEY_COUNT: u64 = 1000;
/// Runs in a row that may fail.
const FAILED_COUNT_MAX: usize = 3;

/// One of the latencies of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percentile {
    /// As people write it.
    pub(crate) name: &'static str,
    /// As `ringmain bench --json` does.
    field: &'static str,
    /// What criterion takes for noise, as a part.
    pub(crate) noise: f64,
}

/// All of them.
pub(crate) const PERCENTILES: [Percentile; 3] = [
    Percentile { name: "p50", field: "p50_us", noise: 0.05 },
    Percentile { name: "p99", field: "p99_us", noise: 0.15 },
    Percentile { name: "p99.9", field: "p99_9_us", noise: 0.3 },
];

/// What a request is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Get,
    Put,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Put => "put",
        }
    }
}

/// The runs of one cluster, made when the first sample is asked for.
pub(crate) struct Runs {
    binary: PathBuf,
    nodes: u8,
    count: usize,
    /// Requests per second, half of them gets.
    rate: &'static str,
    duration: &'static str,
    /// What each told.
    reports: Vec<Value>,
}

impl Runs {
    pub(crate) fn new(binary: &Path, nodes: u8, count: usize) -> Runs {
        let (binary, reports) = (binary.to_owned(), Vec::new());
        Runs { binary, nodes, count, rate: "2000", duration: "3s", reports }
    }

    /// One short run.
    pub(crate) fn tiny(binary: &Path, nodes: u8) -> Runs {
        Runs { rate: "100", duration: "200ms", ..Runs::new(binary, nodes, 1) }
    }

    /// A latency of a run, nanoseconds. Behind the last run comes the first one.
    ///
    /// # Panics
    /// If the nodes do not start, or do not answer.
    pub(crate) fn sample(&mut self, run: usize, kind: Kind, percentile: Percentile) -> f64 {
        if self.reports.is_empty() {
            self.make();
        }
        let report = &self.reports[run % self.reports.len()];
        let micros = report[kind.name()][percentile.field].as_f64();
        1000.0 * micros.expect("a run has requests of both kinds")
    }

    /// Starts the nodes, warms them up by one run, and makes the others.
    fn make(&mut self) {
        let folder = TempDir::new().expect("the folder for temporary files can be written to");
        let settings = ["--shards", "1"];
        let nodes = start_all(&self.binary, folder.path(), self.nodes, &settings);
        self.run(&nodes[0]);
        while self.reports.len() < self.count {
            let report = self.run(&nodes[0]);
            self.reports.push(report);
        }
    }

    /// What a run told in which no request failed.
    fn run(&self, node: &Node) -> Value {
        let runs = (0..FAILED_COUNT_MAX).map(|_| self.try_run(node));
        let mut good = runs.filter(|report| report["errors"] == 0);
        good.next().expect("a node answers at this rate")
    }

    fn try_run(&self, node: &Node) -> Value {
        let mut command = Command::new(&self.binary);
        command.args(["bench", "--json", "--node", &node.native()]);
        command.args(["--rate", self.rate, "--duration", self.duration, "--warmup", "500ms"]);
        command.args(["--connections", "16", "--keys", &KEY_COUNT.to_string()]);
        let output = command.stdin(Stdio::null()).output().expect("the binary can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        let report = text.lines().rfind(|line| line.starts_with('{'));
        let report = report.and_then(|line| serde_json::from_str(line).ok());
        report.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }
}
