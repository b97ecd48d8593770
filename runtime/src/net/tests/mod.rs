//! Real sockets on 127.0.0.1; each test waits for events, never for time. [`WAIT`] only ends a
//! test that would hang.

mod ahead;
mod connect;
mod doorbell;
mod echo;
mod ends;
mod file;
mod hand_over;
mod lent;
mod listener;
mod park;
mod pressure;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::sys::SendBuffer;

const WAIT: Duration = Duration::from_secs(20);
const TAG: u8 = 7;

fn small() -> HotRingConfig {
    HotRingConfig {
        submission_count: 64,
        completion_count: 128,
        buffer_count: 16,
        buffer_bytes: 4096,
        connection_count_max: 64,
        ..HotRingConfig::default()
    }
}

/// A ring that listens.
fn listening(config: HotRingConfig) -> (HotRing, SocketAddr) {
    let mut ring = HotRing::new(config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ring.listen(listener, TAG).unwrap();
    (ring, address)
}

/// An event that does not borrow.
#[derive(Debug)]
enum Seen {
    Received(ConnectionId, Vec<u8>),
    Other(Event<'static>),
}

fn own(event: Event<'_>) -> Seen {
    Seen::Other(match event {
        Event::Received { connection, bytes } => return Seen::Received(connection, bytes.to_vec()),
        Event::Accepted { socket, tag, peer } => Event::Accepted { socket, tag, peer },
        Event::Connected { connection } => Event::Connected { connection },
        Event::Ended { connection, ending } => Event::Ended { connection, ending },
        Event::Sent { connection, buffer } => Event::Sent { connection, buffer },
        Event::Closed { connection, unsent } => Event::Closed { connection, unsent },
        Event::Written { tag, result } => Event::Written { tag, result },
        Event::Synced { tag, result } => Event::Synced { tag, result },
        Event::Read { tag, buffer, result } => Event::Read { tag, buffer, result },
        Event::Doorbell => Event::Doorbell,
    })
}

/// The next event, waiting for it.
fn next(ring: &mut HotRing) -> Seen {
    let start = std::time::Instant::now();
    loop {
        if let Some(event) = ring.next_event() {
            return own(event);
        }
        assert!(start.elapsed() < WAIT, "no event came");
        ring.submit_and_wait(Some(WAIT)).unwrap();
    }
}

/// The next event if it is accepting, adopted.
fn accept(ring: &mut HotRing, receive: Receive) -> ConnectionId {
    match next(ring) {
        Seen::Other(Event::Accepted { socket, tag: TAG, .. }) => {
            ring.adopt(socket, receive).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// The next event if it is received bytes.
fn received(ring: &mut HotRing, connection: ConnectionId) -> Vec<u8> {
    match next(ring) {
        Seen::Received(from, bytes) if from == connection => bytes,
        other => panic!("{other:?}"),
    }
}

/// All that comes from a connection until its end.
fn received_to_end(ring: &mut HotRing, connection: ConnectionId) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match next(ring) {
            Seen::Received(from, bytes) if from == connection => all.extend(bytes),
            Seen::Other(Event::Ended { connection: from, ending: Ending::Finished }) => {
                assert_eq!(from, connection);
                return all;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Closes, and waits for what comes of it.
fn close(ring: &mut HotRing, connection: ConnectionId) -> Option<SendBuffer> {
    ring.close(connection);
    match next(ring) {
        Seen::Other(Event::Closed { connection: closed, unsent }) if closed == connection => unsent,
        other => panic!("{other:?}"),
    }
}

/// Waits until nothing but the doorbell and `listeners` accepts are in flight.
fn assert_quiet(ring: &mut HotRing, listeners: usize) {
    assert_eq!(ring.connection_count(), 0);
    let start = std::time::Instant::now();
    assert!(ring.next_event().is_none());
    while ring.ring.in_flight_count() != 1 + listeners {
        ring.submit_and_wait(Some(WAIT)).unwrap();
        while ring.next_event().is_some() {}
        assert!(start.elapsed() < WAIT, "{} in flight", ring.ring.in_flight_count());
    }
    let buffers = ring.ring.buffers();
    assert_eq!(buffers.free_count(), buffers.count());
}

/// Bytes that tell where they stand.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = ringmain_core::prng::Prng::new(seed);
    (0..bytes).map(|_| random.next_u64() as u8).collect()
}

/// A server that answers what it hears, with bounded memory per connection.
struct Echo {
    ring: HotRing,
    sessions: HashMap<ConnectionId, Session>,
    /// Sockets for which there was no room.
    refused_count: usize,
    closed_count: usize,
}

#[derive(Default)]
struct Session {
    output: Vec<u8>,
    is_sending: bool,
    is_paused: bool,
    is_finished: bool,
}

const OUTPUT_BYTES_MAX: usize = 64 << 10;

impl Echo {
    fn new(ring: HotRing) -> Echo {
        Echo { ring, sessions: HashMap::new(), refused_count: 0, closed_count: 0 }
    }

    /// Serves until `count` connections came and went.
    fn serve(&mut self, count: usize) {
        while self.closed_count + self.refused_count < count {
            let event = next(&mut self.ring);
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Seen) {
        match event {
            Seen::Received(id, bytes) => {
                self.sessions.get_mut(&id).unwrap().output.extend(bytes);
                self.flush(id);
            }
            Seen::Other(Event::Accepted { socket, peer, tag }) => {
                assert_eq!(tag, TAG);
                assert!(peer.is_none_or(|peer| peer.ip().is_loopback()));
                match self.ring.adopt(socket, Receive::Stream) {
                    Ok(id) => assert!(self.sessions.insert(id, Session::default()).is_none()),
                    Err((_socket, Full)) => self.refused_count += 1,
                }
            }
            Seen::Other(Event::Sent { connection, .. }) => {
                self.sessions.get_mut(&connection).unwrap().is_sending = false;
                self.flush(connection);
            }
            Seen::Other(Event::Ended { connection, ending: Ending::Finished }) => {
                self.sessions.get_mut(&connection).unwrap().is_finished = true;
                self.flush(connection);
            }
            Seen::Other(Event::Ended { connection, .. }) => self.ring.close(connection),
            Seen::Other(Event::Closed { connection, .. }) => {
                assert!(self.sessions.remove(&connection).is_some());
                self.check_stale(connection);
                self.closed_count += 1;
            }
            Seen::Other(Event::Doorbell) => {}
            other => panic!("{other:?}"),
        }
    }

    fn flush(&mut self, id: ConnectionId) {
        let session = self.sessions.get_mut(&id).unwrap();
        if !session.is_sending && !session.output.is_empty() {
            let output = std::mem::take(&mut session.output);
            // Refused only once the connection failed, and then `Ended` said so.
            session.is_sending = self.ring.send(id, output).is_ok();
        }
        let is_over = session.output.len() > OUTPUT_BYTES_MAX;
        if is_over != session.is_paused {
            session.is_paused = is_over;
            match is_over {
                true => self.ring.pause_receive(id),
                false => self.ring.resume_receive(id),
            }
        }
        if session.is_finished && !session.is_sending && session.output.is_empty() {
            self.ring.close(id);
        }
    }

    /// A closed id means nothing, whatever came into its slot.
    fn check_stale(&mut self, id: ConnectionId) {
        assert!(self.ring.send(id, vec![1]).is_err());
        assert!(self.ring.socket(id).is_none());
        assert!(self.ring.hand_over(id).is_none());
        self.ring.pause_receive(id);
        self.ring.resume_receive(id);
        self.ring.finish(id);
        self.ring.close(id);
    }
}

/// Sends `bytes` while reading the answer, ends, and returns all that was answered.
fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(address).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        (&stream).read_to_end(&mut answer).unwrap();
        answer
    })
}

/// Closes a connection so that the peer sees a reset.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}
