//! What every payload type can do: say its length, then write itself into lent bytes.

use core::error::Error;
use core::fmt;

/// A payload that can be written.
pub trait Payload {
    /// How many bytes it takes, exactly. O(1) unless the type says otherwise.
    fn bytes(&self) -> usize;

    /// Writes all of it.
    ///
    /// # Panics
    /// If `out` is not [`bytes`](Payload::bytes) long, or the value breaks a rule that its
    /// `new_checked` would refuse.
    fn write(&self, out: &mut [u8]);
}

/// Bytes that are a payload already, such as a Record v1.
impl Payload for &[u8] {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn write(&self, out: &mut [u8]) {
        out.copy_from_slice(self);
    }
}

/// A payload that breaks the rules of its op.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload is malformed")
    }
}

impl Error for Malformed {}
