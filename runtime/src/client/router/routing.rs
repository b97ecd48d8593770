//! Whom a request is sent to.

use std::time::{Duration, Instant};

use ringmain_core::id::{NodeId, Partition, ShardIndex};
use ringmain_core::wire::FIRST_BYTES;

use super::link::{Link, State};
use super::slots::{Attempt, Stage};
use super::table::Place;
use super::{Action, PATIENCES, Router, TRIED_OTHERS};

/// What a shard is good for at the moment, the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// It takes requests.
    Open,
    /// It will, or fail soon.
    Coming,
    /// It has not answered for a while.
    Silent,
}

impl Router {
    /// Sends a request to whom it is best sent now, or has it wait.
    pub(super) fn route(&mut self, slot: usize, now: Instant) {
        let choice = match &self.table {
            None => self.choose_seed(slot, now),
            Some(table) => {
                let partition = table.partition(self.slots.at(slot).key());
                self.choose(slot, partition, now)
            }
        };
        let Some((index, rank, bit)) = choice else {
            let known = self.slots.at_mut(slot);
            if known.attempts.is_empty() {
                known.stage = Stage::Waits;
            }
            return;
        };
        let known = self.slots.at_mut(slot);
        if rank != Rank::Coming {
            known.tried |= bit;
            return self.ask(slot, index, now);
        }
        // What is asked already does not wait for yet another one.
        if known.attempts.is_empty() {
            known.tried |= bit;
            known.stage = Stage::Queued(index);
            self.links[index].queue.push(slot);
        }
    }

    /// The best shard for a request that it was not sent to in this round.
    fn choose(
        &mut self,
        slot: usize,
        partition: Partition,
        now: Instant,
    ) -> Option<(usize, Rank, u16)> {
        let tried = self.slots.at(slot).tried;
        let mut best: Option<(Rank, u16, usize)> = None;
        let table = self.table.take()?;
        for (bit, place) in (0..).map(|bit| 1 << bit).zip(table.coordinators(partition)) {
            if tried & bit != 0 {
                continue;
            }
            let Some((index, rank)) = self.link_to(&place, now) else { continue };
            if best.is_none_or(|(known, ..)| rank < known) {
                best = Some((rank, bit, index));
            }
            if rank == Rank::Open {
                break;
            }
        }
        // Whoever else is there passes it on, or stands in.
        if best.is_none_or(|(rank, ..)| rank == Rank::Silent) && tried & TRIED_OTHERS == 0 {
            let coordinates = |node: NodeId| {
                table.coordinators(partition).any(|coordinator| coordinator.node == node)
            };
            let others = table.everywhere(partition).filter(|place| !coordinates(place.node));
            for place in others.collect::<Vec<_>>() {
                let Some((index, rank)) = self.link_to(&place, now) else { continue };
                if best.is_none_or(|(known, ..)| rank < known) {
                    best = Some((rank, TRIED_OTHERS, index));
                }
                // One at a time is dialed.
                if rank != Rank::Silent {
                    break;
                }
            }
        }
        self.table = Some(table);
        let Some((rank, bit, index)) = best else {
            return if tried == 0 { self.choose_seed(slot, now) } else { None };
        };
        Some((index, rank, bit))
    }

    /// A seed for a request that was sent to none in this round.
    fn choose_seed(&mut self, slot: usize, now: Instant) -> Option<(usize, Rank, u16)> {
        let tried = self.slots.at(slot).tried;
        let choice = if tried & TRIED_OTHERS == 0 { self.seed(now) } else { None };
        choice.map(|(index, rank)| (index, rank, TRIED_OTHERS))
    }

    /// The connection to a shard that has least to do, and what it is good for; `None` if it rests.
    fn link_to(&mut self, place: &Place, now: Instant) -> Option<(usize, Rank)> {
        let mut best: Option<(Rank, usize, usize)> = None;
        for number in 0..self.options.connections {
            let index = self.link_of(place, number);
            let Some(rank) = self.rank(index, now) else { continue };
            let load = self.links[index].sent.len() + self.links[index].queue.len();
            if best.is_none_or(|known| (rank, load) < (known.0, known.1)) {
                best = Some((rank, load, index));
            }
        }
        best.map(|(rank, _, index)| (index, rank))
    }

