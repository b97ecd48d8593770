//! How each peer does, as one shard sees it: a circuit that opens when a peer is silent, and how
//! long its answers take.
//!
//! A peer whose links stand may hang all the same (a stopped process, a dead switch), and whoever
//! waits for it waits until a deadline. So its silence is timed: from the first frame that was sent
//! to it since anything came from it. After longer than its silences usually take it is asked for a
//! sign of life, which no disk and no other node can delay; if that brings nothing either, it is
//! *suspect*: others are asked in its stead as long as there are any. Signs of life are asked for
//! again, ever more rarely, and anything that it says ends the suspicion at once.
//!
//! ```text
//! Quiet ─ on_sent ─► Awaited ─ bound ─► Doubted ─ bound ─► Suspect ─┐ 1 s, 2 s, .. 30 s
//!   ▲                   │                  │                  │  ▲   │ asked for a sign
//!   └───── on_heard ────┴──────────────────┴──────────────────┘  └───┘
//! ```
//! The bound is a mean and four deviations of its silences (Jacobson 1988, as TCP's timeout), and a
//! floor: who answers slowly but steadily is not suspected. A shard that was late itself, since its
//! process had been stopped, holds that against nobody. Suspicion is local, costs no message while
//! all is well, and never changes the ring (Dynamo §4.6, §4.8.3).

use crate::id::{NodeId, Partition, RequestId};
use crate::limits::{
    MEMBER_COUNT_MAX, READ_HEDGE, READ_HEDGE_MAX, READ_HEDGE_MIN, SIGN_PAUSE_MAX, SIGN_PAUSE_MIN,
    SILENCE_FLOOR, SILENCE_MAX, STOP_MIN,
};
use crate::time::Instant;
use core::time::Duration;
use heapless::Vec;

mod latency;
mod pulse;

#[cfg(test)]
mod tests;

use latency::{Latency, Silence};
pub(crate) use pulse::Pulse;

/// What a peer is held for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Nothing was sent to it since it was last heard.
    Quiet,
    /// Something was sent to it then, and nothing heard since.
    Awaited { since: Instant },
    /// It was asked for a sign of life at `asked`.
    Doubted { since: Instant, asked: Instant },
    /// It is asked for the next sign at that time, and for the one after it after that pause.
    Suspect { since: Instant, next: Instant, pause: Duration },
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    node: NodeId,
    standing: Standing,
    /// Of what was sent last: that shard of it gives the sign.
    partition: Partition,
    silence: Silence,
    reads: Latency,
    /// The read whose answer is timed, and when it was sent.
    timed: Option<(RequestId, Instant)>,
}

impl Peer {
    fn of(node: NodeId) -> Peer {
        let (silence, reads) = (Silence::default(), Latency::default());
        let (standing, partition) = (Standing::Quiet, Partition(0));
        Peer { node, standing, partition, silence, reads, timed: None }
    }

    /// When its standing changes by itself.
    fn next(&self) -> Option<Instant> {
        match self.standing {
            Standing::Quiet => None,
            Standing::Awaited { since } => Some(since + self.bound()),
            Standing::Doubted { asked, .. } => Some(asked + self.bound()),
            Standing::Suspect { next, .. } => Some(next),
        }
    }

    /// How long it may be silent.
    fn bound(&self) -> Duration {
        (SILENCE_FLOOR + self.silence.usual()).min(SILENCE_MAX)
    }
}

/// What has to be done about a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Due {
    /// It is to be asked for a sign of life.
    Sign { node: NodeId, partition: Partition },
    /// It is suspect from now on.
    Opened,
}

/// What a shard has come to with its peers; each number only grows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HealthFigures {
    /// Peers that were suspected.
    pub opened: u64,
    /// Suspects that said something, or whose links were lost.
    pub closed: u64,
    /// Frames of requests that went to suspects: without them the quorum was out of reach.
    pub waits: u64,
    /// Reads that asked one node more than they needed, since another one was slow.
    pub hedges: u64,
    /// Hints for owners that did not do their share of a write that had succeeded without them.
    pub stragglers: u64,
    /// Requests passed on to another shard, or to another node.
    pub forwards: u64,
}

/// All peers of a shard. See the module.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Sorted.
    peers: Vec<Peer, MEMBER_COUNT_MAX>,
    suspect_count: usize,
    pub(crate) figures: HealthFigures,
}

impl Health {
    /// A frame of a request goes to `node` now.
    pub(crate) fn on_sent(&mut self, now: Instant, node: NodeId, partition: Partition) {
        let Some(peer) = self.known(node) else { return };
        peer.partition = partition;
        match peer.standing {
            Standing::Quiet => peer.standing = Standing::Awaited { since: now },
            Standing::Suspect { .. } => self.figures.waits += 1,
            Standing::Awaited { .. } | Standing::Doubted { .. } => {}
        }
    }

