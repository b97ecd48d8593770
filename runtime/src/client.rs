//! Clients of the native protocol.
//!
//! | client | speaks to | and |
//! |---|---|---|
//! | [`ClusterClient`] | the shards that have the keys, of all nodes | runs on glommio |
//! | [`blocking::ClusterClient`] | likewise | blocks, or has many requests in flight |
//! | [`router::Router`] | likewise | does no I/O: for other runtimes |
//! | [`Client`] | one node, which coordinates or passes on | blocks; manages clusters, too |
//! | [`Codec`] | likewise | does no I/O |
//!
//! Frames are checked whole before any of them is believed, and memory grows only as bytes arrive.
//!
//! Connections: HELLO, HELLO_REPLY; with a secret also PROOF, and the node's own proof is
//! checked. A WELCOME is taken whenever it comes, so requests need not wait for it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::checksum::Hardware;
use ringmain_core::id::{Boot, ClusterId, NodeId, RequestId, ShardIndex};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::frame::{Frame, FrameError, frame_bytes};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::handshake::{Challenge, Keys, Prover};
use ringmain_core::wire::hello::{Cluster, Hello, HelloReply, Kind, Proof, Reason, Refused};
use ringmain_core::wire::message::Message;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::{Malformed, Payload};
use ringmain_core::wire::put::PutRequest;
use ringmain_core::wire::reply::{Reply, Status};
use ringmain_core::wire::version::{Apart, Versions};
use ringmain_core::wire::{FIRST_BYTES, VERSION};

use crate::data_dir::random_bytes;
use crate::settings::Secret;

mod admin;
pub mod blocking;
mod cluster;
mod codec;
mod resolve;
pub mod router;

pub use cluster::ClusterClient;
pub use codec::{Answer, Codec};
pub use resolve::{One, Resolve};
pub use router::Options;

/// Longest time until a node has answered a HELLO: what does not is no node.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one node.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    timeout: Duration,
    /// The frame being received; kept for its capacity.
    received: Vec<u8>,
    requests: u32,
    node: NodeId,
    cluster: Option<Cluster>,
    /// What both speak.
    version: u8,
}

/// The live values of a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// Raw token of all that was read; empty for a key never written.
    pub context: Vec<u8>,
    /// Siblings, the one that a plain GET answers first.
    pub values: Vec<Value>,
}

/// One live sibling.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// Its stamp.
    pub timestamp: UnixMs,
    /// When it ends by itself; `None` = never.
    pub expires: Option<UnixMs>,
    /// The value.
    pub bytes: Vec<u8>,
}

/// What a write left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Raw token of the new version, if nothing stands beside it.
    pub context: Option<Vec<u8>>,
    /// Live siblings after it.
    pub live: u16,
    /// Live siblings that its read found, if it read first.
    pub found: u16,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// The connection broke. What was asked may have happened.
    #[error("the connection broke: {0}")]
    Lost(io::Error),
    /// No answer in time. What was asked may have happened.
    #[error("no answer in time")]
    TimedOut,
    /// The other end does not speak this protocol.
    #[error("not a native port of Ringmain: {0}")]
    Foreign(FrameError),
    /// A frame that says what it cannot say.
    #[error("the answer is malformed")]
    Malformed,
    /// The node closed the connection with this reason.
    #[error("the node refused the connection: {0:?}")]
    Refused(Reason),
    /// There is no version of the protocol in common.
    #[error("{0}")]
    Apart(Apart),
    /// The node's build, or this one, does not know what was asked.
    #[error("this needs version {needed} of the wire protocol, and one of both ends has {version}")]
    TooOld {
        /// What both speak.
        version: u8,
        /// What was asked needs.
        needed: u8,
    },
    /// The node does not know the given secret.
    #[error("the node does not have this cluster secret")]
    OtherSecret,
    /// This host gives no random numbers.
    #[error("no random numbers: {0}")]
    NoRandom(io::Error),
    /// The node is in no cluster yet.
    #[error("the node is in no cluster yet")]
    NoCluster,
    /// The node belongs to another cluster than those before.
    #[error("the node belongs to another cluster")]
    OtherCluster,
    /// At the address of a node is another one.
    #[error("another node has the address")]
    OtherNode,
    /// As many requests are in flight as may be, or as many bytes of them.
    #[error("too many requests are in flight")]
    Full,
    /// The node refused it, in its own words.
    #[error("{what}")]
    Told {
        /// Why.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The node answered with an error.
    #[error("{}", failure(.status, *.needed, *.got))]
    Failed {
        /// Which.
        status: Status,
        /// Answers that were needed.
        needed: u8,
        /// Answers that came.
        got: u8,
    },
}

