//! At every limit of client writes and one past it. Joins know only the size of a frame.

use super::*;
use crate::causality::{Actor, Sibling, encode_record, record_bytes};
use crate::limits::{
    BODY_BYTES_MAX, RECORD_BYTES_MAX, SIBLING_COUNT_MAX, VERSION_VECTOR_COUNT_MAX,
};

/// A record with these entries, of which the first `siblings` live.
fn record(entries: &[Dot], siblings: usize, value: &[u8]) -> Vec<u8> {
    let bytes: Vec<[u8; 16]> = entries.iter().map(|dot| dot.to_bytes()).collect();
    let version_vector = VersionVector::new_checked(&bytes).unwrap();
    let sibling =
        |dot: &Dot| Sibling { dot: *dot, flags: 0, timestamp: UnixMs(1), expires: None, value };
    let siblings: Vec<Sibling<'_>> = entries[..siblings].iter().map(sibling).collect();
    let mut out = vec![0; record_bytes(version_vector, &siblings)];
    encode_record(version_vector, &siblings, &mut out);
    out
}

fn dots(nodes: core::ops::Range<u32>) -> Vec<Dot> {
    nodes.map(|node| Dot::new(Actor::new(NodeId(node), Boot(1), 1), 1)).collect()
}

fn receive_record(store: &mut Store, record: &[u8]) -> Result<Joined, Refusal> {
    receive(store, b"k", &body_of(b"k", record))
}

fn entries_of(dots: &[Dot]) -> Vec<[u8; 16]> {
    dots.iter().map(|dot| dot.to_bytes()).collect()
}

#[test]
fn a_write_may_leave_100_siblings_and_not_101() {
    let mut store = Store::default();
    for count in 1..=SIBLING_COUNT_MAX {
        assert_eq!(usize::from(put(&mut store, ME, &blind(b"v")).unwrap().live), count);
    }
    let before = store.clone();
    assert_eq!(put(&mut store, ME, &blind(b"v")), Err(Refusal::Siblings));
    let delete = Write { change: Change::Tombstone, ..blind(b"") };
    assert_eq!(put(&mut store, ME, &delete), Err(Refusal::Siblings), "a tombstone is one, too");
    assert_eq!(store, before);
    let applied = put(&mut store, ME, &write(Context::Local, b"v")).unwrap();
    assert_eq!(applied.live, 1);
}

#[test]
fn an_expiry_may_be_given_to_100_siblings_and_not_to_101() {
    for count in [SIBLING_COUNT_MAX, SIBLING_COUNT_MAX + 1] {
        let mut store = Store::default();
        let received = record(&dots(10..10 + count as u32), count, b"v");
        receive_record(&mut store, &received).unwrap();
        let old = Record::new_checked(&received).unwrap();
        let change = Change::Again { seen: old.live(UnixMs(1)), expires: Some(UnixMs(9)) };
        let context = Context::Given(old.version_vector());
        let again = Write { context, timestamp: UnixMs(1), change };
        let live = put(&mut store, ME, &again).map(|applied| usize::from(applied.live));
        let passes = count == SIBLING_COUNT_MAX;
        assert_eq!(live, if passes { Ok(count) } else { Err(Refusal::Siblings) });
    }
}

#[test]
fn above_100_siblings_a_write_must_leave_fewer() {
    let mut store = Store::default();
    receive_record(&mut store, &record(&dots(10..130), 120, b"v")).unwrap();
    let seen = |count: u32| entries_of(&dots(10..10 + count));
    for (covered, passes) in [(0, false), (1, false), (2, true), (3, true)] {
        let entries = seen(covered);
        let context = Context::Given(VersionVector::new_checked(&entries).unwrap());
        let before = store.clone();
        let result = put(&mut store, ME, &write(context, b"w"));
        assert_eq!(result.is_ok(), passes, "covering {covered} of 120");
        match result {
            Ok(applied) => {
                assert_eq!(u32::from(applied.live), 121 - covered);
                store = before;
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Siblings);
                assert_eq!(store, before);
            }
        }
    }
}

#[test]
fn a_join_may_leave_any_number_of_siblings() {
    let mut store = Store::default();
    receive_record(&mut store, &record(&dots(10..110), 100, b"v")).unwrap();
    receive_record(&mut store, &record(&dots(110..210), 100, b"v")).unwrap();
    let stored = store.record(&key(b"k")).unwrap().unwrap();
    assert_eq!(stored.record.sibling_count(), 200);
}

