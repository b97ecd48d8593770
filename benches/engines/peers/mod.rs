//! The stores ours is compared with, one module each: their own calls, nothing around them.

pub(crate) mod fjall;
pub(crate) mod redb;
#[cfg(feature = "rocksdb")]
pub(crate) mod rocksdb;
pub(crate) mod sled;
