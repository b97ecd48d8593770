//! The bounds of a hot ring, and why it could not go on.

use std::time::Duration;

use crate::sys::{BUFFER_COUNT_MAX, Errno};

/// The bounds of a hot ring. The memory of the buffers is taken at once, the rest as needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HotRingConfig {
    /// Entries of the submission queue, ≥ 8. More may be started at once: that only costs a call.
    pub submission_count: u32,
    /// Entries of the completion queue. More completions wait in the kernel.
    pub completion_count: u32,
    /// Receive buffers, rounded up to a power of two of at most 2^15.
    pub buffer_count: u16,
    /// Bytes of each, > 0.
    pub buffer_bytes: u32,
    /// Most connections at a time, those that are closing included.
    pub connection_count_max: u32,
    /// Most writes, syncs and reads of files at a time, together.
    pub file_operation_count_max: u32,
    /// How long a listener rests after an error of the host, as too many open files.
    pub accept_rest: Duration,
}

impl Default for HotRingConfig {
    fn default() -> HotRingConfig {
        HotRingConfig {
            submission_count: 1024,
            completion_count: 4096,
            buffer_count: 128,
            buffer_bytes: 16 << 10,
            connection_count_max: 10_000,
            file_operation_count_max: 512,
            accept_rest: Duration::from_millis(20),
        }
    }
}

impl HotRingConfig {
    /// The same with bounds that the kernel takes.
    pub(super) fn rounded(mut self) -> HotRingConfig {
        self.submission_count = self.submission_count.clamp(8, 32 << 10);
        self.completion_count = self.completion_count.clamp(self.submission_count, 64 << 10);
        self.buffer_count = self.buffer_count.clamp(1, BUFFER_COUNT_MAX).next_power_of_two();
        self.buffer_bytes = self.buffer_bytes.max(1);
        self
    }
}

/// Why a hot ring cannot be made or cannot go on. None of them passes by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RingError {
    /// The ring or its buffers could not be made; [`crate::sys::probe`] says more.
    #[error("the ring could not be made: {0}")]
    Setup(Errno),
    /// The eventfd that wakes the shard up could not be made.
    #[error("the doorbell could not be made: {0}")]
    Doorbell(Errno),
    /// The kernel refuses to take submissions.
    #[error("the ring failed: {0}")]
    Enter(Errno),
    /// The executor could not wait for the ring.
    #[error("the ring could not be waited for: {0}")]
    Park(Errno),
}
