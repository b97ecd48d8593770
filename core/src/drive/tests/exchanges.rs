//! Anti-entropy between shards: copies become equal without reads, writes or hints.

use super::*;
use crate::causality::{Change, Context, Write};
use crate::exchange::{Answering, Asking, Pair};
use crate::prng::Prng;
use crate::records::{self, Author, Full, Unread};
use crate::shard::ExchangeEvent;

const INTERVAL: Duration = Duration::from_secs(10);
const SETUP: Setup = Setup { interval: Some(INTERVAL), ..THREE };

/// Memory for exchanges, if there are any.
pub(super) fn memory(setup: &Setup, settings: &exchange::Settings) -> exchange::Memory<'static> {
    if setup.interval.is_none() {
        return exchange::Memory::none();
    }
    exchange::Memory {
        pairs: vec![Pair::default(); 3 << BITS].leak(),
        asking: Vec::from_iter((0..32).map(|_| Asking::asking(settings))).leak(),
        answering: Vec::from_iter((0..64).map(|_| Answering::answering(settings))).leak(),
    }
}

impl Cluster {
    /// The shard of `node` that holds `key`.
    fn home_of(&self, node: u32, key: &[u8]) -> At {
        at(node, self.network.shard_of(NodeId(node), self.key(key).partition))
    }

    /// `node` alone stores a new version of `key`, which covers what it knows of it.
    fn write_alone(&mut self, node: u32, key: &[u8], value: &[u8]) {
        let home = self.home_of(node, key);
        let key = Key::new(key, self.settings.hash_seed, BITS);
        let site = self.sites.get_mut(&home).unwrap();
        let birth = site.store.end().0 as u32;
        let (timestamp, context) = (UnixMs(1), Context::Local);
        let author = Author { node: NodeId(node), boot: Boot(1), birth, now: timestamp };
        let write = Write { context, timestamp, change: Change::Value { expires: None, value } };
        records::event(&mut site.store, &key, author, &write).unwrap();
    }

    /// Time goes on, and all frames arrive.
    fn go_on(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(Duration::from_millis(50));
            self.run();
        }
    }

    /// All nodes have equal leaves in all partitions.
    fn is_equal(&mut self) -> bool {
        (0..1 << BITS).map(Partition).all(|partition| {
            let leaves: Vec<Vec<u64>> = Vec::from_iter(self.network.shards.clone())
                .into_iter()
                .map(|(node, _)| {
                    let shard = self.network.shard_of(NodeId(node), partition);
                    let site = self.sites.get_mut(&at(node, shard)).unwrap();
                    site.store.leaves(partition).to_vec()
                })
                .collect();
            leaves.iter().all(|other| *other == leaves[0])
        })
    }

    fn repaired(&self) -> u64 {
        let shards = self.sites.values().map(|site| site.shard.exchange_counts().repaired);
        shards.sum()
    }
}

fn keys(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("key {number}").into_bytes()).collect()
}

#[test]
fn copies_that_differ_at_random_become_equal_within_two_intervals() {
    for seed in 0..6 {
        let mut prng = Prng::new(seed);
        let shards = 1 + prng.below(3) as u16;
        let mut cluster = Cluster::new(Setup { shards, mixed: prng.chance(50), ..SETUP });
        for key in keys(300) {
            for _ in 0..prng.below(4) {
                let (node, size) = (1 + prng.below(3) as u32, prng.below(60) as usize);
                cluster.write_alone(node, &key, &vec![7; size]);
            }
        }
        cluster.go_on(2 * INTERVAL);
        assert!(cluster.is_equal(), "seed {seed}");
        assert!(cluster.repaired() > 0);
        let sent: u64 = cluster.sites.values().map(|site| site.shard.exchange_counts().sent).sum();
        cluster.go_on(2 * INTERVAL);
        let again = cluster.sites.values().map(|site| site.shard.exchange_counts().sent).sum();
        assert_eq!(sent, again, "equal copies send no records");
        let unequal = |site: &Site| {
            let pairs = site.shard.exchange_pairs();
            pairs.iter().any(|pair| pair.last_equal.is_none() || pair.differences > 0)
        };
        assert!(!cluster.sites.values().any(|site| unequal(site)));
        cluster.network.flights.clear();
        cluster.check_idle();
    }
}

