//! What a sweep asks of the write side.

use super::super::scrub::Part;
use super::{Claim, Writer};

impl Writer {
    /// What is written of each segment, ascending.
    pub(in crate::log) fn written_parts(&self) -> impl Iterator<Item = Part> + '_ {
        let active = self.active.map(|active| Part {
            segment: active.segment,
            nonce: active.nonce,
            file_bytes: active.bytes,
            end: self.end().offset(),
        });
        let all = self.segments.finished().iter().map(Part::of).chain(active);
        let written = self.written;
        let parts = all.map(move |part| match part.segment == written.segment() {
            true => Part { end: part.end.min(written.offset()), ..part },
            false => part,
        });
        parts.filter(move |part| part.segment <= written.segment())
    }

    /// Whether `segment` is part of the log.
    pub(in crate::log) fn holds(&self, segment: u32) -> bool {
        let is_active = self.active.is_some_and(|active| active.segment == segment);
        is_active || self.segments.find(segment).is_some()
    }

    /// Goes on in a new segment if appends go to `segment`. Returns whether they do not, now.
    pub(in crate::log) fn finish(&mut self, segment: u32) -> bool {
        if self.active.is_none_or(|active| active.segment != segment) {
            return true;
        }
        let has_room = self.tail.has_room_behind(0);
        if !has_room || self.roll(0, Claim::Merge).is_err() || !self.tail.reserve(0, self.synced) {
            return false;
        }
        self.sync_wanted();
        true
    }

    /// Whether `segment`, which has left the log, is listed as such on disk and its file was given
    /// up for removal.
    pub(in crate::log) fn is_gone(&self, segment: u32) -> bool {
        let is_leaving = self.leaving.iter().any(|(leaving, _)| *leaving == segment);
        !is_leaving && !self.void.contains(&segment)
    }
}
