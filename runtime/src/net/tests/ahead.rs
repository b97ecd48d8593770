//! Looking at what was received before its events are taken.

use super::*;

/// What the next `count` events received, as text.
fn look(ring: &mut HotRing, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    ring.look_ahead(count, |bytes| seen.push(String::from_utf8_lossy(bytes).into_owned()));
    seen
}

/// Three clients have sent their number, and the ring has it.
fn asked(ring: &mut HotRing, address: SocketAddr) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(TcpStream::connect(address).unwrap());
        accept(ring, Receive::Stream);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("{number}").as_bytes()).unwrap();
    }
    let start = std::time::Instant::now();
    while look(ring, 8).len() < 3 {
        assert!(start.elapsed() < WAIT, "{:?}", look(ring, 8));
        // Completions that are here end a wait: the rest comes without one.
        ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    }
    clients
}

#[test]
fn what_is_looked_at_still_comes() {
    let (mut ring, address) = listening(small());
    let clients = asked(&mut ring, address);
    let seen = look(&mut ring, 8);
    assert_eq!(look(&mut ring, 8), seen, "looking takes nothing");
    assert_eq!(look(&mut ring, 2), seen[..2]);
    assert!(look(&mut ring, 0).is_empty());
    for (at, expected) in seen.iter().enumerate() {
        let Seen::Received(connection, bytes) = next(&mut ring) else { panic!("no bytes") };
        assert_eq!(bytes, expected.as_bytes());
        ring.close(connection);
        // What was taken is not ahead any more.
        assert_eq!(look(&mut ring, 8), seen[at + 1..]);
    }
    while ring.connection_count() > 0 {
        assert!(matches!(next(&mut ring), Seen::Other(Event::Closed { .. })));
    }
    assert_quiet(&mut ring, 1);
    drop(clients);
}

#[test]
fn nothing_is_ahead_of_a_ring_that_is_quiet() {
    let (mut ring, _) = listening(small());
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    assert!(look(&mut ring, 8).is_empty());
    ring.doorbell().ring();
    assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
    assert!(look(&mut ring, 8).is_empty());
}
