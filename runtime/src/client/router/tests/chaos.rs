//! Whatever nodes and the network do, every request ends once, and in time.

use super::*;

const SEED_COUNT: u64 = 200;
const STEP_COUNT: u64 = 300;

#[test]
fn every_request_ends_once_and_in_time() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEED_COUNT {
        run(seed, &mut outcomes);
    }
    // The chaos has reached all of these.
    for outcome in ["well", "no answer in time", "the connection broke", "NOQUORUM", "BUSY"] {
        assert!(outcomes.contains(outcome), "{outcome} of {outcomes:?}");
    }
}

fn run(seed: u64, outcomes: &mut BTreeSet<&'static str>) {
    let mut prng = Prng::new(seed);
    let mut world = World::with(4, OPTIONS, &[address(1), address(2)]);
    world.members = vec![1, 2, 3];
    let mut begun: HashMap<Ticket, Instant> = HashMap::new();
    let mut told = 0;
    for step in 0..STEP_COUNT {
        let node = 1 + prng.below(4) as u32;
        match prng.below(12) {
            0 => world.mood(node, mood(&mut prng)),
            1 => world.mood(node, Mood::Serves),
            2 => world.cut(node),
            3 => world.speak(),
            4 => world.pass(Duration::from_millis(prng.below(300))),
            5 => {
                world.topology += 1;
                world.members = match prng.below(3) {
                    0 => vec![1, 2, 3],
                    1 => vec![2, 4],
                    _ => vec![4, 3, 2, 1],
                };
            }
            _ => {
                let (router, now) = (&mut world.router, world.now);
                let asked = match prng.chance(50) {
                    true => router.get(&key(prng.below(40) as u32), &GET, now),
                    // Each write has a key of its own.
                    false => router.put(&key(1000 + step as u32), &put(), now),
                };
                match asked {
                    Ok(ticket) => assert!(begun.insert(ticket, now).is_none(), "a new ticket"),
                    Err(error) => assert!(matches!(error, ClientError::Full), "{error}"),
                }
                if prng.chance(70) {
                    world.run();
                }
            }
        }
        for (ticket, outcome) in &world.done[told..] {
            let since = begun.remove(ticket).expect("it was begun, and has not ended");
            assert!(world.now - since <= TIMEOUT + 3 * TICK, "seed {seed}, step {step}");
            outcomes.insert(name(outcome));
        }
        told = world.done.len();
    }
    world.run();
    world.pass(TIMEOUT + TICK);
    for (ticket, _) in &world.done[told..] {
        assert!(begun.remove(ticket).is_some(), "seed {seed}");
    }
    assert!(begun.is_empty(), "seed {seed}: {} have not ended", begun.len());
    let mut stored = BTreeSet::new();
    for asked in world.asked.iter().filter(|asked| asked.op == Op::Put && !asked.is_refused) {
        assert!(stored.insert(&asked.key), "seed {seed}: {asked:?} may be stored twice");
    }
    assert_eq!((world.router.in_flight(), world.router.slots.bytes()), (0, 0));
    // And it serves again once nodes do.
    (1..=4).for_each(|node| world.mood(node, Mood::Serves));
    world.owed.clear();
    // Connections on which nobody ever spoke are given up first.
    world.get(b"at first");
    world.pass(TIMEOUT + TICK);
    let ticket = world.get(b"after all");
    world.pass(TIMEOUT - TICK);
    assert!(world.is_well(ticket), "seed {seed}: {:?}", world.outcome(ticket));
}

fn mood(prng: &mut Prng) -> Mood {
    let statuses = [Status::Busy, Status::NoQuorum, Status::Unavailable, Status::TooLarge];
    match prng.below(5) {
        0 => Mood::Silent,
        1 => Mood::Dumb,
        2 => Mood::Down,
        _ => Mood::Says(statuses[prng.below(4) as usize]),
    }
}

fn name(outcome: &Result<(), String>) -> &'static str {
    let Err(error) = outcome else { return "well" };
    let known = ["no answer in time", "the connection broke", "NOQUORUM", "BUSY", "UNAVAILABLE"];
    known.into_iter().find(|known| error.starts_with(known)).unwrap_or("else")
}
