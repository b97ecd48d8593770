//! RESP2 and RESP3: what Redis clients speak.
//!
//! The problem: replies leave in request order while answers come in any order, commands of one
//! connection on one key take effect in order, and nothing that a client announces may cost
//! memory. The answer: parse in the caller's buffer; submit single-key requests; hold replies
//! that come early in a bounded ring of slots.
//!
//! - A command is read whole and then done, but for commands of many keys: those are submitted
//!   key by key as they arrive. So the caller buffers at most one value, one key and a few small
//!   arguments. When such a command breaks off, its first keys have been written.
//! - An argument over its limit is refused when its length is read, and skipped as it streams.
//! - A command on a key with an earlier request pending stops the parsing of its connection,
//!   unless both only read, or the driver orders them
//!   ([`LaterInOrder`](super::request::Submitted::LaterInOrder)).
//! - SCAN and DBSIZE wait for all earlier replies, and everything behind them waits for theirs.
//! - Parsing also stops with 64 replies waiting for their turn, and at [`OUTPUT_BYTES_MAX`] of
//!   output, or of replies that wait or are known to come; or earlier, if the shard has little
//!   memory ([`Room`]). Then a long command that is not whole is refused, too (`BUSY`).
//!
//! Invariants: what a transcript answers does not depend on how it was cut; a session that says
//! [`Next::Wait`] has an answer to come or output to be taken.

mod ahead;
mod answer;
mod command;
mod connection;
mod context;
mod encode;
mod expiry;
mod glob;
mod inline;
mod keyed;
mod memory;
mod multi;
mod parse;
mod refuse;
mod scan;
mod slots;
#[cfg(test)]
mod tests;

pub(crate) use ahead::lone_key;

use ringmain_core::drive::{Answer, Command};

use answer::{Group, Member, Shape};
use command::{FIXED_COUNT_MAX, Kind, Name};
use multi::Multi;
use parse::Stop;
use scan::Walk;
use slots::{Effect, Form, Slots};

use super::request::{Lend, Requests, Room, Submitted, Ticket, copied};
use crate::sys::SendBuffer;

/// Output above this stops a connection's parsing, bytes.
pub const OUTPUT_BYTES_MAX: usize = 256 << 10;

/// What a session refuses, and with which error the connection goes on (`TOOLARGE`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Longest key, bytes.
    pub key_bytes_max: usize,
    /// Longest value, bytes.
    pub value_bytes_max: usize,
    /// Longest reply to a command of many keys, bytes.
    pub reply_bytes_max: usize,
}

/// What came of the bytes that a session was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// So many bytes are done with. The caller keeps the rest and gives it again.
    pub consumed: usize,
    /// What it takes to go on.
    pub next: Next,
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// More bytes: nothing happens before the rest is so many bytes long, so a caller may size
    /// its buffer by it, but should grow it with what arrives. At most one value and one key
    /// and the other arguments of one command.
    Bytes(usize),
    /// An answer, or that output is taken: then give the same rest again.
    Wait,
    /// Nothing: what else arrives is of no use. To be closed once nothing is pending and all
    /// output was sent.
    Close,
}

/// One client connection on the RESP port.
#[derive(Debug)]
pub struct RespSession {
    connection: u32,
    limits: Limits,
    /// Replies in order; the last ones may belong to an unfinished group.
    out: SendBuffer,
    group: Group,
    slots: Slots,
    resp3: bool,
    closing: bool,
    /// What is skipped before anything else is read.
    skip: Skip,
    /// The command of several keys that is being read.
    multi: Option<Multi>,
    /// The SCAN or DBSIZE that was read last, if it has not ended.
    walk: Option<Box<Walk>>,
    /// Typed commands, translated, from `typed_at` on.
    typed: Vec<u8>,
    typed_at: usize,
    /// So many unconsumed bytes hold no line feed.
    scanned: usize,
    /// The last context token, decoded.
    token: Vec<u8>,
    name: Vec<u8>,
}

/// The rest of a refused command.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Skip {
    /// Whole arguments, behind the bytes.
    arguments: usize,
    /// Bytes of an argument that has begun.
    bytes: usize,
}