impl Found {
    /// What a reply to a GET says.
    pub fn of(reply: &Reply<'_>) -> Found {
        let values = reply.siblings().map(|sibling| Value {
            timestamp: sibling.timestamp,
            expires: sibling.expires,
            bytes: sibling.value.into(),
        });
        Found { context: reply.context.into(), values: values.collect() }
    }
}

impl Stored {
    /// What a reply to a PUT says.
    pub fn of(reply: &Reply<'_>) -> Stored {
        let context = (!reply.context.is_empty()).then(|| reply.context.into());
        Stored { context, live: reply.head.live, found: reply.head.found }
    }
}

impl ClientError {
    /// The same once more, of one link for all that was in flight on it.
    fn again(&self) -> ClientError {
        use ClientError::{Apart, Foreign, Lost, Refused, Unreachable};
        let same = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Unreachable(error) => Unreachable(same(error)),
            Lost(error) => Lost(same(error)),
            ClientError::NoRandom(error) => ClientError::NoRandom(same(error)),
            ClientError::TimedOut => ClientError::TimedOut,
            Foreign(error) => Foreign(*error),
            Refused(reason) => Refused(*reason),
            Apart(apart) => Apart(*apart),
            ClientError::NoCluster => ClientError::NoCluster,
            ClientError::OtherCluster => ClientError::OtherCluster,
            ClientError::OtherNode => ClientError::OtherNode,
            _ => ClientError::Malformed,
        }
    }
}

impl Client {
    /// Connects and says hello. `timeout` is how long this client waits for the answer to a
    /// request, which the node gives within its own request time-out; it bounds the handshake,
    /// too, which gets at most [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// All but [`ClientError::Failed`].
    pub fn connect(
        address: SocketAddr,
        secret: Option<&Secret>,
        timeout: Duration,
    ) -> Result<Client, ClientError> {
        let patience = timeout.min(HANDSHAKE_TIMEOUT);
        let deadline = Instant::now() + patience;
        let stream = TcpStream::connect_timeout(&address, patience);
        let stream = stream.map_err(ClientError::Unreachable)?;
        stream.set_nodelay(true).map_err(ClientError::Lost)?;
        let mut client = Client {
            stream,
            timeout,
            received: Vec::new(),
            requests: 0,
            node: NodeId(0),
            cluster: None,
            version: VERSION,
        };
        client.say_hello(secret, deadline)?;
        Ok(client)
    }

    /// The node it speaks to.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The node's cluster; `None` while it is in none.
    pub fn cluster(&self) -> Option<Cluster> {
        self.cluster
    }

