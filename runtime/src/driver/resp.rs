//! RESP sessions on a shard: their requests become commands of the drive loop.

use super::State;
use super::connection::Speaks;
use super::engine::Engine;
use super::io::Io;
use super::latencies::{Ended, Operation, Request};
use super::peers;
use super::work::Work;
use crate::admission::{LONG_BYTES, Level};
use crate::metrics::{Counter, Metrics};
use crate::session::request::{
    InfoLines, Lend, Requests, Role, Room, Section, Submitted, Ticket, copied,
};
use crate::session::resp::{Next, OUTPUT_BYTES_MAX, RespSession};
use bytes::{Buf as _, BytesMut};
use ringmain_core::drive::{Answer, Command, Token, Waiting};
use ringmain_core::hash::Key;
use ringmain_core::id::{ClusterId, NodeId, Partition};
use ringmain_core::records::Records;
use ringmain_core::request::{Failure, KeyPlace, Origin, Outcome};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::payload::Payload as _;
use ringmain_core::wire::put::Replaces;
use std::net::SocketAddr;

/// Unparsed bytes of a connection above this pause its receiving until they are parsed.
const REST_BYTES_MAX: usize = 64 << 10;

impl State {
    /// Bytes of a RESP client.
    pub(super) fn on_resp(&mut self, slot: u32, received: &[u8]) {
        let Some(connection) = self.io.connections.at(slot) else { return };
        let speaks = std::mem::replace(&mut connection.speaks, Speaks::Nothing);
        let Speaks::Resp(mut session, mut rest) = speaks else {
            connection.speaks = speaks;
            return;
        };
        let next = if rest.is_empty() {
            let progress = self.parse(&mut session, received);
            rest.extend_from_slice(&received[progress.0..]);
            progress.1
        } else {
            rest.extend_from_slice(received);
            let progress = self.parse(&mut session, &rest);
            // Not moved to the front: a session that waits for each answer takes a command at once.
            rest.advance(progress.0);
            if rest.is_empty() {
                rest = BytesMut::new();
            }
            progress.1
        };
        self.settle(slot, session, rest, next);
    }

    /// An answer came, or output went: what was not parsed may go on.
    fn go_on(&mut self, slot: u32) {
        self.on_resp(slot, &[]);
    }

    fn parse(&mut self, session: &mut RespSession, bytes: &[u8]) -> (usize, Next) {
        self.count_requests();
        let State { engine, io, about, relief, .. } = self;
        let mut submitter = Submitter { engine, io, about, is_shedding: relief.is_shedding };
        let progress = session.receive(bytes, &mut submitter);
        (progress.consumed, progress.next)
    }

    fn settle(&mut self, slot: u32, session: Box<RespSession>, rest: BytesMut, next: Next) {
        let Some(connection) = self.io.connections.at(slot) else { return };
        let is_roomy = self.io.memory.level() == Level::Roomy;
        let rest_bytes_max = if is_roomy { REST_BYTES_MAX } else { 0 };
        let is_stopped = matches!(next, Next::Wait) && rest.len() > rest_bytes_max;
        let pause = is_stopped && !connection.is_paused;
        let resume = !is_stopped && connection.is_paused;
        connection.is_closing |= matches!(next, Next::Close);
        // Its capacity shrinks as its front is passed over, its memory does not.
        let rest_bytes = connection.rest_bytes.max(rest.capacity());
        connection.rest_bytes = if rest.is_empty() { 0 } else { rest_bytes };
        connection.speaks = Speaks::Resp(session, rest);
        if pause || resume {
            connection.is_paused = pause;
            self.work.push_back(Work::Pause(connection.id, pause));
        }
        self.io.mark(slot);
    }

    /// Gives every waiting answer to its session, and lets those go on that it stopped.
    pub(super) fn deliver(&mut self) {
        while let Some((ticket, held)) = self.io.answers.pop() {
            let ticket = Ticket::from_number(ticket);
            let Some(slot) = self.io.connections.slot_of(ticket.connection) else { continue };
            let Some(connection) = self.io.connections.at(slot) else { continue };
            let Speaks::Resp(session, rest) = &mut connection.speaks else { continue };
            let mut answer = self.io.answers.view(&held);
            let request = connection.asked.take(ticket.operation);
            let bytes = answer.bytes();
            if self.io.memory.refuses_answer(bytes, connection.counted_bytes) {
                answer = Answer::failed(no_memory(request));
            }
            if let Some(request) = request {
                self.io.latencies.answer(request, Ended::of(&answer));
            }
            let is_taken = session.answer(ticket, answer);
            let has_more = is_taken && (!rest.is_empty() || session.has_begun());
            self.io.mark(slot);
            if bytes > LONG_BYTES {
                self.io.recount(slot);
            }
            if has_more {
                self.go_on(slot);
            }
        }
        self.io.answers.clear_bytes();
    }

