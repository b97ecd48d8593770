//! Memory of a shard for requests in flight. What is released stays until the oracle has looked
//! at it, since a write may be applied and answered in one turn.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ringmain_core::drive::Bodies;
use ringmain_core::id::RequestId;

/// The request whose gathered record was looked at last: an event appends right behind that.
pub(super) type Applied = Rc<Cell<Option<RequestId>>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    applied: Applied,
    requests: BTreeMap<RequestId, Request>,
    released: BTreeMap<RequestId, Request>,
}

/// What is kept of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// Its own bytes.
    pub(super) command: Option<Vec<u8>>,
    /// What was read for it, joined.
    pub(super) gathered: Option<Vec<u8>>,
}

impl Kept {
    /// Nothing is kept; `applied` is shared with the store.
    pub(super) fn new(applied: Applied) -> Kept {
        Kept { applied, ..Kept::default() }
    }

    /// What is kept of `op`, or was in this turn.
    pub(super) fn request(&self, op: RequestId) -> Option<&Request> {
        self.requests.get(&op).or_else(|| self.released.get(&op))
    }

    /// Every request of this turn, those released in it included.
    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values().chain(self.released.values())
    }

    /// The turn is over.
    pub(super) fn forget_released(&mut self) {
        self.released.clear();
    }

    /// Requests that are kept.
    pub(super) fn count(&self) -> usize {
        self.requests.len()
    }
}

impl Bodies for Kept {
    fn keep(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let mut command = vec![0; bytes];
        fill(&mut command);
        self.requests.entry(op).or_default().command = Some(command);
    }

    fn kept(&self, op: RequestId) -> Option<&[u8]> {
        self.requests.get(&op)?.command.as_deref()
    }

    fn gather(&mut self, op: RequestId, bytes: usize, fill: impl FnOnce(Option<&[u8]>, &mut [u8])) {
        let mut gathered = vec![0; bytes];
        let request = self.requests.entry(op).or_default();
        fill(request.gathered.as_deref(), &mut gathered);
        request.gathered = Some(gathered);
    }

    fn gathered(&self, op: RequestId) -> Option<&[u8]> {
        self.applied.set(Some(op));
        self.requests.get(&op)?.gathered.as_deref()
    }

    fn release(&mut self, op: RequestId) {
        if let Some(request) = self.requests.remove(&op) {
            self.released.insert(op, request);
        }
    }
}
