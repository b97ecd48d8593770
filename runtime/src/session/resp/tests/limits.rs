//! What is announced costs nothing; what is refused leaves the connection usable.

use super::super::{Next, OUTPUT_BYTES_MAX, Progress, context, inline};
use super::{Client, LIMITS, Speed, show, words};

#[test]
fn the_need_is_told_as_soon_as_it_is_known() {
    let mut client = Client::new(Speed::Now, 0);
    let mut need = |sent: &[u8]| client.session.receive(sent, &mut client.model);
    let bytes = |bytes| Progress { consumed: 0, next: Next::Bytes(bytes) };
    assert_eq!(need(b""), bytes(1));
    assert_eq!(need(b"*"), bytes(2));
    assert_eq!(need(b"*3\r\n"), bytes(5));
    assert_eq!(need(b"*3\r\n$3"), bytes(7));
    assert_eq!(need(b"*3\r\n$3\r"), bytes(8));
    assert_eq!(need(b"*3\r\n$3\r\n"), bytes(13));
    assert_eq!(need(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300\r\n"), bytes(328));
    assert_eq!(need(b"PI"), bytes(3));
}

#[test]
fn a_value_over_its_limit_streams_past() {
    let bytes = 500 << 20;
    let mut client = Client::new(Speed::Now, 0);
    client.send(format!("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n${bytes}\r\n").as_bytes());
    let piece = vec![b'*'; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let progress = client.session.receive(&piece[..piece.len().min(left)], &mut client.model);
        assert_eq!(progress.consumed, piece.len().min(left));
        left -= progress.consumed;
    }
    client.send(b"\r\n$2\r\nNX\r\n$3\r\nGET\r\n");
    client.send(&words("GET k"));
    let expected = "-TOOLARGE value over --max-value-bytes|$-1|";
    assert_eq!(show(&client.finish()), expected);
}

#[test]
fn a_million_keys_need_no_memory() {
    let count = (1 << 20) - 1;
    let mut client = Client::new(Speed::Now, 0);
    client.send(format!("*{}\r\n$6\r\nEXISTS\r\n", count + 1).as_bytes());
    let keys = b"$1\r\nk\r\n".repeat(1 << 10);
    let mut left = count;
    while left > 0 {
        let piece = &keys[..left.min(1 << 10) * 7];
        client.send(piece);
        client.model.submitted.clear();
        left -= piece.len() / 7;
        assert!(client.session.out.capacity() < 1 << 10);
        assert!(client.rest.is_empty());
    }
    assert_eq!(show(&client.finish()), ":0|");
}

#[test]
fn a_refused_command_of_many_arguments_is_skipped() {
    for name in ["FOO", "GET", "TTL", "SCAN", "PING"] {
        let mut client = Client::new(Speed::Now, 0);
        client.send(format!("*1001\r\n${}\r\n{name}\r\n", name.len()).as_bytes());
        for _ in 0..1000 {
            client.send(b"$4\r\n*1\r\n\r\n");
            assert!(client.rest.is_empty());
        }
        client.send(&words("PING"));
        let received = show(&client.finish());
        assert!(received.starts_with("-ERR "), "{received}");
        assert!(received.ends_with("|+PONG|"), "{received}");
    }
}

#[test]
fn long_names_are_not_shown() {
    let mut client = Client::new(Speed::Now, 0);
    client.send(&words(&"x".repeat(128)));
    client.send(&words(&"x".repeat(129)));
    client.send(&words("PING"));
    let expected = format!(
        "-ERR unknown command '{}'|-ERR unknown command of too many bytes|+PONG|",
        "x".repeat(128)
    );
    assert_eq!(show(&client.finish()), expected);
}

#[test]
fn an_oversized_token_is_a_bad_context() {
    let token = "A".repeat(context::TOKEN_TEXT_BYTES_MAX + 1);
    let mut client = Client::new(Speed::Now, 0);
    client.send(&words(&format!("RM.PUT k {token} v W 1")));
    client.send(&words(&format!("RM.DEL k {token}")));
    client.send(&words(&format!("RM.GET k R 1 CONTEXT {token}")));
    client.send(&words(&format!("RM.GET k {} 1", "R".repeat(5000))));
    // Not too long, but of no length that bytes can have.
    client.send(&words(&format!("RM.PUT k {} v", &token[2..])));
    assert!(client.session.token.capacity() < 1 << 16);
    let bad = "-BADCONTEXT not a context of this key and cluster|";
    let expected = [&bad.repeat(3), "-TOOLARGE argument over its limit|", bad].concat();
    assert_eq!(show(&client.finish()), expected);
}

#[test]
fn a_line_without_end_is_refused() {
    let mut client = Client::new(Speed::Now, 0);
    client.send(&vec![b'a'; inline::LINE_BYTES_MAX - 1]);
    assert!(!client.closed);
    client.send(b"a");
    assert!(client.closed);
    let expected = "-ERR Protocol error: too big inline request|";
    assert_eq!(show(&client.finish()), expected);
    let mut client = Client::new(Speed::Now, 0);
    let mut line = vec![b' '; inline::LINE_BYTES_MAX - 5];
    line.extend_from_slice(b"PING\n");
    client.send(&line);
    assert_eq!(show(&client.finish()), "+PONG|");
}

#[test]
fn a_typed_command_that_stops_goes_on_later() {
    let mut client = Client::new(Speed::Later, 0);
    client.patient = true;
    let keys: String = (0..200).map(|key| format!(" k{key}")).collect();
    client.send(format!("DEL{keys}\nPING\n").as_bytes());
    assert_eq!(show(&client.finish()), ":0|+PONG|");
}

#[test]
fn quit_ends_the_reading_and_keeps_the_replies() {
    let mut client = Client::new(Speed::Later, 0);
    client.patient = true;
    client.send(&[words("GET k"), words("QUIT"), words("PING")].concat());
    assert!(client.closed);
    assert_eq!(client.session.pending(), 1);
    assert_eq!(show(&client.finish()), "$-1|+OK|");
}

#[test]
fn reset_ends_resp3_and_the_name() {
    let mut client = Client::new(Speed::Now, 0);
    client.send(&words("HELLO 3 AUTH default x SETNAME me"));
    assert_eq!(client.session.name(), b"me");
    client.received.clear();
    for line in ["GET k", "RESET", "GET k", "CLIENT GETNAME"] {
        client.send(&words(line));
    }
    assert_eq!(client.session.name(), b"");
    assert_eq!(show(&client.finish()), "_|+RESET|$-1|$-1|");
}

#[test]
fn a_reply_keeps_the_version_of_its_command() {
    let mut client = Client::new(Speed::Later, 0);
    client.patient = true;
    client.send(&[words("MGET k l"), words("HELLO 3"), words("GET k")].concat());
    let received = show(&client.finish());
    assert!(received.starts_with("*2|$-1|$-1|%7|"), "{received}");
    assert!(received.ends_with("|_|"), "{received}");
}

#[test]
fn an_idle_session_is_small() {
    let session = super::RespSession::new(1, LIMITS);
    assert!(size_of_val(&session) <= 384, "{}", size_of_val(&session));
    assert!(session.slots.is_empty());
}

#[test]
fn answers_that_will_be_large_are_not_asked_for_at_once() {
    let sent = [words("GET a"), words("GET b"), words("GET c")].concat();
    for (bytes, submitted) in [(OUTPUT_BYTES_MAX, 1), (OUTPUT_BYTES_MAX - 1, 2), (1, 3)] {
        let mut client = Client::new(Speed::Later, 0);
        client.model.later_bytes = bytes;
        let progress = client.session.receive(&sent, &mut client.model);
        assert_eq!(client.model.submitted.len(), submitted);
        assert_eq!(progress.next == Next::Wait, submitted < 3);
        client.send(&sent[progress.consumed..]);
        assert_eq!(show(&client.finish()), "$-1|$-1|$-1|");
    }
}

#[test]
fn how_long_answers_are_is_learned() {
    let mut client = Client::new(Speed::Later, 0);
    let sent: Vec<u8> = (0..40).flat_map(|n| words(&format!("GET {n}"))).collect();
    let first = client.session.receive(&sent, &mut client.model);
    let unknown = OUTPUT_BYTES_MAX / client.session.slots.typical();
    assert_eq!(client.model.submitted.len(), unknown, "a new connection asks for few at once");
    client.send(&sent[first.consumed..]);
    while client.model.answer_one(&mut client.session) {}
    client.model.submitted.clear();
    client.session.receive(&sent, &mut client.model);
    assert_eq!(client.model.submitted.len(), 40, "short answers let it ask for more");
}
