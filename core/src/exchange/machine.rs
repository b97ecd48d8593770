//! What both sides of an exchange do: want a step, take what became of it, and hear the other.

use super::{Held, Parties, Sent, Step, Summary, Versions};
use crate::id::TopologyId;
use crate::time::Instant;
use crate::wire::exchange::{EndReason, Entry};
use crate::wire::message::Message;

/// One side of an exchange. Who drives it lets it go on as long as it wants to
/// ([`Machine::want`], [`Machine::grant`]), does each [`Step`], and tells what became of it.
pub trait Machine {
    /// Between whom the exchange is.
    fn parties(&self) -> &Parties;

    /// How it ended, if it has. At the responder `differences` are those that the initiator told.
    fn summary(&self) -> Option<&Summary>;

    /// What the next step costs at least, in bytes to send; none while it waits for an event.
    fn want(&self) -> Option<usize>;

    /// Lets it go on: what is returned has to be done.
    ///
    /// # Panics
    /// If it wants nothing.
    fn grant(&mut self, now: Instant) -> Step;

    /// The message of a [`Step::Send`].
    fn message(&self) -> Message<'_>;

    /// When [`Machine::on_timeout`] is due.
    fn timeout(&self) -> Option<Instant>;

    /// A pause is over, or the peer was silent for too long.
    fn on_timeout(&mut self, now: Instant);

    /// The connection is gone, and the exchange with it: nothing is sent any more.
    fn on_disconnected(&mut self);

    /// The driver cannot go on, or this node may not: the exchange ends, and the peer is told.
    fn give_up(&mut self, reason: EndReason);

    /// A frame of the exchange came, other than EXCHANGE_RECORD.
    fn on_frame(
        &mut self,
        now: Instant,
        topology: TopologyId,
        message: &Message<'_>,
        held: Held<'_>,
    );

    /// An EXCHANGE_RECORD came and goes to be joined, unless this says no: then it is dropped.
    fn on_record(&mut self, now: Instant, topology: TopologyId) -> bool;

    /// A record of `order` was joined; none: it could not be.
    fn on_joined(&mut self, order: u64, versions: Option<Versions>);

    /// What a [`Step::Summarize`] asked for.
    fn on_summarized(&mut self, root: u64, keys: u64);

    /// What a [`Step::List`] asked for; with `more`, there may be further ones.
    fn on_listed(&mut self, now: Instant, entries: &[Entry], more: bool);

    /// A [`Step::Push`] of `order` was done; no records if there are none any more.
    fn on_pushed(&mut self, order: u64, sent: Sent);

    /// A [`Step::Stream`] was done; `next` is the order to go on from, if there is more.
    fn on_streamed(&mut self, next: Option<u64>, sent: Sent);
}
