//! What is asked: the kind of each request, and its key.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution as _, Zipf};

use super::limits::KEY_COUNT_MAX;
use crate::args::{BenchArgs, Distribution};

/// As in YCSB (Cooper et al. 2010, §4.2).
const ZIPF_EXPONENT: f64 = 0.99;
/// A prime above all numbers of keys: its multiples visit all of them.
const SCATTER: u64 = 2_654_435_761;
const _: () = assert!(SCATTER > KEY_COUNT_MAX);
const _: () = assert!(KEY_COUNT_MAX.checked_mul(SCATTER).is_some());

/// What is done with a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Get,
    Put,
}

/// Draws requests.
pub(super) struct Draw {
    rng: SmallRng,
    keys: u64,
    /// Ranks, from 1.
    zipf: Option<Zipf<f64>>,
    read_ratio: f64,
}

impl Draw {
    /// The same `seed` draws the same.
    pub(super) fn new(args: &BenchArgs, seed: u64) -> Draw {
        let zipf = match args.distribution {
            Distribution::Uniform => None,
            Distribution::Zipfian => Zipf::new(args.keys as f64, ZIPF_EXPONENT).ok(),
        };
        let rng = SmallRng::seed_from_u64(seed);
        Draw { rng, keys: args.keys, zipf, read_ratio: args.read_ratio }
    }

    pub(super) fn next(&mut self) -> (Kind, u64) {
        let is_read = self.rng.random_bool(self.read_ratio);
        let key = match &self.zipf {
            None => self.rng.random_range(0..self.keys),
            // Keys that are asked for often do not lie side by side.
            Some(zipf) => (zipf.sample(&mut self.rng) as u64 % self.keys) * SCATTER % self.keys,
        };
        (if is_read { Kind::Get } else { Kind::Put }, key)
    }
}

/// The bytes of key `number`, as many for each.
pub(super) fn key_bytes(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Bytes that do not compress.
pub(super) fn value_bytes(length: u32) -> Vec<u8> {
    let mut value = vec![0; length as usize];
    SmallRng::seed_from_u64(1).fill(&mut value[..]);
    value
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    fn counts(words: &[&str], keys: usize) -> (Vec<u32>, u32) {
        let mut draw = Draw::new(&args(words), 1);
        let (mut of_key, mut reads) = (vec![0; keys], 0);
        for _ in 0..100_000 {
            let (kind, key) = draw.next();
            of_key[key as usize] += 1;
            reads += u32::from(kind == Kind::Get);
        }
        (of_key, reads)
    }

    #[test]
    fn uniform_keys_come_as_often() {
        let (of_key, reads) = counts(&["--keys", "100", "--read-ratio", "0.8"], 100);
        assert!(of_key.iter().all(|count| (800..1200).contains(count)), "{of_key:?}");
        assert!((79_000..81_000).contains(&reads), "{reads}");
    }

    /// Of 100 keys the first has 1/H of all, where H is the sum of the ranks' parts: 5.4.
    #[test]
    fn zipfian_keys_come_by_rank_and_lie_apart() {
        let words = ["--keys", "100", "--distribution", "zipfian", "--read-ratio", "0"];
        let (of_key, reads) = counts(&words, 100);
        assert_eq!(reads, 0);
        let mut ranks: Vec<usize> = (0..100).collect();
        ranks.sort_by_key(|key| std::cmp::Reverse(of_key[*key]));
        let [first, second] = [of_key[ranks[0]], of_key[ranks[1]]];
        assert!((17_500..20_000).contains(&first), "{first}");
        assert!((8_700..10_300).contains(&second), "{second}");
        assert!(ranks[0].abs_diff(ranks[1]) > 1);
        assert!(of_key.iter().all(|count| *count > 0), "each key is some rank's");
    }

    #[test]
    fn keys_have_twelve_digits() {
        assert_eq!(&key_bytes(0), b"key:000000000000");
        assert_eq!(&key_bytes(KEY_COUNT_MAX - 1), b"key:000999999999");
    }
}
