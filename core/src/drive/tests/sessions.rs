//! Context tokens, and reads that must cover one.

use super::*;
use crate::node::Audience;

fn get_with(context: &[u8], r: u8) -> Command<'_> {
    Command::Get(GetRequest { r, context, ..GET })
}

/// Tokens that this cluster did not give out for the key "k".
fn bad_tokens(cluster: &mut Cluster) -> Vec<Vec<u8>> {
    let good = cluster.put(at(1, 0), b"k", set(b"v")).context;
    let other_key = cluster.put(at(1, 0), b"other", set(b"v")).context;
    let mut foreign = Cluster::new(THREE);
    foreign.settings.context_key = [8; 16];
    let other_cluster = foreign.put(at(1, 0), b"k", set(b"v")).context;
    assert_eq!(good.len(), other_cluster.len());
    let mut flipped = good.clone();
    flipped[5] ^= 1;
    let mut bad = vec![other_key, other_cluster, flipped, vec![0], b"-".to_vec()];
    bad.extend((1..good.len()).map(|length| good[..length].to_vec()));
    bad.push([&good[..], &[0]].concat());
    bad
}

#[test]
fn a_bad_token_is_refused_and_changes_nothing() {
    for shards in [1, 2] {
        let mut cluster = Cluster::new(Setup { nodes: 5, shards, ..THREE });
        let tokens = bad_tokens(&mut cluster);
        let before: Vec<Store> = cluster.sites.values().map(|site| site.store.clone()).collect();
        for to in cluster.ats() {
            for token in &tokens {
                for command in [
                    get_with(token, 0),
                    get_with(token, 1),
                    Command::Put(replace(token, b"w")),
                    Command::Put(delete(replace(token, b""))),
                ] {
                    let got = cluster.ask(to, b"k", command);
                    assert_eq!(got.status, Status::BadContext);
                    assert!(got.values.is_empty());
                }
            }
        }
        let after = cluster.sites.values().map(|site| &site.store);
        assert!(before.iter().eq(after));
        assert_eq!(cluster.get(at(1, 0), b"k", 2).values, [b"v"], "and the next one is served");
        cluster.check_idle();
    }
}

#[test]
fn an_empty_token_asks_for_nothing_and_supersedes_nothing() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"one"));
    let got = cluster.ask(at(2, 0), b"k", get_with(&[], 2));
    assert_eq!(got.values, [b"one"]);
    assert_eq!(cluster.put(at(1, 0), b"k", replace(&[], b"two")).live, 2);
}

/// A write that only nodes 1 and 2 have, with its context.
fn hidden_from_3(cluster: &mut Cluster) -> Vec<u8> {
    cluster.put(at(1, 0), b"k", set(b"old"));
    cluster.network.cut.insert((1, 3));
    let put = cluster.put(at(1, 0), b"k", set(b"new"));
    assert_eq!(put.status, Status::Ok);
    cluster.network.cut.clear();
    assert_eq!(cluster.copy(3, b"k"), [b"old"]);
    put.context
}

#[test]
fn a_session_reads_what_it_has_seen_wherever_it_reads() {
    let mut cluster = Cluster::new(THREE);
    let seen = hidden_from_3(&mut cluster);
    assert_eq!(cluster.get(at(3, 0), b"k", 1).values, [b"old"], "without a context");
    for node in 1..=3 {
        for r in [0, 1, 2, 3] {
            let got = cluster.ask(at(node, 0), b"k", get_with(&seen, r));
            assert_eq!((got.status, got.values), (Status::Ok, vec![b"new".to_vec()]));
        }
    }
    cluster.check_idle();
}

#[test]
fn a_session_read_that_nobody_can_cover_says_so() {
    let mut cluster = Cluster::new(THREE);
    let seen = hidden_from_3(&mut cluster);
    // The others answer nothing: their frames are lost.
    cluster.network.cut.extend([(3, 1), (3, 2)]);
    let got = cluster.ask(at(3, 0), b"k", get_with(&seen, 1));
    assert_eq!(got.status, Status::NotCovered, "at once: nobody is left to ask");
    let got = cluster.ask(at(3, 0), b"k", get_with(&seen, 2));
    assert_eq!((got.status, got.needed, got.got), (Status::NoQuorum, 2, 1));
    cluster.network.cut.clear();
    // They are silent: at the deadline.
    cluster.send(at(3, 0), b"k", get_with(&seen, 1));
    cluster.run_but(|_| true);
    assert_eq!(cluster.reply(), None);
    cluster.pass(TIMEOUT);
    assert_eq!(cluster.reply().unwrap().status, Status::NotCovered);
    cluster.run();
    assert_eq!(cluster.reply(), None, "late answers find nothing");
    cluster.home();
    cluster.check_idle();
}

