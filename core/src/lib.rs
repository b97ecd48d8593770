//! The protocol of Ringmain, a Dynamo-style key-value store: always writeable, no leader, conflicts
//! kept and handed to the application.
//!
//! Everything here decides and nothing here does: no sockets, files, clocks, threads, allocation.
//! Two machines, [`shard::Shard`] for requests and records and [`node::Node`] for membership, take
//! inputs and time and give outputs; [`drive::Turn`] is the loop body around a `Shard` that any
//! runtime can use. The server and the simulator of Ringmain drive the same code.
//!
//! | you want to know | look at |
//! |---|---|
//! | how a put and a get are decided | [`shard`], [`request`], [`quorum`] |
//! | which node owns a key | [`hash`], [`ring`], [`membership`] |
//! | how versions and conflicts are told apart | [`causality`], [`records`] |
//! | how hints go home | [`handoff`] |
//! | what travels and what lies on disk | [`wire`] |
//! | how replicas find what they differ in | [`exchange`], [`merkle`] |
//! | every bound | [`limits`] |
//!
//! To drive it from another runtime, lend a store, connections and some memory, as here:
//!
//! ```
#![doc = include_str!("../examples/three_nodes.rs")]
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod causality;
pub mod checksum;
pub mod drive;
pub mod exchange;
pub mod handoff;
pub mod hash;
mod health;
pub mod id;
pub mod limits;
pub mod membership;
pub mod merkle;
pub mod node;
pub mod pace;
#[cfg(feature = "plant")]
pub mod plant;
pub mod prng;
pub mod quorum;
pub mod records;
mod replica;
pub mod request;
pub mod ring;
pub mod scan;
pub mod shard;
pub mod survey;
pub mod time;
pub mod wire;

pub use replica::Unsynced;
