//! The side that answers: it knows the question at hand, and what it has to send back.

use core::time::Duration;

use heapless::Vec;
use zerocopy::little_endian::U64;

use super::{Config, Held, Machine, Parties, Sent, Step, Summary, Versions};
use crate::id::TopologyId;
use crate::limits::{
    EXCHANGE_ENTRY_COUNT_MAX, EXCHANGE_FETCH_COUNT_MAX, EXCHANGE_HASH_COUNT_MAX,
    EXCHANGE_RANGE_COUNT_MAX, REQUEST_TIMEOUT_MAX,
};
use crate::time::Instant;
use crate::wire::exchange::{
    End, EndReason, Entry, Fetched, Hashes, List, Listed, Nodes, Range, Stream, Streamed,
};
use crate::wire::message::Message;

/// What it waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// The initiator's next question.
    Question,
    /// To be granted a step.
    Grant(Step),
    /// The driver.
    Driver,
    /// Records that came and are not joined yet.
    Joins,
    /// Nothing any more.
    Nothing,
}

/// What is sent next, or was last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    Same,
    /// Children of nodes of this level.
    Hashes(u8),
    /// With whether these are all.
    Listed(bool),
    Fetched,
    Streamed(Option<u64>),
    End,
}

/// The answering side of one exchange; see [`exchange`](super). 15 KiB.
#[derive(Debug)]
pub struct Responder {
    config: Config,
    parties: Parties,
    next: Next,
    answer: Answer,
    /// Of the next question.
    deadline: Instant,
    keys: u64,
    hashes: Vec<U64, EXCHANGE_HASH_COUNT_MAX>,
    /// What is listed: the ranges from `range` on, above `after`.
    ranges: Vec<Range, EXCHANGE_RANGE_COUNT_MAX>,
    range: usize,
    after: Entry,
    entries: Vec<Entry, EXCHANGE_ENTRY_COUNT_MAX>,
    /// Orders that are wanted, how many of them were served, and how many bytes may still go.
    orders: Vec<U64, EXCHANGE_FETCH_COUNT_MAX>,
    served: usize,
    bytes_left: u64,
    /// Orders whose join left more than was received.
    returns: Vec<u64, EXCHANGE_FETCH_COUNT_MAX>,
    /// Records that came and are not joined yet.
    joining: u32,
    /// Records that could not be joined since the last EXCHANGE_FETCHED.
    refused: u32,
    /// The same, as the last EXCHANGE_FETCHED says it.
    told: u32,
    summary: Summary,
}

impl Responder {
    /// One that has ended; [`Responder::start`] brings it to life, again and again.
    pub fn new(config: Config) -> Responder {
        Responder {
            config,
            parties: Parties::default(),
            next: Next::Nothing,
            answer: Answer::End,
            deadline: Instant(0),
            keys: 0,
            hashes: Vec::new(),
            ranges: Vec::new(),
            range: 0,
            after: Entry::default(),
            entries: Vec::new(),
            orders: Vec::new(),
            served: 0,
            bytes_left: 0,
            returns: Vec::new(),
            joining: 0,
            refused: 0,
            told: 0,
            summary: Summary::NONE,
        }
    }

    /// Begins an exchange; its EXCHANGE_OPEN then goes to [`Responder::on_frame`].
    ///
    /// # Panics
    /// If the last exchange has not ended.
    pub fn start(&mut self, now: Instant, parties: Parties) {
        assert!(self.next == Next::Nothing);
        (self.parties, self.next) = (parties, Next::Question);
        self.deadline = now + self.patience();
        self.returns.clear();
        (self.joining, self.refused) = (0, 0);
        self.summary = Summary::NONE;
    }
}

impl Machine for Responder {
    fn parties(&self) -> &Parties {
        &self.parties
    }

    fn summary(&self) -> Option<&Summary> {
        (self.next == Next::Nothing).then_some(&self.summary)
    }

    fn want(&self) -> Option<usize> {
        let Next::Grant(step) = self.next else { return None };
        Some(step.least_bytes(|| self.message()))
    }

