//! Sessions of a shard that is short of memory.

use super::super::{Next, OUTPUT_BYTES_MAX, RespSession};
use super::{CONNECTION, Client, LIMITS, Speed, resp, show, words};
use crate::session::request::Room;

const NO_ROOM: &str = "-BUSY no memory for a long command, try again|";

fn room(command_bytes_max: usize) -> Room {
    Room { command_bytes_max, ..Room::default() }
}

/// As long as its lengths are known: what is refused is the rest of it.
#[test]
fn a_long_command_that_is_not_whole_is_refused_and_skipped() {
    let set = resp(&[b"SET", b"k", &[b'v'; 200]]);
    let commands = [&set[..], &words("GET k")].concat();
    let value_at = set.len() - 202;
    for bytes_max in [set.len(), set.len() - 1] {
        for cut in 0..set.len() {
            for later_cut in [cut + 1, set.len() + 3] {
                let mut client = Client::new(Speed::Now, 0);
                client.send(&commands[..cut]);
                client.model.room = room(bytes_max);
                let rest = &commands[cut..];
                let (piece, rest) = rest.split_at(later_cut.min(commands.len()) - cut);
                client.send(piece);
                client.send(rest);
                // The second piece may have made it whole, or its length may not have come.
                let is_refused = bytes_max < set.len()
                    && (value_at..set.len()).contains(&later_cut.min(commands.len()));
                let got = show(&client.finish());
                let value = show(&[b'v'; 200]);
                let expected = if is_refused {
                    format!("{NO_ROOM}$-1|")
                } else {
                    format!("+OK|$200|{value}|")
                };
                assert_eq!(got, expected, "of {bytes_max} at {cut}, {later_cut}");
            }
        }
    }
}

#[test]
fn a_refused_command_keeps_its_place_among_the_replies() {
    let mut client = Client::new(Speed::Later, 0);
    client.patient = true;
    client.send(&words("GET a"));
    client.model.room = room(100);
    let set = resp(&[b"SET", b"k", &[b'v'; 200]]);
    client.send(&set[..150]);
    assert_eq!(client.rest.len(), 0);
    client.send(&set[150..]);
    client.send(&words("GET b"));
    assert_eq!(show(&client.finish()), format!("$-1|{NO_ROOM}$-1|"));
}

/// The first keys were written, as when such a command breaks off.
#[test]
fn a_command_of_many_keys_is_refused_at_its_long_value() {
    let mut client = Client::new(Speed::Now, 0);
    client.model.room = room(100);
    let value = [b'v'; 200];
    let set = resp(&[b"MSET", b"a", b"1", b"b", &value, b"c", b"3"]);
    let begun = set.len() - 60;
    client.send(&set[..begun]);
    assert!(client.rest.is_empty());
    client.send(&set[begun..]);
    client.send(&words("MGET a b c"));
    assert_eq!(show(&client.finish()), format!("{NO_ROOM}*3|$1|1|$-1|$1|3|"));
}

#[test]
fn less_output_stops_the_parsing() {
    for bytes_max in [1, 100, OUTPUT_BYTES_MAX] {
        let mut session = RespSession::new(CONNECTION, LIMITS);
        let mut model = Client::new(Speed::Now, 0).model;
        model.room = Room { output_bytes_max: bytes_max, ..Room::default() };
        let pings = b"PING\r\n".repeat(OUTPUT_BYTES_MAX);
        let progress = session.receive(&pings, &mut model);
        assert_eq!(progress.next, Next::Wait);
        // The reply that reaches the bound is the last.
        assert_eq!(session.output_bytes(), bytes_max.div_ceil(7) * 7);
    }
}

#[test]
fn a_session_that_rests_has_no_memory_and_goes_on() {
    let mut client = Client::new(Speed::Later, 0);
    client.send(&resp(&[b"SET", b"k", &[b'v'; 200]]));
    client.send(&words("RM.GET k CONTEXT AAAA"));
    client.send(b"GET k\r\n");
    while client.model.answer_one(&mut client.session) {}
    client.take();
    assert!(client.session.memory_bytes() > 0);
    client.session.rest();
    assert_eq!(client.session.memory_bytes(), 0);
    client.received.clear();
    client.send(&words("GET k"));
    client.session.rest();
    assert_eq!(show(&client.finish()), format!("$200|{}|", show(&[b'v'; 200])));
}
