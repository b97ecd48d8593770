//! Frames that are damaged, foreign, or not their sender's to send.

use super::*;
use crate::wire::peer::{Ack, Hint, Read, Reject, RejectReason};

const A: At = At { node: 1, shard: 0 };
const B: At = At { node: 2, shard: 0 };

/// One of each frame that a shard takes, as node 2 would send them to node 1 while it waits for
/// the read of "k" in its first slot.
fn frames(cluster: &mut Cluster) -> Vec<Vec<u8>> {
    cluster.put(B, b"k", set(b"value"));
    let key = cluster.key(b"k");
    let store = &cluster.sites[&B].store;
    let record = store.record(&key).unwrap().unwrap().record.bytes().to_vec();
    let op = 1 << 16;
    let (reason, order) = (RejectReason::Busy, key.order);
    let hint = Hint { target: NodeId(3), record: &record };
    vec![
        frame_of(cluster.hop(Op::Get, 7), b"k", &Command::Get(GET)),
        frame_of(cluster.hop(Op::Put, 7), b"k", &Command::Put(set(b"next"))),
        frame_of(cluster.hop(Op::Replicate, 7), b"k", &&record[..]),
        frame_of(cluster.hop(Op::ReplicateSync, 7), b"k", &&record[..]),
        frame_of(cluster.hop(Op::Read, 7), b"k", &Read { known: 0, target: NodeId(0) }),
        frame_of(cluster.hop(Op::ReadReply, op), b"k", &&record[..]),
        frame_of(cluster.hop(Op::Ack, op), b"", &Ack { order, durable: true }),
        frame_of(cluster.hop(Op::Reject, op), b"", &Reject { reason, order }),
        frame_of(cluster.hop(Op::Reply, op), b"", &crate::wire::reply::ReplyHead::of(Status::Ok)),
        frame_of(cluster.hop(Op::Hint, 7), b"k", &hint),
        frame_of(cluster.hop(Op::HintSync, 7), b"k", &hint),
    ]
}

/// A cluster in which node 1 waits for a read, its frames held back, and one of each frame.
fn waiting() -> (Cluster, Vec<Vec<u8>>) {
    let mut cluster = Cluster::new(THREE);
    let frames = frames(&mut cluster);
    cluster.send(A, b"k", Command::Get(GetRequest { r: 3, ..GET }));
    cluster.network.flights.clear();
    assert_eq!(cluster.sites[&A].shard.request_count(), 1);
    (cluster, frames)
}

#[test]
fn every_truncation_is_refused() {
    let (mut cluster, frames) = waiting();
    let before = cluster.sites[&A].store.clone();
    for frame in &frames {
        for length in 0..frame.len() {
            assert!(cluster.offer(A, B.link(), Some(2), &frame[..length]).is_err());
        }
    }
    assert_eq!(cluster.sites[&A].store, before);
    assert!(cluster.network.flights.is_empty());
    assert!(cluster.network.replies.is_empty());
}

#[test]
fn no_flipped_bit_does_harm() {
    let (mut cluster, frames) = waiting();
    let before = cluster.sites[&A].store.clone();
    for frame in &frames {
        for bit in 0..8 * frame.len() {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let taken = cluster.offer(A, B.link(), Some(2), &flipped);
            if bit >= 8 * crate::wire::FIRST_BYTES {
                assert!(taken.is_err(), "the checksum covers bit {bit}");
            }
            if taken.is_err() || taken.unwrap().is_err() {
                assert_eq!(cluster.sites[&A].store, before);
            } else {
                // Only the hop was hit. Go on with a fresh cluster.
                cluster = waiting().0;
            }
        }
    }
}

