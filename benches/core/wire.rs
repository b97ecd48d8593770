//! Frames of 100-byte values: what a coordinator writes, and a replica or coordinator checks.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmain_core::checksum::{Checksum, Software};
use ringmain_core::id::{RequestId, TopologyId};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_runtime::checksum::Hardware;

use crate::records::{KEY, record, value};

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let (record, value) = (record([5, 4, 3], 2), value());
    let put = PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: &value },
    };
    frames::<Software>(criterion, "software", Op::Replicate, &record.as_slice());
    frames::<Hardware>(criterion, "hardware", Op::Replicate, &record.as_slice());
    frames::<Hardware>(criterion, "hardware", Op::Put, &put);
}

/// Write and check, beside a copy and a checksum of the same bytes.
fn frames<C: Checksum>(criterion: &mut Criterion, checksum: &str, op: Op, payload: &impl Payload) {
    let hop = Hop {
        op,
        request: RequestId(77),
        deadline_ms: 1000,
        sent_ms: 0,
        topology: TopologyId(5),
        cluster_digest: 6,
    };
    let mut frame = vec![0; frame_length(KEY.len(), payload.bytes())];
    write_frame::<C>(&hop, KEY, payload, &mut frame);
    let is_put = op == Op::Put;

    let mut group = criterion.benchmark_group(if is_put { "frame_put" } else { "frame_replicate" });
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function(BenchmarkId::new("write", checksum), |bencher| {
        let mut out = frame.clone();
        bencher.iter(|| {
            write_frame::<C>(black_box(&hop), black_box(KEY), black_box(payload), &mut out);
            black_box(&mut out);
        });
    });
    group.bench_function(BenchmarkId::new("check", checksum), |bencher| {
        bencher.iter(|| {
            let frame = Frame::new_checked::<C>(black_box(&frame)).expect("written above");
            let is_sound = !is_put || PutRequest::new_checked(frame.payload()).is_ok();
            is_sound && black_box(frame).is_of(hop.cluster_digest)
        });
    });
    group.bench_function(BenchmarkId::new("control_copy", checksum), |bencher| {
        let mut out = frame.clone();
        bencher.iter(|| {
            out.copy_from_slice(black_box(&frame));
            black_box(&mut out);
        });
    });
    group.bench_function(BenchmarkId::new("control_checksum", checksum), |bencher| {
        bencher.iter(|| C::crc32c(0, black_box(&frame[FIRST_BYTES + 4..])));
    });
    group.finish();
}
