//! Covered header, key and payload: the part that is the same on the wire and in the log, with
//! the one checksum that both use.

use core::error::Error;
use core::fmt;

use super::layout;
use super::{COVERED_BYTES, layout::Covered};
use crate::checksum::Checksum;
use crate::limits::{BODY_BYTES_MAX, KEY_BYTES_MAX};

/// A body whose structure is sound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Body<'a> {
    bytes: &'a [u8],
    key_bytes: usize,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyError {
    /// Shorter than its header and key.
    Truncated,
    /// Longer than `BODY_BYTES_MAX`.
    TooLarge,
    /// The CRC does not match.
    BadChecksum,
    /// The key is longer than `KEY_BYTES_MAX`.
    BadKeyLength,
    /// A reserved field is not 0.
    Malformed,
}

impl<'a> Body<'a> {
    /// Checks the checksum, then the structure. O(bytes).
    pub fn new_checked<C: Checksum>(bytes: &'a [u8]) -> Result<Body<'a>, BodyError> {
        let (header, _) = split(bytes)?;
        if C::crc32c(0, &bytes[4..]) != header.crc32c.get() {
            return Err(BodyError::BadChecksum);
        }
        Body::without_checksum(bytes)
    }

    /// Checks the structure alone: for bytes whose checksum was checked before. O(1).
    pub fn without_checksum(bytes: &'a [u8]) -> Result<Body<'a>, BodyError> {
        let (header, rest) = split(bytes)?;
        let key_bytes = usize::from(header.key_bytes.get());
        if header.reserved.get() != 0 {
            return Err(BodyError::Malformed);
        }
        if key_bytes > KEY_BYTES_MAX {
            return Err(BodyError::BadKeyLength);
        }
        if key_bytes > rest.len() {
            return Err(BodyError::Truncated);
        }
        Ok(Body { bytes, key_bytes })
    }

    /// All of it, as it stands on the wire and in the log.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its CRC-32C, which the guard of a place part covers.
    pub fn crc32c(&self) -> u32 {
        let (header, _) = split(self.bytes).expect("the constructor split the same bytes");
        header.crc32c.get()
    }

    /// The key; empty where the op has none.
    pub fn key(&self) -> &'a [u8] {
        &self.bytes[COVERED_BYTES..COVERED_BYTES + self.key_bytes]
    }

    /// What follows the key.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[COVERED_BYTES + self.key_bytes..]
    }
}

/// Length of a body, bytes.
pub const fn body_bytes(key_bytes: usize, payload_bytes: usize) -> usize {
    COVERED_BYTES + key_bytes + payload_bytes
}

/// Writes a body: `key`, then what `fill` puts into the rest of `out`. Returns its CRC-32C.
///
/// # Panics
/// If `out` is shorter than header and key, or longer than `BODY_BYTES_MAX`, or the key is
/// longer than `KEY_BYTES_MAX`.
pub fn write_body<C: Checksum>(key: &[u8], out: &mut [u8], fill: impl FnOnce(&mut [u8])) -> u32 {
    assert!(key.len() <= KEY_BYTES_MAX);
    assert!(out.len() >= body_bytes(key.len(), 0));
    assert!(out.len() <= BODY_BYTES_MAX);
    let key_bytes = (key.len() as u16).into();
    let rest = layout::put(&Covered { crc32c: 0.into(), key_bytes, reserved: 0.into() }, out);
    let (front, payload) = rest.split_at_mut(key.len());
    front.copy_from_slice(key);
    fill(payload);
    let crc32c = C::crc32c(0, &out[4..]);
    out[..4].copy_from_slice(&crc32c.to_le_bytes());
    crc32c
}

/// The header, and what is behind it.
fn split(bytes: &[u8]) -> Result<(&Covered, &[u8]), BodyError> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(BodyError::TooLarge);
    }
    layout::split(bytes).map_err(|_| BodyError::Truncated)
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyError::Truncated => "the body ends before its key",
            BodyError::TooLarge => "the body is too large",
            BodyError::BadChecksum => "the checksum does not match",
            BodyError::BadKeyLength => "the key is too long",
            BodyError::Malformed => "a reserved field is not 0",
        })
    }
}

impl Error for BodyError {}
