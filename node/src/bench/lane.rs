//! One connection: what is in flight on it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmain_core::id::RequestId;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_runtime::client::Codec;

use super::draw::{Kind, key_bytes};
use super::resp;
use crate::args::{BenchArgs, Target};
use crate::failure::Failure;
use crate::operation::connect_to;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) key: u64,
    /// When it was to be sent.
    pub(super) due: Instant,
}

/// How the other end is spoken to.
enum Protocol {
    /// Answers come in the order of the requests, whose numbers these are.
    Resp(VecDeque<u32>),
    Native {
        codec: Codec,
        r: u8,
        w: u8,
    },
}

/// See the module.
pub(super) struct Lane {
    stream: TcpStream,
    protocol: Protocol,
    /// What is not written yet, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// What came, up to `received`, and is not read yet.
    input: Vec<u8>,
    received: usize,
    /// What is in flight, by number.
    asked: Vec<Option<Asked>>,
    /// Numbers that are not in flight.
    free: Vec<u32>,
}

impl Lane {
    /// Connects, and says hello if that is due.
    pub(super) fn connect(node: SocketAddr, args: &BenchArgs) -> Result<Lane, Failure> {
        let (stream, protocol) = match args.target {
            Target::Resp => {
                let stream = TcpStream::connect_timeout(&node, PATIENCE);
                let stream = stream.map_err(|error| {
                    let remedy = "start what is to be measured, or give its --node";
                    Failure::failed(format!("cannot connect to {node}: {error}"), remedy)
                })?;
                (stream, Protocol::Resp(VecDeque::new()))
            }
            Target::Native => {
                let (stream, codec) = connect_to(node, None)?.into_parts();
                let (r, w) = (args.r.unwrap_or(0), args.w.unwrap_or(0));
                (stream, Protocol::Native { codec, r, w })
            }
        };
        let is_set = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
        is_set.map_err(|error| {
            Failure::failed(format!("cannot set up a connection: {error}"), "try again")
        })?;
        let (out, input) = (Vec::new(), Vec::new());
        let mut lane = Lane {
            stream,
            protocol,
            out,
            written: 0,
            input,
            received: 0,
            asked: Vec::new(),
            free: Vec::new(),
        };
        lane.set_room(1);
        Ok(lane)
    }

    /// So many requests may be in flight from now on.
    ///
    /// # Panics
    /// If some are.
    pub(super) fn set_room(&mut self, count: u64) {
        assert!(self.is_idle());
        self.asked = vec![None; count as usize];
        self.free = (0..count as u32).rev().collect();
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.asked.len()
    }

    /// What has no answer.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = Asked> + '_ {
        self.asked.iter().flatten().copied()
    }

    /// Makes a request ready for [`Lane::flush`].
    ///
    /// # Panics
    /// If the lane is full.
    pub(super) fn ask(&mut self, asked: Asked, value: &[u8]) {
        let number = self.free.pop().expect("the lane is not full");
        self.asked[number as usize] = Some(asked);
        let (key, out) = (key_bytes(asked.key), &mut self.out);
        match (&mut self.protocol, asked.kind) {
            (Protocol::Resp(order), kind) => {
                order.push_back(number);
                match kind {
                    Kind::Get => resp::command(out, &[b"GET", &key]),
                    Kind::Put => resp::command(out, &[b"SET", &key, value]),
                }
            }
            (Protocol::Native { codec, r, .. }, Kind::Get) => {
                let request = GetRequest {
                    r: *r,
                    pr: 0,
                    forwarded: false,
                    want_context: false,
                    context: &[],
                };
                codec.get(out, RequestId(number + 1), &key, &request);
            }
            (Protocol::Native { codec, w, .. }, Kind::Put) => {
                let request = PutRequest {
                    w: *w,
                    pw: 0,
                    dw: 0,
                    forwarded: false,
                    want_context: false,
                    timestamp: UnixMs(0),
                    replaces: Replaces::Local,
                    content: Content::Value { expires: None, value },
                };
                codec.put(out, RequestId(number + 1), &key, &request);
            }
        }
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what came, to the last byte, and tells each answer; an error is the end of the lane.
    pub(super) fn receive(
        &mut self,
        mut tell: impl FnMut(Asked, Result<(), String>),
    ) -> Result<(), String> {
        loop {
            if self.input.len() < self.received + PIECE_BYTES {
                self.input.resize(self.received + PIECE_BYTES, 0);
            }
            match self.stream.read(&mut self.input[self.received..]) {
                Ok(0) => return Err("the other end closed it".into()),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            }
            let mut read = 0;
            while let Some((bytes, answer)) = self.answer(read)? {
                read += bytes;
                if let Some((number, outcome)) = answer {
                    let asked = self.asked.get_mut(number as usize).and_then(Option::take);
                    let asked = asked.ok_or("an answer to nothing that was asked")?;
                    self.free.push(number);
                    tell(asked, outcome);
                }
            }
            self.input.copy_within(read..self.received, 0);
            self.received -= read;
        }
    }

    /// The next answer, from `begin` on in what came: its bytes, and to which number it is, if to
    /// any.
    #[expect(clippy::type_complexity, reason = "a name would say less")]
    fn answer(
        &mut self,
        begin: usize,
    ) -> Result<Option<(usize, Option<(u32, Result<(), String>)>)>, String> {
        let bytes = &self.input[begin..self.received];
        match &mut self.protocol {
            Protocol::Resp(order) => {
                let Some(resp::Answer { bytes, outcome }) = resp::answer(bytes)? else {
                    return Ok(None);
                };
                let number = order.pop_front().ok_or("an answer to nothing that was asked")?;
                Ok(Some((bytes, Some((number, outcome)))))
            }
            Protocol::Native { codec, .. } => {
                let answer = codec.answer(bytes).map_err(|error| error.to_string())?;
                let Some(answer) = answer else { return Ok(None) };
                let Some(number) = answer.request.0.checked_sub(1) else {
                    return Ok(Some((answer.bytes, None)));
                };
                let asked = self.asked.get(number as usize).copied().flatten();
                let is_read = asked.is_some_and(|asked| asked.kind == Kind::Get);
                let outcome = match answer.reply {
                    Some(Ok(reply)) if is_read && reply.siblings().next().is_none() => {
                        Err("not found".into())
                    }
                    Some(Ok(_)) => Ok(()),
                    Some(Err(error)) => Err(error.to_string()),
                    None => return Err("an answer of another kind".into()),
                };
                Ok(Some((answer.bytes, Some((number, outcome)))))
            }
        }
    }
}
