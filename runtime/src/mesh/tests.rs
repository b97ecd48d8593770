//! Links against queues that never fill, on one thread and on real ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ringmain_core::checksum::Software;
use ringmain_core::prng::Prng;

use super::*;
use crate::session::native::frames::tests::{bytes_of, frame};

/// What may wait behind a full link here.
const BACKLOG_BYTES: usize = 1 << 20;

type Bell = Arc<Count>;

/// Counts how often it was rung.
#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Doorbell for Bell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    /// Whether it was rung since it was last asked.
    fn was_rung(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

/// A mesh with rings of `link_bytes` and control queues of 4.
fn counted(shards: usize, link_bytes: usize) -> (Vec<Endpoint<u32, Bell, Software>>, Vec<Bell>) {
    let bells: Vec<Bell> = (0..shards).map(|_| Bell::default()).collect();
    (
        mesh(
            bells.clone(),
            MeshLimits { link_bytes, backlog_bytes: BACKLOG_BYTES, control_count: 4 },
        ),
        bells,
    )
}

/// All frames that wait for `to` from `from`.
fn drain<T: Send, D: Doorbell>(to: &mut Endpoint<T, D, Software>, from: u16) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let flow = to.receive(ShardIndex(from), |frame| {
        frames.push(bytes_of(&frame));
        ControlFlow::Continue(())
    });
    assert_eq!(flow, Ok(Flow::Drained));
    frames
}

fn send<T: Send, D: Doorbell>(
    from: &mut Endpoint<T, D, Software>,
    to: u16,
    bytes: &[u8],
) -> Result<(), Lost> {
    from.send(ShardIndex(to), bytes.len(), |out| out.copy_from_slice(bytes))
}

#[test]
fn frames_go_both_ways_between_all_shards() {
    let (mut ends, bells) = counted(3, 4096);
    assert_eq!(ends[2].shard(), ShardIndex(2));
    assert_eq!(ends[2].shards(), 3);
    for from in 0..3u16 {
        for to in (0..3).filter(|&to| to != from) {
            let sent = frame(u32::from(from * 3 + to), 50);
            send(&mut ends[usize::from(from)], to, &sent).unwrap();
        }
        assert!(bells.iter().all(|bell| !bell.was_rung()), "rung once a turn");
        ends[usize::from(from)].flush();
        let rung: Vec<bool> = bells.iter().map(|bell| bell.was_rung()).collect();
        assert_eq!(rung, [from != 0, from != 1, from != 2]);
        ends[usize::from(from)].flush();
        assert!(bells.iter().all(|bell| !bell.was_rung()), "rung for news alone");
    }
    for to in 0..3u16 {
        assert!(!ends[usize::from(to)].is_idle());
        for from in (0..3).filter(|&from| from != to) {
            let frames = drain(&mut ends[usize::from(to)], from);
            assert_eq!(frames, [frame(u32::from(from * 3 + to), 50)]);
        }
        assert!(ends[usize::from(to)].is_idle());
    }
}

#[test]
fn a_lone_shard_has_no_links() {
    let (mut ends, bells) = counted(1, 64);
    ends[0].flush();
    assert!(ends[0].is_idle());
    assert_eq!(ends[0].control(ShardIndex(0), 5), Ok(()));
    assert!(!ends[0].is_idle());
    assert_eq!((ends[0].next_control(), ends[0].next_control()), (Some(5), None));
    assert!(!bells[0].was_rung());
}

/// One step of a history of one link.
#[derive(Clone, Copy, Debug)]
enum Step {
    Small,
    Large,
    Flush,
    Receive,
    ReceiveOne,
    /// Looks at the next frame, and takes it another time.
    ReceiveNone,
}

const STEPS: [Step; 6] =
    [Step::Small, Step::Large, Step::Flush, Step::Receive, Step::ReceiveOne, Step::ReceiveNone];

/// Runs a history against a queue that never fills, then lets the link run empty.
fn check_history(history: &[Step], link_bytes: usize) {
    let (mut ends, bells) = counted(2, link_bytes);
    let [ref mut from, ref mut to] = ends[..] else { panic!() };
    let mut sent = VecDeque::new();
    let mut number = 0;
    let receive = |to: &mut Endpoint<u32, Bell, Software>,
                   sent: &mut VecDeque<Vec<u8>>,
                   pause: ControlFlow<Pause>| {
        let read = to.receive(ShardIndex(0), |frame| {
            assert_eq!(Some(&bytes_of(&frame)), sent.front());
            if pause != ControlFlow::Break(Pause::Before) {
                sent.pop_front();
            }
            pause
        });
        read.unwrap()
    };
    for &step in history {
        match step {
            Step::Small | Step::Large => {
                let payload_bytes = if matches!(step, Step::Small) { 3 } else { 3 * link_bytes };
                let bytes = frame(number, payload_bytes);
                send(from, 1, &bytes).unwrap();
                sent.push_back(bytes);
                number += 1;
            }
            Step::Flush => from.flush(),
            Step::Receive => {
                receive(to, &mut sent, ControlFlow::Continue(()));
            }
            Step::ReceiveOne => {
                receive(to, &mut sent, ControlFlow::Break(Pause::After));
            }
            Step::ReceiveNone => {
                let flow = receive(to, &mut sent, ControlFlow::Break(Pause::Before));
                assert!(flow == Flow::Drained || to.is_idle(), "it knows when to go on");
            }
        }
    }
    // From here on each acts only when it was rung.
    from.flush();
    let mut awake = true;
    while awake {
        awake = bells[1].was_rung();
        while receive(to, &mut sent, ControlFlow::Break(Pause::After)) == Flow::Paused {}
        if bells[0].was_rung() {
            from.flush();
            awake = true;
        }
    }
    assert!(sent.is_empty(), "{history:?} left {}", sent.len());
    assert!(to.is_idle());
    assert_eq!(from.backlog_bytes(), 0);
}

