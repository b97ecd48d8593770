//! Operations whose record is on disk but not in memory.

use super::*;
use crate::limits::{FETCH_COUNT_MAX, RESUME_COUNT_MAX};
use crate::records::Unread;

pub(super) const ONE: Setup = Setup { nodes: 1, r: 1, w: 1, ..THREE };
pub(super) const ME: At = At { node: 1, shard: 0 };

pub(super) fn get(r: u8) -> Command<'static> {
    Command::Get(GetRequest { r, want_context: false, ..GET })
}

pub(super) fn put(put: PutRequest<'_>) -> Command<'_> {
    Command::Put(PutRequest { want_context: false, ..put })
}

impl Cluster {
    pub(super) fn site(&mut self) -> &mut Site {
        self.sites.get_mut(&ME).unwrap()
    }

    /// The record of `key` is no longer in memory at the first node.
    pub(super) fn cool(&mut self, key: &[u8]) {
        self.site().store.unread.insert(key.to_vec(), Unread::Cold);
    }

    /// A session of the first node asks something.
    pub(super) fn command(&mut self, ticket: u64, key: &[u8], command: Command<'_>) {
        self.turn(ME, |turn| turn.command(Origin::Session(ticket), key, command));
    }

    /// The keys whose records should have been read since the last call.
    pub(super) fn fetched(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.site().store.fetched)
    }

    /// The keys for which room was awaited since the last call.
    pub(super) fn roomless(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.site().store.roomless)
    }

    /// What waits for `key` goes on, whatever the store says.
    pub(super) fn resume(&mut self, key: &[u8]) {
        let place = KeyPlace::of(&self.key(key));
        while self.turn(ME, |turn| turn.resume(place)) {}
    }

    /// The store of the first node has no room for a while, or has room again.
    pub(super) fn stall(&mut self, is_stalled: bool) {
        self.site().store.is_stalled = is_stalled;
    }

    /// The store of the first node, of which room for `key` was awaited once, has room again.
    pub(super) fn make_room(&mut self, key: &[u8]) {
        assert_eq!(self.roomless(), [key]);
        self.stall(false);
        self.resume(key);
    }

    /// The record of `key`, which was wanted once, is in memory.
    pub(super) fn warm(&mut self, key: &[u8]) {
        assert_eq!(self.fetched(), [key]);
        self.site().store.unread.remove(key);
        self.resume(key);
    }

    /// The answers since the last call: ticket, outcome, values.
    pub(super) fn answers(&mut self) -> Vec<(u64, String)> {
        core::mem::take(&mut self.network.answers)
    }

    pub(super) fn answered(&mut self) -> Vec<u64> {
        self.answers().into_iter().map(|(ticket, _)| ticket).collect()
    }

    pub(super) fn waiting(&mut self) -> usize {
        self.site().waiting.count()
    }
}

#[test]
fn operations_on_a_cold_record_wait_in_order() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.command(2, b"warm", put(set(b"warm")));
    cluster.cool(b"k");
    assert_eq!(cluster.answered(), [1, 2]);
    cluster.command(3, b"k", get(1));
    cluster.command(4, b"k", put(set(b"new")));
    cluster.command(5, b"k", get(1));
    cluster.command(6, b"k", put(delete(first(Condition::Always, b""))));
    cluster.command(7, b"k", get(0));
    cluster.command(8, b"warm", get(1));
    assert_eq!(cluster.answers(), [(8, got(b"warm"))], "other keys do not wait");
    assert_eq!(cluster.waiting(), 5);
    cluster.warm(b"k");
    let answers = cluster.answers();
    let order: Vec<u64> = answers.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(order, [3, 4, 5, 6, 7]);
    assert_eq!(answers[0].1, got(b"old"));
    assert_eq!(answers[2].1, got(b"new"));
    assert!(answers[3].1.contains("[[110, 101, 119]]"), "the delete found it: {answers:?}");
    assert!(answers[4].1.starts_with("Got [[]]"), "only a tombstone: {answers:?}");
    cluster.check_idle();
}

pub(super) fn got(value: &[u8]) -> String {
    let values = [value];
    format!("Got {values:?} 0 0 0")
}

