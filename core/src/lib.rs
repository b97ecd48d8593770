//! The protocol of Ringmain, a Dynamo-style key-value store, as state machines without I/O.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod causality;
pub mod hash;
pub mod id;
pub mod limits;
pub mod membership;
pub mod prng;
pub mod ring;
pub mod time;
pub mod wire;
