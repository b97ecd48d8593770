//! How much a member wants a partition, in integers only, so that every machine agrees.
//!
//! Weighted rendezvous: draw u uniformly from (0, 1] for each (partition, member) and order the
//! members by −log2(u) / pull. That is an exponential variable with rate ∝ pull, so each
//! member comes first with a probability proportional to its pull, and a change of one member
//! leaves the order of all others as it was.

use crate::id::Partition;

/// The score of a member for `partition`: the lowest comes first. `uuid` names the member, so a
/// node that is replaced under another uuid draws anew.
///
/// # Panics
/// If `pull` is 0.
pub(super) fn score(seed: u64, partition: Partition, uuid: u128, pull: u64) -> u64 {
    assert!(pull > 0);
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&partition.0.to_le_bytes());
    bytes[2..].copy_from_slice(&uuid.to_le_bytes());
    let draw = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, seed);
    (neg_log2(draw) << PULL_BITS) / pull
}

/// −log2(draw / 2^64) with [`FRACTION_BITS`] binary digits: 1 ..= 2^38; a draw of 0 counts as 1.
/// Never falls as `draw` falls. Exact (to the last digit) at 256 points per octave, and on the
/// chord between them: too large by at most 2.8e-6 (1 / (8 × 256² × ln 2)), never too small by
/// more than the last digit.
pub(super) fn neg_log2(draw: u64) -> u64 {
    let draw = draw.max(1);
    let zeros = draw.leading_zeros();
    let mantissa = draw << zeros;
    let index = (mantissa >> 55) as usize & (TABLE_COUNT - 2);
    let rest = (mantissa >> 23) & u64::from(u32::MAX);
    let low = LOG2[index];
    let high = LOG2[index + 1];
    let log2 = low + (((high - low) * rest) >> 32);
    let result = (u64::from(zeros + 1) << FRACTION_BITS) - log2;
    assert!(result > 0);
    result
}

/// log2 of `mantissa` / 2^63, which lies in [1, 2), truncated to [`FRACTION_BITS`] digits: one
/// digit per squaring.
const fn log2_by_squaring(mantissa: u64) -> u64 {
    let mut x = mantissa;
    let mut log2 = 0;
    let mut digit = 0;
    while digit < FRACTION_BITS {
        let square = x as u128 * x as u128; // 2 integer digits, 126 of fraction
        log2 <<= 1;
        if square >> 127 == 1 {
            log2 |= 1;
            x = (square >> 64) as u64;
        } else {
            x = (square >> 63) as u64;
        }
        digit += 1;
    }
    log2
}

const fn log2_table() -> [u64; TABLE_COUNT] {
    let mut table = [1 << FRACTION_BITS; TABLE_COUNT];
    let mut index = 0;
    while index < TABLE_COUNT - 1 {
        table[index] = log2_by_squaring((1 << 63) | ((index as u64) << 55));
        index += 1;
    }
    table
}

/// log2(1 + i / 256), made by the compiler.
static LOG2: [u64; TABLE_COUNT] = log2_table();
const TABLE_COUNT: usize = 257;
/// Binary digits behind the point of a logarithm.
const FRACTION_BITS: u32 = 32;
/// Digits gained before the division by the pull, so that a large one loses none.
const PULL_BITS: u32 = 24;

const _: () = assert!(6 + FRACTION_BITS + PULL_BITS < 64, "64 << all of them fits a u64");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    const ONE: f64 = (1u64 << FRACTION_BITS) as f64;

    #[test]
    fn powers_of_two_are_exact() {
        for bit in 0..64 {
            assert_eq!(neg_log2(1 << bit), (64 - bit) << FRACTION_BITS);
        }
        assert_eq!(neg_log2(0), 64 << FRACTION_BITS);
        assert_eq!(neg_log2(u64::MAX), 1);
    }

    #[test]
    fn the_error_is_as_documented() {
        let mut prng = Prng::new(1);
        let mut worst: f64 = 0.0;
        for _ in 0..100_000 {
            let draw = (prng.next_u64() >> prng.below(60)).max(1);
            let exact = 64.0 - (draw as f64).log2();
            let error = neg_log2(draw) as f64 / ONE - exact;
            assert!(error > -1e-9, "{draw:#x}: {error}");
            worst = worst.max(error);
        }
        assert!(worst < 2.8e-6, "{worst}");
        assert!(worst > 2.0e-6, "the chord is not where it was thought to be: {worst}");
    }

    #[test]
    fn monotone_around_every_table_entry() {
        for zeros in 0..56 {
            for index in 0..256u64 {
                let at = ((1 << 63) | (index << 55)) >> zeros;
                assert!(neg_log2(at - 1) >= neg_log2(at));
                assert!(neg_log2(at) >= neg_log2(at + 1));
            }
        }
    }

    #[test]
    fn the_table_rises_and_has_known_entries() {
        assert!(LOG2.is_sorted_by(|a, b| a < b));
        assert_eq!(LOG2[0], 0);
        assert_eq!(LOG2[128], 0x95c0_1a39); // log2(1.5)
        assert_eq!(LOG2[256], 1 << FRACTION_BITS);
    }

    #[test]
    fn a_member_comes_first_as_often_as_its_pull_says() {
        let mut first = 0;
        for partition in 0..16384 {
            let heavy = score(3, Partition(partition), 1, 300);
            let light = score(3, Partition(partition), 2, 100);
            first += u32::from(heavy < light);
        }
        assert!((12_100..12_480).contains(&first), "{first} of 16384, expected 12288");
    }
}
