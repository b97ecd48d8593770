//! The dialing end of the handshake, for nodes: links to peers, and a newcomer's first call.
//!
//! ```text
//! new: HELLO ──► waits ── HELLO_REPLY, proof good: PROOF ──► greeted ── WELCOME ──► Dialed
//!                  └────── anything else ──► Failed ◄── anything else ──┘
//! ```
//!
//! A member demands its own cluster; a joiner that knows none takes the one it finds. Either
//! demands that the acceptor proves the secret. A joiner without one takes it from the
//! acceptor, if both ends are on this machine's loopback: there the machine is the trust
//! boundary.
//!
//! Invariant: nothing of an acceptor is believed before its proof over this connection's nonce.

use std::ops::ControlFlow;
use std::time::Duration;

use ringmain_core::checksum::Checksum;
use ringmain_core::id::{Boot, NodeId, RequestId, ShardIndex};
use ringmain_core::prng::Prng;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::{Frame, FrameError, Hop};
use ringmain_core::wire::handshake::{Challenge, Keys, Prover};
use ringmain_core::wire::hello::{Cluster, Hello, HelloReply, Kind, Proof, Reason, Refused};
use ringmain_core::wire::message::Message;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Malformed;
use ringmain_core::wire::version::Apart;

use super::clock::LinkClock;
use super::frames::{FrameReader, Pause, append_frame};
use super::{Local, digest_of};
use crate::settings::Secret;

/// Whom a node calls, and as what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Call {
    /// This node is not a member yet.
    pub joiner: bool,
    /// The node that should answer; `None` for a seed, which may be any.
    pub node: Option<NodeId>,
    /// The shard of that node; 0 always exists.
    pub shard: ShardIndex,
    /// Random, used for no other connection.
    pub nonce: [u8; 16],
    /// Both ends have loopback addresses.
    pub over_loopback: bool,
}

/// One dialed connection until it is a link. Drop it after any step but [`Step::Wait`].
#[derive(Debug)]
pub struct Dialer<C> {
    reader: FrameReader<C>,
    call: Call,
    hello: Hello,
    /// What HELLO_REPLY said, once its proof was good.
    greeted: Option<Dialed>,
    over: bool,
}

/// Who answered, and proved that it knows the secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dialed {
    /// The version of all frames from here on.
    pub version: u8,
    /// The node.
    pub node: NodeId,
    /// Its process life.
    pub boot: Boot,
    /// How many shards it has.
    pub shards: u16,
    /// Its cluster, which is ours, or becomes ours.
    pub cluster: Cluster,
    /// The cluster's secret, if it was given and not known.
    pub secret: Option<Secret>,
    /// This end of the link, and time.
    pub clock: LinkClock,
}

/// What the driver does next. Whatever was appended to `out` is sent in any case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Receive more.
    Wait,
    /// The link is open. What was not consumed are its first frames.
    Dialed(Dialed),
    /// Close.
    Failed(DialError),
}

/// What [`Dialer::receive`] did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// How many of the received bytes belong to the handshake: all, while it waits.
    pub consumed: usize,
    /// What to do next.
    pub step: Step,
}

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DialError {
    /// The acceptor refused.
    #[error("the node refused the connection: {0:?}")]
    Refused(Reason),
    /// There is no version in common.
    #[error("{0}")]
    Apart(Apart),
    /// The acceptor chose a version that was not offered.
    #[error("the node chose protocol version {0}, which was not offered")]
    Unsupported(u8),
    /// The acceptor is in no cluster.
    #[error("the node is in no cluster yet")]
    NoCluster,
    /// The acceptor belongs to another cluster, or its cluster has other constants.
    #[error("the node belongs to another cluster")]
    OtherCluster,
    /// The address answers for another node, or for this one.
    #[error("another node, {0}, answers at this address")]
    OtherNode(NodeId),
    /// This node has no secret and was not given one.
    #[error("the cluster has a secret that this node was not given")]
    NoSecret,
    /// The acceptor's proof is wrong.
    #[error("the node does not have this cluster secret")]
    OtherSecret,
    /// It does not speak the protocol.
    #[error("not a native port of Ringmain: {0}")]
    Foreign(FrameError),
    /// A frame that does not belong here, or says what it cannot say.
    #[error("the handshake is malformed")]
    Malformed,
}

