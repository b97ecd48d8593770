//! What a session does not do, and says so: what is no command, what is no RESP, and what its
//! shard has no memory for.

use super::command::Name;
use super::encode;
use super::parse::{self, ProtocolError, Stop};
use super::{RespSession, Skip};

/// Instead of a command whose end has not come.
const NO_ROOM: &[u8] = b"BUSY no memory for a long command, try again";

impl RespSession {
    /// Refuses the long command that `bytes` begin: what has come of it is done with, and the rest
    /// is skipped as it comes. `None` if nothing that is read can be given up: its lengths have
    /// not come.
    #[cold]
    pub(super) fn shed(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.skip != Skip::default() || !self.typed.is_empty() {
            return None;
        }
        if let Some(multi) = self.multi {
            // Keys are short: it is the value behind one.
            let at = parse::bulk(bytes, 0, self.limits.key_bytes_max).ok()?.1;
            let (body, bytes) = begun(bytes, at)?;
            self.skip = Skip { arguments: 0, bytes };
            self.fail_member(multi, |out| encode::error(out, &[NO_ROOM]));
            return Some(body);
        }
        if bytes.first() != Some(&b'*') {
            return None;
        }
        let (count, mut at) = parse::count(bytes).ok()?;
        for index in 0..count {
            if let Ok((_, next)) = parse::bulk(bytes, at, usize::MAX) {
                at = next;
                continue;
            }
            let (arguments, (body, bytes)) = match begun(bytes, at) {
                Some(begun) => (count - index - 1, begun),
                None => (count - index, (at, 0)),
            };
            self.skip = Skip { arguments, bytes };
            self.reply(|out| encode::error(out, &[NO_ROOM]));
            return Some(body);
        }
        None
    }

    #[cold]
    pub(super) fn unknown(&mut self, name: &[u8]) {
        // What a browser says first, when a page makes it talk to this port.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            self.closing = true;
            return;
        }
        self.reply(|out| encode::error(out, &[b"ERR unknown command '", name, b"'"]));
    }

    #[cold]
    pub(super) fn wrong_count(&mut self, command: Name, count: usize) {
        let entry = command.entry();
        if entry.options && count > entry.count_max {
            return self.reply(|out| encode::error(out, &[encode::SYNTAX]));
        }
        self.reply(|out| encode::wrong_count(out, entry.name));
    }

    /// Answers bytes that are not RESP; nothing is read behind them.
    #[cold]
    pub(super) fn refuse(&mut self, error: ProtocolError) {
        self.closing = true;
        match self.multi {
            // Its reply will never be whole: the error takes its place.
            Some(multi) => self.fail_member(multi.cut_short(), |out| error.write(out)),
            None => self.reply(|out| error.write(out)),
        }
    }
}

/// Where the body of the argument at `at` begins, and how long it is with its line end, if its
/// length has come.
fn begun(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match parse::bulk(bytes, at, 0) {
        Err(Stop::Long { body, bytes }) => Some((body, bytes)),
        _ => None,
    }
}
