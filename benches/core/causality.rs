//! Events, joins, checks of records, and context tokens.

use std::hash::Hasher as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmain_core::causality::{
    Change, Context, Event, Join, Record, Write, decode_token, encode_token, join, token_bytes,
    write_join,
};
use ringmain_core::hash::{Key, KeyHash};
use ringmain_core::id::NodeId;
use ringmain_core::time::UnixMs;
use siphasher::sip::SipHasher24;

use crate::records::{BOOT, KEY, record, value};

const SECRET: [u8; 16] = [7; 16];

pub(crate) fn benchmark(criterion: &mut Criterion) {
    event(criterion);
    joins(criterion);
    check(criterion);
    version(criterion);
    token(criterion);
}

/// What a `SET` at a node that has written the key before does to its record.
fn event(criterion: &mut Criterion) {
    let (bytes, value) = (record([5, 4, 3], 2), value());
    let old = parsed(&bytes);
    let write = Write {
        context: Context::Local,
        timestamp: UnixMs(1_700_000_000_001),
        change: Change::Value { expires: None, value: &value },
    };
    let plan = || {
        let (old, write) = (black_box(old), black_box(&write));
        Event::plan(Some(old), Some(0), NodeId(1), BOOT, 2, write)
    };
    let mut out = vec![0; plan().bytes()];

    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("plan", |bencher| bencher.iter(plan));
    group.bench_function("plan_and_write", |bencher| {
        bencher.iter(|| {
            plan().write_to(Some(black_box(old)), black_box(&write), &mut out);
            black_box(&mut out);
        });
    });
    group.bench_function("control_copy", |bencher| {
        let source = out.clone();
        bencher.iter(|| {
            out.copy_from_slice(black_box(&source));
            black_box(&mut out);
        });
    });
    group.finish();
}

fn joins(criterion: &mut Criterion) {
    let left = record([5, 4, 3], 1);
    let cases = [
        ("equal", record([5, 4, 3], 1), false),
        ("dominated", record([6, 4, 3], 1), false),
        ("concurrent", record([4, 5, 3], 2), true),
    ];
    let mut group = criterion.benchmark_group("join");
    for (name, right, is_both) in &cases {
        let (left, right) = (parsed(&left), parsed(right));
        assert_eq!(matches!(join(left, right), Join::Both { .. }), *is_both);
        group.bench_function(*name, |bencher| {
            bencher.iter(|| join(black_box(left), black_box(right)));
        });
        if let Join::Both { bytes } = join(left, right) {
            let mut out = vec![0; bytes];
            group.bench_function("concurrent_and_write", |bencher| {
                bencher.iter(|| {
                    black_box(join(black_box(left), black_box(right)));
                    write_join(black_box(left), black_box(right), &mut out);
                    black_box(&mut out);
                });
            });
        }
    }
    let (left, right) = (parsed(&left), parsed(&cases[2].1));
    group.bench_function("control_compare", |bencher| {
        bencher.iter(|| black_box(left).version_vector().compare(black_box(right).version_vector()))
    });
    group.finish();
}

/// Every record is checked when it is read, whether from a frame or from the log.
fn check(criterion: &mut Criterion) {
    let bytes = record([5, 4, 3], 2);
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("new_checked", |bencher| {
        bencher.iter(|| Record::new_checked(black_box(&bytes)).is_ok());
    });
    group.bench_function("control_copy", |bencher| {
        let mut out = vec![0; bytes.len()];
        bencher.iter(|| {
            out.copy_from_slice(black_box(&bytes));
            black_box(&mut out);
        });
    });
    group.finish();
}

/// What a Merkle leaf adds up, twice for each write.
fn version(criterion: &mut Criterion) {
    let bytes = record([5, 4, 3], 2);
    let (record, key) = (parsed(&bytes), Key::new(KEY, 1, 10));
    let mut group = criterion.benchmark_group("version");
    group.bench_function("version", |bencher| {
        bencher.iter(|| black_box(record).version(black_box(&key)));
    });
    // The hash of a key and one dot, without looking for the dot.
    group.bench_function("control_hash", |bencher| {
        let hashed = [3; 32];
        bencher.iter(|| KeyHash::new(0, black_box(&hashed)));
    });
    group.finish();
}

fn token(criterion: &mut Criterion) {
    let bytes = record([5, 4, 3], 2);
    let version_vector = parsed(&bytes).version_vector();
    let mut token = vec![0; token_bytes(version_vector.len())];
    encode_token(&SECRET, KEY, version_vector, &mut token);

    let mut group = criterion.benchmark_group("token");
    group.throughput(Throughput::Bytes(token.len() as u64));
    group.bench_function("encode", |bencher| {
        let mut out = token.clone();
        bencher.iter(|| {
            encode_token(&SECRET, black_box(KEY), black_box(version_vector), &mut out);
            black_box(&mut out);
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_token(&SECRET, black_box(KEY), black_box(&token)).is_ok());
    });
    group.bench_function("control_siphash", |bencher| {
        bencher.iter(|| {
            let mut hasher = SipHasher24::new_with_key(&SECRET);
            hasher.write(black_box(KEY));
            hasher.write(black_box(&token));
            hasher.finish()
        });
    });
    group.finish();
}

fn parsed(bytes: &[u8]) -> Record<'_> {
    Record::new_checked(bytes).expect("encode_record wrote it")
}
