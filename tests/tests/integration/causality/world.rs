//! Some nodes with one key each, twice: as shipped records, and as plain sets of writes.

use std::collections::{BTreeMap, BTreeSet};

use ringmain_core::causality::{
    self, Actor, Change, Context, Dot, Event, Join, Record, VersionVector, Write,
};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::time::UnixMs;

/// A set of writes, by their numbers; a history has at most 64.
pub(super) type Writes = u64;

pub(super) const SECRET: [u8; 16] = [7; 16];
pub(super) const KEY: &[u8] = b"key";

/// What a copy knows: the shipped bytes beside the truth.
#[derive(Clone)]
pub(super) struct Copy {
    pub(super) record: Vec<u8>,
    mine: Option<u16>,
    seen: Writes,
    siblings: Writes,
}

/// What a reader was given: the token that the client holds, and the writes it stands for.
#[derive(Clone)]
pub(super) struct Seen {
    token: Vec<u8>,
    writes: Writes,
}

impl Seen {
    /// The context of a client that has read nothing.
    pub(super) fn nothing() -> Seen {
        Seen { token: token(VersionVector::EMPTY), writes: 0 }
    }
}

/// What a write claims to supersede.
pub(super) enum Supersedes<'a> {
    /// What the coordinator's copy has seen.
    Local,
    /// What a read returned.
    Given(&'a Seen),
}

#[derive(Clone)]
pub(super) struct World {
    nodes: Vec<Option<Copy>>,
    boots: Vec<u64>,
    births: Vec<u32>,
    dots: Vec<Dot>,
    pub(super) tombstones: Writes,
}

impl World {
    pub(super) fn new(nodes: usize) -> World {
        World {
            nodes: vec![None; nodes],
            boots: vec![1; nodes],
            births: vec![0; nodes],
            dots: Vec::new(),
            tombstones: 0,
        }
    }

    /// Coordinates a write (or delete) at `node`; returns its number.
    pub(super) fn put(&mut self, node: usize, by: Supersedes<'_>, tombstone: bool) -> usize {
        let id = self.dots.len();
        let (seen, siblings) = self.truth(node);
        let (context, covered) = match by {
            Supersedes::Local => (Context::Local, seen),
            Supersedes::Given(given) => {
                let decoded = causality::decode_token(&SECRET, KEY, &given.token);
                (Context::Given(decoded.expect("a token of this key")), given.writes)
            }
        };
        let value = [id as u8];
        let timestamp = UnixMs(id as u64);
        let change = match tombstone {
            true => Change::Tombstone,
            false => Change::Value { expires: None, value: &value },
        };
        let write = Write { context, timestamp, change };
        let old = self.nodes[node].as_ref();
        let mine = old.and_then(|copy| copy.mine);
        let old = old.map(|copy| check(&copy.record));
        let boot = Boot(self.boots[node]);
        let mint = self.births[node] + 1;
        let event = Event::plan(old, mine, node_id(node), boot, mint, &write);
        let mut record = vec![0xaa; event.bytes()];
        event.write_to(old, &write, &mut record);
        self.births[node] += u32::from(event.minted());
        assert!(!self.dots.contains(&event.dot()), "V2: {:?} was used before", event.dot());
        self.dots.push(event.dot());
        self.tombstones |= Writes::from(tombstone) << id;
        self.nodes[node] = Some(Copy {
            record,
            mine: Some(event.mine()),
            seen: seen | covered | 1 << id,
            siblings: siblings & !covered | 1 << id,
        });
        self.check(node);
        id
    }

    /// Joins the copy of `from` into that of `to`, as a replica does with a received record.
    pub(super) fn send(&mut self, from: usize, to: usize) {
        let Some(sent) = self.nodes[from].clone() else { return };
        let joined = match &self.nodes[to] {
            Some(own) => own.receive(&sent, Boot(self.boots[to])),
            None => Copy { mine: None, ..sent },
        };
        self.nodes[to] = Some(joined);
        self.check(to);
    }

