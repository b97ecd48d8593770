//! Coverage marks: rare situations that a range of seeds must reach, each often, or the
//! simulator proves less than it seems to.

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A situation worth reaching.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Mark { $($(#[$doc])* $name,)* }

        impl Mark {
            /// All marks, in order.
            pub const ALL: &'static [Mark] = &[$(Mark::$name,)*];
        }
    };
}

marks! {
    /// A client was told that its write succeeded.
    PutOk,
    /// A client was told, or had to assume, that the outcome of its write is unknown.
    PutUnknown,
    /// A write was refused before anything was stored.
    PutRefused,
    /// A delete was acknowledged.
    DeleteOk,
    /// A plain SET replaced what its coordinator knew.
    PlainSet,
    /// A read returned one value.
    ReadOne,
    /// A read returned several siblings.
    ReadSiblings,
    /// A read found nothing, or only tombstones.
    ReadNothing,
    /// A read did not show a value that had expired.
    ReadExpired,
    /// Values got another expiry.
    ExpiryChanged,
    /// There was nothing whose expiry could change.
    ExpiryUnchanged,
    /// Several siblings got another expiry at once.
    SiblingsChanged,
    /// A read failed.
    ReadFailed,
    /// A read with a context was answered.
    SessionRead,
    /// A client tried an unknown write again.
    Retry,
    /// A frame was lost.
    FrameLost,
    /// A frame arrived twice.
    FrameDuplicated,
    /// A frame overtook an earlier one.
    FrameReordered,
    /// A frame arrived later than a second after it was sent.
    FrameLate,
    /// A frame met a split in the network.
    FrameBlocked,
    /// A frame arrived with a flipped bit.
    FrameCorrupted,
    /// A frame was refused since it was sent too long ago, and its connection was closed.
    FrameStale,
    /// A connection was reset with frames in flight.
    LinkReset,
    /// The network was split both ways.
    SplitBothWays,
    /// The network was split one way.
    SplitOneWay,
    /// A node crashed.
    Crash,
    /// A crash lost records that were not synced.
    CrashLost,
    /// A node restarted under a new boot.
    Restart,
    /// A node was stopped for a while and went on.
    Pause,
    /// The wall clock of a node jumped.
    ClockStep,
    /// The disk took longer than 100 milliseconds.
    SlowDisk,
    /// A write was done in part.
    ShortWrite,
    /// The disk failed a request.
    DiskError,
    /// A shard's log failed.
    LogFailed,
    /// A disk was too full for a segment or a snapshot.
    DiskFull,
    /// A segment that was removed was back after a power failure.
    RemovedIsBack,
    /// A bit on a disk turned.
    BitRot,
    /// A write landed elsewhere.
    Misdirected,
    /// A log was opened although its disk is damaged.
    DamagedOpened,
    /// A damaged log could not be opened, or had lost what it had claimed.
    DamagedRefused,
    /// A damaged record was not lent.
    DamagedUnread,
    /// A read waited: its record was cold, or others waited on its key.
    ReadWaited,
    /// A write waited: for a cold record, for room, or behind others.
    WriteWaited,
    /// A frame of a coordinator waited, as a command does.
    FrameWaited,
    /// An operation waited behind another one on its key.
    WaitedBehind,
    /// A read followed a plain write over its connection.
    Followed,
    /// A write waited for room in the log.
    RoomAwaited,
    /// A write that had read other nodes met a cold record or no room, and was tried again.
    WriteTriedAgain,
    /// The deadline of an operation passed while it waited.
    WaitedTooLong,
    /// Too many operations waited.
    NoRoomToWait,
    /// The disk did not read a cold record.
    FetchFailed,
    /// A record was still cold after every attempt to read it.
    NeverRead,
    /// Two events of one key were concurrent.
    Concurrent,
    /// A stored record changed by joining another.
    Joined,
    /// A record arrived and nothing was stored: it was known, or refused.
    NothingStored,
    /// A replica had the version that a reader knew.
    ReadSame,
    /// A read found another node's copy behind and sent it what it lacks.
    ReadRepaired,
    /// A record was kept for an owner that was away.
    HintKept,
    /// What was kept for an owner has come home.
    HintDelivered,
    /// A peer was suspected, since it was silent.
    PeerSuspected,
    /// A suspect was heard, or lost its links.
    SuspectHeard,
    /// A quorum was out of reach without a suspect.
    SuspectNeeded,
    /// A read asked one node more, since another one was slow.
    ReadHedged,
    /// A hint was kept for an owner that did not store what had succeeded without it.
    StragglerKept,
    /// What a process read behind a stop was refused: its sender had given it up.
    StaleRefused,
    /// A hint was damaged.
    HintUnsendable,
    /// An exchange made two copies equal that were not.
    ExchangeRepaired,
    /// An exchange left differences.
    ExchangeUnrepaired,
    /// A node replaced a damaged record by another owner's.
    DamageRepaired,
    /// All owners agreed before anybody read or wrote.
    Converged,
    /// A member was suspected.
    MemberSuspected,
    /// A member was held for down.
    MemberDown,
    /// A member that was suspected or down was held for alive again.
    MemberBack,
    /// A full queue refused a frame.
    Unsent,
    /// A shard met a peer on another topology.
    TopologyDiffers,
    /// A node joined a cluster in use.
    MemberAdded,
    /// A member was told to leave.
    MemberLeaves,
    /// A member that is gone for good was forgotten.
    MemberForgotten,
    /// A member got another weight or zone.
    MemberChanged,
    /// Data had moved, and what was committed settled.
    Settled,
    /// A record that had ended left an owner.
    Reaped,
    /// What a node did not own any more left it.
    Fenced,
    /// Some of that was kept for the owners.
    SetAside,
    /// A version vector was compacted.
    Compacted,
    /// A node was upgraded to a build of the next version of the protocol.
    Upgraded,
    /// A node was started as the build before.
    Downgraded,
    /// What could have left waited for a member to be upgraded.
    SurveyWaited,
    /// A data directory was put back from an older copy.
    PutBack,
    /// It was told so, and stopped.
    PutBackNoticed,
}

/// Marks of faults that had an effect.
pub const EFFECTIVE: [Mark; 22] = [
    Mark::FrameLost,
    Mark::FrameDuplicated,
    Mark::FrameReordered,
    Mark::FrameLate,
    Mark::FrameBlocked,
    Mark::FrameCorrupted,
    Mark::FrameStale,
    Mark::LinkReset,
    Mark::Crash,
    Mark::CrashLost,
    Mark::Restart,
    Mark::Pause,
    Mark::ClockStep,
    Mark::SlowDisk,
    Mark::ShortWrite,
    Mark::DiskError,
    Mark::LogFailed,
    Mark::DiskFull,
    Mark::RemovedIsBack,
    Mark::BitRot,
    Mark::Misdirected,
    Mark::Unsent,
];

/// How often each mark was reached.
#[derive(Clone, Debug)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Marks {
        Marks([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// Counts `mark`.
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often `mark` was reached.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Marks) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Marks with their counts, rarest first.
    pub fn rarest_first(&self) -> Vec<(Mark, u64)> {
        let mut all: Vec<_> = Mark::ALL.iter().map(|mark| (*mark, self.count(*mark))).collect();
        all.sort_by_key(|(_, count)| *count);
        all
    }
}
