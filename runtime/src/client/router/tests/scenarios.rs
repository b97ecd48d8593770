//! One story each.

use super::*;

#[test]
fn a_request_goes_to_the_shard_of_its_first_coordinator() {
    let mut world = World::warm(4);
    for number in 0..200 {
        let key = key(number);
        let ticket = if number % 2 == 0 { world.get(&key) } else { world.put(&key) };
        assert!(world.is_well(ticket));
    }
    assert_eq!(world.asked.len(), 200, "each is asked once");
    for asked in &world.asked {
        let partition = KeyHash::new(cluster().hash_seed, &asked.key).partition(BITS);
        assert_eq!(asked.node, world.row(partition)[0]);
        assert_eq!(asked.shard, partition.0 * 2 / (1 << BITS));
    }
    // Four nodes of two shards, and the first connection is one of these.
    assert_eq!(world.dials.len(), 8);
}

#[test]
fn what_is_refused_goes_to_the_next_coordinator() {
    for status in [Status::Busy, Status::Unavailable, Status::NoSpace, Status::ReadOnly] {
        let mut world = World::warm(3);
        let first = world.owners(b"a")[0];
        world.mood(first, Mood::Says(status));
        let (read, write) = (world.get(b"a"), world.put(b"a"));
        assert!(world.is_well(read) && world.is_well(write), "{status:?}");
        let owners = world.owners(b"a");
        assert_eq!(world.asked_for(b"a"), [owners[0], owners[1], owners[0], owners[1]]);
    }
}

#[test]
fn what_everybody_refuses_is_asked_again_until_its_time_is_over() {
    let mut world = World::warm(3);
    (1..=3).for_each(|node| world.mood(node, Mood::Says(Status::Busy)));
    let (first, second) = (world.put(b"a"), world.get(b"b"));
    world.pass(TICK);
    assert_eq!(world.asked_for(b"a").len(), 6, "twice of all three");
    (1..=3).for_each(|node| world.mood(node, Mood::Serves));
    world.pass(TICK);
    assert!(world.is_well(first) && world.is_well(second));
    (1..=3).for_each(|node| world.mood(node, Mood::Says(Status::Busy)));
    let hopeless = world.put(b"c");
    world.pass(TIMEOUT - TICK);
    assert_eq!(world.outcome(hopeless), None);
    world.pass(TICK);
    assert_eq!(world.outcome(hopeless), Some(&Err("BUSY".into())));
}

#[test]
fn a_write_that_may_have_happened_is_not_done_twice() {
    let mut world = World::warm(3);
    let first = world.owners(b"a")[0];
    world.mood(first, Mood::Says(Status::NoQuorum));
    let (read, write) = (world.get(b"a"), world.put(b"a"));
    assert!(world.is_well(read), "it was asked elsewhere");
    assert!(world.outcome(write).unwrap().as_ref().unwrap_err().starts_with("NOQUORUM"));
    assert_eq!(world.asked_for(b"a"), [first, world.owners(b"a")[1], first]);
}

#[test]
fn what_will_not_be_better_elsewhere_fails_at_once() {
    for status in [Status::BadContext, Status::TooLarge, Status::Siblings, Status::ConditionFailed]
    {
        let mut world = World::warm(3);
        world.mood(world.owners(b"a")[0], Mood::Says(status));
        let ticket = world.put(b"a");
        assert!(world.outcome(ticket).unwrap().is_err(), "{status:?}");
        assert_eq!(world.asked_for(b"a").len(), 1);
    }
}

