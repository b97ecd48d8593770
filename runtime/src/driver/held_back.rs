//! Bytes that arrived from connections which have to wait, each in the queue of what it lacks: so
//! nobody waits for what only others lack.
//!
//! Invariant: a connection stands in one queue, once, if bytes of it are kept, and else in none.

use crate::net::ConnectionId;
use std::collections::{BTreeMap, VecDeque};

/// What there may be too little of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scarce {
    /// Room in the log.
    Log,
    /// Room among the operations that wait.
    Waiting,
    /// Room on the way to other shards.
    Mesh,
}

impl Scarce {
    /// All of them.
    pub(crate) const ALL: [Scarce; 3] = [Scarce::Log, Scarce::Waiting, Scarce::Mesh];
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    kept: BTreeMap<ConnectionId, (Scarce, Vec<u8>)>,
    queues: [VecDeque<ConnectionId>; Scarce::ALL.len()],
    /// Of all that is kept.
    bytes: usize,
}

impl HeldBack {
    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// All that is kept, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something is kept of `id`.
    pub(crate) fn contains(&self, id: ConnectionId) -> bool {
        self.kept.contains_key(&id)
    }

    /// Keeps bytes of `id`, which lacks `scarce`, behind what is kept of it already.
    pub(crate) fn push(&mut self, id: ConnectionId, scarce: Scarce, bytes: &[u8]) {
        self.bytes += bytes.len();
        if let Some((_, kept)) = self.kept.get_mut(&id) {
            return kept.extend_from_slice(bytes);
        }
        self.kept.insert(id, (scarce, bytes.to_vec()));
        self.queues[scarce as usize].push_back(id);
    }

    /// Who has lacked `scarce` longest.
    pub(crate) fn first(&self, scarce: Scarce) -> Option<ConnectionId> {
        self.queues[scarce as usize].front().copied()
    }

    /// `id` lacks something else by now.
    pub(crate) fn move_to(&mut self, id: ConnectionId, scarce: Scarce) {
        if let Some(bytes) = self.remove(id) {
            self.push(id, scarce, &bytes);
        }
    }

    /// Takes out what is kept of `id`. Cost: one look at each before it in its queue.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let (scarce, bytes) = self.kept.remove(&id)?;
        self.bytes -= bytes.len();
        let queue = &mut self.queues[scarce as usize];
        let index = queue.iter().position(|other| *other == id);
        queue.remove(index.expect("it stands in its queue"));
        Some(bytes)
    }
}
