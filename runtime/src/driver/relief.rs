//! What a shard does so that its memory lasts: it counts what is held, gives up what does not
//! move while memory is tight, and gives back what is not used.
//!
//! Nothing here looks at all connections at once: with ten thousand of them that would be a long
//! turn. Those that had something to do stand in a queue until they rest, and those that hold too
//! much are looked for some at a time, from turn to turn.

use super::State;
use super::connection::Speaks;
use super::files::FileJob;
use super::io::Io;
use super::work::Work;
use crate::admission::{LONG_BYTES, Level, STALE};
use crate::checksum::Hardware;
use crate::metrics::Counter;
use ringmain_core::hash::Key;
use ringmain_core::id::NodeId;
use ringmain_core::request::Link;
use ringmain_core::shard::Input;
use ringmain_core::time::Instant;
use ringmain_core::wire::frame::{Frame, Hop, frame_length, write_frame};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload as _;
use ringmain_core::wire::peer::RejectReason;
use ringmain_core::wire::reply::{ReplyHead, Status};
use ringmain_core::wire::scan::{Page, ScanRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// A connection without anything to do for so long gives back its buffers.
pub(super) const REST_AFTER: Duration = Duration::from_secs(1);
/// The same while memory is tight: buffers that are kept for later must refuse nobody anything.
pub(super) const TIGHT_REST_AFTER: Duration = Duration::from_millis(1);
/// Connections that are put to rest, or looked at for what they hold, in one turn.
const LOOK_COUNT_MAX: u32 = 64;
/// Connections that are put to rest in one turn while memory is tight.
const TIGHT_REST_COUNT_MAX: u32 = 512;
/// Pause between two such looks while the shard has nothing else to do.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// Pages are worth giving back when a shard holds so much less than it did, bytes.
const GIVE_BACK_BYTES_MIN: usize = 16 << 20;

/// Where it stands with that.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    /// Whose turn it is to be looked at.
    next_slot: u32,
    /// When the next look is due, while memory is tight.
    next_look: Instant,
    /// A session reads to give up what it has a part of.
    pub(super) is_shedding: bool,
}

/// The shards of a node that are asleep, known to all of them.
#[derive(Clone, Debug)]
pub(crate) struct Sleepers {
    shared: Arc<(AtomicU32, AtomicBool)>,
}

impl Sleepers {
    /// So many shards, all awake.
    pub(crate) fn new(shards: u32) -> Sleepers {
        Sleepers { shared: Arc::new((AtomicU32::new(shards), AtomicBool::new(false))) }
    }

    /// There is memory that was used and is not any more.
    fn note_freed(&self) {
        self.shared.1.store(true, Ordering::Relaxed);
    }

    /// One more is asleep. True if all are, and memory was freed since the last time.
    fn fall_asleep(&self) -> bool {
        let awake = self.shared.0.fetch_sub(1, Ordering::Relaxed) - 1;
        awake == 0 && self.shared.1.swap(false, Ordering::Relaxed)
    }