impl<C: Checksum> Dialer<C> {
    /// A connection that was just made: appends HELLO to `out`.
    ///
    /// # Panics
    /// If the node of `local` is 0 or its shard is none of its shards, or if it is neither in a
    /// cluster nor a joiner.
    pub fn new(local: &Local<'_>, call: Call, out: &mut Vec<u8>) -> Dialer<C> {
        assert!(call.joiner || local.cluster.is_some());
        let hello = Hello {
            version_min: local.versions.oldest,
            version_max: local.versions.newest,
            kind: if call.joiner { Kind::Joiner } else { Kind::Peer },
            shard: call.shard,
            source_shard: local.shard,
            shards: local.shards,
            node: local.node,
            boot: local.boot,
            nonce: call.nonce,
            cluster: local.cluster_id(),
        };
        append_frame::<C>(out, &local.hop(Op::Hello, RequestId(0)), &hello);
        let reader = FrameReader::new(ACCEPTOR_FRAME_BYTES_MAX);
        Dialer { reader, call, hello, greeted: None, over: false }
    }

    /// Takes in what arrived, and appends what must be sent to `out`. The `local` of one
    /// handshake is the same from [`new`](Dialer::new) on, but for the time.
    ///
    /// # Panics
    /// If the handshake was over.
    pub fn receive(&mut self, local: &Local<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Received {
        assert!(!self.over);
        let Dialer { reader, call, hello, greeted, .. } = self;
        let mut step = Step::Wait;
        let taken = reader.take(bytes, |frame| {
            let read = match greeted {
                None => on_reply::<C>(local, call, hello, &frame, out).map(|dialed| {
                    *greeted = Some(dialed);
                    Step::Wait
                }),
                Some(dialed) => on_welcome(local, &frame).map(|()| Step::Dialed(dialed.clone())),
            };
            step = read.unwrap_or_else(Step::Failed);
            match step {
                Step::Wait => ControlFlow::Continue(()),
                Step::Dialed(_) | Step::Failed(_) => ControlFlow::Break(Pause::After),
            }
        });
        let consumed = match taken {
            Ok(taken) => taken.bytes,
            Err(error) => {
                step = Step::Failed(DialError::Foreign(error));
                bytes.len()
            }
        };
        self.over = step != Step::Wait;
        Received { consumed, step }
    }

    /// Who answered: from its HELLO_REPLY on. PROOF has been appended then, and WELCOME is
    /// awaited; who only wanted to know hangs up.
    pub fn greeted(&self) -> Option<&Dialed> {
        self.greeted.as_ref()
    }
}

/// How long to wait before the next call to a node that did not answer: up to twice as long
/// each time, within [`PAUSE_MIN`] and [`PAUSE_MAX`], drawn at random so that nodes that lost
/// the same peer do not call it all at once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backoff {
    failures: u32,
}

/// Shortest pause between two calls.
pub const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Backoff {
    /// The pause after one more call that failed: between half of the longest one now and all
    /// of it.
    pub fn on_failure(&mut self, prng: &mut Prng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.min(31);
        let longest = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
        let half_us = longest.as_micros() as u64 / 2;
        Duration::from_micros(half_us + prng.below(half_us + 1))
    }

    /// A call was answered: the next failure is the first again.
    pub fn on_success(&mut self) {
        self.failures = 0;
    }
}

/// HELLO_REPLY is the longest frame that an acceptor sends in the handshake.
const ACCEPTOR_FRAME_BYTES_MAX: usize = FIRST_BYTES + Op::HelloReply.body_bytes_max();

const _: () = assert!(Op::Refused.body_bytes_max() <= Op::HelloReply.body_bytes_max());
const _: () = assert!(Op::Welcome.body_bytes_max() <= Op::HelloReply.body_bytes_max());