    /// The copy vanishes.
    pub(super) fn drop_copy(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// The copy as it is now.
    pub(super) fn snap(&self, node: usize) -> Option<Copy> {
        self.nodes[node].clone()
    }

    /// The copy is again what it was, in a new process life.
    pub(super) fn roll_back(&mut self, node: usize, copy: Option<Copy>) {
        self.nodes[node] = copy;
        self.restart(node);
    }

    /// A new process life.
    pub(super) fn restart(&mut self, node: usize) {
        self.boots[node] += 1;
        self.births[node] = 0;
    }

    /// Joins the copies of `nodes` pairwise, as a read does; returns siblings and context.
    pub(super) fn read(&self, nodes: &[usize]) -> (Writes, Seen) {
        let nothing =
            Copy { record: Record::empty().bytes().to_vec(), mine: None, seen: 0, siblings: 0 };
        let copies = nodes.iter().filter_map(|&node| self.nodes[node].as_ref());
        let joined = copies.fold(nothing, |joined, copy| joined.receive(copy, Boot(0)));
        self.check_copy(&joined);
        let token = token(check(&joined.record).version_vector());
        (joined.siblings, Seen { token, writes: joined.seen })
    }

    /// The siblings of `node`'s copy: those of its record, which are those of the model.
    pub(super) fn siblings(&self, node: usize) -> Writes {
        self.truth(node).1
    }

    /// Whether `node`'s copy has seen write `id`, by its record.
    pub(super) fn covers(&self, node: usize, id: usize) -> bool {
        let copy = self.nodes[node].as_ref();
        copy.is_some_and(|copy| check(&copy.record).version_vector().covers(self.dots[id]))
    }

    fn truth(&self, node: usize) -> (Writes, Writes) {
        self.nodes[node].as_ref().map_or((0, 0), |copy| (copy.seen, copy.siblings))
    }

    /// The record at `node` says what the model says, and V5 holds.
    fn check(&self, node: usize) {
        let Some(copy) = &self.nodes[node] else { return };
        self.check_copy(copy);
        let entry = copy.mine.map(|m| check(&copy.record).version_vector().dot(usize::from(m)));
        let boot = Boot(self.boots[node]);
        if let Some(entry) = entry.filter(|entry| entry.actor().boot() == boot) {
            assert_eq!(entry.actor().node(), node_id(node));
            let of_actor = self.dots.iter().filter(|dot| dot.actor() == entry.actor());
            assert_eq!(of_actor.max(), Some(&entry), "V5: all events of `mine` are here");
        }
    }

    fn check_copy(&self, copy: &Copy) {
        let record = check(&copy.record);
        let mut siblings = 0;
        for sibling in record.siblings() {
            let id = self.dots.iter().position(|&dot| dot == sibling.dot).expect("a known dot");
            siblings |= 1 << id;
            assert_eq!(sibling.is_tombstone(), self.tombstones >> id & 1 == 1);
            assert!(sibling.is_tombstone() || sibling.value == [id as u8]);
            assert_eq!(sibling.timestamp, UnixMs(id as u64));
        }
        assert_eq!(siblings, copy.siblings, "siblings: {:?} of {:?}", record, self.dots);
        let seen = record.version_vector();
        for (id, &dot) in self.dots.iter().enumerate() {
            assert_eq!(seen.covers(dot), copy.seen >> id & 1 == 1, "covers {dot:?}: {seen:?}");
        }
        let living = (siblings & !self.tombstones).count_ones();
        assert_eq!(record.live(UnixMs(0)).count(), living as usize);
    }
}

impl Copy {
    /// The join, with what becomes of `mine` at a node in `boot`.
    fn receive(&self, received: &Copy, boot: Boot) -> Copy {
        let (left, right) = (check(&self.record), check(&received.record));
        let record = join(left, right);
        let actor: Option<Actor> =
            self.mine.map(|mine| left.version_vector().dot(usize::from(mine)).actor());
        let mine = actor.and_then(|actor| causality::mine_after_join(left, right, actor));
        let lost = mine.is_none() && actor.is_some_and(|actor| actor.boot() == boot);
        assert!(!lost, "V5: nobody knows more of an actor of the running boot");
        let (a, b) = (self, received);
        let siblings = a.siblings & b.siblings | a.siblings & !b.seen | b.siblings & !a.seen;
        Copy { record, mine, seen: a.seen | b.seen, siblings }
    }
}

/// The join of two records as bytes, by the decision and, always, by writing it.
pub(super) fn join(left: Record<'_>, right: Record<'_>) -> Vec<u8> {
    let decided = causality::join(left, right);
    let bytes = match decided {
        Join::KeepLeft => left.bytes().len(),
        Join::TakeRight => right.bytes().len(),
        Join::Both { bytes } => bytes,
    };
    let mut joined = vec![0xaa; bytes];
    causality::write_join(left, right, &mut joined);
    match decided {
        Join::KeepLeft => assert_eq!(joined, left.bytes()),
        Join::TakeRight => assert_eq!(joined, right.bytes()),
        Join::Both { .. } => assert!(joined != left.bytes() && joined != right.bytes()),
    }
    joined
}

pub(super) fn check(bytes: &[u8]) -> Record<'_> {
    Record::new_checked(bytes).expect("records are well-formed")
}

/// The numbers in `writes`.
pub(super) fn ids(writes: Writes) -> BTreeSet<usize> {
    (0..64).filter(|id| writes >> id & 1 == 1).collect()
}

/// Names of a test vector as numbers, in the order of their first use.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, usize>);

impl Names {
    pub(super) fn number(&mut self, name: &str) -> usize {
        let next = self.0.len();
        *self.0.entry(name.to_string()).or_insert(next)
    }
}

fn node_id(node: usize) -> NodeId {
    NodeId(node as u32 + 1)
}

fn token(version_vector: VersionVector<'_>) -> Vec<u8> {
    let mut token = vec![0; causality::token_bytes(version_vector.len())];
    let length = causality::encode_token(&SECRET, KEY, version_vector, &mut token);
    assert_eq!(length, token.len());
    token
}
