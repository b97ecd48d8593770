//! The deadlines of all requests of a shard: a timing wheel (Varghese & Lauck 1987, scheme 5).
//!
//! Arming, disarming and firing are O(1); finding the next deadline scans a bitmap of 128 words.
//! A deadline fires up to one tick late and never early, with one exception: while another is
//! overdue by seconds (the process was stopped), one that lies beyond the wheel fires at its end,
//! so whoever it wakes looks at the time. Entries are the slots of a table, linked by index, so
//! that the wheel allocates nothing.

use crate::limits::REQUEST_TIMEOUT_MAX;
use crate::time::Instant;

/// One tick: 4096 µs.
const TICK_BITS: u32 = 12;
const BUCKET_COUNT: usize = 8192;
const WORD_COUNT: usize = BUCKET_COUNT / 64;
const NONE: u16 = u16::MAX;

const _: () = assert!(
    ((BUCKET_COUNT as u128 - 2) << TICK_BITS) > REQUEST_TIMEOUT_MAX.as_micros(),
    "the wheel does not turn round within the longest deadline"
);

/// The links of one entry; kept in the entry's slot.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    next: u16,
    previous: u16,
    bucket: u16,
}

impl Links {
    /// Not armed.
    pub const NONE: Links = Links { next: NONE, previous: NONE, bucket: NONE };
}

/// The wheel. Entries are numbered 0..65535; their [`Links`] live in a slice of the caller's.
#[derive(Debug)]
pub struct Deadlines {
    heads: [u16; BUCKET_COUNT],
    occupied: [u64; WORD_COUNT],
    /// Every bucket of an earlier tick is empty.
    swept: u64,
    /// Entries that are armed.
    count: u32,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines { heads: [NONE; BUCKET_COUNT], occupied: [0; WORD_COUNT], swept: 0, count: 0 }
    }
}

impl Deadlines {
    /// Arms `entry` to fire at `at`; if it was armed, that is forgotten.
    pub fn arm<T: AsMut<Links>>(
        &mut self,
        entries: &mut [T],
        entry: u16,
        now: Instant,
        at: Instant,
    ) {
        self.disarm(entries, entry);
        self.advance(now);
        let end = self.swept + BUCKET_COUNT as u64 - 1;
        let tick = at.0.div_ceil(1 << TICK_BITS).clamp(self.swept, end);
        let bucket = (tick % BUCKET_COUNT as u64) as u16;
        let next = self.heads[usize::from(bucket)];
        *entries[usize::from(entry)].as_mut() = Links { next, previous: NONE, bucket };
        if next != NONE {
            entries[usize::from(next)].as_mut().previous = entry;
        }
        self.heads[usize::from(bucket)] = entry;
        self.occupied[usize::from(bucket / 64)] |= 1 << (bucket % 64);
        self.count += 1;
    }

    /// Disarms `entry`; nothing happens if it is not armed.
    pub fn disarm<T: AsMut<Links>>(&mut self, entries: &mut [T], entry: u16) {
        let links = *entries[usize::from(entry)].as_mut();
        if links.bucket == NONE {
            return;
        }
        *entries[usize::from(entry)].as_mut() = Links::NONE;
        self.count -= 1;
        if links.next != NONE {
            entries[usize::from(links.next)].as_mut().previous = links.previous;
        }
        if links.previous != NONE {
            entries[usize::from(links.previous)].as_mut().next = links.next;
        } else {
            self.heads[usize::from(links.bucket)] = links.next;
            if links.next == NONE {
                self.occupied[usize::from(links.bucket / 64)] &= !(1 << (links.bucket % 64));
            }
        }
    }

    /// Disarms and names one entry whose deadline is not after `now`.
    pub fn pop<T: AsMut<Links>>(&mut self, entries: &mut [T], now: Instant) -> Option<u16> {
        let tick = self.first_tick()?;
        if tick > now.0 >> TICK_BITS {
            return None;
        }
        let entry = self.heads[(tick % BUCKET_COUNT as u64) as usize];
        self.disarm(entries, entry);
        Some(entry)
    }

    /// When the next deadline fires.
    pub fn next(&self) -> Option<Instant> {
        self.first_tick().map(|tick| Instant(tick << TICK_BITS))
    }