/// What came first takes effect first, although its record is in memory by then.
#[test]
fn an_operation_waits_behind_others_though_the_record_is_warm() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(1, b"k", put(set(b"a")));
    cluster.cool(b"k");
    cluster.command(2, b"k", put(set(b"b")));
    assert_eq!(cluster.answered(), [1]);
    cluster.site().store.unread.clear();
    cluster.command(3, b"k", put(set(b"c")));
    cluster.command(4, b"k", get(1));
    assert_eq!(cluster.answered(), []);
    cluster.warm(b"k");
    assert_eq!(cluster.answers().last().unwrap().1, got(b"c"));
    cluster.resume(b"k");
    assert_eq!(cluster.answered(), [], "nobody waits");
    cluster.check_idle();
}

#[test]
fn a_write_that_read_first_waits_before_what_came_later() {
    for condition in [Condition::Always, Condition::IfPresent] {
        let mut cluster = Cluster::new(THREE);
        cluster.command(1, b"k", put(set(b"old")));
        cluster.run();
        cluster.command(2, b"k", put(first(condition, b"first")));
        cluster.cool(b"k");
        cluster.command(3, b"k", put(set(b"second")));
        assert_eq!(cluster.fetched(), [b"k"]);
        cluster.run_but(|flight| flight.op() == Op::Replicate);
        assert_eq!(cluster.waiting(), 2, "the read is answered");
        cluster.command(4, b"k", get(1));
        cluster.site().store.fetched.push(b"k".to_vec());
        cluster.warm(b"k");
        assert_eq!(cluster.answers().last().unwrap().1, got(b"second"));
        cluster.run();
        assert_eq!(cluster.answered().len(), 2);
        assert_eq!(cluster.copy(1, b"k"), [b"second"]);
        cluster.check_idle();
    }
}

/// The record turns cold while the other nodes are asked, and nobody else waits for it.
#[test]
fn a_write_that_read_first_waits_alone() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"old")));
    cluster.run();
    cluster.command(2, b"k", put(first(Condition::IfPresent, b"new")));
    cluster.cool(b"k");
    cluster.run();
    assert_eq!(cluster.answered(), [1]);
    // Its birth, and even its partition's record, may be another's by then.
    cluster.warm(b"k");
    cluster.run();
    assert_eq!(cluster.answered(), [2]);
    assert_eq!(cluster.copy(2, b"k"), [b"new"]);
    cluster.check_idle();
}

#[test]
fn frames_of_coordinators_wait_in_order() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(2, 0), b"k", set(b"old"));
    cluster.cool(b"k");
    cluster.send(at(2, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"new") }));
    cluster.run();
    assert_eq!(cluster.reply(), None);
    cluster.send(at(2, 0), b"k", Command::Get(GetRequest { r: 3, ..GET }));
    cluster.run();
    assert_eq!(cluster.waiting(), 2);
    cluster.warm(b"k");
    cluster.run_but(|flight| matches!(flight.op(), Op::ReadReply | Op::ReadSame));
    assert_eq!(cluster.network.replies.len(), 1);
    cluster.network.replies.clear();
    cluster.run();
    assert_eq!(cluster.reply().unwrap().values, [b"new"], "read behind the write");
    cluster.check_idle();
}

/// Four nodes, of which the last is no member yet, and a key that the first will lose to it.
fn before_a_move() -> (Cluster, Vec<u8>) {
    let mut cluster = Cluster::new(Setup { nodes: 4, ..THREE });
    let lost = |key: &[u8]| !cluster.sites[&ME].shard.owns(cluster.key(key).partition);
    let mut keys = (0..100u8).map(|number| vec![b'k', number]);
    let key = keys.find(|key| lost(key)).unwrap();
    cluster.members(&[1, 2, 3], TopologyId(2));
    cluster.command(1, &key, put(set(b"old")));
    cluster.run();
    assert_eq!(cluster.answered(), [1]);
    cluster.cool(&key);
    (cluster, key)
}

const MOVED: TopologyId = TopologyId(3);

/// Commands go to an owner, whatever is left of the record here.
#[test]
fn what_the_node_does_not_own_does_not_wait() {
    let (mut cluster, key) = before_a_move();
    cluster.members(&[1, 2, 3, 4], MOVED);
    cluster.command(2, &key, get(1));
    assert_eq!(cluster.network.flights.back().unwrap().op(), Op::Get);
    let hop = Hop { topology: MOVED, ..cluster.hop(Op::Read, 9) };
    let read = frame_of(hop, &key, &crate::wire::peer::Read { known: 0, target: NodeId(0) });
    cluster.offer(ME, at(2, 0).link(), Some(2), &read).unwrap().unwrap();
    assert_eq!(cluster.network.flights.back().unwrap().op(), Op::Reject);
    assert_eq!((cluster.waiting(), cluster.fetched().len()), (0, 0));
}

