//! A copy of a store's disk, to be put back later.

use super::*;

/// What a disk held, and what is known of it.
#[derive(Clone, Debug)]
pub(in super::super) struct DiskCopy {
    disk: Disk,
    entries: Vec<Entry>,
    current: BTreeMap<Whose, usize>,
    ghosts: Option<usize>,
    seen: usize,
    claimed: Place,
    written: Place,
}

impl Store {
    /// Of a store whose process is gone.
    pub(in super::super) fn copy(&mut self) -> DiskCopy {
        DiskCopy {
            disk: self.log.maps_mut().clone(),
            entries: self.entries.clone(),
            current: self.current.clone(),
            ghosts: self.ghosts,
            seen: self.seen,
            claimed: self.claimed,
            written: self.written,
        }
    }

    /// Whose process is gone: its disk is that one from now on.
    pub(in super::super) fn put_back(
        &mut self,
        copy: DiskCopy,
        random: &mut Random,
    ) -> Result<(), Violation> {
        let DiskCopy { disk, entries, current, ghosts, seen, claimed, written } = copy;
        *self.log.maps_mut() = disk;
        (self.entries, self.current, self.ghosts) = (entries, current, ghosts);
        (self.seen, self.claimed, self.written) = (seen, claimed, written);
        let opened = self.restart(false, random)?;
        assert!(opened.is_some(), "it was opened when it was copied");
        Ok(())
    }
}
