//! What GET and SET are in the two protocols, and what their answers look like.

/// Bytes of a key: `key:` and twelve digits.
pub(crate) const KEY_BYTES: usize = 16;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// Redis, and all that speak as it does.
    Resp,
    /// memcached's text.
    Memcached,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Kind {
    Get,
    Set,
}

/// A pipeline of requests whose keys are yet to be written, and what their answers look like.
///
/// In memcached's protocol gets that come together are one command: each alone would be answered
/// by a call of its own.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// Before all requests, one request, and behind all of them.
    head: &'static str,
    request: Vec<u8>,
    tail: &'static str,
    /// Where a request has its key.
    key_at: usize,
    /// The answer up to the key, if it has one, or up to the value.
    begin: Vec<u8>,
    answer_bytes: usize,
    /// Behind all answers.
    end: &'static [u8],
}

/// An answer, or as much of it as is here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer<'a> {
    /// As due, so many bytes.
    Good(usize),
    /// A line that says something else, without its end.
    Bad(&'a [u8]),
    /// Some of it is missing.
    Part,
}

impl Template {
    pub(crate) fn new(protocol: Protocol, kind: Kind, value: &[u8]) -> Template {
        let (key, bytes) = ("0".repeat(KEY_BYTES), value.len());
        let (before, behind) = match (protocol, kind) {
            (Protocol::Resp, Kind::Get) => ("*2\r\n$3\r\nGET\r\n$16\r\n", "\r\n".into()),
            (Protocol::Resp, Kind::Set) => {
                ("*3\r\n$3\r\nSET\r\n$16\r\n", format!("\r\n${bytes}\r\n"))
            }
            (Protocol::Memcached, Kind::Get) => (" ", String::new()),
            (Protocol::Memcached, Kind::Set) => ("set ", format!(" 0 0 {bytes}\r\n")),
        };
        let mut request = format!("{before}{key}{behind}").into_bytes();
        if kind == Kind::Set {
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        let (begin, rest) = match (protocol, kind) {
            (Protocol::Resp, Kind::Get) => (format!("${bytes}\r\n"), bytes + 2),
            (Protocol::Resp, Kind::Set) => ("+OK\r\n".into(), 0),
            (Protocol::Memcached, Kind::Get) => {
                ("VALUE ".into(), format!("{key} 0 {bytes}\r\n\r\n").len() + bytes)
            }
            (Protocol::Memcached, Kind::Set) => ("STORED\r\n".into(), 0),
        };
        let is_one = (protocol, kind) == (Protocol::Memcached, Kind::Get);
        Template {
            head: if is_one { "get" } else { "" },
            request,
            tail: if is_one { "\r\n" } else { "" },
            key_at: before.len(),
            answer_bytes: begin.len() + rest,
            begin: begin.into_bytes(),
            end: if is_one { b"END\r\n" } else { b"" },
        }
    }

    /// So many requests, whose keys are all the same.
    pub(crate) fn requests(&self, count: usize) -> Vec<u8> {
        let mut requests = self.head.as_bytes().to_vec();
        (0..count).for_each(|_| requests.extend_from_slice(&self.request));
        requests.extend_from_slice(self.tail.as_bytes());
        requests
    }

    /// Writes the key of request `index` of such a row.
    pub(crate) fn set_key(&self, requests: &mut [u8], index: usize, number: u64) {
        let at = self.head.len() + index * self.request.len() + self.key_at;
        write_key(&mut requests[at..at + KEY_BYTES], number);
    }

    /// Bytes of one answer.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// What comes behind all answers.
    pub(crate) fn end(&self) -> &'static [u8] {
        self.end
    }

    /// The answer that `bytes` begin with.
    pub(crate) fn answer<'a>(&self, bytes: &'a [u8]) -> Answer<'a> {
        let known = self.begin.len().min(bytes.len());
        if bytes[..known] != self.begin[..known] {
            return match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => Answer::Bad(&bytes[..end]),
                None => Answer::Part,
            };
        }
        if bytes.len() < self.answer_bytes {
            return Answer::Part;
        }
        match &bytes[..self.answer_bytes] {
            [.., b'\r', b'\n'] => Answer::Good(self.answer_bytes),
            answer => Answer::Bad(&answer[..known]),
        }
    }
}

fn write_key(key: &mut [u8], number: u64) {
    key.copy_from_slice(b"key:000000000000");
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
}

/// Each protocol's requests and answers, byte by byte.
pub(crate) fn check() {
    let shown = |protocol, kind| {
        let template = Template::new(protocol, kind, b"vv");
        let mut requests = template.requests(2);
        template.set_key(&mut requests, 0, 7);
        template.set_key(&mut requests, 1, 123_456_789_012);
        requests.escape_ascii().to_string()
    };
    let due = r"set key:000000000007 0 0 2\r\nvv\r\nset key:123456789012 0 0 2\r\nvv\r\n";
    assert_eq!(shown(Protocol::Memcached, Kind::Set), due);
    let due = r"get key:000000000007 key:123456789012\r\n";
    assert_eq!(shown(Protocol::Memcached, Kind::Get), due);
    let answers: [(Protocol, Kind, &[u8], &[u8]); 4] = [
        (Protocol::Resp, Kind::Get, b"$2\r\nvv\r\n", b"$-1\r\n"),
        (Protocol::Resp, Kind::Set, b"+OK\r\n", b"-BUSY\r\n"),
        (Protocol::Memcached, Kind::Get, b"VALUE key:000000000001 0 2\r\nvv\r\n", b"END\r\n"),
        (Protocol::Memcached, Kind::Set, b"STORED\r\n", b"SERVER_ERROR\r\n"),
    ];
    for (protocol, kind, good, bad) in answers {
        let template = Template::new(protocol, kind, b"vv");
        for cut in 0..good.len() {
            assert_eq!(template.answer(&good[..cut]), Answer::Part, "{cut} of {kind:?}");
        }
        assert_eq!(template.answer(&[good, b"x"].concat()), Answer::Good(good.len()));
        assert_eq!(template.answer(bad), Answer::Bad(&bad[..bad.len() - 1]));
    }
}
