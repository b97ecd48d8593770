//! Inputs that were valid once: what a node gets to read from broken clients, and from those who
//! want to break it.
//!
//! A seed and a number name each input, so one that a node does not survive can be sent again.
//! Every connection must end: with an error, or without a word.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};

use ringmain_core::checksum::Software;
use ringmain_core::id::{Boot, ClusterId, NodeId, RequestId, ShardIndex, TopologyId};
use ringmain_core::prng::Prng;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::VERSION;
use ringmain_core::wire::frame::{Hop, frame_length, write_frame};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::hello::{Hello, Kind};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_runtime::client::Client;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::command;
use super::deaf::is_gone;
use crate::process::PATIENCE;

/// Commands on one connection: most of them leave it usable.
const COMMAND_COUNT: u64 = 32;

/// What came back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Inputs that were sent.
    pub input_count: u64,
    /// Connections that they were sent on, each of which ended.
    pub connection_count: u64,
    /// Connections that were told of an error.
    pub error_count: u64,
}

impl Told {
    /// All of them together.
    pub fn sum(all: &[Told]) -> Told {
        all.iter().fold(Told::default(), |sum, told| Told {
            input_count: sum.input_count + told.input_count,
            connection_count: sum.connection_count + told.connection_count,
            error_count: sum.error_count + told.error_count,
        })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { input_count, connection_count, error_count } = self;
        write!(out, "{input_count} inputs, {connection_count} connections, all ended")?;
        write!(out, ", {error_count} told of an error")
    }
}

/// Sends `count` mutated RESP commands.
///
/// # Panics
/// If a connection does not end.
pub fn resp_mutants(address: SocketAddr, seed: u64, count: u64) -> Told {
    let valid = commands();
    let mut told = Told::default();
    while told.input_count < count {
        let mut prng = Prng::new(seed ^ told.connection_count << 20);
        let inputs = COMMAND_COUNT.min(count - told.input_count);
        let mut sent = Vec::new();
        for _ in 0..inputs {
            let mut input = valid[prng.below(valid.len() as u64) as usize].clone();
            mutate(&mut prng, &mut input);
            sent.extend_from_slice(&input);
        }
        let heard = say(address, seed * 8 + told.connection_count, &sent);
        told.input_count += inputs;
        told.connection_count += 1;
        told.error_count += u64::from(has_error(&heard));
    }
    told
}

/// Sends `count` mutated frames, each on a connection of its own: HELLOs, or what comes behind a
/// valid one. The first broken frame ends a connection.
///
/// # Panics
/// If a connection does not end, or the node takes no client.
pub fn native_mutants(address: SocketAddr, seed: u64, count: u64) -> Told {
    let client = Client::connect(address, None, PATIENCE).expect("it takes native clients");
    let digest = client.cluster().map_or(0, |cluster| cluster.id.digest());
    let mut told = Told::default();
    while told.input_count < count {
        let mut prng = Prng::new(seed ^ told.input_count << 20);
        let kind = [Kind::Client, Kind::Peer, Kind::Joiner][prng.below(3) as usize];
        let mut sent = Vec::new();
        if prng.chance(50) {
            // Behind a valid HELLO.
            sent = framed(&mut prng, Op::Hello, 0, &[], &hello(kind), false);
        }
        let is_greeted = !sent.is_empty();
        sent.extend_from_slice(&frame(&mut prng, kind, digest, is_greeted));
        let heard = say(address, seed * 8 + told.input_count, &sent);
        told.input_count += 1;
        told.connection_count += 1;
        told.error_count += u64::from(!heard.is_empty());
    }
    told
}

fn has_error(heard: &[u8]) -> bool {
    heard.first() == Some(&b'-') || heard.windows(3).any(|part| part == b"\r\n-")
}

/// One mutated frame: its bytes, or its payload under a checksum that holds.
fn frame(prng: &mut Prng, kind: Kind, digest: u64, is_greeted: bool) -> Vec<u8> {
    let key = b"mutant";
    let get = GetRequest { r: 1, pr: 0, forwarded: false, want_context: true, context: &[] };
    let put = PutRequest {
        w: 1,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: &[b'm'; 100] },
    };
    let ops = [Op::Proof, Op::Read, Op::Replicate, Op::Topology, Op::Scrub, Op::Status, Op::Ring];
    match (is_greeted, prng.below(4)) {
        (false, _) => framed(prng, Op::Hello, 0, &[], &hello(kind), true),
        (true, 0) => framed(prng, Op::Get, digest, key, &get, true),
        (true, 1) => framed(prng, Op::Put, digest, key, &put, true),
        (true, _) => {
            let op = ops[prng.below(ops.len() as u64) as usize];
            let key = if op.takes_key(key.len()) { &key[..] } else { &[] };
            let payload = [0; 32];
            framed(prng, op, digest, key, &payload.as_slice(), true)
        }
    }
}

