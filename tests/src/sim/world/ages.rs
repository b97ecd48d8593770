//! How old frames are when they arrive: as their receivers take it, and in truth.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::time::Instant;
use ringmain_core::wire::VERSION;
use ringmain_core::wire::age::{FrameClock, stamp};
use ringmain_core::wire::frame::{Frame, stamp_frames};

use super::super::mark::Mark;
use super::super::network::{Parcel, Site};
use super::super::oracle::{Invariant, Violation};
use super::{Event, World, note};

/// The clocks of all connections between nodes.
#[derive(Debug, Default)]
pub(super) struct LinkClocks {
    /// When two nodes connected last, the smaller index first, and on which version they agreed.
    began: BTreeMap<(usize, usize), (Instant, u8)>,
    /// Of each connection over which something came: from one site to another.
    incoming: BTreeMap<(Site, Site), FrameClock>,
}

impl LinkClocks {
    /// Two nodes connect anew, and speak that version.
    pub(super) fn begin(&mut self, now: Instant, (a, b): (usize, usize), version: u8) {
        self.began.insert((a.min(b), a.max(b)), (now, version));
        let pair = |from: &Site, to: &Site| [(from.node, to.node), (to.node, from.node)];
        self.incoming.retain(|(from, to), _| !pair(from, to).contains(&(a, b)));
    }

    fn began(&self, a: usize, b: usize) -> Instant {
        self.began.get(&(a.min(b), a.max(b))).map_or(Instant(0), |(began, _)| *began)
    }

    /// The version on which two nodes agreed when they connected last.
    pub(super) fn version(&self, a: usize, b: usize) -> u8 {
        self.began.get(&(a.min(b), a.max(b))).map_or(VERSION, |(_, version)| *version)
    }
}

impl World<'_> {
    /// Stamps a frame on its way to another node.
    pub(super) fn stamp(&self, from: Site, to: Site, frame: &mut [u8]) {
        if from.node != to.node {
            let host = &self.hosts[from.node];
            let began = host.local(self.link_clocks.began(from.node, to.node));
            let version = self.link_clocks.version(from.node, to.node);
            stamp_frames(frame, version, stamp(began, host.local(self.now)));
        }
    }

    /// Whether a frame is acted upon that has come over a connection that stands. S23: none is that
    /// is too old in truth.
    pub(super) fn is_fresh(
        &mut self,
        parcel: &Parcel,
        frame: &Frame<'_>,
    ) -> Result<bool, Violation> {
        let Parcel { from, to, sent, .. } = *parcel;
        let (now, age_max) = (self.now, self.swarm.network.age_max);
        // Else frames overtake each other, and the network loses those that are too old.
        if self.swarm.network.ordered {
            let host = &self.hosts[to.node];
            let began = host.local(self.link_clocks.began(from.node, to.node));
            let clocks = &mut self.link_clocks.incoming;
            let clock = clocks.entry((from, to)).or_insert(FrameClock::new(began, age_max));
            if let Err(untimely) = clock.on_frame(host.local(now), frame.hop().sent_ms) {
                note!(self, "{to:?} refuses {:?} of {from:?}: {untimely}", frame.op());
                self.marks.hit(Mark::FrameStale);
                return Ok(false);
            }
        }
        let age = now.since(sent);
        if age > age_max {
            let detail = format!("{to:?} acts upon {:?} of {from:?}, {age:?} old", frame.op());
            return Err(Violation::new(Invariant::FrameAge, detail));
        }
        Ok(true)
    }

    /// What a node sends to another one stays in buffers for longer than frames may, or a little
    /// less, while their connections stand; often in both directions.
    pub(super) fn clog(&mut self, from: usize) {
        let nodes = self.hosts.len();
        let to = (from + 1 + self.random.below(nodes - 1)) % nodes;
        let both = self.random.chance(500);
        let longest = 3 * self.swarm.network.age_max.as_micros() as u64;
        let length = Duration::from_micros(self.random.between(longest / 6, longest));
        for (from, to) in [(from, to), (to, from)].into_iter().take(1 + usize::from(both)) {
            note!(self, "what n{from} sends to n{to} stays in buffers");
            self.network.clog(from, to);
            let connection = self.connection_of(from, to);
            self.after(length, Event::Unclog { from, to, connection });
        }
    }

    /// What lay in buffers comes, if that is still the life of the connections.
    pub(super) fn unclog(
        &mut self,
        from: usize,
        to: usize,
        connection: u32,
    ) -> Result<(), Violation> {
        if self.connection_of(from, to) != connection {
            return Ok(());
        }
        note!(self, "what n{from} sends to n{to} leaves the buffers");
        let World { now, network, marks, queue, .. } = self;
        network.unclog(*now, (from, to), marks, |at, parcel| {
            queue.push(at, Event::Arrive(parcel));
        });
        Ok(())
    }

    fn connection_of(&self, from: usize, to: usize) -> u32 {
        let site = |node| Site { node, shard: 0 };
        self.network.connection(site(from), site(to))
    }
}
