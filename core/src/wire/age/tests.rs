//! Frame clocks against a naive model and against the truth, which no node knows.

use std::vec::Vec;

use super::*;
use crate::limits::{BEAT_PAUSE, FRAME_AGE_MAX, STAMP_WRAP};
use crate::prng::Prng;

const SECOND: u64 = 1_000_000;
const BEGAN: Instant = Instant(77 * SECOND);

fn clock() -> FrameClock {
    FrameClock::new(BEGAN, FRAME_AGE_MAX)
}

/// What a frame is taken for that was stamped after `sent_ms` and read after `received_us`, each on
/// the clock of its end.
fn read(clock: &mut FrameClock, sent_ms: u64, received_us: u64) -> Result<Duration, Untimely> {
    let now = BEGAN + Duration::from_micros(received_us);
    clock.on_frame(now, stamp(Instant(5), Instant(5 + 1000 * sent_ms)))
}

#[test]
fn a_frame_at_the_bound_is_taken_and_one_past_it_is_not() {
    let bound_us = FRAME_AGE_MAX.as_micros() as u64;
    for sent_ms in [0, 1, 59_999, 60_001, 65_535] {
        let sent_us = 1000 * sent_ms;
        assert_eq!(read(&mut clock(), sent_ms, sent_us + bound_us), Ok(FRAME_AGE_MAX));
        let age = FRAME_AGE_MAX + Duration::from_micros(1);
        assert_eq!(read(&mut clock(), sent_ms, sent_us + bound_us + 1), Err(Untimely::Stale(age)));
    }
}

#[test]
fn the_very_first_frame_may_be_stale() {
    let mut clock = clock();
    let age = Duration::from_secs(61);
    assert_eq!(read(&mut clock, 4, 61 * SECOND + 4000), Err(Untimely::Stale(age)));
    // And what lay behind it.
    assert!(read(&mut clock, 500, 61 * SECOND + 5000).is_err());
    // What follows later is fresh; but the connection is closed by then.
    assert_eq!(read(&mut clock, 61_100, 61 * SECOND + 100_000), Ok(Duration::ZERO));
}

#[test]
fn stamps_wrap_without_notice() {
    let mut clock = clock();
    for sent_ms in (0..1_000_000).step_by(20_000) {
        let age = Duration::from_micros(1234);
        assert_eq!(read(&mut clock, sent_ms, 1000 * sent_ms + 1234), Ok(age));
    }
    assert_eq!(stamp(Instant(9), Instant(3)), 0, "an end that has not begun");
}

/// A sender that says nothing while its stamps wrap makes its next frame look too old, never too
/// young.
#[test]
fn silence_ages() {
    let wrap_ms = STAMP_WRAP.as_millis() as u64;
    for (silence_ms, wraps) in
        [(wrap_ms - 1, 0), (wrap_ms, 1), (wrap_ms + 5000, 1), (9 * wrap_ms, 9)]
    {
        let mut clock = clock();
        assert_eq!(read(&mut clock, 7, 7500), Ok(Duration::from_micros(500)));
        let taken = read(&mut clock, 7 + silence_ms, 7500 + 1000 * silence_ms);
        let age = wraps * STAMP_WRAP + Duration::from_micros(500);
        assert_eq!(taken, if wraps == 0 { Ok(age) } else { Err(Untimely::Stale(age)) });
    }
}

#[test]
fn a_link_with_beats_lives_as_long_as_its_clocks_agree() {
    // For 30 days, with the receiver's clock slower by 200 ppm, then faster by 20 ppm.
    for (millionths, hidden_us) in [(-200_i64, 4_000), (20, 0)] {
        let mut clock = clock();
        for sent_ms in (0..30 * 86_400_000_u64).step_by(BEAT_PAUSE.as_millis() as usize) {
            let sent_us = 1000 * sent_ms as i64;
            let under_way_us = 400;
            let received_us = sent_us + sent_us * millionths / 1_000_000 + under_way_us;
            let age = read(&mut clock, sent_ms, received_us as u64).expect("it is fresh");
            let age_us = age.as_micros() as i64;
            assert!(age_us >= under_way_us - hidden_us);
            assert!(age_us <= under_way_us + 52 * SECOND as i64);
        }
    }
}

/// What breaks the rules is noticed: a frame without a stamp, one that has overtaken another, and a
/// clock that stood still.
#[test]
fn what_comes_from_the_future_is_refused() {
    let half = FRAME_AGE_MAX / 2;
    for earlier_ms in [1, 500, 4_900] {
        let mut clock = clock();
        assert!(read(&mut clock, 5_000, 5 * SECOND).is_ok());
        let apart = STAMP_WRAP - Duration::from_millis(earlier_ms);
        let taken = read(&mut clock, 5_000 - earlier_ms, 5 * SECOND);
        assert_eq!(taken, Err(Untimely::FromFuture(apart)));
        assert!(read(&mut clock, 5_001, 5 * SECOND + 1000).is_err(), "and so is what follows");
    }
    let mut clock = clock();
    let half_ms = half.as_millis() as u64;
    assert_eq!(read(&mut clock, half_ms, 0), Ok(Duration::ZERO));
    let apart = half + Duration::from_millis(1);
    assert_eq!(read(&mut clock, 2 * half_ms + 1, 0), Err(Untimely::FromFuture(apart)));
}