#[test]
fn a_read_of_a_silent_node_is_asked_of_another_one_too() {
    let mut world = World::warm(3);
    let owners = world.owners(b"a");
    world.mood(owners[0], Mood::Silent);
    let (read, write) = (world.get(b"a"), world.put(b"a"));
    world.pass(TIMEOUT / PATIENCES - TICK);
    assert_eq!(world.asked_for(b"a"), [owners[0], owners[0]]);
    world.pass(TICK);
    assert!(world.is_well(read));
    assert_eq!(world.asked_for(b"a"), [owners[0], owners[0], owners[1]]);
    // By now it is known: what comes goes elsewhere at once.
    let next = world.put(b"a");
    assert!(world.is_well(next));
    assert_eq!(world.asked_for(b"a").last(), Some(&owners[1]));
    world.pass(TIMEOUT - TIMEOUT / PATIENCES);
    assert_eq!(world.outcome(write), Some(&Err("no answer in time".into())));
    // The connection has been silent for as long as anything may take.
    world.pass(TICK);
    world.speak();
    assert_eq!(world.done.len(), 3, "late answers are nobody's");
}

#[test]
fn a_silent_node_that_speaks_again_is_asked_again() {
    let mut world = World::warm(3);
    let owners = world.owners(b"a");
    world.mood(owners[0], Mood::Silent);
    let read = world.get(b"a");
    world.pass(TIMEOUT / PATIENCES);
    assert!(world.is_well(read));
    world.mood(owners[0], Mood::Serves);
    world.speak();
    world.asked.clear();
    world.get(b"a");
    assert_eq!(world.asked_for(b"a"), [owners[0]]);
}

#[test]
fn of_a_lost_connection_reads_go_elsewhere_and_writes_are_unknown() {
    let mut world = World::warm(3);
    let owners = world.owners(b"a");
    world.mood(owners[0], Mood::Silent);
    let (read, write) = (world.get(b"a"), world.put(b"a"));
    world.mood(owners[0], Mood::Down);
    world.cut(owners[0]);
    assert!(world.is_well(read));
    let outcome = world.outcome(write).unwrap().as_ref().unwrap_err();
    assert!(outcome.starts_with("the connection broke"), "{outcome}");
    // It rests, and is not asked meanwhile.
    world.asked.clear();
    let next = world.put(b"a");
    assert!(world.is_well(next));
    assert_eq!(world.asked_for(b"a"), [owners[1]]);
}

#[test]
fn what_was_not_sent_goes_elsewhere() {
    let mut world = World::warm(3);
    let owners = world.owners(b"a");
    // Nobody takes the output before the connection is gone.
    let write = world.router.put(b"a", &put(), world.now).unwrap();
    world.mood(owners[0], Mood::Down);
    world.cut(owners[0]);
    assert!(world.is_well(write));
    assert_eq!(world.asked_for(b"a"), [owners[1]]);
}

#[test]
fn what_waits_for_a_connection_that_does_not_come_goes_elsewhere() {
    for mood in [Mood::Down, Mood::Dumb] {
        let mut world = World::new(3);
        // Its first coordinator is not the seed.
        let key = (0..).map(key).find(|key| world.owners(key) == [2, 3, 1]).unwrap();
        (2..=3).for_each(|node| world.mood(node, mood));
        world.mood(1, Mood::Serves);
        let write = world.put(&key);
        world.pass(TIMEOUT / PATIENCES + TICK);
        assert!(world.is_well(write), "{mood:?}");
        assert_eq!(world.asked_for(&key), [1]);
    }
}

#[test]
fn an_answer_by_another_topology_has_the_way_learned_anew() {
    let mut world = World::new(4);
    world.members = vec![1, 2, 3];
    world.warm_up();
    (world.topology, world.members) = (2, vec![4, 1, 2]);
    world.pass(REFRESH_PAUSE);
    world.get(b"any");
    assert_eq!(world.routes_asked(), 1);
    world.warm_up();
    for number in 0..50 {
        world.get(&key(number));
        assert_eq!(world.asked_for(&key(number)), [world.owners(&key(number))[0]]);
    }
    // Nobody asks node 3 any more, and what has nothing to do is closed.
    assert!(world.links.values().any(|(at, _)| *at == address(3)));
    world.pass(TICK);
    assert!(world.links.values().all(|(at, _)| *at != address(3)));
}

