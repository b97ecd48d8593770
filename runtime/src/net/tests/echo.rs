use super::*;

/// `count` clients at a time, each with `bytes`, through one ring.
fn check(config: HotRingConfig, count: usize, bytes: usize) -> HotRing {
    let (ring, address) = listening(config);
    let mut echo = Echo::new(ring);
    std::thread::scope(|scope| {
        for client in 0..count {
            scope.spawn(move || {
                let bytes = pattern(client as u64, bytes);
                assert!(ask(address, &bytes) == bytes, "client {client}");
            });
        }
        echo.serve(count);
    });
    assert_eq!(echo.refused_count, 0);
    assert_quiet(&mut echo.ring, 1);
    echo.ring
}

#[test]
fn echo_on_a_plain_thread() {
    check(small(), 8, 300_000);
}

#[test]
fn echo_through_tiny_queues() {
    let config = HotRingConfig { submission_count: 8, completion_count: 8, ..small() };
    check(config, 60, 20_000);
}

#[test]
fn echo_through_tiny_buffers_keeps_every_byte_in_order() {
    let config = HotRingConfig { buffer_count: 2, buffer_bytes: 64, ..small() };
    let ring = check(config, 40, 20_000);
    assert!(ring.counts().starved > 0, "{:?}", ring.counts());
}

#[test]
fn echo_through_one_buffer_of_one_byte() {
    let config = HotRingConfig { buffer_count: 1, buffer_bytes: 1, ..small() };
    check(config, 4, 500);
}

#[test]
fn echo_in_an_executor() {
    let (sender, address) = std::sync::mpsc::channel();
    let executor = executor(glommio::Placement::Unbound);
    let server = executor.spawn(move || async move {
        let (ring, address) = listening(small());
        sender.send(address).unwrap();
        let mut echo = Echo::new(ring);
        while echo.closed_count < 8 {
            while let Some(event) = echo.ring.next_event().map(own) {
                echo.handle(event);
            }
            echo.ring.submit_and_wait(Some(Duration::from_micros(500))).unwrap();
            if !echo.ring.has_event() && echo.closed_count < 8 {
                echo.ring.park(Some(WAIT)).await.unwrap();
            }
        }
        assert!(echo.ring.counts().sleeps > 0);
        assert_quiet(&mut echo.ring, 1);
    });
    let address = address.recv().unwrap();
    for client in 0..8 {
        let bytes = pattern(client, 100_000);
        assert!(ask(address, &bytes) == bytes, "client {client}");
    }
    server.unwrap().join().unwrap();
}

/// Many short lives: some end politely, some with a reset, some before they were served, and
/// more at a time than there is room for.
#[test]
fn thousands_of_connections_come_and_go() {
    const COUNT: usize = 4_000;
    let (ring, address) = listening(HotRingConfig { connection_count_max: 8, ..small() });
    let mut echo = Echo::new(ring);
    std::thread::scope(|scope| {
        for client in 0..2 {
            scope.spawn(move || {
                for turn in 0..COUNT / 2 {
                    let mut stream = TcpStream::connect(address).unwrap();
                    // A refused one fails at once, or is reset.
                    let _ = stream.write_all(&[client; 100]);
                    match turn % 4 {
                        0 => drop(stream),
                        1 => reset(stream),
                        2 => {
                            let _ = stream.shutdown(std::net::Shutdown::Write);
                            let _ = stream.read_to_end(&mut Vec::new());
                        }
                        _ => {
                            let _ = stream.read(&mut [0; 10]);
                        }
                    }
                }
            });
        }
        echo.serve(COUNT);
    });
    assert_eq!(echo.closed_count + echo.refused_count, COUNT);
    assert!(echo.closed_count > COUNT / 10);
    assert_quiet(&mut echo.ring, 1);
}