    /// Moves the start of the wheel as far as it is empty.
    fn advance(&mut self, now: Instant) {
        let now = now.0 >> TICK_BITS;
        if self.count == 0 {
            self.swept = self.swept.max(now);
            return;
        }
        self.swept = self.swept.max(self.first_tick().map_or(now, |first| first.min(now)));
    }

    fn first_tick(&self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let start = (self.swept % BUCKET_COUNT as u64) as usize;
        let (word, bit) = (start / 64, start % 64);
        for step in 0..=WORD_COUNT {
            let index = (word + step) % WORD_COUNT;
            let mut bits = self.occupied[index];
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == WORD_COUNT {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let bucket = index * 64 + bits.trailing_zeros() as usize;
                let ahead = (bucket + BUCKET_COUNT - start) % BUCKET_COUNT;
                return Some(self.swept + ahead as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    #[derive(Clone)]
    struct Entry(Links);
    impl AsMut<Links> for Entry {
        fn as_mut(&mut self) -> &mut Links {
            &mut self.0
        }
    }

    fn tick(at: Instant) -> u64 {
        at.0.div_ceil(1 << TICK_BITS)
    }

    #[test]
    fn the_wheel_matches_a_sorted_set() {
        for seed in 0..40 {
            let mut prng = Prng::new(seed);
            let mut entries: Vec<Entry> = std::vec![Entry(Links::NONE); 40];
            let (mut wheel, mut model) = (Deadlines::default(), BTreeSet::new());
            let mut now = Instant(prng.below(1 << 40));
            for _ in 0..2000 {
                let entry = prng.below(40) as u16;
                match prng.below(4) {
                    0 | 1 => {
                        let at = Instant(now.0 + prng.below(30_000_000));
                        wheel.arm(&mut entries, entry, now, at);
                        model.retain(|(_, armed)| *armed != entry);
                        model.insert((tick(at), entry));
                    }
                    2 => {
                        wheel.disarm(&mut entries, entry);
                        model.retain(|(_, armed)| *armed != entry);
                    }
                    _ => {
                        now.0 += prng.below(8_000_000);
                        while let Some(fired) = wheel.pop(&mut entries, now) {
                            let due = model.first().expect("only what is armed fires").0;
                            assert!(due <= now.0 >> TICK_BITS);
                            assert!(model.remove(&(due, fired)), "fired in order");
                        }
                        assert!(model.iter().all(|(due, _)| *due > now.0 >> TICK_BITS));
                    }
                }
                let next = model.first().map(|(due, _)| Instant(due << TICK_BITS));
                assert_eq!(wheel.next(), next);
            }
        }
    }

    #[test]
    fn beyond_the_wheel_of_one_long_overdue_a_deadline_fires_early() {
        let mut entries = std::vec![Entry(Links::NONE); 2];
        let mut wheel = Deadlines::default();
        wheel.arm(&mut entries, 0, Instant(0), Instant(1));
        let now = Instant(1 << 40);
        wheel.arm(&mut entries, 1, now, now + REQUEST_TIMEOUT_MAX);
        assert_eq!(wheel.pop(&mut entries, now), Some(0));
        // The wheel starts at tick 1, where the overdue one lay, and goes once round.
        let end = BUCKET_COUNT as u64;
        assert_eq!(wheel.next(), Some(Instant(end << TICK_BITS)), "at its end, not sooner");
        assert_eq!(wheel.pop(&mut entries, now), Some(1));
        wheel.arm(&mut entries, 1, now, now + REQUEST_TIMEOUT_MAX);
        assert_eq!(wheel.pop(&mut entries, now), None, "the wheel has turned");
        assert!(wheel.next().is_some_and(|at| at >= now + REQUEST_TIMEOUT_MAX));
    }

    #[test]
    fn the_longest_deadline_fits() {
        let mut entries = std::vec![Entry(Links::NONE); 1];
        let mut wheel = Deadlines::default();
        let now = Instant(12_345);
        wheel.arm(&mut entries, 0, now, now + REQUEST_TIMEOUT_MAX);
        assert!(wheel.next().is_some_and(|at| at >= now + REQUEST_TIMEOUT_MAX));
    }
}
