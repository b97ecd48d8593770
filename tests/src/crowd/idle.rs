//! Clients that came and do nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::command;
use crate::process::PATIENCE;

/// Open connections.
#[derive(Debug)]
pub struct Idle {
    streams: Vec<TcpStream>,
}

impl Idle {
    /// Opens `count` connections that never send a byte.
    ///
    /// # Panics
    /// If one is not accepted.
    pub fn open(address: SocketAddr, count: usize) -> Idle {
        let connect = |_| TcpStream::connect_timeout(&address, PATIENCE).expect("it is accepted");
        Idle { streams: (0..count).map(connect).collect() }
    }

    /// Has each of them write and read a value of so many bytes, before it idles again.
    ///
    /// # Panics
    /// If a wrong answer comes.
    pub fn work_once(&mut self, value_bytes: usize) {
        let value = vec![b'i'; value_bytes];
        let set = command(&[b"SET", b"idle", &value]);
        let get = command(&[b"GET", b"idle"]);
        let mut expected = format!("+OK\r\n${value_bytes}\r\n").into_bytes();
        expected.extend_from_slice(&value);
        expected.extend_from_slice(b"\r\n");
        let mut got = vec![0; expected.len()];
        for stream in &mut self.streams {
            stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket takes it");
            stream.write_all(&set).and_then(|()| stream.write_all(&get)).expect("it is read");
            let read = stream.read_exact(&mut got);
            let shown = got[..got.len().min(200)].escape_ascii();
            assert!(read.is_ok() && got == expected, "{read:?}, the answer begins: {shown}");
        }
    }
}
