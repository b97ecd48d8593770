//! The exact history of one key.

use std::collections::BTreeMap;

use ringmain_core::causality::{Dot, Record, VersionVector};
use ringmain_core::id::{Boot, NodeId};

use super::{Invariant, Set, Violation};

/// A record, taken apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Decoded {
    /// The greatest dot of each actor.
    pub entries: Vec<Dot>,
    /// The siblings, tombstones too.
    pub siblings: Vec<DecodedSibling>,
}

/// One sibling of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DecodedSibling {
    /// Its name.
    pub dot: Dot,
    /// A delete.
    pub tombstone: bool,
    /// The stamp, by which the simulator's clients name their writes.
    pub stamp: u64,
    /// The value.
    pub value: Vec<u8>,
}

impl Decoded {
    /// Takes `record` apart.
    pub fn of(record: Record<'_>) -> Decoded {
        let siblings = record.siblings().map(|sibling| DecodedSibling {
            dot: sibling.dot,
            tombstone: sibling.is_tombstone(),
            stamp: sibling.timestamp.0,
            value: sibling.value.to_vec(),
        });
        let siblings = siblings.collect();
        Decoded { entries: decoded_entries(record.version_vector()), siblings }
    }
}

/// The entries of a version vector.
pub fn decoded_entries(version_vector: VersionVector<'_>) -> Vec<Dot> {
    version_vector.iter().collect()
}

/// What a write replaces, as its client meant it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Context {
    /// What the coordinator knew.
    Local,
    /// These events.
    Given(Set),
    /// What a read by the coordinator found.
    ReadFirst,
}

/// A write as its client sent it.
#[derive(Clone, Debug)]
pub struct Issue {
    /// What it replaces.
    pub context: Context,
    /// A delete.
    pub tombstone: bool,
    /// Its value; empty for a delete.
    pub value: Vec<u8>,
    /// The events that it led to: none yet, one, or more where it was applied twice.
    pub events: Vec<usize>,
    /// Its client was told that it was not applied.
    pub refused: bool,
}

/// One event: a write as a coordinator applied it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name.
    pub dot: Dot,
    /// The stamp of its write.
    pub stamp: u64,
    /// All events that it saw.
    pub past: Set,
    /// A delete.
    pub tombstone: bool,
}

/// A record that a coordinator's event appended, as it is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Appended<'a> {
    /// The coordinator.
    pub node: NodeId,
    /// Its process life.
    pub boot: Boot,
    /// The history of the record before.
    pub before: &'a Set,
    /// The record after.
    pub after: &'a Decoded,
    /// For a write that reads first: what its read may have found.
    pub found: &'a [Set],
}

/// All writes and events of one key.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    /// Events of each actor in the order of their numbers; the actor as its first dot.
    actors: BTreeMap<Dot, Vec<usize>>,
    issues: BTreeMap<u64, Issue>,
}

impl History {
    /// A client sends a write, stamped `stamp`.
    pub fn issue(&mut self, stamp: u64, context: Context, value: Option<&[u8]>) {
        let tombstone = value.is_none();
        let value = value.unwrap_or_default().to_vec();
        let issue = Issue { context, tombstone, value, events: Vec::new(), refused: false };
        let other = self.issues.insert(stamp, issue);
        assert!(other.is_none(), "stamps are unique");
    }

    /// Whether `history` covers the write stamped `stamp`.
    pub fn holds(&self, stamp: u64, history: &Set) -> bool {
        let issue = self.issues.get(&stamp);
        issue.is_some_and(|issue| issue.events.iter().any(|event| history.contains(*event)))
    }

    /// The event of the write stamped `stamp`; none unless there is exactly one.
    pub fn only_event(&self, stamp: u64) -> Option<usize> {
        let events = &self.issues.get(&stamp)?.events;
        if let [event] = events[..] { Some(event) } else { None }
    }

