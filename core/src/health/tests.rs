//! Silence, latencies and stops, against naive models.

use super::*;
use crate::limits::{PULSE, STOP_GRACE};
use crate::prng::Prng;
use std::collections::VecDeque;
use std::vec::Vec;

const ONE: NodeId = NodeId(2);
const TWO: NodeId = NodeId(3);
const OP: RequestId = RequestId(0x0001_0001);
const HERE: Partition = Partition(5);
const BEGIN: Instant = Instant(1_000_000);
const SIGN: Due = Due::Sign { node: ONE, partition: HERE };

/// What happens at the next time at which something does.
fn next(health: &mut Health, now: &mut Instant) -> Option<Due> {
    *now = health.next().expect("something is due");
    let due = health.step(*now);
    assert_eq!(health.step(*now), None, "one thing for each peer");
    due
}

/// A peer that is suspect, and the time.
fn suspect() -> (Health, Instant) {
    let (mut health, mut now) = (Health::default(), BEGIN);
    health.on_sent(now, ONE, HERE);
    assert_eq!(next(&mut health, &mut now), Some(SIGN));
    assert_eq!(now, BEGIN + SILENCE_FLOOR);
    assert!(!health.is_suspect(ONE));
    assert_eq!(next(&mut health, &mut now), Some(Due::Opened));
    assert_eq!(now, BEGIN + 2 * SILENCE_FLOOR);
    assert!(health.is_suspect(ONE));
    (health, now)
}

#[test]
fn who_is_silent_is_asked_for_a_sign_then_suspect_then_asked_ever_more_rarely() {
    let (mut health, mut now) = suspect();
    let mut pause = SIGN_PAUSE_MIN;
    for _ in 0..10 {
        let before = now;
        assert_eq!(next(&mut health, &mut now), Some(SIGN));
        assert_eq!(now.since(before), pause);
        pause = (2 * pause).min(SIGN_PAUSE_MAX);
    }
    assert_eq!(pause, SIGN_PAUSE_MAX);
    assert_eq!(health.suspects().collect::<Vec<_>>(), [ONE]);
    assert_eq!((health.figures.opened, health.figures.waits), (1, 0));
    health.on_sent(now, ONE, HERE);
    assert_eq!(health.figures.waits, 1);
}

#[test]
fn any_word_ends_the_suspicion_at_once_and_a_lost_link_does() {
    for heard in [true, false] {
        let (mut health, now) = suspect();
        assert!(!health.on_heard(now, TWO, OP), "of somebody else");
        let ends = if heard {
            Health::on_heard
        } else {
            |health: &mut Health, _, node, _| health.on_links_changed(node)
        };
        assert!(ends(&mut health, now, ONE, RequestId::NONE));
        assert!(!ends(&mut health, now, ONE, RequestId::NONE), "once");
        assert!(!health.is_suspect(ONE));
        assert_eq!((health.next(), health.figures.closed), (None, 1));
    }
}

/// Who was sent nothing owes nothing.
#[test]
fn no_time_passes_for_who_was_sent_nothing() {
    let (mut health, now) = (Health::default(), BEGIN);
    assert!(!health.on_heard(now, ONE, OP));
    assert_eq!((health.next(), health.step(now)), (None, None));
    health.on_sent(now, ONE, HERE);
    health.on_heard(now, ONE, OP);
    assert_eq!((health.next(), health.step(now + SILENCE_MAX)), (None, None));
}

/// The answers may be in a buffer that was not read yet.
#[test]
fn who_was_late_itself_suspects_nobody() {
    let late = STOP_MIN + Duration::from_micros(1);
    let (mut health, mut now) = (Health::default(), BEGIN);
    health.on_sent(now, ONE, HERE);
    now = now + SILENCE_FLOOR + late;
    assert_eq!(health.step(now), None);
    assert_eq!(next(&mut health, &mut now), Some(SIGN), "its time has begun anew");
    for _ in 0..3 {
        now = now + SILENCE_FLOOR + late;
        assert_eq!(health.step(now), Some(SIGN), "and it is asked again");
    }
    assert_eq!(next(&mut health, &mut now), Some(Due::Opened));
}

