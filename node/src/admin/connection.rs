//! One HTTP connection: receives one request, sends one reply, waits for the client's close.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use rustix::event::PollFlags;

use super::{Page, Reply};

/// Longest request head, bytes. Bodies are never read into memory.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Most header fields of a request.
const HEADER_COUNT_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Receiving(Vec<u8>),
    Sending {
        reply: Vec<u8>,
        sent: usize,
    },
    /// The reply is sent and our side closed: closing before the client has read it, with
    /// bytes of it unread here, would reset the connection and lose the reply.
    Closing,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, deadline: Instant) -> Connection {
        Connection { stream, deadline, state: State::Receiving(Vec::new()) }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn awaits(&self) -> PollFlags {
        match self.state {
            State::Receiving(_) | State::Closing => PollFlags::IN,
            State::Sending { .. } => PollFlags::OUT,
        }
    }

    /// Goes on as far as the socket lets it; false once it is over.
    pub(super) fn advance(&mut self, answer: &mut dyn FnMut(Page) -> Reply) -> bool {
        match self.step(answer) {
            Ok(open) => open,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn step(&mut self, answer: &mut dyn FnMut(Page) -> Reply) -> io::Result<bool> {
        if let State::Receiving(received) = &mut self.state {
            let mut piece = [0; REQUEST_BYTES_MAX];
            let room = REQUEST_BYTES_MAX - received.len();
            let count = self.stream.read(&mut piece[..room])?;
            received.extend_from_slice(&piece[..count]);
            let Some(reply) = respond(received, answer) else { return Ok(count > 0) };
            self.state = State::Sending { reply, sent: 0 };
        }
        if let State::Sending { reply, sent } = &mut self.state {
            while *sent < reply.len() {
                *sent += self.stream.write(&reply[*sent..])?;
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.state = State::Closing;
        }
        let mut discarded = [0; 1024];
        Ok(self.stream.read(&mut discarded)? > 0)
    }
}

/// The whole reply to what was received; `None` while the request is incomplete.
fn respond(received: &[u8], answer: &mut dyn FnMut(Page) -> Reply) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(received) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if received.len() < REQUEST_BYTES_MAX => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(encode(&Reply::text(431, "request too large"), true));
        }
        Err(_) => return Some(encode(&Reply::text(400, "not an HTTP request"), true)),
    }
    let path = request.path.unwrap_or_default();
    let page = Page::of(path.split('?').next().unwrap_or_default());
    let method = request.method.unwrap_or_default();
    let reply = match (method, page) {
        (_, None) => Reply::text(404, "pages: / /health /ready /metrics /status"),
        ("GET" | "HEAD", Some(page)) => answer(page),
        (_, Some(_)) => Reply::text(405, "only GET and HEAD"),
    };
    Some(encode(&reply, method != "HEAD"))
}

fn encode(reply: &Reply, with_body: bool) -> Vec<u8> {
    let reason = match reply.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", reply.status);
    text += &format!("content-type: {}\r\ncontent-length: {}\r\n", reply.kind, reply.body.len());
    if reply.status == 405 {
        text += "allow: GET, HEAD\r\n";
    }
    text += "cache-control: no-store\r\nconnection: close\r\n\r\n";
    if with_body {
        text += &reply.body;
    }
    text.into_bytes()
}
