//! Connections: adopting, connecting, receiving, sending, closing.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

use super::connection::{Connection, ConnectionId, Receive, Receiving, Sending, Wants};
use super::event::{Ending, Event, Token};
use super::file::Full;
use super::ring::{HotRing, Step};
use crate::sys::{Completion, Errno, SendBuffer};

impl HotRing {
    /// Makes a connected socket one of this ring, and receives from it at once.
    ///
    /// # Errors
    /// Gives the socket back if there are `connection_count_max` already.
    pub fn adopt(
        &mut self,
        socket: OwnedFd,
        receive: Receive,
    ) -> Result<ConnectionId, (OwnedFd, Full)> {
        if self.connections.is_full() {
            return Err((socket, Full));
        }
        let wants = match receive {
            Receive::First => Wants::Once,
            Receive::Stream => Wants::Stream,
        };
        // On a socket that does not block, an operation of the ring would fail instead of waiting.
        let _ = rustix::io::ioctl_fionbio(&socket, false);
        let connection = Connection::new(Rc::new(socket), wants);
        match self.connections.insert(connection) {
            Ok(id) => {
                self.arm(id);
                Ok(id)
            }
            Err(connection) => match Rc::try_unwrap(connection.socket) {
                Ok(socket) => Err((socket, Full)),
                Err(_) => unreachable!("nobody else got it since `Rc::new` above"),
            },
        }
    }

    /// Connects to `address`, from the local address `source` if given. `Connected` follows, or
    /// `Ended` if it fails or takes longer than `timeout`.
    ///
    /// # Errors
    /// EMFILE and its like from making the socket, also if the ring is full; those of binding it.
    pub fn connect(
        &mut self,
        address: SocketAddr,
        source: Option<IpAddr>,
        timeout: Duration,
    ) -> Result<ConnectionId, Errno> {
        if self.connections.is_full() {
            return Err(Errno(libc::EMFILE));
        }
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(source) = source {
            rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
        }
        let socket = Rc::new(socket);
        let connection = Connection::new(Rc::clone(&socket), Wants::Stream);
        let id = self.connections.insert(connection).map_err(|_| Errno(libc::EMFILE))?;
        let operation = self.ring.connect(&socket, address, timeout, Token::Connect(id));
        if let Some(connection) = self.connections.find(id) {
            connection.receiving = Receiving::Connecting(operation);
        }
        Ok(id)
    }

