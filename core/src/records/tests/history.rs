//! Random histories of three nodes against exact causal histories: sets of writes.

use super::*;
use crate::causality::Actor;
use crate::prng::Prng;
use std::collections::{BTreeMap, BTreeSet};

/// Writes, by number.
type Set = BTreeSet<u32>;

/// One write: what its writer had seen, and how the store named it.
struct Known {
    seen: Set,
    dot: Dot,
    tombstone: bool,
}

/// One node: its store, and what its copy of each key has seen.
#[derive(Clone)]
struct Site {
    store: Store,
    boot: u64,
    births: u32,
    seen: BTreeMap<&'static [u8], Set>,
}

/// A context that a client holds: what it says and what it is.
struct Held {
    key: &'static [u8],
    entries: Vec<[u8; 16]>,
    seen: Set,
}

const KEYS: [&[u8]; 2] = [b"one", b"two"];

struct World {
    prng: Prng,
    writes: Vec<Known>,
    sites: [Site; 3],
    snapshots: [Option<Site>; 3],
    held: Vec<Held>,
}

impl World {
    fn new(seed: u64) -> World {
        let site = |_| Site {
            store: Store::default(),
            boot: 1,
            births: 0,
            seen: KEYS.map(|key| (key, Set::new())).into(),
        };
        let (sites, snapshots) = ([0, 1, 2].map(site), [None, None, None]);
        World { prng: Prng::new(seed), writes: Vec::new(), sites, snapshots, held: Vec::new() }
    }

    fn any(&mut self, count: usize) -> usize {
        self.prng.below(count as u64) as usize
    }

    /// The writes of `seen` that no other of them had seen.
    fn siblings(&self, seen: &Set) -> Set {
        let superseded =
            |write: &u32| seen.iter().any(|by| self.writes[*by as usize].seen.contains(write));
        seen.iter().copied().filter(|write| !superseded(write)).collect()
    }

    fn step(&mut self) {
        let (at, key) = (self.any(3), KEYS[self.any(2)]);
        match self.any(20) {
            0..=6 => self.write(at, key),
            7..=9 => self.read(at, key),
            10..=16 => {
                let to = (at + 1 + self.any(2)) % 3;
                self.send(at, to, key);
            }
            17 => {
                self.sites[at].store.drop_record(&self::key(key));
                self.sites[at].seen.insert(key, Set::new());
            }
            18 => {
                self.snapshots[at] = Some(self.sites[at].clone());
            }
            _ => {
                // A new life, perhaps with an old disk.
                let site = &mut self.sites[at];
                if let Some(old) = self.snapshots[at].take() {
                    (site.store, site.seen) = (old.store, old.seen);
                }
                (site.boot, site.births) = (site.boot + 1, 0);
            }
        }
        self.check();
    }

    fn write(&mut self, at: usize, key: &'static [u8]) {
        let number = self.writes.len() as u32;
        let value = number.to_be_bytes();
        let tombstone = self.prng.chance(25);
        let choice = self.any(self.held.len() + 2);
        let held = self.held.get(choice).filter(|held| held.key == key);
        let site = &mut self.sites[at];
        let local = choice == self.held.len();
        let (entries, seen) = match held {
            Some(held) => (held.entries.clone(), held.seen.clone()),
            None if local => (Vec::new(), site.seen[key].clone()),
            None => (Vec::new(), Set::new()),
        };
        let context = match local {
            true => Context::Local,
            false => Context::Given(VersionVector::new_checked(&entries).unwrap()),
        };
        let by = author(at as u32 + 1, site.boot, site.births + 1);
        let write = match tombstone {
            true => Write { change: Change::Tombstone, ..super::write(context, &value) },
            false => super::write(context, &value),
        };
        let applied = event(&mut site.store, &self::key(key), by, &write).unwrap();
        site.births += u32::from(applied.minted);
        assert_eq!(applied.place, Place(site.store.end().0 - 1));
        let stored = site.store.record(&self::key(key)).unwrap().unwrap();
        let extended = stored.mine.expect("whoever wrote may go on");
        let dot = stored.record.version_vector().dot(usize::from(extended));
        assert_eq!(dot.actor().node(), by.node);
        assert_eq!(dot.actor().boot(), by.boot);
        assert!(self.writes.iter().all(|known| known.dot != dot), "a dot names one write");
        let all = site.seen.get_mut(key).unwrap();
        all.extend(&seen);
        all.insert(number);
        self.writes.push(Known { seen, dot, tombstone });
        let siblings = self.siblings(&self.sites[at].seen[key]);
        let live = siblings.iter().filter(|write| !self.writes[**write as usize].tombstone);
        assert_eq!(usize::from(applied.live), live.count());
        assert_eq!(applied.sole, siblings == Set::from([number]));
    }

