//! Values that end by themselves: seen by no read after that, and given other ends.

use super::*;

fn until(end: u64, value: &[u8]) -> Content<'_> {
    Content::Value { expires: Some(UnixMs(end)), value }
}

/// EXPIRE, PERSIST: another end for what a read finds, under a condition.
fn end_at(end: Option<u64>, condition: Condition) -> PutRequest<'static> {
    let replaces = Replaces::ReadFirst { r: 0, condition, return_old: false };
    let content = Content::ExpiryOnly { expires: end.map(UnixMs) };
    PutRequest { replaces, content, ..set(b"") }
}

impl Cluster {
    /// Values of `key` at `node`, with their ends and stamps, once it is `now` there.
    fn ends(&mut self, node: u32, key: &[u8], now: u64) -> Vec<(Vec<u8>, Option<u64>, u64)> {
        let wall = std::mem::replace(&mut self.wall, UnixMs(now));
        let get = GetRequest { r: 2, ..GET };
        let got = self.ask(at(node, 0), key, Command::Get(get));
        self.wall = wall;
        assert_eq!((got.status, usize::from(got.live)), (Status::Ok, got.values.len()));
        let ends = got.values.into_iter().zip(got.times);
        ends.map(|(value, (end, stamp))| (value, end, stamp)).collect()
    }
}

#[test]
fn no_read_and_no_write_sees_what_has_expired() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", PutRequest { content: until(2_000, b"brief"), ..set(b"") });
    cluster.put(at(2, 0), b"k", PutRequest { timestamp: UnixMs(7), ..replace(&[], b"long") });
    let versions: Vec<_> = (1..=3).map(|node| cluster.copy(node, b"k")).collect();
    for node in 1..=3 {
        let (brief, long) = (b"brief".to_vec(), b"long".to_vec());
        let both = [(brief, Some(2_000), 1_000), (long.clone(), None, 7)];
        assert_eq!(cluster.ends(node, b"k", 1_999), both);
        assert_eq!(cluster.ends(node, b"k", 2_000), [(long, None, 7)]);
    }
    cluster.wall = UnixMs(2_000);
    let blind = cluster.put(at(3, 0), b"k", replace(&[], b"third"));
    assert_eq!((blind.status, blind.live), (Status::Ok, 2), "two are live after it");
    assert!(blind.context.is_empty(), "the context would cover what has expired, unseen");
    assert_eq!(versions[0].len(), 2, "nothing was rewritten");
    cluster.check_idle();
}

#[test]
fn every_sibling_gets_the_new_end_and_keeps_its_stamp() {
    let mut cluster = Cluster::new(THREE);
    for (stamp, value) in [(9, b"a"), (5, b"b"), (7, b"c")] {
        let put = PutRequest { timestamp: UnixMs(stamp), ..replace(&[], value) };
        cluster.put(at(stamp as u32 % 3 + 1, 0), b"k", put);
    }
    let all = |end: Option<u64>| {
        [(b"a", 9), (b"c", 7), (b"b", 5)].map(|(value, stamp)| (value.to_vec(), end, stamp))
    };
    let got = cluster.put(at(2, 0), b"k", end_at(Some(3_000), Condition::IfPresent));
    assert_eq!((got.status, got.found, got.live), (Status::Ok, 3, 3));
    assert!(got.context.is_empty());
    let got = cluster.put(at(1, 0), b"absent", end_at(Some(3_000), Condition::Always));
    assert_eq!(got.status, Status::ConditionFailed, "there is nothing to expire");
    for node in 1..=3 {
        assert_eq!(cluster.ends(node, b"k", 2_999), all(Some(3_000)));
        assert_eq!(cluster.ends(node, b"k", 3_000), []);
    }
    let got = cluster.put(at(3, 0), b"k", end_at(None, Condition::IfExpires));
    assert_eq!((got.status, got.live), (Status::Ok, 3));
    let got = cluster.put(at(3, 0), b"k", end_at(None, Condition::IfExpires));
    assert_eq!((got.status, got.live), (Status::ConditionFailed, 3));
    for node in 1..=3 {
        assert_eq!(cluster.ends(node, b"k", u64::MAX), all(None));
    }
    // What came meanwhile, and was not read, is no part of it.
    cluster.put(at(2, 0), b"k", replace(&[], b"d"));
    assert_eq!(cluster.get(at(1, 0), b"k", 2).values.len(), 4);
    cluster.check_idle();
}

