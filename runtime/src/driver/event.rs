//! What the ring says, given to whom it concerns.

use super::connection::{Connections, Speaks};
use super::held_back::Scarce;
use super::work::{Work, is_loopback};
use super::{Driver, State};
use crate::log::{Completion, Errno};
use crate::metrics::Counter;
use crate::net::{ConnectionId, Ending, Event, Receive};
use crate::session::request::Ticket;
use crate::session::resp::RespSession;
use crate::sys::SendBuffer;
use bytes::BytesMut;
use ringmain_core::drive::{Parked, Waiting as _};
use ringmain_core::request::Origin;
use ringmain_core::shard::Input;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// Listeners, by the tag that their sockets carry.
pub(crate) const RESP: u8 = 0;
/// See [`RESP`].
pub(crate) const NATIVE: u8 = 1;

/// What a client hears for whom there is no room, as from Redis.
const CLIENTS_FULL: &[u8] = b"-ERR max number of clients reached\r\n";
/// A buffer larger than this is not kept for the next output, bytes.
const SPARE_BYTES_MAX: usize = 64 << 10;

impl Driver {
    /// A socket was accepted: RESP stays here, native says first which shard it wants.
    pub(super) fn on_accepted(&mut self, socket: OwnedFd, tag: u8) {
        if self.state.stopping.is_some() {
            return;
        }
        self.state.recorder.add(Counter::ConnectionsAccepted, 1);
        if tag == NATIVE {
            if !self.state.admits_stranger() {
                self.state.recorder.add(Counter::ConnectionsRefused, 1);
                return;
            }
            let is_loopback = is_loopback(&socket);
            return self.adopt_native(socket, is_loopback, Receive::First, &[]);
        }
        if !self.state.io.clients.enter() {
            self.state.recorder.add(Counter::ConnectionsRefused, 1);
            // Whoever does not take it sees a closed connection.
            let _lost = rustix::io::write(&socket, CLIENTS_FULL);
            return;
        }
        let id = match self.net.adopt(socket, Receive::Stream) {
            Ok(id) => id,
            Err((socket, _)) => {
                self.state.io.clients.leave();
                self.state.recorder.add(Counter::ConnectionsRefused, 1);
                let _lost = rustix::io::write(&socket, CLIENTS_FULL);
                return;
            }
        };
        let limits = self.state.limits;
        let slot = self.state.io.connections.insert(id, |link| {
            Speaks::Resp(
                Box::new(RespSession::new(Connections::session_number(link), limits)),
                BytesMut::new(),
            )
        });
        if let Some(connection) = self.state.io.connections.at(slot) {
            connection.is_counted = true;
        }
    }
}

impl State {
    /// Handles one event; gives back a socket that was accepted.
    pub(super) fn on_event(&mut self, event: Event<'_>) -> Option<(OwnedFd, u8)> {
        match event {
            Event::Received { connection, bytes } => {
                self.recorder.add(Counter::BytesReceived, bytes.len() as u64);
                self.receive(connection, bytes);
            }
            Event::Sent { connection, buffer } => self.on_sent(connection, buffer),
            Event::Accepted { socket, tag, .. } => return Some((socket, tag)),
            Event::Connected { connection } => self.on_connected(connection),
            Event::Ended { connection, ending } => self.on_ended(connection, ending),
            Event::Closed { connection, .. } => self.on_closed(connection),
            Event::Written { tag, result } => {
                let result = result.map(|()| tag as usize).map_err(|errno| Errno(errno.0));
                self.on_written(Completion::Written { result });
            }
            Event::Synced { result, .. } => {
                self.end_sync();
                self.recorder.add(Counter::LogSyncs, u64::from(result.is_ok()));
                self.recorder.add(Counter::LogErrors, u64::from(result.is_err()));
                let result = result.map_err(|errno| Errno(errno.0));
                self.engine.log.handle_completion(Completion::Synced { result });
            }
            Event::Read { tag, buffer, result } => {
                let result = result.map_err(|errno| Errno(errno.0));
                self.on_read(tag, buffer, result);
            }
            Event::Doorbell => {}
        }
        None
    }

