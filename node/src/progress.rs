//! How far something is that people wait for, on stderr: a bar on a terminal, else a line from time
//! to time.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::tell;

/// Pause between two lines where they stay.
const LINE_PAUSE: Duration = Duration::from_secs(5);
/// What was done in less time says little about the rest.
const ESTIMATE_AFTER: Duration = Duration::from_secs(2);
/// Cells of the bar.
const BAR_CELLS: u64 = 30;

/// See the module.
pub(crate) struct Progress {
    /// What is waited for.
    task: &'static str,
    /// What is counted.
    unit: &'static str,
    is_terminal: bool,
    begun: Instant,
    next_line: Instant,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(task: &'static str, unit: &'static str) -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        let begun = Instant::now();
        let next_line = begun + LINE_PAUSE;
        Progress { task, unit, is_terminal, begun, next_line, is_shown: false }
    }

    /// `done` of `all` are.
    pub(crate) fn show(&mut self, done: u64, all: u64) {
        let parts = |of: u64| (done * of).checked_div(all).unwrap_or(0).min(of);
        let percent = parts(100);
        let estimate = estimate(self.begun.elapsed(), done, all);
        if self.is_terminal {
            let done = parts(BAR_CELLS) as usize;
            let rest = BAR_CELLS as usize - done;
            let (done, rest) = ("#".repeat(done), "-".repeat(rest));
            let bar =
                format!("\r[{done}{rest}] {percent:3} % of {all} {}{estimate}\x1b[K", self.unit);
            // Whoever does not see it loses nothing.
            let _lost = std::io::stderr().lock().write_all(bar.as_bytes());
            self.is_shown = true;
        } else if Instant::now() >= self.next_line {
            tell(&format!("{}: {percent} % of {all} {}{estimate}", self.task, self.unit));
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

/// How long the rest takes if it goes on as fast; nothing as long as that says little.
fn estimate(passed: Duration, done: u64, all: u64) -> String {
    if done == 0 || done >= all || passed < ESTIMATE_AFTER {
        return String::new();
    }
    let seconds = passed.as_secs_f64() * (all - done) as f64 / done as f64;
    format!(", about {} s left", seconds.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_its_share_of_the_time() {
        let after = |seconds, done, all| estimate(Duration::from_secs(seconds), done, all);
        assert_eq!(after(10, 25, 100), ", about 30 s left");
        for (seconds, done, all) in [(10, 0, 100), (10, 100, 100), (0, 50, 100), (10, 0, 0)] {
            assert_eq!(after(seconds, done, all), "");
        }
    }
}
