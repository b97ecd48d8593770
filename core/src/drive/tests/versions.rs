//! A cluster that is upgraded node by node: what waits until the last one is.

use super::survey::deleted;
use super::*;
use crate::shard::SurveyEvent;
use crate::wire::{VERSION, VERSION_MIN};

/// Node 3 is connected with the others anew, and speaks that version with them.
fn connect(cluster: &mut Cluster, version: u8) {
    for (node, peer) in [(1, 3), (3, 1), (2, 3), (3, 2)] {
        let (at, node) = (At { node, shard: 0 }, NodeId(peer));
        cluster.turn(at, |turn| turn.input(Input::PeerDown(node)));
        cluster.turn(at, |turn| turn.timeouts(64));
        cluster.turn(at, |turn| turn.input(Input::PeerSpeaks { node, version }));
        cluster.turn(at, |turn| turn.input(Input::PeerUp(node)));
    }
}

/// Has all nodes look what may leave, twice as long as frames live; how many surveys were sent.
fn look(cluster: &mut Cluster) -> usize {
    let mut count = 0;
    for at in cluster.ats() {
        cluster.turn(at, |turn| turn.input(Input::Survey(SurveyEvent::Wanted)));
    }
    for _ in 0..100 {
        cluster.pass(Duration::from_secs(1));
        count += cluster.network.flights.iter().filter(|one| one.op() == Op::Survey).count();
        cluster.run();
    }
    count
}

fn has_key(cluster: &Cluster) -> bool {
    let key = cluster.key(b"k");
    cluster.sites.values().any(|site| site.store.record(&key).unwrap().is_some())
}

#[test]
fn reaping_alone_waits_until_the_last_member_is_upgraded() {
    let mut cluster = deleted();
    // The grace, which is an hour.
    cluster.wall = UnixMs(cluster.wall.0 + 3_600_001);
    connect(&mut cluster, VERSION_MIN);
    assert_eq!(look(&mut cluster), 0, "nobody is asked who would not understand");
    assert!(has_key(&cluster));
    let put_off = cluster.sites.values().map(|site| *site.shard.survey_pass());
    let put_off: Vec<_> = put_off.filter(|pass| pass.put_off > 0).collect();
    assert_eq!((put_off.len(), put_off[0].put_off, put_off[0].away), (1, 1, 0));
    let too_old = put_off[0].too_old;
    // With one another nodes 1 and 2 are up to date; node 3 takes both for old, as it is.
    assert!(too_old.is_some());
    let counts = cluster.sites.values().map(|site| site.shard.older_count());
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 2]);
    // All else goes on.
    let all = At { node: 1, shard: 0 };
    assert_eq!(cluster.put(all, b"other", PutRequest { w: 3, ..set(b"1") }).status, Status::Ok);
    cluster.run();

    connect(&mut cluster, VERSION);
    assert!(look(&mut cluster) > 0);
    assert!(!has_key(&cluster), "it has left");
    let pass = cluster.sites.values().map(|site| site.shard.survey_pass().too_old);
    assert_eq!(pass.flatten().count(), 0);
}

#[test]
fn who_is_out_of_reach_is_sent_no_op_that_it_may_not_know() {
    let mut cluster = Cluster::new(THREE);
    let at = At { node: 1, shard: 0 };
    let (me, peer) = (NodeId(1), NodeId(3));
    let may = |cluster: &Cluster| {
        let shard = &cluster.sites[&at].shard;
        [me, peer].map(|node| (shard.may_send(node, Op::Read), shard.may_send(node, Op::Survey)))
    };
    assert_eq!(may(&cluster), [(true, true), (true, true)]);
    connect(&mut cluster, VERSION_MIN);
    assert_eq!(may(&cluster), [(true, true), (true, false)]);
    cluster.turn(at, |turn| turn.input(Input::PeerDown(peer)));
    assert_eq!(may(&cluster), [(true, true), (false, false)]);
    // It comes back as another build, of which nothing else was told.
    cluster.turn(at, |turn| turn.timeouts(64));
    cluster.turn(at, |turn| turn.input(Input::PeerUp(peer)));
    assert_eq!(may(&cluster), [(true, true), (true, true)]);
    assert_eq!(cluster.sites[&at].shard.wire_version(peer), VERSION);
}
