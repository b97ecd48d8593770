//! Random messages, written and read again.

use super::*;
use crate::limits::EXPIRES_MS_MAX;
use crate::prng::Prng;
use crate::wire::frame::stamp_frames;
use crate::wire::place::{PlaceKind, PlacePart};
use crate::wire::{VERSION, VERSION_MIN};

/// Up to `count_max` random bytes that live as long as the test process.
fn bytes(prng: &mut Prng, count_max: usize) -> &'static [u8] {
    let count = prng.below(count_max as u64 + 1);
    let bytes: Vec<u8> = (0..count).map(|_| prng.next_u64() as u8).collect();
    Box::leak(bytes.into_boxed_slice())
}

/// One to `count_max` of them.
fn some_bytes(prng: &mut Prng, count_max: usize) -> &'static [u8] {
    let bytes = bytes(prng, count_max);
    if bytes.is_empty() { b"x" } else { bytes }
}

fn random16(prng: &mut Prng) -> [u8; 16] {
    (u128::from(prng.next_u64()) << 64 | u128::from(prng.next_u64())).to_le_bytes()
}

fn random_hello(prng: &mut Prng) -> Hello {
    let client = prng.chance(30);
    let shards = if client { 0 } else { 1 + prng.below(256) as u16 };
    let version_min = 1 + prng.below(4) as u8;
    let of_node = |number: u64| if client { 0 } else { number };
    Hello {
        version_min,
        version_max: version_min + prng.below(4) as u8,
        kind: if client { Kind::Client } else { Kind::Peer },
        shard: ShardIndex(prng.below(256) as u16),
        source_shard: ShardIndex(if client { 0 } else { prng.below(shards.into()) as u16 }),
        shards,
        node: NodeId(of_node(1 + prng.below(1 << 30)) as u32),
        boot: Boot(of_node(prng.below(1 << 40))),
        nonce: random16(prng),
        cluster: ClusterId(u128::from_le_bytes(random16(prng))),
    }
}

fn random_hello_reply(prng: &mut Prng) -> HelloReply<'static> {
    let n = 1 + prng.below(8) as u8;
    let cluster = Cluster {
        id: ClusterId(u128::from_le_bytes(random16(prng)) | 1),
        hash_seed: prng.next_u64(),
        partition_bits: 6 + prng.below(9) as u8,
        n,
        r: 1 + prng.below(n.into()) as u8,
        w: 1 + prng.below(n.into()) as u8,
    };
    let secret = &COUNT[..32 + prng.below(200) as usize];
    HelloReply {
        version: 1 + prng.below(255) as u8,
        node: NodeId(1 + prng.below(1 << 30) as u32),
        boot: Boot(prng.below(1 << 40)),
        shards: 1 + prng.below(256) as u16,
        cluster: prng.chance(50).then_some(cluster),
        nonce: random16(prng),
        proof: random16(prng),
        secret: prng.chance(50).then_some(secret),
    }
}

fn random_put(prng: &mut Prng) -> PutRequest<'static> {
    let condition = Condition::ALL[prng.below(Condition::ALL.len() as u64) as usize];
    let replaces = match prng.below(3) {
        0 => Replaces::Given(bytes(prng, 60)),
        1 => Replaces::Local,
        _ => {
            Replaces::ReadFirst { r: prng.below(256) as u8, condition, return_old: prng.chance(50) }
        }
    };
    let expires = prng.chance(50).then_some(UnixMs(1 + prng.below(EXPIRES_MS_MAX)));
    let reads_first = matches!(replaces, Replaces::ReadFirst { .. });
    let content = match prng.below(if reads_first { 5 } else { 3 }) {
        0 => Content::Tombstone,
        1 | 2 => Content::Value { expires, value: bytes(prng, 100) },
        3 => Content::ValueOnly { value: bytes(prng, 100) },
        _ => Content::ExpiryOnly { expires },
    };
    PutRequest {
        w: prng.next_u64() as u8,
        pw: prng.next_u64() as u8,
        dw: prng.next_u64() as u8,
        forwarded: prng.chance(50),
        want_context: prng.chance(50),
        timestamp: UnixMs(prng.next_u64()),
        replaces,
        content,
    }
}

fn random_reply(prng: &mut Prng) -> Message<'static> {
    let status = Status::ALL[prng.below(Status::ALL.len() as u64) as usize];
    let head = ReplyHead {
        status,
        needed: prng.next_u64() as u8,
        got: prng.next_u64() as u8,
        live: prng.next_u64() as u16,
        found: prng.next_u64() as u16,
        order: prng.next_u64(),
    };
    let mut timestamps: Vec<u64> = (0..prng.below(6)).map(|_| prng.below(1000)).collect();
    timestamps.sort_unstable_by(|left, right| right.cmp(left));
    let siblings: Vec<ReplySibling<'_>> = timestamps
        .into_iter()
        .map(|timestamp| ReplySibling {
            timestamp: UnixMs(timestamp),
            expires: prng.chance(50).then_some(UnixMs(1 + prng.below(9))),
            value: bytes(prng, 50),
        })
        .collect();
    reply(head, bytes(prng, 60), &siblings)
}

fn random_topology(prng: &mut Prng) -> Topology<'static> {
    let mut items = || {
        let item_bytes = 1 + prng.below(40) as usize;
        let count = prng.below(6) as usize;
        Items::new(&COUNT[..item_bytes * count], item_bytes).unwrap()
    };
    Topology { operations: items(), contacts: items() }
}

