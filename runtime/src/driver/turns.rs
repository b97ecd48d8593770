//! What turns cost: how long they take, and what the shard's thread waited for in them; and where
//! the shard stands behind them, for whoever looks.

use super::{State, status};
use crate::log::Request;
use crate::metrics::{Counter, Gauge, Timing};
use crate::sys::{RunDelay, thread_major_faults};
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;
use std::time::Duration;

/// Pause between two looks at the page faults of a thread.
const FAULTS_PAUSE: Duration = Duration::from_millis(10);
/// Pause between two times that the gauges are set.
const GAUGES_PAUSE: Duration = Duration::from_millis(100);
/// A longer turn keeps its shard's clients waiting.
const LONG: Duration = Duration::from_millis(1);

/// What the thread has waited for by now.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Major faults, once asked.
    faults: Option<u64>,
    /// When to ask again.
    next_faults: Instant,
    delay: Option<RunDelay>,
    /// Time without a CPU, and when that was asked: at most [`LONG`] before a turn began, so that
    /// what is taken off a long turn is hardly more than was lost in it.
    delayed: Duration,
    asked: Instant,
    /// What was lost in this turn, as far as it was asked.
    lost: Duration,
    /// Something may stand elsewhere than the gauges say.
    is_stale: bool,
    /// When the gauges may be set again.
    next_gauges: Instant,
    /// When the sync of the log that is under way was begun.
    sync_begun: Option<Instant>,
}

impl Turns {
    /// Of what this turn has taken, all or its last part, what the thread had a CPU for or waited
    /// by itself. Before the last part of a turn it may have lost its CPU, too: then that part
    /// seems shorter, never longer.
    pub(super) fn less_delay(&mut self, took: Duration, is_all: bool) -> Duration {
        let total = self.delay.as_ref().map_or(Duration::ZERO, RunDelay::total);
        self.less(took, is_all, total)
    }

    fn less(&mut self, took: Duration, is_all: bool, total: Duration) -> Duration {
        let lost = total.saturating_sub(std::mem::replace(&mut self.delayed, total));
        self.lost += lost;
        took.saturating_sub(if is_all { self.lost } else { lost })
    }
}

