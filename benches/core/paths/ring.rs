//! From the hash of a key to its owners.

use std::hint::black_box;

use ringmain_core::hash::KeyHash;
use ringmain_core::id::NodeId;
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::prng::Prng;
use ringmain_core::ring::{RingConfig, Rings, Transition};

/// 1024 partitions.
pub(crate) const CONFIG: RingConfig = RingConfig { partition_bits: 10, n: 3, seed: 1 };
const ZONES: [&str; 3] = ["a", "b", "c"];
const HASH_COUNT: usize = 1024;

/// The rings of twelve members, while nothing moves.
pub(crate) fn rings() -> Rings<'static> {
    let mut rings = Rings::new(vec![NodeId(0); Rings::slot_count(&CONFIG)].leak(), CONFIG);
    rings.rebuild(&Transition::none(&members(12)));
    rings
}

/// Hashes of keys, in random order.
pub(crate) fn hashes() -> [KeyHash; HASH_COUNT] {
    let mut prng = Prng::new(2);
    [0; HASH_COUNT]
        .map(|_: u8| KeyHash(u128::from(prng.next_u64()) << 64 | u128::from(prng.next_u64())))
}

/// The owners of a random key, as every request looks them up; returns how many there are.
pub(crate) fn lookup() -> impl FnMut() -> usize {
    let (rings, hashes, mut next) = (rings(), hashes(), 0);
    move || {
        let hash = black_box(&hashes)[next % HASH_COUNT];
        next += 1;
        let owners = rings.owners(hash.partition(CONFIG.partition_bits));
        black_box(&owners).len()
    }
}

/// Equal nodes in three zones.
pub(crate) fn members(count: u32) -> Vec<Member> {
    let mut prng = Prng::new(3);
    let mut member = |node: u32| {
        let uuid = u128::from(prng.next_u64()) << 64 | u128::from(prng.next_u64());
        let zone = ZONES[node as usize % ZONES.len()];
        let zone = Name::new(zone).expect("a short word");
        Member { node: NodeId(node), uuid, weight: 100, zone }
    };
    (1..=count).map(&mut member).collect()
}
