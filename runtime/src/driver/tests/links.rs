//! A shard and a peer that this test plays over a socket; the clock of the shard is put forward.

use super::*;
use crate::checksum::Hardware;
use crate::session::native::Local;
use crate::session::native::clock::{LOOK_PAUSE, LinkClock};
use crate::session::native::dialer::{Call, DialError, Dialer, Step};
use crate::session::native::frames::{FRAME_BYTES_MAX, FrameReader, append_frame};
use crate::sys::SendBuffer;
use ringmain_core::id::{Boot, NodeId, RequestId, TopologyId};
use ringmain_core::limits::FRAME_AGE_MAX;
use ringmain_core::wire::frame::Hop;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::version::Versions;
use ringmain_core::wire::{VERSION, VERSION_MIN};
use std::io::{ErrorKind, Read, Write};
use std::ops::ControlFlow;

/// More than any socket takes at once.
const MUCH: usize = 64 << 20;

/// A node that has dialed the shard.
struct Peer {
    socket: TcpStream,
    reader: FrameReader<Hardware>,
    clock: LinkClock,
    cluster: ClusterInfo,
    /// What all frames of the link say.
    version: u8,
}

impl Peer {
    fn local(cluster: &ClusterInfo, versions: Versions) -> Local<'_> {
        Local {
            versions,
            node: NodeId(77),
            boot: Boot(1),
            shard: ShardIndex(0),
            shards: 2,
            cluster: Some(cluster.cluster),
            keys: Some(&cluster.keys),
            secret: None,
            topology: TopologyId(0),
            now: Instant(5),
        }
    }

    /// One that has shaken hands with the shard of `test`.
    fn connect(test: &mut Test) -> Peer {
        Peer::connect_as(test, Versions::OWN).unwrap()
    }

    /// The same, of a build that speaks those versions.
    fn connect_as(test: &mut Test, versions: Versions) -> Result<Peer, DialError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        test.driver.on_accepted(listener.accept().unwrap().0.into(), NATIVE);
        let cluster = test.driver.state.cluster.clone();
        let (node, shard) = (None, ShardIndex(0));
        let call = Call { joiner: false, node, shard, nonce: [1; 16], over_loopback: true };
        let mut out = Vec::new();
        let mut dialer = Dialer::<Hardware>::new(&Peer::local(&cluster, versions), call, &mut out);
        loop {
            socket.write_all(&std::mem::take(&mut out)).unwrap();
            test.turn();
            let mut piece = [0; 4096];
            let count = match socket.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                count => count.unwrap(),
            };
            let local = Peer::local(&cluster, versions);
            let received = dialer.receive(&local, &piece[..count], &mut out);
            match received.step {
                Step::Wait => {}
                Step::Dialed(dialed) => {
                    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
                    let rest = &piece[received.consumed..count];
                    let _early = reader.feed(rest, |_| ControlFlow::Continue(())).unwrap();
                    let (version, clock) = (dialed.version, dialed.clock);
                    return Ok(Peer { socket, reader, clock, cluster, version });
                }
                Step::Failed(error) => return Err(error),
            }
        }
    }

    /// Sends BEAT, `after` its end of the link began.
    fn beat(&mut self, after: Duration) {
        let hop = Hop {
            op: Op::Beat,
            request: RequestId::NONE,
            deadline_ms: 0,
            sent_ms: 0,
            topology: TopologyId(0),
            cluster_digest: self.cluster.cluster.id.digest(),
        };
        let mut frame = Vec::new();
        append_frame::<Hardware>(&mut frame, &hop, &[].as_slice());
        self.clock.stamp(Instant(5) + after, self.version, &mut frame);
        self.socket.write_all(&frame).unwrap();
    }

    /// The frames that have come; none once the connection is closed.
    fn receive(&mut self) -> Option<Vec<Hop>> {
        let mut hops = Vec::new();
        loop {
            let mut piece = [0; 4096];
            match self.socket.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(hops),
                Ok(0) | Err(_) => return None,
                Ok(count) => {
                    let take = |frame: ringmain_core::wire::frame::Frame<'_>| {
                        assert!(frame.speaks(self.version));
                        hops.push(*frame.hop());
                        ControlFlow::Continue(())
                    };
                    let _drained = self.reader.feed(&piece[..count], take).unwrap();
                }
            }
        }
    }
}

