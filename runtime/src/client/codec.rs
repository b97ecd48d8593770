//! What goes over a connection behind its handshake, for clients that do their own I/O and have
//! many requests in flight: a node answers them in any order.

use crate::checksum::Hardware;
use ringmain_core::id::{RequestId, TopologyId};
use ringmain_core::wire::frame::{
    Frame, Hop, frame_bytes, frame_length, stamp_frames, write_frame,
};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::message::Message;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::put::PutRequest;
use ringmain_core::wire::reply::Reply;

use super::{ClientError, done, message};

/// How the two ends of one connection speak.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The version of the protocol that both speak.
    pub(super) version: u8,
    /// Of the cluster; 0 while the node is in none.
    pub(super) digest: u64,
}

/// A frame that came.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Bytes of the frame.
    pub bytes: usize,
    /// What it answers. 0: no request, as WELCOME.
    pub request: RequestId,
    /// The answer to a get or put; `None` if the frame answers neither.
    pub reply: Option<Result<Reply<'a>, ClientError>>,
}

impl Codec {
    /// Appends a GET to `out`. The node's own deadline holds.
    ///
    /// # Panics
    /// As [`Client::get`](super::Client::get), or if the request has the number 0, which names the
    /// frames of the handshake; so does [`Codec::put`].
    pub fn get(&self, out: &mut Vec<u8>, number: RequestId, key: &[u8], request: &GetRequest<'_>) {
        assert!(number != RequestId(0));
        self.frame(out, Op::Get, number, key, request);
    }

    /// Appends a PUT to `out`.
    pub fn put(&self, out: &mut Vec<u8>, number: RequestId, key: &[u8], request: &PutRequest<'_>) {
        assert!(number != RequestId(0));
        self.frame(out, Op::Put, number, key, request);
    }

    /// The frame that `bytes` begin with; `None` while some of it is missing. It is checked whole.
    ///
    /// # Errors
    /// What breaks the connection: `Foreign`, `Malformed`, `Refused`, `Apart`.
    pub fn answer<'a>(&self, bytes: &'a [u8]) -> Result<Option<Answer<'a>>, ClientError> {
        let Some(length) = frame_bytes(bytes).map_err(ClientError::Foreign)? else {
            return Ok(None);
        };
        let Some(whole) = bytes.get(..length) else { return Ok(None) };
        let frame = self.check(whole)?;
        let is_reply = matches!(message(&frame)?, Message::Reply(_));
        let reply = is_reply.then(|| done(&frame));
        Ok(Some(Answer { bytes: length, request: frame.hop().request, reply }))
    }

    /// A whole frame of either end.
    pub(super) fn check<'a>(&self, bytes: &'a [u8]) -> Result<Frame<'a>, ClientError> {
        let frame = Frame::new_checked::<Hardware>(bytes).map_err(ClientError::Foreign)?;
        message(&frame)?;
        if frame.speaks(self.version) { Ok(frame) } else { Err(ClientError::Malformed) }
    }

    pub(super) fn frame(
        &self,
        out: &mut Vec<u8>,
        op: Op,
        request: RequestId,
        key: &[u8],
        payload: &impl Payload,
    ) {
        let hop = Hop {
            op,
            request,
            // The node's own.
            deadline_ms: 0,
            sent_ms: 0,
            topology: TopologyId(0),
            cluster_digest: self.digest,
        };
        let begin = out.len();
        out.resize(begin + frame_length(key.len(), payload.bytes()), 0);
        write_frame::<Hardware>(&hop, key, payload, &mut out[begin..]);
        stamp_frames(&mut out[begin..], self.version, 0);
    }
}
