//! What clients send, and what they get, for people.

/// `arguments` as a client library sends them.
pub(super) fn resp(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A line of words as a client library sends it.
pub(super) fn words(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    resp(&words)
}

/// Bytes for people; `|` is the end of a line.
pub(super) fn show(bytes: &[u8]) -> String {
    let show = |&byte: &u8| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    };
    bytes.iter().map(show).collect::<String>().replace("\\r\\n", "|")
}

/// Asserts that two long texts are the same, and shows only where they differ.
pub(super) fn assert_same(got: &[u8], expected: &[u8], about: &str) {
    let same = got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
    let around = |bytes: &[u8]| show(&bytes[same.saturating_sub(40)..bytes.len().min(same + 40)]);
    assert!(got == expected, "{about}: got {}, not {}", around(got), around(expected));
}
