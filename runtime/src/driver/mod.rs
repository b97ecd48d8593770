//! One shard at work: the loop that takes what happened, lets the machine decide, stores and
//! sends.
//!
//! The problem: requests, replicas, peers, disk and timers of a shard share one core and must not
//! wait for each other. The answer: one task, one turn after another, with every batch used: all
//! completions, then one write to the log, then one send for each connection. Only the ring
//! blocks. A turn is: [`Driver::turn`]'s lines, in that order.
//!
//! Invariant: a shard's log, index and requests are touched by its own thread alone; other
//! threads reach it by its mesh and its doorbell.

mod answers;
mod connection;
mod control;
mod engine;
mod epochs;
mod event;
mod files;
mod gossip;
mod held_back;
mod io;
mod latencies;
mod ledger;
mod links;
mod members_file;
mod membership;
mod native;
mod peers;
mod plan;
mod reap;
mod relief;
mod resp;
mod routes;
mod scrub;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod turns;
mod verbs;
mod versions;
mod work;

pub(crate) use answers::Answers;
pub(crate) use connection::{Connections, SocketCount};
pub(crate) use control::{Control, SharedRings};
pub(crate) use engine::Engine;
pub(crate) use epochs::SharedEpochs;
pub(crate) use event::{NATIVE, RESP};
pub(crate) use files::Files;
pub(crate) use held_back::HeldBack;
pub(crate) use io::{Io, LateDoorbell, MeshEndpoint};
pub(crate) use latencies::Latencies;
pub(crate) use ledger::{Clerk, Ledger};
pub(crate) use links::Looks;
pub(crate) use membership::{Members, Membership};
pub(crate) use peers::Peers;
pub(crate) use relief::{Relief, Sleepers};
pub(crate) use resp::About;
pub(crate) use scrub::{Board, Scrub};
pub(crate) use versions::Told;

use crate::log::Completion;
use crate::log_files::LogFiles;
use crate::log_writer::end_process;
use crate::metrics::{Counter, Recorder};
use crate::net::{ConnectionId, HotRing, RingError};
use crate::session::native::ahead::lone_key as lone_frame_key;
use crate::session::native::frames::Flow;
use crate::session::request::EXPECTED_COUNT_MAX;
use crate::session::resp::{Limits, lone_key as lone_resp_key};
use crate::settings::Secret;
use ringmain_core::drive::Notice;
use ringmain_core::id::ShardIndex;
use ringmain_core::records::Place;
use ringmain_core::request::Link;
use ringmain_core::time::{Instant, UnixMs};
use ringmain_core::wire::handshake::Keys;
use ringmain_core::wire::hello::Cluster;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
pub(crate) use store::Reads;
pub(crate) use turns::Turns;
use work::Work;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Events of one turn.
const EVENT_COUNT_MAX: usize = 256;
/// After so long a turn takes no more events: what has come first is answered before the rest is
/// begun, and one without work for other shards, for who waited, or for the log stays below a
/// millisecond. Not sooner: whoever is answered may sleep by then, and to wake a CPU costs more
/// than an answer. CPU of pipelined gets and sets, 50 connections: 1.1 times as much at 300 µs, no
/// less at 2 ms.
const EVENTS_TIME_MAX: Duration = Duration::from_micros(700);
/// For so long it takes what other shards have sent, for as long what waited for its record, and
/// for as long what was held back.
const OTHERS_TIME_MAX: Duration = Duration::from_micros(300);
/// Bounded steps of the machine in one turn.
const STEP_COUNT_MAX: usize = 256;
/// How long the ring blocks at once while the shard is not quite idle.
const BLOCK: Duration = Duration::from_micros(500);
/// Empty turns before the core is parked: about 10 ms.
const IDLE_COUNT_MAX: u32 = 20;
/// How long a stop may take before what is left is dropped: the process has 10 s for all of it.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a shard did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// Its ring could not go on.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A stop took too long, or the log had failed.
    #[error("a shard had to stop before all of its log was on disk")]
    Unsynced,
}

