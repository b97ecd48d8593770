//! What members say about the topology. Operations and contacts are byte strings here, all of
//! one size; what they mean is membership's.

use super::ITEM_BYTES_MAX;
use super::layout;
use super::payload::{Malformed, Payload};
use crate::limits::{MEMBER_COUNT_MAX, OPERATION_COUNT_MAX, STAGED_COUNT_MAX};

/// Byte strings of one size, back to back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Items<'a> {
    bytes: &'a [u8],
    item_bytes: usize,
}

impl<'a> Items<'a> {
    /// `bytes` cut into items of `item_bytes` each; the last may not be short. `None` if it
    /// is, or if `item_bytes` is 0 while there are bytes.
    pub fn new(bytes: &'a [u8], item_bytes: usize) -> Option<Items<'a>> {
        // No multiple of 0 but 0 itself.
        bytes.len().is_multiple_of(item_bytes).then_some(Items { bytes, item_bytes })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        // A size of 0 comes with no bytes.
        self.bytes.len() / self.item_bytes.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The size of each, bytes.
    pub fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks_exact(self.item_bytes.max(1))
    }

    fn is_valid(&self, count_max: usize) -> bool {
        self.len() <= count_max && self.item_bytes <= ITEM_BYTES_MAX
    }
}

/// TOPOLOGY: what the sender knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Topology<'a> {
    /// Committed operations, at most `OPERATION_COUNT_MAX` of at most `ITEM_BYTES_MAX` bytes.
    pub operations: Items<'a>,
    /// Last known addresses, at most `MEMBER_COUNT_MAX` of at most `ITEM_BYTES_MAX` bytes.
    pub contacts: Items<'a>,
}

impl<'a> Topology<'a> {
    /// Reads the payload of a TOPOLOGY. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<Topology<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Topology>(payload)?;
        let operation_bytes = usize::from(fixed.operation_bytes.get());
        let contact_bytes = usize::from(fixed.contact_bytes.get());
        let operations = usize::from(fixed.operation_count.get()) * operation_bytes;
        let (operations, contacts) = rest.split_at_checked(operations).ok_or(Malformed)?;
        let topology = Topology {
            operations: Items::new(operations, operation_bytes).ok_or(Malformed)?,
            contacts: Items::new(contacts, contact_bytes).ok_or(Malformed)?,
        };
        // A count of items without bytes, or a wrong count of the last ones.
        if topology.operations.len() != usize::from(fixed.operation_count.get())
            || topology.contacts.len() != usize::from(fixed.contact_count.get())
        {
            return Err(Malformed);
        }
        if topology.is_valid() { Ok(topology) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        self.operations.is_valid(OPERATION_COUNT_MAX) && self.contacts.is_valid(MEMBER_COUNT_MAX)
    }
}

impl Payload for Topology<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Topology>() + self.operations.bytes.len() + self.contacts.bytes.len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let fixed = layout::Topology {
            operation_count: (self.operations.len() as u16).into(),
            operation_bytes: (self.operations.item_bytes as u16).into(),
            contact_count: (self.contacts.len() as u16).into(),
            contact_bytes: (self.contacts.item_bytes as u16).into(),
        };
        let rest = layout::put(&fixed, out);
        let (operations, contacts) = rest.split_at_mut(self.operations.bytes.len());
        operations.copy_from_slice(self.operations.bytes);
        contacts.copy_from_slice(self.contacts.bytes);
    }
}

/// STAGED: what people have put down and not committed, as the sender knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Staged<'a> {
    /// Whoever drops all that is staged raises it.
    pub revision: u64,
    /// The operations, at most `STAGED_COUNT_MAX` of at most `ITEM_BYTES_MAX` bytes.
    pub operations: Items<'a>,
}

impl<'a> Staged<'a> {
    /// Reads the payload of a STAGED. O(1).
    pub fn new_checked(payload: &'a [u8]) -> Result<Staged<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Staged>(payload)?;
        let operation_bytes = usize::from(fixed.operation_bytes.get());
        let operations = Items::new(rest, operation_bytes).ok_or(Malformed)?;
        let is_whole = operations.len() == usize::from(fixed.operation_count.get());
        if !is_whole || fixed.reserved.get() != 0 || !operations.is_valid(STAGED_COUNT_MAX) {
            return Err(Malformed);
        }
        Ok(Staged { revision: fixed.revision.get(), operations })
    }
}

impl Payload for Staged<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Staged>() + self.operations.bytes.len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.operations.is_valid(STAGED_COUNT_MAX));
        let fixed = layout::Staged {
            revision: self.revision.into(),
            operation_count: (self.operations.len() as u16).into(),
            operation_bytes: (self.operations.item_bytes as u16).into(),
            reserved: 0.into(),
        };
        layout::put(&fixed, out).copy_from_slice(self.operations.bytes);
    }
}
