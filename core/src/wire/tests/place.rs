//! Place parts: golden bytes, every truncation, every flipped bit, every other place.

use super::golden::golden;
use super::*;
use crate::limits::BODY_BYTES_MAX;
use crate::wire::body::{Body, BodyError, body_bytes, write_body};
use crate::wire::place::{PLACE_BYTES, PLACE_CHECKED_BYTES, PlaceError, PlaceKind, PlacePart};

const SEGMENT: u32 = 0x0102_0304;
const OFFSET: u64 = 0x11_1213_1415;

fn record() -> (PlacePart, Vec<u8>) {
    let body_bytes = body_bytes(3, 12);
    let place = PlacePart {
        kind: PlaceKind::Record,
        body_bytes: body_bytes as u32,
        segment: SEGMENT,
        offset: OFFSET,
        mine: Some(5),
        flags: 0x0708,
        target: NodeId(0),
    };
    let mut out = vec![0xee; place.record_bytes()];
    let (first, body) = out.split_at_mut(PLACE_BYTES);
    let crc32c =
        write_body::<Software>(b"key", body, |rest| rest.copy_from_slice(&COUNT[0x80..0x8c]));
    place.stamp::<Software>(crc32c, first);
    (place, out)
}

fn check(bytes: &[u8]) -> Result<PlacePart, PlaceError> {
    PlacePart::new_checked::<Software>(bytes, SEGMENT, OFFSET)
}

/// `bytes` with a guard that matches again.
fn guarded(mut bytes: Vec<u8>) -> Vec<u8> {
    use crate::checksum::Checksum;
    let mut guard = Software::crc32c(Software::crc32c(0, &bytes[..24]), &bytes[32..36]);
    if bytes[3] == 3 {
        guard = Software::crc32c(guard, &bytes[28..32]);
    }
    bytes[24..28].copy_from_slice(&guard.to_le_bytes());
    bytes
}

#[test]
fn records_are_as_golden() {
    let (place, bytes) = record();
    assert_eq!(bytes, golden("place_record"));
    assert_eq!(check(&bytes), Ok(place));
    let body = Body::new_checked::<Software>(&bytes[PLACE_BYTES..]).unwrap();
    assert_eq!(body.key(), b"key");
    assert_eq!(body.payload(), &COUNT[0x80..0x8c]);

    let batch = golden("place_batch");
    let place = PlacePart::new_checked::<Software>(&batch, 0, 64).unwrap();
    assert_eq!(place.kind, PlaceKind::Batch);
    assert_eq!(place.mine, None);
    assert_eq!(place.record_bytes(), batch.len());
}

#[test]
fn hints_are_as_golden_and_name_a_node() {
    let hint = golden("place_hint");
    let place = PlacePart { kind: PlaceKind::Hint, target: NodeId(0x0102_0304), ..record().0 };
    assert_eq!(check(&hint), Ok(place));
    assert_eq!(hint[PLACE_BYTES..], golden("place_record")[PLACE_BYTES..], "the same body");
    let mut stamped = [0xee; PLACE_BYTES];
    let crc32c = Body::new_checked::<Software>(&hint[PLACE_BYTES..]).unwrap().crc32c();
    place.stamp::<Software>(crc32c, &mut stamped);
    assert_eq!(stamped, hint[..PLACE_BYTES]);
    for bit in 0..PLACE_CHECKED_BYTES * 8 {
        let mut flipped = hint.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped).is_err(), "the target, too");
    }
}

#[test]
fn the_body_of_a_frame_is_the_body_of_a_record() {
    let frame = golden("replicate");
    assert_eq!(golden("place_record")[32..], frame[32..]);
    let crc32c = parse(&frame).unwrap().body().crc32c();
    assert_eq!(crc32c.to_le_bytes(), frame[32..36]);
}