/// The same with every frame kept and nothing carried along.
#[derive(Default)]
struct Naive {
    frames: Vec<(i128, u16)>,
}

impl Naive {
    fn age_us(&mut self, received_us: u64, sent_ms: u16) -> u128 {
        self.frames.push((received_us.into(), sent_ms));
        let (mut sent, mut differences) = (0, std::vec![0]);
        for (received, stamp) in &self.frames {
            // The first time not before the last one that has this stamp.
            while sent % 65_536 != i128::from(*stamp) {
                sent += 1;
            }
            differences.push(received - 1000 * sent);
        }
        let smallest = differences.iter().min().expect("that of the beginning");
        differences[self.frames.len()].abs_diff(*smallest)
    }
}

/// One connection with clocks that drift: true times in microseconds since the receiver's end
/// began.
struct Link {
    prng: Prng,
    /// By how much a clock runs faster, in millionths.
    sender: i64,
    receiver: i64,
    /// When the sender's end began.
    began_us: i64,
    sent_us: i64,
    read_us: i64,
}

impl Link {
    fn new(seed: u64, drift: u64) -> Link {
        let mut prng = Prng::new(seed);
        let mut draw = |most: u64| prng.below(2 * most + 1) as i64 - most as i64;
        let (sender, receiver) = (draw(drift), draw(drift));
        let began_us = prng.below(300_000) as i64;
        Link { prng, sender, receiver, began_us, sent_us: began_us, read_us: began_us }
    }

    /// The next frame: its stamp, when it is read on the receiver's clock, and how long it has
    /// taken.
    fn next(&mut self) -> (u16, u64, i64) {
        let pause_ms = match self.prng.below(100) {
            0 => 150_000,
            1..10 => 60_000,
            10..40 => 500,
            _ => 2,
        };
        self.sent_us += self.prng.below(1000 * pause_ms) as i64;
        let delay_ms = match self.prng.below(100) {
            0 => 200_000,
            1..5 => 61_000,
            5..20 => 300,
            _ => 3,
        };
        // In order; and buffers are drained at once.
        self.read_us = self.read_us.max(self.sent_us + self.prng.below(1000 * delay_ms) as i64);
        let since = self.sent_us - self.began_us;
        let sender_us = since + since * self.sender / 1_000_000;
        let receiver_us = self.read_us + self.read_us * self.receiver / 1_000_000;
        let stamp = stamp(Instant(0), Instant(sender_us as u64));
        (stamp, receiver_us as u64, self.read_us - self.sent_us)
    }
}

#[test]
fn random_frames_are_taken_as_by_the_naive_model() {
    for seed in 0..20 {
        let (mut link, mut clock, mut naive) = (Link::new(seed, 200), clock(), Naive::default());
        for _ in 0..40 {
            let (stamp, received_us, _) = link.next();
            let age = Duration::from_micros(naive.age_us(received_us, stamp) as u64);
            let taken = clock.on_frame(BEGAN + Duration::from_micros(received_us), stamp);
            let expected = if age > FRAME_AGE_MAX { Err(Untimely::Stale(age)) } else { Ok(age) };
            assert_eq!(taken, expected, "seed {seed}");
        }
    }
}

/// The truth: with steady clocks no frame is ever taken for younger than it is, and with clocks
/// that drift by no more than the quickest earlier frame took and they drifted since then.
#[test]
fn no_random_frame_is_taken_for_younger_than_it_is() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..300 {
        let drift = if seed % 3 == 0 { 0 } else { 200 };
        let (mut link, mut clock) = (Link::new(seed, drift), clock());
        // When an earlier frame was read, and what it had taken; the beginning takes nothing.
        let mut earlier = std::vec![(0, 0)];
        for _ in 0..300 {
            let (stamp, received_us, under_way_us) = link.next();
            let age = match clock.on_frame(BEGAN + Duration::from_micros(received_us), stamp) {
                Ok(age) | Err(Untimely::Stale(age)) => age,
                Err(untimely) => panic!("{untimely}"),
            };
            let drifted_us = |since: i64| (link.read_us - since) * 2 * drift as i64 / 1_000_000;
            let hidden = earlier.iter().map(|(at, took)| took + drifted_us(*at)).min();
            // A stamp and a drift are each rounded.
            let hidden_us = if drift == 0 { 0 } else { hidden.expect("the beginning") + 2002 };
            assert!(age.as_micros() as i64 >= under_way_us - hidden_us, "seed {seed}");
            earlier.push((link.read_us, under_way_us));
            let is_stale = under_way_us - hidden_us > FRAME_AGE_MAX.as_micros() as i64;
            refused += u64::from(is_stale);
            taken += u64::from(age <= FRAME_AGE_MAX);
            assert!(!is_stale || age > FRAME_AGE_MAX);
            if age > FRAME_AGE_MAX {
                break;
            }
        }
    }
    assert!(refused > 100, "{refused}");
    assert!(taken > 3000, "{taken}");
}
