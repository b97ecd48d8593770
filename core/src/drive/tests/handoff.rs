//! Owners that were away get what was kept for them.

use super::cold::ME;
use super::hints::{FIVE, Five, at_once, five};
use super::*;
use crate::limits::{HANDOFF_COUNT_MAX, HANDOFF_FETCH_PAUSE, HANDOFF_PAUSE_MIN};
use crate::records::Unread;

impl Cluster {
    /// Everything that was appended is on disk, and will be at once.
    pub(super) fn synced(&mut self) {
        for at in self.ats() {
            let input = Input::Stored { written: AT_ONCE, synced: AT_ONCE };
            self.turn(at, |turn| turn.input(input));
        }
    }

    /// The hints that are on their way arrive.
    pub(super) fn home(&mut self) {
        self.run();
        self.synced();
        self.run();
    }

    /// `node` and `other` reach each other again.
    fn meet(&mut self, node: u32, other: u32) {
        for (from, to) in [(node, other), (other, node)] {
            self.network.cut.remove(&(from, to));
            for at in self.ats().into_iter().filter(|at| at.node == from) {
                self.turn(at, |turn| turn.input(Input::PeerUp(NodeId(to))));
            }
        }
    }

    /// Everybody reaches `node` again.
    pub(super) fn back(&mut self, node: u32) {
        let others: BTreeSet<u32> = self.ats().iter().map(|at| at.node).collect();
        others.into_iter().filter(|other| *other != node).for_each(|other| self.meet(node, other));
    }

    /// Time goes on until nothing more happens.
    fn settle(&mut self) {
        for _ in 0..300 {
            self.pass(Duration::from_millis(5));
            self.run();
        }
    }

    /// The same record on all owners, hints nowhere.
    fn check_home(&self, keys: &[Vec<u8>], hints: usize) {
        assert_eq!(self.hints().iter().sum::<usize>(), hints);
        for bytes in keys {
            let key = self.key(bytes);
            let ring = self.sites[&ME].shard.rings();
            let owners = ring.owners(key.partition).into_iter();
            let site = |node: &NodeId| {
                let shard = self.network.shard_of(*node, key.partition);
                &self.sites[&at(node.0, shard)]
            };
            let records = owners.map(|node| site(&node).store.record(&key).unwrap().unwrap());
            let records: BTreeSet<_> = records.map(|stored| stored.record.bytes()).collect();
            assert_eq!(records.len(), 1, "{bytes:?}");
        }
    }

    /// Where the hints for `target` at the first node lie.
    fn places(&mut self, target: u32) -> Vec<Place> {
        let mut after = Place(0);
        let store = &self.site().store;
        let next = || store.next_hint(NodeId(target), after).inspect(|place| after = *place);
        core::iter::from_fn(next).collect()
    }
}

/// Keys of which all lack the last owner, which is away; the first node keeps the hints.
fn missed(count: usize) -> (Five, Vec<Vec<u8>>) {
    let mut five = five();
    let Five { cluster, key, owners, .. } = &mut five;
    cluster.synced();
    let ring = cluster.sites[&ME].shard.rings();
    let alike = |other: &Vec<u8>| {
        let place = |key: &[u8]| {
            let partition = cluster.key(key).partition;
            (ring.owners(partition).to_vec(), ring.fallbacks(partition))
        };
        place(other) == place(key)
    };
    let keys = (0..=u16::MAX).map(|number| number.to_be_bytes().to_vec()).filter(alike);
    let keys: Vec<_> = keys.take(count).collect();
    let [one, _, gone] = owners[..] else { panic!() };
    cluster.away(gone);
    for key in &keys {
        assert_eq!(cluster.ask(at(one, 0), key, at_once(set(b"1"))).status, Status::Ok);
    }
    assert_eq!(cluster.hints(), [count, 0, 0, 0, 0]);
    (five, keys)
}

