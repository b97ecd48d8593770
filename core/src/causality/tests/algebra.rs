//! Join, event and comparison against the formulas of the model on plain sets, for every small
//! record there is.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use super::*;

/// The model: numbers by node, and sibling dots.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plain {
    seen: BTreeMap<u32, u32>,
    siblings: BTreeSet<(u32, u32)>,
}

impl Plain {
    fn covers(&self, (node, number): (u32, u32)) -> bool {
        number <= self.seen.get(&node).copied().unwrap_or(0)
    }

    fn join(&self, other: &Plain) -> Plain {
        let mut seen = self.seen.clone();
        for (&node, &number) in &other.seen {
            let entry = seen.entry(node).or_default();
            *entry = number.max(*entry);
        }
        let stays = |this: &Plain, that: &Plain| -> BTreeSet<(u32, u32)> {
            let kept = this.siblings.iter().copied();
            kept.filter(|dot| that.siblings.contains(dot) || !that.covers(*dot)).collect()
        };
        Plain { seen, siblings: &stays(self, other) | &stays(other, self) }
    }

    fn encode(&self) -> Vec<u8> {
        let seen: Vec<Dot> = self.seen.iter().map(|(&node, &number)| dot(node, number)).collect();
        let siblings: Vec<_> = self.siblings.iter().map(|&(n, k)| sibling(dot(n, k))).collect();
        super::encode(&seen, &siblings)
    }
}

/// Every record of nodes 1..=`nodes` with numbers up to 2.
fn all(nodes: u32) -> Vec<Plain> {
    let mut records = vec![Plain::default()];
    for node in 1..=nodes {
        let mut longer = records.clone();
        for record in records {
            for number in 1..=2 {
                for subset in 0..1 << number {
                    let mut record = record.clone();
                    record.seen.insert(node, number);
                    let members = (1..=number).filter(|k| subset >> (k - 1) & 1 == 1);
                    record.siblings.extend(members.map(|k| (node, k)));
                    longer.push(record);
                }
            }
        }
        records = longer;
    }
    records
}

fn encoded(plain: &[Plain]) -> Vec<Vec<u8>> {
    plain.iter().map(Plain::encode).collect()
}

fn written_join(left: Record<'_>, right: Record<'_>) -> Vec<u8> {
    let mut out = match join(left, right) {
        Join::KeepLeft => vec![0xaa; left.bytes().len()],
        Join::TakeRight => vec![0xaa; right.bytes().len()],
        Join::Both { bytes } => vec![0xaa; bytes],
    };
    write_join(left, right, &mut out);
    out
}

#[test]
fn join_is_the_formula_for_all_pairs() {
    let plain = all(3);
    let bytes = encoded(&plain);
    assert_eq!(plain.len(), 343);
    for (left, left_bytes) in plain.iter().zip(&bytes) {
        let left_record = Record::new_checked(left_bytes).unwrap();
        for (right, right_bytes) in plain.iter().zip(&bytes) {
            let right_record = Record::new_checked(right_bytes).unwrap();
            let expected = left.join(right);
            let expected_bytes = expected.encode();
            assert_eq!(written_join(left_record, right_record), expected_bytes);
            let decided = match join(left_record, right_record) {
                Join::KeepLeft => &expected == left,
                Join::TakeRight => &expected == right && left != right,
                Join::Both { .. } => &expected != left && &expected != right,
            };
            assert!(decided, "{left:?} {right:?}");
        }
    }
}

#[test]
fn join_is_associative_commutative_idempotent_for_all_triples() {
    let bytes = encoded(&all(2));
    let records: Vec<_> = bytes.iter().map(|b| Record::new_checked(b).unwrap()).collect();
    for &a in &records {
        assert_eq!(join(a, a), Join::KeepLeft);
        for &b in &records {
            let ab = written_join(a, b);
            assert_eq!(ab, written_join(b, a));
            let ab = Record::new_checked(&ab).unwrap();
            assert_eq!(join(ab, b), Join::KeepLeft);
            for &c in &records {
                let bc = written_join(b, c);
                let bc = Record::new_checked(&bc).unwrap();
                assert_eq!(written_join(ab, c), written_join(a, bc));
            }
        }
    }
}

