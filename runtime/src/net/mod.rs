//! The hot ring: all sockets, files and wake-ups of one shard, on one `io_uring`.
//!
//! A shard blocks in one place only, [`HotRing::submit_and_wait`], and everything that concerns it
//! comes out of [`HotRing::next_event`]: accepted sockets, received bytes, sent and written
//! buffers, doorbells of other threads. A connection lives like this:
//!
//! ```text
//!  listen -> Accepted -> adopt(First) -> Received -> resume_receive | hand_over -> adopt elsewhere
//!                        adopt(Stream) \
//!  connect -> Connected ----------------> Received*, Sent* -> Ended -> close -> Closed
//! ```
//!
//! Invariants: a [`ConnectionId`] names one connection for ever, so what comes late for a slot that
//! was used again is dropped. Memory and descriptors stay the ring's until the kernel let go of
//! them. Everything is bounded by [`HotRingConfig`]; what is full is refused and given back.
//! Nothing that the kernel or a peer says is a panic.

mod config;
mod connection;
mod doorbell;
mod event;
mod file;
mod listener;
mod park;
mod ring;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{HotRingConfig, RingError};
pub use connection::{ConnectionId, Receive};
pub use doorbell::Doorbell;
pub use event::{Ending, Event};
pub use file::Full;
pub use park::executor;
pub use ring::{Counts, HotRing};