#[test]
fn an_owner_that_was_away_gets_all_that_it_missed() {
    for setup in [FIVE, Setup { shards: 2, ..FIVE }, Setup { shards: 3, mixed: true, ..FIVE }] {
        let mut cluster = Cluster::new(setup);
        cluster.synced();
        cluster.away(4);
        let keys: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![b'k', number]).collect();
        for (index, key) in keys.iter().enumerate() {
            // Siblings, deletes, and hints that are joined.
            for step in 0..1 + index % 3 {
                let node = [1, 2, 3, 5][(index + step) % 4];
                let put = match step {
                    0 => set(b"0"),
                    1 => PutRequest { replaces: Replaces::Given(&[]), ..set(b"1") },
                    _ => delete(set(b"")),
                };
                assert_eq!(cluster.ask(at(node, 0), key, at_once(put)).status, Status::Ok);
            }
        }
        assert!(cluster.hints().iter().sum::<usize>() > 2 * HANDOFF_COUNT_MAX);
        cluster.settle();
        assert!(cluster.hints().iter().sum::<usize>() > 2 * HANDOFF_COUNT_MAX);
        cluster.back(4);
        cluster.settle();
        cluster.check_home(&keys, 0);
        cluster.pass(HINT_INTERVAL);
        cluster.run();
        assert!(cluster.sites.values().all(|site| site.shard.hint_targets().count() == 0));
        cluster.check_idle();
    }
}

#[test]
fn hints_go_home_while_all_other_owners_are_away() {
    let Five { mut cluster, key, owners, .. } = five();
    cluster.synced();
    owners.iter().for_each(|owner| cluster.away(*owner));
    let put = cluster.put(ME, &key, set(b"v"));
    assert_eq!((put.status, cluster.hints().iter().sum()), (Status::Ok, 2_usize));
    cluster.back(owners[1]);
    cluster.settle();
    assert_eq!(cluster.copy(owners[1], &key), [b"v"]);
    assert_eq!(cluster.hints(), [1, 0, 0, 0, 0], "for the other owner");
}

/// The one that was sent is acknowledged when another one is current.
#[test]
fn a_newer_hint_outlives_the_acknowledgment_of_an_older_one() {
    let (five, keys) = missed(1);
    let [one, _, gone] = five.owners[..] else { panic!() };
    let mut cluster = five.cluster;
    cluster.meet(1, gone);
    cluster.pass(Duration::ZERO);
    assert_eq!(cluster.network.flights[0].op(), Op::ReplicateSync);
    cluster.send(at(one, 0), &keys[0], at_once(set(b"2")));
    cluster.run_but(|flight| flight.to.node == gone);
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    cluster.run();
    assert_eq!(cluster.copy(gone, &keys[0]), [b"1"]);
    assert_eq!(cluster.hint(1, &keys[0], gone).unwrap(), [b"2"]);
    cluster.settle();
    cluster.check_home(&keys, 0);
    assert_eq!(cluster.copy(gone, &keys[0]), [b"2"]);
}

/// Where no other node is left, the owners keep in mind who lacks their own copies.
#[test]
fn references_to_own_copies_are_handed_off() {
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    cluster.away(3);
    let keys: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number]).collect();
    for key in &keys {
        for node in [1, 2, 1] {
            let value = [node as u8];
            let put = PutRequest { replaces: Replaces::Given(&[]), ..set(&value) };
            assert_eq!(cluster.put(at(node, 0), key, put).status, Status::Ok);
        }
    }
    assert_eq!(cluster.hints(), [100, 100, 0]);
    // One has no copy of its own any more: nobody is known to have it.
    let key = cluster.key(&keys[7]);
    cluster.site().store.drop_record(&key);
    cluster.back(3);
    cluster.settle();
    assert_eq!(cluster.hints(), [1, 0, 0]);
    let found = cluster.get(ME, &keys[7], 3);
    assert_eq!(found.values.len(), 3);
    cluster.pass(HINT_INTERVAL);
    cluster.settle();
    cluster.check_home(&keys, 0);
    cluster.check_idle();
}

