//! Listeners: accept until told to stop, and rest when the host is out of something.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::event::{Event, Token};
use super::ring::HotRing;
use crate::sys::{Completion, Errno, OperationId};

/// A listening socket.
pub(super) struct Listener {
    socket: Rc<OwnedFd>,
    tag: u8,
    accepting: Accepting,
}

/// What a listener does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Accepting {
    /// An accept is in flight, or the rest after an error.
    Armed(OperationId),
    /// It was told to stop, and the operation has not ended yet.
    Stopping,
    /// Its place is free.
    Stopped,
}

impl HotRing {
    /// Accepts from `socket` until [`HotRing::unlisten`]. Every accepted socket has TCP_NODELAY.
    /// Several rings may listen on duplicates of one socket: each connection goes to one of them.
    ///
    /// # Errors
    /// Those of the two calls that prepare the socket.
    pub fn listen(&mut self, socket: TcpListener, tag: u8) -> Result<(), Errno> {
        // On a socket that does not block, an accept would fail instead of waiting.
        socket.set_nonblocking(false).map_err(|error| Errno::of(&error))?;
        // What a listener has set, the sockets it accepts have too.
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let socket = Rc::new(OwnedFd::from(socket));
        let free = self.listeners.iter().position(|it| it.accepting == Accepting::Stopped);
        let index = free.unwrap_or(self.listeners.len());
        let operation = self.ring.accept(&socket, Token::Accept(index));
        let listener = Listener { socket, tag, accepting: Accepting::Armed(operation) };
        match self.listeners.get_mut(index) {
            Some(place) => *place = listener,
            None => self.listeners.push(listener),
        }
        Ok(())
    }

    /// Accepts no more from the listeners with `tag`. What was accepted before the next
    /// `submit_and_wait` still comes. The sockets are closed when the kernel let go of them.
    pub fn unlisten(&mut self, tag: u8) {
        for listener in self.listeners.iter_mut().filter(|it| it.tag == tag) {
            if let Accepting::Armed(operation) = listener.accepting {
                listener.accepting = Accepting::Stopping;
                self.ring.cancel(operation);
            }
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        index: usize,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let listener = self.listeners.get(index)?;
        let tag = listener.tag;
        if !completion.has_more {
            match completion.result {
                // Nothing but the one connection is wrong, and it is gone.
                Ok(_) | Err(Errno(libc::ECONNABORTED | libc::EINTR | libc::EPROTO)) => {
                    self.on_rested(index);
                }
                Err(_) => self.rest(index),
            }
        }
        let socket = completion.socket?;
        let peer = rustix::net::getpeername(&socket).ok().flatten();
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Some(Event::Accepted { socket, tag, peer })
    }

    /// Accepts again.
    pub(super) fn on_rested(&mut self, index: usize) -> Option<Event<'static>> {
        let listener = self.listeners.get_mut(index)?;
        listener.accepting = match listener.accepting {
            Accepting::Armed(_) => {
                Accepting::Armed(self.ring.accept(&listener.socket, Token::Accept(index)))
            }
            Accepting::Stopping | Accepting::Stopped => Accepting::Stopped,
        };
        self.release_stopped();
        None
    }

    /// An accept failed in a way that trying again at once would repeat.
    fn rest(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        match listener.accepting {
            Accepting::Armed(_) => {
                self.counts.rests += 1;
                let operation = self.ring.sleep(self.config.accept_rest, Token::Rest(index));
                listener.accepting = Accepting::Armed(operation);
            }
            Accepting::Stopping | Accepting::Stopped => listener.accepting = Accepting::Stopped,
        }
        self.release_stopped();
    }

    /// Closes the sockets of stopped listeners at the end of the list.
    fn release_stopped(&mut self) {
        while self.listeners.last().is_some_and(|it| it.accepting == Accepting::Stopped) {
            self.listeners.pop();
        }
    }
}
