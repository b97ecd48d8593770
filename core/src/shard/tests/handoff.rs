//! What is kept for others on its way to them.

use super::*;
use crate::handoff::Delivery;
use crate::limits::{
    HANDOFF_BURST_BYTES, HANDOFF_BYTES_PER_SECOND, HANDOFF_COUNT_MAX, HANDOFF_FETCH_COUNT_MAX,
    HANDOFF_FETCH_PAUSE, HANDOFF_PAUSE_MAX, HANDOFF_PAUSE_MIN, HANDOFF_TIMEOUT,
};

const NEXT: TopologyId = TopologyId(2);

/// Five nodes, and room for many hints.
fn many() -> Setup {
    Setup { nodes: 5, slots: 400, ..Setup::default() }
}

/// A node that keeps hints for an owner of a key, of which it is one itself or is not.
struct Holder {
    rig: Rig,
    key: KeyPlace,
    /// Without this node; hints are kept for the first.
    owners: Vec<NodeId>,
    target: NodeId,
}

fn holder(setup: Setup, owns: bool) -> Holder {
    let rig = Rig { sees_searches: true, ..Rig::new(setup) };
    let is_wanted = |partition: &Partition| rig.shard.owns(*partition) == owns;
    let partition = (0..1 << BITS).map(Partition).find(is_wanted).unwrap();
    let owners = rig.shard.rings().owners(partition).into_iter();
    let owners: Vec<_> = owners.filter(|node| *node != ME).collect();
    let (target, key) = (owners[0], KeyPlace { partition, order: 33 });
    let mut holder = Holder { rig, key, owners, target };
    holder.hinted();
    holder
}

impl Holder {
    fn hinted(&mut self) {
        assert_eq!(self.rig.input(Input::Hinted { target: self.target }), []);
    }

    /// The search for the next hint that is due, and behind which place.
    fn seek(&mut self) -> (RequestId, u64) {
        let outputs = self.rig.fire();
        let [Output::SeekHint { op, target, after }] = outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(target, self.target);
        (op, after.0)
    }

    fn sought(&mut self, op: RequestId, result: Sought) -> Vec<Output> {
        self.rig.input(Input::Sought { op, result })
    }

    /// A full hint of 100 bytes.
    fn hint(&self, place: u64) -> FoundHint {
        let place = Place(place);
        FoundHint { place, sends: place, key: self.key, bytes: 100, joined: false }
    }

    /// The next hint lies at `place`, and is sent.
    fn send(&mut self, place: u64) -> RequestId {
        let (op, after) = self.seek();
        assert!(after < place);
        let outputs = self.sought(op, Sought::Found(self.hint(place)));
        assert_eq!(outputs, [self.sent(op, self.target, place)]);
        op
    }

    fn sent(&self, op: RequestId, node: NodeId, place: u64) -> Output {
        let (partition, place, deadline_ms) = (self.key.partition, Place(place), 5000);
        Output::Replicate { op, node, partition, place, sync: true, deadline_ms, target: OWN }
    }

    /// The pass is over.
    fn end(&mut self) {
        let (op, _) = self.seek();
        assert_eq!(self.sought(op, Sought::Nothing), []);
    }

    fn ack(&mut self, node: NodeId, op: RequestId) -> Vec<Output> {
        self.rig.input(Input::Acked { node, op, order: self.key.order, durable: true })
    }

    fn reject(&mut self, op: RequestId, reason: RejectReason) -> Vec<Output> {
        let (node, order) = (self.target, self.key.order);
        self.rig.input(Input::Rejected { node, op, order, reason })
    }

    fn dropped(&self, place: u64) -> Output {
        self.dropped_for(place, place)
    }

    /// The hint at `place`, for which what lay at `sent` was sent.
    fn dropped_for(&self, place: u64, sent: u64) -> Output {
        Output::DropHint { target: self.target, place: Place(place), sent: Place(sent) }
    }

    fn deliveries(&self) -> Vec<Delivery> {
        self.rig.shard.hint_targets().map(|(_, delivery)| delivery).collect()
    }

