//! The side that asks and decides.

mod repair;

use heapless::Vec;
use zerocopy::little_endian::U64;

use super::comparison::{Comparison, Need};
use super::descent::Descent;
use super::differences::Differences;
use super::{Config, Held, Machine, Parties, Resume, Sent, Step, Summary, Versions};
use crate::id::TopologyId;
use crate::limits::EXCHANGE_FETCH_COUNT_MAX;
use crate::records::{leaf_of, leaf_orders};
use crate::time::Instant;
use crate::wire::exchange::{
    End, EndReason, Entry, Fetch, Hashes, Listed, Open, Range, Stream, Streamed,
};
use crate::wire::message::Message;

/// A stream is taken up if more than one part in so many of the keys is still missing: else what
/// differs is found one by one.
const RESUMED_PART: u64 = 16;

/// What the exchange is about, top-down as it lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Opening,
    /// One copy streams to the other, in order.
    Streaming(Resume),
    Descending,
    /// The keys of differing leaves are compared.
    Comparing,
    /// Writes in flight arrive.
    Settling,
    /// Differing orders are compared again.
    Rechecking,
    Repairing,
    Ending,
    Ended,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// To be granted a step.
    Grant(Step),
    /// The peer's answer.
    Answer,
    /// The driver's.
    Driver,
    /// Records that came and are not joined yet; then this.
    Joins(After),
    /// The end of the pause.
    Pause,
    /// Nothing any more.
    Nothing,
}

/// What follows once all records are joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    /// The batch is over; so many of the orders were served.
    Fetched(usize),
    /// The next piece of the stream.
    Streamed(Option<u64>),
}

/// The asking side of one exchange; see [`exchange`](super). 60 KiB.
#[derive(Debug)]
pub struct Initiator {
    config: Config,
    parties: Parties,
    phase: Phase,
    next: Next,
    /// Of the answer or the pause.
    deadline: Instant,
    open: Open,
    descent: Descent,
    comparison: Comparison,
    differences: Differences,
    /// From this order on, nothing is compared, or streamed, yet; none = all is.
    left: Option<u64>,
    /// Rows before this one are rechecked, or asked to be.
    rechecked: usize,
    /// Orders that the next or last EXCHANGE_FETCH asks for.
    fetched: Vec<U64, EXCHANGE_FETCH_COUNT_MAX>,
    /// Since the last EXCHANGE_FETCH.
    pushed: usize,
    pushed_bytes: u64,
    /// Records that came and are not joined yet.
    joining: u32,
    /// The order from which on this exchange streamed: all, if 0, and then never again.
    streamed: Option<u64>,
    confirmed: u32,
    summary: Summary,
}

impl Initiator {
    /// One that has ended; [`Initiator::start`] brings it to life, again and again.
    ///
    /// # Panics
    /// If no difference fits, or more than `limits::EXCHANGE_DIFFERENCE_COUNT_MAX`.
    pub fn new(config: Config) -> Initiator {
        Initiator {
            config,
            parties: Parties::default(),
            phase: Phase::Ended,
            next: Next::Nothing,
            deadline: Instant(0),
            open: Open { partition: Default::default(), root: 0, keys: 0 },
            descent: Descent::new(),
            comparison: Comparison::new(),
            differences: Differences::new(config.difference_count_max),
            left: None,
            rechecked: 0,
            fetched: Vec::new(),
            pushed: 0,
            pushed_bytes: 0,
            joining: 0,
            streamed: None,
            confirmed: 0,
            summary: Summary::NONE,
        }
    }

    /// Begins an exchange. With `resume`, of an earlier exchange of the two, streaming goes on.
    ///
    /// # Panics
    /// If the last exchange has not ended.
    pub fn start(&mut self, parties: Parties, resume: Option<Resume>) {
        assert!(self.phase == Phase::Ended);
        (self.parties, self.phase) = (parties, Phase::Opening);
        self.next = Next::Grant(Step::Summarize);
        self.differences.clear();
        self.fetched.clear();
        (self.pushed, self.pushed_bytes, self.joining) = (0, 0, 0);
        (self.streamed, self.confirmed) = (None, 0);
        self.summary = Summary { resume, ..Summary::NONE };
    }
}

impl Machine for Initiator {
    fn parties(&self) -> &Parties {
        &self.parties
    }

    fn summary(&self) -> Option<&Summary> {
        (self.phase == Phase::Ended).then_some(&self.summary)
    }

    fn want(&self) -> Option<usize> {
        let Next::Grant(step) = self.next else { return None };
        Some(step.least_bytes(|| self.message()))
    }

    fn grant(&mut self, now: Instant) -> Step {
        let Next::Grant(step) = self.next else { panic!("a grant that was not wanted") };
        self.next = if step == Step::Send { Next::Answer } else { Next::Driver };
        if self.phase == Phase::Ending {
            (self.phase, self.next) = (Phase::Ended, Next::Nothing);
        }
        if self.next == Next::Answer {
            self.deadline = now + self.config.silence;
        }
        step
    }

