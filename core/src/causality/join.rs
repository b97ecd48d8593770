//! What two nodes know of a key together: replication, read repair, exchanges, hints and reads
//! with several replies all use this one join.
//!
//! Version vectors: the greater number per actor. Siblings: one that both have stays; one that
//! only one side has stays unless the other side has seen it (then it was superseded there). That
//! is the join of causal histories: commutative, associative and idempotent, given V1 to V3.

use core::cmp::Ordering;

use super::dot::{Actor, Dot};
use super::encode::{Sink, Size, Writer};
use super::record::{Record, Sibling};
use super::version_vector::{Causality, Rows, lesser};

/// Which record a join leaves. Decided from version vectors and dots alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Join {
    /// The left one, unchanged; also if both are equal.
    KeepLeft,
    /// The right one, unchanged.
    TakeRight,
    /// Neither: [`write_join`] makes a new one.
    Both {
        /// Length of the new record.
        bytes: usize,
    },
}

/// Decides what the join of two records of one key is. Cost: one pass over both.
pub fn join(left: Record<'_>, right: Record<'_>) -> Join {
    if let Some((left_dot, right_dot)) = left.only_dot().zip(right.only_dot())
        && let Some(join) = join_of_one(left, left_dot, right, right_dot)
    {
        return join;
    }
    let mut size = Size::default();
    let unchanged = walk(left, right, &mut size);
    match unchanged {
        Unchanged { left: true, .. } => Join::KeepLeft,
        Unchanged { right: true, .. } => Join::TakeRight,
        _ => Join::Both { bytes: size.bytes() },
    }
}

/// The join of two records that have one sibling each, if it is one of them.
fn join_of_one(left: Record<'_>, left_dot: Dot, right: Record<'_>, right_dot: Dot) -> Option<Join> {
    let (left_seen, right_seen) = (left.version_vector(), right.version_vector());
    let is_same = left_dot == right_dot;
    // Whether the other side has seen it, and so has something in its place.
    let (left_goes, right_goes) = (right_seen.covers(left_dot), left_seen.covers(right_dot));
    match left_seen.compare(right_seen) {
        Causality::Equal | Causality::Dominates if is_same || !left_goes && right_goes => {
            Some(Join::KeepLeft)
        }
        Causality::Dominated if is_same || left_goes && !right_goes => Some(Join::TakeRight),
        _ => None,
    }
}

/// Writes the join of two records of one key, whatever [`join`] decided. `out` has the bytes that
/// it said: [`Join::Both`]'s, or those of the record that stays.
///
/// # Panics
/// If `out` has another length, or the joined record would have more than
/// [`ENTRY_COUNT_ENCODED_MAX`](super::ENTRY_COUNT_ENCODED_MAX) entries or
/// [`SIBLING_COUNT_ENCODED_MAX`](super::SIBLING_COUNT_ENCODED_MAX) siblings: a join never refuses,
/// and what client writes are admitted to leave is far below both.
pub fn write_join(left: Record<'_>, right: Record<'_>, out: &mut [u8]) {
    let mut size = Size::default();
    walk(left, right, &mut size);
    let mut writer = Writer::new(out, &size);
    walk(left, right, &mut writer);
    writer.finish();
}

/// The index, in the join of `left` and `right`, of the actor that this node may extend, if
/// `left` is its own record and `actor` the one it could extend there. None if `left` has no such
/// entry, or `right` has seen more of that actor: then this node lost state, and never extends it
/// again (V5). If the actor is of the running boot, that also means that the process life must
/// end; an actor of an earlier boot is not extended anyway.
pub fn mine_after_join(left: Record<'_>, right: Record<'_>, actor: Actor) -> Option<u16> {
    let mut rows = Rows::new(left.version_vector(), right.version_vector()).enumerate();
    let (index, row) = rows.find(|(_, row)| row.actor == actor)?;
    let extendable = row.left > 0 && row.left >= row.right;
    u16::try_from(index).ok().filter(|_| extendable)
}

/// Whether the join equals one of its sides.
struct Unchanged {
    left: bool,
    right: bool,
}

fn walk(left: Record<'_>, right: Record<'_>, sink: &mut impl Sink) -> Unchanged {
    let mut unchanged = Unchanged { left: true, right: true };
    let mut left_siblings = left.siblings().peekable();
    let mut right_siblings = right.siblings().peekable();
    for row in Rows::new(left.version_vector(), right.version_vector()) {
        unchanged.left &= row.left >= row.right;
        unchanged.right &= row.right >= row.left;
        sink.entry(row.joined());
        loop {
            let of_row = |sibling: &&Sibling<'_>| sibling.dot.actor() == row.actor;
            let left_number = left_siblings.peek().filter(of_row).map(|s| s.dot.number());
            let right_number = right_siblings.peek().filter(of_row).map(|s| s.dot.number());
            let Some(order) = lesser(left_number, right_number) else { break };
            let left = left_siblings.next_if(|_| order.is_le());
            let right = right_siblings.next_if(|_| order.is_ge());
            let keep = match order {
                Ordering::Less => left_number > Some(row.right),
                Ordering::Equal => true,
                Ordering::Greater => right_number > Some(row.left),
            };
            unchanged.left &= left.is_some() == keep;
            unchanged.right &= right.is_some() == keep;
            if let Some(sibling) = left.or(right).filter(|_| keep) {
                sink.sibling(&sibling);
            }
        }
    }
    unchanged
}
