//! Both ends of the handshake against each other, and each against everything else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringmain_core::checksum::Software;
use ringmain_core::prng::Prng;
use ringmain_core::wire::frame::{Frame, frame_length, write_frame};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::handshake::{Challenge, Prover};
use ringmain_core::wire::hello::{Hello, HelloReply, Kind, Proof, Reason, Refused};
use ringmain_core::wire::message::Message;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::{VERSION, VERSION_MIN};

use super::acceptor::{Accepted, Acceptor, Step, answer_proof, refuse};
use super::bootstrap::{BootstrapError, Newcomer, bootstrap};
use super::clock::LinkClock;
use super::dialer::{self, Backoff, Call, DialError, Dialed, Dialer, PAUSE_MAX, PAUSE_MIN};
use super::frames::{FrameReader, Pause, append_frame};
use super::*;

mod accepting;
mod bootstrapping;
mod clients;
mod dialing;
mod links;
mod versions;

const NOW: Instant = Instant(5_000_000);

/// A node of these tests, and what it owns.
#[derive(Clone)]
struct End {
    node: u32,
    shard: u16,
    cluster: Option<Cluster>,
    keys: Option<Keys>,
    secret: Option<Secret>,
    /// What its clock shows.
    now: Instant,
    versions: Versions,
}

impl End {
    /// Node `node`, at its shard 2 of 4, a member of cluster 7 that gives its secret away.
    fn member(node: u32) -> End {
        let secret = secret(1);
        let keys = Keys::derive(secret.bytes()).ok();
        let (cluster, secret) = (Some(cluster(7)), Some(secret));
        End { node, shard: 2, cluster, keys, secret, now: NOW, versions: Versions::OWN }
    }

    /// A node that knows nothing.
    fn newcomer(node: u32) -> End {
        let versions = Versions::OWN;
        End { node, shard: 0, cluster: None, keys: None, secret: None, now: NOW, versions }
    }

    /// The same with the keys of `secret(byte)`.
    fn with_keys(mut self, byte: u8) -> End {
        self.keys = Keys::derive(secret(byte).bytes()).ok();
        self
    }

    fn local(&self) -> Local<'_> {
        Local {
            versions: self.versions,
            node: NodeId(self.node),
            boot: Boot(10 + u64::from(self.node)),
            shard: ShardIndex(self.shard),
            shards: 4,
            cluster: self.cluster,
            keys: self.keys.as_ref(),
            secret: self.secret.as_ref(),
            topology: TopologyId(3),
            now: self.now,
        }
    }
}

fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

fn cluster(id: u128) -> Cluster {
    let id = ClusterId(id);
    Cluster { id, hash_seed: id.hash_seed(), partition_bits: 10, n: 3, r: 2, w: 2 }
}

/// A call of node 2, shard 2, by a member.
fn call() -> Call {
    Call {
        joiner: false,
        node: Some(NodeId(2)),
        shard: ShardIndex(2),
        nonce: [1; 16],
        over_loopback: true,
    }
}

/// A seed's shard 2 called by a newcomer.
fn join() -> Call {
    Call { joiner: true, node: None, ..call() }
}

/// A HELLO of a client for shard 2.
fn client() -> Hello {
    Hello {
        version_min: VERSION_MIN,
        version_max: VERSION,
        kind: Kind::Client,
        shard: ShardIndex(2),
        source_shard: ShardIndex(0),
        shards: 0,
        node: NodeId(0),
        boot: Boot(0),
        nonce: [1; 16],
        cluster: ClusterId(0),
    }
}

/// A HELLO of shard 1 of node 1, of cluster 7, for shard 2.
fn peer() -> Hello {
    let source = ShardIndex(1);
    let hello = Hello { kind: Kind::Peer, source_shard: source, shards: 2, ..client() };
    Hello { node: NodeId(1), boot: Boot(11), cluster: ClusterId(7), ..hello }
}

/// A frame of cluster 7 with request 5.
fn frame_of(op: Op, payload: &impl Payload) -> Vec<u8> {
    let end = End::member(1);
    let mut out = Vec::new();
    append_frame::<Software>(&mut out, &end.local().hop(op, RequestId(5)), payload);
    out
}

