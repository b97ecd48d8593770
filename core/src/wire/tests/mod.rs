//! One sample of every kind of frame, and what all tests do with them.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::admin::{AdminReply, Commit, Repair, Scrub, Stage, Verb};
use super::frame::{Frame, FrameError, Hop, frame_length, write_frame};
use super::get::GetRequest;
use super::gossip::{Gossip, Liveness, Signal, Update, Updates};
use super::hello::{Cluster, Hello, HelloReply, Kind, Proof, Reason, Refused};
use super::message::Message;
use super::op::Op;
use super::payload::Payload;
use super::peer::{Ack, Hint, Read, ReadSame, Reject, RejectReason};
use super::put::{Condition, Content, PutRequest, Replaces};
use super::reply::{Reply, ReplyHead, ReplySibling, ReplyWriter, Status, reply_bytes};
use super::topology::{Items, Staged, Topology};
use crate::checksum::Software;
use crate::id::{Boot, ClusterId, NodeId, Partition, RequestId, ShardIndex, TopologyId};
use crate::time::UnixMs;

mod damage;
mod epochs;
mod exchange;
mod golden;
mod gossip;
mod handshake;
mod payloads;
mod place;
mod random;
mod routes;
mod scan;
mod survey;
mod table;
mod version;

/// Bytes that count up from 0, for samples to borrow from.
static COUNT: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

