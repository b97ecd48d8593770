//! EPOCHS: samples, and its rules.

use super::*;
use crate::limits::MEMBER_COUNT_MAX;
use crate::wire::epochs::{Claim, Epochs};
use crate::wire::payload::Malformed;

static CLAIMS: [Claim; 2] = [Claim::new(NodeId(7), 1), Claim::new(NodeId(9), u64::MAX)];

pub(super) const SOME: Epochs<'static> = Epochs { asks: true, vouched: true, claims: &CLAIMS };
pub(super) const NONE: Epochs<'static> = Epochs { asks: false, vouched: false, claims: &[] };

fn payload(flags: u8, claims: impl Iterator<Item = (u32, u64)>) -> Vec<u8> {
    let mut bytes = vec![flags, 0, 0, 0, 0, 0, 0, 0];
    for (node, raised) in claims {
        bytes.extend(node.to_le_bytes());
        bytes.extend(raised.to_le_bytes());
    }
    bytes
}

#[test]
fn claims_ascend_say_something_and_are_no_more_than_members() {
    for (count, is_sound) in [(0, true), (MEMBER_COUNT_MAX, true), (MEMBER_COUNT_MAX + 1, false)] {
        let bytes = payload(0, (1..=count as u32).map(|node| (node, 3)));
        assert_eq!(Epochs::new_checked(&bytes).is_ok(), is_sound, "{count}");
    }
    for wrong in [[(1, 1), (1, 2)], [(2, 1), (1, 1)], [(0, 1), (1, 1)], [(1, 0), (2, 1)]] {
        let bytes = payload(0, wrong.into_iter());
        assert_eq!(Epochs::new_checked(&bytes), Err(Malformed), "{wrong:?}");
    }
}

#[test]
fn other_flags_and_parts_of_claims_are_malformed() {
    for flags in 0..=u8::MAX {
        let read = Epochs::new_checked(&payload(flags, [(1, 1)].into_iter()))
            .map(|epochs| u8::from(epochs.asks) | u8::from(epochs.vouched) << 1);
        assert_eq!(read.ok(), (flags < 4).then_some(flags));
    }
    let mut bytes = payload(0, [(1, 1)].into_iter());
    bytes[7] = 1;
    assert_eq!(Epochs::new_checked(&bytes), Err(Malformed));
    bytes[7] = 0;
    for end in 9..bytes.len() {
        assert_eq!(Epochs::new_checked(&bytes[..end]), Err(Malformed), "cut at {end}");
    }
}
