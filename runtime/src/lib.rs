//! The server of Ringmain: what moves the bytes that `ringmain-core` decides about.
//!
//! [`log`](mod@log) and [`session`] make no system call, so the simulator and the tests run them
//! unchanged.
#![deny(unsafe_code)]

pub mod admission;
pub mod bodies;
pub mod checksum;
pub mod client;
pub mod data_dir;
mod driver;
pub mod log;
pub mod log_files;
pub mod log_writer;
pub mod mesh;
pub mod metrics;
pub mod net;
pub mod reshard;
pub mod session;
pub mod settings;
pub mod start;
pub mod sys;
pub mod waiting;
