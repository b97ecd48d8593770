//! Scans of a cluster: whatever node is asked, whoever is away.

use super::*;
use crate::limits::{REQUEST_TIMEOUT_MAX, SCAN_PAGE_BYTES, SCAN_PAGE_COUNT_MAX, TOPOLOGY_RETRY};
use crate::prng::Prng;
use crate::records::{self, Unread};
use crate::scan::Position;
use crate::wire::peer::{Reject, RejectReason};
use crate::wire::scan::{Page, ScanRequest, Scanned};

/// What a scan of one page came to: where it ends, how many keys there are, and which it shows.
type PageRead = (u64, u64, Vec<Vec<u8>>);

impl Cluster {
    /// Has a shard scan as its session would.
    fn scan_from(&mut self, at: At, partition: u16, from: u64, count: u16) {
        let scan = ScanRequest { partition: Partition(partition), count, from };
        self.turn(at, |turn| turn.command(Origin::Session(9), &[], Command::Scan(scan)));
    }

    /// The one answer to the last scan, if it has come.
    fn scanned(&mut self) -> Option<String> {
        assert!(self.network.answers.len() <= 1);
        self.network.answers.pop().map(|(_, answer)| answer)
    }

    /// A page, read by a session at `at`.
    fn page(&mut self, at: At, position: Position, count: u16) -> PageRead {
        let scan = ScanRequest { partition: position.partition, count, from: position.from };
        // By a frame of a shard of the same node, whose reply has the bytes.
        let from = At { shard: u16::MAX, ..at };
        let bytes = frame_of(self.hop(Op::Scan, 77), b"", &scan);
        self.offer(at, from.link(), Some(at.node), &bytes).unwrap().unwrap();
        let is_reply = |flight: &Flight| flight.to == from;
        for _ in 0..50 {
            self.run_but(is_reply);
            if self.network.flights.iter().any(is_reply) {
                break;
            }
            self.pass(TOPOLOGY_RETRY);
        }
        let index = self.network.flights.iter().position(is_reply).expect("an answer");
        let flight = self.network.flights.remove(index).unwrap();
        let frame = Frame::new_checked::<Software>(&flight.bytes).unwrap();
        assert_eq!(frame.hop().request, RequestId(77));
        let reply = Reply::new_checked(frame.payload()).unwrap();
        assert_eq!((reply.head.status, reply.head.order), (Status::Ok, position.from));
        let Scanned { last, keys } = Scanned::new_checked(reply.context).unwrap();
        (last, keys, reply.siblings().map(|sibling| sibling.value.to_vec()).collect())
    }

    /// All keys that a whole walk shows, each page read at some node.
    fn walk(&mut self, prng: &mut Prng, count: u16) -> Vec<Vec<u8>> {
        let nodes = Vec::from_iter(self.network.shards.keys().copied());
        let (mut keys, mut pages) = (Vec::new(), 0);
        let mut next = Some(Position::of(0, BITS));
        while let Some(position) = next {
            let node = nodes[prng.below(nodes.len() as u64) as usize];
            let shard = self.network.shard_of(NodeId(node), position.partition);
            let (last, _, found) = self.page(at(node, shard), position, count);
            keys.extend(found);
            next = position.behind(last, BITS);
            pages += 1;
            assert!(pages < 2000);
        }
        keys.sort_unstable();
        keys
    }
}

const FIVE: Setup = Setup { nodes: 5, shards: 2, mixed: true, ..THREE };

fn key(number: u64) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn expiring(value: &[u8], at: u64) -> PutRequest<'_> {
    PutRequest { content: Content::Value { expires: Some(UnixMs(at)), value }, ..set(value) }
}

/// Keys that live, some that were deleted, some that have expired; and those that live, sorted.
fn filled(setup: Setup, seed: u64) -> (Cluster, Vec<Vec<u8>>) {
    let (mut cluster, mut prng, mut live) = (Cluster::new(setup), Prng::new(seed), Vec::new());
    let nodes = u64::from(setup.nodes);
    for number in 0..60 {
        let (key, node) = (key(number), 1 + prng.below(nodes) as u32);
        match prng.below(6) {
            0 => {
                cluster.put(at(node, 0), &key, set(b"v"));
                let gone = first(Condition::Always, b"");
                cluster.put(at(node, 0), &key, delete(gone));
            }
            1 => drop(cluster.put(at(node, 0), &key, expiring(b"v", cluster.wall.0 + 5))),
            kind => {
                let end = cluster.wall.0 + 1_000_000;
                let put = if kind == 2 { expiring(b"v", end) } else { set(b"v") };
                cluster.put(at(node, 0), &key, put);
                live.push(key);
            }
        }
    }
    cluster.wall = UnixMs(cluster.wall.0 + 10);
    live.sort_unstable();
    (cluster, live)
}