/// Longest command name that is read and shown in an error, bytes, as in Redis.
const NAME_BYTES_MAX: usize = 128;
/// Memory for typed commands above this is given back, bytes.
const TYPED_CAPACITY_MAX: usize = 4 << 10;

impl RespSession {
    /// A new connection, which speaks RESP2. `connection` comes back in its tickets and is what
    /// CLIENT ID shows: never reuse one while answers to an older connection may still come.
    pub fn new(connection: u32, limits: Limits) -> RespSession {
        RespSession {
            connection,
            limits,
            out: SendBuffer::default(),
            group: Group::default(),
            slots: Slots::default(),
            resp3: false,
            closing: false,
            skip: Skip::default(),
            multi: None,
            walk: None,
            typed: Vec::new(),
            typed_at: 0,
            scanned: 0,
            token: Vec::new(),
            name: Vec::new(),
        }
    }

    /// Reads `bytes`: the rest that the last call left, with whatever arrived since behind it.
    /// Submits requests, and goes on until a command is incomplete or the session is full.
    pub fn receive<R: Requests>(&mut self, bytes: &[u8], requests: &mut R) -> Progress {
        let (mut consumed, mut ahead) = (0, 0);
        let room = requests.room();
        let next = loop {
            if self.closing {
                consumed = bytes.len();
                break Next::Close;
            }
            if !self.has_room(room) || !self.go_on_walking(requests) {
                break Next::Wait;
            }
            if consumed >= ahead {
                ahead = consumed + self.look_ahead(&bytes[consumed..], requests);
            }
            match self.step(&bytes[consumed..], requests) {
                Ok(bytes) => consumed += bytes,
                Err(Stop::Need(needed)) => {
                    let is_long = needed > room.command_bytes_max;
                    match is_long.then(|| self.shed(&bytes[consumed..])).flatten() {
                        Some(bytes) => {
                            requests.note_shed();
                            consumed += bytes;
                        }
                        None => break Next::Bytes(needed),
                    }
                }
                Err(Stop::Wait) => break Next::Wait,
                Err(Stop::Bad(error)) => self.refuse(error),
                Err(Stop::Long { .. }) => unreachable!("each step answers for its arguments"),
            }
        };
        if next == Next::Wait {
            assert!(self.slots.pending() > 0 || self.output_bytes() > 0);
        }
        Progress { consumed, next }
    }

