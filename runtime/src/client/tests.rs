use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use ringmain_core::checksum::Software;
use ringmain_core::id::TopologyId;
use ringmain_core::wire::admin::AdminReply;
use ringmain_core::wire::frame::{Hop, frame_bytes, frame_length, stamp_frames, write_frame};
use ringmain_core::wire::hello::Refused;
use ringmain_core::wire::put::{Content, Replaces};
use ringmain_core::wire::reply::{ReplyHead, ReplySibling, ReplyWriter, reply_bytes};
use ringmain_core::wire::{VERSION, VERSION_MIN};

use super::*;

const LONG: Duration = Duration::from_secs(600);
const GET: GetRequest<'_> =
    GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] };

fn cluster() -> Cluster {
    let id = ClusterId(7);
    Cluster { id, hash_seed: id.hash_seed(), partition_bits: 10, n: 3, r: 2, w: 2 }
}

fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

/// The other end of one connection, as a script.
struct Node {
    stream: TcpStream,
}

impl Node {
    /// Runs `script` on the first connection; joins with its result.
    fn start<T: Send + 'static>(
        script: impl FnOnce(Node) -> T + Send + 'static,
    ) -> (SocketAddr, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            script(Node { stream })
        });
        (address, thread)
    }

    /// The next frame, whole.
    fn receive(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; FIRST_BYTES];
        self.stream.read_exact(&mut bytes).unwrap();
        let length = frame_bytes(&bytes).unwrap().unwrap();
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[FIRST_BYTES..]).unwrap();
        Frame::new_checked::<Software>(&bytes).unwrap();
        bytes
    }

    fn frame(op: Op, request: RequestId, payload: &impl Payload) -> Vec<u8> {
        let hop = Hop {
            op,
            request,
            deadline_ms: 0,
            sent_ms: 0,
            topology: TopologyId(3),
            cluster_digest: cluster().id.digest(),
        };
        let mut frame = vec![0; frame_length(0, payload.bytes())];
        write_frame::<Software>(&hop, &[], payload, &mut frame);
        frame
    }

    fn send(&mut self, op: Op, request: RequestId, payload: &impl Payload) {
        self.stream.write_all(&Node::frame(op, request, payload)).unwrap();
    }

    /// Takes a HELLO and answers it, knowing `secret`.
    fn greet(&mut self, known: &Secret) -> (Hello, Challenge) {
        self.greet_as(known, VERSION)
    }

    /// The same, of a build that speaks no newer version.
    fn greet_as(&mut self, known: &Secret, version: u8) -> (Hello, Challenge) {
        let bytes = self.receive();
        let frame = Frame::new_checked::<Software>(&bytes).unwrap();
        let hello = Hello::new_checked(frame.payload()).unwrap();
        let challenge = Challenge {
            cluster: cluster().id,
            dialer: hello.node,
            acceptor: NodeId(9),
            dialer_nonce: hello.nonce,
            acceptor_nonce: [4; 16],
        };
        let keys = Keys::derive(known.bytes()).unwrap();
        let reply = HelloReply {
            version,
            node: NodeId(9),
            boot: Boot(5),
            shards: 2,
            cluster: Some(cluster()),
            nonce: [4; 16],
            proof: challenge.proof(&keys.peer, Prover::Acceptor),
            secret: None,
        };
        self.send(Op::HelloReply, RequestId(0), &reply);
        (hello, challenge)
    }
}

fn reply(head: ReplyHead, context: &[u8], values: &[&[u8]]) -> Vec<u8> {
    let bytes = reply_bytes(context.len(), values.len(), values.iter().map(|v| v.len()).sum());
    let mut out = vec![0; bytes];
    let mut writer = ReplyWriter::new(&head, context.len(), values.len() as u16, &mut out);
    writer.context(|out| out.copy_from_slice(context));
    for value in values {
        writer.sibling(&ReplySibling { timestamp: UnixMs(8), expires: None, value });
    }
    writer.finish();
    out
}

