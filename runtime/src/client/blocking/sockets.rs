//! The sockets of a client that blocks: none of them does, but the wait for all.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::client::ClientError;
use crate::client::router::{Action, Done, LinkId, Router};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long a wait takes at most, so that nothing can be slept through.
pub(super) const WAIT_MAX: Duration = Duration::from_millis(100);
/// How old a look may be.
const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// Reads of each socket in one look: who never ends does not keep a caller for ever.
const LOOK_COUNT_MAX: usize = 1024;
/// A read will not block.
const READABLE: PollFlags = PollFlags::IN.union(PollFlags::HUP).union(PollFlags::ERR);

/// The sockets of one [`Router`]: for those who take the answers as they come, without a copy.
#[derive(Debug)]
pub struct Sockets {
    /// By the index of their link.
    sockets: Vec<Option<Socket>>,
    /// When all that had come was taken last.
    looked_at: Option<Instant>,
    piece: Vec<u8>,
}

#[derive(Debug)]
struct Socket {
    id: LinkId,
    stream: TcpStream,
    is_connected: bool,
    /// What is being written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The router has more.
    has_more: bool,
}

impl Sockets {
    /// None yet.
    pub fn new() -> Sockets {
        Sockets { sockets: Vec::new(), looked_at: None, piece: vec![0; PIECE_BYTES] }
    }

    /// Has the router, which nothing was asked of yet, learn the way.
    ///
    /// # Errors
    /// If no seed answers within the time of a request; why the last one did not.
    pub fn connect(&mut self, router: &mut Router) -> Result<(), ClientError> {
        let until = Instant::now() + router.options().timeout;
        router.begin(Instant::now());
        while !router.is_settled() {
            if Instant::now() >= until {
                return Err(router.failure());
            }
            let turned = self.turn(router, WAIT_MAX, &mut |_, _| {});
            turned.map_err(ClientError::Lost)?;
        }
        Ok(())
    }

    /// Does what the router wants done, waits for what comes first, at most as long as said and a
    /// tenth of a second, and tells it. `done` is told of what has ended.
    ///
    /// # Errors
    /// If this host cannot wait for sockets.
    pub fn turn(
        &mut self,
        router: &mut Router,
        wait: Duration,
        done: &mut Done<'_>,
    ) -> io::Result<()> {
        self.look(router, done)?;
        // What is too late is not sent any more.
        router.on_time(Instant::now(), done);
        self.act(router, done);
        let wake = router.next_time().map(|at| at.saturating_duration_since(Instant::now()));
        let ready = self.wait(wake.unwrap_or(wait).min(wait))?;
        for (index, flags) in ready {
            self.on_ready(index, flags, router, done);
        }
        self.looked_at = Some(Instant::now());
        router.on_time(Instant::now(), done);
        self.act(router, done);
        Ok(())
    }

    /// Takes what has come since the last look, if that is a while ago: what has answered is not
    /// late, and who has hung up is asked nothing more. Waits for nothing.
    ///
    /// # Errors
    /// As [`Sockets::turn`].
    pub fn look(&mut self, router: &mut Router, done: &mut Done<'_>) -> io::Result<()> {
        for _ in 0..LOOK_COUNT_MAX {
            if self.looked_at.is_none_or(|at| at.elapsed() < LOOK_PAUSE) {
                break;
            }
            let ready = self.wait(Duration::ZERO)?;
            if !ready.iter().any(|(_, flags)| flags.intersects(READABLE)) {
                self.looked_at = Some(Instant::now());
            }
            for (index, flags) in ready {
                self.on_ready(index, flags, router, done);
            }
        }
        Ok(())
    }

    fn act(&mut self, router: &mut Router, done: &mut Done<'_>) {
        while let Some(action) = router.poll_action() {
            match action {
                Action::Dial(id, address) => match Socket::dial(id, address) {
                    Ok(socket) => {
                        let index = id.index();
                        if index >= self.sockets.len() {
                            self.sockets.resize_with(index + 1, || None);
                        }
                        self.sockets[index] = Some(socket);
                    }
                    Err(error) => router.on_lost(id, error, Instant::now(), done),
                },
                Action::Send(id) => {
                    if let Some(socket) = self.at(id) {
                        socket.has_more = true;
                        self.flush(id.index(), router, done);
                    }
                }
                Action::HangUp(id) => {
                    if self.at(id).is_some() {
                        self.sockets[id.index()] = None;
                    }
                }
            }
        }
    }

    fn at(&mut self, id: LinkId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.index())?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    /// The sockets for which something is to be done, once there is one, or the time is over.
    fn wait(&self, timeout: Duration) -> io::Result<Vec<(usize, PollFlags)>> {
        let mut indices = Vec::new();
        let mut fds = Vec::new();
        for (index, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, socket.waits_to_write());
            indices.push(index);
            fds.push(PollFd::new(&socket.stream, flags));
        }
        let timeout = Timespec::try_from(timeout.min(WAIT_MAX)).expect("a moment");
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = fds.iter().map(PollFd::revents);
        Ok(indices.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn on_ready(
        &mut self,
        index: usize,
        flags: PollFlags,
        router: &mut Router,
        done: &mut Done<'_>,
    ) {
        let Some(socket) = &mut self.sockets[index] else { return };
        let id = socket.id;
        if !socket.is_connected {
            // Nothing but the end of connecting is waited for.
            match sockopt::socket_error(&socket.stream) {
                Ok(Ok(())) if !flags.contains(PollFlags::OUT) => return,
                Ok(Ok(())) => {
                    socket.is_connected = true;
                    router.on_connected(id, Instant::now(), done);
                }
                Ok(Err(error)) | Err(error) => {
                    self.sockets[index] = None;
                    router.on_lost(id, error.into(), Instant::now(), done);
                }
            }
            return;
        }
        if flags.contains(PollFlags::OUT) {
            self.flush(index, router, done);
        }
        if flags.intersects(READABLE) {
            self.read(index, router, done);
        }
    }

    fn read(&mut self, index: usize, router: &mut Router, done: &mut Done<'_>) {
        let Some(socket) = &mut self.sockets[index] else { return };
        let id = socket.id;
        let error = match socket.stream.read(&mut self.piece) {
            Ok(0) => ErrorKind::UnexpectedEof.into(),
            Ok(count) => {
                return router.on_received(id, &self.piece[..count], Instant::now(), done);
            }
            Err(error) if is_for_now(&error) => return,
            Err(error) => error,
        };
        self.sockets[index] = None;
        router.on_lost(id, error, Instant::now(), done);
    }

    /// Writes what the socket takes.
    fn flush(&mut self, index: usize, router: &mut Router, done: &mut Done<'_>) {
        let Some(socket) = &mut self.sockets[index] else { return };
        loop {
            if socket.written == socket.out.len() {
                socket.out.clear();
                socket.written = 0;
                if !std::mem::take(&mut socket.has_more) {
                    return;
                }
                router.take_output(socket.id, &mut socket.out);
            }
            match socket.stream.write(&socket.out[socket.written..]) {
                Ok(count) => socket.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    let id = socket.id;
                    self.sockets[index] = None;
                    return router.on_lost(id, error, Instant::now(), done);
                }
            }
        }
    }
}

impl Default for Sockets {
    fn default() -> Sockets {
        Sockets::new()
    }
}

impl Socket {
    /// Begins to connect.
    fn dial(id: LinkId, address: SocketAddr) -> io::Result<Socket> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Socket { id, stream, is_connected: false, out: Vec::new(), written: 0, has_more: false })
    }

    fn waits_to_write(&self) -> bool {
        !self.is_connected || self.written < self.out.len() || self.has_more
    }
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
