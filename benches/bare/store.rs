//! Commands in RESP, answered from a hash map: GET, SET and PING, and what load generators and
//! clients say before them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::ring::Served;

/// Most words of a command.
const WORD_COUNT_MAX: usize = 8;
/// Most bytes of a word.
const WORD_BYTES_MAX: usize = 512 << 20;

/// See the module.
#[derive(Default)]
pub(crate) struct Store {
    values: HashMap<Box<[u8]>, Vec<u8>, ahash::RandomState>,
}

impl Store {
    /// Answers all commands that are whole, in order.
    pub(crate) fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Served {
        let mut used = 0;
        loop {
            match Command::first_of(&bytes[used..]) {
                Parsed::Whole(command) => {
                    used += command.bytes;
                    if !self.answer_one(&command, out) {
                        return Served::Stop;
                    }
                }
                Parsed::Part => return Served::Bytes(used),
                Parsed::Malformed => return Served::Malformed,
            }
        }
    }

    /// False if the server is to end.
    fn answer_one(&mut self, command: &Command<'_>, out: &mut Vec<u8>) -> bool {
        let (name, words) = (command.words[0], &command.words[1..command.count]);
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match words {
            [key] if is(b"GET") => match self.values.get(*key) {
                Some(value) => bulk(value, out),
                None => out.extend_from_slice(b"$-1\r\n"),
            },
            [key, value] if is(b"SET") => {
                self.set(key, value);
                out.extend_from_slice(b"+OK\r\n");
            }
            [] if is(b"PING") => out.extend_from_slice(b"+PONG\r\n"),
            [] if is(b"DBSIZE") => {
                let _fits = write!(out, ":{}\r\n", self.values.len());
            }
            [] if is(b"SHUTDOWN") => return false,
            _ if is(b"CONFIG") || is(b"COMMAND") => out.extend_from_slice(b"*0\r\n"),
            _ if is(b"CLIENT") || is(b"SELECT") => out.extend_from_slice(b"+OK\r\n"),
            // HELLO as well: a client then goes on in RESP2.
            _ => out.extend_from_slice(b"-ERR unknown command\r\n"),
        }
        true
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        match self.values.get_mut(key) {
            Some(old) => {
                old.clear();
                old.extend_from_slice(value);
            }
            None => {
                self.values.insert(key.into(), value.into());
            }
        }
    }
}

fn bulk(value: &[u8], out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut first, mut rest) = (digits.len(), value.len());
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.reserve(value.len() + digits.len() + 5);
    out.push(b'$');
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// An array of bulk strings.
struct Command<'a> {
    words: [&'a [u8]; WORD_COUNT_MAX],
    count: usize,
    bytes: usize,
}

enum Parsed<'a> {
    Whole(Command<'a>),
    Part,
    Malformed,
}

impl Command<'_> {
    fn first_of(bytes: &[u8]) -> Parsed<'_> {
        let (count, mut at) = match number(bytes, 0, b'*') {
            Ok(Some((count @ 1..=WORD_COUNT_MAX, at))) => (count, at),
            Ok(None) => return Parsed::Part,
            Ok(Some(_)) | Err(NoNumber) => return Parsed::Malformed,
        };
        let mut words: [&[u8]; WORD_COUNT_MAX] = [&[]; WORD_COUNT_MAX];
        for word in &mut words[..count] {
            let (length, begin) = match number(bytes, at, b'$') {
                Ok(Some(found)) => found,
                Ok(None) => return Parsed::Part,
                Err(NoNumber) => return Parsed::Malformed,
            };
            at = begin + length + 2;
            if bytes.len() < at {
                return Parsed::Part;
            }
            *word = &bytes[begin..begin + length];
        }
        Parsed::Whole(Command { words, count, bytes: at })
    }
}

struct NoNumber;

/// The number of the line at `at` that begins with `mark`, and where the line ends; `None` while
/// some of it is missing.
fn number(bytes: &[u8], at: usize, mark: u8) -> Result<Option<(usize, usize)>, NoNumber> {
    let Some(first) = bytes.get(at) else { return Ok(None) };
    if *first != mark {
        return Err(NoNumber);
    }
    let mut number = 0;
    for (place, byte) in (at + 1..).zip(&bytes[at + 1..]) {
        match byte {
            b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
            // What is behind it is its newline, now or soon.
            b'\r' if bytes.len() > place + 1 => return Ok(Some((number, place + 2))),
            b'\r' => return Ok(None),
            _ => return Err(NoNumber),
        }
        if number > WORD_BYTES_MAX {
            return Err(NoNumber);
        }
    }
    Ok(None)
}

/// A pipeline whose bytes come one by one, and what is to be answered.
pub(crate) fn check(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let asked = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n0123456789\r\n\r\n\
        *2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nget\r\n$1\r\nl\r\n*1\r\n$6\r\nDBSIZE\r\n\
        *2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
    let due = b"+PONG\r\n+OK\r\n$12\r\n0123456789\r\n\r\n$-1\r\n:1\r\n-ERR unknown command\r\n";
    for pieces in [1, asked.len()] {
        for piece in asked.chunks(pieces) {
            stream.write_all(piece)?;
        }
        let mut answer = vec![0; due.len()];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer.escape_ascii().to_string(), due.escape_ascii().to_string());
    }
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    assert_eq!(stream.read(&mut [0])?, 0, "what is no command closes the connection");
    Ok(())
}

/// Ends a server.
pub(crate) fn shut_down(server: SocketAddr) -> io::Result<()> {
    TcpStream::connect(server)?.write_all(b"*1\r\n$8\r\nSHUTDOWN\r\n")
}
