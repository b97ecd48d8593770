//! Compaction: entries of a version vector that say nothing any more leave it.
//!
//! Each life of a node that writes a key leaves an entry, so the vector of a key that is always
//! written grows with every restart. An entry is *spent* when a later life of its node has one,
//! too, so that its actor writes no more, and no write of it is a sibling. Once it is spent at
//! every owner, and no older copy is left anywhere, nothing can bring one of its writes back: then
//! the entry may go. Who drops one too early gets a sibling again that was superseded; no write is
//! ever lost by it. (Riak prunes by age and size, and so may revive what was deleted.)
//!
//! Who must agree to that, and when, is for [`survey`](crate::survey).

use heapless::Vec;

use super::dot::Dot;
use super::encode::{Sink, Size, Writer};
use super::record::Record;
use crate::limits::COMPACT_ENTRY_COUNT_MAX;

/// Entries of one version vector, ascending.
pub type Entries = Vec<Dot, COMPACT_ENTRY_COUNT_MAX>;

impl Record<'_> {
    /// The entries that are spent, the first [`COMPACT_ENTRY_COUNT_MAX`] of them. Cost: one pass,
    /// and O(log entries) for each node.
    pub fn spent(self) -> Entries {
        let mut spent = Entries::new();
        let entries = self.version_vector();
        let mut siblings = self.siblings().peekable();
        let mut last = None;
        for entry in entries.iter() {
            let mut is_live = false;
            while siblings.next_if(|sibling| sibling.dot.actor() == entry.actor()).is_some() {
                is_live = true;
            }
            let actor = entry.actor();
            // Ascending: the entries of a node lie together.
            if last.is_none_or(|(node, _)| node != actor.node()) {
                last = entries.last_boot(actor.node()).map(|boot| (actor.node(), boot));
            }
            let is_replaced = last.is_some_and(|(_, boot)| boot > actor.boot());
            if is_replaced && !is_live && spent.push(entry).is_err() {
                break;
            }
        }
        spent
    }

    /// Whether exactly the writes up to `entry` of its actor were seen here, and none is a sibling.
    pub fn is_spent(self, entry: Dot) -> bool {
        let actor = entry.actor();
        self.version_vector().number(actor) == entry.number()
            && !self.siblings().any(|sibling| sibling.dot.actor() == actor)
    }

    /// Those of `entries` that are spent here: see [`Record::is_spent`].
    pub fn spent_of(self, entries: &[Dot]) -> Entries {
        entries.iter().copied().filter(|entry| self.is_spent(*entry)).collect()
    }
}

/// Bytes that [`write_compacted`] writes for `record` without `entries`. Cost: one pass over it.
pub fn compacted_bytes(record: Record<'_>, entries: &[Dot]) -> usize {
    let mut size = Size::default();
    walk(record, entries, &mut size);
    size.bytes()
}

/// Writes `record` without `entries`, which are spent there, ascending. `out` has
/// [`compacted_bytes`] bytes.
///
/// # Panics
/// If `out` has another length, or one of the entries has a sibling.
pub fn write_compacted(record: Record<'_>, entries: &[Dot], out: &mut [u8]) {
    let mut size = Size::default();
    walk(record, entries, &mut size);
    assert!(size.sibling_count() == record.sibling_count(), "what is spent has no sibling");
    let mut writer = Writer::new(out, &size);
    walk(record, entries, &mut writer);
    writer.finish();
}

/// Where the entry at `index` is in `record` without `entries`; none if it leaves.
pub fn index_when_compacted(record: Record<'_>, entries: &[Dot], index: u16) -> Option<u16> {
    let entry = record.version_vector().dot(usize::from(index));
    let before = entries.partition_point(|one| *one < entry) as u16;
    (entries.get(usize::from(before)) != Some(&entry)).then_some(index - before)
}

fn walk(record: Record<'_>, entries: &[Dot], sink: &mut impl Sink) {
    let mut siblings = record.siblings().peekable();
    for entry in record.version_vector().iter() {
        if entries.binary_search(&entry).is_ok() {
            continue;
        }
        sink.entry(entry);
        while let Some(sibling) = siblings.next_if(|one| one.dot.actor() == entry.actor()) {
            sink.sibling(&sibling);
        }
    }
}
