//! Requests of clients: sent, answered, lost.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::causality::decode_token;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::reply::Status;

use super::super::client::{Action, Known, Operation, Put, Replace, Written};
use super::super::judge::Required;
use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::{Invariant, Violation};
use super::super::outbox::Reply;
use super::{Event, Stage, World, note};

/// Shortest pause of a client whose request failed.
const BACKOFF: Duration = Duration::from_millis(20);

/// Requests that wait for their reply.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    latest: u64,
    open: BTreeMap<u64, Ticket>,
}

impl Tickets {
    /// What was acknowledged before may be missed from now on.
    pub(super) fn require_nothing(&mut self) {
        self.open.values_mut().for_each(|ticket| ticket.required = Required::default());
    }
}

/// One request that waits for its reply.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// Who sent it.
    sender: Sender,
    operation: Operation,
    /// To this node, in this life of it.
    node: usize,
    life: u64,
    /// What a read must cover.
    required: Required,
}

/// Who sends requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sender {
    /// A client.
    Client(usize),
    /// The last reads and writes of the run.
    Closer,
}

impl Tickets {
    /// Nothing waits for a reply.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The requests that wait, for a trace.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }
}

impl World<'_> {
    /// A client begins its next operation, unless the run has had enough.
    pub(super) fn on_client(&mut self, client: usize) -> Result<(), Violation> {
        if self.clients.client(client).waits.is_some() {
            return Ok(());
        }
        let enough = self.has_enough();
        if self.stage == Stage::Closing || self.stage == Stage::Healing && enough {
            return Ok(());
        }
        let operation = self.clients.next(client);
        self.request(Sender::Client(client), operation);
        Ok(())
    }

    /// While nodes are added: now and then a client writes to `node` at once, since something
    /// has just changed there.
    pub(super) fn provoke(&mut self, node: usize) {
        let client = self.random.below(self.clients.count());
        let idle = self.clients.client(client).waits.is_none();
        if self.is_early() && idle && self.random.chance(50) {
            let operation = self.clients.next(client);
            self.request_of(Sender::Client(client), operation, node);
        }
    }

    /// Sends `operation` to some shard of some process.
    pub(super) fn request(&mut self, sender: Sender, operation: Operation) {
        let alive =
            |node: &usize| self.hosts[*node].process.is_some() && self.hosts[*node].is_member();
        let nodes: Vec<usize> = (0..self.hosts.len()).filter(alive).collect();
        if nodes.is_empty() {
            return self.pause_sender(sender, BACKOFF);
        }
        let node = *self.random.pick(&nodes);
        self.request_of(sender, operation, node);
    }

    /// Sends `operation` to some shard of the process of `node`.
    fn request_of(&mut self, sender: Sender, mut operation: Operation, node: usize) {
        // As a session does, where the command comes in.
        if let Action::Put(Put { expires, ttl_ms: Some(ttl), .. }) = &mut operation.action {
            *expires = Some(UnixMs(self.hosts[node].wall(self.now).0 + *ttl));
        }
        let shard = self.random.below(self.hosts[node].stores.len());
        let required = match &operation.action {
            Action::Get { r, pr, .. } => self.judge.required(operation.key, *r, *pr, self.agrees()),
            Action::Put(put) => {
                self.judge.on_issue(&self.hosts, operation.key, put);
                self.judge.on_sent(self.now, node, put.stamp);
                Required::default()
            }
        };
        let (ticket, life) = (self.new_ticket(), self.life(node));
        let site = Site { node, shard };
        self.after(
            Duration::from_micros(1),
            Event::Command { site, life, ticket, operation: operation.clone() },
        );
        let patience = self.swarm.request_timeout + Duration::from_secs(1);
        self.after(patience, Event::GiveUp { ticket });
        match sender {
            Sender::Client(client) => self.clients.client(client).waits = Some(ticket),
            Sender::Closer => self.closing.waits = Some(ticket),
        }
        self.tickets.open.insert(ticket, Ticket { sender, operation, node, life, required });
    }

    /// A ticket that nobody has had.
    pub(super) fn new_ticket(&mut self) -> u64 {
        self.tickets.latest += 1;
        self.tickets.latest
    }

    /// Whether the request with that ticket has no answer yet.
    pub(super) fn is_open(&self, ticket: u64) -> bool {
        self.tickets.open.contains_key(&ticket)
    }

    /// Whether all shards that run work on the same topology.
    pub(super) fn agrees(&self) -> bool {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let shards = processes.flat_map(|process| &process.shards);
        let mut topologies = shards.map(|shard| shard.machine.topology());
        let first = topologies.next();
        topologies.all(|topology| Some(topology) == first)
    }

    /// S22: a frame of the coordinator at `site` shows what its clock allows, if it is the reply to
    /// a read, and not one of another coordinator that is handed on.
    pub(super) fn check_shown(&self, site: Site, bytes: &[u8]) -> Result<(), Violation> {
        let frame = Frame::without_checksum(bytes).expect("a whole frame was written");
        if frame.op() != Op::Reply {
            return Ok(());
        }
        let reply = Reply::of_frame(&frame, Some(self.hosts[site.node].wall(self.now)));
        // Replies to writes show none; one that finds none is judged where it arrives.
        let is_read = !reply.siblings.is_empty();
        let is_handed_on = self.arrived.as_ref().is_some_and(|arrived| {
            (&arrived.context, &arrived.siblings) == (&reply.context, &reply.siblings)
        });
        let context_key = &self.settings.context_key;
        // Its request alone says of which key it is; a token verifies with no other one.
        let mut keys = self.clients.keys().iter().enumerate();
        let key = keys.find(|(_, key)| decode_token(context_key, key, &reply.context).is_ok());
        match key.filter(|_| is_read && !is_handed_on && !reply.context.is_empty()) {
            Some((key, bytes)) => self.judge.check_shown((key, bytes), &reply, context_key),
            None => Ok(()),
        }
    }

    /// S17: every request gets exactly one reply.
    pub(super) fn on_reply(
        &mut self,
        site: Site,
        ticket: u64,
        reply: &Reply,
    ) -> Result<(), Violation> {
        if let Some(follower) = self.followers.remove(ticket) {
            return self.on_follower_reply(site, follower, reply);
        }
        let Some(open) = self.tickets.open.remove(&ticket) else {
            let detail = format!("{site:?} answers request {ticket} again: {reply:?}");
            return Err(Violation::new(Invariant::OneReply, detail));
        };
        let stamps: Vec<u64> = reply.siblings.iter().map(|sibling| sibling.0).collect();
        note!(self, "{site:?} answers {ticket}: {:?} {stamps:?}", reply.status);
        match &open.operation.action {
            Action::Get { cover, .. } => self.on_read_reply(ticket, &open, reply, cover.as_ref()),
            Action::Put(put) => self.on_put_reply(ticket, &open, reply, put),
        }
    }

    /// The process of `node` is gone: what it had not answered, it never will.
    pub(super) fn lose_tickets(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let lost = |ticket: &Ticket| ticket.node == node && ticket.life == life;
        let open = &self.tickets.open;
        let numbers: Vec<u64> =
            open.iter().filter(|(_, ticket)| lost(ticket)).map(|(number, _)| *number).collect();
        for number in numbers {
            let open = self.tickets.open.remove(&number).expect("it was open just now");
            self.on_lost(number, &open);
        }
        Ok(())
    }

    /// A client stops waiting; the reply may still come, and is then judged, but of no use.
    pub(super) fn on_give_up(&mut self, ticket: u64) -> Result<(), Violation> {
        if let Some(open) = self.tickets.open.get(&ticket).cloned()
            && self.waits(ticket, &open)
        {
            self.on_lost(ticket, &open);
        }
        Ok(())
    }

    /// Whether the sender of `open` still waits for it.
    fn waits(&mut self, ticket: u64, open: &Ticket) -> bool {
        match open.sender {
            Sender::Client(client) => self.clients.client(client).waits == Some(ticket),
            Sender::Closer => self.closing.waits == Some(ticket),
        }
    }

    fn on_lost(&mut self, ticket: u64, open: &Ticket) {
        if !self.waits(ticket, open) {
            return;
        }
        note!(self, "nobody answers {ticket}");
        match &open.operation.action {
            Action::Get { .. } => self.marks.hit(Mark::ReadFailed),
            Action::Put(_) => self.marks.hit(Mark::PutUnknown),
        }
        self.on_failure(open, matches!(open.operation.action, Action::Put(_)));
    }

    fn on_read_reply(
        &mut self,
        ticket: u64,
        open: &Ticket,
        reply: &Reply,
        cover: Option<&Known>,
    ) -> Result<(), Violation> {
        let waits = self.waits(ticket, open);
        if !self.check_status(open, reply, cover.is_some())? {
            self.marks.hit(Mark::ReadFailed);
            if waits {
                self.on_failure(open, false);
            }
            return Ok(());
        }
        let key = open.operation.key;
        let named = (key, self.clients.key(key));
        let context_key = &self.settings.context_key;
        let read = self.judge.on_read(named, reply, context_key, &open.required, cover)?;
        if !self.hosts[open.node].is_doubtful() {
            self.judge.check_buried(key, &read.events, format_args!("a read shows"))?;
        }
        if self.judge.has_expired(key, &read, reply) {
            self.marks.hit(Mark::ReadExpired);
        }
        self.marks.hit(match reply.siblings.len() {
            0 => Mark::ReadNothing,
            1 => Mark::ReadOne,
            _ => Mark::ReadSiblings,
        });
        if cover.is_some() {
            self.marks.hit(Mark::SessionRead);
        }
        if !waits {
            return Ok(());
        }
        self.clients.acknowledged += 1;
        match open.sender {
            Sender::Closer => self.on_closing_read(key, read),
            Sender::Client(client) => {
                self.check_sequential(client, key, &read)?;
                match self.clients.follow(client, key, &read) {
                    Some(operation) => self.request(open.sender, operation),
                    None => self.rest(open.sender),
                }
                Ok(())
            }
        }
    }

    /// S6, in runs without faults whose quorums always meet: where an owner was too busy for a
    /// write and another node stood in for it, they may not.
    fn check_sequential(&self, client: usize, key: usize, read: &Known) -> Result<(), Violation> {
        let options = &self.swarm.clients;
        let n = self.judge.owner_count();
        let is_strict = options.explicit == 0 && self.marks.count(Mark::HintKept) == 0;
        let meet = is_strict && self.swarm.r.min(n) + self.swarm.w.min(n) > n;
        let own = options.sequential && client == key;
        if own && meet && self.swarm.is_calm() && !self.clients.is_unsure(client) {
            self.judge.on_sequential(key, read)?;
        }
        Ok(())
    }

    fn on_put_reply(
        &mut self,
        ticket: u64,
        open: &Ticket,
        reply: &Reply,
        put: &Put,
    ) -> Result<(), Violation> {
        let waits = self.waits(ticket, open);
        let key = open.operation.key;
        if reply.status == Status::ConditionFailed && put.content == Written::Expiry {
            self.marks.hit(Mark::ExpiryUnchanged);
            self.judge.on_refused(key, put.stamp)?;
            if waits {
                self.rest(open.sender);
            }
            return Ok(());
        }
        if !self.check_status(open, reply, false)? {
            let unknown = reply.status == Status::NoQuorum;
            self.clients.crowded += u64::from(reply.status == Status::Siblings);
            self.marks.hit(if unknown { Mark::PutUnknown } else { Mark::PutRefused });
            if !unknown {
                self.judge.on_refused(key, put.stamp)?;
            }
            if waits {
                self.on_failure(open, unknown);
            }
            return Ok(());
        }
        let named = (key, self.clients.key(key));
        self.judge.on_stored(&self.hosts, named, put)?;
        self.marks.hit(match (&put.content, &put.replaces) {
            (Written::Expiry, _) if reply.live > 1 => Mark::SiblingsChanged,
            (Written::Expiry, _) => Mark::ExpiryChanged,
            (Written::Nothing, _) => Mark::DeleteOk,
            (_, Replace::Local) => Mark::PlainSet,
            _ => Mark::PutOk,
        });
        let mut learned = None;
        if !reply.context.is_empty() {
            let (context, context_key) = (&reply.context, &self.settings.context_key);
            learned = Some(self.judge.on_put_context(named, put.stamp, context, context_key)?);
        }
        if !waits {
            return Ok(());
        }
        self.clients.acknowledged += 1;
        match open.sender {
            Sender::Closer => self.on_closing_write(),
            Sender::Client(client) => {
                if let Some(known) = learned {
                    self.clients.learn(client, key, known);
                }
                self.rest(open.sender);
                Ok(())
            }
        }
    }

    /// Whether the request succeeded. Some ways to fail are bugs.
    fn check_status(
        &self,
        open: &Ticket,
        reply: &Reply,
        may_not_cover: bool,
    ) -> Result<bool, Violation> {
        match reply.status {
            Status::Ok => Ok(true),
            Status::NotCovered if may_not_cover => Ok(false),
            Status::NoQuorum
            | Status::Unavailable
            | Status::Busy
            | Status::Siblings
            | Status::NoSpace
            | Status::ReadOnly
            | Status::Damaged => Ok(false),
            status => {
                let detail = format!("{:?} is answered with {status:?}", open.operation);
                Err(Violation::new(Invariant::OneReply, detail))
            }
        }
    }

    fn on_failure(&mut self, open: &Ticket, unknown: bool) {
        match open.sender {
            Sender::Closer => self.closing.waits = None,
            Sender::Client(client) => {
                self.clients.give_up(client);
                if unknown && self.clients.retry(client, &open.operation) {
                    self.marks.hit(Mark::Retry);
                }
            }
        }
        self.pause_sender(open.sender, BACKOFF);
    }

    /// The sender pauses before its next operation.
    fn rest(&mut self, sender: Sender) {
        self.pause_sender(sender, Duration::ZERO);
    }

    fn pause_sender(&mut self, sender: Sender, least: Duration) {
        match sender {
            Sender::Client(client) => {
                self.clients.client(client).waits = None;
                let think = self.random.delay(self.swarm.clients.think);
                self.after(self.early_left() + think.max(least), Event::Client { client });
            }
            Sender::Closer => {
                self.closing.waits = None;
                self.after(self.closing_pause(), Event::Close);
            }
        }
    }
}
