//! One worker: its connections, on one thread, woken by whatever comes first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::lane::Lane;
use super::limits::PATIENCE;
use super::source::Source;
use crate::failure::Failure;

/// Events that are taken at once.
const EVENT_COUNT: usize = 256;
/// How long a worker sleeps at most, so that it sees that another one has failed.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Serves `lanes` until `source` is over and all answers have come, or do not come. If another
/// worker has failed (`is_broken`), this one ends, too.
///
/// # Errors
/// If a connection breaks.
pub(super) fn serve(
    lanes: &mut [Lane],
    source: &mut impl Source,
    value: &[u8],
    is_broken: &AtomicBool,
) -> Result<(), Failure> {
    let served = try_serve(lanes, source, value, is_broken);
    if served.is_err() {
        is_broken.store(true, Ordering::Relaxed);
    }
    served
}

fn try_serve(
    lanes: &mut [Lane],
    source: &mut impl Source,
    value: &[u8],
    is_broken: &AtomicBool,
) -> Result<(), Failure> {
    let host = |error| Failure::failed(format!("cannot wait for answers: {error}"), "try again");
    let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(host)?;
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
    for (index, lane) in lanes.iter_mut().enumerate() {
        epoll::add(&epoll, lane.stream(), EventData::new_u64(index as u64), flags).map_err(host)?;
        send(lane, index, source, value)?;
    }
    let (mut ready, mut events) = (Vec::new(), Vec::with_capacity(EVENT_COUNT));
    let mut over_since = None;
    loop {
        let now = Instant::now();
        source.on_time(now, &mut ready);
        for index in ready.drain(..) {
            send(&mut lanes[index], index, source, value)?;
        }
        let wake = if source.is_over(now) {
            let late = *over_since.get_or_insert(now) + PATIENCE;
            if now >= late || lanes.iter().all(Lane::is_idle) || is_broken.load(Ordering::Relaxed) {
                break;
            }
            Some(late)
        } else if is_broken.load(Ordering::Relaxed) {
            break;
        } else {
            // What was refused may be sent again.
            over_since = None;
            source.next_time()
        };
        let left = wake.map_or(SLEEP_MAX, |wake| wake.saturating_duration_since(Instant::now()));
        let left = Timespec::try_from(left.min(SLEEP_MAX)).expect("a moment");
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(host(error)),
        }
        for event in &events {
            let index = event.data.u64() as usize;
            let lane = &mut lanes[index];
            let now = Instant::now();
            lane.receive(|asked, outcome| source.on_answer(asked, outcome, now)).map_err(broken)?;
            send(lane, index, source, value)?;
        }
    }
    for asked in lanes.iter().flat_map(Lane::in_flight) {
        let outcome = Err(format!("no answer within {} s", PATIENCE.as_secs()));
        source.on_answer(asked, outcome, Instant::now());
    }
    Ok(())
}

/// Sends what a lane may send.
fn send(
    lane: &mut Lane,
    index: usize,
    source: &mut impl Source,
    value: &[u8],
) -> Result<(), Failure> {
    let now = Instant::now();
    while !lane.is_full()
        && let Some(asked) = source.next(index, now)
    {
        lane.ask(asked, value);
    }
    lane.flush().map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("a connection broke: {error}"), "see what the node says, and try again")
}
