//! What a client has seen, and how it carries that between a read and a write.
//!
//! A token is opaque to clients and worth nothing outside its key and cluster:
//!
//! ```text
//! 01 00 | varint entries | entries × 16 bytes, ascending | SipHash-2-4 u64 LE
//! ```
//! The hash is keyed with the cluster's secret over `"ctx1"`, the key's length (u32, big-endian),
//! the key, and the token before the hash. Text clients get it as base64url without padding.

use core::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::record::Record;
use super::varint;
use super::version_vector::VersionVector;

/// What a writer has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Context<'a> {
    /// What the coordinator's own record has seen: a plain `SET` replaces what is known there.
    Local,
    /// What the writer was given by a read; empty if it read nothing, so that it supersedes
    /// nothing.
    Given(VersionVector<'a>),
}

impl<'a> Context<'a> {
    /// The writes that it covers at a coordinator whose own record is `old`.
    pub fn version_vector(self, old: Record<'a>) -> VersionVector<'a> {
        match self {
            Context::Local => old.version_vector(),
            Context::Given(version_vector) => version_vector,
        }
    }
}

/// Not a token that this cluster gave out for this key. Never to be taken for an empty context:
/// the write would become a sibling that its writer did not mean.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadContext;

/// Bytes of a token with `entries` version-vector entries (at most
/// [`ENTRY_COUNT_ENCODED_MAX`](super::ENTRY_COUNT_ENCODED_MAX)).
pub fn token_bytes(entries: usize) -> usize {
    HEADER.len() + varint::len(entries as u32) + 16 * entries + MAC_BYTES
}

/// Writes the token of `version_vector` for `key` to the front of `out` and returns its length,
/// [`token_bytes`].
///
/// # Panics
/// If `out` is shorter than that.
pub fn encode_token(
    secret: &[u8; 16],
    key: &[u8],
    version_vector: VersionVector<'_>,
    out: &mut [u8],
) -> usize {
    let out = &mut out[..token_bytes(version_vector.len())];
    let (body, mac) = out.split_at_mut(out.len() - MAC_BYTES);
    body[..HEADER.len()].copy_from_slice(&HEADER);
    let count = varint::write(version_vector.len() as u32, &mut body[HEADER.len()..]);
    body[HEADER.len() + count..].copy_from_slice(version_vector.as_bytes());
    mac.copy_from_slice(&authenticate(secret, key, body));
    out.len()
}

/// What the holder of `token` has seen of `key`.
///
/// # Errors
/// [`BadContext`] for anything but the bytes that [`encode_token`] wrote with the same secret and
/// key.
pub fn decode_token<'a>(
    secret: &[u8; 16],
    key: &[u8],
    token: &'a [u8],
) -> Result<VersionVector<'a>, BadContext> {
    let (body, mac) = token.split_last_chunk::<MAC_BYTES>().ok_or(BadContext)?;
    let entries = body.strip_prefix(&HEADER).ok_or(BadContext)?;
    let (count, entries) = varint::split(entries).ok_or(BadContext)?;
    if entries.len() / 16 != count as usize {
        return Err(BadContext);
    }
    // Whole words are compared, so the time says nothing about the right bytes.
    if u64::from_le_bytes(*mac) != u64::from_le_bytes(authenticate(secret, key, body)) {
        return Err(BadContext);
    }
    VersionVector::from_bytes(entries).map_err(|_| BadContext)
}

/// Characters of the text form of `bytes` bytes.
pub const fn base64url_bytes(bytes: usize) -> usize {
    bytes / 3 * 4 + (bytes % 3 * 4).div_ceil(3)
}

/// Writes `bytes` as base64url without padding (RFC 4648 §5) to the front of `out` and returns
/// the length, [`base64url_bytes`].
///
/// # Panics
/// If `out` is shorter than that.
pub fn encode_base64url(bytes: &[u8], out: &mut [u8]) -> usize {
    let out = &mut out[..base64url_bytes(bytes.len())];
    for (group, chars) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - group.len()));
        for (index, char) in chars.iter_mut().enumerate() {
            *char = ALPHABET[(bits >> (18 - 6 * index)) as usize & 63];
        }
    }
    out.len()
}

/// Reads what [`encode_base64url`] wrote into the front of `out`; returns the length.
///
/// # Errors
/// [`BadContext`] for a foreign character, padding, an impossible length, bits that no byte uses,
/// or more bytes than `out` has.
pub fn decode_base64url(text: &[u8], out: &mut [u8]) -> Result<usize, BadContext> {
    if text.len() % 4 == 1 {
        return Err(BadContext);
    }
    let out = out.get_mut(..text.len() / 4 * 3 + text.len() % 4 * 3 / 4).ok_or(BadContext)?;
    let (chunks, last_chars) = text.as_chunks::<4>();
    let (groups, last_group) = out.as_chunks_mut::<3>();
    for (chars, group) in chunks.iter().zip(groups) {
        let [_, bytes @ ..] = decode_chunk(*chars)?;
        *group = bytes;
    }
    let mut chars = [ALPHABET[0]; 4];
    chars[..last_chars.len()].copy_from_slice(last_chars);
    let [_, bytes @ ..] = decode_chunk(chars)?;
    let (used, unused) = bytes.split_at(last_group.len());
    if unused.iter().any(|&byte| byte != 0) {
        return Err(BadContext);
    }
    last_group.copy_from_slice(used);
    Ok(out.len())
}

/// The three bytes of four characters, behind one that is 0.
fn decode_chunk(chars: [u8; 4]) -> Result<[u8; 4], BadContext> {
    let sextets = chars.map(|char| SEXTETS[usize::from(char)]);
    let bits = sextets.iter().fold(0, |bits, &sextet| bits << 6 | u32::from(sextet));
    let is_foreign = sextets.iter().fold(0, |all, sextet| all | sextet) == FOREIGN;
    if is_foreign { Err(BadContext) } else { Ok(bits.to_be_bytes()) }
}

fn authenticate(secret: &[u8; 16], key: &[u8], body: &[u8]) -> [u8; MAC_BYTES] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(b"ctx1");
    hasher.write(&(key.len() as u32).to_be_bytes());
    hasher.write(key);
    hasher.write(body);
    hasher.finish().to_le_bytes()
}

/// Version and a byte for later.
const HEADER: [u8; 2] = [1, 0];
const MAC_BYTES: usize = 8;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// For a character that is none of the alphabet: more than six bits.
const FOREIGN: u8 = u8::MAX;
/// The place of each character in the alphabet.
const SEXTETS: [u8; 256] = {
    let mut sextets = [FOREIGN; 256];
    let mut place = 0;
    while place < ALPHABET.len() {
        sextets[ALPHABET[place] as usize] = place as u8;
        place += 1;
    }
    sextets
};
