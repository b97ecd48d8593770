//! One greedy pass over the partitions: who comes first and still has room owns.

use heapless::Vec;

use super::score::score;
use super::shares::Shares;
use super::{Relaxations, RingConfig, Seat};
use crate::id::{NodeId, Partition};
use crate::limits::{MEMBER_COUNT_MAX, REPLICA_COUNT_MAX};

/// A member's place in the order of one partition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Rank {
    /// Lowest first; ties go to the lower seat, which is the lower node.
    score: u64,
    /// Index of the member among the seats.
    pub(super) seat: u16,
}

/// Members in the order of their scores for a partition. 4 KiB.
pub(super) type Ranking = Vec<Rank, MEMBER_COUNT_MAX>;

/// All members in the order of their scores for `partition`, into `ranking`: returned, its 4 KiB
/// would be copied for each partition, which took nine tenths of the pass.
pub(super) fn rank(seats: &[Seat], seed: u64, partition: Partition, ranking: &mut Ranking) {
    ranking.clear();
    ranking.extend(seats.iter().enumerate().map(|(seat, member)| Rank {
        score: score(seed, partition, member.uuid, member.pull),
        seat: seat as u16,
    }));
    ranking.sort_unstable();
}

/// Fills `owners` (rows of `config.n`, the first `min(n, seats)` of each used) and the shares of
/// the seats. Cost: one hash per partition and seat, and one sort of the seats per partition.
pub(super) fn place_all(
    seats: &mut [Seat],
    config: &RingConfig,
    owners: &mut [NodeId],
) -> Relaxations {
    let mut relaxations = Relaxations::default();
    if seats.is_empty() {
        return relaxations;
    }
    let mut shares = Shares::new(seats, config.partition_count(), config.n.min(seats.len()));
    let mut ranking = Ranking::new();
    for (partition, row) in owners.chunks_exact_mut(config.n).enumerate() {
        rank(seats, config.seed, Partition(partition as u16), &mut ranking);
        shares.next_partition();
        let taken = take(seats, &mut shares, &ranking, &mut relaxations);
        for (owner, &seat) in row.iter_mut().zip(&taken) {
            *owner = seats[usize::from(seat)].node;
        }
    }
    relaxations
}

/// The owners of one partition as seats, leader first, the others in score order.
fn take(
    seats: &mut [Seat],
    shares: &mut Shares,
    ranking: &Ranking,
    relaxations: &mut Relaxations,
) -> Taken {
    let mut taken = Taken::new();
    for bounded in [true, false] {
        for rank in ranking {
            if taken.len() == shares.replicas {
                break;
            }
            let seat = &mut seats[usize::from(rank.seat)];
            let full = seat.owned >= seat.cap || !shares.spares(seat.zone, taken.len());
            if taken.contains(&rank.seat) || shares.at_limit(seat.zone) || (bounded && full) {
                continue;
            }
            taken.push(rank.seat).expect("at most `replicas` are taken");
            seat.owned += 1;
            let in_zone = shares.take(seat.zone);
            relaxations.cap += u32::from(seat.owned > seat.cap);
            relaxations.zone += u32::from(in_zone > shares.even);
        }
    }
    assert!(taken.len() == shares.replicas); // some zone is below its limit until then
    taken.sort_unstable_by_key(|&seat| ranking.iter().position(|rank| rank.seat == seat));
    lead(seats, &mut taken);
    taken
}

/// Puts the seat with the fewest partitions led for its weight first; ties keep score order.
fn lead(seats: &mut [Seat], taken: &mut [u16]) {
    let mut first = 0;
    for at in 1..taken.len() {
        let best = &seats[usize::from(taken[first])];
        let seat = &seats[usize::from(taken[at])];
        if seat.led * u32::from(best.weight) < best.led * u32::from(seat.weight) {
            first = at;
        }
    }
    taken[..=first].rotate_right(1);
    seats[usize::from(taken[0])].led += 1;
}

type Taken = Vec<u16, REPLICA_COUNT_MAX>;

const _: () = assert!(MEMBER_COUNT_MAX <= u16::MAX as usize, "seats and zones are u16");
