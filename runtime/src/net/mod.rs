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
//!
//! ```
//! use ringmain_runtime::net::{Event, HotRing, HotRingConfig, Receive};
//! use std::io::{Read, Write};
//!
//! let mut ring = HotRing::new(HotRingConfig::default())?;
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! ring.listen(listener, 1)?;
//! let client = std::thread::spawn(move || {
//!     let mut client = std::net::TcpStream::connect(address)?;
//!     client.write_all(b"hello")?;
//!     let mut answer = [0; 5];
//!     client.read_exact(&mut answer).map(|()| answer)
//! });
//! let mut is_served = false;
//! while !is_served {
//!     ring.submit_and_wait(None)?;
//!     while let Some(event) = ring.next_event() {
//!         match event {
//!             Event::Accepted { socket, .. } => {
//!                 ring.adopt(socket, Receive::Stream).map_err(|(_, full)| full)?;
//!             }
//!             Event::Received { connection, bytes } => {
//!                 let bytes = bytes.to_vec();
//!                 ring.send(connection, bytes).map_err(|_| "it is gone")?;
//!             }
//!             Event::Ended { connection, .. } => ring.close(connection),
//!             Event::Closed { .. } => is_served = true,
//!             _ => {}
//!         }
//!     }
//! }
//! assert_eq!(&client.join().map_err(|_| "the client panicked")??, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
