//! The machine of one shard: client requests of its partitions as coordinator, and records of
//! other coordinators as replica.
//!
//! ```text
//!            ┌ not mine ──────────────► Forwarded ── reply at hand ─► relayed
//! request ───┤ GET, or read-first PUT ► Reading ──── R answered ────► reply, or Writing
//!            └ PUT ── appended here ──► Writing ──── W stored ──────► reply
//! ```
//! A write is appended in the turn in which it asks for that, unless the record that it would
//! change is cold: then it is `Applying` until that was read, and asks anew.
//!
//! What it keeps for other nodes it hands off once they can be reached.
//!
//! It decides; the driver (see [`drive`](crate::drive)) reads, appends and sends. One mutation,
//! then drain [`Shard::poll_output`] before the next. An event that concerns many requests (a peer
//! lost, a new ring, a sync) is remembered and walked in bounded steps by
//! [`Shard::handle_timeout`]. Source: Dynamo §4.5, §5; correctness of the counting: `quorum`.

mod apply;
mod compact;
mod coordinate;
mod exchange;
mod handoff;
mod message;
mod reach;
mod read;
mod standing;
mod straggler;
mod survey;
mod versions;
mod walk;
mod warm;

#[cfg(test)]
mod tests;

pub use crate::health::HealthFigures;
pub use exchange::ExchangeEvent;
pub use message::{DataFrame, FoundHint, Input, Output, Sought};
pub(crate) use survey::Stance;
pub use survey::SurveyEvent;

use crate::exchange::{self as exchanges, Exchanges};
use crate::handoff::Handoff;
use crate::hash::Key;
use crate::health::{Health, Pulse};
use crate::id::{Boot, NodeId, Partition, ShardIndex, TopologyId};
use crate::limits::{MEMBER_COUNT_MAX, READ_REPAIR_BURST, READ_REPAIR_PER_SECOND};
use crate::node::Audience;
use crate::pace::Pace;
use crate::records::Place;
use crate::replica::{Replica, Unsynced};
use crate::request::{Slot, Table};
use crate::ring::Rings;
use crate::survey::{self as surveys, Batch, Surveys};
use crate::time::Instant;
use core::time::Duration;
use heapless::{Deque, Vec};
use warm::Warming;

/// Most outputs that wait at once. One input makes at most one for each replica and a few more.
const OUTPUT_COUNT_MAX: usize = 64;
/// A bounded step stops when fewer outputs than this are free.
const OUTPUT_COUNT_STEP: usize = 2 * crate::limits::REPLICA_COUNT_MAX + 4;

const _: () = assert!(OUTPUT_COUNT_MAX >= 2 * OUTPUT_COUNT_STEP);

/// What a shard is told once.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// This node.
    pub node: NodeId,
    /// Its process life.
    pub boot: Boot,
    /// Which shard this is.
    pub shard: ShardIndex,
    /// How many shards this node has.
    pub shards: u16,
    /// log2 of the number of partitions.
    pub partition_bits: u32,
    /// The cluster's default R.
    pub r: u8,
    /// The cluster's default W.
    pub w: u8,
    /// All acknowledgments wait for a sync (durability `always`); else those that ask for one.
    /// The others wait for their write.
    pub sync_before_ack: bool,
    /// Its store keeps hints and somebody delivers them, so that nodes stand in for owners that
    /// are away; else a write goes to owners alone. The same for all nodes of a cluster.
    pub keeps_hints: bool,
    /// How often nodes are looked at for which hints are left (`limits::HINT_INTERVAL`).
    pub hint_interval: Duration,
    /// Of its anti-entropy.
    pub exchanges: exchanges::Settings,
    /// Of what leaves for good.
    pub surveys: surveys::Settings,
}

