//! Names and contacts: what is refused, and that two views of a node become one.

use std::string::ToString;
use std::vec::Vec;

use super::member::{BadName, Contact, MalformedContact, Name};
use crate::id::{Boot, NodeId};
use crate::limits::NAME_BYTES_MAX;
use crate::prng::Prng;

fn contact() -> Contact {
    Contact {
        node: NodeId(0x0403_0201),
        boot: Boot(0x99_8877_6655),
        incarnation: 0x0d0c_0b0a,
        name: Name::new("alpha").unwrap(),
        ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1],
        resp_port: 7379,
        native_port: 7400,
        admin_port: 7480,
        shards: 8,
    }
}

#[test]
fn names_keep_their_text() {
    for text in ["a", "rack-7", "zürich", "東京", "12345678901234567890123456789012"] {
        let name = Name::new(text).unwrap();
        assert_eq!(name.as_str(), text);
        assert_eq!(name.to_string(), text);
        assert_eq!(Name::from_bytes(&name.to_bytes()), Ok(name));
    }
    assert_eq!(
        std::format!("{:>4}{:?}", Name::new("a").unwrap(), Name::new("b").unwrap()),
        "   a\"b\""
    );
}

#[test]
fn names_that_do_not_show_are_refused() {
    assert_eq!(Name::new(""), Err(BadName::Empty));
    assert_eq!(Name::new(&"x".repeat(NAME_BYTES_MAX + 1)), Err(BadName::TooLong));
    assert_eq!(Name::new(&"東".repeat(11)), Err(BadName::TooLong));
    for c in [' ', '\0', '\n', '\u{7f}', '\u{85}', '\u{a0}', '\u{200b}', '\u{202e}', '\u{feff}'] {
        assert_eq!(Name::new(&std::format!("a{c}b")), Err(BadName::Unprintable), "{c:?}");
    }
}

#[test]
fn padding_is_checked() {
    assert_eq!(Name::from_bytes(&[0; NAME_BYTES_MAX]), Err(BadName::Empty));
    assert_eq!(Name::from_bytes(&[0xff; NAME_BYTES_MAX]), Err(BadName::Unprintable));
    let mut bytes = Name::new("a").unwrap().to_bytes();
    bytes[2] = b'b'; // behind a zero
    assert_eq!(Name::from_bytes(&bytes), Err(BadName::Unprintable));
}

#[test]
fn contacts_have_the_documented_layout() {
    let contact = contact();
    let bytes = contact.to_bytes();
    assert_eq!(bytes.len(), 72);
    assert_eq!(bytes[..4], [1, 2, 3, 4]);
    assert_eq!(bytes[4..12], [0x55, 0x66, 0x77, 0x88, 0x99, 0, 0, 0]);
    assert_eq!(bytes[12..16], [0x0a, 0x0b, 0x0c, 0x0d]);
    assert_eq!(bytes[16..22], *b"alpha\0");
    assert_eq!(bytes[48..64], contact.ip);
    assert_eq!(bytes[64..72], [0xd3, 0x1c, 0xe8, 0x1c, 0x38, 0x1d, 8, 0]);
    assert_eq!(Contact::from_bytes(&bytes), Ok(contact));
}

#[test]
fn contacts_out_of_bounds_are_refused() {
    let refused = |at: usize, value: &[u8]| {
        let mut bytes = contact().to_bytes();
        bytes[at..at + value.len()].copy_from_slice(value);
        Contact::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(refused(0, &[0; 4]), MalformedContact::Node);
    assert_eq!(refused(9, &[1]), MalformedContact::Boot);
    assert_eq!(refused(16, b"\n"), MalformedContact::Name(BadName::Unprintable));
    assert_eq!(refused(48, &[0; 16]), MalformedContact::Address);
    assert_eq!(refused(60, &[0; 4]), MalformedContact::Address);
    assert_eq!(refused(66, &[0; 2]), MalformedContact::Address);
    assert_eq!(refused(70, &[0; 2]), MalformedContact::Shards);
    assert_eq!(refused(70, &[1, 1]), MalformedContact::Shards);
}

#[test]
fn any_flipped_bit_gives_an_error_or_another_contact() {
    let bytes = contact().to_bytes();
    for bit in 0..8 * Contact::BYTES {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Contact::from_bytes(&flipped) {
            assert_ne!(other, contact());
            assert_eq!(other.to_bytes(), flipped);
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut prng = Prng::new(1);
    for _ in 0..10_000 {
        let mut bytes = [0; Contact::BYTES];
        bytes.fill_with(|| prng.next_u64() as u8);
        let _ = Contact::from_bytes(&bytes);
        let mut name = [0; NAME_BYTES_MAX];
        name[..4].fill_with(|| prng.next_u64() as u8);
        if let Ok(checked) = Name::from_bytes(&name) {
            assert_eq!(checked.to_bytes(), name);
        }
    }
}

#[test]
fn the_later_life_wins_then_the_later_word() {
    let old = contact();
    let later_word = Contact { incarnation: old.incarnation + 1, resp_port: 1, ..old };
    let later_life = Contact { boot: Boot(old.boot.0 + 1), incarnation: 0, ..old };
    assert_eq!(old.merge(later_word), later_word);
    assert_eq!(later_word.merge(old), later_word);
    assert_eq!(later_word.merge(later_life), later_life);
    assert_eq!(later_life.merge(later_word), later_life);
}

/// Merge laws over all triples of contacts that differ in every way that matters.
#[test]
fn merging_contacts_is_a_join() {
    let mut all = Vec::new();
    for boot in [1, 2, 256] {
        for incarnation in [0, 1, 256] {
            for shards in [1, 2, 256] {
                all.push(Contact { boot: Boot(boot), incarnation, shards, ..contact() });
            }
        }
    }
    for &a in &all {
        assert_eq!(a.merge(a), a);
        for &b in &all {
            assert_eq!(a.merge(b), b.merge(a));
            for &c in &all {
                assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            }
        }
    }
}

#[test]
#[should_panic(expected = "self.node == other.node")]
fn contacts_of_two_nodes_do_not_merge() {
    let _ = contact().merge(Contact { node: NodeId(7), ..contact() });
}

#[test]
#[should_panic(expected = "check()")]
fn an_unusable_contact_is_not_sent() {
    Contact { native_port: 0, ..contact() }.to_bytes();
}
