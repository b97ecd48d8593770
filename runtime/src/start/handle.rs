//! What other threads may want of a running node: its status, its metrics, its stop.

use super::{Event, TELL_PATIENCE, stop_all};
use crate::driver::{Control, LateDoorbell};
use crate::mesh::Controls;
use crate::metrics::{Gauge, Metrics};
use ringmain_core::id::ShardIndex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, sync_channel};
use std::time::Duration;

/// How long the admin port waits for the members.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// A way to ask a running node for its status, and to stop it, from any thread.
#[derive(Clone)]
pub struct Handle {
    pub(super) controls: Controls<Control, LateDoorbell>,
    pub(super) events: Sender<Event>,
    pub(super) is_stopping: Arc<AtomicBool>,
    pub(super) metrics: Metrics,
}

/// Why a node that has recovered is not ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unready {
    /// It was asked to stop.
    Stopping,
    /// It is in no ring: it has not joined, or not all of its shards know yet.
    NoRing,
    /// Its data directory was copied, and no member has said yet whether it is the newest.
    Copied,
}

impl Handle {
    /// Tells every shard to stop; [`Running::wait`](super::Running::wait) returns once they have,
    /// after [`STOP_TIME_MAX`](super::STOP_TIME_MAX) at the latest.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Nobody waits any more once a shard has failed.
        let _gone = self.events.send(Event::Stopping);
        stop_all(&self.controls, TELL_PATIENCE);
    }

    /// The JSON of `cluster status`; none if the node does not answer, or is stopping: then
    /// nobody shall wait for it.
    pub fn status(&self) -> Option<String> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return None;
        }
        let (reply, answer) = sync_channel(1);
        self.controls.control(ShardIndex(0), Control::Status(reply)).ok()?;
        answer.recv_timeout(STATUS_TIMEOUT).ok()
    }

    /// What keeps the node from being ready; `None` = nothing. Asks no shard. O(shards).
    pub fn unready(&self) -> Option<Unready> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Some(Unready::Stopping);
        }
        let lacks = |gauge| {
            let mut shards = 0..self.metrics.shard_count();
            shards.any(|shard| self.metrics.gauge(shard, gauge) == 0)
        };
        let unready = [(Gauge::InRing, Unready::NoRing), (Gauge::Serves, Unready::Copied)];
        unready.into_iter().find(|(gauge, _)| lacks(*gauge)).map(|(_, why)| why)
    }

    /// What its shards count.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
