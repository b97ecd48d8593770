//! The messages of exchanges: samples, and the rules of each.

use zerocopy::little_endian::U64;

use super::*;
use crate::id::Partition;
use crate::wire::exchange::{
    End, EndReason, Entry, Fetch, Fetched, Hashes, List, Listed, Nodes, Open, Range, Stream,
    Streamed,
};
use crate::wire::payload::Malformed;

static HASHES: [U64; 16] = {
    let mut hashes = [U64::new(0); 16];
    let mut at = 0;
    while at < 16 {
        hashes[at] = U64::new(at as u64);
        at += 1;
    }
    hashes
};
static RANGES: [Range; 2] = [Range::new(4, 6), Range::new(8, u64::MAX)];
static ENTRIES: [Entry; 3] = [Entry::new(5, 10), Entry::new(5, 10), Entry::new(6, 1)];
static ORDERS: [U64; 2] = [U64::new(7), U64::new(3)];

pub(super) fn samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let open = Open { partition: Partition(0x3132), root: 0x4142_4344_4546_4748, keys: 1000 };
    let nodes = Nodes { level: 2, bits: [1 << 63, 1, 0, 1 << 63] };
    let hashes = Hashes { level: 2, keys: 77, hashes: &HASHES };
    let list = List { after: Entry::new(5, 9), ranges: &RANGES };
    let listed = Listed { done: false, entries: &ENTRIES };
    let none = Listed { done: true, entries: &[] };
    let fetch = Fetch { bytes: 1 << 18, orders: &ORDERS };
    let stream = Stream { from: 7, bytes: 1 << 18 };
    let end = End { reason: EndReason::Finished, differences: 3, sent: 40, got: 50 };
    vec![
        ("exchange_open", b"", Message::ExchangeOpen(open)),
        ("exchange_same", b"", Message::ExchangeSame),
        ("exchange_nodes", b"", Message::ExchangeNodes(nodes)),
        ("exchange_hashes", b"", Message::ExchangeHashes(hashes)),
        ("exchange_list", b"", Message::ExchangeList(list)),
        ("exchange_listed", b"", Message::ExchangeListed(listed)),
        ("exchange_listed_none", b"", Message::ExchangeListed(none)),
        ("exchange_record", b"key", Message::ExchangeRecord(&COUNT[0x80..0x8c])),
        ("exchange_fetch", b"", Message::ExchangeFetch(fetch)),
        ("exchange_fetched", b"", Message::ExchangeFetched(Fetched { served: 2, refused: 1 })),
        ("exchange_stream", b"", Message::ExchangeStream(stream)),
        ("exchange_streamed", b"", Message::ExchangeStreamed(Streamed { next: Some(9) })),
        ("exchange_streamed_all", b"", Message::ExchangeStreamed(Streamed { next: None })),
        ("exchange_end", b"", Message::ExchangeEnd(end)),
    ]
}

/// A payload of these words behind `first`.
fn words(first: &[u8], words: &[u64]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    first.iter().copied().chain(words).collect()
}

#[test]
fn nodes_are_of_their_level_and_few() {
    let read = |level: u8, bits: [u64; 4]| {
        Nodes::new_checked(&words(&[level, 0, 0, 0, 0, 0, 0, 0], &bits))
    };
    for level in 0..4 {
        for index in 0..256 {
            let mut bits = [0; 4];
            bits[index / 64] = 1 << (index % 64);
            let there = level < 3 && index < 16_usize.pow(u32::from(level));
            let nodes = read(level, bits);
            assert_eq!(nodes.is_ok(), there, "{level} {index}");
            assert!(nodes.is_err() || nodes.unwrap().iter().eq([index]));
        }
    }
    assert_eq!(read(2, [0; 4]), Err(Malformed));
    assert_eq!(read(2, [0xffff, 0, 0, 0]).unwrap().count(), 16);
    assert_eq!(read(2, [0xffff, 0, 0, 1]), Err(Malformed));
}

#[test]
fn hashes_come_in_whole_nodes() {
    for count in 0..300 {
        for level in 0..4 {
            let mut first = [0; 16];
            first[0] = level;
            let read = Hashes::new_checked(&words(&first, &vec![7; count])).is_ok();
            let whole = count > 0 && count <= 256 && count % 16 == 0;
            assert_eq!(read, whole && level < 3, "{count} {level}");
        }
    }
}

#[test]
fn ranges_ascend_and_stay_apart() {
    let read = |ranges: &[u64]| List::new_checked(&words(&[0; 16], ranges)).is_ok();
    for case in 0..256_u64 {
        let [a, b, c, d] = [case & 3, case >> 2 & 3, case >> 4 & 3, case >> 6];
        assert_eq!(read(&[a, b]), a <= b);
        assert_eq!(read(&[a, b, c, d]), a <= b && b < c && c <= d, "{a} {b} {c} {d}");
    }
    let many = |count: u64| read(&(0..2 * count).collect::<Vec<_>>());
    assert!(!many(0) && many(1) && many(256) && !many(257));
    assert!(!read(&[1]));
}

#[test]
fn entries_ascend_and_are_there_unless_all_were() {
    let read = |flags: u8, entries: &[u64]| {
        Listed::new_checked(&words(&[flags, 0, 0, 0, 0, 0, 0, 0], entries)).is_ok()
    };
    for case in 0..256_u64 {
        let [a, b, c, d] = [case & 3, case >> 2 & 3, case >> 4 & 3, case >> 6];
        let sound = b != 0 && d != 0 && (a, b) <= (c, d);
        assert_eq!(read(0, &[a, b, c, d]), sound, "{a} {b} {c} {d}");
    }
    assert!(read(1, &[]) && !read(0, &[]) && !read(2, &[1, 1]));
    assert!(read(1, &[1; 1024]) && !read(1, &[1; 1026]) && !read(1, &[1; 3]));
}

#[test]
fn fetches_and_streams_want_something() {
    let fetch = |bytes: u64, count: usize| {
        Fetch::new_checked(&words(&[], &[bytes]))
            .and_then(|_| {
                Fetch::new_checked(&words(&bytes.to_le_bytes(), &vec![1; count])).map(|_| ())
            })
            .is_ok()
    };
    assert!(fetch(1, 0) && fetch(1, 64));
    assert!(!fetch(0, 1) && !fetch(1, 65) && !fetch(1 << 32, 1));
    let stream = |bytes: u64| Stream::new_checked(&words(&[], &[5, bytes])).is_ok();
    assert!(stream(1) && !stream(0) && !stream(1 << 32 | 1));
    let streamed = |next: u64, flags: u64| Streamed::new_checked(&words(&[], &[next, flags]));
    assert_eq!(streamed(0, 1), Ok(Streamed { next: Some(0) }));
    assert_eq!(streamed(0, 0), Ok(Streamed { next: None }));
    assert!(streamed(1, 0).is_err() && streamed(0, 2).is_err() && streamed(0, 256).is_err());
}
