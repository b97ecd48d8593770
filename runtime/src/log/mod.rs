//! The log of one shard: every record it holds, in the order of writing.
//!
//! *Problem.* Keep records durable and findable at memory speed, and lose nothing that was
//! acknowledged, whatever moment the power chooses. *Answer.* Appends go into the tail in
//! memory, the only copy, and the index points at them at once; the tail is written to
//! preallocated segments in order, and reads below the written place come from maps of
//! the segments, which the caller lends as [`Maps`]. The log makes no file call: it emits
//! [`Request`]s and takes [`Completion`]s, so the simulator runs it on a simulated disk.
//! [`record`] has the byte layout. *Invariants.* A place never changes what it holds. Only what
//! lies before [`Log::synced`] is claimed stored, and that place never falls. A segment's file is
//! written front to back, once, and never truncated. *Source.* Bitcask (Sheehy and Smith 2010)
//! for index and log; what a crash may leave is answered in [`recovery`](recover).
//!
//! One turn of the driver:
//! 1. [`Log::handle_completion`] for what has ended, [`Log::handle_timeout`] if due;
//! 2. reads and appends ([`Records`](ringmain_core::records::Records));
//! 3. [`Log::poll_request`] until `None`;
//! 4. acknowledge what lies before [`Log::synced`] (or was appended, as the durability says);
//! 5. sleep until a completion or [`Log::poll_timeout`].

mod background;
mod cold;
mod content;
mod erasure;
mod hints;
mod index;
mod leaves;
pub mod limits;
mod live;
mod mending;
pub mod record;
mod records;
mod recovery;
mod request;
mod scrub;
mod segment;
mod segments;
mod snapshot;
mod source;
mod stop;
mod tail;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ops::Range;

use ringmain_core::causality::{Lifespan, Record};
use ringmain_core::hash::Key;
use ringmain_core::id::Partition;
use ringmain_core::limits::BODY_BYTES_MAX;
use ringmain_core::records::{Full, Place, Stored, Unread};
use ringmain_core::time::Instant;
use ringmain_core::wire::COVERED_BYTES;
use ringmain_core::wire::place::PLACE_BYTES;

use background::Background;
pub use background::Counts;
pub use cold::Wanted;
use cold::{FailedReads, Roomless};
use index::Index;
use leaves::Leaves;
use mending::Mending;
pub use recovery::{Cut, Damage, File, OpenError, Recovered, recover};
pub use request::{Completion, Durability, Errno, Failure, Read, Refusal, Request};
use scrub::Scrubber;
pub use scrub::{SweepCounts, SweepReport};
pub use segment::{FORMAT_VERSION, Identity, SEGMENT_HEADER_BYTES, SegmentSizes};
use segments::State;
pub use source::DamageMet;
use source::Source;
pub use tail::Buffer;
use writer::{Claim, Settings, Writer};

/// Reads the written part of segments as memory.
pub trait Maps {
    /// The `bytes` bytes at `offset` of `segment`; `None` if they are not in memory now. A range
    /// outside of its segment may be `None` too: the log asks for none but after damage.
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]>;

    /// As [`Maps::bytes`], and what lies behind them, as far as it is known to be in memory at no
    /// cost; no more than `most` bytes in all, of which there are at least `bytes`.
    fn bytes_on(&self, segment: u32, offset: u32, bytes: usize, _most: usize) -> Option<&[u8]> {
        self.bytes(segment, offset, bytes)
    }

    /// As [`Maps::bytes`], but also if they are not in memory: only their address is of interest.
    fn address(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        self.bytes(segment, offset, bytes)
    }

    /// These bytes of `segment` were written just now, so they are in memory.
    fn on_written(&self, _segment: u32, _range: Range<u32>) {}

    /// Whether all of the segments can be read now: then what is not there is damaged, not cold.
    fn are_resident(&self) -> bool {
        false
    }
}

/// Settings of a log.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Whose log it is.
    pub identity: Identity,
    /// When a write counts as stored.
    pub durability: Durability,
    /// Bounds of segment sizes.
    pub sizes: SegmentSizes,
    /// Random; for the nonces of segments.
    pub seed: u64,
}