#[test]
fn any_node_shows_all_that_lives() {
    for (seed, setup) in [(1, THREE), (2, FIVE), (3, Setup { r: 3, ..FIVE })] {
        let (mut cluster, live) = filled(setup, seed);
        let mut prng = Prng::new(seed);
        for count in [1, 3, SCAN_PAGE_COUNT_MAX as u16] {
            assert_eq!(cluster.walk(&mut prng, count), live);
        }
        cluster.check_idle();
    }
}

#[test]
fn a_scan_is_complete_while_an_owner_is_away_or_behind() {
    for seed in 1..=3 {
        let (mut cluster, mut live) = filled(FIVE, seed);
        let mut prng = Prng::new(seed);
        let gone = 1 + prng.below(5) as u32;
        for node in (1..=5).filter(|node| *node != gone) {
            cluster.network.cut.extend([(node, gone), (gone, node)]);
            for at in cluster.ats().into_iter().filter(|at| at.node == node) {
                cluster.turn(at, |turn| turn.input(Input::PeerDown(NodeId(gone))));
            }
        }
        for at in cluster.ats().into_iter().filter(|at| at.node == gone) {
            for node in (1..=5).filter(|node| *node != gone) {
                cluster.turn(at, |turn| turn.input(Input::PeerDown(NodeId(node))));
            }
        }
        // What is written now, the owner that is away lacks.
        let there = at(1 + gone % 5, 0);
        for number in 100..120 {
            cluster.put(there, &key(number), set(b"v"));
            live.push(key(number));
        }
        let deleted = live.remove(0);
        let gone_key = first(Condition::Always, b"");
        cluster.put(there, &deleted, delete(gone_key));
        live.sort_unstable();
        cluster.network.shards.remove(&gone);
        assert_eq!(cluster.walk(&mut prng, 3), live, "seed {seed}");
        // Back, and asked at once, before anybody has brought it up to date.
        cluster.network.shards.insert(gone, FIVE.shards_of(gone));
        cluster.network.cut.clear();
        for at in cluster.ats() {
            for node in (1..=5).filter(|node| *node != at.node) {
                cluster.turn(at, |turn| turn.input(Input::PeerUp(NodeId(node))));
            }
        }
        cluster.pass(Duration::ZERO);
        assert_eq!(cluster.walk(&mut prng, 3), live, "seed {seed}");
    }
}

/// Puts `keys` into the copies of both nodes of a pair, in one partition.
fn pair(count: usize, bytes: usize) -> (Cluster, Partition) {
    let mut cluster = Cluster::new(Setup { nodes: 2, ..THREE });
    let keys = (0_u64..).map(|number| format!("{number:0bytes$}").into_bytes());
    let partition = Partition(5);
    let settings = cluster.settings;
    let of = |bytes: &[u8]| Key::new(bytes, settings.hash_seed, BITS).partition;
    for key in keys.filter(|key| of(key) == partition).take(count) {
        let put = PutRequest { want_context: false, ..set(b"v") };
        cluster.turn(at(1, 0), |turn| turn.command(Origin::Session(1), &key, Command::Put(put)));
        cluster.run();
    }
    assert_eq!(cluster.network.answers.len(), count);
    cluster.network.answers.clear();
    (cluster, partition)
}

#[test]
fn a_page_ends_with_its_count_or_its_bytes() {
    let (mut cluster, partition) = pair(SCAN_PAGE_COUNT_MAX + 1, 8);
    let begin = Position { partition, from: 0 };
    for count in [1, 2, SCAN_PAGE_COUNT_MAX - 1, SCAN_PAGE_COUNT_MAX] {
        let (last, keys, found) = cluster.page(at(1, 0), begin, count as u16);
        assert_eq!((found.len(), keys), (count, 0));
        assert!(last < u64::MAX);
    }
    let (last, keys, found) = cluster.page(at(1, 0), begin, 0);
    assert_eq!((last, keys, found.len()), (u64::MAX, SCAN_PAGE_COUNT_MAX as u64 + 1, 0));
    let (mut cluster, partition) = pair(40, 100);
    // A record of 1 KiB or so has next to nothing left without its value; these have many siblings.
    let (last, _, found) = cluster.page(at(1, 0), Position { partition, from: 0 }, 100);
    assert_eq!((last, found.len()), (u64::MAX, 40));
}

