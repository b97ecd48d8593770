//! The parser against a naive splitter, on well-formed, damaged and cut bytes.

use ringmain_core::prng::Prng;
use ringmain_core::wire::put::{Condition, Content};

use super::{Client, LIMITS, Owned, Speed, resp, show};

/// One command by the definition: its arguments and what follows. `Ok(None)`: not whole yet.
type Split<'a> = Result<Option<(Vec<&'a [u8]>, &'a [u8])>, ()>;

fn naive_line(bytes: &[u8], mark: u8) -> Result<Option<(u64, &[u8])>, ()> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    if first != mark {
        return Err(());
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, end) = rest.split_at(digits);
    let text = String::from_utf8(number.to_vec()).unwrap();
    if digits > 18 {
        return Err(());
    }
    if !b"\r\n".starts_with(&end[..end.len().min(2)]) || (digits == 0 && !end.is_empty()) {
        return Err(());
    }
    if end.is_empty() {
        return Ok(None);
    }
    let Some(value) = text.parse::<u64>().ok().filter(|value| value.to_string() == text) else {
        return Err(());
    };
    Ok((end.len() >= 2).then(|| (value, &end[2..])))
}

fn naive_command(bytes: &[u8]) -> Split<'_> {
    let Some((count, mut rest)) = naive_line(bytes, b'*')? else { return Ok(None) };
    if count > 1 << 20 {
        return Err(());
    }
    let mut arguments = Vec::new();
    for _ in 0..count {
        let Some((length, body)) = naive_line(rest, b'$')? else { return Ok(None) };
        if length > 512 << 20 {
            return Err(());
        }
        let length = length as usize;
        let end = body.get(length..).unwrap_or(&[]);
        if !b"\r\n".starts_with(&end[..end.len().min(2)]) {
            return Err(());
        }
        if end.len() < 2 {
            return Ok(None);
        }
        arguments.push(&body[..length]);
        rest = &end[2..];
    }
    Ok(Some((arguments, rest)))
}

/// What a command of a random transcript asks for.
fn naive_requests(arguments: &[&[u8]], requests: &mut Vec<Owned>) {
    let get = |key: &&[u8]| Owned::Get {
        key: key.to_vec(),
        r: [0; 2],
        context: vec![],
        want_context: false,
    };
    let put = |key: &[u8], value: Option<&[u8]>, condition| Owned::Put {
        key: key.to_vec(),
        content: value.map_or(Content::Tombstone, |value| Content::Value {
            expires: None,
            value: value.to_vec().leak(),
        }),
        token: None,
        condition,
        w: [0; 3],
        want_context: false,
    };
    let fits = |key: &[u8]| !key.is_empty() && key.len() <= LIMITS.key_bytes_max;
    let Some((name, rest)) = arguments.split_first() else { return };
    match (&name.to_ascii_lowercase()[..], rest) {
        (b"get", [key]) if fits(key) => requests.push(get(key)),
        (b"set", [key, value]) if fits(key) && value.len() <= LIMITS.value_bytes_max => {
            requests.push(put(key, Some(value), Condition::Always));
        }
        (b"mget" | b"exists", keys) => {
            requests.extend(keys.iter().filter(|key| fits(key)).map(get));
        }
        (b"del", keys) => requests.extend(
            keys.iter().filter(|key| fits(key)).map(|key| put(key, None, Condition::IfPresent)),
        ),
        (b"mset", pairs) if pairs.len() % 2 == 0 => {
            let pairs = pairs.as_chunks::<2>().0.iter();
            let pairs =
                pairs.filter(|[key, value]| fits(key) && value.len() <= LIMITS.value_bytes_max);
            requests.extend(pairs.map(|[key, value]| put(key, Some(value), Condition::Always)));
        }
        _ => {}
    }
}

fn random_bytes(prng: &mut Prng, bytes_max: u64) -> Vec<u8> {
    let bytes = prng.below(bytes_max + 1).min(prng.below(bytes_max + 1));
    (0..bytes).map(|_| prng.next_u64() as u8).collect()
}

