//! Holds the table that opens `wire` to the code.

use std::string::String;

use super::*;
use crate::wire::layout;

/// A part of the table: its heading, the size there and the rest of the line, and its rows.
struct Part {
    heading: &'static str,
    bytes: usize,
    rest: &'static str,
    rows: Vec<Row>,
}

/// Offset and length as the table writes them, and the field.
struct Row {
    offset: &'static str,
    bytes: &'static str,
    field: &'static str,
}

fn parts() -> Vec<Part> {
    let source = include_str!("../mod.rs");
    let table = source.split("```").nth(1).expect("the table is fenced");
    let mut parts: Vec<Part> = Vec::new();
    for line in table.lines().skip(1) {
        let line = line.trim_start_matches("//!").trim_start_matches("// ");
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.is_empty() || line.starts_with("        ") {
            continue; // Between parts, or the end of a long meaning.
        }
        if line.starts_with(' ') {
            let mut words = line.split_whitespace();
            let mut word = || words.next().expect("offset, bytes and field");
            let row = Row { offset: word(), bytes: word(), field: word() };
            parts.last_mut().expect("a heading comes first").rows.push(row);
        } else {
            let (heading, rest) = line.split_once(": ").expect("a heading has a colon");
            let bytes = rest.split(' ').next().and_then(|bytes| bytes.parse().ok());
            let bytes = bytes.expect("a heading says how many bytes");
            parts.push(Part { heading, bytes, rest, rows: Vec::new() });
        }
    }
    parts
}

/// Offset, bytes and name of every field of a struct.
type Fields = &'static [(usize, usize, &'static str)];

/// Every heading, and the fields of the code.
fn structs() -> Vec<(&'static str, Fields)> {
    let mut all = structs_of_clients();
    all.extend(structs_of_nodes());
    all
}

fn structs_of_clients() -> Vec<(&'static str, Fields)> {
    vec![
        ("hop part", layout::Hop::FIELDS),
        ("place part", layout::Place::FIELDS),
        ("covered header", layout::Covered::FIELDS),
        ("HELLO=1", layout::Hello::FIELDS),
        ("HELLO_REPLY=2", layout::HelloReply::FIELDS),
        ("PROOF=3", layout::Proof::FIELDS),
        ("WELCOME=4", &[]),
        ("REFUSED=5", layout::Refused::FIELDS),
        ("GET=16", layout::Get::FIELDS),
        ("PUT=17", layout::Put::FIELDS),
        ("REPLY=18", layout::Reply::FIELDS),
        ("sibling in a REPLY", layout::Sibling::FIELDS),
        ("ROUTES=19", layout::Routes::FIELDS),
        ("ROUTES_REPLY=20", layout::RoutesReply::FIELDS),
        (
            "node in a ROUTES_REPLY",
            &[(0, 4, "node"), (4, 2, "native_port"), (6, 2, "shards"), (8, 16, "ip")],
        ),
        ("place in a ROUTES_REPLY", &[(0, 2, "index")]),
    ]
}

fn structs_of_nodes() -> Vec<(&'static str, Fields)> {
    vec![
        ("REPLICATE=32 REPLICATE_SYNC=33", &[]),
        ("ACK=34", layout::Ack::FIELDS),
        ("READ=35", layout::Read::FIELDS),
        ("READ_REPLY=36", &[]),
        ("REJECT=37", layout::Reject::FIELDS),
        ("READ_SAME=38", layout::ReadSame::FIELDS),
        ("HINT=39 HINT_SYNC=40", layout::Hint::FIELDS),
        ("BEAT=41", &[]),
        ("TOPOLOGY=48", layout::Topology::FIELDS),
        ("WARM=49", &[]),
        ("STAGED=50", layout::Staged::FIELDS),
        ("CANDIDATE=51", &[]),
        ("EPOCHS=55", layout::Epochs::FIELDS),
        ("claim in an EPOCHS", &[(0, 4, "node"), (4, 8, "raised")]),
        ("SCAN=52 PAGE=53", layout::Scan::FIELDS),
        ("PAGE_REPLY=54", layout::PageReply::FIELDS),
        ("entry of a PAGE_REPLY", layout::PageEntry::FIELDS),
        ("context of a REPLY to SCAN", layout::Scanned::FIELDS),
        ("STATUS=64", &[]),
        ("RING=65", &[]),
        ("ADMIN_REPLY=66", layout::AdminReply::FIELDS),
        ("SCRUB=67", layout::Scrub::FIELDS),
        ("SCRUB_STATUS=68", &[]),
        ("HINTS=69", &[]),
        ("EXCHANGES=70", &[]),
        ("REPAIR=71", layout::Repair::FIELDS),
        ("REPAIR_STATUS=72", &[]),
        ("STAGE=73", layout::Stage::FIELDS),
        ("PLAN=74", &[]),
        ("COMMIT=75", layout::Commit::FIELDS),
        ("CLEAR=76", &[]),
        ("TRANSFERS=77", &[]),
        ("REAP=78", &[]),
        ("REAP_STATUS=79", &[]),
        ("PING=80 PING_REQUEST=81 PONG=82 RELAYING=83", layout::Probe::FIELDS),
        ("SYNC=84", layout::Sync::FIELDS),
        ("SYNC_TABLE=85", layout::SyncTable::FIELDS),
        ("update in a PING to SYNC_TABLE", layout::Update::FIELDS),
        ("EXCHANGE_OPEN=96", layout::ExchangeOpen::FIELDS),
        ("EXCHANGE_SAME=97", &[]),
        ("EXCHANGE_NODES=98", layout::ExchangeNodes::FIELDS),
        ("EXCHANGE_HASHES=99", layout::ExchangeHashes::FIELDS),
        ("EXCHANGE_LIST=100", &[(0, 8, "order"), (8, 8, "version")]),
        ("EXCHANGE_LISTED=101", layout::ExchangeListed::FIELDS),
        ("EXCHANGE_RECORD=102", &[]),
        ("EXCHANGE_FETCH=103", layout::ExchangeFetch::FIELDS),
        ("EXCHANGE_FETCHED=104", layout::ExchangeFetched::FIELDS),
        ("EXCHANGE_STREAM=105", layout::ExchangeStream::FIELDS),
        ("EXCHANGE_STREAMED=106", layout::ExchangeStreamed::FIELDS),
        ("EXCHANGE_END=107", layout::ExchangeEnd::FIELDS),
        ("SURVEY=112", layout::Survey::FIELDS),
        ("SURVEYED=113", layout::Surveyed::FIELDS),
        ("ERASE=114", layout::Erase::FIELDS),
    ]
}

