//! What handlers want of the ring. They run while an event borrows it, so they leave their wishes
//! here and the driver carries them out behind each event.

use super::connection::{Connection, Speaks};
use super::control::Control;
use super::peers::Dial;
use super::store::Reading;
use super::{Driver, HANDSHAKE_TIMEOUT, State};
use crate::data_dir::random_bytes;
use crate::metrics::Counter;
use crate::net::{ConnectionId, Receive};
use crate::session::native::acceptor::Acceptor;
use crate::session::native::dialer::{Call, Dialer};
use ringmain_core::id::{NodeId, ShardIndex};
use std::os::fd::OwnedFd;

/// One wish.
pub(crate) enum Work {
    /// Receive nothing for a while, or go on.
    Pause(ConnectionId, bool),
    /// Receive once more: the connection may still go to another shard.
    Once(ConnectionId),
    /// Receive all that comes from now on.
    Stream(ConnectionId),
    /// Close at once.
    Close(ConnectionId),
    /// Give the socket to another shard, with the bytes that it has sent.
    HandOver(ConnectionId, ShardIndex, Vec<u8>),
    /// Take a socket that another shard gave.
    Adopt { socket: OwnedFd, received: Vec<u8>, is_loopback: bool },
    /// Read a part of the log again.
    Read(Reading),
    /// Connect to a shard of a peer, or to a seed.
    Dial(Dial),
}

impl Driver {
    /// Carries out what the handlers left.
    pub(super) fn carry_out(&mut self) {
        while let Some(work) = self.state.work.pop_front() {
            match work {
                Work::Pause(id, true) => self.net.pause_receive(id),
                Work::Pause(id, false) | Work::Stream(id) => self.net.resume_receive(id),
                Work::Once(id) => self.net.receive_once(id),
                Work::Close(id) => self.net.close(id),
                Work::HandOver(id, shard, bytes) => self.hand_over(id, shard, bytes),
                Work::Adopt { socket, received, is_loopback } => {
                    self.adopt_native(socket, is_loopback, Receive::First, &received);
                }
                Work::Read(reading) => self.read(reading),
                Work::Dial(dial) => self.dial(dial),
            }
        }
    }

    fn hand_over(&mut self, id: ConnectionId, shard: ShardIndex, received: Vec<u8>) {
        let Some(socket) = self.net.hand_over(id) else {
            return self.net.close(id);
        };
        self.state.io.remove(id);
        let is_loopback = is_loopback(&socket);
        let control = Control::Adopt { socket, received, is_loopback };
        // A full queue drops the socket: the other side sees a closed connection and comes again.
        if self.state.io.mesh.control(shard, control).is_err() {
            self.state.io.strangers.leave();
        }
    }

    /// Takes an accepted native socket in, which counts as a stranger's, and gives its handshake
    /// what arrived elsewhere.
    pub(super) fn adopt_native(
        &mut self,
        socket: OwnedFd,
        is_loopback: bool,
        receive: Receive,
        received: &[u8],
    ) {
        let Ok(nonce) = random_bytes() else {
            self.state.io.strangers.leave();
            return tracing::error!("this host gives no random numbers: a connection is refused");
        };
        let Ok(id) = self.net.adopt(socket, receive) else {
            self.state.recorder.add(Counter::ConnectionsRefused, 1);
            return self.state.io.strangers.leave();
        };
        let acceptor = Box::new(Acceptor::new(nonce, is_loopback));
        let slot = self.state.io.connections.insert(id, |_| Speaks::Accepting(acceptor));
        if let Some(connection) = self.state.io.connections.at(slot) {
            connection.may_manage = is_loopback;
            connection.is_stranger = true;
        }
        self.state.handshakes.push_back((self.state.engine.now + HANDSHAKE_TIMEOUT, id));
        if !received.is_empty() {
            self.state.on_native(slot, received);
        }
    }

    fn dial(&mut self, dial: Dial) {
        let source = self.state.source;
        let Ok(nonce) = random_bytes() else {
            return self.state.fail_dial(dial, "this host gives no random numbers");
        };
        let Ok(id) = self.net.connect(dial.address, source, HANDSHAKE_TIMEOUT) else {
            return self.state.fail_dial(dial, "no socket can be made");
        };
        let call = Call {
            joiner: !self.state.is_member,
            node: (dial.node != NodeId(0)).then_some(dial.node),
            shard: dial.shard,
            nonce,
            over_loopback: dial.address.ip().is_loopback(),
        };
        let mut out = Vec::new();
        let dialer = Box::new(Dialer::new(&self.state.local(), call, &mut out));
        let slot = self.state.io.connections.insert(id, |_| Speaks::Dialing(dialer, dial));
        if let Some(connection) = self.state.io.connections.at(slot) {
            connection.out = out.into();
            // It is sent once the connection stands.
            connection.is_sending = true;
        }
        self.state.handshakes.push_back((self.state.engine.now + HANDSHAKE_TIMEOUT, id));
    }

    /// Sends what connections have, one send each. What stays behind a send that has not ended is
    /// stamped all the same: it counts from now on.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.state.io.dirty);
        let now = self.state.engine.now;
        for slot in dirty.drain(..) {
            let State { io, held_back, .. } = &mut self.state;
            let Some(connection) = io.connections.at(slot) else { continue };
            connection.is_dirty = false;
            connection.stamp(now);
            // What it sent before it was closed is still to be read.
            let is_held_back = connection.is_closing && held_back.contains(connection.id);
            let waits = connection.is_sending || is_held_back;
            if !waits {
                connection.sending_since = now;
                flush(&mut self.net, connection);
            }
            io.recount(slot);
            io.keep_warm(slot, now);
        }
        self.state.io.dirty = dirty;
    }
}

/// Starts the next send of a connection, or closes it if that was all.
fn flush(net: &mut crate::net::HotRing, connection: &mut Connection) {
    if connection.out.is_empty()
        && let Speaks::Resp(session, _) = &mut connection.speaks
        && session.output_bytes() > 0
    {
        connection.out = std::mem::take(&mut connection.spare);
        session.take_output(&mut connection.out);
    }
    if connection.out.is_empty() {
        let is_pending = match &connection.speaks {
            Speaks::Resp(session, _) => session.pending() > 0,
            Speaks::Client(_) => connection.open > 0,
            _ => false,
        };
        if connection.is_closing && !is_pending {
            net.close(connection.id);
        }
        return;
    }
    let buffer = connection.take_out();
    connection.sending_bytes = buffer.capacity();
    connection.is_sending = match net.send(connection.id, buffer) {
        Ok(()) => true,
        Err(buffer) => {
            // It has failed: nothing can be sent any more, and `Ended` says so.
            drop(buffer);
            connection.sending_bytes = 0;
            false
        }
    };
}

/// Whether both ends of a socket have loopback addresses.
pub(super) fn is_loopback(socket: &OwnedFd) -> bool {
    let here = rustix::net::getsockname(socket).ok();
    let there = rustix::net::getpeername(socket).ok().flatten();
    [here, there].into_iter().all(|end| {
        let address = end.and_then(|end| std::net::SocketAddr::try_from(end).ok());
        address.is_some_and(|address| address.ip().to_canonical().is_loopback())
    })
}