#[test]
fn mine_survives_a_join_unless_the_other_side_knows_more() {
    let plain = all(3);
    let bytes = encoded(&plain);
    for (left, left_bytes) in plain.iter().zip(&bytes) {
        for (right, right_bytes) in plain.iter().zip(&bytes).step_by(3) {
            let joined = left.join(right);
            for node in 1..=3 {
                let ours = left.seen.get(&node);
                let expected = (ours.is_some() && right.seen.get(&node) <= ours)
                    .then(|| joined.seen.range(..node).count() as u16);
                let left = Record::new_checked(left_bytes).unwrap();
                let right = Record::new_checked(right_bytes).unwrap();
                assert_eq!(mine_after_join(left, right, actor(node)), expected);
            }
        }
    }
}

#[test]
fn version_vectors_compare_as_sets_of_writes() {
    let bytes = encoded(&all(3).into_iter().filter(|p| p.siblings.is_empty()).collect::<Vec<_>>());
    let records: Vec<_> = bytes.iter().map(|b| Record::new_checked(b).unwrap()).collect();
    assert_eq!(records.len(), 27);
    let universe: Vec<Dot> = (1..=3).flat_map(|node| [1, 2].map(|k| dot(node, k))).collect();
    for left in records.iter().map(|record| record.version_vector()) {
        for right in records.iter().map(|record| record.version_vector()) {
            let covered = |seen: VersionVector<'_>| -> BTreeSet<Dot> {
                universe.iter().copied().filter(|dot| seen.covers(*dot)).collect()
            };
            let (l, r) = (covered(left), covered(right));
            let expected = match (l.is_superset(&r), l.is_subset(&r)) {
                (true, true) => Causality::Equal,
                (true, false) => Causality::Dominates,
                (false, true) => Causality::Dominated,
                (false, false) => Causality::Concurrent,
            };
            assert_eq!(left.compare(right), expected);
            assert_eq!(left.covers_all(right), l.is_superset(&r));
            assert_eq!(left.is_empty(), l.is_empty());
            assert_eq!(l.len() as u32, left.iter().map(Dot::number).sum());
        }
    }
}

/// All records × all contexts × every claim to `mine`, against the formula of the event.
#[test]
fn event_is_the_formula_for_all_records_and_contexts() {
    let plain = all(3);
    let bytes = encoded(&plain);
    let contexts: Vec<&Plain> = plain.iter().filter(|p| p.siblings.is_empty()).collect();
    let (mut extended, mut minted) = (0, 0);
    for (old, old_bytes) in plain.iter().zip(&bytes) {
        let record = Record::new_checked(old_bytes).unwrap();
        for given in contexts.iter().copied().map(Some).chain([None]) {
            let given_bytes = given.map(Plain::encode);
            let context = given_bytes.as_ref().map_or(Context::Local, |bytes| {
                Context::Given(Record::new_checked(bytes).unwrap().version_vector())
            });
            let seen = given.unwrap_or(old);
            let discarded = old.join(&Plain { seen: seen.seen.clone(), ..Plain::default() });
            for mine in [None, Some(0), Some(1), Some(2), Some(3)] {
                // Node 2 is this node; the actors of the records are of its boot.
                let me = 2;
                let ours = mine.and_then(|m| old.seen.keys().nth(usize::from(m))) == Some(&me);
                let extends = ours && discarded.seen[&me] == old.seen[&me];
                let write = Write {
                    context,
                    timestamp: UnixMs(5),
                    change: Change::Value { expires: None, value: b"new" },
                };
                let event = Event::plan(Some(record), mine, NodeId(me), Boot(1), 77, &write);
                assert_eq!(event.minted(), !extends);
                extended += usize::from(extends);
                minted += usize::from(!extends);
                check_event(event, record, &write, &discarded, extends);
            }
        }
    }
    assert!(extended > 1000, "{extended}");
    assert!(minted > 1000, "{minted}");
}

