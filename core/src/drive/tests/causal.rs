//! Values, siblings and contexts across nodes and shards.

use super::*;

#[test]
fn what_one_node_wrote_every_node_reads() {
    let shapes = [(1, 1, false), (1, 2, false), (3, 1, false), (3, 2, false), (5, 3, true)];
    for (nodes, shards, mixed) in shapes {
        let mut cluster = Cluster::new(Setup { nodes, shards, mixed, ..THREE });
        let ats = cluster.ats();
        for (number, from) in ats.iter().cycle().take(40).enumerate() {
            let key = number.to_be_bytes();
            let put = cluster.put(*from, &key, set(&key));
            assert_eq!((put.status, put.live, put.found), (Status::Ok, 1, 0));
            assert!(!put.context.is_empty());
            for to in &ats {
                for r in 0..=nodes.min(3) as u8 {
                    let got = cluster.get(*to, &key, r);
                    assert_eq!((got.status, got.live), (Status::Ok, 1));
                    assert_eq!(got.values, [&key]);
                    assert_eq!(got.context, put.context);
                }
            }
            let copies = (1..=nodes).filter(|node| !cluster.copy(*node, &key).is_empty());
            assert_eq!(copies.count() as u32, nodes.min(3), "every owner has it");
        }
        cluster.check_idle();
    }
}

#[test]
fn a_write_that_needs_one_node_still_goes_to_every_owner() {
    for node in 1..=3 {
        for key in 0..10 {
            let mut cluster = Cluster::new(THREE);
            let put = PutRequest { w: 1, ..set(b"v") };
            assert_eq!(cluster.put(at(node, 0), &[key], put).status, Status::Ok);
            for owner in 1..=3 {
                assert_eq!(cluster.copy(owner, &[key]), [b"v"]);
            }
        }
    }
}

#[test]
fn a_key_that_was_never_written_is_found_nowhere() {
    let mut cluster = Cluster::new(THREE);
    for r in [1, 2, 3] {
        let got = cluster.get(at(2, 0), b"k", r);
        assert_eq!((got.status, got.live), (Status::Ok, 0));
        assert!(got.values.is_empty());
        assert!(got.context.is_empty());
    }
    cluster.check_idle();
}

/// Two clients write with the context of one read; a third resolves.
#[test]
fn siblings_of_one_context_stay_until_somebody_has_seen_them() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"cart", set(b"old"));
    let seen = cluster.get(at(2, 0), b"cart", 2).context;
    let ann = cluster.put(at(1, 0), b"cart", replace(&seen, b"ann"));
    assert_eq!((ann.status, ann.live), (Status::Ok, 1));
    assert!(!ann.context.is_empty());
    let bob = cluster.put(at(2, 0), b"cart", replace(&seen, b"bob"));
    assert_eq!((bob.status, bob.live), (Status::Ok, 2));
    assert!(bob.context.is_empty(), "a context would cover what Bob never saw");

    let both = cluster.get(at(3, 0), b"cart", 2);
    assert_eq!(both.sorted(), [b"ann", b"bob"]);
    assert_eq!(both.live, 2);
    let carol = cluster.put(at(3, 0), b"cart", replace(&both.context, b"both"));
    assert_eq!((carol.status, carol.live), (Status::Ok, 1));
    for node in 1..=3 {
        assert_eq!(cluster.copy(node, b"cart"), [b"both"]);
    }
    let again = cluster.put(at(1, 0), b"cart", replace(&ann.context, b"ann again"));
    assert_eq!(again.live, 2, "Ann had not seen what Carol wrote");
    let next = cluster.put(at(2, 0), b"cart", replace(&carol.context, b"next"));
    assert_eq!(next.live, 2);
    assert_eq!(cluster.get(at(1, 0), b"cart", 3).sorted(), [&b"ann again"[..], b"next"]);
    cluster.check_idle();
}

