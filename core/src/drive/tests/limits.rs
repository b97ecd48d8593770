//! Keys, values, records and replies at their limits; stores that refuse.

use super::*;
use crate::causality::{Actor, Dot, Sibling, VersionVector, encode_record, record_bytes};
use crate::limits::{BODY_BYTES_MAX, KEY_BYTES_MAX, SIBLING_COUNT_MAX};
use crate::records::{Full, Unread};
use crate::wire::CONTEXT_BYTES_MAX;
use crate::wire::body::{body_bytes, write_body};

#[test]
fn a_key_or_value_of_the_longest_length_is_served_and_one_more_is_too_large() {
    let mut cluster = Cluster::new(THREE);
    let (key, value) = (vec![b'k'; 101], vec![b'v'; 1001]);
    let put = cluster.put(at(1, 0), &key[1..], set(&value[1..]));
    assert_eq!(put.status, Status::Ok);
    assert_eq!(cluster.get(at(2, 0), &key[1..], 2).values, [&value[1..]]);
    for replaces in [Replaces::Local, first(Condition::Always, b"").replaces] {
        let put = PutRequest { replaces, ..set(&value) };
        assert_eq!(cluster.put(at(1, 0), b"k", put).status, Status::TooLarge);
        let put = PutRequest { replaces, ..set(b"v") };
        assert_eq!(cluster.put(at(1, 0), &key, put).status, Status::TooLarge);
    }
    assert_eq!(cluster.get(at(1, 0), &key, 1).status, Status::TooLarge);
    assert!(cluster.copy(1, b"k").is_empty());
    // A session is no frame: nobody has looked at its lengths before.
    let (key, value) = (vec![b'k'; 2 * KEY_BYTES_MAX], vec![0; 5 << 20]);
    let context = vec![1; 2 * CONTEXT_BYTES_MAX];
    let commands = [
        (&key[..], Command::Get(GET), "TooLarge"),
        (&key, Command::Put(set(b"v")), "TooLarge"),
        (b"k", Command::Put(set(&value)), "TooLarge"),
        (b"k", Command::Get(GetRequest { context: &context, ..GET }), "BadContext"),
        (b"k", Command::Put(replace(&context, b"v")), "BadContext"),
    ];
    for (ticket, (key, command, failure)) in commands.into_iter().enumerate() {
        let origin = Origin::Session(ticket as u64);
        cluster.turn(at(1, 0), |turn| turn.command(origin, key, command));
        let (of, text) = cluster.network.answers.pop().unwrap();
        assert_eq!(of, ticket as u64);
        assert!(text.contains(failure), "{text}");
    }
    cluster.check_idle();
}

#[test]
#[should_panic(expected = "key.is_empty()")]
fn a_session_refuses_empty_keys_itself() {
    let mut cluster = Cluster::new(THREE);
    cluster.turn(at(1, 0), |turn| turn.command(Origin::Session(1), b"", Command::Get(GET)));
}

#[test]
fn one_sibling_more_than_100_is_refused_until_somebody_resolves() {
    let mut cluster = Cluster::new(THREE);
    for count in 1..=SIBLING_COUNT_MAX {
        let put = cluster.put(at(1, 0), b"k", replace(&[], b"v"));
        assert_eq!((put.status, usize::from(put.live)), (Status::Ok, count));
    }
    assert_eq!(cluster.put(at(1, 0), b"k", replace(&[], b"v")).status, Status::Siblings);
    let all = cluster.get(at(2, 0), b"k", 2);
    assert_eq!(all.values.len(), SIBLING_COUNT_MAX);
    let put = cluster.put(at(3, 0), b"k", replace(&all.context, b"one"));
    assert_eq!((put.status, put.live), (Status::Ok, 1));
    cluster.check_idle();
}

/// A record of two siblings whose body is `spare` bytes below the largest.
fn largest_body(key: &[u8], spare: usize) -> Vec<u8> {
    let dots = [3, 4].map(|node| Dot::new(Actor::new(NodeId(node), Boot(1), 1), 1));
    let entries = dots.map(Dot::to_bytes);
    let version_vector = VersionVector::new_checked(&entries).unwrap();
    let value = vec![7; BODY_BYTES_MAX / 2 - 2100];
    let record = |second: &[u8]| {
        let values = [&value[..], second];
        let sibling = |index: usize| Sibling {
            dot: dots[index],
            flags: 0,
            timestamp: UnixMs(1),
            expires: None,
            value: values[index],
        };
        let siblings = [sibling(0), sibling(1)];
        let mut record = vec![0; record_bytes(version_vector, &siblings)];
        encode_record(version_vector, &siblings, &mut record);
        record
    };
    let rest = BODY_BYTES_MAX - spare - body_bytes(key.len(), record(&value).len());
    let second = vec![8; value.len() + rest];
    let record = record(&second);
    let mut body = vec![0; body_bytes(key.len(), record.len())];
    write_body::<Software>(key, &mut body, |out| out.copy_from_slice(&record));
    assert_eq!(body.len(), BODY_BYTES_MAX - spare);
    body
}

