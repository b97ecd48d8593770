//! What a shard keeps of the requests behind a write: what they asked for, and what they have read.

use ringmain_core::causality::Record;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};

use super::super::bodies::{Kept, Request};
use super::super::oracle::{Decoded, History, Set, Violation};

/// What the reads before the write stamped `stamp` found, for each request that has it. One turn
/// may apply a write that arrived twice twice, and what the second found is unknown before the
/// oracle has seen the first: it is passed over, as long as another one remains.
pub(super) fn found_by_reads(
    kept: &Kept,
    history: &History,
    stamp: u64,
) -> Result<Vec<Set>, Violation> {
    let (mut found, mut unknown) = (Vec::new(), None);
    for request in kept.requests() {
        let Some(put) = request.command.as_deref().and_then(kept_put) else { continue };
        if put.timestamp.0 != stamp || !matches!(put.replaces, Replaces::ReadFirst { .. }) {
            continue;
        }
        match found_by(request, history) {
            Ok(set) => found.push(set),
            Err(violation) => unknown = Some(violation),
        }
    }
    match unknown {
        Some(violation) if found.is_empty() => Err(violation),
        _ => Ok(found),
    }
}

/// What the read before a write found.
pub(super) fn found_by(request: &Request, history: &History) -> Result<Set, Violation> {
    let Some(bytes) = &request.gathered else { return Ok(Set::default()) };
    let record = Record::new_checked(bytes).expect("what is gathered is a record");
    history.check(&Decoded::of(record))
}

/// The write of `request`, if it gives values another expiry.
pub(super) fn changed_expiry(request: &Request) -> Option<PutRequest<'_>> {
    let put = request.command.as_deref().and_then(kept_put)?;
    matches!(put.content, Content::ExpiryOnly { .. }).then_some(put)
}

/// The write in what a turn kept of a request: a kind, the length of the key, the key, the rest.
pub(super) fn kept_put(bytes: &[u8]) -> Option<PutRequest<'_>> {
    let (&[kind, low, high], rest) = bytes.split_first_chunk::<3>()?;
    let payload = rest.get(usize::from(u16::from_le_bytes([low, high]))..)?;
    if kind == 1 { PutRequest::new_checked(payload).ok() } else { None }
}