#[test]
fn a_plain_set_replaces_what_its_coordinator_knows() {
    let mut cluster = Cluster::new(THREE);
    let replicates = |flight: &Flight| flight.op() == Op::Replicate;
    // Both coordinators write before they hear of each other.
    cluster.send(at(1, 0), b"k", Command::Put(set(b"one")));
    cluster.run_but(replicates);
    assert_eq!(cluster.reply(), None, "W is 2");
    cluster.send(at(2, 0), b"k", Command::Put(set(b"two")));
    while let Some(flight) = cluster.network.flights.pop_front() {
        cluster.deliver(&flight);
    }
    assert_eq!(cluster.network.replies.len(), 2);
    cluster.network.replies.clear();
    for node in 1..=3 {
        assert_eq!(cluster.copy(node, b"k"), [b"one", b"two"]);
    }
    let third = cluster.put(at(3, 0), b"k", set(b"three"));
    assert_eq!(third.live, 1);
    assert_eq!(cluster.get(at(1, 0), b"k", 2).values, [b"three"]);
    cluster.check_idle();
}

#[test]
fn a_deleted_key_is_gone_with_a_context_and_can_come_back() {
    let mut cluster = Cluster::new(THREE);
    let put = cluster.put(at(1, 0), b"k", set(b"one"));
    let gone = cluster.put(at(2, 0), b"k", delete(replace(&put.context, b"")));
    assert_eq!((gone.status, gone.live), (Status::Ok, 0));
    assert!(!gone.context.is_empty());
    let got = cluster.get(at(3, 0), b"k", 2);
    assert_eq!((got.status, got.live), (Status::Ok, 0));
    assert!(got.values.is_empty());
    assert_eq!(got.context, gone.context, "not found, and seen to be so");
    let back = cluster.put(at(3, 0), b"k", replace(&got.context, b"two"));
    assert_eq!(back.live, 1);
    assert_eq!(cluster.get(at(1, 0), b"k", 2).values, [b"two"]);
    // A delete that saw nothing stays beside the value.
    let blind = cluster.put(at(2, 0), b"k", delete(replace(&[], b"")));
    assert_eq!((blind.status, blind.live), (Status::Ok, 1));
    assert!(blind.context.is_empty(), "a context would cover the value");
    assert_eq!(cluster.get(at(1, 0), b"k", 3).values, [b"two"]);
    cluster.check_idle();
}

#[test]
fn the_winner_comes_first() {
    let mut cluster = Cluster::new(THREE);
    for (time, value) in [(5, b"a"), (9, b"b"), (7, b"c"), (9, b"d")] {
        let put = PutRequest { timestamp: UnixMs(time), ..replace(&[], value) };
        cluster.put(at(1, 0), b"k", put);
    }
    for node in 1..=3 {
        assert_eq!(cluster.get(at(node, 0), b"k", 1).values, [b"d", b"b", b"c", b"a"]);
    }
}

#[test]
fn a_context_is_given_only_where_it_is_wanted() {
    let mut cluster = Cluster::new(THREE);
    let put = PutRequest { want_context: false, ..set(b"v") };
    assert!(cluster.put(at(1, 0), b"k", put).context.is_empty());
    for r in [1, 2] {
        let get = GetRequest { r, want_context: false, ..GET };
        let got = cluster.ask(at(2, 0), b"k", Command::Get(get));
        assert_eq!(got.values, [b"v"]);
        assert!(got.context.is_empty());
    }
}

#[test]
fn a_session_gets_its_answers_from_records() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    for from in cluster.ats() {
        let ticket = u64::from(from.node) << 16 | u64::from(from.shard);
        let origin = Origin::Session(ticket);
        cluster.turn(from, |turn| turn.command(origin, b"k", Command::Put(set(b"v"))));
        cluster.run();
        let get = GetRequest { want_context: false, ..GET };
        cluster.turn(from, |turn| turn.command(origin, b"k", Command::Get(get)));
        cluster.run();
        let answers = core::mem::take(&mut cluster.network.answers);
        let [(first, put), (second, got)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((*first, *second), (ticket, ticket));
        let site = &cluster.sites[&from];
        if site.shard.owns(cluster.key(b"k").partition) {
            assert!(put.starts_with("Stored("), "{put}");
            assert_eq!(got, "Got [[118]] 0 0 0");
        } else {
            assert!(put.contains("status: Ok"), "{put}");
            assert!(got.contains("status: Ok"), "{got}");
        }
    }
    cluster.check_idle();
}
