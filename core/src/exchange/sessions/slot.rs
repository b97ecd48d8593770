//! Memory for one exchange.

use super::super::{Initiator, Machine, Responder, Step};
use super::Settings;
use crate::request::Link;
use crate::time::Instant;

/// Memory for one exchange of this shard.
#[derive(Debug)]
pub struct Slot<M> {
    pub(super) number: u32,
    /// Where its question came from, if this shard answers.
    pub(super) link: Link,
    pub(super) machine: M,
    pub(super) later: Option<Later>,
}

/// Memory for an exchange that this shard asks for.
pub type Asking = Slot<Initiator>;
/// Memory for an exchange that this shard answers.
pub type Answering = Slot<Responder>;

impl Asking {
    /// A free one.
    pub fn asking(settings: &Settings) -> Asking {
        Slot { number: 0, link: Link(0), machine: Initiator::new(settings.config()), later: None }
    }
}

impl Answering {
    /// A free one.
    pub fn answering(settings: &Settings) -> Answering {
        Slot { number: 0, link: Link(0), machine: Responder::new(settings.config()), later: None }
    }
}

impl<M: Machine> Slot<M> {
    pub(super) fn is_free(&self) -> bool {
        self.machine.summary().is_some()
    }

    pub(super) fn begin(&mut self, link: Link, number: u32) {
        (self.link, self.number, self.later) = (link, number, None);
    }
}

/// A step that met cold records and is done again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Later {
    pub(super) step: Step,
    pub(super) at: Instant,
    /// How often that happened to this step.
    pub(super) count: u32,
    /// It is being done.
    pub(super) is_running: bool,
}
