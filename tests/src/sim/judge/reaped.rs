//! What the judge knows of records that have left for good, and of disks that were put back.

use super::*;
use core::fmt::Arguments;

impl Judge {
    /// S12: `node`, an owner, drops the record of key `key` with this history: all of it has ended,
    /// and what it had replaced is never seen again.
    pub(in super::super) fn on_reaped(
        &mut self,
        (key, node): (usize, usize),
        history: &Set,
        wall: UnixMs,
    ) -> Result<(), Violation> {
        let events = &self.histories[key];
        let siblings = events.siblings(history);
        if let Some(live) = siblings.iter().find(|one| events.event(*one).is_live(Some(wall))) {
            let detail = format!("n{node} reaps k{key}, of which event {live} lives");
            return Err(Violation::new(Invariant::Reaping, detail));
        }
        for acked in &mut self.acked[key] {
            acked.is_held &= !events.holds(acked.stamp, history);
        }
        let replaced = history.iter().filter(|event| !siblings.contains(*event));
        self.buried[key].extend(&replaced.collect());
        Ok(())
    }

    /// A disk was put back from an older copy: of each node that stored a write it may be one.
    pub(in super::super) fn on_put_back(&mut self) {
        for acked in self.acked.iter_mut().flatten() {
            (acked.w, acked.pw) = (acked.w.saturating_sub(1), acked.pw.saturating_sub(1));
        }
        self.put_back_behind = self.fewest.keys().next_back().copied();
    }

    /// S12: nothing that was buried is a sibling again.
    pub(in super::super) fn check_buried(
        &self,
        key: usize,
        history: &Set,
        who: Arguments<'_>,
    ) -> Result<(), Violation> {
        let siblings = self.histories[key].siblings(history);
        let buried = &self.buried[key];
        let risen = siblings.iter().find(|event| buried.contains(*event));
        let Some(event) = risen else { return Ok(()) };
        let detail = format!("{who} event {event} of k{key} again, which was reaped");
        Err(Violation::new(Invariant::Reaping, detail))
    }
}
