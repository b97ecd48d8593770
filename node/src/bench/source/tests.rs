use std::sync::mpsc::channel;

use super::super::tests::args;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn running(
    begin: Instant,
    rate: Option<u64>,
    lanes: usize,
) -> (Running, std::sync::mpsc::Receiver<Piece>) {
    let (reports, pieces) = channel();
    let from = begin + SECOND;
    let span = Span { begin, from, until: from + 2 * SECOND };
    let pace = rate.map(|rate| Pace::new(begin, rate, (0, 1)));
    (Running::new(Draw::new(&args(&[]), 1), span, pace, lanes, reports), pieces)
}

#[test]
fn workers_share_a_rate_without_gaps() {
    let begin = Instant::now();
    let paces = [0, 1, 2].map(|worker| Pace::new(begin, 30, (worker, 3)));
    let mut due: Vec<Instant> =
        paces.iter().flat_map(|pace| (0..10).map(|number| pace.due(number))).collect();
    due.sort_unstable();
    for (number, due) in (0..).zip(due) {
        assert_eq!(due - begin, SECOND * number / 30);
    }
    let last = Pace::new(begin, 1, (0, 1)).due(u64::from(u32::MAX));
    assert_eq!(last - begin, SECOND * u32::MAX);
}

/// What a server that stalls for half a second is charged: the time since each request was due.
#[test]
fn what_is_late_counts_from_when_it_was_due() {
    let begin = Instant::now();
    let (mut running, pieces) = running(begin, Some(100), 2);
    let mut ready = Vec::new();
    let stalled = begin + SECOND + SECOND / 2;
    running.on_time(stalled, &mut ready);
    // The first at once, and each hundredth of a second.
    assert_eq!((ready.len(), &ready[..3]), (151, &[0, 1, 0][..]));
    let mut sent = [0; 2];
    for (lane, sent) in sent.iter_mut().enumerate() {
        while let Some(asked) = running.next(lane, stalled) {
            assert_eq!(asked.due, begin + SECOND * (2 * *sent + lane as u32) / 100);
            *sent += 1;
            running.on_answer(asked, Ok(()), stalled);
        }
    }
    assert_eq!(sent, [76, 75]);
    running.finish();
    let tally = pieces.into_iter().last().unwrap().tally;
    let all = tally.all();
    // Those from before the measurement do not count.
    assert_eq!((tally.count(), tally.unsent), (51, 0));
    assert!((499..=501).contains(&(all.max() / 1_000_000)), "{}", all.max());
    assert!((249..=251).contains(&(all.value_at_quantile(0.5) / 1_000_000)));
}

#[test]
fn what_was_due_and_not_sent_is_told() {
    let begin = Instant::now();
    let (mut running, pieces) = running(begin, Some(100), 3);
    let end = begin + 4 * SECOND;
    running.on_time(end, &mut Vec::new());
    assert_eq!(running.next(0, end).map(|asked| asked.key), None, "it is over");
    assert!(running.is_over(end));
    running.finish();
    let pieces: Vec<Piece> = pieces.into_iter().collect();
    let seconds: Vec<Option<u64>> = pieces.iter().map(|piece| piece.second).collect();
    assert_eq!(seconds, [Some(0), Some(1), None]);
    assert_eq!(pieces[2].tally.unsent, 200);
}

#[test]
fn without_a_rate_a_lane_sends_whenever_it_may() {
    let begin = Instant::now();
    let (mut running, _pieces) = running(begin, None, 1);
    let now = begin + SECOND;
    for _ in 0..1000 {
        assert_eq!(running.next(0, now).map(|asked| asked.due), Some(now));
    }
    assert!(running.next(0, begin + 3 * SECOND).is_none());
}

#[test]
fn every_key_is_loaded_once_and_what_is_refused_again() {
    let (done, now) = (AtomicU64::new(0), Instant::now());
    let mut seen = [0; 10];
    for worker in [0, 1, 2] {
        let mut loading = Loading::new(10, (worker, 3), 1, &done);
        let mut refused = 0;
        while let Some(asked) = loading.next(0, now) {
            let is_refused = asked.key == 4 && refused == 0;
            refused += u64::from(is_refused);
            seen[asked.key as usize] += u32::from(!is_refused);
            loading.on_answer(asked, if is_refused { Err("BUSY".into()) } else { Ok(()) }, now);
        }
        assert!(loading.is_over(now) && loading.failure().is_none());
    }
    assert_eq!((seen, done.into_inner()), ([1; 10], 10));
}

#[test]
fn a_load_that_is_always_refused_is_given_up() {
    let (done, now) = (AtomicU64::new(0), Instant::now());
    let mut loading = Loading::new(10, (0, 1), 30, &done);
    let mut count = 0;
    while !loading.is_over(now) {
        let asked = loading.next(0, now).unwrap();
        loading.on_answer(asked, Err("READONLY".into()), now);
        count += 1;
    }
    assert_eq!((count, loading.failure()), (31, Some("READONLY".into())));
}
