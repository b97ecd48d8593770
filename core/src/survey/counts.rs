//! How surveys went.

use crate::id::NodeId;

/// What surveys have done since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Records reaped here as the first owner of their partition.
    pub reaped: u64,
    /// Records dropped, as others own their partition.
    pub fenced: u64,
    /// Version vectors that were compacted by a word of this node.
    pub compacted: u64,
    /// Records to which somebody did not agree.
    pub refused: u64,
    /// Batches given up: somebody did not answer, or the membership changed.
    pub given_up: u64,
    /// Passes over all partitions that have ended.
    pub passes: u64,
}

/// How a pass over all partitions went.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pass {
    /// Records that left.
    pub dropped: u64,
    /// Records to which somebody did not agree, or of a batch that was given up.
    pub put_off: u64,
    /// How often something could have left, but a node that must agree is away.
    pub away: u64,
    /// Records that have ended, but not for long enough.
    pub young: u64,
    /// A node that must agree and whose build is too old to be asked, if there is one: then nothing
    /// that it has to agree to leaves before it is upgraded.
    pub too_old: Option<NodeId>,
}
