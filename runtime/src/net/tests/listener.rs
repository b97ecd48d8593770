use super::*;

/// A listener that was shut down fails every accept: it rests between two.
#[test]
fn a_broken_listener_rests_and_does_not_spin() {
    let config = HotRingConfig { accept_rest: Duration::from_millis(1), ..small() };
    let mut ring = HotRing::new(config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broken = listener.try_clone().unwrap();
    ring.listen(listener, TAG).unwrap();
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    rustix::net::shutdown(&broken, rustix::net::Shutdown::Both).unwrap();
    let (mut turns, start) = (0, ring.counts().rests);
    while ring.counts().rests < start + 5 {
        ring.submit_and_wait(Some(WAIT)).unwrap();
        assert!(ring.next_event().is_none());
        turns += 1;
    }
    assert!(turns < 100, "{turns} turns for 5 rests");
    ring.unlisten(TAG);
    assert_quiet(&mut ring, 0);
    assert!(ring.listeners.iter().all(Option::is_none));
}

#[test]
fn a_stopped_listener_refuses_and_its_place_is_used_again() {
    let mut ring = HotRing::new(small()).unwrap();
    for _ in 0..3 {
        let listeners = [1, 2].map(|tag| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            ring.listen(listener, tag).unwrap();
            address
        });
        let _client = TcpStream::connect(listeners[1]).unwrap();
        assert!(matches!(next(&mut ring), Seen::Other(Event::Accepted { tag: 2, .. })));
        ring.unlisten(1);
        assert_quiet(&mut ring, 1);
        assert!(TcpStream::connect(listeners[0]).is_err());
        TcpStream::connect(listeners[1]).unwrap();
        assert!(matches!(next(&mut ring), Seen::Other(Event::Accepted { tag: 2, .. })));
        ring.unlisten(2);
        assert_quiet(&mut ring, 0);
        assert_eq!(ring.listeners.len(), 2);
        assert!(ring.listeners.iter().all(Option::is_none));
    }
}

#[test]
fn a_full_ring_gives_the_socket_back() {
    let (mut ring, address) = listening(HotRingConfig { connection_count_max: 1, ..small() });
    let _first = TcpStream::connect(address).unwrap();
    let first = accept(&mut ring, Receive::Stream);
    let mut second = TcpStream::connect(address).unwrap();
    let Seen::Other(Event::Accepted { socket, .. }) = next(&mut ring) else { panic!() };
    let (socket, Full) = ring.adopt(socket, Receive::Stream).unwrap_err();
    close(&mut ring, first);
    let connection = ring.adopt(socket, Receive::Stream).unwrap();
    assert_eq!(connection.slot(), first.slot());
    assert_ne!(connection, first);
    second.write_all(b"x").unwrap();
    assert_eq!(received(&mut ring, connection), b"x");
}