#[test]
fn a_page_ends_behind_the_key_that_fills_it() {
    let (mut cluster, partition) = pair(30, 100);
    let shards = cluster.ats();
    // Records with so many entries that one page has not room for all keys.
    let entry = |actor: u32| {
        let actor = crate::causality::Actor::new(NodeId(actor), Boot(1), 1);
        crate::causality::Dot::new(actor, 1).to_bytes()
    };
    let entries: Vec<u8> = (1001..1257).flat_map(entry).collect();
    let record = [&[1, 0x80, 0x02][..], &entries, &[0]].concat();
    let record = crate::causality::Record::new_checked(&record).unwrap();
    for at in shards {
        cluster.turn(at, |turn| {
            let keys: Vec<Place> = turn.store.keys_from(partition, 0).map(|key| key.1).collect();
            for place in keys {
                let bytes = turn.store.body(place).unwrap().key().to_vec();
                let key = Key::new(&bytes, turn.settings.hash_seed, BITS);
                records::join_record(turn.store, &key, record).unwrap();
            }
        });
    }
    let (last, _, found) = cluster.page(at(1, 0), Position { partition, from: 0 }, 100);
    let entry_bytes = 16 + 100 + record.bytes().len();
    assert!(last < u64::MAX);
    assert!((found.len() - 2..=found.len()).contains(&(SCAN_PAGE_BYTES / (entry_bytes + 20))));
    let all = cluster.walk(&mut Prng::new(1), 100);
    assert_eq!(all.len(), 30);
}

#[test]
fn cold_records_are_fetched_and_come_with_the_next_try() {
    let (mut cluster, partition) = pair(6, 8);
    let begin = Position { partition, from: 0 };
    let (_, _, all) = cluster.page(at(1, 0), begin, 10);
    let cold = |cluster: &mut Cluster, node, index: usize| {
        let key = cluster.key(&all[index]);
        let Site { store, .. } = &mut **cluster.sites.get_mut(&at(node, 0)).unwrap();
        let place = store.record(&key).unwrap().unwrap().place;
        store.unread_places.insert(place, Unread::Cold);
        place
    };
    // Both copies, from the fourth key on: the page is shorter, and no less.
    let places = [cold(&mut cluster, 1, 3), cold(&mut cluster, 1, 5)];
    let (last, _, found) = cluster.page(at(1, 0), begin, 10);
    assert_eq!(found, all[..3]);
    let store = |cluster: &Cluster, node| cluster.sites[&at(node, 0)].store.fetched_hints.clone();
    assert_eq!(store(&cluster, 1), places, "what is cold behind it is read ahead");
    // The first one: nobody answers before it was read.
    let next = begin.behind(last, BITS).unwrap();
    let place = cold(&mut cluster, 2, 3);
    cluster.scan_from(at(1, 0), partition.0, next.from, 10);
    for _ in 0..5 {
        cluster.run();
        assert_eq!(cluster.scanned(), None);
        cluster.pass(TOPOLOGY_RETRY);
    }
    assert_eq!(store(&cluster, 2), [place]);
    for node in [1, 2] {
        cluster.sites.get_mut(&at(node, 0)).unwrap().store.unread_places.clear();
    }
    cluster.pass(TOPOLOGY_RETRY);
    cluster.run();
    let answer = cluster.scanned().expect("it was read");
    assert!(answer.contains("status: Ok"), "{answer}");
    let (_, _, found) = cluster.page(at(1, 0), next, 10);
    assert_eq!(found, all[3..]);
    cluster.check_idle();
}

#[test]
fn a_damaged_copy_is_no_answer() {
    let (mut cluster, partition) = pair(6, 8);
    let key = cluster.walk(&mut Prng::new(1), 10).remove(2);
    cluster.sites.get_mut(&at(2, 0)).unwrap().store.unread.insert(key, Unread::Damaged);
    cluster.scan_from(at(1, 0), partition.0, 0, 10);
    cluster.run();
    let answer = cluster.scanned().unwrap();
    assert!(answer.contains("NoQuorum { needed: 2, got: 1 }"), "{answer}");
    // Nor is one of which it is not known what it lacks.
    let (mut cluster, partition) = pair(0, 8);
    cluster.sites.get_mut(&at(1, 0)).unwrap().store.unread.insert(vec![], Unread::Damaged);
    cluster.scan_from(at(1, 0), partition.0, 0, 10);
    cluster.run();
    let answer = cluster.scanned().unwrap();
    assert!(answer.contains("NoQuorum { needed: 2, got: 0 }"), "{answer}");
    cluster.run();
    cluster.check_idle();
}

