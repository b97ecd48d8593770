//! The exact history of one key.

use std::collections::BTreeMap;

use ringmain_core::causality::{Dot, Record, VersionVector};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::time::UnixMs;

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
    /// When it expires.
    pub expires: Option<UnixMs>,
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
            expires: sibling.expires,
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

/// What a write leaves, as its client meant it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Issued {
    /// A deletion.
    Tombstone,
    /// This value.
    Value(Vec<u8>),
    /// The values that a read by the coordinator found.
    Expiry,
}

/// A write as its client sent it.
#[derive(Clone, Debug)]
pub struct Issue {
    /// What it replaces.
    pub context: Context,
    /// What it leaves.
    pub content: Issued,
    /// When that expires.
    pub expires: Option<UnixMs>,
    /// The events that it led to: none yet, one, or more where it was applied twice, or left
    /// several values.
    pub events: Vec<usize>,
    /// Its client was told that it was not applied.
    pub refused: bool,
}

/// One event: a write as a coordinator applied it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name.
    pub dot: Dot,
    /// The stamp of the write whose value it is.
    pub stamp: u64,
    /// The stamp of the write that led to it: another one, if that changed the expiry.
    pub by: u64,
    /// All events that it saw.
    pub past: Set,
    /// A delete.
    pub tombstone: bool,
    /// When its value expires.
    pub expires: Option<UnixMs>,
}

impl Event {
    /// Whether a read finds a value; at no particular time, whether one ever could.
    pub fn is_live(&self, wall: Option<UnixMs>) -> bool {
        let has_expired = wall.is_some() && self.expires.is_some_and(|at| Some(at) <= wall);
        !self.tombstone && !has_expired
    }
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
    /// What the coordinator's clock shows.
    pub wall: UnixMs,
}

/// All writes and events of one key.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    /// Events of each actor in the order of their numbers; the actor as its first dot.
    actors: BTreeMap<Dot, Vec<usize>>,
    /// Events that version vectors need not name any more: all copies have seen and replaced them.
    compacted: Set,
    issues: BTreeMap<u64, Issue>,
}

