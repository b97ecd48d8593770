//! What replicas say to coordinators. The payload of REPLICATE, REPLICATE_SYNC and READ_REPLY
//! is a Record v1 as it stands in the log, which `causality` reads.

use super::layout;
use super::payload::{Malformed, Payload};
use crate::id::NodeId;

/// ACK: the record is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// Order of the key in its partition, so that the sender can check whom it is for.
    pub order: u64,
    /// It is on disk.
    pub durable: bool,
}

const DURABLE: u8 = 1;

impl Ack {
    /// Reads the payload of an ACK.
    pub fn new_checked(payload: &[u8]) -> Result<Ack, Malformed> {
        let fixed = layout::exact::<layout::Ack>(payload)?;
        if fixed.flags & !DURABLE != 0 || fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        Ok(Ack { order: fixed.order.get(), durable: fixed.flags & DURABLE != 0 })
    }
}

impl Payload for Ack {
    fn bytes(&self) -> usize {
        size_of::<layout::Ack>()
    }

    fn write(&self, out: &mut [u8]) {
        let flags = u8::from(self.durable) * DURABLE;
        let fixed = layout::Ack { order: self.order.into(), flags, reserved: [0; 7] };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// READ: the replica's record of the key is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Read {
    /// The version that the sender has, so that an equal one need not be sent; 0 = none.
    pub known: u64,
    /// Whose hint is wanted; 0 = the replica's own copy.
    pub target: NodeId,
}

impl Read {
    /// Reads the payload of a READ.
    pub fn new_checked(payload: &[u8]) -> Result<Read, Malformed> {
        let fixed = layout::exact::<layout::Read>(payload)?;
        if fixed.reserved.get() != 0 {
            return Err(Malformed);
        }
        Ok(Read { known: fixed.known.get(), target: NodeId(fixed.target.get()) })
    }
}

impl Payload for Read {
    fn bytes(&self) -> usize {
        size_of::<layout::Read>()
    }

    fn write(&self, out: &mut [u8]) {
        let (known, target) = (self.known.into(), self.target.0.into());
        let fixed = layout::Read { known, target, reserved: 0.into() };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// HINT and HINT_SYNC: the record is to be kept for an owner that is away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hint<'a> {
    /// The owner. Not 0.
    pub target: NodeId,
    /// A Record v1, not checked here; not empty.
    pub record: &'a [u8],
}

impl<'a> Hint<'a> {
    /// Reads the payload of a HINT or HINT_SYNC.
    pub fn new_checked(payload: &'a [u8]) -> Result<Hint<'a>, Malformed> {
        let (fixed, record) = layout::split::<layout::Hint>(payload)?;
        let target = NodeId(fixed.target.get());
        if fixed.reserved.get() != 0 || target == NodeId(0) || record.is_empty() {
            return Err(Malformed);
        }
        Ok(Hint { target, record })
    }
}

impl Payload for Hint<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Hint>() + self.record.len()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::Hint { target: self.target.0.into(), reserved: 0.into() };
        layout::put(&fixed, out).copy_from_slice(self.record);
    }
}

/// READ_SAME: the replica's record has the version that the reader knows, so it is not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadSame {
    /// Order of the key in its partition.
    pub order: u64,
    /// The version.
    pub version: u64,
}

impl ReadSame {
    /// Reads the payload of a READ_SAME.
    pub fn new_checked(payload: &[u8]) -> Result<ReadSame, Malformed> {
        let fixed = layout::exact::<layout::ReadSame>(payload)?;
        Ok(ReadSame { order: fixed.order.get(), version: fixed.version.get() })
    }
}

impl Payload for ReadSame {
    fn bytes(&self) -> usize {
        size_of::<layout::ReadSame>()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::ReadSame { order: self.order.into(), version: self.version.into() };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

codes! {
    /// Why a replica does not store or read.
    pub enum RejectReason {
        /// The topologies differ; the replica's operations follow in a TOPOLOGY.
        StaleTopology = 1,
        /// The replica neither owns the partition nor stands in for an owner.
        NotOwner = 2,
        /// Overload, or a change of topology holds writes: try again.
        Busy = 3,
        /// The log cannot grow: the disk is full, or no file can be made.
        NoSpace = 4,
        /// The record may be damaged here: a miss would be no answer.
        Damaged = 5,
        /// Its sender had given it up when it was read.
        TooOld = 6,
        /// The shard takes no writes, after a failed sync.
        ReadOnly = 7,
        /// The payload is malformed.
        Malformed = 8,
        /// Joined with what the replica has, it would fit no frame: clients must resolve siblings.
        TooLarge = 9,
    }
}

/// REJECT: no to REPLICATE or READ.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Order of the key in its partition.
    pub order: u64,
}

impl Reject {
    /// Reads the payload of a REJECT.
    pub fn new_checked(payload: &[u8]) -> Result<Reject, Malformed> {
        let fixed = layout::exact::<layout::Reject>(payload)?;
        if fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        let reason = RejectReason::from_number(fixed.reason).ok_or(Malformed)?;
        Ok(Reject { reason, order: fixed.order.get() })
    }
}

impl Payload for Reject {
    fn bytes(&self) -> usize {
        size_of::<layout::Reject>()
    }

    fn write(&self, out: &mut [u8]) {
        let reason = self.reason.number();
        let fixed = layout::Reject { reason, reserved: [0; 7], order: self.order.into() };
        assert!(layout::put(&fixed, out).is_empty());
    }
}
