//! What a shard decides and stores with: the machine, the log, memory for requests in flight.

use super::epochs::SharedEpochs;
use super::io::Io;
use crate::bodies::RequestBodies;
use crate::checksum::Hardware;
use crate::log::Log;
use crate::log_files::SegmentMaps;
use crate::session::request::EXPECTED_COUNT_MAX;
use crate::waiting::WaitingOperations;
use ringmain_core::Unsynced;
use ringmain_core::drive::{Turn, TurnSettings, Waiting};
use ringmain_core::exchange::{self, Answering, Asking, Pair};
use ringmain_core::hash::Key;
use ringmain_core::id::NodeId;
use ringmain_core::limits::{
    EXCHANGE_ANSWERING_COUNT_MAX, EXCHANGE_ASKING_COUNT_MAX, SURVEY_COUNT_MAX,
};
use ringmain_core::request::{KeyPlace, Slot};
use ringmain_core::ring::{RingConfig, Rings};
use ringmain_core::shard::{Shard, ShardConfig, ShardMemory};
use ringmain_core::survey::Batch;
use ringmain_core::time::{Instant, UnixMs};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

/// Requests in flight of one shard, as coordinator.
pub(crate) const REQUEST_COUNT_MAX: usize = 16 << 10;
/// Acknowledgments of one shard that wait for a sync.
pub(crate) const UNSYNCED_COUNT_MAX: usize = 64 << 10;

/// A shard's machine with what it works on, and the time of the current turn.
pub(crate) struct Engine {
    pub(crate) shard: Box<Shard<'static>>,
    pub(crate) log: Log<SegmentMaps>,
    pub(crate) bodies: RequestBodies,
    pub(crate) waiting: WaitingOperations,
    /// Keys of which more go on than one step takes.
    going_on: VecDeque<KeyPlace>,
    pub(crate) settings: TurnSettings,
    pub(crate) epochs: Arc<SharedEpochs>,
    pub(crate) now: Instant,
    pub(crate) wall: UnixMs,
}

impl Engine {
    /// Has the memory of these keys, at most [`EXPECTED_COUNT_MAX`], begin to arrive.
    pub(crate) fn prefetch(&self, keys: &[&[u8]], hash_seed: u64) {
        let bits = self.shard.config().partition_bits;
        let mut expected = [Key::default(); EXPECTED_COUNT_MAX];
        for (expected, key) in expected.iter_mut().zip(keys) {
            *expected = Key::new(key, hash_seed, bits);
        }
        self.log.prefetch(&expected[..keys.len()]);
    }

    /// Lends the machine its memory for the life of the process.
    pub(crate) fn new(
        config: ShardConfig,
        ring: RingConfig,
        log: Log<SegmentMaps>,
        settings: TurnSettings,
        epochs: Arc<SharedEpochs>,
    ) -> Engine {
        let memory = ShardMemory {
            slots: vec![Slot::default(); REQUEST_COUNT_MAX].leak(),
            unsynced: vec![Unsynced::default(); UNSYNCED_COUNT_MAX].leak(),
            births: vec![0; Shard::partition_count(&config)].leak(),
            heard: vec![0; Shard::partition_count(&config)].leak(),
            hinted: vec![Instant(0); Shard::partition_count(&config)].leak(),
            exchanges: exchange_memory(&config, &ring),
            surveys: vec![Batch::default(); SURVEY_COUNT_MAX].leak(),
        };
        let owners = vec![NodeId(0); Rings::slot_count(&ring)].leak();
        let shard = Box::new(Shard::new(config, memory, Rings::new(owners, ring)));
        let bodies = RequestBodies::default();
        let waiting = WaitingOperations::default();
        let (going_on, now, wall) = (VecDeque::new(), Instant(0), UnixMs(0));
        Engine { shard, log, bodies, waiting, going_on, settings, epochs, now, wall }
    }

    /// Requests that have no answer yet.
    pub(crate) fn request_count(&self) -> usize {
        self.shard.request_count() + self.waiting.count()
    }

    /// When the drive loop has something to do.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let timers = [self.shard.poll_timeout(), self.waiting.next_deadline()];
        timers.into_iter().flatten().min()
    }

    /// A record was read, or could not be: what waits for its key goes on, one bounded step of it
    /// now, and what is left with [`Engine::next_to_resume`].
    pub(crate) fn resume(&mut self, io: &mut Io, key: KeyPlace) {
        if self.turn(io).resume(key) {
            self.going_on.push_back(key);
        }
    }

    /// What is in memory already goes on with [`Engine::next_to_resume`].
    pub(crate) fn resume_later(&mut self, key: KeyPlace) {
        self.going_on.push_back(key);
    }

    /// Whose next step it is: of a key that has begun to go on, then of the one whose write has
    /// waited for room longest, if there is some.
    pub(crate) fn next_to_resume(&mut self) -> Option<KeyPlace> {
        self.going_on.pop_front().or_else(|| self.log.next_roomy())
    }

    /// Whether [`Engine::next_to_resume`] has one.
    pub(crate) fn has_next_to_resume(&self) -> bool {
        !self.going_on.is_empty() || self.log.has_room()
    }

    /// One turn of the drive loop.
    pub(crate) fn turn<'d>(
        &'d mut self,
        io: &'d mut Io,
    ) -> Turn<'d, 'static, Log<SegmentMaps>, Io, RequestBodies, WaitingOperations, Hardware> {
        Turn {
            shard: &mut self.shard,
            store: &mut self.log,
            links: io,
            bodies: &mut self.bodies,
            waiting: &mut self.waiting,
            settings: &self.settings,
            epochs: self.epochs.load(),
            now: self.now,
            wall: self.wall,
            checksum: PhantomData,
        }
    }
}

/// Memory for as many exchanges as a shard may have: about 3 MiB, of which what is never used stays
/// untouched for the most part.
fn exchange_memory(config: &ShardConfig, ring: &RingConfig) -> exchange::Memory<'static> {
    let pairs = Shard::partition_count(config) * (2 * ring.n - 1);
    let asking = (0..EXCHANGE_ASKING_COUNT_MAX).map(|_| Asking::asking(&config.exchanges));
    let answering =
        (0..EXCHANGE_ANSWERING_COUNT_MAX).map(|_| Answering::answering(&config.exchanges));
    exchange::Memory {
        pairs: vec![Pair::default(); pairs].leak(),
        asking: asking.collect::<Vec<_>>().leak(),
        answering: answering.collect::<Vec<_>>().leak(),
    }
}
