//! Replies in request order, and commands on one key that take effect in order.

use ringmain_core::prng::Prng;
use ringmain_core::request::Failure;

use super::super::slots::SLOT_COUNT;
use super::super::{Limits, Next, OUTPUT_BYTES_MAX, RespSession};
use super::{CONNECTION, Client, Kept, LIMITS, Speed, assert_same, resp, show, words};

/// A pipeline of random commands on few keys.
fn pipeline(prng: &mut Prng, count: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    for number in 0..count {
        let mut key = || ["a", "b", "c", "fail-busy"][prng.below(40).min(3) as usize % 4];
        let keys = [key(), key(), key()];
        let [k, l, m] = keys;
        let command = match prng.below(12) {
            0 | 1 => format!("SET {k} {number}"),
            2 | 3 => format!("GET {k}"),
            4 => format!("DEL {k} {l}"),
            5 => format!("MSET {k} {number} {l} y {m} z"),
            6 => format!("MGET {k} {l} {m}"),
            7 => format!("SET {k} {number} NX GET"),
            8 => format!("RM.PUT {k} - {number}"),
            9 => format!("RM.GET {k}"),
            10 => format!("EXISTS {k} {l} {k}"),
            _ => format!("PING {number}"),
        };
        sent.extend_from_slice(&words(&command));
    }
    sent
}

#[test]
fn answers_in_any_order_reply_as_if_one_by_one() {
    for seed in 0..400 {
        let mut prng = Prng::new(seed);
        let count = 1 + prng.below(200) as usize;
        let sent = pipeline(&mut prng, count);
        let mut one_by_one = Client::new(Speed::Now, 0);
        one_by_one.send(&sent);
        let expected = one_by_one.finish();
        for speed in [Speed::Later, Speed::InOrder, Speed::Mixed] {
            let mut client = Client::new(speed, seed);
            client.patient = prng.chance(50);
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let bytes = 1 + prng.below(rest.len().min(500) as u64) as usize;
                let (piece, behind) = rest.split_at(bytes);
                client.send(piece);
                rest = behind;
            }
            assert_same(&client.finish(), &expected, &format!("{speed:?} {seed}"));
        }
    }
}

#[test]
fn a_command_waits_for_an_earlier_one_on_its_key() {
    for (first, second, waits) in [
        ("SET k 1", "SET k 2", true),
        ("SET k 1", "GET k", true),
        ("GET k", "SET k 1", true),
        ("GET k", "GET k", false),
        ("GET k", "MGET a k", false),
        ("DEL k", "MGET a k", true),
        ("MSET a 1 k 2", "EXISTS k", true),
        ("SET a 1", "SET b 1", false),
        ("SET a 1", "PING", false),
    ] {
        let mut client = Client::new(Speed::Later, 0);
        client.patient = true;
        let sent = [words(first), words(second)].concat();
        let mut rest = &sent[..];
        let mut before = Vec::new();
        // Not by the client, which answers when the session waits.
        loop {
            let progress = client.session.receive(rest, &mut client.model);
            rest = &rest[progress.consumed..];
            before.push(client.model.submitted.len());
            match progress.next {
                Next::Bytes(_) => break,
                Next::Wait => assert!(client.model.answer_one(&mut client.session)),
                Next::Close => unreachable!("nobody quits"),
            }
        }
        assert_eq!(before.len() > 1, waits, "{first}, {second}");
        assert!(rest.is_empty());
    }
}

#[test]
fn the_depth_of_a_connection_stops_its_parsing() {
    let mut client = Client::new(Speed::Later, 0);
    let count = 3 * SLOT_COUNT;
    let sent: Vec<u8> = (0..count).flat_map(|key| words(&format!("SET k{key} v"))).collect();
    let progress = client.session.receive(&sent, &mut client.model);
    assert_eq!(progress.next, Next::Wait);
    assert_eq!(client.session.pending(), SLOT_COUNT);
    assert_eq!(client.model.submitted.len(), SLOT_COUNT as usize);
    // The last one is answered first: nothing leaves before the first one.
    let last = client.model.waiting.pop().unwrap().0;
    assert!(client.session.answer(last, Kept::Failed(Failure::Busy).leak()));
    assert_eq!(client.session.output_bytes(), 0);
    let same = client.session.receive(&sent[progress.consumed..], &mut client.model);
    assert_eq!(same.consumed, 0, "the slot is still taken");
    client.send(&sent[progress.consumed..]);
    let received = client.finish();
    let busy = b"-BUSY too much to do, try again\r\n".len();
    assert_eq!(received.len(), (count as usize - 1) * 5 + busy);
}

#[test]
fn output_stops_parsing_until_it_is_taken() {
    let value = "v".repeat(300);
    let mut client = Client::new(Speed::Now, 0);
    client.send(&words(&format!("SET k {value}")));
    client.take();
    let sent = words("GET k").repeat(2000);
    let progress = client.session.receive(&sent, &mut client.model);
    assert_eq!(progress.next, Next::Wait);
    let bytes = client.session.output_bytes();
    assert!((OUTPUT_BYTES_MAX..OUTPUT_BYTES_MAX + 400).contains(&bytes));
    client.send(&sent[progress.consumed..]);
    assert_eq!(client.finish().len(), 2000 * 308 + 5);
}

#[test]
fn held_replies_stop_parsing_too() {
    let limits = Limits { value_bytes_max: 100 << 10, ..LIMITS };
    let mut client = Client::new(Speed::Later, 0);
    client.session = RespSession::new(CONNECTION, limits);
    let message = "v".repeat(limits.value_bytes_max);
    let sent = [words("GET k"), words(&format!("PING {message}")).repeat(9)].concat();
    let progress = client.session.receive(&sent, &mut client.model);
    assert_eq!(progress.next, Next::Wait);
    assert_eq!(client.session.output_bytes(), 0);
    // Two pings are held beside what is reckoned with for the answer to come.
    let expected = client.session.slots.typical();
    assert_eq!(client.session.slots.bytes(), expected + 2 * ((100 << 10) + 11));
    client.send(&sent[progress.consumed..]);
    assert_eq!(client.finish().len(), 5 + 9 * ((100 << 10) + 11));
}

#[test]
fn a_group_in_progress_is_not_sent() {
    let mut client = Client::new(Speed::Now, 0);
    client.send(&words("MSET a 1 b 2"));
    client.received.clear();
    let sent = words("MGET a b a");
    for cut in 0..sent.len() {
        client.send(&sent[..cut]);
        assert_eq!(show(&client.received), "");
        client.send(&sent[cut..]);
        assert_eq!(show(&client.received), "*3|$1|1|$1|2|$1|1|");
        client.received.clear();
    }
}

#[test]
fn a_reply_over_its_limit_is_an_error() {
    let value = "v".repeat(300);
    let mut client = Client::new(Speed::Mixed, 0);
    client.send(&words(&format!("SET k {value}")));
    client.send(&resp(&[&[&b"MGET"[..]], &[&b"k"[..]; 14][..]].concat()));
    client.send(&words("PING"));
    let expected = "+OK|-TOOLARGE reply over its limit, ask for fewer keys|+PONG|";
    assert_eq!(show(&client.finish()), expected);
}
