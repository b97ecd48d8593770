//! The tasks of a client on glommio: one for each connection, which connects, reads and writes, and
//! one for time while something waits.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use futures_lite::io::{ReadHalf, WriteHalf, split};
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use glommio::net::TcpStream;

use super::Inner;
use crate::client::HANDSHAKE_TIMEOUT;
use crate::client::router::{Action, LinkId};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// What the task that writes is told.
#[derive(Debug)]
pub(super) struct Connection {
    id: LinkId,
    has_output: Cell<bool>,
    is_over: Cell<bool>,
    /// Of the one task that serves it.
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    fn new(id: LinkId) -> Connection {
        Connection {
            id,
            has_output: Cell::new(false),
            is_over: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    fn wake(&self) {
        self.waker.borrow_mut().take().into_iter().for_each(Waker::wake);
    }

    /// Waits for output: whether there is some, or else it is over.
    async fn output(&self) -> bool {
        poll_fn(|context| {
            if self.is_over.get() {
                return Poll::Ready(false);
            }
            if self.has_output.take() {
                return Poll::Ready(true);
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits for its end.
    async fn end(&self) {
        poll_fn(|context| {
            if self.is_over.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Inner {
    /// Does what the router wants done.
    pub(super) fn act(self: &Rc<Inner>) {
        if self.is_over.get() {
            return;
        }
        loop {
            let action = self.router.borrow_mut().poll_action();
            let Some(action) = action else { break };
            match action {
                Action::Dial(id, address) => self.dial(id, address),
                Action::Send(id) => {
                    if let Some(connection) = self.connection(id) {
                        connection.has_output.set(true);
                        connection.wake();
                    }
                }
                Action::HangUp(id) => self.hang_up(id),
            }
        }
        self.keep_time();
    }

    /// The last clone of the client is gone.
    pub(super) fn end(&self) {
        self.is_over.set(true);
        for connection in self.connections.borrow_mut().drain(..).flatten() {
            connection.is_over.set(true);
            connection.wake();
        }
    }

    fn connection(&self, id: LinkId) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        let connection = connections.get(id.index())?.as_ref()?;
        (connection.id == id).then(|| connection.clone())
    }

    fn hang_up(&self, id: LinkId) {
        if let Some(connection) = self.connection(id) {
            connection.is_over.set(true);
            connection.wake();
            self.connections.borrow_mut()[id.index()] = None;
        }
    }

    fn dial(self: &Rc<Inner>, id: LinkId, address: SocketAddr) {
        let connection = Rc::new(Connection::new(id));
        let mut connections = self.connections.borrow_mut();
        if id.index() >= connections.len() {
            connections.resize_with(id.index() + 1, || None);
        }
        connections[id.index()] = Some(connection.clone());
        let inner = self.clone();
        glommio::spawn_local(async move {
            let served = inner.serve(&connection, address);
            // Whoever hangs up waits for nothing of it.
            let over = async {
                connection.end().await;
                Ok(())
            };
            let error = match over.or(served).await {
                Ok(()) => return,
                Err(error) => error,
            };
            inner.hang_up(id);
            inner.with_router(|router, done| router.on_lost(id, error, Instant::now(), done));
        })
        .detach();
    }

    /// Connects, reads and writes; it ends with the connection.
    async fn serve(
        self: &Rc<Inner>,
        connection: &Rc<Connection>,
        address: SocketAddr,
    ) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(address, HANDSHAKE_TIMEOUT).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = split(stream);
        let id = connection.id;
        self.with_router(|router, done| router.on_connected(id, Instant::now(), done));
        self.read(id, reader).or(self.write(connection, writer)).await
    }

    async fn read(self: &Rc<Inner>, id: LinkId, mut reader: ReadHalf<TcpStream>) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = reader.read(&mut piece).await?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let bytes = &piece[..count];
            self.with_router(|router, done| router.on_received(id, bytes, Instant::now(), done));
        }
    }

    async fn write(
        self: &Rc<Inner>,
        connection: &Rc<Connection>,
        mut writer: WriteHalf<TcpStream>,
    ) -> io::Result<()> {
        let mut out = Vec::new();
        while connection.output().await {
            self.router.borrow_mut().take_output(connection.id, &mut out);
            writer.write_all(&out).await?;
            out.clear();
        }
        Ok(())
    }

    /// Has time pass for the router while it waits for some.
    fn keep_time(self: &Rc<Inner>) {
        if self.has_timer.get() || self.router.borrow().next_time().is_none() {
            return;
        }
        self.has_timer.set(true);
        let inner = self.clone();
        glommio::spawn_local(async move {
            loop {
                let at = inner.router.borrow().next_time();
                let Some(at) = at.filter(|_| !inner.is_over.get()) else { break };
                glommio::timer::sleep(at.saturating_duration_since(Instant::now())).await;
                inner.with_router(|router, done| router.on_time(Instant::now(), done));
            }
            inner.has_timer.set(false);
        })
        .detach();
    }
}
