use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const ROUNDS: u64 = 20_000;

/// Two threads leave a number, ring, and wait until it was seen: a lost ring hangs.
fn hammer(doorbell: &Doorbell, left: &[AtomicU64; 2], seen: &[AtomicU64; 2]) {
    std::thread::scope(|scope| {
        for (left, seen) in left.iter().zip(seen) {
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    left.store(round, Ordering::Relaxed);
                    doorbell.ring();
                    // Every few rounds the next ring comes before the last one was seen.
                    while round % 3 != 0 && seen.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
}

fn look(left: &[AtomicU64; 2], seen: &[AtomicU64; 2]) -> bool {
    let now = left.each_ref().map(|left| left.load(Ordering::Relaxed));
    seen.iter().zip(now).for_each(|(seen, now)| seen.store(now, Ordering::Release));
    now == [ROUNDS; 2]
}

#[test]
fn no_ring_is_lost() {
    let mut ring = HotRing::new(small()).unwrap();
    let doorbell = ring.doorbell();
    let (left, seen) = <([AtomicU64; 2], [AtomicU64; 2])>::default();
    std::thread::scope(|scope| {
        scope.spawn(|| hammer(&doorbell, &left, &seen));
        loop {
            assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
            if look(&left, &seen) {
                return;
            }
        }
    });
}

#[test]
fn no_ring_is_lost_when_parked() {
    let (left, seen) = <([AtomicU64; 2], [AtomicU64; 2])>::default();
    let (left, seen) = (std::sync::Arc::new(left), std::sync::Arc::new(seen));
    let (sender, bells) = std::sync::mpsc::channel();
    let (lefts, seens) = (std::sync::Arc::clone(&left), std::sync::Arc::clone(&seen));
    let executor = executor(glommio::Placement::Unbound);
    let shard = executor.spawn(move || async move {
        let mut ring = HotRing::new(small()).unwrap();
        sender.send(ring.doorbell()).unwrap();
        loop {
            let start = std::time::Instant::now();
            ring.park(Some(WAIT)).await.unwrap();
            ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
            let mut is_rung = false;
            while let Some(event) = ring.next_event() {
                is_rung |= matches!(event, Event::Doorbell);
            }
            assert!(start.elapsed() < WAIT, "a ring was lost");
            if is_rung && look(&lefts, &seens) {
                return;
            }
        }
    });
    hammer(&bells.recv().unwrap(), &left, &seen);
    shard.unwrap().join().unwrap();
}

#[test]
fn rings_of_an_awake_shard_are_one_event() {
    let mut ring = HotRing::new(small()).unwrap();
    let doorbell = ring.doorbell();
    (0..100).for_each(|_| doorbell.ring());
    assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    assert!(ring.next_event().is_none());
    drop(ring);
    doorbell.ring();
}
