//! Client connections as pure code: bytes in, single-key requests out; answers in, bytes out.
//!
//! A session owns no socket and reads no clock. The driver gives it what arrived and an
//! implementation of [`Requests`](request::Requests), and sends what it answers.
//!
//! Invariant: memory of a session grows with what arrived, never with what was announced.

pub mod native;
pub mod request;
pub mod resp;