#[test]
fn a_write_may_leave_8_mib_and_not_a_byte_more() {
    let mut store = Store::default();
    let large = vec![1; RECORD_BYTES_MAX / 2];
    put(&mut store, ME, &blind(&large)).unwrap();
    let overhead = {
        let mut copy = store.clone();
        put(&mut copy, ME, &blind(&large[..large.len() - 100])).unwrap();
        record_of(&copy, b"k").len() - (2 * large.len() - 100)
    };
    let fits = vec![2; RECORD_BYTES_MAX - large.len() - overhead];
    let mut over = fits.clone();
    over.push(2);
    let before = store.clone();
    assert_eq!(put(&mut store, ME, &blind(&over)), Err(Refusal::Siblings));
    assert_eq!(store, before);
    put(&mut store, ME, &blind(&fits)).unwrap();
    assert_eq!(record_of(&store, b"k").len(), RECORD_BYTES_MAX);
    assert_eq!(put(&mut store, ME, &blind(b"")), Err(Refusal::Siblings));
    put(&mut store, ME, &write(Context::Local, b"small")).unwrap();
}

#[test]
fn above_8_mib_a_write_must_shrink_the_record() {
    let mut store = Store::default();
    let value = vec![1; RECORD_BYTES_MAX / 2];
    receive_record(&mut store, &record(&dots(10..12), 2, &value)).unwrap();
    let large = record_of(&store, b"k").len();
    assert!(large > RECORD_BYTES_MAX);
    let entries = entries_of(&dots(10..11));
    let context = Context::Given(VersionVector::new_checked(&entries).unwrap());
    assert_eq!(put(&mut store, ME, &write(context, &value)), Err(Refusal::Siblings));
    put(&mut store, ME, &write(context, &value[..value.len() - 50])).unwrap();
    assert!(record_of(&store, b"k").len() < large);
    assert!(record_of(&store, b"k").len() > RECORD_BYTES_MAX);
}

#[test]
fn a_write_may_leave_4096_entries_and_not_one_more() {
    let limit = VERSION_VECTOR_COUNT_MAX as u32;
    let mut store = Store::default();
    receive_record(&mut store, &record(&dots(10..9 + limit), 1, b"v")).unwrap();
    put(&mut store, ME, &blind(b"w")).unwrap();
    let stored = store.record(&key(b"k")).unwrap().unwrap();
    assert_eq!(stored.record.version_vector().len(), VERSION_VECTOR_COUNT_MAX);
    assert!(put(&mut store, ME, &blind(b"x")).is_ok(), "its own entry is there already");
    let before = store.clone();
    assert_eq!(put(&mut store, author(1, 2, 1), &blind(b"x")), Err(Refusal::TooLarge));
    let foreign = entries_of(&dots(9000..9001));
    let context = Context::Given(VersionVector::new_checked(&foreign).unwrap());
    assert_eq!(put(&mut store, ME, &write(context, b"x")), Err(Refusal::TooLarge));
    assert_eq!(store, before);
    receive_record(&mut store, &record(&dots(9000..9100), 1, b"v")).unwrap();
    let stored = store.record(&key(b"k")).unwrap().unwrap();
    assert_eq!(stored.record.version_vector().len(), VERSION_VECTOR_COUNT_MAX + 100);
}

/// Until larger records travel in pieces: neither a panic nor a lost copy.
#[test]
fn a_join_that_fits_no_frame_is_refused() {
    let mut store = Store::default();
    let overhead = body_bytes(1, record(&dots(10..12), 2, b"").len()) + 6;
    let value = vec![1; (BODY_BYTES_MAX - overhead) / 2];
    let one = record(&dots(10..11), 1, &value);
    receive_record(&mut store, &one).unwrap();
    let before = store.clone();
    let over = vec![1; value.len() + 2];
    let two = record(&dots(11..12), 1, &over);
    assert_eq!(receive_record(&mut store, &two), Err(Refusal::TooLarge));
    assert_eq!(store, before);
    receive_record(&mut store, &record(&dots(11..12), 1, &value)).unwrap();
    let stored = store.record(&key(b"k")).unwrap().unwrap();
    let bytes = store.body(stored.place).unwrap().bytes().len();
    assert!(bytes <= BODY_BYTES_MAX);
    assert!(bytes > BODY_BYTES_MAX - 3, "the largest that fits: {bytes}");
}
