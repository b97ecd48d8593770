//! Clients that work: each asks, waits for its answer, checks it, and asks again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{Timespec, epoll};

use super::command;
use crate::process::PATIENCE;

/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// Keys of each client.
const KEY_COUNT: u64 = 100;

/// Clients of one node, on one thread: the caller's while it measures.
#[derive(Debug)]
pub struct Active {
    clients: Vec<Client>,
    epoll: OwnedFd,
}

/// How long requests took.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// Of each answered request, ascending, microseconds.
    micros: Vec<u32>,
    /// Requests that were refused as one too many for the node.
    pub busy_count: u64,
}

impl Latencies {
    /// The latency that so many of a thousand requests kept below, microseconds.
    ///
    /// # Panics
    /// If there was no request.
    pub fn per_mille(&self, part: usize) -> u32 {
        self.micros[(self.micros.len() - 1) * part / 1000]
    }

    /// Requests that were answered.
    pub fn count(&self) -> usize {
        self.micros.len()
    }
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    number: u64,
    round: u64,
    begun: Instant,
    expected: Vec<u8>,
    got: Vec<u8>,
}

impl Active {
    /// Connects `count` clients.
    ///
    /// # Panics
    /// If the node does not take them; and the other methods if it gives no or a wrong answer.
    pub fn connect(address: SocketAddr, count: u64) -> Active {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("there are files left");
        let clients = (0..count).map(|number| {
            let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it is taken");
            stream.set_nodelay(true).expect("a connected socket takes it");
            stream.set_nonblocking(true).expect("a connected socket takes it");
            let data = epoll::EventData::new_u64(number);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).expect("it is added once");
            let begun = Instant::now();
            Client { stream, number, round: 0, begun, expected: Vec::new(), got: Vec::new() }
        });
        Active { clients: clients.collect(), epoll }
    }

    /// Has the clients make `count` requests, all of them at the same time.
    pub fn work(&mut self, count: usize) -> Latencies {
        let mut latencies = Latencies::default();
        self.clients.iter_mut().for_each(Client::ask);
        let mut events = Vec::with_capacity(self.clients.len());
        let mut open = self.clients.len();
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        while open > 0 {
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            let ready = epoll::wait(&self.epoll, buffer, Some(&patience)).expect("it can wait");
            assert!(ready > 0, "{open} requests get no answer");
            for event in &events {
                let client = &mut self.clients[event.data.u64() as usize];
                match client.receive().expect("its connection stands") {
                    None => continue,
                    Some(Answer::Busy) => latencies.busy_count += 1,
                    Some(Answer::Right) => {
                        latencies.micros.push(client.begun.elapsed().as_micros() as u32);
                    }
                }
                if latencies.count() + (latencies.busy_count as usize) + open <= count {
                    client.ask();
                } else {
                    open -= 1;
                }
            }
        }
        latencies.micros.sort_unstable();
        latencies
    }
}

enum Answer {
    Right,
    Busy,
}

impl Client {
    /// Every second request reads what the one before it wrote.
    fn ask(&mut self) {
        let key = format!("active-{}-{}", self.number, self.round / 2 % KEY_COUNT);
        let value = format!("{:0>width$}", self.round / 2, width = VALUE_BYTES);
        let words = if self.round.is_multiple_of(2) {
            self.expected = b"+OK\r\n".to_vec();
            command(&[b"SET", key.as_bytes(), value.as_bytes()])
        } else {
            self.expected = format!("${VALUE_BYTES}\r\n{value}\r\n").into_bytes();
            command(&[b"GET", key.as_bytes()])
        };
        self.got.clear();
        self.begun = Instant::now();
        self.stream.write_all(&words).expect("a short command fits the socket");
    }

    fn receive(&mut self) -> io::Result<Option<Answer>> {
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.got.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if self.got.first() == Some(&b'-') && self.got.ends_with(b"\r\n") {
            let text = String::from_utf8_lossy(&self.got);
            assert!(text.starts_with("-BUSY"), "{text}");
            // The same again: it may have been the write that the next one reads.
            return Ok(Some(Answer::Busy));
        }
        if self.got.len() < self.expected.len() {
            return Ok(None);
        }
        assert!(self.got == self.expected, "not {:?}", String::from_utf8_lossy(&self.got));
        self.round += 1;
        Ok(Some(Answer::Right))
    }
}
