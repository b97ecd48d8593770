//! Bytes that nobody meant: no panic, no memory, and never a wait for nothing.

use ringmain_core::prng::Prng;

use super::{Client, Speed, words};

const LINES: &str = include_str!("golden.txt");

/// Most memory that one connection may hold between two calls, bytes: above the sum of the
/// limits of the model, far below what garbage announces.
const MEMORY_BYTES_MAX: usize = 4 << 20;

fn check_memory(client: &Client) {
    let session = &client.session;
    let buffers = [&session.typed, &session.token, &session.name];
    let bytes: usize = buffers.iter().map(|buffer| buffer.capacity()).sum();
    let bytes = bytes + session.out.capacity();
    assert!(bytes + session.slots.bytes() < MEMORY_BYTES_MAX, "{bytes}");
    assert!(client.rest.len() < MEMORY_BYTES_MAX);
}

fn transcript() -> Vec<u8> {
    let commands = LINES.lines().filter_map(|line| line.split_once(" → "));
    commands.flat_map(|(command, _)| words(command)).collect()
}

#[test]
fn a_flipped_bit_anywhere() {
    let sent = transcript();
    for bit in 0..8 * sent.len() {
        let place = bit / 8;
        let mut client = Client::new(Speed::Mixed, bit as u64);
        // From a command that begins before the place, and not to the end, to keep it short.
        let begin = sent[..=place].iter().rposition(|&byte| byte == b'*').unwrap_or(0);
        let mut flipped = sent[begin..sent.len().min(place + 200)].to_vec();
        flipped[place - begin] ^= 1 << (bit % 8);
        let (first, rest) = flipped.split_at(place + 1 - begin);
        client.send(first);
        client.send(rest);
        check_memory(&client);
        client.finish();
    }
}

#[test]
fn random_bytes_of_the_alphabet() {
    let pieces: [&[u8]; 24] = [
        b"*",
        b"$",
        b"\r\n",
        b"\r",
        b"\n",
        b"0",
        b"1",
        b"2",
        b"3",
        b"9",
        b"-",
        b"GET",
        b"SET",
        b"MGET",
        b"$3\r\n",
        b"$4\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"*999999\r\n",
        b"$999999\r\n",
        b"\"",
        b" ",
        b"\0",
        b"k",
    ];
    for seed in 0..20_000 {
        let mut prng = Prng::new(seed);
        let mut client = Client::new(Speed::Mixed, seed);
        for _ in 0..prng.below(12) {
            let count = 1 + prng.below(6);
            let sent: Vec<u8> =
                (0..count).flat_map(|_| pieces[prng.below(24) as usize]).copied().collect();
            client.send(&sent);
        }
        check_memory(&client);
        client.finish();
    }
}

#[test]
fn random_bytes_of_any_kind() {
    for seed in 0..3000 {
        let mut prng = Prng::new(seed);
        let mut client = Client::new(Speed::Mixed, seed);
        let bytes = prng.below(300);
        let mut sent = words("PING");
        sent.extend((0..bytes).map(|_| prng.next_u64() as u8));
        sent.iter().for_each(|&byte| client.send(&[byte]));
        check_memory(&client);
        client.finish();
    }
}
