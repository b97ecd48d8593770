//! Which versions of the protocol a build speaks, and how two builds agree on one.
//!
//! *Problem.* The nodes of a cluster are upgraded one by one, while it serves: for a while some
//! speak what others do not know. *Answer.* A build speaks its own version and the one before. Both
//! ends of a connection name the two in the handshake and speak the lower of their newest; every
//! frame behind the handshake carries that version. [`Op::since`](super::op::Op::since) says which
//! version brought an op: a peer of an older one is never sent it, and counts as one that cannot
//! answer this, not as one that is away.
//!
//! *Rule.* Never change the bytes of a frame without a version. Whoever must, raises
//! [`VERSION`] with the release, and has both forms as long as
//! [`VERSION_MIN`] is below: the reader asks
//! [`Frame::version`](super::frame::Frame::version), the writer
//! [`Shard::wire_version`](crate::shard::Shard::wire_version). The handshake never changes.

use core::fmt;

use super::{VERSION, VERSION_MIN};

/// What a build speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Versions {
    /// The oldest version, ≥ 1.
    pub oldest: u8,
    /// The newest, ≥ `oldest`.
    pub newest: u8,
}

impl Versions {
    /// What this build speaks.
    pub const OWN: Versions = Versions { oldest: VERSION_MIN, newest: VERSION };

    /// The version that both speak to each other: the newer one takes what the older one has.
    /// `None` if neither knows enough of the other.
    pub fn agree(self, other: Versions) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest && newest >= other.oldest).then_some(newest)
    }

    /// Whether this build speaks `version`.
    pub const fn contains(self, version: u8) -> bool {
        self.oldest <= version && version <= self.newest
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { oldest, newest } = self;
        match oldest == newest {
            true => write!(f, "version {newest}"),
            false => write!(f, "versions {oldest} to {newest}"),
        }
    }
}

/// Two builds have no version in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Apart {
    /// What this build speaks.
    pub own: Versions,
    /// What the other end does.
    pub other: Versions,
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Apart { own, other } = self;
        let (older, by) = match own.newest < other.newest {
            true => ("this build", other.oldest),
            false => ("it", own.oldest),
        };
        write!(
            f,
            "it speaks {other} of the wire protocol and this build {own}: upgrade {older}, first \
             to a build that speaks version {by}"
        )
    }
}

const _: () = assert!(1 <= VERSION_MIN && VERSION_MIN <= VERSION);
const _: () = assert!(VERSION - VERSION_MIN <= 1, "no release is passed over");
