//! Record v1 byte by byte: golden bytes, what is refused, and every mutilation of good bytes.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::super::varint;
use super::*;
use crate::hash::{Key, KeyHash};
use crate::id::Partition;

/// Three entries; a value, a tombstone, an expiring value; one entry without sibling.
fn example() -> Vec<u8> {
    let siblings = [
        Sibling {
            dot: dot(1, 300),
            flags: 0,
            timestamp: UnixMs(0x0102_0304_0506_0708),
            expires: None,
            value: b"hello",
        },
        Sibling {
            dot: dot(1, 301),
            flags: TOMBSTONE,
            timestamp: UnixMs(2),
            expires: None,
            value: b"",
        },
        Sibling {
            dot: dot(3, 1),
            flags: EXPIRES,
            timestamp: UnixMs(3),
            expires: Some(UnixMs(4)),
            value: b"!",
        },
    ];
    encode(&[dot(1, 301), dot(2, 7), dot(3, 1)], &siblings)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_record() {
    let golden = [
        "01",
        "03",
        "0000000100000000010000001000012d",
        "00000002000000000100000010000007",
        "00000003000000000100000010000001",
        "03",
        "00 00 ac02 0807060504030201 05 68656c6c6f",
        "01 00 ad02 0200000000000000 00",
        "02 02 01 0300000000000000 0400000000000000 01 21",
    ];
    assert_eq!(hex(&example()), golden.concat().replace(' ', ""));
    assert_eq!(hex(Record::empty().bytes()), "010000");
    assert_eq!(Record::new_checked(&[1, 0, 0]), Ok(Record::empty()));
}

#[test]
fn golden_version() {
    let key = Key { bytes: b"k", hash: KeyHash(7), partition: Partition(0), ..Key::default() };
    let example = example();
    let version = Record::new_checked(&example).unwrap().version(&key);
    assert_eq!(version, naive_version(&key, Record::new_checked(&example).unwrap()));
    assert_eq!(version, GOLDEN_VERSION);
    assert_eq!(Record::empty().version(&key), 0);
    let seen = encode(&[dot(1, 1)], &[]);
    assert_eq!(Record::new_checked(&seen).unwrap().version(&key), 0);
}

const GOLDEN_VERSION: u64 = 0x78af_2263_1710_8dbe;

#[test]
fn version_depends_on_key_and_sibling_dots_alone() {
    let key =
        |hash| Key { bytes: b"", hash: KeyHash(hash), partition: Partition(0), ..Key::default() };
    for count in 1..20 {
        let siblings: Vec<_> = (1..=count).map(|node| sibling(dot(node, 1))).collect();
        let mut seen: Vec<_> = (1..=count).map(|node| dot(node, 1)).collect();
        let one = encode(&seen, &siblings);
        seen.push(dot(99, 1));
        let two = encode(&seen, &siblings);
        let less = encode(&seen, &siblings[1..]);
        let [one, two, less] = [&one, &two, &less].map(|b| Record::new_checked(b).unwrap());
        assert_eq!(one.version(&key(1)), naive_version(&key(1), one));
        assert_eq!(one.version(&key(1)), two.version(&key(1)));
        assert_ne!(one.version(&key(1)), one.version(&key(2)));
        assert_ne!(one.version(&key(1)), less.version(&key(1)));
    }
}

fn naive_version(key: &Key<'_>, record: Record<'_>) -> u64 {
    let mut bytes = key.hash.0.to_be_bytes().to_vec();
    record.siblings().for_each(|sibling| bytes.extend(sibling.dot.to_bytes()));
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

#[test]
fn records_out_of_form_are_refused() {
    let entry = "00000001000000000100000010000002";
    let other = "00000002000000000100000010000002";
    let time = "0300000000000000";
    let good = format!("01 01 {entry} 02 00 00 01 {time} 00 00 00 02 {time} 01 21");
    assert!(Record::new_checked(&bytes_of(&good)).is_ok());
    let bad = [
        ("nothing", String::new()),
        ("another version", good.replacen("01", "02", 1)),
        ("a byte behind it", format!("{good} 00")),
        ("no siblings said, one there", format!("01 01 {entry} 00 00 00 01 {time} 00")),
        ("one sibling too many said", good.replace(" 02 00 00 01", " 03 00 00 01")),
        ("entries out of order", format!("01 02 {other} {entry} 00")),
        ("an entry twice", format!("01 02 {entry} {entry} 00")),
        ("an entry that names no write", format!("01 01 {} 00", entry.replace("02", "00"))),
        ("more entries than bytes", format!("01 02 {entry} 00")),
        ("a long count of entries", format!("01 8100 {entry} 00")),
        ("a long count of siblings", format!("01 01 {entry} 8000")),
        ("2^32 entries", String::from("01 8080808010")),
        ("2^32 - 1 entries", String::from("01 ffffffff0f")),
        ("65536 siblings", format!("01 01 {entry} 808004 {}", "00".repeat(99))),
        ("a dot not covered (V1)", format!("01 01 {entry} 01 00 00 03 {time} 00")),
        ("number 0", format!("01 01 {entry} 01 00 00 00 {time} 00")),
        ("an actor without entry", format!("01 01 {entry} 01 00 01 01 {time} 00")),
        ("a dot twice (V4)", format!("01 01 {entry} 02 00 00 02 {time} 00 00 00 02 {time} 00")),
        ("dots descending", format!("01 01 {entry} 02 00 00 02 {time} 00 00 00 01 {time} 00")),
        ("a long index", format!("01 01 {entry} 01 00 8000 01 {time} 00")),
        ("a long number", format!("01 01 {entry} 01 00 00 8100 {time} 00")),
        ("a long length", format!("01 01 {entry} 01 00 00 01 {time} 8000")),
        ("a value cut off", format!("01 01 {entry} 01 00 00 01 {time} 02 21")),
        ("an unknown flag", format!("01 01 {entry} 01 04 00 01 {time} 00")),
        ("an expiring tombstone", format!("01 01 {entry} 01 03 00 01 {time} {time} 00")),
        ("a tombstone with a value", format!("01 01 {entry} 01 01 00 01 {time} 01 21")),
        ("an expiry cut off", format!("01 01 {entry} 01 02 00 01 {time} 00")),
    ];
    for (why, text) in bad {
        assert_eq!(Record::new_checked(&bytes_of(&text)), Err(MalformedRecord), "{why}");
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[test]
fn no_mutilation_of_a_record_panics_and_what_passes_is_canonical() {
    let mut passed = 0;
    for good in [example(), encode(&[dot(1, 1)], &[sibling(dot(1, 1))])] {
        for length in 0..good.len() {
            assert_eq!(Record::new_checked(&good[..length]), Err(MalformedRecord));
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            passed += check_foreign(&bytes);
            for length in 0..bytes.len() {
                passed += check_foreign(&bytes[..length]);
            }
        }
    }
    // Flips in values, timestamps and actors make other well-formed records.
    assert!(passed > 100, "{passed}");
}

/// Uses all of a record from outside; returns 1 if it is one.
fn check_foreign(bytes: &[u8]) -> usize {
    let Ok(record) = Record::new_checked(bytes) else { return 0 };
    assert_canonical(record);
    let live = record.live(UnixMs(0));
    let _ = (live.count(), live.winner());
    let other = example();
    let other = Record::new_checked(&other).unwrap();
    if let Join::Both { bytes } = join(record, other) {
        let mut out = vec![0; bytes];
        write_join(record, other, &mut out);
        assert_canonical(Record::new_checked(&out).unwrap());
    }
    1
}

#[test]
fn counts_grow_to_several_bytes() {
    let seen: Vec<Dot> = (1..=20_000).map(|node| dot(node, NUMBER_MAX)).collect();
    let siblings: Vec<_> = seen.iter().step_by(150).map(|dot| sibling(*dot)).collect();
    let bytes = encode(&seen, &siblings);
    let record = Record::new_checked(&bytes).unwrap();
    assert_eq!(record.version_vector().len(), seen.len());
    assert!(record.siblings().eq(siblings.iter().copied()));
    // Where the index of a sibling's entry begins to take one byte more.
    for edge in [128, 16_384] {
        let siblings: Vec<_> = seen[edge - 2..][..4].iter().map(|dot| sibling(*dot)).collect();
        let bytes = encode(&seen, &siblings);
        let record = Record::new_checked(&bytes).unwrap();
        assert!(record.siblings().eq(siblings.iter().copied()), "{edge}");
    }
    for length in [0, 127, 128, 16_383, 16_384, 1 << 21] {
        let value = vec![7; length];
        let sibling = Sibling { value: &value, ..sibling(dot(1, 1)) };
        let bytes = encode(&[dot(1, 1)], &[sibling]);
        assert_eq!(Record::new_checked(&bytes).unwrap().siblings().next(), Some(sibling));
    }
}

#[test]
#[should_panic(expected = "ascending and covered")]
fn a_dot_twice_is_not_written() {
    encode(&[dot(1, 2)], &[sibling(dot(1, 1)), sibling(dot(1, 1))]);
}

#[test]
#[should_panic(expected = "ascending and covered")]
fn dots_descending_are_not_written() {
    encode(&[dot(1, 2)], &[sibling(dot(1, 2)), sibling(dot(1, 1))]);
}

#[test]
#[should_panic(expected = "ascending and covered")]
fn a_dot_not_covered_is_not_written() {
    encode(&[dot(1, 2)], &[sibling(dot(1, 3))]);
}

#[test]
fn varints_have_one_form() {
    let mut buffer = [0; 5];
    let mut edges: Vec<u32> = (0..32).flat_map(|bit| [(1u32 << bit) - 1, 1 << bit]).collect();
    edges.push(u32::MAX);
    for value in edges {
        let length = varint::write(value, &mut buffer);
        assert_eq!(length, varint::len(value));
        assert_eq!(varint::split(&buffer), Some((value, &buffer[length..])));
        assert_eq!(varint::split(&buffer[..length - 1]), None);
    }
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let bytes = [first, second];
            if let Some((value, rest)) = varint::split(&bytes) {
                let length = varint::write(value, &mut buffer);
                assert_eq!(buffer[..length], bytes[..2 - rest.len()]);
            }
        }
    }
    for bad in [&b""[..], b"\x80", b"\x80\x00", b"\xff\xff\xff\xff\x10", b"\x80\x80\x80\x80\x80"] {
        assert_eq!(varint::split(bad), None, "{bad:x?}");
    }
}

#[test]
fn a_stripped_record_joins_and_lives_as_the_whole_one() {
    let actor = |node| Actor::new(NodeId(node), Boot(1), 1);
    let sibling = |node, number, flags, expires, value: &'static [u8]| Sibling {
        dot: Dot::new(actor(node), number),
        flags,
        timestamp: UnixMs(u64::from(number)),
        expires,
        value,
    };
    let all = [
        sibling(1, 2, 0, None, b"value"),
        sibling(1, 3, TOMBSTONE, None, b""),
        sibling(3, 1, EXPIRES, Some(UnixMs(9)), b"other"),
    ];
    let entries = [(1, 4), (2, 7), (3, 1)].map(|(node, n)| Dot::new(actor(node), n).to_bytes());
    let entries = entries.concat();
    let version_vector = VersionVector::from_bytes(&entries).unwrap();
    for chosen in 0..8_u32 {
        let of = |stripped: bool| {
            let chosen = all.iter().enumerate().filter(|(index, _)| chosen >> index & 1 == 1);
            let value = |one: &Sibling<'static>| if stripped { &[][..] } else { one.value };
            let siblings: Vec<Sibling<'_>> =
                chosen.map(|(_, one)| Sibling { value: value(one), ..*one }).collect();
            let mut out = vec![0; record_bytes(version_vector, &siblings)];
            encode_record(version_vector, &siblings, &mut out);
            out
        };
        let (whole, expected) = (of(false), of(true));
        let whole = Record::new_checked(&whole).unwrap();
        let mut stripped = vec![0xee; stripped_bytes(whole)];
        write_stripped(whole, &mut stripped);
        assert_eq!(stripped, expected);
        let stripped = Record::new_checked(&stripped).unwrap();
        assert_eq!(join(whole, stripped), Join::KeepLeft);
        assert_eq!(join(stripped, whole), Join::KeepLeft);
        for now in [8, 9] {
            assert_eq!(stripped.live(UnixMs(now)).count(), whole.live(UnixMs(now)).count());
        }
    }
}