#[test]
fn a_lost_copy_is_refilled_and_a_repair_begins_at_once() {
    let mut cluster = Cluster::new(Setup { interval: Some(Duration::from_secs(3600)), ..SETUP });
    for key in keys(2000) {
        for node in [1, 3] {
            cluster.write_alone(node, &key, &[node as u8; 300]);
        }
    }
    for at in cluster.ats() {
        let event = ExchangeEvent::Repair { partition: None };
        cluster.turn(at, |turn| turn.input(Input::Exchange(event)));
    }
    let is_asked = |site: &Site| site.shard.exchange_pairs().iter().any(|pair| pair.is_asked);
    assert!(cluster.sites.values().any(|site| is_asked(site)));
    let begun = cluster.now;
    while cluster.sites.values().any(|site| is_asked(site)) {
        cluster.go_on(Duration::from_millis(100));
    }
    assert!(cluster.is_equal());
    assert!(cluster.now.since(begun) < Duration::from_secs(60), "{:?}", cluster.now.since(begun));
}

/// Also by a repair, for which all nodes go through the partitions in step.
#[test]
fn an_empty_copy_gets_each_record_once() {
    for empty in 1..=3 {
        let mut cluster = Cluster::new(SETUP);
        let others: Vec<u32> = (1..=3).filter(|node| *node != empty).collect();
        let keys = keys(2000);
        for key in &keys {
            cluster.write_alone(others[0], key, b"value");
        }
        for other in &others {
            let (low, high) = (empty.min(*other), empty.max(*other));
            cluster.network.cut.insert((low, high));
            cluster.network.cut.insert((high, low));
        }
        let sent = |cluster: &Cluster| -> u64 {
            cluster.sites.values().map(|site| site.shard.exchange_counts().sent).sum()
        };
        cluster.go_on(2 * INTERVAL);
        assert_eq!(sent(&cluster), keys.len() as u64);
        cluster.network.cut.clear();
        for at in cluster.ats() {
            let event = ExchangeEvent::Repair { partition: None };
            cluster.turn(at, |turn| turn.input(Input::Exchange(event)));
        }
        cluster.go_on(2 * INTERVAL);
        assert!(cluster.is_equal(), "{empty}");
        assert_eq!(sent(&cluster), 2 * keys.len() as u64, "{empty}");
    }
}

#[test]
fn cold_records_are_read_before_they_are_listed_or_sent() {
    let mut cluster = Cluster::new(SETUP);
    let keys = keys(100);
    for key in &keys {
        cluster.write_alone(2, key, b"value");
    }
    let site = cluster.sites.get_mut(&at(2, 0)).unwrap();
    let places = (0..1 << BITS).flat_map(|p| site.store.keys_from(Partition(p), 0));
    let cold: BTreeMap<Place, Unread> = places.map(|(_, place)| (place, Unread::Cold)).collect();
    assert_eq!(cold.len(), keys.len());
    site.store.unread_places = cold;
    for _ in 0..400 {
        cluster.go_on(Duration::from_millis(50));
        let store = &mut cluster.sites.get_mut(&at(2, 0)).unwrap().store;
        for place in std::mem::take(&mut store.fetched_hints) {
            store.unread_places.remove(&place);
        }
    }
    assert!(cluster.is_equal());
}

#[test]
fn a_cold_record_that_cannot_be_read_ends_its_exchange_alone() {
    let mut cluster = Cluster::new(SETUP);
    let keys = keys(100);
    for key in &keys {
        cluster.write_alone(2, key, b"value");
    }
    let (cold, warm) = (cluster.key(&keys[0]), cluster.key(&keys[1]));
    assert_ne!(cold.partition, warm.partition);
    let place = cluster.sites[&at(2, 0)].store.record(&cold).unwrap().unwrap().place;
    let store = &mut cluster.sites.get_mut(&at(2, 0)).unwrap().store;
    store.unread_places.insert(place, Unread::Cold);
    cluster.go_on(4 * INTERVAL);
    assert!(cluster.copy(1, &keys[0]).is_empty());
    assert_eq!(cluster.copy(1, &keys[1]), [b"value"]);
    cluster.sites.get_mut(&at(2, 0)).unwrap().store.unread_places.clear();
    cluster.go_on(2 * INTERVAL);
    assert!(cluster.is_equal());
}