/// The memory that a shard works in, lent once.
#[derive(Debug)]
pub struct ShardMemory<'a> {
    /// Requests in flight: at most 65 534.
    pub slots: &'a mut [Slot],
    /// Acknowledgments that wait for the log.
    pub unsynced: &'a mut [Unsynced],
    /// Births used in each partition of this shard (see [`Shard::partition_count`]).
    pub births: &'a mut [u32],
    /// As many for what it gains while the membership changes.
    pub heard: &'a mut [u8],
    /// As many for when a hint was last taken or sent.
    pub hinted: &'a mut [Instant],
    /// Exchanges.
    pub exchanges: exchanges::Memory<'a>,
    /// Surveys: at most `limits::SURVEY_COUNT_MAX` make sense.
    pub surveys: &'a mut [Batch],
}

/// The machine. See the module's page.
#[derive(Debug)]
pub struct Shard<'a> {
    config: ShardConfig,
    rings: Rings<'a>,
    topology: TopologyId,
    table: Table<'a>,
    replica: Replica<'a>,
    births: &'a mut [u32],
    first_partition: u16,
    /// Of the current input or step.
    now: Instant,
    pulse: Pulse,
    health: Health,
    /// Reads that could have asked more nodes than they did.
    reads: u32,
    /// Peers that can be reached, sorted.
    reachable: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Those of them that speak the version of the protocol before this node's.
    older: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// Peers that came back while a walk still fails what waited for them.
    returning: Vec<NodeId, MEMBER_COUNT_MAX>,
    /// The next slot that the walk visits; none when no walk is running.
    walk: Option<usize>,
    /// The process stops.
    is_stopping: bool,
    /// The log has failed.
    read_only: bool,
    /// As in [`Input::Audience`].
    audience: Audience,
    read_repair: Pace,
    handoff: Handoff,
    warming: Warming<'a>,
    exchanges: Exchanges<'a>,
    surveys: Surveys<'a>,
    /// What was erased is gone for good once this is on disk.
    last_erased: Place,
    /// When entries of version vectors were last asked about, and the last place of such a record:
    /// once that is on disk, all is of which was said so before.
    last_spent: (Instant, Place),
    /// When a hint of each partition was last taken or sent.
    hinted: &'a mut [Instant],
    /// When this life began.
    began: Option<Instant>,
    outputs: Deque<Output, OUTPUT_COUNT_MAX>,
}

