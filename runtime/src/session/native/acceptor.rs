//! The accepting end of the handshake: what a connection goes through before it is anyone's.
//!
//! ```text
//! Hello ── HELLO of a client ─────────────────────► Accepted::Client
//!   │  ├── HELLO for another shard ───────────────► HandOver, nothing was sent
//!   │  └── HELLO of a peer or joiner ──► Proof ── PROOF ──► Accepted::Peer
//!   └───── anything else ─────────────► REFUSED ◄── anything else
//! ```
//!
//! Invariant: nobody is `Accepted::Peer` without having proved the secret over a nonce that
//! this end made for this connection. Whether a peer is a *member* is not checked here: the
//! driver knows the ring, and may answer with [`refuse`] instead of serving it.

use std::ops::ControlFlow;

use ringmain_core::checksum::Checksum;
use ringmain_core::id::{Boot, ClusterId, NodeId, RequestId, ShardIndex};
use ringmain_core::time::Instant;
use ringmain_core::wire::FIRST_BYTES;
use ringmain_core::wire::frame::{Frame, FrameError};
use ringmain_core::wire::handshake::{Challenge, Prover};
use ringmain_core::wire::hello::{Hello, HelloReply, Kind, Proof, Reason, Refused};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Malformed;
use ringmain_core::wire::version::{Apart, Versions};

use super::clock::LinkClock;
use super::frames::{FrameReader, Pause, append_frame};
use super::{Local, digest_of};

/// One accepted connection until it is someone's. Drop it after any step but
/// [`Step::Wait`].
#[derive(Debug)]
pub struct Acceptor<C> {
    reader: FrameReader<C>,
    waits: Waits,
}

/// What the driver does next. Whatever was appended to `out` is sent in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Receive more.
    Wait,
    /// Hand the descriptor to this other shard of this node, with all that arrived:
    /// [`Acceptor::held`], then what was not consumed. There a new acceptor takes it in.
    HandOver(ShardIndex),
    /// The handshake is over. What was not consumed are frames of the session.
    Accepted(Accepted),
    /// REFUSED was appended: send it and close.
    Refused(Reason),
    /// The same, since there is no version in common; the dialer, 0 of clients.
    Apart(NodeId, Apart),
}

/// Who the other end is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// A client. It may prove the secret later: give its PROOF to [`answer_proof`].
    Client {
        /// What its proof is made over.
        challenge: Challenge,
        /// The version of all frames from here on.
        version: u8,
    },
    /// A node that has proved the secret.
    Peer {
        /// Which.
        node: NodeId,
        /// Its process life.
        boot: Boot,
        /// Its shard, at whose end the connection is.
        shard: ShardIndex,
        /// How many shards it has.
        shards: u16,
        /// It says that it is not a member yet.
        joiner: bool,
        /// What it speaks.
        versions: Versions,
        /// The version of all frames from here on.
        version: u8,
        /// This end of the link, and time.
        clock: LinkClock,
    },
}

/// What [`Acceptor::receive`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// How many of the received bytes belong to the handshake: all, while it waits.
    pub consumed: usize,
    /// What to do next.
    pub step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Waits {
    /// For HELLO; the nonce is for the answer.
    Hello { nonce: [u8; 16], over_loopback: bool },
    /// For PROOF of who said HELLO, and with whom the version was agreed; asked for at that time.
    Proof { challenge: Challenge, hello: Hello, version: u8, asked: Instant },
    /// For nothing more.
    Over,
}

impl<C: Checksum> Acceptor<C> {
    /// Whether the HELLO, which names the shard, is not whole yet.
    pub fn is_greeting(&self) -> bool {
        matches!(self.waits, Waits::Hello { .. })
    }

    /// A connection that was just accepted, or handed over. `nonce` is random and used for no
    /// other connection; `over_loopback` says that both its ends have loopback addresses.
    pub fn new(nonce: [u8; 16], over_loopback: bool) -> Acceptor<C> {
        let reader = FrameReader::new(DIALER_FRAME_BYTES_MAX);
        Acceptor { reader, waits: Waits::Hello { nonce, over_loopback } }
    }

