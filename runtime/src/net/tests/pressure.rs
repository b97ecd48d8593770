use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_paused_connection_makes_its_peer_wait_and_loses_nothing() {
    let (mut ring, address) = listening(small());
    let bytes = pattern(9, 48 << 20);
    let is_written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            TcpStream::connect(address).unwrap().write_all(&bytes).unwrap();
            is_written.store(true, Ordering::Release);
        });
        let connection = accept(&mut ring, Receive::Stream);
        let mut all = received(&mut ring, connection);
        ring.pause_receive(connection);
        // Two bells: the second comes after all that was completed before the pause.
        let doorbell = ring.doorbell();
        let mut bells = 0;
        doorbell.ring();
        while bells < 20 {
            match next(&mut ring) {
                Seen::Received(_, bytes) => {
                    assert!(bells < 2, "received long after the pause");
                    all.extend(bytes);
                }
                Seen::Other(Event::Doorbell) => {
                    bells += 1;
                    doorbell.ring();
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(!is_written.load(Ordering::Acquire));
        assert!(all.len() <= 17 * 4096);
        ring.resume_receive(connection);
        while all.len() < bytes.len() {
            if let Seen::Received(_, bytes) = next(&mut ring) {
                all.extend(bytes);
            }
        }
        assert!(all == bytes);
        assert!(matches!(
            next(&mut ring),
            Seen::Other(Event::Ended { ending: Ending::Finished, .. })
        ));
        close(&mut ring, connection);
    });
    assert_quiet(&mut ring, 1);
}

/// Random pauses and resumes, several between two turns, under starvation.
#[test]
fn pauses_and_resumes_in_any_order_lose_nothing() {
    let config = HotRingConfig { buffer_count: 2, buffer_bytes: 512, ..small() };
    let (mut ring, address) = listening(config);
    let count = 6;
    let mut all: HashMap<ConnectionId, Vec<u8>> = HashMap::new();
    let mut random = ringmain_core::prng::Prng::new(5);
    std::thread::scope(|scope| {
        for client in 0..count {
            scope.spawn(move || {
                let bytes = pattern(client, 200_000);
                TcpStream::connect(address).unwrap().write_all(&bytes).unwrap();
            });
        }
        let mut ended = 0;
        while ended < count {
            for id in all.keys() {
                for _ in 0..random.below(4) {
                    match random.below(2) {
                        0 => ring.pause_receive(*id),
                        _ => ring.resume_receive(*id),
                    }
                }
                if random.below(2) == 0 {
                    ring.resume_receive(*id);
                }
            }
            ring.submit_and_wait(Some(Duration::from_micros(100))).unwrap();
            while let Some(event) = ring.next_event().map(own) {
                match event {
                    Seen::Received(id, bytes) => all.get_mut(&id).unwrap().extend(bytes),
                    Seen::Other(Event::Accepted { socket, .. }) => {
                        let id = ring.adopt(socket, Receive::Stream).unwrap();
                        all.insert(id, Vec::new());
                    }
                    Seen::Other(Event::Ended { ending: Ending::Finished, .. }) => ended += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    for (id, bytes) in all {
        assert!((0..count).any(|client| bytes == pattern(client, 200_000)));
        close(&mut ring, id);
    }
    assert_quiet(&mut ring, 1);
}

/// One buffer for four connections with more to say than it holds.
#[test]
fn closing_a_starved_connection_leaves_no_trace() {
    let config = HotRingConfig { buffer_count: 1, buffer_bytes: 16, ..small() };
    let (mut ring, address) = listening(config);
    for round in 0..50 {
        let mut clients: Vec<TcpStream> = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..4 {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(&[round; 100]).unwrap();
            clients.push(client);
        }
        let before = ring.counts().starved;
        while ids.len() < 4 || ring.counts().starved == before {
            match next(&mut ring) {
                Seen::Other(Event::Accepted { socket, .. }) => {
                    ids.push(ring.adopt(socket, Receive::Stream).unwrap());
                }
                Seen::Received(_, bytes) => assert!(bytes.iter().all(|byte| *byte == round)),
                other => panic!("{other:?}"),
            }
        }
        ids.iter().for_each(|id| ring.close(*id));
        let mut closed = 0;
        while closed < 4 {
            match next(&mut ring) {
                Seen::Other(Event::Closed { .. }) => closed += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_quiet(&mut ring, 1);
}

/// Four connections that always have something to say share one buffer: each is served in turn.
#[test]
fn starved_connections_take_turns() {
    let config = HotRingConfig { buffer_count: 1, buffer_bytes: 16, ..small() };
    let (mut ring, address) = listening(config);
    let mut clients: Vec<TcpStream> = Vec::new();
    for client in 0..4 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[client; 16 << 10]).unwrap();
        clients.push(stream);
    }
    let mut turns: Vec<ConnectionId> = Vec::new();
    let mut ids = Vec::new();
    while turns.len() < 400 {
        match next(&mut ring) {
            Seen::Other(Event::Accepted { socket, .. }) => {
                ids.push(ring.adopt(socket, Receive::Stream).unwrap());
            }
            Seen::Received(id, _) if ids.len() == 4 => turns.push(id),
            Seen::Received(..) => {}
            other => panic!("{other:?}"),
        }
    }
    for window in turns[20..].windows(8) {
        assert!(ids.iter().all(|id| window.contains(id)), "{window:?}");
    }
}