    /// Takes the answer to a request. False: nothing waits for it, and it was ignored. After a
    /// true, parsing that was stopped may go on.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer<'_>) -> bool {
        assert_eq!(ticket.connection, self.connection);
        let number = ticket.operation;
        let Some((form, at_head)) = self.slots.form(number) else {
            return false;
        };
        if form.shape == Shape::Page {
            if let Some(walk) = &mut self.walk {
                walk.take(number, &answer);
            }
            self.slots.done(number, |_| {});
            self.release();
            return true;
        }
        if !at_head {
            let mut bytes = 0;
            self.slots.done(number, |slot| {
                slot.outcome = answer::write(&mut slot.held, form, &answer, &copied);
                bytes = slot.held.bytes();
            });
            self.slots.learn(bytes);
            return true;
        }
        let before = self.out.bytes();
        self.write_head(form, &answer, &copied);
        self.slots.learn(self.out.bytes().saturating_sub(before));
        self.slots.done(number, |_| {});
        self.slots.pop();
        self.release();
        true
    }

    /// Bytes that may be sent now.
    #[inline]
    pub fn output_bytes(&self) -> usize {
        self.group.released(&self.out).bytes()
    }

    /// Takes all bytes that may be sent, in exchange for an empty buffer to go on with.
    ///
    /// # Panics
    /// If `buffer` is not empty.
    pub fn take_output(&mut self, buffer: &mut SendBuffer) {
        assert!(buffer.is_empty());
        let end = self.group.released(&self.out);
        std::mem::swap(&mut self.out, buffer);
        buffer.split_to(end, &mut self.out);
        self.group.output_taken(end);
    }

    /// Whether a command was taken in that has not been done and waits for no answer: then
    /// `receive` has something to do without more bytes.
    pub fn has_begun(&self) -> bool {
        match &self.walk {
            Some(walk) => walk.is_ready(),
            None => !self.typed.is_empty(),
        }
    }

    /// Requests whose answer is still to come.
    pub fn pending(&self) -> u32 {
        self.slots.pending()
    }

    /// The name that the client gave itself; empty without one.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// One more reply fits, and the output is not over its bound.
    #[inline]
    fn has_room(&self, room: Room) -> bool {
        !self.slots.is_full()
            && self.output_bytes() < room.output_bytes_max
            && self.slots.bytes() < room.output_bytes_max
    }

    /// Reads one command, one key of a command, or what is skipped. Writes at most one reply.
    #[inline]
    fn step<R: Requests>(&mut self, bytes: &[u8], requests: &mut R) -> Result<usize, Stop> {
        if self.typed.is_empty() {
            return self.read(bytes, requests);
        }
        let typed = std::mem::take(&mut self.typed);
        let result = self.read(&typed[self.typed_at..], requests);
        self.typed = typed;
        self.typed_at += result?;
        if self.typed_at == self.typed.len() {
            self.typed_at = 0;
            self.typed.clear();
            self.typed.shrink_to(TYPED_CAPACITY_MAX);
        }
        Ok(0)
    }

    #[inline]
    fn read<R: Requests>(&mut self, bytes: &[u8], requests: &mut R) -> Result<usize, Stop> {
        let Some(&first) = bytes.first() else {
            return Err(Stop::Need(1));
        };
        if self.skip != Skip::default() {
            return self.skip(bytes);
        }
        if let Some(multi) = self.multi {
            return self.member(multi, bytes, requests);
        }
        if first == b'*' {
            return self.command(bytes, requests);
        }
        self.line(bytes)
    }

    #[inline]
    fn command<R: Requests>(&mut self, bytes: &[u8], requests: &mut R) -> Result<usize, Stop> {
        let (count, at) = parse::count(bytes)?;
        if count == 0 {
            return Ok(at);
        }
        let (name, at) = match parse::bulk(bytes, at, NAME_BYTES_MAX) {
            Err(Stop::Long { body, bytes }) => {
                self.reply(|out| encode::error(out, &[b"ERR unknown command of too many bytes"]));
                self.skip = Skip { arguments: count - 1, bytes };
                return Ok(body);
            }
            read => read?,
        };
        let Some(command) = Name::of(name) else {
            self.unknown(name);
            self.skip.arguments = count - 1;
            return Ok(at);
        };
        match (command, count) {
            (Name::Get, 2) => return self.get(bytes, at, requests),
            (Name::Set, 3) => return self.set(bytes, at, requests),
            _ => {}
        }
        let entry = command.entry();
        if !entry.accepts(count) {
            self.wrong_count(command, count);
            self.skip.arguments = count - 1;
            return Ok(at);
        }
        match entry.kind {
            Kind::Connection | Kind::Keyed | Kind::Walk => {
                self.fixed(command, count, bytes, at, requests)
            }
            Kind::Multi => {
                self.multi = Some(Multi::new(command, count, self.resp3));
                Ok(at)
            }
        }
    }

    /// A command that is read whole; its name ends at `at`.
    fn fixed<R: Requests>(
        &mut self,
        command: Name,
        count: usize,
        bytes: &[u8],
        mut at: usize,
        requests: &mut R,
    ) -> Result<usize, Stop> {
        let mut arguments: [&[u8]; FIXED_COUNT_MAX] = [&[]; FIXED_COUNT_MAX];
        for (index, argument) in arguments[..count].iter_mut().enumerate().skip(1) {
            let bytes_max = command.argument_bytes_max(index, &self.limits);
            match parse::bulk(bytes, at, bytes_max) {
                Ok((read, next)) => (*argument, at) = (read, next),
                Err(Stop::Long { body, bytes }) => {
                    self.reply(|out| command.write_too_long(index, out));
                    self.skip = Skip { arguments: count - index - 1, bytes };
                    return Ok(body);
                }
                Err(stop) => return Err(stop),
            }
        }
        match command.entry().kind {
            Kind::Keyed => self.keyed(command, &arguments[..count], requests)?,
            Kind::Walk => self.walk(command, &arguments[..count], requests)?,
            _ => self.converse(command, &arguments[..count], requests),
        }
        Ok(at)
    }

    /// A line that someone typed.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        match inline::line_end(bytes, self.scanned) {
            Ok(end) => {
                self.scanned = 0;
                inline::translate(&bytes[..end], &mut self.typed).map_err(Stop::Bad)?;
                Ok(end)
            }
            Err(stop) => {
                self.scanned = bytes.len();
                Err(stop)
            }
        }
    }

    fn skip(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        if self.skip.bytes > 0 {
            let skipped = self.skip.bytes.min(bytes.len());
            self.skip.bytes -= skipped;
            return Ok(skipped);
        }
        let end = match parse::bulk(bytes, 0, 0) {
            Ok((_, end)) => end,
            Err(Stop::Long { body, bytes }) => {
                self.skip.bytes = bytes;
                body
            }
            Err(stop) => return Err(stop),
        };
        self.skip.arguments -= 1;
        Ok(end)
    }

    /// Submits a request, whose answer is its reply or a part of it.
    #[inline]
    fn submit<R: Requests>(
        &mut self,
        requests: &mut R,
        key: &[u8],
        command: Command<'_>,
        form: Form,
    ) -> Result<(), Stop> {
        if self.slots.orders_keys() && self.slots.must_wait(Effect::of(key, &command)) {
            return Err(Stop::Wait);
        }
        let ticket = Ticket { connection: self.connection, operation: self.slots.next() };
        let mut answered = false;
        let submitted = requests.submit(ticket, key, command, &mut |answer, lend| {
            assert!(!answered);
            answered = true;
            self.place(form, &answer, lend);
        });
        assert_eq!(answered, submitted == Submitted::Done);
        match submitted {
            Submitted::Done => {}
            Submitted::Later { bytes } => {
                let effect = Effect::of(key, &command);
                let is_known = bytes > 0 || effect.writes;
                let expected = if is_known { bytes } else { self.slots.typical() };
                self.slots.push_pending(form, Some(effect), expected);
            }
            Submitted::LaterInOrder => self.slots.push_pending(form, None, 0),
        }
        Ok(())
    }

    /// A reply that is there at once, at the end of the connection's replies.
    #[inline]
    fn place(&mut self, form: Form, answer: &Answer<'_>, lend: &Lend<'_>) {
        if self.slots.is_empty() {
            return self.write_head(form, answer, lend);
        }
        self.slots.push_done(form.member, |slot| {
            slot.outcome = answer::write(&mut slot.held, form, answer, lend);
        });
    }

    /// A reply whose turn it is.
    #[inline]
    fn write_head(&mut self, form: Form, answer: &Answer<'_>, lend: &Lend<'_>) {
        match form.member.group {
            None => {
                answer::write(&mut self.out, form, answer, lend);
            }
            Some(_) => {
                let bytes_max = self.limits.reply_bytes_max;
                self.group.put(&mut self.out, form.member, bytes_max, |out| {
                    answer::write(out, form, answer, lend)
                });
            }
        }
    }

    /// Puts the replies whose turn has come into the output.
    fn release(&mut self) {
        while let Some((slot, member)) = self.slots.head() {
            let bytes_max = self.limits.reply_bytes_max;
            match member.group {
                None => self.out.append(&slot.held),
                Some(_) => self.group.put(&mut self.out, member, bytes_max, |out| {
                    out.append(&slot.held);
                    slot.outcome
                }),
            }
            self.slots.pop();
        }
    }

    /// A reply that needs no request.
    fn reply(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.slots.is_empty() {
            assert!(!self.group.is_open());
            return write(self.out.tail());
        }
        self.slots.push_done(Member::default(), |slot| write(slot.held.tail()));
    }
}