fn check_event(event: Event, old: Record<'_>, write: &Write<'_>, discarded: &Plain, extends: bool) {
    let expected = match extends {
        true => dot(2, discarded.seen[&2] + 1),
        false => Dot::new(Actor::new(NodeId(2), Boot(1), 77), 1),
    };
    assert_eq!(event.dot(), expected);
    let mut out = vec![0xaa; event.bytes()];
    event.write_to(Some(old), write, &mut out);
    let record = Record::new_checked(&out).unwrap();
    assert_canonical(record);
    assert_eq!(record.sibling_count(), event.sibling_count());
    assert_eq!(record.version_vector().len(), event.version_vector_count());
    assert_eq!(record.version_vector().dot(usize::from(event.mine())), expected);
    let new = record.siblings().find(|sibling| sibling.dot == expected).unwrap();
    assert_eq!((new.value, new.flags, new.timestamp), (&b"new"[..], 0, UnixMs(5)));
    let mut seen: BTreeSet<Dot> = discarded.seen.iter().map(|(&n, &k)| dot(n, k)).collect();
    seen.retain(|entry| entry.actor() != expected.actor());
    seen.insert(expected);
    assert!(record.version_vector().iter().eq(seen));
    let mut siblings: BTreeSet<Dot> = discarded.siblings.iter().map(|&(n, k)| dot(n, k)).collect();
    siblings.insert(expected);
    assert!(record.siblings().map(|sibling| sibling.dot).eq(siblings));
}

/// All records × all reads, each version that was read again: against the formula that discards,
/// then adds one write for each, so that none of them replaces another.
#[test]
fn versions_that_are_written_again_are_an_event_each_for_all_records_and_reads() {
    const NOW: UnixMs = UnixMs(9);
    let plain = all(3);
    let bytes = encoded(&plain);
    let (mut several, mut minted) = (0, 0);
    for (old, old_bytes) in plain.iter().zip(&bytes) {
        let record = Record::new_checked(old_bytes).unwrap();
        for (read, read_bytes) in plain.iter().zip(&bytes) {
            let read_record = Record::new_checked(read_bytes).unwrap();
            let seen = read_record.live(NOW);
            if seen.count() == 0 {
                continue;
            }
            let expires = (read.siblings.len() % 2 == 0).then_some(UnixMs(77));
            let context = Context::Given(read_record.version_vector());
            let change = Change::Again { seen, expires };
            let write = Write { context, timestamp: UnixMs(5), change };
            let mine = old.seen.keys().position(|node| *node == 2).map(|index| index as u16);
            let event = Event::plan(Some(record), mine, NodeId(2), Boot(1), 77, &write);
            several += usize::from(seen.count() > 1);
            minted += usize::from(event.minted());
            let mut out = vec![0xaa; event.bytes()];
            event.write_to(Some(record), &write, &mut out);
            assert_eq!(out, written_again(old, read, &event, expires), "{old:?} {read:?}");
            let new = Record::new_checked(&out).unwrap();
            assert_eq!(new.sibling_count(), event.sibling_count());
            let mine = new.version_vector().dot(usize::from(event.mine()));
            assert_eq!(mine, event.dot());
        }
    }
    assert!(several > 1000, "{several}");
    assert!(minted > 1000, "{minted}");
}

/// What is left of `old` once `read` was seen, and every value of it that lives at 9 again, under
/// the next numbers of the actor that `event` chose.
fn written_again(old: &Plain, read: &Plain, event: &Event, expires: Option<UnixMs>) -> Vec<u8> {
    let discarded = old.join(&Plain { seen: read.seen.clone(), ..Plain::default() });
    let mut seen: BTreeMap<_, u32> =
        discarded.seen.iter().map(|(&node, &number)| (actor(node), number)).collect();
    let kept = discarded.siblings.iter().map(|&(node, number)| sibling(dot(node, number)));
    let mut siblings: Vec<Sibling<'_>> = kept.collect();
    for &(node, number) in &read.siblings {
        let again = sibling(dot(node, number));
        if again.flags == 0 || again.expires > Some(UnixMs(9)) {
            let last = seen.entry(event.dot().actor()).or_default();
            *last += 1;
            let dot = Dot::new(event.dot().actor(), *last);
            let flags = if expires.is_some() { EXPIRES } else { 0 };
            siblings.push(Sibling { dot, flags, expires, ..again });
        }
    }
    siblings.sort_by_key(|sibling| sibling.dot);
    let seen: Vec<Dot> = seen.into_iter().map(|(actor, last)| Dot::new(actor, last)).collect();
    super::encode(&seen, &siblings)
}

