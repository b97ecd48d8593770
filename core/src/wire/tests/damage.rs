//! Frames cut short, with flipped bits, and made up: an error or a sound value, never a panic.

use super::*;
use crate::checksum::Checksum;
use crate::limits::BODY_BYTES_MAX;
use crate::prng::Prng;
use crate::wire::VERSION;
use crate::wire::body::{Body, BodyError};
use crate::wire::frame::{frame_bytes, stamp_frames};
use crate::wire::payload::Malformed;

/// `frame` with `payload` (behind a key of `key_bytes`) in place of its own, sound up to there.
fn with_payload(frame: &[u8], key_bytes: usize, payload: &[u8]) -> Vec<u8> {
    let mut out = frame[..40 + key_bytes].to_vec();
    out.extend_from_slice(payload);
    let body_bytes = (out.len() - 32) as u32;
    out[4..8].copy_from_slice(&body_bytes.to_le_bytes());
    let crc32c = Software::crc32c(0, &out[36..]);
    out[32..36].copy_from_slice(&crc32c.to_le_bytes());
    out
}

/// Reads the frame as far as it is sound. What is read must be written the same again.
fn read_and_write_again(bytes: &[u8]) -> bool {
    let Ok(frame) = parse(bytes) else { return false };
    let Ok(message) = Message::new_checked(&frame) else { return false };
    assert_eq!(message.op(), frame.op());
    let mut out = vec![0xee; bytes.len()];
    write_frame::<Software>(frame.hop(), frame.key(), &message, &mut out);
    stamp_frames(&mut out, frame.version(), frame.hop().sent_ms);
    assert_eq!(out, bytes, "one value, one encoding");
    true
}

#[test]
fn samples_are_written_the_same_again() {
    for (name, key, message) in samples() {
        assert!(read_and_write_again(&encode(key, &message)), "{name}");
    }
}

