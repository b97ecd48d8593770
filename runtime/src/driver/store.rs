//! The log's part of a turn: what it wants written, and what became of it.

use super::connection::Connection;
use super::files::FileJob;
use super::held_back::Scarce;
use super::work::Work;
use super::{Driver, OTHERS_TIME_MAX, State};
use crate::log::{Buffer, Completion, Errno, Read, Request, Wanted};
use crate::log_files::{NewSegment, Segment, free_bytes};
use crate::mesh::BACKLOG_BYTES_STOP;
use crate::metrics::Counter;
use crate::net::ConnectionId;
use crate::waiting::WAITING_COUNT_MAX;
use ringmain_core::drive::Waiting as _;
use ringmain_core::records::{Place, Records as _};
use ringmain_core::request::KeyPlace;
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Batches up to this size are written inline when nobody waits for their sync and there is memory
/// for them: what a turn appends. A hop to a kernel thread costs more than the copy.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// A write inline that took longer, less what the thread was without a CPU, stalled its shard: the
/// next ones go through the ring.
const STALL: Duration = Duration::from_millis(1);
/// For how long.
const STALL_REST: Duration = Duration::from_secs(1);
/// In a turn that has other things to do, background work that is due takes as long as they took,
/// so that it keeps up with them and hardly delays the next ones; and within these bounds, of which
/// the upper one falls while clients wait long (`Share`).
const STEP_TIME_MIN: Duration = Duration::from_micros(10);
/// See [`STEP_TIME_MIN`].
const STEP_TIME_MAX: Duration = Duration::from_micros(250);
/// Reads of cold records that the ring has at once; others wait.
const COLD_READ_COUNT_MAX: usize = 256;
/// While those under way read so many bytes, no further one is begun.
const COLD_READ_BYTES_MAX: u64 = 32 << 20;
/// When more is wanted than this, what nobody waits for any more is forgotten.
const WANTED_COUNT_MAX: usize = 2 * WAITING_COUNT_MAX;
/// How often a read may end early before that counts as an error.
const SHORT_READ_COUNT_MAX: u32 = 8;
/// How often a segment that is written is looked at: it may have been removed.
const REMOVED_PAUSE: Duration = Duration::from_secs(1);
/// Pause before another segment is tried after one that could not be made.
const SPACE_PAUSE: Duration = Duration::from_secs(1);

impl Driver {
    /// Does what the log asks for, and tells the machine what is on disk by now.
    pub(super) fn store(&mut self) {
        let now = self.state.engine.now;
        // Before a sweep follows that reports anew.
        self.state.note_scrub();
        self.state.note_damage();
        while let Some(request) = self.state.engine.log.poll_request(now) {
            self.state.note_sync(&request);
            match request {
                Request::Create { segment, bytes, header } => {
                    let new = NewSegment { segment, bytes, header };
                    self.state.files.give(FileJob::Create(new));
                }
                Request::Write { segment, offset, buffer, then_sync } => {
                    self.write((segment, offset), buffer, then_sync);
                }
                Request::Sync { segment } => {
                    let Some(file) = self.state.disk.file(segment) else {
                        unreachable!("the log syncs segments that were made");
                    };
                    if self.net.sync(file, 0).is_err() {
                        unreachable!("the log has one sync open, the ring takes more");
                    }
                }
                Request::Remove { segment } => {
                    let State { engine, disk, files, .. } = &mut self.state;
                    if let Some(removal) = disk.forget(engine.log.maps_mut(), segment) {
                        files.give(FileJob::Remove(removal));
                    }
                }
                Request::Read(read) => {
                    self.state.look_for(read);
                    self.read(Reading { read, key: None, tries: 0 });
                }
                Request::Store { segment, offset, bytes, is_last } => {
                    self.state.files.give(FileJob::Store { segment, offset, bytes, is_last });
                }
                Request::Discard { segment } => {
                    self.state.files.give(FileJob::Discard { segment });
                }
            }
        }
        while let Some(map) = self.state.engine.log.maps_mut().take_left() {
            self.state.files.give(FileJob::Unmap(map));
        }
        self.state.tell_stored();
        self.has_more |= self.state.release_held_back();
    }