    fn message(&self) -> Message<'_> {
        let bytes = self.config.window_bytes;
        match self.phase {
            Phase::Opening => Message::ExchangeOpen(self.open),
            Phase::Descending => Message::ExchangeNodes(self.descent.asked()),
            Phase::Comparing | Phase::Rechecking => {
                Message::ExchangeList(self.comparison.question())
            }
            Phase::Streaming(Resume { from, to_peer: false }) => {
                Message::ExchangeStream(Stream { from, bytes })
            }
            Phase::Streaming(_) => Message::ExchangeFetch(Fetch { bytes, orders: &[] }),
            Phase::Repairing => Message::ExchangeFetch(Fetch { bytes, orders: &self.fetched }),
            Phase::Settling | Phase::Ending | Phase::Ended => {
                let Summary { reason, differences, sent, got, .. } = self.summary;
                Message::ExchangeEnd(End { reason, differences, sent, got })
            }
        }
    }

    fn timeout(&self) -> Option<Instant> {
        matches!(self.next, Next::Answer | Next::Pause).then_some(self.deadline)
    }

    fn on_timeout(&mut self, now: Instant) {
        match self.next {
            Next::Answer if now >= self.deadline => self.end(EndReason::Silent),
            Next::Pause if now >= self.deadline => self.recheck(),
            _ => {}
        }
    }

    fn on_disconnected(&mut self) {
        if self.phase != Phase::Ended {
            self.end(EndReason::Disconnected);
            (self.phase, self.next) = (Phase::Ended, Next::Nothing);
        }
    }

    fn give_up(&mut self, reason: EndReason) {
        if !matches!(self.phase, Phase::Ended | Phase::Ending) {
            self.end(reason);
        }
    }

    fn on_summarized(&mut self, root: u64, keys: u64) {
        if self.next == Next::Driver && self.phase == Phase::Opening {
            self.open = Open { partition: self.parties.partition, root, keys };
            self.next = Next::Grant(Step::Send);
        }
    }

    fn on_frame(
        &mut self,
        now: Instant,
        topology: TopologyId,
        message: &Message<'_>,
        held: Held<'_>,
    ) {
        if matches!(self.phase, Phase::Ended | Phase::Ending) {
            return;
        }
        if topology != self.parties.topology {
            return self.end(EndReason::StaleTopology);
        }
        if let Message::ExchangeEnd(end) = message {
            // Only this side knows when all is done.
            let is_done = end.reason == EndReason::Finished;
            self.end(if is_done { EndReason::Malformed } else { end.reason });
            (self.phase, self.next) = (Phase::Ended, Next::Nothing);
            return;
        }
        if self.next != Next::Answer {
            return self.end(EndReason::Malformed);
        }
        self.deadline = now + self.config.silence;
        match (self.phase, message) {
            (Phase::Opening, Message::ExchangeSame) => self.end(EndReason::Finished),
            (Phase::Opening, Message::ExchangeHashes(hashes)) => self.on_opened(held, hashes),
            (Phase::Descending, Message::ExchangeHashes(hashes)) => self.on_hashes(held, hashes),
            (Phase::Comparing | Phase::Rechecking, Message::ExchangeListed(listed)) => {
                self.on_theirs(now, listed);
            }
            (Phase::Streaming(resume), Message::ExchangeStreamed(Streamed { next }))
                if !resume.to_peer && next.is_none_or(|next| next > resume.from) =>
            {
                self.await_joins(After::Streamed(*next));
            }
            (Phase::Streaming(resume), Message::ExchangeFetched(fetched)) if resume.to_peer => {
                self.add_differences(fetched.refused);
                self.await_joins(After::Fetched(0));
            }
            (Phase::Repairing, Message::ExchangeFetched(fetched)) => {
                let served = fetched.served as usize;
                if served > self.fetched.len() || served == 0 && !self.fetched.is_empty() {
                    return self.end(EndReason::Malformed);
                }
                self.add_differences(fetched.refused);
                self.await_joins(After::Fetched(served));
            }
            _ => self.end(EndReason::Malformed),
        }
    }

    fn on_record(&mut self, now: Instant, topology: TopologyId) -> bool {
        if matches!(self.phase, Phase::Ended | Phase::Ending) {
            return false;
        }
        let is_asked = matches!(self.phase, Phase::Repairing | Phase::Streaming(_));
        if topology != self.parties.topology || !is_asked || self.next != Next::Answer {
            let same = topology == self.parties.topology;
            self.end(if same { EndReason::Malformed } else { EndReason::StaleTopology });
            return false;
        }
        self.deadline = now + self.config.silence;
        self.joining += 1;
        self.summary.got += 1;
        true
    }

    fn on_joined(&mut self, order: u64, versions: Option<Versions>) {
        // What came before a disconnect or an end may be joined after it.
        self.joining = self.joining.saturating_sub(1);
        match self.phase {
            Phase::Repairing => {
                let failed = self.differences.on_joined(order, versions);
                self.add_differences(failed.into());
            }
            // Where a stream and our own record made a third, the comparison behind it finds it.
            Phase::Streaming(_) => self.add_differences(versions.is_none().into()),
            _ => return,
        }
        if let Next::Joins(after) = self.next {
            self.await_joins(after);
        }
    }

    fn on_listed(&mut self, now: Instant, entries: &[Entry], more: bool) {
        if self.next != Next::Driver {
            return;
        }
        let Initiator { comparison, differences, .. } = self;
        let need = match self.phase {
            Phase::Comparing => {
                comparison.on_mine(entries, more, |side, entry| differences.note(side, entry))
            }
            Phase::Rechecking => comparison.on_mine(entries, more, |side, entry| {
                differences.note_again(side, entry);
                true
            }),
            _ => unreachable!("the driver lists in these phases alone"),
        };
        self.on_need(now, need);
    }

    fn on_pushed(&mut self, order: u64, sent: Sent) {
        if self.next != Next::Driver {
            return;
        }
        self.summary.sent += u64::from(sent.records);
        self.differences.on_pushed(order);
        self.pushed += 1;
        self.pushed_bytes += sent.bytes;
        self.repair();
    }

    fn on_streamed(&mut self, next: Option<u64>, sent: Sent) {
        let (Next::Driver, Phase::Streaming(resume)) = (self.next, self.phase) else { return };
        assert!(next.is_none_or(|next| next > resume.from));
        self.summary.sent += u64::from(sent.records);
        self.left = next;
        self.next = Next::Grant(Step::Send);
    }
}

