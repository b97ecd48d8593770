//! Versions: what two builds agree on, and what a frame of each may be.

use std::string::ToString;

use super::*;
use crate::wire::frame::{frame_bytes, stamp_frames};
use crate::wire::payload::Malformed;
use crate::wire::version::{Apart, Versions};
use crate::wire::{HANDSHAKE_VERSION, VERSION, VERSION_MIN};

/// All ranges within versions 1 to 5.
fn ranges() -> impl Iterator<Item = Versions> + Clone {
    (1..=5).flat_map(|oldest| (oldest..=5).map(move |newest| Versions { oldest, newest }))
}

#[test]
fn two_builds_speak_the_newest_version_that_both_know() {
    for (one, other) in ranges().flat_map(|one| ranges().map(move |other| (one, other))) {
        let common =
            (1..=5).rev().find(|version| one.contains(*version) && other.contains(*version));
        assert_eq!(one.agree(other), common, "{one} and {other}");
        assert_eq!(other.agree(one), common, "{other} and {one}");
    }
}

#[test]
fn this_build_speaks_its_version_and_the_one_before() {
    assert_eq!(Versions::OWN, Versions { oldest: VERSION - 1, newest: VERSION });
    let newest = Op::ALL.iter().map(|op| op.since()).max();
    assert_eq!(newest, Some(VERSION), "this version brought something");
    assert!(Op::ALL.iter().all(|op| op.since() >= HANDSHAKE_VERSION));
}

#[test]
fn who_parts_is_told_both_ranges_and_which_to_upgrade() {
    let [old, new] = [(1, 2), (4, 5)].map(|(oldest, newest)| Versions { oldest, newest });
    assert_eq!(
        Apart { own: old, other: new }.to_string(),
        "it speaks versions 4 to 5 of the wire protocol and this build versions 1 to 2: upgrade \
         this build, first to a build that speaks version 4"
    );
    let first = Versions { oldest: 1, newest: 1 };
    assert_eq!(
        Apart { own: new, other: first }.to_string(),
        "it speaks version 1 of the wire protocol and this build versions 4 to 5: upgrade it, \
         first to a build that speaks version 4"
    );
}

/// The first eight bytes of a frame without key and payload.
fn prefix(op: Op, version: u8) -> [u8; 8] {
    let mut first = [0xa7, 0x52, version, op.number(), 0, 0, 0, 0];
    first[4..].copy_from_slice(&8_u32.to_le_bytes());
    first
}

#[test]
fn a_frame_says_a_version_that_has_its_op() {
    for &op in Op::ALL {
        for version in 0..=VERSION + 1 {
            let is_spoken = match op.is_handshake() {
                true => version == HANDSHAKE_VERSION,
                false => (VERSION_MIN..=VERSION).contains(&version),
            };
            let expected = match is_spoken {
                false => Err(FrameError::UnknownVersion(version)),
                true if version < op.since() => Err(FrameError::UnknownOp(op.number())),
                true => Ok(Some(40)),
            };
            assert_eq!(frame_bytes(&prefix(op, version)), expected, "{op:?} of {version}");
        }
    }
}

#[test]
fn a_stamped_frame_says_the_version_of_its_connection() {
    for (name, key, message) in samples() {
        let op = message.op();
        for version in op.since().max(VERSION_MIN)..=VERSION {
            let mut bytes = encode(key, &message);
            stamp_frames(&mut bytes, version, 3);
            let frame = parse(&bytes).unwrap();
            assert_eq!(frame.version(), if op.is_handshake() { 1 } else { version }, "{name}");
            for other in VERSION_MIN..=VERSION {
                assert_eq!(frame.speaks(other), op.is_handshake() || other == version, "{name}");
            }
            assert_eq!(Message::new_checked(&frame), Ok(message), "{name}");
        }
    }
}

#[test]
#[should_panic = "op.since() <= version"]
fn an_op_newer_than_its_connection_is_a_bug() {
    let (_, key, message) = *samples().iter().find(|(name, ..)| *name == "survey").unwrap();
    stamp_frames(&mut encode(key, &message), VERSION - 1, 0);
}

#[test]
fn a_refusal_names_a_range_or_nothing_is_believed_of_it() {
    for (version_min, version_max) in (0..4).flat_map(|min| (0..4).map(move |max| (min, max))) {
        let refused = Refused { reason: Reason::UnknownVersion, version_min, version_max };
        let is_range = 1 <= version_min && version_min <= version_max;
        let versions = Versions { oldest: version_min, newest: version_max };
        assert_eq!(refused.versions(), if is_range { Ok(versions) } else { Err(Malformed) });
    }
}