    /// Writes a batch of the log: inline, if it is small, nobody waits for its sync, and the last
    /// one did not stall; else through the ring.
    fn write(&mut self, (segment, offset): (u32, u32), buffer: Buffer, then_sync: bool) {
        if self.state.is_removed(segment) {
            let result = Err(Errno(libc::ENOENT));
            return self.state.on_written(Completion::Written { result });
        }
        let now = self.state.engine.now;
        let is_short = self.state.engine.log.maps_mut().is_short();
        let is_inline = now >= self.state.inline_from && !is_short;
        if !then_sync && is_inline && buffer.len() <= INLINE_BYTES_MAX {
            let before = self.state.now();
            let completion = self.state.disk.write_inline(segment, offset, &buffer);
            drop(buffer);
            self.state.on_written(completion);
            let took = self.state.now().since(before);
            if took > STALL && self.state.turns.less_delay(took, false) > STALL {
                self.state.inline_from = now + STALL_REST;
            }
            return;
        }
        let tag = buffer.len() as u64;
        let Some(file) = self.state.disk.file(segment) else {
            unreachable!("the log writes to segments that were made");
        };
        let bytes = buffer.into_parts();
        let taken = self.net.write(file, offset.into(), bytes, then_sync, tag);
        taken.expect("the log has one write open, the ring takes more");
    }
}

/// Reads of the log.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Those that the ring has, by the tags of their events.
    open: BTreeMap<u64, Reading>,
    /// What they read.
    open_bytes: u64,
    latest: u64,
    /// The file system has refused a read that drops what it brought into the page cache.
    keeps_all: bool,
    /// Cold records for which the ring had no room yet.
    wanted: VecDeque<Wanted>,
    /// For the next read of background work: to take new memory for each costs more than the read.
    spare: Vec<u8>,
}

impl Reads {
    /// What those under way read, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.open_bytes as usize
    }
}

/// One read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    read: Read,
    /// Whose record; none for background work.
    key: Option<KeyPlace>,
    /// So many reads of the same ended early.
    tries: u32,
}

impl Driver {
    /// Has the ring read. One that cannot be begun has ended.
    pub(super) fn read(&mut self, reading: Reading) {
        let Reading { read, key, .. } = reading;
        let State { engine, disk, reads, .. } = &mut self.state;
        let Some(file) = disk.file(read.segment) else {
            // It was merged away meanwhile: the record is elsewhere.
            return self.state.on_read_ended(read, key, Err(Errno(libc::ENOENT)));
        };
        reads.latest += 1;
        let mut buffer = Vec::new();
        if key.is_none() {
            buffer = std::mem::take(&mut reads.spare);
        }
        buffer.resize(read.bytes as usize, 0);
        // What background work reads is of no use to anybody else.
        let drops = key.is_none() && !reads.keeps_all;
        engine.log.maps_mut().begin_reading(read);
        match self.net.read(file, read.offset.into(), (buffer, drops), reads.latest) {
            Ok(()) => {
                reads.open_bytes += u64::from(read.bytes);
                reads.open.insert(reads.latest, reading);
            }
            Err(_) => unreachable!("the ring takes more than these and the log's"),
        }
    }

    /// Has the ring read the records that operations wait for.
    pub(super) fn fetch_wanted(&mut self) {
        self.state.reads.wanted.extend(self.state.engine.log.take_wanted());
        self.state.forget_wanted();
        while self.state.reads.open.len() < COLD_READ_COUNT_MAX
            && self.state.reads.open_bytes < COLD_READ_BYTES_MAX
            && let Some(wanted) = self.state.reads.wanted.pop_front()
        {
            let Wanted { key, place, bytes, is_awaited } = wanted;
            // It reached its deadline, or who asked is gone.
            if is_awaited && !self.state.engine.waiting.contains(key) {
                continue;
            }
            if bytes == 0 {
                self.state.engine.resume_later(key);
                continue;
            }
            self.state.recorder.add(Counter::ColdReads, 1);
            let read = Read { segment: place.segment(), offset: place.offset(), bytes };
            self.read(Reading { read, key: Some(key), tries: 0 });
        }
    }
}

impl State {
    /// A disk that hangs reads nothing and makes no room, while operations reach their deadlines
    /// and others take their places: what nobody waits for any more is forgotten now and then.
    fn forget_wanted(&mut self) {
        let (log, waiting) = (&mut self.engine.log, &self.engine.waiting);
        let mut seen = BTreeSet::new();
        let mut is_awaited = |key| waiting.contains(key) && seen.insert(key);
        if self.reads.wanted.len() > WANTED_COUNT_MAX {
            self.reads.wanted.retain(|one| one.is_awaited && is_awaited(one.key));
        } else if log.roomless_count() > WANTED_COUNT_MAX {
            log.forget_roomless(is_awaited);
        }
    }