/// The log of one shard. Operations cost one index probe and touch the record.
pub struct Log<M> {
    maps: M,
    index: Index,
    leaves: Leaves,
    writer: Writer,
    background: Background,
    scrubber: Scrubber,
    /// A record that cannot be read any more lay before this place, and nobody knows of which
    /// key: keys that were written last before it may have a newer value.
    suspect: Place,
    mending: Mending,
    /// A key that a read could not read, to be marked: its partition and order.
    unreadable: Cell<Option<(Partition, u64)>>,
    met: Cell<DamageMet>,
    refusal: Option<Refusal>,
    wanted: Vec<Wanted>,
    failed_reads: FailedReads,
    roomless: Roomless,
}

impl<M: Maps> Log<M> {
    /// Goes on where `recovered` ends. `maps` serve every segment that recovery was given;
    /// `free_bytes` is the free space of the file system.
    ///
    /// Reads work at once. Appends are refused until there is a segment to begin, which may take
    /// the first completion of a `Create`; nothing recovered may be acknowledged or counted as
    /// stored before [`Log::is_ready`].
    pub fn new(config: Config, maps: M, recovered: Recovered, free_bytes: u64) -> Log<M> {
        let Recovered { index, leaves, standing, suspect, .. } = recovered;
        let Config { identity, durability, sizes, seed } = config;
        let settings = Settings { identity, durability, sizes };
        let writer = Writer::new(settings, standing, free_bytes, seed);
        Log {
            maps,
            index,
            leaves,
            writer,
            background: Background::default(),
            scrubber: Scrubber::default(),
            suspect,
            mending: Mending::new(seed),
            unreadable: Cell::default(),
            met: Cell::default(),
            refusal: None,
            wanted: Vec::new(),
            failed_reads: FailedReads::default(),
            roomless: Roomless::default(),
        }
    }

    /// The next thing to do on disk; call it until `None` at the end of each turn.
    pub fn poll_request(&mut self, now: Instant) -> Option<Request> {
        self.mark_unreadable();
        let request = self.writer.poll_request(now);
        let request = request.or_else(|| {
            let may_read = !self.scrubber.is_reading();
            self.background.poll_request(may_read)
        });
        let request = request.or_else(|| self.poll_sweep(now));
        if request.is_some() {
            self.scrubber.on_event();
        }
        if let Some(Request::Store { bytes, .. }) = &request {
            self.writer.on_space_taken(bytes.len() as u64);
        }
        request
    }

    /// Takes the answer to a request. An answer to none is ignored.
    pub fn handle_completion(&mut self, completion: Completion) {
        self.scrubber.on_event();
        match completion {
            Completion::Stored { result } => {
                if let Some(segment) = self.background.on_stored(result) {
                    self.writer.segments.set_state(segment, State::Done);
                }
            }
            completion => {
                let before = self.writer.written();
                self.writer.handle_completion(completion);
                let end = self.writer.written();
                let is_same = before.segment() == end.segment();
                let start = if is_same { before.offset() } else { 0 };
                self.maps.on_written(end.segment(), start..end.offset());
            }
        }
    }

    /// Takes what was read, all of it, or why it could not be. Returns a buffer that is not needed
    /// any more, perhaps an empty one: the next may be read into it.
    pub fn handle_read(&mut self, read: Read, result: Result<Vec<u8>, Errno>) -> Vec<u8> {
        let result = result.and_then(|bytes| match bytes.len() == read.bytes as usize {
            true => Ok(bytes),
            false => Err(Errno(0)),
        });
        match self.scrubber.is_reading() {
            true => self.scrubber.on_read(result),
            false => self.background.on_read(result),
        }
    }

