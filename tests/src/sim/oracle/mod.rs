//! What must be true, checked against the exact causal history.
//!
//! The protocol summarizes histories as version vectors; here a history is what it is: a set of
//! events. Every event (a write that some coordinator applied) is known from the moment it is
//! appended, with the exact set of events in its context. From that alone follows what any
//! record may say: its siblings are the events that no other event of its history has in its
//! context, and its version vector covers that history, no more and no less.
//!
//! Source: the model `Exact` of the causality vectors.

mod history;
mod set;

#[cfg(test)]
mod tests;

pub use history::{
    Appended, Context, Decoded, DecodedSibling, Event, History, Issue, Issued, decoded_entries,
};
pub use set::Set;

use std::fmt;

/// An invariant that does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which: its number and a few words.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// A violation of `invariant`.
    pub fn new(invariant: Invariant, detail: impl Into<String>) -> Violation {
        Violation { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.detail)
    }
}

macro_rules! invariants {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The invariants that are checked, by the numbers that reports name.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Invariant { $($(#[$doc])* $name,)* }

        impl Invariant {
            /// Its number and name.
            pub fn name(self) -> &'static str {
                match self { $(Invariant::$name => $text,)* }
            }
        }
    };
}

invariants! {
    /// At all times some copy that is not destroyed covers every acknowledged write; in the end
    /// every copy does.
    NoLostWrite = "S1 no lost acknowledged write",
    /// Every value read or stored was written to that key, byte for byte.
    NoInvention = "S2 no invented values",
    /// Coverage and siblings of every record equal the exact history of its events: no false
    /// domination, no false concurrency.
    Exactness = "S3 exactness",
    /// A dot names one event of one write, for ever; an actor numbers its events 1, 2, 3, ...
    /// and ends with its boot.
    DotUniqueness = "S4 dot uniqueness",
    /// A client that reads and then writes with the context it got, alone on its key, sees
    /// exactly one sibling when nothing fails.
    SequentialWriter = "S6 sequential writer",
    /// The history of a copy never shrinks but by a crash; an answer to a read with a context
    /// covers that context.
    MonotoneContexts = "S8 monotone contexts",
    /// A success means that W distinct owners stored it (durably, where durability is `always`
    /// or DW asks for it) when it was said.
    AckAccounting = "S9 acknowledgment accounting",
    /// A read of R covers every write that W acknowledged before it began, if R + W > N.
    StrictQuorum = "S10 quorums meet",
    /// Equal committed operations give equal rings; a partition has distinct owners; a replica
    /// takes no record from a coordinator on another topology.
    RingAgreement = "S11 ring agreement",
    /// What leaves all owners has ended, and what it had replaced is never seen again.
    Reaping = "S12 reaped is gone",
    /// What has left a version vector was replaced, and is no sibling of any copy again.
    Compaction = "S25 compacted is gone",
    /// Queues and tables keep their bounds.
    Bounds = "S16 bounds",
    /// Nobody is told to stop but for a younger process of its own; after heal every member is
    /// alive in every view.
    Liveness = "L4 all members alive",
    /// Every request gets exactly one reply, of its own key, or its connection closes.
    OneReply = "S17 one reply, no panic",
    /// Operations of one connection on one key take effect in order.
    Order = "S19 order on a key",
    /// A node begins no write whose client has given it up, though its process was stopped.
    Staleness = "S20 nothing stale",
    /// A peer that was heard just now is not suspect.
    Suspicion = "S21 suspicion ends",
    /// No frame is acted upon that was sent longer ago than frames may.
    FrameAge = "S23 no old frame",
    /// Every frame says the version on which the ends of its connection agreed.
    OneVersion = "S24 one version a connection",
    /// A read shows a value until it expires by the clock of the node that decides it, and no
    /// longer; nothing else depends on clocks.
    Expiry = "S22 expiry",
    /// Hints alone bring every acknowledged write to all owners, where none can be lost.
    Provided = "L6 all owners provided for",
    /// After heal and quiescence all owners of a key are equal, and so are their trees.
    Convergence = "L1 convergence",
    /// After heal requests succeed again.
    Recovery = "L5 recovery",
}
