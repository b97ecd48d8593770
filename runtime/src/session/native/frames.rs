//! Frames out of a stream of bytes, in place.
//!
//! Bytes arrive in pieces that end anywhere, in buffers that must be given back at once. A
//! [`FrameReader`] checks and yields every whole frame where it lies in the lent piece, and
//! copies only what is left over: the front of a frame whose end has not arrived.
//!
//! Invariant: memory grows with what arrived, at most doubling it, and never with what was
//! announced; after a large frame it is given back. The first broken frame ends the stream,
//! since its place is lost.

use std::marker::PhantomData;
use std::ops::{ControlFlow, Range};

use ringmain_core::checksum::Checksum;
use ringmain_core::id::RequestId;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::{Frame, FrameError, Hop, frame_bytes, frame_length, write_frame};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;

/// Longest frame that a client has reason to send: a PUT with the longest key and value that
/// any node may allow. Whether this node allows them is for the answer to say.
pub const CLIENT_FRAME_BYTES_MAX: usize = FIRST_BYTES + Op::Put.body_bytes_max();
/// Longest frame of all.
pub const FRAME_BYTES_MAX: usize = FIRST_BYTES + Op::Replicate.body_bytes_max();
/// Memory that a reader keeps between frames, bytes; more is given back.
pub const REST_BYTES_KEPT: usize = 16 << 10;
/// Smallest allocation for a rest, bytes: most frames fit whole.
pub const REST_BYTES_MIN: usize = 512;

const _: () = assert!(REST_BYTES_MIN <= REST_BYTES_KEPT);
const _: () = assert!(CLIENT_FRAME_BYTES_MAX <= FRAME_BYTES_MAX);

/// Finds the frames in a stream of bytes. See the module's page.
#[derive(Debug)]
pub struct FrameReader<C> {
    /// What was lent before and not consumed; its first `start` bytes are over.
    rest: Vec<u8>,
    start: usize,
    /// Bytes to come of a frame that was given up.
    skip: usize,
    frame_bytes_max: usize,
    failed: Option<FrameError>,
    checksum: PhantomData<C>,
}

/// Asks the reader to stop, for now: no room for what a frame asks, or enough for this turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pause {
    /// This frame was not taken: yield it again next time.
    Before,
    /// This frame was taken; stop in front of the next.
    After,
}

/// How far a reader came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// Every whole frame was taken.
    Drained,
    /// `each` asked for a pause; more may be waiting.
    Paused,
}

/// What [`FrameReader::take`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Taken {
    /// How many of the lent bytes were consumed: all, unless paused.
    pub bytes: usize,
    /// How far it came.
    pub flow: Flow,
}

impl<C: Checksum> FrameReader<C> {
    /// A reader at the start of a stream. Frames longer than `frame_bytes_max` are refused as
    /// soon as they are announced, however long their op allows them to be.
    pub fn new(frame_bytes_max: usize) -> FrameReader<C> {
        let checksum = PhantomData;
        FrameReader { rest: Vec::new(), start: 0, skip: 0, frame_bytes_max, failed: None, checksum }
    }