#[test]
fn what_waited_meets_the_topology_of_its_end() {
    let (mut cluster, key) = before_a_move();
    cluster.command(2, &key, put(set(b"new")));
    cluster.members(&[1, 2, 3, 4], MOVED);
    cluster.command(3, &key, get(1));
    assert_eq!(cluster.waiting(), 2, "nor is it overtaken on the way to another node");
    cluster.warm(&key);
    let forwarded: Vec<Op> = cluster.network.flights.iter().map(Flight::op).collect();
    assert_eq!(forwarded, [Op::Put, Op::Get]);
    cluster.run();
    let answers = cluster.answers();
    assert!(answers.iter().any(|(_, text)| text.contains("110, 101, 119]")), "{answers:?}");
    assert_eq!((answers.len(), cluster.copy(4, &key)), (2, vec![b"new".to_vec()]));
}

#[test]
fn a_record_that_stays_cold_is_given_up() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(2, 0), b"k", set(b"v"));
    cluster.cool(b"k");
    cluster.command(1, b"k", put(set(b"w")));
    cluster.command(2, b"k", get(1));
    cluster.command(3, b"k", put(first(Condition::Always, b"w")));
    cluster.send(at(2, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"v") }));
    cluster.run();
    for _ in 1..FETCH_COUNT_MAX {
        assert_eq!(cluster.fetched(), [b"k"]);
        cluster.resume(b"k");
        assert_eq!(cluster.answered(), []);
    }
    assert_eq!(cluster.fetched(), [b"k"]);
    cluster.resume(b"k");
    cluster.run();
    assert_eq!(cluster.fetched(), Vec::<Vec<u8>>::new());
    let busy = || String::from("Failed(Busy) [] 0 0 0");
    let mut answers = cluster.answers();
    answers.sort();
    assert_eq!(answers, [(1, busy()), (2, got(b"v")), (3, busy())], "others are read");
    let put = cluster.reply().unwrap();
    assert_eq!((put.status, put.needed, put.got), (Status::NoQuorum, 3, 2));
    cluster.site().store.unread.clear();
    assert_eq!(cluster.copy(1, b"k"), [b"v"]);
    cluster.check_idle();
}

#[test]
fn a_write_that_read_first_is_given_up_too() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"v")));
    cluster.run();
    cluster.command(2, b"k", put(first(Condition::Always, b"w")));
    cluster.cool(b"k");
    cluster.run();
    for _ in 0..FETCH_COUNT_MAX {
        assert_eq!(cluster.fetched(), [b"k"]);
        cluster.resume(b"k");
    }
    assert!(cluster.answers()[1].1.starts_with("Failed(Busy)"));
    cluster.check_idle();
}

#[test]
fn what_finds_no_room_to_wait_is_refused() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"v")));
    cluster.run();
    cluster.command(2, b"k", put(first(Condition::Always, b"w")));
    cluster.cool(b"k");
    cluster.site().waiting.count_max = 2;
    cluster.command(3, b"k", put(set(b"3")));
    cluster.command(4, b"k", get(1));
    assert_eq!(cluster.answered(), [1]);
    cluster.command(5, b"k", put(set(b"5")));
    assert_eq!(cluster.answers(), [(5, String::from("Failed(Busy) [] 0 0 0"))]);
    // A frame, and a write that comes to be applied.
    cluster.send(at(2, 0), b"k", Command::Get(GetRequest { r: 3, ..GET }));
    cluster.run();
    let read = cluster.reply().unwrap();
    assert_eq!((read.status, read.needed, read.got), (Status::NoQuorum, 3, 2));
    let answers = cluster.answers();
    assert_eq!(answers.len(), 1);
    assert!(answers[0].1.starts_with("Failed(Busy)"), "{answers:?}");
    cluster.warm(b"k");
    assert_eq!(cluster.answers()[0], (4, got(b"3")));
    cluster.run();
    cluster.check_idle();
}

