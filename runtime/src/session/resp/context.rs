//! RM.GET, RM.PUT, RM.DEL: the interface of Dynamo, with contexts (contract.md §3).

use super::RespSession;
use super::answer::{BAD_CONTEXT, Shape};
use super::base64;
use super::command::Command;
use super::encode;
use super::parse::{self, Stop, word, word_of};
use crate::session::request::{Condition, Request, Requests, Source};

/// Longest token that is read, bytes of text: that of a full version vector, and more.
pub(super) const TOKEN_TEXT_BYTES_MAX: usize = 96 << 10;

/// What may stand behind the fixed arguments.
#[derive(Clone, Copy, Debug, Default)]
struct Options<'a> {
    r: Option<u8>,
    pr: Option<u8>,
    w: Option<u8>,
    pw: Option<u8>,
    dw: Option<u8>,
    context: Option<&'a [u8]>,
}

impl RespSession {
    /// One of the three commands, with a key that is not empty.
    pub(super) fn with_context<R: Requests>(
        &mut self,
        command: Command,
        arguments: &[&[u8]],
        requests: &mut R,
    ) -> Result<(), Stop> {
        let fixed = command.entry().count_min;
        let options = match options(command, &arguments[fixed..]) {
            Ok(options) => options,
            Err(error) => {
                self.reply(|out| encode::error(out, &[error]));
                return Ok(());
            }
        };
        let text = match command {
            Command::RmGet => options.context.unwrap_or(b"-"),
            _ => arguments[2],
        };
        let mut token = std::mem::take(&mut self.token);
        token.clear();
        let result = if decode_token(text, &mut token) {
            let request = request(command, arguments, options, &token);
            let shape = match command {
                Command::RmGet => Shape::Siblings,
                _ => Shape::Written,
            };
            self.submit(requests, request, self.form(shape))
        } else {
            self.reply(|out| encode::error(out, &[BAD_CONTEXT]));
            Ok(())
        };
        self.token = token;
        result
    }
}

fn request<'a>(
    command: Command,
    arguments: &[&'a [u8]],
    options: Options<'_>,
    token: &'a [u8],
) -> Request<'a> {
    let key = arguments[1];
    let Options { r, pr, w, pw, dw, .. } = options;
    if command == Command::RmGet {
        let context = (!token.is_empty()).then_some(token);
        return Request::Get { key, r, pr, context, want_context: true };
    }
    Request::Put {
        key,
        value: (command == Command::RmPut).then(|| arguments[3]),
        context: Source::Token(token),
        condition: Condition::Always,
        return_old: false,
        want_context: true,
        w,
        pw,
        dw,
    }
}

/// Appends the raw token of `text`; `-` is the empty one.
fn decode_token(text: &[u8], token: &mut Vec<u8>) -> bool {
    text == b"-" || (!text.is_empty() && base64::decode(text, token))
}

/// Reads the options of `command`, or gives the text of the error.
fn options<'a>(command: Command, options: &[&'a [u8]]) -> Result<Options<'a>, &'static [u8]> {
    const R: u64 = word("r");
    const PR: u64 = word("pr");
    const CONTEXT: u64 = word("context");
    const W: u64 = word("w");
    const PW: u64 = word("pw");
    const DW: u64 = word("dw");
    const EX: u64 = word("ex");
    const PX: u64 = word("px");
    let reads = command == Command::RmGet;
    let puts = command == Command::RmPut;
    let mut read = Options::default();
    let mut expires = false;
    let (pairs, rest) = options.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(encode::SYNTAX);
    }
    for &[option, value] in pairs {
        let place = match word_of(option) {
            CONTEXT if reads && read.context.is_none() => {
                read.context = Some(value);
                continue;
            }
            EX | PX if puts && !expires => {
                parse::integer(value).ok_or(encode::NO_INTEGER)?;
                expires = true;
                continue;
            }
            R if reads => &mut read.r,
            PR if reads => &mut read.pr,
            W if !reads => &mut read.w,
            PW if !reads => &mut read.pw,
            DW if !reads => &mut read.dw,
            _ => return Err(encode::SYNTAX),
        };
        if place.is_some() {
            return Err(encode::SYNTAX);
        }
        let count = parse::integer(value).and_then(|value| u8::try_from(value).ok());
        *place = Some(count.ok_or(encode::NO_INTEGER)?);
    }
    if read.r == Some(0) || read.w == Some(0) {
        return Err(encode::NO_INTEGER);
    }
    if expires {
        return Err(b"ERR RM.PUT with an expiry (EX PX) is not supported yet");
    }
    Ok(read)
}
