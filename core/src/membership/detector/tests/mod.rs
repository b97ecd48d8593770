//! Detectors on a simulated network: loss, delay, duplicates, cuts in one or both directions,
//! pauses, crashes, restarts. Every message is encoded, counted, and checked on arrival.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::{Detector, DetectorConfig, DetectorOutput, Entry};
use crate::id::{Boot, NodeId};
use crate::limits::{MEMBER_COUNT_MAX, PROBE_INTERVAL};
use crate::prng::Prng;
use crate::time::Instant;
use crate::wire::gossip::{Gossip, Liveness, Update};
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use core::time::Duration;

mod crash;
mod heal;
mod load;
mod order;
mod pace;
#[cfg(feature = "plant")]
mod plants;
mod quiet;
mod single;

/// Bytes of a frame around a payload.
const FRAME_BYTES: u64 = 40;

/// The node at `index`.
fn node(index: usize) -> NodeId {
    NodeId(100 + 7 * index as u32)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A node that watches the first `count` nodes, with just the entries that it needs.
fn detector(index: usize, count: usize, boot: u64, seed: u64, now: Instant) -> Detector<'static> {
    let entries = Box::leak(vec![Entry::EMPTY; count].into_boxed_slice());
    let (node, boot) = (node(index), Boot(boot));
    let config = DetectorConfig { node, boot, interval: PROBE_INTERVAL, seed };
    let mut detector = Detector::new(config, entries);
    detector.on_members(now, (0..count).map(self::node));
    detector
}

/// One server of the network.
struct Host {
    /// `None` while it is crashed.
    detector: Option<Detector<'static>>,
    boot: u64,
    deadline: Option<Instant>,
    paused_until: Instant,
    /// Sent.
    bytes: u64,
    packets: u64,
}

/// A message on its way.
struct Flight {
    from: usize,
    to: usize,
    op: Op,
    payload: Vec<u8>,
}

/// One `Changed`: when, in whose view, of whom, to what.
type Change = (Instant, usize, NodeId, Liveness);

struct Network {
    prng: Prng,
    now: Instant,
    hosts: Vec<Host>,
    flights: BTreeMap<(Instant, u64), Flight>,
    /// By sender and receiver: nothing passes.
    cuts: Vec<Vec<bool>>,
    loss_percent: u64,
    duplicate_percent: u64,
    delay_us_max: u64,
    /// Messages sent so far.
    count: u64,
    /// Of these numbers none arrives.
    lost: Vec<u64>,
    changes: Vec<Change>,
    superseded: Vec<NodeId>,
}

impl Network {
    /// `count` nodes that are all started, each of them in its first process life.
    fn new(count: usize, seed: u64) -> Network {
        let mut prng = Prng::new(seed);
        let now = Instant(1_000_000);
        let hosts = (0..count).map(|index| {
            let detector = detector(index, count, 1, prng.next_u64(), now);
            let deadline = detector.next_deadline();
            let (paused_until, detector) = (Instant(0), Some(detector));
            Host { detector, boot: 1, deadline, paused_until, bytes: 0, packets: 0 }
        });
        Network {
            hosts: hosts.collect(),
            prng,
            now,
            flights: BTreeMap::new(),
            cuts: vec![vec![false; count]; count],
            loss_percent: 0,
            duplicate_percent: 0,
            delay_us_max: 2_000,
            count: 0,
            lost: Vec::new(),
            changes: Vec::new(),
            superseded: Vec::new(),
        }
    }