    /// Nothing happens before that much time has passed; then a pass begins.
    fn rests(&mut self, time: Duration) -> RequestId {
        let until = self.rig.now + time;
        assert_eq!(self.deliveries(), [Delivery::Resting { until }]);
        assert_eq!(self.rig.shard.next_task(), Some(until));
        self.rig.now = until - Duration::from_micros(1);
        assert_eq!(self.rig.fire(), []);
        self.rig.now = until;
        let (op, after) = self.seek();
        assert_eq!(after, 0);
        op
    }
}

#[test]
fn hints_go_from_the_oldest_on_and_are_dropped_when_acknowledged() {
    let mut holder = holder(many(), false);
    assert_eq!(holder.deliveries().len(), 1);
    let (one, two) = (holder.send(10), holder.send(25));
    assert_eq!(holder.deliveries(), [Delivery::Going]);
    holder.end();
    assert_eq!(holder.ack(holder.target, two), [holder.dropped(25)]);
    assert_eq!(holder.ack(holder.target, one), [holder.dropped(10)]);
    assert_eq!(holder.rig.shard.hint_count(), 0);
    let op = holder.rests(HINT_INTERVAL);
    assert_eq!(holder.sought(op, Sought::Nothing), []);
    assert_eq!(holder.deliveries(), [], "nothing is left");
    assert_eq!(holder.rig.shard.next_task(), None);
}

#[test]
fn a_new_hint_ends_the_rest_of_a_target() {
    let mut holder = holder(many(), false);
    let op = holder.send(10);
    holder.end();
    assert_eq!(holder.ack(holder.target, op).len(), 1);
    assert_eq!(holder.rig.fire(), []);
    holder.hinted();
    assert_eq!(holder.seek().1, 10, "it lies behind what was sent");
}

#[test]
fn no_more_are_in_flight_than_the_window_allows() {
    let mut holder = holder(many(), false);
    let sent: Vec<_> = (1..=HANDOFF_COUNT_MAX as u64).map(|place| holder.send(place)).collect();
    assert_eq!(holder.rig.fire(), []);
    assert_eq!(holder.ack(holder.target, sent[7]), [holder.dropped(8)]);
    holder.send(100);
    assert_eq!(holder.rig.fire(), []);
}

#[test]
fn no_faster_than_its_pace() {
    let mut holder = holder(many(), false);
    for place in 1..=2 {
        let (op, _) = holder.seek();
        let hint = FoundHint { bytes: HANDOFF_BURST_BYTES as u32, ..holder.hint(place) };
        assert_eq!(holder.sought(op, Sought::Found(hint)).len(), 1);
    }
    assert_eq!(holder.rig.fire(), []);
    let burst = 1_000_000 * HANDOFF_BURST_BYTES / HANDOFF_BYTES_PER_SECOND;
    let next = holder.rig.now + Duration::from_micros(burst);
    assert_eq!(holder.rig.shard.next_task(), Some(next));
    holder.rig.now = next;
    holder.send(3);
}

/// A quarter of the slots at most, and none while less than half of them are free.
#[test]
fn clients_always_have_room() {
    let mut holder = holder(Setup { slots: 16, ..many() }, false);
    let sent: Vec<_> = (1..=4).map(|place| holder.send(place)).collect();
    assert_eq!(holder.rig.fire(), []);
    let key = holder.key;
    let request = |holder: &mut Holder| {
        let request = Request { key, ..holder.rig.new_request(get(1, 0)) };
        let outputs = holder.rig.input(Input::Request(request));
        let [Output::Forward { op, .. }] = outputs[..] else { panic!("{outputs:?}") };
        op
    };
    let requests: Vec<_> = (0..12).map(|_| request(&mut holder)).collect();
    for (op, place) in sent.into_iter().zip(1..) {
        assert_eq!(holder.ack(holder.target, op), [holder.dropped(place)]);
    }
    assert_eq!(holder.rig.fire(), [], "12 of 16 are used");
    let (last, rest) = requests.split_at(3);
    for op in last {
        holder.rig.input(Input::ForwardLost { op: *op });
    }
    assert_eq!(holder.rig.fire(), [], "9 of 16");
    holder.rig.input(Input::ForwardLost { op: rest[0] });
    holder.send(5);
    assert_eq!(holder.rig.fire(), [], "9 of 16 again");
    // One they always have, if it is not the last.
    let mut few = self::holder(Setup { slots: 2, ..many() }, false);
    let op = few.send(1);
    assert_eq!(few.rig.fire(), []);
    assert_eq!(few.ack(few.target, op), [few.dropped(1)]);
    few.send(2);
}