#[test]
fn frames_of_another_cluster_are_refused() {
    let (mut cluster, frames) = waiting();
    let before = cluster.sites[&A].store.clone();
    for mut frame in frames {
        let digest = frame.len().min(24)..32;
        frame[digest].copy_from_slice(&ClusterId(43).digest().to_le_bytes());
        for node in [None, Some(2)] {
            let taken = cluster.offer(A, B.link(), node, &frame);
            assert_eq!(taken, Ok(Err(FrameRefused::OtherCluster)));
        }
    }
    assert_eq!(cluster.sites[&A].store, before);
    assert!(cluster.network.flights.is_empty());
}

#[test]
fn a_client_may_not_speak_as_a_peer() {
    let (mut cluster, frames) = waiting();
    let before = cluster.sites[&A].store.clone();
    for frame in &frames[2..] {
        let taken = cluster.offer(A, CLIENT, None, frame);
        assert_eq!(taken, Ok(Err(FrameRefused::NotPermitted)));
    }
    assert_eq!(cluster.sites[&A].store, before);
    assert!(cluster.network.replies.is_empty());
    assert_eq!(cluster.sites[&A].shard.request_count(), 1, "the read waits on");
    cluster.offer(A, B.link(), Some(2), &frames[5]).unwrap().unwrap();
    cluster.offer(A, B.link(), Some(3), &frames[5]).unwrap().unwrap();
    assert_eq!(cluster.network.replies.len(), 1, "its peers may");
}

#[test]
fn frames_of_the_node_machine_are_not_for_a_shard() {
    let mut cluster = Cluster::new(THREE);
    for op in [Op::Topology, Op::Hello, Op::Welcome, Op::Status, Op::AdminReply, Op::Warm] {
        let nothing: &[u8] = &[];
        let frame = frame_of(cluster.hop(op, 1), b"", &nothing);
        for node in [None, Some(2)] {
            let taken = cluster.offer(A, B.link(), node, &frame);
            assert_eq!(taken, Ok(Err(FrameRefused::NotForShard)), "{op:?}");
        }
    }
}

#[test]
fn payloads_that_break_the_rules_of_their_op_are_refused() {
    let (mut cluster, frames) = waiting();
    let before = cluster.sites[&A].store.clone();
    for frame in &frames {
        let frame = Frame::new_checked::<Software>(frame).unwrap();
        let payload = frame.payload();
        let mut longer = payload.to_vec();
        longer.push(0);
        let shorter = &payload[..payload.len() - 1];
        for bad in [&longer[..], shorter, b"\xff\xff\xff"] {
            let bytes = match longer.len() + 8 + frame.key().len() > frame.op().body_bytes_max() {
                true if bad.len() > payload.len() => continue,
                _ => frame_of(*frame.hop(), frame.key(), &bad),
            };
            let taken = cluster.offer(A, B.link(), Some(2), &bytes);
            assert_eq!(taken, Ok(Err(FrameRefused::Malformed)), "{:?}", frame.op());
        }
    }
    assert_eq!(cluster.sites[&A].store, before);
    assert_eq!(cluster.sites[&A].shard.request_count(), 1);
}

#[test]
fn answers_to_nothing_do_nothing() {
    let mut cluster = Cluster::new(THREE);
    let frames = frames(&mut cluster);
    cluster.network.replies.clear();
    for frame in &frames[5..9] {
        assert_eq!(cluster.offer(A, B.link(), Some(2), frame), Ok(Ok(())));
    }
    assert!(cluster.network.flights.is_empty());
    cluster.check_idle();
}

/// The read of a key is answered with the record of another one.
#[test]
fn an_answer_with_another_key_is_no_answer() {
    let (mut cluster, frames) = waiting();
    // The second write of its actor: the actors of two partitions have the same names.
    cluster.put(B, b"other", set(b"one"));
    cluster.put(B, b"other", set(b"other"));
    let (other, store) = (cluster.key(b"other"), &cluster.sites[&B].store);
    let record = store.record(&other).unwrap().unwrap().record.bytes().to_vec();
    let frame = Frame::new_checked::<Software>(&frames[5]).unwrap();
    let wrong = frame_of(*frame.hop(), b"other", &&record[..]);
    for node in [2, 3] {
        assert_eq!(cluster.offer(A, at(node, 0).link(), Some(node), &wrong), Ok(Ok(())));
    }
    assert!(cluster.network.replies.is_empty());
    for node in [2, 3] {
        assert_eq!(cluster.offer(A, at(node, 0).link(), Some(node), &frames[5]), Ok(Ok(())));
    }
    cluster.requests -= 2;
    assert_eq!(cluster.reply().unwrap().values, [b"value"]);
    cluster.check_idle();
}