const CLUSTER: ClusterId = ClusterId(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
const OPERATION: &[u8] = &[0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
const CONTACT: &[u8] = &[0xd0, 0xd1, 0xd2, 0xd3, 0xd4];

fn nonce(first: u8) -> [u8; 16] {
    core::array::from_fn(|index| first + index as u8)
}

/// The hop part that all samples share but for the op.
fn hop(op: Op) -> Hop {
    Hop {
        op,
        request: RequestId(0x0102_0304),
        deadline_ms: 1000,
        sent_ms: 7,
        topology: TopologyId(0x1112_1314_1516_1718),
        cluster_digest: 0x2122_2324_2526_2728,
    }
}

/// `message` as a frame.
fn encode(key: &[u8], message: &Message<'_>) -> Vec<u8> {
    let mut out = vec![0xee; frame_length(key.len(), message.bytes())];
    write_frame::<Software>(&hop(message.op()), key, message, &mut out);
    out
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    Frame::new_checked::<Software>(bytes)
}

/// A reply, built with the writer; its bytes live as long as the test process.
fn reply(head: ReplyHead, context: &[u8], siblings: &[ReplySibling<'_>]) -> Message<'static> {
    let value_bytes = siblings.iter().map(|sibling| sibling.value.len()).sum();
    let mut out = vec![0xee; reply_bytes(context.len(), siblings.len(), value_bytes)];
    let mut writer = ReplyWriter::new(&head, context.len(), siblings.len() as u16, &mut out);
    writer.context(|out| out.copy_from_slice(context));
    for sibling in siblings {
        writer.sibling(sibling);
    }
    writer.finish();
    Message::Reply(Reply::new_checked(Box::leak(out.into_boxed_slice())).unwrap())
}

/// Name, key and message of every sample, as in `golden.txt`.
fn samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let mut all = handshake_samples();
    all.extend(client_samples());
    all.extend(routes::samples());
    all.extend(peer_samples());
    all.extend(topology_samples());
    all.extend(verb_samples());
    all.extend(gossip_samples());
    all.extend(exchange::samples());
    all.extend(scan::samples());
    all.extend(survey::samples());
    all
}

fn handshake_samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let peer = Hello {
        version_min: 1,
        version_max: 2,
        kind: Kind::Peer,
        shard: ShardIndex(1),
        source_shard: ShardIndex(3),
        shards: 4,
        node: NodeId(0xaabb_ccdd),
        boot: Boot(0x12_3456_7890),
        nonce: nonce(0x30),
        cluster: CLUSTER,
    };
    let client = Hello {
        version_max: 1,
        kind: Kind::Client,
        shard: ShardIndex(0),
        source_shard: ShardIndex(0),
        shards: 0,
        node: NodeId(0),
        boot: Boot(0),
        cluster: ClusterId(0),
        ..peer
    };
    let joiner = Hello { kind: Kind::Joiner, shards: 1, node: NodeId(5), boot: Boot(1), ..client };
    let cluster = Cluster {
        id: CLUSTER,
        hash_seed: 0x99aa_bbcc_ddee_ff00,
        partition_bits: 10,
        n: 3,
        r: 2,
        w: 2,
    };
    let accepts = HelloReply {
        version: 1,
        node: NodeId(0x1122_3344),
        boot: Boot((1 << 40) - 1),
        shards: 4,
        cluster: Some(cluster),
        nonce: nonce(0x40),
        proof: nonce(0x50),
        secret: None,
    };
    let hands_over = HelloReply { boot: Boot(9), secret: Some(&COUNT[0x60..0x81]), ..accepts };
    let node = NodeId(7);
    let boot = Boot(1);
    let alone = HelloReply { node, boot, shards: 1, cluster: None, proof: [0; 16], ..accepts };
    let refused = Refused { reason: Reason::BadProof, version_min: 1, version_max: 1 };
    let apart = Refused { reason: Reason::UnknownVersion, version_min: 2, version_max: 3 };
    vec![
        ("hello_peer", b"", Message::Hello(peer)),
        ("hello_client", b"", Message::Hello(client)),
        ("hello_joiner", b"", Message::Hello(joiner)),
        ("hello_reply", b"", Message::HelloReply(accepts)),
        ("hello_reply_secret", b"", Message::HelloReply(hands_over)),
        ("hello_reply_alone", b"", Message::HelloReply(alone)),
        ("proof", b"", Message::Proof(Proof(nonce(0x50)))),
        ("welcome", b"", Message::Welcome),
        ("refused", b"", Message::Refused(refused)),
        ("refused_version", b"", Message::Refused(apart)),
    ]
}

fn client_samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let get = GetRequest { r: 2, pr: 1, forwarded: true, want_context: true, context: b"ctx" };
    let given = PutRequest {
        w: 2,
        pw: 1,
        dw: 1,
        forwarded: true,
        want_context: true,
        timestamp: UnixMs(1_700_000_000_000),
        replaces: Replaces::Given(b"ctx"),
        content: Content::Value { expires: None, value: b"value" },
    };
    let expires = Some(UnixMs(1_800_000_000_000));
    let local = PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: false,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires, value: b"value" },
    };
    let condition = Condition::IfPresent;
    let read_first = PutRequest {
        w: 2,
        replaces: Replaces::ReadFirst { r: 2, condition, return_old: true },
        content: Content::Tombstone,
        ..local
    };
    let first = |condition| Replaces::ReadFirst { r: 0, condition, return_old: false };
    let value_only = PutRequest {
        replaces: first(Condition::IfAbsent),
        content: Content::ValueOnly { value: b"value" },
        ..local
    };
    let expiry_only = PutRequest {
        replaces: first(Condition::IfEarlier),
        content: Content::ExpiryOnly { expires },
        ..local
    };
    let order = 0x0102_0304_0506_0708;
    let head = ReplyHead { status: Status::Ok, needed: 2, got: 3, live: 2, found: 1, order };
    let new = ReplySibling { timestamp: UnixMs(9), expires: None, value: b"new" };
    let old = ReplySibling { timestamp: UnixMs(8), expires: Some(UnixMs(77)), value: b"" };
    let too_few = ReplyHead { needed: 2, got: 1, ..ReplyHead::of(Status::NoQuorum) };
    vec![
        ("get", b"key", Message::Get(get)),
        ("put_given", b"key", Message::Put(given)),
        ("put_local", b"key", Message::Put(local)),
        ("put_read_first", b"key", Message::Put(read_first)),
        ("put_value_only", b"key", Message::Put(value_only)),
        ("put_expiry_only", b"key", Message::Put(expiry_only)),
        ("reply", b"", reply(head, b"token", &[new, old])),
        ("reply_no_quorum", b"", reply(too_few, b"", &[])),
    ]
}

fn peer_samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let record = &COUNT[0x80..0x8c];
    let order = 0x0102_0304_0506_0708;
    let target = NodeId(0x2122_2324);
    let reject = Reject { reason: RejectReason::StaleTopology, order };
    vec![
        ("replicate", b"key", Message::Replicate(record)),
        ("replicate_sync", b"key", Message::ReplicateSync(record)),
        ("ack", b"", Message::Ack(Ack { order, durable: true })),
        ("read", b"key", Message::Read(Read { known: 0, target: NodeId(0) })),
        ("read_hint", b"key", Message::Read(Read { known: 0x1112_1314_1516_1718, target })),
        ("read_reply", b"key", Message::ReadReply(record)),
        ("read_reply_none", b"key", Message::ReadReply(b"")),
        ("reject", b"", Message::Reject(reject)),
        ("hint", b"key", Message::Hint(Hint { target, record })),
        ("hint_sync", b"key", Message::HintSync(Hint { target, record })),
        ("beat", b"", Message::Beat),
        ("read_same", b"", Message::ReadSame(ReadSame { order, version: 0x1112_1314_1516_1718 })),
    ]
}

