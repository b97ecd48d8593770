//! Events, joins and contexts.

use std::hint::black_box;

use ringmain_core::causality::{
    BadContext, Change, Context, Event, Join, Record, VersionVector, Write, base64url_bytes,
    decode_base64url, decode_token, encode_base64url, encode_token, join, token_bytes, write_join,
};
use ringmain_core::id::NodeId;
use ringmain_core::time::UnixMs;

use crate::records::{BOOT, KEY, record, value};

/// Signs contexts.
pub(crate) const SECRET: [u8; 16] = [7; 16];

/// The record whose nodes 1, 2 and 3 have written `numbers` times, the last write of `author` its
/// only sibling.
pub(crate) fn parsed(numbers: [u32; 3], author: u32) -> Record<'static> {
    Record::new_checked(record(numbers, author).leak()).expect("encode_record wrote it")
}

/// A `SET` of 100 bytes at a node that has written the key before.
fn set() -> (Record<'static>, Write<'static>) {
    let write = Write {
        context: Context::Local,
        timestamp: UnixMs(1_700_000_000_001),
        change: Change::Value { expires: None, value: value().to_vec().leak() },
    };
    (parsed([5, 4, 3], 2), write)
}

fn plan(old: Record<'_>, write: &Write<'_>) -> Event {
    let (old, write) = (black_box(old), black_box(write));
    Event::plan(Some(old), Some(0), NodeId(1), BOOT, 2, write)
}

/// What the write will leave.
pub(crate) fn event_plan() -> impl FnMut() -> Event {
    let (old, write) = set();
    move || plan(old, &write)
}

/// The same, and the record that it leaves.
pub(crate) fn event() -> impl FnMut() {
    let (old, write) = set();
    let mut out = vec![0; plan(old, &write).bytes()];
    move || {
        plan(old, &write).write_to(Some(black_box(old)), black_box(&write), &mut out);
        black_box(&mut out);
    }
}

/// Two records, each with one sibling, of which the other one has seen the writes `numbers`.
fn join_with(numbers: [u32; 3], author: u32) -> impl FnMut() -> Join {
    let (left, right) = (parsed([5, 4, 3], 1), parsed(numbers, author));
    move || join(black_box(left), black_box(right))
}

/// The other one is the same.
pub(crate) fn join_equal() -> impl FnMut() -> Join {
    join_with([5, 4, 3], 1)
}

/// The other one has replaced this one: what a replica decides for nearly every write.
pub(crate) fn join_dominated() -> impl FnMut() -> Join {
    join_with([6, 4, 3], 1)
}

/// Neither has seen the other: what the record of both takes.
pub(crate) fn join_concurrent() -> impl FnMut() -> Join {
    join_with([4, 5, 3], 2)
}

/// The same, and that record, with two siblings.
pub(crate) fn join_concurrent_write() -> impl FnMut() {
    let (left, right) = (parsed([5, 4, 3], 1), parsed([4, 5, 3], 2));
    let Join::Both { bytes } = join(left, right) else { unreachable!("they are concurrent") };
    let mut out = vec![0; bytes];
    move || {
        black_box(join(black_box(left), black_box(right)));
        write_join(black_box(left), black_box(right), &mut out);
        black_box(&mut out);
    }
}

/// The context of the key, raw: three entries.
pub(crate) fn token() -> Vec<u8> {
    let version_vector = parsed([5, 4, 3], 2).version_vector();
    let mut token = vec![0; token_bytes(version_vector.len())];
    encode_token(&SECRET, KEY, version_vector, &mut token);
    token
}

/// A read gives a context.
pub(crate) fn context_encode() -> impl FnMut() {
    let (version_vector, mut out) = (parsed([5, 4, 3], 2).version_vector(), token());
    move || {
        encode_token(&SECRET, black_box(KEY), black_box(version_vector), &mut out);
        black_box(&mut out);
    }
}

fn decode(token: &[u8]) -> Result<VersionVector<'_>, BadContext> {
    decode_token(black_box(&SECRET), black_box(KEY), token)
}

/// A write brings one, as native clients hold it: checked with its MAC.
pub(crate) fn context_decode_binary() -> impl FnMut() -> bool {
    let token = token();
    move || decode(black_box(&token)).is_ok()
}

/// As clients of the text protocol hold it.
pub(crate) fn context_decode_text() -> impl FnMut() -> bool {
    let token = token();
    let mut text = vec![0; base64url_bytes(token.len())];
    encode_base64url(&token, &mut text);
    let mut raw = vec![0; text.len()];
    move || {
        let bytes = decode_base64url(black_box(&text), &mut raw);
        bytes.is_ok_and(|bytes| decode(black_box(&raw[..bytes])).is_ok())
    }
}