#[test]
fn a_target_that_refuses_rests_longer_each_time() {
    let mut holder = holder(many(), false);
    let mut pause = HANDOFF_PAUSE_MIN;
    let (mut op, _) = holder.seek();
    for _ in 0..10 {
        assert_eq!(holder.sought(op, Sought::Found(holder.hint(10))).len(), 1);
        assert_eq!(holder.reject(op, RejectReason::Busy), []);
        holder.hinted();
        op = holder.rests(pause);
        pause = (2 * pause).min(HANDOFF_PAUSE_MAX);
    }
    assert_eq!(pause, HANDOFF_PAUSE_MAX);
    assert_eq!(holder.sought(op, Sought::Found(holder.hint(10))).len(), 1);
    assert_eq!(holder.ack(holder.target, op).len(), 1);
    let (op, _) = holder.seek();
    assert_eq!(holder.sought(op, Sought::Refused), []);
    holder.rests(HANDOFF_PAUSE_MIN);
}

/// All that was sent is answered, or given up, before the next pass.
#[test]
fn the_failures_of_a_pass_count_once() {
    let mut holder = holder(many(), false);
    let sent: Vec<_> = (1..=4).map(|place| holder.send(place)).collect();
    let node = holder.target;
    assert_eq!(holder.rig.input(Input::Unsent { node, op: sent[0] }), []);
    assert_eq!(holder.rig.input(Input::Unsent { node, op: sent[0] }), [], "it has failed");
    assert_eq!(holder.rig.shard.hint_count(), 3);
    assert_eq!(holder.reject(sent[1], RejectReason::NoSpace), []);
    assert_eq!(holder.ack(node, sent[2]), [holder.dropped(3)], "late, and yet");
    assert_eq!(holder.rig.wait(HANDOFF_PAUSE_MAX / 4), []);
    let stale = holder.rig.wait(HANDOFF_TIMEOUT);
    let [Output::SeekHint { after: Place(0), .. }] = stale[..] else { panic!("{stale:?}") };
    assert_eq!(holder.ack(node, sent[3]), [], "too late");
    assert_eq!(holder.rig.shard.hint_count(), 1);
    assert_eq!(holder.reject(sent[1], RejectReason::NoSpace), []);
}

#[test]
fn a_topology_that_differs_is_told_of() {
    let mut holder = holder(many(), false);
    let op = holder.send(1);
    let differs = Output::TopologyDiffers { node: holder.target };
    assert_eq!(holder.reject(op, RejectReason::StaleTopology), [differs]);
    holder.rests(HANDOFF_PAUSE_MIN);
}

#[test]
fn a_target_that_goes_gets_everything_when_it_is_back() {
    let mut holder = holder(many(), false);
    let (one, target) = (holder.send(1), holder.target);
    holder.send(2);
    assert_eq!(holder.rig.input(Input::PeerDown(target)), []);
    assert_eq!(holder.rig.fire(), []);
    assert_eq!(holder.rig.shard.hint_count(), 0);
    assert_eq!(holder.rig.shard.next_task(), None);
    holder.hinted();
    assert_eq!(holder.rig.wait(HINT_INTERVAL), []);
    assert_eq!(holder.ack(target, one), [], "sent before");
    assert_eq!(holder.rig.input(Input::PeerUp(target)), []);
    let op = holder.send(1);
    assert_eq!(holder.reject(op, RejectReason::Busy), []);
    holder.rests(HANDOFF_PAUSE_MIN);
}

