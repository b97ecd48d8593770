//! Causality through the shipped encodings, against the exact model of causal histories.

mod histories;
mod laws;
mod vectors;
mod world;