    /// One is awake again.
    pub(crate) fn wake(&self) {
        self.shared.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Io {
    /// A connection has had something to do: it rests after a while without.
    pub(super) fn keep_warm(&mut self, slot: u32, now: Instant) {
        let Some(connection) = self.connections.at(slot) else { return };
        connection.used_at = now;
        if !std::mem::replace(&mut connection.is_warm, true) {
            self.warm.push_back((now, slot));
        }
    }

    /// How long a connection is without anything to do before it rests.
    fn rest_after(&self) -> Duration {
        if self.memory.level() >= Level::Tight { TIGHT_REST_AFTER } else { REST_AFTER }
    }

    /// When the next connection rests, unless it is used again.
    pub(super) fn rests_next(&self) -> Option<Instant> {
        self.warm.front().map(|(used_at, _)| *used_at + self.rest_after())
    }

    /// Puts connections to rest that have had nothing to do for a while.
    fn rest_idle(&mut self, now: Instant) {
        let is_tight = self.memory.level() >= Level::Tight;
        let count_max = if is_tight { TIGHT_REST_COUNT_MAX } else { LOOK_COUNT_MAX };
        for _ in 0..count_max {
            let after = self.rest_after();
            let Some((_, slot)) = self.warm.pop_front_if(|(used_at, _)| *used_at + after <= now)
            else {
                return;
            };
            // The slot may be another connection's by now, which then rests a little early.
            let Some(connection) = self.connections.at(slot) else { continue };
            if connection.used_at + after > now {
                let used_at = connection.used_at;
                self.warm.push_back((used_at, slot));
                continue;
            }
            connection.is_warm = false;
            connection.rest();
            self.recount(slot);
        }
    }
}

impl State {
    /// Counts what is held beside connections. O(shards).
    pub(super) fn count_requests(&mut self) {
        let engine = &self.engine;
        let bytes = engine.bodies.memory_bytes()
            + engine.waiting.bytes()
            + self.held_back.bytes()
            + self.reads.bytes()
            + self.io.mesh.backlog_bytes();
        self.io.memory.set_requests(bytes);
    }

    /// The memory's part of a turn.
    pub(super) fn relieve(&mut self) {
        self.count_requests();
        let now = self.engine.now;
        self.io.rest_idle(now);
        if self.io.memory.level() >= Level::Tight && self.relief.next_look <= now {
            self.relief.next_look = now + LOOK_PAUSE;
            self.give_up_stale();
        }
    }

    /// When it has something to do without any event.
    pub(super) fn next_relief(&self) -> Option<Instant> {
        let rest = self.io.rests_next();
        let look = (self.io.memory.level() >= Level::Tight).then_some(self.relief.next_look);
        [rest, look].into_iter().flatten().min()
    }

    /// The shard sleeps from now on. The last one to fall asleep has the pages given back that the
    /// shards do not use any more: who allocates meanwhile waits for that, up to 0.4 s for 100 MB.
    pub(super) fn fall_asleep(&mut self) {
        if self.io.memory.fallen_bytes() >= GIVE_BACK_BYTES_MIN {
            self.io.memory.begin_peak();
            self.sleepers.note_freed();
        }
        if self.sleepers.fall_asleep() {
            self.files.give(FileJob::GiveBackPages);
        }
    }

    /// Gives up, of some connections, what holds memory and has not moved for long; and all long
    /// commands that are not whole, if there is no memory for those.
    fn give_up_stale(&mut self) {
        for _ in 0..LOOK_COUNT_MAX.min(self.io.connections.slot_count()) {
            let slot = self.relief.next_slot;
            self.relief.next_slot = (slot + 1) % self.io.connections.slot_count();
            let (now, memory) = (self.engine.now, &self.io.memory);
            let is_short = memory.command_bytes_max() == LONG_BYTES;
            let Some(connection) = self.io.connections.at(slot) else { continue };
            if !connection.is_client() || connection.counted_bytes <= LONG_BYTES {
                continue;
            }
            let is_late = |since: Instant| now.since(since) >= STALE;
            if connection.is_sending && is_late(connection.sending_since) {
                self.recorder.add(Counter::ConnectionsEvicted, 1);
                self.work.push_back(Work::Close(connection.id));
            } else if is_short || is_late(connection.received_at) {
                self.shed_command(slot);
            }
        }
    }

    /// Gives up the long command that a client has sent a part of.
    fn shed_command(&mut self, slot: u32) {
        let Some(connection) = self.io.connections.at(slot) else { return };
        let link = connection.link;
        match &mut connection.speaks {
            Speaks::Resp(_, rest) if rest.len() > LONG_BYTES => {
                self.relief.is_shedding = true;
                self.on_resp(slot, &[]);
                self.relief.is_shedding = false;
            }
            Speaks::Client(reader) if reader.held().len() > LONG_BYTES => {
                if let Some(request) = reader.give_up() {
                    connection.open += 1;
                    self.io.shed_count += 1;
                    self.answer_busy(link, self.hop(Op::Reply, request), 0);
                }
            }
            _ => {}
        }
    }

    /// Whether a client's request is refused as one too many for this shard.
    pub(super) fn refuses_request(&mut self, bytes: usize) -> bool {
        self.count_requests();
        self.io.memory.refuses_request(bytes)
    }

    /// Whether a frame of a peer or another shard was refused: a client's request that it hands
    /// on, or a long answer, which would be kept until others have come. The request of that goes
    /// on without it, as if `node` had refused it.
    pub(super) fn is_shed(&mut self, link: Link, node: Option<NodeId>, frame: &Frame<'_>) -> bool {
        let bytes = frame.body().bytes().len();
        let (is_request, is_answer) = match frame.op() {
            Op::Get | Op::Put | Op::Scan => (true, false),
            Op::ReadReply | Op::PageReply => (false, bytes > LONG_BYTES),
            _ => (false, false),
        };
        let is_shed = (is_request || is_answer) && self.refuses_request(bytes);
        if is_shed && is_request {
            self.refuse_frame(link, frame);
        }
        if is_shed
            && is_answer
            && let Some(node) = node
        {
            self.recorder.add(Counter::FramesShed, 1);
            let order = self.order_of(frame);
            let (op, reason) = (frame.hop().request, RejectReason::Busy);
            self.engine.turn(&mut self.io).input(Input::Rejected { node, op, order, reason });
        }
        is_shed
    }

    /// Answers a request that came in `frame` as one too many.
    pub(super) fn refuse_frame(&mut self, link: Link, frame: &Frame<'_>) {
        self.answer_busy(link, self.hop(Op::Reply, frame.hop().request), self.order_of(frame));
    }

    /// The order that names what `frame` is about to whoever asked: of its key, or where its page
    /// begins. What is malformed is about nothing.
    fn order_of(&self, frame: &Frame<'_>) -> u64 {
        let about = &self.about;
        match frame.op() {
            Op::Scan => ScanRequest::new_checked(frame.payload()).map_or(0, |scan| scan.from),
            Op::PageReply => Page::new_checked(frame.payload()).map_or(0, |page| page.head.from),
            _ => Key::new(frame.key(), about.hash_seed, about.partition_bits).order,
        }
    }

    fn answer_busy(&mut self, link: Link, hop: Hop, order: u64) {
        let head = ReplyHead { order, ..ReplyHead::of(Status::Busy) };
        let bytes = frame_length(0, head.bytes());
        let write = |out: &mut [u8]| write_frame::<Hardware>(&hop, &[], &head, out);
        // Whoever does not get it finds out by his deadline.
        let _lost = self.io.send_link(link, bytes, write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_fall_asleep_gives_back_what_any_has_freed() {
        let sleepers = Sleepers::new(2);
        assert!(!sleepers.fall_asleep());
        assert!(!sleepers.fall_asleep(), "nothing was freed");
        sleepers.wake();
        sleepers.note_freed();
        sleepers.wake();
        assert!(!sleepers.fall_asleep());
        assert!(sleepers.fall_asleep());
        sleepers.wake();
        assert!(!sleepers.fall_asleep(), "it was given back");
    }
}
