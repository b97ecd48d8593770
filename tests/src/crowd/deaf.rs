//! Clients that ask and never read.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use super::command;
use crate::process::{Client, PATIENCE};

/// Values that [`store_large`] stores.
pub const LARGE_COUNT: usize = 32;

/// Stores the values that the deaf ask for, of so many bytes each.
///
/// # Panics
/// If they are refused.
pub fn store_large(address: SocketAddr, value_bytes: usize) {
    let mut client = Client::connect(address).expect("it is taken");
    let value = vec![b'l'; value_bytes];
    for index in 0..LARGE_COUNT {
        client.say::<()>(&[b"SET", key(index).as_bytes(), &value]).expect("it has room");
    }
}

/// Connections that hold all that the node and the sockets take of their questions.
#[derive(Debug)]
pub struct Deaf {
    streams: Vec<TcpStream>,
    sent_bytes: usize,
}

impl Deaf {
    /// Connects `count` clients, each of which asks for a short value first, so that the node
    /// expects short ones.
    ///
    /// # Panics
    /// If the node does not take them; so does [`ask`](Deaf::ask).
    pub fn connect(address: SocketAddr, count: usize) -> Deaf {
        let connect = |_| {
            let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it is taken");
            for index in 0..4 * LARGE_COUNT {
                let short = command(&[b"GET", format!("short-{index}").as_bytes()]);
                stream.write_all(&short).expect("it is read");
            }
            stream.set_nonblocking(true).expect("a connected socket takes it");
            stream
        };
        Deaf { streams: (0..count).map(connect).collect(), sent_bytes: 0 }
    }

    /// Asks for large values, at most so many of each client, until its socket takes no more.
    pub fn ask(&mut self, count: usize) {
        for stream in &mut self.streams {
            for index in 0..count {
                let question = command(&[b"GET", key(index % LARGE_COUNT).as_bytes()]);
                match stream.write(&question) {
                    Ok(sent) => self.sent_bytes += sent,
                    // The node may close it, too.
                    Err(error) => {
                        let is_full = error.kind() == ErrorKind::WouldBlock;
                        assert!(is_full || is_gone(error.kind()), "{error}");
                        break;
                    }
                }
            }
        }
    }
}

pub(super) fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn key(index: usize) -> String {
    format!("large-{index}")
}
