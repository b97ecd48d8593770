//! The simulator of Ringmain, its checkers, and real processes for the integration tests.
#![forbid(unsafe_code)]

pub mod crowd;
pub mod process;
pub mod sim;
pub mod stored;
