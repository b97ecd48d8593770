//! Frames of 100-byte values: what clients, coordinators and replicas write and check.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmain_core::checksum::{Checksum, Software};
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_runtime::checksum::Hardware;

use crate::paths::wire as paths;

pub(crate) fn benchmark(criterion: &mut Criterion) {
    frames::<Hardware>(criterion, "wire_put", Op::Put, paths::put());
    frames::<Hardware>(criterion, "wire_get", Op::Get, paths::get(0));
    frames::<Hardware>(criterion, "wire_reply", Op::Reply, paths::reply());
    frames::<Hardware>(criterion, "wire_replicate", Op::Replicate, paths::replicate());
    frames::<Software>(criterion, "wire_replicate_software", Op::Replicate, paths::replicate());
}

/// Encode and decode, beside a copy and a checksum of the same bytes.
fn frames<C: Checksum>(
    criterion: &mut Criterion,
    name: &str,
    op: Op,
    payload: impl Payload + Copy,
) {
    let frame = paths::frame::<C>(op, &payload);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    let mut encode = paths::encode::<C>(op, payload);
    group.bench_function("encode", |bencher| bencher.iter(&mut encode));
    let mut decode = paths::decode::<C>(op, payload);
    group.bench_function("decode", |bencher| bencher.iter(&mut decode));
    group.bench_function("control_copy", |bencher| {
        let mut out = frame.clone();
        bencher.iter(|| {
            out.copy_from_slice(black_box(&frame));
            black_box(&mut out);
        });
    });
    group.bench_function("control_checksum", |bencher| {
        bencher.iter(|| C::crc32c(0, black_box(&frame[FIRST_BYTES + 4..])));
    });
    group.finish();
}