/// Joined records may be larger than what a client may write; a reply adds a context to them.
#[test]
fn a_reply_that_fits_no_frame_says_siblings() {
    for (spare, fits) in [(200, true), (0, false)] {
        let mut cluster = Cluster::new(Setup { nodes: 1, ..THREE });
        let (key, body) = (cluster.key(b"k"), largest_body(b"k", spare));
        let store = &mut cluster.sites.get_mut(&at(1, 0)).unwrap().store;
        let body = crate::wire::body::Body::without_checksum(&body).unwrap();
        store.append_received(&key, body).unwrap();
        let got = cluster.get(at(1, 0), b"k", 1);
        assert_eq!(got.status, if fits { Status::Ok } else { Status::Siblings });
        assert_eq!(got.values.len(), if fits { 2 } else { 0 });
    }
}

#[test]
fn what_the_store_refuses_the_client_is_told() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"v"));
    for (full, status) in [
        (Full::Busy, Status::Busy),
        (Full::NoSpace, Status::NoSpace),
        (Full::ReadOnly, Status::ReadOnly),
    ] {
        cluster.sites.get_mut(&at(1, 0)).unwrap().store.full = Some(full);
        assert_eq!(cluster.put(at(1, 0), b"k", set(b"w")).status, status);
        assert_eq!(cluster.put(at(1, 0), b"k", first(Condition::Always, b"w")).status, status);
        // As a replica it refuses too: two of three are enough, three are not.
        assert_eq!(cluster.put(at(2, 0), b"k", set(b"v")).status, Status::Ok);
        let all = PutRequest { w: 3, ..set(b"v") };
        let put = cluster.put(at(2, 0), b"k", all);
        assert_eq!((put.status, put.needed, put.got), (Status::NoQuorum, 3, 2));
    }
    cluster.sites.get_mut(&at(1, 0)).unwrap().store.full = None;
    assert_eq!(cluster.get(at(3, 0), b"k", 3).values, [b"v"]);
    cluster.check_idle();
}

fn damage(cluster: &mut Cluster, node: u32, unread: Option<Unread>) {
    for (_, site) in cluster.sites.iter_mut().filter(|(at, _)| at.node == node) {
        match unread {
            Some(unread) => drop(site.store.unread.insert(b"k".to_vec(), unread)),
            None => site.store.unread.clear(),
        }
    }
}

#[test]
fn a_damaged_record_is_read_and_written_elsewhere() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"v"));
    damage(&mut cluster, 1, Some(Unread::Damaged));
    for r in [0, 1, 2] {
        assert_eq!(cluster.get(at(1, 0), b"k", r).values, [b"v"], "never \"not found\"");
    }
    let got = cluster.get(at(1, 0), b"k", 3);
    assert_eq!((got.status, got.needed), (Status::NoQuorum, 3));
    let got = cluster.get(at(2, 0), b"k", 3);
    assert_eq!((got.status, got.needed), (Status::NoQuorum, 3), "it says so at once");
    let put = cluster.put(at(1, 0), b"k", set(b"w"));
    assert_eq!((put.status, put.live), (Status::Ok, 1), "another owner wrote it");
    let conditional = cluster.put(at(1, 0), b"k", first(Condition::IfPresent, b"x"));
    assert_eq!((conditional.status, conditional.found), (Status::Ok, 1));
    assert_eq!(cluster.copy(2, b"k"), [b"x"]);
    damage(&mut cluster, 1, None);
    assert_eq!(cluster.copy(1, b"k"), [b"v"], "nothing was written on it");
    cluster.check_idle();
}

#[test]
fn a_record_damaged_at_every_owner_is_an_error() {
    let mut cluster = Cluster::new(THREE);
    cluster.put(at(1, 0), b"k", set(b"v"));
    for node in 1..=3 {
        damage(&mut cluster, node, Some(Unread::Damaged));
    }
    let got = cluster.get(at(1, 0), b"k", 1);
    assert_eq!((got.status, got.needed, got.got), (Status::NoQuorum, 1, 0));
    assert_eq!(cluster.put(at(1, 0), b"k", set(b"w")).status, Status::Damaged);
    let first = cluster.put(at(1, 0), b"k", first(Condition::Always, b"w"));
    assert_eq!((first.status, first.needed, first.got), (Status::Unavailable, 2, 0));
    cluster.check_idle();
}
