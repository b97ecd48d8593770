//! A clean stop, and what it leaves for the next start.

use ringmain_core::records::Place;

use super::{Log, Maps};

impl<M: Maps> Log<M> {
    /// Takes no more appends; writes and syncs everything, then a last batch header.
    pub fn stop(&mut self) {
        self.writer.stop();
    }

    /// Whether a stop has come to its end.
    pub fn is_stopped(&self) -> bool {
        self.writer.is_stopped()
    }

    /// Where a log that is stopped ends: everything before the place is on disk. To be kept apart
    /// from the segments, and handed to the next [`recover`](super::recover), so that what is
    /// missing at the log's end is noticed; `None` if it is not stopped.
    pub fn stopped_at(&self) -> Option<Place> {
        self.writer.stopped_at()
    }
}
