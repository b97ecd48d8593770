//! The laws of the join on arbitrary well-formed records, far wider than histories make them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use ringmain_core::causality::{
    self, Actor, Dot, EXPIRES, Join, Record, Sibling, TOMBSTONE, VersionVector, encode_record,
    record_bytes,
};
use ringmain_core::id::{Boot, NodeId};
use ringmain_core::time::UnixMs;

use super::world::{check, join};

/// A record of up to 200 actors whose siblings' contents follow from their dots (V2).
fn record() -> impl Strategy<Value = Vec<u8>> {
    let actor = (1..40u32, 1..3u64, 1..3u32);
    btree_map(actor, (1..400u32, btree_set(1..400u32, 0..4)), 0..200).prop_map(encode)
}

type Seen = BTreeMap<(u32, u64, u32), (u32, BTreeSet<u32>)>;

fn encode(seen: Seen) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut dots = Vec::new();
    for ((node, boot, birth), (last, numbers)) in seen {
        let actor = Actor::new(NodeId(node), Boot(boot), birth);
        entries.push(Dot::new(actor, last).to_bytes());
        dots.extend(numbers.range(..=last).map(|&number| Dot::new(actor, number)));
    }
    let content = [b'x'; 400];
    let siblings: Vec<_> = dots.iter().map(|&dot| sibling(dot, &content)).collect();
    let version_vector = VersionVector::new_checked(&entries).unwrap();
    let mut bytes = vec![0xaa; record_bytes(version_vector, &siblings)];
    encode_record(version_vector, &siblings, &mut bytes);
    bytes
}

fn sibling(dot: Dot, content: &[u8]) -> Sibling<'_> {
    let flags = [0, 0, TOMBSTONE, EXPIRES][dot.number() as usize % 4];
    Sibling {
        dot,
        flags,
        timestamp: UnixMs(u64::from(dot.number())),
        expires: (flags == EXPIRES).then_some(UnixMs(1)),
        value: if flags == TOMBSTONE { b"" } else { &content[..dot.number() as usize] },
    }
}

fn joined(left: &[u8], right: &[u8]) -> Vec<u8> {
    join(check(left), check(right))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn join_is_commutative(a in record(), b in record()) {
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
    }

    #[test]
    fn join_is_associative(a in record(), b in record(), c in record()) {
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
    }

    #[test]
    fn join_is_idempotent(a in record(), b in record()) {
        prop_assert_eq!(causality::join(check(&a), check(&a)), Join::KeepLeft);
        let ab = joined(&a, &b);
        prop_assert_eq!(causality::join(check(&ab), check(&a)), Join::KeepLeft);
        prop_assert_eq!(causality::join(check(&ab), check(&b)), Join::KeepLeft);
        prop_assert_eq!(joined(&ab, &b), ab);
    }

    #[test]
    fn the_empty_record_adds_nothing(a in record()) {
        prop_assert_eq!(causality::join(check(&a), Record::empty()), Join::KeepLeft);
        prop_assert_eq!(joined(Record::empty().bytes(), &a), a);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::new_checked(&bytes);
        let _ = causality::decode_token(&[0; 16], b"key", &bytes);
        let _ = causality::decode_base64url(&bytes, &mut [0; 100]);
    }
}
