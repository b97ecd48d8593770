//! The log's part of a turn: what it wants written, and what became of it.

use super::{Control, Driver, State};
use crate::log::{Completion, Errno, Request};
use crate::log_files::{Segment, create_segment, errno, free_bytes};
use crate::mesh::BACKLOG_BYTES_STOP;
use crate::metrics::Counter;
use crate::net::ConnectionId;
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;
use std::time::Duration;

/// Batches up to this size are written inline when nobody waits for their sync: what a turn
/// appends. A hop to a kernel thread costs more than the copy.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// A write inline that took longer stalled its shard: the next ones go through the ring.
const STALL: Duration = Duration::from_millis(1);
/// For how long.
const STALL_REST: Duration = Duration::from_secs(1);
/// Pause before another segment is tried after one that could not be made.
const SPACE_PAUSE: Duration = Duration::from_secs(1);

impl Driver {
    /// Does what the log asks for, and tells the machine what is on disk by now.
    pub(super) fn store(&mut self) {
        let now = self.state.engine.now;
        while let Some(request) = self.state.engine.log.poll_request(now) {
            match request {
                Request::Create { segment, bytes, header } => {
                    self.state.create(segment, bytes, header);
                }
                Request::Write { segment, offset, buffer, then_sync } => {
                    let is_inline = now >= self.state.inline_from;
                    if !then_sync && is_inline && buffer.len() <= INLINE_BYTES_MAX {
                        let before = self.state.now();
                        let completion = self.state.disk.write_inline(segment, offset, &buffer);
                        drop(buffer);
                        let has_failed =
                            matches!(completion, Completion::Written { result: Err(_) });
                        self.state.recorder.add(Counter::LogErrors, u64::from(has_failed));
                        self.state.engine.log.handle_completion(completion);
                        if self.state.now().since(before) > STALL {
                            self.state.inline_from = now + STALL_REST;
                        }
                        continue;
                    }
                    let tag = buffer.len() as u64;
                    let Some(file) = self.state.disk.file(segment) else {
                        unreachable!("the log writes to segments that were made");
                    };
                    if self.net.write(file, offset.into(), buffer, then_sync, tag).is_err() {
                        unreachable!("the log has one write open, the ring takes more");
                    }
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
                    let State { engine, disk, .. } = &mut self.state;
                    disk.remove(engine.log.maps_mut(), segment);
                }
            }
        }
        self.state.tell_stored();
        self.state.release_held_back();
    }
}

impl State {
    /// Makes a segment on a thread of its own: that syncs, and nobody waits for it.
    fn create(&mut self, segment: u32, bytes: u32, header: [u8; crate::log::SEGMENT_HEADER_BYTES]) {
        let dir = self.disk.dir().to_owned();
        let (controls, shard) = (self.io.mesh.controls(), self.engine.shard.config().shard);
        let make = move || {
            let made = create_segment(&dir, segment, bytes, &header);
            let result = made.map_err(|error| errno(&error));
            let mut control = Control::Created { segment, result };
            // The shard empties its queue every turn.
            while let Err(back) = controls.control(shard, control) {
                control = back;
                std::thread::yield_now();
            }
        };
        let thread = std::thread::Builder::new().name(format!("segment-{segment}"));
        if let Err(error) = thread.spawn(make) {
            self.on_created(segment, Err(errno(&error)));
        }
    }

    pub(super) fn on_created(&mut self, segment: u32, result: Result<Segment, Errno>) {
        let result = result.map(|made| {
            let State { engine, disk, .. } = self;
            disk.add(engine.log.maps_mut(), made);
        });
        match result {
            Ok(()) if self.next_space.take().is_some() => {
                tracing::info!("log segment {segment} was made: there is room again");
            }
            Ok(()) => {}
            Err(Errno(errno)) => {
                if self.next_space.is_none() {
                    let error = std::io::Error::from_raw_os_error(errno);
                    tracing::warn!("log segment {segment} cannot be made: {error}; trying again");
                }
                self.next_space = Some(self.now() + SPACE_PAUSE);
            }
        }
        self.engine.log.handle_completion(Completion::Created { segment, result });
        if result.is_ok() {
            self.engine.log.offer_space(free_bytes(self.disk.dir()));
        }
    }

    /// After a segment that could not be made: tries again when it is time.
    pub(super) fn look_for_space(&mut self) {
        if self.engine.log.is_refused() && self.next_space.is_some_and(|at| at <= self.engine.now) {
            self.engine.log.offer_space(free_bytes(self.disk.dir()));
        }
    }

    /// When to look for space.
    pub(super) fn next_space(&self) -> Option<Instant> {
        self.next_space.filter(|_| self.engine.log.is_refused())
    }

    /// Tells the machine how far the log is on disk, or that it has failed.
    fn tell_stored(&mut self) {
        let synced = self.engine.log.synced();
        if synced > self.stored {
            self.stored = synced;
            self.engine.turn(&mut self.io).input(Input::Stored { up_to: synced });
        }
        if let Some(failure) = self.engine.log.failure()
            && !self.has_failed
        {
            self.has_failed = true;
            tracing::error!("this shard takes no writes any more: {failure}");
            self.engine.turn(&mut self.io).input(Input::LogFailed);
        }
    }

    /// Whether reading from `connection` should wait: from anyone while the log would refuse
    /// appends, from clients while much waits for other shards or for cold records.
    pub(super) fn is_stalled(&mut self, connection: ConnectionId) -> bool {
        let connection = self.io.connections.at(connection.slot() as u32);
        let is_client = connection.is_some_and(|connection| connection.is_client());
        self.engine.log.is_stalled() || (is_client && self.is_crowded())
    }

    fn is_crowded(&self) -> bool {
        self.io.mesh.backlog_bytes() > BACKLOG_BYTES_STOP || self.engine.waiting.is_crowded()
    }

    /// There is room again: what was held back is read in the order of its arrival.
    fn release_held_back(&mut self) {
        while !self.engine.log.is_stalled()
            && !self.is_crowded()
            && let Some((id, bytes)) = self.held_back.pop_front()
        {
            self.on_received(id, &bytes);
            self.io.mark(id.slot() as u32);
            let connection = self.io.connections.at(id.slot() as u32);
            let wants = connection.is_some_and(|connection| !connection.is_paused);
            if wants && !self.held_back.iter().any(|(other, _)| *other == id) {
                self.work.push_back(super::work::Work::Pause(id, false));
            }
        }
    }
}
