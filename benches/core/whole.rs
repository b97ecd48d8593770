//! Whole requests: see [`cluster`](crate::paths::cluster).

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmain_core::causality::{Change, Context, Write};
use ringmain_core::hash::Key;
use ringmain_core::records::{Author, Records as _, event};
use ringmain_core::time::UnixMs;

use crate::paths::cluster::{self as paths, CLUSTER, PARTITION_BITS};
use crate::paths::store::OneKey;
use crate::records::{BOOT, KEY, value};

pub(crate) fn benchmark(criterion: &mut Criterion) {
    put(criterion);
    get(criterion);
}

fn put(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("full_put");
    group.throughput(Throughput::Elements(1));
    let mut put = paths::put_three_nodes();
    group.bench_function("three_nodes", |bencher| bencher.iter(&mut put));
    let mut put = paths::put_coordinator();
    group.bench_function("coordinator", |bencher| bencher.iter(&mut put));
    let mut put = paths::put_one_node();
    group.bench_function("one_node", |bencher| bencher.iter(&mut put));
    // All that is not deciding and sending.
    group.bench_function("control_event", |bencher| {
        let (mut store, value) = (OneKey::default(), value());
        bencher.iter(|| set(&mut store, black_box(&value)));
    });
    group.finish();
}

fn get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("full_get");
    group.throughput(Throughput::Elements(1));
    let mut get = paths::get_three_nodes();
    group.bench_function("three_nodes", |bencher| bencher.iter(&mut get));
    let mut get = paths::get_one_node();
    group.bench_function("one_node", |bencher| bencher.iter(&mut get));
    // The record, looked up and copied.
    group.bench_function("control_record", |bencher| {
        let (mut store, mut out) = (OneKey::default(), Vec::new());
        set(&mut store, &value());
        bencher.iter(|| {
            let stored = store.record(black_box(&key())).expect("memory can be read");
            out.clear();
            out.extend_from_slice(stored.expect("it was set").record.bytes());
            black_box(&mut out);
        });
    });
    group.finish();
}

fn key() -> Key<'static> {
    Key::new(KEY, CLUSTER.hash_seed(), PARTITION_BITS)
}

/// An event and its append.
fn set(store: &mut OneKey, value: &[u8]) {
    let author = Author { node: paths::ME, boot: BOOT, birth: 1, now: UnixMs(1) };
    let write = Write {
        context: Context::Local,
        timestamp: UnixMs(1),
        change: Change::Value { expires: None, value },
    };
    event(store, black_box(&key()), author, black_box(&write)).expect("there is room");
}
