//! A client's write at its coordinator: discard what the writer's context covers, add the new
//! version under a dot that was never used; or, when an expiry changes, every version that was
//! seen again, each under such a dot of its own, so that none of them replaces another.

use super::context::Context;
use super::dot::{Actor, Dot, NUMBER_MAX};
use super::encode::{Sink, Size, Writer};
use super::live::Live;
use super::record::{EXPIRES, Record, SIBLING_COUNT_ENCODED_MAX, Sibling, TOMBSTONE};
use super::version_vector::{Rows, VersionVector};
use crate::id::{Boot, NodeId};
use crate::time::UnixMs;

/// What a client writes.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// What it has seen: the siblings that this write supersedes.
    pub context: Context<'a>,
    /// The coordinator's clock.
    pub timestamp: UnixMs,
    /// What takes their place.
    pub change: Change<'a>,
}

/// The versions that take the place of others.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A delete.
    Tombstone,
    /// A value.
    Value {
        /// When reads begin to treat it as a tombstone; `None`: never.
        expires: Option<UnixMs>,
        /// Below 4 GiB.
        value: &'a [u8],
    },
    /// The siblings that a read has seen, at least one, each with its own value and time stamp.
    Again {
        /// Them.
        seen: Live<'a>,
        /// When they all expire now; `None`: never.
        expires: Option<UnixMs>,
    },
}

impl<'a> Write<'a> {
    /// How many versions there are.
    fn version_count(&self) -> u32 {
        match self.change {
            Change::Tombstone | Change::Value { .. } => 1,
            Change::Again { seen, .. } => seen.count() as u32,
        }
    }

    /// Calls `each` for every version; `first` names the first one, and the next numbers of its
    /// actor the others.
    fn for_each_version(&self, first: Dot, mut each: impl FnMut(&Sibling<'a>)) {
        let timestamp = self.timestamp;
        match self.change {
            Change::Tombstone => {
                let (flags, expires, value) = (TOMBSTONE, None, &[][..]);
                each(&Sibling { dot: first, flags, timestamp, expires, value });
            }
            Change::Value { expires, value } => {
                let flags = flags(expires);
                each(&Sibling { dot: first, flags, timestamp, expires, value });
            }
            Change::Again { seen, expires } => {
                for (number, sibling) in (first.number()..).zip(seen.siblings()) {
                    let dot = Dot::new(first.actor(), number);
                    each(&Sibling { dot, flags: flags(expires), expires, ..sibling });
                }
            }
        }
    }
}

/// The flags of a value.
fn flags(expires: Option<UnixMs>) -> u8 {
    if expires.is_some() { EXPIRES } else { 0 }
}

/// The plan of one write: what the new record will be, before a byte is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    first: Dot,
    last: Dot,
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
    /// If `boot` or `mint` do not fit an [`Actor`], there is no version, or a value has 4 GiB or
    /// more.
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
        let count = write.version_count();
        assert!(count > 0);
        let extended = mine
            .and_then(|index| old.version_vector().entry(usize::from(index)))
            .filter(|entry| may_extend(entry.actor(), me, boot))
            .filter(|entry| {
                let number = entry.number();
                number <= NUMBER_MAX - count && seen.number(entry.actor()) <= number
            });
        let (actor, used) = match extended {
            Some(entry) => (entry.actor(), entry.number()),
            None => {
                let actor = Actor::new(me, boot, mint);
                // It is in neither, unless the caller used its birth before.
                (actor, old.version_vector().number(actor).max(seen.number(actor)))
            }
        };
        let (first, last) = (Dot::new(actor, used + 1), Dot::new(actor, used + count));
        let mut size = Size::default();
        let mine = walk(old, seen, (write, first, last), &mut size);
        Event { first, last, mine, minted: extended.is_none(), size }
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
        let mine = walk(old, seen, (write, self.first, self.last), &mut writer);
        assert!(mine == self.mine);
        writer.finish();
    }

    /// The name of the write; of several versions, of the last one.
    pub fn dot(&self) -> Dot {
        self.last
    }

    /// Length of the new record.
    pub fn bytes(&self) -> usize {
        self.size.bytes()
    }

    /// Siblings of the new record, tombstones and the new versions too.
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

/// Walks the new record; returns the index of the entry of the new versions' actor.
fn walk(
    old: Record<'_>,
    seen: VersionVector<'_>,
    (write, first, last): (&Write<'_>, Dot, Dot),
    sink: &mut impl Sink,
) -> usize {
    if seen == old.version_vector() {
        return walk_seen(seen, (write, first, last), sink);
    }
    let actor = first.actor();
    let mut siblings = old.siblings().peekable();
    let mut mine = None;
    let mut row_count = 0;
    for row in Rows::new(old.version_vector(), seen) {
        if mine.is_none() && actor < row.actor {
            sink.entry(last);
            write.for_each_version(first, |version| sink.sibling(version));
            mine = Some(row_count);
        }
        let extends = actor == row.actor;
        sink.entry(if extends { last } else { row.joined() });
        while let Some(sibling) = siblings.next_if(|s| s.dot.actor() == row.actor) {
            if sibling.dot.number() > row.right {
                sink.sibling(&sibling);
            }
        }
        if extends {
            write.for_each_version(first, |version| sink.sibling(version));
            mine = Some(row_count);
        }
        row_count += 1;
    }
    mine.unwrap_or_else(|| {
        sink.entry(last);
        write.for_each_version(first, |version| sink.sibling(version));
        row_count
    })
}

/// The same, of a write that has seen just what the old record has, as nearly all have: none of the
/// siblings stays, and of the entries one changes.
fn walk_seen(
    seen: VersionVector<'_>,
    (write, first, last): (&Write<'_>, Dot, Dot),
    sink: &mut impl Sink,
) -> usize {
    let (before, own, after) = seen.split_at(first.actor());
    sink.entries(before);
    sink.entry(last);
    write.for_each_version(first, |version| sink.sibling(version));
    assert!(own <= Some(last));
    sink.entries(after);
    before.len()
}

const _: () = assert!(SIBLING_COUNT_ENCODED_MAX < NUMBER_MAX as usize, "one actor names them all");
