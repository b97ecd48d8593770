//! What a node keeps for others, and how its copies compare with those of other owners: each shard
//! writes its page of a ledger, which shard 0 reads when people ask.

use super::reap::{Leftover, Reaping};
use super::{Control, State};
use ringmain_core::exchange::Finished;
use ringmain_core::id::{NodeId, Partition, ShardIndex, TopologyId};
use ringmain_core::shard::{ExchangeEvent, Input};
use ringmain_core::time::Instant;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The pages of all shards of a node. Locked when one is written, some times a second, and when
/// somebody asks.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// The latest repair that was asked for, and of what; none = of all partitions.
    round: u64,
    repaired: Option<Partition>,
    /// The latest reaping that was asked for.
    reaping: u64,
    /// By shard; none before a shard has written its first.
    pages: BTreeMap<ShardIndex, Page>,
}

/// What one shard has written.
#[derive(Clone, Debug, Default)]
struct Page {
    /// The latest repair that it has begun.
    round: u64,
    pairs: Vec<ringmain_core::exchange::Pair>,
    hints: Vec<HintsFor>,
    /// What the shard works with, and partitions that it still catches up with there.
    topology: TopologyId,
    cold_count: usize,
    reaping: (Reaping, Leftover),
}

/// What is kept for one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct HintsFor {
    target: NodeId,
    count: usize,
    bytes: u64,
    /// Since then without pause, or since this process began.
    since: Instant,
}

/// A shard's part of the ledger.
#[derive(Default)]
pub(crate) struct Clerk {
    ledger: Ledger,
    round: u64,
    pub(super) reaping: Reaping,
    /// Since when something is kept for each node.
    since: BTreeMap<NodeId, Instant>,
    /// When it may be told next that copies differ still.
    tells_at: Instant,
}

/// Pause between two lines about copies that differ still: a full disk concerns all partitions.
const TELL_PAUSE: Duration = Duration::from_secs(60);

impl Clerk {
    pub(crate) fn new(ledger: Ledger) -> Clerk {
        Clerk { ledger, ..Clerk::default() }
    }

    /// What all shards of the node have written.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Ledger {
    /// Keys in which copies differed still when they were compared last.
    pub(crate) fn differences(&self) -> u64 {
        let pages = self.lock();
        let pairs = pages.pages.values().flat_map(|page| &page.pairs);
        pairs.map(|pair| u64::from(pair.differences)).sum()
    }

    /// How long something has been kept for another node without pause.
    pub(crate) fn oldest_hint(&self, now: Instant) -> Option<Duration> {
        let pages = self.lock();
        let since = pages.pages.values().flat_map(|page| &page.hints).map(|hints| hints.since);
        since.min().map(|since| now.since(since))
    }

    /// Partitions that the shards of the node still catch up with in `topology`; none as long as
    /// not all of `shards` know it.
    pub(crate) fn cold_count(&self, topology: TopologyId, shards: u16) -> Option<usize> {
        let pages = self.lock();
        let known = || pages.pages.values().filter(|page| page.topology == topology);
        let all_know = known().count() == usize::from(shards);
        all_know.then(|| known().map(|page| page.cold_count).sum())
    }

    /// The number of a reaping that is asked for now.
    pub(super) fn next_reaping(&self) -> u64 {
        let mut pages = self.lock();
        pages.reaping += 1;
        pages.reaping
    }

