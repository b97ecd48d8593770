//! One key on three nodes that crash and lose records, with messages that are lost, doubled and
//! late (correctness §1).
//!
//! What is shipped: records as encoded bytes, changed by `records::event` and
//! `records::join_record`, hence by `Event::plan`, `causality::join` and `mine_after_join`.
//!
//! What is modelled: a write comes to any node, with the context that a read gave of any node's
//! copy, as it is or as it was once, or with none; the second one deletes. Records go from node to
//! node as they are or as they were once, any number of times or never. A crash brings back what
//! was synced, which is the copy as it is or as it was once, and begins another process life; a
//! record may also be lost without one, on disk too.
//!
//! What was once is kept at the moment at which a copy changes, or not at all: as long as it is
//! some node's copy, that one will do. So there are a few places for old records, which are in
//! flight and in the hands of slow clients, and one for what each node that may crash has synced.
//! Nothing is tried after the last write: whatever copies there may be then is made of those that
//! there are, and each combination of them is looked at.
//!
//! Beside each copy stands which writes it knows of (`seen`), and beside each write which ones it
//! replaces: the exact causal history, to which the bytes must come.
//!
//! Left out: expiry and `Change::Again`, admission, a node that is set back while it runs (a
//! copied virtual machine, which is outside the failure model). A plain `SET`, whose context is
//! that of the coordinator's copy, is a read and a write here; so is the context in a reply to a
//! put, which is there only if a read would give the same.
//!
//! Sizes: three writes, one fault, two old records; four, one and none; with `RINGMAIN_SOAK` also
//! three, two and one; four, one and one. The first write is at the first node: nodes differ only
//! by their ids.

mod runs;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use ringmain_core::causality::Dot;

use self::runs::{EXACT, ONE_WRITE_PER_DOT};
use super::shelf::{Memo, NOTHING, Own, Rec, Shelf, Writer, Writes, Written};
use super::{breaks, holds, is_soak};

const NODES: usize = 3;
const OLD_MAX: usize = 2;
/// The write that deletes.
const DELETE: u8 = 1;

/// How much may happen in a run.
#[derive(Clone, Copy, Debug)]
struct Size {
    writes: usize,
    /// Crashes and lost records.
    faults: u8,
    /// Records at once, in flight or read, that no node has any more.
    old: usize,
}

impl Size {
    /// Nodes that may have a fault: no more can have one, so nobody asks what others synced.
    fn victims(self) -> u32 {
        u32::from(self.faults).min(NODES as u32)
    }
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    Nothing,
    /// A restarted node believes that it is the one that it was.
    BootKept,
    /// A node begins its births anew when it has lost a record.
    BirthsForgotten,
    /// The right to extend an actor travels with the record.
    MineSent,
    /// A client is given the context of its write also where there are siblings it has not seen.
    ContextCoversUnseen,
}

impl Broken {
    /// What does not hold then; none if nothing is broken.
    fn property(self) -> Option<&'static str> {
        match self {
            Broken::Nothing => None,
            Broken::BootKept | Broken::BirthsForgotten | Broken::MineSent => {
                Some(ONE_WRITE_PER_DOT)
            }
            Broken::ContextCoversUnseen => Some(EXACT),
        }
    }
}

#[derive(Debug)]
struct Cluster {
    size: Size,
    broken: Broken,
    shelf: Shelf,
    past: Mutex<Past>,
}

/// Every history that a run has had, once.
#[derive(Debug, Default)]
struct Past {
    histories: Vec<Vec<Event>>,
    numbers: HashMap<Vec<Event>, u32>,
    exact: Memo<(Rec, Writes, u32), bool>,
}

/// A write as it truly was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Event {
    dot: Dot,
    replaces: Writes,
    is_delete: bool,
}

/// A record, and the writes that whoever has it knows of.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Copy {
    own: Own,
    seen: Writes,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Node {
    copy: Copy,
    /// While it may still crash: what was synced last but the copy.
    synced: Copy,
    boot: u8,
    births: u8,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct State {
    nodes: [Node; NODES],
    /// In flight, or read; without a record: none.
    old: [Copy; OLD_MAX],
    history: u32,
    /// Those that may crash or lose something: a bit for each.
    victims: u8,
    faults: u8,
    /// Writes of which no node had a copy left after a fault.
    lost: Writes,
    /// A process was told that it had lost events of its own, while it ran.
    set_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Action {
    node: usize,
    change: Change,
    keep: Keep,
}

/// How the copy of a node changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Write(Source),
    Join(Source),
    Crash,
    LoseRecord,
}

/// What was read, or sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Nothing,
    Node(usize),
    Old(usize),
}

/// What stays of the copy that was there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Keep {
    /// In flight, or read: in this place.
    old: Option<usize>,
    /// It is on disk.
    synced: bool,
}