    /// Whether there is an event of the write stamped `stamp`.
    pub fn is_applied(&self, stamp: u64) -> bool {
        self.issues.get(&stamp).is_some_and(|issue| !issue.events.is_empty())
    }

    /// S9: the write stamped `stamp` was refused, so no event of it may exist.
    pub fn refuse(&mut self, stamp: u64) -> Result<(), Violation> {
        let issue = self.issues.get_mut(&stamp).expect("it was issued");
        issue.refused = true;
        if issue.events.is_empty() {
            return Ok(());
        }
        let detail = format!("write {stamp} was refused, and yet applied before");
        Err(Violation::new(Invariant::AckAccounting, detail))
    }

    /// Stamps and values of those of `siblings` that are no deletes.
    pub fn live(&self, siblings: &Set) -> Vec<(u64, Vec<u8>)> {
        let events = siblings.iter().map(|event| &self.events[event]);
        let live = events.filter(|event| !event.tombstone);
        live.map(|event| (event.stamp, self.issues[&event.stamp].value.clone())).collect()
    }

    /// An event, by its number.
    pub fn event(&self, event: usize) -> &Event {
        &self.events[event]
    }

    /// How many events there are.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// The event that `dot` names.
    pub fn find(&self, dot: Dot) -> Option<usize> {
        let events = self.actors.get(&Dot::new(dot.actor(), 1))?;
        events.get((dot.number() as usize).checked_sub(1)?).copied()
    }

    /// S3 (V3): the exact history that a version vector claims. Every entry names events that
    /// happened.
    pub fn covered(&self, entries: &[Dot]) -> Result<Set, Violation> {
        let mut covered = Set::default();
        for entry in entries {
            let events = self.actors.get(&Dot::new(entry.actor(), 1));
            let claimed = events.and_then(|events| events.get(..entry.number() as usize));
            let Some(claimed) = claimed else {
                let detail = format!("the entry {entry:?} covers events that never happened");
                return Err(Violation::new(Invariant::Exactness, detail));
            };
            claimed.iter().for_each(|event| covered.insert(*event));
        }
        Ok(covered)
    }

    /// The siblings that a copy with this history has: what nothing in it replaced.
    pub fn siblings(&self, history: &Set) -> Set {
        let mut replaced = Set::default();
        history.iter().for_each(|event| replaced.extend(&self.events[event].past));
        history.iter().filter(|event| !replaced.contains(*event)).collect()
    }

    /// S2, S3: a record says exactly what its events imply. Returns its history.
    pub fn check(&self, record: &Decoded) -> Result<Set, Violation> {
        let covered = self.covered(&record.entries)?;
        let mut replaced = Set::default();
        let mut named = Set::default();
        for sibling in &record.siblings {
            let event = self.check_sibling(sibling)?;
            replaced.extend(&self.events[event].past);
            named.insert(event);
        }
        // Pasts are closed, so these two facts also mean that no sibling is missing.
        let mut implied = replaced.clone();
        implied.extend(&named);
        let exact = |wrong: Option<usize>, text: &str| match wrong {
            None => Ok(()),
            Some(event) => {
                let Event { dot, stamp, .. } = self.events[event];
                let detail = format!("{text} event {dot:?} of write {stamp}: {record:?}");
                Err(Violation::new(Invariant::Exactness, detail))
            }
        };
        exact(covered.first_missing_in(&implied), "the version vector covers an unseen")?;
        exact(implied.first_missing_in(&covered), "the version vector lacks a seen")?;
        exact(named.iter().find(|event| replaced.contains(*event)), "a sibling was replaced:")?;
        Ok(covered)
    }