#[test]
fn only_actors_of_this_node_and_boot_with_numbers_left_are_extended() {
    let write = Write { context: Context::Local, timestamp: UnixMs(1), change: Change::Tombstone };
    let plan = |seen: Dot, node, boot| {
        let bytes = encode(&[seen], &[]);
        let record = Record::new_checked(&bytes).unwrap();
        Event::plan(Some(record), Some(0), NodeId(node), Boot(boot), 3, &write).minted()
    };
    assert!(!plan(dot(2, 1), 2, 1));
    assert!(plan(dot(2, 1), 2, 2), "another boot");
    assert!(plan(dot(2, 1), 3, 1), "another node");
    assert!(!plan(dot(2, NUMBER_MAX - 1), 2, 1));
    assert!(plan(dot(2, NUMBER_MAX), 2, 1), "no number left");
    // Whatever the birth, no write that anyone has seen is named again.
    let seen = entries(&[Dot::new(Actor::new(NodeId(2), Boot(1), 3), 5)]);
    let context = Context::Given(VersionVector::new_checked(&seen).unwrap());
    let event = Event::plan(None, None, NodeId(2), Boot(1), 3, &Write { context, ..write });
    assert_eq!((event.dot().number(), event.minted()), (6, true));
    // A delete of nothing: neither value nor expiry reach the record.
    let event = Event::plan(None, None, NodeId(2), Boot(1), 3, &write);
    let mut out = vec![0; event.bytes()];
    event.write_to(None, &write, &mut out);
    let sibling = Record::new_checked(&out).unwrap().siblings().next().unwrap();
    assert_eq!((sibling.flags, sibling.expires, sibling.value), (TOMBSTONE, None, &b""[..]));
    assert_eq!(event.dot(), Dot::new(Actor::new(NodeId(2), Boot(1), 3), 1));
}

#[test]
fn an_actor_names_all_versions_of_a_write_or_none() {
    let siblings = [(3, 1), (3, 4), (4, 1)].map(|(node, number)| sibling(dot(node, number)));
    let read = encode(&[dot(3, 4), dot(4, 1)], &siblings);
    let seen = Record::new_checked(&read).unwrap().live(UnixMs(0));
    assert_eq!(seen.count(), 3);
    let change = Change::Again { seen, expires: None };
    let write = Write { context: Context::Local, timestamp: UnixMs(1), change };
    for (last, minted, number) in
        [(NUMBER_MAX - 3, false, NUMBER_MAX), (NUMBER_MAX - 2, true, 3), (NUMBER_MAX, true, 3)]
    {
        let bytes = encode(&[dot(2, last)], &[]);
        let old = Record::new_checked(&bytes).unwrap();
        let event = Event::plan(Some(old), Some(0), NodeId(2), Boot(1), 3, &write);
        assert_eq!((event.minted(), event.dot().number()), (minted, number));
    }
}

/// The bytes left over would reach a log as they happened to lie in memory.
#[test]
#[should_panic(expected = "self.position")]
fn a_shorter_value_than_planned_is_not_written() {
    let write = Write {
        context: Context::Local,
        timestamp: UnixMs(1),
        change: Change::Value { expires: None, value: b"planned" },
    };
    let event = Event::plan(None, None, NodeId(2), Boot(1), 3, &write);
    let mut out = vec![0; event.bytes()];
    let change = Change::Value { expires: None, value: b"plan" };
    event.write_to(None, &Write { change, ..write }, &mut out);
}
