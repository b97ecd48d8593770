//! Clients that send a byte now and then, of commands that never end.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::deaf::is_gone;
use crate::process::PATIENCE;

/// Connections in the middle of a command.
#[derive(Debug)]
pub struct Slow {
    streams: Vec<TcpStream>,
    /// Whose turn it is.
    next: usize,
    /// Refusals that they were told.
    refused_count: usize,
}

impl Slow {
    /// Connects `count` clients, each of which sends so many bytes of the value of a SET that
    /// announces more.
    ///
    /// # Panics
    /// If the node does not take them.
    pub fn connect(address: SocketAddr, count: usize, begun_bytes: usize) -> Slow {
        let begun = vec![b's'; begun_bytes];
        let connect = |_| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it is taken");
            let head = format!("*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n${}\r\n", 1_000_000);
            stream.set_nonblocking(true).expect("a connected socket takes it");
            stream.write_all(head.as_bytes()).expect("the socket is empty");
            // What its socket does not take is not sent.
            let _part = stream.write(&begun);
            stream
        };
        Slow { streams: (0..count).map(connect).collect(), next: 0, refused_count: 0 }
    }

    /// Has the next `count` of them send one byte each, and hear what they are told.
    ///
    /// # Panics
    /// If a connection breaks that the node did not close.
    pub fn send_byte(&mut self, count: usize) {
        let mut buffer = [0; 256];
        for _ in 0..count.min(self.streams.len()) {
            self.next = (self.next + 1) % self.streams.len();
            let stream = &mut self.streams[self.next];
            match stream.write(b"s") {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => assert!(is_gone(error.kind()), "{error}"),
            }
            if stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                assert!(buffer.starts_with(b"-BUSY"), "{:?}", String::from_utf8_lossy(&buffer));
                self.refused_count += 1;
            }
        }
    }

    /// How often one was told that the node has no room for its command.
    pub fn refused_count(&self) -> usize {
        self.refused_count
    }
}
