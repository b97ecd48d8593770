//! The end of a log's life: everything is written and synced, then a last header says so.

use ringmain_core::records::Place;

use super::{Stop, Writer};

impl Writer {
    pub(in crate::log) fn is_stopped(&self) -> bool {
        let is_last = self.stop == Stop::LastHeader || self.active.is_none();
        self.stop != Stop::Running && is_last && self.synced == self.end()
    }

    pub(in crate::log) fn stop(&mut self) {
        if self.stop == Stop::Running {
            self.stop = Stop::Draining;
        }
        self.sync_wanted();
    }

    /// See [`Log::stopped_at`](crate::log::Log::stopped_at).
    pub(in crate::log) fn stopped_at(&self) -> Option<Place> {
        self.is_stopped().then(|| self.drained.unwrap_or(self.end()))
    }

    /// Once all is on disk, a stop writes its last header.
    pub(super) fn on_drained(&mut self) {
        let is_drained = self.stop == Stop::Draining && self.synced == self.end();
        if !is_drained || self.active.is_none() {
            return;
        }
        self.stop = Stop::LastHeader;
        self.drained = Some(self.end());
        let is_open = self.tail.reserve(0, self.synced);
        assert!(is_open, "nothing waits any more");
        self.sync_wanted();
    }
}