impl Test {
    /// A turn, with what has arrived by then.
    fn turn(&mut self) {
        self.driver.net.submit_and_wait(Some(Duration::from_millis(1))).unwrap();
        self.driver.turn().unwrap();
    }

    /// All clocks of the node show so much more.
    fn put_forward(&mut self, by: Duration) {
        let state = &mut self.driver.state;
        state.started = state.started.checked_sub(by).expect("this host runs for longer");
    }

    /// Turns until the shard holds `count` connections.
    fn until_connections(&mut self, count: usize) {
        while self.driver.net.connection_count() != count {
            self.turn();
        }
    }
}

#[test]
fn a_frame_that_was_held_back_for_too_long_closes_its_link() {
    let mut test = Test::new();
    let (mut stale, mut fresh) = (Peer::connect(&mut test), Peer::connect(&mut test));
    for peer in [&mut stale, &mut fresh] {
        peer.beat(Duration::ZERO);
    }
    test.turn();
    stale.beat(Duration::ZERO);
    fresh.beat(FRAME_AGE_MAX);
    test.put_forward(FRAME_AGE_MAX);
    test.until_connections(1);
    assert_eq!(test.count(Counter::FramesStale), 1);
    assert!(stale.receive().is_none());
    assert!(fresh.receive().is_some());
    fresh.beat(FRAME_AGE_MAX);
    test.turn();
    assert_eq!(test.driver.net.connection_count(), 1);
}

#[test]
fn a_silent_link_is_told_the_time() {
    let mut test = Test::new();
    let mut peer = Peer::connect(&mut test);
    test.turn();
    peer.receive();
    for looks in 1..6 {
        test.put_forward(LOOK_PAUSE);
        let beat = loop {
            test.turn();
            let hops = peer.receive().expect("the link stands");
            if let Some(beat) = hops.into_iter().find(|hop| hop.op == Op::Beat) {
                break beat;
            }
        };
        let least = looks * LOOK_PAUSE.as_millis() as u16;
        assert!((least..least + 5000).contains(&beat.sent_ms), "{}", beat.sent_ms);
    }
}

#[test]
fn a_link_whose_bytes_do_not_go_is_closed() {
    let mut test = Test::new();
    let mut peer = Peer::connect(&mut test);
    let mut beat = Vec::new();
    append_frame::<Hardware>(
        &mut beat,
        &test.driver.state.hop(Op::Beat, RequestId::NONE),
        &[].as_slice(),
    );
    let connection = test.driver.state.io.connections.at(0).unwrap();
    connection.out = SendBuffer::from(beat.repeat(MUCH / beat.len()));
    connection.stamped_bytes = 0;
    test.driver.state.io.mark(0);
    test.turn();
    assert!(test.driver.state.io.connections.at(0).unwrap().is_sending);
    test.put_forward(FRAME_AGE_MAX - LOOK_PAUSE);
    test.turn();
    assert_eq!(test.count(Counter::LinksStuck), 0);
    test.put_forward(2 * LOOK_PAUSE);
    test.until_connections(0);
    assert_eq!(test.count(Counter::LinksStuck), 1);
    while peer.receive().is_some() {}
}

#[test]
fn a_link_says_the_version_on_which_its_ends_agreed_and_takes_no_other() {
    let mut test = Test::new();
    let older = Versions { oldest: VERSION_MIN, newest: VERSION_MIN };
    let mut peer = Peer::connect_as(&mut test, older).unwrap();
    assert_eq!(peer.version, VERSION_MIN);
    peer.beat(Duration::ZERO);
    test.turn();
    let mut said = 0;
    while said == 0 {
        test.put_forward(LOOK_PAUSE);
        test.turn();
        said += peer.receive().expect("the link stands").len();
    }
    // It goes on as if it were the newer build.
    peer.version = VERSION;
    peer.beat(Duration::from_secs(10));
    test.until_connections(0);
    assert_eq!(test.count(Counter::FramesRefused), 1);
}

#[test]
fn a_node_without_a_common_version_is_counted_each_time_and_told_once() {
    let mut test = Test::new();
    let later = Versions { oldest: VERSION + 1, newest: VERSION + 2 };
    for count in 1..=3 {
        let Err(error) = Peer::connect_as(&mut test, later) else { panic!("it is refused") };
        assert!(matches!(error, DialError::Apart(_)), "{error}");
        test.until_connections(0);
        assert_eq!(test.count(Counter::ConnectionsApart), count);
    }
}
