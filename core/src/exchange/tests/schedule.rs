//! Which exchange begins when.

use super::*;
use crate::limits::{EXCHANGE_ASKING_COUNT_MAX, EXCHANGE_RETRY};
use crate::membership::member::{Member, Name};
use crate::ring::{RingConfig, Rings, Transition};
use crate::wire::exchange::EndReason;

const INTERVAL: Duration = Duration::from_secs(60);
const RINGS: RingConfig = RingConfig { partition_bits: 6, n: 3, seed: 42 };

fn with_ring<T>(nodes: &[u32], check: impl FnOnce(&Rings<'_>) -> T) -> T {
    let member = |node: &u32| Member {
        node: NodeId(*node),
        uuid: u128::from(*node),
        weight: 100,
        zone: Name::new("zone").unwrap(),
    };
    let members: Vec<Member> = nodes.iter().map(member).collect();
    let mut storage = vec![NodeId(0); Rings::slot_count(&RINGS)];
    let mut ring = Rings::new(&mut storage, RINGS);
    ring.rebuild(&Transition::none(&members));
    check(&ring)
}

fn ended(reason: EndReason, differences: u32, resume: Option<Resume>) -> Summary {
    Summary { reason, repaired: 0, differences, sent: 0, got: 0, resume }
}

#[test]
fn every_pair_has_its_turn_in_every_interval_and_few_at_a_time() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, 3, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    assert_eq!(schedule.pairs().len(), 128, "the lowest node asks both others");
    let mut begun: BTreeMap<(Partition, NodeId), Vec<Instant>> = BTreeMap::new();
    let mut running = VecDeque::new();
    let mut now = Instant(0);
    while now < Instant(300_000_000) {
        while let Some(start) = schedule.next(now, |_| true) {
            begun.entry((start.partition, start.peer)).or_default().push(now);
            running.push_back((now + Duration::from_millis(200), start));
            assert!(running.len() <= 3);
        }
        let ends = running.front().map(|(at, _)| *at);
        now = schedule.timeout().into_iter().chain(ends).min().unwrap();
        if ends == Some(now) {
            let (_, start) = running.pop_front().unwrap();
            let end = ended(EndReason::Finished, 0, None);
            schedule.on_end(now, start.partition, start.peer, &end);
        }
    }
    assert_eq!(begun.len(), 128);
    for times in begun.values() {
        assert!(times[0] <= Instant(62_000_000), "{times:?}");
        for pair in times.windows(2) {
            let pause = pair[1].since(pair[0]).as_secs();
            assert!((54..=68).contains(&pause), "{pause}");
        }
    }
    assert!(schedule.pairs().iter().all(|pair| pair.last_equal.is_some()));
}

#[test]
fn the_lower_owner_begins() {
    for me in 1..=4 {
        with_ring(&[1, 2, 3, 4], |ring| {
            let mut memory = vec![Pair::default(); 128];
            let mut schedule = Schedule::new(&mut memory, INTERVAL, 1, 1);
            schedule.on_rings(Instant(0), ring, NodeId(me), 16..=40);
            let mut expected = Vec::new();
            for partition in (16..=40).map(Partition) {
                let mut owners = ring.owners(partition).to_vec();
                owners.sort_unstable();
                let is_mine = owners.contains(&NodeId(me));
                let peers = owners.into_iter().filter(|peer| is_mine && peer.0 > me);
                expected.extend(peers.map(|peer| (partition, peer)));
            }
            let pairs = schedule.pairs().iter().map(|pair| (pair.partition, pair.peer));
            assert!(pairs.eq(expected));
        });
    }
}

