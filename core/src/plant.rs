//! Known bugs that the simulator must find. Compiled only with the feature `plant`, which the
//! tests alone enable; one switch for the whole process.

use core::sync::atomic::{AtomicU8, Ordering};

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Plant {
    /// No bug: the shipped behavior.
    None,
    /// A replica acknowledges, and a coordinator counts itself, before the log has synced.
    AckBeforeStored,
    /// A restarted process keeps extending the actors of its previous life.
    DotReuse,
    /// A replica that refused or failed counts as one that stored.
    FailedReplicaCounted,
    /// A replica takes frames of another topology.
    StaleTopologyAccepted,
    /// The reply to a put gives a context although the record holds siblings unseen by the writer.
    ContextCoversUnseen,
    /// A read that R replicas did not answer replies with what it has.
    ReadQuorumIgnored,
    /// A late acknowledgment for a reused slot counts for the new request.
    GenerationIgnored,
    /// Reads do not wait for a cold record, and answer as if there were none.
    ColdTakenForAbsent,
    /// An operation whose record is in memory overtakes those that wait for it.
    ColdOvertaken,
    /// A replica answers that it has the version that the reader knows, whatever it has.
    SameUnchecked,
    /// A node that is suspected does not say that it is there.
    SuspicionNotRefuted,
    /// What an earlier process said of itself counts against a later one.
    BootIgnored,
    /// Members that are down are not probed any more.
    DownNotProbed,
    /// A hint is dropped when it is sent, not when it is acknowledged.
    HintDroppedEarly,
    /// Hints are never handed off.
    HintNeverSent,
    /// Whoever stands in for an owner counts as one to PW.
    StandInCountedAsPrimary,
    /// A join does not change the leaf of its key.
    LeafForgotten,
    /// A read with a context answers with what it has, whether that covers the context or not.
    CoverIgnored,
    /// Records that come in an exchange count as joined, and are not.
    RecordNotJoined,
    /// A peer that was suspected stays so, whatever it says.
    CircuitNeverCloses,
    /// A process that was stopped does what was asked of it meanwhile, however long ago.
    PausedExecutesStale,
    /// Owners that did not do their share of a write that has succeeded are forgotten.
    StragglerForgotten,
    /// A suspect that a write does without counts as one that stored it.
    SuspectCounted,
    /// An exchange never compares the last child of a node of the tree.
    LastChildSkipped,
    /// An exchange takes every difference for one that stays, and sends what is in flight again.
    RecheckSkipped,
    /// A pulled record that was joined with another one is not sent back.
    JoinNotReturned,
    /// Reads show what has expired.
    ExpiredShown,
    /// Of several siblings the one that a plain GET shows gets another expiry, and is all that is
    /// left.
    SiblingsExpired,
    /// A write needs no quorum in the settled topology.
    CommittedQuorumAlone,
    /// A node is warm before it has anything.
    WarmTooEarly,
    /// Reads ask those who are to have a partition.
    CommittedRead,
    /// A frame is acted upon however long ago it was sent.
    StaleFrameTaken,
    /// Owners alone are asked whether records may leave.
    ReapAsksOwners,
    /// A member agrees to reap whatever it keeps for others.
    ReapHintsIgnored,
    /// An owner agrees to reap, and drops, whatever it has of the key.
    ReapUnequal,
    /// A member agrees to reap though it has a copy of a partition that it gave up.
    FencedAgrees,
    /// A member agrees that entries leave a version vector whatever its record shows.
    SpentUnchecked,
    /// Entries leave once all have agreed, though older copies may be under way.
    CompactAtOnce,
    /// A node is not told that its data directory is an older copy.
    BackupUnnoticed,
}

