//! base64url without padding (RFC 4648 §5): how context tokens look in text.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const NO_LETTER: u8 = 64;
const VALUES: [u8; 256] = values();

/// Letters that `bytes` bytes take.
pub(super) fn text_bytes(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Appends the text of `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(text_bytes(bytes.len()));
    let mut groups = bytes.chunks_exact(3);
    for group in &mut groups {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        out.extend_from_slice(&letters(bits));
    }
    let rest = groups.remainder();
    let mut last = [0; 4];
    last[1..1 + rest.len()].copy_from_slice(rest);
    let letters = letters(u32::from_be_bytes(last));
    out.extend_from_slice(&letters[..text_bytes(rest.len())]);
}

/// Appends the bytes of `text`. False, with `out` in any state, if it is not the one text that
/// `encode` makes of some bytes.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0;
        for &letter in group {
            let value = VALUES[usize::from(letter)];
            if value == NO_LETTER {
                return false;
            }
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let bytes = bits.to_be_bytes();
        let count = group.len() - 1;
        if count == 0 || bytes[1 + count..].iter().any(|&byte| byte != 0) {
            return false;
        }
        out.extend_from_slice(&bytes[1..1 + count]);
    }
    true
}

fn letters(bits: u32) -> [u8; 4] {
    [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift) as usize & 63])
}

const fn values() -> [u8; 256] {
    let mut values = [NO_LETTER; 256];
    let mut value = 0;
    while value < 64 {
        values[LETTERS[value] as usize] = value as u8;
        value += 1;
    }
    values
}
