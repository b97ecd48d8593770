//! What failure detectors send: the rules of its fields, byte by byte.

use super::*;
use crate::limits::{GOSSIP_BYTES_MAX, MEMBER_COUNT_MAX, UPDATE_COUNT_MAX};
use crate::wire::payload::Malformed;

const OPS: [Op; 6] = [Op::Ping, Op::PingRequest, Op::Pong, Op::Relaying, Op::Sync, Op::SyncTable];

fn written(payload: &Gossip<'_>) -> Vec<u8> {
    let mut out = vec![0xee; payload.bytes()];
    payload.write(&mut out);
    out
}

/// Every flipped bit and every length: an error, or a message that is written as it was read.
#[test]
fn damage_is_refused_or_another_message() {
    for (name, _, message) in gossip_samples() {
        let Message::Gossip(gossip) = message else { panic!("{name}") };
        let (op, bytes) = (gossip.signal.op(), written(&gossip));
        assert_eq!(Gossip::new_checked(op, &bytes), Ok(gossip), "{name}");
        for length in 0..bytes.len() {
            let read = Gossip::new_checked(op, &bytes[..length]);
            let is_whole = length >= 8 && (length - 8) % Update::BYTES == 0;
            assert_eq!(read.is_ok(), is_whole, "{name}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for other in OPS {
                if let Ok(read) = Gossip::new_checked(other, &flipped) {
                    assert_eq!(written(&read), flipped, "{name}");
                }
            }
        }
    }
}

#[test]
fn an_update_keeps_its_bounds() {
    let accused = update(7, 1, 0, Liveness::Suspect);
    let alive = update(7, (1 << 40) - 1, 0, Liveness::Alive);
    for sound in [accused, alive, Update { boot: Boot(0), ..alive }] {
        assert_eq!(Update::from_bytes(&sound.to_bytes()), Ok(sound));
    }
    let bad = |at: usize, byte: u8| {
        let mut bytes = alive.to_bytes();
        bytes[at] = byte;
        assert_eq!(Update::from_bytes(&bytes), Err(Malformed), "{at}");
    };
    bad(0, 0); // No node.
    bad(13, 1); // The 41st bit of the boot.
    bad(16, 1); // An accuser without accusation.
    bad(20, 0);
    bad(20, 2); // An accusation without accuser.
    bad(20, 4);
    (21..24).for_each(|at| bad(at, 1));
}

#[test]
fn updates_are_counted_before_they_are_read() {
    let one = update(7, 1, 0, Liveness::Alive);
    for op in OPS {
        let bound = if op == Op::SyncTable { MEMBER_COUNT_MAX } else { UPDATE_COUNT_MAX };
        // No node is 0, and no flag is unknown.
        let first = if op == Op::SyncTable { [0; 8] } else { [1; 8] };
        for count in [0, 1, bound, bound + 1] {
            let payload = [&first[..], &one.to_bytes().repeat(count)].concat();
            assert_eq!(Gossip::new_checked(op, &payload).is_ok(), count <= bound, "{op:?}");
        }
        assert_eq!(op.body_bytes_max(), 16 + bound * Update::BYTES);
        assert!(op == Op::SyncTable || 32 + op.body_bytes_max() <= GOSSIP_BYTES_MAX);
    }
    assert_eq!(Gossip::new_checked(Op::Get, &[1; 8]), Err(Malformed));
}