/// What a shard must know of its cluster.
#[derive(Clone)]
pub(crate) struct ClusterInfo {
    pub(crate) cluster: Cluster,
    pub(crate) keys: Keys,
    /// Given to joiners over loopback.
    pub(crate) secret_for_joiners: Option<Secret>,
}

/// Everything of a shard but its ring.
pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) io: Io,
    pub(crate) about: About,
    /// Counts what this shard does.
    pub(crate) recorder: Recorder,
    pub(crate) cluster: ClusterInfo,
    pub(crate) limits: Limits,
    pub(crate) disk: LogFiles,
    pub(crate) files: Files,
    /// What of the log is being read.
    pub(crate) reads: Reads,
    pub(crate) scrub: Scrub,
    pub(crate) clerk: Clerk,
    /// On shard 0.
    pub(crate) members: Option<Membership>,
    /// This node is in the ring.
    pub(crate) is_member: bool,
    /// What links of ours are bound to.
    pub(crate) source: Option<IpAddr>,
    /// What found no room in shard 0's queue and must not be lost.
    pub(crate) unsent: Option<Control>,
    pub(crate) started: std::time::Instant,
    pub(crate) work: VecDeque<Work>,
    /// Connections in their handshake, by when it must be over.
    pub(crate) handshakes: VecDeque<(Instant, ConnectionId)>,
    /// Links that are looked at.
    pub(crate) looks: Looks,
    /// Nodes that speak no version that this one does.
    pub(crate) told: Told,
    /// Bytes that arrived from connections that have to wait.
    pub(crate) held_back: HeldBack,
    /// Connections that were closed while operations waited, perhaps their own.
    pub(crate) gone: Vec<Link>,
    pub(crate) relief: Relief,
    pub(crate) sleepers: Sleepers,
    /// What the machine was told is written, and on disk.
    pub(crate) stored: (Place, Place),
    /// Writes go inline from then on; before that, one has stalled.
    pub(crate) inline_from: Instant,
    /// When a segment that is written is looked at.
    pub(crate) next_look: Instant,
    /// When another segment is tried, since the last one could not be made.
    pub(crate) next_space: Option<Instant>,
    pub(crate) turns: Turns,
    /// The machine was told that the log has failed.
    pub(crate) has_failed: bool,
    /// Since when it is stopping.
    pub(crate) stopping: Option<Instant>,
}

/// A shard at work.
pub(crate) struct Driver {
    pub(crate) net: HotRing,
    pub(crate) state: State,
    /// The last turn left something to do: events, or background work.
    pub(crate) has_more: bool,
}

impl Driver {
    /// Runs until it was told to stop and has stopped; where the log ends then.
    ///
    /// It is the executor's one task and never yields to it but to park: after a yield the
    /// executor may go to sleep on its own rings, which nothing that comes here wakes up.
    pub(crate) async fn run(mut self) -> Result<Place, DriverError> {
        let mut idle = 0;
        while !self.is_over() {
            let events = self.turn()?;
            idle = if events > 0 { 0 } else { idle + 1 };
            let wait = self.wait();
            if self.has_more || wait == Some(Duration::ZERO) {
                self.net.submit_and_wait(Some(Duration::ZERO))?;
            } else if idle <= IDLE_COUNT_MAX {
                self.net.submit_and_wait(Some(wait.map_or(BLOCK, |wait| wait.min(BLOCK))))?;
            } else {
                idle = 0;
                self.state.recorder.add(Counter::Parks, 1);
                self.state.publish_rest(self.net.connection_count());
                self.state.fall_asleep();
                let parked = self.net.park(wait).await;
                self.state.sleepers.wake();
                parked?;
            }
        }
        self.state.engine.log.stopped_at().ok_or(DriverError::Unsynced)
    }