#[test]
fn frames_cut_short_are_refused() {
    for (name, key, message) in samples() {
        let bytes = encode(key, &message);
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            let known = (length >= 8).then_some(bytes.len());
            assert_eq!(frame_bytes(cut), Ok(known), "{name}");
            assert_eq!(parse(cut), Err(FrameError::Truncated), "{name}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(frame_bytes(&longer), Ok(Some(bytes.len())));
        assert_eq!(parse(&longer), Err(FrameError::Malformed));
    }
}

#[test]
fn a_flipped_bit_is_refused_or_in_the_hop_part() {
    for (name, key, message) in samples() {
        let bytes = encode(key, &message);
        let sound = parse(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_and_write_again(&flipped);
            let read = parse(&flipped);
            match bit / 8 {
                0..2 => assert_eq!(read, Err(FrameError::BadMagic), "{name}"),
                2 => assert_eq!(read, Err(FrameError::UnknownVersion(flipped[2])), "{name}"),
                3 => assert!(read.is_err() || read.unwrap().op() != sound.op(), "{name}"),
                4..8 => assert!(read.is_err(), "{name}"),
                8..32 => {
                    let read = read.unwrap();
                    assert_ne!(read.hop(), sound.hop(), "{name}");
                    assert_eq!(read.body(), sound.body(), "{name}");
                    assert_eq!(Message::new_checked(&read), Ok(message), "{name}");
                }
                _ => assert_eq!(read, Err(FrameError::BadChecksum), "{name}"),
            }
        }
    }
}

#[test]
fn a_prefix_is_refused_at_its_first_bad_byte() {
    let bytes = encode(b"key", &Message::Read(Read { known: 0, target: NodeId(0) }));
    let bad = [
        (0, 0, FrameError::BadMagic),
        (1, 0, FrameError::BadMagic),
        (2, 0, FrameError::UnknownVersion(0)),
        (2, VERSION + 1, FrameError::UnknownVersion(VERSION + 1)),
        (3, 6, FrameError::UnknownOp(6)),
    ];
    for (at, byte, error) in bad {
        let mut changed = bytes.clone();
        changed[at] = byte;
        for length in 0..changed.len() {
            let expected = if length > at { Err(error) } else { Ok(None) };
            assert_eq!(frame_bytes(&changed[..length]), expected);
        }
        assert_eq!(parse(&changed), Err(error));
    }
}

#[test]
fn a_body_is_bounded_before_it_arrives() {
    for &op in Op::ALL {
        let bound = op.body_bytes_max();
        assert!(bound <= BODY_BYTES_MAX);
        let first = |body: usize| {
            let mut first = golden::golden("welcome");
            (first[2], first[3]) = (op.version(VERSION), op.number());
            first[4..8].copy_from_slice(&(body as u32).to_le_bytes());
            frame_bytes(&first[..8])
        };
        assert_eq!(first(7), Err(FrameError::Malformed));
        assert_eq!(first(8), Ok(Some(40)));
        assert_eq!(first(bound), Ok(Some(32 + bound)));
        assert_eq!(first(bound + 1), Err(FrameError::TooLarge));
        assert_eq!(first(u32::MAX as usize), Err(FrameError::TooLarge));
    }
    // Before a handshake, nobody makes a node keep more than this.
    for op in [Op::Hello, Op::HelloReply, Op::Proof, Op::Welcome, Op::Refused] {
        assert!(op.body_bytes_max() <= 512);
    }
}

#[test]
fn keys_are_where_the_op_has_them() {
    for (name, key, message) in samples() {
        let bytes = encode(key, &message);
        for key_bytes in 0..=bytes.len() + 1 {
            let mut changed = bytes.clone();
            changed[36..38].copy_from_slice(&(key_bytes as u16).to_le_bytes());
            let changed = with_payload(&changed, 0, &bytes[40..]);
            let read = parse(&changed);
            let fits = key_bytes <= bytes.len() - 40;
            if fits && message.op().takes_key(key_bytes) {
                assert_eq!(read.unwrap().key(), &bytes[40..40 + key_bytes], "{name}");
            } else if fits {
                assert_eq!(read, Err(FrameError::BadKeyLength), "{name}");
            } else {
                assert_eq!(read, Err(FrameError::Truncated), "{name}");
            }
            read_and_write_again(&changed);
        }
    }
}

#[test]
fn keys_are_bounded() {
    let long = vec![b'k'; 4097];
    let bytes = encode(&long[..4096], &Message::Read(Read { known: 0, target: NodeId(0) }));
    assert_eq!(parse(&bytes).unwrap().key().len(), 4096);
    let mut longer = with_payload(&golden::golden("replicate"), 0, &long);
    longer[36..38].copy_from_slice(&4097_u16.to_le_bytes());
    let longer = with_payload(&longer, 0, &long);
    assert_eq!(parse(&longer), Err(FrameError::BadKeyLength));
    let body = |bytes| Body::new_checked::<Software>(bytes);
    assert_eq!(body(&longer[32..]), Err(BodyError::BadKeyLength));
}

#[test]
fn bodies_are_bounded() {
    let zeros = vec![0; BODY_BYTES_MAX + 1];
    assert!(Body::without_checksum(&zeros[1..]).is_ok());
    assert_eq!(Body::without_checksum(&zeros), Err(BodyError::TooLarge));
    assert_eq!(Body::new_checked::<Software>(&zeros), Err(BodyError::TooLarge));
}

#[test]
fn a_record_is_not_empty() {
    for name in ["replicate", "replicate_sync"] {
        let bytes = with_payload(&golden::golden(name), 3, b"");
        let frame = parse(&bytes).unwrap();
        assert_eq!(Message::new_checked(&frame), Err(Malformed));
    }
}

#[test]
fn reserved_bits_of_the_covered_header_are_refused() {
    for bit in 0..16 {
        let mut bytes = golden::golden("get");
        bytes[38 + bit / 8] ^= 1 << (bit % 8);
        let payload = bytes[43..].to_vec();
        assert_eq!(parse(&with_payload(&bytes, 3, &payload)), Err(FrameError::Malformed));
    }
}

#[test]
fn payloads_with_sound_checksums_never_panic() {
    for (_, key, message) in samples() {
        let bytes = encode(key, &message);
        let payload = &bytes[40 + key.len()..];
        let check = |payload: &[u8]| {
            read_and_write_again(&with_payload(&bytes, key.len(), payload));
        };
        for length in 0..payload.len() {
            check(&payload[..length]);
        }
        check(&[payload, &[0]].concat());
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(&flipped);
        }
    }
}

#[test]
fn random_payloads_never_panic() {
    let mut prng = Prng::new(11);
    let mut read = 0;
    for _ in 0..20_000 {
        let op = Op::ALL[prng.below(Op::ALL.len() as u64) as usize];
        let samples = golden::golden("welcome");
        let key: &[u8] = if op.takes_key(0) { b"" } else { b"k" };
        let mut first = samples[..40].to_vec();
        (first[2], first[3]) = (op.version(VERSION), op.number());
        first[36] = key.len() as u8;
        first.extend_from_slice(key);
        // Mostly small numbers, so that counts and lengths are often within bounds.
        let length = prng.below(48) as usize;
        let payload: Vec<u8> = (0..length)
            .map(|_| if prng.chance(70) { 0 } else { prng.next_u64() as u8 >> prng.below(8) })
            .collect();
        read += usize::from(read_and_write_again(&with_payload(&first, key.len(), &payload)));
    }
    assert!(read > 1000, "{read} of the payloads were sound");
}
