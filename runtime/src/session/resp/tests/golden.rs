//! What every command answers, in both protocol versions, however the bytes are cut.

use ringmain_core::request::Failure;
use ringmain_core::wire::reply::Status;

use super::{Client, Kept, Speed, assert_same, resp, show, words};

/// How keys called `fail-…` fail.
pub(super) fn failure(name: &[u8]) -> Kept {
    Kept::Failed(match name {
        b"quorum" => Failure::NoQuorum { needed: 2, got: 1 },
        b"few" => Failure::Unavailable { needed: 2, got: 1 },
        b"now" => Failure::Unavailable { needed: 0, got: 0 },
        b"damaged" => Failure::Damaged,
        b"behind" => Failure::NotCovered,
        b"context" => Failure::BadContext,
        b"large" => Failure::TooLarge,
        b"siblings" => Failure::Siblings,
        b"busy" => Failure::Busy,
        b"space" => Failure::NoSpace,
        b"there" => return Kept::Refused(Status::Busy),
        b"foreign" => return Kept::Refused(Status::Unsupported),
        _ => Failure::ReadOnly,
    })
}

/// Lines of `command → reply`; `|` ends a line of the reply. A reply that RESP3 writes
/// otherwise stands behind ` ≡ `.
const SCRIPT: &str = include_str!("golden.txt");

fn script() -> impl Iterator<Item = (Vec<u8>, &'static str, &'static str)> {
    let lines = SCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (command, reply) = line.split_once(" → ").expect("every line has a reply");
        let (resp2, resp3) = reply.split_once(" ≡ ").unwrap_or((reply, reply));
        (words(command), resp2, resp3)
    })
}

fn hello(version: u32) -> Vec<u8> {
    let mark = if version == 3 { "%7" } else { "*14" };
    let version = format!(
        "{mark}|$6|server|$8|ringmain|$7|version|$5|{}|$5|proto|:{version}|$2|id|:9|\
        $4|mode|$10|standalone|$4|role|$6|master|$7|modules|*0|",
        env!("CARGO_PKG_VERSION")
    );
    version.replace('|', "\r\n").into_bytes()
}

#[test]
fn every_command_answers_as_written() {
    for version in [2, 3] {
        for speed in [Speed::Now, Speed::Later, Speed::InOrder] {
            let mut client = Client::new(speed, 1);
            client.send(&words(&format!("HELLO {version}")));
            assert_eq!(show(&client.received), show(&hello(version)));
            for (command, resp2, resp3) in script() {
                client.received.clear();
                client.send(&command);
                while client.model.answer_one(&mut client.session) {
                    client.send(b"");
                }
                client.take();
                let expected = if version == 2 { resp2 } else { resp3 };
                assert_eq!(show(&client.received), expected, "RESP{version}, {}", show(&command));
            }
        }
    }
}

/// The bytes of a reply of the script.
fn lines(reply: &str) -> String {
    // The only lines that hold the mark itself.
    let reply = reply.replace('|', "\r\n");
    ["client", "config", "command"]
        .iter()
        .fold(reply, |reply, name| reply.replace(&format!("'{name}\r\n"), &format!("'{name}|")))
}

/// The whole script in one piece, with its version in front.
fn transcript(version: u32) -> (Vec<u8>, Vec<u8>) {
    let mut sent = words(&format!("HELLO {version}"));
    let mut expected = hello(version);
    for (command, resp2, resp3) in script() {
        sent.extend_from_slice(&command);
        let reply = if version == 2 { resp2 } else { resp3 };
        expected.extend_from_slice(lines(reply).as_bytes());
    }
    sent.extend_from_slice(b"QUIT\r\n");
    expected.extend_from_slice(b"+OK\r\n");
    (sent, expected)
}

#[test]
fn the_answers_do_not_depend_on_cuts() {
    for version in [2, 3] {
        let (sent, expected) = transcript(version);
        for speed in [Speed::Now, Speed::Later, Speed::InOrder, Speed::Mixed] {
            // Every command in two pieces, and the second with the first of the next command.
            let bytes_max = script().map(|(command, ..)| command.len()).max().unwrap_or(0);
            let step = if speed == Speed::Now { 1 } else { 7 };
            for cut in (1..bytes_max).step_by(step) {
                let mut client = Client::new(speed, cut as u64);
                let mut rest = &sent[..];
                let mut start = 0;
                let commands = script().map(|(command, ..)| command.len());
                for bytes in [words(&format!("HELLO {version}")).len()].into_iter().chain(commands)
                {
                    if cut < bytes {
                        let (piece, behind) = rest.split_at(start + cut);
                        client.send(piece);
                        rest = behind;
                        start = bytes - cut;
                    } else {
                        start += bytes;
                    }
                }
                client.send(rest);
                assert!(client.closed);
                assert_same(&client.finish(), &expected, &format!("{speed:?} {cut}"));
            }
            let mut client = Client::new(speed, 0);
            sent.iter().for_each(|&byte| client.send(&[byte]));
            assert_same(&client.finish(), &expected, &format!("{speed:?} bytewise"));
        }
    }
}