    /// All of the log is on disk; or it has failed, and nothing more will be.
    fn has_log_ended(&self) -> bool {
        let log = &self.state.engine.log;
        log.is_stopped() || log.failure().is_some()
    }

    /// One turn; says how many events it took.
    fn turn(&mut self) -> Result<usize, RingError> {
        self.state.tick();
        let until = self.state.engine.now + EVENTS_TIME_MAX;
        let mut events = 0;
        let mut has_more = true;
        while events < EVENT_COUNT_MAX && self.state.now() < until {
            if events.is_multiple_of(EXPECTED_COUNT_MAX) {
                self.look_ahead();
            }
            let Some(event) = self.net.next_event() else {
                has_more = false;
                break;
            };
            events += 1;
            let accepted = self.state.on_event(event);
            if let Some((socket, tag)) = accepted {
                self.on_accepted(socket, tag);
            }
            self.carry_out();
        }
        let (mesh_events, mesh_has_more) = self.state.on_mesh();
        events += mesh_events;
        self.state.on_timers();
        self.state.relieve();
        self.state.on_notices();
        self.state.go_on_waiting();
        let is_idle = events == 0;
        self.has_more = self.state.step_log(is_idle) || has_more || mesh_has_more;
        self.store();
        self.fetch_wanted();
        self.has_more |= self.state.engine.has_next_to_resume();
        self.state.deliver();
        self.carry_out();
        self.flush();
        self.state.io.mesh.flush();
        self.state.end_turn(events);
        self.state.publish_gauges(self.net.connection_count());
        Ok(events)
    }

    /// Of the next events, has the memory of the keys of lone requests begin to arrive: those of
    /// many connections miss the caches one by one otherwise. Who sends several at once has a
    /// session that looks ahead.
    fn look_ahead(&mut self) {
        let mut keys: [&[u8]; EXPECTED_COUNT_MAX] = [&[]; EXPECTED_COUNT_MAX];
        let mut count = 0;
        self.net.look_ahead(EXPECTED_COUNT_MAX, |bytes| {
            let key = match bytes.first() {
                Some(b'*') => lone_resp_key(bytes),
                _ => lone_frame_key(bytes),
            };
            if let Some(key) = key {
                keys[count] = key;
                count += 1;
            }
        });
        if count > 1 {
            self.state.engine.prefetch(&keys[..count], self.state.about.hash_seed);
        }
    }

    /// How long nothing is due.
    fn wait(&self) -> Option<Duration> {
        let now = self.state.now();
        self.state.next_timer().map(|at| at.since(now))
    }

    fn is_over(&self) -> bool {
        let Some(since) = self.state.stopping else { return false };
        let late = self.state.now().since(since) > STOP_TIMEOUT;
        (self.has_log_ended() && self.state.engine.request_count() == 0) || late
    }
}

impl State {
    /// Monotonic time.
    pub(crate) fn now(&self) -> Instant {
        // Never 0: that means "now" as a deadline.
        Instant(1 + self.started.elapsed().as_micros() as u64)
    }

    fn tick(&mut self) {
        self.engine.now = self.now();
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 is one that was never set.
        self.engine.wall = UnixMs(unix.map_or(0, |unix| unix.as_millis() as u64));
        self.engine.log.maps_mut().begin_turn(self.engine.now);
        self.begin_turn();
    }

    /// Frames and messages of other shards; says how many, and whether there are more.
    fn on_mesh(&mut self) -> (usize, bool) {
        let mut count = 0;
        if let Some(unsent) = self.unsent.take() {
            count += 1;
            self.tell_warm(unsent);
        }
        while let Some(control) = self.io.mesh.next_control() {
            count += 1;
            self.on_control(control);
        }
        let (me, shards) = (self.engine.shard.config().shard, self.engine.shard.config().shards);
        let mut has_more = false;
        for from in (0..shards).map(ShardIndex).filter(|from| *from != me) {
            let until = self.now() + OTHERS_TIME_MAX / u32::from(shards);
            let (frames, flow) = self.on_shard_frames(from, until);
            count += frames;
            has_more |= flow == Flow::Paused;
        }
        (count, has_more)
    }