#[test]
fn the_table_has_the_fields_of_the_code() {
    let parts = parts();
    let structs = structs();
    assert_eq!(parts.len(), structs.len());
    for (part, (heading, fields)) in parts.iter().zip(structs) {
        assert_eq!(part.heading, heading);
        let fixed = part
            .rows
            .iter()
            .filter_map(|row| Some((row.offset.parse().ok()?, row.bytes.parse().ok()?, row.field)));
        assert_eq!(fixed.collect::<Vec<_>>(), fields, "{heading}");
    }
}

#[test]
fn fields_follow_one_another_up_to_the_size_in_the_heading() {
    for part in parts() {
        let mut end = 0;
        for row in &part.rows {
            if let Ok(offset) = row.offset.parse::<usize>() {
                assert_eq!(offset, end, "{} {}", part.heading, row.field);
            } else {
                assert_eq!(row.offset, "+");
            }
            end += row.bytes.parse().unwrap_or(0);
        }
        assert_eq!(end, part.bytes, "{}", part.heading);
    }
}

#[test]
fn tails_are_as_long_as_a_field_says() {
    for part in parts() {
        for row in part.rows.iter().filter(|row| row.bytes.parse::<usize>().is_err()) {
            let known = part.rows.iter().any(|other| other.field == row.bytes);
            assert!(known || row.bytes == "rest", "{} {}", part.heading, row.field);
        }
    }
}

#[test]
fn the_table_has_the_numbers_of_the_code() {
    let mut numbers: Vec<(String, u8)> = Vec::new();
    for part in parts() {
        for word in part.heading.split(' ') {
            if let Some((name, number)) = word.split_once('=') {
                numbers.push((name.replace('_', ""), number.parse().unwrap()));
            }
        }
    }
    numbers.sort_by_key(|&(_, number)| number);
    let ops = Op::ALL.iter().map(|op| (std::format!("{op:?}").to_uppercase(), op.number()));
    assert_eq!(numbers, ops.collect::<Vec<_>>());
}

#[test]
fn the_table_says_which_ops_have_keys() {
    for part in parts() {
        let numbers = part.heading.split(' ').filter_map(|word| word.split_once('='));
        for (name, number) in numbers {
            let op = Op::from_number(number.parse().unwrap()).unwrap();
            let must = part.rest.ends_with("; has a key");
            let may = must || part.rest.ends_with("; may have a key");
            assert_eq!((op.takes_key(0), op.takes_key(1)), (!must, may), "{name}");
        }
    }
}

#[test]
fn the_table_says_which_version_brought_an_op() {
    for part in parts() {
        let numbers = part.heading.split(' ').filter_map(|word| word.split_once('='));
        for (name, number) in numbers {
            let op = Op::from_number(number.parse().unwrap()).unwrap();
            let told = part.rest.split_once("; since ").map_or("1", |(_, version)| version);
            assert_eq!(told.parse(), Ok(op.since()), "{name}");
        }
    }
}

#[test]
fn every_other_number_is_no_op() {
    for number in 0..=u8::MAX {
        let named = Op::ALL.iter().copied().find(|op| op.number() == number);
        assert_eq!(Op::from_number(number), named);
    }
}