/// Its own copy is damaged, or both together are too large.
#[test]
fn a_hint_that_its_target_cannot_take_holds_no_others_back() {
    for reason in [RejectReason::Damaged, RejectReason::Malformed, RejectReason::TooLarge] {
        let mut holder = holder(many(), false);
        let (one, two) = (holder.send(1), holder.send(2));
        assert_eq!(holder.reject(one, reason), []);
        let three = holder.send(3);
        assert_eq!(holder.ack(holder.target, two), [holder.dropped(2)]);
        assert_eq!(holder.ack(holder.target, three), [holder.dropped(3)]);
        holder.end();
        let op = holder.rests(HINT_INTERVAL);
        let outputs = holder.sought(op, Sought::Found(holder.hint(1)));
        assert_eq!(outputs, [holder.sent(op, holder.target, 1)], "nor is it given up");
    }
}

#[test]
fn only_the_targets_acknowledgment_of_that_key_on_disk_counts() {
    let mut holder = holder(many(), false);
    let (op, node, order) = (holder.send(1), holder.target, holder.key.order);
    let acks = [(node, order, false), (node, order + 1, true), (holder.owners[1], order, true)];
    for (node, order, durable) in acks {
        assert_eq!(holder.rig.input(Input::Acked { node, op, order, durable }), []);
    }
    let answered = Input::Answered { node, op, order, found: FOUND };
    assert_eq!(holder.rig.input(answered), []);
    let reason = RejectReason::Busy;
    let refused = Input::Rejected { node: holder.owners[1], op, order, reason };
    assert_eq!(holder.rig.input(refused), []);
    assert_eq!(holder.ack(node, op), [holder.dropped(1)]);
    assert_eq!(holder.ack(node, op), []);
}

/// On another ring others may be the owners.
#[test]
fn what_was_sent_on_another_ring_is_sent_again() {
    for walks_first in [true, false] {
        let mut holder = holder(many(), false);
        let op = holder.send(1);
        let same = ring(1..=5, 3);
        assert_eq!(holder.rig.input(Input::Rings { rings: &same, topology: NEXT }), []);
        if walks_first {
            assert_eq!(holder.rig.fire(), []);
        }
        assert_eq!(holder.ack(holder.target, op), []);
        assert_eq!(holder.rig.fire(), []);
        holder.rests(HANDOFF_PAUSE_MIN);
    }
}

/// All of them must have it on disk; while one is away, others come first.
#[test]
fn a_hint_for_who_left_goes_to_all_owners() {
    let mut holder = holder(many(), false);
    let (target, away) = (holder.target, holder.owners[1]);
    assert_eq!(holder.rig.input(Input::PeerDown(target)), []);
    let left = ring((1..=5).filter(|node| *node != target.0), 3);
    assert_eq!(holder.rig.input(Input::Rings { rings: &left, topology: NEXT }), []);
    let owners = holder.rig.shard.rings().owners(holder.key.partition).to_vec();
    let peers: Vec<_> = owners.iter().copied().filter(|node| *node != ME).collect();
    let (op, _) = holder.seek();
    let outputs = holder.sought(op, Sought::Found(holder.hint(501)));
    let mut sent: Vec<_> = peers.iter().map(|node| holder.sent(op, *node, 501)).collect();
    let is_owner = owners.contains(&ME);
    if is_owner {
        sent.push(Output::Sync);
    }
    assert_eq!(outputs, sent);
    for node in &peers[1..] {
        assert_eq!(holder.ack(*node, op), []);
    }
    let last = holder.ack(peers[0], op);
    let on_disk = holder.rig.stored_to(AT_ONCE, AT_ONCE);
    assert_eq!([last, on_disk].concat(), [holder.dropped(501)]);
    let (lost, _) = holder.seek();
    assert_eq!(holder.rig.input(Input::PeerDown(away)), []);
    assert_eq!(holder.sought(lost, Sought::Found(holder.hint(502))), []);
    assert_eq!(holder.rig.shard.hint_count(), 0);
    assert_eq!(holder.seek().1, 502);
}

