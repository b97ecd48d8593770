//! One link: the ring from one shard to another, and what waits in front of it.
//!
//! A producer whose backlog does not fit says so in `starved` before it looks at the ring once
//! more; the consumer makes room before it looks at `starved`. Each has a full fence between
//! its two steps, so at least one of them sees what the other did (Dekker's argument), and room
//! is never made unnoticed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_utils::CachePadded;
use ringmain_core::checksum::Checksum;
use ringmain_core::drive::Lost;
use ringmain_core::wire::frame::{Frame, FrameError};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{BACKLOG_BYTES_KEPT, MeshLimits};
use crate::session::native::frames::{FRAME_BYTES_MAX, Flow, FrameReader, Pause};

/// Makes both ends of a link.
pub(super) fn link<C: Checksum>(limits: &MeshLimits) -> (Outbound, Inbound<C>) {
    let (producer, consumer) = RingBuffer::new(limits.link_bytes);
    let starved = Arc::new(CachePadded::new(AtomicBool::new(false)));
    let outbound = Outbound {
        ring: producer,
        backlog: Vec::new(),
        backlog_bytes_max: limits.backlog_bytes,
        start: 0,
        news: false,
        starved: Arc::clone(&starved),
    };
    let reader = FrameReader::new(FRAME_BYTES_MAX);
    (outbound, Inbound { ring: consumer, reader, paused: false, starved })
}

/// The producer's end.
#[derive(Debug)]
pub(super) struct Outbound {
    ring: Producer<u8>,
    /// What did not fit; its first `start` bytes are in the ring.
    backlog: Vec<u8>,
    backlog_bytes_max: usize,
    start: usize,
    /// The target has not been rung for what it has got.
    news: bool,
    starved: Arc<CachePadded<AtomicBool>>,
}

impl Outbound {
    pub(super) fn send(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        let waiting = self.backlog_bytes();
        if waiting > 0 && waiting + bytes > self.backlog_bytes_max {
            return Err(Lost);
        }
        if waiting == 0
            && let Ok(mut room) = self.ring.write_chunk(bytes)
            && let (place, []) = room.as_mut_slices()
        {
            fill(place);
            room.commit_all();
            self.news = true;
            return Ok(());
        }
        // No room, or not in one piece. Moving the backlog pays off once half of it is over.
        if self.start >= waiting {
            self.backlog.drain(..self.start);
            self.start = 0;
        }
        let end = self.backlog.len();
        self.backlog.resize(end + bytes, 0);
        fill(&mut self.backlog[end..]);
        self.push();
        Ok(())
    }

    pub(super) fn ring_at_flush(&mut self) {
        self.news = true;
    }

    /// Whether the target must be rung.
    pub(super) fn flush(&mut self) -> bool {
        self.push();
        if self.backlog_bytes() > 0 {
            self.starved.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.push();
        }
        std::mem::take(&mut self.news)
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.backlog.len() - self.start
    }

    /// Moves into the ring what it has room for.
    fn push(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let (pushed, _) = self.ring.push_partial_slice(&self.backlog[self.start..]);
        self.start += pushed.len();
        self.news |= !pushed.is_empty();
        if self.start == self.backlog.len() {
            self.backlog.clear();
            self.start = 0;
            if self.backlog.capacity() > BACKLOG_BYTES_KEPT {
                self.backlog = Vec::new();
            }
        }
    }
}

/// The consumer's end.
#[derive(Debug)]
pub struct Inbound<C> {
    ring: Consumer<u8>,
    reader: FrameReader<C>,
    paused: bool,
    starved: Arc<CachePadded<AtomicBool>>,
}

impl<C: Checksum> Inbound<C> {
    /// Also whether the producer must be rung, since it waits for the room that was made.
    pub fn receive(
        &mut self,
        mut each: impl FnMut(Frame<'_>) -> ControlFlow<Pause>,
    ) -> Result<(Flow, bool), FrameError> {
        let readable = self.ring.slots();
        if readable == 0 && !self.paused {
            return Ok((Flow::Drained, false));
        }
        let chunk = self.ring.read_chunk(readable).expect("the only consumer saw them readable");
        let (front, back) = chunk.as_slices();
        let mut taken = self.reader.take(front, &mut each)?;
        if taken.flow == Flow::Drained && !back.is_empty() {
            let more = self.reader.take(back, &mut each)?;
            taken.bytes += more.bytes;
            taken.flow = more.flow;
        }
        chunk.commit(taken.bytes);
        self.paused = taken.flow == Flow::Paused;
        Ok((taken.flow, taken.bytes > 0 && self.was_starved()))
    }

    /// Whether nothing has come that a pause does not hold back.
    pub(super) fn is_idle(&self) -> bool {
        self.paused || self.ring.is_empty()
    }

    fn was_starved(&self) -> bool {
        fence(Ordering::SeqCst);
        self.starved.load(Ordering::Relaxed) && self.starved.swap(false, Ordering::Relaxed)
    }
}
