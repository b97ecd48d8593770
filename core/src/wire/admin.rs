//! What people ask of a node, and the answer to all of it. Questions that are not listed here have
//! no payload.

use super::ADMIN_BYTES_MAX;
use super::layout;
use super::payload::{Malformed, Payload};
use super::reply::Status;
use crate::id::{Partition, TopologyId};
use crate::limits::NAME_BYTES_MAX;

/// The payload of an ADMIN_REPLY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AdminReply<'a> {
    /// How the request ended.
    pub status: Status,
    /// JSON, at most `ADMIN_BYTES_MAX` bytes; may be empty if the status is not `Ok`, else it says
    /// why. Not parsed here.
    pub text: &'a str,
}

impl<'a> AdminReply<'a> {
    /// Reads the payload of an ADMIN_REPLY. O(bytes).
    pub fn new_checked(payload: &'a [u8]) -> Result<AdminReply<'a>, Malformed> {
        let (fixed, text) = layout::split::<layout::AdminReply>(payload)?;
        let status = Status::from_number(fixed.status).ok_or(Malformed)?;
        if text.len() > ADMIN_BYTES_MAX {
            return Err(Malformed);
        }
        let text = core::str::from_utf8(text).map_err(|_| Malformed)?;
        Ok(AdminReply { status, text })
    }
}

impl Payload for AdminReply<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::AdminReply>() + self.text.len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.text.len() <= ADMIN_BYTES_MAX);
        let rest = layout::put(&layout::AdminReply { status: self.status.number() }, out);
        rest.copy_from_slice(self.text.as_bytes());
    }
}

/// SCRUB: the node checks all that it stores. A request while such a sweep is under way joins it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scrub {
    /// What cannot be read is given up: such keys are not found from then on.
    pub accepts_loss: bool,
}

const ACCEPT_LOSS: u8 = 1;

impl Scrub {
    /// Reads the payload of a SCRUB.
    pub fn new_checked(payload: &[u8]) -> Result<Scrub, Malformed> {
        let fixed = layout::exact::<layout::Scrub>(payload)?;
        if fixed.flags & !ACCEPT_LOSS != 0 || fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        Ok(Scrub { accepts_loss: fixed.flags & ACCEPT_LOSS != 0 })
    }
}

impl Payload for Scrub {
    fn bytes(&self) -> usize {
        size_of::<layout::Scrub>()
    }

    fn write(&self, out: &mut [u8]) {
        let flags = u8::from(self.accepts_loss) * ACCEPT_LOSS;
        assert!(layout::put(&layout::Scrub { flags, reserved: [0; 7] }, out).is_empty());
    }
}

/// REPAIR: the node compares its copies with those of the other owners now, as far as it is the one
/// that asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repair {
    /// Only this one.
    pub partition: Option<Partition>,
}

const ONE_PARTITION: u8 = 1;

impl Repair {
    /// Reads the payload of a REPAIR.
    pub fn new_checked(payload: &[u8]) -> Result<Repair, Malformed> {
        let fixed = layout::exact::<layout::Repair>(payload)?;
        let partition = Partition(fixed.partition.get());
        let is_one = fixed.flags == ONE_PARTITION;
        let is_known = is_one || fixed.flags == 0 && partition == Partition(0);
        if !is_known || fixed.reserved != 0 || fixed.reserved_too.get() != 0 {
            return Err(Malformed);
        }
        Ok(Repair { partition: is_one.then_some(partition) })
    }
}