#[test]
fn a_hint_for_who_leaves_goes_to_all_who_have_the_key_or_take_over() {
    let mut holder = holder(many(), false);
    let rings = &leaving(1..=5, holder.target, 3);
    holder.rig.input(Input::Rings { rings, topology: NEXT });
    let (op, _) = holder.seek();
    let outputs = holder.sought(op, Sought::Found(holder.hint(501)));
    let peers = rings.owners(holder.key.partition).into_iter().filter(|node| *node != ME);
    let sent: Vec<_> = peers.map(|node| holder.sent(op, node, 501)).collect();
    assert!(sent.len() > 2 && outputs[..sent.len()] == sent, "{outputs:?}");
}

/// As are hints for a member that has handed the key over to others.
#[test]
fn a_hint_for_who_is_no_owner_any_more_goes_to_all_owners() {
    let mut holder = holder(many(), false);
    let (op, _) = holder.seek();
    assert_eq!(holder.sought(op, Sought::Nothing), []);
    let fallbacks = holder.rig.shard.rings().fallbacks(holder.key.partition);
    holder.target = *fallbacks.iter().find(|node| **node != ME).unwrap();
    holder.hinted();
    let (op, _) = holder.seek();
    let sent: Vec<_> = holder.owners.iter().map(|node| holder.sent(op, *node, 1)).collect();
    assert_eq!(holder.sought(op, Sought::Found(holder.hint(1))), sent);
    assert_eq!(holder.ack(holder.target, op), [], "it is not asked");
    for node in [0, 2].map(|index| holder.owners[index]) {
        assert_eq!(holder.ack(node, op), []);
    }
    assert_eq!(holder.ack(holder.owners[1], op), [holder.dropped(1)]);
}

/// It is joined into this node's own copy, which must be on disk, too.
#[test]
fn an_owner_that_keeps_a_hint_has_it_itself() {
    for sync_before_ack in [false, true] {
        let mut holder = holder(Setup { sync_before_ack, unsynced: 1, ..many() }, true);
        let hint = |holder: &Holder, place| {
            let sends = Place(place + 500);
            Sought::Found(FoundHint { sends, joined: true, ..holder.hint(place) })
        };
        let (op, _) = holder.seek();
        let outputs = holder.sought(op, hint(&holder, 1));
        let sync = if sync_before_ack { None } else { Some(Output::Sync) };
        let sent = [Some(holder.sent(op, holder.target, 501)), sync];
        assert_eq!(outputs, sent.into_iter().flatten().collect::<Vec<_>>());
        // There is no room for another one that waits for the sync.
        let (full, _) = holder.seek();
        assert_eq!(holder.sought(full, hint(&holder, 2)), []);
        assert_eq!(holder.ack(holder.target, op), []);
        assert_eq!(holder.rig.stored_to(AT_ONCE, Place(502)), [holder.dropped_for(1, 501)]);
        let op = holder.rests(HANDOFF_PAUSE_MIN);
        assert_eq!(holder.sought(op, hint(&holder, 1)), [holder.sent(op, holder.target, 501)]);
        assert_eq!(holder.ack(holder.target, op), [holder.dropped_for(1, 501)]);
        // A reference is no news to this node.
        let (op, _) = holder.seek();
        let reference = FoundHint { sends: Place(900), ..holder.hint(2) };
        let sent = [holder.sent(op, holder.target, 900)];
        assert_eq!(holder.sought(op, Sought::Found(reference)), sent);
        assert_eq!(holder.ack(holder.target, op), [holder.dropped_for(2, 900)]);
        // Its log fails: what waits for it does not count, and nothing more is sent.
        let (op, _) = holder.seek();
        assert!(!holder.sought(op, hint(&holder, 3)).is_empty());
        assert_eq!(holder.ack(holder.target, op), []);
        assert_eq!(holder.rig.input(Input::LogFailed), []);
        assert_eq!(holder.rig.shard.hint_count(), 0);
        assert_eq!(holder.rig.wait(HINT_INTERVAL), []);
    }
}

#[test]
fn nothing_is_handed_off_by_who_is_no_member() {
    let mut holder = holder(many(), false);
    let op = holder.send(1);
    assert_eq!(holder.ack(holder.target, op), [holder.dropped(1)]);
    holder.send(2);
    holder.rig.members(2..=5, NEXT);
    assert_eq!(holder.rig.wait(HINT_INTERVAL), []);
}

