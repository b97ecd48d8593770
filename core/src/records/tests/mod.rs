//! Events and joins on a store: what they leave, and what refusals leave alone.

mod compact;
mod history;
mod limit;
pub(crate) mod store;

use super::*;
use crate::causality::{Change, Context, Dot, VersionVector};
use crate::checksum::Software;
use crate::time::UnixMs;
use crate::wire::body::{body_bytes, write_body};
use std::vec;
use std::vec::Vec;
use store::Store;

const SEED: u64 = 5;
const BITS: u32 = 6;
const ME: Author = author(1, 1, 1);

const fn author(node: u32, boot: u64, birth: u32) -> Author {
    Author { node: NodeId(node), boot: Boot(boot), birth, now: UnixMs(1) }
}

fn key(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes, SEED, BITS)
}

fn write<'a>(context: Context<'a>, value: &'a [u8]) -> Write<'a> {
    let change = Change::Value { expires: None, value };
    Write { context, timestamp: UnixMs(1), change }
}

/// A write that supersedes nothing.
fn blind(value: &[u8]) -> Write<'_> {
    write(Context::Given(VersionVector::EMPTY), value)
}

/// A received body around `record`.
fn body_of(key: &[u8], record: &[u8]) -> Vec<u8> {
    let mut body = vec![0; body_bytes(key.len(), record.len())];
    write_body::<Software>(key, &mut body, |out| out.copy_from_slice(record));
    body
}

/// The bytes of the record of `key`.
fn record_of(store: &Store, key: &[u8]) -> Vec<u8> {
    store.record(&self::key(key)).unwrap().unwrap().record.bytes().to_vec()
}

/// Sends the record of `from` to `to`, as replication, repair and handoff do.
fn send(from: &Store, to: &mut Store, key: &[u8]) -> Result<Joined, Refusal> {
    let body = body_of(key, &record_of(from, key));
    receive(to, key, &body)
}

fn receive(to: &mut Store, key: &[u8], body: &[u8]) -> Result<Joined, Refusal> {
    let body = Body::new_checked::<Software>(body).unwrap();
    let record = Record::new_checked(body.payload()).unwrap();
    let joined = join(to, &self::key(key), record, body);
    to.check_leaves(self::key);
    joined
}

fn put(store: &mut Store, by: Author, write: &Write<'_>) -> Result<Applied, Refusal> {
    let applied = event(store, &key(b"k"), by, write);
    store.check_leaves(key);
    applied
}

/// The actor that the store may extend on "k".
fn mine(store: &Store) -> Option<(u32, u64, u32)> {
    let stored = store.record(&key(b"k")).unwrap()?;
    let dot: Dot = stored.record.version_vector().dot(usize::from(stored.mine?));
    Some((dot.actor().node().0, dot.actor().boot().0, dot.actor().birth()))
}

#[test]
fn a_received_record_is_stored_unchanged_where_it_wins() {
    let (mut a, mut b) = (Store::default(), Store::default());
    put(&mut a, ME, &blind(b"one")).unwrap();
    let joined = send(&a, &mut b, b"k").unwrap();
    let after = a.record(&key(b"k")).unwrap().unwrap().record.version(&key(b"k"));
    assert_eq!(joined, Joined { place: Place(1), lost_mine: None, before: 0, after, entries: 1 });
    assert_eq!(record_of(&b, b"k"), record_of(&a, b"k"));
    assert_eq!(mine(&b), None, "the right to extend never travels");

    put(&mut a, ME, &write(Context::Local, b"two")).unwrap();
    assert_eq!(send(&a, &mut b, b"k").unwrap().place, Place(2));
    let stored = b.record(&key(b"k")).unwrap().unwrap();
    let body = body_of(b"k", &record_of(&a, b"k"));
    assert_eq!(b.body(stored.place).unwrap().bytes(), body, "down to its checksum");
    assert_eq!(b.received, 2, "nothing was encoded again");
}

#[test]
fn a_join_that_changes_nothing_appends_nothing() {
    let (mut a, mut b) = (Store::default(), Store::default());
    put(&mut a, ME, &blind(b"one")).unwrap();
    send(&a, &mut b, b"k").unwrap();
    let old = body_of(b"k", &record_of(&a, b"k"));
    put(&mut b, author(2, 1, 1), &write(Context::Local, b"two")).unwrap();
    let before = b.clone();
    for _ in 0..2 {
        let joined = receive(&mut b, b"k", &old).unwrap();
        assert_eq!((joined.place, joined.lost_mine), (Place(2), None));
        assert_eq!(joined.before, joined.after);
        assert_eq!(b, before);
    }
}

