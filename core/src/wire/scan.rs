//! SCAN and PAGE: the keys of one partition in the order of their hashes, a page at a time. SCAN is
//! what one shard has another one of its node answer, with a REPLY of what a client may see; PAGE
//! is what a coordinator asks of a replica, with a PAGE_REPLY of all that it has.
//!
//! A page goes up to an order that it names, and has every key of the sender up to there. It is
//! written entry by entry, straight from records: [`page_bytes`] and [`entry_bytes`] say how long
//! it will be, [`PageWriter`] takes the entries and asserts that the length was met.

use super::layout;
use super::payload::{Malformed, Payload};
use crate::id::Partition;
use crate::limits::{KEY_BYTES_MAX, SCAN_PAGE_COUNT_MAX};
use core::cmp::Ordering;

/// The payload of a SCAN or a PAGE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScanRequest {
    /// Whose keys.
    pub partition: Partition,
    /// Keys that are enough for one page, at most [`SCAN_PAGE_COUNT_MAX`]; 0: none is listed, only
    /// how many there are is wanted.
    pub count: u16,
    /// The first order.
    pub from: u64,
}

impl ScanRequest {
    /// Reads the payload of a SCAN or a PAGE.
    pub fn new_checked(payload: &[u8]) -> Result<ScanRequest, Malformed> {
        let fixed = layout::exact::<layout::Scan>(payload)?;
        let count = fixed.count.get();
        if fixed.reserved.get() != 0 || usize::from(count) > SCAN_PAGE_COUNT_MAX {
            return Err(Malformed);
        }
        let partition = Partition(fixed.partition.get());
        Ok(ScanRequest { partition, count, from: fixed.from.get() })
    }
}

impl Payload for ScanRequest {
    fn bytes(&self) -> usize {
        size_of::<layout::Scan>()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(usize::from(self.count) <= SCAN_PAGE_COUNT_MAX);
        let fixed = layout::Scan {
            partition: self.partition.0.into(),
            count: self.count.into(),
            reserved: 0.into(),
            from: self.from.into(),
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// What a page says of all its entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageHead {
    /// Whose keys.
    pub partition: Partition,
    /// As it was asked for.
    pub from: u64,
    /// There are no more keys up to this order, from `from` on. Says nothing of a page that was
    /// asked for no keys.
    pub last: u64,
    /// How many keys the sender holds in the partition, if no keys were asked for; else 0.
    pub keys: u64,
}

/// One key of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageEntry<'a> {
    /// Its order in the partition.
    pub order: u64,
    /// The key, 1..=`KEY_BYTES_MAX` bytes.
    pub key: &'a [u8],
    /// Its Record v1 without values, not checked here; not empty.
    pub record: &'a [u8],
}

impl PageEntry<'_> {
    /// How the entries of a page are ordered.
    pub fn compare(&self, other: &PageEntry<'_>) -> Ordering {
        (self.order, self.key).cmp(&(other.order, other.key))
    }
}

/// Length of a page whose entries take `entries_bytes`, bytes.
pub const fn page_bytes(entries_bytes: usize) -> usize {
    size_of::<layout::PageReply>() + entries_bytes
}

/// Length of an entry of a page, bytes.
pub const fn entry_bytes(key_bytes: usize, record_bytes: usize) -> usize {
    size_of::<layout::PageEntry>() + key_bytes + record_bytes
}

/// Writes a page into lent bytes: every entry, then [`finish`](PageWriter::finish).
#[derive(Debug)]
pub struct PageWriter<'o> {
    out: &'o mut [u8],
    head: PageHead,
    entries: u16,
}

impl<'o> PageWriter<'o> {
    /// Begins a page of so many entries.
    ///
    /// # Panics
    /// If `out` has no room for the head.
    pub fn new(head: PageHead, entries: u16, out: &'o mut [u8]) -> PageWriter<'o> {
        assert!(head.from <= head.last);
        let fixed = layout::PageReply {
            partition: head.partition.0.into(),
            entries: entries.into(),
            reserved: 0.into(),
            from: head.from.into(),
            last: head.last.into(),
            keys: head.keys.into(),
        };
        let out = layout::put(&fixed, out);
        PageWriter { out, head, entries }
    }

    /// Writes the next entry, of a record of `record_bytes`, which `fill` writes; it must be behind
    /// the one before.
    ///
    /// # Panics
    /// If more entries come than were announced, or it breaks a rule of an entry.
    pub fn entry(
        &mut self,
        order: u64,
        key: &[u8],
        record_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) {
        assert!(self.entries > 0);
        assert!((self.head.from..=self.head.last).contains(&order));
        assert!((1..=KEY_BYTES_MAX).contains(&key.len()));
        assert!(record_bytes > 0);
        let fixed = layout::PageEntry {
            order: order.into(),
            key_bytes: (key.len() as u16).into(),
            reserved: 0.into(),
            record_bytes: (record_bytes as u32).into(),
        };
        let out = core::mem::take(&mut self.out);
        let (key_out, rest) = layout::put(&fixed, out).split_at_mut(key.len());
        key_out.copy_from_slice(key);
        let (record_out, rest) = rest.split_at_mut(record_bytes);
        fill(record_out);
        self.out = rest;
        self.entries -= 1;
        self.head.from = order;
    }

    /// Ends the page.
    ///
    /// # Panics
    /// If anything that was announced is missing, or bytes are left.
    pub fn finish(self) {
        assert!(self.entries == 0);
        assert!(self.out.is_empty());
    }
}

/// The payload of a PAGE_REPLY that was checked whole, but for its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page<'a> {
    /// The fixed part.
    pub head: PageHead,
    entries: PageEntries<'a>,
}

