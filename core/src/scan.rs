//! Walking all keys of a cluster: where a walk stands, and what several replicas know of one page.
//!
//! The problem: a client asks for the keys piece by piece, of any node, while keys come and go,
//! owners move, and no node may keep anything for it. The answer: keys are walked in the order of
//! their hashes, so a position is a number, which the client keeps; each piece is read from R
//! owners, whose pages are joined key by key like the answers of a GET.
//!
//! A cursor has no room for both a partition and all 64 bits of an order, so its lowest bits are
//! left out. Keys that differ in nothing else are a *group*: they come together.
//!
//! Invariant: a page up to an order has every key of its replica from its begin up to there, and
//! that order is the last of a group; so has a joined page, which goes as far as both of them do. A
//! key that R owners can be asked for is therefore in some page of a whole walk.

#[cfg(test)]
mod tests;

use crate::causality::{self, Join, Record};
use crate::id::Partition;
use crate::limits::SCAN_PAGE_COUNT_MAX;
use crate::wire::scan::{Page, PageEntries, PageEntry, PageHead, PageWriter};
use crate::wire::scan::{entry_bytes, page_bytes};
use core::cmp::Ordering;
use core::iter::Peekable;

/// How far a walk has come: all keys before it are behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The partition to go on in.
    pub partition: Partition,
    /// The first order in it: the first of a group.
    pub from: u64,
}

impl Position {
    /// Where `cursor` points, of 2^`partition_bits` partitions. Every number is a cursor; 0 is the
    /// begin.
    pub fn of(cursor: u64, partition_bits: u32) -> Position {
        let partition = Partition((cursor >> (64 - partition_bits)) as u16);
        Position { partition, from: cursor << partition_bits }
    }

    /// The cursor that points here.
    ///
    /// # Panics
    /// If [`Position::from`] is not the first of a group.
    pub fn cursor(self, partition_bits: u32) -> u64 {
        assert!(self.from == first_of_group(self.from, partition_bits));
        u64::from(self.partition.0) << (64 - partition_bits) | self.from >> partition_bits
    }

    /// Behind all orders up to `last` of this partition, the last of a group; none at the end of
    /// the walk.
    pub fn behind(self, last: u64, partition_bits: u32) -> Option<Position> {
        let Position { partition, .. } = self;
        if let Some(from) = last.checked_add(1) {
            return Some(Position { partition, from });
        }
        let next = u32::from(partition.0) + 1;
        let is_last = next == 1 << partition_bits;
        (!is_last).then_some(Position { partition: Partition(next as u16), from: 0 })
    }
}

/// The first order of the group of `order`.
pub fn first_of_group(order: u64, partition_bits: u32) -> u64 {
    order >> partition_bits << partition_bits
}

/// The last order of the group of `order`.
pub fn last_of_group(order: u64, partition_bits: u32) -> u64 {
    order | !(u64::MAX << partition_bits)
}

/// What the join of two pages is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JoinedPage {
    head: PageHead,
    entries: u16,
    bytes: usize,
}

impl JoinedPage {
    /// Plans the join of two pages of the same partition and begin, whose records were checked. It
    /// ends with the group with which it has [`SCAN_PAGE_COUNT_MAX`] keys. Cost: one pass over
    /// both.
    ///
    /// # Panics
    /// If partition or begin differ.
    pub fn plan(left: Page<'_>, right: Page<'_>, partition_bits: u32) -> JoinedPage {
        assert!(left.head.partition == right.head.partition);
        assert!(left.head.from == right.head.from);
        let last = left.head.last.min(right.head.last);
        let keys = left.head.keys.max(right.head.keys);
        let head = PageHead { last, keys, ..left.head };
        let mut joined = JoinedPage { head, entries: 0, bytes: page_bytes(0) };
        let mut group = None;
        for row in Rows::new(left, right, last) {
            let end = last_of_group(row.order(), partition_bits);
            if let Some(before) = group.filter(|before| *before != end)
                && usize::from(joined.entries) >= SCAN_PAGE_COUNT_MAX
            {
                joined.head.last = before;
                break;
            }
            group = Some(end);
            joined.entries += 1;
            joined.bytes += entry_bytes(row.key().len(), row.record_bytes());
        }
        joined
    }

    /// Length of the joined page, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the join of the pages that it was planned for. `out` has [`JoinedPage::bytes`].
    ///
    /// # Panics
    /// If `out` has another length, or the pages are others.
    pub fn write(&self, left: Page<'_>, right: Page<'_>, out: &mut [u8]) {
        let mut writer = PageWriter::new(self.head, self.entries, out);
        for row in Rows::new(left, right, self.head.last) {
            writer.entry(row.order(), row.key(), row.record_bytes(), |out| row.write_record(out));
        }
        writer.finish();
    }
}

/// A key of two pages, or of one of them.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    one: PageEntry<'a>,
    other: Option<PageEntry<'a>>,
}

impl<'a> Row<'a> {
    fn order(&self) -> u64 {
        self.one.order
    }

    fn key(&self) -> &'a [u8] {
        self.one.key
    }

    fn record_bytes(&self) -> usize {
        let Some(other) = self.other else { return self.one.record.len() };
        match causality::join(record(&self.one), record(&other)) {
            Join::KeepLeft => self.one.record.len(),
            Join::TakeRight => other.record.len(),
            Join::Both { bytes } => bytes,
        }
    }

    fn write_record(&self, out: &mut [u8]) {
        match self.other {
            None => out.copy_from_slice(self.one.record),
            Some(other) => causality::write_join(record(&self.one), record(&other), out),
        }
    }
}

/// The record of an entry of a page, which was checked when the page came.
fn record<'a>(entry: &PageEntry<'a>) -> Record<'a> {
    Record::new_checked(entry.record).expect("checked when its page came, or written here")
}

/// The keys of two pages up to an order, ascending.
struct Rows<'a> {
    left: Peekable<PageEntries<'a>>,
    right: Peekable<PageEntries<'a>>,
    last: u64,
}

impl<'a> Rows<'a> {
    fn new(left: Page<'a>, right: Page<'a>, last: u64) -> Rows<'a> {
        let (left, right) = (left.entries().peekable(), right.entries().peekable());
        Rows { left, right, last }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        let order = match (self.left.peek(), self.right.peek()) {
            (Some(left), Some(right)) => left.compare(right),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let last = self.last;
        let left = self.left.next_if(|entry| order.is_le() && entry.order <= last);
        let right = self.right.next_if(|entry| order.is_ge() && entry.order <= last);
        match (left, right) {
            (Some(one), other) => Some(Row { one, other }),
            (None, one) => one.map(|one| Row { one, other: None }),
        }
    }
}
