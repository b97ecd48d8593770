//! What every zone and node should own, and what zones can still hold while the pass goes on.

use heapless::Vec;

use super::Seat;
use super::score::neg_log2;
use crate::limits::{MEMBER_COUNT_MAX, PARTITION_BITS_MAX, REPLICA_COUNT_MAX};

/// The zones' side of the pass. Its numbers are replicas.
#[derive(Debug)]
pub(super) struct Shares {
    /// Owners of every partition.
    pub(super) replicas: usize,
    /// ⌈replicas / zones⌉.
    pub(super) even: usize,
    /// The most replicas of a partition in one zone: the least number that suffices, which is
    /// `even` unless zones have too few nodes.
    limit: usize,
    /// Partitions to be placed, the current one included.
    left: usize,
    /// What zones must still get of the current partition.
    owed: usize,
    zones: Vec<Zone, MEMBER_COUNT_MAX>,
}

#[derive(Clone, Copy, Debug)]
struct Zone {
    /// What its nodes may still own below their caps.
    room: usize,
    /// What it holds of the current partition.
    held: usize,
    /// What it must get of the current partition.
    must: usize,
}

impl Shares {
    /// Sets `fair`, `cap` and `pull` of every seat: a zone gets slots by weight, but no more
    /// than it can hold, and divides them likewise among its nodes.
    pub(super) fn new(seats: &mut [Seat], partitions: usize, replicas: usize) -> Shares {
        let (mut quotas, limit) = zone_quotas(seats, replicas);
        for quota in &mut quotas {
            quota.limit *= slots(partitions);
        }
        water_fill(slots(partitions * replicas), &mut quotas);
        let slack = slack_percent(partitions * replicas / seats.len());
        let mut zones = Vec::new();
        for (number, quota) in quotas.iter().enumerate() {
            let mut nodes = Vec::<Bucket, MEMBER_COUNT_MAX>::new();
            let in_zone = |seat: &&mut Seat| usize::from(seat.zone) == number;
            let weights = seats.iter_mut().filter(in_zone).map(|seat| u64::from(seat.weight));
            nodes.extend(weights.map(|weight| Bucket::new(weight, slots(partitions))));
            water_fill(quota.share, &mut nodes);
            let mut room = 0;
            for (seat, node) in seats.iter_mut().filter(in_zone).zip(&nodes) {
                let cap = (node.share * (100 + slack)).div_ceil(slots(100));
                seat.fair = node.share;
                seat.cap = cap.min(partitions as u64) as u32;
                seat.pull =
                    if limit == 1 { node.weight } else { pull(node.share, slots(partitions)) };
                room += seat.cap as usize;
            }
            zones.push(Zone { room, held: 0, must: 0 }).expect("no more zones than members");
        }
        let even = replicas.div_ceil(quotas.len());
        Shares { replicas, even, limit, left: partitions + 1, owed: 0, zones }
    }

    /// Begins a partition. A zone with room for nearly all partitions that are left loses room
    /// for good when it is passed over; while there is room to waste it may be, afterwards it
    /// must not, or the last partitions would find room in too few zones.
    pub(super) fn next_partition(&mut self) {
        self.left -= 1;
        let left = self.left * self.limit;
        let usable: usize = self.zones.iter().map(|zone| zone.room.min(left)).sum();
        self.owed = 0;
        for zone in &mut self.zones {
            zone.held = 0;
            zone.must = zone.room.min(left).saturating_sub(left - self.limit);
            self.owed += zone.must;
        }
        let may_waste = usable >= self.replicas * self.left + self.owed;
        if may_waste || self.owed > self.replicas {
            self.owed = 0;
            self.zones.iter_mut().for_each(|zone| zone.must = 0);
        }
    }

    /// Whether `zone` may take one more when `taken` replicas of the partition are placed, and
    /// the others still get what they must.
    pub(super) fn spares(&self, zone: u16, taken: usize) -> bool {
        let zone = &self.zones[usize::from(zone)];
        zone.held < zone.must || taken + self.owed < self.replicas
    }

    /// Whether `zone` holds all that it may of the current partition.
    pub(super) fn at_limit(&self, zone: u16) -> bool {
        self.zones[usize::from(zone)].held == self.limit
    }

