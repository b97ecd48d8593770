//! A client's write at its coordinator: discard what the writer's context covers, add the new
//! version under a dot that was never used.

use super::context::Context;
use super::dot::{Actor, Dot, NUMBER_MAX};
use super::encode::{Sink, Size, Writer};
use super::record::{EXPIRES, Record, Sibling, TOMBSTONE};
use super::version_vector::{Rows, VersionVector};
use crate::id::{Boot, NodeId};
use crate::time::UnixMs;

/// What a client writes.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// What it has seen: the siblings that this write supersedes.
    pub context: Context<'a>,
    /// A delete; `expires` and `value` are ignored then.
    pub tombstone: bool,
    /// The coordinator's clock.
    pub timestamp: UnixMs,
    /// When reads begin to treat it as a tombstone; `None`: never.
    pub expires: Option<UnixMs>,
    /// The value, below 4 GiB.
    pub value: &'a [u8],
}

impl<'a> Write<'a> {
    fn sibling(&self, dot: Dot) -> Sibling<'a> {
        let timestamp = self.timestamp;
        let expires = self.expires;
        let flags = if expires.is_some() { EXPIRES } else { 0 };
        match self.tombstone {
            true => Sibling { dot, flags: TOMBSTONE, timestamp, expires: None, value: &[] },
            false => Sibling { dot, flags, timestamp, expires, value: self.value },
        }
    }
}

/// The plan of one write: what the new record will be, before a byte is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    dot: Dot,
    mine: usize,
    minted: bool,
    size: Size,
}

impl Event {
    /// Plans `write` over the record `old` of this node (`None`: not found, which is not the same
    /// as unreadable). `mine` is the index of the entry of `old` that this node may extend; it is
    /// extended if it is of this `boot`, and neither the context nor the numbers forbid it.
    /// Otherwise a new actor is minted with the birth `mint`. Cost: one pass over `old` and the
    /// context.
    ///
    /// # Panics
    /// If `boot` or `mint` do not fit an [`Actor`], or the value has 4 GiB or more.
    pub fn plan(
        old: Option<Record<'_>>,
        mine: Option<u16>,
        me: NodeId,
        boot: Boot,
        mint: u32,
        write: &Write<'_>,
    ) -> Event {
        let old = old.unwrap_or(Record::empty());
        let seen = write.context.version_vector(old);
        let extended = mine
            .and_then(|index| old.version_vector().entry(usize::from(index)))
            .filter(|entry| may_extend(entry.actor(), me, boot))
            .filter(|entry| {
                entry.number() < NUMBER_MAX && seen.number(entry.actor()) <= entry.number()
            });
        let actor = extended.map_or_else(|| Actor::new(me, boot, mint), Dot::actor);
        // An actor just minted is in neither, unless the caller used its birth before.
        let last = old.version_vector().number(actor).max(seen.number(actor));
        let dot = Dot::new(actor, last + 1);
        let mut size = Size::default();
        let mine = walk(old, seen, &write.sibling(dot), &mut size);
        Event { dot, mine, minted: extended.is_none(), size }
    }

    /// Writes the new record, [`bytes`](Self::bytes) long. `old` and `write` are those of the
    /// plan.
    ///
    /// # Panics
    /// If `out` has another length or the arguments are not those of the plan, or if the record
    /// would have more than [`ENTRY_COUNT_ENCODED_MAX`](super::ENTRY_COUNT_ENCODED_MAX) entries
    /// or [`SIBLING_COUNT_ENCODED_MAX`](super::SIBLING_COUNT_ENCODED_MAX) siblings: admission
    /// refuses a plan long before that.
    pub fn write_to(&self, old: Option<Record<'_>>, write: &Write<'_>, out: &mut [u8]) {
        let old = old.unwrap_or(Record::empty());
        let seen = write.context.version_vector(old);
        let mut writer = Writer::new(out, &self.size);
        let mine = walk(old, seen, &write.sibling(self.dot), &mut writer);
        assert!(mine == self.mine);
        writer.finish();
    }

    /// The name of the write.
    pub fn dot(&self) -> Dot {
        self.dot
    }

    /// Length of the new record.
    pub fn bytes(&self) -> usize {
        self.size.bytes()
    }

    /// Siblings of the new record, tombstones and the new version too.
    pub fn sibling_count(&self) -> usize {
        self.size.sibling_count()
    }

    /// Entries of its version vector.
    pub fn version_vector_count(&self) -> usize {
        self.size.entry_count()
    }

    /// Whether the birth that was offered is used up.
    pub fn minted(&self) -> bool {
        self.minted
    }

    /// Index, in the new version vector, of the actor that this node may now extend.
    ///
    /// # Panics
    /// If that needs more than 16 bits: admission refuses such a plan, see
    /// [`write_to`](Self::write_to).
    pub fn mine(&self) -> u16 {
        u16::try_from(self.mine).expect("admission bounds version_vector_count first")
    }
}

/// An actor is extended by the process life that minted it, and by no other.
fn may_extend(actor: Actor, me: NodeId, boot: Boot) -> bool {
    #[cfg(feature = "plant")]
    let boot = if crate::plant::is(crate::plant::Plant::DotReuse) { actor.boot() } else { boot };
    actor.node() == me && actor.boot() == boot
}

/// Walks the new record; returns the index of the entry of `version`'s actor.
fn walk(
    old: Record<'_>,
    seen: VersionVector<'_>,
    version: &Sibling<'_>,
    sink: &mut impl Sink,
) -> usize {
    let actor = version.dot.actor();
    let mut siblings = old.siblings().peekable();
    let mut mine = None;
    let mut row_count = 0;
    for row in Rows::new(old.version_vector(), seen) {
        if mine.is_none() && actor < row.actor {
            sink.entry(version.dot);
            sink.sibling(version);
            mine = Some(row_count);
        }
        let extends = actor == row.actor;
        sink.entry(if extends { version.dot } else { row.joined() });
        while let Some(sibling) = siblings.next_if(|s| s.dot.actor() == row.actor) {
            if sibling.dot.number() > row.right {
                sink.sibling(&sibling);
            }
        }
        if extends {
            sink.sibling(version);
            mine = Some(row_count);
        }
        row_count += 1;
    }
    mine.unwrap_or_else(|| {
        sink.entry(version.dot);
        sink.sibling(version);
        row_count
    })
}
