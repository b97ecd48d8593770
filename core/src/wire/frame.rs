//! Frames: a hop part and a body.
//!
//! Reading: [`frame_bytes`] on what has arrived, until it names a length; then
//! [`Frame::new_checked`] on that many bytes; then [`Message`](super::message::Message) or the
//! payload type of the op. A frame is checked for its cluster apart ([`Frame::is_of`]), since a
//! HELLO may not know it, and for the version of its connection ([`Frame::speaks`]). Any
//! [`FrameError`] means that the stream has lost its place: close it.

use core::error::Error;
use core::fmt;
use core::mem::offset_of;
use core::ops::Range;

use super::body::{Body, BodyError, body_bytes, write_body};
use super::layout;
use super::op::Op;
use super::payload::Payload;
use super::version::Versions;
use super::{COVERED_BYTES, FIRST_BYTES, HANDSHAKE_VERSION, HOP_MAGIC, VERSION};
use crate::checksum::Checksum;
use crate::id::{RequestId, TopologyId};

/// The hop part of a frame: who asks what, of which request, until when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// What the frame asks or answers.
    pub op: Op,
    /// The sender's name for the request; an answer repeats it.
    pub request: RequestId,
    /// Milliseconds that were left of the request's time at sending.
    pub deadline_ms: u16,
    /// When the frame was put into its sender's output, by [`stamp`](super::age::stamp); 0 from
    /// and to clients, between the shards of a node, and until [`stamp_frames`] has been there.
    pub sent_ms: u16,
    /// The sender's topology; 0 = none.
    pub topology: TopologyId,
    /// [`ClusterId::digest`](crate::id::ClusterId::digest); 0 = none.
    pub cluster_digest: u64,
}

impl Hop {
    /// Writes the first 32 bytes of a frame whose body has `body_bytes`: alone, in front of a
    /// body that the log holds, or over the hop part of a frame that is passed on. It says the
    /// version of this build until [`stamp_frames`] has been there.
    ///
    /// # Panics
    /// If `out` is not 32 bytes long, or `body_bytes` is no length that the op allows.
    pub fn write(&self, body_bytes: usize, out: &mut [u8]) {
        assert!(out.len() == FIRST_BYTES);
        assert!(body_bytes >= COVERED_BYTES);
        assert!(body_bytes <= self.op.body_bytes_max());
        let hop = layout::Hop {
            magic: HOP_MAGIC.into(),
            version: self.op.version(VERSION),
            op: self.op.number(),
            body: (body_bytes as u32).into(),
            request: self.request.0.into(),
            deadline_ms: self.deadline_ms.into(),
            sent_ms: self.sent_ms.into(),
            topology: self.topology.0.into(),
            cluster_digest: self.cluster_digest.into(),
        };
        layout::put(&hop, out);
    }
}

/// A frame that was checked as a whole; its payload is checked by the payload's type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    version: u8,
    hop: Hop,
    body: Body<'a>,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// It does not begin like a frame.
    BadMagic,
    /// A version that this build does not speak.
    UnknownVersion(u8),
    /// No [`Op`] has this number, in the version of the frame.
    UnknownOp(u8),
    /// The body is longer than its op allows.
    TooLarge,
    /// The bytes end before the frame, or the body before its key.
    Truncated,
    /// The CRC does not match the body.
    BadChecksum,
    /// The key is too long, absent where the op needs it, or present where it has none.
    BadKeyLength,
    /// A reserved field is not 0, the body is shorter than its header, or bytes follow it.
    Malformed,
}

/// How many bytes the frame at the front of `prefix` has; `None` while too few bytes are there
/// to tell. Refuses at the first byte that cannot belong to a frame, so that a reader never
/// waits for, or makes room for, a body that it would not take. O(1).
pub fn frame_bytes(prefix: &[u8]) -> Result<Option<usize>, FrameError> {
    let magic = HOP_MAGIC.to_le_bytes();
    if prefix.iter().zip(&magic).any(|(byte, expected)| byte != expected) {
        return Err(FrameError::BadMagic);
    }
    let Some(&version) = prefix.get(2) else { return Ok(None) };
    if version != HANDSHAKE_VERSION && !Versions::OWN.contains(version) {
        return Err(FrameError::UnknownVersion(version));
    }
    let Some(&op) = prefix.get(3) else { return Ok(None) };
    let op = known_op(op, version)?;
    let Some(body) = prefix.get(4..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let body = u32::from_le_bytes(*body) as usize;
    if body > op.body_bytes_max() {
        return Err(FrameError::TooLarge);
    }
    if body < COVERED_BYTES {
        return Err(FrameError::Malformed);
    }
    Ok(Some(FIRST_BYTES + body))
}

/// The op of that number, if a frame of that version may have it.
fn known_op(number: u8, version: u8) -> Result<Op, FrameError> {
    let op = Op::from_number(number).ok_or(FrameError::UnknownOp(number))?;
    let is_spoken = match op.is_handshake() {
        true => version == HANDSHAKE_VERSION,
        false => Versions::OWN.contains(version),
    };
    if !is_spoken {
        return Err(FrameError::UnknownVersion(version));
    }
    if version < op.since() { Err(FrameError::UnknownOp(number)) } else { Ok(op) }
}

impl<'a> Frame<'a> {
    /// Checks `bytes`, which must be one whole frame ([`frame_bytes`]). O(bytes).
    pub fn new_checked<C: Checksum>(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        Frame::with_body(bytes, Body::new_checked::<C>)
    }

    /// Checks the structure alone: for bytes whose checksum was checked before. O(1).
    pub fn without_checksum(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        Frame::with_body(bytes, Body::without_checksum)
    }

    fn with_body(
        bytes: &'a [u8],
        check: impl FnOnce(&'a [u8]) -> Result<Body<'a>, BodyError>,
    ) -> Result<Frame<'a>, FrameError> {
        let length = frame_bytes(bytes)?.ok_or(FrameError::Truncated)?;
        if bytes.len() < length {
            return Err(FrameError::Truncated);
        }
        if bytes.len() > length {
            return Err(FrameError::Malformed);
        }
        let (hop, body) = layout::split::<layout::Hop>(bytes).map_err(|_| FrameError::Truncated)?;
        let op = Op::from_number(hop.op).ok_or(FrameError::UnknownOp(hop.op))?;
        let body = check(body)?;
        if !op.takes_key(body.key().len()) {
            return Err(FrameError::BadKeyLength);
        }
        let version = hop.version;
        let hop = Hop {
            op,
            request: RequestId(hop.request.get()),
            deadline_ms: hop.deadline_ms.get(),
            sent_ms: hop.sent_ms.get(),
            topology: TopologyId(hop.topology.get()),
            cluster_digest: hop.cluster_digest.get(),
        };
        Ok(Frame { version, hop, body })
    }

    /// Its hop part.
    pub fn hop(&self) -> &Hop {
        &self.hop
    }

    /// The version of the protocol that it says: who reads a payload whose bytes depend on it
    /// asks here.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Whether it may come over a connection whose ends agreed on `version`.
    pub fn speaks(&self, version: u8) -> bool {
        self.version == self.hop.op.version(version)
    }

    /// Its op.
    pub fn op(&self) -> Op {
        self.hop.op
    }

    /// Its body, as the log stores it.
    pub fn body(&self) -> Body<'a> {
        self.body
    }

    /// Its key; empty where the op has none.
    pub fn key(&self) -> &'a [u8] {
        self.body.key()
    }

    /// What follows the key.
    pub fn payload(&self) -> &'a [u8] {
        self.body.payload()
    }

    /// Whether its sender belongs to the cluster of `digest`.
    pub fn is_of(&self, digest: u64) -> bool {
        self.hop.cluster_digest == digest
    }
}