#[test]
fn a_context_of_a_key_that_is_gone_everywhere_is_not_covered() {
    let mut cluster = Cluster::new(THREE);
    let seen = cluster.put(at(1, 0), b"k", set(b"v")).context;
    for site in cluster.sites.values_mut() {
        site.store.drop_record(&Key::new(b"k", CLUSTER.hash_seed(), BITS));
    }
    for r in [1, 2, 3] {
        let got = cluster.ask(at(1, 0), b"k", get_with(&seen, r));
        assert_eq!(got.status, Status::NotCovered);
    }
    cluster.check_idle();
}

#[test]
fn a_forwarded_read_carries_its_context() {
    let mut cluster = Cluster::new(Setup { nodes: 5, shards: 2, ..THREE });
    let seen = cluster.put(at(1, 1), b"k", set(b"v")).context;
    for to in cluster.ats() {
        let got = cluster.ask(to, b"k", get_with(&seen, 1));
        assert_eq!((got.status, got.values), (Status::Ok, vec![b"v".to_vec()]));
    }
    cluster.check_idle();
}

/// What may be an older copy shows nothing: values may be in it whose tombstones are gone.
#[test]
fn a_copied_disk_is_shown_to_nobody() {
    let mut cluster = Cluster::new(Setup { shards: 2, ..THREE });
    cluster.put(at(1, 0), b"k", set(b"v"));
    let commands =
        [get_with(&[], 1), Command::Put(PutRequest { w: 1, ..set(b"w") }), get_with(&[], 0)];
    for shard in 0..2 {
        cluster.turn(at(1, shard), |turn| turn.input(Input::Audience(Audience::Nobody)));
        let partition = cluster.key(b"k").partition;
        assert!(!cluster.sites[&at(1, shard)].shard.reads_alone(partition, 1, 0));
        for (ticket, command) in commands.into_iter().enumerate() {
            let got = cluster.ask(at(1, shard), b"k", command);
            assert_eq!((got.status, got.values), (Status::Unavailable, vec![]));
            let origin = Origin::Session(ticket as u64);
            cluster.turn(at(1, shard), |turn| turn.command(origin, b"k", command));
            let (answered, text) = cluster.network.answers.pop().unwrap();
            assert_eq!(answered, ticket as u64);
            assert!(text.contains("Unavailable") && text.contains(" [] "), "{text}");
        }
    }
    assert_eq!(cluster.copy(1, b"k"), [b"v"], "nothing was written");
    assert_eq!(cluster.get(at(2, 0), b"k", 2).values, [b"v"], "the others do without it");

    // Its shards are told one after the other; whom one of them serves, all do.
    cluster.turn(at(1, 0), |turn| turn.input(Input::Audience(Audience::All)));
    for key in [b"a", b"b", b"c", b"d", b"e"] {
        let got = cluster.ask(at(1, 0), key, Command::Put(PutRequest { w: 1, ..set(b"v") }));
        assert_eq!(got.status, Status::Ok);
    }
    cluster.turn(at(1, 1), |turn| turn.input(Input::Audience(Audience::All)));
    assert_eq!(cluster.get(at(1, 1), b"k", 1).values, [b"v"]);
    cluster.check_idle();
}

/// One that starts alone serves its own clients. What others hand on to it waits until it is
/// vouched for: they are to ask somebody else.
#[test]
fn a_disk_in_its_place_is_shown_to_clients() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"v"));
    cluster.turn(at(1, 0), |turn| turn.input(Input::Audience(Audience::Clients)));
    assert_eq!(cluster.get(at(1, 0), b"k", 1).values, [b"v"]);
    let get = GetRequest { r: 1, forwarded: true, ..GET };
    let frame = frame_of(cluster.hop(Op::Get, 7), b"k", &Command::Get(get));
    cluster.offer(at(1, 0), at(2, 0).link(), Some(2), &frame).unwrap().unwrap();
    let reply = cluster.network.flights.pop_front().unwrap();
    let reply = Frame::new_checked::<Software>(&reply.bytes).unwrap();
    assert_eq!(Reply::new_checked(reply.payload()).unwrap().head.status, Status::Busy);
    cluster.check_idle();
}
