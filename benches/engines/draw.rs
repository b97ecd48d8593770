//! Which keys, in which order, with which values.
//!
//! Key number n is a bijection of n followed by n, so keys loaded by ascending number arrive in
//! random order of their bytes. A zipfian rank is scattered over the numbers, so that keys asked
//! for often were not loaded side by side.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};
use ringmain_core::prng::Prng;
use serde::{Deserialize, Serialize};

use crate::engine::{Name, Pair};

/// Of YCSB (Cooper et al., SoCC 2010).
const ZIPF_EXPONENT: f64 = 0.99;
/// A prime above any number of keys: what it multiplies is only put in another order.
const SCATTER: u64 = 2_654_435_761;
/// Bytes of a value that depend on its key.
const TAG_BYTES: usize = 8;
/// Bytes of a value that no other put has, behind the tag.
const SERIAL_BYTES: usize = 8;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    Uniform,
    Zipfian,
}

impl Distribution {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipfian => "zipfian",
        }
    }
}

/// Draws keys below a count.
pub(crate) enum Draw {
    Uniform { prng: Prng, count: u64 },
    Zipfian { rng: SmallRng, zipf: Zipf<f64>, count: u64 },
}

impl Draw {
    pub(crate) fn new(distribution: Distribution, count: u64, seed: u64) -> Draw {
        assert!(count > 0);
        assert!(count < SCATTER);
        match distribution {
            Distribution::Uniform => Draw::Uniform { prng: Prng::new(seed), count },
            Distribution::Zipfian => {
                let zipf = Zipf::new(count as f64, ZIPF_EXPONENT).expect("both are positive");
                Draw::Zipfian { rng: SmallRng::seed_from_u64(seed), zipf, count }
            }
        }
    }

    pub(crate) fn fill(&mut self, names: &mut [Name]) {
        for name in names {
            *name = match self {
                Draw::Uniform { prng, count } => self::name(prng.below(*count)),
                Draw::Zipfian { rng, zipf, count } => {
                    let rank = zipf.sample(rng) as u64 - 1;
                    self::name(rank * SCATTER % *count)
                }
            };
        }
    }
}

/// The key `number`.
pub(crate) fn name(number: u64) -> Name {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&Prng::new(number).next_u64().to_be_bytes());
    name[8..].copy_from_slice(&number.to_be_bytes());
    name
}

/// Makes values: a tag of the key, a serial number, random bytes that are always the same.
pub(crate) struct Values {
    value: Vec<u8>,
    serial: u64,
}

impl Values {
    pub(crate) fn new(bytes: usize) -> Values {
        assert!(bytes >= TAG_BYTES + SERIAL_BYTES);
        let mut prng = Prng::new(bytes as u64);
        Values { value: (0..bytes).map(|_| prng.next_u64() as u8).collect(), serial: 0 }
    }

    /// The next value for `name`.
    pub(crate) fn next(&mut self, name: &Name) -> &[u8] {
        self.serial += 1;
        stamp(&mut self.value, name, self.serial);
        &self.value
    }

    /// Pairs to fill.
    pub(crate) fn pairs(&self, count: usize) -> Vec<Pair> {
        vec![Pair { name: [0; 16], value: self.value.clone() }; count]
    }

    /// Makes a pair of each name.
    pub(crate) fn fill(&mut self, pairs: &mut [Pair], names: &[Name]) {
        assert_eq!(pairs.len(), names.len());
        for (pair, name) in pairs.iter_mut().zip(names) {
            self.serial += 1;
            pair.name = *name;
            stamp(&mut pair.value, name, self.serial);
        }
    }
}

/// Whether `value` may be one of `name`.
///
/// # Panics
/// If not: the engine returned something else than what it was given.
pub(crate) fn check(name: &Name, value: &[u8], bytes: usize) {
    assert_eq!(value.len(), bytes);
    assert_eq!(value[..TAG_BYTES], tag(name));
}

fn stamp(value: &mut [u8], name: &Name, serial: u64) {
    value[..TAG_BYTES].copy_from_slice(&tag(name));
    value[TAG_BYTES..TAG_BYTES + SERIAL_BYTES].copy_from_slice(&serial.to_le_bytes());
}

fn tag(name: &Name) -> [u8; TAG_BYTES] {
    let mut tag = *name.first_chunk().expect("a key is longer than a tag");
    for byte in &mut tag {
        *byte = !*byte;
    }
    tag
}
