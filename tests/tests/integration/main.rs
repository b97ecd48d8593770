//! All integration tests, in one binary: one module per subject.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "all of this binary is tests")]

mod anti_entropy;
mod backups;
mod bench;
mod causality;
mod cli;
mod cluster;
mod crowd;
mod damage;
mod demo;
mod expiry;
mod faults;
mod full_disk;
mod growing;
mod guide;
mod handoff;
mod kills;
mod lent;
mod liveness;
mod log_tool;
mod metrics;
mod models;
mod obstacles;
mod operator;
mod reaping;
mod reshard;
mod resp_clients;
mod routed;
mod scan;
mod scrub;
mod seeds;
mod soak;
mod stopped;
mod tidy;
mod topology;
mod upgrade;