#[test]
fn a_get_finds_the_answer_among_others() {
    let (address, node) = Node::start(|mut node| {
        let (hello, _) = node.greet(&secret(1));
        assert_eq!((hello.kind, hello.cluster), (Kind::Client, ClusterId(0)));
        let bytes = node.receive();
        let frame = Frame::new_checked::<Software>(&bytes).unwrap();
        assert_eq!((frame.op(), frame.key()), (Op::Get, &b"cart"[..]));
        assert!(frame.is_of(cluster().id.digest()));
        assert_eq!(frame.hop().deadline_ms, 0, "the deadline is the node's own");
        let request = frame.hop().request;
        node.send(Op::Welcome, RequestId(0), &[].as_slice());
        let head = ReplyHead::of(Status::Busy);
        node.send(Op::Reply, RequestId(request.0 + 1), &head);
        let live = ReplyHead { live: 2, ..ReplyHead::of(Status::Ok) };
        let payload = reply(live, b"token", &[b"apples", b""]);
        // Byte by byte: a frame is a frame however it arrives.
        for byte in Node::frame(Op::Reply, request, &payload.as_slice()) {
            node.stream.write_all(&[byte]).unwrap();
        }
    });
    let mut client = Client::connect(address, None, LONG).unwrap();
    assert_eq!((client.node(), client.cluster()), (NodeId(9), Some(cluster())));
    let found = client.get(b"cart", &GET).unwrap();
    node.join().unwrap();
    assert_eq!(found.context, b"token");
    let values: Vec<_> = found.values.iter().map(|value| &value.bytes[..]).collect();
    assert_eq!(values, [&b"apples"[..], b""]);
}

#[test]
fn a_put_and_the_admin_requests() {
    let (address, node) = Node::start(|mut node| {
        node.greet(&secret(1));
        let bytes = node.receive();
        let frame = Frame::new_checked::<Software>(&bytes).unwrap();
        let put = PutRequest::new_checked(frame.payload()).unwrap();
        assert_eq!(put.content, Content::Value { expires: None, value: b"pears" });
        let head = ReplyHead { live: 3, found: 2, ..ReplyHead::of(Status::Ok) };
        node.send(Op::Reply, frame.hop().request, &head);
        for (op, key) in [(Op::Status, &b""[..]), (Op::Ring, b"cart"), (Op::Ring, b"")] {
            let bytes = node.receive();
            let frame = Frame::new_checked::<Software>(&bytes).unwrap();
            assert_eq!((frame.op(), frame.key()), (op, key));
            let status = if key.is_empty() { Status::Ok } else { Status::NotPermitted };
            let answer = AdminReply { status, text: "{}" };
            node.send(Op::AdminReply, frame.hop().request, &answer);
        }
    });
    let mut client = Client::connect(address, None, LONG).unwrap();
    let put = PutRequest {
        w: 2,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: b"pears" },
    };
    let stored = client.put(b"cart", &put).unwrap();
    assert_eq!(stored, Stored { context: None, live: 3, found: 2 });
    assert_eq!(client.status().unwrap(), "{}");
    let error = client.ring(Some(b"cart")).unwrap_err();
    assert!(matches!(error, ClientError::Failed { status: Status::NotPermitted, .. }));
    assert_eq!(client.ring(None).unwrap(), "{}");
    node.join().unwrap();
}

#[test]
fn both_ends_prove_the_secret() {
    let (address, node) = Node::start(|mut node| {
        let (_, challenge) = node.greet(&secret(1));
        let bytes = node.receive();
        let frame = Frame::new_checked::<Software>(&bytes).unwrap();
        let Proof(proof) = Proof::new_checked(frame.payload()).unwrap();
        let keys = Keys::derive(secret(1).bytes()).unwrap();
        challenge.verify(&keys.peer, Prover::Dialer, &proof)
    });
    Client::connect(address, Some(&secret(1)), LONG).unwrap();
    assert!(node.join().unwrap());

    let (address, node) = Node::start(|mut node| node.greet(&secret(1)));
    let error = Client::connect(address, Some(&secret(2)), LONG).unwrap_err();
    assert!(matches!(error, ClientError::OtherSecret));
    node.join().unwrap();
}