/// Checks a HELLO_REPLY, and appends PROOF if all is well.
fn on_reply<C: Checksum>(
    local: &Local<'_>,
    call: &Call,
    hello: &Hello,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
) -> Result<Dialed, DialError> {
    let Message::HelloReply(reply) = message(local, frame)? else {
        return Err(DialError::Malformed);
    };
    if !local.versions.contains(reply.version) {
        return Err(DialError::Unsupported(reply.version));
    }
    let cluster = check_cluster(local, &reply)?;
    if !frame.is_of(digest_of(cluster.id)) {
        return Err(DialError::OtherCluster);
    }
    if reply.node == local.node || call.node.is_some_and(|node| node != reply.node) {
        return Err(DialError::OtherNode(reply.node));
    }
    let (keys, secret) = keys(local, call, &reply)?;
    let challenge = Challenge {
        cluster: cluster.id,
        dialer: hello.node,
        acceptor: reply.node,
        dialer_nonce: hello.nonce,
        acceptor_nonce: reply.nonce,
    };
    if !challenge.verify(&keys.peer, Prover::Acceptor, &reply.proof) {
        return Err(DialError::OtherSecret);
    }
    let proof = Proof(challenge.proof(&keys.peer, Prover::Dialer));
    let hop = local.hop(Op::Proof, RequestId(0));
    append_frame::<C>(out, &Hop { cluster_digest: digest_of(cluster.id), ..hop }, &proof);
    let HelloReply { version, node, boot, shards, .. } = reply;
    // PROOF answers HELLO_REPLY, and asks for WELCOME.
    let clock = LinkClock::new(local.now, local.now);
    Ok(Dialed { version, node, boot, shards, cluster, secret, clock })
}

/// The cluster of the acceptor, if it may be ours.
fn check_cluster(local: &Local<'_>, reply: &HelloReply<'_>) -> Result<Cluster, DialError> {
    let cluster = reply.cluster.ok_or(DialError::NoCluster)?;
    if local.cluster.is_some_and(|known| known != cluster) {
        return Err(DialError::OtherCluster);
    }
    // Keys would be placed elsewhere.
    if cluster.hash_seed != cluster.id.hash_seed() {
        return Err(DialError::Malformed);
    }
    Ok(cluster)
}

/// The keys to prove with; also the secret, if the acceptor gave it and it is needed.
fn keys(
    local: &Local<'_>,
    call: &Call,
    reply: &HelloReply<'_>,
) -> Result<(Keys, Option<Secret>), DialError> {
    if let Some(keys) = local.keys {
        return Ok((*keys, None));
    }
    let secret = reply.secret.filter(|_| call.joiner && call.over_loopback);
    let secret = secret.and_then(Secret::new).ok_or(DialError::NoSecret)?;
    let keys = Keys::derive(secret.bytes()).map_err(|_| DialError::NoSecret)?;
    Ok((keys, Some(secret)))
}

fn on_welcome(local: &Local<'_>, frame: &Frame<'_>) -> Result<(), DialError> {
    match message(local, frame)? {
        Message::Welcome => Ok(()),
        _ => Err(DialError::Malformed),
    }
}

/// The message of a frame; a REFUSED is an error, whatever cluster it comes from.
fn message<'a>(local: &Local<'_>, frame: &Frame<'a>) -> Result<Message<'a>, DialError> {
    match Message::new_checked(frame) {
        Ok(Message::Refused(refused)) => Err(on_refused(local, refused)),
        Ok(message) => Ok(message),
        Err(Malformed) => Err(DialError::Malformed),
    }
}

fn on_refused(local: &Local<'_>, refused: Refused) -> DialError {
    match (refused.reason, refused.versions()) {
        (Reason::UnknownVersion, Ok(other)) => {
            DialError::Apart(Apart { own: local.versions, other })
        }
        (reason, _) => DialError::Refused(reason),
    }
}
