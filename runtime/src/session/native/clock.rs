//! A link and time: stamps for what goes to a peer, ages of what comes from it.
//!
//! Why, and why it is safe, says [`age`](ringmain_core::wire::age). Here is what it asks of a node:
//!
//! - Both ends begin in the handshake, each for both directions, at times that are read from the
//!   clock when the bytes that made it so were there already ([`Local::now`](super::Local)):
//!   the acceptor for what comes when it answers HELLO, all else when HELLO_REPLY or PROOF is read.
//! - A frame is stamped with the beginning of the turn in which it entered the output: earlier than
//!   it did, so it counts as older by that, never as younger.
//! - A frame is read at a time that was asked for after everything that its shard did before, not
//!   at the beginning of the turn: the process may have been stopped meanwhile.
//!
//! The mesh between the shards of one node has none of this. Its frames are requests of clients on
//! their way to the shard of their key, and the answers to these; no record goes from one copy to
//! another over it. They lie in the memory of one process, which stops as a whole, and a shard
//! takes them in order with all else that it does.

use ringmain_core::limits::{BEAT_PAUSE, FRAME_AGE_MAX};
use ringmain_core::time::Instant;
use ringmain_core::wire::age::{FrameClock, Untimely, stamp};
use ringmain_core::wire::frame::{Frame, stamp_frames};

/// One end of a link between two nodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkClock {
    incoming: FrameClock,
    /// When this end began for what goes.
    outgoing: Instant,
    /// When the last frame was stamped.
    said_at: Instant,
}

impl LinkClock {
    /// An end that began for what comes at `asked`, before it sent what the other end answered, and
    /// for what goes at `answered`, when it had read that answer.
    ///
    /// # Panics
    /// If it was answered before it asked.
    pub fn new(asked: Instant, answered: Instant) -> LinkClock {
        assert!(asked <= answered);
        let incoming = FrameClock::new(asked, FRAME_AGE_MAX);
        LinkClock { incoming, outgoing: answered, said_at: answered }
    }

    /// Stamps `frames`, which entered the output of a link of that version in the turn that began
    /// at `now`. O(frames).
    ///
    /// # Panics
    /// If they are not whole, or `version` does not have one of them.
    pub fn stamp(&mut self, now: Instant, version: u8, frames: &mut [u8]) {
        if !frames.is_empty() {
            stamp_frames(frames, version, stamp(self.outgoing, now));
            self.said_at = self.said_at.max(now);
        }
    }

    /// A frame came and is read at `now`.
    ///
    /// # Errors
    /// [`Untimely`]: it must not be acted upon, and the connection must be closed.
    pub fn on_frame(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Untimely> {
        self.incoming.on_frame(now, frame.hop().sent_ms).map(|_age| ())
    }

    /// Whether a frame should go to the peer at `now`, although there is nothing to say: before the
    /// next look, [`LOOK_PAUSE`] later, it would have been silent for too long.
    pub fn is_beat_due(&self, now: Instant) -> bool {
        self.said_at + (BEAT_PAUSE - LOOK_PAUSE) <= now
    }
}

/// How often links are looked at.
pub const LOOK_PAUSE: std::time::Duration =
    std::time::Duration::from_secs(BEAT_PAUSE.as_secs() / 2);
