//! Operations that people have put down and not committed yet. They reach every node that can be
//! reached, so that any of them can show what a commit would do; they bind nobody.
//!
//! Whoever drops them all begins another revision, in which what others still know counts for
//! nothing; within a revision the sets merge by union. Nothing of it is kept on disk.

use super::{Node, NodeOutput};
use crate::id::NodeId;
use crate::limits::STAGED_COUNT_MAX;
use crate::membership::operation::{Encoded, Operation};
use crate::membership::topology::{Operations, Topology};

/// What is staged.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    revision: u64,
    operations: Topology<'a>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(storage: &'a mut [Encoded]) -> Staged<'a> {
        assert!(storage.len() <= STAGED_COUNT_MAX);
        Staged { revision: 0, operations: Topology::new(storage) }
    }
}

impl Node<'_> {
    /// The staged operations and their revision, to be shown or sent.
    pub fn staged(&self) -> (u64, Operations<'_>) {
        (self.staged.revision, self.staged.operations.operations())
    }

    /// Somebody stages an operation here.
    pub(super) fn on_stage(&mut self, operation: Operation) {
        match self.staged.operations.insert(operation.moving()) {
            Ok(true) => self.send_staged_to_all(),
            Ok(false) => {}
            Err(_full) => self.output(NodeOutput::StagedFull),
        }
    }

    /// Somebody drops all that is staged.
    pub(super) fn on_clear(&mut self) {
        self.staged.revision += 1;
        self.staged.operations.clear();
        self.send_staged_to_all();
    }

    /// Another node tells what is staged, as it knows.
    pub(super) fn on_staged(&mut self, from: NodeId, revision: u64, operations: Operations<'_>) {
        let before = (self.staged.revision, self.staged.operations.id());
        if revision > before.0 {
            self.staged.revision = revision;
            self.staged.operations.clear();
        }
        if revision >= before.0 && self.staged.operations.merge(operations).is_err() {
            self.output(NodeOutput::StagedFull);
        }
        self.drop_committed();
        if before != (self.staged.revision, self.staged.operations.id()) {
            self.send_staged_to_all();
        } else if revision < before.0 || !operations.covers(self.staged().1) {
            self.output(NodeOutput::SendStaged { to: from });
        }
    }

    /// What is committed is staged no more.
    pub(super) fn drop_committed(&mut self) {
        let Node { staged, topology, .. } = self;
        let committed = topology.operations();
        staged.operations.retain(|operation| !committed.contains(operation));
    }

    fn send_staged_to_all(&mut self) {
        for index in 0..self.peers.len() {
            self.output(NodeOutput::SendStaged { to: self.peers[index] });
        }
    }
}
