//! Reaping that people ask for: all shards look at once for what may leave, and each writes on its
//! page of the ledger how far that is.

use super::{Control, State};
use crate::metrics::{Counter, Gauge};
use ringmain_core::id::{NodeId, Partition, ShardIndex};
use ringmain_core::records::Records;
use ringmain_core::shard::{Input, Shard, SurveyEvent, first_partition};
use ringmain_core::survey::{Counts, Pass};
use serde_json::json;
use std::collections::BTreeSet;

/// What a shard has done of the latest reaping that was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reaping {
    /// Which.
    round: u64,
    /// It goes on until so many passes have ended; none: it is over.
    passes: Option<u64>,
    /// The counts when it began, and now, or when it was over.
    began: Counts,
    counts: Counts,
    /// The pass that ended it.
    pass: Pass,
    /// Nothing may leave now, as data moves or the shard may not write.
    is_barred: bool,
}

/// What a shard holds that is to leave at some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leftover {
    /// Keys that were deleted.
    tombstones: u64,
    /// Keys of partitions that others own.
    unowned: u64,
}

impl Reaping {
    pub(super) fn is_running(&self) -> bool {
        self.passes.is_some()
    }

    /// Has begun just now.
    fn begin(&mut self, round: u64, shard: &Shard<'_>) {
        let counts = *shard.survey_counts();
        // The pass that goes on may be past what is to leave: only the one behind it counts.
        let passes = Some(counts.passes + 1 + u64::from(shard.is_surveying()));
        *self = Reaping { round, passes, began: counts, counts, ..Reaping::default() };
    }

    fn look(&mut self, shard: &Shard<'_>) {
        let Some(passes) = self.passes else { return };
        self.counts = *shard.survey_counts();
        self.pass = *shard.survey_pass();
        self.is_barred = !shard.may_survey();
        // A change of the membership breaks a pass off, and the next is the one that was wanted.
        let has_ended = self.counts.passes >= passes || !shard.is_surveying();
        if has_ended || self.is_barred {
            self.passes = None;
        }
    }
}

impl State {
    /// On shard 0: has all shards look now. False if one cannot be told: then another try is due.
    pub(super) fn begin_reap(&mut self) -> bool {
        let round = self.clerk.ledger().next_reaping();
        let shards = self.engine.shard.config().shards;
        let mut are_told = true;
        for shard in (1..shards).map(ShardIndex) {
            are_told &= self.io.mesh.control(shard, Control::Reap { round }).is_ok();
        }
        self.on_reap(round);
        are_told
    }

    pub(super) fn on_reap(&mut self, round: u64) {
        // Before it is wanted: from then on a pass counts as one that goes on.
        self.clerk.reaping.begin(round, &self.engine.shard);
        self.engine.turn(&mut self.io).input(Input::Survey(SurveyEvent::Wanted));
        self.write_page();
    }

    /// Looks how far reaping is, and at what is left; says so to whoever looks.
    pub(super) fn note_reaping(&mut self) -> (Reaping, Leftover) {
        let shard = &self.engine.shard;
        self.clerk.reaping.look(shard);
        let (counts, leftover) = (shard.survey_counts(), self.leftover());
        let recorder = &self.recorder;
        recorder.reach(Counter::Reaped, counts.reaped);
        recorder.reach(Counter::GivenAway, counts.fenced);
        recorder.reach(Counter::Compacted, counts.compacted);
        recorder.set(Gauge::ReapPutOff, shard.survey_pass().put_off);
        recorder.set(Gauge::Tombstones, leftover.tombstones);
        recorder.set(Gauge::UnownedKeys, leftover.unowned);
        recorder.set(Gauge::LogErasureBytes, self.engine.log.erasure_bytes());
        (self.clerk.reaping, leftover)
    }

    /// Costs a few additions for each partition.
    fn leftover(&self) -> Leftover {
        let (shard, log) = (&self.engine.shard, &self.engine.log);
        let (config, rings) = (shard.config(), shard.rings());
        let first = first_partition(config.shard, config.shards, config.partition_bits);
        // Before it knows the membership, and behind its leave, a node owns nothing.
        let is_member = rings.contains(config.node);
        let mut leftover = Leftover::default();
        for index in 0..Shard::partition_count(config) {
            let partition = Partition(first + index as u16);
            let keys = Records::key_count(log, partition);
            leftover.tombstones += keys - log.live_count(partition);
            if keys > 0 && is_member && !rings.is_owner(partition, config.node) {
                leftover.unowned += keys;
            }
        }
        leftover
    }

    /// The answer to REAP_STATUS.
    pub(super) fn reap_status_json(&self) -> String {
        let shards = usize::from(self.engine.shard.config().shards);
        let (round, pages) = self.clerk.ledger().reapings();
        let is_over = |reaping: &Reaping| reaping.round >= round && !reaping.is_running();
        let left = shards - pages.iter().filter(|(reaping, _)| is_over(reaping)).count();
        let too_old: BTreeSet<NodeId> =
            pages.iter().filter_map(|(reaping, _)| reaping.pass.too_old).collect();
        let sum = |of: fn(&(Reaping, Leftover)) -> u64| pages.iter().map(of).sum::<u64>();
        json!({
            "is_running": left > 0,
            "shards": shards,
            "left": left,
            "reaped": sum(|(reaping, _)| reaping.counts.reaped - reaping.began.reaped),
            "given_away": sum(|(reaping, _)| reaping.counts.fenced - reaping.began.fenced),
            "young": sum(|(reaping, _)| reaping.pass.young),
            "put_off": sum(|(reaping, _)| reaping.pass.put_off),
            "away": sum(|(reaping, _)| reaping.pass.away),
            "too_old": too_old.iter().map(NodeId::to_string).collect::<Vec<_>>(),
            "barred": sum(|(reaping, _)| u64::from(reaping.is_barred)),
            "tombstones": sum(|(_, leftover)| leftover.tombstones),
            "unowned": sum(|(_, leftover)| leftover.unowned),
        })
        .to_string()
    }
}
