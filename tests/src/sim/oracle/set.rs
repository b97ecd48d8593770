//! A set of events of one key.

use std::fmt;

/// Small numbers, as bits.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Set(Vec<u64>);

impl Set {
    /// Adds `event`.
    pub fn insert(&mut self, event: usize) {
        if self.0.len() <= event / 64 {
            self.0.resize(event / 64 + 1, 0);
        }
        self.0[event / 64] |= 1 << (event % 64);
    }

    /// Whether `event` is in the set.
    pub fn contains(&self, event: usize) -> bool {
        self.0.get(event / 64).is_some_and(|word| word >> (event % 64) & 1 == 1)
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Set) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// The first event of `self` that `other` lacks.
    pub fn first_missing_in(&self, other: &Set) -> Option<usize> {
        self.iter().find(|event| !other.contains(*event))
    }

    /// Whether both hold the same events.
    pub fn same(&self, other: &Set) -> bool {
        let (short, long) =
            if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        let (start, rest) = long.0.split_at(short.0.len());
        start == short.0 && rest.iter().all(|word| *word == 0)
    }

    /// The events, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                (word != 0).then(|| {
                    word &= word - 1;
                    index * 64 + bit
                })
            })
        })
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(events: I) -> Set {
        let mut set = Set::default();
        events.into_iter().for_each(|event| set.insert(event));
        set
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_set() {
        let mut a: Set = [1, 63, 64, 300].into_iter().collect();
        let b: Set = [1, 64].into_iter().collect();
        assert_eq!(a.iter().collect::<Vec<_>>(), [1, 63, 64, 300]);
        assert_eq!((a.len(), b.first_missing_in(&a), a.first_missing_in(&b)), (4, None, Some(63)));
        assert!(a.contains(300) && !a.contains(299) && !a.contains(9999));
        assert!(!a.same(&b) && Set::default().is_empty());
        a.extend(&b);
        assert_eq!(a.len(), 4);
        let mut wide = b.clone();
        wide.extend(&[500].into_iter().collect());
        wide.0[7] = 0;
        assert!(wide.same(&b) && b.same(&wide));
    }
}
