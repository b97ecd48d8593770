//! Which writes of a key someone has seen: per actor, how many of its first ones.

use core::cmp::Ordering;

use super::dot::{Actor, Dot};
use crate::id::{Boot, NodeId};

/// Most entries that the encoding carries; what client writes may leave is far lower
/// ([`limits::VERSION_VECTOR_COUNT_MAX`](crate::limits::VERSION_VECTOR_COUNT_MAX)).
pub const ENTRY_COUNT_ENCODED_MAX: usize = u16::MAX as usize;

/// A checked view: dots in their byte form, ascending, one per actor; the entry (actor, n) covers
/// that actor's writes 1..=n.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VersionVector<'a>(&'a [[u8; 16]]);

/// Entries out of order, two of one actor, one that names no write, or too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedVersionVector;

/// How one set of seen writes lies to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Causality {
    /// Both have seen the same.
    Equal,
    /// This one has seen all that the other has, and more.
    Dominates,
    /// The other has seen all that this one has, and more.
    Dominated,
    /// Each has seen something that the other has not.
    Concurrent,
}

impl<'a> VersionVector<'a> {
    /// Nothing seen: the context of a writer that has read nothing.
    pub const EMPTY: VersionVector<'static> = VersionVector(&[]);

    /// Checks entries from outside. Cost: one pass.
    ///
    /// # Errors
    /// Unless actors ascend strictly, every number is at least 1, and there are at most
    /// [`ENTRY_COUNT_ENCODED_MAX`].
    pub fn new_checked(entries: &'a [[u8; 16]]) -> Result<Self, MalformedVersionVector> {
        if entries.len() > ENTRY_COUNT_ENCODED_MAX {
            return Err(MalformedVersionVector);
        }
        let mut previous = None;
        for &entry in entries {
            let dot = Dot::from_bytes(entry);
            if dot.number() == 0 || previous >= Some(dot.actor()) {
                return Err(MalformedVersionVector);
            }
            previous = Some(dot.actor());
        }
        Ok(VersionVector(entries))
    }

    /// Checks entries that lie one after the other in `bytes`, as frames carry them.
    ///
    /// # Errors
    /// As [`new_checked`](Self::new_checked), and if the length is no multiple of 16.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, MalformedVersionVector> {
        match bytes.as_chunks() {
            (entries, []) => VersionVector::new_checked(entries),
            _ => Err(MalformedVersionVector),
        }
    }

    /// The entries as they lie in frames and records: 16 bytes each.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }

    /// Number of entries.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether nothing was seen.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The entry at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn dot(self, index: usize) -> Dot {
        Dot::from_bytes(self.0[index])
    }

    /// The entries, ascending.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Dot> + 'a {
        self.0.iter().map(|&entry| Dot::from_bytes(entry))
    }

    /// Where the entry of `actor` lies. Cost: O(log len).
    pub fn index(self, actor: Actor) -> Option<usize> {
        self.0.binary_search_by_key(&actor, |&entry| Dot::from_bytes(entry).actor()).ok()
    }

    /// The last life of `node` that has an entry. Cost: O(log len).
    pub fn last_boot(self, node: NodeId) -> Option<Boot> {
        let end = self.0.partition_point(|&entry| Dot::from_bytes(entry).actor().node() <= node);
        let last = self.dot(end.checked_sub(1)?).actor();
        (last.node() == node).then(|| last.boot())
    }

    /// How many writes of `actor` were seen; 0 if none.
    pub fn number(self, actor: Actor) -> u32 {
        self.index(actor).map_or(0, |index| self.dot(index).number())
    }

    /// Whether the write `dot` was seen.
    pub fn covers(self, dot: Dot) -> bool {
        dot.number() <= self.number(dot.actor())
    }

    /// Whether every write that `other` has seen was seen. Cost: one pass over both.
    pub fn covers_all(self, other: VersionVector<'_>) -> bool {
        Rows::new(self, other).all(|row| row.left >= row.right)
    }

    /// How this one lies to `other`. Cost: one pass over both.
    pub fn compare(self, other: VersionVector<'_>) -> Causality {
        let (mut covers, mut covered) = (true, true);
        for row in Rows::new(self, other) {
            covers &= row.left >= row.right;
            covered &= row.left <= row.right;
        }
        match (covers, covered) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::Dominates,
            (false, true) => Causality::Dominated,
            (false, false) => Causality::Concurrent,
        }
    }

    /// The entries before that of `actor`, it, and those behind it. Cost: O(log len).
    pub(super) fn split_at(self, actor: Actor) -> (Self, Option<Dot>, Self) {
        let place = self.0.binary_search_by_key(&actor, |&entry| Dot::from_bytes(entry).actor());
        let (Ok(at) | Err(at)) = place;
        let (before, rest) = self.0.split_at(at);
        let (own, after) = rest.split_at(usize::from(place.is_ok()));
        let own = own.first().map(|&entry| Dot::from_bytes(entry));
        (VersionVector(before), own, VersionVector(after))
    }

    /// The entry at `index`, if there is one.
    pub(super) fn entry(self, index: usize) -> Option<Dot> {
        self.0.get(index).map(|&entry| Dot::from_bytes(entry))
    }
}

/// One actor of the union of two version vectors, with what each side has seen of it (0: nothing).
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) actor: Actor,
    pub(super) left: u32,
    pub(super) right: u32,
}

impl Row {
    /// The entry of the joined version vector.
    pub(super) fn joined(self) -> Dot {
        Dot::new(self.actor, self.left.max(self.right))
    }
}

/// Walks the union of two version vectors, actors ascending.
pub(super) struct Rows<'l, 'r> {
    left: &'l [[u8; 16]],
    right: &'r [[u8; 16]],
}

impl<'l, 'r> Rows<'l, 'r> {
    pub(super) fn new(left: VersionVector<'l>, right: VersionVector<'r>) -> Rows<'l, 'r> {
        Rows { left: left.0, right: right.0 }
    }
}

impl Iterator for Rows<'_, '_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let of_left = |dot: Dot| Row { actor: dot.actor(), left: dot.number(), right: 0 };
        let of_right = |dot: Dot| Row { actor: dot.actor(), left: 0, right: dot.number() };
        match (self.left.split_first(), self.right.split_first()) {
            (None, None) => None,
            (Some((dot, rest)), None) => {
                self.left = rest;
                Some(of_left(Dot::from_bytes(*dot)))
            }
            (None, Some((dot, rest))) => {
                self.right = rest;
                Some(of_right(Dot::from_bytes(*dot)))
            }
            (Some((left, left_rest)), Some((right, right_rest))) => {
                let (left, right) = (Dot::from_bytes(*left), Dot::from_bytes(*right));
                if left.is_of_actor_of(right) {
                    (self.left, self.right) = (left_rest, right_rest);
                    return Some(Row { left: left.number(), ..of_right(right) });
                }
                if left < right {
                    self.left = left_rest;
                    Some(of_left(left))
                } else {
                    self.right = right_rest;
                    Some(of_right(right))
                }
            }
        }
    }
}

/// Which of the heads of two ascending lists comes first; `None` when both lists have ended.
pub(super) fn lesser<T: Ord>(left: Option<T>, right: Option<T>) -> Option<Ordering> {
    match (left, right) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(left), Some(right)) => Some(left.cmp(&right)),
    }
}
