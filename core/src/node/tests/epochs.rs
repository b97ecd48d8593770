//! Whose disk is the newest: what nodes claim, and what they say of who comes back with less.

use super::*;
use crate::limits::VOUCH_PAUSE;
use crate::wire;

/// Longer than any frame is on its way.
const LONG: Duration = FRAME_AGE_MAX;

impl World {
    /// As many members, settled and vouched for, at an age at which they may raise.
    fn formed(seed: u64, count: u32) -> World {
        let mut world = World::new(seed, count, 0);
        world.run(LONG + Duration::from_secs(20));
        assert!(world.all_members() && world.all_vouched());
        world
    }

    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        while self.now < end {
            self.step();
        }
    }

    fn all_vouched(&self) -> bool {
        self.servers.values().filter(|server| server.up).all(|server| server.node.is_vouched())
    }

    fn epochs(&self, node: u32) -> (u64, u64) {
        let epochs = self.servers[&node].node.epochs();
        (epochs.raised, epochs.floor)
    }

    /// All agree at `above`, and a node has its epoch raised.
    fn raise(&mut self, at: u32, above: u64) {
        self.input(at, NodeInput::Raise { above });
        self.run(Duration::from_secs(1));
    }

    /// A copy of a node's disk.
    fn copy(&self, node: u32) -> (StdVec<u8>, StdVec<Claim>) {
        (self.servers[&node].disk.clone(), self.servers[&node].claims.clone())
    }

    /// The node crashes, and starts again with that disk.
    fn put_back(&mut self, node: u32, copy: (StdVec<u8>, StdVec<Claim>)) {
        self.crash(node);
        let server = self.servers.get_mut(&node).unwrap();
        (server.disk, server.claims) = copy;
        self.restart(node);
    }
}

#[test]
fn nothing_is_claimed_and_all_are_vouched_for_while_nothing_is_reaped() {
    let world = World::formed(1, 4);
    for node in 1..=4 {
        assert_eq!(world.epochs(node), (0, 0));
        assert_eq!(world.servers[&node].claims, []);
        let node = &world.servers[&node].node;
        assert_eq!(node.published(), node.operations().id());
    }
}

#[test]
fn a_raised_epoch_is_on_all_disks_before_any_floor_says_so() {
    let mut world = World::formed(2, 3);
    world.input(2, NodeInput::Raise { above: 0 });
    assert_eq!(world.epochs(2), (1, 0), "shards say it before it is on disk");
    let end = world.now + Duration::from_secs(1);
    while world.now < end {
        world.step();
        let least = (1..=3).map(|node| {
            let claims = &world.servers[&node].claims;
            claims.iter().find(|claim| claim.node() == NodeId(node)).map_or(0, Claim::raised)
        });
        let least = least.min().unwrap();
        assert!((1..=3).all(|node| world.epochs(node).1 <= least));
    }
    for node in 1..=3 {
        assert_eq!(world.epochs(node), (1, 1));
        let claims = world.servers[&node].claims.iter().map(Claim::raised);
        assert_eq!(claims.collect::<StdVec<_>>(), [1, 1, 1]);
    }
    // Who asks at the same time shares it; later it is another one.
    world.raise(3, 0);
    assert_eq!(world.epochs(3), (1, 1));
    world.raise(3, 1);
    assert_eq!(world.epochs(3), (1, 1), "not again so soon");
    world.raise(2, 1);
    world.run(LONG);
    assert_eq!([1, 2, 3].map(|node| world.epochs(node)), [(2, 2); 3]);
}

#[test]
fn a_restart_is_vouched_for_at_any_moment() {
    for seed in 0..60 {
        let mut world = World::formed(seed, 3);
        world.input(1 + seed as u32 % 3, NodeInput::Raise { above: 0 });
        for _ in 0..seed {
            world.step();
        }
        let victim = 1 + seed as u32 / 3 % 3;
        world.crash(victim);
        world.run(Duration::from_millis(seed * 7));
        world.restart(victim);
        assert!(!world.servers[&victim].node.is_vouched());
        world.run(Duration::from_secs(10));
        assert!(!world.servers[&victim].is_outdated, "seed {seed}");
        assert!(world.all_vouched(), "seed {seed}");
    }
}

#[test]
fn an_older_copy_is_told_so_before_its_shards_may_speak() {
    let mut world = World::formed(3, 3);
    let copy = world.copy(2);
    world.raise(1, 0);
    world.put_back(2, copy);
    let node = &world.servers[&2].node;
    assert_ne!(node.published(), node.operations().id(), "its shards name what nobody knows");
    while !world.servers[&2].is_outdated {
        assert!(!world.servers[&2].node.is_vouched());
        world.step();
    }
    world.run(Duration::from_secs(70));
    assert!(!world.servers[&2].node.is_vouched(), "it stays so");
    assert_eq!(world.epochs(2), (0, 0), "nor does it take over what would hide it");
}