    /// Operations that waited go on, of each key in the order of their arrival, for a while.
    pub(super) fn go_on_waiting(&mut self) {
        let until = self.now() + OTHERS_TIME_MAX;
        while let Some(key) = self.engine.next_to_resume() {
            self.engine.resume(&mut self.io, key);
            if self.now() >= until {
                return;
            }
        }
    }

    /// A write has ended.
    pub(super) fn on_written(&mut self, completion: Completion) {
        if let Completion::Written { result } = completion {
            self.recorder.add(Counter::LogBytes, result.map_or(0, |bytes| bytes as u64));
            self.recorder.add(Counter::LogErrors, u64::from(result.is_err()));
        }
        self.engine.log.handle_completion(completion);
    }

    /// A read has ended; if it ended early, it is to be done again.
    pub(super) fn on_read(&mut self, tag: u64, buffer: Vec<u8>, result: Result<usize, Errno>) {
        let Some(mut reading) = self.reads.open.remove(&tag) else { return };
        let Reading { read, key, .. } = reading;
        self.reads.open_bytes -= u64::from(read.bytes);
        self.engine.log.maps_mut().end_reading(read);
        let is_refused = matches!(result, Err(Errno(libc::EOPNOTSUPP | libc::EINVAL)));
        if is_refused && key.is_none() && !self.reads.keeps_all {
            self.reads.keeps_all = true;
            return self.work.push_back(Work::Read(reading));
        }
        let is_short = result.is_ok_and(|count| count < buffer.len());
        if is_short && reading.tries < SHORT_READ_COUNT_MAX {
            reading.tries += 1;
            return self.work.push_back(Work::Read(reading));
        }
        self.recorder.add(Counter::LogErrors, u64::from(is_short || result.is_err()));
        let result = if is_short { Err(Errno(libc::EIO)) } else { result };
        if let (Some(_), Err(Errno(errno))) = (key, result) {
            let error = std::io::Error::from_raw_os_error(errno);
            let place = Place::new(read.segment, read.offset);
            self.tell_unread(place, &format!("cannot be read, {error}"));
        }
        self.on_read_ended(read, key, result.map(|_| buffer));
    }

    fn on_read_ended(&mut self, read: Read, key: Option<KeyPlace>, result: Result<Vec<u8>, Errno>) {
        let Some(key) = key else {
            self.reads.spare = self.engine.log.handle_read(read, result);
            return;
        };
        let place = Place::new(read.segment, read.offset);
        if let Ok(bytes) = result {
            self.engine.log.on_fetched(key, place);
            self.engine.log.maps_mut().begin_landing(read, bytes);
        } else {
            self.engine.log.on_fetch_failed(place);
        }
        self.engine.resume(&mut self.io, key);
        if !self.engine.waiting.contains(key) {
            // It may be a hint, or what one refers to, and be gone from memory again soon.
            self.tell_hints();
        }
        self.engine.log.maps_mut().end_landing();
    }

    /// Tells the machine for which nodes hints are kept.
    pub(super) fn tell_hints(&mut self) {
        for (target, ..) in self.engine.log.hint_targets().collect::<Vec<_>>() {
            self.engine.turn(&mut self.io).input(Input::Hinted { target });
        }
    }

    /// Does background work of the log: some of what is due, or a step if there is nothing else to
    /// do. Says whether there may be more.
    pub(super) fn step_log(&mut self, is_idle: bool) -> bool {
        if is_idle {
            return self.engine.log.step();
        }
        let spent = self.now().since(self.engine.now);
        let part = self.io.latencies.share(self.engine.now).of_time(STEP_TIME_MAX);
        let share = spent.clamp(STEP_TIME_MIN, part.max(STEP_TIME_MIN));
        let share = share * self.engine.log.step_urgency();
        let until = self.engine.now + spent + share;
        while self.engine.log.is_step_due() {
            if !self.engine.log.step() {
                return false;
            }
            if self.now() >= until {
                return true;
            }
        }
        false
    }

    pub(super) fn on_created(&mut self, segment: u32, result: Result<Segment, Errno>) {
        let result = result.map(|made| {
            let State { engine, disk, .. } = self;
            disk.add(engine.log.maps_mut(), made);
        });
        if let Err(errno) = result
            && self.next_space.is_none()
        {
            let why = why_not_made(errno);
            tracing::warn!("log segment {segment} cannot be made: {why}; trying again");
        }
        self.engine.log.handle_completion(Completion::Created { segment, result });
        if result.is_ok() {
            self.engine.log.offer_space(free_bytes(self.disk.dir()));
        }
    }