    /// The version of the protocol that it speaks with the node: that of the older of the two.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The connection, and how to go on with it: nothing is in flight.
    pub fn into_parts(self) -> (TcpStream, Codec) {
        let codec = self.codec();
        (self.stream, codec)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Any; not found is no error.
    ///
    /// # Panics
    /// If the key has no or more than `limits::KEY_BYTES_MAX` bytes, or the context is longer
    /// than `wire::CONTEXT_BYTES_MAX`; so do the other requests.
    pub fn get(&mut self, key: &[u8], request: &GetRequest<'_>) -> Result<Found, ClientError> {
        let frame = self.ask(Op::Get, key, request)?;
        Ok(Found::of(&done(&frame)?))
    }

    /// Writes or deletes a key.
    ///
    /// # Errors
    /// Any. `NoQuorum`, `Lost` and `TimedOut` leave the outcome unknown.
    pub fn put(&mut self, key: &[u8], request: &PutRequest<'_>) -> Result<Stored, ClientError> {
        let frame = self.ask(Op::Put, key, request)?;
        Ok(Stored::of(&done(&frame)?))
    }

    fn say_hello(&mut self, secret: Option<&Secret>, deadline: Instant) -> Result<(), ClientError> {
        let nonce = random_bytes().map_err(|_| ClientError::NoRandom(io::Error::other("none")))?;
        let hello = hello_of_client(ShardIndex(0), nonce, None);
        self.send(Op::Hello, RequestId(0), &[], &hello)?;
        self.receive(deadline)?;
        let frame = Frame::new_checked::<Hardware>(&self.received).map_err(ClientError::Foreign)?;
        let Message::HelloReply(reply) = message(&frame)? else {
            return Err(ClientError::Malformed);
        };
        let proof = secret.map(|secret| prove(secret, &hello, &reply)).transpose()?;
        if !Versions::OWN.contains(reply.version) {
            return Err(ClientError::Malformed);
        }
        (self.node, self.cluster, self.version) = (reply.node, reply.cluster, reply.version);
        match proof {
            Some(proof) => self.send(Op::Proof, RequestId(0), &[], &proof),
            None => Ok(()),
        }
    }

    /// Sends one request and waits for the frame that answers it.
    fn ask(
        &mut self,
        op: Op,
        key: &[u8],
        payload: &impl Payload,
    ) -> Result<Frame<'_>, ClientError> {
        if op.since() > self.version {
            return Err(ClientError::TooOld { version: self.version, needed: op.since() });
        }
        let deadline = Instant::now() + self.timeout;
        // 0 names the frames of the handshake.
        self.requests = self.requests.wrapping_add(1).max(1);
        let request = RequestId(self.requests);
        self.send(op, request, key, payload)?;
        let codec = self.codec();
        loop {
            self.receive(deadline)?;
            // A WELCOME, or else the answer to a request that was given up.
            if codec.check(&self.received)?.hop().request == request {
                break;
            }
        }
        codec.check(&self.received)
    }

    fn codec(&self) -> Codec {
        let digest = self.cluster.map_or(0, |cluster| cluster.id.digest());
        Codec { version: self.version, digest }
    }

    fn send(
        &mut self,
        op: Op,
        request: RequestId,
        key: &[u8],
        payload: &impl Payload,
    ) -> Result<(), ClientError> {
        let mut frame = Vec::new();
        self.codec().frame(&mut frame, op, request, key, payload);
        self.stream.set_write_timeout(Some(self.timeout)).map_err(ClientError::Lost)?;
        self.stream.write_all(&frame).map_err(lost)
    }

    /// Receives one frame into `received`, which is checked in length only.
    fn receive(&mut self, deadline: Instant) -> Result<(), ClientError> {
        self.received.clear();
        let mut piece = [0; 16 << 10];
        loop {
            let whole = frame_bytes(&self.received).map_err(ClientError::Foreign)?;
            let missing = whole.unwrap_or(FIRST_BYTES).saturating_sub(self.received.len());
            if missing == 0 {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::TimedOut);
            }
            self.stream.set_read_timeout(Some(left)).map_err(ClientError::Lost)?;
            let room = missing.min(piece.len());
            match self.stream.read(&mut piece[..room]) {
                Ok(0) => return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        }
    }
}

/// How a client greets a shard of a node, which is to belong to `cluster`.
fn hello_of_client(shard: ShardIndex, nonce: [u8; 16], cluster: Option<ClusterId>) -> Hello {
    Hello {
        version_min: Versions::OWN.oldest,
        version_max: Versions::OWN.newest,
        kind: Kind::Client,
        shard,
        source_shard: ShardIndex(0),
        shards: 0,
        node: NodeId(0),
        boot: Boot(0),
        nonce,
        cluster: cluster.unwrap_or(ClusterId(0)),
    }
}

