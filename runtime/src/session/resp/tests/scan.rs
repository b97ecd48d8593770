//! SCAN and DBSIZE: batches of pages become one reply, whatever the order of the answers.

use std::collections::BTreeSet;

use ringmain_core::limits::{
    SCAN_ASKED_COUNT_MAX, SCAN_COUNT_MAX, SCAN_PAGE_COUNT_MAX, SCAN_PATTERN_BYTES_MAX,
    SCAN_REPLY_BYTES, SCAN_WINDOW,
};
use ringmain_core::request::Failure;
use ringmain_core::scan::last_of_group;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::reply::{ReplyHead, ReplySibling, ReplyWriter, Status, reply_bytes};
use ringmain_core::wire::scan::{ScanRequest, Scanned};

use super::{Client, Kept, Limits, Model, Owned, RespSession, Speed, UnixMs, resp, show, words};
use crate::session::resp::glob;

/// Where the model has a key: in one of the first partitions, by its first bytes.
fn place_of(key: &[u8], partitions: u32) -> (u16, u64) {
    let mut order = [0; 8];
    let bytes = key.len().min(8);
    order[..bytes].copy_from_slice(&key[..bytes]);
    let order = u64::from_be_bytes(order);
    ((key.iter().map(|byte| u32::from(*byte)).sum::<u32>() % partitions) as u16, order)
}

impl Model {
    /// A page of the keys that live.
    pub(super) fn page(&self, scan: ScanRequest) -> Kept {
        if self.unread.contains(&scan.partition.0) {
            return Kept::Failed(Failure::NoQuorum { needed: 2, got: 1 });
        }
        let bits = self.partitions.trailing_zeros();
        let place = |key: &[u8]| place_of(key, self.partitions);
        let live = self.keys.iter().filter(|(_, entry)| !entry.live.is_empty());
        let of_partition = live.map(|(key, _)| (place(key), key));
        let mut keys: Vec<(u64, &Vec<u8>)> = of_partition
            .filter(|((partition, _), _)| *partition == scan.partition.0)
            .map(|((_, order), key)| (order, key))
            .collect();
        let count = if scan.count == 0 { keys.len() as u64 } else { 0 };
        keys.retain(|(order, _)| *order >= scan.from && scan.count > 0);
        keys.sort_unstable();
        let group = |index: usize| last_of_group(keys[index].0, bits);
        let cut = (usize::from(scan.count)..keys.len()).find(|cut| group(*cut) != group(cut - 1));
        let last = cut.filter(|_| scan.count > 0).map_or(u64::MAX, |cut| group(cut - 1));
        keys.truncate(cut.unwrap_or(keys.len()));
        let key_bytes = keys.iter().map(|(_, key)| key.len()).sum();
        let mut out = vec![0; reply_bytes(Scanned::BYTES, keys.len(), key_bytes)];
        let head = ReplyHead { order: scan.from, ..ReplyHead::of(Status::Ok) };
        let mut writer = ReplyWriter::new(&head, Scanned::BYTES, keys.len() as u16, &mut out);
        writer.context(|out| Scanned { last, keys: count }.write(out));
        for (_, value) in keys {
            writer.sibling(&ReplySibling { timestamp: UnixMs(0), expires: None, value });
        }
        writer.finish();
        Kept::Page(out)
    }
}

impl Client {
    /// One command with its reply, and the pages that were asked for.
    fn asked(&mut self, command: &[u8]) -> (String, Vec<ScanRequest>) {
        self.received.clear();
        self.model.submitted.clear();
        self.send(command);
        while self.model.answer_one(&mut self.session) {
            self.send(b"");
        }
        self.take();
        let scan = |owned: &Owned| match owned {
            Owned::Scan(scan) => Some(*scan),
            _ => None,
        };
        let asked = self.model.submitted.iter().filter_map(scan).collect();
        (String::from_utf8(self.received.clone()).unwrap(), asked)
    }

    /// Cursor, keys, and pages of one SCAN.
    fn scan(&mut self, cursor: &str, options: &str) -> (String, Vec<String>, Vec<ScanRequest>) {
        let (reply, asked) = self.asked(&words(format!("SCAN {cursor} {options}").trim_end()));
        let mut lines = reply.split("\r\n");
        assert_eq!(lines.next(), Some("*2"), "{reply}");
        let cursor = lines.nth(1).unwrap().to_owned();
        let count: usize = lines.next().unwrap()[1..].parse().unwrap();
        let keys: Vec<String> = lines.skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(keys.len(), count);
        (cursor, keys, asked)
    }
}

/// A client of a cluster of so many partitions with so many keys.
fn filled(speed: Speed, partitions: u32, count: usize) -> (Client, BTreeSet<String>) {
    let mut client = Client::new(Speed::Now, 7);
    client.model.partitions = partitions;
    let keys: BTreeSet<String> = (0..count).map(|number| format!("{number}-key")).collect();
    for key in &keys {
        client.send(&words(&format!("SET {key} v")));
    }
    client.send(&words("SET gone v"));
    client.send(&words("DEL gone"));
    client.take();
    client.model.speed = speed;
    (client, keys)
}

