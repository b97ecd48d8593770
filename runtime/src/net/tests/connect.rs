use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::sys::Errno;

#[test]
fn a_ring_talks_to_itself() {
    let (mut ring, address) = listening(small());
    let source = IpAddr::V4(Ipv4Addr::new(127, 3, 2, 1));
    let near = ring.connect(address, Some(source), WAIT).unwrap();
    assert_eq!(ring.send(near, vec![1]).unwrap_err().to_vec(), [1], "not connected yet");
    let (mut far, mut is_connected) = (None, false);
    while far.is_none() || !is_connected {
        match next(&mut ring) {
            Seen::Other(Event::Connected { connection }) => is_connected = connection == near,
            Seen::Other(Event::Accepted { socket, peer, .. }) => {
                assert_eq!(peer.unwrap().ip(), source);
                far = Some(ring.adopt(socket, Receive::Stream).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    let far = far.unwrap();
    for (from, to) in [(near, far), (far, near)] {
        ring.send(from, b"hello".to_vec()).unwrap();
        let mut heard = Vec::new();
        while heard != b"hello" {
            match next(&mut ring) {
                Seen::Received(id, bytes) if id == to => heard.extend(bytes),
                Seen::Other(Event::Sent { connection, .. }) if connection == from => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(rustix::net::sockopt::tcp_nodelay(ring.socket(from).unwrap()).unwrap());
    }
}

#[test]
fn nobody_listens() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut ring = HotRing::new(small()).unwrap();
    let id = ring.connect(gone, None, WAIT).unwrap();
    let Seen::Other(Event::Ended { connection, ending }) = next(&mut ring) else { panic!() };
    assert_eq!((connection, ending), (id, Ending::Failed(Errno(libc::ECONNREFUSED))));
    assert!(close(&mut ring, id).is_none());
    assert_quiet(&mut ring, 0);
}

/// A listener whose queue is full drops the requests to connect.
fn deaf() -> (std::os::fd::OwnedFd, SocketAddr, Vec<TcpStream>) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    (listener, address, vec![TcpStream::connect(address).unwrap()])
}

#[test]
fn a_connect_that_takes_too_long_fails() {
    let (_listener, address, _clients) = deaf();
    let mut ring = HotRing::new(small()).unwrap();
    let id = ring.connect(address, None, Duration::from_millis(5)).unwrap();
    let Seen::Other(Event::Ended { connection, ending }) = next(&mut ring) else { panic!() };
    assert_eq!((connection, ending), (id, Ending::Failed(Errno(libc::ETIMEDOUT))));
    assert!(close(&mut ring, id).is_none());
    assert_quiet(&mut ring, 0);
}

#[test]
fn a_connect_can_be_closed() {
    let (_listener, address, _clients) = deaf();
    let mut ring = HotRing::new(small()).unwrap();
    for is_submitted in [false, true] {
        let id = ring.connect(address, None, Duration::from_secs(1_000)).unwrap();
        if is_submitted {
            ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        }
        assert!(close(&mut ring, id).is_none());
    }
    assert_quiet(&mut ring, 0);
}

#[test]
fn a_full_ring_does_not_connect() {
    let mut ring = HotRing::new(HotRingConfig { connection_count_max: 0, ..small() }).unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    assert_eq!(ring.connect(address, None, WAIT), Err(Errno(libc::EMFILE)));
}