fn random_command(prng: &mut Prng) -> Vec<u8> {
    let names: [&[u8]; 8] = [b"GET", b"SET", b"MGET", b"MSET", b"DEL", b"EXISTS", b"set", b"foo"];
    let name = names[prng.below(8) as usize];
    let count = match name {
        b"GET" => 1,
        b"SET" | b"set" => 2,
        b"MSET" => 2 + 2 * prng.below(4),
        _ => 1 + prng.below(5),
    };
    let mut arguments = vec![name.to_vec()];
    for index in 0..count {
        let value = index % 2 == 1 && name != b"MGET" && name != b"DEL";
        arguments.push(random_bytes(prng, if value { 310 } else { 66 }));
    }
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| &argument[..]).collect();
    resp(&arguments)
}

fn check(sent: &[u8], whole_only: bool, prng: &mut Prng) -> bool {
    let mut expected = Vec::new();
    let mut rest = sent;
    let mut refused = false;
    while !rest.is_empty() {
        match naive_command(rest) {
            Ok(Some((arguments, behind))) => {
                naive_requests(&arguments, &mut expected);
                rest = behind;
            }
            Ok(None) => break,
            Err(()) => {
                refused = true;
                break;
            }
        }
    }
    let mut client = Client::new(Speed::Mixed, prng.next_u64());
    let mut unsent = sent;
    while !unsent.is_empty() {
        let bytes = 1 + prng.below(unsent.len() as u64) as usize;
        client.send(&unsent[..bytes]);
        unsent = &unsent[bytes..];
    }
    let got = &client.model.submitted;
    if whole_only {
        assert_eq!(client.closed, refused, "{}", show(sent));
        assert_eq!(got, &expected, "{}", show(sent));
    } else {
        // What comes key by key may be ahead of the splitter, which wants whole commands.
        assert!(got.starts_with(&expected), "{}", show(sent));
    }
    refused
}

#[test]
fn well_formed_commands_give_the_requests_of_the_splitter() {
    let mut prng = Prng::new(1);
    for _ in 0..3000 {
        let count = prng.below(8);
        let sent: Vec<u8> = (0..count).flat_map(|_| random_command(&mut prng)).collect();
        assert!(!check(&sent, true, &mut prng));
    }
}

#[test]
fn cut_commands_give_at_least_the_requests_of_the_splitter() {
    let mut prng = Prng::new(2);
    for _ in 0..3000 {
        let sent: Vec<u8> = (0..3).flat_map(|_| random_command(&mut prng)).collect();
        let cut = prng.below(sent.len() as u64) as usize;
        check(&sent[..cut], false, &mut prng);
    }
}

#[test]
fn short_transcripts_are_refused_exactly_when_the_splitter_says_so() {
    // All strings over a small alphabet behind a good start.
    let letters = b"$*01\r\n-G";
    let mut refused = 0;
    let mut prng = Prng::new(3);
    for start in [&b"*"[..], b"*1\r\n$", b"*2\r\n$3\r\nGET\r\n$1\r\n", b"*2\r\n$3\r\nGET\r\n$0\r\n"]
    {
        for number in 0..letters.len().pow(4) {
            let place = |place: u32| letters[number / letters.len().pow(place) % letters.len()];
            let sent = [start, &[place(0), place(1), place(2), place(3)]].concat();
            // The splitter knows neither typed lines nor counts below 0.
            if !sent.contains(&b'-') && naive_stays_in_commands(&sent) {
                refused += usize::from(check(&sent, true, &mut prng));
            }
        }
    }
    assert!(refused > 3000, "{refused}");
}

fn naive_stays_in_commands(mut bytes: &[u8]) -> bool {
    while let Ok(Some((_, rest))) = naive_command(bytes) {
        bytes = rest;
    }
    bytes.first().is_none_or(|&first| first == b'*')
}