fn topology_samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let operations = Items::new(OPERATION, 4).unwrap();
    let contacts = Items::new(CONTACT, 5).unwrap();
    let repair = Message::Repair(Repair { partition: Some(Partition(258)) });
    let admin = AdminReply { status: Status::Ok, text: "{\"name\":\"ä\"}" };
    vec![
        ("topology", b"", Message::Topology(Topology { operations, contacts })),
        ("warm", b"", Message::Warm),
        ("staged", b"", Message::Staged(Staged { revision: 0x1112_1314_1516_1718, operations })),
        ("candidate", b"", Message::Candidate(OPERATION)),
        ("epochs", b"", Message::Epochs(epochs::SOME)),
        ("epochs_none", b"", Message::Epochs(epochs::NONE)),
        ("status", b"", Message::Status),
        ("ring", b"", Message::Ring),
        ("ring_of_key", b"key", Message::Ring),
        ("admin_reply", b"", Message::AdminReply(admin)),
        ("scrub", b"", Message::Scrub(Scrub { accepts_loss: false })),
        ("scrub_accept_loss", b"", Message::Scrub(Scrub { accepts_loss: true })),
        ("scrub_status", b"", Message::ScrubStatus),
        ("hints", b"", Message::Hints),
        ("exchanges", b"", Message::Exchanges),
        ("repair", b"", Message::Repair(Repair { partition: None })),
        ("repair_partition", b"", repair),
        ("repair_status", b"", Message::RepairStatus),
    ]
}

fn verb_samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let join = Stage { verb: Verb::Join, is_forced: false, weight: 0, node: "", argument: "" };
    let forget = Stage { verb: Verb::Forget, is_forced: true, node: "oak", ..join };
    let weight = Stage { verb: Verb::Weight, weight: 258, node: "oak", ..join };
    let zone = Stage { verb: Verb::Zone, node: "oak", argument: "east", ..join };
    let commit = |accepts_loss| {
        Message::Commit(Commit { hash: TopologyId(0x1112_1314_1516_1718), accepts_loss })
    };
    vec![
        ("stage_join", b"", Message::Stage(join)),
        ("stage_forget", b"", Message::Stage(forget)),
        ("stage_weight", b"", Message::Stage(weight)),
        ("stage_zone", b"", Message::Stage(zone)),
        ("plan", b"", Message::Plan),
        ("commit", b"", commit(false)),
        ("commit_accept_loss", b"", commit(true)),
        ("clear", b"", Message::Clear),
        ("transfers", b"", Message::Transfers),
        ("reap", b"", Message::Reap),
        ("reap_status", b"", Message::ReapStatus),
    ]
}

/// An update; suspicion is by node 0x11223344.
fn update(node: u32, boot: u64, incarnation: u32, status: Liveness) -> Update {
    let accuser = if status == Liveness::Suspect { 0x1122_3344 } else { 0 };
    let (node, boot, accuser) = (NodeId(node), Boot(boot), NodeId(accuser));
    Update { node, boot, incarnation, status, accuser }
}

/// `updates` as they travel; their bytes live as long as the test process.
fn updates(updates: &[Update]) -> Updates<'static> {
    let room = vec![[0xee; Update::BYTES]; updates.len()];
    Updates::write(updates.iter().copied(), Box::leak(room.into_boxed_slice()))
}

fn gossip_samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let some = [
        update(0xaabb_ccdd, 0x12_3456_7890, 3, Liveness::Suspect),
        update(7, 1, 0, Liveness::Alive),
        update(8, (1 << 40) - 1, u32::MAX, Liveness::Down),
    ];
    let gossip =
        |signal, some: &[Update]| Message::Gossip(Gossip { signal, updates: updates(some) });
    let ping = Signal::Ping { sequence: 0x0102_0304, origin: NodeId(0xaabb_ccdd) };
    let request = Signal::PingRequest { sequence: 5, target: NodeId(6) };
    let pong = Signal::Pong { sequence: 5, origin: NodeId(7) };
    let relaying = Signal::Relaying { sequence: 5, target: NodeId(8) };
    let sync = Signal::Sync { digest: 0x0102_0304_0506_0708 };
    vec![
        ("ping", b"", gossip(ping, &some)),
        ("ping_request", b"", gossip(request, &[])),
        ("pong", b"", gossip(pong, &some[1..2])),
        ("relaying", b"", gossip(relaying, &[])),
        ("sync", b"", gossip(sync, &[])),
        ("sync_table", b"", gossip(Signal::SyncTable { is_request: false }, &some)),
        ("sync_table_request", b"", gossip(Signal::SyncTable { is_request: true }, &some)),
    ]
}

#[test]
fn every_op_has_a_sample() {
    let samples = samples();
    for &op in Op::ALL {
        assert!(samples.iter().any(|(_, _, message)| message.op() == op), "{op:?}");
    }
}