    /// The socket of a connection, to set or ask for options; `None` if it is closing or gone.
    pub fn socket(&mut self, id: ConnectionId) -> Option<BorrowedFd<'_>> {
        Some(self.open(id)?.socket.as_fd())
    }

    /// Takes a connection out of the ring, to be adopted on another thread; nothing more is said
    /// about it here. `None`, and nothing happens, if it is closing or gone, or if a receive or a
    /// send is in flight: only after the bytes of [`Receive::First`] there is surely none.
    pub fn hand_over(&mut self, id: ConnectionId) -> Option<OwnedFd> {
        if !self.open(id)?.is_quiet() {
            return None;
        }
        let connection = self.connections.remove(id)?;
        // Operations hold the socket too, but it is quiet, so there are none.
        Rc::try_unwrap(connection.socket).ok()
    }

    /// Sends all of `buffer`; `Sent` gives it back. One send at a time per connection.
    ///
    /// # Errors
    /// Gives it back if it is empty, if the last send has not ended, if it is not connected
    /// yet, or if it failed, is closing or gone.
    pub fn send(
        &mut self,
        id: ConnectionId,
        buffer: impl Into<SendBuffer>,
    ) -> Result<(), SendBuffer> {
        let buffer = buffer.into();
        let Some(connection) = self.open(id) else { return Err(buffer) };
        let is_connecting = matches!(connection.receiving, Receiving::Connecting(_));
        if connection.has_failed || is_connecting || connection.sending.is_some() {
            return Err(buffer);
        }
        if buffer.is_empty() {
            return Err(buffer);
        }
        self.send_from(id, buffer, 0);
        Ok(())
    }

    /// Says that nothing more will be sent: the peer reads the end of the stream behind what was.
    pub fn finish(&mut self, id: ConnectionId) {
        if let Some(connection) = self.open(id) {
            let _ = rustix::net::shutdown(&connection.socket, Shutdown::Write);
        }
    }

    /// Receives no more for now, so that the peer comes to wait. What was received before the
    /// next `submit_and_wait` still comes: at most the buffers of the ring.
    pub fn pause_receive(&mut self, id: ConnectionId) {
        if let Some(connection) = self.open(id) {
            connection.wants = Wants::Nothing;
            self.disarm(id);
        }
    }

    /// Receives all that comes from now on.
    pub fn resume_receive(&mut self, id: ConnectionId) {
        if let Some(connection) = self.open(id) {
            connection.wants = Wants::Stream;
            self.arm(id);
        }
    }

    /// Receives once more, as for [`Receive::First`].
    pub fn receive_once(&mut self, id: ConnectionId) {
        if let Some(connection) = self.open(id) {
            connection.wants = Wants::Once;
            self.arm(id);
        }
    }

    /// Ends a connection: what the kernel took is still sent, what it did not is not. `Closed`
    /// follows, and nothing else.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.open(id) else { return };
        connection.is_closing = true;
        connection.wants = Wants::Nothing;
        let (receiving, sending) = (connection.receiving, connection.sending);
        if let Some(sending) = sending {
            self.ring.cancel(sending.operation);
        }
        match receiving {
            Receiving::Connecting(operation) => self.ring.cancel(operation),
            _ => self.disarm(id),
        }
        self.check_closed(id);
    }

    /// Arms receives for connections that found no buffer, as many as there are buffers now.
    pub(super) fn arm_starved(&mut self) {
        for _ in 0..self.ring.buffers().free_count() {
            let Some(slot) = self.starved.pop_front() else { break };
            if let Some(id) = self.connections.dequeue(slot) {
                if let Some(connection) = self.connections.find(id) {
                    connection.receiving = Receiving::Off;
                }
                self.arm(id);
            }
        }
    }

    pub(super) fn on_connected(
        &mut self,
        id: ConnectionId,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let connection = self.connections.find(id)?;
        connection.receiving = Receiving::Off;
        if connection.is_closing {
            self.check_closed(id);
            return None;
        }
        let errno = match completion.result {
            Ok(_) => {
                self.arm(id);
                return Some(Event::Connected { connection: id });
            }
            // Nothing but the time limit linked to it cancels an open connection's connect.
            Err(Errno(libc::ECANCELED)) => Errno(libc::ETIMEDOUT),
            Err(errno) => errno,
        };
        connection.receiving = Receiving::Finished;
        self.fail(id, errno)
    }

    pub(super) fn on_received(
        &mut self,
        id: ConnectionId,
        completion: Completion<Token>,
    ) -> Option<Step> {
        let buffer = completion.buffer;
        let is_open = self.connections.find(id).is_some_and(|it| !it.is_closing);
        if !completion.has_more
            && let Some(connection) = self.connections.find(id)
        {
            connection.receiving = Receiving::Off;
        }
        if let (true, Some(buffer), Ok(1..)) = (is_open, buffer, completion.result) {
            if let Some(connection) = self.connections.find(id)
                && connection.wants == Wants::Once
            {
                connection.wants = Wants::Nothing;
            }
            self.arm(id);
            return Some(Step::Received { connection: id, buffer });
        }
        if let Some(buffer) = buffer {
            self.ring.buffers().give_back(buffer);
        }
        if !is_open {
            self.check_closed(id);
            return None;
        }
        self.on_receive_ended(id, completion.result).map(Step::Other)
    }

    /// A receive ended without bytes, on an open connection.
    fn on_receive_ended(
        &mut self,
        id: ConnectionId,
        result: Result<u32, Errno>,
    ) -> Option<Event<'static>> {
        let connection = self.connections.find(id)?;
        match result {
            Err(Errno(libc::ENOBUFS)) => {
                self.counts.starved += 1;
                if connection.wants != Wants::Nothing {
                    connection.receiving = Receiving::Starved;
                    if self.connections.enqueue(id) {
                        self.starved.push_back(id.slot());
                    }
                }
                None
            }
            // Canceled by a pause, which may have been taken back since.
            Err(Errno(libc::ECANCELED | libc::EINTR)) => {
                self.arm(id);
                None
            }
            Ok(0) => {
                connection.receiving = Receiving::Finished;
                // A reset is told once, perhaps to the send: then this is the end of nothing.
                let ending = Ending::Finished;
                (!connection.has_failed).then_some(Event::Ended { connection: id, ending })
            }
            result => {
                connection.receiving = Receiving::Finished;
                // Bytes without a buffer cannot be: then some are lost.
                self.fail(id, result.err().unwrap_or(Errno(libc::EIO)))
            }
        }
    }

    pub(super) fn on_sent(
        &mut self,
        id: ConnectionId,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let buffer = completion.lent.into_send_buffer()?;
        let connection = self.connections.find(id)?;
        let Sending { from, to, .. } = connection.sending.take()?;
        let sent = match completion.result {
            Ok(sent) => from + sent as usize,
            Err(_) => from,
        };
        if sent >= buffer.bytes() && !connection.is_closing {
            return Some(Event::Sent { connection: id, buffer });
        }
        if connection.is_closing {
            connection.unsent = Some(buffer);
            self.check_closed(id);
            return None;
        }
        match completion.result {
            Ok(1..) | Err(Errno(libc::EINTR)) => {
                self.counts.short_sends += u64::from(sent < to);
                self.send_from(id, buffer, sent);
                None
            }
            Ok(0) => {
                connection.unsent = Some(buffer);
                self.fail(id, Errno(libc::EPIPE))
            }
            Err(errno) => {
                connection.unsent = Some(buffer);
                self.fail(id, errno)
            }
        }
    }

    /// A connection that was not closed.
    fn open(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.find(id).filter(|connection| !connection.is_closing)
    }

    fn send_from(&mut self, id: ConnectionId, buffer: SendBuffer, from: usize) {
        if let Some(connection) = self.connections.find(id) {
            let token = Token::Send(id);
            let (operation, bytes) = self.ring.send(&connection.socket, buffer, from, token);
            connection.sending = Some(Sending { operation, from, to: from + bytes });
        }
    }

    /// Starts the receive that a connection wants, if none is in flight.
    fn arm(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.receiving == Receiving::Off && connection.wants != Wants::Nothing {
            let is_once = connection.wants == Wants::Once;
            let operation = self.ring.receive(&connection.socket, is_once, Token::Receive(id));
            connection.receiving = Receiving::Armed { operation, is_canceled: false };
        }
    }

    /// Ends the receive of a connection. The completion that says so is still to come.
    fn disarm(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        match connection.receiving {
            Receiving::Armed { operation, is_canceled: false } => {
                connection.receiving = Receiving::Armed { operation, is_canceled: true };
                self.ring.cancel(operation);
            }
            Receiving::Starved => connection.receiving = Receiving::Off,
            _ => {}
        }
    }

    /// Says once that a connection failed.
    fn fail(&mut self, id: ConnectionId, errno: Errno) -> Option<Event<'static>> {
        let connection = self.connections.find(id)?;
        if std::mem::replace(&mut connection.has_failed, true) {
            return None;
        }
        Some(Event::Ended { connection: id, ending: Ending::Failed(errno) })
    }

    /// Whether a connection that was closed is quiet now, so that it can go.
    fn check_closed(&mut self, id: ConnectionId) {
        if self.connections.find(id).is_some_and(|it| it.is_closing && it.is_quiet()) {
            self.closed.push_back(id);
        }
    }
}
