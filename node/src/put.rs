//! `ringmain put` and `ringmain del`: one write.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use ringmain_core::limits::VALUE_BYTES_MAX;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::put::{Condition, Content, PutRequest, Replaces};
use ringmain_runtime::client::Stored;
use serde_json::{Value, json};

use crate::args::{DelArgs, PutArgs, WriteArgs};
use crate::failure::Failure;
use crate::operation::{bytes_json, connect, key_of, refused, token_of, token_text};
use crate::output::print_line;

/// Stores a value; without a context it replaces what the coordinator knows, as a plain SET.
pub(crate) fn run(args: &PutArgs) -> Result<(), Failure> {
    let value = value_of(&args.value, std::io::stdin())?;
    let content = Content::Value { expires: None, value: &value };
    write(&args.key, &args.write, Replaces::Local, content)
}

/// Deletes a key; without a context it reads first, as a plain DEL.
pub(crate) fn run_del(args: &DelArgs) -> Result<(), Failure> {
    let all = Replaces::ReadFirst { r: 0, condition: Condition::Always, return_old: false };
    write(&args.key, &args.write, all, Content::Tombstone)
}

fn write(
    key: &OsStr,
    args: &WriteArgs,
    without_context: Replaces<'_>,
    content: Content<'_>,
) -> Result<(), Failure> {
    let key = key_of(key)?;
    let context = args.context.as_deref().map(token_of).transpose()?;
    let request = PutRequest {
        w: args.w.unwrap_or(0),
        pw: args.pw.unwrap_or(0),
        dw: args.dw.unwrap_or(0),
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: context.as_deref().map_or(without_context, Replaces::Given),
        content,
    };
    let mut client = connect(&args.node, None)?;
    let stored = client.put(key, &request).map_err(|error| refused(args.node.node, &error))?;
    match args.node.json {
        true => print_line(&json_of(key, &stored).to_string()),
        false => print_line(&plain(&stored)),
    }
}

/// The bytes of a VALUE argument; `-` reads `stdin` to its end.
fn value_of(word: &OsStr, stdin: impl Read) -> Result<Vec<u8>, Failure> {
    let mut value = word.as_bytes().to_vec();
    if value == b"-" {
        value.clear();
        let read = stdin.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value);
        read.map_err(|error| {
            Failure::failed(format!("cannot read stdin: {error}"), "check where it comes from")
        })?;
    }
    match value.len() <= VALUE_BYTES_MAX {
        true => Ok(value),
        false => Err(Failure::usage("the value is larger than 4 MiB", "store it in parts")),
    }
}

/// The new context where there is one, else how many values stand side by side.
fn plain(stored: &Stored) -> String {
    match &stored.context {
        Some(context) => format!("context {}", token_text(context)),
        None => format!("siblings {}", stored.live),
    }
}

fn json_of(key: &[u8], stored: &Stored) -> Value {
    json!({
        "key": bytes_json(key),
        "context": stored.context.as_deref().map(token_text),
        "siblings": stored.live,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_the_line_or_from_stdin() {
        let none = std::io::empty;
        assert_eq!(value_of(OsStr::new("v"), none()), Ok(b"v".to_vec()));
        assert_eq!(value_of(OsStr::new(""), none()), Ok(b"".to_vec()));
        assert_eq!(value_of(OsStr::new("-"), none()), Ok(b"".to_vec()));
        assert_eq!(value_of(OsStr::new("-"), &b"a\nb\0"[..]), Ok(b"a\nb\0".to_vec()));
        assert_eq!(
            value_of(OsStr::new("-"), &[7; VALUE_BYTES_MAX][..]).map(|v| v.len()),
            Ok(4 << 20)
        );
        assert!(value_of(OsStr::new("-"), &[7; VALUE_BYTES_MAX + 1][..]).is_err());
    }

    #[test]
    fn the_context_is_there_when_nothing_stands_beside() {
        let alone = Stored { context: Some(b"\x01\x00".to_vec()), live: 1, found: 0 };
        assert_eq!(plain(&alone), "context AQA");
        assert_eq!(json_of(b"k", &alone), json!({"key": "k", "context": "AQA", "siblings": 1}));
        let beside = Stored { context: None, live: 2, found: 0 };
        assert_eq!(plain(&beside), "siblings 2");
        assert_eq!(json_of(b"k", &beside), json!({"key": "k", "context": null, "siblings": 2}));
    }
}