    /// Output of a session has gone: parsing that it stopped goes on.
    pub(super) fn on_resp_sent(&mut self, slot: u32) {
        let Some(connection) = self.io.connections.at(slot) else { return };
        if let Speaks::Resp(session, rest) = &connection.speaks
            && (!rest.is_empty() || session.has_begun())
            && session.output_bytes() < self.io.memory.output_bytes_max(OUTPUT_BYTES_MAX)
        {
            self.go_on(slot);
        }
    }
}

/// What all sessions of a node show of it.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) resp: SocketAddr,
    pub(crate) native: SocketAddr,
    pub(crate) durability: String,
    pub(crate) cluster: ClusterId,
    pub(crate) r: u8,
    pub(crate) w: u8,
    pub(crate) partition_bits: u32,
    pub(crate) hash_seed: u64,
    pub(crate) metrics: Metrics,
    pub(crate) started: std::time::Instant,
}

/// The driver as one session sees it while it reads.
struct Submitter<'a> {
    engine: &'a mut Engine,
    io: &'a mut Io,
    about: &'a About,
    /// What is not whole is to be given up.
    is_shedding: bool,
}

impl Submitter<'_> {
    /// A request is answered, which may be one that is timed.
    fn note_answered(&mut self, request: Option<Request>, ended: Ended) {
        if let Some(request) = request {
            self.io.latencies.answer(request, ended);
        }
    }

    fn key<'k>(&self, key: &'k [u8]) -> Key<'k> {
        Key::new(key, self.about.hash_seed, self.about.partition_bits)
    }

    /// A read that the own copy answers alone is answered straight from the store.
    fn answer_alone(
        &self,
        key: &[u8],
        command: &Command<'_>,
        answer: &mut dyn FnMut(Answer<'_>, &Lend<'_>),
    ) -> bool {
        let Command::Get(GetRequest { r, pr, context: [], want_context, .. }) = *command else {
            return false;
        };
        let key = self.key(key);
        if !self.engine.shard.reads_alone(key.partition, r, pr) {
            return false;
        }
        let waiting = &self.engine.waiting;
        if !waiting.is_empty() && waiting.contains(KeyPlace::of(&key)) {
            return false;
        }
        let Ok(stored) = self.engine.log.record(&key) else { return false };
        let record = stored.map(|stored| stored.record);
        let context_key = &self.engine.settings.context_key;
        let context = Token::of(want_context, context_key, key.bytes, record);
        let outcome = Outcome::Got;
        let maps = self.engine.log.maps();
        let lend = |value: &[u8]| maps.lend(value);
        let record = record.map(|record| record.live(self.engine.wall));
        answer(Answer::Local { outcome, record, context, live: 0, found: 0 }, &lend);
        true
    }
}