#[test]
fn cut_short_is_truncated() {
    let (_, bytes) = record();
    for length in 0..bytes.len() {
        let checked = check(&bytes[..length]);
        assert_eq!(checked.is_ok(), length >= PLACE_CHECKED_BYTES);
        if length < PLACE_CHECKED_BYTES {
            assert_eq!(checked, Err(PlaceError::Truncated));
        } else {
            assert!(Body::new_checked::<Software>(&bytes[PLACE_BYTES..length]).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (_, bytes) = record();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match check(&flipped) {
            Ok(_) => {
                assert!(bit / 8 >= PLACE_CHECKED_BYTES);
                let body = Body::new_checked::<Software>(&flipped[PLACE_BYTES..]);
                assert_eq!(body, Err(BodyError::BadChecksum));
            }
            Err(PlaceError::BadMagic) => assert!(bit / 8 < 2),
            Err(PlaceError::Malformed) => assert!((28..32).contains(&(bit / 8)), "reserved"),
            Err(error) => assert_eq!(error, PlaceError::BadGuard),
        }
    }
}

#[test]
fn an_erasure_may_have_a_target_which_its_guard_covers() {
    for target in [NodeId(0), NodeId(7)] {
        let (record, mut bytes) = record();
        let place = PlacePart { kind: PlaceKind::Erasure, mine: None, target, ..record };
        let crc32c = Body::new_checked::<Software>(&bytes[PLACE_BYTES..]).unwrap().crc32c();
        place.stamp::<Software>(crc32c, &mut bytes[..PLACE_BYTES]);
        assert_eq!(check(&bytes), Ok(place));
        bytes[28] ^= 1;
        assert_eq!(check(&bytes), Err(PlaceError::BadGuard));
    }
}

#[test]
fn a_sound_record_of_another_place_is_refused() {
    let (_, bytes) = record();
    let at = |segment, offset| PlacePart::new_checked::<Software>(&bytes, segment, offset);
    assert_eq!(at(SEGMENT + 1, OFFSET), Err(PlaceError::Elsewhere));
    assert_eq!(at(SEGMENT, OFFSET + 1), Err(PlaceError::Elsewhere));
    let mut stale = bytes.clone();
    stale[32..].copy_from_slice(&golden("replicate")[32..]);
    assert!(check(&stale).is_ok());
    stale[32] ^= 1;
    assert_eq!(check(&stale), Err(PlaceError::BadGuard), "a body of another place part");
}

#[test]
fn what_a_guard_cannot_see_is_checked() {
    let (_, bytes) = record();
    let with = |at: usize, byte: u8| {
        let mut changed = bytes.clone();
        changed[at] = byte;
        check(&guarded(changed))
    };
    assert_eq!(with(2, 2), Err(PlaceError::UnknownVersion(2)));
    assert_eq!(with(3, 0), Err(PlaceError::Malformed), "no such kind");
    assert_eq!(with(3, 3), Err(PlaceError::Malformed), "a hint for no node");
    assert_eq!(with(3, 5), Err(PlaceError::Malformed), "no such kind");
    assert_eq!(with(4, 7), Err(PlaceError::Malformed), "shorter than a header");
    for (body, sound) in [(BODY_BYTES_MAX, true), (BODY_BYTES_MAX + 1, false)] {
        let mut changed = bytes.clone();
        changed[4..8].copy_from_slice(&(body as u32).to_le_bytes());
        assert_eq!(check(&guarded(changed)).is_ok(), sound, "the limit");
    }
    assert!(with(14, 0).is_ok(), "flags are free");
}

#[test]
fn mine_is_one_more_than_the_index() {
    for mine in [None, Some(0), Some(1), Some(u16::MAX - 1)] {
        let (place, mut bytes) = record();
        let crc32c = u32::from_le_bytes(bytes[32..36].try_into().unwrap());
        PlacePart { mine, ..place }.stamp::<Software>(crc32c, &mut bytes[..32]);
        assert_eq!(check(&bytes).unwrap().mine, mine);
        assert_eq!(bytes[12..14], mine.map_or(0, |index| index + 1).to_le_bytes());
    }
}

#[test]
#[should_panic(expected = "self.mine != Some(u16::MAX)")]
fn an_index_that_does_not_fit_is_a_bug() {
    let (place, _) = record();
    PlacePart { mine: Some(u16::MAX), ..place }.stamp::<Software>(0, &mut [0; 32]);
}
