//! What answers took.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::draw::Kind;
use super::limits::{ERROR_KINDS_MAX, LATENCY_MAX};

/// Digits that a latency keeps.
const DIGITS: u8 = 3;

/// Latencies of what was answered well, in nanoseconds, and how often something else came.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) get: Histogram<u64>,
    pub(super) put: Histogram<u64>,
    /// By their words.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests whose time came and that were not sent: too many were in flight until the end.
    pub(super) unsent: u64,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let histogram = || {
            let histogram = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, DIGITS);
            histogram.expect("the bounds are in order")
        };
        Tally { get: histogram(), put: histogram(), errors: BTreeMap::new(), unsent: 0 }
    }

    /// An answer came that long after its request was to be sent.
    pub(super) fn note(&mut self, kind: Kind, took: Duration, outcome: Result<(), String>) {
        let histogram = match kind {
            Kind::Get => &mut self.get,
            Kind::Put => &mut self.put,
        };
        match outcome {
            Ok(()) => histogram.saturating_record(took.as_nanos().max(1) as u64),
            Err(error) => self.note_error(error, 1),
        }
    }

    fn note_error(&mut self, error: String, count: u64) {
        let is_known = self.errors.contains_key(&error) || self.errors.len() < ERROR_KINDS_MAX;
        let error = if is_known { error } else { "others".into() };
        *self.errors.entry(error).or_default() += count;
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.get.add(other.get).expect("all have the same bounds");
        self.put.add(other.put).expect("all have the same bounds");
        other.errors.into_iter().for_each(|(error, count)| self.note_error(error, count));
        self.unsent += other.unsent;
    }

    /// Requests that were answered well.
    pub(super) fn count(&self) -> u64 {
        self.get.len() + self.put.len()
    }

    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Of both kinds.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = self.get.clone();
        all.add(&self.put).expect("both have the same bounds");
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_and_errors_stay_few() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        one.note(Kind::Get, Duration::from_micros(5), Ok(()));
        other.note(Kind::Put, Duration::from_secs(5000), Ok(()));
        for number in 0..100 {
            let error = format!("error {}", number % 50);
            other.note(Kind::Put, Duration::ZERO, Err(error));
        }
        one.add(other);
        assert_eq!((one.get.len(), one.put.len(), one.error_count()), (1, 1, 100));
        assert_eq!(one.errors.len(), ERROR_KINDS_MAX + 1);
        assert_eq!(one.errors["error 0"], 2);
        assert_eq!(one.errors["others"], 2 * (50 - ERROR_KINDS_MAX as u64));
        let all = one.all();
        assert_eq!((all.len(), all.min() / 100), (2, 50));
        assert!(all.max() >= LATENCY_MAX.as_nanos() as u64 * 999 / 1000);
    }
}