#[test]
fn a_refusal_is_told() {
    let refused = Refused { reason: Reason::NoShard, version_min: 1, version_max: 1 };
    let (address, node) = Node::start(move |mut node| {
        node.receive();
        node.send(Op::Refused, RequestId(0), &refused);
    });
    let error = Client::connect(address, None, LONG).unwrap_err();
    assert!(matches!(error, ClientError::Refused(Reason::NoShard)));
    node.join().unwrap();

    let (address, node) = Node::start(move |mut node| {
        node.greet(&secret(1));
        node.receive();
        node.send(Op::Refused, RequestId(0), &refused);
    });
    let error = Client::connect(address, None, LONG).unwrap().status().unwrap_err();
    assert!(matches!(error, ClientError::Refused(Reason::NoShard)));
    node.join().unwrap();
}

#[test]
fn errors_of_a_request_carry_the_counts() {
    let (address, node) = Node::start(|mut node| {
        node.greet(&secret(1));
        let bytes = node.receive();
        let request = Frame::new_checked::<Software>(&bytes).unwrap().hop().request;
        let head = ReplyHead { needed: 2, got: 1, ..ReplyHead::of(Status::NoQuorum) };
        node.send(Op::Reply, request, &head);
    });
    let error = Client::connect(address, None, LONG).unwrap().get(b"k", &GET).unwrap_err();
    assert_eq!(error.to_string(), "NOQUORUM 2 1: the outcome is unknown");
    node.join().unwrap();
}

#[test]
fn an_older_node_is_asked_what_it_knows_in_its_version() {
    let (address, node) = Node::start(|mut node| {
        let (hello, _) = node.greet_as(&secret(1), VERSION_MIN);
        assert_eq!(hello.versions(), Versions::OWN);
        let answer = AdminReply { status: Status::Ok, text: "{}" };
        for version in [VERSION_MIN, VERSION] {
            let bytes = node.receive();
            let frame = Frame::new_checked::<Software>(&bytes).unwrap();
            assert_eq!((frame.op(), frame.version()), (Op::Status, VERSION_MIN));
            let mut answer = Node::frame(Op::AdminReply, frame.hop().request, &answer);
            stamp_frames(&mut answer, version, 0);
            node.stream.write_all(&answer).unwrap();
        }
    });
    let mut client = Client::connect(address, None, LONG).unwrap();
    assert_eq!(client.version(), VERSION_MIN);
    let error = client.reap().unwrap_err();
    assert!(matches!(error, ClientError::TooOld { version: VERSION_MIN, needed: VERSION }));
    assert_eq!(client.status().unwrap(), "{}");
    let error = client.status().unwrap_err();
    assert!(matches!(error, ClientError::Malformed), "an answer of another version: {error}");
    node.join().unwrap();
}

#[test]
fn a_node_without_a_common_version_says_what_to_upgrade() {
    let (address, node) = Node::start(|mut node| {
        node.receive();
        let (version_min, version_max) = (VERSION + 1, VERSION + 2);
        let refused = Refused { reason: Reason::UnknownVersion, version_min, version_max };
        node.send(Op::Refused, RequestId(0), &refused);
    });
    let error = Client::connect(address, None, LONG).unwrap_err();
    let other = Versions { oldest: VERSION + 1, newest: VERSION + 2 };
    assert_eq!(error.to_string(), Apart { own: Versions::OWN, other }.to_string());
    node.join().unwrap();
}

#[test]
fn every_truncation_and_every_flipped_byte_of_an_answer_is_an_error() {
    let head = ReplyHead { live: 1, ..ReplyHead::of(Status::Ok) };
    let whole = Node::frame(Op::Reply, RequestId(1), &reply(head, b"t", &[b"v"]).as_slice());
    let answer = |bytes: Vec<u8>| {
        let (address, node) = Node::start(move |mut node| {
            node.greet(&secret(1));
            node.receive();
            node.stream.write_all(&bytes).unwrap();
        });
        let found = Client::connect(address, None, LONG).unwrap().get(b"k", &GET);
        node.join().unwrap();
        found
    };
    assert!(answer(whole.clone()).is_ok());
    for length in 0..whole.len() {
        let error = answer(whole[..length].to_vec()).unwrap_err();
        assert!(matches!(error, ClientError::Lost(_)), "{length}: {error}");
    }
    // The hop part is not covered: only what names the frame and the request can be noticed.
    for at in (0..12).chain(FIRST_BYTES..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x11;
        assert!(answer(bytes).is_err(), "{at}");
    }
}

