//! The network of a run: connections between shards that carry whole frames, and what goes
//! wrong with them. A frame is delivered, perhaps late, twice or damaged; is held back while
//! its path is split; or dies with its connection.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ringmain_core::time::Instant;

use super::mark::{Mark, Marks};
use super::random::Random;
use super::swarm::NetworkOptions;

/// One shard of one node, both by index.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Site {
    /// Which node.
    pub(super) node: usize,
    /// Which of its shards.
    pub(super) shard: usize,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}.{}", self.node, self.shard)
    }
}

/// A frame under way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Parcel {
    /// Sender.
    pub(super) from: Site,
    /// Receiver.
    pub(super) to: Site,
    /// The life of the connection that carries it.
    pub(super) connection: u32,
    /// When it was sent.
    pub(super) sent: Instant,
    /// The frame.
    pub(super) bytes: Vec<u8>,
}

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Network {
    options: NetworkOptions,
    random: Random,
    /// Whether faults happen at all; off once the run heals.
    faulty: bool,
    /// The latest arrival that was scheduled, from site to site.
    latest: BTreeMap<(Site, Site), Instant>,
    /// When the frame was sent that was delivered last, from site to site.
    delivered: BTreeMap<(Site, Site), Instant>,
    /// `lives[a][b]`: which life the connections of two nodes are in; the same both ways.
    lives: Vec<Vec<u32>>,
    /// `blocked[from][to]`: nothing travels.
    blocked: Vec<Vec<bool>>,
    /// `clogged[from][to]`: what is sent over these connections stays in buffers for now.
    clogged: Vec<Vec<bool>>,
    /// What waits for either to end.
    held: Vec<Parcel>,
}

impl Network {
    /// A whole network of `nodes` nodes.
    pub(super) fn new(nodes: usize, options: NetworkOptions, random: Random) -> Network {
        Network {
            options,
            random,
            faulty: true,
            latest: BTreeMap::new(),
            delivered: BTreeMap::new(),
            lives: vec![vec![0; nodes]; nodes],
            blocked: vec![vec![false; nodes]; nodes],
            clogged: vec![vec![false; nodes]; nodes],
            held: Vec::new(),
        }
    }

    /// Sends `bytes`; the arrivals (none to two) go to `arrive`. Inside a node nothing is lost.
    pub(super) fn send(
        &mut self,
        now: Instant,
        from: Site,
        to: Site,
        bytes: &[u8],
        marks: &mut Marks,
        mut arrive: impl FnMut(Instant, Parcel),
    ) {
        let connection = self.connection(from, to);
        let mut parcel = Parcel { from, to, connection, sent: now, bytes: bytes.to_vec() };
        if from.node == to.node {
            let at = self.arrival(now, &parcel, marks);
            return arrive(at, parcel);
        }
        if self.is_stopped(&parcel) {
            return self.hold(parcel, marks);
        }
        if self.happens(self.options.lost) {
            return marks.hit(Mark::FrameLost);
        }
        if self.happens(self.options.duplicated) {
            marks.hit(Mark::FrameDuplicated);
            arrive(self.arrival(now, &parcel, marks), parcel.clone());
        }
        if bytes.len() > 32 && self.happens(self.options.corrupted) {
            marks.hit(Mark::FrameCorrupted);
            let at = 32 + self.random.below(bytes.len() - 32);
            parcel.bytes[at] ^= 1 << self.random.below(8);
        }
        arrive(self.arrival(now, &parcel, marks), parcel);
    }

    /// Whether `parcel` gets through at its arrival: its connection still lives and no split
    /// began meanwhile. One that may wait for the end of the split is kept.
    pub(super) fn delivers(&mut self, now: Instant, parcel: &Parcel, marks: &mut Marks) -> bool {
        let (from, to) = (parcel.from, parcel.to);
        if self.connection(from, to) != parcel.connection {
            marks.hit(Mark::FrameLost);
            return false;
        }
        if self.is_stopped(parcel) {
            self.hold(parcel.clone(), marks);
            return false;
        }
        let delivered = self.delivered.entry((from, to)).or_default();
        let is_passed_over = match self.options.ordered {
            // A later one came while this one waited for the end of a split.
            true => parcel.sent < *delivered,
            // Each is a stream of its own, whose age would be known.
            false => now.since(parcel.sent) > self.options.age_max,
        };
        if is_passed_over && from.node != to.node {
            marks.hit(Mark::FrameLost);
            return false;
        }
        *delivered = parcel.sent;
        if now.since(parcel.sent) > Duration::from_secs(1) {
            marks.hit(Mark::FrameLate);
        }
        true
    }

    /// The life of the connections between two sites: a number that every reset raises.
    pub(super) fn connection(&self, from: Site, to: Site) -> u32 {
        self.lives[from.node][to.node]
    }

