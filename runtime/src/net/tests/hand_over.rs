use std::os::fd::OwnedFd;
use std::sync::mpsc;

use super::*;

/// The first bytes decide that the other thread serves the connection; the rest goes there.
#[test]
fn a_connection_moves_to_another_ring() {
    const COUNT: usize = 20;
    let (mut ring, address) = listening(small());
    let (sender, moved) = mpsc::channel::<(OwnedFd, Vec<u8>)>();
    let (bell, bells) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || serve_moved(COUNT, &bell, &moved));
        for client in 0..COUNT {
            scope.spawn(move || {
                let bytes = pattern(client as u64, 100_000);
                assert!(ask(address, &bytes) == bytes, "client {client}");
            });
        }
        let doorbell: Doorbell = bells.recv().unwrap();
        let mut moved_count = 0;
        while moved_count < COUNT {
            match next(&mut ring) {
                Seen::Other(Event::Accepted { socket, .. }) => {
                    let id = ring.adopt(socket, Receive::First).unwrap();
                    assert!(ring.hand_over(id).is_none(), "the first receive is in flight");
                }
                Seen::Received(id, bytes) => {
                    let socket = ring.hand_over(id).unwrap();
                    assert!(ring.hand_over(id).is_none());
                    sender.send((socket, bytes)).unwrap();
                    doorbell.ring();
                    moved_count += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_quiet(&mut ring, 1);
    });
}

fn serve_moved(
    count: usize,
    bell: &mpsc::Sender<Doorbell>,
    moved: &mpsc::Receiver<(OwnedFd, Vec<u8>)>,
) {
    let mut echo = Echo::new(HotRing::new(small()).unwrap());
    bell.send(echo.ring.doorbell()).unwrap();
    while echo.closed_count < count {
        let event = next(&mut echo.ring);
        if matches!(event, Seen::Other(Event::Doorbell)) {
            while let Ok((socket, output)) = moved.try_recv() {
                let id = echo.ring.adopt(socket, Receive::Stream).unwrap();
                echo.sessions.insert(id, Session { output, ..Session::default() });
                echo.flush(id);
            }
        }
        echo.handle(event);
    }
    assert_quiet(&mut echo.ring, 0);
}

#[test]
fn only_the_first_bytes_come_until_resumed() {
    let (mut ring, address) = listening(HotRingConfig { buffer_bytes: 10, ..small() });
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(&[1; 30]).unwrap();
    let connection = accept(&mut ring, Receive::First);
    assert_eq!(received(&mut ring, connection), [1; 10]);
    for _ in 0..3 {
        ring.doorbell().ring();
        assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
    }
    ring.resume_receive(connection);
    assert_eq!(received(&mut ring, connection), [1; 10]);
    assert_eq!(received(&mut ring, connection), [1; 10]);
    assert!(ring.hand_over(connection).is_none(), "it receives");
    close(&mut ring, connection);
    assert_quiet(&mut ring, 1);
}
