//! Two lists of entries, merged piece by piece.

use heapless::Vec;

use crate::limits::{EXCHANGE_ENTRY_COUNT_MAX, EXCHANGE_RANGE_COUNT_MAX};
use crate::wire::exchange::{Entry, List, Listed, Range};
use crate::wire::payload::Malformed;

/// Who has an entry that the other has not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Mine,
    Theirs,
}

/// What is needed to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// The peer's next entries.
    Theirs,
    /// Ours, above `after` and up to the order `last`.
    Mine { after: Entry, last: u64 },
    /// Nothing: all ranges are compared.
    Nothing,
    /// Room: `from` here on, nothing is compared.
    Room { from: u64 },
}

/// Compares ranges of both copies. The peer's entries are kept, ours pass by; both in pieces.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    ranges: Vec<Range, EXCHANGE_RANGE_COUNT_MAX>,
    /// The ranges before this one are compared.
    range: usize,
    /// Up to here, all is compared.
    after: Entry,
    theirs: Vec<Entry, EXCHANGE_ENTRY_COUNT_MAX>,
    /// The peer's entries before this one are compared.
    at: usize,
    /// Up to here the peer's entries are known; `after` if they are not.
    known: Entry,
}

impl Comparison {
    pub(super) fn new() -> Comparison {
        let (after, known) = (Entry::default(), Entry::default());
        Comparison { ranges: Vec::new(), range: 0, after, theirs: Vec::new(), at: 0, known }
    }

    /// Forgets everything, and takes up to `EXCHANGE_RANGE_COUNT_MAX` new ranges by `add`.
    pub(super) fn clear(&mut self) {
        *self = Comparison::new();
    }

    /// Whether it has no ranges.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether another range fits.
    pub(super) fn has_room(&self) -> bool {
        !self.ranges.is_full()
    }

    /// Adds a range behind all others, or joins it to the last if nothing lies between.
    ///
    /// # Panics
    /// If it is not behind them, or there is no room.
    pub(super) fn add(&mut self, range: Range) {
        assert!(range.first() <= range.last());
        let last = self.ranges.last_mut();
        assert!(last.as_ref().is_none_or(|last| last.last() < range.first()));
        match last {
            Some(last) if last.last() + 1 == range.first() => {
                *last = Range::new(last.first(), range.last());
            }
            _ => self.ranges.push(range).expect("the caller asked whether there is room"),
        }
        if self.ranges.len() == 1 {
            self.after = Entry::new(self.ranges[0].first(), 0);
            self.known = self.after;
        }
    }

    /// The question for the peer's next entries.
    pub(super) fn question(&self) -> List<'_> {
        List { after: self.after, ranges: &self.ranges[self.range..] }
    }

    /// Takes the answer.
    ///
    /// # Errors
    /// An entry was not asked for.
    pub(super) fn on_theirs(&mut self, listed: &Listed<'_>) -> Result<Need, Malformed> {
        let ranges = &self.ranges[self.range..];
        let mut range = 0;
        for entry in listed.entries {
            while ranges.get(range).is_some_and(|range| range.last() < entry.order()) {
                range += 1;
            }
            let is_asked = ranges.get(range).is_some_and(|range| range.first() <= entry.order());
            if *entry <= self.after || !is_asked {
                return Err(Malformed);
            }
        }
        self.theirs.clear();
        self.theirs.extend_from_slice(listed.entries).map_err(|_| Malformed)?;
        self.at = 0;
        self.known = match self.theirs.last() {
            Some(last) if !listed.done => *last,
            _ => Entry::new(self.ranges.last().ok_or(Malformed)?.last(), u64::MAX),
        };
        Ok(self.need())
    }

    /// Takes our next entries; without `more`, they are all that were asked for. `note` gets what
    /// one side alone has, ascending, and says whether it had room.
    ///
    /// # Panics
    /// If they do not ascend, or were not asked for.
    pub(super) fn on_mine(
        &mut self,
        entries: &[Entry],
        more: bool,
        mut note: impl FnMut(Side, Entry) -> bool,
    ) -> Need {
        assert!(entries.is_sorted());
        assert!(entries.first().is_none_or(|first| *first > self.after));
        assert!(!(more && entries.is_empty()));
        for &mine in entries {
            if mine > self.known {
                return self.pass_theirs(self.known, &mut note);
            }
            if let room @ Need::Room { .. } = self.pass_theirs_below(mine, &mut note) {
                return room;
            }
            if self.theirs.get(self.at) == Some(&mine) {
                self.at += 1;
            } else if !note(Side::Mine, mine) {
                return Need::Room { from: mine.order() };
            }
            self.after = mine;
        }
        if more {
            return self.pass_theirs(self.after, &mut note);
        }
        let last = Entry::new(self.ranges[self.range].last(), u64::MAX);
        self.pass_theirs(last.min(self.known), &mut note)
    }

    /// Notes the peer's entries below `mine`.
    fn pass_theirs_below(
        &mut self,
        mine: Entry,
        note: &mut impl FnMut(Side, Entry) -> bool,
    ) -> Need {
        while let Some(&theirs) = self.theirs.get(self.at)
            && theirs < mine
        {
            if !note(Side::Theirs, theirs) {
                return Need::Room { from: theirs.order() };
            }
            self.at += 1;
        }
        Need::Nothing
    }

    /// Notes the peer's entries up to `end`: we have nothing else up to there.
    fn pass_theirs(&mut self, end: Entry, note: &mut impl FnMut(Side, Entry) -> bool) -> Need {
        while let Some(&theirs) = self.theirs.get(self.at)
            && theirs <= end
        {
            if !note(Side::Theirs, theirs) {
                return Need::Room { from: theirs.order() };
            }
            self.at += 1;
        }
        self.after = end;
        if self.ranges[self.range].last() == end.order() && end.version() == u64::MAX {
            self.range += 1;
        }
        self.need()
    }

    fn need(&self) -> Need {
        let Some(range) = self.ranges.get(self.range) else { return Need::Nothing };
        if self.known <= self.after {
            return Need::Theirs;
        }
        let last = range.last().min(self.known.order());
        // Known entries lie in ranges, so what is known reaches into this one.
        Need::Mine { after: self.after.max(Entry::new(range.first(), 0)), last }
    }
}