#[test]
fn a_whole_scan_shows_every_key_once() {
    for speed in [Speed::Now, Speed::Later, Speed::Mixed] {
        for (partitions, count) in [(2, 0), (2, 300), (64, 5), (64, 700), (1024, 3)] {
            for wanted in [1, 7, 200, 100_000] {
                let (mut client, expected) = filled(speed, partitions, count);
                let (mut cursor, mut found, mut rounds) = ("0".to_owned(), Vec::new(), 0);
                loop {
                    let (next, keys, asked) = client.scan(&cursor, &format!("COUNT {wanted}"));
                    assert!(asked.len() <= SCAN_ASKED_COUNT_MAX as usize);
                    assert!(!asked.is_empty());
                    found.extend(keys);
                    rounds += 1;
                    if next == "0" {
                        break;
                    }
                    let position = |cursor: &str| cursor.parse::<u64>().unwrap();
                    assert!(position(&next) > position(&cursor));
                    cursor = next;
                }
                assert!(rounds <= 1 + count + partitions as usize / SCAN_ASKED_COUNT_MAX as usize);
                assert_eq!(found.len(), count, "{speed:?} {partitions} {wanted}");
                assert_eq!(BTreeSet::from_iter(found), expected);
                let (size, asked) = client.asked(&words("DBSIZE"));
                assert_eq!(size, format!(":{count}\r\n"));
                assert_eq!(asked.len(), partitions as usize);
            }
        }
    }
}

#[test]
fn no_more_is_asked_for_than_is_likely_to_be_needed() {
    let (mut client, _) = filled(Speed::Later, 64, 64 * 50);
    let (_, keys, asked) = client.scan("0", "");
    assert_eq!((keys.len(), asked.len()), (10, 1));
    assert_eq!(asked[0].count, 10);
    let (_, keys, asked) = client.scan("0", "COUNT 120");
    assert!((120..300).contains(&keys.len()), "{}", keys.len());
    assert!(asked.len() <= 6, "{}", asked.len());
    // Nothing anywhere: more and more at once, and not without end.
    let (mut client, _) = filled(Speed::Later, 1024, 0);
    client.send(&words("SCAN 0"));
    assert!(client.model.submitted.len() > SCAN_ASKED_COUNT_MAX as usize / 2);
    let (cursor, keys, asked) = client.scan("0", "");
    assert_eq!((keys.len(), asked.len()), (0, SCAN_ASKED_COUNT_MAX as usize));
    assert_ne!(cursor, "0");
}

#[test]
fn pages_in_flight_are_bounded() {
    let (mut client, _) = filled(Speed::Later, 1024, 0);
    let mut session = RespSession::new(super::CONNECTION, super::LIMITS);
    let (mut bytes, mut most) = (words("SCAN 0 COUNT 4096"), 0);
    loop {
        let progress = session.receive(&bytes, &mut client.model);
        bytes.drain(..progress.consumed);
        most = most.max(client.model.waiting.len());
        assert_eq!(session.pending() as usize, client.model.waiting.len());
        assert!(!session.has_begun() || client.model.waiting.is_empty());
        if !client.model.answer_one(&mut session) {
            break;
        }
    }
    assert_eq!(most, SCAN_WINDOW);
    assert!(session.output_bytes() > 0);
}

#[test]
fn count_and_pattern_are_bounded() {
    let (mut client, _) = filled(Speed::Now, 2, 2 * SCAN_COUNT_MAX as usize);
    for count in [SCAN_COUNT_MAX, SCAN_COUNT_MAX + 1, i64::MAX as u64] {
        let (_, keys, asked) = client.scan("0", &format!("COUNT {count}"));
        let most = SCAN_COUNT_MAX as usize;
        assert!((most..most + SCAN_PAGE_COUNT_MAX).contains(&keys.len()), "{}", keys.len());
        assert!(asked.iter().all(|scan| usize::from(scan.count) <= SCAN_PAGE_COUNT_MAX));
    }
    let pattern = |bytes| words(&format!("SCAN 0 MATCH {}", "x".repeat(bytes)));
    let (reply, _) = client.asked(&pattern(SCAN_PATTERN_BYTES_MAX));
    assert!(reply.starts_with("*2"), "{reply}");
    let (reply, asked) = client.asked(&pattern(SCAN_PATTERN_BYTES_MAX + 1));
    assert_eq!((&reply[..], asked.len()), ("-TOOLARGE pattern over 512 bytes\r\n", 0));
}

#[test]
fn a_reply_ends_with_the_page_that_fills_it() {
    let mut client = Client::new(Speed::Now, 1);
    client.session =
        RespSession::new(super::CONNECTION, Limits { key_bytes_max: 4096, ..super::LIMITS });
    for number in 0..200 {
        client.send(&words(&format!("SET {number:04}{} v", "k".repeat(4000))));
    }
    client.take();
    let (cursor, keys, _) = client.scan("0", "COUNT 1000");
    let bytes: usize = keys.iter().map(|key| key.len()).sum();
    assert_ne!(cursor, "0");
    assert!(bytes >= SCAN_REPLY_BYTES, "{bytes}");
    assert!(bytes < SCAN_REPLY_BYTES + SCAN_PAGE_COUNT_MAX * 4010, "{bytes}");
}

