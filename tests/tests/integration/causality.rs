//! Causality through the shipped encodings, against the exact model of causal histories.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which may")]

mod histories;
mod laws;
mod vectors;
mod world;
