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
    /// An accept, or the rest after an error.
    operation: OperationId,
    /// It was told to stop: it goes when the operation ended.
    is_stopping: bool,
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
        let free = self.listeners.iter().position(Option::is_none);
        let index = free.unwrap_or(self.listeners.len());
        if index == self.listeners.len() {
            self.listeners.push(None);
        }
        let operation = self.ring.accept(&socket, Token::Accept(index));
        self.listeners[index] = Some(Listener { socket, tag, operation, is_stopping: false });
        Ok(())
    }

    /// Accepts no more from the listeners with `tag`. What was accepted before the next
    /// `submit_and_wait` still comes. The sockets are closed when the kernel let go of them.
    pub fn unlisten(&mut self, tag: u8) {
        for listener in self.listeners.iter_mut().flatten().filter(|it| it.tag == tag) {
            if !listener.is_stopping {
                listener.is_stopping = true;
                self.ring.cancel(listener.operation);
            }
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        index: usize,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let tag = self.listeners.get(index)?.as_ref()?.tag;
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
        if let Some(listener) = self.going_on(index) {
            let socket = Rc::clone(&listener.socket);
            let operation = self.ring.accept(&socket, Token::Accept(index));
            self.note(index, operation);
        }
        None
    }

    /// An accept failed in a way that trying again at once would repeat.
    fn rest(&mut self, index: usize) {
        if self.going_on(index).is_some() {
            self.counts.rests += 1;
            let operation = self.ring.timeout(self.config.accept_rest, Token::Rest(index));
            self.note(index, operation);
        }
    }

    /// A listener whose operation ended; `None` if it was to stop, and then it is gone.
    fn going_on(&mut self, index: usize) -> Option<&Listener> {
        let place = self.listeners.get_mut(index)?;
        if place.as_ref().is_some_and(|listener| listener.is_stopping) {
            *place = None;
        }
        place.as_ref()
    }

    fn note(&mut self, index: usize, operation: OperationId) {
        if let Some(Some(listener)) = self.listeners.get_mut(index) {
            listener.operation = operation;
        }
    }
}
