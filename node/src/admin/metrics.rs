//! `/metrics`: what the shards count, as the text that Prometheus reads (version 0.0.4).
//!
//! Shards count in cells of their own, and a scrape reads these from the HTTP thread: no shard is
//! asked, stopped or waited for. The text is as long as there are shards, whatever they have
//! done: about 10 KB each.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use ringmain_runtime::metrics::{Buckets, Counter, Gauge, Metrics, Timing, bucket_of};
use rustix::param::page_size;

/// What the text is.
pub(super) const KIND: &str = prometheus_text::CONTENT_TYPE;

/// Latencies are told by the powers of two from 2^13 ns ≈ 8 µs to 2^33 ns ≈ 8.6 s: the shards'
/// own buckets end there, too, so nothing is estimated.
const BOUND_BITS: std::ops::RangeInclusive<u32> = 13..=33;

/// All that a node shows, to be encoded again and again.
#[derive(Debug)]
pub(super) struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// What the shards of a node count, and what its process takes.
    pub(super) fn of(metrics: Metrics) -> Exposition {
        let mut registry = Registry::with_prefix("ringmain");
        registry.register_collector(Box::new(Shards(metrics)));
        registry.register_collector(Box::new(Process));
        Exposition { registry }
    }

    /// The text of this moment.
    pub(super) fn text(&self) -> String {
        let mut encoded = String::new();
        prometheus_text::encode(&mut encoded, &self.registry).expect("a String takes every write");
        encoded
    }
}

/// The cells of all shards.
#[derive(Debug)]
struct Shards(Metrics);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for counter in Counter::ALL {
            self.counter(&mut encoder, *counter)?;
        }
        for gauge in Gauge::ALL.iter().filter(|gauge| !gauge.is_of_node()) {
            self.gauge(&mut encoder, *gauge)?;
        }
        self.members(&mut encoder)?;
        for timing in Timing::ALL {
            self.timing(&mut encoder, *timing)?;
        }
        Ok(())
    }
}

impl Shards {
    /// The label and the index of each shard.
    fn shards(&self) -> impl Iterator<Item = ([(&'static str, u32); 1], usize)> + use<> {
        (0..self.0.shard_count()).map(|shard| ([("shard", shard as u32)], shard))
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        counter: Counter,
    ) -> Result<(), fmt::Error> {
        // The encoder ends the names of counters itself.
        let name = counter.name().trim_end_matches("_total");
        let kind = MetricType::Counter;
        let mut family = encoder.encode_descriptor(name, counter.help(), None, kind)?;
        for (label, shard) in self.shards() {
            let value = self.0.counter(shard, counter);
            family.encode_family(&label)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(&self, encoder: &mut DescriptorEncoder<'_>, gauge: Gauge) -> Result<(), fmt::Error> {
        let kind = MetricType::Gauge;
        let mut family = encoder.encode_descriptor(gauge.name(), gauge.help(), None, kind)?;
        for (label, shard) in self.shards() {
            let value = self.0.gauge(shard, gauge) as i64;
            family.encode_family(&label)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// One family of the gauges that shard 0 sets for all of the node.
    fn members(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Members of the cluster, this node too, by what they are held for.";
        let mut family = encoder.encode_descriptor("members", help, None, MetricType::Gauge)?;
        for (state, gauge) in [
            ("alive", Gauge::MembersAlive),
            ("suspect", Gauge::MembersSuspect),
            ("down", Gauge::MembersDown),
        ] {
            let value = self.0.gauge(0, gauge) as i64;
            family.encode_family(&[("state", state)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn timing(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        timing: Timing,
    ) -> Result<(), fmt::Error> {
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor(timing.name(), timing.help(), None, kind)?;
        for (label, shard) in self.shards() {
            let buckets = self.0.timing(shard, timing);
            let (sum, count) = (seconds(buckets.sum), buckets.count());
            let coarse = coarse(&buckets);
            let mut family = family.encode_family(&label)?;
            family.encode_histogram::<NoLabelSet>(sum, count, &coarse, None)?;
        }
        Ok(())
    }
}

/// How many values lie between each bound and the one before, with the bounds in seconds.
fn coarse(buckets: &Buckets) -> Vec<(f64, u64)> {
    let mut begin = 0;
    let mut counted = |end: usize| {
        let count = buckets.counts[begin..end].iter().sum();
        begin = end;
        count
    };
    let bounds = BOUND_BITS.map(|bits| 1_u64 << bits);
    let mut coarse: Vec<_> =
        bounds.map(|bound| (seconds(bound), counted(bucket_of(bound)))).collect();
    coarse.push((f64::INFINITY, counted(buckets.counts.len())));
    coarse
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// What the process takes of its host.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in [
            ("process_resident_bytes", "Memory of the process, maps included.", resident_bytes()),
            ("process_open_fds", "Open files of the process.", open_fds()),
        ] {
            // Where /proc is not there, neither are these.
            if let Some(value) = value {
                let kind = MetricType::Gauge;
                encoder.encode_descriptor(name, help, None, kind)?.encode_gauge(&(value as i64))?;
            }
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// Newer kernels (6.2) tell the number without a list of all.
fn open_fds() -> Option<u64> {
    let told = fs::metadata("/proc/self/fd").ok()?.len();
    if told > 0 {
        return Some(told);
    }
    // The one that reads the list is in it.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests;