    /// `zone` gets one more: what it now holds of the current partition.
    pub(super) fn take(&mut self, zone: u16) -> usize {
        let zone = &mut self.zones[usize::from(zone)];
        self.owed -= usize::from(zone.held < zone.must);
        zone.room = zone.room.saturating_sub(1);
        zone.held += 1;
        assert!(zone.held <= self.limit);
        zone.held
    }
}

/// One receiver of [`water_fill`].
#[derive(Clone, Copy, Debug)]
struct Bucket {
    weight: u64,
    limit: u64,
    share: u64,
    full: bool,
}

impl Bucket {
    fn new(weight: u64, limit: u64) -> Bucket {
        Bucket { weight, limit, share: 0, full: false }
    }
}

/// Per zone, its weight and the most replicas of one partition that it can hold, `limit` or the
/// number of its nodes; and the least `limit` with which all zones together hold `replicas`.
fn zone_quotas(seats: &[Seat], replicas: usize) -> (Vec<Bucket, MEMBER_COUNT_MAX>, usize) {
    let mut quotas = Vec::<Bucket, MEMBER_COUNT_MAX>::new();
    let zone_count = seats.iter().map(|seat| usize::from(seat.zone) + 1).max().unwrap_or(0);
    for zone in 0..zone_count {
        let nodes = seats.iter().filter(|seat| usize::from(seat.zone) == zone);
        let weight = nodes.clone().map(|seat| u64::from(seat.weight)).sum();
        let quota = Bucket::new(weight, nodes.count() as u64);
        quotas.push(quota).expect("no more zones than members");
    }
    let held = |limit: usize| quotas.iter().map(|quota| quota.limit.min(limit as u64)).sum::<u64>();
    let limit = (1..=replicas)
        .find(|&limit| held(limit) >= replicas as u64)
        .expect("with limit = replicas, the zones hold min(replicas, members) or more");
    for quota in &mut quotas {
        quota.limit = quota.limit.min(limit as u64);
    }
    (quotas, limit)
}

/// Divides `total` by weight; who would get more than its limit gets the limit, and the rest is
/// divided among the others. Rounds down, by less than 1 per bucket.
fn water_fill(total: u64, buckets: &mut [Bucket]) {
    let mut left = total;
    loop {
        let weight: u64 = buckets.iter().filter(|bucket| !bucket.full).map(|b| b.weight).sum();
        let level = left;
        for bucket in buckets.iter_mut().filter(|bucket| !bucket.full) {
            bucket.share = level * bucket.weight / weight;
            if bucket.share >= bucket.limit {
                bucket.share = bucket.limit;
                bucket.full = true;
                left -= bucket.limit;
            }
        }
        if left == level {
            break;
        }
    }
    assert!(buckets.iter().map(|bucket| bucket.share).sum::<u64>() <= total);
}

/// How far above its fair share a node may go, in percent: wide where the share is small and
/// chance is large, since a cap that binds often moves more than it must.
fn slack_percent(fair_mean: usize) -> u64 {
    (100 / (fair_mean as u64).isqrt().max(1)).clamp(3, 20)
}

/// By what to divide the scores of a node that should own `share` of `total` slots. Of R drawn
/// without replacement, an item of twice the weight is not drawn twice as often (it cannot be
/// drawn twice); with −log2(1 − share / total) it is (Rosén 1997), and the cap has little to
/// correct. Small shares, and equal ones, make it the same as the weight. Where each zone holds
/// one replica at most, nodes compete within their zone for one draw, and the weight is right.
fn pull(share: u64, total: u64) -> u64 {
    let rest = (total - share).clamp(total >> PULL_BITS_MAX, total - 1);
    neg_log2(((rest << 32) / total) << 32)
}

/// `count` slots in the unit of shares.
fn slots(count: usize) -> u64 {
    (count as u64) << SHARE_BITS
}

/// Shares are counted in 2^-16 slots, so that rounding them never matters.
pub(super) const SHARE_BITS: u32 = 16;
/// A node that should own all gets a pull of 14 binary digits, not an infinite one.
const PULL_BITS_MAX: u32 = 14;

const _: () = assert!(
    REPLICA_COUNT_MAX.ilog2() + PARTITION_BITS_MAX + SHARE_BITS // most slots
        + MEMBER_COUNT_MAX.ilog2() + u16::BITS
        < 64, // greatest weight
    "the products of `water_fill` fit a u64"
);
const _: () = assert!(PARTITION_BITS_MAX + SHARE_BITS + 32 < 64, "`pull` fits a u64");
