//! What a shard takes on: how much of its time background work gets. Source: Dynamo §6.5.

mod share;

pub use share::{SLOW, Share, WINDOW};