    /// Resets all connections between two nodes, or inside one: frames under way are lost.
    pub(super) fn reset(&mut self, a: usize, b: usize) {
        self.lives[a][b] += 1;
        self.lives[b][a] = self.lives[a][b];
        (self.clogged[a][b], self.clogged[b][a]) = (false, false);
        let concerns = |from: usize, to: usize| (from, to) == (a, b) || (to, from) == (a, b);
        self.held.retain(|parcel| !concerns(parcel.from.node, parcel.to.node));
        self.latest.retain(|(from, to), _| !concerns(from.node, to.node));
        self.delivered.retain(|(from, to), _| !concerns(from.node, to.node));
    }

    /// Splits the network in a way that the seed draws. Earlier splits remain.
    pub(super) fn split(&mut self, marks: &mut Marks) {
        let nodes = self.blocked.len();
        let mut order: Vec<usize> = (0..nodes).collect();
        self.random.shuffle(&mut order);
        // Who is cut off: one node, a part, or one pair only (a partial split).
        let (left, right) = match self.random.weighted(&[3, 3, 2]) {
            0 => order.split_at(1),
            1 => order.split_at(1 + self.random.below(nodes.max(2) - 1)),
            _ => (&order[..1], &order[1..nodes.min(2)]),
        };
        let one_way = self.random.chance(300);
        marks.hit(if one_way { Mark::SplitOneWay } else { Mark::SplitBothWays });
        for a in left {
            for b in right {
                self.blocked[*a][*b] = true;
                self.blocked[*b][*a] |= !one_way;
            }
        }
    }

    /// Clogs the connections from node `from` to node `to`, until they are unclogged or reset.
    pub(super) fn clog(&mut self, from: usize, to: usize) {
        self.clogged[from][to] = true;
    }

    /// What waited on the connections from node `from` to node `to` goes on, and what is sent over
    /// them from now on; unless a split stops it.
    pub(super) fn unclog(
        &mut self,
        now: Instant,
        (from, to): (usize, usize),
        marks: &mut Marks,
        arrive: impl FnMut(Instant, Parcel),
    ) {
        self.clogged[from][to] = false;
        self.release(now, marks, arrive);
    }

    /// Ends every split; frames that waited go on.
    pub(super) fn heal(
        &mut self,
        now: Instant,
        marks: &mut Marks,
        arrive: impl FnMut(Instant, Parcel),
    ) {
        self.blocked.iter_mut().for_each(|row| row.fill(false));
        self.release(now, marks, arrive);
    }

    /// Frames that waited and need not any more go on.
    fn release(
        &mut self,
        now: Instant,
        marks: &mut Marks,
        mut arrive: impl FnMut(Instant, Parcel),
    ) {
        let mut held = std::mem::take(&mut self.held);
        if self.options.ordered {
            // What was stopped at its arrival was sent before what was stopped at once.
            held.sort_by_key(|parcel| parcel.sent);
        }
        for parcel in held {
            if self.is_stopped(&parcel) {
                self.held.push(parcel);
            } else {
                arrive(self.arrival(now, &parcel, marks), parcel);
            }
        }
    }

    /// Whether faults happen; without them only delays remain.
    pub(super) fn set_faulty(&mut self, faulty: bool) {
        self.faulty = faulty;
    }

    /// Whether nothing travels from node `from` to node `to`.
    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked[from][to]
    }

    fn is_stopped(&self, parcel: &Parcel) -> bool {
        let (from, to) = (parcel.from.node, parcel.to.node);
        self.blocked[from][to] || self.clogged[from][to]
    }

    /// A split loses what it stops, in some runs; buffers do not.
    fn hold(&mut self, parcel: Parcel, marks: &mut Marks) {
        let is_blocked = self.is_blocked(parcel.from.node, parcel.to.node);
        if is_blocked {
            marks.hit(Mark::FrameBlocked);
        }
        if self.options.holds || !is_blocked {
            self.held.push(parcel);
        }
    }

    fn happens(&mut self, permille: u32) -> bool {
        self.faulty && self.random.chance(permille)
    }

    /// When `parcel`, which leaves now, arrives.
    fn arrival(&mut self, now: Instant, parcel: &Parcel, marks: &mut Marks) -> Instant {
        let inside = parcel.from.node == parcel.to.node;
        let mut delay = match inside {
            true => Duration::from_micros(self.random.between(1, 5)),
            false => self.random.delay(self.options.delay),
        };
        if !inside && self.happens(self.options.slow) {
            delay *= self.random.between(2, 300) as u32;
        }
        delay = delay.min(DELAY_MAX);
        let latest = self.latest.entry((parcel.from, parcel.to)).or_default();
        let mut at = now + delay;
        if at < *latest {
            if inside || self.options.ordered {
                at = *latest;
            } else {
                marks.hit(Mark::FrameReordered);
            }
        }
        *latest = at.max(*latest);
        at
    }
}

#[cfg(test)]
mod tests;