    /// Takes in what arrived, and appends what must be sent to `out`.
    ///
    /// # Panics
    /// If the handshake was over.
    pub fn receive(&mut self, local: &Local<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Received {
        assert!(!matches!(self.waits, Waits::Over));
        let mut step = Step::Wait;
        let waits = &mut self.waits;
        let taken = self.reader.take(bytes, |frame| {
            step = on_frame::<C>(waits, local, &frame, out);
            match step {
                Step::Wait => ControlFlow::Continue(()),
                Step::HandOver(_) => ControlFlow::Break(Pause::Before),
                Step::Accepted(_) | Step::Refused(_) | Step::Apart(..) => {
                    ControlFlow::Break(Pause::After)
                }
            }
        });
        let consumed = match taken {
            Ok(taken) => taken.bytes,
            Err(error) => {
                step = refuse::<C>(local, RequestId(0), fault(error), out);
                bytes.len()
            }
        };
        if step != Step::Wait {
            self.waits = Waits::Over;
        }
        Received { consumed, step }
    }

    /// What was consumed but belongs to whom the connection is handed over.
    pub fn held(&self) -> &[u8] {
        self.reader.held()
    }
}

/// Answers a client's PROOF, which may come at any time after [`Accepted::Client`], with
/// WELCOME, or with REFUSED: then send it and close.
///
/// # Errors
/// The reason that was sent.
pub fn answer_proof<C: Checksum>(
    local: &Local<'_>,
    challenge: &Challenge,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let request = frame.hop().request;
    let verified = verify(local, challenge, frame);
    match verified {
        Ok(()) => append_frame::<C>(out, &local.hop(Op::Welcome, request), &[].as_slice()),
        Err(reason) => {
            refuse::<C>(local, request, reason, out);
        }
    }
    verified
}

/// Appends a REFUSED that answers `request`, 0 if none: also for what the driver refuses, such
/// as a connection too many.
pub fn refuse<C: Checksum>(
    local: &Local<'_>,
    request: RequestId,
    reason: Reason,
    out: &mut Vec<u8>,
) -> Step {
    let Versions { oldest, newest } = local.versions;
    let refused = Refused { reason, version_min: oldest, version_max: newest };
    append_frame::<C>(out, &local.hop(Op::Refused, request), &refused);
    Step::Refused(reason)
}

/// HELLO is the longest frame that a dialer sends before it is known.
const DIALER_FRAME_BYTES_MAX: usize = FIRST_BYTES + Op::Hello.body_bytes_max();

const _: () = assert!(Op::Proof.body_bytes_max() <= Op::Hello.body_bytes_max());

fn on_frame<C: Checksum>(
    waits: &mut Waits,
    local: &Local<'_>,
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
) -> Step {
    match *waits {
        Waits::Hello { nonce, over_loopback } => match read_hello(local, frame) {
            Ok(hello) if hello.shard != local.shard => Step::HandOver(hello.shard),
            Ok(hello) => {
                let (own, other) = (local.versions, hello.versions());
                let Some(version) = own.agree(other) else {
                    refuse::<C>(local, frame.hop().request, Reason::UnknownVersion, out);
                    return Step::Apart(hello.node, Apart { own, other });
                };
                if let Err(reason) = check(local, &hello) {
                    return refuse::<C>(local, frame.hop().request, reason, out);
                }
                let challenge = challenge(local, &hello, nonce);
                greet::<C>(local, frame, (&hello, version), &challenge, over_loopback, out);
                on_greeted(waits, local, (&hello, version), challenge)
            }
            Err(reason) => refuse::<C>(local, frame.hop().request, reason, out),
        },
        Waits::Proof { challenge, hello, version, asked } => {
            match answer_proof::<C>(local, &challenge, frame, out) {
                Ok(()) => {
                    let clock = LinkClock::new(asked, local.now);
                    Step::Accepted(peer(&hello, version, clock))
                }
                Err(reason) => Step::Refused(reason),
            }
        }
        Waits::Over => unreachable!("reading pauses at the end of the handshake"),
    }
}

fn on_greeted(
    waits: &mut Waits,
    local: &Local<'_>,
    (hello, version): (&Hello, u8),
    challenge: Challenge,
) -> Step {
    if hello.kind == Kind::Client {
        return Step::Accepted(Accepted::Client { challenge, version });
    }
    *waits = Waits::Proof { challenge, hello: *hello, version, asked: local.now };
    Step::Wait
}

fn peer(hello: &Hello, version: u8, clock: LinkClock) -> Accepted {
    Accepted::Peer {
        node: hello.node,
        boot: hello.boot,
        shard: hello.source_shard,
        shards: hello.shards,
        joiner: hello.kind == Kind::Joiner,
        versions: hello.versions(),
        version,
        clock,
    }
}

/// Reads a HELLO for a shard that this node has.
fn read_hello(local: &Local<'_>, frame: &Frame<'_>) -> Result<Hello, Reason> {
    if frame.op() != Op::Hello {
        return Err(Reason::Malformed);
    }
    let hello = Hello::new_checked(frame.payload()).map_err(|Malformed| Reason::Malformed)?;
    if hello.shard.0 < local.shards { Ok(hello) } else { Err(Reason::NoShard) }
}

/// Whether this node can be what the dialer wants.
fn check(local: &Local<'_>, hello: &Hello) -> Result<(), Reason> {
    let knows_cluster = hello.cluster != ClusterId(0);
    let client = hello.kind == Kind::Client;
    if local.cluster.is_none() || local.keys.is_none() {
        // A client that names no cluster may be told that there is none.
        return if client && !knows_cluster { Ok(()) } else { Err(Reason::NoCluster) };
    }
    let other = if knows_cluster {
        hello.cluster != local.cluster_id()
    } else {
        // A member knows its cluster.
        hello.kind == Kind::Peer
    };
    if other {
        return Err(Reason::OtherCluster);
    }
    // Its own shards reach each other without sockets: this is a copy, or this node dialed
    // itself.
    if hello.node == local.node { Err(Reason::Duplicate) } else { Ok(()) }
}

fn challenge(local: &Local<'_>, hello: &Hello, nonce: [u8; 16]) -> Challenge {
    Challenge {
        cluster: local.cluster_id(),
        dialer: hello.node,
        acceptor: local.node,
        dialer_nonce: hello.nonce,
        acceptor_nonce: nonce,
    }
}

/// Appends HELLO_REPLY.
fn greet<C: Checksum>(
    local: &Local<'_>,
    frame: &Frame<'_>,
    (hello, version): (&Hello, u8),
    challenge: &Challenge,
    over_loopback: bool,
    out: &mut Vec<u8>,
) {
    let newcomer = hello.kind == Kind::Joiner && hello.cluster == ClusterId(0);
    let secret = local.secret.filter(|_| newcomer && over_loopback);
    let proof = local.keys.map(|keys| challenge.proof(&keys.peer, Prover::Acceptor));
    let reply = HelloReply {
        version,
        node: local.node,
        boot: local.boot,
        shards: local.shards,
        cluster: local.cluster,
        nonce: challenge.acceptor_nonce,
        proof: proof.unwrap_or_default(),
        secret: secret.map(|secret| secret.bytes()),
    };
    append_frame::<C>(out, &local.hop(Op::HelloReply, frame.hop().request), &reply);
}

/// Whether `frame` is the PROOF that `challenge` asks for.
fn verify(local: &Local<'_>, challenge: &Challenge, frame: &Frame<'_>) -> Result<(), Reason> {
    if frame.op() != Op::Proof {
        return Err(Reason::Malformed);
    }
    let Proof(proof) = Proof::new_checked(frame.payload()).map_err(|_| Reason::Malformed)?;
    if !frame.is_of(digest_of(challenge.cluster)) {
        return Err(Reason::OtherCluster);
    }
    let keys = local.keys.ok_or(Reason::BadProof)?;
    let verified = challenge.verify(&keys.peer, Prover::Dialer, &proof);
    if verified { Ok(()) } else { Err(Reason::BadProof) }
}

fn fault(error: FrameError) -> Reason {
    match error {
        FrameError::UnknownVersion(_) => Reason::UnknownVersion,
        _ => Reason::Malformed,
    }
}