impl Cluster {
    fn new(size: Size, broken: Broken) -> Cluster {
        assert!(size.old <= OLD_MAX);
        let past = Past { histories: vec![Vec::new()], ..Past::default() };
        Cluster {
            size,
            broken,
            shelf: Shelf::new(broken != Broken::Nothing),
            past: Mutex::new(past),
        }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().expect("a model that has failed is not asked again")
    }

    fn written(&self, state: &State) -> usize {
        self.past().histories[state.history as usize].len()
    }

    /// The number of a history that goes on with `event`.
    fn followed(&self, history: u32, event: Event) -> u32 {
        let mut past = self.past();
        let mut events = past.histories[history as usize].clone();
        events.push(event);
        if let Some(number) = past.numbers.get(&events) {
            return *number;
        }
        let number = past.histories.len() as u32;
        past.numbers.insert(events.clone(), number);
        past.histories.push(events);
        number
    }

    fn write(&self, state: &mut State, node: usize, read: Copy) {
        let Node { copy, boot, births, .. } = state.nodes[node];
        let writer = Writer { node: node as u8, boot, birth: births };
        let number = self.written(state) as u8;
        let is_delete = number == DELETE;
        let context = Some(self.shelf.context(read.own.record));
        let applied = self.shelf.write(copy.own, writer, Written { number, is_delete, context });
        let event = Event { dot: applied.dot, replaces: read.seen, is_delete };
        state.history = self.followed(state.history, event);
        let seen = copy.seen | read.seen | 1 << number;
        state.nodes[node].copy = Copy { own: applied.own, seen };
        state.nodes[node].births += u8::from(applied.minted);
        if self.broken == Broken::ContextCoversUnseen && !applied.sole {
            let own = Own { mine: None, ..applied.own };
            state.old[OLD_MAX - 1] = Copy { own, seen: read.seen | 1 << number };
        }
    }

    fn join(&self, state: &mut State, node: usize, received: Copy) {
        let Node { copy, boot, .. } = state.nodes[node];
        let mut joined = self.shelf.join(copy.own, received.own.record);
        if self.broken == Broken::MineSent && joined.own.record == received.own.record {
            joined.own.mine = received.own.mine;
        }
        state.set_back |= joined.lost_mine == Some(boot);
        state.nodes[node].copy = Copy { own: joined.own, seen: copy.seen | received.seen };
    }

    fn lose(&self, state: &mut State, node: usize, is_crash: bool) {
        let before = seen(state);
        let Node { synced, boot, births, .. } = state.nodes[node];
        let left = if is_crash { synced } else { Copy::default() };
        let is_reborn = is_crash && self.broken != Broken::BootKept;
        let forgets = is_crash || self.broken == Broken::BirthsForgotten;
        state.nodes[node] = Node {
            copy: left,
            synced: left,
            boot: boot + u8::from(is_reborn),
            births: if forgets { 0 } else { births },
        };
        state.faults += 1;
        state.lost |= before & !seen(state);
    }

    /// What may stay of the copy of `node`, which is to change.
    fn keeps(&self, state: &State, node: usize) -> Vec<Keep> {
        let Node { copy, synced, .. } = state.nodes[node];
        let others = state.nodes.iter().filter(|other| known(other.copy) == known(copy)).count();
        // Else there is one that will do, also later.
        let is_last = copy.own.record != NOTHING && others == 1;
        let is_kept = state.old.iter().any(|old| known(*old) == known(copy));
        let places = if is_last && !is_kept { self.size.old } else { 0 };
        let is_unsynced = is_victim(state, node) && synced != copy;
        let keeps = (0..places).map(Some).chain([None]);
        let keep = |old| [false, true].map(|synced| Keep { old, synced });
        keeps.flat_map(keep).filter(|keep| !keep.synced || is_unsynced).collect()
    }

    fn keep(&self, state: &mut State, node: usize, keep: Keep) {
        let mut copy = state.nodes[node].copy;
        if keep.synced {
            state.nodes[node].synced = copy;
        }
        if let Some(place) = keep.old {
            if self.broken != Broken::MineSent {
                copy.own.mine = None;
            }
            state.old[place] = copy;
            // The places are alike, but those without a record come last.
            state.old.sort_unstable_by_key(|old| (old.own.record == NOTHING, known(*old)));
        }
    }

    /// How the copy of `node` may change.
    fn changes(&self, state: &State, node: usize, written: usize) -> Vec<Change> {
        let copies = state.nodes.map(|node| node.copy);
        let is_there = |copy: Copy| copy.own.record != NOTHING;
        let is_new = |at: usize| !copies[..at].iter().any(|copy| known(*copy) == known(copies[at]));
        let nodes = (0..NODES).filter(|other| is_there(copies[*other]) && is_new(*other));
        let old = (0..OLD_MAX).filter(|old| is_there(state.old[*old])).map(Source::Old);
        let sources: Vec<Source> = nodes.map(Source::Node).chain(old).collect();
        let mut changes: Vec<Change> = sources.iter().copied().map(Change::Join).collect();
        if written < self.size.writes {
            changes.push(Change::Write(Source::Nothing));
            changes.extend(sources.into_iter().map(Change::Write));
        }
        if is_victim(state, node) {
            changes.extend([Change::Crash, Change::LoseRecord]);
        }
        changes
    }

