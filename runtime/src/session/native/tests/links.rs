//! Two ends of a link, each with its own clock, and bytes that lie between them for long.

use ringmain_core::limits::{BEAT_PAUSE, FRAME_AGE_MAX};
use ringmain_core::wire::age::Untimely;

use super::super::clock::LOOK_PAUSE;
use super::*;

const MILLISECOND: u64 = 1000;
const BOUND: u64 = FRAME_AGE_MAX.as_micros() as u64;

/// One end of a link.
struct Side {
    /// What its clock shows when the other's shows 0 in the test's time.
    origin: u64,
    clock: LinkClock,
}

impl Side {
    fn now(&self, at: u64) -> Instant {
        Instant(self.origin + at)
    }

    /// Frames that it sends at `at`, microseconds.
    fn send(&mut self, at: u64, count: usize) -> Vec<u8> {
        let mut frames = frame_of(Op::Beat, &[].as_slice()).repeat(count);
        self.clock.stamp(self.now(at), VERSION, &mut frames);
        frames
    }

    /// Reads `frames` at `at`.
    fn read(&mut self, at: u64, frames: &[u8]) -> Result<(), Untimely> {
        let now = self.now(at);
        let (mut reader, mut read) = (FrameReader::<Software>::new(1000), Ok(()));
        let flow = reader.feed(frames, |frame| {
            read = self.clock.on_frame(now, &frame);
            if read.is_err() { ControlFlow::Break(Pause::After) } else { ControlFlow::Continue(()) }
        });
        flow.unwrap();
        read
    }
}

/// Dialer and acceptor whose handshake takes 9 ms, its steps at 0, 1, 3, 6 and 9.
fn link() -> (Side, Side) {
    let (from, to) = (End::member(1), End::member(2));
    let (dialer_origin, acceptor_origin) = (900_000_000, 7);
    let dialing = |at| End { now: Instant(dialer_origin + at), ..from.clone() };
    let accepting = |at| End { now: Instant(acceptor_origin + at), ..to.clone() };
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    let mut dialer = Dialer::<Software>::new(&dialing(0).local(), call(), &mut sent);
    let mut acceptor = Acceptor::<Software>::new([2; 16], false);
    acceptor.receive(&accepting(MILLISECOND).local(), &sent, &mut answered);
    sent.clear();
    dialer.receive(&dialing(3 * MILLISECOND).local(), &answered, &mut sent);
    answered.clear();
    let at = accepting(6 * MILLISECOND);
    let accepted = acceptor.receive(&at.local(), &sent, &mut answered).step;
    let Step::Accepted(Accepted::Peer { clock, .. }) = accepted else { panic!("{accepted:?}") };
    let acceptor = Side { origin: acceptor_origin, clock };
    let at = dialing(9 * MILLISECOND);
    let dialed = dialer.receive(&at.local(), &answered, &mut Vec::new()).step;
    let dialer::Step::Dialed(Dialed { clock, .. }) = dialed else { panic!("{dialed:?}") };
    (Side { origin: dialer_origin, clock }, acceptor)
}

/// Both directions, the one that sends first.
fn directions() -> [(Side, Side); 2] {
    let ((dialer, acceptor), (other_dialer, other_acceptor)) = (link(), link());
    [(dialer, acceptor), (other_acceptor, other_dialer)]
}

#[test]
fn what_is_held_back_for_too_long_is_refused() {
    for (mut from, mut to) in directions() {
        let frames = from.send(20 * MILLISECOND, 3);
        assert_eq!(to.read(21 * MILLISECOND, &frames), Ok(()));
        // As old as the bound but for the round trip of the handshake; and as the bound.
        let frames = from.send(30 * MILLISECOND, 2);
        assert_eq!(to.read(BOUND + 25 * MILLISECOND, &frames), Ok(()));
        let read = to.read(BOUND + 30 * MILLISECOND, &frames);
        let Err(Untimely::Stale(age)) = read else { panic!("{read:?}") };
        assert!(age >= FRAME_AGE_MAX);
        assert!(age <= FRAME_AGE_MAX + Duration::from_millis(6));
    }
}

#[test]
fn the_first_frame_is_refused_if_it_is_stale() {
    for (mut from, mut to) in directions() {
        let frames = from.send(10 * MILLISECOND, 1);
        assert!(to.read(BOUND + 10 * MILLISECOND, &frames).is_err());
    }
}

#[test]
fn what_lies_behind_a_stale_frame_is_refused_too() {
    for (mut from, mut to) in directions() {
        for at in [10, 20, 1000].map(|at| at * MILLISECOND) {
            let frames = from.send(at, 1);
            assert!(to.read(2 * BOUND, &frames).is_err());
        }
    }
}

#[test]
fn who_looks_at_its_link_is_never_silent_for_too_long() {
    for (mut from, mut to) in directions() {
        let (mut beats, mut said_at) = (0, 0);
        let pause = LOOK_PAUSE.as_micros() as u64;
        for at in (0..400 * pause).step_by(pause as usize) {
            // Says something of its own at times, between two looks.
            let says = (at / pause).is_multiple_of(17);
            let is_due = from.clock.is_beat_due(from.now(at));
            beats += u64::from(is_due);
            for at in [is_due.then_some(at), says.then_some(at + pause / 2)].into_iter().flatten() {
                assert!(at - said_at <= BEAT_PAUSE.as_micros() as u64);
                said_at = at;
                let frames = from.send(at, 1);
                assert_eq!(to.read(at + MILLISECOND, &frames), Ok(()));
            }
        }
        assert!(beats > 300, "{beats}");
    }
}

#[test]
fn nothing_is_said_by_stamping_nothing() {
    let (mut from, _) = link();
    let before = from.clock;
    from.clock.stamp(from.now(BOUND), VERSION, &mut []);
    assert_eq!(from.clock, before);
}