/// Whatever it takes, as long as it is not more than the most that is borne.
#[test]
fn who_answers_slowly_but_steadily_is_suspected_once_at_the_most() {
    for slow in (0..=900).step_by(50).map(Duration::from_millis) {
        let (mut health, mut now) = (Health::default(), BEGIN);
        for round in 0..200 {
            health.on_sent(now, ONE, HERE);
            let heard = now + slow;
            while let Some(at) = health.next().filter(|at| *at < heard) {
                health.step(at);
            }
            health.on_heard(heard, ONE, OP);
            now = heard + Duration::from_millis(round % 7);
        }
        assert!(health.figures.opened <= 1, "{slow:?}: {:?}", health.figures);
        assert!(slow > 2 * SILENCE_FLOOR || health.figures.opened == 0, "{slow:?}");
    }
}

/// Against a peer of which everything is known: when it was last heard, and what it was sent since.
#[test]
fn nobody_is_suspected_early_or_late() {
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let (mut health, mut now) = (Health::default(), BEGIN);
        // Since when it is waited for.
        let mut since: Option<Instant> = None;
        let mut was_suspect = false;
        for _ in 0..300 {
            match prng.below(5) {
                0 | 1 => {
                    health.on_sent(now, ONE, HERE);
                    since.get_or_insert(now);
                }
                2 if prng.chance(30) => {
                    assert_eq!(health.on_heard(now, ONE, OP), was_suspect);
                    (since, was_suspect) = (None, false);
                }
                _ => {
                    let end = now + Duration::from_millis(prng.below(80));
                    while let Some(at) = health.next().filter(|at| *at <= end) {
                        now = at;
                        was_suspect |= health.step(now) == Some(Due::Opened);
                    }
                    now = end;
                }
            }
            assert_eq!(health.is_suspect(ONE), was_suspect);
            let silent = since.map_or(Duration::ZERO, |since| now.since(since));
            assert!(!was_suspect || silent >= 2 * SILENCE_FLOOR, "not before");
            assert!(was_suspect || silent <= 2 * SILENCE_MAX, "not after");
        }
    }
}

#[test]
fn the_read_that_is_timed_is_timed_by_its_own_answer() {
    let (mut health, now) = (Health::default(), BEGIN);
    let other = RequestId(OP.0 + 1);
    assert_eq!((health.latency(ONE), health.hedge(ONE)), (Duration::ZERO, READ_HEDGE));
    health.time(now, ONE, OP);
    health.time(now + Duration::from_millis(1), ONE, other);
    health.on_heard(now + Duration::from_millis(2), ONE, other);
    assert_eq!(health.latency(ONE), Duration::ZERO);
    health.on_heard(now + Duration::from_millis(9), ONE, OP);
    assert_eq!(health.latency(ONE), Duration::from_millis(9));
    health.on_heard(now + Duration::from_millis(99), ONE, OP);
    assert_eq!(health.latency(ONE), Duration::from_millis(9), "once");
    // One that never comes was slow.
    health.time(now, ONE, OP);
    health.time(now + SILENCE_MAX + SILENCE_MAX, ONE, other);
    assert!(health.latency(ONE) > Duration::from_millis(200));
    assert_eq!(health.latency(TWO), Duration::ZERO);
}

#[test]
fn hedges_stay_within_their_bounds() {
    for (latency_us, hedge) in [(1, READ_HEDGE_MIN), (1_000_000, READ_HEDGE_MAX)] {
        let (mut health, now) = (Health::default(), BEGIN);
        for _ in 0..100 {
            health.time(now, ONE, OP);
            health.on_heard(now + Duration::from_micros(latency_us), ONE, OP);
        }
        assert_eq!(health.hedge(ONE), hedge);
    }
}

/// The share of the last thousand samples that exceed an estimate, for a thousand estimates.
fn exceeding(mut sample: impl FnMut() -> u64) -> f64 {
    let (mut latency, mut window) = (Latency::default(), VecDeque::new());
    let (mut above, mut count) = (0, 0);
    for round in 0..3000 {
        let next = Duration::from_micros(sample());
        latency.take(next);
        window.push_back(next);
        if window.len() > 1000 {
            window.pop_front();
        }
        if round >= 2000 {
            let p95 = latency.p95().unwrap();
            above += window.iter().filter(|sample| **sample > p95).count();
            count += window.len();
        }
    }
    above as f64 / count as f64
}