#[test]
fn concurrent_records_become_siblings_in_the_same_bytes_on_both_sides() {
    let (mut a, mut b) = (Store::default(), Store::default());
    put(&mut a, ME, &blind(b"one")).unwrap();
    put(&mut b, author(2, 1, 1), &blind(b"two")).unwrap();
    let of_a = a.clone();
    send(&b, &mut a, b"k").unwrap();
    send(&of_a, &mut b, b"k").unwrap();
    assert_eq!(record_of(&a, b"k"), record_of(&b, b"k"));
    let record = record_of(&a, b"k");
    let record = Record::new_checked(&record).unwrap();
    let values: Vec<&[u8]> = record.siblings().map(|sibling| sibling.value).collect();
    assert_eq!(values, [b"one", b"two"]);
}

#[test]
fn an_event_extends_its_own_actor_and_mints_only_when_it_must() {
    let mut a = Store::default();
    let applied = put(&mut a, ME, &blind(b"1")).unwrap();
    assert_eq!(applied, Applied { place: Place(1), live: 1, sole: true, minted: true, entries: 1 });
    let second = author(1, 1, 2);
    let applied = put(&mut a, second, &write(Context::Local, b"2")).unwrap();
    assert_eq!(
        applied,
        Applied { place: Place(2), live: 1, sole: true, minted: false, entries: 1 }
    );
    let applied = put(&mut a, second, &blind(b"3")).unwrap();
    assert_eq!(
        applied,
        Applied { place: Place(3), live: 2, sole: false, minted: false, entries: 1 }
    );
    assert_eq!(mine(&a), Some((1, 1, 1)));
    // Another life of the process, and a record that was lost: each is a new actor.
    let applied = put(&mut a, author(1, 2, 1), &write(Context::Local, b"4")).unwrap();
    assert!(applied.minted);
    assert_eq!(mine(&a), Some((1, 2, 1)));
    a.drop_record(&key(b"k"));
    let applied = put(&mut a, author(1, 2, 2), &write(Context::Local, b"5")).unwrap();
    assert!(applied.minted);
    assert_eq!(mine(&a), Some((1, 2, 2)));
}

#[test]
fn a_deletion_is_a_sibling_that_does_not_live() {
    let mut a = Store::default();
    put(&mut a, ME, &blind(b"1")).unwrap();
    let delete = Write { change: Change::Tombstone, ..blind(b"") };
    let applied = put(&mut a, ME, &delete).unwrap();
    assert_eq!((applied.live, applied.sole), (1, false), "it was not seen, so it stays");
    let applied = put(&mut a, ME, &Write { context: Context::Local, ..delete }).unwrap();
    assert_eq!((applied.live, applied.sole), (0, true));
}

/// Two nodes, and node 1 has an actor of its own.
fn two_with_mine() -> (Store, Store) {
    let (mut a, mut b) = (Store::default(), Store::default());
    put(&mut a, ME, &blind(b"a1")).unwrap();
    send(&a, &mut b, b"k").unwrap();
    put(&mut b, author(2, 1, 1), &write(Context::Local, b"b1")).unwrap();
    (a, b)
}

#[test]
fn mine_stays_in_every_kind_of_join() {
    // The received record wins: it is taken, with the right to go on.
    let (mut a, b) = two_with_mine();
    assert_eq!(send(&b, &mut a, b"k").unwrap().lost_mine, None);
    assert_eq!(record_of(&a, b"k"), record_of(&b, b"k"));
    assert_eq!(mine(&a), Some((1, 1, 1)));
    let applied = put(&mut a, author(1, 1, 2), &write(Context::Local, b"a2")).unwrap();
    assert!(!applied.minted);
    // Both stay; an actor in front of ours moves its index.
    let (mut a, mut b) = two_with_mine();
    put(&mut b, author(0, 9, 9), &blind(b"c")).unwrap();
    put(&mut a, ME, &write(Context::Local, b"a2")).unwrap();
    send(&b, &mut a, b"k").unwrap();
    assert_eq!(mine(&a), Some((1, 1, 1)));
    assert_eq!(a.record(&key(b"k")).unwrap().unwrap().mine, Some(1));
    assert!(!put(&mut a, author(1, 1, 2), &blind(b"a3")).unwrap().minted);
    // Ours stays.
    let (mut a, mut b) = two_with_mine();
    send(&b, &mut a, b"k").unwrap();
    put(&mut a, ME, &write(Context::Local, b"a2")).unwrap();
    assert_eq!(send(&b, &mut a, b"k").unwrap().lost_mine, None);
    assert_eq!(mine(&a), Some((1, 1, 1)));
    b.drop_record(&key(b"k"));
    assert_eq!(mine(&b), None);
}

