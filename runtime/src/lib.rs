//! The server of Ringmain: what moves the bytes that `ringmain-core` decides about.
#![deny(unsafe_code)]

pub mod client;
pub mod data_dir;
pub mod log_writer;
pub mod metrics;
pub mod settings;
pub mod session;
