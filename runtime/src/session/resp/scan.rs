//! SCAN and DBSIZE: commands that walk partitions, page by page.
//!
//! The problem: one page is of one partition, and a small data set lies in a thousand of them; yet
//! what is asked ahead and not needed is work for nothing, and neither may a client cost memory.
//! The answer: pages are asked for in batches, of more partitions the fewer keys the ones before
//! had, and used in their order up to the first that does not end its partition; the rest is left
//! to the next cursor. A command asks for so many pages at most, and takes so long, then it answers
//! with what it has.
//!
//! Invariant: a walk begins when all earlier replies of its connection are written, and nothing
//! else is read until it has ended, so a connection has one at most.

use super::RespSession;
use super::answer::{Failed, Member, NO_RING, Shape, ended};
use super::command::Name;
use super::encode;
use super::glob;
use super::parse::{self, Stop, word, word_of};
use super::slots::Form;
use crate::session::request::{Requests, Submitted, Ticket};
use ringmain_core::drive::{Answer, Command};
use ringmain_core::limits::{
    DBSIZE_WINDOW, SCAN_ASKED_COUNT_MAX, SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX, SCAN_PAGE_COUNT_MAX,
    SCAN_PATTERN_BYTES_MAX, SCAN_REPLY_BYTES, SCAN_TIME, SCAN_WINDOW,
};
use ringmain_core::scan::Position;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::reply::Status;
use ringmain_core::wire::scan::{ScanRequest, Scanned};
use std::borrow::Cow;

/// A SCAN or a DBSIZE under way.
#[derive(Debug)]
pub(super) struct Walk {
    kind: Kind,
    partition_bits: u32,
    /// Where the command began.
    begin: Position,
    /// All before it is done; none: all is.
    next: Option<Position>,
    /// The pages that were asked for last, in their order.
    batch: Vec<Part>,
    /// Pages that were asked for so far.
    asked: u32,
    /// What the clock showed when it began: only how much comes at once depends on it.
    since: UnixMs,
}

#[derive(Debug)]
enum Kind {
    Keys(Keys),
    /// How many there are so far.
    Count(u64),
}

/// What a SCAN has found.
#[derive(Debug)]
struct Keys {
    filter: Filter,
    /// COUNT: so many are enough.
    wanted: u64,
    /// Keys that were looked at, shown or not.
    looked: u64,
    shown: usize,
    /// Those that are shown, as bulk strings.
    bulks: Vec<u8>,
}

/// Which keys a SCAN shows.
#[derive(Debug)]
struct Filter {
    /// MATCH.
    pattern: Option<Vec<u8>>,
    /// TYPE is another one than all values have.
    hides_all: bool,
}

/// A page that was asked for.
#[derive(Debug)]
struct Part {
    /// The number of its request.
    operation: u32,
    position: Position,
    page: Option<Result<Found, Failed>>,
}

/// What a page brought.
#[derive(Debug)]
struct Found {
    scanned: Scanned,
    looked: u64,
    shown: usize,
    bulks: Vec<u8>,
}

impl Filter {
    fn shows(&self, key: &[u8]) -> bool {
        let matches = |pattern: &Vec<u8>| glob::matches_exactly(pattern, key);
        !self.hides_all && self.pattern.as_ref().is_none_or(matches)
    }
}

impl Found {
    fn of(answer: &Answer<'_>, kind: &Kind) -> Result<Found, Failed> {
        ended(answer)?;
        let malformed = Failed { status: Status::Malformed, needed: 0, got: 0 };
        let Answer::Remote(reply) = answer else { return Err(malformed) };
        let scanned = Scanned::new_checked(reply.context).map_err(|_| malformed)?;
        let mut found = Found { scanned, looked: 0, shown: 0, bulks: Vec::new() };
        let Kind::Keys(Keys { filter, .. }) = kind else { return Ok(found) };
        for key in reply.siblings() {
            found.looked += 1;
            if filter.shows(key.value) {
                found.shown += 1;
                encode::bulk(&mut found.bulks, key.value);
            }
        }
        Ok(found)
    }
}