fn hello(kind: Kind) -> Hello {
    let is_client = kind == Kind::Client;
    Hello {
        version_min: VERSION,
        version_max: VERSION,
        kind,
        shard: ShardIndex(0),
        source_shard: ShardIndex(0),
        shards: u16::from(!is_client),
        node: NodeId(if is_client { 0 } else { 77 }),
        boot: Boot(u64::from(!is_client)),
        nonce: [9; 16],
        cluster: ClusterId(0),
    }
}

fn framed(
    prng: &mut Prng,
    op: Op,
    cluster_digest: u64,
    key: &[u8],
    payload: &impl Payload,
    is_mutated: bool,
) -> Vec<u8> {
    let topology = TopologyId(0);
    let hop =
        Hop { op, request: RequestId(1), deadline_ms: 0, sent_ms: 0, topology, cluster_digest };
    let mut body = vec![0; payload.bytes()];
    payload.write(&mut body);
    let is_inside = is_mutated && prng.chance(50);
    if is_inside {
        mutate(prng, &mut body);
    }
    body.truncate(op.body_bytes_max().saturating_sub(frame_length(key.len(), 0)));
    let mut frame = vec![0; frame_length(key.len(), body.len())];
    write_frame::<Software>(&hop, key, &body.as_slice(), &mut frame);
    if is_mutated && !is_inside {
        mutate(prng, &mut frame);
    }
    frame
}

fn commands() -> Vec<Vec<u8>> {
    let words: [&[&[u8]]; 14] = [
        &[b"PING"],
        &[b"ECHO", b"a mutant"],
        &[b"HELLO", b"3"],
        &[b"CLIENT", b"SETNAME", b"mutant"],
        &[b"GET", b"mutant"],
        &[b"SET", b"mutant", &[b'm'; 100]],
        &[b"SET", b"mutant", b"m", b"NX", b"GET"],
        &[b"DEL", b"mutant", b"mutant-2"],
        &[b"MSET", b"mutant", b"1", b"mutant-2", b"2"],
        &[b"MGET", b"mutant", b"mutant-2", b"none"],
        &[b"RM.GET", b"mutant", b"R", b"1", b"CONTEXT", b"-"],
        &[b"RM.PUT", b"mutant", b"-", b"m", b"W", b"1"],
        &[b"RM.RING", b"mutant"],
        &[b"INFO", b"server"],
    ];
    words.iter().map(|words| command(words)).collect()
}

/// One to four changes anywhere.
fn mutate(prng: &mut Prng, bytes: &mut Vec<u8>) {
    for _ in 0..1 + prng.below(4) {
        if bytes.is_empty() {
            return bytes.push(prng.below(256) as u8);
        }
        let at = prng.below(bytes.len() as u64) as usize;
        match prng.below(6) {
            0 => bytes[at] ^= 1 << prng.below(8),
            1 => bytes[at] = b"\0\r\n*$-0129\xff"[prng.below(11) as usize],
            2 => bytes.truncate(at),
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, prng.below(256) as u8),
            _ => {
                let part = bytes[at..bytes.len().min(at + 16)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// Sends `bytes` on a connection of its own, says that this is all, and hears it to its end.
fn say(address: SocketAddr, number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(address, number).expect("it is accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a connected socket takes it");
    let mut heard = Vec::new();
    let said = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let ended = said.and_then(|()| stream.read_to_end(&mut heard).map(drop));
    if let Err(error) = ended {
        let kind = error.kind();
        assert!(is_gone(kind) || kind == ErrorKind::NotConnected, "it does not end: {error}");
    }
    heard
}

/// Connects from one of many addresses of this machine: each has ports of its own, so that those
/// of connections that have just ended need not be used again.
fn dial(address: SocketAddr, number: u64) -> io::Result<TcpStream> {
    let host = number / 64 % 64_000;
    let source = Ipv4Addr::new(127, 0, (host / 250) as u8, 2 + (host % 250) as u8);
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}
