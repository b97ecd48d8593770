//! Reading RESP in place: lengths, bulk strings, words, numbers.
//!
//! Nothing here remembers anything: a call gets the unconsumed bytes again with more behind
//! them, and says in [`Stop::Need`] how many there must be before it can get further. Whether
//! bytes are refused does not depend on how they were cut.

use super::encode;

/// Longest bulk string whose announcement is believed, bytes, as in Redis.
pub(super) const BULK_BYTES_MAX: usize = 512 << 20;
/// Most arguments of one command.
pub(super) const ARGUMENT_COUNT_MAX: i64 = 1 << 20;
/// Digits of the longest number that is read.
const DIGIT_COUNT_MAX: usize = 18;

/// Why reading stopped before the end of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// So many bytes must be there, counted from the start of what was given.
    Need(usize),
    /// Nothing more until a request was answered or output was taken.
    Wait,
    /// An argument over its limit begins at `body`; `bytes` of it, with its line end, follow.
    Long { body: usize, bytes: usize },
    /// The connection cannot be understood any more.
    Bad(ProtocolError),
}

/// What a client sent instead of RESP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ProtocolError {
    Count,
    Length,
    ExpectedBulk(u8),
    LongLine,
    Quotes,
}

impl ProtocolError {
    /// Appends the error reply, with the texts of Redis.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let text: &[u8] = match self {
            ProtocolError::Count => b"invalid multibulk length",
            ProtocolError::Length => b"invalid bulk length",
            ProtocolError::LongLine => b"too big inline request",
            ProtocolError::Quotes => b"unbalanced quotes in request",
            ProtocolError::ExpectedBulk(byte) => {
                let shown = if byte.is_ascii_control() { b' ' } else { byte };
                return encode::error(
                    out,
                    &[b"ERR Protocol error: expected '$', got '", &[shown], b"'"],
                );
            }
        };
        encode::error(out, &[b"ERR Protocol error: ", text]);
    }
}

/// The count line `*N` at the start of `bytes`: N, and where its arguments begin. N is at most
/// `ARGUMENT_COUNT_MAX`; 0 stands for every N below 1 too.
#[inline(always)]
pub(super) fn count(bytes: &[u8]) -> Result<(usize, usize), Stop> {
    debug_assert_eq!(bytes.first(), Some(&b'*'));
    if bytes.get(1) == Some(&b'-') {
        let (_, end) = number(bytes, 2, ProtocolError::Count)?;
        return Ok((0, end));
    }
    let (count, end) = number(bytes, 1, ProtocolError::Count)?;
    if count > ARGUMENT_COUNT_MAX as u64 {
        return Err(Stop::Bad(ProtocolError::Count));
    }
    Ok((count as usize, end))
}

/// The bulk string at `at`, of at most `bytes_max` bytes, and where the next one begins.
#[inline(always)]
pub(super) fn bulk(bytes: &[u8], at: usize, bytes_max: usize) -> Result<(&[u8], usize), Stop> {
    match bytes.get(at) {
        Some(b'$') => {}
        Some(&other) => return Err(Stop::Bad(ProtocolError::ExpectedBulk(other))),
        None => return Err(Stop::Need(at + 1)),
    }
    let (length, body) = number(bytes, at + 1, ProtocolError::Length)?;
    if length > bytes_max as u64 {
        if length > BULK_BYTES_MAX as u64 {
            return Err(Stop::Bad(ProtocolError::Length));
        }
        return Err(Stop::Long { body, bytes: length as usize + 2 });
    }
    let end = body + length as usize;
    match bytes.get(end..end + 2) {
        Some(b"\r\n") => Ok((&bytes[body..end], end + 2)),
        Some(_) => Err(Stop::Bad(ProtocolError::Length)),
        None if bytes.get(end).is_some_and(|&byte| byte != b'\r') => {
            Err(Stop::Bad(ProtocolError::Length))
        }
        None => Err(Stop::Need(end + 2)),
    }
}

/// The number in the line from `at` on, and where the next line begins. No sign, no leading
/// zeros, at most 18 digits, so that it cannot overflow.
#[inline(always)]
fn number(bytes: &[u8], at: usize, bad: ProtocolError) -> Result<(u64, usize), Stop> {
    let line = bytes.get(at..).unwrap_or(&[]);
    let mut value = 0;
    for (index, &byte) in line.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let leading_zero = index > 1 && line[0] == b'0';
            if byte != b'\r' || index == 0 || leading_zero {
                return Err(Stop::Bad(bad));
            }
            return match line.get(index + 1) {
                Some(b'\n') => Ok((value, at + index + 2)),
                Some(_) => Err(Stop::Bad(bad)),
                None => Err(Stop::Need(at + index + 2)),
            };
        }
        if index == DIGIT_COUNT_MAX {
            return Err(Stop::Bad(bad));
        }
        value = value * 10 + u64::from(digit);
    }
    Err(Stop::Need(at + line.len() + 1))
}

/// A name of at most eight bytes as a number, for names written in lower case.
///
/// # Panics
/// If it is longer, or empty.
pub(super) const fn word(name: &str) -> u64 {
    let name = name.as_bytes();
    assert!(!name.is_empty());
    assert!(name.len() <= 8);
    let mut word = 0;
    let mut index = 0;
    while index < name.len() {
        word |= (name[index] as u64) << (8 * index);
        index += 1;
    }
    word
}

/// The word of `name` in any case; 0, which is no name's word, when it is empty, longer than
/// eight bytes, or ends with a zero byte.
#[inline(always)]
pub(super) fn word_of(name: &[u8]) -> u64 {
    let length = name.len();
    // Two loads that overlap where the length is between powers of two.
    let word = match (name, length) {
        ([first, .., last], 2..=3) => {
            let middle = u64::from(name[length / 2]) << (8 * (length / 2));
            u64::from(*first) | middle | u64::from(*last) << (8 * (length - 1))
        }
        (_, 4..=8) => {
            let low = u32::from_le_bytes([name[0], name[1], name[2], name[3]]);
            let end = &name[length - 4..];
            let high = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
            u64::from(low) | u64::from(high) << (8 * (length - 4))
        }
        ([only], _) => u64::from(*only),
        _ => return 0,
    };
    // A zero at the end would make a longer name of a shorter one.
    if word >> (8 * (length - 1)) == 0 {
        return 0;
    }
    lower_case(word)
}

/// The eight bytes of `word` with A to Z made lower case, and nothing else changed.
#[inline(always)]
fn lower_case(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & (ONES * 0x7f);
    // Bit 7 of a byte tells: from 'A' on, after 'Z'.
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let after_z = low + ONES * (0x7f - b'Z' as u64);
    let upper = (from_a ^ after_z) & !word & (ONES * 0x80);
    word | upper >> 2
}

/// A signed number as Redis reads one: no `+`, no leading zeros, no blanks.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let leading_zero = digits.first() == Some(&b'0') && (digits.len() > 1 || negative);
    if leading_zero || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        let value = value.checked_mul(10)?;
        if negative { value.checked_sub(digit) } else { value.checked_add(digit) }
    })
}
