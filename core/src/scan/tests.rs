//! Pages against a naive model: sorted maps.

use super::*;
use crate::causality::{
    Actor, Dot, Sibling, TOMBSTONE, VersionVector, encode_record, record_bytes, write_join,
};
use crate::hash::Key;
use crate::id::{Boot, NodeId};
use crate::limits::PARTITION_BITS_MAX;
use crate::prng::Prng;
use crate::time::UnixMs;
use crate::wire::payload::Payload;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

/// Few groups in few partitions.
const BITS: u32 = PARTITION_BITS_MAX;

/// What a replica has of one partition: records by order and key.
type Copy = BTreeMap<(u64, Vec<u8>), Vec<u8>>;

/// The record of a key that was written `number` times, by one actor, last with a delete or not.
fn record_of(number: u32, is_deleted: bool) -> Vec<u8> {
    let dot = Dot::new(Actor::new(NodeId(1), Boot(1), 1), number);
    let flags = if is_deleted { TOMBSTONE } else { 0 };
    let sibling = Sibling { dot, flags, timestamp: UnixMs(1), expires: None, value: &[] };
    let bytes = dot.to_bytes();
    let version_vector = VersionVector::from_bytes(&bytes).unwrap();
    let mut out = vec![0; record_bytes(version_vector, &[sibling])];
    encode_record(version_vector, &[sibling], &mut out);
    out
}

fn head(from: u64, last: u64) -> PageHead {
    PageHead { partition: Partition(3), from, last, keys: 0 }
}

/// A page of `copy` from `from` to `last`.
fn page(copy: &Copy, from: u64, last: u64) -> Vec<u8> {
    let of_page = || copy.range((from, vec![])..).take_while(|((order, _), _)| *order <= last);
    let bytes = of_page().map(|((_, key), record)| entry_bytes(key.len(), record.len())).sum();
    let mut out = vec![0xee; page_bytes(bytes)];
    let mut writer = PageWriter::new(head(from, last), of_page().count() as u16, &mut out);
    for ((order, key), record) in of_page() {
        writer.entry(*order, key, record.len(), |out| out.copy_from_slice(record));
    }
    writer.finish();
    out
}

fn joined(left: &[u8], right: &[u8]) -> Vec<u8> {
    let (left, right) = (Page::new_checked(left).unwrap(), Page::new_checked(right).unwrap());
    let joined = JoinedPage::plan(left, right, BITS);
    let mut out = vec![0xee; joined.bytes()];
    joined.write(left, right, &mut out);
    assert_eq!(Page::new_checked(&out).unwrap().bytes(), out.len());
    out
}

fn read(page: &[u8]) -> (PageHead, Copy) {
    let page = Page::new_checked(page).unwrap();
    let entries = page.entries().map(|e| ((e.order, e.key.to_vec()), e.record.to_vec()));
    (page.head, entries.collect())
}

/// The join of two copies, key by key.
fn union(left: &Copy, right: &Copy) -> Copy {
    let mut union = left.clone();
    for (key, record) in right {
        let old = union.entry(key.clone()).or_insert_with(|| record.clone());
        let (one, other) =
            (Record::new_checked(old).unwrap(), Record::new_checked(record).unwrap());
        let bytes = match causality::join(one, other) {
            Join::KeepLeft => old.len(),
            Join::TakeRight => record.len(),
            Join::Both { bytes } => bytes,
        };
        let mut out = vec![0; bytes];
        write_join(one, other, &mut out);
        *old = out;
    }
    union
}

/// An order in one of a few groups, or the very last one.
fn random_order(prng: &mut Prng) -> u64 {
    match prng.below(20) {
        0 => u64::MAX,
        group => group << BITS | prng.below(3),
    }
}

fn random_copy(prng: &mut Prng) -> Copy {
    let key = |prng: &mut Prng| vec![b'a' + prng.below(3) as u8; 1 + prng.below(2) as usize];
    // A dot names one write, whoever has it.
    let record = |prng: &mut Prng| {
        let number = 1 + prng.below(3) as u32;
        record_of(number, number == 2)
    };
    (0..prng.below(30)).map(|_| ((random_order(prng), key(prng)), record(prng))).collect()
}

#[test]
fn two_pages_join_key_by_key_as_far_as_both_go() {
    let mut prng = Prng::new(1);
    for _ in 0..3000 {
        let (left, right) = (random_copy(&mut prng), random_copy(&mut prng));
        let from = random_order(&mut prng) >> BITS << BITS;
        let mut last = || last_of_group(from.max(random_order(&mut prng)), BITS);
        let (one, other) = (last(), last());
        let found = joined(&page(&left, from, one), &page(&right, from, other));
        let last = one.min(other);
        let mut expected = union(&left, &right);
        expected.retain(|(order, _), _| (from..=last).contains(order));
        assert_eq!(read(&found), (head(from, last), expected));
        assert_eq!(joined(&page(&right, from, other), &page(&left, from, one)), found);
    }
}