/// Checks the node's proof and makes the client's.
fn prove(secret: &Secret, hello: &Hello, reply: &HelloReply<'_>) -> Result<Proof, ClientError> {
    let keys = Keys::derive(secret.bytes()).map_err(|_| ClientError::OtherSecret)?;
    let challenge = Challenge {
        cluster: reply.cluster.map_or(ClusterId(0), |cluster| cluster.id),
        dialer: hello.node,
        acceptor: reply.node,
        dialer_nonce: hello.nonce,
        acceptor_nonce: reply.nonce,
    };
    if !challenge.verify(&keys.peer, Prover::Acceptor, &reply.proof) {
        return Err(ClientError::OtherSecret);
    }
    Ok(Proof(challenge.proof(&keys.peer, Prover::Dialer)))
}

/// The message of a frame; a REFUSED is an error.
fn message<'a>(frame: &Frame<'a>) -> Result<Message<'a>, ClientError> {
    match Message::new_checked(frame) {
        Ok(Message::Refused(refused)) => Err(on_refused(refused)),
        Ok(message) => Ok(message),
        Err(Malformed) => Err(ClientError::Malformed),
    }
}

fn on_refused(refused: Refused) -> ClientError {
    match (refused.reason, refused.versions()) {
        (Reason::UnknownVersion, Ok(other)) => {
            ClientError::Apart(Apart { own: Versions::OWN, other })
        }
        (reason, _) => ClientError::Refused(reason),
    }
}

/// A refusal in words; `None` if there are none.
fn told(text: &str) -> Option<ClientError> {
    let words: serde_json::Value = serde_json::from_str(text).ok()?;
    let word = |name: &str| words[name].as_str().map(str::to_owned);
    Some(ClientError::Told { what: word("what")?, remedy: word("remedy")? })
}

/// The reply of a frame that says that all is well.
fn done<'a>(frame: &Frame<'a>) -> Result<Reply<'a>, ClientError> {
    let Message::Reply(reply) = message(frame)? else { return Err(ClientError::Malformed) };
    let head = reply.head;
    match head.status {
        Status::Ok => Ok(reply),
        status => Err(ClientError::Failed { status, needed: head.needed, got: head.got }),
    }
}

fn lost(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut,
        _ => ClientError::Lost(error),
    }
}

/// The words that the RESP port uses, too.
fn failure(status: &Status, needed: u8, got: u8) -> String {
    match status {
        Status::Ok => "OK".into(),
        Status::NoQuorum => format!("NOQUORUM {needed} {got}: the outcome is unknown"),
        Status::Unavailable if needed > 0 => format!("UNAVAILABLE needed={needed} nodes={got}"),
        Status::Unavailable => "UNAVAILABLE".into(),
        Status::BadContext => "BADCONTEXT: not a context of this key".into(),
        Status::TooLarge => "TOOLARGE: the key or value exceeds the node's limits".into(),
        Status::Siblings => "SIBLINGS: too many concurrent values".into(),
        Status::Busy => "BUSY".into(),
        Status::NoSpace => {
            "NOSPACE: the node's log cannot grow: its disk is full, or its messages say why".into()
        }
        Status::ReadOnly => "READONLY: the node takes no writes".into(),
        Status::ConditionFailed => "the condition does not hold".into(),
        Status::Damaged => "the record is damaged, and no other copy answered".into(),
        Status::Malformed => "the node found the request malformed".into(),
        Status::Unsupported => "the node does not do this".into(),
        Status::NotPermitted => "NOPERM".into(),
        Status::NotCovered => "UNAVAILABLE: no reachable copy covers the context".into(),
    }
}

#[cfg(test)]
mod tests;