#[test]
fn every_short_history_delivers_all_in_order() {
    let length = 5u32;
    for mut choice in 0..STEPS.len().pow(length) {
        let mut history = Vec::new();
        for _ in 0..length {
            history.push(STEPS[choice % STEPS.len()]);
            choice /= STEPS.len();
        }
        // A small frame has 44 bytes: less than a ring, more than one, two and a bit.
        for link_bytes in [40, 61, 110] {
            check_history(&history, link_bytes);
        }
    }
}

#[test]
fn random_histories_deliver_all_in_order() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut draw = || STEPS[prng.below(6) as usize];
        let history: Vec<_> = (0..200).map(|_| draw()).collect();
        check_history(&history, 1 + prng.below(300) as usize);
    }
}

#[test]
fn a_full_link_refuses_and_loses_nothing_that_it_took() {
    let (mut ends, _) = counted(2, 4096);
    let [ref mut from, ref mut to] = ends[..] else { panic!() };
    let mut taken = 0;
    let refused = (0..2000).any(|_| {
        let bytes = frame(taken, 1000);
        let mut filled = false;
        let sent = from.send(ShardIndex(1), bytes.len(), |out| {
            filled = true;
            out.copy_from_slice(&bytes);
        });
        assert_eq!(sent.is_ok(), filled);
        if sent.is_err() {
            let waiting = from.backlog_bytes();
            assert!(waiting <= BACKLOG_BYTES);
            assert!(waiting + bytes.len() > BACKLOG_BYTES, "refused no sooner than full");
            return true;
        }
        taken += 1;
        false
    });
    assert!(refused);
    from.flush();
    let mut received = 0;
    while received < taken {
        let frames = drain(to, 0);
        assert!(!frames.is_empty());
        for frame_bytes in frames {
            assert_eq!(frame_bytes, frame(received, 1000));
            received += 1;
        }
        from.flush();
    }
    assert_eq!(from.backlog_bytes(), 0);
    assert_eq!(send(from, 1, &frame(0, 1000)), Ok(()));
}

#[test]
fn the_longest_frame_passes_an_empty_link_in_pieces() {
    let (mut ends, bells) = counted(2, 64 << 10);
    let [ref mut from, ref mut to] = ends[..] else { panic!() };
    let large = frame(1, 9 << 20);
    assert_eq!(send(from, 1, &large), Ok(()));
    assert_eq!(send(from, 1, &frame(2, 1)), Err(Lost), "the backlog is over its bound");
    from.flush();
    let mut received = Vec::new();
    while bells[1].was_rung() {
        received.extend(drain(to, 0));
        if bells[0].was_rung() {
            from.flush();
        }
    }
    assert!(received == [large]);
    assert_eq!(send(from, 1, &frame(2, 1)), Ok(()));
}

#[test]
fn a_full_control_queue_gives_the_item_back() {
    let (mut ends, bells) = counted(2, 64);
    let controls = ends[0].controls();
    assert_eq!(controls.shards(), 2);
    for item in 0..3 {
        assert_eq!(ends[0].control(ShardIndex(1), item), Ok(()));
    }
    assert!(!bells[1].was_rung());
    ends[0].flush();
    assert!(bells[1].was_rung());
    assert_eq!(controls.clone().control(ShardIndex(1), 3), Ok(()));
    assert!(bells[1].was_rung(), "no turn of its own to flush at");
    assert_eq!(ends[0].control(ShardIndex(1), 4), Err(4));
    assert_eq!(controls.control(ShardIndex(1), 5), Err(5));
    assert!(!bells[1].was_rung());
    let items: Vec<_> = std::iter::from_fn(|| ends[1].next_control()).collect();
    assert_eq!(items, [0, 1, 2, 3]);
}

#[test]
fn a_frame_that_is_none_is_an_error() {
    let (mut ends, _) = counted(2, 4096);
    ends[0].send(ShardIndex(1), 40, |_| {}).unwrap();
    let read = ends[1].receive(ShardIndex(0), |_| ControlFlow::Continue(()));
    assert_eq!(read, Err(FrameError::BadMagic));
}

