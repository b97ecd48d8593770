//! The HTTP port: what operators and their tools ask a running node.
//!
//! It must answer when the shards are busy, and cost them nothing: so it has one thread of its
//! own that polls a few connections. It must not be a way to exhaust the process: requests are
//! bounded in bytes and time, every reply closes its connection, and one connection too many
//! replaces the oldest, so a flood of silent ones cannot shut out `/health`.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

mod connection;
mod metrics;
mod pages;

use connection::Connection;
pub(crate) use pages::Pages;

/// Most connections at a time.
const CONNECTION_COUNT_MAX: usize = 16;
/// How long a connection may take from its accept to its close.
const PATIENCE: Duration = Duration::from_secs(5);

/// The running HTTP port. Dropping it stops the thread.
#[derive(Debug)]
pub(crate) struct Admin {
    /// Closed to stop the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Page {
    /// For people: what else there is.
    Index,
    /// 200 while the process serves.
    Health,
    /// 200 once it has recovered and is in the ring.
    Ready,
    /// What it counts and times, for Prometheus.
    Metrics,
    /// The cluster's status, JSON.
    Status,
}

/// The answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The content type.
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

impl Page {
    fn of(path: &str) -> Option<Page> {
        match path {
            "/" => Some(Page::Index),
            "/health" => Some(Page::Health),
            "/ready" => Some(Page::Ready),
            "/metrics" => Some(Page::Metrics),
            "/status" => Some(Page::Status),
            _ => None,
        }
    }
}

impl Reply {
    pub(crate) fn text(status: u16, body: &str) -> Reply {
        Reply { status, kind: "text/plain; charset=utf-8", body: format!("{body}\n") }
    }

    pub(crate) fn json(body: String) -> Reply {
        Reply { status: 200, kind: "application/json", body }
    }

    fn metrics(body: String) -> Reply {
        Reply { status: 200, kind: metrics::KIND, body }
    }
}

impl Admin {
    /// Serves on `listener` what `answer` gives for each page; it may take its time, and the port
    /// waits for it.
    pub(crate) fn start(
        listener: TcpListener,
        answer: impl FnMut(Page) -> Reply + Send + 'static,
    ) -> io::Result<Admin> {
        Admin::start_with(listener, answer, PATIENCE)
    }

    fn start_with(
        listener: TcpListener,
        mut answer: impl FnMut(Page) -> Reply + Send + 'static,
        patience: Duration,
    ) -> io::Result<Admin> {
        listener.set_nonblocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        let mut port = Port { listener, stopped, connections: Vec::new(), patience };
        let thread = thread::Builder::new()
            .name("admin".into())
            .spawn(move || while port.turn(&mut answer) {})?;
        Ok(Admin { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was already told by the panic hook.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Port {
    listener: TcpListener,
    /// Readable once the other end is closed.
    stopped: UnixStream,
    connections: Vec<Connection>,
    patience: Duration,
}

impl Port {
    /// Waits for something to do and does it; false once it must stop.
    fn turn(&mut self, answer: &mut dyn FnMut(Page) -> Reply) -> bool {
        let mut polled = vec![
            PollFd::new(&self.stopped, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];
        polled.extend(self.connections.iter().map(|c| PollFd::new(c.stream(), c.awaits())));
        let deadline = self.connections.iter().map(Connection::deadline).min();
        let timeout = deadline.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!("the admin port stops: poll: {error}");
                return false;
            }
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            return false;
        }
        let (now, mut index) = (Instant::now(), 2);
        self.connections.retain_mut(|connection| {
            index += 1;
            let open = !ready[index - 1] || connection.advance(answer);
            open && now < connection.deadline()
        });
        if ready[1] {
            self.accept(now);
        }
        true
    }

    /// Takes one connection; if there are too many, the oldest gives way.
    fn accept(&mut self, now: Instant) {
        match self.listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                if self.connections.len() == CONNECTION_COUNT_MAX {
                    self.connections.remove(0);
                }
                self.connections.push(Connection::new(stream, now + self.patience));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors: an own one freed lets the next accept succeed, and without
            // own ones a pause keeps this thread from spinning.
            Err(_) if self.connections.is_empty() => thread::sleep(Duration::from_millis(50)),
            Err(_) => {
                self.connections.remove(0);
            }
        }
    }
}

/// Rounded up, so that a deadline has passed when the wait ends.
fn timespec(duration: Duration) -> Timespec {
    let millis = duration.as_millis() as i64 + 1;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}

#[cfg(test)]
mod tests;
