//! Counts and lengths inside a record: LEB128 of a u32, shortest form only, 1 to 5 bytes.

/// Bytes that `value` takes.
#[inline]
pub(super) fn len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

/// Writes `value` to the front of `out` and returns how many bytes that took.
///
/// # Panics
/// If `out` is too short.
#[inline]
pub(super) fn write(mut value: u32, out: &mut [u8]) -> usize {
    let mut index = 0;
    while value >= 0x80 {
        out[index] = value as u8 | 0x80;
        value >>= 7;
        index += 1;
    }
    out[index] = value as u8;
    index + 1
}

/// The number at the front of `bytes`, and what follows. None if it is cut off, longer than it
/// needs to be, or above 32 bits.
#[inline]
pub(super) fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 { Some((u32::from(first), rest)) } else { split_long(bytes) }
}

fn split_long(bytes: &[u8]) -> Option<(u32, &[u8])> {
    if let [low, high @ 1..0x80, rest @ ..] = bytes {
        return Some((u32::from(*low & 0x7f) | u32::from(*high) << 7, rest));
    }
    let mut value = 0u32;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        let bits = u32::from(byte & 0x7f);
        if index == 4 && bits > 0x0f {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            let shortest = index == 0 || byte != 0;
            return shortest.then_some((value, &bytes[index + 1..]));
        }
    }
    None
}