    fn grant(&mut self, now: Instant) -> Step {
        let Next::Grant(step) = self.next else { panic!("a grant that was not wanted") };
        if step == Step::Send && self.answer == Answer::Fetched {
            self.told = core::mem::take(&mut self.refused);
        }
        self.next = match step {
            Step::Send if self.answer == Answer::End => Next::Nothing,
            Step::Send => Next::Question,
            _ => Next::Driver,
        };
        self.deadline = now + self.patience();
        step
    }

    fn message(&self) -> Message<'_> {
        match self.answer {
            Answer::Same => Message::ExchangeSame,
            Answer::Hashes(level) => {
                let hashes = Hashes { level, keys: self.keys, hashes: &self.hashes };
                Message::ExchangeHashes(hashes)
            }
            Answer::Listed(done) => {
                Message::ExchangeListed(Listed { done, entries: &self.entries })
            }
            Answer::Fetched => {
                let served = self.served as u32;
                Message::ExchangeFetched(Fetched { served, refused: self.told })
            }
            Answer::Streamed(next) => Message::ExchangeStreamed(Streamed { next }),
            Answer::End => {
                let Summary { reason, differences, sent, got, .. } = self.summary;
                Message::ExchangeEnd(End { reason, differences, sent, got })
            }
        }
    }

    fn timeout(&self) -> Option<Instant> {
        (self.next == Next::Question).then_some(self.deadline)
    }

    fn on_timeout(&mut self, now: Instant) {
        if self.next == Next::Question && now >= self.deadline {
            self.end(EndReason::Silent);
        }
    }

    fn on_disconnected(&mut self) {
        if self.next != Next::Nothing {
            self.summary.reason = EndReason::Disconnected;
            self.next = Next::Nothing;
        }
    }

    fn give_up(&mut self, reason: EndReason) {
        if self.next != Next::Nothing && !self.is_ending() {
            self.end(reason);
        }
    }

    fn on_frame(
        &mut self,
        now: Instant,
        topology: TopologyId,
        message: &Message<'_>,
        held: Held<'_>,
    ) {
        if self.next == Next::Nothing || self.is_ending() {
            return;
        }
        if topology != self.parties.topology {
            return self.end(EndReason::StaleTopology);
        }
        if let Message::ExchangeEnd(end) = message {
            (self.summary.reason, self.summary.differences) = (end.reason, end.differences);
            self.next = Next::Nothing;
            return;
        }
        if self.next != Next::Question {
            return self.end(EndReason::Malformed);
        }
        self.deadline = now + self.patience();
        match message {
            Message::ExchangeOpen(open) if open.partition == self.parties.partition => {
                if open.root == held.root() {
                    self.send(Answer::Same);
                } else {
                    self.on_nodes(&Nodes { level: 0, bits: [1, 0, 0, 0] }, held);
                }
            }
            Message::ExchangeNodes(nodes) => self.on_nodes(nodes, held),
            Message::ExchangeList(list) => self.on_list(list),
            Message::ExchangeFetch(fetch) => {
                self.orders.clear();
                self.orders.extend_from_slice(fetch.orders).expect("a checked message");
                (self.served, self.bytes_left) = (0, u64::from(fetch.bytes));
                self.serve();
            }
            Message::ExchangeStream(Stream { from, bytes }) => {
                self.next = Next::Grant(Step::Stream { from: *from, bytes: *bytes });
            }
            _ => self.end(EndReason::Malformed),
        }
    }

    fn on_record(&mut self, now: Instant, topology: TopologyId) -> bool {
        if self.next == Next::Nothing || self.is_ending() {
            return false;
        }
        if topology != self.parties.topology || self.next != Next::Question {
            let same = topology == self.parties.topology;
            self.end(if same { EndReason::Malformed } else { EndReason::StaleTopology });
            return false;
        }
        self.deadline = now + self.patience();
        self.joining += 1;
        self.summary.got += 1;
        true
    }

    fn on_joined(&mut self, order: u64, versions: Option<Versions>) {
        self.joining = self.joining.saturating_sub(1);
        match versions {
            None => self.refused += 1,
            Some(Versions { received, after, .. })
                if received != after && !self.returns.contains(&order) =>
            {
                // A stream may leave more than fit: the comparison behind it finds the rest.
                let _ = self.returns.push(order);
            }
            Some(_) => {}
        }
        if self.next == Next::Joins {
            self.serve();
        }
    }

    fn on_summarized(&mut self, _: u64, _: u64) {
        unreachable!("only the initiator summarizes");
    }

    fn on_listed(&mut self, _: Instant, entries: &[Entry], more: bool) {
        if self.next != Next::Driver {
            return;
        }
        assert!(entries.is_sorted());
        assert!(entries.first().is_none_or(|first| *first > self.after));
        assert!(!(more && entries.is_empty()));
        let room = self.entries.capacity() - self.entries.len();
        let fitting = &entries[..room.min(entries.len())];
        self.entries.extend_from_slice(fitting).expect("as many as there is room for");
        self.after = fitting.last().copied().unwrap_or(self.after);
        if fitting.len() < entries.len() {
            return self.send(Answer::Listed(false));
        }
        self.range += usize::from(!more);
        self.list();
    }

    fn on_pushed(&mut self, _: u64, sent: Sent) {
        if self.next != Next::Driver {
            return;
        }
        self.summary.sent += u64::from(sent.records);
        if self.returns.is_empty() {
            self.served += 1;
            self.bytes_left = self.bytes_left.saturating_sub(sent.bytes);
        } else {
            self.returns.pop();
        }
        self.serve();
    }

    fn on_streamed(&mut self, next: Option<u64>, sent: Sent) {
        if self.next == Next::Driver {
            self.summary.sent += u64::from(sent.records);
            self.send(Answer::Streamed(next));
        }
    }
}

