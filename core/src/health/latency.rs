//! How long something usually takes, estimated in constant space and integers.

use core::time::Duration;

/// Estimates are kept in parts of a microsecond, so that small ones move, too.
const SCALE: u64 = 256;
/// Longer than any wait: 2^20 s, so that no product overflows.
const MOST: u64 = 1 << 40;

fn scaled(sample: Duration) -> u64 {
    u64::try_from(sample.as_micros()).unwrap_or(MOST).min(MOST) * SCALE
}

fn duration(scaled: u64) -> Duration {
    Duration::from_micros(scaled / SCALE)
}

/// The mean of latencies, and a value that about 19 of 20 do not exceed. Both follow a change
/// within some ten samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// 0 = no sample yet.
    mean: u64,
    p95: u64,
}

impl Latency {
    /// One more latency. A quantile is where as much pulls up as down: a step up is 19 times a
    /// step down (Robbins and Monro 1951); steps grow with the estimate, so that any scale is
    /// reached soon.
    pub(super) fn take(&mut self, sample: Duration) {
        let sample = scaled(sample).max(SCALE);
        if self.mean == 0 {
            (self.mean, self.p95) = (sample, 2 * sample);
            return;
        }
        self.mean = self.mean - self.mean / 8 + sample / 8;
        // Far off, it jumps: a value twice as large as all of the last ones is none of theirs.
        self.p95 = match self.p95 {
            p95 if sample > p95 => p95 + 19 * p95 / 256,
            p95 if p95 > 16 * self.mean => p95 - p95 / 16,
            p95 => p95 - p95 / 256,
        };
        self.p95 = self.p95.max(self.mean);
    }

    /// The mean; zero without a sample.
    pub(super) fn mean(&self) -> Duration {
        duration(self.mean)
    }

    /// What about 19 of 20 do not exceed; none without a sample.
    pub(super) fn p95(&self) -> Option<Duration> {
        (self.mean > 0).then(|| duration(self.p95))
    }
}

/// How long a peer is usually silent: a mean and a deviation, which take one long silence seriously
/// at once (Jacobson, Congestion Avoidance and Control, 1988).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    mean: u64,
    deviation: u64,
}

impl Silence {
    /// One more silence.
    pub(super) fn take(&mut self, sample: Duration) {
        let sample = scaled(sample);
        let off = sample.abs_diff(self.mean);
        self.deviation = self.deviation - self.deviation / 4 + off / 4;
        self.mean = self.mean - self.mean / 8 + sample / 8;
    }

    /// What hardly any silence exceeds.
    pub(super) fn usual(&self) -> Duration {
        duration(self.mean + 4 * self.deviation)
    }
}