#[test]
fn a_store_that_is_full_stays_different_until_there_is_room() {
    for full in [1, 3] {
        let mut cluster = Cluster::new(SETUP);
        for key in keys(50) {
            cluster.write_alone(4 - full, &key, b"value");
        }
        cluster.sites.get_mut(&at(full, 0)).unwrap().store.full = Some(Full::NoSpace);
        cluster.go_on(2 * INTERVAL);
        let unrepaired = |cluster: &Cluster| {
            let counts = cluster.sites.values().map(|site| site.shard.exchange_counts().unrepaired);
            counts.sum::<u64>()
        };
        assert!(unrepaired(&cluster) > 0 && !cluster.is_equal());
        let pairs = |site: &Site| site.shard.exchange_pairs().iter().any(|p| p.differences > 0);
        assert!(cluster.sites.values().any(|site| pairs(site)));
        cluster.sites.get_mut(&at(full, 0)).unwrap().store.full = None;
        cluster.go_on(2 * INTERVAL);
        assert!(cluster.is_equal());
        assert!(!cluster.sites.values().any(|site| pairs(site)));
    }
}

#[test]
fn records_wait_for_room_and_exchanges_for_them() {
    let mut cluster = Cluster::new(SETUP);
    for key in keys(50) {
        cluster.write_alone(1, &key, b"value");
    }
    cluster.sites.get_mut(&at(3, 0)).unwrap().store.is_stalled = true;
    while cluster.sites[&at(3, 0)].waiting.is_empty() {
        cluster.go_on(Duration::from_millis(50));
    }
    let roomless: Vec<Vec<u8>> = {
        let store = &mut cluster.sites.get_mut(&at(3, 0)).unwrap().store;
        store.is_stalled = false;
        std::mem::take(&mut store.roomless)
    };
    for key in roomless {
        let key = crate::request::KeyPlace::of(&cluster.key(&key));
        assert!(!cluster.turn(at(3, 0), |turn| turn.resume(key)));
    }
    cluster.run();
    cluster.go_on(2 * INTERVAL);
    assert!(cluster.is_equal());
}

#[test]
fn an_exchange_dies_with_its_peer_and_another_comes() {
    let mut cluster = Cluster::new(SETUP);
    for key in keys(200) {
        cluster.write_alone(1, &key, b"value");
    }
    let is_active = |cluster: &Cluster| cluster.sites[&at(1, 0)].shard.exchange_count() > 0;
    while !is_active(&cluster) {
        cluster.pass(Duration::from_millis(20));
    }
    for other in [2, 3] {
        cluster.turn(at(1, 0), |turn| turn.input(Input::PeerDown(NodeId(other))));
    }
    assert!(!is_active(&cluster));
    cluster.network.flights.clear();
    cluster.go_on(INTERVAL);
    assert!(!is_active(&cluster), "nobody is there to ask");
    for other in [2, 3] {
        cluster.turn(at(1, 0), |turn| turn.input(Input::PeerUp(NodeId(other))));
    }
    cluster.go_on(2 * INTERVAL);
    assert!(cluster.is_equal());
}

#[test]
fn frames_that_are_lost_end_an_exchange() {
    let mut cluster = Cluster::new(SETUP);
    for key in keys(20) {
        cluster.write_alone(1, &key, b"value");
    }
    cluster.network.cut.insert((1, 2));
    cluster.go_on(2 * INTERVAL);
    assert_eq!(cluster.copy(3, b"key 1"), [b"value"]);
    cluster.network.cut.clear();
    cluster.go_on(2 * INTERVAL);
    assert!(cluster.is_equal());
}

#[test]
fn strangers_and_clients_have_no_exchanges() {
    let mut cluster = Cluster::new(SETUP);
    let open = crate::wire::exchange::Open { partition: Partition(0), root: 1, keys: 1 };
    let bytes = frame_of(cluster.hop(Op::ExchangeOpen, 1), b"", &open);
    let refused = cluster.offer(at(2, 0), CLIENT, None, &bytes).unwrap();
    assert_eq!(refused, Err(FrameRefused::NotPermitted));
    // Who is above this node does not ask.
    cluster.offer(at(2, 0), at(3, 0).link(), Some(3), &bytes).unwrap().unwrap();
    let flight = cluster.network.flights.pop_back().unwrap();
    assert_eq!((flight.op(), flight.to), (Op::ExchangeEnd, at(3, 0)));
    assert_eq!(cluster.sites[&at(2, 0)].shard.exchange_count(), 0);
}