impl Initiator {
    fn add_differences(&mut self, count: u32) {
        self.summary.differences = self.summary.differences.saturating_add(count);
    }

    /// The roots differ.
    fn on_opened(&mut self, held: Held<'_>, hashes: &Hashes<'_>) {
        let (mine, theirs) = (self.open.keys, hashes.keys);
        let (less, more) = (mine.min(theirs), mine.max(theirs));
        let is_bulk = more >= self.config.bulk_keys_min && less < more.div_ceil(2);
        let bulk = is_bulk.then_some(Resume { from: 0, to_peer: mine > theirs });
        // Another owner may have brought the rest meanwhile.
        let lacks = |resume: &Resume| {
            let (source, sink) = if resume.to_peer { (mine, theirs) } else { (theirs, mine) };
            source.saturating_sub(sink) > source / RESUMED_PART
        };
        let resume = self.summary.resume.take().filter(lacks);
        let resume = resume.or(bulk).filter(|_| self.streamed != Some(0));
        if let Some(resume) = resume {
            self.streamed = Some(resume.from);
            return self.stream(resume);
        }
        self.phase = Phase::Descending;
        self.descent = Descent::new();
        self.on_hashes(held, hashes);
    }

    fn on_hashes(&mut self, held: Held<'_>, hashes: &Hashes<'_>) {
        if self.descent.on_hashes(held.tree, hashes).is_err() {
            return self.end(EndReason::Malformed);
        }
        if self.descent.ask() {
            self.next = Next::Grant(Step::Send);
        } else {
            self.left = Some(0);
            self.compare();
        }
    }

    /// Begins a round: what differs in the leaves that are left, as far as there is room.
    fn compare(&mut self) {
        self.phase = Phase::Comparing;
        self.comparison.clear();
        while let Some(from) = self.left
            && self.comparison.has_room()
        {
            self.left = self.descent.leaf_from(leaf_of(from)).and_then(|leaf| {
                let (first, last) = leaf_orders(leaf);
                self.comparison.add(Range::new(first.max(from), last));
                last.checked_add(1)
            });
        }
        if self.comparison.is_empty() {
            return self.settle_or_finish();
        }
        self.next = Next::Grant(Step::Send);
    }

    fn on_theirs(&mut self, now: Instant, listed: &Listed<'_>) {
        match self.comparison.on_theirs(listed) {
            Ok(need) => self.on_need(now, need),
            Err(_) => self.end(EndReason::Malformed),
        }
    }

    fn on_need(&mut self, now: Instant, need: Need) {
        match need {
            Need::Theirs => self.next = Next::Grant(Step::Send),
            Need::Mine { after, last } => {
                self.next = Next::Grant(Step::List { after, last });
            }
            Need::Nothing if self.phase == Phase::Rechecking => self.recheck(),
            Need::Nothing => self.compare(),
            Need::Room { from } => {
                self.left = Some(from);
                self.settle_or_finish();
            }
        }
        if self.phase == Phase::Settling {
            self.deadline = now + self.config.recheck;
        }
    }
}