    /// Does what is due.
    fn on_timers(&mut self) {
        self.give_up_gone();
        self.engine.turn(&mut self.io).timeouts(STEP_COUNT_MAX);
        let now = self.engine.now;
        if self.engine.log.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.log.handle_timeout(now);
        }
        self.look_for_space();
        while let Some((at, id)) = self.handshakes.front().copied()
            && at <= now
        {
            self.handshakes.pop_front();
            self.on_handshake_late(id);
        }
        self.look_at_links();
        for dial in self.io.peers.dials(now) {
            self.work.push_back(Work::Dial(dial));
        }
        self.on_member_timers();
    }

    fn next_timer(&self) -> Option<Instant> {
        let members = self.members.as_ref().and_then(Membership::next_timer);
        let handshake = self.handshakes.front().map(|(at, _)| *at);
        let stop = self.stopping.map(|since| since + STOP_TIMEOUT);
        let timers = [
            self.engine.next_timer(),
            self.engine.log.poll_timeout(),
            self.next_space(),
            self.io.peers.next_dial(),
            self.next_look_at_links(),
            self.next_relief(),
            handshake,
            members,
            stop,
        ];
        timers.into_iter().flatten().min()
    }

    fn on_notices(&mut self) {
        while let Some(notice) = self.io.notices.pop() {
            match notice {
                Notice::Sync => self.engine.log.sync_wanted(),
                Notice::TopologyDiffers(node) => self.tell_members(Control::TopologyDiffers(node)),
                Notice::Exchanged(finished) => self.tell_exchanged(finished),
                Notice::HintUnsendable { target, place } => {
                    self.tell_unread(place, &format!("is kept for node {target}, unreadable"));
                }
                // One that is lost is asked for again with what it was for.
                Notice::Raise(above) => self.tell_members(Control::Raise(above)),
                Notice::Warm(topology) => self.tell_warm(Control::ShardWarm(topology)),
                Notice::LostOwnEvents => {
                    tracing::error!("events of this process life were lost: restart the node");
                    end_process();
                }
            }
        }
    }

    /// Sends a message to the shard that knows the members, which may be this one.
    pub(crate) fn tell_members(&mut self, control: Control) {
        if self.members.is_some() {
            self.on_control(control);
        } else {
            // A full queue loses a hint that the next refused frame repeats.
            let _full = self.io.mesh.control(ShardIndex(0), control);
        }
    }

    /// Tells shard 0 that this shard is warm, now or in the next turn: it waits for that. Neither
    /// shard waits for the other's queue, so they cannot wait for each other.
    fn tell_warm(&mut self, warm: Control) {
        if self.members.is_some() {
            self.on_control(warm);
        } else {
            self.unsent = self.io.mesh.control(ShardIndex(0), warm).err();
        }
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::Adopt { socket, received, is_loopback } => {
                self.work.push_back(Work::Adopt { socket, received, is_loopback });
            }
            Control::Published(published) => self.on_published(&published),
            Control::Created { segment, result } => self.on_created(segment, result),
            Control::Stored { result } => {
                self.recorder.add(Counter::LogErrors, u64::from(result.is_err()));
                self.engine.log.handle_completion(Completion::Stored { result });
            }
            Control::Scrub { round, accepts_loss } => self.on_scrub(round, accepts_loss),
            Control::Repair { round, partition } => self.on_repair(round, partition),
            Control::Reap { round } => self.on_reap(round),
            Control::Stop => self.on_stop(),
            Control::ShardWarm(_)
            | Control::TopologyDiffers(_)
            | Control::Raise(_)
            | Control::Status(_) => {
                self.on_member_control(control);
            }
        }
    }
}