#[test]
fn the_oldest_goes_first_and_a_repair_goes_now() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, 1, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    assert_eq!(schedule.next(Instant(0), |_| true), None);
    schedule.repair(Instant(5), Some(Partition(9)), true);
    let first = schedule.next(Instant(5), |_| true).unwrap();
    assert_eq!(first.partition, Partition(9));
    assert_eq!(schedule.next(Instant(5), |_| true), None, "one at a time");
    let resume = Some(Resume { from: 7, to_peer: true });
    let lost = ended(EndReason::Disconnected, 0, resume);
    schedule.on_end(Instant(6), first.partition, first.peer, &lost);
    let second = schedule.next(Instant(6), |_| true).unwrap();
    assert_eq!((second.partition, second.peer == first.peer), (Partition(9), false));
    let differs = ended(EndReason::Finished, 3, None);
    schedule.on_end(Instant(6), second.partition, second.peer, &differs);
    schedule.repair(Instant(7), None, true);
    let soon = Instant(6) + 2 * EXCHANGE_RETRY;
    let mut resumed = 0;
    while let Some(start) = schedule.next(soon, |_| true) {
        resumed += usize::from(start.resume == resume);
        let end = ended(EndReason::Finished, 0, None);
        schedule.on_end(soon, start.partition, start.peer, &end);
    }
    assert_eq!(resumed, 1, "streaming goes on");
    assert!(schedule.pairs().iter().all(|pair| pair.last_equal == Some(soon)));
}

#[test]
fn what_is_known_of_a_pair_outlives_a_new_ring() {
    let mut memory = vec![Pair::default(); 192];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, 2, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    schedule.repair(Instant(5), None, true);
    let running = schedule.next(Instant(5), |_| true).unwrap();
    for _ in 0..100 {
        let start = schedule.next(Instant(5), |_| true).unwrap();
        let end = ended(EndReason::Finished, 2, None);
        schedule.on_end(Instant(5), start.partition, start.peer, &end);
    }
    with_ring(&[1, 2, 3, 4], |ring| {
        schedule.on_rings(Instant(9), ring, NodeId(1), 0..=63);
        let keys = schedule.pairs().iter().map(|pair| (pair.partition, pair.peer));
        let pairs = (0..64).map(Partition).map(|partition| {
            ring.owners(partition).iter().filter(|_| ring.is_owner(partition, NodeId(1))).count()
        });
        assert_eq!(keys.len(), pairs.map(|owners| owners.saturating_sub(1)).sum());
        assert!(keys.is_sorted());
    });
    assert!(schedule.pairs().iter().any(|pair| pair.differences == 2));
    // The exchange that ran was of the other topology.
    let stale = ended(EndReason::StaleTopology, 0, None);
    schedule.on_end(Instant(9), running.partition, running.peer, &stale);
    with_ring(&[2, 3], |ring| schedule.on_rings(Instant(9), ring, NodeId(1), 0..=63));
    assert!(schedule.pairs().is_empty());
    assert_eq!((schedule.timeout(), schedule.next(Instant(99), |_| true)), (None, None));
}

#[test]
fn a_peer_that_cannot_be_reached_waits_and_comes_soon_when_it_is_back() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, EXCHANGE_ASKING_COUNT_MAX, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=31));
    let late = Instant(0) + INTERVAL;
    while let Some(start) = schedule.next(late, |peer| peer == NodeId(2)) {
        assert_eq!(start.peer, NodeId(2));
        schedule.on_end(late, start.partition, start.peer, &ended(EndReason::Finished, 0, None));
    }
    assert!(schedule.timeout().unwrap() > late);
    schedule.on_peer_up(late, NodeId(3));
    let soon = late + INTERVAL / 10;
    let begun = core::iter::from_fn(|| schedule.next(soon, |_| true)).count();
    assert_eq!(begun, 32);
}

/// One that sends slowly would take all turns: what came from another is compared with it, too.
#[test]
fn a_slow_peer_leaves_half_the_turns_to_another() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, 8, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    let mut now = Instant(0) + INTERVAL;
    let mut running: Vec<(Instant, Start)> = Vec::new();
    for _ in 0..40 {
        while let Some(start) = schedule.next(now, |_| true) {
            let takes = if start.peer == NodeId(2) { 1000 } else { 10 };
            running.push((now + Duration::from_millis(takes), start));
        }
        let slow = running.iter().filter(|(_, start)| start.peer == NodeId(2)).count();
        assert_eq!((slow, running.len()), (4, 8));
        running.sort_unstable_by_key(|(at, _)| *at);
        let (at, Start { partition, peer, .. }) = running.remove(0);
        now = at;
        schedule.on_end(now, partition, peer, &ended(EndReason::Finished, 0, None));
    }
}