    fn link_of(&mut self, place: &Place, number: u16) -> usize {
        let key = (place.node, place.shard, number);
        if let Some(index) = self.places.get(&key) {
            let link = &mut self.links[*index];
            // A seed keeps the address at which it was named.
            if matches!(link.state, State::Resting(_)) && *index >= self.seed_count {
                link.address = place.address;
            }
            return *index;
        }
        let index = self.links.len();
        self.links.push(Link::new(place.address, place.shard, Some(place.node)));
        self.places.insert(key, index);
        index
    }

    /// What a connection is good for; it is dialed if its rest is over.
    fn rank(&mut self, index: usize, now: Instant) -> Option<Rank> {
        let patience = self.patience();
        let link = &mut self.links[index];
        match link.state {
            State::Ready if !link.is_open() => None,
            State::Ready if link.silence(now) >= patience => Some(Rank::Silent),
            State::Ready => Some(Rank::Open),
            State::Dialing(_) | State::Greeting(_) => Some(Rank::Coming),
            State::Resting(until) if until.is_none_or(|until| until <= now) => {
                link.dial(now);
                let address = link.address;
                self.actions.push_back(Action::Dial(self.id(index), address));
                self.tick_at.get_or_insert(now + self.tick());
                Some(Rank::Coming)
            }
            State::Resting(_) => None,
        }
    }

    /// Any node that was named first: all of them pass on.
    pub(super) fn seed(&mut self, now: Instant) -> Option<(usize, Rank)> {
        let mut best: Option<(Rank, Duration, usize)> = None;
        for step in 0..self.seed_count {
            let index = (self.next_seed + step) % self.seed_count;
            // One at a time is dialed, while that may still come of it.
            let is_well = best.is_some_and(|(rank, age, _)| {
                rank == Rank::Open || rank == Rank::Coming && age < self.patience()
            });
            if is_well && matches!(self.links[index].state, State::Resting(_)) {
                continue;
            }
            let Some(rank) = self.rank(index, now) else { continue };
            let age = self.links[index].age(now);
            if best.is_none_or(|known| (rank, age) < (known.0, known.1)) {
                best = Some((rank, age, index));
            }
        }
        best.map(|(rank, _, index)| (index, rank))
    }

    pub(super) fn patience(&self) -> Duration {
        self.options.timeout / PATIENCES
    }

    /// Sends it.
    pub(super) fn ask(&mut self, slot: usize, index: usize, now: Instant) {
        let link = &mut self.links[index];
        let known = self.slots.at_mut(slot);
        if known.attempts.iter().any(|attempt| attempt.link == index) {
            return;
        }
        let left = known.deadline.saturating_duration_since(now).as_millis();
        // 0 would mean the node's own.
        let deadline_ms = u16::try_from(left.max(1)).unwrap_or(u16::MAX);
        let number = link.send(known.op, &known.body, deadline_ms, now);
        link.note(number, slot, FIRST_BYTES + known.body.len());
        known.attempts.push(Attempt { link: index, number });
        known.stage = Stage::Asked;
        self.flag(index);
    }

    /// A connection stands: what waited for it is sent.
    pub(super) fn on_stands(&mut self, index: usize, now: Instant) {
        for slot in std::mem::take(&mut self.links[index].queue) {
            self.ask(slot, index, now);
        }
    }

    /// Takes a request back from wherever it is.
    pub(super) fn withdraw(&mut self, slot: usize) {
        let known = self.slots.at_mut(slot);
        for attempt in known.attempts.drain(..) {
            self.links[attempt.link].sent.remove(&attempt.number);
        }
        if let Stage::Queued(index) = known.stage {
            self.links[index].queue.retain(|queued| *queued != slot);
        }
        known.stage = Stage::Waits;
    }

    /// A seed has said who it is: it is the link to shard 0 of that node, if there is none.
    pub(super) fn adopt(&mut self, index: usize, node: NodeId) {
        self.links[index].node = Some(node);
        self.places.entry((node, ShardIndex(0), 0)).or_insert(index);
    }

    /// A seed is gone. Its node may come back at another address, and another one at this.
    pub(super) fn disown(&mut self, index: usize) {
        let Some(node) = self.links[index].node.take() else { return };
        let key = (node, ShardIndex(0), 0);
        if self.places.get(&key) == Some(&index) {
            self.places.remove(&key);
        }
    }

    /// Whether a connection is to a shard that there is, or a seed's.
    pub(super) fn is_wanted(&self, index: usize) -> bool {
        let (Some(table), Some(node)) = (&self.table, self.links[index].node) else { return true };
        index < self.seed_count || table.has(node, self.links[index].shard)
    }
}
