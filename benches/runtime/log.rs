//! Appends and reads of random keys, with and without their memory asked for ahead.
//!
//! The keys of a turn are drawn and hashed outside of what is measured, and the tail is written
//! there, too. The control is a hash map that holds the same values: it finds and copies, but
//! has no versions, no checksums and no file, and is so short that the CPU itself runs ahead to
//! the next key.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ahash::RandomState;
use criterion::{BenchmarkId, Criterion, Throughput};
use ringmain_core::hash::Key;
use ringmain_core::id::NodeId;
use ringmain_core::prng::Prng;
use ringmain_core::records::Records;
use ringmain_core::time::UnixMs;
use ringmain_runtime::log::Log;

use crate::memory::{AHEAD_COUNT, Segments, TURN_COUNT, append, key, log_of, name, settle};

type Name = [u8; 16];
type Map = HashMap<Name, [u8; 100], RandomState>;

/// Fits the last cache of a large machine, and does not.
const KEY_COUNTS: [u64; 2] = [100_000, 1_000_000];
/// A log that was appended to so often is replaced by a new one.
const APPEND_COUNT_MAX: usize = 1_000_000;
const VALUE: [u8; 100] = [b'v'; 100];
/// For whom hints are kept.
const TARGET: NodeId = NodeId(7);

pub(crate) fn benchmark(criterion: &mut Criterion) {
    appends(criterion);
    for count in KEY_COUNTS {
        reads(criterion, count);
    }
}

fn appends(criterion: &mut Criterion) {
    let names: Vec<Name> = (0..KEY_COUNTS[0]).map(name).collect();
    let mut group = criterion.benchmark_group("log_append");
    group.throughput(Throughput::Elements(1));
    let mut log = Replaced { log: log_of(&names, &VALUE), left: APPEND_COUNT_MAX, names: &names };
    for (name, is_ahead) in [("plain", false), ("ahead", true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let work = |log: &mut Replaced<'_>, keys: &[Key<'_>]| {
                    for keys in keys.chunks(AHEAD_COUNT) {
                        if is_ahead {
                            log.log.prefetch(keys);
                        }
                        for key in keys {
                            append(&mut log.log, key, black_box(&VALUE));
                        }
                    }
                };
                turns(count, &names, &mut log, Replaced::end_turn, work)
            });
        });
    }
    // The same records, kept for another node beside the own copies.
    group.bench_function("hint", |bencher| {
        bencher.iter_custom(|count| {
            let work = |log: &mut Replaced<'_>, keys: &[Key<'_>]| {
                for key in keys {
                    append(&mut log.log, &key.kept_for(TARGET), black_box(&VALUE));
                }
            };
            turns(count, &names, &mut log, Replaced::end_turn, work)
        });
    });
    group.bench_function("control_hash_map", |bencher| {
        let mut map = map_of(&names);
        bencher.iter_custom(|count| {
            let work = |map: &mut Map, keys: &[Key<'_>]| {
                for key in keys {
                    let value = map.get_mut(key.bytes).expect("it holds every name");
                    *value = *black_box(&VALUE);
                }
            };
            turns(count, &names, &mut map, |_| {}, work)
        });
    });
    group.finish();
}

fn reads(criterion: &mut Criterion, key_count: u64) {
    let names: Vec<Name> = (0..key_count).map(name).collect();
    let mut group = criterion.benchmark_group("log_read");
    group.throughput(Throughput::Elements(1));
    let mut log = log_of(&names, &VALUE);
    for (name, is_ahead) in [("plain", false), ("ahead", true)] {
        group.bench_function(BenchmarkId::new(name, key_count), |bencher| {
            bencher.iter_custom(|count| {
                let work = |log: &mut Log<Segments>, keys: &[Key<'_>]| {
                    for keys in keys.chunks(AHEAD_COUNT) {
                        if is_ahead {
                            log.prefetch(keys);
                        }
                        for key in keys {
                            black_box(read(log, key));
                        }
                    }
                };
                turns(count, &names, &mut log, |_| {}, work)
            });
        });
    }
    group.bench_function(BenchmarkId::new("control_hash_map", key_count), |bencher| {
        let mut map = map_of(&names);
        bencher.iter_custom(|count| {
            let work = |map: &mut Map, keys: &[Key<'_>]| {
                for key in keys {
                    black_box(map[key.bytes][0]);
                }
            };
            turns(count, &names, &mut map, |_| {}, work)
        });
    });
    group.finish();
}

/// The first byte of what a `GET` shows.
fn read(log: &Log<Segments>, key: &Key<'_>) -> u8 {
    let stored = log.record(key).expect("memory can be read").expect("every key was written");
    stored.record.live(UnixMs(1)).winner().expect("nothing was deleted").value[0]
}

fn map_of(names: &[Name]) -> Map {
    let mut map = Map::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
    map.extend(names.iter().map(|name| (*name, VALUE)));
    map
}

/// Draws `count` random keys, gives them to `work` in turns, and says how long it took for them;
/// `end_turn` is not measured.
fn turns<T>(
    count: u64,
    names: &[Name],
    store: &mut T,
    mut end_turn: impl FnMut(&mut T),
    mut work: impl FnMut(&mut T, &[Key<'_>]),
) -> Duration {
    let mut prng = Prng::new(count);
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let drawn = left.min(TURN_COUNT as u64) as usize;
        let mut keys = [Key::default(); TURN_COUNT];
        for drawn in &mut keys[..drawn] {
            *drawn = key(&names[prng.below(names.len() as u64) as usize]);
        }
        let began = Instant::now();
        work(store, &keys[..drawn]);
        took += began.elapsed();
        end_turn(store);
        left -= drawn as u64;
    }
    took
}

/// A log that only grows, as long as there is memory.
struct Replaced<'a> {
    log: Log<Segments>,
    left: usize,
    names: &'a [Name],
}

impl Replaced<'_> {
    fn end_turn(&mut self) {
        settle(&mut self.log);
        self.left = self.left.saturating_sub(TURN_COUNT);
        if self.left == 0 {
            self.log = log_of(self.names, &VALUE);
            self.left = APPEND_COUNT_MAX;
        }
    }
}
