//! What the log asks of the disk, and the answers. The log makes no file call itself.

use ringmain_core::records::Full;

use super::segment::SEGMENT_HEADER_BYTES;
use super::tail::Buffer;
use std::ops::Range;

/// One thing to do. At most one of each kind is open at a time.
#[derive(Clone, Debug)]
pub enum Request {
    /// Make a segment: under another name, allocate `bytes` zeros, write `header` at 0, sync;
    /// then rename it to its own name and sync the folder; map it; then [`Completion::Created`].
    /// So a file with a segment's name is whole, whenever power fails.
    Create {
        /// Its id, which is its name.
        segment: u32,
        /// Bytes of the whole file.
        bytes: u32,
        /// Its first bytes.
        header: [u8; SEGMENT_HEADER_BYTES],
    },
    /// Write `buffer` at `offset`, then [`Completion::Written`]. With `then_sync`, a data sync of
    /// the file is linked behind it: after a whole write [`Completion::Synced`] is handed in next,
    /// after a short or failed one nothing is.
    Write {
        /// Where.
        segment: u32,
        /// Where in it, bytes.
        offset: u32,
        /// What.
        buffer: Buffer,
        /// Whether to sync behind it.
        then_sync: bool,
    },
    /// Sync the data of a segment, then [`Completion::Synced`].
    Sync {
        /// Which.
        segment: u32,
    },
    /// Unlink a segment in which no part of the log lies, and its snapshot. Unmap it once nothing
    /// reads from it. Has no completion.
    Remove {
        /// Which.
        segment: u32,
    },
    /// Read from a segment's file, not from its map; then
    /// [`Log::handle_read`](super::Log::handle_read).
    Read(Read),
    /// Write `bytes` at `offset` of the snapshot of `segment`, under another name, which begins
    /// empty at offset 0; with `is_last` then sync it, rename it to its own name and sync the
    /// folder; then [`Completion::Stored`]. Nobody waits for it: not on the shard's thread.
    Store {
        /// Whose snapshot.
        segment: u32,
        /// Where, bytes.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
        /// It ends with them.
        is_last: bool,
    },
    /// Remove the parts of the snapshot of `segment` that were stored: its last one will not come.
    /// Has no completion.
    Discard {
        /// Whose snapshot.
        segment: u32,
    },
}

/// What is to be read for background work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Read {
    /// Where.
    pub segment: u32,
    /// Where in it, bytes.
    pub offset: u32,
    /// How much, bytes: all of it lies in the file.
    pub bytes: u32,
}

impl Read {
    /// Which bytes of its segment.
    pub fn range(&self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.bytes as usize
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Completion {
    /// Of `Create`. The maps serve the segment from now on.
    Created {
        /// Which.
        segment: u32,
        /// How it went.
        result: Result<(), Errno>,
    },
    /// Of `Write`: the bytes written, visible in the maps from now on. Fewer than asked for is no
    /// error: the rest is asked for again.
    Written {
        /// Bytes, at least 1; 0 counts as a failure.
        result: Result<usize, Errno>,
    },
    /// Of `Sync`, or of a `Write` with `then_sync`.
    Synced {
        /// How it went.
        result: Result<(), Errno>,
    },
    /// Of `Store`.
    Stored {
        /// How it went.
        result: Result<(), Errno>,
    },
}

/// An error number of the operating system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Errno(pub i32);

/// When a write counts as stored (`--durability`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// After its sync; the writes that come meanwhile share the next one.
    Always,
    /// When the operating system has it; a sync starts this long after the first unsynced write.
    Interval(core::time::Duration),
    /// When the operating system has it; only a clean stop, merging and snapshots sync.
    None,
}

/// What made a log refuse appends for good. Nothing above the synced place is claimed stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// A write failed.
    Write(Errno),
    /// A sync failed. It is never tried again: the kernel may have dropped the pages (fsyncgate).
    Sync(Errno),
    /// There is no segment id left.
    Exhausted,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |errno: &Errno| std::io::Error::from_raw_os_error(errno.0);
        match self {
            Failure::Write(errno) => write!(f, "writing the log failed: {}", text(errno)),
            Failure::Sync(errno) => write!(f, "syncing the log failed: {}", text(errno)),
            Failure::Exhausted => write!(f, "the log has no segment id left"),
        }
    }
}

/// Why an append was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Too much waits to be written, or the next segment is not there yet: wait for completions.
    Busy,
    /// The next segment could not be made: wait for [`Log::offer_space`](super::Log::offer_space).
    NoSpace,
    /// Hints take their part of the space: it is a fallback no more until some are gone.
    HintsFull,
    /// The record is larger than any frame.
    TooLarge,
    /// The current record of the key is not in memory or damaged.
    Unread,
    /// The log is stopping.
    Stopping,
    /// The log failed; it takes no writes any more.
    Failed(Failure),
}

impl Refusal {
    /// What the protocol is told.
    pub(super) fn full(self) -> Full {
        match self {
            Refusal::Busy | Refusal::Unread => Full::Busy,
            Refusal::NoSpace | Refusal::HintsFull | Refusal::TooLarge => Full::NoSpace,
            Refusal::Stopping | Refusal::Failed(_) => Full::ReadOnly,
        }
    }
}
