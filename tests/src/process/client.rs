//! A RESP client as any user has one: the `redis` crate, on one connection.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, RedisError, RedisResult};

use super::PATIENCE;

/// One connection to one node.
pub struct Client {
    connection: redis::Connection,
}

impl Client {
    /// Connects, speaking RESP2.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect(address: SocketAddr) -> RedisResult<Client> {
        Client::connect_within(address, PATIENCE)
    }

    /// Connects, and waits at most so long for each answer: the node may be a stopped one.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect_within(address: SocketAddr, patience: Duration) -> RedisResult<Client> {
        Client::open(&format!("redis://{address}"), patience)
    }

    /// Connects, speaking RESP3.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn connect_resp3(address: SocketAddr) -> RedisResult<Client> {
        Client::open(&format!("redis://{address}?protocol=resp3"), PATIENCE)
    }

    fn open(address: &str, patience: Duration) -> RedisResult<Client> {
        let connection = redis::Client::open(address)?.get_connection_with_timeout(patience)?;
        connection.set_read_timeout(Some(patience))?;
        Ok(Client { connection })
    }

    /// Says a command whose words are separated by blanks.
    ///
    /// # Errors
    /// What the node refused it with, or those of the connection.
    pub fn ask<T: FromRedisValue>(&mut self, line: &str) -> RedisResult<T> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.say(&words)
    }

    /// Says a command of any bytes.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub fn say<T: FromRedisValue>(&mut self, words: &[&[u8]]) -> RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.connection)
    }

    /// Says many commands before it reads the first answer.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub fn pipeline<T: FromRedisValue>(&mut self, lines: &[String]) -> RedisResult<T> {
        let mut pipeline = redis::pipe();
        for line in lines {
            let mut command = redis::Cmd::new();
            for word in line.split(' ') {
                command.arg(word);
            }
            pipeline.add_command(command);
        }
        pipeline.query(&mut self.connection)
    }
}

/// The first word of a refusal: an error prefix.
///
/// # Panics
/// If it was no refusal.
pub fn code<T: std::fmt::Debug>(result: RedisResult<T>) -> String {
    let error: RedisError = result.expect_err("the test wants a refusal");
    let code = error.code().unwrap_or_else(|| panic!("no refusal of a node: {error}"));
    code.to_owned()
}

/// Looks again and again until `look` says yes. A look asks a process: that takes its time, and
/// then the other processes run.
///
/// # Panics
/// If patience runs out, naming what was awaited.
pub fn until(what: &str, look: impl FnMut() -> bool) {
    until_within(what, PATIENCE, look);
}

/// The same, with another patience: for what takes its time by design.
///
/// # Panics
/// As [`until`].
pub fn until_within(what: &str, patience: Duration, mut look: impl FnMut() -> bool) {
    let began = Instant::now();
    while !look() {
        assert!(began.elapsed() < patience, "awaited in vain: {what}");
        thread::yield_now();
    }
}
