//! Writing records. Whoever makes a record walks its entries and siblings once into a [`Size`],
//! which says how many bytes it takes, and once into a [`Writer`], which fills exactly those.

use super::dot::Dot;
use super::record::{EXPIRES, Record, SIBLING_COUNT_ENCODED_MAX, Sibling, TOMBSTONE, VERSION};
use super::varint;
use super::version_vector::{ENTRY_COUNT_ENCODED_MAX, VersionVector};

/// Bytes that [`encode_record`] writes for these.
pub fn record_bytes(version_vector: VersionVector<'_>, siblings: &[Sibling<'_>]) -> usize {
    let mut size = Size::default();
    walk(version_vector, siblings, &mut size);
    size.bytes()
}

/// Writes a record from its parts; for tools and tests, since the protocol makes records only by
/// events and joins. `out` has [`record_bytes`] bytes.
///
/// # Panics
/// If `out` has another length, or the siblings do not ascend, or `version_vector` does not cover
/// them, or their flags contradict their other fields.
pub fn encode_record(version_vector: VersionVector<'_>, siblings: &[Sibling<'_>], out: &mut [u8]) {
    let mut size = Size::default();
    walk(version_vector, siblings, &mut size);
    assert!(size.sibling_count() == siblings.len(), "ascending and covered");
    let mut writer = Writer::new(out, &size);
    walk(version_vector, siblings, &mut writer);
    writer.finish();
}

/// Bytes that [`write_stripped`] writes for `record`. Cost: one pass over it.
pub fn stripped_bytes(record: Record<'_>) -> usize {
    let mut size = Size::default();
    walk_stripped(record, &mut size);
    size.bytes()
}

/// Writes `record` with every value empty: a record that joins as `record` does, and of which the
/// same siblings are live, for who wants no values. `out` has [`stripped_bytes`] bytes.
///
/// # Panics
/// If `out` has another length.
pub fn write_stripped(record: Record<'_>, out: &mut [u8]) {
    let mut size = Size::default();
    walk_stripped(record, &mut size);
    let mut writer = Writer::new(out, &size);
    walk_stripped(record, &mut writer);
    writer.finish();
}

/// What a record is made into: each entry, ascending, is followed by its actor's siblings.
pub(super) trait Sink {
    /// The next entry of the version vector.
    fn entry(&mut self, dot: Dot);
    /// The next entries, whose actors have no siblings.
    fn entries(&mut self, dots: VersionVector<'_>);
    /// The next sibling of the last entry's actor.
    fn sibling(&mut self, sibling: &Sibling<'_>);
}

/// Counts what a record will take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Size {
    entries: u32,
    siblings: u32,
    sibling_bytes: usize,
}

impl Size {
    pub(super) fn entry_count(&self) -> usize {
        self.entries as usize
    }

    pub(super) fn sibling_count(&self) -> usize {
        self.siblings as usize
    }

    /// Bytes of the whole record.
    pub(super) fn bytes(&self) -> usize {
        self.siblings_offset() + self.sibling_bytes
    }

    fn entries_offset(&self) -> usize {
        1 + varint::len(self.entries)
    }

    fn siblings_offset(&self) -> usize {
        self.entries_offset() + 16 * self.entry_count() + varint::len(self.siblings)
    }
}

impl Sink for Size {
    #[inline]
    fn entry(&mut self, _: Dot) {
        self.entries += 1;
    }

    #[inline]
    fn entries(&mut self, dots: VersionVector<'_>) {
        self.entries += dots.len() as u32;
    }

    #[inline]
    fn sibling(&mut self, sibling: &Sibling<'_>) {
        let expires_bytes = if sibling.expires.is_some() { 8 } else { 0 };
        self.siblings += 1;
        self.sibling_bytes += 1
            + varint::len(self.entries - 1)
            + varint::len(sibling.dot.number())
            + 8
            + expires_bytes
            + varint::len(value_length(sibling))
            + sibling.value.len();
    }
}

/// Fills the bytes that a [`Size`] counted.
pub(super) struct Writer<'o> {
    entries: &'o mut [[u8; 16]],
    entry_count: usize,
    siblings: &'o mut [u8],
    position: usize,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut [u8], size: &Size) -> Writer<'o> {
        assert!(out.len() == size.bytes());
        assert!(size.entry_count() <= ENTRY_COUNT_ENCODED_MAX);
        assert!(size.sibling_count() <= SIBLING_COUNT_ENCODED_MAX);
        let (head, siblings) = out.split_at_mut(size.siblings_offset());
        head[0] = VERSION;
        varint::write(size.entries, &mut head[1..]);
        let (entries, count) = head[size.entries_offset()..].split_at_mut(16 * size.entry_count());
        varint::write(size.siblings, count);
        let (entries, _) = entries.as_chunks_mut();
        Writer { entries, entry_count: 0, siblings, position: 0 }
    }

    /// Asserts that everything was written.
    pub(super) fn finish(self) {
        assert!(self.entry_count == self.entries.len());
        assert!(self.position == self.siblings.len());
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.siblings[self.position..][..bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len();
    }

    #[inline]
    fn varint(&mut self, value: u32) {
        self.position += varint::write(value, &mut self.siblings[self.position..]);
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn entry(&mut self, dot: Dot) {
        self.entries[self.entry_count] = dot.to_bytes();
        self.entry_count += 1;
    }

    #[inline]
    fn entries(&mut self, dots: VersionVector<'_>) {
        let place = &mut self.entries[self.entry_count..][..dots.len()];
        place.as_flattened_mut().copy_from_slice(dots.as_bytes());
        self.entry_count += dots.len();
    }

    #[inline]
    fn sibling(&mut self, sibling: &Sibling<'_>) {
        assert!((sibling.flags & EXPIRES != 0) == sibling.expires.is_some());
        assert!(sibling.flags & TOMBSTONE == 0 || sibling.flags == TOMBSTONE);
        assert!(sibling.flags & TOMBSTONE == 0 || sibling.value.is_empty());
        self.bytes(&[sibling.flags]);
        self.varint(self.entry_count as u32 - 1);
        self.varint(sibling.dot.number());
        self.bytes(&sibling.timestamp.0.to_le_bytes());
        if let Some(expires) = sibling.expires {
            self.bytes(&expires.0.to_le_bytes());
        }
        self.varint(value_length(sibling));
        self.bytes(sibling.value);
    }
}

fn walk(version_vector: VersionVector<'_>, siblings: &[Sibling<'_>], sink: &mut impl Sink) {
    let mut siblings = siblings.iter().peekable();
    for entry in version_vector.iter() {
        sink.entry(entry);
        let mut previous = 0;
        while let Some(sibling) = siblings.next_if(|sibling| {
            sibling.dot.actor() == entry.actor()
                && sibling.dot.number() > previous
                && sibling.dot.number() <= entry.number()
        }) {
            previous = sibling.dot.number();
            sink.sibling(sibling);
        }
    }
}

fn walk_stripped(record: Record<'_>, sink: &mut impl Sink) {
    let mut siblings = record.siblings().peekable();
    for entry in record.version_vector().iter() {
        sink.entry(entry);
        while let Some(sibling) = siblings.next_if(|one| one.dot.actor() == entry.actor()) {
            sink.sibling(&Sibling { value: &[], ..sibling });
        }
    }
}

fn value_length(sibling: &Sibling<'_>) -> u32 {
    u32::try_from(sibling.value.len()).expect("admission keeps values far below 4 GiB")
}
