//! Randomness of a run: everything random comes from one seed, in integers, so that a seed
//! means the same run on every machine and at every level of optimization.

use std::time::Duration;

use ringmain_core::prng::Prng;

/// A source of random choices.
#[derive(Clone, Debug)]
pub struct Random(Prng);

impl Random {
    /// The choices that `seed` names.
    pub fn new(seed: u64) -> Random {
        Random(Prng::new(seed))
    }

    /// An independent source: its later draws and those of `self` do not disturb each other.
    pub fn fork(&mut self) -> Random {
        Random(Prng::new(self.bits()))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// A number of `from..=to`.
    ///
    /// # Panics
    /// If `from > to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        assert!(from <= to);
        from + self.0.below(to - from + 1)
    }

    /// True in `permille` of 1000 cases.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.0.below(1000) < u64::from(permille)
    }

    /// One of `items`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An index into `weights`, each as likely as its weight.
    ///
    /// # Panics
    /// If all weights are 0.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut left = self.0.below(sum);
        for (index, weight) in weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// `items` in random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A delay around `scale` with a heavy tail: a quarter of the draws is at least doubled, a
    /// quarter of those doubled again, and so on, up to 1024 times.
    pub fn delay(&mut self, scale: Duration) -> Duration {
        let scale_us = scale.as_micros() as u64;
        let mut delay_us = self.between(scale_us / 2, scale_us.max(1));
        for _ in 0..10 {
            if !self.chance(250) {
                break;
            }
            delay_us *= 2;
        }
        Duration::from_micros(delay_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_respected() {
        let mut random = Random::new(1);
        let mut counts = [0; 3];
        for _ in 0..4000 {
            counts[random.weighted(&[1, 0, 3])] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn delays_have_a_bounded_heavy_tail() {
        let mut random = Random::new(2);
        let scale = Duration::from_micros(100);
        let delays: Vec<_> = (0..100_000).map(|_| random.delay(scale)).collect();
        assert!(delays.iter().all(|delay| *delay >= scale / 2 && *delay <= scale * 1024));
        assert!(delays.iter().filter(|delay| **delay > scale * 16).count() > 20);
    }

    #[test]
    fn shuffle_permutes() {
        let mut items: Vec<usize> = (0..20).collect();
        Random::new(3).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