#[test]
fn typed_commands_answer_alike() {
    let (_, expected) = transcript(2);
    let mut sent = b"HELLO 2\r\n\r\n  \n".to_vec();
    for line in SCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (command, _) = line.split_once(" → ").unwrap();
        // Empty words need quotes on a line.
        let quote = |word| if str::is_empty(word) { "''" } else { word };
        let quoted: Vec<&str> = command.split(' ').map(quote).collect();
        sent.extend_from_slice(format!("{}\n", quoted.join(" ")).as_bytes());
    }
    sent.extend_from_slice(b"quit\r\n");
    for speed in [Speed::Now, Speed::Mixed] {
        for bytes in [1, 2, 3, 5, 11, 100, sent.len()] {
            let mut client = Client::new(speed, 3);
            sent.chunks(bytes).for_each(|piece| client.send(piece));
            assert!(client.closed);
            assert_same(&client.finish(), &expected, &format!("{speed:?} {bytes}"));
        }
    }
}

#[test]
fn protocol_errors_are_those_of_redis() {
    let golden: [(&[u8], &str); 16] = [
        (b"*x", "-ERR Protocol error: invalid multibulk length|"),
        (b"*01\r\n", "-ERR Protocol error: invalid multibulk length|"),
        (b"*\r\n", "-ERR Protocol error: invalid multibulk length|"),
        (b"*1\rx", "-ERR Protocol error: invalid multibulk length|"),
        (b"*1048577\r\n", "-ERR Protocol error: invalid multibulk length|"),
        (b"*1111111111111111111", "-ERR Protocol error: invalid multibulk length|"),
        (b"*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'|"),
        (b"*1\r\n\r", "-ERR Protocol error: expected '$', got ' '|"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length|"),
        (b"*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length|"),
        (b"*1\r\n$4\r\nPINGx", "-ERR Protocol error: invalid bulk length|"),
        (b"*1\r\n$4\r\nPING\rx", "-ERR Protocol error: invalid bulk length|"),
        (b"\"PING\r\n", "-ERR Protocol error: unbalanced quotes in request|"),
        (b"*1\r\n$4\r\nPING\r\n+", ""),
        (b"POST / HTTP/1.1\r\n", ""),
        (b"Host: x\r\n", ""),
    ];
    for (sent, expected) in golden {
        for cut in 0..sent.len() {
            let mut client = Client::new(Speed::Now, 0);
            client.send(&sent[..cut]);
            client.send(&sent[cut..]);
            client.send(b"\r\n*1\r\n$4\r\nPING\r\n");
            let open = sent.ends_with(b"+");
            assert_eq!(client.closed, !open, "{}", show(sent));
            let expected = if open { "+PONG|-ERR unknown command '+'|+PONG|" } else { expected };
            assert_eq!(show(&client.finish()), expected, "{}", show(sent));
        }
    }
}

#[test]
fn a_protocol_error_waits_for_the_replies_before_it() {
    for speed in [Speed::Now, Speed::Later, Speed::InOrder] {
        let mut client = Client::new(speed, 5);
        client.patient = true;
        let commands = ["SET a 1", "GET a", "GET b", "PING", "MGET a b"];
        let mut sent: Vec<u8> = commands.iter().flat_map(|line| words(line)).collect();
        // A command of three keys that breaks off behind the first.
        sent.extend_from_slice(b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n!");
        client.send(&sent);
        assert!(client.closed);
        assert_eq!(client.session.pending() > 0, speed != Speed::Now);
        let expected = "+OK|$1|1|$-1|+PONG|*2|$1|1|$-1|\
            -ERR Protocol error: expected '$', got '!'|";
        assert_eq!(show(&client.finish()), expected);
    }
}

#[test]
fn arguments_are_binary() {
    let key = b"\0\r\n\xff";
    let value = b"*1\r\n$4\r\nPING\r\n\0";
    let mut client = Client::new(Speed::Now, 0);
    client.send(&resp(&[b"SET", key, value]));
    client.send(&resp(&[b"GET", key]));
    assert_eq!(client.finish(), [b"+OK\r\n$15\r\n", &value[..], b"\r\n"].concat());
}
