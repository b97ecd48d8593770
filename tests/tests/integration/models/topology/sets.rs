//! Every set of operations that a model meets, once, with what the shipped code makes of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ringmain_core::id::{NodeId, Partition};
use ringmain_core::membership::member::{Member, Name};
use ringmain_core::membership::operation::{Committed, Encoded, Operation};
use ringmain_core::membership::topology::{Operations, Topology};
use ringmain_core::quorum::{Need, Tally, Verdict};
use ringmain_core::ring::{Owners, RingConfig, Rings, Transition};

use super::super::shelf::Memo;

/// A set of nodes: node 1 is the lowest bit.
pub(super) type Nodes = u8;
/// The number of a set of operations.
pub(super) type Set = u8;

const CONFIG: RingConfig = RingConfig { partition_bits: 6, n: 3, seed: 3 };
const OPERATIONS_MAX: usize = 8;

/// As the cluster is configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quorums {
    pub(super) r: u8,
    pub(super) w: u8,
}

impl Quorums {
    pub(super) const TWO: Quorums = Quorums { r: 2, w: 2 };
}

/// A set of operations, and the rings that follow from it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    bytes: Vec<u8>,
    pub(super) is_moving: bool,
    /// All owners, by topology.
    pub(super) owners: Owners,
    /// Who has copies, and coordinates.
    pub(super) coordinators: Owners,
    pub(super) committed: Owners,
    /// Who must have copies equal to how many of whom before all settles.
    pub(super) to_hear: Vec<(Nodes, usize)>,
    /// Who must be warm.
    pub(super) concerned: Nodes,
    /// Of whom more than half must be.
    pub(super) voters: Nodes,
    /// Members, and those that leave.
    pub(super) members: Nodes,
}

/// All sets.
#[derive(Debug)]
pub(super) struct Sets {
    partition: Partition,
    /// The quorum of which who catches up misses nothing.
    heard: u8,
    known: Mutex<Vec<Arc<Known>>>,
    merged: Mutex<Memo<(Set, Set), Set>>,
    moving: Mutex<Vec<(Operation, Set)>>,
}

pub(super) fn bit(node: NodeId) -> Nodes {
    1 << (node.0 - 1)
}

pub(super) fn bits(nodes: &[NodeId]) -> Nodes {
    nodes.iter().fold(0, |set, node| set | bit(*node))
}

pub(super) fn is_in(set: Nodes, node: usize) -> bool {
    set & 1 << node != 0
}

pub(super) fn node_id(node: usize) -> NodeId {
    NodeId(node as u32 + 1)
}

/// The Add of a node.
pub(super) fn add(node: u32) -> Operation {
    let zone = Name::new("zone").expect("a name");
    Operation::Add(Member { node: NodeId(node), uuid: node.into(), weight: 100, zone })
}

impl Known {
    /// As many of `owners` are needed as a coordinator asks that names no number itself.
    fn tally(&self, owners: &Owners, (quorum, done): (u8, Nodes)) -> Tally {
        let mut tally = Tally::new(owners, need(quorum, owners));
        for node in owners.iter().filter(|node| done & bit(**node) != 0) {
            tally.on_success(*node, true);
        }
        tally
    }

    /// Whether it is enough for a quorum that those did it.
    pub(super) fn is_met(&self, owners: &Owners, done: (u8, Nodes)) -> bool {
        self.tally(owners, done).verdict() == Verdict::Met
    }

    /// Whose answers still count when a coordinator goes on from here, where they were `owners`,
    /// to another set.
    pub(super) fn moved(
        &self,
        owners: &Owners,
        to: &Known,
        next: &Owners,
        done: (u8, Nodes),
    ) -> Nodes {
        let is_member = |node: NodeId| to.members & bit(node) != 0;
        let moved = self.tally(owners, done).moved_to(next, need(done.0, next), is_member);
        bits(next) & !bits(&moved.unasked().collect::<Vec<_>>())
    }
}

fn need(quorum: u8, owners: &Owners) -> Need {
    Need { nodes: quorum.min(owners.count_max() as u8), primaries: 0, durable: 0 }
}

impl Sets {
    /// Of one partition; the nodes 1 to 3 have settled, and set 1 is theirs. Set 0 is empty.
    pub(super) fn new(partition: Partition, heard: u8) -> Sets {
        let (known, merged, moving) = (Mutex::default(), Mutex::default(), Mutex::default());
        let sets = Sets { partition, heard, known, merged, moving };
        sets.number(&[]);
        let mut set = 0;
        for node in 1..=3 {
            set = sets.with(set, add(node).settled());
        }
        let mut known = sets.known.lock().expect("nothing has failed");
        let founded = known.swap_remove(usize::from(set));
        known.truncate(1);
        known.push(founded);
        drop(known);
        sets
    }

    pub(super) fn known(&self, set: Set) -> Arc<Known> {
        Arc::clone(&self.known.lock().expect("nothing has failed")[usize::from(set)])
    }

    /// The union with one operation more.
    pub(super) fn with(&self, set: Set, committed: Committed) -> Set {
        self.changed(set, |topology| {
            topology.insert(committed).expect("there is room");
        })
    }

