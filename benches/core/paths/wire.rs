//! Frames of a 100-byte value: written, and checked down to the last field.

use std::hint::black_box;

use ringmain_core::causality::Record;
use ringmain_core::checksum::Checksum;
use ringmain_core::id::{RequestId, TopologyId};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_core::wire::reply::{
    Reply, ReplyHead, ReplySibling, ReplyWriter, Status, reply_bytes,
};

use super::causality::{parsed, token};
use crate::records::{KEY, value};

/// A plain `SET`.
pub(crate) fn put() -> PutRequest<'static> {
    PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: value().to_vec().leak() },
    }
}

/// A read that asks for the context, too, of `r` replicas (0: by default).
pub(crate) fn get(r: u8) -> GetRequest<'static> {
    GetRequest { r, pr: 0, forwarded: false, want_context: true, context: &[] }
}

/// What a coordinator has its replicas store: a record.
pub(crate) fn replicate() -> &'static [u8] {
    parsed([5, 4, 3], 2).bytes()
}

/// A value and its context.
pub(crate) fn reply() -> Reply<'static> {
    let (value, token) = (value(), token());
    let mut bytes = vec![0; reply_bytes(token.len(), 1, value.len())];
    let head = ReplyHead { live: 1, ..ReplyHead::of(Status::Ok) };
    let mut writer = ReplyWriter::new(&head, token.len(), 1, &mut bytes);
    writer.context(|out| out.copy_from_slice(&token));
    writer.sibling(&ReplySibling { timestamp: UnixMs(1), expires: None, value: &value });
    writer.finish();
    Reply::new_checked(bytes.leak()).expect("it was written just now")
}

fn hop(op: Op) -> Hop {
    Hop {
        op,
        request: RequestId(77),
        deadline_ms: 1000,
        sent_ms: 0,
        topology: TopologyId(5),
        cluster_digest: 6,
    }
}

/// The key that frames of `op` name.
fn key_of(op: Op) -> &'static [u8] {
    if op == Op::Reply { &[] } else { KEY }
}

/// The frame.
pub(crate) fn frame<C: Checksum>(op: Op, payload: &impl Payload) -> Vec<u8> {
    let mut frame = vec![0; frame_length(key_of(op).len(), payload.bytes())];
    write_frame::<C>(&hop(op), key_of(op), payload, &mut frame);
    frame
}

/// Writes it.
pub(crate) fn encode<C: Checksum>(op: Op, payload: impl Payload) -> impl FnMut() {
    let (mut out, hop) = (frame::<C>(op, &payload), hop(op));
    move || {
        let key = black_box(key_of(op));
        write_frame::<C>(black_box(&hop), key, black_box(&payload), &mut out);
        black_box(&mut out);
    }
}

/// Checks it and its payload.
pub(crate) fn decode<C: Checksum>(op: Op, payload: impl Payload) -> impl FnMut() -> bool {
    let frame = frame::<C>(op, &payload);
    move || {
        let frame = Frame::new_checked::<C>(black_box(&frame)).expect("it was written here");
        let payload = frame.payload();
        let is_sound = match frame.op() {
            Op::Put => PutRequest::new_checked(payload).is_ok(),
            Op::Get => GetRequest::new_checked(payload).is_ok(),
            Op::Reply => Reply::new_checked(payload).is_ok(),
            _ => Record::new_checked(payload).is_ok(),
        };
        is_sound && black_box(frame).is_of(6)
    }
}