#[test]
fn about_one_of_twenty_exceeds_the_percentile() {
    for scale in [100, 1_000, 50_000] {
        let mut prng = Prng::new(scale);
        // Even, long-tailed, and two-fold: a disk that has the record in memory or has not.
        let even = exceeding(|| scale + prng.below(scale));
        let tailed = exceeding(|| scale * 1000 / (1 + prng.below(1000)));
        let both = exceeding(|| if prng.chance(10) { 20 * scale } else { scale + prng.below(9) });
        for share in [even, tailed, both] {
            assert!((0.02..0.11).contains(&share), "{even} {tailed} {both} at {scale}");
        }
    }
}

#[test]
fn the_mean_follows_a_change_soon() {
    let mut latency = Latency::default();
    (0..50).for_each(|_| latency.take(Duration::from_micros(300)));
    assert_eq!(latency.mean().as_micros(), 300);
    (0..20).for_each(|_| latency.take(Duration::from_millis(30)));
    assert!(latency.mean() > Duration::from_millis(25));
    (0..40).for_each(|_| latency.take(Duration::from_micros(300)));
    assert!(latency.mean() < Duration::from_micros(600));
    assert!(latency.p95().unwrap() < Duration::from_millis(20), "{latency:?}");
    for huge in [Duration::MAX, Duration::ZERO] {
        (0..1000).for_each(|_| latency.take(huge));
        assert!(latency.p95() >= Some(latency.mean()), "nothing overflows");
    }
}

/// What was read may have come at any time since the pulse before.
#[test]
fn what_is_read_behind_a_stop_is_as_old_as_the_stop() {
    let mut pulse = Pulse::new();
    assert_eq!((pulse.next(), pulse.arrived(BEGIN)), (None, BEGIN));
    pulse.on_run(BEGIN);
    let due = BEGIN + PULSE;
    assert_eq!(pulse.next(), Some(due));
    let bearable = due + STOP_MIN;
    assert_eq!(pulse.arrived(bearable), bearable, "late, as anybody may be");
    let woken = bearable + Duration::from_secs(5);
    for runs in [false, true] {
        if runs {
            pulse.on_run(woken);
        }
        assert_eq!(pulse.arrived(woken), BEGIN);
    }
    let last = woken + STOP_GRACE - Duration::from_micros(1);
    assert_eq!(pulse.arrived(last), BEGIN);
    assert_eq!(pulse.arrived(woken + STOP_GRACE), woken + STOP_GRACE);
    // A second stop before the buffers were drained.
    let again = woken + PULSE + STOP_MIN + Duration::from_millis(1);
    assert_eq!(pulse.arrived(again), woken);
}

/// A naive process: it knows when each thing arrived that it reads.
#[test]
fn nothing_is_taken_for_younger_than_it_is() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let (mut pulse, mut now) = (Pulse::new(), BEGIN);
        pulse.on_run(now);
        let mut stops = 0;
        for _ in 0..300 {
            // Runs for a while, on time or nearly so.
            for _ in 0..prng.below(5) {
                let arrived = pulse.next().unwrap();
                now = arrived + Duration::from_millis(prng.below(90));
                pulse.on_run(now);
            }
            let stopped_at = now;
            now = now + Duration::from_millis(prng.below(2_000));
            let is_stop = now.since(stopped_at) > PULSE + STOP_MIN;
            stops += usize::from(is_stop);
            let arrived = stopped_at + Duration::from_millis(1);
            assert!(!is_stop || pulse.arrived(now) <= arrived, "it came while all stood");
            pulse.on_run(now);
            assert!(!is_stop || pulse.arrived(now) <= arrived);
            now = now + STOP_GRACE;
            pulse.on_run(now);
            assert_eq!(pulse.arrived(now), now, "what comes now is new");
        }
        assert!(stops > 50);
    }
}
