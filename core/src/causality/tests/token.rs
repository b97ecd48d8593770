//! Context tokens and their text form. The golden tokens are test vectors of their own.

use core::hash::Hasher as _;
use std::vec;
use std::vec::Vec;

use siphasher::sip::SipHasher24;

use super::*;
use crate::prng::Prng;

const SECRET: [u8; 16] = *b"0123456789abcdef";

fn token(key: &[u8], seen: &[Dot]) -> Vec<u8> {
    let entries = entries(seen);
    let mut out = vec![0xaa; token_bytes(seen.len()) + 3];
    let version_vector = VersionVector::new_checked(&entries).unwrap();
    let length = encode_token(&SECRET, key, version_vector, &mut out);
    assert_eq!(length, token_bytes(seen.len()));
    assert_eq!(out[length..], [0xaa; 3]);
    out.truncate(length);
    out
}

#[test]
fn a_token_comes_back_for_its_key_and_secret_only() {
    for count in [0, 1, 3, 127, 128, 4096] {
        let seen: Vec<Dot> = (1..=count).map(|node| dot(node, node)).collect();
        let token = token(b"key", &seen);
        let decoded = decode_token(&SECRET, b"key", &token).unwrap();
        assert!(decoded.iter().eq(seen));
        assert_eq!(decode_token(&SECRET, b"kez", &token), Err(BadContext));
        assert_eq!(decode_token(&SECRET, b"ke", &token), Err(BadContext));
        assert_eq!(decode_token(&[0; 16], b"key", &token), Err(BadContext));
    }
}

#[test]
fn no_mutilated_token_is_taken() {
    let good = token(b"key", &[dot(1, 7), dot(2, 1), dot(3, 2)]);
    for length in 0..good.len() {
        assert_eq!(decode_token(&SECRET, b"key", &good[..length]), Err(BadContext));
    }
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_token(&SECRET, b"key", &bytes), Err(BadContext));
    }
}

/// Even with the right hash, only the one form is a token.
#[test]
fn a_signed_token_out_of_form_is_refused() {
    let [one, two] = [dot(1, 1).to_bytes(), dot(2, 1).to_bytes()];
    let body = |head: &[u8], entries: &[[u8; 16]]| [head, entries.as_flattened()].concat();
    let signed = |mut body: Vec<u8>| {
        let mut hasher = SipHasher24::new_with_key(&SECRET);
        hasher.write(b"ctx1\0\0\0\x03key");
        hasher.write(&body);
        body.extend(hasher.finish().to_le_bytes());
        body
    };
    let good = signed(body(&[1, 0, 2], &[one, two]));
    assert!(decode_token(&SECRET, b"key", &good).is_ok());
    for bad in [
        body(&[2, 0, 2], &[one, two]),
        body(&[1, 1, 2], &[one, two]),
        body(&[1, 0, 1], &[one, two]),
        body(&[1, 0, 3], &[one, two]),
        body(&[1, 0, 0x82, 0], &[one, two]),
        body(&[1, 0, 2], &[two, one]),
        body(&[1, 0, 2], &[one, one]),
        body(&[1, 0, 1], &[[0; 16]]),
        body(&[1, 0, 0, 0], &[]),
        body(&[1, 0], &[]),
        body(&[1], &[]),
    ] {
        assert_eq!(
            decode_token(&SECRET, b"key", &signed(bad.clone())),
            Err(BadContext),
            "{bad:x?}"
        );
    }
}

#[test]
fn base64url_gives_back_all_short_inputs_and_has_one_form() {
    let mut inputs: Vec<Vec<u8>> = vec![vec![]];
    for first in 0..=u8::MAX {
        inputs.push(vec![first]);
        inputs.extend((0..=u8::MAX).map(|second| vec![first, second]));
    }
    let mut prng = Prng::new(5);
    inputs.extend((0..500).map(|_| (0..prng.below(80)).map(|_| prng.next_u64() as u8).collect()));
    for input in inputs {
        let mut text = [0; 120];
        let mut back = [0; 90];
        let length = encode_base64url(&input, &mut text);
        assert_eq!(length, base64url_bytes(input.len()));
        assert!(text[..length].iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c)));
        let decoded = decode_base64url(&text[..length], &mut back);
        assert_eq!(decoded.map(|length| &back[..length]), Ok(&input[..]));
        if !input.is_empty() {
            let short = &mut back[..input.len() - 1];
            assert_eq!(decode_base64url(&text[..length], short), Err(BadContext));
        }
    }
}

#[test]
fn every_text_of_two_characters_is_refused_or_canonical() {
    let mut accepted = 0;
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let (mut out, mut again) = ([0; 3], [0; 4]);
            if let Ok(length) = decode_base64url(&[first, second], &mut out) {
                let length = encode_base64url(&out[..length], &mut again);
                assert_eq!(again[..length], [first, second]);
                accepted += 1;
            }
        }
    }
    assert_eq!(accepted, 256);
    for bad in [&b"A"[..], b"AAAAA", b"AA==", b"AA+A", b"AA/A", b"AA A", b"AAA\n", b"AAB"] {
        assert_eq!(decode_base64url(bad, &mut [0; 9]), Err(BadContext), "{bad:?}");
    }
}