/// A client's GET of cluster 7.
fn get() -> Vec<u8> {
    let request = GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] };
    let mut out = vec![0; frame_length(1, request.bytes())];
    let end = End::member(1);
    let hop = end.local().hop(Op::Get, RequestId(6));
    write_frame::<Software>(&hop, b"k", &request, &mut out);
    out
}

/// Gives the one frame in `bytes` to `read`.
fn one<T>(bytes: &[u8], read: impl FnOnce(Frame<'_>, Message<'_>) -> T) -> T {
    let frame = Frame::new_checked::<Software>(bytes).unwrap();
    read(frame, Message::new_checked(&frame).unwrap())
}

/// The reason of the one REFUSED in `bytes`.
fn reason(bytes: &[u8]) -> Reason {
    one(bytes, |_, message| {
        let Message::Refused(refused) = message else { panic!("{message:?}") };
        assert_eq!(refused.versions(), Ok(Versions::OWN));
        refused.reason
    })
}

/// The proof that `prover` makes in the handshake between these ends.
fn proof(end: &End, dialer: u32, acceptor: u32, prover: Prover) -> Proof {
    let challenge = Challenge {
        cluster: end.local().cluster_id(),
        dialer: NodeId(dialer),
        acceptor: NodeId(acceptor),
        dialer_nonce: [1; 16],
        acceptor_nonce: [2; 16],
    };
    Proof(challenge.proof(&end.keys.unwrap().peer, prover))
}

/// How a handshake between a dialer and an acceptor ended, with everything each end sent.
#[derive(Debug)]
struct Handshake {
    accepted: Step,
    dialed: dialer::Step,
    /// Bytes that the dialer sent: HELLO and PROOF.
    dialer_sent: Vec<u8>,
    /// Bytes that the acceptor sent: HELLO_REPLY and WELCOME, or a REFUSED.
    acceptor_sent: Vec<u8>,
}

/// Runs both ends, moving at most `piece` bytes at a time, until neither has more to say.
fn shake(from: &End, to: &End, call: Call, over_loopback: bool, piece: usize) -> Handshake {
    let (mut dialer_sent, mut acceptor_sent) = (Vec::new(), Vec::new());
    let mut dialer = Dialer::<Software>::new(&from.local(), call, &mut dialer_sent);
    let mut acceptor = Acceptor::<Software>::new([2; 16], over_loopback);
    let (mut accepted, mut dialed) = (Step::Wait, dialer::Step::Wait);
    let (mut to_acceptor, mut to_dialer) = (0, 0);
    loop {
        let moved = (to_acceptor, to_dialer);
        if accepted == Step::Wait {
            let end = dialer_sent.len().min(to_acceptor + piece);
            let bytes = &dialer_sent[to_acceptor..end];
            let received = acceptor.receive(&to.local(), bytes, &mut acceptor_sent);
            (accepted, to_acceptor) = (received.step, to_acceptor + received.consumed);
        }
        if dialed == dialer::Step::Wait {
            let end = acceptor_sent.len().min(to_dialer + piece);
            let bytes = &acceptor_sent[to_dialer..end];
            let received = dialer.receive(&from.local(), bytes, &mut dialer_sent);
            (dialed, to_dialer) = (received.step, to_dialer + received.consumed);
        }
        if moved == (to_acceptor, to_dialer) {
            return Handshake { accepted, dialed, dialer_sent, acceptor_sent };
        }
    }
}

#[test]
fn two_members_meet_however_their_bytes_are_cut() {
    let (from, to) = (End::member(1), End::member(2));
    for piece in 1..200 {
        let ended = shake(&from, &to, call(), false, piece);
        let peer = Accepted::Peer {
            node: NodeId(1),
            boot: Boot(11),
            shard: ShardIndex(2),
            shards: 4,
            joiner: false,
            versions: Versions::OWN,
            version: VERSION,
            clock: LinkClock::new(NOW, NOW),
        };
        assert_eq!(ended.accepted, Step::Accepted(peer));
        let dialed = Dialed {
            version: VERSION,
            node: NodeId(2),
            boot: Boot(12),
            shards: 4,
            cluster: cluster(7),
            secret: None,
            clock: LinkClock::new(NOW, NOW),
        };
        assert_eq!(ended.dialed, dialer::Step::Dialed(dialed));
    }
}