impl Requests for Submitter<'_> {
    fn wall(&self) -> UnixMs {
        self.engine.wall
    }

    fn room(&self) -> Room {
        let memory = &self.io.memory;
        let command_bytes_max = memory.command_bytes_max();
        Room {
            output_bytes_max: memory.output_bytes_max(OUTPUT_BYTES_MAX),
            command_bytes_max: if self.is_shedding { LONG_BYTES } else { command_bytes_max },
        }
    }

    fn note_shed(&mut self) {
        self.io.shed_count += 1;
    }

    fn submit(
        &mut self,
        ticket: Ticket,
        key: &[u8],
        command: Command<'_>,
        answer: &mut dyn FnMut(Answer<'_>, &Lend<'_>),
    ) -> Submitted {
        let request = Operation::of(&command).map(|operation| self.io.latencies.ask(operation));
        if self.answer_alone(key, &command, answer) {
            self.note_answered(request, Ended::Well);
            return Submitted::Done;
        }
        if self.io.memory.refuses_request(command.bytes()) {
            self.note_answered(request, Ended::Busy);
            answer(Answer::failed(Failure::Busy), &copied);
            return Submitted::Done;
        }
        let in_order = takes_effect_at_once(&command)
            && self.engine.shard.is_coordinator(self.key(key).partition);
        let before = self.engine.bodies.bytes();
        self.io.answers.ask(ticket.number());
        self.engine.turn(self.io).command(Origin::Session(ticket.number()), key, command);
        let mut ended = Ended::Well;
        let is_answered = self.io.answers.answer_now(&mut |it| {
            ended = Ended::of(&it);
            answer(it, &copied);
        });
        if is_answered {
            self.note_answered(request, ended);
            return Submitted::Done;
        }
        if let Some(request) = request
            && let Some(slot) = self.io.connections.slot_of(ticket.connection)
            && let Some(connection) = self.io.connections.at(slot)
        {
            connection.asked.push(ticket.operation, request);
        }
        if in_order {
            Submitted::LaterInOrder
        } else {
            // What is gathered already is at least a part of the answer.
            Submitted::Later { bytes: self.engine.bodies.bytes().saturating_sub(before) }
        }
    }

    fn expect(&self, keys: &[&[u8]]) {
        self.engine.prefetch(keys, self.about.hash_seed);
    }

    fn partition_count(&self) -> u32 {
        let has_ring = self.engine.shard.rings().committed().replica_count() > 0;
        if has_ring { 1 << self.about.partition_bits } else { 0 }
    }

    fn partition(&self, key: &[u8]) -> Partition {
        self.key(key).partition
    }

    fn placement(&self, partition: Partition, each: &mut dyn FnMut(Role, SocketAddr)) {
        let rings = self.engine.shard.rings();
        let address = |node: NodeId| {
            let contact = self.io.peers.contact(node);
            let resp = contact.map(|c| SocketAddr::new(peers::ip(c), c.resp_port));
            if node == self.about.node { Some(self.about.resp) } else { resp }
        };
        for owner in rings.owners(partition) {
            if let Some(address) = address(owner) {
                each(Role::Owner, address);
            }
        }
        for fallback in rings.fallbacks(partition) {
            if let Some(address) = address(fallback) {
                each(Role::Fallback, address);
            }
        }
    }

    fn info(&self, section: Section, lines: &mut InfoLines<'_>) {
        let shard = self.engine.shard.config();
        match section {
            Section::Server => {
                // Clients look for this name, and for a version they know.
                lines.line("redis_version", "7.4.0");
                lines.line("ringmain_version", env!("CARGO_PKG_VERSION"));
                lines.line("process_id", std::process::id());
                lines.line("tcp_port", self.about.resp.port());
                lines.line("native_port", self.about.native.port());
                lines.line("uptime_in_seconds", self.about.started.elapsed().as_secs());
            }
            Section::Clients => lines.line("connected_clients", self.io.clients.get()),
            Section::Memory => lines.line("index_bytes", self.engine.log.index_bytes()),
            Section::Persistence => lines.line("durability", &self.about.durability),
            Section::Stats => {
                lines.line("requests_in_flight", self.engine.request_count());
                for counter in Counter::ALL {
                    lines.line(counter.name(), self.about.metrics.counter_total(*counter));
                }
            }
            Section::Replication => lines.line("role", "node"),
            Section::Cpu => {
                lines.line("shard", shard.shard.0);
                lines.line("shards", shard.shards);
            }
            Section::Cluster => {
                lines.line("cluster_enabled", 0);
                lines.line("node", self.about.node);
                lines.line("name", &self.about.name);
                let rings = self.engine.shard.rings();
                let ring = rings.committed();
                lines.line("members", ring.nodes().len());
                lines.line("active_topologies", 1 + u8::from(rings.is_moving()));
                lines.line("ring_hash", format!("{:016x}", ring.hash()));
            }
            // Redis counts keys there; a cluster-wide count is no cheap thing.
            Section::Keyspace => {}
        }
    }

    fn config(&self, each: &mut dyn FnMut(&str, &str)) {
        each("appendonly", "yes");
        each("durability", &self.about.durability);
        each("save", "");
    }
}

/// What is said instead of an answer for which there is no memory: of a write, which has happened,
/// nothing that denies it.
fn no_memory(request: Option<Request>) -> Failure {
    match request {
        Some(request) if request.operation() == Operation::Get => Failure::Busy,
        _ => Failure::NoQuorum { needed: 0, got: 0 },
    }
}

/// A write that does not read first is appended before `command` returns, if it is this shard's.
fn takes_effect_at_once(command: &Command<'_>) -> bool {
    match command {
        Command::Get(_) | Command::Scan(_) => false,
        Command::Put(put) => !matches!(put.replaces, Replaces::ReadFirst { .. }),
    }
}