    /// A client reads at one node and keeps the context.
    fn read(&mut self, at: usize, key: &'static [u8]) {
        let site = &self.sites[at];
        let Some(stored) = site.store.record(&self::key(key)).unwrap() else { return };
        let entries = stored.record.version_vector().iter().map(Dot::to_bytes).collect();
        self.held.push(Held { key, entries, seen: site.seen[key].clone() });
        if self.held.len() > 6 {
            let index = self.any(6);
            self.held.remove(index);
        }
    }

    fn send(&mut self, from: usize, to: usize, key: &'static [u8]) {
        let source = &self.sites[from];
        if source.store.record(&self::key(key)).unwrap().is_none() {
            return;
        }
        let body = body_of(key, &record_of(&source.store, key));
        let more = source.seen[key].clone();
        let site = &mut self.sites[to];
        let had = site.store.record(&self::key(key)).unwrap();
        let (mine, had) = (actor(had), had.is_some());
        let before = site.store.end();
        let joined = receive(&mut site.store, key, &body).unwrap();
        let seen = site.seen.get_mut(key).unwrap();
        let news = !more.is_subset(seen);
        assert_eq!(site.store.end() > before, news || !had, "appended only for news");
        assert_ne!(joined.lost_mine, Some(Boot(site.boot)), "this life lost nothing");
        seen.extend(&more);
        let kept = actor(site.store.record(&self::key(key)).unwrap());
        assert_eq!(kept, mine.filter(|_| joined.lost_mine.is_none()), "kept unless lost");
    }

    /// Every record holds exactly the siblings of its history and covers exactly that.
    fn check(&self) {
        for site in &self.sites {
            site.store.check_leaves(key);
            for (bytes, seen) in &site.seen {
                match site.store.record(&key(bytes)).unwrap() {
                    Some(stored) => self.check_record(site, stored, seen),
                    None => assert!(seen.is_empty()),
                }
            }
        }
    }

    fn check_record(&self, site: &Site, stored: Stored<'_>, seen: &Set) {
        let mut siblings = Set::new();
        for sibling in stored.record.siblings() {
            let number = self.writes.iter().position(|known| known.dot == sibling.dot).unwrap();
            let tombstone = self.writes[number].tombstone;
            assert_eq!(sibling.is_tombstone(), tombstone);
            let value = (number as u32).to_be_bytes();
            assert_eq!(sibling.value, if tombstone { &[][..] } else { &value });
            siblings.insert(number as u32);
        }
        assert_eq!(siblings, self.siblings(seen));
        let mine = actor(Some(stored)).filter(|actor| actor.boot().0 == site.boot);
        for (number, known) in self.writes.iter().enumerate() {
            let covered = stored.record.version_vector().covers(known.dot);
            assert_eq!(covered, seen.contains(&(number as u32)), "write {number}");
            assert!(covered || Some(known.dot.actor()) != mine, "whoever may go on knows all");
        }
    }
}

/// The actor that the node of this record may extend.
fn actor(stored: Option<Stored<'_>>) -> Option<Actor> {
    let stored = stored?;
    Some(stored.record.version_vector().dot(usize::from(stored.mine?)).actor())
}

#[test]
fn stores_hold_exactly_the_causal_history() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step();
        }
        // In the end all nodes tell each other everything.
        for key in KEYS {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
                world.send(from, to, key);
            }
            world.check();
            let seen = world.sites.each_ref().map(|site| &site.seen[key]);
            assert_eq!((seen[0], seen[1]), (seen[1], seen[2]));
            let records = world.sites.each_ref().map(|site| {
                let stored = site.store.record(&self::key(key)).unwrap();
                stored.map(|stored| stored.record.bytes().to_vec())
            });
            assert_eq!((&records[0], &records[1]), (&records[1], &records[2]));
        }
    }
}
