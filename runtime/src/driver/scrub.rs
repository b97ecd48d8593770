//! Sweeps of a node: asked for at shard 0, which tells all shards; each writes what it finds on a
//! board, which shard 0 reads.

use super::{Control, State};
use crate::log::{Damage, Read, SweepCounts, SweepReport};
use crate::metrics::Counter;
use ringmain_core::id::ShardIndex;
use ringmain_core::records::Place;
use ringmain_core::time::Instant;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Damaged ranges of a shard that are listed for people; others are counted.
const LISTED_COUNT_MAX: usize = 64;

/// Pause between two lines about records that clients could not read.
const UNREAD_PAUSE: Duration = Duration::from_secs(60);

/// What the shards of a node have found. Locked when a sweep is asked for, moves on or is asked
/// after.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Sweeps>>);

/// The latest sweep that was asked for.
#[derive(Default)]
struct Sweeps {
    /// Which: an older one writes nothing any more.
    round: u64,
    accepts_loss: bool,
    shards: Vec<SweepReport>,
}

/// A shard's part in sweeps.
#[derive(Default)]
pub(crate) struct Scrub {
    board: Board,
    round: u64,
    /// What was told of.
    counts: SweepCounts,
    /// Damaged records that operations had met when it was last counted.
    met_count: u64,
    /// Segments that were removed, as was told.
    removed: BTreeSet<u32>,
    /// When the next line about a record that could not be read may come.
    next_line: Instant,
}

impl Scrub {
    pub(crate) fn new(board: Board) -> Scrub {
        Scrub { board, ..Scrub::default() }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Sweeps> {
        // A shard that panics while it writes a report leaves a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// On shard 0: has all shards sweep. False if one that gives up less is under way, or a shard
    /// cannot be told: then another try is due.
    pub(super) fn begin_scrub(&mut self, accepts_loss: bool) -> bool {
        let shards = self.engine.shard.config().shards;
        let mut sweeps = self.scrub.board.lock();
        if sweeps.shards.iter().any(|report| report.is_running) {
            return sweeps.accepts_loss || !accepts_loss;
        }
        sweeps.round += 1;
        let round = sweeps.round;
        sweeps.accepts_loss = accepts_loss;
        let begun = SweepReport { is_running: true, is_asked: true, ..SweepReport::default() };
        sweeps.shards = vec![begun; usize::from(shards)];
        let mut are_told = true;
        for shard in 1..shards {
            let scrub = Control::Scrub { round, accepts_loss };
            if self.io.mesh.control(ShardIndex(shard), scrub).is_err() {
                sweeps.shards[usize::from(shard)] = SweepReport::default();
                are_told = false;
            }
        }
        drop(sweeps);
        self.on_scrub(round, accepts_loss);
        are_told
    }

    pub(super) fn on_scrub(&mut self, round: u64, accepts_loss: bool) {
        self.scrub.round = round;
        self.engine.log.begin_sweep(accepts_loss);
    }

    /// On shard 0: the answer to SCRUB_STATUS.
    pub(super) fn scrub_status(&self) -> String {
        let sweeps = self.scrub.board.lock();
        let shards: Vec<Value> = sweeps.shards.iter().zip(0..).map(of_shard).collect();
        json!({
            "is_running": sweeps.shards.iter().any(|report| report.is_running),
            "accepts_loss": sweeps.accepts_loss,
            "shards": shards,
        })
        .to_string()
    }

    /// Counts the damaged records that operations have met, and tells of one.
    pub(super) fn note_damage(&mut self) {
        let met = self.engine.log.damage_met();
        let count = met.count - std::mem::replace(&mut self.scrub.met_count, met.count);
        if count > 0 {
            self.recorder.add(Counter::DamagedReads, count);
            self.tell_unread(met.place, "is damaged");
        }
    }

    /// Tells of a record that could not be read, and why; of others a while later.
    pub(super) fn tell_unread(&mut self, place: Place, why: &str) {
        let now = self.engine.now;
        if now < self.scrub.next_line {
            return;
        }
        self.scrub.next_line = now + UNREAD_PAUSE;
        let shard = self.engine.shard.config().shard.0;
        let (segment, offset) = (place.segment(), place.offset());
        tracing::error!(
            "shard {shard}: the record in segment {segment} at offset {offset} {why}: \
             `ringmain scrub` finds all that are lost"
        );
    }

    /// A sweep begins to read a segment: looks whether somebody has removed it, and tells.
    pub(super) fn look_for(&mut self, read: Read) {
        // Nobody else reads headers.
        if read.offset > 0 || !self.disk.is_removed(read.segment) {
            return;
        }
        if self.engine.log.note_removed(read.segment) && self.scrub.removed.insert(read.segment) {
            let (shard, segment) = (self.engine.shard.config().shard.0, read.segment);
            tracing::error!(
                "shard {shard}: log segment {segment} was removed while this node runs, and the \
                 next start will miss it: until then `ringmain scrub --accept-loss` saves what it \
                 holds"
            );
        }
    }

    /// Counts what sweeps have done, and tells of one that has ended.
    pub(super) fn note_scrub(&mut self) {
        let (log, before) = (&self.engine.log, self.scrub.counts);
        let counts = log.sweep_counts();
        if counts == before {
            return;
        }
        self.scrub.counts = counts;
        self.recorder.add(Counter::ScrubbedBytes, counts.bytes - before.bytes);
        self.recorder.add(Counter::ScrubDamage, counts.damaged - before.damaged);
        let report = log.sweep_report();
        let shard = self.engine.shard.config().shard;
        if report.is_asked {
            let mut sweeps = self.scrub.board.lock();
            if sweeps.round == self.scrub.round {
                let listed = report.damage.iter().take(LISTED_COUNT_MAX);
                sweeps.shards[usize::from(shard.0)] =
                    SweepReport { damage: listed.copied().collect(), ..*report };
            }
        }
        if counts.ended > before.ended {
            tell(shard, report);
        }
    }
}

fn tell(shard: ShardIndex, report: &SweepReport) {
    let SweepReport { damage_count, keys_lost, is_accepted, .. } = *report;
    let shard = shard.0;
    let (ranges, keys) = (counted(damage_count, "damaged range"), counted(keys_lost, "key"));
    if is_accepted {
        tracing::warn!(
            "shard {shard}: given up: {keys} with records in {ranges} of the log, and what a \
             start may have found lost"
        );
    } else if damage_count > 0 {
        tracing::error!(
            "shard {shard}: the log has {ranges}, so {keys} cannot be read here: see \
             `ringmain scrub`; `ringmain repair` brings back what other nodes own, too; what \
             nobody has can be given up with --accept-loss"
        );
    }
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn of_shard((report, shard): (&SweepReport, u32)) -> Value {
    let ranges = report.damage.iter().map(of_range).collect::<Vec<_>>();
    json!({
        "shard": shard,
        "is_running": report.is_running,
        "is_whole": report.is_whole(),
        "segments": report.segments,
        "bytes": report.bytes,
        "bytes_checked": report.bytes_checked,
        "damage": ranges,
        "damage_count": report.damage_count,
        "keys_lost": report.keys_lost,
        "is_suspect": report.is_suspect,
        "was_suspect": report.was_suspect,
        "is_accepted": report.is_accepted,
    })
}

fn of_range(&Damage { segment, offset, end }: &Damage) -> Value {
    json!({ "segment": segment, "offset": offset, "end": end })
}
