//! The only unsafe code of Ringmain: each type here is safe to use whatever its caller does.
//!
//! - [`Ring`]: an `io_uring`. It owns all that the kernel reads or writes for an operation, the
//!   memory and the descriptor, until the kernel said that it ended; so nothing a caller drops,
//!   closes or forgets can be touched behind its back. [`Buffers`] are what receives fill.
//! - [`Map`] and [`ZeroMap`]: files and zeros as slices; [`is_cached`] says whether one may block.
//!   What the disk does not give of a map is zeros (`bus`).
//! - [`SendBuffer`]: bytes to send, some of them lent by maps; [`Message`] is one being sent. No
//!   unsafe code but for the form in which the kernel reads it.
//! - [`prefetch`]: a hint to the CPU; [`short_crc32c`]: an instruction of it.
//! - [`Stops`]: SIGINT and SIGTERM as a value that a thread waits for.
//! - [`Parking`]: an eventfd that a glommio task awaits.
//! - [`probe`] and its neighbors: what the host must have, and what a process may ask of it.
#![allow(unsafe_code)]

mod buffers;
mod bus;
mod crc;
mod errno;
mod host;
mod map;
mod memory;
mod message;
mod operations;
mod parking;
mod prefetch;
mod queues;
mod ring;
mod send_buffer;
mod signals;
mod start;
#[cfg(test)]
pub(crate) mod tests;

pub use buffers::{BUFFER_COUNT_MAX, Buffers};
pub use crc::{SHORT_BYTES, short_crc32c};
pub use errno::Errno;
pub use host::{
    HostError, MEMLOCK_BYTES_MIN, RunDelay, cpus, keep_program_resident, memlock_limit, probe,
    raise_memlock, raise_nofile, register_membarrier, thread_cpu_time, thread_major_faults,
};
pub use map::{Map, ZeroMap, expect_random, is_cached};
pub use memory::{return_free_pages, return_large_buffers, usable_memory};
pub use message::Message;
pub use operations::{Handle, Lent, OperationId};
pub use parking::Parking;
pub use prefetch::prefetch;
pub use queues::Wait;
pub use ring::{Completion, Ring};
pub use send_buffer::{MapPart, Mark, SendBuffer};
pub use signals::{Stop, Stops};