#[test]
fn what_waits_too_long_is_answered() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"v")));
    cluster.run();
    cluster.command(2, b"k", put(first(Condition::Always, b"w")));
    cluster.cool(b"k");
    cluster.run();
    cluster.command(3, b"k", put(PutRequest { dw: 3, ..set(b"w") }));
    cluster.command(4, b"k", put(first(Condition::IfAbsent, b"w")));
    cluster.command(5, b"k", get(0));
    cluster.command(6, b"k", get(1));
    cluster.send(at(2, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"v") }));
    cluster.run();
    assert_eq!((cluster.answered(), cluster.waiting()), (vec![1], 6));
    let next = cluster.site().waiting.next_deadline();
    assert_eq!(next, Some(cluster.now + TIMEOUT));
    cluster.pass(TIMEOUT);
    let mut answers = cluster.answers();
    answers.sort();
    let expected = [
        (2, "Failed(Unavailable { needed: 2, got: 0 }) [[118]] 0 0 0"),
        (3, "Failed(Unavailable { needed: 3, got: 0 }) [] 0 0 0"),
        (4, "Failed(Unavailable { needed: 2, got: 0 }) [] 0 0 0"),
        (5, "Failed(NoQuorum { needed: 2, got: 0 }) [] 0 0 0"),
        (6, "Failed(NoQuorum { needed: 1, got: 0 }) [] 0 0 0"),
    ];
    let expected = expected.map(|(ticket, text)| (ticket, String::from(text)));
    assert_eq!(answers[1..], expected[1..]);
    assert_eq!(answers[0].0, 2);
    assert!(answers[0].1.starts_with("Failed(Unavailable { needed: 2, got: 0 })"), "{answers:?}");
    cluster.run();
    assert_eq!(cluster.reply().unwrap().status, Status::NoQuorum);
    cluster.warm(b"k");
    cluster.run();
    assert_eq!(cluster.copy(1, b"k"), [b"v"], "nothing of it is done");
    cluster.check_idle();
}

/// The timer of the driver is late, the record comes before it.
#[test]
fn what_goes_on_after_its_deadline_is_answered_only() {
    let mut cluster = Cluster::new(THREE);
    cluster.command(1, b"k", put(set(b"v")));
    cluster.run();
    cluster.cool(b"k");
    cluster.command(2, b"k", put(set(b"w")));
    cluster.send(at(2, 0), b"k", Command::Put(PutRequest { w: 3, ..set(b"v") }));
    cluster.run();
    cluster.now = cluster.now + TIMEOUT;
    cluster.warm(b"k");
    assert_eq!(cluster.network.flights.back().unwrap().op(), Op::Reject);
    assert!(cluster.answers()[1].1.starts_with("Failed(Unavailable { needed: 2, got: 0 })"));
    cluster.run();
    cluster.pass(TIMEOUT);
    assert_eq!(cluster.copy(1, b"k"), [b"v"]);
    cluster.home();
    cluster.check_idle();
}

#[test]
fn one_step_lets_a_bounded_number_go_on() {
    for more in [0, 1] {
        let mut cluster = Cluster::new(ONE);
        cluster.command(0, b"k", put(set(b"v")));
        cluster.cool(b"k");
        for ticket in 0..RESUME_COUNT_MAX + more {
            cluster.command(1 + ticket as u64, b"k", get(1));
        }
        cluster.site().store.unread.clear();
        let place = KeyPlace::of(&cluster.key(b"k"));
        assert_eq!(cluster.turn(ME, |turn| turn.resume(place)), more > 0);
        assert_eq!(cluster.answered().len(), 1 + RESUME_COUNT_MAX);
        assert_eq!(cluster.waiting(), more);
        assert!(!cluster.turn(ME, |turn| turn.resume(place)));
        cluster.check_idle();
    }
}

/// Between two steps the record may leave memory, as often as there are steps.
#[test]
fn each_step_has_reads_of_its_own() {
    let mut cluster = Cluster::new(ONE);
    cluster.command(0, b"k", put(set(b"v")));
    cluster.cool(b"k");
    let steps = 2 * FETCH_COUNT_MAX as usize;
    for ticket in 0..steps * RESUME_COUNT_MAX {
        cluster.command(1 + ticket as u64, b"k", put(set(b"w")));
    }
    let place = KeyPlace::of(&cluster.key(b"k"));
    for step in 0..steps {
        assert_eq!(cluster.fetched(), [b"k"]);
        cluster.site().store.unread.clear();
        assert_eq!(cluster.turn(ME, |turn| turn.resume(place)), step + 1 < steps);
        cluster.cool(b"k");
        assert!(!cluster.turn(ME, |turn| turn.resume(place)));
    }
    let answers = cluster.answers();
    assert_eq!(answers.len(), 1 + steps * RESUME_COUNT_MAX);
    assert!(answers.iter().all(|(_, text)| text.starts_with("Stored")), "{:?}", answers.last());
    cluster.site().store.unread.clear();
    cluster.check_idle();
}
