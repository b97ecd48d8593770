//! What a commit of all that is staged would do: a pure function of both sets of operations.

use ringmain_core::id::{NodeId, Partition, TopologyId};
use ringmain_core::limits::OPERATION_COUNT_MAX;
use ringmain_core::membership::operation::Operation;
use ringmain_core::membership::topology::{Full, Operations, Topology};
use ringmain_core::ring::{Relaxations, RingConfig, Rings, Transition};

/// See the module.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    /// Names the committed and the staged operations together: what the commit comes to.
    pub(crate) hash: TopologyId,
    /// What is staged, without changes that later ones replace.
    pub(crate) staged: Vec<Operation>,
    /// Copies of partitions that move.
    pub(crate) moves: u32,
    /// See [`Ring::peak_over_fair_milli`](ringmain_core::ring::Ring::peak_over_fair_milli).
    pub(crate) peak_over_fair_milli: u64,
    pub(crate) relaxations: Relaxations,
    /// Partitions of which so few copies are left that what was acknowledged may not be among them.
    pub(crate) thin: Vec<Partition>,
    /// How many members there will be.
    pub(crate) member_count: usize,
}

impl Plan {
    /// Computes two rings: about 30 ms for 100 members and 4096 partitions. `w` is the cluster's.
    pub(crate) fn new(
        config: &RingConfig,
        w: u8,
        committed: Operations<'_>,
        staged: Operations<'_>,
    ) -> Result<Plan, Full> {
        let mut storage = vec![[0; Operation::BYTES]; OPERATION_COUNT_MAX];
        let union = united(&mut storage, committed, staged)?;
        let union = union.operations();
        let (settled, members) = (union.settled_members(), union.members());
        let mut owners = vec![NodeId(0); Rings::slot_count(config)];
        let mut rings = Box::new(Rings::new(&mut owners, *config));
        rings.rebuild(&Transition {
            settled: &settled,
            committed: &members,
            lost: &union.lost(),
            leaving: &union.leaving(),
            is_moving: union.is_moving(),
        });
        let ring = rings.committed();
        let partitions = (0..config.partition_count()).map(|index| Partition(index as u16));
        let (lost, lost_before) = (union.lost(), committed.lost());
        let is_new = |partition: &Partition| {
            is_thin(&rings, w, &lost, *partition) && !is_thin(&rings, w, &lost_before, *partition)
        };
        Ok(Plan {
            hash: union.id(),
            staged: in_effect(staged),
            moves: ring.moves_from(rings.settled()),
            peak_over_fair_milli: ring.peak_over_fair_milli(),
            relaxations: ring.relaxations(),
            thin: partitions.filter(is_new).collect(),
            member_count: members.len(),
        })
    }
}

/// Both sets in one.
pub(crate) fn united<'s>(
    storage: &'s mut [[u8; Operation::BYTES]],
    committed: Operations<'_>,
    staged: Operations<'_>,
) -> Result<Topology<'s>, Full> {
    let mut union = Topology::new(storage);
    union.merge(committed)?;
    union.merge(staged)?;
    Ok(union)
}

/// Whether fewer owners of `partition` than meet every quorum of `w` are left without `lost`: the
/// number of [`Rings::warm_count`], which takes what it gets.
fn is_thin(rings: &Rings<'_>, w: u8, lost: &[NodeId], partition: Partition) -> bool {
    if !rings.is_moving() {
        return false;
    }
    let owners = rings.settled().owners(partition);
    let left = owners.iter().filter(|node| !lost.contains(node)).count();
    left < owners.len() + 1 - usize::from(w).clamp(1, owners.len().max(1))
}

