//! How surveys go.

use core::time::Duration;

use crate::limits::{COMPACT_COUNT_MIN, FRAME_AGE_MAX, SURVEY_INTERVAL_MAX, SURVEY_INTERVAL_MIN};

/// What a shard's surveys are told once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How old a tombstone must be to be reaped, and how long a value must have been expired.
    pub grace: Duration,
    /// How old a frame may be that this node takes: two longest deadlines of a request.
    pub frame_age_max: Duration,
    /// Version vectors that a write or a join leaves with more entries may be compacted.
    pub long_entries: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            grace: Duration::from_secs(3600),
            frame_age_max: FRAME_AGE_MAX,
            long_entries: COMPACT_COUNT_MIN,
        }
    }
}

impl Settings {
    /// How often the shard looks for what can leave.
    pub(super) fn interval(&self) -> Duration {
        (self.grace / 4).clamp(SURVEY_INTERVAL_MIN, SURVEY_INTERVAL_MAX)
    }
}