/// What one node forwards, no other forwards again; between shards it stays as it came.
#[test]
fn a_forwarded_command_says_so() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    for to in cluster.ats() {
        for command in [Command::Get(GetRequest { r: 2, ..GET }), Command::Put(set(b"v"))] {
            cluster.send(to, b"k", command);
            for flight in core::mem::take(&mut cluster.network.flights) {
                let frame = Frame::new_checked::<Software>(&flight.bytes).unwrap();
                let forwarded = match flight.op() {
                    Op::Get => GetRequest::new_checked(frame.payload()).unwrap().forwarded,
                    Op::Put => PutRequest::new_checked(frame.payload()).unwrap().forwarded,
                    _ => continue,
                };
                assert_eq!(forwarded, flight.to.node != to.node);
            }
        }
    }
}

/// A client that says it was forwarded already would get UNAVAILABLE where others are served.
#[test]
fn a_client_cannot_forward() {
    let mut cluster = Cluster::new(Setup { nodes: 5, ..THREE });
    for to in cluster.ats() {
        let put = PutRequest { forwarded: true, ..set(b"v") };
        assert_eq!(cluster.put(to, b"k", put).status, Status::Ok);
        let get = GetRequest { forwarded: true, ..GET };
        assert_eq!(cluster.ask(to, b"k", Command::Get(get)).values, [b"v"]);
    }
    // A peer can: it is not forwarded again.
    let key = cluster.key(b"k");
    let stranger = cluster.sites.iter().find(|(_, site)| !site.shard.owns(key.partition));
    let stranger = *stranger.unwrap().0;
    let from = if stranger == A { B } else { A };
    let get = Command::Get(GetRequest { forwarded: true, ..GET });
    let frame = frame_of(cluster.hop(Op::Get, 9), b"k", &get);
    cluster.offer(stranger, from.link(), Some(from.node), &frame).unwrap().unwrap();
    let sent: Vec<Op> = cluster.network.flights.iter().map(Flight::op).collect();
    assert_eq!(sent, [Op::Read, Op::Read], "it asks the owners itself");
    cluster.run_but(|flight| flight.op() == Op::Reply);
    let flight = cluster.network.flights.pop_front().unwrap();
    assert_eq!((flight.to, flight.op()), (from, Op::Reply));
    let reply = Frame::new_checked::<Software>(&flight.bytes).unwrap();
    let reply = Reply::new_checked(reply.payload()).unwrap();
    assert_eq!(reply.head.status, Status::Ok);
    assert_eq!(reply.siblings().map(|sibling| sibling.value).collect::<Vec<_>>(), [b"v"]);
    cluster.check_idle();
}

#[test]
fn a_frame_brings_its_deadline_and_no_more_than_the_longest() {
    let mut cluster = Cluster::new(THREE);
    for (deadline_ms, ends_after) in [(50, 50), (0, 1_000), (u16::MAX, 30_000)] {
        cluster.requests += 1;
        let hop = Hop { deadline_ms, ..cluster.hop(Op::Get, cluster.requests) };
        let frame = frame_of(hop, b"k", &Command::Get(GetRequest { r: 3, ..GET }));
        cluster.offer(A, CLIENT, None, &frame).unwrap().unwrap();
        cluster.network.flights.clear();
        cluster.pass(Duration::from_millis(ends_after - 10));
        assert_eq!(cluster.reply(), None);
        cluster.pass(Duration::from_millis(10));
        assert_eq!(cluster.reply().unwrap().status, Status::NoQuorum);
    }
}