/// An empty copy would get everything from both others.
#[test]
fn of_a_partition_one_exchange_goes_on_at_a_time() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, EXCHANGE_ASKING_COUNT_MAX, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=31));
    let late = Instant(0) + INTERVAL;
    let begun: Vec<Start> = core::iter::from_fn(|| schedule.next(late, |_| true)).collect();
    assert_eq!(begun.len(), 32);
    assert_eq!(schedule.timeout(), None, "all others wait for one of these");
    let partitions: Vec<Partition> = begun.iter().map(|start| start.partition).collect();
    assert_eq!(partitions.iter().collect::<std::collections::BTreeSet<_>>().len(), 32);
    let Start { partition, peer, .. } = begun[9];
    schedule.on_end(late, partition, peer, &ended(EndReason::Finished, 0, None));
    let next = schedule.next(late, |_| true).unwrap();
    assert_eq!(next.partition, partition);
    assert_ne!(next.peer, peer);
}

/// A peer that hangs would take the turns of those that are well, and a repair would never end.
#[test]
fn a_silent_peer_waits_with_all_its_pairs_and_what_was_asked_is_deferred() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, EXCHANGE_ASKING_COUNT_MAX, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    schedule.repair(Instant(0), None, true);
    let silent = ended(EndReason::Silent, 0, None);
    let now = Instant(5);
    while let Some(start) = schedule.next(now, |_| true) {
        let is_silent = start.peer == NodeId(3);
        let end = if is_silent { silent } else { ended(EndReason::Finished, 0, None) };
        schedule.on_end(now, start.partition, start.peer, &end);
    }
    let deferred = |pair: &&Pair| pair.is_deferred && !pair.is_asked;
    let count = |schedule: &Schedule<'_>| schedule.pairs().iter().filter(deferred).count();
    assert_eq!(count(&schedule), 64);
    assert!(schedule.pairs().iter().all(|pair| pair.is_deferred == (pair.peer == NodeId(3))));
    assert!(schedule.timeout().unwrap() >= now + INTERVAL * 9 / 10);
    // Their turns come in vain: that they are open is not forgotten, until they were compared.
    let later = now + 2 * INTERVAL;
    assert_eq!(schedule.next(later, |_| false), None);
    assert_eq!(count(&schedule), 64);
    let later = later + 2 * INTERVAL;
    while let Some(start) = schedule.next(later, |peer| peer == NodeId(3)) {
        let end = ended(EndReason::Finished, 0, None);
        schedule.on_end(later, start.partition, start.peer, &end);
    }
    assert_eq!(count(&schedule), 0);
}

#[test]
fn what_cannot_be_since_a_node_may_not_write_is_deferred() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, EXCHANGE_ASKING_COUNT_MAX, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    schedule.repair(Instant(0), Some(Partition(9)), true);
    let start = schedule.next(Instant(5), |_| true).unwrap();
    schedule.on_end(Instant(5), start.partition, start.peer, &ended(EndReason::Held, 0, None));
    assert_eq!(schedule.pairs().iter().filter(|pair| pair.is_deferred).count(), 1);
    assert_eq!(schedule.pairs().iter().filter(|pair| pair.is_asked).count(), 1);
    schedule.defer_all();
    assert_eq!(schedule.pairs().iter().filter(|pair| pair.is_deferred).count(), 2);
    assert!(schedule.pairs().iter().all(|pair| !pair.is_asked));
}

/// Or one write in flight would stream most of a partition to a copy that has it.
#[test]
fn a_stream_is_not_taken_up_once_the_copies_were_compared() {
    let mut memory = vec![Pair::default(); 128];
    let mut schedule = Schedule::new(&mut memory, INTERVAL, 1, 1);
    with_ring(&[1, 2, 3], |ring| schedule.on_rings(Instant(0), ring, NodeId(1), 0..=63));
    schedule.repair(Instant(0), Some(Partition(9)), true);
    let start = schedule.next(Instant(5), |_| true).unwrap();
    let resume = Some(Resume { from: 7, to_peer: true });
    schedule.on_end(
        Instant(5),
        start.partition,
        start.peer,
        &ended(EndReason::Finished, 0, resume),
    );
    schedule.repair(Instant(6), Some(Partition(9)), true);
    for _ in 0..2 {
        assert_eq!(schedule.next(Instant(6), |_| true).unwrap().resume, None);
        schedule.on_end(Instant(6), Partition(9), NodeId(2), &ended(EndReason::Finished, 0, None));
        schedule.on_end(Instant(6), Partition(9), NodeId(3), &ended(EndReason::Finished, 0, None));
    }
}
