//! A frame of 100 bytes from one shard to another: sent, rung for, checked. Both ends are on one
//! thread, so that the work is seen and not the way of a cache line between two cores.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BenchmarkId, Criterion, Throughput};
use ringmain_core::id::{RequestId, ShardIndex, TopologyId};
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::op::Op;
use ringmain_runtime::checksum::Hardware;
use ringmain_runtime::mesh::{Endpoint, MeshLimits, mesh};

const FROM: ShardIndex = ShardIndex(0);
const TO: ShardIndex = ShardIndex(1);

pub(crate) fn benchmark(criterion: &mut Criterion) {
    let frame = frame();
    let bell: fn() = || {};
    let limits = MeshLimits::for_shards(2);
    let ends: Vec<Endpoint<u32, fn(), Hardware>> = mesh(vec![bell, bell], limits);
    let [mut from, mut to] = <[_; 2]>::try_from(ends).expect("one end for each bell");

    let mut group = criterion.benchmark_group("mesh");
    for count in [1, 64] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("send_and_receive", count), |bencher| {
            bencher.iter(|| {
                for _ in 0..count {
                    let fill = |out: &mut [u8]| out.copy_from_slice(black_box(&frame));
                    from.send(TO, frame.len(), fill).expect("the link is empty");
                }
                from.flush();
                let mut received = 0;
                let each = |frame: Frame<'_>| {
                    black_box(frame);
                    received += 1;
                    ControlFlow::Continue(())
                };
                to.receive(FROM, each).expect("whole frames");
                assert_eq!(received, count);
            });
        });
        // The same through a vector: copied and checked.
        group.bench_function(BenchmarkId::new("control_vector", count), |bencher| {
            let mut bytes = Vec::new();
            bencher.iter(|| {
                bytes.clear();
                for _ in 0..count {
                    bytes.extend_from_slice(black_box(&frame));
                }
                for frame in bytes.chunks(frame.len()) {
                    black_box(Frame::new_checked::<Hardware>(frame).expect("a whole frame"));
                }
            });
        });
    }
    group.finish();
}

fn frame() -> Vec<u8> {
    let hop = Hop {
        op: Op::Replicate,
        request: RequestId(77),
        deadline_ms: 1000,
        sent_ms: 0,
        topology: TopologyId(5),
        cluster_digest: 6,
    };
    let (key, payload) = (b"user:00000012345", &[7; 100][..]);
    let mut frame = vec![0; frame_length(key.len(), payload.len())];
    write_frame::<Hardware>(&hop, key, &payload, &mut frame);
    frame
}
