//! `ringmain get`: the value of a key, or all of its concurrent values.

use std::io::IsTerminal;

use ringmain_core::wire::get::GetRequest;
use ringmain_runtime::client::Found;
use serde_json::{Value, json};

use crate::args::GetArgs;
use crate::failure::Failure;
use crate::operation::{bytes_json, connect, key_of, refused, token_of, token_text};
use crate::output::print;

/// Reads and prints; not found is a failure, whose JSON is printed before.
pub(crate) fn run(args: &GetArgs) -> Result<(), Failure> {
    let key = key_of(&args.key)?;
    let context = args.context.as_deref().map(token_of).transpose()?.unwrap_or_default();
    let request = GetRequest {
        r: args.r.unwrap_or(0),
        pr: args.pr.unwrap_or(0),
        forwarded: false,
        want_context: true,
        context: &context,
    };
    let mut client = connect(&args.node, None)?;
    let found = client.get(key, &request).map_err(|error| refused(args.node.node, &error))?;
    match args.node.json {
        true => print(format!("{}\n", json_of(key, &found)).as_bytes())?,
        false => print(&plain(&found, std::io::stdout().is_terminal()))?,
    }
    if found.values.is_empty() {
        let what = format!("{} is not found", String::from_utf8_lossy(key));
        return Err(Failure::failed(what, "check the key, or put a value"));
    }
    Ok(())
}

/// One value alone as it is, with a line end for people only, so that a pipe or file gets just its
/// bytes; several numbered, with the context that a put needs to replace them.
fn plain(found: &Found, is_terminal: bool) -> Vec<u8> {
    let mut out = Vec::new();
    match &found.values[..] {
        [] => {}
        [only] => {
            out.extend_from_slice(&only.bytes);
            out.extend(is_terminal.then_some(b'\n'));
        }
        several => {
            for (value, number) in several.iter().zip(1..) {
                out.extend_from_slice(format!("{number}) ").as_bytes());
                out.extend_from_slice(&value.bytes);
                out.push(b'\n');
            }
            let context = format!("context {}\n", token_text(&found.context));
            out.extend_from_slice(context.as_bytes());
        }
    }
    out
}

fn json_of(key: &[u8], found: &Found) -> Value {
    let values: Vec<Value> = found.values.iter().map(|value| bytes_json(&value.bytes)).collect();
    json!({
        "key": bytes_json(key),
        "context": token_text(&found.context),
        "values": values,
    })
}

#[cfg(test)]
mod tests {
    use ringmain_core::time::UnixMs;
    use ringmain_runtime::client::Value;

    use super::*;

    fn found(values: &[&[u8]]) -> Found {
        let value =
            |bytes: &&[u8]| Value { timestamp: UnixMs(1), expires: None, bytes: bytes.to_vec() };
        Found { context: b"\x01\x00".to_vec(), values: values.iter().map(value).collect() }
    }

    #[test]
    fn values_print_alone_or_numbered() {
        for is_terminal in [false, true] {
            let plain = |values: &[&[u8]]| plain(&found(values), is_terminal);
            assert_eq!(plain(&[]), b"");
            assert_eq!(plain(&[b"a", b"b"]), b"1) a\n2) b\ncontext AQA\n");
        }
        assert_eq!(plain(&found(&[b"a\xff"]), false), b"a\xff");
        assert_eq!(plain(&found(&[b"a\xff"]), true), b"a\xff\n");
    }

    #[test]
    fn json_has_every_value() {
        let expected = json!({"key": "k", "context": "AQA", "values": ["a", {"base64url": "_w"}]});
        assert_eq!(json_of(b"k", &found(&[b"a", b"\xff"])), expected);
        assert_eq!(json_of(b"k", &Found::default())["context"], "-");
    }
}
