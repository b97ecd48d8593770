//! What commands print for people and scripts.

use std::io::{self, Write};

use crate::failure::Failure;

/// Writes to stdout and flushes. A reader that went away is a failure, not a panic.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| {
        Failure::failed(format!("cannot write to stdout: {error}"), "check where it leads")
    })
}

/// Writes one line to stdout.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    print(format!("{line}\n").as_bytes())
}

/// Writes one line to stderr, if anyone takes it: there is nobody left to tell if not.
pub(crate) fn tell(line: &str) {
    let _lost = io::stderr().lock().write_all(format!("ringmain: {line}\n").as_bytes());
}