/// One hint stands for all that a target lacks of the own copy, also for what changes in it while
/// the older one is on its way.
#[test]
fn a_reference_outlives_the_acknowledgment_of_an_older_copy() {
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    cluster.away(3);
    assert_eq!(cluster.put(ME, b"k", set(b"1")).status, Status::Ok);
    cluster.back(3);
    cluster.pass(Duration::ZERO);
    assert_eq!(cluster.ops(), [(3, Op::ReplicateSync)]);
    cluster.network.cut.insert((1, 3));
    cluster.send(ME, b"k", Command::Put(set(b"2")));
    cluster.network.cut.clear();
    cluster.run();
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    assert_eq!((cluster.copy(3, b"k"), cluster.hints()), (vec![b"1".to_vec()], vec![1, 0, 0]));
    cluster.pass(HINT_INTERVAL);
    cluster.settle();
    assert_eq!(cluster.copy(3, b"k"), [b"2"]);
    cluster.check_home(&[b"k".to_vec()], 0);
}

#[test]
fn a_damaged_hint_is_passed_over_and_told_of() {
    let (five, keys) = missed(5);
    let (mut cluster, gone) = (five.cluster, five.owners[2]);
    let place = cluster.places(gone)[1];
    cluster.site().store.unread_places.insert(place, Unread::Damaged);
    cluster.back(gone);
    cluster.settle();
    assert_eq!(cluster.places(gone), [place], "it is kept");
    assert_eq!(cluster.copy(gone, &keys[2]), [b"1"]);
    let target = NodeId(gone);
    assert_eq!(cluster.network.notices, [Notice::HintUnsendable { target, place }]);
    cluster.pass(HINT_INTERVAL);
    assert_eq!(cluster.network.notices.len(), 2, "and not forgotten");
    cluster.site().store.unread_places.clear();
    cluster.pass(HINT_INTERVAL);
    cluster.settle();
    cluster.check_home(&keys, 0);
}

#[test]
fn cold_hints_are_read_ahead() {
    let (five, keys) = missed(6);
    let (mut cluster, gone) = (five.cluster, five.owners[2]);
    let places = cluster.places(gone);
    let cold = places[1..].iter().map(|place| (*place, Unread::Cold));
    cluster.site().store.unread_places.extend(cold);
    cluster.back(gone);
    for _ in 0..2 {
        cluster.pass(HANDOFF_FETCH_PAUSE);
        assert_eq!(cluster.site().store.fetched_hints, places[1..], "each once");
    }
    cluster.run();
    assert_eq!(cluster.places(gone), places[1..]);
    cluster.site().store.unread_places.clear();
    cluster.pass(HANDOFF_FETCH_PAUSE);
    cluster.run();
    cluster.check_home(&keys, 0);
    // And what they refer to.
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    cluster.away(3);
    assert_eq!(cluster.put(ME, b"k", set(b"v")).status, Status::Ok);
    let place = cluster.sites[&ME].store.record(&cluster.key(b"k")).unwrap().unwrap().place;
    cluster.site().store.unread_places.insert(place, Unread::Cold);
    cluster.back(3);
    cluster.pass(Duration::ZERO);
    assert!(cluster.fetched().contains(&b"k".to_vec()));
    cluster.site().store.unread_places.clear();
    cluster.pass(HANDOFF_FETCH_PAUSE);
    cluster.run();
    cluster.check_home(&[b"k".to_vec()], 0);
}

/// What was sent and not acknowledged is sent again.
fn a_target_is_lost_in_the_middle() {
    let (five, keys) = missed(3 * HANDOFF_COUNT_MAX);
    let (mut cluster, gone) = (five.cluster, five.owners[2]);
    cluster.back(gone);
    cluster.pass(Duration::ZERO);
    assert_eq!(cluster.network.flights.len(), HANDOFF_COUNT_MAX, "the window");
    cluster.network.flights.truncate(HANDOFF_COUNT_MAX / 2);
    cluster.run_but(|flight| flight.to == ME);
    cluster.away(gone);
    cluster.network.flights.clear();
    cluster.settle();
    assert_eq!(cluster.hints()[0], keys.len(), "nothing was acknowledged");
    cluster.back(gone);
    cluster.settle();
    cluster.check_home(&keys, 0);
    cluster.check_idle();
}

