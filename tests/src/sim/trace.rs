//! What happened in a run: always as a hash, so that two runs can be compared, and as text
//! when a violation is to be explained (the seed is run again for that).

use std::fmt::{self, Write};

use ringmain_core::time::Instant;

/// The trace of one run.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    line: String,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; `verbose` keeps the lines, otherwise only their hash remains.
    pub(super) fn new(verbose: bool) -> Trace {
        let lines = verbose.then(Vec::new);
        Trace { hash: 0xcbf2_9ce4_8422_2325, line: String::new(), lines }
    }

    /// Notes that something happened.
    pub(super) fn note(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        self.line.clear();
        let micros = now.0;
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        write!(self.line, "{seconds:>4}.{rest:06} {what}").expect("writing to a String");
        self.hash = mix(self.hash, self.line.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    /// A number that equal runs share, and different runs all but surely do not.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, oldest first; none unless verbose.
    pub(super) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// FNV-1a by eight bytes, with a shift that lets high bits reach low ones.
fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 32;
    }
    (hash ^ bytes.len() as u64).wrapping_mul(0x0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_line_and_not_on_verbosity() {
        let run = |verbose, text: &str| {
            let mut trace = Trace::new(verbose);
            trace.note(Instant(1), format_args!("{text}"));
            trace.note(Instant(2_000_003), format_args!("end"));
            (trace.hash(), trace.lines().len())
        };
        assert_eq!(run(true, "a").0, run(false, "a").0);
        assert_ne!(run(true, "a").0, run(true, "b").0);
        assert_eq!((run(true, "a").1, run(false, "a").1), (2, 0));
    }
}
