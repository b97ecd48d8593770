//! What a PUT that reads first makes of what it found.

use crate::causality::{Change, Context, Live, Write};
use crate::time::UnixMs;
use crate::wire::put::{Condition, Content, PutRequest, Replaces};

/// The end of what never expires.
const NEVER: UnixMs = UnixMs(u64::MAX);

/// Whether `put`, which reads first and has found `found`, goes on.
pub(super) fn holds(put: PutRequest<'_>, found: Live<'_>) -> bool {
    let Replaces::ReadFirst { condition, .. } = put.replaces else { return true };
    let is_found = found.siblings().next().is_some();
    let mut ends = found.siblings().map(|sibling| sibling.expires.unwrap_or(NEVER));
    // A deletion is an end that has come.
    let end = match put.content {
        Content::Tombstone => UnixMs(0),
        content => content.expires().unwrap_or(NEVER),
    };
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => !is_found,
        Condition::IfPresent => is_found,
        Condition::IfExpires => ends.any(|old| old != NEVER),
        Condition::IfLasting => is_found && ends.all(|old| old == NEVER),
        Condition::IfLater => is_found && ends.all(|old| old < end),
        Condition::IfEarlier => is_found && ends.all(|old| old > end),
    };
    holds && (is_found || !matches!(put.content, Content::ExpiryOnly { .. }))
}

/// The event of `put`, for which `found` was read, if anything was, at a node whose clock shows
/// `now`.
pub(super) fn of<'a>(
    put: PutRequest<'a>,
    context: Context<'a>,
    found: Live<'a>,
    now: UnixMs,
) -> Write<'a> {
    let timestamp = if put.timestamp.0 == 0 { now } else { put.timestamp };
    let change = match put.content {
        Content::Tombstone => Change::Tombstone,
        Content::Value { expires, value } => Change::Value { expires, value },
        Content::ValueOnly { value } => {
            let expires = found.winner().and_then(|winner| winner.expires);
            Change::Value { expires, value }
        }
        #[cfg(feature = "plant")]
        Content::ExpiryOnly { expires }
            if crate::plant::is(crate::plant::Plant::SiblingsExpired) =>
        {
            let value = found.winner().map_or(&[][..], |winner| winner.value);
            let timestamp = found.winner().map_or(now, |winner| winner.timestamp);
            return Write { context, timestamp, change: Change::Value { expires, value } };
        }
        Content::ExpiryOnly { expires } => Change::Again { seen: found, expires },
    };
    Write { context, timestamp, change }
}
