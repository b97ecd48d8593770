//! What `get`, `put` and `del` share: the connection, tokens as text, and errors for people.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use ringmain_core::causality::{base64url_bytes, decode_base64url, encode_base64url};
use ringmain_core::limits::KEY_BYTES_MAX;
use ringmain_core::wire::CONTEXT_BYTES_MAX;
use ringmain_core::wire::hello::Reason;
use ringmain_core::wire::reply::Status;
use ringmain_runtime::client::{Client, ClientError};
use ringmain_runtime::settings::Secret;
use serde_json::{Value, json};

use crate::args::NodeArgs;
use crate::failure::Failure;

/// A node answers or gives up within its own request time-out, which is 30 s at most: only one
/// that hangs takes longer.
const TIMEOUT: Duration = Duration::from_secs(35);

/// Connects to the node that the flags name.
pub(crate) fn connect(args: &NodeArgs, secret: Option<&Secret>) -> Result<Client, Failure> {
    connect_to(args.node, secret)
}

/// Connects to a node.
pub(crate) fn connect_to(node: SocketAddr, secret: Option<&Secret>) -> Result<Client, Failure> {
    Client::connect(node, secret, TIMEOUT).map_err(|error| refused(node, &error))
}

/// A key as the shell gave it.
pub(crate) fn key_of(word: &OsStr) -> Result<&[u8], Failure> {
    let key = word.as_bytes();
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(key),
        0 => Err(Failure::usage("the key is empty", "give one of 1 to 4096 bytes")),
        bytes => {
            let what = format!("the key has {bytes} bytes");
            Err(Failure::usage(what, "give one of 1 to 4096 bytes"))
        }
    }
}

/// The raw token of a context as printed; `-` is the empty one.
pub(crate) fn token_of(text: &str) -> Result<Vec<u8>, Failure> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let mut token = vec![0; (text.len() / 4 * 3 + 3).min(CONTEXT_BYTES_MAX)];
    match decode_base64url(text.as_bytes(), &mut token) {
        Ok(bytes) if bytes > 0 => {
            token.truncate(bytes);
            Ok(token)
        }
        _ => {
            let remedy = "give it as get or put printed it, or - for the empty one";
            Err(Failure::usage("--context is not a context", remedy))
        }
    }
}

/// A raw token as text; `-` for the empty one.
pub(crate) fn token_text(token: &[u8]) -> String {
    if token.is_empty() { "-".into() } else { base64url(token) }
}

/// Bytes as JSON: a string where they are UTF-8, else an object.
pub(crate) fn bytes_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64url": base64url(bytes) }),
    }
}

/// What a person can do about a failed request.
pub(crate) fn refused(node: SocketAddr, error: &ClientError) -> Failure {
    let remedy = match error {
        ClientError::Told { what, remedy } => return Failure::failed(what, remedy),
        ClientError::Unreachable(_) => {
            "check that a node runs there, or give another --node IP:PORT (the native port)"
        }
        ClientError::Lost(_) | ClientError::TimedOut => {
            "it may have been done, or not: look, and try again, also at another --node"
        }
        ClientError::Foreign(_) => "give the native port of a node, 7400 by default",
        ClientError::Malformed => "check that node and command have the same version",
        ClientError::Refused(Reason::NoCluster) | ClientError::NoCluster => {
            "let the node join a cluster first"
        }
        ClientError::Refused(Reason::Full) | ClientError::Full => "try again, or at another --node",
        ClientError::OtherCluster | ClientError::OtherNode => {
            "check which node has the address by now"
        }
        ClientError::Refused(_) => "check versions, and that this is a node of the right cluster",
        ClientError::Apart(_) => "take the command of a release between",
        ClientError::TooOld { .. } => "upgrade the older of the two, see `ringmain cluster status`",
        ClientError::OtherSecret => "give this cluster's secret",
        ClientError::NoRandom(_) => "provide /dev/urandom",
        ClientError::Failed { status: Status::Unavailable, needed: 0, .. } => {
            "ask another --node; /ready of this one may say why it serves nobody"
        }
        ClientError::Failed { status, .. } => match status {
            Status::NoQuorum => "the value may appear later; see `ringmain cluster status`",
            Status::Unavailable => "wait for nodes to return, or ask for fewer copies",
            Status::NotCovered => "try again, or ask for more copies with --r",
            Status::BadContext => "get the key again and give that context",
            Status::TooLarge => "give less, or raise the limits of the nodes",
            Status::Siblings => "get the key, and put one value with that context",
            Status::Busy => "try again",
            Status::NoSpace => "free space on the node's disk",
            Status::ReadOnly => "see the node's log, and restart it with a sound disk",
            Status::NotPermitted => "give --cluster-secret, or ask from the node's own machine",
            Status::Damaged => "see `ringmain cluster status`, and the node's log",
            _ => "check that node and command have the same version",
        },
    };
    Failure::failed(format!("{node}: {error}"), remedy)
}

fn base64url(bytes: &[u8]) -> String {
    let mut text = vec![0; base64url_bytes(bytes.len())];
    encode_base64url(bytes, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for token in [&b""[..], b"\x01", b"\x01\x00", &[0xff; 100]] {
            assert_eq!(token_of(&token_text(token)).as_deref(), Ok(token));
        }
        for text in ["", "=", "a", "ab cd", "ab==", "é", "--"] {
            let token = token_of(text);
            assert!(token.is_err() || text == "--" && token == Ok(vec![0xfb]), "{text}: {token:?}");
        }
        assert!(token_of(&"A".repeat(CONTEXT_BYTES_MAX * 2)).is_err());
    }

    #[test]
    fn bytes_become_json() {
        assert_eq!(bytes_json(b"apples"), json!("apples"));
        assert_eq!(bytes_json(b""), json!(""));
        assert_eq!(bytes_json(b"\xff\xfe"), json!({"base64url": "__4"}));
    }

    #[test]
    fn keys_are_bounded() {
        assert!(key_of(OsStr::new("k")).is_ok());
        assert!(key_of(OsStr::new("")).is_err());
        assert!(key_of(OsStr::new(&"k".repeat(4096))).is_ok());
        assert!(key_of(OsStr::new(&"k".repeat(4097))).is_err());
    }
}