    /// Yields every frame that ends in `bytes`, and keeps what is left over. After a pause all
    /// that follows is kept: call again, with no or with more bytes, to go on; who pauses
    /// should therefore stop receiving. O(bytes), plus one copy of what is kept.
    ///
    /// # Errors
    /// The first [`FrameError`] of the stream, now and ever after: close it.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        each: impl FnMut(Frame<'_>) -> ControlFlow<Pause>,
    ) -> Result<Flow, FrameError> {
        let taken = self.take(bytes, each)?;
        if taken.flow == Flow::Paused {
            self.keep(&bytes[taken.bytes..], usize::MAX);
        }
        Ok(taken.flow)
    }

    /// As [`feed`](FrameReader::feed), but after a pause what is left of `bytes` stays the
    /// caller's, who lends it again: for bytes that need not be given back at once.
    ///
    /// # Errors
    /// As [`feed`](FrameReader::feed).
    pub fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Frame<'_>) -> ControlFlow<Pause>,
    ) -> Result<Taken, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let taken = self.take_held(bytes, &mut each);
        self.give_back();
        if let Err(error) = taken {
            self.failed = Some(error);
            (self.rest, self.start) = (Vec::new(), 0);
        }
        taken
    }

    /// What was consumed and belongs to no frame that was taken: the front of a frame, or more
    /// after a pause.
    pub fn held(&self) -> &[u8] {
        &self.rest[self.start..]
    }

    /// Gives up the frame whose front it holds: that is forgotten, and the rest passed over as it
    /// comes. Says which request it was, as far as that can be believed before its checksum has
    /// come; `None`, and nothing happens, if no such front is held.
    pub fn give_up(&mut self) -> Option<RequestId> {
        let held = self.held();
        let request = held.get(REQUEST_PLACE)?.try_into().ok()?;
        let missing = frame_bytes(held).ok()??.checked_sub(held.len()).filter(|it| *it > 0)?;
        let request = RequestId(u32::from_le_bytes(request));
        self.skip = missing;
        (self.rest, self.start) = (Vec::new(), 0);
        Some(request)
    }

    /// Gives back memory that nothing is in.
    pub fn rest(&mut self) {
        if self.held().is_empty() {
            (self.rest, self.start) = (Vec::new(), 0);
        }
    }

    /// Memory that it uses, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.rest.capacity()
    }

    /// First the frames that begin in what is held, then those that lie in `bytes` whole.
    fn take_held(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(Frame<'_>) -> ControlFlow<Pause>,
    ) -> Result<Taken, FrameError> {
        let mut consumed = self.skip.min(bytes.len());
        self.skip -= consumed;
        while self.start < self.rest.len() {
            let held = &self.rest[self.start..];
            let whole = self.frame_bytes(held)?;
            let wanted = whole.unwrap_or(PREFIX_BYTES);
            if wanted <= held.len() {
                // No length is known of fewer than PREFIX_BYTES alone, so this is a frame's.
                match each(Frame::new_checked::<C>(&held[..wanted])?) {
                    ControlFlow::Continue(()) => self.start += wanted,
                    ControlFlow::Break(pause) => {
                        self.start += if pause == Pause::After { wanted } else { 0 };
                        return Ok(Taken { bytes: consumed, flow: Flow::Paused });
                    }
                }
            } else {
                let missing = (wanted - held.len()).min(bytes.len() - consumed);
                if missing == 0 {
                    return Ok(Taken { bytes: consumed, flow: Flow::Drained });
                }
                self.keep(&bytes[consumed..consumed + missing], wanted);
                consumed += missing;
            }
        }
        self.give_back();
        let taken = self.take_lent(&bytes[consumed..], each)?;
        Ok(Taken { bytes: consumed + taken.bytes, ..taken })
    }

    /// The frames that lie in `bytes` whole; nothing is held.
    fn take_lent(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(Frame<'_>) -> ControlFlow<Pause>,
    ) -> Result<Taken, FrameError> {
        let mut consumed = 0;
        while !bytes.is_empty() {
            let whole = self.frame_bytes(bytes)?;
            let Some((frame, behind)) = whole.and_then(|whole| bytes.split_at_checked(whole))
            else {
                self.keep(bytes, whole.unwrap_or(PREFIX_BYTES));
                consumed += bytes.len();
                break;
            };
            match each(Frame::new_checked::<C>(frame)?) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Pause::Before) => {
                    return Ok(Taken { bytes: consumed, flow: Flow::Paused });
                }
                ControlFlow::Break(Pause::After) => {
                    return Ok(Taken { bytes: consumed + frame.len(), flow: Flow::Paused });
                }
            }
            consumed += frame.len();
            bytes = behind;
        }
        Ok(Taken { bytes: consumed, flow: Flow::Drained })
    }

    fn frame_bytes(&self, prefix: &[u8]) -> Result<Option<usize>, FrameError> {
        let whole = frame_bytes(prefix)?;
        if whole.is_some_and(|whole| whole > self.frame_bytes_max) {
            return Err(FrameError::TooLarge);
        }
        Ok(whole)
    }

    /// Holds `bytes` too; `wanted` is the most that will have to be held in the end.
    fn keep(&mut self, bytes: &[u8], wanted: usize) {
        self.rest.drain(..self.start);
        self.start = 0;
        let needed = self.rest.len() + bytes.len();
        if needed > self.rest.capacity() {
            let doubled = (2 * self.rest.capacity()).min(wanted);
            let capacity = needed.max(doubled).max(REST_BYTES_MIN);
            self.rest.reserve_exact(capacity - self.rest.len());
        }
        self.rest.extend_from_slice(bytes);
    }

    /// Forgets what is over, and keeps no more memory than a reader may.
    fn give_back(&mut self) {
        if self.start == self.rest.len() {
            self.rest.clear();
            self.start = 0;
        }
        let held = self.rest.len() - self.start;
        if self.rest.capacity() > REST_BYTES_KEPT.max(2 * held) {
            self.rest = self.rest[self.start..].to_vec();
            self.start = 0;
        }
    }
}

/// Appends a frame without a key to `out`.
///
/// # Panics
/// If the op needs a key, or the payload is longer than it allows.
pub fn append_frame<C: Checksum>(out: &mut Vec<u8>, hop: &Hop, payload: &impl Payload) {
    let start = out.len();
    out.resize(start + frame_length(0, payload.bytes()), 0);
    write_frame::<C>(hop, &[], payload, &mut out[start..]);
}

/// With this many bytes the length of a frame is known.
const PREFIX_BYTES: usize = 8;
/// Where the hop part has the name of the request.
const REQUEST_PLACE: Range<usize> = 8..12;

#[cfg(test)]
pub(crate) mod tests;