    /// S2: a sibling is an event that happened, with the bytes that its client wrote.
    fn check_sibling(&self, sibling: &DecodedSibling) -> Result<usize, Violation> {
        let invented = |text| {
            let detail = format!("{text}: {sibling:?}");
            Err(Violation::new(Invariant::NoInvention, detail))
        };
        let Some(event) = self.find(sibling.dot) else {
            return invented("no event has this dot");
        };
        let known = &self.events[event];
        if known.stamp != sibling.stamp {
            let detail = format!("{:?} names {} and {sibling:?}", known.dot, known.stamp);
            return Err(Violation::new(Invariant::DotUniqueness, detail));
        }
        match self.issues.get(&sibling.stamp) {
            None => invented("nobody wrote this"),
            Some(issue) if issue.tombstone != sibling.tombstone => invented("not as written"),
            Some(issue) if issue.value != sibling.value => invented("another value was written"),
            Some(_) => Ok(event),
        }
    }

    /// S2, S3, S4: a coordinator applied a write, and the record after it is what the exact
    /// model gives. Registers the event and returns it with the record's history.
    pub fn append(&mut self, appended: &Appended<'_>) -> Result<(usize, Set), Violation> {
        let Appended { node, boot, before, after, found } = *appended;
        let mut unknown = after.siblings.iter().filter(|one| self.find(one.dot).is_none());
        let (sibling, second) = (unknown.next().expect("an event is new"), unknown.next());
        let wrong = |invariant, text: &str| {
            let detail = format!("{text}: {sibling:?} at {node} in boot {}", boot.0);
            Err(Violation::new(invariant, detail))
        };
        if second.is_some() {
            return wrong(Invariant::DotUniqueness, "one append brought two new dots");
        }
        let actor = sibling.dot.actor();
        if actor.node() != node || actor.boot() != boot {
            return wrong(Invariant::DotUniqueness, "an event of another node or boot");
        }
        let numbered = self.actors.get(&Dot::new(actor, 1)).map_or(0, Vec::len);
        if sibling.dot.number() as usize != numbered + 1 {
            return wrong(Invariant::DotUniqueness, "an actor skipped or reused a number");
        }
        let Some(issue) = self.issues.get(&sibling.stamp) else {
            return wrong(Invariant::NoInvention, "nobody wrote this");
        };
        if issue.refused {
            return wrong(Invariant::AckAccounting, "a write that was refused is applied");
        }
        let contexts = match &issue.context {
            Context::Local => vec![before.clone()],
            Context::Given(context) => vec![context.clone()],
            Context::ReadFirst => found.to_vec(),
        };
        // A write that was applied twice at once may have found two things: one must fit.
        let mut result = wrong(Invariant::Exactness, "a write that read first found nothing");
        for context in contexts {
            let event = self.register(sibling, context);
            result = self.check(after).and_then(|history| {
                self.check_union(event, before, &history)?;
                Ok((event, history))
            });
            if result.is_ok() {
                break;
            }
            self.forget(event);
        }
        result
    }

    /// The record after an event holds what was before it, and what the event saw, no more.
    fn check_union(&self, event: usize, before: &Set, after: &Set) -> Result<(), Violation> {
        let mut union = self.events[event].past.clone();
        union.extend(before);
        union.insert(event);
        if union.same(after) {
            return Ok(());
        }
        let dot = self.events[event].dot;
        let detail = format!("after event {dot:?} the history is {after:?}, not {union:?}");
        Err(Violation::new(Invariant::Exactness, detail))
    }

    fn register(&mut self, sibling: &DecodedSibling, past: Set) -> usize {
        let DecodedSibling { dot, stamp, tombstone, .. } = *sibling;
        let event = self.events.len();
        self.events.push(Event { dot, stamp, past, tombstone });
        self.actors.entry(Dot::new(dot.actor(), 1)).or_default().push(event);
        self.issues.get_mut(&stamp).expect("it was issued").events.push(event);
        event
    }

    fn forget(&mut self, event: usize) {
        let Event { dot, stamp, .. } = self.events.pop().expect("it was registered just now");
        assert_eq!(self.events.len(), event);
        self.actors.entry(Dot::new(dot.actor(), 1)).or_default().pop();
        self.issues.get_mut(&stamp).expect("it was issued").events.pop();
    }
}
