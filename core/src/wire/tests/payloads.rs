//! The rules of each payload, against rules written down another way.

use super::*;
use crate::limits::{EXPIRES_MS_MAX, OPERATION_COUNT_MAX, VALUE_BYTES_MAX};
use crate::wire::payload::Malformed;
use crate::wire::{ADMIN_BYTES_MAX, CONTEXT_BYTES_MAX};

/// The payload of `message`.
fn payload(message: &impl Payload) -> Vec<u8> {
    let mut out = vec![0xee; message.bytes()];
    message.write(&mut out);
    out
}

/// What the cases of a PUT differ in.
#[derive(Clone, Copy, Debug)]
struct RawPut<'a> {
    flags: u16,
    condition: u8,
    r: u8,
    expires: u64,
    context: &'a [u8],
    value: &'a [u8],
}

const RAW_PUT: RawPut<'_> =
    RawPut { flags: 0, condition: 0, r: 0, expires: 0, context: b"", value: b"" };

impl RawPut<'_> {
    /// Field by field.
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![1, 2, 3, self.r];
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&[self.condition, 0]);
        out.extend_from_slice(&9_u64.to_le_bytes());
        out.extend_from_slice(&self.expires.to_le_bytes());
        out.extend_from_slice(&(self.context.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        out.extend_from_slice(self.context);
        out.extend_from_slice(self.value);
        out
    }

    fn is_refused(&self) -> bool {
        PutRequest::new_checked(&self.bytes()) == Err(Malformed)
    }

    /// The contradictions of a PUT, one per line of the table.
    fn contradicts(&self) -> bool {
        let RawPut { flags, condition, r, expires, context, value } = *self;
        let has = |bit: u16| flags & bit != 0;
        let (tombstone, expiring, local, read_first) = (has(2), has(4), has(8), has(16));
        let (value_only, expiry_only, old) = (has(32), has(64), has(128));
        flags >= 512
            || condition > 6
            || (local && read_first)
            || ((local || read_first) && !context.is_empty())
            || ((condition != 0 || old || r != 0) && !read_first)
            || ((value_only || expiry_only) && !read_first)
            || [tombstone, value_only, expiry_only].iter().filter(|only| **only).count() > 1
            || ((tombstone || value_only) && expiring)
            || ((tombstone || expiry_only) && !value.is_empty())
            || (expires != 0) != expiring
    }
}

#[test]
fn every_combination_of_put_flags() {
    let mut sound = 0;
    for case in 0..(1 << 13) * 16_u32 {
        let raw = RawPut {
            flags: (case >> 7) as u16,
            condition: (case >> 4 & 7) as u8,
            r: (case & 1) as u8,
            expires: u64::from(case >> 1 & 1),
            context: if case & 4 != 0 { b"c" } else { b"" },
            value: if case & 8 != 0 { b"v" } else { b"" },
        };
        let bytes = raw.bytes();
        let read = PutRequest::new_checked(&bytes);
        assert_eq!(read.is_err(), raw.contradicts(), "{raw:?}");
        let Ok(put) = read else { continue };
        sound += 1;
        let flags = raw.flags;
        assert_eq!((put.w, put.pw, put.dw, put.timestamp), (1, 2, 3, UnixMs(9)));
        assert_eq!((put.forwarded, put.want_context), (flags & 1 != 0, flags & 256 != 0));
        assert_eq!(payload(&put), bytes);
        match put.replaces {
            Replaces::Given(given) => assert_eq!((given, flags & 24), (raw.context, 0)),
            Replaces::Local => assert_eq!(flags & 24, 8),
            Replaces::ReadFirst { r, condition, return_old } => {
                assert_eq!((r, flags & 16, return_old), (raw.r, 16, flags & 128 != 0));
                assert_eq!(condition.number(), raw.condition);
            }
        }
        let kind = match put.content {
            Content::Value { .. } => 0,
            Content::Tombstone => 2,
            Content::ValueOnly { .. } => 32,
            Content::ExpiryOnly { .. } => 64,
        };
        assert_eq!(flags & (2 | 32 | 64), kind);
        assert_eq!(put.content.value().unwrap_or_default(), raw.value);
        assert_eq!(put.content.expires(), (flags & 4 != 0).then_some(UnixMs(raw.expires)));
    }
    assert!(sound > 100, "{sound}");
    for bit in 9..16 {
        assert!(RawPut { flags: 1 << bit, ..RAW_PUT }.is_refused());
    }
}

