//! Which versions of a key supersede which, without clocks and without a coordinator.
//!
//! Two clients may write one key at the same time on two nodes. Each write gets a name that is
//! never used again, its [`Dot`]; a [`Record`] holds the surviving writes (siblings) with their
//! dots, and a [`VersionVector`] that says which writes it has ever seen. A sibling that one side
//! lacks but has seen was superseded; one that it has not seen is news. So records [`join`] in
//! any order, any number of times, to the same result, and a write disappears only if another
//! write's [`Context`] covered it.
//!
//! A node that forgets its counter (lost disk, dropped copy, crash) would name two writes alike,
//! and one would be lost. Here the right to extend an [`Actor`] (node, boot, birth) lies in the
//! local record itself, as the index `mine`: who loses the record loses the right, and mints a
//! new actor.
//!
//! Invariants:
//! - V1: the version vector covers every sibling's dot ([`Record::new_checked`]).
//! - V2: a dot names exactly one write, for ever.
//! - V3: an entry (actor, n) claims every write 1..=n of that actor on this key.
//! - V4: sibling dots are distinct and ascending, one byte form per record
//!   ([`Record::new_checked`]).
//! - V5: `mine` exists only where all events of that actor are in the record and its boot is the
//!   running one ([`Event::plan`], [`mine_after_join`]).
//!
//! Sources: Dynamo §4.4; Preguiça et al., dotted version vectors (arXiv 1011.5808); Almeida et
//! al., DVVSet (2014); Riak's per-key actor epochs (riak_kv #679).

mod compact;
mod context;
mod dot;
mod encode;
mod event;
mod join;
mod live;
mod record;
mod varint;
mod version_vector;

#[cfg(test)]
mod tests;

pub use compact::{Entries, compacted_bytes, index_when_compacted, write_compacted};
pub use context::{
    BadContext, Context, base64url_bytes, decode_base64url, decode_token, encode_base64url,
    encode_token, token_bytes,
};
pub use dot::{Actor, Dot, NUMBER_MAX};
pub use encode::{encode_record, record_bytes, stripped_bytes, write_stripped};
pub use event::{Change, Event, Write};
pub use join::{Join, join, mine_after_join, write_join};
pub use live::{Lifespan, Live};
pub use record::{
    EXPIRES, MalformedRecord, Record, SIBLING_COUNT_ENCODED_MAX, Sibling, Siblings, TOMBSTONE,
};
pub use version_vector::{
    Causality, ENTRY_COUNT_ENCODED_MAX, MalformedVersionVector, VersionVector,
};