/// Two of three are copies of one time: neither has heard of what the third one knows.
#[test]
fn copies_do_not_vouch_for_each_other() {
    let mut world = World::formed(9, 3);
    let copies = [1, 2].map(|node| (node, world.copy(node)));
    world.raise(3, 0);
    world.crash(3);
    for (node, copy) in copies {
        world.put_back(node, copy);
        world.servers.get_mut(&node).unwrap().node.config.in_place = false;
    }
    world.run(LONG);
    for node in [1, 2].map(|node| &world.servers[&node].node) {
        assert!(!node.asks_epochs(node.peers[0]), "they have spoken to each other");
        assert_eq!(node.audience(), Audience::Nobody);
        assert_eq!(node.next_review(), None, "no time makes it better");
    }
    world.restart(3);
    world.run(LONG);
    assert!([1, 2].iter().all(|node| world.servers[node].is_outdated));
    assert!(!world.servers[&3].is_outdated);
}

#[test]
fn copies_of_all_members_vouch_for_each_other() {
    let mut world = World::formed(10, 3);
    let copies = [1, 2, 3].map(|node| (node, world.copy(node)));
    world.raise(3, 0);
    (1..=3).for_each(|node| world.crash(node));
    for (node, copy) in copies {
        world.put_back(node, copy);
        world.servers.get_mut(&node).unwrap().node.config.in_place = false;
    }
    world.run(LONG);
    let outdated = world.servers.values().filter(|server| server.is_outdated).count();
    assert_eq!((outdated, world.all_vouched()), (0, true), "nobody knows better");
}

#[test]
fn a_copy_as_new_as_all_that_was_raised_is_taken() {
    let mut world = World::formed(4, 3);
    world.raise(1, 0);
    let copy = world.copy(2);
    world.put_back(2, copy);
    world.run(Duration::from_secs(1));
    assert!(world.servers[&2].node.is_vouched());
}

#[test]
fn whoever_joins_later_knows_it_too() {
    let mut world = World::new(5, 4, 0);
    world.crash(4);
    world.run(LONG + Duration::from_secs(20));
    assert!(world.are_settled(3));
    let copy = world.copy(2);
    world.raise(1, 0);
    world.raise(3, 1);
    world.run(LONG);
    world.crash(2);
    world.restart(4);
    world.run(Duration::from_secs(20));
    assert!(world.servers[&4].node.is_vouched());
    // The others, who were there, say nothing.
    world.crash(1);
    world.crash(3);
    world.put_back(2, copy);
    world.run(Duration::from_secs(10));
    assert!(world.servers[&2].is_outdated);
}

#[test]
fn after_a_stop_of_all_those_who_are_there_vouch_for_each_other() {
    for absent in [None, Some(3)] {
        let mut world = World::formed(6, 3);
        world.raise(1, 0);
        (1..=3).for_each(|node| world.crash(node));
        let back: StdVec<u32> = (1..=3).filter(|node| Some(*node) != absent).collect();
        back.iter().for_each(|node| world.restart(*node));
        world.run(VOUCH_PAUSE / 2);
        assert_eq!(world.all_vouched(), absent.is_none(), "all of them are enough at once");
        world.run(VOUCH_PAUSE);
        assert!(world.all_vouched());
    }
}

#[test]
fn nobody_raises_before_all_have_told_and_old_frames_are_gone() {
    let mut world = World::formed(7, 3);
    world.crash(3);
    world.restart(3);
    world.run(Duration::from_secs(5));
    assert!(world.servers[&3].node.is_vouched());
    world.raise(3, 0);
    world.raise(1, 0);
    assert_eq!([1, 2, 3].map(|node| world.epochs(node)), [(1, 0), (1, 0), (0, 0)]);
    world.run(LONG);
    world.raise(1, 0);
    world.raise(1, 1);
    world.run(LONG);
    assert_eq!([1, 2, 3].map(|node| world.epochs(node)), [(2, 2); 3]);
    // One is away when another starts: that one hears of all but one.
    world.crash(2);
    world.crash(3);
    world.restart(3);
    world.run(LONG + Duration::from_secs(1));
    world.raise(3, 2);
    assert_eq!(world.epochs(3), (2, 0));
}

#[test]
fn a_floor_counts_what_each_has_said_last_itself() {
    let mut world = World::formed(8, 3);
    world.raise(1, 0);
    assert_eq!(world.epochs(1), (1, 1));
    let topology = world.servers[&1].node.operations().id();
    // Node 3 comes back with what it had before, and nobody has heard more of it yet.
    for (from, of_three, floor) in [(3, 0, 0), (2, 1, 0), (3, 1, 1)] {
        let claims = [(1, 1), (2, 1), (3, of_three)].into_iter().filter(|(_, epoch)| *epoch > 0);
        let claims = claims.map(|(node, epoch)| Claim::new(NodeId(node), epoch));
        let claims: StdVec<Claim> = claims.collect();
        let epochs = wire::epochs::Epochs { asks: false, vouched: true, claims: &claims };
        world.input(1, NodeInput::Epochs { from: NodeId(from), topology, epochs });
        assert_eq!(world.epochs(1), (1, floor), "{from} says {of_three}");
    }
}