#[test]
fn the_end_of_a_value_is_bounded() {
    let is_refused = |expires| RawPut { flags: 4, expires, ..RAW_PUT }.is_refused();
    assert!(is_refused(0));
    assert!(!is_refused(1));
    assert!(!is_refused(EXPIRES_MS_MAX));
    assert!(is_refused(EXPIRES_MS_MAX + 1));
}

#[test]
fn values_and_contexts_are_bounded() {
    let long = vec![7; CONTEXT_BYTES_MAX.max(VALUE_BYTES_MAX) + 1];
    let put = |context: usize, value: usize| {
        !RawPut { context: &long[..context], value: &long[..value], ..RAW_PUT }.is_refused()
    };
    assert!(put(CONTEXT_BYTES_MAX, VALUE_BYTES_MAX));
    assert!(!put(CONTEXT_BYTES_MAX + 1, 0));
    assert!(!put(0, VALUE_BYTES_MAX + 1));
    let get = |bytes: usize| {
        let head = [&[0; 4][..], &(bytes as u32).to_le_bytes()].concat();
        GetRequest::new_checked(&[&head, &long[..bytes]].concat()).is_ok()
    };
    assert!(get(CONTEXT_BYTES_MAX));
    assert!(!get(CONTEXT_BYTES_MAX + 1));
    let reply = |bytes: usize| {
        let mut head = [0; 24];
        head[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
        Reply::new_checked(&[&head, &long[..bytes]].concat()).is_ok()
    };
    assert!(reply(CONTEXT_BYTES_MAX));
    assert!(!reply(CONTEXT_BYTES_MAX + 1));
    let text = vec![b' '; ADMIN_BYTES_MAX + 2];
    let admin = |bytes: usize| AdminReply::new_checked(&[&[0], &text[..bytes]].concat()).is_ok();
    assert!(admin(ADMIN_BYTES_MAX));
    assert!(!admin(ADMIN_BYTES_MAX + 1));
}

#[test]
fn a_hint_is_for_somebody_and_holds_a_record() {
    let whole = payload(&Hint { target: NodeId(7), record: b"r" });
    assert_eq!(Hint::new_checked(&whole), Ok(Hint { target: NodeId(7), record: b"r" }));
    assert_eq!(Hint::new_checked(&whole[..8]), Err(Malformed), "no record");
    for (at, byte) in [(0, 0), (4, 1)] {
        let mut wrong = whole.clone();
        wrong[at] = byte;
        assert_eq!(Hint::new_checked(&wrong), Err(Malformed));
    }
}

#[test]
fn a_repair_is_of_one_partition_or_of_all() {
    for (bytes, partition) in [([0; 8], None), ([1, 0, 2, 1, 0, 0, 0, 0], Some(Partition(258)))] {
        assert_eq!(Repair::new_checked(&bytes), Ok(Repair { partition }));
        for at in [0, 1, 4, 5, 6, 7] {
            let mut other = bytes;
            other[at] |= 2;
            assert!(Repair::new_checked(&other).is_err(), "{at}");
        }
    }
    assert!(Repair::new_checked(&[0, 0, 1, 0, 0, 0, 0, 0]).is_err(), "all, but of one");
}

#[test]
fn every_small_stage() {
    for case in 0..7_u16 * 2 * 2 * 3 * 3 {
        let (verb, flags) = (1 + case % 7, case / 7 % 2);
        let (weight, node, argument) = (case / 14 % 2, case / 28 % 3, case / 84 % 3);
        let mut bytes = vec![verb as u8, flags as u8, weight as u8, 0];
        bytes.extend([node as u8, 0, argument as u8, 0]);
        bytes.extend(vec![b'x'; usize::from(node + argument)]);
        let is_sound = verb <= 6
            && (flags == 0 || verb == 4)
            && (weight == 1) == (verb == 5)
            && (node > 0 || verb == 1)
            && (argument > 0) == (verb == 3 || verb == 6);
        let read = Stage::new_checked(&bytes);
        assert_eq!(read.is_ok(), is_sound, "{bytes:?}");
        if let Ok(stage) = read {
            assert_eq!(payload(&stage), bytes);
        }
        bytes.push(b'x');
        assert!(Stage::new_checked(&bytes).is_err(), "one byte too many");
    }
    let long = "x".repeat(33);
    let head = [2, 0, 0, 0, 33, 0, 0, 0];
    assert!(Stage::new_checked(&[&head[..], long.as_bytes()].concat()).is_err());
    assert!(Stage::new_checked(&[2, 0, 0, 0, 1, 0, 0, 0, 0xff]).is_err(), "no text");
    assert!(Stage::new_checked(&[2, 2, 0, 0, 1, 0, 0, 0, b'x']).is_err(), "no such flag");
}

#[test]
fn a_commit_says_one_thing() {
    for at in 0..128 {
        let bits = 1_u128 << at;
        assert_eq!(Commit::new_checked(&bits.to_le_bytes()).is_ok(), at <= 64, "{at}");
    }
    assert!(Commit::new_checked(&[0; 15]).is_err());
}

#[test]
fn a_scrub_says_one_thing() {
    for (flags, accepts_loss) in [(0, false), (1, true)] {
        let read = Scrub::new_checked(&[flags, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read, Ok(Scrub { accepts_loss }));
    }
    for at in 0..64 {
        let bits = 1_u64 << at;
        assert_eq!(Scrub::new_checked(&bits.to_le_bytes()).is_ok(), at == 0);
    }
    for bytes in (0..16).filter(|bytes| *bytes != 8) {
        assert!(Scrub::new_checked(&[0; 16][..bytes]).is_err());
    }
}

#[test]
fn every_small_topology() {
    for case in 0..9_u32 * 81 {
        let [count, bytes, contacts, contact_bytes] =
            [case % 3, case / 3 % 3, case / 9 % 3, case / 27 % 3].map(|n| n as usize);
        let length = (case / 81) as usize;
        let mut raw = Vec::new();
        for field in [count, bytes, contacts, contact_bytes] {
            raw.extend_from_slice(&(field as u16).to_le_bytes());
        }
        raw.extend_from_slice(&COUNT[..length]);
        let whole = length == count * bytes + contacts * contact_bytes;
        let named = (count == 0 || bytes > 0) && (contacts == 0 || contact_bytes > 0);
        let read = Topology::new_checked(&raw);
        assert_eq!(read.is_ok(), whole && named, "{raw:?}");
        let Ok(topology) = read else { continue };
        let mut at = 0;
        for (items, count, bytes) in
            [(topology.operations, count, bytes), (topology.contacts, contacts, contact_bytes)]
        {
            assert_eq!((items.len(), items.item_bytes()), (count, bytes));
            assert_eq!(items.is_empty(), count == 0);
            for item in items.iter() {
                assert_eq!(item, &COUNT[at..at + bytes]);
                at += bytes;
            }
        }
        assert_eq!(at, length);
    }
}

#[test]
fn topologies_are_bounded() {
    let zeros = vec![0; (OPERATION_COUNT_MAX + 1).max(257 * 256)];
    let read = |count: usize, bytes: usize, contacts: usize, contact_bytes: usize| {
        let mut raw = Vec::new();
        for field in [count, bytes, contacts, contact_bytes] {
            raw.extend_from_slice(&(field as u16).to_le_bytes());
        }
        raw.extend_from_slice(&zeros[..count * bytes + contacts * contact_bytes]);
        Topology::new_checked(&raw).is_ok()
    };
    assert!(read(OPERATION_COUNT_MAX, 1, 256, 1));
    assert!(read(1, 256, 1, 256));
    assert!(!read(OPERATION_COUNT_MAX + 1, 1, 0, 0));
    assert!(!read(0, 0, 257, 1));
    assert!(!read(1, 257, 0, 0));
    assert!(!read(0, 0, 1, 257));
}

#[test]
fn a_hello_fits_its_kind() {
    let golden = |name| golden::golden(name)[40..].to_vec();
    let (peer, client) = (golden("hello_peer"), golden("hello_client"));
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut changed = bytes.to_vec();
        changed[at] = byte;
        Hello::new_checked(&changed).is_ok()
    };
    assert!(!with(&peer, 0, 0), "version 0");
    assert!(!with(&peer, 0, 3), "oldest version above the newest");
    assert!(!with(&peer, 2, 0) && !with(&peer, 2, 4), "no such kind");
    assert!(!with(&peer, 2, 2), "a client with a node");
    assert!(with(&peer, 2, 3), "a joiner has all that a peer has");
    assert!(with(&peer, 4, 255) && !with(&peer, 5, 1), "shards end at 255");
    assert!(!with(&peer, 6, 4), "a shard that the dialer has not");
    assert!(!with(&peer, 21, 1), "a boot of 41 bits");
    for at in [6, 8, 12, 16] {
        assert!(!with(&client, at, 1), "a client with a node");
    }
    assert!(with(&client, 4, 1), "a client may ask for a shard");
}

#[test]
fn a_hello_reply_is_whole() {
    let whole = golden::golden("hello_reply_secret")[40..].to_vec();
    let alone = golden::golden("hello_reply_alone")[40..].to_vec();
    let with = |bytes: &[u8], at: usize, byte: u8| {
        let mut changed = bytes.to_vec();
        changed[at] = byte;
        HelloReply::new_checked(&changed).is_ok()
    };
    assert!(HelloReply::new_checked(&whole).is_ok());
    assert!(!with(&whole, 0, 0), "version 0");
    assert!(!with(&whole, 1, 0), "a secret without its flag");
    assert!(!with(&whole, 12, 32), "a wrong length");
    assert!(!with(&whole, 6, 0) && !with(&whole, 7, 2), "shards out of bounds");
    assert!(!with(&whole, 21, 1), "a boot of 41 bits");
    let mut nobody = whole.clone();
    nobody[8..12].fill(0);
    assert!(HelloReply::new_checked(&nobody).is_err(), "no node");
    let mut nowhere = whole.clone();
    nowhere[32..48].fill(0);
    assert!(HelloReply::new_checked(&nowhere).is_err(), "a cluster without its id");
    assert!(!with(&whole, 2, 5) && !with(&whole, 2, 15), "partitions out of bounds");
    assert!(with(&whole, 3, 8) && !with(&whole, 3, 9), "n up to 8");
    assert!(!with(&whole, 4, 0) && !with(&whole, 4, 4), "r up to n");
    assert!(!with(&whole, 5, 0) && !with(&whole, 5, 4), "w up to n");
    for at in [2, 3, 4, 5, 24, 32] {
        assert!(!with(&alone, at, 1), "no cluster is nothing at all");
    }
    assert!(!with(&alone, 1, 1), "a flag without its secret");
    for length in [0, 31, 32, 256, 257] {
        let mut raw = whole[..80].to_vec();
        raw[12..14].copy_from_slice(&(length as u16).to_le_bytes());
        raw.extend_from_slice(&vec![9; length]);
        let sound = (32..=256).contains(&length);
        assert_eq!(HelloReply::new_checked(&raw).is_ok(), sound, "{length}");
    }
}

#[test]
fn replies_are_checked_to_the_last_sibling() {
    let whole = golden::golden("reply")[40..].to_vec();
    let with = |at: usize, byte: u8| {
        let mut changed = whole.to_vec();
        changed[at] = byte;
        Reply::new_checked(&changed).is_ok()
    };
    assert!(with(0, 14) && !with(0, 15), "statuses end at 14");
    assert!(!with(12, 1), "bytes behind the last sibling");
    assert!(!with(12, 3), "a sibling that is not there");
    assert!(with(29, 8) && !with(29, 7), "the second is newer");
    assert!(!with(29 + 16, 4), "a value that reaches into the next sibling");
}

#[test]
fn siblings_come_back_in_order() {
    let (_, _, message) = client_samples().swap_remove(6);
    let Message::Reply(reply) = message else { panic!("the seventh sample is a reply") };
    assert_eq!(reply.context, b"token");
    assert_eq!(reply.siblings().len(), 2);
    let values: Vec<_> = reply.siblings().map(|sibling| sibling.value).collect();
    assert_eq!(values, [&b"new"[..], b""]);
    let expires: Vec<_> = reply.siblings().map(|sibling| sibling.expires).collect();
    assert_eq!(expires, [None, Some(UnixMs(77))]);
}

#[test]
#[should_panic(expected = "sibling.timestamp.0 <= self.newest")]
fn a_writer_refuses_siblings_out_of_order() {
    let old = ReplySibling { timestamp: UnixMs(8), expires: None, value: b"" };
    let new = ReplySibling { timestamp: UnixMs(9), ..old };
    reply(ReplyHead::of(Status::Ok), b"", &[old, new]);
}

#[test]
#[should_panic(expected = "self.sibling_count == 0")]
fn a_writer_refuses_to_end_early() {
    let mut out = [0; 64];
    let bytes = reply_bytes(0, 1, 0);
    ReplyWriter::new(&ReplyHead::of(Status::Ok), 0, 1, &mut out[..bytes]).finish();
}

#[test]
#[should_panic(expected = "self.context_bytes == 0")]
fn a_writer_refuses_to_forget_the_context() {
    let mut out = [0; 64];
    let bytes = reply_bytes(5, 0, 0);
    ReplyWriter::new(&ReplyHead::of(Status::Ok), 5, 0, &mut out[..bytes]).finish();
}

#[test]
#[should_panic(expected = "self.out.is_empty()")]
fn a_writer_refuses_to_leave_bytes() {
    ReplyWriter::new(&ReplyHead::of(Status::Ok), 0, 0, &mut [0; 25]).finish();
}

#[test]
#[should_panic(expected = "self.context_bytes == 0")]
fn a_writer_refuses_a_sibling_before_the_context() {
    let mut out = [0; 64];
    let mut writer = ReplyWriter::new(&ReplyHead::of(Status::Ok), 5, 1, &mut out);
    writer.sibling(&ReplySibling { timestamp: UnixMs(8), expires: None, value: b"" });
}

#[test]
#[should_panic(expected = "sibling.expires != Some(UnixMs(0))")]
fn a_writer_refuses_what_would_read_as_never() {
    let expires = Some(UnixMs(0));
    let sibling = ReplySibling { timestamp: UnixMs(8), expires, value: b"" };
    reply(ReplyHead::of(Status::Ok), b"", &[sibling]);
}

#[test]
#[should_panic(expected = "out.len() == frame_length")]
fn a_frame_fills_its_bytes_exactly() {
    write_frame::<Software>(&hop(Op::Welcome), b"", &Message::Welcome, &mut [0; 41]);
}

#[test]
#[should_panic(expected = "hop.op.takes_key(key.len())")]
fn a_frame_has_the_key_of_its_op() {
    let read = Message::Read(Read { known: 0, target: NodeId(0) });
    write_frame::<Software>(&hop(Op::Read), b"", &read, &mut [0; 56]);
}
