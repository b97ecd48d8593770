//! One segment from its header to its end, past what is damaged.

use ringmain_core::records::Place;

use super::super::background::Halt;
use super::super::content::Content;
use super::super::limits::DAMAGE_COUNT_MAX;
use super::super::record::Frame;
use super::super::segment::{Identity, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, u32_at};
use super::super::segments::Finished;
use super::super::walk::{Step, Walk};
use super::Damage;

/// A segment to pass, or the part of it that is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::log) struct Part {
    pub(in crate::log) segment: u32,
    pub(in crate::log) nonce: u64,
    pub(in crate::log) file_bytes: u32,
    pub(in crate::log) end: u32,
}

impl Part {
    /// All of a finished segment.
    pub(in crate::log) fn of(finished: &Finished) -> Part {
        let &Finished { segment, nonce, file_bytes, end, .. } = finished;
        Part { segment, nonce, file_bytes, end }
    }
}

/// A walk through a part, with what it found damaged.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) part: Part,
    pub(super) walk: Walk,
    /// Ascending: the first ones.
    pub(super) damage: Vec<Damage>,
    /// Damaged ranges beyond those.
    pub(super) unlisted: u64,
    /// Nothing holds from here to where it is.
    damaged_from: Option<u32>,
    /// The segment's file has no name any more, so its header counts as damaged.
    pub(super) is_removed: bool,
}

impl Pass {
    pub(super) fn new(part: Part) -> Pass {
        let walk = Walk::from(Place::new(part.segment, 0), part.end);
        Pass { part, walk, damage: Vec::new(), unlisted: 0, damaged_from: None, is_removed: false }
    }

    /// Passes a frame, which `visit` sees if it holds, or a bounded piece of what is none. Returns
    /// its bytes, or `None` at the end; after an error of `visit` the same comes again.
    pub(super) fn step(
        &mut self,
        identity: &Identity,
        visit: impl FnOnce(&Content<'_>, &Frame<'_>) -> Result<(), Halt>,
    ) -> Result<Option<usize>, Halt> {
        let before = self.walk.at();
        if before == 0 {
            self.step_header(identity)?;
            return Ok(Some(SEGMENT_HEADER_BYTES));
        }
        let is_seeking = self.walk.is_seeking();
        match self.walk.step() {
            Step::Wait => return Err(Halt::Wait),
            Step::End => {
                self.on_sound(self.part.end);
                return Ok(None);
            }
            Step::Damaged => {
                self.damaged_from.get_or_insert(before);
                self.walk.seek();
            }
            Step::Frame(_, frame) => {
                let bytes = frame.bytes().len();
                match Content::new_checked(&frame, identity, self.part.nonce) {
                    Some(content) => {
                        visit(&content, &frame)?;
                        self.on_sound(before);
                        self.walk.pass(bytes);
                    }
                    // The place part holds, and says where the next frame begins.
                    None if !is_seeking => {
                        self.damaged_from.get_or_insert(before);
                        self.walk.pass(bytes);
                    }
                    None => self.walk.seek(),
                }
            }
        }
        Ok(Some((self.walk.at() - before) as usize))
    }

    fn step_header(&mut self, identity: &Identity) -> Result<(), Halt> {
        let Part { segment, nonce, file_bytes, .. } = self.part;
        let wanted = |version| {
            let identity = *identity;
            SegmentHeader { version, identity, segment, nonce, bytes: file_bytes }.encode()
        };
        match self.walk.header() {
            None => Err(Halt::Wait),
            Some(Err(_)) => {
                self.damaged_from = Some(0);
                self.walk.seek();
                Ok(())
            }
            Some(Ok(header)) => {
                // A sound one was checked at the start, its version too.
                let version = u32_at(header, VERSION);
                let is_sound = *header == wanted(version) && !self.is_removed;
                self.damaged_from = (!is_sound).then_some(0);
                self.walk.pass(SEGMENT_HEADER_BYTES);
                Ok(())
            }
        }
    }

    /// What is damaged ends at the offset.
    fn on_sound(&mut self, end: u32) {
        let Some(offset) = self.damaged_from.take().filter(|from| *from < end) else { return };
        let segment = self.part.segment;
        match self.damage.len() < DAMAGE_COUNT_MAX {
            true => self.damage.push(Damage { segment, offset, end }),
            false => self.unlisted += 1,
        }
    }
}
