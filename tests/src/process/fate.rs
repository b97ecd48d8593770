//! What was promised of one key to its only writer, who gives each change a greater number.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of the changes of a key.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// The latest that was acknowledged, and whether it is a delete.
    acked: Option<(u64, bool)>,
    /// The latest delete that was acknowledged.
    deleted: u64,
    /// Those of which nobody knows what came of them, and whether they are deletes. They may still
    /// turn up.
    open: BTreeMap<u64, bool>,
    /// Those of which nothing came.
    refused: BTreeSet<u64>,
}

impl Fate {
    /// A change is sent.
    pub fn on_sent(&mut self, number: u64, is_delete: bool) {
        self.open.insert(number, is_delete);
    }

    /// It was acknowledged.
    pub fn on_acked(&mut self, number: u64) {
        let is_delete = self.open.remove(&number).expect("what was sent");
        self.acked = Some((number, is_delete));
        if is_delete {
            self.deleted = number;
        }
    }

    /// It was refused.
    pub fn on_refused(&mut self, number: u64) {
        self.open.remove(&number);
        self.refused.insert(number);
    }

    /// Whether it is known of all changes what came of them.
    pub fn is_sure(&self) -> bool {
        self.open.is_empty()
    }

    /// What is wrong with a read that shows the values `found`, if anything.
    pub fn wrong(&self, found: &BTreeSet<u64>) -> Option<String> {
        let is_deleted = |number: &&u64| **number < self.deleted && !self.open.contains_key(number);
        if let Some(number) = found.iter().find(is_deleted) {
            return Some(format!("{number} is read, which {} deleted", self.deleted));
        }
        if let Some(number) = found.intersection(&self.refused).next() {
            return Some(format!("{number} is read, which was refused"));
        }
        let (acked, false) = self.acked? else { return None };
        let is_replaced = self.open.range(acked..).any(|(_, is_delete)| *is_delete);
        let is_shown = found.last().is_some_and(|newest| *newest >= acked);
        (!is_shown && !is_replaced).then(|| format!("{acked} was acknowledged, {found:?} is read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(changes: &[(u64, bool, Option<bool>)]) -> Fate {
        let mut fate = Fate::default();
        for (number, is_delete, outcome) in changes {
            fate.on_sent(*number, *is_delete);
            match outcome {
                Some(true) => fate.on_acked(*number),
                Some(false) => fate.on_refused(*number),
                None => {}
            }
        }
        fate
    }

    fn is_right(fate: &Fate, found: &[u64]) -> bool {
        fate.wrong(&found.iter().copied().collect()).is_none()
    }

    const ACKED: Option<bool> = Some(true);

    #[test]
    fn what_was_acknowledged_is_shown_or_replaced() {
        let fate = fate(&[(1, false, ACKED), (2, false, ACKED)]);
        assert!(fate.is_sure() && is_right(&fate, &[2]));
        assert!(is_right(&fate, &[1, 2]), "whoever wrote 2 did not know of 1");
        assert!(!is_right(&fate, &[1]) && !is_right(&fate, &[]));
    }

    #[test]
    fn what_nobody_knows_may_have_happened() {
        let fate = fate(&[(1, false, ACKED), (2, false, None)]);
        assert!(!fate.is_sure());
        assert!(is_right(&fate, &[1]) && is_right(&fate, &[2]) && is_right(&fate, &[1, 2]));
        assert!(!is_right(&fate, &[]));
    }

    #[test]
    fn what_was_deleted_is_not_shown() {
        let mut fate = fate(&[(1, false, ACKED), (2, false, None), (3, true, ACKED)]);
        assert!(is_right(&fate, &[]) && !is_right(&fate, &[1]));
        assert!(is_right(&fate, &[2]), "it may have come behind the delete");
        fate.on_sent(4, false);
        fate.on_acked(4);
        assert!(is_right(&fate, &[4]) && !is_right(&fate, &[1, 4]) && !is_right(&fate, &[]));
        fate.on_sent(5, true);
        assert!(is_right(&fate, &[4]) && is_right(&fate, &[]));
    }

    #[test]
    fn what_was_refused_is_not_shown() {
        let fate = fate(&[(1, false, ACKED), (2, false, Some(false)), (3, true, Some(false))]);
        assert!(fate.is_sure() && is_right(&fate, &[1]));
        assert!(!is_right(&fate, &[1, 2]) && !is_right(&fate, &[]));
    }
}