    /// Lets `span` pass.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let timer = (0..self.hosts.len())
                .filter_map(|at| Some((self.due(at)?, at)))
                .min()
                .filter(|(due, _)| *due <= end);
            let flight = self.flights.keys().next().copied().filter(|(due, _)| *due <= end);
            match (timer, flight) {
                (Some((due, at)), None) => self.timeout(due, at),
                (Some((due, at)), Some((arrival, _))) if due < arrival => self.timeout(due, at),
                (_, Some(key)) => self.arrive(key),
                (None, None) => break,
            }
        }
        self.now = end;
    }

    /// When the timer of a host fires; a paused one waits.
    fn due(&self, at: usize) -> Option<Instant> {
        let host = &self.hosts[at];
        Some(host.deadline?.max(host.paused_until))
    }

    fn timeout(&mut self, due: Instant, at: usize) {
        self.now = self.now.max(due);
        let now = self.now;
        let detector = self.hosts[at].detector.as_mut().expect("only a running host has timers");
        detector.on_timeout(now);
        self.drain(at);
    }

    fn arrive(&mut self, key: (Instant, u64)) {
        let flight = self.flights.remove(&key).expect("its key was found");
        self.now = self.now.max(key.0);
        let host = &mut self.hosts[flight.to];
        if host.paused_until > self.now {
            self.flights.insert((host.paused_until, key.1), flight);
            return;
        }
        let Some(detector) = &mut host.detector else { return };
        let gossip = Gossip::new_checked(flight.op, &flight.payload).expect("what was written");
        detector.on_message(self.now, node(flight.from), &gossip);
        self.drain(flight.to);
    }

    /// Does what the detector of a host asks for.
    fn drain(&mut self, from: usize) {
        let mut room = [[0; Update::BYTES]; MEMBER_COUNT_MAX];
        while let Some(output) = self.running(from).poll() {
            match output {
                DetectorOutput::Send { to, signal } => {
                    let gossip = self.running(from).gossip(to, signal, &mut room);
                    let mut payload = vec![0xee; gossip.bytes()];
                    gossip.write(&mut payload);
                    self.send(from, to, signal.op(), payload);
                }
                DetectorOutput::Changed { node, status } => {
                    self.changes.push((self.now, from, node, status));
                }
                DetectorOutput::Superseded => {
                    self.superseded.push(node(from));
                }
            }
        }
        self.hosts[from].deadline = self.running(from).next_deadline();
    }

    fn send(&mut self, from: usize, to: NodeId, op: Op, payload: Vec<u8>) {
        let to = (0..self.hosts.len()).find(|index| node(*index) == to).expect("a known node");
        self.hosts[from].bytes += payload.len() as u64 + FRAME_BYTES;
        self.hosts[from].packets += 1;
        self.count += 1;
        let is_lost = self.cuts[from][to] || self.lost.contains(&self.count);
        let copies = 1 + u64::from(self.prng.chance(self.duplicate_percent));
        for copy in 0..copies {
            let arrival = self.now + Duration::from_micros(1 + self.prng.below(self.delay_us_max));
            if !is_lost && !self.prng.chance(self.loss_percent) {
                let payload = payload.clone();
                let flight = Flight { from, to, op, payload };
                self.flights.insert((arrival, 2 * self.count + copy), flight);
            }
        }
    }

    fn running(&mut self, at: usize) -> &mut Detector<'static> {
        self.hosts[at].detector.as_mut().expect("the host runs")
    }

    fn crash(&mut self, at: usize) {
        self.hosts[at].detector = None;
        self.hosts[at].deadline = None;
        self.hosts[at].paused_until = Instant(0);
    }

    fn restart(&mut self, at: usize) {
        let (count, seed, now) = (self.hosts.len(), self.prng.next_u64(), self.now);
        let host = &mut self.hosts[at];
        host.boot += 1;
        let detector = detector(at, count, host.boot, seed, now);
        host.deadline = detector.next_deadline();
        host.detector = Some(detector);
    }

    fn pause(&mut self, at: usize, span: Duration) {
        self.hosts[at].paused_until = self.now + span;
    }

    /// Nothing passes between the nodes of `left` and all others.
    fn split(&mut self, left: &[usize]) {
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                self.cuts[from][to] |= left.contains(&from) != left.contains(&to);
            }
        }
    }

    /// Every fault ends, and who is crashed is started.
    fn heal(&mut self) {
        self.mend();
        (self.loss_percent, self.duplicate_percent, self.delay_us_max) = (0, 0, 2_000);
        for at in 0..self.hosts.len() {
            self.hosts[at].paused_until = Instant(0);
            if self.hosts[at].detector.is_none() {
                self.restart(at);
            }
        }
    }

    /// Every cut ends.
    fn mend(&mut self) {
        self.cuts.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    fn status(&self, at: usize, of: usize) -> Liveness {
        let detector = self.hosts[at].detector.as_ref().expect("the host runs");
        detector.status(node(of)).expect("a member")
    }

    /// Whether every running host holds every running one for alive, and every crashed one for
    /// down.
    fn is_right(&self) -> bool {
        let count = self.hosts.len();
        let running = |at: &usize| self.hosts[*at].detector.is_some();
        (0..count).filter(running).all(|at| {
            (0..count).all(|of| {
                let expected = if running(&of) { Liveness::Alive } else { Liveness::Down };
                self.status(at, of) == expected
            })
        })
    }

    fn are_digests_equal(&self) -> bool {
        let running = self.hosts.iter().filter_map(|host| host.detector.as_ref());
        let digests: Vec<u64> = running.map(Detector::digest).collect();
        digests.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// How long it takes, in steps of 100 ms, until all views are right; at most `bound`.
    fn time_until_right(&mut self, bound: Duration) -> Duration {
        let begin = self.now;
        while !self.is_right() {
            let passed = self.now.since(begin);
            assert!(passed < bound, "the views are not right after {passed:?}");
            self.run(millis(100));
        }
        self.now.since(begin)
    }

    /// All views are right within `bound`, and stay so, and all tables become equal.
    fn assert_settles(&mut self, bound: Duration) -> Duration {
        let passed = self.time_until_right(bound);
        // Each node has compared its table with another since.
        self.run(seconds(70));
        assert!(self.is_right());
        assert!(self.are_digests_equal());
        assert!(self.superseded.is_empty());
        let count = self.changes.len();
        self.run(seconds(30));
        assert_eq!(self.changes.len(), count, "nothing changes any more");
        passed
    }

    fn down_count(&self) -> usize {
        self.changes.iter().filter(|change| change.3 == Liveness::Down).count()
    }
}
