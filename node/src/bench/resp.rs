//! RESP, as far as GET and SET need it.

use std::io::Write;

use super::limits::{BULK_BYTES_MAX, LINE_BYTES_MAX};

/// An answer in RESP, and its bytes.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) bytes: usize,
    /// Or the words of the error.
    pub(super) outcome: Result<(), String>,
}

/// Appends one command.
pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    // A vector takes all.
    let _fits = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _fits = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The answer that `bytes` begin with; `None` while some of it is missing.
///
/// # Errors
/// What is no answer to GET or SET, in words.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
        return match bytes.len() <= LINE_BYTES_MAX {
            true => Ok(None),
            false => Err("a line without an end".into()),
        };
    };
    let (line, length) = (&bytes[..end], end + 2);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match line.split_first() {
        Some((b'+' | b':', _)) => Ok(Some(Answer { bytes: length, outcome: Ok(()) })),
        Some((b'-', words)) => Ok(Some(Answer { bytes: length, outcome: Err(text(words)) })),
        Some((b'$', b"-1")) => Ok(Some(Answer { bytes: length, outcome: Err("not found".into()) })),
        Some((b'$', digits)) => {
            let count = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            let count: Option<usize> = count.filter(|count| *count <= BULK_BYTES_MAX);
            let count = count.ok_or_else(|| format!("a length that is none: {}", text(digits)))?;
            let whole = length + count + 2;
            Ok((bytes.len() >= whole).then_some(Answer { bytes: whole, outcome: Ok(()) }))
        }
        _ => Err(format!("'{}', which is not RESP", text(&line[..line.len().min(32)]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_any_pieces() {
        let all: [(&[u8], Result<(), String>); 5] = [
            (b"+OK\r\n", Ok(())),
            (b":12\r\n", Ok(())),
            (b"-ERR no\r\n", Err("ERR no".into())),
            (b"$-1\r\n", Err("not found".into())),
            (b"$4\r\na\r\nb\r\n", Ok(())),
        ];
        for (bytes, outcome) in all {
            for cut in 0..bytes.len() {
                assert_eq!(answer(&bytes[..cut]), Ok(None), "{cut} of {bytes:?}");
            }
            let more = [bytes, b"+"].concat();
            assert_eq!(answer(&more), Ok(Some(Answer { bytes: bytes.len(), outcome })));
        }
    }

    #[test]
    fn what_is_no_answer_is_told() {
        assert!(answer(b"HTTP/1.1 400\r\n").unwrap_err().contains("'HTTP/1.1 400'"));
        assert!(answer(b"$x\r\n").is_err());
        assert!(answer(b"$-2\r\n").is_err());
        assert!(answer(b"\r\n").is_err());
        let limit = format!("${BULK_BYTES_MAX}\r\n");
        assert_eq!(answer(limit.as_bytes()), Ok(None));
        assert!(answer(format!("${}\r\n", BULK_BYTES_MAX + 1).as_bytes()).is_err());
        assert_eq!(answer(&vec![b'+'; LINE_BYTES_MAX]), Ok(None));
        assert!(answer(&vec![b'+'; LINE_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"k", b"\r\n"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n");
    }
}