#[test]
fn a_scan_ends_by_its_deadline() {
    let (mut cluster, partition) = pair(6, 8);
    cluster.scan_from(at(1, 0), partition.0, 0, 10);
    cluster.network.flights.clear();
    cluster.pass(TIMEOUT);
    let answer = cluster.scanned().unwrap();
    assert!(answer.contains("NoQuorum { needed: 2, got: 1 }"), "{answer}");
    cluster.network.flights.clear();
    cluster.check_idle();
    assert!(TIMEOUT <= REQUEST_TIMEOUT_MAX);
}

#[test]
fn a_replica_of_another_topology_is_asked_again() {
    let mut cluster = Cluster::new(THREE);
    for number in 0..20 {
        cluster.put(at(1, 0), &key(number), set(b"v"));
    }
    let rings = ring(&[1, 2, 3]);
    let topology = TopologyId(2);
    cluster.turn(at(1, 0), |turn| turn.input(Input::Rings { rings: &rings, topology }));
    cluster.pass(Duration::ZERO);
    cluster.scan_from(at(1, 0), 0, 0, 10);
    cluster.run();
    assert_eq!(cluster.scanned(), None);
    assert!(cluster.network.notices.contains(&Notice::TopologyDiffers(NodeId(2))));
    for node in [2, 3] {
        cluster.turn(at(node, 0), |turn| turn.input(Input::Rings { rings: &rings, topology }));
    }
    cluster.pass(TOPOLOGY_RETRY);
    cluster.run();
    assert!(cluster.scanned().unwrap().contains("status: Ok"));
}

#[test]
fn a_node_that_owns_nothing_asks_those_that_do() {
    let mut cluster = Cluster::new(FIVE);
    let (mut has_asked, mut is_owner) = (0, 0);
    for partition in 0..1 << BITS {
        let shard = cluster.network.shard_of(NodeId(4), Partition(partition));
        cluster.scan_from(at(4, shard), partition, 0, 10);
        let asked = cluster.network.flights.iter().filter(|flight| flight.op() == Op::Page).count();
        match cluster.sites[&at(4, shard)].shard.owns(Partition(partition)) {
            true => is_owner += asked,
            false => has_asked += asked,
        }
        cluster.run();
        assert!(cluster.scanned().unwrap().contains("status: Ok"));
    }
    assert!(has_asked > 0 && is_owner > 0);
    cluster.check_idle();
}

#[test]
fn scans_of_strangers_and_malformed_ones_are_refused() {
    let mut cluster = Cluster::new(THREE);
    let scan = ScanRequest { partition: Partition(1), count: 1, from: 0 };
    let beyond = ScanRequest { partition: Partition(1 << BITS), ..scan };
    for op in [Op::Scan, Op::Page] {
        let bytes = |scan| frame_of(cluster.hop(op, 7), b"", &scan);
        let (sound, beyond) = (bytes(scan), bytes(beyond));
        let refused = |refused| Ok(Err(refused));
        let offered = cluster.offer(at(1, 0), CLIENT, None, &sound);
        assert_eq!(offered, refused(FrameRefused::NotPermitted));
        let offered = cluster.offer(at(1, 0), at(2, 0).link(), Some(2), &beyond);
        assert_eq!(offered, refused(FrameRefused::Malformed));
    }
    // An answer to nothing changes nothing.
    let (mut other, partition) = pair(3, 8);
    other.scan_from(at(1, 0), partition.0, 0, 10);
    other.run_but(|flight| flight.op() == Op::PageReply);
    let late = other.network.flights.pop_front().unwrap();
    other.deliver(&late);
    assert!(other.scanned().unwrap().contains("status: Ok"));
    other.deliver(&late);
    assert_eq!(other.scanned(), None);
    let page = Frame::new_checked::<Software>(&late.bytes).unwrap();
    assert_eq!(Page::new_checked(page.payload()).unwrap().entries().len(), 3);
}

#[test]
fn a_replica_that_does_not_own_a_partition_says_so() {
    let mut cluster = Cluster::new(FIVE);
    let site = &cluster.sites[&at(1, 0)];
    let partition = (0..1 << BITS).map(Partition).find(|one| !site.shard.owns(*one)).unwrap();
    let scan = ScanRequest { partition, count: 1, from: 5 << BITS };
    let bytes = frame_of(cluster.hop(Op::Page, 7), b"", &scan);
    cluster.offer(at(1, 0), at(2, 0).link(), Some(2), &bytes).unwrap().unwrap();
    let flight = cluster.network.flights.pop_front().unwrap();
    let frame = Frame::new_checked::<Software>(&flight.bytes).unwrap();
    let reject = Reject { reason: RejectReason::NotOwner, order: scan.from };
    assert_eq!(Reject::new_checked(frame.payload()), Ok(reject));
}
