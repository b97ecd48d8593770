//! The simulator of Ringmain and its checkers.
#![forbid(unsafe_code)]

pub mod sim;