impl Walk {
    /// Memory that it uses, bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let keys = match &self.kind {
            Kind::Keys(Keys { filter: Filter { pattern, .. }, bulks, .. }) => {
                pattern.as_ref().map_or(0, Vec::capacity) + bulks.capacity()
            }
            Kind::Count(_) => 0,
        };
        let found = self.batch.iter().filter_map(|part| part.page.as_ref()?.as_ref().ok());
        let parts = self.batch.capacity() * size_of::<Part>();
        keys + parts + found.map(|found| found.bulks.capacity()).sum::<usize>()
    }

    /// Takes the answer to the request of that number.
    pub(super) fn take(&mut self, operation: u32, answer: &Answer<'_>) {
        let mut parts = self.batch.iter_mut();
        let part = parts.find(|part| part.operation == operation && part.page.is_none());
        if let Some(part) = part {
            part.page = Some(Found::of(answer, &self.kind));
        }
    }

    /// Whether it goes on without another answer.
    pub(super) fn is_ready(&self) -> bool {
        self.batch.iter().all(|part| part.page.is_some())
    }

    /// Uses what the last batch brought, in its order: up to the first page that does not end its
    /// partition, or with which there is enough. An error only if there is nothing before it.
    fn use_batch(&mut self) -> Result<(), Failed> {
        for part in std::mem::take(&mut self.batch) {
            let found = match part.page.expect("all have been answered") {
                Ok(found) => found,
                Err(failed) => {
                    let has_moved = self.next != Some(self.begin);
                    let is_scan = matches!(self.kind, Kind::Keys(_));
                    self.asked = SCAN_ASKED_COUNT_MAX;
                    return if is_scan && has_moved { Ok(()) } else { Err(failed) };
                }
            };
            self.next = part.position.behind(found.scanned.last, self.partition_bits);
            match &mut self.kind {
                Kind::Count(count) => *count += found.scanned.keys,
                Kind::Keys(keys) => {
                    keys.looked += found.looked;
                    keys.shown += found.shown;
                    keys.bulks.extend_from_slice(&found.bulks);
                    if found.scanned.last != u64::MAX || keys.is_enough() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// How many pages are asked for now: as many as there should be keys in that are still wanted,
    /// but no more than twice as many as were asked for so far. 0: it has ended.
    fn batch_count(&self, now: UnixMs) -> usize {
        let Kind::Keys(keys) = &self.kind else { return DBSIZE_WINDOW };
        let is_late = u128::from(now.0.saturating_sub(self.since.0)) >= SCAN_TIME.as_millis();
        let left = SCAN_ASKED_COUNT_MAX.saturating_sub(self.asked);
        if keys.is_enough() || left == 0 || is_late && self.asked > 0 {
            return 0;
        }
        let expected = (keys.wanted - keys.looked)
            .saturating_mul(self.asked.into())
            .checked_div(keys.looked)
            .unwrap_or(u64::MAX);
        let most = (2 * self.asked).min(left).clamp(1, SCAN_WINDOW as u32);
        (expected.clamp(1, most.into())) as usize
    }

    /// The next batch of pages: the first where the walk stands, the others of the partitions
    /// behind.
    fn next_batch(&self, count: usize) -> impl Iterator<Item = ScanRequest> + use<> {
        let wanted = match &self.kind {
            Kind::Count(_) => 0,
            Kind::Keys(keys) => keys.wanted.saturating_sub(keys.looked),
        };
        let bits = self.partition_bits;
        let requests = std::iter::successors(self.next, move |at| at.behind(u64::MAX, bits));
        requests.take(count).map(move |Position { partition, from }| {
            let count = wanted.min(SCAN_PAGE_COUNT_MAX as u64) as u16;
            ScanRequest { partition, count, from }
        })
    }

    /// Appends the reply.
    fn write(&self, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Count(count) => encode::integer(out, *count),
            Kind::Keys(keys) => {
                let cursor = self.next.map_or(0, |next| next.cursor(self.partition_bits));
                encode::array(out, 2);
                encode::bulk(out, cursor.to_string().as_bytes());
                encode::array(out, keys.shown);
                out.extend_from_slice(&keys.bulks);
            }
        }
    }

    /// Appends an error instead of it. Nothing was changed, so no outcome is unknown.
    fn write_failure(&self, failed: Failed, out: &mut Vec<u8>) {
        let status = match (failed.status, &self.kind) {
            // There was no memory for an answer.
            (Status::NoQuorum, _) if failed.needed == 0 => Status::Busy,
            (Status::NoQuorum, Kind::Count(_)) => Status::Unavailable,
            (status, _) => status,
        };
        Failed { status, ..failed }.write(out, false);
    }
}

impl Keys {
    fn is_enough(&self) -> bool {
        self.looked >= self.wanted || self.bulks.len() >= SCAN_REPLY_BYTES
    }
}

impl RespSession {
    /// Begins SCAN or DBSIZE.
    pub(super) fn walk<R: Requests>(
        &mut self,
        command: Name,
        arguments: &[&[u8]],
        requests: &R,
    ) -> Result<(), Stop> {
        if !self.slots.is_empty() {
            return Err(Stop::Wait);
        }
        let begun = match command {
            Name::Scan => scan(&arguments[1..]),
            _ => Ok((Kind::Count(0), 0)),
        };
        let partitions = requests.partition_count();
        match begun {
            Err(error) => self.reply(|out| encode::error(out, &[&error])),
            Ok(_) if partitions == 0 => self.reply(|out| encode::error(out, &[NO_RING])),
            Ok((kind, cursor)) => {
                let partition_bits = partitions.trailing_zeros();
                let begin = Position::of(cursor, partition_bits);
                self.walk = Some(Box::new(Walk {
                    kind,
                    partition_bits,
                    begin,
                    next: Some(begin),
                    batch: Vec::new(),
                    asked: 0,
                    since: requests.wall(),
                }));
            }
        }
        Ok(())
    }

    /// Goes on with the walk, if there is one and it waits for nothing. False: it waits.
    pub(super) fn go_on_walking<R: Requests>(&mut self, requests: &mut R) -> bool {
        while let Some(mut walk) = self.walk.take() {
            if !walk.is_ready() {
                self.walk = Some(walk);
                return false;
            }
            if let Err(failed) = walk.use_batch() {
                self.reply(|out| walk.write_failure(failed, out));
                return true;
            }
            let count = walk.next.map_or(0, |_| walk.batch_count(requests.wall()));
            if count == 0 {
                self.reply(|out| walk.write(out));
                return true;
            }
            self.ask_pages(&mut walk, count, requests);
            self.walk = Some(walk);
        }
        true
    }

    fn ask_pages<R: Requests>(&mut self, walk: &mut Walk, count: usize, requests: &mut R) {
        for scan in walk.next_batch(count) {
            let operation = self.slots.next();
            let ticket = Ticket { connection: self.connection, operation };
            let ScanRequest { partition, from, .. } = scan;
            let position = Position { partition, from };
            let mut page = None;
            let submitted = requests.submit(ticket, &[], Command::Scan(scan), &mut |answer, _| {
                page = Some(Found::of(&answer, &walk.kind));
            });
            assert_eq!(page.is_some(), submitted == Submitted::Done);
            if page.is_none() {
                let (shape, member) = (Shape::Page, Member::default());
                self.slots.push_pending(Form { shape, member, resp3: self.resp3 }, None, 0);
            }
            walk.batch.push(Part { operation, position, page });
            walk.asked += 1;
        }
    }
}

/// What SCAN is to find, and its cursor; or the text of an error.
fn scan<'a>(arguments: &[&'a [u8]]) -> Result<(Kind, u64), Cow<'a, [u8]>> {
    const MATCH: u64 = word("match");
    const COUNT: u64 = word("count");
    const TYPE: u64 = word("type");
    let (cursor, mut options) = arguments.split_first().expect("the table says so");
    let cursor = cursor_of(cursor).ok_or(&b"ERR invalid cursor"[..])?;
    let mut filter = Filter { pattern: None, hides_all: false };
    let mut wanted = SCAN_COUNT_DEFAULT;
    while let [option, value, rest @ ..] = options {
        match word_of(option) {
            MATCH if value.len() > SCAN_PATTERN_BYTES_MAX => {
                return Err(b"TOOLARGE pattern over 512 bytes"[..].into());
            }
            // All keys, as in Redis: no pattern is faster.
            MATCH => filter.pattern = (*value != b"*").then(|| value.to_vec()),
            COUNT => {
                let count = parse::integer(value).ok_or(encode::NO_INTEGER)?;
                let count = u64::try_from(count).ok().filter(|count| *count > 0);
                wanted = count.ok_or(encode::SYNTAX)?.min(SCAN_COUNT_MAX);
            }
            TYPE => filter.hides_all = !value.eq_ignore_ascii_case(b"string"),
            _ => return Err(encode::SYNTAX.into()),
        }
        options = rest;
    }
    if !options.is_empty() {
        return Err(encode::SYNTAX.into());
    }
    let keys = Keys { filter, wanted, looked: 0, shown: 0, bulks: Vec::new() };
    Ok((Kind::Keys(keys), cursor))
}

/// A cursor as decimal digits and nothing else.
fn cursor_of(text: &[u8]) -> Option<u64> {
    let is_decimal = text.iter().all(u8::is_ascii_digit);
    if is_decimal { str::from_utf8(text).ok()?.parse().ok() } else { None }
}

const _: () = assert!(SCAN_PATTERN_BYTES_MAX == 512, "the error says so");
const _: () = assert!(DBSIZE_WINDOW <= super::slots::SLOT_COUNT as usize);