/// Length of a frame, bytes: known before it is written.
pub const fn frame_length(key_bytes: usize, payload_bytes: usize) -> usize {
    FIRST_BYTES + body_bytes(key_bytes, payload_bytes)
}

/// Writes a frame that fills `out`.
///
/// # Panics
/// If `out` is not `frame_length(key.len(), payload.bytes())` long, the key is none that the
/// op takes, or the body is longer than the op allows.
pub fn write_frame<C: Checksum>(hop: &Hop, key: &[u8], payload: &impl Payload, out: &mut [u8]) {
    assert!(out.len() == frame_length(key.len(), payload.bytes()));
    write_frame_with::<C>(hop, key, out, |rest| payload.write(rest));
}

/// Writes a frame that fills `out`, with the payload that `fill` writes into what the key
/// leaves.
///
/// # Panics
/// As [`write_frame`].
pub fn write_frame_with<C: Checksum>(
    hop: &Hop,
    key: &[u8],
    out: &mut [u8],
    fill: impl FnOnce(&mut [u8]),
) {
    assert!(hop.op.takes_key(key.len()));
    assert!(out.len() >= frame_length(key.len(), 0));
    let (first, body) = out.split_at_mut(FIRST_BYTES);
    hop.write(body.len(), first);
    write_body::<C>(key, body, fill);
}

/// Puts `sent_ms`, and the version of their connection, into each frame of `frames`, which lie
/// there whole, one behind the other. O(number of frames).
///
/// # Panics
/// If bytes are left that are no whole frame, or a frame is of an op that `version` does not have.
pub fn stamp_frames(frames: &mut [u8], version: u8, sent_ms: u16) {
    let mut rest = frames;
    while !rest.is_empty() {
        let length = frame_bytes(rest).ok().flatten().expect("frames were written here");
        let (frame, behind) = rest.split_at_mut(length);
        let op = Op::from_number(frame[OP_AT]).expect("a frame has an op");
        assert!(op.since() <= version);
        frame[VERSION_AT] = op.version(version);
        frame[SENT_PLACE].copy_from_slice(&sent_ms.to_le_bytes());
        rest = behind;
    }
}

/// Where a hop part says when it was sent.
const SENT_PLACE: Range<usize> =
    offset_of!(layout::Hop, sent_ms)..offset_of!(layout::Hop, topology);
/// Where it says its version.
const VERSION_AT: usize = offset_of!(layout::Hop, version);
/// Where it says its op.
const OP_AT: usize = offset_of!(layout::Hop, op);

const _: () = assert!(SENT_PLACE.end - SENT_PLACE.start == size_of::<u16>());

impl From<BodyError> for FrameError {
    fn from(error: BodyError) -> FrameError {
        match error {
            BodyError::Truncated => FrameError::Truncated,
            BodyError::TooLarge => FrameError::TooLarge,
            BodyError::BadChecksum => FrameError::BadChecksum,
            BodyError::BadKeyLength => FrameError::BadKeyLength,
            BodyError::Malformed => FrameError::Malformed,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::BadMagic => f.write_str("not a frame"),
            FrameError::UnknownVersion(version) => write!(f, "unknown frame version {version}"),
            FrameError::UnknownOp(op) => write!(f, "unknown operation {op}"),
            FrameError::TooLarge => f.write_str("the frame is too large"),
            FrameError::Truncated => f.write_str("the frame is cut short"),
            FrameError::BadChecksum => f.write_str("the checksum does not match"),
            FrameError::BadKeyLength => f.write_str("the key has a length that the op forbids"),
            FrameError::Malformed => f.write_str("the frame is malformed"),
        }
    }
}

impl Error for FrameError {}
