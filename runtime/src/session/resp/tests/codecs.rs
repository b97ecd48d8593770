//! The small codecs against naive ones.

use ringmain_core::prng::Prng;
use ringmain_core::wire::reply::{ReplyHead, Status};

use super::super::answer::{self, Member, Shape};
use super::super::command::{Name, TABLE};
use super::super::parse::{integer, word_of};
use super::super::slots::Form;
use super::super::{encode, glob, inline};
use super::{Kept, show};
use crate::session::request::copied;
use crate::sys::SendBuffer;

#[test]
fn words_are_names_in_any_case_and_nothing_else() {
    for (index, entry) in TABLE.iter().enumerate() {
        let upper = entry.name.to_ascii_uppercase();
        for name in [entry.name, &upper] {
            let command = Name::of(name.as_bytes()).unwrap();
            assert_eq!(command as usize, index);
        }
        // Every other byte in every place.
        for place in 0..upper.len() {
            for byte in 0..=255 {
                let mut name = upper.clone().into_bytes();
                name[place] = byte;
                let found = Name::of(&name);
                let expected =
                    TABLE.iter().position(|entry| name.eq_ignore_ascii_case(entry.name.as_bytes()));
                assert_eq!(found.map(|command| command as usize), expected, "{}", show(&name));
            }
        }
        assert_eq!(Name::of(format!("{upper}\0").as_bytes()), None);
    }
    assert_eq!(word_of(b""), 0);
    assert_eq!(word_of(b"ninebytes"), 0);
}

#[test]
fn integers_as_redis_reads_them() {
    let texts = [
        "0",
        "7",
        "-1",
        "10",
        "00",
        "01",
        "-0",
        "-",
        "",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "x",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999",
    ];
    for text in texts {
        let naive = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
        assert_eq!(integer(text.as_bytes()), naive, "{text}");
    }
}

#[test]
fn digits_of_every_length() {
    let mut value = 1;
    for _ in 0..20 {
        for value in [value - 1, value, value + 1] {
            let mut digits = [0; encode::DIGIT_COUNT_MAX];
            let start = encode::digits(value, &mut digits);
            assert_eq!(&digits[start..], value.to_string().as_bytes());
        }
        value = u64::wrapping_mul(value, 10).max(1);
    }
}

/// Matches by the definition, without classes and escapes.
fn naive_glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| naive_glob(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, text @ ..]) => naive_glob(rest, text),
        ([first, rest @ ..], [byte, text @ ..]) => first == byte && naive_glob(rest, text),
        _ => false,
    }
}

#[test]
fn globs_match_as_the_definition_says() {
    let strings = |letters: &'static [u8], bytes_max: u32| {
        (0..=bytes_max).flat_map(move |bytes| {
            (0..letters.len().pow(bytes)).map(move |number| {
                let letter = |place| letters[number / letters.len().pow(place) % letters.len()];
                (0..bytes).map(letter).collect::<Vec<u8>>()
            })
        })
    };
    let mut matched = 0;
    for pattern in strings(b"ab*?", 5) {
        for text in strings(b"ab", 4) {
            let expected = naive_glob(&pattern, &text);
            matched += usize::from(expected);
            assert_eq!(glob::matches(&pattern, &text), expected, "{}", show(&pattern));
        }
    }
    assert!(matched > 1000, "{matched}");
}

#[test]
fn globs_with_classes_and_escapes() {
    let golden = [
        ("[a-c]x", "bx", true),
        ("[a-c]x", "dx", false),
        ("[^a-c]x", "dx", true),
        ("[c-a]", "b", true),
        ("[\\]]", "]", true),
        ("[ab", "a", true),
        ("[", "[", false),
        ("\\*", "*", true),
        ("\\*", "x", false),
        ("\\", "\\", true),
        ("SAVE", "save", true),
        ("*[0-9]", "abc7", true),
    ];
    for (pattern, text, expected) in golden {
        let matched = glob::matches(pattern.as_bytes(), text.as_bytes());
        assert_eq!(matched, expected, "{pattern} {text}");
    }
    // The pattern that is exponential for a matcher that tries every star again.
    let text = "a".repeat(5000);
    assert!(!glob::matches(format!("{}b", "a*".repeat(30)).as_bytes(), text.as_bytes()));
}

#[test]
fn typed_lines_as_redis_splits_them() {
    let golden = [
        ("", Some("")),
        ("  \t ", Some("")),
        ("PING\n", Some("*1|$4|PING|")),
        (" get   k\r\n", Some("*2|$3|get|$1|k|")),
        ("ECHO \"a b\\n\\x41\\q\"", Some("*2|$4|ECHO|$6|a b\\nAq|")),
        ("ECHO 'a \\' \\n'", Some("*2|$4|ECHO|$6|a ' \\n|")),
        ("ECHO \"\" ''", Some("*3|$4|ECHO|$0||$0||")),
        ("ECHO ab\"c d\"", Some("*2|$4|ECHO|$5|abc d|")),
        ("ECHO \"a\"b", None),
        ("ECHO 'a", None),
        ("ECHO \"a\\\"", None),
        ("ECHO \x0b x", Some("*2|$4|ECHO|$1|x|")),
    ];
    for (line, expected) in golden {
        let mut out = Vec::new();
        let result = inline::translate(line.as_bytes(), &mut out);
        let shown = result.ok().map(|()| show(&out));
        assert_eq!(shown.as_deref(), expected, "{line}");
    }
}

#[test]
fn typed_lines_of_anything_do_not_panic() {
    let mut prng = Prng::new(1);
    let letters = b"ab \"'\\x41\n\x0b\0\xff";
    for _ in 0..20_000 {
        let bytes = prng.below(12);
        let line: Vec<u8> =
            (0..bytes).map(|_| letters[prng.below(letters.len() as u64) as usize]).collect();
        let mut out = Vec::new();
        let _ = inline::translate(&line, &mut out);
        assert!(out.len() <= 16 + 8 * line.len());
    }
}

#[test]
fn siblings_of_a_record_come_in_the_order_of_a_reply() {
    let live: super::Versions =
        (1..=5).map(|number| (number, vec![b'a' + number as u8], None)).collect();
    for count in 0..=live.len() {
        let live = live[..count].to_vec();
        let local = Kept::Got { context: vec![], live: live.clone() }.leak();
        let remote = super::remote(ReplyHead::of(Status::Ok), &[], &live);
        for shape in [Shape::Siblings, Shape::Value, Shape::Length, Shape::Type, Shape::Exists] {
            let [mut left, mut right] = [SendBuffer::default(), SendBuffer::default()];
            let form = Form { shape, member: Member::default(), resp3: false };
            let counted = answer::write(&mut left, form, &local, &copied);
            assert_eq!(answer::write(&mut right, form, &remote, &copied), counted);
            assert_eq!(show(&left.to_vec()), show(&right.to_vec()));
        }
    }
}