/// A connection of a client that does its own I/O.
#[test]
fn a_codec_takes_frames_one_after_the_other() {
    let digest = cluster().id.digest();
    let codec = Codec { version: VERSION, digest };
    let mut asked = Vec::new();
    codec.get(&mut asked, RequestId(1), b"cart", &GET);
    let put = PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: Replaces::Local,
        content: Content::Value { expires: None, value: b"apples" },
    };
    codec.put(&mut asked, RequestId(2), b"cart", &put);
    let mut rest = &asked[..];
    for (number, op) in [(1, Op::Get), (2, Op::Put)] {
        let length = frame_bytes(rest).unwrap().unwrap();
        let frame = codec.check(&rest[..length]).unwrap();
        assert_eq!((frame.hop().request, frame.op()), (RequestId(number), op));
        assert!(frame.is_of(digest) && frame.key() == b"cart");
        rest = &rest[length..];
    }
    assert!(rest.is_empty());

    // In any order, a failure of one is none of the others, and a greeting answers nothing.
    let found = reply(ReplyHead { live: 1, ..ReplyHead::of(Status::Ok) }, b"t", &[b"apples"]);
    let frames = [
        Node::frame(Op::Welcome, RequestId(0), &[].as_slice()),
        Node::frame(Op::Reply, RequestId(2), &ReplyHead::of(Status::Busy)),
        Node::frame(Op::Reply, RequestId(1), &found.as_slice()),
    ];
    let bytes = frames.concat();
    let welcome = codec.answer(&bytes).unwrap().unwrap();
    assert_eq!((welcome.bytes, welcome.request), (frames[0].len(), RequestId(0)));
    assert!(welcome.reply.is_none());
    let busy = codec.answer(&bytes[welcome.bytes..]).unwrap().unwrap();
    assert_eq!((busy.bytes, busy.request), (frames[1].len(), RequestId(2)));
    assert!(matches!(busy.reply, Some(Err(ClientError::Failed { status: Status::Busy, .. }))));
    let rest = &bytes[welcome.bytes + busy.bytes..];
    let got = codec.answer(rest).unwrap().unwrap();
    assert_eq!((got.bytes, got.request), (frames[2].len(), RequestId(1)));
    let values: Vec<_> = got.reply.unwrap().unwrap().siblings().map(|it| it.value).collect();
    assert_eq!(values, [b"apples"]);
    // What is not there yet is awaited, however little of it has come.
    for length in 0..rest.len() {
        assert!(codec.answer(&rest[..length]).unwrap().is_none(), "{length}");
    }
    // Damage breaks the connection.
    let mut damaged = rest.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(codec.answer(&damaged), Err(ClientError::Foreign(_))));
}

#[test]
fn silence_and_strangers() {
    let (address, node) = Node::start(|mut node| {
        node.greet(&secret(1));
        node
    });
    let mut client = Client::connect(address, None, LONG).unwrap();
    let node = node.join().unwrap();
    client.timeout = Duration::from_millis(1);
    assert!(matches!(client.status(), Err(ClientError::TimedOut)));
    drop(node);

    let (address, node) = Node::start(|mut node| node.stream.write_all(b"HTTP/1.1 400\r\n"));
    let error = Client::connect(address, None, LONG).unwrap_err();
    assert!(matches!(error, ClientError::Foreign(FrameError::BadMagic)), "{error}");
    node.join().unwrap().unwrap();

    let nobody = SocketAddr::from(([127, 93, 9, 1], 1));
    assert!(matches!(Client::connect(nobody, None, LONG), Err(ClientError::Unreachable(_))));
}
