//! What is told of a measurement: a line each second, a table, JSON, and HdrHistogram's format.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::tally::Tally;
use crate::args::BenchArgs;
use crate::failure::Failure;

/// Percentiles of the table, as parts.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 0.9999];
/// Lines of the percentile format for each halving of what is left.
const HALVING_LINES: u32 = 5;

/// What came in one second of the measurement.
pub(super) fn line(second: u64, tally: &Tally) -> String {
    let mut line = format!("{} s: {} ops/s", second + 1, tally.count());
    for (name, histogram) in kinds(tally) {
        if !histogram.is_empty() {
            let [p50, p99] = [0.5, 0.99].map(|part| millis(histogram.value_at_quantile(part)));
            let most = millis(histogram.max());
            let _fits = write!(line, ", {name} p50 {p50:.3} p99 {p99:.3} max {most:.3} ms");
        }
    }
    if tally.error_count() > 0 {
        let _fits = write!(line, ", {} errors", tally.error_count());
    }
    line
}

/// All of it, for people.
pub(super) fn text(args: &BenchArgs, tally: &Tally) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["ms", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    for (name, histogram) in kinds(tally) {
        if !histogram.is_empty() {
            let parts = QUANTILES.map(|part| histogram.value_at_quantile(part));
            let times = parts.into_iter().chain([histogram.max()]);
            let times = times.map(|nanos| format!("{:.3}", millis(nanos)));
            table.add_row([name.into(), histogram.len().to_string()].into_iter().chain(times));
        }
    }
    table.column_iter_mut().skip(1).for_each(|column| {
        column.set_cell_alignment(CellAlignment::Right);
    });
    let mut text = format!("{table}\n");
    let rate = tally.count() as f64 / args.duration.as_secs_f64();
    let target = args.rate.map_or(String::new(), |rate| format!(" of {rate}"));
    let seconds = args.duration.as_secs_f64();
    let _fits = write!(text, "{rate:.0}{target} ops/s for {seconds} s");
    for (error, count) in &tally.errors {
        let _fits = write!(text, "\n{count} errors: {error}");
    }
    if tally.unsent > 0 {
        let _fits = write!(text, "\n{} requests were due and never sent", tally.unsent);
    }
    text
}

/// All of it, for programs: contract §7.
pub(super) fn json(args: &BenchArgs, tally: &Tally) -> Value {
    let of = |histogram: &Histogram<u64>| {
        let micros = |nanos: u64| match histogram.is_empty() {
            true => Value::Null,
            false => json!(nanos as f64 / 1000.0),
        };
        let [p50, p90, p99, p99_9, p99_99] =
            QUANTILES.map(|part| micros(histogram.value_at_quantile(part)));
        json!({
            "count": histogram.len(),
            "p50_us": p50,
            "p90_us": p90,
            "p99_us": p99,
            "p99_9_us": p99_9,
            "p99_99_us": p99_99,
            "max_us": micros(histogram.max()),
        })
    };
    json!({
        "ops_per_s": tally.count() as f64 / args.duration.as_secs_f64(),
        "target_ops_per_s": args.rate,
        "errors": tally.error_count() + tally.unsent,
        "seconds": args.duration.as_secs_f64(),
        "get": of(&tally.get),
        "put": of(&tally.put),
    })
}

/// As `outputPercentileDistribution` of HdrHistogram writes it, in milliseconds.
pub(super) fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(HALVING_LINES) {
        count += step.count_since_last_iteration();
        let (value, part) = (millis(step.value_iterated_to()), step.quantile_iterated_to());
        let _fits = write!(text, "{value:12.3} {part:14.12} {count:10}");
        match part < 1.0 {
            true => text.push_str(&format!(" {:14.2}\n", 1.0 / (1.0 - part))),
            false => text.push('\n'),
        }
    }
    let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
    let (most, len) = (millis(histogram.max()), histogram.len());
    let _fits = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _fits = writeln!(text, "#[Max     = {most:12.3}, Total count    = {len:12}]");
    let buckets = (histogram.high() / 2048).max(1).ilog2() + 2;
    let _fits = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {:12}]", 2048);
    text
}

/// # Errors
/// With the name of the file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        let what = format!("cannot write {}: {error}", path.display());
        Failure::failed(what, "choose a file that can be written")
    })
}

/// Both kinds, by name.
pub(super) fn kinds(tally: &Tally) -> [(&'static str, &Histogram<u64>); 2] {
    [("get", &tally.get), ("put", &tally.put)]
}

pub(super) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