    /// While there is no room for further segments, looks for it from time to time.
    pub(super) fn look_for_space(&mut self) {
        let (log, now) = (&mut self.engine.log, self.engine.now);
        match (log.wants_space(), self.next_space) {
            (false, None) => {}
            (false, Some(_)) => {
                tracing::info!("there is room for log segments again: all writes are taken");
                self.next_space = None;
            }
            (true, Some(at)) if at > now => {}
            (true, at) => {
                if at.is_none() {
                    tracing::warn!(
                        "no segment can be added: writes that need more room get NOSPACE"
                    );
                }
                log.offer_space(free_bytes(self.disk.dir()));
                self.next_space = Some(now + SPACE_PAUSE);
            }
        }
    }

    /// When to look for space.
    pub(super) fn next_space(&self) -> Option<Instant> {
        self.next_space.filter(|_| self.engine.log.wants_space())
    }

    /// Whether somebody has removed the file of a segment that is about to be written: what goes
    /// there is gone with this process. Looks once in a while.
    fn is_removed(&mut self, segment: u32) -> bool {
        let now = self.engine.now;
        if now < self.next_look {
            return false;
        }
        self.next_look = now + REMOVED_PAUSE;
        self.disk.is_removed(segment)
    }

    /// Tells the machine how far the log has come, or that it has failed.
    pub(super) fn tell_stored(&mut self) {
        let (written, synced) = (self.engine.log.written(), self.engine.log.synced());
        if (written, synced) != self.stored {
            self.stored = (written, synced);
            self.engine.turn(&mut self.io).input(Input::Stored { written, synced });
        }
        if let Some(failure) = self.engine.log.failure()
            && !self.has_failed
        {
            self.has_failed = true;
            tracing::error!("this shard takes no writes any more: {failure}");
            self.engine.turn(&mut self.io).input(Input::LogFailed);
        }
    }

    /// What reading from `connection` should wait for: room in the log, those who have written
    /// while writes wait for it; an end to crowding, those whose operations have waited while many
    /// do; and all clients while much waits for other shards. So who only reads what is in memory
    /// never waits for the disk, and somebody's first write still has room.
    pub(super) fn lack(&mut self, connection: ConnectionId) -> Option<Scarce> {
        let connection = self.io.connections.at(connection.slot() as u32)?;
        let Connection { has_written, has_waited, .. } = *connection;
        let is_client = connection.is_client();
        let concerns = |scarce| match scarce {
            Scarce::Log => has_written,
            Scarce::Waiting => has_waited,
            Scarce::Mesh => is_client,
        };
        Scarce::ALL.into_iter().find(|scarce| concerns(*scarce) && self.is_scarce(*scarce))
    }

    fn is_scarce(&self, scarce: Scarce) -> bool {
        match scarce {
            // Or may be soon. Writes that wait for room come before others.
            Scarce::Log => self.engine.log.is_stalled() || self.engine.log.is_room_awaited(),
            Scarce::Waiting => self.engine.waiting.is_crowded(),
            Scarce::Mesh => self.io.mesh.backlog_bytes() > BACKLOG_BYTES_STOP,
        }
    }

    /// What was held back for lack of what there is again is read in the order of its arrival, for
    /// a while; says whether there is more.
    pub(super) fn release_held_back(&mut self) -> bool {
        let until = self.now() + OTHERS_TIME_MAX;
        while let Some(id) = self.next_to_release()
            && let Some(bytes) = self.held_back.remove(id)
        {
            self.on_received(id, &bytes);
            self.io.mark(id.slot() as u32);
            let connection = self.io.connections.at(id.slot() as u32);
            if connection.is_some_and(|connection| !connection.is_paused) {
                self.work.push_back(Work::Pause(id, false));
            }
            if self.now() >= until {
                return !self.held_back.is_empty();
            }
        }
        false
    }

    /// The connection that is held back longest of those that lack nothing any more.
    fn next_to_release(&mut self) -> Option<ConnectionId> {
        for scarce in Scarce::ALL {
            while !self.is_scarce(scarce)
                && let Some(id) = self.held_back.first(scarce)
            {
                match self.lack(id) {
                    None => return Some(id),
                    Some(other) => self.held_back.move_to(id, other),
                }
            }
        }
        None
    }
}

/// Why a file could not be made, and what helps.
pub(super) fn why_not_made(Errno(errno): Errno) -> String {
    let error = std::io::Error::from_raw_os_error(errno);
    let remedy = match errno {
        libc::EMFILE => "; raise the limit of open files (ulimit -n)",
        libc::ENFILE => "; raise the host's limit of open files (fs.file-max)",
        _ => "",
    };
    format!("{error}{remedy}")
}