#[test]
fn the_way_is_checked_now_and_then_while_there_is_something_to_do() {
    let mut world = World::new(3);
    for _ in 0..100 {
        world.get(b"a");
        world.pass(REFRESH_INTERVAL / 20);
    }
    assert_eq!(world.routes_asked(), 5);
    // A topology that goes to and fro is asked for no more often than a pause allows.
    for round in 0..100 {
        world.topology = 10 + round;
        world.get(b"a");
        world.now += REFRESH_PAUSE / 10;
    }
    assert!((14..=16).contains(&world.routes_asked()), "{}", world.routes_asked());
}

#[test]
fn any_seed_will_do_and_a_node_may_move() {
    let mut world = World::with(3, OPTIONS, &[address(9), address(2)]);
    world.router.begin(world.now);
    world.run();
    assert!(world.router.is_settled());
    assert_eq!(world.dials, [address(9), address(2)]);
    // Node 1 moves; the others tell where it is.
    let mut moved = world.nodes.remove(&address(1)).unwrap();
    moved.mood = Mood::Serves;
    let key = (0..).map(key).find(|key| world.owners(key)[0] == 1).unwrap();
    world.get(&key);
    world.nodes.insert(address(8), moved);
    world.cut(1);
    world.topology = 2;
    for _ in 0..20 {
        world.get(&key);
        world.pass(TICK);
    }
    world.asked.clear();
    let read = world.get(&key);
    assert!(world.is_well(read));
    assert_eq!(world.asked_for(&key), [1]);
}

#[test]
fn a_seed_that_hangs_keeps_nobody_from_the_others() {
    for mood in [Mood::Dumb, Mood::Silent] {
        let mut world = World::with(3, OPTIONS, &[address(1), address(2)]);
        world.mood(1, mood);
        world.router.begin(world.now);
        world.run();
        world.pass(TIMEOUT / PATIENCES + 2 * TICK);
        assert!(world.router.is_settled(), "{mood:?}");
    }
    // Without a beginning, requests look for the way.
    let mut world = World::with(3, OPTIONS, &[address(1), address(2)]);
    world.mood(1, Mood::Dumb);
    let write = world.put(b"a");
    world.pass(TIMEOUT / 2 + 2 * TICK);
    assert!(world.is_well(write));
}

#[test]
fn what_breaks_a_connection_leaves_its_writes_unknown() {
    let mut world = World::warm(3);
    let first = world.owners(b"a")[0];
    world.mood(first, Mood::Silent);
    let write = world.put(b"a");
    let (id, _) = world.owed[0].clone();
    world.tell(id, b"-ERR unknown command\r\n");
    let outcome = world.outcome(write).unwrap().as_ref().unwrap_err();
    assert!(outcome.starts_with("the connection broke: not a native port"), "{outcome}");
}

#[test]
fn a_long_answer_that_arrives_is_no_silence() {
    let mut world = World::warm(1);
    world.mood(1, Mood::Silent);
    let read = world.get(b"a");
    let (id, bytes) = world.owed.remove(0);
    world.mood(1, Mood::Serves);
    let (last, front) = bytes.split_last().unwrap();
    for piece in front.chunks(front.len() / 10) {
        world.tell(id, piece);
        world.pass(TICK);
    }
    // It is the only link, and would have been called silent by now.
    assert_eq!(world.asked_for(b"a").len(), 1);
    world.tell(id, &[*last]);
    assert!(world.is_well(read));
}

#[test]
fn nodes_that_cannot_tell_the_way_are_asked_all_the_same() {
    let mut world = World::new(1);
    world.nodes.get_mut(&address(1)).unwrap().version = VERSION - 1;
    world.router.begin(world.now);
    world.run();
    assert!(world.router.is_settled());
    let ticket = world.put(b"a");
    assert!(world.is_well(ticket));
    assert_eq!(world.routes_asked(), 0);
    // And one whose cluster has no members yet.
    let mut world = World::new(1);
    world.members.clear();
    let ticket = world.get(b"a");
    assert!(world.is_well(ticket));
}

