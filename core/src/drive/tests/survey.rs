//! To what a member agrees, rule by rule, and what an erasure takes.

use super::*;
use crate::limits::FRAME_AGE_MAX;
use crate::records;
use crate::wire::exchange::Entry;
use crate::wire::survey::{Erase, Purpose, Survey, Surveyed};

const A: At = At { node: 1, shard: 0 };
const B: At = At { node: 2, shard: 0 };
/// Longer than the nodes have lived: they would not agree before.
const LONG: Duration = FRAME_AGE_MAX;

/// Three nodes that have had "k" deleted for long, all on disk.
pub(super) fn deleted() -> Cluster {
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    assert_eq!(cluster.put(A, b"k", set(b"value")).status, Status::Ok);
    cluster.run();
    assert_eq!(cluster.put(A, b"k", deleted_by(set(b""))).status, Status::Ok);
    cluster.run();
    cluster.pass(LONG);
    cluster
}

fn deleted_by(put: PutRequest<'_>) -> PutRequest<'_> {
    PutRequest { content: Content::Tombstone, ..put }
}

impl Cluster {
    /// The entry of "k", as node 2 has it.
    fn entry(&self) -> (Partition, Entry) {
        let key = self.key(b"k");
        let stored = self.sites[&B].store.record(&key).unwrap().unwrap();
        (key.partition, Entry::new(key.order, stored.record.version(&key)))
    }

    /// Whether node 1 agrees, asked by node 2.
    fn agrees(&mut self, purpose: Purpose, entry: (Partition, Entry)) -> bool {
        let (partition, entry) = entry;
        let survey = Survey { partition, purpose, order: 0, is_last: false, entries: &[entry] };
        let frame = frame_of(self.hop(Op::Survey, 9), b"", &survey);
        self.offer(A, B.link(), Some(B.node), &frame).unwrap().unwrap();
        let at = self.network.flights.iter().rposition(|one| one.op() == Op::Surveyed).unwrap();
        let answer = self.network.flights.remove(at).unwrap();
        let answer = Frame::new_checked::<Software>(&answer.bytes).unwrap();
        let Surveyed { agreed, frame_age_max_ms, epochs } =
            Surveyed::new_checked(answer.payload()).unwrap();
        assert_eq!(epochs, self.epochs);
        assert_eq!(u128::from(frame_age_max_ms), FRAME_AGE_MAX.as_millis());
        assert!(agreed[0] <= 1 && agreed[1] == 0, "one was asked about");
        agreed[0] == 1
    }
}

#[test]
fn an_owner_agrees_to_reap_exactly_what_has_ended_on_its_disk() {
    let mut cluster = deleted();
    let (partition, entry) = cluster.entry();
    assert!(cluster.agrees(Purpose::Reap, (partition, entry)));
    let other = Entry::new(entry.order(), entry.version() ^ 1);
    assert!(!cluster.agrees(Purpose::Reap, (partition, other)), "another version");
    let other = Entry::new(entry.order() ^ 1, entry.version());
    assert!(!cluster.agrees(Purpose::Reap, (partition, other)), "another key");
    // A value, though all have it.
    assert_eq!(cluster.put(A, b"k", set(b"again")).status, Status::Ok);
    cluster.run();
    cluster.pass(LONG);
    let value = cluster.entry();
    assert!(!cluster.agrees(Purpose::Reap, value));
    assert!(cluster.agrees(Purpose::Fence, value));
}

#[test]
fn nobody_agrees_to_what_is_not_on_disk() {
    let mut cluster = Cluster::new(THREE);
    assert_eq!(cluster.put(A, b"k", deleted_by(set(b""))).status, Status::Ok);
    cluster.run();
    cluster.pass(LONG);
    let entry = cluster.entry();
    for purpose in [Purpose::Reap, Purpose::Fence] {
        cluster.network.notices.clear();
        assert!(!cluster.agrees(purpose, entry));
        assert!(cluster.network.notices.contains(&Notice::Sync), "it soon is");
    }
    cluster.synced();
    assert!(cluster.agrees(Purpose::Reap, entry) && cluster.agrees(Purpose::Fence, entry));
}

#[test]
fn nobody_agrees_to_reap_for_as_long_as_a_frame_of_its_earlier_life_is_taken() {
    let mut cluster = Cluster::new(THREE);
    cluster.synced();
    assert_eq!(cluster.put(A, b"k", deleted_by(set(b""))).status, Status::Ok);
    cluster.run();
    let entry = cluster.entry();
    assert!(!cluster.agrees(Purpose::Reap, entry));
    cluster.pass(LONG - Duration::from_secs(1));
    assert!(!cluster.agrees(Purpose::Reap, entry));
    cluster.pass(Duration::from_secs(1));
    assert!(cluster.agrees(Purpose::Reap, entry));
}

#[test]
fn who_keeps_or_kept_a_hint_lately_does_not_agree_to_reap() {
    let mut cluster = deleted();
    let entry = cluster.entry();
    let hint = cluster.key(b"k").kept_for(NodeId(3));
    let record = crate::causality::Record::empty();
    records::join_record(&mut cluster.sites.get_mut(&A).unwrap().store, &hint, record).unwrap();
    assert!(!cluster.agrees(Purpose::Reap, entry), "it keeps one");
    assert!(cluster.agrees(Purpose::Fence, entry));
    // It goes home, and its frame may be on its way for long.
    cluster.turn(A, |turn| turn.input(Input::Hinted { target: NodeId(3) }));
    cluster.pass(Duration::from_millis(10));
    cluster.run();
    cluster.pass(Duration::from_millis(10));
    assert_eq!(cluster.hints(), [0, 0, 0]);
    assert!(!cluster.agrees(Purpose::Reap, entry), "it sent one just now");
    cluster.pass(LONG);
    assert!(cluster.agrees(Purpose::Reap, entry));
}

/// A hint that is erased in memory alone is back after a crash.
#[test]
fn who_has_not_yet_erased_a_hint_for_good_does_not_agree_to_reap() {
    let mut cluster = Cluster::new(THREE);
    let sync = |cluster: &mut Cluster, at: At| {
        let synced = cluster.sites[&at].store.end();
        cluster.turn(at, |turn| turn.input(Input::Stored { written: AT_ONCE, synced }));
    };
    assert_eq!(cluster.put(A, b"k", deleted_by(set(b""))).status, Status::Ok);
    cluster.run();
    let hint = cluster.key(b"k").kept_for(NodeId(3));
    let record = crate::causality::Record::empty();
    records::join_record(&mut cluster.sites.get_mut(&A).unwrap().store, &hint, record).unwrap();
    cluster.ats().into_iter().for_each(|at| sync(&mut cluster, at));
    cluster.turn(A, |turn| turn.input(Input::Hinted { target: NodeId(3) }));
    cluster.pass(Duration::from_millis(10));
    cluster.run();
    cluster.pass(LONG);
    assert_eq!(cluster.hints(), [0, 0, 0]);
    let entry = cluster.entry();
    cluster.network.notices.clear();
    assert!(!cluster.agrees(Purpose::Reap, entry));
    assert!(cluster.network.notices.contains(&Notice::Sync), "it soon is");
    sync(&mut cluster, A);
    assert!(cluster.agrees(Purpose::Reap, entry));
}

#[test]
fn who_has_a_request_on_the_key_does_not_agree_to_reap() {
    let mut cluster = deleted();
    let entry = cluster.entry();
    cluster.send(A, b"k", Command::Get(GetRequest { r: 3, ..GET }));
    assert!(!cluster.agrees(Purpose::Reap, entry), "what it gathers may be sent to others");
    cluster.run();
    cluster.reply();
    assert!(cluster.agrees(Purpose::Reap, entry));
}

#[test]
fn nobody_agrees_on_another_topology() {
    let mut cluster = deleted();
    let entry = cluster.entry();
    let members: Vec<u32> = vec![1, 2, 3];
    let rings = ring(&members);
    let topology = TopologyId(2);
    cluster.turn(A, |turn| turn.input(Input::Rings { rings: &rings, topology }));
    assert!(!cluster.agrees(Purpose::Reap, entry) && !cluster.agrees(Purpose::Fence, entry));
}

#[test]
fn an_erasure_takes_what_is_the_same_and_nothing_else() {
    let mut cluster = deleted();
    let (partition, entry) = cluster.entry();
    let key = cluster.key(b"k");
    let erase = |cluster: &mut Cluster, entry: Entry| {
        let frame = frame_of(
            cluster.hop(Op::Erase, 0),
            b"",
            &Erase { partition, purpose: Purpose::Reap, order: 0, entries: &[entry] },
        );
        cluster.offer(A, B.link(), Some(B.node), &frame).unwrap().unwrap();
        cluster.sites[&A].store.record(&cluster.key(b"k")).unwrap().is_some()
    };
    let other = Entry::new(entry.order(), entry.version() ^ 1);
    assert!(erase(&mut cluster, other), "another version stays");
    assert!(!erase(&mut cluster, entry));
    cluster.sites[&A].store.check_leaves(|bytes| Key { bytes, ..key });
    // A value stays, whoever says that it may go.
    assert_eq!(cluster.put(A, b"k", set(b"again")).status, Status::Ok);
    cluster.run();
    let (_, value) = cluster.entry();
    assert!(erase(&mut cluster, value));
}