fn random_gossip(prng: &mut Prng) -> Gossip<'static> {
    let (sequence, node) = (prng.next_u64() as u32, NodeId(1 + prng.below(1 << 30) as u32));
    let signal = match prng.below(6) {
        0 => Signal::Ping { sequence, origin: node },
        1 => Signal::PingRequest { sequence, target: node },
        2 => Signal::Pong { sequence, origin: node },
        3 => Signal::Relaying { sequence, target: node },
        4 => Signal::Sync { digest: prng.next_u64() },
        _ => Signal::SyncTable { is_request: prng.chance(50) },
    };
    let count = prng.below(signal.update_count_max() as u64 + 1);
    let some: Vec<Update> = (0..count)
        .map(|_| {
            let status = Liveness::ALL[prng.below(3) as usize];
            let node = 1 + prng.below(1 << 30) as u32;
            update(node, prng.below(1 << 40), prng.next_u64() as u32, status)
        })
        .collect();
    Gossip { signal, updates: updates(&some) }
}

fn random_message(prng: &mut Prng) -> (&'static [u8], Message<'static>) {
    let key = some_bytes(prng, 40);
    let reason = RejectReason::ALL[prng.below(RejectReason::ALL.len() as u64) as usize];
    let order = prng.next_u64();
    let target = NodeId(1 + prng.below(u64::from(u32::MAX)) as u32);
    match prng.below(17) {
        0 => (b"", Message::Hello(random_hello(prng))),
        1 => (b"", Message::HelloReply(random_hello_reply(prng))),
        2 => {
            let (r, pr) = (prng.next_u64() as u8, prng.next_u64() as u8);
            let (forwarded, want_context) = (prng.chance(50), prng.chance(50));
            let context = bytes(prng, 60);
            (key, Message::Get(GetRequest { r, pr, forwarded, want_context, context }))
        }
        3 | 4 => (key, Message::Put(random_put(prng))),
        5 | 6 => (b"", random_reply(prng)),
        7 => (key, Message::Replicate(some_bytes(prng, 200))),
        8 => (b"", Message::Ack(Ack { order, durable: prng.chance(50) })),
        9 => (b"", Message::Reject(Reject { reason, order })),
        10 => (b"", Message::ReadSame(ReadSame { order, version: prng.next_u64() })),
        11 => (key, Message::Read(Read { known: order, target })),
        12 => (key, Message::Hint(Hint { target, record: some_bytes(prng, 200) })),
        13 => (b"", Message::Topology(random_topology(prng))),
        14 | 15 => (b"", Message::Gossip(random_gossip(prng))),
        _ => (b"", Message::Warm),
    }
}

#[test]
fn random_messages_come_back() {
    let mut prng = Prng::new(5);
    for _ in 0..5_000 {
        let (key, message) = random_message(&mut prng);
        let hop = Hop {
            op: message.op(),
            request: RequestId(prng.next_u64() as u32),
            deadline_ms: prng.next_u64() as u16,
            sent_ms: prng.next_u64() as u16,
            topology: TopologyId(prng.next_u64()),
            cluster_digest: prng.next_u64(),
        };
        let mut out = vec![0xee; frame_length(key.len(), message.bytes())];
        write_frame::<Software>(&hop, key, &message, &mut out);
        let frame = parse(&out).unwrap();
        assert_eq!((frame.hop(), frame.key()), (&hop, key));
        assert_eq!(Message::new_checked(&frame), Ok(message));
    }
}

#[test]
fn random_place_parts_come_back() {
    let mut prng = Prng::new(6);
    for _ in 0..2_000 {
        let place = PlacePart {
            target: NodeId(0),
            kind: PlaceKind::ALL[prng.below(2) as usize],
            body_bytes: 8 + prng.below(1 << 24) as u32,
            segment: prng.next_u64() as u32,
            offset: prng.next_u64(),
            mine: prng.chance(50).then_some(prng.below(65_535) as u16),
            flags: prng.next_u64() as u16,
        };
        let mut out = [0xee; 36];
        let crc32c = prng.next_u64() as u32;
        out[32..].copy_from_slice(&crc32c.to_le_bytes());
        place.stamp::<Software>(crc32c, &mut out[..32]);
        let read = PlacePart::new_checked::<Software>(&out, place.segment, place.offset);
        assert_eq!(read, Ok(place));
    }
}

#[test]
fn stamping_changes_nothing_but_the_stamps() {
    let mut prng = Prng::new(8);
    for _ in 0..500 {
        let mut frames = Vec::new();
        let (mut lengths, mut oldest) = (Vec::new(), VERSION_MIN);
        for _ in 0..prng.below(5) {
            let (key, message) = random_message(&mut prng);
            let frame = encode(key, &message);
            lengths.push(frame.len());
            oldest = oldest.max(message.op().since());
            frames.extend_from_slice(&frame);
        }
        let before = frames.clone();
        let sent_ms = prng.next_u64() as u16;
        let version = oldest + prng.below(u64::from(VERSION - oldest) + 1) as u8;
        stamp_frames(&mut frames, version, sent_ms);
        let mut start = 0;
        for length in lengths {
            let whole = start..start + length;
            let (old, new) = (parse(&before[whole.clone()]), parse(&frames[whole]));
            let (old, new) = (old.expect("it was written"), new.expect("it was stamped"));
            assert_eq!(*new.hop(), Hop { sent_ms, ..*old.hop() });
            assert!(new.speaks(version));
            assert_eq!(new.body().bytes(), old.body().bytes());
            start += length;
        }
    }
}

#[test]
#[should_panic = "frames were written here"]
fn stamping_half_a_frame_is_a_bug() {
    let frame = encode(b"", &Message::Warm);
    stamp_frames(&mut frame[..5].to_vec(), VERSION, 1);
}