impl History {
    /// A client sends a write, stamped `stamp`.
    pub fn issue(
        &mut self,
        stamp: u64,
        context: Context,
        content: Issued,
        expires: Option<UnixMs>,
    ) {
        let issue = Issue { context, content, expires, events: Vec::new(), refused: false };
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

    /// Stamps and values of those of `siblings` that are no deletes and, if a time is given, have
    /// not expired by then; in order. Two writes that gave one value another expiry at the same
    /// time have left it twice.
    pub fn live(&self, siblings: &Set, wall: Option<UnixMs>) -> Vec<(u64, Vec<u8>)> {
        let events = siblings.iter().map(|event| &self.events[event]);
        let value = |event: &Event| match &self.issues[&event.stamp].content {
            Issued::Value(value) => (event.stamp, value.clone()),
            content => unreachable!("{content:?} is no value"),
        };
        let mut live: Vec<_> = events.filter(|event| event.is_live(wall)).map(value).collect();
        live.sort_unstable();
        live
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

    /// S3 (V3): the exact history that a version vector claims, what was compacted with it. Every
    /// entry names events that happened.
    pub fn covered(&self, entries: &[Dot]) -> Result<Set, Violation> {
        let mut covered = self.claimed(entries)?;
        covered.extend(&self.compacted);
        Ok(covered)
    }

    fn claimed(&self, entries: &[Dot]) -> Result<Set, Violation> {
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
        replaced.extend(&self.compacted);
        history.iter().filter(|event| !replaced.contains(*event)).collect()
    }

    /// S25: the record of a copy with the history `before` is rewritten as `after`, with the same
    /// siblings: what its version vector does not name any more had all been replaced, and is taken
    /// for seen by every copy from here on. How many events that are.
    pub fn compact(&mut self, before: &Set, after: &Decoded) -> Result<usize, Violation> {
        let claimed = self.claimed(&after.entries)?;
        let is_gone = |event: &usize| !claimed.contains(*event) && !self.compacted.contains(*event);
        let gone: Set = before.iter().filter(is_gone).collect();
        let siblings = self.siblings(before);
        let named = after.siblings.iter().filter_map(|sibling| self.find(sibling.dot));
        if gone.iter().next().is_none() || !named.collect::<Set>().same(&siblings) {
            return Ok(0);
        }
        if let Some(event) = gone.iter().find(|event| siblings.contains(*event)) {
            let detail = format!("event {event} is compacted, and nothing has replaced it");
            return Err(Violation::new(Invariant::Compaction, detail));
        }
        self.compacted.extend(&gone);
        Ok(gone.iter().count())
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
        if let Some(event) = named.iter().find(|event| self.compacted.contains(*event)) {
            let detail = format!("event {event} is a sibling again: {record:?}");
            return Err(Violation::new(Invariant::Compaction, detail));
        }
        // Pasts are closed, so these two facts also mean that no sibling is missing.
        let mut implied = replaced.clone();
        implied.extend(&self.compacted);
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
        if known.expires != sibling.expires {
            return invented("another expiry was given");
        }
        let is_as_written = match self.issues.get(&sibling.stamp).map(|issue| &issue.content) {
            None => return invented("nobody wrote this"),
            Some(Issued::Tombstone) => sibling.tombstone,
            Some(Issued::Value(value)) => !sibling.tombstone && *value == sibling.value,
            Some(Issued::Expiry) => false,
        };
        if is_as_written { Ok(event) } else { invented("not as written") }
    }

    /// S2, S3, S4: a coordinator applied a write, and the record after it is what the exact
    /// model gives. Registers the event and returns it with the record's history.
    pub fn append(&mut self, appended: &Appended<'_>) -> Result<(usize, Set), Violation> {
        let news = self.news(appended)?;
        let &[sibling] = &news[..] else {
            let detail = format!("one append brought several new dots: {news:?}");
            return Err(Violation::new(Invariant::DotUniqueness, detail));
        };
        let issue = self.applied(sibling.stamp)?;
        if issue.expires != sibling.expires {
            let detail = format!("not until {:?}: {sibling:?}", issue.expires);
            return Err(Violation::new(Invariant::NoInvention, detail));
        }
        let contexts = match &issue.context {
            Context::Local => vec![appended.before.clone()],
            Context::Given(context) => vec![context.clone()],
            Context::ReadFirst => appended.found.to_vec(),
        };
        // A write that was applied twice at once may have found two things: one must fit.
        let detail = format!("a write that read first found nothing: {sibling:?}");
        let mut result = Err(Violation::new(Invariant::Exactness, detail));
        for context in contexts {
            result = self.register(&news, &context, sibling.stamp, appended);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// As [`append`](Self::append), of the write stamped `by` that gives another expiry to all the
    /// values which its read found, and which live by the coordinator's clock.
    pub fn append_again(
        &mut self,
        appended: &Appended<'_>,
        by: u64,
    ) -> Result<(usize, Set), Violation> {
        let news = self.news(appended)?;
        let expires = self.applied(by)?.expires;
        let [found] = appended.found else { unreachable!("one request is applied") };
        let siblings = self.siblings(found);
        let live = siblings.iter().map(|event| &self.events[event]);
        let live = live.filter(|event| event.is_live(Some(appended.wall)));
        let mut expected: Vec<_> = live.map(|event| (event.stamp, expires)).collect();
        let mut got: Vec<_> = news.iter().map(|one| (one.stamp, one.expires)).collect();
        expected.sort_unstable();
        got.sort_unstable();
        if expected != got {
            let detail = format!("write {by} leaves {got:?}, not {expected:?}");
            return Err(Violation::new(Invariant::Expiry, detail));
        }
        self.register(&news, found, by, appended)
    }

    /// The write stamped `stamp`, of which there is an event now.
    fn applied(&self, stamp: u64) -> Result<&Issue, Violation> {
        let (invariant, text) = match self.issues.get(&stamp) {
            Some(issue) if !issue.refused => return Ok(issue),
            Some(_) => (Invariant::AckAccounting, "a write that was refused is applied"),
            None => (Invariant::NoInvention, "nobody wrote this"),
        };
        Err(Violation::new(invariant, format!("{text}: {stamp}")))
    }

    /// S4: the new siblings of an event, which carry the next numbers of an actor of the node.
    fn news<'a>(&self, appended: &Appended<'a>) -> Result<Vec<&'a DecodedSibling>, Violation> {
        let Appended { node, boot, after, .. } = *appended;
        let news = after.siblings.iter().filter(|one| self.find(one.dot).is_none());
        let news: Vec<_> = news.collect();
        let actor = news.first().expect("an event is new").dot.actor();
        let numbered = self.actors.get(&Dot::new(actor, 1)).map_or(0, Vec::len);
        let wrong = |text: &str| {
            let detail = format!("{text}: {news:?} at {node} in boot {}", boot.0);
            Err(Violation::new(Invariant::DotUniqueness, detail))
        };
        if actor.node() != node || actor.boot() != boot {
            return wrong("an event of another node or boot");
        }
        for (sibling, number) in news.iter().zip(numbered + 1..) {
            if sibling.dot.actor() != actor || sibling.dot.number() as usize != number {
                return wrong("an actor skipped or reused a number, or there are two");
            }
        }
        Ok(news)
    }

    /// Registers an event for each of `news`, unless the record after them is not what the model
    /// gives. Returns the last one with the record's history.
    fn register(
        &mut self,
        news: &[&DecodedSibling],
        past: &Set,
        by: u64,
        appended: &Appended<'_>,
    ) -> Result<(usize, Set), Violation> {
        let first = self.events.len();
        for sibling in news {
            let DecodedSibling { dot, stamp, tombstone, expires, .. } = **sibling;
            let event = self.events.len();
            let past = past.clone();
            self.events.push(Event { dot, stamp, by, past, tombstone, expires });
            self.actors.entry(Dot::new(dot.actor(), 1)).or_default().push(event);
            self.issues.get_mut(&by).expect("it was issued").events.push(event);
        }
        let result = self.check(appended.after).and_then(|history| {
            self.check_union(first, appended.before, &history)?;
            Ok((self.events.len() - 1, history))
        });
        if result.is_err() {
            self.forget(first);
        }
        result
    }

    /// Forgets the events from `first` on.
    fn forget(&mut self, first: usize) {
        for Event { dot, by, .. } in self.events.drain(first..) {
            self.actors.entry(Dot::new(dot.actor(), 1)).or_default().pop();
            self.issues.get_mut(&by).expect("it was issued").events.pop();
        }
    }

    /// The record after the last events, from `first` on, holds what was before them, and what
    /// they saw, no more.
    fn check_union(&self, first: usize, before: &Set, after: &Set) -> Result<(), Violation> {
        let mut union = self.events[first].past.clone();
        union.extend(before);
        union.extend(&self.compacted);
        (first..self.events.len()).for_each(|event| union.insert(event));
        if union.same(after) {
            return Ok(());
        }
        let dot = self.events[first].dot;
        let detail = format!("after event {dot:?} the history is {after:?}, not {union:?}");
        Err(Violation::new(Invariant::Exactness, detail))
    }
}
