//! A measurement whose values the benchmark brings: nanoseconds, however it came by them.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// See the module. Only for `iter_custom`.
#[derive(Debug)]
pub(crate) struct Nanoseconds;

impl Measurement for Nanoseconds {
    type Intermediate = ();
    type Value = f64;

    fn start(&self) {}

    fn end(&self, (): ()) -> f64 {
        unreachable!("the benchmark brings its values")
    }

    fn add(&self, one: &f64, other: &f64) -> f64 {
        one + other
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

/// Units, each with the nanoseconds that it has.
const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];

impl ValueFormatter for Nanoseconds {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let fitting = UNITS.iter().find(|(nanoseconds, _)| typical >= *nanoseconds);
        let (nanoseconds, unit) = fitting.unwrap_or(&UNITS[3]);
        values.iter_mut().for_each(|value| *value /= nanoseconds);
        unit
    }

    fn scale_throughputs(&self, _: f64, _: &Throughput, _: &mut [f64]) -> &'static str {
        unreachable!("the rate is fixed, so no throughput is told")
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}
