//! Orders in which two copies differ, and how far the repair of each is.

use heapless::Vec;

use super::Versions;
use super::comparison::Side;
use crate::limits::{EXCHANGE_DIFFERENCE_COUNT_MAX, EXCHANGE_PUSH_COUNT_MAX};
use crate::wire::exchange::Entry;

/// What one side alone has of an order: how many entries, and the wrapping sum of their versions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Alone {
    count: u16,
    versions: u64,
}

impl Alone {
    fn add(&mut self, entry: Entry) {
        self.count = self.count.saturating_add(1);
        self.versions = self.versions.wrapping_add(entry.version());
    }
}

/// One order in which the copies differ.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Difference {
    order: u64,
    mine: Alone,
    theirs: Alone,
    mine_again: Alone,
    theirs_again: Alone,
    state: State,
    /// Pushes so far.
    pushes: u8,
    /// The peer lacks what a join has left here.
    must_push: bool,
}

/// How far the repair is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Seen once.
    #[default]
    Noted,
    /// Its records are to be pulled.
    Pull,
    /// They are asked for.
    Pulling,
    /// Its records are to be pushed.
    Push,
    /// They were sent; what comes back may change that.
    Pushed,
    /// The copies agree, or did for a moment.
    Done,
    /// A record could not be joined here.
    Failed,
}

/// The differences of one round, ascending.
#[derive(Debug)]
pub(super) struct Differences {
    rows: Vec<Difference, EXCHANGE_DIFFERENCE_COUNT_MAX>,
    count_max: usize,
    pulls: usize,
    pushes: usize,
}

impl Differences {
    /// None; room for `count_max`.
    pub(super) fn new(count_max: usize) -> Differences {
        assert!((1..=EXCHANGE_DIFFERENCE_COUNT_MAX).contains(&count_max));
        Differences { rows: Vec::new(), count_max, pulls: 0, pushes: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        (self.pulls, self.pushes) = (0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The orders, from row `first` on.
    pub(super) fn orders_from(&self, first: usize) -> impl Iterator<Item = u64> + '_ {
        self.rows[first..].iter().map(|row| row.order)
    }

    /// `side` alone has `entry`. False if there is no room for one more order.
    ///
    /// # Panics
    /// If the orders do not ascend.
    pub(super) fn note(&mut self, side: Side, entry: Entry) -> bool {
        let last = self.rows.last().map(|row| row.order);
        assert!(last.is_none_or(|last| last <= entry.order()));
        if last != Some(entry.order()) {
            if self.rows.len() == self.count_max {
                return false;
            }
            let row = Difference { order: entry.order(), ..Difference::default() };
            self.rows.push(row).expect("no more than the capacity");
        }
        let row = self.rows.last_mut().expect("the order's row");
        match side {
            Side::Mine => row.mine.add(entry),
            Side::Theirs => row.theirs.add(entry),
        }
        true
    }

    /// `side` alone has `entry` when the orders are listed again.
    pub(super) fn note_again(&mut self, side: Side, entry: Entry) {
        let Some(row) = self.row(entry.order()) else { return };
        match side {
            Side::Mine => row.mine_again.add(entry),
            Side::Theirs => row.theirs_again.add(entry),
        }
    }

    /// Every order was listed again: those that differ still are to be repaired. Returns how many.
    /// A key that was written meanwhile may be in flight again; but nobody knows that the write
    /// before arrived, and an exchange that has left it would take for equal what is not.
    pub(super) fn confirm(&mut self) -> u32 {
        let mut confirmed = 0;
        for row in &mut self.rows {
            if row.mine_again.count == 0 && row.theirs_again.count == 0 {
                row.state = State::Done;
                continue;
            }
            confirmed += 1;
            if row.theirs_again.count > 0 {
                (row.state, self.pulls) = (State::Pull, self.pulls + 1);
            } else {
                (row.state, self.pushes) = (State::Push, self.pushes + 1);
            }
        }
        confirmed
    }

    /// Takes every difference for one that stays, as if it had been listed again.
    #[cfg(feature = "plant")]
    pub(super) fn repeat(&mut self) {
        for row in &mut self.rows {
            (row.mine_again, row.theirs_again) = (row.mine, row.theirs);
        }
    }

    /// Whether any order is to be pulled or pushed.
    pub(super) fn is_repaired(&self) -> bool {
        self.pulls + self.pushes == 0
    }

    /// The next order to push, if any. O(rows).
    pub(super) fn next_push(&self) -> Option<u64> {
        let mut rows = self.rows.iter();
        if self.pushes == 0 {
            return None;
        }
        rows.find(|row| row.state == State::Push).map(|row| row.order)
    }

    /// The records of `order` were sent.
    pub(super) fn on_pushed(&mut self, order: u64) {
        let row = self.row(order).expect("an order that next_push gave");
        assert!(row.state == State::Push);
        row.state = State::Pushed;
        row.pushes += 1;
        row.must_push = false;
        self.pushes -= 1;
    }

    /// Takes the next order to pull, if any. O(rows).
    pub(super) fn take_pull(&mut self) -> Option<u64> {
        if self.pulls == 0 {
            return None;
        }
        let row = self.rows.iter_mut().find(|row| row.state == State::Pull)?;
        row.state = State::Pulling;
        self.pulls -= 1;
        Some(row.order)
    }

    /// The peer did not serve `order` this time.
    pub(super) fn put_back(&mut self, order: u64) {
        let row = self.row(order).expect("an order that take_pull gave");
        if row.state == State::Pulling {
            row.state = State::Pull;
            self.pulls += 1;
        }
    }

    /// A record of `order` was joined here; none: it could not be. Returns whether an order
    /// counts as failed from now on.
    pub(super) fn on_joined(&mut self, order: u64, versions: Option<Versions>) -> bool {
        let Some(row) = self.row(order) else { return false };
        let Some(Versions { before, received, after }) = versions else {
            return self.fail(order);
        };
        if before != 0 && before != received {
            // One of our own entries has met its counterpart; the rest are keys that they lack.
            row.mine_again.count = row.mine_again.count.saturating_sub(1);
        }
        row.must_push |= after != received;
        if row.state == State::Pushed && row.must_push {
            return self.push_again(order);
        }
        false
    }

    /// All records of `order` that the peer had are joined. Returns as [`Differences::on_joined`].
    pub(super) fn on_pulled(&mut self, order: u64) -> bool {
        let row = self.row(order).expect("an order that take_pull gave");
        if row.state != State::Pulling {
            return false;
        }
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::JoinNotReturned) {
            row.must_push = false;
        }
        if row.must_push || row.mine_again.count > 0 {
            return self.push_again(order);
        }
        row.state = State::Done;
        false
    }

    fn push_again(&mut self, order: u64) -> bool {
        let row = self.row(order).expect("the caller found it");
        if row.pushes == EXCHANGE_PUSH_COUNT_MAX {
            return self.fail(order);
        }
        row.state = State::Push;
        self.pushes += 1;
        false
    }

    fn fail(&mut self, order: u64) -> bool {
        let row = self.row(order).expect("the caller found it");
        match core::mem::replace(&mut row.state, State::Failed) {
            State::Failed => return false,
            State::Pull => self.pulls -= 1,
            State::Push => self.pushes -= 1,
            State::Noted | State::Pulling | State::Pushed | State::Done => {}
        }
        true
    }

    fn row(&mut self, order: u64) -> Option<&mut Difference> {
        let rows = &mut self.rows;
        let index = rows.binary_search_by_key(&order, |row| row.order).ok()?;
        Some(&mut rows[index])
    }
}