#[test]
fn a_cold_hint_is_looked_for_until_it_is_passed_over() {
    let mut holder = holder(many(), false);
    let (mut op, _) = holder.seek();
    for _ in 0..HANDOFF_FETCH_COUNT_MAX {
        assert_eq!(holder.sought(op, Sought::Cold { place: Place(3) }), []);
        let until = holder.rig.now + HANDOFF_FETCH_PAUSE;
        assert_eq!(holder.rig.shard.next_task(), Some(until));
        assert_eq!(holder.rig.fire(), []);
        holder.rig.now = until;
        op = holder.seek().0;
    }
    assert_eq!(holder.sought(op, Sought::Cold { place: Place(3) }), []);
    let (op, after) = holder.seek();
    assert_eq!(after, 3);
    assert_eq!(holder.sought(op, Sought::Cold { place: Place(4) }), []);
    holder.hinted();
    let (op, after) = holder.seek();
    assert_eq!(after, 3, "the driver has read it");
    assert_eq!(holder.sought(op, Sought::Passed { place: Place(4) }), []);
    holder.send(5);
}

/// A search that nobody answers is given up, as is one whose answer comes too late.
#[test]
fn a_search_has_a_deadline() {
    let mut holder = holder(many(), false);
    let (op, _) = holder.seek();
    assert_eq!(holder.rig.fire(), [], "one at a time");
    assert_eq!(holder.rig.wait(HANDOFF_TIMEOUT), []);
    assert_eq!(holder.sought(op, Sought::Found(holder.hint(1))), []);
    holder.rests(HANDOFF_PAUSE_MIN);
}

/// Also of what it stores itself; a target that did not take it just now has a moment.
#[test]
fn the_machine_knows_for_whom_it_keeps_hints() {
    let mut holder = holder(many(), false);
    let (op, _) = holder.seek();
    assert_eq!(holder.sought(op, Sought::Nothing), []);
    assert_eq!(holder.deliveries(), []);
    let hint = DataFrame { key: holder.key, target: holder.target, ..frame(TWO, 5) };
    assert_eq!(holder.rig.input(Input::Replicate(hint)).len(), 1);
    let op = holder.rests(HANDOFF_PAUSE_MIN);
    assert_eq!(holder.sought(op, Sought::Nothing), []);
    // Standing in for an owner.
    let kind = put(1, 0, 0);
    let request = Request { key: holder.key, forwarded: true, ..holder.rig.new_request(kind) };
    let outputs = holder.rig.input(Input::Request(request));
    let [Output::Apply { op, target, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((target, holder.deliveries()), (holder.target, vec![]));
    assert!(holder.rig.applied(op).len() > 1);
    let op = holder.rests(HANDOFF_PAUSE_MIN);
    assert_eq!(holder.sought(op, Sought::Nothing), []);
    // As an owner, of those that refuse.
    let mut rig = Rig::new(Setup::default());
    let (op, _) = rig.put(1, 0, 0);
    assert_eq!(rig.shard.hint_targets().count(), 0);
    let (op, _) = (op, rig.put(2, 0, 0));
    let targets = |rig: &Rig| rig.shard.hint_targets().map(|(node, _)| node).collect::<Vec<_>>();
    let kept = Output::Keep { place: Place(110), key: KEY, target: TWO };
    assert_eq!(rig.reject(TWO, op, RejectReason::Busy), [kept], "though it has its answer");
    assert_eq!(targets(&rig), [TWO]);
    let (op, _) = rig.put(3, 0, 0);
    assert_eq!(rig.reject(TWO, op, RejectReason::Busy)[0], rig.keep(TWO));
    assert_eq!(targets(&rig), [TWO, THREE], "of the other one nothing is known");
    // What this node gave away is kept for itself.
    assert_eq!(rig.input(Input::Hinted { target: ME }), []);
    assert_eq!(targets(&rig), [TWO, THREE, ME]);
}