/// The other side knows more of our actor than we do: our record is an old one. Extending it
/// would name two writes alike.
#[test]
fn events_of_ours_that_were_lost_end_the_right_to_extend() {
    for concurrent in [false, true] {
        let (mut a, mut b) = (Store::default(), Store::default());
        put(&mut a, ME, &blind(b"a1")).unwrap();
        let mut old = a.clone();
        put(&mut a, ME, &write(Context::Local, b"a2")).unwrap();
        send(&a, &mut b, b"k").unwrap();
        if concurrent {
            send(&b, &mut old, b"k").unwrap();
            old = Store::default();
            put(&mut old, ME, &blind(b"a1")).unwrap();
            let foreign = body_of(b"k", &{
                let mut c = Store::default();
                put(&mut c, author(3, 1, 1), &blind(b"c1")).unwrap();
                record_of(&c, b"k")
            });
            receive(&mut old, b"k", &foreign).unwrap();
        }
        assert_eq!(mine(&old), Some((1, 1, 1)));
        let joined = send(&b, &mut old, b"k").unwrap();
        assert_eq!(joined.lost_mine, Some(Boot(1)));
        assert_eq!(mine(&old), None);
        let applied = put(&mut old, author(1, 1, 7), &blind(b"a3")).unwrap();
        assert!(applied.minted);
        assert_eq!(mine(&old), Some((1, 1, 7)));
        assert_eq!(send(&b, &mut old, b"k").unwrap().lost_mine, None, "told once");
    }
}

#[test]
fn a_refusal_leaves_nothing_changed() {
    let (mut a, mut b) = two_with_mine();
    put(&mut a, ME, &write(Context::Local, b"a2")).unwrap();
    let joins = [body_of(b"k", &record_of(&b, b"k")), {
        let mut newer = b.clone();
        send(&a, &mut newer, b"k").unwrap();
        put(&mut newer, author(2, 1, 1), &write(Context::Local, b"b2")).unwrap();
        body_of(b"k", &record_of(&newer, b"k"))
    }];
    for full in [Full::Busy, Full::NoSpace, Full::ReadOnly] {
        a.full = Some(full);
        let before = a.clone();
        assert_eq!(put(&mut a, ME, &blind(b"x")), Err(Refusal::Full(full)));
        assert_eq!(event(&mut a, &key(b"new"), ME, &blind(b"x")), Err(Refusal::Full(full)));
        for body in &joins {
            assert_eq!(receive(&mut a, b"k", body), Err(Refusal::Full(full)));
        }
        let body = body_of(b"new", &record_of(&b, b"k"));
        assert_eq!(receive(&mut a, b"new", &body), Err(Refusal::Full(full)));
        assert_eq!(a, before);
    }
    a.full = None;
    for unread in [Unread::Cold, Unread::Damaged] {
        a.unread.insert(b"k".to_vec(), unread);
        let before = a.clone();
        assert_eq!(event(&mut a, &key(b"k"), ME, &blind(b"x")), Err(Refusal::Unread(unread)));
        for body in &joins {
            let body = Body::new_checked::<Software>(body).unwrap();
            let record = Record::new_checked(body.payload()).unwrap();
            let refused = join(&mut a, &key(b"k"), record, body);
            assert_eq!(refused, Err(Refusal::Unread(unread)));
        }
        assert_eq!(a, before);
    }
    a.unread.clear();
    b.full = None;
    assert!(receive(&mut a, b"k", &joins[1]).is_ok(), "and then it goes on");
}

#[test]
fn keys_of_one_leaf_are_summed() {
    let mut store = Store::default();
    let same_leaf = |bytes: &Vec<u8>| {
        let (a, b) = (key(b"0"), key(bytes));
        a.partition == b.partition && leaf_index(&a) == leaf_index(&b)
    };
    let mut names = (1..u32::MAX).map(|number| std::format!("{number}").into_bytes());
    let other = names.find(same_leaf).unwrap();
    for (bytes, value) in [(&b"0"[..], b"x"), (&other, b"x"), (b"0", b"y"), (&other, b"z")] {
        event(&mut store, &key(bytes), ME, &write(Context::Local, value)).unwrap();
        store.check_leaves(key);
    }
    store.drop_record(&key(b"0"));
    store.check_leaves(key);
    store.drop_record(&key(&other));
    store.check_leaves(key);
}
