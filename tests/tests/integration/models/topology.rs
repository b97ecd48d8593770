//! Two changes of the membership at once, on two sides of a split, while a key is written and read
//! (correctness §2, protocol §6 to §10).
//!
//! What is shipped: the sets of operations and their union (`Topology`), the rings that follow from
//! a set (`Rings`: who owns, coordinates, catches up, of how many it must hear), and who is counted
//! (`Tally`, also when a request moves on to another set).
//!
//! What is modelled: three nodes with N = 3, and those that join. Either operation is committed at
//! a node of its own at any moment, and a node takes the set that another one has, at any moment.
//! One partition is looked at, and one key of it, which is written once and read once, both at any
//! coordinator that its own rings allow. A frame carries the set that its coordinator had when it
//! sent it; a replica takes it if it has the same one, at any moment. A write counts every owner
//! that has it, so it is acknowledged as soon as may be; of a read only answers matter that lack
//! the write. An exchange is between two nodes on one set, and leaves both with what either had;
//! nodes are warm by what they heard on their set, and a node that has the set settles it once
//! enough of them are (`Node::try_settle`), or later.
//!
//! Left out: sets that are late, crashes and lost disks (other than of a node that is removed as
//! lost, which never does anything), hints and who stands in, copies that come by other ways than
//! writes and exchanges (more copies help a read), a second write (writes do not meet in a
//! topology). A node that is away all the while, and comes back with what it had, is one that
//! takes no step for as long.
//!
//! Claimed of operations one of which is committed by a node that knows that the other has settled:
//! a read that is acknowledged shows every write that was acknowledged before it began, whatever
//! its coordinator knows. Of operations that move at once that is not claimed, and a run shows why:
//! nodes that were warm for one of them go on to both, and acknowledge for these, while another
//! still settles the one. What settles alone, and what goes on with both, have no topology in
//! common. To close that, one of the two would have to be chosen for good: consensus.
//!
//! Claimed of all: from every state the nodes come to one settled set. Then a write that was
//! acknowledged is on so many of its owners that no read misses it; or, of operations that moved at
//! once, on one of them at least, so that exchanges bring it to the others.
//!
//! Sizes: for each pair of operations the partition with most owners on its way, and R and W of 2;
//! for one pair others that meet as well. With `RINGMAIN_SOAK` a partition of each kind of
//! ownership, and two nodes that join one after the other.

mod runs;
mod sets;

use std::sync::Arc;

use ringmain_core::id::{NodeId, Partition};
use ringmain_core::membership::operation::Operation;
use ringmain_core::ring::Owners;

use self::runs::MET;
use self::sets::{Known, Nodes, Quorums, Set, Sets, add, bits, is_in, partitions};
use super::{breaks, holds, is_soak};

const NODES: usize = 5;
const SETS_MAX: usize = 16;

/// Two operations, and where each is committed.
#[derive(Clone, Copy, Debug)]
struct Pair {
    operations: [Operation; 2],
    at: [usize; 2],
}

impl Pair {
    /// Whether the first one settles only with the second.
    fn waits_for_lost(&self) -> bool {
        let [one, other] = self.operations;
        matches!(one, Operation::Remove { .. })
            && matches!(other, Operation::Remove { is_lost: true, .. })
    }
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    Nothing,
    /// A write needs its quorum in the committed topology alone.
    CommittedAlone,
    /// A replica takes frames of any topology.
    StaleTaken,
    /// Nodes are warm before they have heard of anybody.
    WarmAtOnce,
    /// Reads ask those alone who are to have the partition.
    CommittedRead,
    /// Reads ask those alone who have the partition.
    SettledRead,
    /// Who catches up hears enough for W, and not for R.
    HeardForWrites,
    /// What somebody answered while it caught up counts when it has.
    ColdCounted,
    /// No rule, but what is not claimed: the second operation comes while the first one moves.
    TwoAtOnce,
}

