//! Looking ahead in a pipeline, so that the memory of its keys arrives while others are served.

use super::RespSession;
use super::parse::{self, BULK_BYTES_MAX};
use crate::session::request::{EXPECTED_COUNT_MAX, Requests};

impl RespSession {
    /// Tells `requests` the keys of the commands that `bytes` begin with; says how many bytes need
    /// not be looked at again, at least one. Only a hint: a first argument that is no key is taken
    /// for one, and whatever is unusual ends the look.
    pub(super) fn look_ahead<R: Requests>(&self, bytes: &[u8], requests: &R) -> usize {
        let mut keys: [&[u8]; EXPECTED_COUNT_MAX] = [&[]; EXPECTED_COUNT_MAX];
        let mut count = 0;
        let mut at = 0;
        while count < EXPECTED_COUNT_MAX
            && let Some((key, bytes)) = first_argument(&bytes[at..])
        {
            if key.len() <= self.limits.key_bytes_max {
                keys[count] = key;
                count += 1;
            }
            at += bytes;
        }
        if count > 1 {
            requests.expect(&keys[..count]);
        }
        at.max(1)
    }
}

/// The key of the command that `bytes` are, if they are one and no more. As little is promised.
pub(crate) fn lone_key(bytes: &[u8]) -> Option<&[u8]> {
    let (key, length) = first_argument(bytes)?;
    (length == bytes.len()).then_some(key)
}

/// The argument behind the name of a whole command, and how long the command is.
fn first_argument(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if bytes.first() != Some(&b'*') {
        return None;
    }
    let (count, at) = parse::count(bytes).ok()?;
    let (_, at) = parse::bulk(bytes, at, BULK_BYTES_MAX).ok()?;
    let (key, mut at) = parse::bulk(bytes, at, BULK_BYTES_MAX).ok()?;
    for _ in 2..count {
        at = parse::bulk(bytes, at, BULK_BYTES_MAX).ok()?.1;
    }
    Some((key, at))
}
