//! A crowd in front of one node: clients that work, and others that idle, dawdle, never read, or
//! send what is nothing.
//!
//! The question: do those who behave notice the others, and does the node keep within its bounds?
//! Each kind is a value that holds its sockets while it lives, so a test or the program `crowd`
//! puts together whom it wants; what happened to the node is read from outside, from `/proc` and
//! from its metrics.

mod active;
mod deaf;
mod idle;
mod mutants;
mod slow;

pub use active::{Active, Latencies};
pub use deaf::{Deaf, LARGE_COUNT, store_large};
pub use idle::Idle;
pub use mutants::{Told, native_mutants, resp_mutants};
pub use slow::Slow;

use std::fs;
use std::net::SocketAddr;

use crate::process::{Ready, fetch};

/// What a node takes at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Memory that is of no file, bytes.
    pub anonymous_bytes: u64,
    /// What it says that its buffers take of that, bytes.
    pub buffer_bytes: u64,
    /// Open files.
    pub file_count: u64,
    /// Connections, as it counts them.
    pub connection_count: u64,
}

/// The node that a crowd stands in front of.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its ports.
    pub ready: Ready,
    /// Its process.
    pub id: u32,
}

impl Target {
    /// What it takes now.
    ///
    /// # Panics
    /// If it has ended, or does not answer.
    pub fn taken(&self) -> Taken {
        let files = fs::read_dir(format!("/proc/{}/fd", self.id)).expect("it runs");
        Taken {
            anonymous_bytes: 1024 * self.status_kib("RssAnon:"),
            buffer_bytes: self.metric("ringmain_buffer_bytes"),
            file_count: files.count() as u64,
            connection_count: self.metric("ringmain_connections"),
        }
    }

    /// A line of its status in `/proc`, KiB.
    fn status_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        number.expect("the kernel says how much memory a process has")
    }

    /// The sum of one of its metrics over all shards.
    ///
    /// # Panics
    /// If it does not answer, or knows no such metric.
    pub fn metric(&self, name: &str) -> u64 {
        let (status, text) = fetch(self.ready.admin, "/metrics").expect("its admin port answers");
        assert_eq!(status, 200);
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        let values = text.lines().filter(of).map(|line| {
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            value.expect("a sample ends with its value") as u64
        });
        let values: Vec<u64> = values.collect();
        assert!(!values.is_empty(), "there is no {name}");
        values.iter().sum()
    }

    /// Where RESP clients connect.
    pub fn resp(&self) -> SocketAddr {
        self.ready.resp
    }
}

/// A RESP command.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
