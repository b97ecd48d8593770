//! All integration tests, in one binary: one module per subject.
#![forbid(unsafe_code)]

mod causality;