#[test]
fn a_joiner_is_given_the_secret_over_loopback_and_only_then() {
    let (from, to) = (End::newcomer(1), End::member(2));
    let far = Call { over_loopback: false, ..join() };
    let gives_nothing = End { secret: None, ..to.clone() };
    for (to, call, over_loopback, given) in [
        (&to, join(), true, true),
        (&to, join(), false, false),
        (&to, far, true, false),
        (&gives_nothing, join(), true, false),
    ] {
        let ended = shake(&from, to, call, over_loopback, 50);
        if given {
            let dialer::Step::Dialed(dialed) = ended.dialed else { panic!("{ended:?}") };
            assert_eq!((dialed.secret, dialed.cluster), (Some(secret(1)), cluster(7)));
            let Step::Accepted(Accepted::Peer { joiner, .. }) = ended.accepted else { panic!() };
            assert!(joiner);
        } else {
            assert_eq!(ended.dialed, dialer::Step::Failed(DialError::NoSecret));
            assert_eq!(ended.accepted, Step::Wait);
        }
    }
}

#[test]
fn the_secret_travels_to_newcomers_alone() {
    let to = End::member(2);
    let contains = |sent: &[u8]| sent.windows(32).any(|bytes| bytes == secret(1).bytes());
    let newcomer = End::newcomer(1);
    assert!(contains(&shake(&newcomer, &to, join(), true, 500).acceptor_sent));
    // Who knows the cluster has its secret: members, and joiners after their first call.
    for from in [End::member(1), End { cluster: Some(cluster(7)), ..newcomer }] {
        for call in [join(), Call { joiner: from.keys.is_none(), ..call() }] {
            let ended = shake(&from, &to, call, true, 500);
            assert!(!contains(&ended.acceptor_sent));
            assert!(!contains(&ended.dialer_sent));
        }
    }
}

#[test]
fn a_joiner_with_the_secret_needs_no_loopback() {
    let (from, to) = (End::newcomer(1).with_keys(1), End::member(2));
    let ended = shake(&from, &to, Call { over_loopback: false, ..join() }, false, 50);
    let dialer::Step::Dialed(dialed) = ended.dialed else { panic!("{ended:?}") };
    assert_eq!((dialed.cluster, dialed.secret), (cluster(7), None));
    assert!(matches!(ended.accepted, Step::Accepted(Accepted::Peer { joiner: true, .. })));
    // Its own secret counts, even where another one is offered.
    let ended = shake(&from.with_keys(9), &to, join(), true, 50);
    assert_eq!(ended.dialed, dialer::Step::Failed(DialError::OtherSecret));
}

#[test]
fn ends_of_different_clusters_or_secrets_part() {
    let member = End::member(1);
    let other = End { cluster: Some(cluster(8)), ..End::member(2) };
    let clusterless = End { shard: 2, ..End::newcomer(2) };
    for (to, refused, failed) in [
        (clusterless, Some(Reason::NoCluster), DialError::Refused(Reason::NoCluster)),
        (other, Some(Reason::OtherCluster), DialError::Refused(Reason::OtherCluster)),
        (End::member(2).with_keys(9), None, DialError::OtherSecret),
        (End::member(1), Some(Reason::Duplicate), DialError::Refused(Reason::Duplicate)),
        (End::member(3), None, DialError::OtherNode(NodeId(3))),
    ] {
        let ended = shake(&member, &to, call(), true, 30);
        assert_eq!(ended.dialed, dialer::Step::Failed(failed));
        assert_eq!(ended.accepted, refused.map_or(Step::Wait, Step::Refused));
    }
}

#[test]
fn no_flipped_bit_opens_a_link() {
    let (from, to) = (End::member(1), End::member(2));
    let whole = shake(&from, &to, call(), true, 500);
    for bit in 0..whole.dialer_sent.len() * 8 {
        let mut sent = whole.dialer_sent.clone();
        sent[bit / 8] ^= 1 << (bit % 8);
        let mut out = Vec::new();
        let received =
            Acceptor::<Software>::new([2; 16], true).receive(&to.local(), &sent, &mut out);
        // Request, deadline, age and topology; of HELLO also the digest, since 0 is allowed.
        let at = bit / 8;
        let free = (8..32).contains(&at) || (104..120).contains(&at);
        let accepted = matches!(received.step, Step::Accepted(_));
        assert_eq!(accepted, free, "bit {bit}: {:?}", received.step);
    }
}