impl Responder {
    fn on_nodes(&mut self, nodes: &Nodes, held: Held<'_>) {
        self.keys = held.keys;
        self.hashes.clear();
        for index in nodes.iter() {
            let children = held.tree.children(nodes.level, index).map(U64::new);
            self.hashes.extend_from_slice(&children).expect("a checked message asks for few");
        }
        self.send(Answer::Hashes(nodes.level));
    }

    fn on_list(&mut self, list: &List<'_>) {
        self.ranges.clear();
        self.ranges.extend_from_slice(list.ranges).expect("a checked message");
        self.entries.clear();
        (self.range, self.after) = (0, list.after);
        self.list();
    }

    /// Lists the next range, or answers.
    fn list(&mut self) {
        let Some(range) = self.ranges.get(self.range) else {
            return self.send(Answer::Listed(true));
        };
        if self.entries.is_full() {
            return self.send(Answer::Listed(false));
        }
        self.after = self.after.max(Entry::new(range.first(), 0));
        let (after, last) = (self.after, range.last());
        self.next = Next::Grant(Step::List { after, last });
    }

    /// First what joins have left, then what is wanted.
    fn serve(&mut self) {
        if self.joining > 0 {
            self.next = Next::Joins;
            return;
        }
        let wanted = self.orders.get(self.served).filter(|_| self.bytes_left > 0);
        match self.returns.last().copied().or(wanted.map(|order| order.get())) {
            Some(order) => self.next = Next::Grant(Step::Push { order }),
            None => self.send(Answer::Fetched),
        }
    }

    fn send(&mut self, answer: Answer) {
        (self.answer, self.next) = (answer, Next::Grant(Step::Send));
    }

    fn end(&mut self, reason: EndReason) {
        self.summary.reason = reason;
        self.send(Answer::End);
    }

    fn is_ending(&self) -> bool {
        self.answer == Answer::End && self.next == Next::Grant(Step::Send)
    }

    /// The initiator pauses before it looks again.
    fn patience(&self) -> Duration {
        self.config.silence + 2 * REQUEST_TIMEOUT_MAX
    }
}