    /// The read `op` goes to `node` now: its answer is timed, unless that of another one is.
    pub(crate) fn time(&mut self, now: Instant, node: NodeId, op: RequestId) {
        let Some(peer) = self.known(node) else { return };
        match peer.timed {
            Some((_, at)) if now.since(at) <= SILENCE_MAX => {}
            Some((_, at)) => {
                // It never came, or would be as slow as this at the least.
                peer.reads.take(now.since(at));
                peer.timed = Some((op, now));
            }
            None => peer.timed = Some((op, now)),
        }
    }

    /// `node` said something; about the request `op`, if it is an answer. Whether it was suspect.
    pub(crate) fn on_heard(&mut self, now: Instant, node: NodeId, op: RequestId) -> bool {
        let Some(peer) = self.peer(node) else { return false };
        if let Some((timed, at)) = peer.timed
            && timed == op
        {
            peer.reads.take(now.since(at));
            peer.timed = None;
        }
        let (since, was_suspect) = match peer.standing {
            Standing::Quiet => return false,
            Standing::Awaited { since } | Standing::Doubted { since, .. } => (since, false),
            Standing::Suspect { since, .. } => (since, true),
        };
        #[cfg(feature = "plant")]
        if was_suspect && crate::plant::is(crate::plant::Plant::CircuitNeverCloses) {
            return false;
        }
        peer.silence.take(now.since(since).min(SILENCE_MAX));
        peer.standing = Standing::Quiet;
        self.count_closed(was_suspect)
    }

    /// The links to `node` were lost, or stand anew. Whether it was suspect.
    pub(crate) fn on_links_changed(&mut self, node: NodeId) -> bool {
        let Some(peer) = self.peer(node) else { return false };
        let was_suspect = matches!(peer.standing, Standing::Suspect { .. });
        (peer.standing, peer.timed) = (Standing::Quiet, None);
        self.count_closed(was_suspect)
    }

    fn count_closed(&mut self, was_suspect: bool) -> bool {
        self.suspect_count -= usize::from(was_suspect);
        self.figures.closed += u64::from(was_suspect);
        was_suspect
    }

    /// When [`Health::step`] has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.peers.iter().filter_map(Peer::next).min()
    }

    /// What is due for one peer; none if nothing is.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Due> {
        let due = |peer: &&mut Peer| peer.next().is_some_and(|at| at <= now);
        let peer = self.peers.iter_mut().find(due)?;
        let is_late = peer.next().is_some_and(|at| now.since(at) > STOP_MIN);
        let sign = Some(Due::Sign { node: peer.node, partition: peer.partition });
        match peer.standing {
            Standing::Quiet => unreachable!("nothing is due"),
            // This shard did not run: what the peer has said meanwhile may not be read yet.
            Standing::Awaited { .. } if is_late => {
                peer.standing = Standing::Awaited { since: now };
                self.step(now)
            }
            Standing::Doubted { .. } if is_late => {
                peer.standing = Standing::Doubted { since: now, asked: now };
                sign
            }
            Standing::Awaited { since } => {
                peer.standing = Standing::Doubted { since, asked: now };
                sign
            }
            Standing::Doubted { since, .. } => {
                let (next, pause) = (now + SIGN_PAUSE_MIN, 2 * SIGN_PAUSE_MIN);
                peer.standing = Standing::Suspect { since, next, pause };
                self.suspect_count += 1;
                self.figures.opened += 1;
                Some(Due::Opened)
            }
            Standing::Suspect { since, pause, .. } => {
                let (next, pause) = (now + pause, (2 * pause).min(SIGN_PAUSE_MAX));
                peer.standing = Standing::Suspect { since, next, pause };
                sign
            }
        }
    }

    /// Whether `node` is suspect.
    pub(crate) fn is_suspect(&self, node: NodeId) -> bool {
        self.suspect_count > 0
            && self.get(node).is_some_and(|peer| matches!(peer.standing, Standing::Suspect { .. }))
    }

    /// The suspects, ascending.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        let peers = self.peers.iter();
        peers.filter(|peer| self.is_suspect(peer.node)).map(|peer| peer.node)
    }

    /// How long answers of `node` to reads take, about; zero if none was timed: then it is tried.
    pub(crate) fn latency(&self, node: NodeId) -> Duration {
        self.get(node).map_or(Duration::ZERO, |peer| peer.reads.mean())
    }

    /// How long a read waits for `node` before it asks another one: as long as most answers take.
    pub(crate) fn hedge(&self, node: NodeId) -> Duration {
        let usual = self.get(node).and_then(|peer| peer.reads.p95());
        usual.map_or(READ_HEDGE, |usual| usual.clamp(READ_HEDGE_MIN, READ_HEDGE_MAX))
    }

    fn get(&self, node: NodeId) -> Option<&Peer> {
        let index = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        Some(&self.peers[index])
    }

    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        let index = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        Some(&mut self.peers[index])
    }

    /// The peer, which is made if it is new; none if there are too many.
    fn known(&mut self, node: NodeId) -> Option<&mut Peer> {
        let index = match self.peers.binary_search_by_key(&node, |peer| peer.node) {
            Ok(index) => index,
            Err(index) => {
                self.peers.insert(index, Peer::of(node)).ok()?;
                index
            }
        };
        Some(&mut self.peers[index])
    }
}