#[test]
fn limits_shrink_with_many_shards() {
    assert_eq!(MeshLimits::for_shards(1).link_bytes, LINK_BYTES_MAX);
    assert_eq!(MeshLimits::for_shards(2).link_bytes, LINK_BYTES_MAX);
    let all = MeshLimits::for_shards(32).link_bytes * 32 * 31;
    assert!((MESH_BYTES - 32 * 31..=MESH_BYTES).contains(&all));
    assert_eq!(MeshLimits::for_shards(256).link_bytes, LINK_BYTES_MIN);
}

/// No thread stays without news for that long, however busy the machine is.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Wakes a parked thread.
#[derive(Debug, Default)]
struct Wake {
    rung: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Doorbell for Arc<Wake> {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        if let Some(sleeper) = self.sleeper.get() {
            sleeper.unpark();
        }
    }
}

/// A shard that sends `count` frames to every other, receives as many from each, and sleeps
/// whenever it has nothing to do and no room. A wake-up that was lost, or another thread that
/// failed, ends a sleep that would never end.
fn hammer(mut end: Endpoint<u32, Arc<Wake>, Software>, wake: &Wake, count: u32, seed: u64) {
    let mut prng = Prng::new(seed + u64::from(end.shard().0));
    let others: Vec<u16> = (0..end.shards()).filter(|&to| to != end.shard().0).collect();
    let mut sent = vec![0; others.len()];
    let mut received = vec![0; others.len()];
    let mut controls = 0;
    loop {
        for (&to, sent) in others.iter().zip(&mut sent) {
            while *sent < count && end.backlog_bytes() < 4096 && !prng.chance(10) {
                let size = if prng.chance(1) { 5000 } else { 200 };
                let bytes = frame(*sent, 1 + prng.below(size) as usize);
                send(&mut end, to, &bytes).unwrap();
                *sent += 1;
            }
        }
        end.flush();
        for (&from, received) in others.iter().zip(&mut received) {
            let read = end.receive(ShardIndex(from), |frame| {
                assert_eq!(frame.hop().request.0, *received);
                if prng.chance(5) {
                    return ControlFlow::Break(Pause::Before);
                }
                *received += 1;
                if prng.chance(5) {
                    ControlFlow::Break(Pause::After)
                } else {
                    ControlFlow::Continue(())
                }
            });
            if read.unwrap() == Flow::Paused {
                wake.rung.store(true, Ordering::Relaxed);
            }
        }
        while end.next_control().is_some() {
            controls += 1;
        }
        let all_sent = sent.iter().all(|&sent| sent == count) && end.backlog_bytes() == 0;
        if all_sent && controls == count && received.iter().all(|&received| received == count) {
            return;
        }
        // With all sent, or none that fits, what happens next happens elsewhere.
        let stuck = all_sent || end.backlog_bytes() >= 4096;
        while stuck && !wake.rung.swap(false, Ordering::Acquire) && end.is_idle() {
            let asleep = Instant::now();
            thread::park_timeout(SLEEP_MAX);
            assert!(asleep.elapsed() < SLEEP_MAX, "nobody rang");
        }
    }
}

/// All shards at once, and one more thread that gives each `count` items.
fn hammer_all(shards: usize, link_bytes: usize, count: u32) {
    let wakes: Vec<Arc<Wake>> = (0..shards).map(|_| Arc::default()).collect();
    let limits = MeshLimits { link_bytes, backlog_bytes: BACKLOG_BYTES, control_count: 8 };
    let ends = mesh(wakes.clone(), limits);
    let controls = ends[0].controls();
    let ready = Barrier::new(shards + 1);
    thread::scope(|scope| {
        let ready = &ready;
        let start = |(end, wake): (_, &Arc<Wake>)| {
            let wake = Arc::clone(wake);
            scope.spawn(move || {
                wake.sleeper.set(thread::current()).unwrap();
                ready.wait();
                hammer(end, &wake, count, 7);
            })
        };
        let threads: Vec<_> = ends.into_iter().zip(&wakes).map(start).collect();
        ready.wait();
        let mut left = vec![count; shards];
        while left.iter().any(|&left| left > 0) {
            for (shard, left) in left.iter_mut().enumerate() {
                // None ends by itself before it has all its items.
                assert!(*left == 0 || !threads[shard].is_finished());
                while *left > 0 && controls.control(ShardIndex(shard as u16), *left).is_ok() {
                    *left -= 1;
                }
            }
            thread::yield_now();
        }
    });
}

#[test]
fn two_threads_that_sleep_and_ring() {
    hammer_all(2, 1000, 20_000);
    hammer_all(2, 50, 2_000);
}

#[test]
fn four_threads_all_to_all() {
    hammer_all(4, 2000, 3_000);
}
