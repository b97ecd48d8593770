//! What a frame holds, checked as a start checks it: whoever walks over frames without knowing
//! which of them the index points at agrees with recovery on which of them hold.

use ringmain_core::hash::Key;
use ringmain_core::id::ShardIndex;
use ringmain_core::records::{Place, Stored};
use ringmain_core::wire::place::PlaceKind;

use super::record::{BatchHeader, Frame};
use super::segment::Identity;
use super::{Log, Maps};

/// What lies in a frame that holds: checksum, contents and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// A record of a key of this shard, or a hint of one.
    Record(Key<'a>, Stored<'a>),
    /// What such a key had before the place is erased.
    Erasure(Key<'a>, Place),
    /// A batch header of the segment.
    Batch(BatchHeader<'a>),
}

impl<'a> Content<'a> {
    /// The content of a frame of the segment with `nonce`; `None` if it does not hold. Cost: one
    /// pass over the frame.
    pub(super) fn new_checked(
        frame: &Frame<'a>,
        identity: &Identity,
        nonce: u64,
    ) -> Option<Content<'a>> {
        if frame.kind() == PlaceKind::Batch {
            return frame.batch_header(nonce).map(Content::Batch);
        }
        if !frame.is_intact() {
            return None;
        }
        let &Identity { cluster, shard, shards, partition_bits } = identity;
        let key = Key::new(frame.key(), cluster.hash_seed(), partition_bits);
        let key = key.kept_for(frame.target());
        let is_own = ShardIndex::of(key.partition, shards, partition_bits) == shard;
        if key.bytes.is_empty() || !is_own {
            return None;
        }
        Some(match frame.kind() {
            PlaceKind::Erasure => Content::Erasure(key, frame.erases_before()?),
            _ => Content::Record(key, frame.stored().ok()?),
        })
    }
}

impl<M: Maps> Log<M> {
    /// The key of a record, if it is of this shard. The record's checksum is for the caller to
    /// check: one whose key has rotted looks dead.
    pub(super) fn key_of<'f>(&self, frame: &Frame<'f>) -> Option<Key<'f>> {
        let identity = self.writer.identity();
        let seed = identity.cluster.hash_seed();
        let key = Key::new(frame.key(), seed, identity.partition_bits).kept_for(frame.target());
        (!key.bytes.is_empty() && self.index.holds(key.partition)).then_some(key)
    }
}