    /// The number of the latest, and how far the shards are that have written a page.
    pub(super) fn reapings(&self) -> (u64, Vec<(Reaping, Leftover)>) {
        let pages = self.lock();
        (pages.reaping, pages.pages.values().map(|page| page.reaping).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // A shard that panics while it writes its page leaves a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes this shard's page.
    pub(super) fn write_page(&mut self) {
        let reaping = self.note_reaping();
        let (now, clerk) = (self.engine.now, &mut self.clerk);
        let targets: Vec<(NodeId, usize, u64)> = self.engine.log.hint_targets().collect();
        clerk.since.retain(|node, _| targets.iter().any(|(target, ..)| target == node));
        let hints = targets.into_iter().map(|(target, count, bytes)| {
            let since = *clerk.since.entry(target).or_insert(now);
            HintsFor { target, count, bytes, since }
        });
        let (hints, shard) = (hints.collect(), &self.engine.shard);
        let (topology, cold_count) = (shard.topology(), shard.cold_count());
        let pairs = shard.exchange_pairs().to_vec();
        let page = Page { round: clerk.round, pairs, hints, topology, cold_count, reaping };
        clerk.ledger.lock().pages.insert(shard.config().shard, page);
    }

    /// An exchange has repaired something, or could not.
    pub(super) fn tell_exchanged(&mut self, finished: Finished) {
        let Finished { partition, peer, repaired, differences } = finished;
        let partition = partition.0;
        tracing::debug!(
            "partition {partition}: {repaired} keys made equal with node {peer}, {differences} \
             differ still"
        );
        if differences > 0 && self.clerk.tells_at <= self.engine.now {
            self.clerk.tells_at = self.engine.now + TELL_PAUSE;
            tracing::warn!(
                "{differences} keys of partition {partition} differ from node {peer} still, and \
                 perhaps others: one of the two may have a full disk; see `ringmain cluster \
                 exchanges`"
            );
        }
    }

    /// On shard 0: has all shards compare copies now. False if one cannot be told: then another
    /// try is due.
    pub(super) fn begin_repair(&mut self, partition: Option<Partition>) -> bool {
        let round = {
            let mut pages = self.clerk.ledger.lock();
            pages.round += 1;
            pages.repaired = partition;
            pages.round
        };
        let shards = self.engine.shard.config().shards;
        let mut are_told = true;
        for shard in (1..shards).map(ShardIndex) {
            let repair = Control::Repair { round, partition };
            are_told &= self.io.mesh.control(shard, repair).is_ok();
        }
        self.on_repair(round, partition);
        are_told
    }

    pub(super) fn on_repair(&mut self, round: u64, partition: Option<Partition>) {
        self.clerk.round = self.clerk.round.max(round);
        let event = ExchangeEvent::Repair { partition };
        self.engine.turn(&mut self.io).input(Input::Exchange(event));
        self.write_page();
    }

    /// The answer to HINTS.
    pub(super) fn hints_json(&self) -> String {
        let mut sums: BTreeMap<NodeId, (usize, u64, Instant)> = BTreeMap::new();
        let pages = self.clerk.ledger.lock();
        for hints in pages.pages.values().flat_map(|page| &page.hints) {
            let sum = sums.entry(hints.target).or_insert((0, 0, hints.since));
            *sum = (sum.0 + hints.count, sum.1 + hints.bytes, sum.2.min(hints.since));
        }
        let holder = self.about.node.to_string();
        let now = self.engine.now;
        let of_target = |(target, (count, bytes, since)): (NodeId, (usize, u64, Instant))| {
            json!({
                "holder": holder,
                "target": target.to_string(),
                "count": count,
                "bytes": bytes,
                "oldest_s": now.since(since).as_secs(),
            })
        };
        Value::Array(sums.into_iter().map(of_target).collect()).to_string()
    }

    /// The answer to EXCHANGES.
    pub(super) fn exchanges_json(&self) -> String {
        let node = self.about.node.to_string();
        let now = self.engine.now;
        let pages = self.clerk.ledger.lock();
        let pairs = pages.pages.values().flat_map(|page| &page.pairs);
        let pairs = pairs.map(|pair| {
            json!({
                "node": node,
                "partition": pair.partition.0,
                "peer": pair.peer.to_string(),
                "last_equal_s": pair.last_equal.map(|at| now.since(at).as_secs()),
                "differences": pair.differences,
            })
        });
        Value::Array(pairs.collect()).to_string()
    }

    /// The answer to REPAIR_STATUS.
    pub(super) fn repair_status_json(&self) -> String {
        let shards = usize::from(self.engine.shard.config().shards);
        let pages = self.clerk.ledger.lock();
        let have_begun = pages.pages.len() == shards
            && pages.pages.values().all(|page| page.round >= pages.round);
        let is_meant = |partition| pages.repaired.is_none_or(|repaired| repaired == partition);
        let all = || pages.pages.values().flat_map(|page| &page.pairs);
        let pairs = || all().filter(|pair| is_meant(pair.partition));
        let left = pairs().filter(|pair| pair.is_asked).count();
        let deferred = pairs().filter(|pair| pair.is_deferred);
        let deferred = deferred
            .map(|pair| json!({ "partition": pair.partition.0, "peer": pair.peer.to_string() }));
        let differences: u64 = pairs().map(|pair| u64::from(pair.differences)).sum();
        json!({
            "is_running": !have_begun || left > 0,
            "pairs": pairs().count(),
            "left": left,
            "deferred": deferred.collect::<Vec<_>>(),
            "differences": differences,
        })
        .to_string()
    }
}
