//! RM.GET, RM.PUT, RM.DEL: the interface of Dynamo, with contexts.

use ringmain_core::causality::{base64url_bytes, decode_base64url};
use ringmain_core::drive::Command;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::CONTEXT_BYTES_MAX;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};

use super::RespSession;
use super::answer::{BAD_CONTEXT, Shape};
use super::command::Name;
use super::encode;
use super::expiry::{Refused, Time};
use super::parse::{self, Stop, word, word_of};
use crate::session::request::Requests;

/// Longest token that is read, bytes of text.
pub(super) const TOKEN_TEXT_BYTES_MAX: usize = base64url_bytes(CONTEXT_BYTES_MAX);
/// Memory for a token above this is given back, bytes.
const TOKEN_CAPACITY_MAX: usize = 4 << 10;

/// What may stand behind the fixed arguments; a count that was not given is 0.
#[derive(Clone, Copy, Debug, Default)]
struct Options<'a> {
    r: u8,
    pr: u8,
    w: u8,
    pw: u8,
    dw: u8,
    context: Option<&'a [u8]>,
    expires: Option<UnixMs>,
}

impl RespSession {
    /// One of the three commands, with a key that is not empty.
    pub(super) fn with_context<R: Requests>(
        &mut self,
        command: Name,
        arguments: &[&[u8]],
        requests: &mut R,
    ) -> Result<(), Stop> {
        let fixed = command.entry().count_min;
        let options = match options(command, &arguments[fixed..], requests.wall()) {
            Ok(options) => options,
            Err(refused) => {
                self.reply(|out| refused.write(command, out));
                return Ok(());
            }
        };
        let text = match command {
            Name::RmGet => options.context.unwrap_or(b"-"),
            _ => arguments[2],
        };
        let mut token = std::mem::take(&mut self.token);
        let result = if decode_token(text, &mut token) {
            let request = request(command, arguments, options, &token);
            let key = arguments[1];
            let shape = match command {
                Name::RmGet => Shape::Siblings,
                _ => Shape::Written,
            };
            self.submit(requests, key, request, self.form(shape))
        } else {
            self.reply(|out| encode::error(out, &[BAD_CONTEXT]));
            Ok(())
        };
        token.clear();
        token.shrink_to(TOKEN_CAPACITY_MAX);
        self.token = token;
        result
    }
}

fn request<'a>(
    command: Name,
    arguments: &[&'a [u8]],
    options: Options<'_>,
    token: &'a [u8],
) -> Command<'a> {
    let Options { r, pr, w, pw, dw, expires, .. } = options;
    if command == Name::RmGet {
        return Command::Get(GetRequest {
            r,
            pr,
            forwarded: false,
            want_context: true,
            context: token,
        });
    }
    let content = match command {
        Name::RmPut => Content::Value { expires, value: arguments[3] },
        _ => Content::Tombstone,
    };
    Command::Put(PutRequest {
        w,
        pw,
        dw,
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: Replaces::Given(token),
        content,
    })
}

/// Puts the raw token of `text` into the empty `token`; `-` is the empty one.
fn decode_token(text: &[u8], token: &mut Vec<u8>) -> bool {
    if text == b"-" {
        return true;
    }
    token.resize(text.len(), 0);
    let decoded = decode_base64url(text, token);
    token.truncate(decoded.unwrap_or(0));
    decoded.is_ok() && !text.is_empty()
}

/// Reads the options of `command`.
fn options<'a>(
    command: Name,
    options: &[&'a [u8]],
    now: UnixMs,
) -> Result<Options<'a>, Refused<'a>> {
    const R: u64 = word("r");
    const PR: u64 = word("pr");
    const CONTEXT: u64 = word("context");
    const W: u64 = word("w");
    const PW: u64 = word("pw");
    const DW: u64 = word("dw");
    const EX: u64 = word("ex");
    const PX: u64 = word("px");
    const SYNTAX: Refused<'static> = Refused::Text(encode::SYNTAX);
    let reads = command == Name::RmGet;
    let puts = command == Name::RmPut;
    let mut read = Options::default();
    let mut seen = 0;
    let mut time = None;
    let (pairs, rest) = options.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(SYNTAX);
    }
    for &[option, value] in pairs {
        let option = word_of(option);
        let (bit, place, count_min) = match option {
            CONTEXT if reads && read.context.is_none() => {
                read.context = Some(value);
                continue;
            }
            EX | PX if puts && time.is_none() => {
                time = Some(Time::from_now(value, if option == EX { 1000 } else { 1 }));
                continue;
            }
            R if reads => (1, &mut read.r, 1),
            PR if reads => (2, &mut read.pr, 0),
            W if !reads => (4, &mut read.w, 1),
            PW if !reads => (8, &mut read.pw, 0),
            DW if !reads => (16, &mut read.dw, 0),
            _ => return Err(SYNTAX),
        };
        if seen & bit != 0 {
            return Err(SYNTAX);
        }
        seen |= bit;
        let count = parse::integer(value).filter(|&count| count >= count_min);
        let count = count.and_then(|count| u8::try_from(count).ok());
        *place = count.ok_or(Refused::Text(encode::NO_INTEGER))?;
    }
    read.expires = time.map(|time| time.end(now)).transpose()?;
    Ok(read)
}
