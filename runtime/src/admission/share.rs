//! How much of its time and bandwidth background work gets, decided by how long clients wait.
//!
//! Source: Dynamo §6.5: background tasks get slices of time as long as the 99th percentile of
//! foreground reads keeps under 50 ms. Here it is looked at in windows: one with more than a
//! hundredth of its reads over [`SLOW`] halves the share, any other gives a sixteenth of the
//! whole back, as TCP does with its window. So it falls at once when clients begin to wait, and
//! what is left after that finds the rate that they do not notice.

use ringmain_core::time::Instant;
use std::time::Duration;

/// A read that takes longer is slow.
pub const SLOW: Duration = Duration::from_millis(50);
/// How long reads are counted before the share is decided anew.
pub const WINDOW: Duration = Duration::from_millis(200);
/// The share of whoever has all, and the unit of all others.
const WHOLE: u32 = 1024;
/// Background work is never stopped: what it frees and repairs is needed in the end.
const LEAST: u32 = WHOLE / 16;
/// Given back with each window in which clients hardly wait.
const STEP: u32 = WHOLE / 16;
/// One read in so many may be slow.
const SLOW_PART: u64 = 100;

/// A part of what background work may do: all of it while clients do not wait.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    part: u32,
    window_ends: Instant,
    count: u64,
    slow: u64,
}

impl Default for Share {
    fn default() -> Share {
        Share { part: WHOLE, window_ends: Instant(0), count: 0, slow: 0 }
    }
}

impl Share {
    /// `count` reads were answered that took `took` each.
    pub fn note(&mut self, took: Duration, count: u64) {
        self.count += count;
        self.slow += if took > SLOW { count } else { 0 };
    }

    /// Ends the window if its time is over. O(1), however long that is ago: windows in which
    /// nobody asked for anything give all back.
    pub fn look(&mut self, now: Instant) {
        if now < self.window_ends {
            return;
        }
        let idle = now.since(self.window_ends).as_micros() / WINDOW.as_micros();
        self.part = if self.slow * SLOW_PART > self.count {
            (self.part / 2).max(LEAST)
        } else {
            self.part + STEP
        };
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        self.part = self.part.saturating_add(idle.saturating_mul(STEP)).min(WHOLE);
        (self.count, self.slow, self.window_ends) = (0, 0, now + WINDOW);
    }

    /// What background work gets of a time.
    pub fn of_time(&self, whole: Duration) -> Duration {
        whole * self.part / WHOLE
    }

    /// What background work gets of a rate, at least 1.
    pub fn of_rate(&self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.part) / u128::from(WHOLE);
        (part as u64).max(1)
    }

    /// In thousandths.
    pub fn per_mille(&self) -> u64 {
        u64::from(self.part) * 1000 / u64::from(WHOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends so many windows, each after `slow` of 1000 slow requests.
    fn windows(share: &mut Share, now: &mut Instant, count: u32, slow: u64) -> u64 {
        for _ in 0..count {
            share.note(SLOW + Duration::from_micros(1), slow);
            share.note(SLOW, 1000 - slow);
            share.look(*now);
            *now = *now + WINDOW;
        }
        share.per_mille()
    }

    #[test]
    fn slow_requests_halve_it_and_others_give_it_back() {
        let (mut share, mut now) = (Share::default(), Instant(1_000_000));
        // A first window has no length: it only begins.
        assert_eq!(windows(&mut share, &mut now, 1, 0), 1000);
        assert_eq!(windows(&mut share, &mut now, 5, 10), 1000, "one in a hundred may be slow");
        assert_eq!(windows(&mut share, &mut now, 1, 11), 500);
        assert_eq!(windows(&mut share, &mut now, 1, 11), 250);
        assert_eq!(share.of_time(Duration::from_micros(100)), Duration::from_micros(25));
        assert_eq!(
            [share.of_rate(4000), share.of_rate(u64::MAX), share.of_rate(0)],
            [1000, u64::MAX / 4, 1]
        );
        assert_eq!(windows(&mut share, &mut now, 10, 1000), 62, "it is never nothing");
        assert_eq!(windows(&mut share, &mut now, 1, 0), 125);
        assert_eq!(windows(&mut share, &mut now, 14, 0), 1000);
        assert_eq!(windows(&mut share, &mut now, 5, 0), 1000);
    }

    #[test]
    fn a_rest_gives_all_back_and_a_window_is_not_cut_short() {
        let (mut share, mut now) = (Share::default(), Instant(1_000_000));
        windows(&mut share, &mut now, 6, 1000);
        share.note(SLOW * 2, 1000);
        let before = share.per_mille();
        share.look(Instant(now.0 - 1));
        assert_eq!(share.per_mille(), before);
        now = now + Duration::from_secs(3600);
        share.look(now);
        assert_eq!(share.per_mille(), 1000);
    }
}