#[test]
fn a_partition_that_cannot_be_read_ends_a_scan_before_it() {
    for speed in [Speed::Now, Speed::Later] {
        let (mut client, _) = filled(speed, 64, 64);
        client.model.unread = vec![5];
        let (cursor, keys, _) = client.scan("0", "COUNT 1000");
        let expected = client.model.keys.keys().filter(|key| place_of(key, 64).0 < 5).count();
        assert_eq!(keys.len(), expected);
        assert_eq!(cursor, (5_u64 << 58).to_string());
        let (reply, _) = client.asked(&words(&format!("SCAN {cursor}")));
        assert_eq!(reply, "-NOQUORUM 2 1\r\n");
        let (reply, _) = client.asked(&words("DBSIZE"));
        assert_eq!(reply, "-UNAVAILABLE R=2 nodes=1\r\n");
        assert_eq!(client.asked(&words("PING")).0, "+PONG\r\n");
    }
}

#[test]
fn without_a_ring_there_is_nothing_to_walk() {
    let (mut client, _) = filled(Speed::Now, 2, 0);
    client.model.partitions = 0;
    for command in ["SCAN 0", "DBSIZE"] {
        let (reply, _) = client.asked(&words(command));
        assert_eq!(reply, "-UNAVAILABLE this node is in no ring yet\r\n");
    }
}

#[test]
fn scans_keep_their_place_among_other_commands() {
    for speed in [Speed::Now, Speed::Later, Speed::InOrder, Speed::Mixed] {
        for seed in 0..20 {
            let mut client = Client::new(speed, seed);
            let lines = [
                "SET a 1", "SCAN 0", "GET a", "SCAN 0", "SET b 2", "DBSIZE", "DEL a b", "SCAN 0",
                "DBSIZE", "PING",
            ];
            client.send(&lines.iter().flat_map(|line| words(line)).collect::<Vec<u8>>());
            let empty = "*2|$1|0|*0|";
            let one = "*2|$1|0|*1|$1|a|";
            let expected = format!("+OK|{one}$1|1|{one}+OK|:2|:2|{empty}:0|+PONG|");
            assert_eq!(show(&client.finish()), expected);
        }
    }
}

#[test]
fn memory_goes_with_the_scan() {
    let (mut client, _) = filled(Speed::Later, 2, 300);
    let before = client.session.memory_bytes();
    client.patient = true;
    let bytes = resp(&[b"SCAN", b"0", b"COUNT", b"300", b"MATCH", b"*key*"]);
    let progress = client.session.receive(&bytes, &mut client.model);
    assert_eq!(progress.consumed, bytes.len());
    assert!(client.session.memory_bytes() > before);
    client.asked(b"");
    client.session.rest();
    assert!(client.session.walk.is_none());
    assert!(client.session.memory_bytes() <= before.max(1 << 14));
}

/// By recursion over both, exponential in the stars.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
        ([b'?', rest @ ..], [_, text @ ..]) => naive(rest, text),
        ([byte, rest @ ..], [first, text @ ..]) => byte == first && naive(rest, text),
        _ => false,
    }
}

#[test]
fn patterns_match_as_a_naive_one() {
    let letters = b"ab*?";
    let word = |mut number: u32, length: u32, from: &'static [u8]| {
        let letters = (0..length).map(|_| {
            let letter = from[number as usize % from.len()];
            number /= from.len() as u32;
            letter
        });
        letters.collect::<Vec<u8>>()
    };
    let all = |most: u32, from: &'static [u8]| {
        let counts = (0..=most).map(move |length| (length, (from.len() as u32).pow(length)));
        counts.flat_map(move |(length, count)| (0..count).map(move |n| word(n, length, from)))
    };
    let texts: Vec<Vec<u8>> = all(5, b"ab").collect();
    for pattern in all(5, letters) {
        for text in &texts {
            assert_eq!(glob::matches_exactly(&pattern, text), naive(&pattern, text));
        }
    }
    // Never exponential: this ends.
    let pattern = b"*a".repeat(250);
    assert!(!glob::matches_exactly(&[&pattern[..], b"b"].concat(), &[b'a'; 4096]));
    for (pattern, text, is_match) in [
        (&b"[a-c]x"[..], &b"bx"[..], true),
        (b"[a-c]x", b"Bx", false),
        (b"[^a-c]x", b"Bx", true),
        (b"[c-a]", b"b", true),
        (b"\\*", b"*", true),
        (b"\\*", b"x", false),
        (b"[\\]]", b"]", true),
        (b"user:*:\xff", b"user:\0\r\n:\xff", true),
        (b"A", b"a", false),
    ] {
        assert_eq!(glob::matches_exactly(pattern, text), is_match, "{}", show(pattern));
    }
}
