//! Keys are named before they are asked for.

use super::super::lone_key;
use super::{Client, EXPECTED_COUNT_MAX, Owned, Speed, resp, words};

fn expected(sent: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut client = Client::new(Speed::Now, 0);
    client.send(sent);
    let key = |request: &Owned| match request {
        Owned::Get { key, .. } | Owned::Put { key, .. } => key.clone(),
        Owned::Scan(_) => unreachable!("nobody scans here"),
    };
    let submitted = client.model.submitted.iter().map(key).collect();
    (client.model.expected.take(), submitted)
}

#[test]
fn a_pipeline_names_the_keys_that_it_will_submit() {
    let count = 2 * EXPECTED_COUNT_MAX + 3;
    let commands = (0..count).flat_map(|n| words(&format!("SET key-{n} {n}")));
    let (named, submitted) = expected(&commands.collect::<Vec<_>>());
    assert_eq!(submitted.len(), count);
    assert_eq!(named, submitted);
}

#[test]
fn one_command_names_nothing_and_half_a_command_is_not_named() {
    let (named, submitted) = expected(&words("GET key"));
    assert_eq!((named.len(), submitted.len()), (0, 1));
    let mut sent = [words("GET one"), words("DEL two"), words("SET three 3")].concat();
    sent.truncate(sent.len() - 1);
    let (named, submitted) = expected(&sent);
    assert_eq!(named, submitted);
    assert_eq!(named.len(), 2);
}

#[test]
fn a_lone_key_is_that_of_one_whole_command() {
    let command = words("SET key value");
    assert_eq!(lone_key(&command), Some(&b"key"[..]));
    (0..command.len()).for_each(|end| assert_eq!(lone_key(&command[..end]), None, "{end}"));
    assert_eq!(lone_key(&[words("GET a"), words("GET b")].concat()), None);
    assert_eq!(lone_key(&words("PING")), None);
    assert_eq!(lone_key(b"GET key\r\n"), None);
}

#[test]
fn what_is_unusual_ends_the_look_and_nothing_else() {
    let long = resp(&[b"GET", &[b'k'; 65]]);
    let sent = [words("GET a"), long, words("GET b"), b"PING\r\n".to_vec(), words("GET c")];
    let (named, submitted) = expected(&sent.concat());
    assert_eq!(named, [b"a", b"b"]);
    assert_eq!(submitted, [b"a", b"b", b"c"]);
}
