//! Which siblings a read is shown: the one place where the clock meets a record.

use super::record::{Record, Sibling};
use crate::time::UnixMs;

/// What becomes of a record if nobody writes to it again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lifespan {
    /// It has a value for good; or no sibling at all.
    #[default]
    Lasting,
    /// Each value that it has will expire.
    Expiring,
    /// It has no value: all siblings are tombstones.
    Ended,
}

impl Record<'_> {
    /// What becomes of it if nobody writes to it again. Cost: O(siblings).
    pub fn lifespan(self) -> Lifespan {
        if self.sibling_count() == 0 || self.siblings().any(|one| one.ends_at().is_none()) {
            return Lifespan::Lasting;
        }
        match self.siblings().all(|one| one.is_tombstone()) {
            true => Lifespan::Ended,
            false => Lifespan::Expiring,
        }
    }

    /// From when on no read sees a value in it, by the clocks of those who wrote it; `None` if it
    /// is [`Lifespan::Lasting`].
    pub fn ends_at(self) -> Option<UnixMs> {
        let mut last = None;
        for sibling in self.siblings() {
            last = last.max(Some(sibling.ends_at()?));
        }
        last
    }
}

impl Sibling<'_> {
    /// When a tombstone was written, or a value expires; `None` if it does not.
    fn ends_at(&self) -> Option<UnixMs> {
        if self.is_tombstone() { Some(self.timestamp) } else { self.expires }
    }
}

/// A record as a read at one moment sees it: tombstones and siblings that have expired are not
/// there. Made by [`Record::live`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Live<'a> {
    record: Record<'a>,
    now: UnixMs,
}

impl<'a> Live<'a> {
    pub(super) fn new(record: Record<'a>, now: UnixMs) -> Live<'a> {
        #[cfg(feature = "plant")]
        let now = if crate::plant::is(crate::plant::Plant::ExpiredShown) { UnixMs(0) } else { now };
        Live { record, now }
    }

    /// The whole record.
    pub fn record(self) -> Record<'a> {
        self.record
    }

    /// The siblings that are seen, ascending by dot.
    #[inline]
    pub fn siblings(self) -> impl Iterator<Item = Sibling<'a>> + Clone {
        self.record.siblings().filter(move |sibling| sibling.is_live(self.now))
    }

    /// How many are seen. Cost: O(siblings).
    pub fn count(self) -> usize {
        self.siblings().count()
    }

    /// The one sibling for commands that answer one value: of those that are seen, the one with
    /// the greatest (timestamp, dot), the same on every node.
    #[inline]
    pub fn winner(self) -> Option<Sibling<'a>> {
        if self.record.sibling_count() == 1 {
            return self.siblings().next();
        }
        self.siblings().max_by_key(rank)
    }

    /// Calls `each` for the siblings that are seen, descending by (timestamp, dot). Quadratic:
    /// there are rarely more than two, and hardly ever more than `SIBLING_COUNT_MAX`.
    pub fn for_each_winner_first(self, mut each: impl FnMut(Sibling<'a>)) {
        let mut last = None;
        loop {
            let below = self.siblings().filter(|one| last.is_none_or(|last| rank(one) < last));
            let Some(next) = below.max_by_key(rank) else { return };
            last = Some(rank(&next));
            each(next);
        }
    }
}

fn rank(sibling: &Sibling<'_>) -> (UnixMs, super::Dot) {
    (sibling.timestamp, sibling.dot)
}