#[derive(Debug)]
struct Cluster {
    pair: Pair,
    broken: Broken,
    /// The second operation is committed by who knows that the first has settled.
    in_sequence: bool,
    sets: Sets,
    quorums: Quorums,
    /// Nodes that do nothing: those that are removed as lost, and those that nobody adds.
    dead: Nodes,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Node {
    set: Set,
    /// Whose copies were found equal on this set.
    heard: Nodes,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Request {
    coordinator: u8,
    /// The sets with which it has sent frames; none: it is over.
    sent: u16,
    /// Of a read: who has answered, and had no write.
    lacked: Nodes,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct State {
    nodes: [Node; NODES],
    /// Who has the write.
    having: Nodes,
    committed: [bool; 2],
    /// Who was warm, by the set, while some node has that.
    warm: [Nodes; SETS_MAX],
    write: Option<Request>,
    is_acked: bool,
    read: Option<Request>,
    /// It was acknowledged without the write.
    is_missed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Commit { operation: usize },
    Learn { node: usize, set: Set },
    Exchange { one: usize, other: usize },
    Settle { node: usize },
    Write { coordinator: usize },
    Read { coordinator: usize },
    Take { node: usize },
    Serve { node: usize },
}

impl Cluster {
    fn new(pair: Pair, partition: Partition, quorums: Quorums, broken: Broken) -> Cluster {
        let in_sequence = broken != Broken::TwoAtOnce;
        let lost = pair.operations.iter().filter_map(|operation| match *operation {
            Operation::Remove { node, is_lost: true } => Some(node),
            _ => None,
        });
        let dead = bits(&lost.collect::<Vec<_>>());
        let added = pair.operations.map(|operation| 1 << (operation.node().0 - 1));
        let strangers = ((1 << NODES) - 1) & !0b111 & !added[0] & !added[1];
        let dead = dead | strangers;
        let heard = match broken {
            Broken::HeardForWrites => quorums.w,
            _ => quorums.r.min(quorums.w),
        };
        let sets = Sets::new(partition, heard);
        Cluster { pair, broken, in_sequence, sets, quorums, dead }
    }

    fn known(&self, state: &State, node: usize) -> Arc<Known> {
        self.sets.known(state.nodes[node].set)
    }

    /// Whom a write asks.
    fn written(&self, known: &Known) -> Owners {
        let is_committed = self.broken == Broken::CommittedAlone;
        if is_committed { known.committed.clone() } else { known.owners.clone() }
    }

    /// Whom a read asks.
    fn read(&self, known: &Known) -> Owners {
        match self.broken {
            Broken::CommittedRead => known.committed.clone(),
            Broken::SettledRead => known.coordinators.clone(),
            _ => known.owners.clone(),
        }
    }

    /// `node` goes on with another set.
    fn publish(&self, state: &mut State, node: usize, set: Set) {
        let (old, new) = (self.known(state, node), self.sets.known(set));
        state.nodes[node] = Node { set, heard: 0 };
        if let Some(write) = state.write.as_mut().filter(|write| is_by(write, node)) {
            let (owners, next) = (self.written(&old), self.written(&new));
            let kept = state.having & bits(&owners) & bits(&next);
            let moved = old.moved(&owners, &new, &next, (self.quorums.w, state.having));
            assert!(moved == kept, "owners stay counted");
            write.sent |= 1 << set;
        }
        if let Some(read) = state.read.as_mut().filter(|read| is_by(read, node)) {
            let (owners, next) = (self.read(&old), self.read(&new));
            let kept = read.lacked & bits(&owners) & bits(&next);
            let moved = old.moved(&owners, &new, &next, (self.quorums.r, read.lacked));
            assert!(moved == kept, "owners stay counted");
            read.lacked &= !self.void(&old, &new);
            read.sent |= 1 << set;
        }
        for (at, warm) in state.warm.iter_mut().enumerate() {
            if state.nodes.iter().all(|node| usize::from(node.set) != at) {
                *warm = 0;
            }
        }
        self.warm(state, node);
    }

    /// Whose answers to a read of a coordinator with one set count no more with the next.
    fn void(&self, old: &Known, new: &Known) -> Nodes {
        let behind = bits(&old.owners) & !bits(&old.coordinators);
        if self.broken == Broken::ColdCounted { 0 } else { behind & bits(&new.coordinators) }
    }

    /// Whether `node` is warm now is known from here on.
    fn warm(&self, state: &mut State, node: usize) {
        let Node { set, heard } = state.nodes[node];
        let (nodes, needed) = self.sets.known(set).to_hear[node];
        let needed = if self.broken == Broken::WarmAtOnce { 0 } else { needed };
        if (heard & nodes).count_ones() as usize >= needed {
            state.warm[usize::from(set)] |= 1 << node;
        }
    }

    fn exchange(&self, state: &mut State, one: usize, other: usize) -> Option<()> {
        let known = self.known(state, one);
        let is_for = |node: usize, peer: usize| {
            is_in(known.to_hear[node].0, peer) && !is_in(state.nodes[node].heard, peer)
        };
        (state.nodes[one].set == state.nodes[other].set && known.is_moving).then_some(())?;
        (is_for(one, other) || is_for(other, one)).then_some(())?;
        if is_in(state.having, one) || is_in(state.having, other) {
            state.having |= 1 << one | 1 << other;
        }
        for (node, peer) in [(one, other), (other, one)] {
            if is_in(known.to_hear[node].0, peer) {
                state.nodes[node].heard |= 1 << peer;
            }
            self.warm(state, node);
        }
        Some(())
    }

    fn settle(&self, state: &mut State, node: usize) -> Option<()> {
        let set = state.nodes[node].set;
        let known = self.sets.known(set);
        let warm = state.warm[usize::from(set)];
        let voices = (known.voters & warm).count_ones();
        let is_settled = known.concerned & !warm == 0 && 2 * voices > known.voters.count_ones();
        (known.is_moving && is_settled).then_some(())?;
        self.publish(state, node, self.sets.settled(set));
        Some(())
    }

    /// A request that has enough answers ends; nothing is left of it but that it was there.
    fn finish(&self, state: &mut State) {
        if let Some(write) = state.write.filter(|write| write.sent != 0) {
            let known = self.known(state, write.coordinator.into());
            if known.is_met(&self.written(&known), (self.quorums.w, state.having)) {
                (state.write, state.is_acked) = (Some(Request::default()), true);
            }
        }
        if let Some(read) = state.read.filter(|read| read.sent != 0) {
            let known = self.known(state, read.coordinator.into());
            state.is_missed |= known.is_met(&self.read(&known), (self.quorums.r, read.lacked));
        }
    }

    fn begin(&self, state: &State, node: usize) -> Option<Request> {
        let known = self.known(state, node);
        // Who is in no ring coordinates nothing.
        (is_in(bits(&known.coordinators), node) && is_in(known.members, node)).then_some(())?;
        let (coordinator, sent) = (node as u8, 1 << state.nodes[node].set);
        Some(Request { coordinator, sent, ..Request::default() })
    }

    /// Whether `node` takes a frame that was sent with one of these sets, for who is asked.
    fn takes(&self, node: Node, at: usize, sent: u16, asked: impl Fn(&Known) -> Owners) -> bool {
        let is_right = |set: Set| node.set == set || self.broken == Broken::StaleTaken;
        let mut sets = (0..SETS_MAX as Set).filter(|set| sent & 1 << set != 0 && is_right(*set));
        sets.any(|set| is_in(bits(&asked(&self.sets.known(set))), at))
    }

    fn take(&self, state: &mut State, node: usize) -> Option<()> {
        let write = state.write?;
        self.takes(state.nodes[node], node, write.sent, |known| self.written(known))
            .then_some(())?;
        state.having |= 1 << node;
        Some(())
    }

    fn serve(&self, state: &mut State, node: usize) -> Option<()> {
        let mut read = state.read?;
        let now = self.known(state, read.coordinator.into());
        for set in 0..SETS_MAX as Set {
            if read.sent & 1 << set != 0 && is_in(self.void(&self.sets.known(set), &now), node) {
                read.sent &= !(1 << set);
            }
        }
        self.takes(state.nodes[node], node, read.sent, |known| self.read(known)).then_some(())?;
        (!is_in(state.having, node)).then_some(())?;
        let asked = state.read.as_mut()?;
        asked.lacked |= 1 << node;
        Some(())
    }

    /// Everybody learns all, and everything that moves comes to its end.
    fn heal(&self, state: &State) -> State {
        let mut state = *state;
        let alive = || (0..NODES).filter(|node| !is_in(self.dead, *node));
        for operation in 0..2 {
            self.commit(&mut state, operation);
        }
        // Two operations settle at most twice.
        for _ in 0..3 {
            let sets = state.nodes.map(|node| node.set);
            let all = sets.into_iter().fold(1, |all, set| self.sets.merged(all, set));
            for node in alive().filter(|node| sets[*node] != all) {
                self.publish(&mut state, node, all);
            }
            for one in alive() {
                for other in alive() {
                    self.exchange(&mut state, one, other);
                }
            }
            alive().find_map(|node| self.settle(&mut state, node));
        }
        state
    }

    fn commit(&self, state: &mut State, operation: usize) -> Option<()> {
        let node = self.pair.at[operation];
        let is_done = std::mem::replace(&mut state.committed[operation], true);
        (!is_done).then_some(())?;
        let moving = self.sets.moving(&self.pair.operations[operation]);
        self.publish(state, node, self.sets.merged(state.nodes[node].set, moving));
        Some(())
    }

    /// Whether nothing moves in the end, and no read can miss the write then.
    fn heals(&self, state: &State) -> bool {
        if state.read.is_some() {
            // It changes nothing; the state without it was looked at.
            return true;
        }
        let healed = self.heal(state);
        let alive = (0..NODES).filter(|node| !is_in(self.dead, *node));
        let sets: Vec<Set> = alive.map(|node| healed.nodes[node].set).collect();
        let known = self.sets.known(sets[0]);
        let lacking = bits(&known.owners) & !healed.having;
        let is_missable = if self.in_sequence {
            known.is_met(&known.owners, (self.quorums.r, lacking))
        } else {
            lacking == bits(&known.owners)
        };
        sets.iter().all(|set| *set == sets[0])
            && !known.is_moving
            && !(state.is_acked && is_missable)
    }
}

fn is_by(request: &Request, node: usize) -> bool {
    usize::from(request.coordinator) == node && request.sent != 0
}

fn remove(node: u32, is_lost: bool) -> Operation {
    Operation::Remove { node: NodeId(node), is_lost }
}

/// Models with more states than this are for those who have time.
const LONG: usize = 100_000;
/// And with so many they end in no time that anybody has waited.
const TOO_LONG: usize = usize::MAX;

/// With the least number of states when one comes after the other, and beside it.
fn pairs() -> [(Pair, [usize; 2]); 5] {
    let at = [0, 1];
    [
        (Pair { operations: [remove(2, false), remove(3, true)], at }, [0, 170]),
        (Pair { operations: [remove(2, false), remove(3, false)], at }, [720, 3_800]),
        (Pair { operations: [add(4), remove(3, true)], at }, [570, 2_400]),
        (Pair { operations: [add(4), remove(3, false)], at }, [43_000, 218_000]),
        (Pair { operations: [add(4), add(5)], at }, [650_000, TOO_LONG]),
    ]
}

#[test]
fn reads_meet_writes_while_the_membership_changes() {
    // The last pair moves five nodes.
    let pair_count = if is_soak() { pairs().len() } else { pairs().len() - 1 };
    for (pair, state_counts_min) in pairs().into_iter().take(pair_count) {
        let kinds = partitions(pair.operations);
        let kind_count = if is_soak() { kinds.len() } else { 1 };
        for (at, partition) in kinds.into_iter().take(kind_count).enumerate() {
            for in_sequence in [true, false] {
                if in_sequence && pair.waits_for_lost() {
                    // Who stays must hear the one that is lost, so that comes first or beside.
                    continue;
                }
                let order = if in_sequence { "then" } else { "beside" };
                let [one, other] = pair.operations.map(name);
                let name = format!("{one} {order} {other}, partition {}", partition.0);
                let model = Cluster::new(pair, partition, Quorums::TWO, Broken::Nothing);
                let least = state_counts_min[usize::from(!in_sequence)];
                if least == TOO_LONG || least > LONG && !is_soak() {
                    continue;
                }
                let least = if at == 0 { least } else { 1 };
                holds(&name, Cluster { in_sequence, ..model }, least);
            }
        }
    }
}

fn name(operation: Operation) -> String {
    let node = operation.node().0;
    match operation {
        Operation::Remove { is_lost: true, .. } => format!("lose {node}"),
        Operation::Remove { .. } => format!("remove {node}"),
        _ => format!("add {node}"),
    }
}

/// Whatever R and W are, as long as they meet.
#[test]
fn reads_meet_writes_with_other_quorums() {
    let (pair, _) = pairs()[3];
    let partition = partitions(pair.operations)[0];
    for (quorums, least) in [(Quorums { r: 1, w: 3 }, 15_000), (Quorums { r: 3, w: 1 }, 56_000)] {
        let model = Cluster::new(pair, partition, quorums, Broken::Nothing);
        holds(&format!("{quorums:?}"), model, least);
    }
}

#[test]
fn each_rule_of_topologies_is_needed() {
    for (broken, quorums) in [
        (Broken::CommittedAlone, Quorums::TWO),
        (Broken::StaleTaken, Quorums::TWO),
        (Broken::WarmAtOnce, Quorums::TWO),
        (Broken::CommittedRead, Quorums::TWO),
        (Broken::SettledRead, Quorums::TWO),
        (Broken::HeardForWrites, Quorums { r: 1, w: 3 }),
        (Broken::TwoAtOnce, Quorums::TWO),
    ] {
        let (pair, _) = pairs()[3];
        let partition = partitions(pair.operations)[0];
        breaks(&format!("{broken:?}"), Cluster::new(pair, partition, quorums, broken), MET);
    }
    let (pair, _) = pairs()[4];
    let partition = partitions(pair.operations)[0];
    let model = Cluster::new(pair, partition, Quorums::TWO, Broken::ColdCounted);
    breaks("ColdCounted", model, MET);
}

/// A node that is removed as lost, and beside it told to leave, is waited for by nobody once its
/// loss has settled.
#[test]
fn a_lost_node_that_was_also_to_leave_is_not_waited_for() {
    let pair = Pair { operations: [remove(3, false), remove(3, true)], at: [0, 1] };
    let partition = partitions(pair.operations)[0];
    let model = Cluster::new(pair, partition, Quorums::TWO, Broken::Nothing);
    holds("leave 3 beside lost 3", Cluster { in_sequence: false, ..model }, 1);
}