impl State {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        let now = self.engine.now;
        self.io.latencies.begin_turn(now);
        let turns = &mut self.turns;
        turns.lost = Duration::ZERO;
        if now.since(turns.asked) >= LONG {
            let delay = turns.delay.get_or_insert_with(RunDelay::of_this_thread);
            turns.delayed = delay.total();
            turns.asked = now;
        }
    }

    /// A turn has ended that had so much to do.
    pub(super) fn end_turn(&mut self, event_count: usize) {
        let now = self.now();
        let took = now.since(self.engine.now);
        if took >= LONG {
            let is_long = self.turns.less_delay(took, true) >= LONG;
            self.turns.asked = now;
            self.recorder.add(Counter::LongTurns, u64::from(is_long));
        }
        self.io.latencies.end_turn(now, &self.recorder);
        self.recorder.add(Counter::FramesLost, std::mem::take(&mut self.io.lost_count));
        self.recorder.add(Counter::CommandsShed, std::mem::take(&mut self.io.shed_count));
        // A reaping may end by a deadline alone, and somebody waits for it.
        self.turns.is_stale |= self.clerk.reaping.is_running();
        if event_count > 0 {
            self.turns.is_stale = true;
            self.look_for_faults();
            self.recorder.add(Counter::Turns, 1);
            self.recorder.time(Timing::Turn, 1000 * took.as_micros() as u64);
        }
    }

    /// With some of what the log asks for, a sync begins.
    pub(super) fn note_sync(&mut self, request: &Request) {
        if matches!(request, Request::Sync { .. } | Request::Write { then_sync: true, .. }) {
            self.turns.sync_begun = Some(self.now());
        }
    }

    /// It has ended, well or not.
    pub(super) fn end_sync(&mut self) {
        if let Some(begun) = self.turns.sync_begun.take() {
            let took = self.now().since(begun);
            self.recorder.time(Timing::LogSync, 1000 * took.as_micros() as u64);
        }
    }

    /// Sets the gauges, from time to time. A reader never asks a shard: it reads what was set.
    pub(super) fn publish_gauges(&mut self, connection_count: usize) {
        if self.turns.next_gauges <= self.engine.now {
            self.set_gauges(connection_count);
        }
    }

    /// The shard is about to sleep, perhaps for long.
    pub(super) fn publish_rest(&mut self, connection_count: usize) {
        if self.turns.is_stale {
            self.set_gauges(connection_count);
        }
    }

    /// Costs one addition for each partition, and on shard 0 a search for each member.
    fn set_gauges(&mut self, connection_count: usize) {
        self.turns.is_stale = false;
        self.turns.next_gauges = self.engine.now + GAUGES_PAUSE;
        let (log, recorder) = (&self.engine.log, &self.recorder);
        let counts = log.background_counts();
        recorder.reach(Counter::LogSegmentsMerged, counts.merged);
        recorder.reach(Counter::LogBytesMoved, counts.moved_bytes);
        recorder.reach(Counter::LogSnapshots, counts.snapshots);
        let health = self.engine.shard.health_figures();
        recorder.reach(Counter::PeersSuspected, health.opened);
        recorder.reach(Counter::SuspectWaits, health.waits);
        recorder.reach(Counter::ReadHedges, health.hedges);
        recorder.reach(Counter::StragglerHints, health.stragglers);
        recorder.reach(Counter::RequestsForwarded, health.forwards);
        recorder.set(Gauge::PeersSuspect, self.engine.shard.suspects().count() as u64);
        recorder.set(Gauge::Connections, connection_count as u64);
        recorder.set(Gauge::Requests, self.engine.request_count() as u64);
        recorder.set(Gauge::Keys, log.key_count() as u64);
        recorder.set(Gauge::BufferBytes, self.io.memory.bytes() as u64);
        recorder.set(Gauge::BufferBytesMax, self.io.memory.bytes_max() as u64);
        recorder.set(Gauge::IndexBytes, log.index_bytes() as u64);
        recorder.set(Gauge::LogLiveBytes, log.live_bytes());
        recorder.set(Gauge::LogFileBytes, log.file_bytes());
        recorder.set(Gauge::LogFull, u64::from(log.is_refused()));
        recorder.set(Gauge::LogFailed, u64::from(log.failure().is_some()));
        let hints = log.hint_targets().map(|(_, count, bytes)| (count as u64, bytes));
        let (hints, bytes) = hints.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        recorder.set(Gauge::Hints, hints);
        recorder.set(Gauge::HintBytes, bytes);
        let counts = self.engine.shard.exchange_counts();
        recorder.reach(Counter::Exchanges, counts.finished);
        recorder.reach(Counter::ExchangesFailed, counts.failed);
        recorder.reach(Counter::KeysRepaired, counts.repaired);
        recorder.reach(Counter::KeysUnrepaired, counts.unrepaired);
        recorder.reach(Counter::ExchangeRecords, counts.sent);
        recorder.reach(Counter::ExchangeBytes, counts.bytes);
        recorder.set(Gauge::Exchanging, self.engine.shard.exchange_count() as u64);
        let share = self.io.latencies.share(self.engine.now);
        recorder.set(Gauge::BackgroundShare, share.per_mille());
        recorder.set(Gauge::PeersOlder, self.engine.shard.older_count() as u64);
        recorder.set(Gauge::PeersReachable, self.io.peers.up_count() as u64);
        let sweep = log.sweep_report();
        if !sweep.is_running {
            recorder.set(Gauge::LogDamagedRanges, sweep.damage_count);
            recorder.set(Gauge::LogLostKeys, sweep.keys_lost);
        }
        if let Some(members) = &self.members {
            let [alive, suspect, down] = status::member_counts(members);
            recorder.set(Gauge::MembersAlive, alive);
            recorder.set(Gauge::MembersSuspect, suspect);
            recorder.set(Gauge::MembersDown, down);
        }
        self.write_page();
        let per_mille = share.per_mille().max(1) as u16;
        self.engine.turn(&mut self.io).input(Input::Background { per_mille });
    }

    /// Looks from time to time whether this thread has waited for the disk in page faults.
    fn look_for_faults(&mut self) {
        let (now, turns) = (self.engine.now, &mut self.turns);
        if turns.next_faults > now {
            return;
        }
        turns.next_faults = now + FAULTS_PAUSE;
        let faults = thread_major_faults();
        let more = faults - turns.faults.replace(faults).unwrap_or(faults);
        self.recorder.add(Counter::MajorFaults, more);
        if more > 0 {
            self.engine.log.maps_mut().on_major_fault();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_was_without_a_cpu_is_taken_off_once() {
        let ms = Duration::from_millis;
        let mut turns = Turns::default();
        assert_eq!(turns.less(ms(5), false, ms(0)), ms(5), "nothing was lost");
        assert_eq!(turns.less(ms(5), false, ms(4)), ms(1));
        assert_eq!(turns.less(ms(5), false, ms(4)), ms(5), "that was before");
        assert_eq!(turns.less(ms(9), true, ms(6)), ms(3), "all that was lost in the turn");
        turns.lost = ms(0);
        assert_eq!(turns.less(ms(2), true, ms(16)), ms(0));
        assert_eq!(turns.less(ms(2), false, ms(1)), ms(2), "nobody knows any more");
    }
}
