//! How far something is that people wait for, on stderr: a bar on a terminal, else a line from time
//! to time.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::tell;

/// Pause between two lines where they stay.
const LINE_PAUSE: Duration = Duration::from_secs(5);
/// Cells of the bar.
const BAR_CELLS: u64 = 30;

/// See the module.
pub(crate) struct Progress {
    /// What is waited for.
    task: &'static str,
    /// What is counted.
    unit: &'static str,
    is_terminal: bool,
    next_line: Instant,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(task: &'static str, unit: &'static str) -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        let next_line = Instant::now() + LINE_PAUSE;
        Progress { task, unit, is_terminal, next_line, is_shown: false }
    }

    /// `done` of `all` are.
    pub(crate) fn show(&mut self, done: u64, all: u64) {
        let parts = |of: u64| (done * of).checked_div(all).unwrap_or(0).min(of);
        let percent = parts(100);
        if self.is_terminal {
            let done = parts(BAR_CELLS) as usize;
            let rest = BAR_CELLS as usize - done;
            let (done, rest) = ("#".repeat(done), "-".repeat(rest));
            let bar = format!("\r[{done}{rest}] {percent:3} % of {all} {}", self.unit);
            // Whoever does not see it loses nothing.
            let _lost = std::io::stderr().lock().write_all(bar.as_bytes());
            self.is_shown = true;
        } else if Instant::now() >= self.next_line {
            tell(&format!("{}: {percent} % of {all} {}", self.task, self.unit));
            self.next_line = Instant::now() + LINE_PAUSE;
        }
    }

    /// Leaves the bar's line.
    pub(crate) fn end(&self) {
        if self.is_shown {
            let _lost = std::io::stderr().lock().write_all(b"\n");
        }
    }
}
