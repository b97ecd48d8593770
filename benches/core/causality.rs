//! Events, joins, checks of records, and contexts.

use std::hash::Hasher as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmain_core::causality::{Record, base64url_bytes};
use ringmain_core::hash::{Key, KeyHash};
use siphasher::sip::SipHasher24;

use crate::paths::causality::{self as paths, SECRET, parsed};
use crate::records::{KEY, record};

pub(crate) fn benchmark(criterion: &mut Criterion) {
    event(criterion);
    joins(criterion);
    check(criterion);
    version(criterion);
    context(criterion);
}

/// What a `SET` at a node that has written the key before does to its record.
fn event(criterion: &mut Criterion) {
    let bytes = paths::event_plan()().bytes();
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Bytes(bytes as u64));
    let mut plan = paths::event_plan();
    group.bench_function("plan", |bencher| bencher.iter(&mut plan));
    let mut event = paths::event();
    group.bench_function("plan_and_write", |bencher| bencher.iter(&mut event));
    group.bench_function("control_copy", |bencher| {
        let (source, mut out) = (vec![1; bytes], vec![0; bytes]);
        bencher.iter(|| {
            out.copy_from_slice(black_box(&source));
            black_box(&mut out);
        });
    });
    group.finish();
}

/// Of records with one sibling each.
fn joins(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join_single_sibling");
    let mut join = paths::join_equal();
    group.bench_function("equal", |bencher| bencher.iter(&mut join));
    let mut join = paths::join_dominated();
    group.bench_function("dominated", |bencher| bencher.iter(&mut join));
    let mut join = paths::join_concurrent();
    group.bench_function("concurrent", |bencher| bencher.iter(&mut join));
    let mut join = paths::join_concurrent_write();
    group.bench_function("concurrent_and_write", |bencher| bencher.iter(&mut join));
    let (left, right) = (parsed([5, 4, 3], 1), parsed([4, 5, 3], 2));
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
    let (record, key) = (parsed([5, 4, 3], 2), Key::new(KEY, 1, 10));
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

/// Each with its MAC.
fn context(criterion: &mut Criterion) {
    let token = paths::token();
    let mut group = criterion.benchmark_group("context");
    group.throughput(Throughput::Bytes(token.len() as u64));
    let mut encode = paths::context_encode();
    group.bench_function("encode", |bencher| bencher.iter(&mut encode));
    let mut decode = paths::context_decode_binary();
    group.bench_function("decode_binary", |bencher| bencher.iter(&mut decode));
    let mut decode = paths::context_decode_text();
    group.bench_function("decode_text", |bencher| bencher.iter(&mut decode));
    group.bench_function("control_siphash", |bencher| {
        bencher.iter(|| {
            let mut hasher = SipHasher24::new_with_key(&SECRET);
            hasher.write(black_box(KEY));
            hasher.write(black_box(&token));
            hasher.finish()
        });
    });
    // Each character of the text looked at once.
    group.bench_function("control_text", |bencher| {
        let text = vec![b'A'; base64url_bytes(token.len())];
        bencher.iter(|| black_box(&text).iter().fold(0, |all, char| all | char));
    });
    group.finish();
}
