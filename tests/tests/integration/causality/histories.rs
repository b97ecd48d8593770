//! All short histories, and long random ones, with lost copies and crashes that roll back. Every
//! step of [`World`] compares the record that it changed with the exact model.

use ringmain_core::prng::Prng;

use super::world::{Copy, Seen, Supersedes, World, check, join};

/// One step of a history, besides which nothing can happen to a key.
#[derive(Clone, Copy, Debug)]
enum Step {
    PutEmpty(usize),
    PutLocal(usize),
    /// With what the last read returned.
    PutRead(usize),
    Send(usize, usize),
    Read(usize),
    Drop(usize),
    /// The copy that a later crash will bring back.
    Snap(usize),
    Crash(usize),
}

fn all_steps(nodes: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for node in 0..nodes {
        steps.extend([Step::PutEmpty(node), Step::PutLocal(node), Step::PutRead(node)]);
        steps.extend([Step::Read(node), Step::Drop(node), Step::Snap(node), Step::Crash(node)]);
        let others = (0..nodes).filter(|&other| other != node);
        steps.extend(others.map(|other| Step::Send(node, other)));
    }
    steps
}

#[derive(Clone)]
struct History {
    world: World,
    read: Seen,
    snapshots: Vec<Option<Copy>>,
}

impl History {
    fn new(nodes: usize) -> History {
        History { world: World::new(nodes), read: Seen::nothing(), snapshots: vec![None; nodes] }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::PutEmpty(node) => {
                self.world.put(node, Supersedes::Given(&Seen::nothing()), false);
            }
            Step::PutLocal(node) => {
                self.world.put(node, Supersedes::Local, true);
            }
            Step::PutRead(node) => {
                self.world.put(node, Supersedes::Given(&self.read), false);
            }
            Step::Send(from, to) => self.world.send(from, to),
            Step::Read(node) => self.read = self.world.read(&[node]).1,
            Step::Drop(node) => self.world.drop_copy(node),
            Step::Snap(node) => self.snapshots[node] = self.world.snap(node),
            Step::Crash(node) => self.world.roll_back(node, self.snapshots[node].clone()),
        }
    }

    /// Runs every continuation of `steps_left` steps; returns how many histories ended.
    fn explore(&self, steps: &[Step], steps_left: usize) -> usize {
        if steps_left == 0 {
            self.join_all_orders();
            return 1;
        }
        let mut ended = 0;
        for &step in steps {
            let mut next = self.clone();
            next.take(step);
            ended += next.explore(steps, steps_left - 1);
        }
        ended
    }

    /// All nodes together, in every order of pairs: one record, byte for byte.
    fn join_all_orders(&self) {
        let copies: Vec<_> = (0..self.snapshots.len())
            .filter_map(|node| self.world.snap(node).map(|copy| copy.record))
            .collect();
        if let [a, b, rest @ ..] = &copies[..] {
            let (a, b) = (check(a), check(b));
            let ab = join(a, b);
            assert_eq!(ab, join(b, a));
            if let [c] = rest {
                let c = check(c);
                assert_eq!(join(check(&ab), c), join(a, check(&join(b, c))));
            }
        }
    }
}

/// A write must come first, and which node takes it does not matter.
fn explore(nodes: usize, depth: usize) -> usize {
    let mut history = History::new(nodes);
    history.take(Step::PutEmpty(0));
    history.explore(&all_steps(nodes), depth - 1)
}

#[test]
fn every_short_history_of_two_nodes_is_exact() {
    assert_eq!(explore(2, 5), 16usize.pow(4));
}

#[test]
fn every_short_history_of_three_nodes_is_exact() {
    assert_eq!(explore(3, 4), 27usize.pow(3));
}

#[test]
fn random_histories_are_exact() {
    const NODES: usize = 5;
    let mut siblings_max = 0;
    for seed in 0..1500 {
        let mut prng = Prng::new(seed);
        let mut history = History::new(NODES);
        let mut reads = vec![Seen::nothing()];
        for _ in 0..40 {
            let node = prng.below(NODES as u64) as usize;
            let other = prng.below(NODES as u64) as usize;
            match prng.below(10) {
                0..3 => put(&mut prng, &mut history, &reads, node),
                3..6 => history.take(Step::Send(node, other)),
                6 => reads.push(history.world.read(&[node, other]).1),
                7 => history.take(Step::Drop(node)),
                8 => history.take(Step::Snap(node)),
                _ => history.take(Step::Crash(node)),
            }
            siblings_max = siblings_max.max(history.world.siblings(node).count_ones());
        }
    }
    assert!(siblings_max >= 8, "histories fork: {siblings_max}");
}

fn put(prng: &mut Prng, history: &mut History, reads: &[Seen], node: usize) {
    let recent = &reads[reads.len().saturating_sub(4)..];
    let read = match prng.chance(70) {
        true => &recent[prng.below(recent.len() as u64) as usize],
        false => &reads[0],
    };
    let tombstone = prng.chance(20);
    match prng.chance(20) {
        true => history.world.put(node, Supersedes::Local, tombstone),
        false => history.world.put(node, Supersedes::Given(read), tombstone),
    };
}