impl Payload for Repair {
    fn bytes(&self) -> usize {
        size_of::<layout::Repair>()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::Repair {
            flags: u8::from(self.partition.is_some()) * ONE_PARTITION,
            reserved: 0,
            partition: self.partition.unwrap_or_default().0.into(),
            reserved_too: 0.into(),
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

codes! {
    /// A change of the membership, as operators name it.
    pub enum Verb {
        /// A node that waits becomes a member.
        Join = 1,
        /// A member hands over what it has, and is none any more.
        Leave = 2,
        /// One leaves, and another joins.
        Replace = 3,
        /// A member is none any more, and what it has counts as gone.
        Forget = 4,
        /// A member's share relative to others.
        Weight = 5,
        /// What fails together with a member.
        Zone = 6,
    }
}

/// STAGE: a change of the membership is put down, to be committed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stage<'a> {
    /// The change.
    pub verb: Verb,
    /// FORGET also if the node answers.
    pub is_forced: bool,
    /// Of WEIGHT, at least 1; else 0.
    pub weight: u16,
    /// An id of 8 hex digits, or a name, of at most `NAME_BYTES_MAX` bytes; may be empty with JOIN:
    /// the node that is asked.
    pub node: &'a str,
    /// REPLACE: the other node, ZONE: the zone, likewise; else empty.
    pub argument: &'a str,
}

const FORCE: u8 = 1;

impl<'a> Stage<'a> {
    /// Reads the payload of a STAGE. O(bytes).
    pub fn new_checked(payload: &'a [u8]) -> Result<Stage<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Stage>(payload)?;
        let verb = Verb::from_number(fixed.verb).ok_or(Malformed)?;
        let words = rest.split_at_checked(usize::from(fixed.node_bytes.get()));
        let (node, argument) = words.ok_or(Malformed)?;
        if argument.len() != usize::from(fixed.argument_bytes.get()) || fixed.flags & !FORCE != 0 {
            return Err(Malformed);
        }
        let text = |word| core::str::from_utf8(word).map_err(|_| Malformed);
        let stage = Stage {
            verb,
            is_forced: fixed.flags == FORCE,
            weight: fixed.weight.get(),
            node: text(node)?,
            argument: text(argument)?,
        };
        if stage.is_valid() { Ok(stage) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        let Stage { verb, is_forced, weight, node, argument } = self;
        let takes_argument = matches!(verb, Verb::Replace | Verb::Zone);
        node.len() <= NAME_BYTES_MAX
            && argument.len() <= NAME_BYTES_MAX
            && (*verb == Verb::Join || !node.is_empty())
            && takes_argument != argument.is_empty()
            && (*verb == Verb::Weight) == (*weight > 0)
            && (*verb == Verb::Forget || !is_forced)
    }
}

impl Payload for Stage<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Stage>() + self.node.len() + self.argument.len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let fixed = layout::Stage {
            verb: self.verb.number(),
            flags: u8::from(self.is_forced) * FORCE,
            weight: self.weight.into(),
            node_bytes: (self.node.len() as u16).into(),
            argument_bytes: (self.argument.len() as u16).into(),
        };
        let rest = layout::put(&fixed, out);
        let (node, argument) = rest.split_at_mut(self.node.len());
        node.copy_from_slice(self.node.as_bytes());
        argument.copy_from_slice(self.argument.as_bytes());
    }
}

/// COMMIT: all that is staged, if that is what a plan has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Commit {
    /// What the plan named: the committed and the staged operations together.
    pub hash: TopologyId,
    /// Also if too few that have some partitions are left.
    pub accepts_loss: bool,
}

impl Commit {
    /// Reads the payload of a COMMIT.
    pub fn new_checked(payload: &[u8]) -> Result<Commit, Malformed> {
        let fixed = layout::exact::<layout::Commit>(payload)?;
        if fixed.flags & !ACCEPT_LOSS != 0 || fixed.reserved != [0; 7] {
            return Err(Malformed);
        }
        let hash = TopologyId(fixed.hash.get());
        Ok(Commit { hash, accepts_loss: fixed.flags & ACCEPT_LOSS != 0 })
    }
}

impl Payload for Commit {
    fn bytes(&self) -> usize {
        size_of::<layout::Commit>()
    }

    fn write(&self, out: &mut [u8]) {
        let flags = u8::from(self.accepts_loss) * ACCEPT_LOSS;
        let fixed = layout::Commit { hash: self.hash.0.into(), flags, reserved: [0; 7] };
        assert!(layout::put(&fixed, out).is_empty());
    }
}
