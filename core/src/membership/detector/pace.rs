//! The times and counts that follow from T and the number of members, in integers.

use core::time::Duration;

use crate::limits::{
    CONFIRMATION_COUNT_MAX, DOWN_PROBE_PERIODS, SUSPICION_FACTOR_MAX, SUSPICION_PERIODS_MIN,
    SYNC_INTERVAL,
};

/// T and n.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// This node included.
    member_count: u32,
}

impl Pace {
    pub(super) fn new(interval: Duration, member_count: u32) -> Pace {
        assert!(member_count > 0);
        Pace { interval, member_count }
    }

    /// T.
    pub(super) fn interval(self) -> Duration {
        self.interval
    }

    /// How long a probed member has before others are asked: 3T/10.
    pub(super) fn probe_timeout(self) -> Duration {
        self.interval * 3 / 10
    }

    /// Time between two probes of members that are down.
    pub(super) fn down_interval(self) -> Duration {
        self.interval * DOWN_PROBE_PERIODS
    }

    /// Time between two comparisons of tables: with more than 32 members the time grows by
    /// their logarithm, so that the traffic of all does not grow with their square.
    pub(super) fn sync_interval(self) -> Duration {
        let doublings = self.member_count.div_ceil(32).next_power_of_two().ilog2();
        SYNC_INTERVAL * (doublings + 1)
    }

    /// How often a node sends one update: 4 × ceil(log10(n + 1)).
    pub(super) fn send_count_max(self) -> u8 {
        // n >= 10^k: log10(n + 1) is above k.
        4 * (self.member_count.ilog10() as u8 + 1)
    }

    /// How many other accusers shorten a suspicion.
    pub(super) fn confirmation_count_max(self) -> usize {
        if self.member_count < 4 { 0 } else { CONFIRMATION_COUNT_MAX }
    }

    /// The shortest suspicion: 4 × max(1, log10 n) × T.
    pub(super) fn suspicion_min(self) -> Duration {
        let factor = log10_q16(self.member_count).max(ONE_Q16);
        self.scaled(u64::from(SUSPICION_PERIODS_MIN) * factor)
    }

    /// How long a suspect has once `confirmations` others accused it, too:
    /// max − (max − min) × ln(confirmations + 1) / ln(c + 1).
    pub(super) fn suspicion(self, confirmations: usize) -> Duration {
        let min = self.suspicion_min();
        if confirmations >= self.confirmation_count_max() {
            return min;
        }
        let max = min * SUSPICION_FACTOR_MAX;
        let span = (max - min).as_micros() as u64;
        max - Duration::from_micros((span * LN_FRACTIONS_Q16[confirmations]) >> 16)
    }

    /// T × `factor` / 2^16.
    fn scaled(self, factor_q16: u64) -> Duration {
        Duration::from_micros((self.interval.as_micros() as u64 * factor_q16) >> 16)
    }
}

/// log10 of `n` in units of 2^-16, low by less than 1/10 000 for n up to 2^16: the logarithm to
/// base 2 by repeated squaring, 16 bits of it, times log10(2).
pub(super) fn log10_q16(n: u32) -> u64 {
    let whole = n.ilog2();
    // n / 2^whole in units of 2^-32: 1 <= mantissa < 2.
    let mut mantissa = (u64::from(n) << 32) >> whole;
    let mut log2 = u64::from(whole);
    for _ in 0..16 {
        mantissa = ((u128::from(mantissa) * u128::from(mantissa)) >> 32) as u64;
        log2 <<= 1;
        if mantissa >> 33 > 0 {
            mantissa >>= 1;
            log2 |= 1;
        }
    }
    (log2 * LOG10_OF_2_Q32) >> 32
}

const ONE_Q16: u64 = 1 << 16;

/// log10(2) in units of 2^-32.
const LOG10_OF_2_Q32: u64 = 1_292_913_986;

/// ln(j + 1) / ln(c + 1) for c = 2 in units of 2^-16, rounded: off by less than 2^-17.
const LN_FRACTIONS_Q16: [u64; CONFIRMATION_COUNT_MAX + 1] = [0, 41_349, 65_536];
