//! How fast background work may go: a bucket that fills with time and is emptied by what is done.
//!
//! Whoever repairs, hands off or exchanges asks before each piece, so that foreground requests
//! keep most of disk and network however much there is to catch up. What does not fit now is left
//! out, or waits: the caller decides. Source: the token bucket (Turner 1986), as the time up to
//! which all that was done is paid for (the virtual scheduling of ATM's GCRA), so that nothing has
//! to be filled.

use crate::time::Instant;

/// A bucket of units: pieces or bytes, as its owner says.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    per_second: u64,
    /// The part of that which may be used for now, in thousandths.
    share: u16,
    /// What may be done at once after a rest, as the time that it takes to fill, nanoseconds.
    burst_ns: u64,
    /// What was done is paid for at this time, nanoseconds.
    paid_at_ns: u64,
}

impl Pace {
    /// `per_second` units in the long run, and `burst` of them at once after a rest.
    ///
    /// # Panics
    /// If either is 0.
    pub fn new(per_second: u64, burst: u64) -> Pace {
        assert!(per_second > 0);
        assert!(burst > 0);
        let burst_ns = time_ns(burst, per_second, WHOLE);
        Pace { per_second, share: WHOLE, burst_ns, paid_at_ns: 0 }
    }

    /// Takes `units` if the bucket is not empty, even if it holds fewer: what is missing is paid
    /// for before anything is taken again. False if it is empty.
    pub fn take(&mut self, now: Instant, units: u64) -> bool {
        if self.next() > now {
            return false;
        }
        self.pay(now, units);
        true
    }

    /// Takes `units` that were used already, whether the bucket is empty or not.
    pub fn pay(&mut self, now: Instant, units: u64) {
        let cost_ns = time_ns(units, self.per_second, self.share);
        // A rest longer than the burst saves up no more than that.
        let full_at_ns = (now.0 * NS_PER_US).saturating_sub(self.burst_ns);
        self.paid_at_ns = self.paid_at_ns.max(full_at_ns).saturating_add(cost_ns);
    }

    /// From now on, only `per_mille` thousandths of the rate may be used: others need the rest.
    ///
    /// # Panics
    /// If that is none, or more than all.
    pub fn set_share(&mut self, per_mille: u16) {
        assert!((1..=WHOLE).contains(&per_mille));
        self.share = per_mille;
    }

    /// When [`Pace::take`] says yes; not after the present if it does so now.
    pub fn next(&self) -> Instant {
        Instant(self.paid_at_ns.div_ceil(NS_PER_US))
    }
}

/// How long so many units take at `share` thousandths of a rate, nanoseconds.
fn time_ns(units: u64, per_second: u64, share: u16) -> u64 {
    let ns = u128::from(units) * u128::from(NS_PER_SECOND) * u128::from(WHOLE)
        / (u128::from(per_second) * u128::from(share));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// All of a rate.
const WHOLE: u16 = 1000;
const NS_PER_SECOND: u64 = 1_000_000_000;
const NS_PER_US: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use core::time::Duration;

    #[test]
    fn a_burst_then_one_at_a_time() {
        let mut pace = Pace::new(10, 3);
        let mut now = Instant(1 << 40);
        for _ in 0..2 {
            assert_eq!([(); 4].map(|()| pace.take(now, 1)), [true, true, true, true]);
            assert!(!pace.take(now, 1));
            for _ in 0..5 {
                now = pace.next();
                assert!(pace.take(now, 1));
                assert!(!pace.take(now, 1));
                assert_eq!(pace.next().since(now), Duration::from_millis(100));
            }
            now = now + Duration::from_secs(1000);
        }
    }

    #[test]
    fn a_share_stretches_what_is_done_from_then_on() {
        let mut pace = Pace::new(1000, 1);
        let now = Instant(1 << 40);
        assert!(pace.take(now, 100));
        assert_eq!(pace.next().since(now), Duration::from_millis(99));
        pace.set_share(250);
        let now = pace.next();
        pace.pay(now, 100);
        assert_eq!(pace.next().since(now), Duration::from_millis(400));
        pace.set_share(1000);
        pace.pay(now, 1);
        assert_eq!(pace.next().since(now), Duration::from_millis(401));
    }

    #[test]
    fn what_is_larger_than_the_bucket_goes_and_is_paid_for() {
        let mut pace = Pace::new(1000, 10);
        let now = Instant(5_000_000);
        assert!(pace.take(now, 5000));
        assert_eq!(pace.next(), Instant(5_000_000 + 4_990_000));
        let mut pace = Pace::new(1, 1);
        assert!(pace.take(now, u64::MAX), "no sum overflows");
        assert!(!pace.take(Instant(u64::MAX / NS_PER_US), 1));
    }

    /// Whatever is asked for when, no more passes than rate and burst allow, but for the last.
    #[test]
    fn no_more_passes_than_is_allowed() {
        let mut prng = Prng::new(1);
        for _ in 0..200 {
            let (rate, burst) = (1 + prng.below(1_000_000), 1 + prng.below(10_000));
            let mut pace = Pace::new(rate, burst);
            let begin = Instant(1 << 40);
            let (mut now, mut passed, mut last) = (begin, 0, 0);
            for _ in 0..500 {
                let units = prng.below(2 * burst);
                if pace.take(now, units) {
                    (passed, last) = (passed + units, units);
                }
                let most = now.since(begin).as_micros() * u128::from(rate) / 1_000_000;
                assert!(u128::from(passed - last) <= most + u128::from(burst) + 1);
                now = now + Duration::from_micros(prng.below(3_000));
            }
        }
    }
}