    /// Starts the sync of `interval` if it is due. What else is due comes with the next request.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.writer.handle_timeout(now);
    }

    /// When to call [`Log::handle_timeout`]; `None` if nothing waits for time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let may_sweep = self.writer.is_running() && !self.background.is_reading();
        let sweep = self.scrubber.poll_timeout().filter(|_| may_sweep);
        [self.writer.poll_timeout(), sweep].into_iter().flatten().min()
    }

    /// Asks for a sync of everything appended so far, whatever the durability (DW > 0).
    pub fn sync_wanted(&mut self) {
        self.writer.sync_wanted();
    }

    /// Tells the free space of the file system, bytes: segments are sized by it, and after a
    /// failed `Create` another is tried.
    pub fn offer_space(&mut self, free_bytes: u64) {
        self.writer.offer_space(free_bytes);
        self.index.hints.is_refused = false;
    }

    /// Whether records that take more space than they free are refused, or will be when the
    /// segment in use is full.
    pub fn is_refused(&self) -> bool {
        self.writer.is_refused()
    }

    /// Whether something was refused for want of space: tell of free space ([`Log::offer_space`])
    /// from time to time.
    pub fn wants_space(&self) -> bool {
        self.is_refused() || self.index.hints.is_refused
    }

    /// The place behind the last appended record.
    pub fn end(&self) -> Place {
        self.writer.end()
    }

    /// Everything before this place is in the maps.
    pub fn written(&self) -> Place {
        self.writer.written()
    }

    /// Everything before this place is on disk: a record at `place` is if `place < synced()`.
    pub fn synced(&self) -> Place {
        self.writer.synced()
    }

    /// Whether what was recovered is on disk and the log's new end is marked there.
    pub fn is_ready(&self) -> bool {
        self.writer.is_ready()
    }

    /// Why the log takes no appends for good. Then nothing above the last durable place is served.
    pub fn failure(&self) -> Option<Failure> {
        self.writer.failure()
    }

    /// Why the last append that failed did, in more detail than [`Full`].
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether an append may soon be refused although it only has to wait: for the tail to be
    /// written or for the next segment. A driver that reads nothing from clients meanwhile never
    /// has to refuse them.
    pub fn is_stalled(&self) -> bool {
        self.writer.is_stalled()
    }

    /// Keys in the index, tombstones included. Cost: one addition per partition.
    pub fn key_count(&self) -> usize {
        self.index.key_count()
    }

    /// Memory of the index, bytes. Cost: one addition per partition.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Damaged records that operations have met.
    pub fn damage_met(&self) -> DamageMet {
        self.met.get()
    }

    /// Bytes of the records that the index points at, with place parts and padding.
    pub fn live_bytes(&self) -> u64 {
        self.writer.segments.live_bytes()
    }

    /// Bytes of the files that the log lies in, one made ready for later aside.
    pub fn file_bytes(&self) -> u64 {
        self.writer.file_bytes()
    }

    /// Orders and places of the keys of `partition` from `order` on, ascending by order.
    ///
    /// # Panics
    /// If the partition is not of this shard; so do all methods that take one or a key.
    pub fn keys_from(
        &self,
        partition: Partition,
        order: u64,
    ) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.index.table(partition).iter_from(order)
    }

    /// The stored bytes at `place`, place part and body, to send from; `None` if nothing of a
    /// record is readable there.
    pub fn frame(&self, place: Place) -> Option<&[u8]> {
        self.source().frame(place).ok().map(|frame| frame.bytes())
    }

    /// The key and record at `place`, which the index or an append named.
    pub fn record_at(&self, place: Place) -> Result<(&[u8], Stored<'_>), Unread> {
        let frame = self.source().frame(place)?;
        Ok((frame.key(), frame.stored()?))
    }

    /// As [`Log::record_at`], but every byte is checked again, whatever was checked before. Cost:
    /// one pass over the record.
    pub fn check(&self, place: Place) -> Result<(&[u8], Stored<'_>), Unread> {
        let frame = self.source().frame(place)?;
        if frame.is_intact() { Ok((frame.key(), frame.stored()?)) } else { Err(Unread::Damaged) }
    }

    /// Has the index entries and leaves of keys begin to arrive in the CPU's caches, then their
    /// records: misses that would be paid one after another overlap. Changes nothing else; keys
    /// of other shards are passed over.
    pub fn prefetch(&self, keys: &[Key<'_>]) {
        let own = || keys.iter().filter(|key| self.index.holds(key.partition));
        for key in own() {
            self.index.of(key).prefetch(key.order);
            self.leaves.prefetch(key.partition, key.order);
        }
        for key in own() {
            if let Some(place) = self.index.of(key).guess(key.order) {
                self.source().prefetch(place);
                self.writer.segments.prefetch(place);
            }
        }
    }

    /// The maps.
    pub fn maps(&self) -> &M {
        &self.maps
    }

    /// The maps, to add or drop those of segments.
    pub fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    fn source(&self) -> Source<'_, M> {
        Source {
            maps: &self.maps,
            tail: self.writer.tail.filled(),
            written: self.writer.written(),
            served_below: self.writer.served_below(),
            suspect: self.suspect,
            is_certain: true,
            mending: &self.mending,
            failed_reads: &self.failed_reads,
            unreadable: &self.unreadable,
            doubted: self.writer.segments.doubted(),
            met: &self.met,
        }
    }

    /// Appends a body of `body_bytes` for `key`. `fill` gets the current record and writes the
    /// body; it returns `mine` and the body's checksum.
    fn append_body(
        &mut self,
        key: &Key<'_>,
        body_bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]) -> (Option<u16>, u32),
    ) -> Result<Place, Refusal> {
        if body_bytes > BODY_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        // A leaf is in no cache: it comes while the record is put together.
        self.leaves.prefetch(key.partition, key.order);
        let padded = record::padded_bytes(body_bytes);
        let place = self.reserve(key, padded)?;
        let (written, served_below) = (self.writer.written(), self.writer.served_below());
        let (tail, free) = self.writer.tail.parts();
        let (met, doubted) = (&self.met, self.writer.segments.doubted());
        let (mending, unreadable, maps) = (&self.mending, &self.unreadable, &self.maps);
        let failed_reads = &self.failed_reads;
        // Whoever asks for an append has read what is to be replaced, and may believe more of it.
        let suspect = self.suspect;
        let source = Source {
            maps,
            tail,
            written,
            served_below,
            suspect,
            is_certain: false,
            mending,
            failed_reads,
            doubted,
            met,
            unreadable,
        };
        let table = self.index.of_mut(key);
        let (probe, current) = source.find(table, key).map_err(|_| Refusal::Unread)?;
        let replaced = current.map(|frame| (frame.place(), frame.padded_bytes()));

        let (part, rest) = free[..padded].split_at_mut(PLACE_BYTES);
        let (body, padding) = rest.split_at_mut(body_bytes);
        let current = current.map(|frame| frame.stored()).transpose();
        let (mine, checksum) = fill(current.map_err(|_| Refusal::Unread)?, body);
        padding.fill(0);
        table.put(probe, key.order, (place, lifespan(key, body)), true);
        let flags = (mine, table.has_twin(key.order), key.target);
        record::stamp_record(part, place, body_bytes, flags, checksum);

        self.writer.tail.commit(padded);
        if key.is_hint() {
            let replaced = replaced.map(|(_, bytes)| bytes);
            self.index.hints.on_kept(key.target, place, padded, replaced);
        }
        let segments = &mut self.writer.segments;
        if let Some((place, bytes)) = replaced {
            segments.on_dead(place, bytes);
        }
        segments.on_live(place, padded);
        let is_full = self.is_merging_due();
        if key.is_hint() {
            self.sweep_hints(key.target);
        }
        self.background.on_appended(place, padded, is_full);
        Ok(place)
    }

    /// Room for a new record of `key`, of `padded` bytes. What is kept of a full disk is for
    /// records that are smaller than the one that they replace.
    fn reserve(&mut self, key: &Key<'_>, padded: usize) -> Result<Place, Refusal> {
        if key.is_hint() && !self.has_room_for_hint(padded) {
            self.index.hints.is_refused = true;
            return Err(Refusal::HintsFull);
        }
        match self.writer.reserve(padded, Claim::Growth) {
            Err(Refusal::NoSpace) => {}
            reserved => return reserved,
        }
        let source = Source { is_certain: false, ..self.source() };
        let found = source.find(self.index.of(key), key);
        let (_, current) = found.map_err(|_| Refusal::Unread)?;
        match current {
            Some(frame) if padded < frame.padded_bytes() => {
                let spares_merging = self.has_room_to_merge(padded);
                self.writer.reserve(padded, Claim::Relief { spares_merging })
            }
            _ => Err(Refusal::NoSpace),
        }
    }

    fn noted(&mut self, result: Result<Place, Refusal>) -> Result<Place, Full> {
        self.refusal = result.err();
        if self.refusal == Some(Refusal::NoSpace) {
            self.background.on_full(self.writer.active_bytes());
        }
        result.map_err(Refusal::full)
    }
}

/// What becomes of the record in a body. Of a hint nobody asks.
fn lifespan(key: &Key<'_>, body: &[u8]) -> Lifespan {
    if key.is_hint() {
        return Lifespan::Lasting;
    }
    let record = Record::new_checked(&body[COVERED_BYTES + key.bytes.len()..]);
    record.map_or(Lifespan::Lasting, Record::lifespan)
}