    /// What the three settled nodes have once they know of `operation`.
    pub(super) fn moving(&self, operation: &Operation) -> Set {
        let mut moving = self.moving.lock().expect("nothing has failed");
        let known = moving.iter().find(|(known, _)| known == operation).map(|(_, set)| *set);
        known.unwrap_or_else(|| {
            let set = self.with(1, operation.moving());
            moving.push((*operation, set));
            set
        })
    }

    pub(super) fn merged(&self, set: Set, other: Set) -> Set {
        let known = self.merged.lock().expect("nothing has failed").get(&(set, other)).copied();
        if let Some(merged) = known {
            return merged;
        }
        let operations = self.known(other);
        let operations = Operations::new_checked(&operations.bytes).expect("it was encoded");
        let merged = self.changed(set, |topology| {
            topology.merge(operations).expect("there is room");
        });
        self.merged.lock().expect("nothing has failed").insert((set, other), merged);
        merged
    }

    /// Whether whatever has settled in `other` has in `set`.
    pub(super) fn has_settled(&self, set: Set, other: Set) -> bool {
        let (set, other) = (self.known(set), self.known(other));
        let decoded = |known: &Known| {
            let operations = Operations::new_checked(&known.bytes).expect("it was encoded");
            operations.iter().filter(|committed| !committed.is_moving).collect::<Vec<_>>()
        };
        let known = decoded(&set);
        decoded(&other).iter().all(|committed| known.contains(committed))
    }

    pub(super) fn settled(&self, set: Set) -> Set {
        self.changed(set, |topology| assert!(topology.settle(), "something moved"))
    }

    fn changed(&self, set: Set, change: impl FnOnce(&mut Topology<'_>)) -> Set {
        let mut storage = [Encoded::from([0; Operation::BYTES]); OPERATIONS_MAX];
        let mut topology = Topology::new(&mut storage);
        let before = self.known(set);
        let operations = Operations::new_checked(&before.bytes).expect("it was encoded");
        topology.merge(operations).expect("there is room");
        change(&mut topology);
        self.number(topology.operations().bytes())
    }

    fn number(&self, bytes: &[u8]) -> Set {
        let mut known = self.known.lock().expect("nothing has failed");
        let at = known.iter().position(|known| known.bytes == bytes).unwrap_or_else(|| {
            known.push(Arc::new(self.look_at(bytes)));
            known.len() - 1
        });
        Set::try_from(at).expect("few sets")
    }

    /// What follows from a set, as a node publishes it to its shards.
    fn look_at(&self, bytes: &[u8]) -> Known {
        let operations = Operations::new_checked(bytes).expect("it was encoded");
        let (settled, committed) = (operations.settled_members(), operations.members());
        let mut storage = vec![NodeId(0); Rings::slot_count(&CONFIG)];
        let mut rings = Rings::new(&mut storage, CONFIG);
        rings.rebuild(&Transition {
            settled: &settled,
            committed: &committed,
            lost: &operations.lost(),
            leaving: &operations.leaving(),
            is_moving: operations.is_moving(),
        });
        let partition = self.partition;
        let (owners, coordinators) = (rings.owners(partition), rings.coordinators(partition));
        let committed = Owners::new(rings.committed().owners(partition));
        let to_hear = (0..super::NODES).map(node_id).map(|node| {
            if rings.catches_up(partition, node) {
                let own = usize::from(rings.is_coordinator(partition, node));
                let others = rings.warm_count(partition, self.heard).saturating_sub(own);
                (bits(&coordinators), others)
            } else if rings.gives_up(partition, node) {
                (bits(&committed), committed.len())
            } else {
                (0, 0)
            }
        });
        let holders = rings.holders().fold(0, |set, node| set | bit(node));
        let members = rings.committed().nodes().fold(0, |set, node| set | bit(node));
        Known {
            bytes: bytes.to_vec(),
            is_moving: rings.is_moving(),
            to_hear: to_hear.collect(),
            concerned: bits(&rings.catching_up()) | bits(rings.leaving()),
            voters: if holders == 0 { members } else { holders },
            members: bits(&rings.nodes()),
            owners,
            coordinators,
            committed,
        }
    }
}

/// A partition of each kind of ownership that two operations may meet, those with most owners
/// first: who owns it before, with either, and with both.
pub(super) fn partitions(operations: [Operation; 2]) -> Vec<Partition> {
    let mut kinds = BTreeSet::new();
    let mut partitions = Vec::new();
    for partition in (0..CONFIG.partition_count()).map(|at| Partition(at as u16)) {
        let sets = Sets::new(partition, Quorums::TWO.w);
        let [one, other] = operations.map(|operation| sets.with(1, operation.moving()));
        let both = sets.merged(one, other);
        let kind = [1, one, other, both].map(|set| bits(&sets.known(set).committed));
        if kinds.insert(kind) {
            let all = kind.iter().fold(0, |all: Nodes, owners| all | owners);
            partitions.push((std::cmp::Reverse(all.count_ones()), partition));
        }
    }
    partitions.sort();
    partitions.into_iter().map(|(_, partition)| partition).collect()
}