impl<'a> Page<'a> {
    /// Reads the payload of a PAGE_REPLY. O(entries).
    pub fn new_checked(payload: &'a [u8]) -> Result<Page<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::PageReply>(payload)?;
        let head = PageHead {
            partition: Partition(fixed.partition.get()),
            from: fixed.from.get(),
            last: fixed.last.get(),
            keys: fixed.keys.get(),
        };
        if fixed.reserved.get() != 0 || head.from > head.last {
            return Err(Malformed);
        }
        let entries = PageEntries { rest, count: fixed.entries.get() };
        entries.check(&head)?;
        Ok(Page { head, entries })
    }

    /// The entries, ascending by order and key.
    pub fn entries(&self) -> PageEntries<'a> {
        self.entries
    }
}

impl Payload for Page<'_> {
    fn bytes(&self) -> usize {
        page_bytes(self.entries.rest.len())
    }

    fn write(&self, out: &mut [u8]) {
        let mut writer = PageWriter::new(self.head, self.entries.count, out);
        for PageEntry { order, key, record } in self.entries {
            writer.entry(order, key, record.len(), |out| out.copy_from_slice(record));
        }
        writer.finish();
    }
}

/// Walks the entries of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageEntries<'a> {
    rest: &'a [u8],
    count: u16,
}

impl<'a> PageEntries<'a> {
    /// Takes the next entry off.
    fn split(&mut self) -> Result<PageEntry<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::PageEntry>(self.rest)?;
        let (key_bytes, record_bytes) = (fixed.key_bytes.get(), fixed.record_bytes.get());
        let key_bytes = usize::from(key_bytes);
        if fixed.reserved.get() != 0 || !(1..=KEY_BYTES_MAX).contains(&key_bytes) {
            return Err(Malformed);
        }
        let (key, rest) = rest.split_at_checked(key_bytes).ok_or(Malformed)?;
        let (record, rest) = rest.split_at_checked(record_bytes as usize).ok_or(Malformed)?;
        if record.is_empty() {
            return Err(Malformed);
        }
        self.rest = rest;
        self.count -= 1;
        Ok(PageEntry { order: fixed.order.get(), key, record })
    }

    /// Walks all of them once: as many as counted, ascending, within the page, no bytes left.
    fn check(mut self, head: &PageHead) -> Result<(), Malformed> {
        let mut before: Option<PageEntry<'_>> = None;
        while self.count > 0 {
            let entry = self.split()?;
            let is_behind = before.is_none_or(|before| before.compare(&entry).is_lt());
            if !is_behind || !(head.from..=head.last).contains(&entry.order) {
                return Err(Malformed);
            }
            before = Some(entry);
        }
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

impl<'a> Iterator for PageEntries<'a> {
    type Item = PageEntry<'a>;

    fn next(&mut self) -> Option<PageEntry<'a>> {
        if self.count == 0 {
            return None;
        }
        // `Page::new_checked` walked the same bytes.
        self.split().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::from(self.count);
        (count, Some(count))
    }
}

impl ExactSizeIterator for PageEntries<'_> {}

/// What stands in the place of the context in a REPLY to a SCAN, whose siblings' values are keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scanned {
    /// [`PageHead::last`].
    pub last: u64,
    /// [`PageHead::keys`].
    pub keys: u64,
}

impl Scanned {
    /// Its length, bytes.
    pub const BYTES: usize = size_of::<layout::Scanned>();

    /// Reads it from the place of a context.
    pub fn new_checked(context: &[u8]) -> Result<Scanned, Malformed> {
        let fixed = layout::exact::<layout::Scanned>(context)?;
        Ok(Scanned { last: fixed.last.get(), keys: fixed.keys.get() })
    }
}

impl Payload for Scanned {
    fn bytes(&self) -> usize {
        Scanned::BYTES
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::Scanned { last: self.last.into(), keys: self.keys.into() };
        assert!(layout::put(&fixed, out).is_empty());
    }
}
