//! A histogram whose buckets are fixed: linear below 16 ns, then 16 equal steps per power of
//! two (so a bucket is at most 1/16 of its lower bound wide), up to 2^36 ns ≈ 69 s; the last
//! bucket takes what is longer. Recording is a few shifts and three stores, no search and no
//! allocation (the layout of HdrHistogram, Tene 2012, with fixed precision).

use std::sync::atomic::{AtomicU64, Ordering};

use super::bump;

/// Bits of a value below its leading one that choose the bucket.
const STEP_BITS: u32 = 4;
/// Values from 2^VALUE_BITS on share the last bucket.
const VALUE_BITS: u32 = 36;
/// Buckets of every histogram.
pub const BUCKET_COUNT: usize = ((VALUE_BITS - STEP_BITS + 1) << STEP_BITS) as usize;

/// The cells of one histogram. One thread records, any thread reads.
#[derive(Debug)]
pub(super) struct Histogram {
    counts: [AtomicU64; BUCKET_COUNT],
    sum: AtomicU64,
    max: AtomicU64,
}

/// A histogram as read: a plain value that can be added to others and asked for quantiles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Buckets {
    /// How many values fell into each bucket.
    pub counts: Vec<u64>,
    /// Sum of all values, nanoseconds; wraps after 584 years of latency.
    pub sum: u64,
    /// The largest value, nanoseconds; exact.
    pub max: u64,
}

/// The bucket that `nanoseconds` falls into, below [`BUCKET_COUNT`].
pub fn bucket_of(nanoseconds: u64) -> usize {
    let value = nanoseconds.min((1 << VALUE_BITS) - 1);
    let exponent = (value | 1 << STEP_BITS).ilog2();
    let row = exponent - STEP_BITS;
    ((u64::from(row) << STEP_BITS) + (value >> row)) as usize
}

/// The largest value of a bucket, nanoseconds; the last bucket has none (`u64::MAX`).
///
/// # Panics
/// If there is no such bucket.
pub fn bucket_top(bucket: usize) -> u64 {
    assert!(bucket < BUCKET_COUNT);
    if bucket + 1 == BUCKET_COUNT {
        return u64::MAX;
    }
    let next = bucket as u64 + 1;
    let row = (next >> STEP_BITS).saturating_sub(1);
    ((next - (row << STEP_BITS)) << row) - 1
}

impl Histogram {
    pub(super) const fn new() -> Histogram {
        Histogram {
            counts: [const { AtomicU64::new(0) }; BUCKET_COUNT],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    pub(super) fn record(&self, nanoseconds: u64, count: u64) {
        bump(&self.counts[bucket_of(nanoseconds)], count);
        bump(&self.sum, nanoseconds.wrapping_mul(count));
        if count > 0 && nanoseconds > self.max.load(Ordering::Relaxed) {
            self.max.store(nanoseconds, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Buckets {
        Buckets {
            counts: self.counts.iter().map(|cell| cell.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

impl Buckets {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another shard's values.
    pub fn add(&mut self, other: &Buckets) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// The value that `parts` of `whole` values do not exceed, nanoseconds: the top of its
    /// bucket, so at most 1/16 too high, and never above `max`. `None` without values.
    ///
    /// # Panics
    /// If `parts` exceeds `whole`.
    pub fn quantile(&self, parts: u64, whole: u64) -> Option<u64> {
        assert!(parts <= whole);
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (u128::from(count) * u128::from(parts)).div_ceil(u128::from(whole.max(1)));
        let mut seen = 0;
        for (bucket, &more) in self.counts.iter().enumerate() {
            seen += u128::from(more);
            if seen >= rank.max(1) {
                return Some(bucket_top(bucket).min(self.max));
            }
        }
        None
    }
}