    /// Whether no two writes have one dot.
    fn is_named_once(&self, state: &State) -> bool {
        let events = &self.past().histories[state.history as usize];
        let mut dots = events.iter().map(|event| event.dot).enumerate();
        dots.all(|(at, dot)| events[..at].iter().all(|other| other.dot != dot))
    }

    /// Whether a record is what its writes make of it, by causality alone.
    fn is_exact(&self, record: Rec, seen: Writes, history: u32) -> bool {
        let mut past = self.past();
        let past = &mut *past;
        let events = &past.histories[history as usize];
        *past.exact.entry((record, seen, history)).or_insert_with(|| {
            let of = |event: usize| 1 << event;
            let all = 0..events.len();
            let known = || all.clone().filter(|event| seen & of(*event) != 0);
            let replaced = known().fold(0, |set, event| set | events[event].replaces);
            let deletes = known().filter(|event| events[*event].is_delete);
            let deletes: Writes = deletes.fold(0, |set, event| set | of(event));
            let siblings = seen & !replaced;
            let covers = |event: usize| self.shelf.covers(record, events[event].dot);
            self.shelf.siblings(record) == siblings
                && self.shelf.live(record) == siblings & !deletes
                && all.clone().all(|event| covers(event) == (seen & of(event) != 0))
        })
    }

    fn together(&self, state: &State) -> Rec {
        let records = state.nodes.iter().map(|node| node.copy.own.record);
        records.fold(NOTHING, |all, record| self.shelf.both(all, record))
    }

    /// Whether every record that can be made of those that there are is exact, and no node that
    /// gets it is told that it had lost events of the running process.
    fn all_exact(&self, state: &State) -> bool {
        let copies = state.nodes.iter().flat_map(|node| [node.copy, node.synced]);
        let mut made = vec![(NOTHING, 0)];
        // What its reader was wrongly given is no copy.
        let is_given = self.broken == Broken::ContextCoversUnseen;
        let old = state.old.iter().copied().filter(|_| !is_given);
        for (record, seen) in copies.chain(old).map(known) {
            for at in 0..made.len() {
                let both = (self.shelf.both(made[at].0, record), made[at].1 | seen);
                if !made.contains(&both) {
                    made.push(both);
                }
            }
        }
        let is_set_back = |record| {
            state
                .nodes
                .iter()
                .any(|node| self.shelf.join(node.copy.own, record).lost_mine == Some(node.boot))
        };
        made.into_iter().all(|(record, seen)| {
            self.is_exact(record, seen, state.history) && !is_set_back(record)
        })
    }

    /// Whether all nodes are equal once everything has come to everybody.
    fn heals(&self, state: &State) -> bool {
        let mut state = *state;
        for old in state.old {
            (0..NODES).for_each(|node| self.join(&mut state, node, old));
        }
        let all = self.together(&state);
        for from in (0..NODES).chain(0..NODES) {
            let sent = state.nodes[from].copy;
            self.join(&mut state, (from + 1) % NODES, sent);
        }
        state.nodes.iter().all(|node| node.copy.own.record == all)
    }
}

/// The writes that some node knows of.
fn seen(state: &State) -> Writes {
    state.nodes.iter().fold(0, |set, node| set | node.copy.seen)
}

fn is_victim(state: &State, node: usize) -> bool {
    state.victims & 1 << node != 0
}

/// What others get to know of a copy.
fn known(copy: Copy) -> (Rec, Writes) {
    (copy.own.record, copy.seen)
}

#[test]
fn records_are_exact_whatever_is_lost() {
    let size = |writes, faults, old| Size { writes, faults, old };
    let mut sizes = vec![(size(3, 1, 2), 47_000), (size(4, 1, 0), 265_000)];
    if is_soak() {
        sizes.extend([(size(3, 2, 1), 386_000), (size(4, 1, 1), 2_080_000)]);
    }
    for (size, state_count_min) in sizes {
        let model = Cluster::new(size, Broken::Nothing);
        holds(&format!("{size:?}"), model, state_count_min);
    }
}

#[test]
fn each_rule_of_records_is_needed() {
    let size = Size { writes: 3, faults: 1, old: 1 };
    for broken in
        [Broken::BootKept, Broken::BirthsForgotten, Broken::MineSent, Broken::ContextCoversUnseen]
    {
        let property = broken.property().expect("a rule is left out");
        breaks(&format!("{broken:?}"), Cluster::new(size, broken), property);
    }
}