impl<'a> Shard<'a> {
    /// A shard with an empty ring, no peers and no requests.
    ///
    /// # Panics
    /// If the memory does not fit the configuration.
    pub fn new(config: ShardConfig, memory: ShardMemory<'a>, rings: Rings<'a>) -> Shard<'a> {
        let first = first_partition(config.shard, config.shards, config.partition_bits);
        assert_eq!(memory.births.len(), Shard::partition_count(&config));
        assert_eq!(memory.heard.len(), memory.births.len());
        assert_eq!(memory.hinted.len(), memory.births.len());
        memory.births.fill(0);
        memory.hinted.fill(Instant(0));
        Shard {
            config,
            rings,
            topology: TopologyId(0),
            table: Table::new(memory.slots),
            replica: Replica::new(memory.unsynced),
            births: memory.births,
            first_partition: first,
            now: Instant(0),
            pulse: Pulse::new(),
            health: Health::default(),
            reads: 0,
            reachable: Vec::new(),
            older: Vec::new(),
            returning: Vec::new(),
            walk: None,
            is_stopping: false,
            read_only: false,
            audience: Audience::All,
            read_repair: Pace::new(READ_REPAIR_PER_SECOND, READ_REPAIR_BURST),
            handoff: Handoff::new(config.hint_interval),
            warming: Warming::new(memory.heard),
            exchanges: Exchanges::new(&config.exchanges, memory.exchanges),
            surveys: Surveys::new(config.surveys, memory.surveys),
            last_erased: Place(0),
            last_spent: (Instant(0), Place(0)),
            hinted: memory.hinted,
            began: None,
            outputs: Deque::new(),
        }
    }

    /// How many partitions a shard of this configuration holds.
    pub fn partition_count(config: &ShardConfig) -> usize {
        let first = first_partition(config.shard, config.shards, config.partition_bits);
        let next = ShardIndex(config.shard.0 + 1);
        let end = first_partition(next, config.shards, config.partition_bits);
        usize::from(end - first)
    }

    /// One mutation; drain [`Shard::poll_output`] before the next.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        self.now = now;
        self.began.get_or_insert(now);
        self.pulse.begin(now);
        match input {
            Input::Request(request) => self.on_request(now, request),
            Input::Looked { op, result } => self.on_looked(now, op, result),
            Input::Applied { op, result } => self.on_applied(now, op, result),
            Input::ConditionFailed { op } => self.on_condition_failed(op),
            Input::Fetched { op } => self.on_fetched(now, op),
            Input::Heard { node, op } => self.on_heard(now, node, op),
            Input::Replicate(frame) => self.on_replicate(now, frame),
            Input::Joined { link, request, order, sync, result } => {
                self.on_joined(link, request, order, sync, result);
            }
            Input::Read(frame) => self.on_read(now, frame),
            Input::Acked { node, op, order, durable } => {
                self.on_acked(now, node, op, order, durable)
            }
            Input::Answered { node, op, order, found } => {
                self.on_answered(now, node, op, order, found);
            }
            Input::Rejected { node, op, order, reason } => {
                self.on_rejected(now, node, op, order, reason);
            }
            Input::Unsent { node, op } => self.on_unsent(now, node, op),
            Input::ForwardReplied { op, node, order } => {
                self.on_forward_replied(now, op, node, order);
            }
            Input::ForwardLost { op } => self.on_forward_lost(op),
            Input::PeerSpeaks { node, version } => self.on_peer_speaks(node, version),
            Input::PeerUp(node) => self.on_peer_up(now, node),
            Input::PeerDown(node) => self.on_peer_down(now, node),
            Input::Stored { written, synced } => self.on_stored(now, written, synced),
            Input::LogFailed => self.on_log_failed(now),
            Input::Hinted { target } => self.on_hinted(now, target),
            Input::Sought { op, result } => self.on_sought(now, op, result),
            Input::EndsAt { end } => self.on_end_found(end),
            Input::Exchange(event) => self.on_exchange(now, event),
            Input::Survey(event) => self.on_survey(now, event),
            Input::Rings { rings, topology } => self.on_rings(now, rings, topology),
            Input::Stop => {
                self.is_stopping = true;
                self.hold_exchanges(now);
            }
            Input::Audience(audience) => self.audience = audience,
            Input::Background { per_mille } => {
                self.handoff.set_share(per_mille);
                self.exchanges.set_share(per_mille);
            }
        }
        self.tell_warm();
        self.check_invariants();
    }

    /// One bounded step: an expired deadline, a piece of a walk, a hint, a step of an exchange.
    ///
    /// # Panics
    /// If the outputs were not drained.
    pub fn handle_timeout(&mut self, now: Instant) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next step");
        self.now = now;
        self.pulse.on_run(now);
        // First: who is suspect from now on, nobody turns to in this step any more.
        self.step_health(now);
        if self.replica.is_due() || self.read_only {
            self.release_acks(now);
        }
        if self.has_room() && self.walk.is_some() {
            self.walk(now);
        }
        if self.has_room()
            && let Some(op) = self.table.expired(now)
        {
            self.on_expired(now, op);
        }
        if self.has_room() {
            self.hand_off(now);
        }
        if self.has_room() {
            self.exchange(now);
        }
        if self.has_room() {
            self.survey(now);
        }
        if self.has_room() {
            self.tell_warm();
        }
        self.check_invariants();
    }

    /// What the driver has to do next; none when it is drained.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Shard::handle_timeout`] has something to do; `Instant(0)` = now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.walk.is_some()
            || self.replica.is_due()
            || (self.read_only && self.replica.is_owed())
        {
            return Some(Instant(0));
        }
        [self.next_task(), self.health.next(), self.pulse.next()].into_iter().flatten().min()
    }

    /// When a request, a hint or an exchange is due.
    fn next_task(&self) -> Option<Instant> {
        let tasks = [self.next_handoff(), self.next_exchange(), self.next_survey()];
        tasks.into_iter().chain([self.table.next()]).flatten().min()
    }

    /// The rings this shard works on.
    pub fn rings(&self) -> &Rings<'a> {
        &self.rings
    }

    /// Its topology.
    pub fn topology(&self) -> TopologyId {
        self.topology
    }

    /// As in [`Input::Audience`].
    pub(crate) fn audience(&self) -> Audience {
        self.audience
    }

    /// Its configuration.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// Requests in flight, that is, without their answer.
    pub fn request_count(&self) -> usize {
        self.table.count() - self.table.answered_count() - self.handoff.in_flight()
    }

    /// Hints in flight; each takes a slot of the requests.
    pub fn hint_count(&self) -> usize {
        self.handoff.in_flight()
    }

    /// Whether this node owns `partition`, or is to own it, and this shard holds it.
    pub fn owns(&self, partition: Partition) -> bool {
        self.holds(partition) && self.rings.is_owner(partition, self.config.node)
    }

    /// Whether this node owns `partition` and has its copy: then it coordinates.
    pub fn is_coordinator(&self, partition: Partition) -> bool {
        self.holds(partition) && self.rings.is_coordinator(partition, self.config.node)
    }

    /// Whether this shard keeps what `key` means, its own copy or a hint.
    pub(crate) fn keeps(&self, key: &Key<'_>) -> bool {
        match key.target {
            NodeId(0) => self.owns(key.partition),
            target => self.may_keep(key.partition, target),
        }
    }

    /// Whether this shard coordinates requests on `key`, for itself or for whom it is kept.
    pub(crate) fn coordinates(&self, key: &Key<'_>) -> bool {
        self.may_coordinate(key.partition, key.target)
    }

    /// Whether a GET of `partition` with this R and PR (0 = default) is answered from the local
    /// record alone, without a request in flight.
    pub fn reads_alone(&self, partition: Partition, r: u8, pr: u8) -> bool {
        let is_shown = self.audience != Audience::Nobody;
        if r > 1 || pr > 1 || !is_shown || !self.is_coordinator(partition) {
            return false;
        }
        r == 1 || self.is_quorum(partition)
    }

    /// Whether this node, which coordinates requests of `partition`, is as many owners as R is by
    /// default, in each topology.
    fn is_quorum(&self, partition: Partition) -> bool {
        let is_enough = |owners: &[NodeId]| {
            usize::from(self.config.r).min(owners.len()) == 1 && owners.contains(&self.config.node)
        };
        is_enough(self.rings.committed().owners(partition))
            && (!self.rings.is_moving() || is_enough(&self.rings.coordinators(partition)))
    }

    /// Whether `partition` is one of this shard's, owned or not.
    pub(crate) fn holds(&self, partition: Partition) -> bool {
        let index = partition.0.wrapping_sub(self.first_partition);
        usize::from(index) < self.births.len()
    }

    /// Whether a bounded step may go on. Not behind a look: it may lead to an append in the same
    /// turn, whose birth and whose place among the unsynced are counted only then.
    fn has_room(&self) -> bool {
        self.outputs.len() + OUTPUT_COUNT_STEP <= OUTPUT_COUNT_MAX
            && !self.outputs.iter().any(|output| matches!(output, Output::Look { .. }))
    }

    fn output(&mut self, output: Output) {
        self.note_sent(&output);
        self.outputs.push_back(output).expect("the bound of outputs per step holds");
    }

    fn check_invariants(&self) {
        assert!(self.table.count() <= self.table.capacity());
        assert!(self.returning.is_empty() || self.walk.is_some());
        assert!(self.handoff.in_flight() + self.table.answered_count() <= self.table.count());
    }
}

/// The first partition of `shard`: the smallest that `ShardIndex::of` maps to it.
pub fn first_partition(shard: ShardIndex, shards: u16, partition_bits: u32) -> u16 {
    assert!(shards > 0);
    assert!(u32::from(shards) <= 1 << partition_bits);
    (u32::from(shard.0) << partition_bits).div_ceil(u32::from(shards)) as u16
}
