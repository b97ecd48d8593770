//! Scans and their pages.

use super::*;
use crate::limits::{KEY_BYTES_MAX, SCAN_PAGE_COUNT_MAX};
use crate::wire::payload::Malformed;
use crate::wire::scan::{
    Page, PageHead, PageWriter, ScanRequest, Scanned, entry_bytes, page_bytes,
};

/// An order, a key and a record.
type Raw<'a> = (u64, &'a [u8], &'a [u8]);

/// A page, built with the writer; its bytes live as long as the test process.
fn page(head: PageHead, entries: &[Raw<'_>]) -> Message<'static> {
    let bytes = entries.iter().map(|(_, key, record)| entry_bytes(key.len(), record.len())).sum();
    let mut out = vec![0xee; page_bytes(bytes)];
    let mut writer = PageWriter::new(head, entries.len() as u16, &mut out);
    for (order, key, record) in entries {
        writer.entry(*order, key, record.len(), |out| out.copy_from_slice(record));
    }
    writer.finish();
    Message::PageReply(Page::new_checked(Box::leak(out.into_boxed_slice())).unwrap())
}

pub(super) fn samples() -> Vec<(&'static str, &'static [u8], Message<'static>)> {
    let (partition, record) = (Partition(258), &COUNT[0x80..0x8c]);
    let scan = ScanRequest { partition, count: 10, from: 0x1112_1314_1516_1718 };
    let head = PageHead { partition, from: 5, last: 9, keys: 0 };
    let entries: [Raw<'_>; 3] = [(5, b"a", record), (5, b"b", b"r"), (9, b"key", record)];
    let counted = PageHead { from: 0, last: u64::MAX, keys: 1000, ..head };
    vec![
        ("scan", b"", Message::Scan(scan)),
        ("page", b"", Message::Page(ScanRequest { count: 0, from: 0, ..scan })),
        ("page_reply", b"", page(head, &entries)),
        ("page_reply_count", b"", page(counted, &[])),
    ]
}

/// A page, field by field.
fn raw_page(
    (count, reserved): (u16, u32),
    (from, last): (u64, u64),
    entries: &[Raw<'_>],
) -> Vec<u8> {
    let mut out = vec![3, 0];
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&reserved.to_le_bytes());
    for number in [from, last, 0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for (order, key, record) in entries {
        out.extend_from_slice(&order.to_le_bytes());
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(record);
    }
    out
}

fn is_refused(bytes: &[u8]) -> bool {
    Page::new_checked(bytes) == Err(Malformed)
}

#[test]
fn a_page_ascends_within_its_bounds() {
    let keys: [&[u8]; 2] = [b"a", b"b"];
    for case in 0..4 * 4 * 4 * 4 * 2 * 2_u32 {
        let digit = |at: u32| u64::from(case >> (2 * at) & 3);
        let (from, last) = (digit(0), digit(1));
        let bit = |at: u32| keys[(case >> (8 + at) & 1) as usize];
        let entries = [(digit(2), bit(0), &b"r"[..]), (digit(3), bit(1), b"r")];
        let within = entries.iter().all(|(order, ..)| (from..=last).contains(order));
        let ascends = (entries[0].0, entries[0].1) < (entries[1].0, entries[1].1);
        let bytes = raw_page((2, 0), (from, last), &entries);
        assert_eq!(is_refused(&bytes), !(within && ascends), "{case}");
        let Ok(page) = Page::new_checked(&bytes) else { continue };
        let read: Vec<Raw<'_>> = page.entries().map(|e| (e.order, e.key, e.record)).collect();
        assert_eq!(read, entries);
        let mut written = vec![0xee; page.bytes()];
        page.write(&mut written);
        assert_eq!(written, bytes);
    }
}

#[test]
fn an_entry_has_a_key_and_a_record() {
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    let with = |key: &[u8], record: &[u8]| raw_page((1, 0), (0, 9), &[(4, key, record)]);
    assert!(!is_refused(&with(&long[..KEY_BYTES_MAX], b"r")));
    assert!(is_refused(&with(&long, b"r")));
    assert!(is_refused(&with(b"", b"r")));
    assert!(is_refused(&with(b"k", b"")));
    let sound = with(b"k", b"r");
    let mut reserved = sound.clone();
    reserved[32 + 10] = 1;
    assert!(is_refused(&reserved));
}

#[test]
fn a_page_is_as_long_as_it_says() {
    let entries: [Raw<'_>; 1] = [(4, b"k", b"r")];
    assert!(!is_refused(&raw_page((1, 0), (0, 9), &entries)));
    assert!(is_refused(&raw_page((0, 0), (0, 9), &entries)));
    assert!(is_refused(&raw_page((2, 0), (0, 9), &entries)));
    assert!(is_refused(&raw_page((1, 1), (0, 9), &entries)));
    assert!(is_refused(&raw_page((0, 0), (9, 8), &[])));
    assert!(!is_refused(&raw_page((0, 0), (9, 9), &[])));
}

#[test]
fn a_scan_asks_for_as_many_keys_as_fit_a_page() {
    let scan = |count: u16, reserved: u8| {
        let mut out = vec![3, 0];
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0, 0, 0, reserved]);
        out.extend_from_slice(&7_u64.to_le_bytes());
        ScanRequest::new_checked(&out)
    };
    let most = SCAN_PAGE_COUNT_MAX as u16;
    assert_eq!(scan(most, 0), Ok(ScanRequest { partition: Partition(3), count: most, from: 7 }));
    assert_eq!(scan(most + 1, 0), Err(Malformed));
    assert_eq!(scan(1, 1), Err(Malformed));
}

#[test]
fn what_was_scanned_stands_in_the_place_of_a_context() {
    let scanned = Scanned { last: 0x0102_0304_0506_0708, keys: 9 };
    let mut out = [0xee; Scanned::BYTES];
    scanned.write(&mut out);
    assert_eq!(out, [8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Scanned::new_checked(&out), Ok(scanned));
    assert_eq!(Scanned::new_checked(&out[1..]), Err(Malformed));
    assert_eq!(Scanned::new_checked(&[]), Err(Malformed));
}
