//! How old a frame is when it is read, so that none is acted upon that was sent long ago.
//!
//! The problem: on a connection that stands, bytes may lie for minutes in the buffers of two
//! kernels and two processes. A record that comes out of them after its tombstone was reaped
//! everywhere would be a write that nobody made. And clocks of two nodes cannot be compared.
//!
//! The answer: a frame says when it was put into its sender's output, in milliseconds since the
//! sender's end of the connection began ([`stamp`]). The receiver compares that with the time
//! since its own end began, and takes for the frame's age by how much the difference exceeds the
//! smallest one so far. Above a bound the frame is refused, and the connection must be closed.
//!
//! ```text
//! receiver      sender            the acceptor's end for what comes begins with its HELLO_REPLY,
//!  0 ─── sends ───►                   the dialer's for what goes when it has read that;
//!                 0               the dialer's for what comes begins with its PROOF,
//!                 S                   the acceptor's for what goes when it has read that
//!  R ◄── frame ───
//! ```
//!
//! Invariant: no frame is taken for younger than it is, but for what is said of drift below.
//!
//! Let c be the receiver's clock less the sender's, each since its own end began. The sender's end
//! began because of something that the receiver sent after its own end had begun (each answers a
//! nonce of this connection, so it cannot be older), hence c >= 0 at first; and c is at most the
//! round trip of the handshake, which has a deadline. A frame that took d has R - S = c + d.
//!
//! - *Steady clocks.* No difference is ever below 0, with which the smallest begins. So the age is
//!   c + d: too large by the handshake's round trip, never too small, and that from the first
//!   frame on, however late it is.
//! - *The receiver's clock is slower*, the dangerous direction: c falls, and the smallest must
//!   follow. It does with every frame: after one that took d' it is at most c + d' of that time.
//!   So an age is too small by no more than the time that the quickest frame of late took and
//!   what the clocks drifted since: 8 ms at 400 ppm in [`BEAT_PAUSE`], within which each end says
//!   something. To hide a minute at that rate, every frame of two days would have to be late, and
//!   each by more than the one before.
//! - *It is faster*: c grows, and ages are too large by what has come together since the beginning:
//!   a minute in 35 days at 20 ppm. Then the connection is closed, and the next one begins anew.
//! - *Stamps wrap* after 65.5 s. They are made in order and come in order, so each is taken for the
//!   first such time after the one before. If the sender was silent for longer, that is too early
//!   by whole turns, and the frame and all behind it count as too old.
//! - *A process that is stopped*, on either side, does not stop its clock. A host whose monotonic
//!   clock stands still (a virtual machine that is suspended) takes what lay before it meanwhile
//!   for younger by that time: whoever waits until no older frame can come should have every
//!   receiver measure the wait on this same clock.
//! - *A frame from the future*, whose difference is smaller than all before by more than half the
//!   bound, is refused as well: a clock stood still, or frames were not stamped, or not in order,
//!   and whatever was learned of this connection is worth nothing.
//!
//! Source: the frame-age guard of anti-resurrection in the delete protocol; minimum filters of
//! one-way delays as in NTP's clock filter (RFC 5905 §10).
//!
//! [`BEAT_PAUSE`]: crate::limits::BEAT_PAUSE

use core::error::Error;
use core::fmt;
use core::time::Duration;

use crate::time::Instant;

/// What a frame says of the time at which it is put into the output of an end that began for what
/// goes at `began`: milliseconds modulo 65536, rounded down. 0 if `now` is no later.
pub fn stamp(began: Instant, now: Instant) -> u16 {
    now.since(began).as_millis() as u16
}

/// The receiver's end of one connection, for what comes. See the module's page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameClock {
    began: Instant,
    age_max: Duration,
    /// The last frame's stamp, unwrapped.
    sent_ms: u64,
    /// The smallest difference so far, microseconds.
    smallest_us: i64,
}

/// Why a frame must not be acted upon, and its connection must be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untimely {
    /// It is too old: its age as far as is known.
    Stale(Duration),
    /// It was sent so much later than it can have been.
    FromFuture(Duration),
}

impl FrameClock {
    /// A connection's end that began at `began`: no later than this end sent what the other end
    /// had to read before it took its time 0. Frames older than `age_max` are refused.
    pub fn new(began: Instant, age_max: Duration) -> FrameClock {
        FrameClock { began, age_max, sent_ms: 0, smallest_us: 0 }
    }

    /// The next frame of the connection, which carries the stamp `sent_ms` and is read at `now`: a
    /// time not earlier than the last thing that this process did before. Its age, which is up to
    /// a millisecond too large by rounding.
    ///
    /// # Errors
    /// [`Untimely`] if it is older than the bound, or if that cannot be told any more.
    pub fn on_frame(&mut self, now: Instant, sent_ms: u16) -> Result<Duration, Untimely> {
        self.sent_ms += u64::from(sent_ms.wrapping_sub(self.sent_ms as u16));
        let received_us = now.since(self.began).as_micros() as i64;
        let difference_us = received_us - 1000 * self.sent_ms as i64;
        let apart = Duration::from_micros(difference_us.abs_diff(self.smallest_us));
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::StaleFrameTaken) {
            return Ok(apart);
        }
        if difference_us < self.smallest_us {
            if apart > self.age_max / 2 {
                return Err(Untimely::FromFuture(apart));
            }
            self.smallest_us = difference_us;
            return Ok(Duration::ZERO);
        }
        if apart > self.age_max { Err(Untimely::Stale(apart)) } else { Ok(apart) }
    }
}

impl fmt::Display for Untimely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untimely::Stale(age) => {
                write!(f, "a frame was sent {:.1} s ago", age.as_secs_f64())
            }
            Untimely::FromFuture(apart) => {
                write!(f, "a frame seems to be sent {:.1} s from now", apart.as_secs_f64())
            }
        }
    }
}

impl Error for Untimely {}

#[cfg(test)]
mod tests;
