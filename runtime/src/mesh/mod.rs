//! How the shards of one node reach each other, without locks and without ever waiting.
//!
//! A shard of the same node is a peer like any other: for each ordered pair of shards there is
//! a bounded byte ring with one producer and one consumer, and in it the native frames that a
//! socket would carry. What is no frame (a descriptor handed over, a new ring, an order from
//! the admin port) is an item of a type that the driver chooses, in one bounded queue per shard
//! into which all may put.
//!
//! ```text
//! Endpoint 0 ── send ──► link 0→1: backlog ─► ring ── receive ──► Endpoint 1
//!     │                                                             ▲  │
//!     └── control ─────► queue 1 ───────────────── next_control ────┘  │
//!     ▲── flush rings the doorbell of 1, once a turn; of 0, if the ────┘
//!         link was full and receive has made room
//! ```
//!
//! Invariants: the frames of one link arrive in order, each once; `Ok` of `send` means that the
//! frame will arrive unless the process ends; a full link or queue refuses, so no two shards
//! can wait for each other; nobody who sleeps has a frame, an item or room that it was not
//! rung for.

mod link;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use ringmain_core::checksum::Checksum;
use ringmain_core::drive::Lost;
use ringmain_core::id::ShardIndex;
use ringmain_core::limits::SHARD_COUNT_MAX;
use ringmain_core::wire::frame::{Frame, FrameError};

use crate::session::native::frames::{Flow, Pause};
pub use link::Inbound;
use link::{Outbound, link};

/// [`MeshLimits::backlog_bytes`] as [`MeshLimits::for_shards`] chooses it: a frame beyond is lost.
/// Answers cannot be held back, as the requests of clients are at [`BACKLOG_BYTES_STOP`], so
/// there is room for the large ones of many clients.
pub const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// With so many bytes behind full rings, of all links of a shard, it should read no more from its
/// clients until fewer wait.
pub const BACKLOG_BYTES_STOP: usize = 1 << 20;
/// Memory that a link keeps for its backlog once it is empty, bytes.
pub const BACKLOG_BYTES_KEPT: usize = 16 << 10;
/// Bounds of [`MeshLimits::link_bytes`] as [`MeshLimits::for_shards`] chooses it.
pub const LINK_BYTES_MIN: usize = 16 << 10;
/// See [`LINK_BYTES_MIN`].
pub const LINK_BYTES_MAX: usize = 256 << 10;
/// What all rings of a node shall have together, bytes, where [`LINK_BYTES_MIN`] allows.
pub const MESH_BYTES: usize = 64 << 20;
/// Items of a control queue as [`MeshLimits::for_shards`] chooses it.
pub const CONTROL_COUNT: usize = 1024;

/// Tells a shard that something waits for it, wherever it sleeps. May be rung by any thread,
/// often, and while the shard is awake: it is the doorbell's business to make that cheap.
pub trait Doorbell: Send + Sync {
    /// Rings. What the caller did before is seen by the shard that this wakes.
    fn ring(&self);
}

impl<F: Fn() + Send + Sync> Doorbell for F {
    fn ring(&self) {
        self();
    }
}

/// Sizes of a mesh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MeshLimits {
    /// Bytes of the ring of each ordered pair of shards, at least 1.
    pub link_bytes: usize,
    /// Most bytes that wait behind the full ring of a link; only a frame that alone is longer
    /// may exceed it, when nothing else waits.
    pub backlog_bytes: usize,
    /// Items of the control queue of each shard, at least 1.
    pub control_count: usize,
}

impl MeshLimits {
    /// What fits a node of `shards` shards.
    pub fn for_shards(shards: u16) -> MeshLimits {
        let links = usize::from(shards) * usize::from(shards.saturating_sub(1));
        let fair = MESH_BYTES / links.max(1);
        let link_bytes = fair.clamp(LINK_BYTES_MIN, LINK_BYTES_MAX);
        MeshLimits { link_bytes, backlog_bytes: BACKLOG_BYTES_MAX, control_count: CONTROL_COUNT }
    }
}

/// Makes the ends of all links between the shards to which `doorbells` belong, in their order.
///
/// # Panics
/// If there is no shard, or more than `limits::SHARD_COUNT_MAX`; if a limit is 0.
pub fn mesh<T, D, C>(doorbells: Vec<D>, limits: MeshLimits) -> Vec<Endpoint<T, D, C>>
where
    T: Send,
    D: Doorbell,
    C: Checksum,
{
    let count = doorbells.len();
    assert!((1..=SHARD_COUNT_MAX).contains(&count));
    assert!(limits.link_bytes > 0);
    let queues = (0..count).map(|_| ArrayQueue::new(limits.control_count)).collect();
    let shared = Arc::new(Shared { queues, doorbells });
    let endpoint = |shard: usize| Endpoint {
        shard: ShardIndex(shard as u16),
        outbound: Vec::with_capacity(count),
        inbound: Vec::with_capacity(count),
        shared: Arc::clone(&shared),
    };
    let mut endpoints: Vec<Endpoint<T, D, C>> = (0..count).map(endpoint).collect();
    for from in 0..count {
        for to in 0..count {
            let (outbound, inbound) = (from != to).then(|| link(&limits)).unzip();
            endpoints[from].outbound.push(outbound);
            endpoints[to].inbound.push(inbound);
        }
    }
    endpoints
}

