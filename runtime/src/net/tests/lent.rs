//! Sends of which parts lie in a map.

use super::*;
use crate::sys::tests::Lender;

/// Own and lent pieces in turn, `count` of each, with all their bytes.
fn pieces(lender: &Lender, seed: u64, count: usize, bytes_max: u64) -> (SendBuffer, Vec<u8>) {
    let mut random = ringmain_core::prng::Prng::new(seed);
    let (mut buffer, mut all) = (SendBuffer::default(), Vec::new());
    for _ in 0..count {
        let own = pattern(random.next_u64(), random.below(30) as usize);
        let lent = pattern(random.next_u64(), random.below(bytes_max) as usize);
        buffer.tail().extend_from_slice(&own);
        buffer.lend(lender.lend(&lent));
        all.extend([own, lent].concat());
    }
    (buffer, all)
}

/// More pieces than one operation takes, to a peer that takes few bytes at a time.
#[test]
fn lent_pieces_arrive_whole_and_in_order() {
    let lender = Lender::new();
    let (mut ring, address) = listening(small());
    let mut client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    rustix::net::sockopt::set_socket_send_buffer_size(ring.socket(connection).unwrap(), 4096)
        .unwrap();
    for (round, (count, bytes_max)) in
        [(300, 5_000), (1, 1 << 20), (64, 40_000)].into_iter().enumerate()
    {
        let (buffer, expected) = pieces(&lender, round as u64, count, bytes_max);
        assert_eq!(lender.lent_count(), count);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut all = vec![0; expected.len()];
                for part in all.chunks_mut(1 + round * 777) {
                    client.read_exact(part).unwrap();
                }
                all
            });
            ring.send(connection, buffer).unwrap();
            match next(&mut ring) {
                Seen::Other(Event::Sent { connection: id, buffer }) if id == connection => {
                    assert_eq!(buffer.bytes(), expected.len());
                }
                other => panic!("{other:?}"),
            }
            assert!(reader.join().unwrap() == expected);
        });
        assert_eq!(lender.lent_count(), 0, "the event gave them back");
    }
    close(&mut ring, connection);
    assert_quiet(&mut ring, 1);
}

/// The kernel has sent any number of the bytes, and says so.
#[test]
fn a_short_send_of_pieces_is_continued_where_it_stopped() {
    let lender = Lender::new();
    let (mut ring, address) = listening(small());
    let mut buffer = SendBuffer::from(b"01".to_vec());
    for (lent, own) in [("234", "5"), ("67", ""), ("8", "9ab")] {
        buffer.lend(lender.lend(lent.as_bytes()));
        buffer.tail().extend_from_slice(own.as_bytes());
    }
    let all = buffer.to_vec();
    assert_eq!(all, b"0123456789ab");
    for sent in 1..all.len() {
        let mut client = TcpStream::connect(address).unwrap();
        let connection = accept(&mut ring, Receive::Stream);
        let mut copy = SendBuffer::default();
        copy.append(&buffer);
        ring.send(connection, copy).unwrap();
        ring.submit_and_wait(Some(WAIT)).unwrap();
        let mut completion = ring.ring.next_completion().unwrap();
        assert_eq!(completion.result, Ok(all.len() as u32));
        completion.result = Ok(sent as u32);
        assert!(ring.on_sent(connection, completion).is_none());
        assert_eq!(ring.counts().short_sends, sent as u64);
        assert!(matches!(
            next(&mut ring),
            Seen::Other(Event::Sent { buffer, .. }) if buffer.to_vec() == all
        ));
        close(&mut ring, connection);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, [&all[..], &all[sent..]].concat());
    }
    assert_eq!(lender.lent_count(), 3);
}

/// The peer does not read: what was lent is let go of only when the kernel has.
#[test]
fn closing_gives_back_what_was_lent() {
    let lender = Lender::new();
    let (mut ring, address) = listening(small());
    for round in 0..20 {
        let _client = TcpStream::connect(address).unwrap();
        let connection = accept(&mut ring, Receive::Stream);
        let (buffer, all) = pieces(&lender, round, 12, 2 << 20);
        let is_large = all.len() > 8 << 20;
        ring.send(connection, buffer).unwrap();
        if round % 2 == 0 {
            ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
        }
        ring.close(connection);
        assert_eq!(lender.lent_count(), 12, "the kernel may be reading them");
        match next(&mut ring) {
            Seen::Other(Event::Closed { unsent, .. }) => {
                assert_eq!(lender.lent_count(), 12);
                assert!(!is_large || unsent.unwrap().to_vec() == all);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(lender.lent_count(), 0);
    }
    assert_quiet(&mut ring, 1);
}

#[test]
fn a_reset_gives_back_what_was_lent() {
    let lender = Lender::new();
    let (mut ring, address) = listening(small());
    let client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    let (buffer, _) = pieces(&lender, 1, 16, 2 << 20);
    ring.send(connection, buffer).unwrap();
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    reset(client);
    assert!(matches!(next(&mut ring), Seen::Other(Event::Ended { .. })));
    drop(close(&mut ring, connection));
    assert_eq!(lender.lent_count(), 0);
    assert_quiet(&mut ring, 1);
}

#[test]
fn a_dropped_ring_gives_back_what_was_lent() {
    let lender = Lender::new();
    let (mut ring, address) = listening(small());
    let _client = TcpStream::connect(address).unwrap();
    let connection = accept(&mut ring, Receive::Stream);
    let (buffer, _) = pieces(&lender, 2, 16, 2 << 20);
    ring.send(connection, buffer).unwrap();
    ring.submit_and_wait(Some(Duration::ZERO)).unwrap();
    drop(ring);
    assert_eq!(lender.lent_count(), 0);
}
