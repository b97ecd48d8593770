//! The server of Ringmain: what moves the bytes that `ringmain-core` decides about.
#![deny(unsafe_code)]

pub mod client;
pub mod data_dir;
pub mod log_writer;
pub mod metrics;
pub mod settings;
pub mod session;
//! What moves Ringmain's bytes on Linux; `ringmain-core` decides, this crate does the I/O.
//!
//! [`log`](mod@log) is the exception: it keeps a shard's records and makes no file call, so the
//! simulator runs it unchanged on a simulated disk.
#![deny(unsafe_code)]

pub mod checksum;
pub mod log;
