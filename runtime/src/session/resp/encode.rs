//! Writing RESP2 and RESP3. Every function appends to `out`; `resp3` picks the version where
//! the two differ.

use crate::sys::{MapPart, SendBuffer};

/// `+OK`.
pub(super) const OK: &[u8] = b"+OK\r\n";

/// The text of an error, as in Redis.
pub(super) const SYNTAX: &[u8] = b"ERR syntax error";
/// Likewise.
pub(super) const NO_INTEGER: &[u8] = b"ERR value is not an integer or out of range";
/// Likewise; Redis has empty keys.
pub(super) const EMPTY_KEY: &[u8] = b"ERR a key has at least one byte";

/// A bulk string.
#[inline]
pub(super) fn bulk(out: &mut Vec<u8>, value: &[u8]) {
    out.reserve(value.len() + DIGIT_COUNT_MAX + 5);
    line(out, b'$', value.len() as u64);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A bulk string whose body is lent.
pub(super) fn lent_bulk(out: &mut SendBuffer, body: MapPart) {
    bulk_head(out.tail(), body.bytes().len());
    out.lend(body);
    out.tail().extend_from_slice(b"\r\n");
}

/// The line before the body of a bulk string of `bytes` bytes.
pub(super) fn bulk_head(out: &mut Vec<u8>, bytes: usize) {
    line(out, b'$', bytes as u64);
}

/// A bulk string, or null.
#[inline]
pub(super) fn bulk_or_null(out: &mut Vec<u8>, resp3: bool, value: Option<&[u8]>) {
    match value {
        Some(value) => bulk(out, value),
        None => null(out, resp3),
    }
}

/// No value.
#[inline]
pub(super) fn null(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// A number.
#[inline]
pub(super) fn integer(out: &mut Vec<u8>, value: u64) {
    line(out, b':', value);
}

/// The head of an array of `count` elements.
#[inline]
pub(super) fn array(out: &mut Vec<u8>, count: usize) {
    line(out, b'*', count as u64);
}

/// The head of a set of `count` elements: an array before RESP3.
pub(super) fn set(out: &mut Vec<u8>, resp3: bool, count: usize) {
    line(out, if resp3 { b'~' } else { b'*' }, count as u64);
}

/// The head of a map of `count` pairs: a flat array before RESP3.
pub(super) fn map(out: &mut Vec<u8>, resp3: bool, count: usize) {
    match resp3 {
        true => line(out, b'%', count as u64),
        false => line(out, b'*', 2 * count as u64),
    }
}

/// A one-line string. `text` holds no line break.
pub(super) fn simple(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']));
    out.push(b'+');
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A text for people: verbatim in RESP3.
pub(super) fn text(out: &mut Vec<u8>, resp3: bool, text: &[u8]) {
    if !resp3 {
        return bulk(out, text);
    }
    line(out, b'=', text.len() as u64 + 4);
    out.extend_from_slice(b"txt:");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// An error line of several parts. Line breaks in them, which come from the client, are shown
/// as blanks.
#[cold]
pub(super) fn error(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.push(b'-');
    for part in parts {
        let shown = |&byte: &u8| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
        out.extend(part.iter().map(shown));
    }
    out.extend_from_slice(b"\r\n");
}

/// The error of a command with too few or too many arguments. Of a subcommand, `name` is
/// `command|subcommand`.
pub(super) fn wrong_count(out: &mut Vec<u8>, name: &str) {
    error(out, &[b"ERR wrong number of arguments for '", name.as_bytes(), b"' command"]);
}

/// The decimal digits of `value` in `digits`; returns where they begin.
#[inline]
pub(super) fn digits(mut value: u64, digits: &mut [u8; DIGIT_COUNT_MAX]) -> usize {
    let mut at = DIGIT_COUNT_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// Digits of the largest u64.
pub(super) const DIGIT_COUNT_MAX: usize = 20;

/// A line of a type byte and a number.
#[inline]
fn line(out: &mut Vec<u8>, kind: u8, value: u64) {
    if value < 10 {
        return out.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']);
    }
    let mut text = [0; DIGIT_COUNT_MAX];
    let start = digits(value, &mut text);
    out.push(kind);
    out.extend_from_slice(&text[start..]);
    out.extend_from_slice(b"\r\n");
}