#[test]
fn a_joined_page_ends_with_the_group_that_fills_it() {
    let most = SCAN_PAGE_COUNT_MAX as u64;
    let copy = |keys: &[(u64, u8)]| -> Copy {
        keys.iter().map(|(order, key)| ((*order, vec![*key]), record_of(1, false))).collect()
    };
    // Of each group one replica has the first key, and the other one the second.
    let keys = |which: u8| Vec::from_iter((0..most).map(|group| (group << BITS, which)));
    let (left, right) = (copy(&keys(b'a')), copy(&keys(b'b')));
    let found = joined(&page(&left, 0, u64::MAX), &page(&right, 0, u64::MAX));
    let (found, keys) = read(&found);
    assert_eq!(found.last, last_of_group((most / 2 - 1) << BITS, BITS));
    assert_eq!(keys.len(), SCAN_PAGE_COUNT_MAX);
    // One more, and one less, in the same group.
    for count in [most - 1, most, most + 1] {
        let keys = Vec::from_iter((0..count).map(|key| (key, b'a')));
        let more = [(1 << BITS, b'z')];
        let found = joined(&page(&copy(&keys), 0, u64::MAX), &page(&copy(&more), 0, u64::MAX));
        let (found, found_keys) = read(&found);
        let is_full = count >= most;
        assert_eq!(found_keys.len() as u64, if is_full { count } else { count + 1 });
        let last = if is_full { last_of_group(0, BITS) } else { u64::MAX };
        assert_eq!(found.last, last, "{count}");
    }
}

#[test]
fn cursors_are_positions_in_order() {
    for bits in [6, 10, PARTITION_BITS_MAX] {
        let mut prng = Prng::new(bits.into());
        for _ in 0..1000 {
            let (one, other) = (prng.next_u64(), prng.next_u64());
            let position = |cursor| Position::of(cursor, bits);
            assert_eq!(position(one).cursor(bits), one);
            let places = [one, other].map(|one| (position(one).partition, position(one).from));
            assert_eq!(one.cmp(&other), places[0].cmp(&places[1]));
        }
        let begin = Position { partition: Partition(0), from: 0 };
        assert_eq!(Position::of(0, bits), begin);
        let group = last_of_group(5 << bits, bits);
        let next = Position { partition: Partition(0), from: 6 << bits };
        assert_eq!(begin.behind(group, bits), Some(next));
        assert!(next.cursor(bits) == 6);
        let partition = Partition(1);
        assert_eq!(next.behind(u64::MAX, bits), Some(Position { partition, from: 0 }));
        let last = Position::of(u64::MAX, bits);
        assert_eq!(last.behind(u64::MAX, bits), None);
        assert_eq!(u32::from(last.partition.0), (1 << bits) - 1);
    }
}

/// Three owners of each of the first partitions, a key on two of them at least.
struct Cluster {
    copies: Vec<[Copy; 3]>,
    live: BTreeSet<Vec<u8>>,
}

impl Cluster {
    fn new(prng: &mut Prng) -> Cluster {
        let mut cluster = Cluster { copies: vec![Default::default(); 4], live: BTreeSet::new() };
        for number in 0..prng.below(80) {
            let bytes = std::format!("key-{number}").into_bytes();
            // Hashes would hardly ever meet in a group.
            let order = random_order(prng);
            let (partition, is_deleted) = (prng.below(4) as usize, prng.below(3) == 0);
            let missing = prng.below(4) as usize;
            for (owner, copy) in cluster.copies[partition].iter_mut().enumerate() {
                // An owner that missed the delete may have an older version.
                if owner != missing {
                    copy.insert((order, bytes.clone()), record_of(2, is_deleted));
                } else if prng.below(2) == 0 {
                    copy.insert((order, bytes.clone()), record_of(1, false));
                }
            }
            if !is_deleted {
                cluster.live.insert(bytes);
            }
        }
        cluster
    }

    /// The page of an owner, cut somewhere at the end of a group; never before the first one.
    fn page(&self, prng: &mut Prng, at: Position, owner: usize) -> Vec<u8> {
        let empty = Copy::new();
        let copy = self.copies.get(usize::from(at.partition.0)).map_or(&empty, |all| &all[owner]);
        let groups = copy.range((at.from, vec![])..).map(|((order, _), _)| *order);
        let groups = Vec::from_iter(groups.map(|order| last_of_group(order, BITS)));
        let cut = prng.below(groups.len() as u64 + 2) as usize;
        page(copy, at.from, groups.get(cut).copied().unwrap_or(u64::MAX))
    }
}

#[test]
fn a_whole_walk_finds_what_lives_and_nothing_else() {
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let cluster = Cluster::new(&mut prng);
        let (mut found, mut pages) = (Vec::new(), 0);
        let mut next = Some(Position::of(0, BITS));
        while let Some(at) = next.filter(|at| at.partition.0 < 4) {
            let first = prng.below(3) as usize;
            let second = (first + 1 + prng.below(2) as usize) % 3;
            let left = cluster.page(&mut prng, at, first);
            let right = cluster.page(&mut prng, at, second);
            let (head, entries) = read(&joined(&left, &right));
            for ((_, key), record) in entries {
                let record = Record::new_checked(&record).unwrap();
                if record.live(UnixMs(5)).count() > 0 {
                    found.push(key);
                }
            }
            // What a client keeps is the cursor alone.
            let cursor = at.behind(head.last, BITS).map(|next| next.cursor(BITS));
            next = cursor.map(|cursor| Position::of(cursor, BITS));
            pages += 1;
            assert!(pages < 1000, "seed {seed} ends");
        }
        let count = found.len();
        let found = BTreeSet::from_iter(found);
        assert_eq!(count, found.len(), "seed {seed}: each once");
        assert_eq!(found, cluster.live, "seed {seed}");
    }
}

#[test]
fn a_key_is_in_the_group_of_its_order() {
    for number in 0..100_u32 {
        let key = number.to_le_bytes();
        let key = Key::new(&key, 7, BITS);
        let (first, last) = (first_of_group(key.order, BITS), last_of_group(key.order, BITS));
        assert!((first..=last).contains(&key.order));
        assert_eq!(last - first, (1 << BITS) - 1);
        let position = Position { partition: key.partition, from: first };
        assert_eq!(u128::from(position.cursor(BITS)), key.hash.0 >> 64);
    }
}