/// The conditions of EXPIRE against what Redis says of them, for all old and new ends.
#[test]
fn an_expiry_is_changed_as_its_condition_says() {
    let mut cluster = Cluster::new(THREE);
    for old in [None, Some(None), Some(Some(3_000)), Some(Some(900))] {
        for end in [2_000, 3_000, 4_000] {
            for condition in Condition::ALL.iter().copied() {
                cluster.put(at(1, 0), b"k", delete(first(Condition::Always, b"")));
                if let Some(expires) = old {
                    let content = Content::Value { expires: expires.map(UnixMs), value: b"v" };
                    cluster.put(at(1, 0), b"k", PutRequest { content, ..set(b"") });
                }
                let old: Option<Option<u64>> = old.filter(|old| *old != Some(900));
                let is_changed = match (condition, old) {
                    (_, None) | (Condition::IfAbsent, _) => false,
                    (Condition::Always | Condition::IfPresent, _) => true,
                    (Condition::IfExpires, Some(old)) => old.is_some(),
                    (Condition::IfLasting, Some(old)) => old.is_none(),
                    (Condition::IfLater, Some(old)) => old.is_some_and(|old| end > old),
                    (Condition::IfEarlier, Some(old)) => old.is_none_or(|old| end < old),
                };
                let got = cluster.put(at(2, 0), b"k", end_at(Some(end), condition));
                let expected = if is_changed { Status::Ok } else { Status::ConditionFailed };
                assert_eq!(got.status, expected, "{old:?} {end} {condition:?}");
                let left = old.map(|old| if is_changed { Some(end) } else { old });
                let found = cluster.ends(3, b"k", 1_000).first().map(|found| found.1);
                assert_eq!(found, left, "{old:?} {end} {condition:?}");
            }
        }
    }
    cluster.check_idle();
}

#[test]
fn a_new_value_ends_with_the_one_that_get_shows() {
    let mut cluster = Cluster::new(THREE);
    let replaces = Replaces::ReadFirst { r: 0, condition: Condition::Always, return_old: false };
    let content = Content::ValueOnly { value: b"new" };
    let keep = PutRequest { replaces, content, timestamp: UnixMs(20), ..set(b"") };
    let put = |cluster: &mut Cluster, key: &[u8], stamp, content| {
        let put = PutRequest { timestamp: UnixMs(stamp), content, ..replace(&[], b"") };
        cluster.put(at(1, 0), key, put);
    };
    put(&mut cluster, b"k", 5, until(3_000, b"loses"));
    put(&mut cluster, b"k", 9, until(4_000, b"wins"));
    cluster.put(at(2, 0), b"k", keep);
    assert_eq!(cluster.ends(3, b"k", 1_000), [(b"new".to_vec(), Some(4_000), 20)]);
    put(&mut cluster, b"over", 9, until(1_000, b"is over"));
    cluster.put(at(2, 0), b"over", keep);
    assert_eq!(cluster.ends(3, b"over", 1_000), [(b"new".to_vec(), None, 20)]);
    cluster.put(at(2, 0), b"none", keep);
    assert_eq!(cluster.ends(3, b"none", 1_000), [(b"new".to_vec(), None, 20)]);
    cluster.check_idle();
}

/// EXPIRE has read a value that the same node then replaces: it does not come back beside the new
/// one, which gets the expiry in its place.
#[test]
fn what_was_replaced_after_the_read_does_not_come_back() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"old"));
    let home = at(1, 0);
    cluster.send(home, b"k", Command::Put(end_at(Some(5_000), Condition::IfPresent)));
    let reads: Vec<Flight> = cluster.network.flights.drain(..).collect();
    assert!(!reads.is_empty());
    assert_eq!(cluster.put(home, b"k", set(b"new")).status, Status::Ok);
    cluster.network.flights.extend(reads);
    cluster.run();
    cluster.requests -= 1;
    assert_eq!(cluster.reply().unwrap().status, Status::Ok);
    for node in 1..=3 {
        assert_eq!(cluster.ends(node, b"k", 1_000), [(b"new".to_vec(), Some(5_000), 1_000)]);
    }
    cluster.check_idle();
}

#[test]
fn an_end_is_forwarded_as_it_was_given() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    for from in cluster.ats() {
        let key = [from.node as u8, from.shard as u8];
        let put = PutRequest { content: until(2_000, b"v"), ..set(b"") };
        assert_eq!(cluster.put(from, &key, put).status, Status::Ok);
        for node in 1..=5 {
            assert_eq!(cluster.ends(node, &key, 1_000), [(b"v".to_vec(), Some(2_000), 1_000)]);
        }
        let got = cluster.put(from, &key, end_at(Some(3_000), Condition::IfLater));
        assert_eq!((got.status, got.live), (Status::Ok, 1));
        for node in 1..=5 {
            assert_eq!(cluster.ends(node, &key, 1_000), [(b"v".to_vec(), Some(3_000), 1_000)]);
        }
    }
    cluster.check_idle();
}