    /// Reads what arrived, or holds it back if its connection has to wait, or does.
    pub(super) fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        match self.lack(id) {
            None if !self.held_back.contains(id) => self.on_received(id, bytes),
            lack => {
                // With none, it stands in a queue already.
                self.held_back.push(id, lack.unwrap_or(Scarce::Log), bytes);
                self.work.push_back(Work::Pause(id, true));
            }
        }
    }

    pub(super) fn on_received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let slot = id.slot() as u32;
        let Some(connection) = self.io.connections.at(slot) else { return };
        if connection.is_client() && self.stopping.is_some() {
            return;
        }
        let (end, waiting) = (self.engine.log.end(), self.engine.waiting.count());
        match connection.speaks {
            Speaks::Resp(..) => self.on_resp(slot, bytes),
            _ => self.on_native(slot, bytes),
        }
        if let Some(connection) = self.io.connections.at(slot) {
            connection.has_written |= self.engine.log.end() != end;
            connection.has_waited |= self.engine.waiting.count() > waiting;
            connection.received_at = self.engine.now;
        }
        self.io.mark(slot);
        self.deliver();
    }

    fn on_sent(&mut self, id: ConnectionId, mut buffer: SendBuffer) {
        let slot = id.slot() as u32;
        let Some(connection) = self.io.connections.at(slot) else { return };
        connection.is_sending = false;
        connection.sending_bytes = 0;
        self.recorder.add(Counter::BytesSent, buffer.bytes() as u64);
        self.recorder.add(Counter::BytesLent, buffer.lent_bytes() as u64);
        buffer.clear();
        if buffer.capacity() <= SPARE_BYTES_MAX {
            connection.spare = buffer;
        }
        let is_resp = matches!(connection.speaks, Speaks::Resp(..));
        self.io.mark(slot);
        if is_resp {
            self.on_resp_sent(slot);
        } else {
            self.on_native_sent(slot);
        }
    }

    fn on_connected(&mut self, id: ConnectionId) {
        let slot = id.slot() as u32;
        if let Some(connection) = self.io.connections.at(slot) {
            connection.is_sending = false;
        }
        self.io.mark(slot);
    }

    fn on_ended(&mut self, id: ConnectionId, ending: Ending) {
        let slot = id.slot() as u32;
        let Some(connection) = self.io.connections.at(slot) else { return };
        let is_link = !matches!(connection.speaks, Speaks::Resp(..) | Speaks::Client(..));
        if is_link || matches!(ending, Ending::Failed(_)) {
            self.work.push_back(Work::Close(id));
        } else {
            // The client sends no more but may read: it gets what it is owed.
            connection.is_closing = true;
            self.io.mark(slot);
        }
    }

    fn on_closed(&mut self, id: ConnectionId) {
        self.held_back.remove(id);
        let Some(connection) = self.io.remove(id) else { return };
        if !self.engine.waiting.is_empty() {
            self.gone.push(connection.link);
        }
        if connection.is_counted {
            self.io.clients.leave();
        }
        if connection.is_stranger {
            self.io.strangers.leave();
        }
        match connection.speaks {
            Speaks::Dialing(_, dial) => self.fail_dial(dial, "no connection"),
            Speaks::PeerOut(node, shard, _) => self.on_link_down(node, shard, connection.link),
            Speaks::PeerIn(node, _) => self.on_incoming_down(node, connection.link),
            Speaks::Resp(..) | Speaks::Accepting(_) | Speaks::Client(..) | Speaks::Nothing => {}
        }
    }

    /// Gives up what waits for connections that are gone: none of it was begun, and the answers
    /// would reach nobody. All of a turn at once, since it looks at each that waits.
    pub(super) fn give_up_gone(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let links = BTreeSet::from_iter(self.gone.drain(..));
        let numbers = links.iter().map(|link| Connections::session_number(*link));
        let sessions: BTreeSet<u32> = numbers.collect();
        self.engine.waiting.give_up(self.engine.now, |parked| match parked {
            Parked::Command(Origin::Session(ticket)) => {
                sessions.contains(&Ticket::from_number(*ticket).connection)
            }
            Parked::Command(Origin::Frame { link, .. }) => links.contains(link),
            // Others count on what these store.
            Parked::Frame { .. } | Parked::Write(_) => false,
        });
    }

    /// A handshake should be over by now.
    pub(super) fn on_handshake_late(&mut self, id: ConnectionId) {
        let Some(connection) = self.io.connections.at(id.slot() as u32) else { return };
        let is_open = matches!(connection.speaks, Speaks::Accepting(_) | Speaks::Dialing(..));
        if connection.id == id && is_open {
            self.work.push_back(Work::Close(id));
        }
    }

    /// Whether one more native connection may begin its handshake. Where there are too many, the
    /// oldest on this shard makes room: peers end theirs soon, and must not wait for others.
    pub(super) fn admits_stranger(&mut self) -> bool {
        if self.io.strangers.enter() {
            return true;
        }
        for _ in 0..self.handshakes.len() {
            let Some((at, id)) = self.handshakes.pop_front() else { break };
            let Some(connection) = self.io.connections.at(id.slot() as u32) else { continue };
            match connection.speaks {
                Speaks::Accepting(_) if connection.id == id => {
                    self.work.push_back(Work::Close(id));
                    self.io.strangers.enter_instead();
                    return true;
                }
                // It gives itself up, too.
                Speaks::Dialing(..) if connection.id == id => self.handshakes.push_back((at, id)),
                _ => {}
            }
        }
        false
    }

    /// Stop: nothing new, what is in flight is answered, the log is synced.
    pub(super) fn on_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(self.engine.now);
        self.engine.turn(&mut self.io).input(Input::Stop);
        self.engine.log.stop();
        for slot in 0..self.io.connections.slot_count() {
            let Some(connection) = self.io.connections.at(slot) else { continue };
            if let Speaks::Resp(_, rest) = &mut connection.speaks {
                rest.clear();
            }
            if connection.is_client() {
                // It is closed once it has its answers.
                connection.is_closing = true;
                self.io.mark(slot);
            }
        }
    }
}