#[test]
fn nobody_there_is_an_error_in_time() {
    let mut world = World::with(0, OPTIONS, &[address(1), address(2)]);
    let ticket = world.get(b"a");
    world.pass(TIMEOUT);
    let outcome = world.outcome(ticket).unwrap().as_ref().unwrap_err();
    assert!(outcome.starts_with("cannot connect"), "{outcome}");
    assert!(world.dials.len() > 2, "they were dialed again");
    assert!(world.dials.len() < 20, "but not without pause");
    world.pass(TICK);
    assert_eq!(world.router.next_time(), None, "nothing waits");
}

#[test]
fn as_many_requests_as_may_be_and_no_more() {
    let options = Options { requests_max: 3, ..OPTIONS };
    let mut world = World::with(1, options, &[address(1)]);
    world.mood(1, Mood::Silent);
    for number in 0..3 {
        world.get(&key(number));
    }
    assert!(matches!(world.router.get(b"a", &GET, world.now), Err(ClientError::Full)));
    world.mood(1, Mood::Serves);
    world.speak();
    world.get(b"a");
}

#[test]
fn as_many_bytes_of_requests_as_may_be_and_no_more() {
    let options = Options { requests_max: 1000, ..OPTIONS };
    let mut world = World::with(1, options, &[address(1)]);
    world.mood(1, Mood::Silent);
    let value = vec![0; VALUE_BYTES_MAX];
    let content = Content::Value { expires: None, value: &value };
    let large = super::super::super::resolve::put_request(&[], content);
    let mut count = 0;
    while world.router.put(b"a", &large, world.now).is_ok() {
        count += 1;
        assert!(count * VALUE_BYTES_MAX <= REQUEST_BYTES_MAX);
    }
    assert!((count + 1) * (VALUE_BYTES_MAX + 100) > REQUEST_BYTES_MAX);
    assert_eq!(world.router.in_flight(), count);
}

#[test]
fn what_fits_no_frame_is_refused_and_harms_nothing() {
    let mut world = World::new(1);
    let refused = |outcome: Result<Ticket, ClientError>| match outcome {
        Err(ClientError::Failed { status, .. }) => Some(status),
        _ => None,
    };
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    assert_eq!(refused(world.router.get(&long, &GET, world.now)), Some(Status::TooLarge));
    assert_eq!(refused(world.router.get(b"", &GET, world.now)), Some(Status::Malformed));
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let content = Content::Value { expires: None, value: &value };
    let large = super::super::super::resolve::put_request(&[], content);
    assert_eq!(refused(world.router.put(b"a", &large, world.now)), Some(Status::TooLarge));
    let context = vec![0; CONTEXT_BYTES_MAX + 1];
    let given = super::super::super::resolve::put_request(&context, Content::Tombstone);
    assert_eq!(refused(world.router.put(b"a", &given, world.now)), Some(Status::BadContext));
    assert!(world.router.get(&long[1..], &GET, world.now).is_ok());
}

#[test]
fn who_gives_up_is_told_nothing() {
    let mut world = World::warm(1);
    world.mood(1, Mood::Silent);
    let (given_up, kept) = (world.get(b"a"), world.get(b"b"));
    world.router.forget(given_up);
    world.speak();
    assert!(world.is_well(kept));
    assert_eq!(world.outcome(given_up), None);
    assert_eq!(world.router.in_flight(), 0);
}

#[test]
fn several_connections_to_a_shard_share_what_there_is_to_do() {
    let options = Options { connections: 3, ..OPTIONS };
    let mut world = World::with(1, options, &[address(1)]);
    world.warm_up();
    world.mood(1, Mood::Silent);
    for _ in 0..12 {
        world.get(b"a");
    }
    let mut counts = BTreeMap::new();
    for (id, _) in &world.owed {
        *counts.entry(id.index()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [4, 4, 4]);
}

#[test]
fn a_node_of_another_cluster_is_not_believed() {
    let mut world = World::warm(2);
    let id = *world.links.iter().find(|(_, (at, _))| *at == address(1)).unwrap().0;
    // Garbage ends the connection, not the client.
    world.tell(id, b"-ERR unknown command\r\n");
    world.run();
    assert!(!world.links.contains_key(&id), "it was hung up");
    let ticket = world.get(b"a");
    world.pass(TICK);
    assert!(world.is_well(ticket));
}
