//! What clients ask for.

use super::*;

pub(super) const GET: GetRequest<'_> =
    GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] };

/// A plain SET.
pub(super) fn set(value: &[u8]) -> PutRequest<'_> {
    PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value },
    }
}

/// A write that replaces what `context` has seen.
pub(super) fn replace<'a>(context: &'a [u8], value: &'a [u8]) -> PutRequest<'a> {
    PutRequest { replaces: Replaces::Given(context), ..set(value) }
}

/// A write that reads first.
pub(super) fn first(condition: Condition, value: &[u8]) -> PutRequest<'_> {
    let replaces = Replaces::ReadFirst { r: 0, condition, return_old: true };
    PutRequest { replaces, ..set(value) }
}

pub(super) fn delete(put: PutRequest<'_>) -> PutRequest<'_> {
    PutRequest { content: Content::Tombstone, ..put }
}