#[test]
fn a_target_that_is_lost_in_the_middle_gets_everything() {
    a_target_is_lost_in_the_middle();
}

/// Its log does not sync: it acknowledges nothing.
#[test]
fn what_is_not_on_disk_there_is_kept_here() {
    let (five, keys) = missed(3);
    let (mut cluster, gone) = (five.cluster, five.owners[2]);
    let stored = Input::Stored { written: AT_ONCE, synced: AT_ONCE };
    cluster.sites.insert(at(gone, 0), Box::new(Site::new(at(gone, 0), &FIVE, Boot(1))));
    cluster.members(&[1, 2, 3, 4, 5], TopologyId(1));
    cluster.turn(at(gone, 0), |turn| {
        turn.input(Input::Stored { written: AT_ONCE, synced: Place(0) });
    });
    cluster.back(gone);
    cluster.settle();
    assert_eq!((cluster.hints()[0], cluster.copy(gone, &keys[0])), (3, vec![b"1".to_vec()]));
    cluster.turn(at(gone, 0), |turn| turn.input(stored));
    cluster.settle();
    cluster.check_home(&keys, 0);
}

/// The one for which hints are kept leaves; others own its keys, and maybe who keeps the hints.
#[test]
fn hints_for_who_left_go_to_all_owners() {
    let (five, keys) = missed(50);
    let (mut cluster, gone) = (five.cluster, five.owners[2]);
    let left: Vec<u32> = (1..=5).filter(|node| *node != gone).collect();
    cluster.members(&left, TopologyId(2));
    cluster.sites.remove(&at(gone, 0));
    cluster.settle();
    cluster.check_home(&keys, 0);
    cluster.check_idle();
}

#[test]
fn a_stalled_store_takes_no_hint_as_its_own() {
    let (five, keys) = missed(1);
    let (mut cluster, gone) = (five.cluster, five.owners[2]);
    let owns = |cluster: &Cluster| {
        let partition = cluster.key(&keys[0]).partition;
        cluster.sites[&ME].shard.owns(partition)
    };
    let left: Vec<u32> = (1..=5).filter(|node| *node != gone).collect();
    cluster.members(&left, TopologyId(2));
    cluster.sites.remove(&at(gone, 0));
    assert!(owns(&cluster), "the first fallback comes in its place");
    cluster.stall(true);
    cluster.pass(HANDOFF_PAUSE_MIN);
    assert_eq!((cluster.network.flights.len(), cluster.hints()[0]), (0, 1));
    cluster.stall(false);
    // Others come first that wait for room.
    cluster.site().store.roomless.push(keys[0].clone());
    cluster.pass(3 * HANDOFF_PAUSE_MIN);
    assert_eq!((cluster.network.flights.len(), cluster.hints()[0]), (0, 1));
    assert_eq!(cluster.roomless().len(), 1);
    cluster.settle();
    cluster.check_home(&keys, 0);
    assert!(cluster.site().bodies.gathered.is_empty());
}

/// A plant is a switch of the whole process, hence the process.
#[cfg(feature = "plant")]
mod plants {
    use crate::plant::{self, Plant};
    use std::process::Command;

    /// Only for [`hints_that_are_dropped_early_are_found`].
    #[test]
    #[ignore = "runs with a plant, in a process of its own"]
    fn lost_in_the_middle_with_a_plant() {
        let is_planted = std::env::var("RINGMAIN_PLANT").unwrap() == "hint-dropped-early";
        plant::set(if is_planted { Plant::HintDroppedEarly } else { Plant::None });
        super::a_target_is_lost_in_the_middle();
    }

    #[test]
    fn hints_that_are_dropped_early_are_found() {
        let test = "drive::tests::handoff::plants::lost_in_the_middle_with_a_plant";
        for plant in [Plant::HintDroppedEarly, Plant::None] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", test, "--ignored"]).env("RINGMAIN_PLANT", plant.name());
            let output = child.output().unwrap();
            let text = std::string::String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("running 1 test"), "{text}");
            assert_eq!(output.status.success(), plant == Plant::None, "{text}");
        }
    }
}