/// One shard's end of all its links. `T` are its control items, `D` the doorbells.
#[derive(Debug)]
pub struct Endpoint<T, D, C> {
    shard: ShardIndex,
    /// By target; none to itself.
    outbound: Vec<Option<Outbound>>,
    /// By source; none from itself.
    inbound: Vec<Option<Inbound<C>>>,
    shared: Arc<Shared<T, D>>,
}

impl<T: Send, D: Doorbell, C: Checksum> Endpoint<T, D, C> {
    /// The shard whose end this is.
    pub fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shared.doorbells.len() as u16
    }

    /// Queues a frame of `bytes` bytes for another shard; `fill` writes it whole, into zeros.
    /// The target is rung by [`flush`](Endpoint::flush).
    ///
    /// # Errors
    /// [`Lost`] if too much waits for that shard; then `fill` was not called.
    ///
    /// # Panics
    /// If there is no such other shard.
    pub fn send(
        &mut self,
        to: ShardIndex,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Lost> {
        assert!(to != self.shard);
        let link = self.outbound[usize::from(to.0)].as_mut();
        link.expect("only the link to itself is missing").send(bytes, fill)
    }

    /// Puts an item into the control queue of a shard, which may be this one. Another is rung
    /// by [`flush`](Endpoint::flush).
    ///
    /// # Errors
    /// The item, if the queue is full.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn control(&mut self, to: ShardIndex, item: T) -> Result<(), T> {
        self.shared.queues[usize::from(to.0)].push(item)?;
        if let Some(link) = &mut self.outbound[usize::from(to.0)] {
            link.ring_at_flush();
        }
        Ok(())
    }

    /// Once a turn, after the last `send` and `control`: moves what waits into the rings, as
    /// far as there is room, and rings each shard for which something new is there. When a full
    /// link gets room again, this shard is rung, and flushes again. O(shards + bytes moved).
    pub fn flush(&mut self) {
        for (link, doorbell) in self.outbound.iter_mut().zip(&self.shared.doorbells) {
            if link.as_mut().is_some_and(Outbound::flush) {
                doorbell.ring();
            }
        }
    }

    /// Yields the frames that have come from another shard, in order, in place unless they lie
    /// around the end of the ring. After a pause the rest stays in the ring: call again without
    /// being rung. O(bytes).
    ///
    /// # Errors
    /// A [`FrameError`] if what a `fill` wrote was no frame: a bug, and the link is of no more
    /// use.
    ///
    /// # Panics
    /// If there is no such other shard.
    pub fn receive(
        &mut self,
        from: ShardIndex,
        each: impl FnMut(Frame<'_>) -> ControlFlow<Pause>,
    ) -> Result<Flow, FrameError> {
        assert!(from != self.shard);
        let link = self.inbound[usize::from(from.0)].as_mut();
        let (flow, made_room) =
            link.expect("only the link from itself is missing").receive(each)?;
        if made_room {
            self.shared.doorbells[usize::from(from.0)].ring();
        }
        Ok(flow)
    }

    /// Takes the receiving end of a link out, so that the frames of that link may make the rest
    /// of the endpoint send; to be given back by [`Endpoint::give`].
    pub fn lend(&mut self, from: ShardIndex) -> Option<Inbound<C>> {
        self.inbound[usize::from(from.0)].take()
    }

    /// Takes a link back; `made_room` is what its [`Inbound::receive`] said.
    pub fn give(&mut self, from: ShardIndex, link: Inbound<C>, made_room: bool) {
        self.inbound[usize::from(from.0)] = Some(link);
        if made_room {
            self.shared.doorbells[usize::from(from.0)].ring();
        }
    }

    /// The oldest item of this shard's control queue.
    pub fn next_control(&mut self) -> Option<T> {
        self.shared.queues[usize::from(self.shard.0)].pop()
    }

    /// Whether nothing waits to be received here: to be asked after the doorbell was armed, in
    /// front of sleeping. A link that the caller paused does not count: it knows when to go on.
    /// Nor does what waits to be sent, once flushed. O(shards).
    pub fn is_idle(&self) -> bool {
        self.shared.queues[usize::from(self.shard.0)].is_empty()
            && self.inbound.iter().flatten().all(Inbound::is_idle)
    }

    /// Bytes that wait behind full rings, of all links: for metrics and admission. O(shards).
    pub fn backlog_bytes(&self) -> usize {
        self.outbound.iter().flatten().map(Outbound::backlog_bytes).sum()
    }

    /// A handle for threads that are no shard.
    pub fn controls(&self) -> Controls<T, D> {
        Controls { shared: Arc::clone(&self.shared) }
    }
}

/// Reaches the control queues from any thread: that of the admin port, or of signals.
#[derive(Debug)]
pub struct Controls<T, D> {
    shared: Arc<Shared<T, D>>,
}

impl<T: Send, D: Doorbell> Controls<T, D> {
    /// Puts an item into the control queue of a shard, and rings it.
    ///
    /// # Errors
    /// The item, if the queue is full.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn control(&self, to: ShardIndex, item: T) -> Result<(), T> {
        self.shared.queues[usize::from(to.0)].push(item)?;
        self.shared.doorbells[usize::from(to.0)].ring();
        Ok(())
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shared.doorbells.len() as u16
    }
}

impl<T, D> Clone for Controls<T, D> {
    fn clone(&self) -> Controls<T, D> {
        Controls { shared: Arc::clone(&self.shared) }
    }
}

/// What all shards see.
#[derive(Debug)]
struct Shared<T, D> {
    queues: Vec<ArrayQueue<T>>,
    doorbells: Vec<D>,
}
