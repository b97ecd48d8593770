use super::*;
use crate::sys::Errno;

#[test]
fn a_half_closed_peer_still_gets_its_output() {
    let (mut ring, address) = listening(small());
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    assert_eq!(received_to_end(&mut ring, connection), b"question");
    let answer = pattern(1, 1 << 20);
    ring.send(connection, answer.clone()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            assert!(all == answer);
        });
        assert!(matches!(
            next(&mut ring),
            Seen::Other(Event::Sent { connection: id, buffer })
                if id == connection && buffer.to_vec() == answer
        ));
        assert!(close(&mut ring, connection).is_none());
    });
    assert_quiet(&mut ring, 1);
}

#[test]
fn a_reset_is_a_failure() {
    let (mut ring, address) = listening(small());
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    assert_eq!(received(&mut ring, connection), b"x");
    reset(client);
    let Seen::Other(Event::Ended { connection: id, ending }) = next(&mut ring) else { panic!() };
    assert_eq!((id, ending), (connection, Ending::Failed(Errno(libc::ECONNRESET))));
    assert_eq!(ring.send(connection, b"late".to_vec()).unwrap_err().to_vec(), b"late");
    assert!(close(&mut ring, connection).is_none());
    assert_quiet(&mut ring, 1);
}

#[test]
fn a_reset_in_the_middle_of_a_send_gives_the_buffer_back() {
    let (mut ring, address) = listening(small());
    let client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    ring.send(connection, vec![0; 64 << 20]).unwrap();
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    reset(client);
    // The kernel tells of the reset once: either to the send, or to the receive.
    loop {
        match next(&mut ring) {
            Seen::Other(Event::Ended { ending: Ending::Finished, .. }) => {}
            Seen::Other(Event::Ended { ending: Ending::Failed(_), .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(close(&mut ring, connection).unwrap().bytes(), 64 << 20);
    assert_quiet(&mut ring, 1);
}

/// The bell shows that the ring went through its completions: nothing was sent meanwhile.
#[test]
fn a_client_that_never_reads_holds_only_its_buffer() {
    let (mut ring, address) = listening(small());
    let client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    ring.send(connection, vec![5; 64 << 20]).unwrap();
    assert_eq!(ring.send(connection, vec![6]).unwrap_err().to_vec(), [6], "one at a time");
    for _ in 0..10 {
        ring.doorbell().ring();
        assert!(matches!(next(&mut ring), Seen::Other(Event::Doorbell)));
    }
    let unsent = close(&mut ring, connection).unwrap().to_vec();
    assert!(unsent.len() == 64 << 20 && unsent.iter().all(|byte| *byte == 5));
    assert_quiet(&mut ring, 1);
    drop(client);
}

#[test]
fn finish_ends_the_stream_and_still_receives() {
    let (mut ring, address) = listening(small());
    let client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    ring.send(connection, b"bye".to_vec()).unwrap();
    assert!(matches!(next(&mut ring), Seen::Other(Event::Sent { .. })));
    ring.finish(connection);
    let mut all = Vec::new();
    (&client).read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    (&client).write_all(b"late").unwrap();
    assert_eq!(received(&mut ring, connection), b"late");
    drop(client);
    close(&mut ring, connection);
}

/// What was given to the kernel arrives, though the connection is closed in the same turn.
#[test]
fn close_after_sent_loses_nothing() {
    let (mut ring, address) = listening(small());
    let mut client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    let bytes = pattern(3, 100_000);
    ring.send(connection, bytes.clone()).unwrap();
    assert!(matches!(next(&mut ring), Seen::Other(Event::Sent { .. })));
    close(&mut ring, connection);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert!(all == bytes);
}

#[test]
fn an_empty_send_is_refused() {
    let (mut ring, address) = listening(small());
    let _client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    assert!(ring.send(connection, Vec::new()).unwrap_err().is_empty());
    close(&mut ring, connection);
    assert_quiet(&mut ring, 1);
}

/// With receives, a send and an accepted socket in flight.
#[test]
fn a_dropped_ring_lets_go_of_everything() {
    let (mut ring, address) = listening(small());
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..5 {
        clients.push(TcpStream::connect(address).unwrap());
        let connection = accept(&mut ring, Receive::Stream);
        ring.send(connection, vec![1; 8 << 20]).unwrap();
    }
    clients.push(TcpStream::connect(address).unwrap());
    ring.submit_and_wait(Some(WAIT)).unwrap();
    drop(ring);
    for mut client in clients {
        let mut all = Vec::new();
        // The end or a reset, but not a hanging connection.
        let _ = client.read_to_end(&mut all);
        assert!(all.len() < 8 << 20);
    }
}

/// Bytes that were received but not taken when the connection is closed: their buffer is not lost.
#[test]
fn closing_with_bytes_in_hand_gives_their_buffers_back() {
    let (mut ring, address) = listening(small());
    for _ in 0..40 {
        let mut client = TcpStream::connect(address).unwrap();
        let connection = accept(&mut ring, Receive::Stream);
        client.write_all(&[1; 100]).unwrap();
        ring.submit_and_wait(Some(WAIT)).unwrap();
        assert!(ring.has_event());
        close(&mut ring, connection);
    }
    assert_quiet(&mut ring, 1);
}

/// The kernel goes on after a short send by itself; where it does not, the ring does.
#[test]
fn a_short_send_is_continued_where_it_stopped() {
    let (mut ring, address) = listening(small());
    let mut client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    ring.send(connection, b"0123456789".to_vec()).unwrap();
    ring.submit_and_wait(Some(WAIT)).unwrap();
    let mut completion = ring.ring.next_completion().unwrap();
    assert_eq!(completion.result, Ok(10));
    completion.result = Ok(3);
    assert!(ring.on_sent(connection, completion).is_none());
    assert_eq!(ring.counts().short_sends, 1);
    assert!(matches!(
        next(&mut ring),
        Seen::Other(Event::Sent { buffer, .. }) if buffer.to_vec() == b"0123456789"
    ));
    close(&mut ring, connection);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"01234567893456789");
}
