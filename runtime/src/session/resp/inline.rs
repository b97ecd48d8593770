//! Commands as people type them: one line, arguments between blanks, quotes as in Redis.
//!
//! A line is written anew as the RESP of the same command, so that only one parser meets the
//! commands.

use super::encode;
use super::parse::{ProtocolError, Stop};

/// Longest line, bytes.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// Where the line at the start of `bytes` ends: behind its line feed. The first `scanned` bytes
/// are known to hold none.
pub(super) fn line_end(bytes: &[u8], scanned: usize) -> Result<usize, Stop> {
    let end = bytes.len().min(LINE_BYTES_MAX);
    match bytes[scanned.min(end)..end].iter().position(|&byte| byte == b'\n') {
        Some(index) => Ok(scanned + index + 1),
        None if bytes.len() >= LINE_BYTES_MAX => Err(Stop::Bad(ProtocolError::LongLine)),
        None => Err(Stop::Need(bytes.len() + 1)),
    }
}

/// Appends the command of `line` as RESP; nothing for a blank line.
pub(super) fn translate(line: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let mut arguments = Vec::new();
    let mut count = 0;
    let mut argument = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.iter().position(|&byte| !is_blank(byte)) {
        argument.clear();
        rest = split_first(&rest[start..], &mut argument).ok_or(ProtocolError::Quotes)?;
        encode::bulk(&mut arguments, &argument);
        count += 1;
    }
    if count > 0 {
        encode::array(out, count);
        out.extend_from_slice(&arguments);
    }
    Ok(())
}

/// Appends the first argument of `text`, which begins with no blank, and returns the rest.
/// `None`: a quote is not closed, or is followed by something else than a blank.
fn split_first<'a>(mut text: &'a [u8], argument: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *text {
            [] => return Some(text),
            [first, ..] if is_blank(first) => return Some(text),
            [quote @ (b'"' | b'\''), ref rest @ ..] => {
                let rest = quoted(quote, rest, argument)?;
                let closed = rest.first().is_none_or(|&byte| is_blank(byte));
                return closed.then_some(rest);
            }
            [first, ref rest @ ..] => {
                argument.push(first);
                text = rest;
            }
        }
    }
}

/// Appends the text up to the closing `quote`, and returns what stands behind that.
fn quoted<'a>(quote: u8, mut text: &'a [u8], argument: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, rest) = match *text {
            [first, ref rest @ ..] if first == quote => return Some(rest),
            [b'\\', b'\'', ref rest @ ..] if quote == b'\'' => (b'\'', rest),
            [b'\\', b'x', high, low, ref rest @ ..]
                if quote == b'"' && hex(high, low).is_some() =>
            {
                (hex(high, low)?, rest)
            }
            [b'\\', escaped, ref rest @ ..] if quote == b'"' => (unescape(escaped), rest),
            [first, ref rest @ ..] => (first, rest),
            [] => return None,
        };
        argument.push(byte);
        text = rest;
    }
}

/// What C's `isspace` says.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}