impl Plant {
    /// The bugs that the simulator finds, for `simulate --list-plants`. Two of the failure detector
    /// are found by its own tests: here a connection that stands again heals what they break. So is
    /// the one of hints, by those of the drive loop.
    pub const ALL: [Plant; 34] = [
        Plant::AckBeforeStored,
        Plant::DotReuse,
        Plant::FailedReplicaCounted,
        Plant::StaleTopologyAccepted,
        Plant::ContextCoversUnseen,
        Plant::ReadQuorumIgnored,
        Plant::GenerationIgnored,
        Plant::ColdTakenForAbsent,
        Plant::ColdOvertaken,
        Plant::SameUnchecked,
        Plant::SuspicionNotRefuted,
        Plant::HintNeverSent,
        Plant::StandInCountedAsPrimary,
        Plant::LeafForgotten,
        Plant::CoverIgnored,
        Plant::RecordNotJoined,
        Plant::LastChildSkipped,
        Plant::CircuitNeverCloses,
        Plant::PausedExecutesStale,
        Plant::StragglerForgotten,
        Plant::SuspectCounted,
        Plant::ExpiredShown,
        Plant::SiblingsExpired,
        Plant::CommittedQuorumAlone,
        Plant::WarmTooEarly,
        Plant::CommittedRead,
        Plant::StaleFrameTaken,
        Plant::ReapAsksOwners,
        Plant::ReapHintsIgnored,
        Plant::ReapUnequal,
        Plant::FencedAgrees,
        Plant::SpentUnchecked,
        Plant::CompactAtOnce,
        Plant::BackupUnnoticed,
    ];

    /// Bugs of exchanges that core's tests find; of two the simulator only sees more traffic.
    pub const OF_EXCHANGES: [Plant; 3] =
        [Plant::LastChildSkipped, Plant::RecheckSkipped, Plant::JoinNotReturned];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Plant::None => "none",
            Plant::AckBeforeStored => "ack-before-stored",
            Plant::DotReuse => "dot-reuse",
            Plant::FailedReplicaCounted => "failed-replica-counted",
            Plant::StaleTopologyAccepted => "stale-topology-accepted",
            Plant::ContextCoversUnseen => "context-covers-unseen",
            Plant::ReadQuorumIgnored => "read-quorum-ignored",
            Plant::GenerationIgnored => "generation-ignored",
            Plant::ColdTakenForAbsent => "cold-taken-for-absent",
            Plant::ColdOvertaken => "cold-overtaken",
            Plant::SameUnchecked => "same-unchecked",
            Plant::SuspicionNotRefuted => "suspicion-not-refuted",
            Plant::BootIgnored => "boot-ignored",
            Plant::DownNotProbed => "down-not-probed",
            Plant::HintDroppedEarly => "hint-dropped-early",
            Plant::HintNeverSent => "hint-never-sent",
            Plant::StandInCountedAsPrimary => "stand-in-counted-as-primary",
            Plant::LeafForgotten => "leaf-forgotten",
            Plant::CoverIgnored => "cover-ignored",
            Plant::RecordNotJoined => "record-not-joined",
            Plant::CircuitNeverCloses => "circuit-never-closes",
            Plant::PausedExecutesStale => "paused-executes-stale",
            Plant::StragglerForgotten => "straggler-forgotten",
            Plant::SuspectCounted => "suspect-counted",
            Plant::LastChildSkipped => "last-child-skipped",
            Plant::RecheckSkipped => "recheck-skipped",
            Plant::JoinNotReturned => "join-not-returned",
            Plant::ExpiredShown => "expired-shown",
            Plant::SiblingsExpired => "siblings-expired",
            Plant::CommittedQuorumAlone => "committed-quorum-alone",
            Plant::WarmTooEarly => "warm-too-early",
            Plant::CommittedRead => "committed-read",
            Plant::StaleFrameTaken => "stale-frame-taken",
            Plant::ReapAsksOwners => "reap-asks-owners",
            Plant::ReapHintsIgnored => "reap-hints-ignored",
            Plant::ReapUnequal => "reap-unequal",
            Plant::FencedAgrees => "fenced-agrees",
            Plant::SpentUnchecked => "spent-unchecked",
            Plant::CompactAtOnce => "compact-at-once",
            Plant::BackupUnnoticed => "backup-unnoticed",
        }
    }
}

static PLANTED: AtomicU8 = AtomicU8::new(Plant::None as u8);

/// Switches `plant` on for the whole process, and every other off.
pub fn set(plant: Plant) {
    PLANTED.store(plant as u8, Ordering::Relaxed);
}

/// Whether `plant` is on.
pub fn is(plant: Plant) -> bool {
    PLANTED.load(Ordering::Relaxed) == plant as u8
}
