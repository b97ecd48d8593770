//! What the log is to the protocol.

use ringmain_core::checksum::Checksum;
use ringmain_core::hash::Key;
use ringmain_core::id::Partition;

use crate::checksum::Hardware;

/// A position in a shard's log: segment << 32 | offset. What lies there never changes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place(pub u64);

/// Siblings with their version vector, as encoded bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a>(&'a [u8]);

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedRecord;

impl<'a> Record<'a> {
    /// A view of `bytes`.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Record<'a>, MalformedRecord> {
        Ok(Record(bytes))
    }

    /// The encoding.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// A hash of what the record holds for `key`.
    pub fn version(&self, key: &Key<'_>) -> u64 {
        u64::from(Hardware::crc32c(key.hash.0 as u32, self.0)) << 1 | 1
    }
}

/// A record as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The record.
    pub record: Record<'a>,
    /// Which entry of its version vector this node may extend.
    pub mine: Option<u16>,
    /// Where it lies.
    pub place: Place,
}

/// Why a record that exists could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unread {
    /// It is not in memory: ask again when it is.
    Cold,
    /// Its checksum does not fit: the other replicas have it.
    Damaged,
}

/// The store takes no more bytes now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// What a store is to the protocol.
pub trait Records {
    /// The current record of `key`.
    fn record(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread>;

    /// Stores a record of `bytes` bytes; `fill` gets the current one again and writes the new.
    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full>;

    /// Stores a received body (covered header, key, record) unchanged, with its checksum.
    fn append_received(&mut self, key: &Key<'_>, body: &[u8]) -> Result<Place, Full>;

    /// The Merkle leaves of `partition`.
    fn leaves(&mut self, partition: Partition) -> &mut [u64];
}