/// Without weights and zones of a node that others follow.
fn in_effect(staged: Operations<'_>) -> Vec<Operation> {
    let all: Vec<Operation> = staged.iter().map(|committed| committed.operation).collect();
    let is_followed = |one: &Operation| {
        all.iter().any(|other| match (one, other) {
            (
                Operation::SetWeight { node, version, weight },
                Operation::SetWeight { node: same, version: later, weight: other },
            ) => node == same && (version, weight) < (later, other),
            (
                Operation::SetZone { node, version, zone },
                Operation::SetZone { node: same, version: later, zone: other },
            ) => node == same && (version, zone) < (later, other),
            _ => false,
        })
    };
    all.iter().filter(|one| !is_followed(one)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_core::membership::member::{Member, Name};

    const CONFIG: RingConfig = RingConfig { partition_bits: 6, n: 3, seed: 1 };
    const Q: u32 = 64;

    fn add(node: u32) -> Operation {
        let zone = Name::new("default").unwrap();
        Operation::Add(Member { node: NodeId(node), uuid: node.into(), weight: 100, zone })
    }

    fn remove(node: u32, is_lost: bool) -> Operation {
        Operation::Remove { node: NodeId(node), is_lost }
    }

    fn weight(node: u32, version: u32, weight: u16) -> Operation {
        Operation::SetWeight { node: NodeId(node), version, weight }
    }

    fn set(operations: &[Operation], is_settled: bool) -> Vec<u8> {
        let mut storage = vec![[0; Operation::BYTES]; 16];
        let mut set = Topology::new(&mut storage);
        for operation in operations {
            let committed = if is_settled { operation.settled() } else { operation.moving() };
            set.insert(committed).unwrap();
        }
        set.operations().bytes().to_vec()
    }

    fn plan(members: u32, w: u8, staged: &[Operation]) -> Plan {
        let committed = set(&(1..=members).map(add).collect::<Vec<_>>(), true);
        let staged = set(staged, false);
        let of = |bytes| Operations::new_checked(bytes).unwrap();
        Plan::new(&CONFIG, w, of(&committed), of(&staged)).unwrap()
    }

    #[test]
    fn nothing_moves_where_nothing_is_staged() {
        let plan = plan(3, 2, &[]);
        assert_eq!((plan.moves, plan.member_count), (0, 3));
        assert_eq!((plan.staged, plan.thin), (vec![], vec![]));
        assert_eq!(plan.peak_over_fair_milli, 1000, "three nodes have all three copies");
    }

    #[test]
    fn a_newcomer_gets_its_fair_share_and_a_leaver_gives_its_own() {
        let join = plan(3, 2, &[add(4)]);
        let fair = Q * 3 / 4;
        assert!(join.moves.abs_diff(fair) <= fair / 5, "{join:?}");
        assert_eq!((join.member_count, join.thin.len()), (4, 0));
        assert!(join.peak_over_fair_milli < 1250, "{join:?}");
        let leave = plan(4, 2, &[remove(4, false)]);
        assert!(leave.moves.abs_diff(fair) <= fair / 5, "{leave:?}");
        assert_eq!(leave.thin, []);
        assert_ne!(join.hash, leave.hash);
        assert_eq!(plan(3, 2, &[remove(3, false)]).moves, 0, "all have all already");
    }

    #[test]
    fn what_only_the_lost_may_have_is_thin() {
        assert_eq!(plan(4, 2, &[remove(1, true)]).thin, [], "two of three meet any two");
        let one = plan(4, 1, &[remove(1, true)]).thin.len() as u32;
        assert!(one.abs_diff(Q * 3 / 4) <= Q / 5, "w 1: all that it owned: {one}");
        let two = plan(4, 2, &[remove(1, true), remove(2, true)]).thin.len() as u32;
        assert!(two > 0 && two < Q, "those that both owned: {two}");
        assert_eq!(plan(4, 3, &[remove(1, true), remove(2, true)]).thin, []);
        assert_eq!(plan(4, 1, &[remove(1, false)]).thin, [], "it hands over");
    }

    #[test]
    fn a_loss_that_was_accepted_is_not_asked_for_again() {
        let members = set(&(1..=4).map(add).collect::<Vec<_>>(), true);
        let of = |bytes| Operations::new_checked(bytes).unwrap();
        let lost = set(&[remove(1, true), remove(2, true)], false);
        let mut storage = vec![[0; Operation::BYTES]; 16];
        let union = united(&mut storage, of(&members), of(&lost)).unwrap();
        let committed = union.operations().bytes().to_vec();
        let join = set(&[add(5)], false);
        let plan = Plan::new(&CONFIG, 2, of(&committed), of(&join)).unwrap();
        assert_eq!(plan.thin, []);
    }

    #[test]
    fn of_two_weights_the_later_is_shown() {
        let plan = plan(3, 2, &[weight(1, 1, 500), weight(1, 2, 50), weight(2, 1, 7)]);
        assert_eq!(plan.staged.len(), 2);
        assert!(plan.staged.contains(&weight(1, 2, 50)) && plan.staged.contains(&weight(2, 1, 7)));
    }
}
