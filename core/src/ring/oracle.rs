//! The ring once more, as plainly as possible: vectors, maps and floating point.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use super::RingConfig;
use crate::id::NodeId;
use crate::membership::member::Member;

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Per partition, the leader first.
    pub(super) owners: Vec<Vec<NodeId>>,
    pub(super) fallbacks: Vec<Vec<NodeId>>,
    pub(super) over_cap: u32,
    pub(super) crowded: u32,
}

pub(super) fn ring(members: &[Member], config: &RingConfig) -> Oracle {
    let partitions = config.partition_count();
    let replicas = config.n.min(members.len());
    let mut oracle = Oracle::default();
    if members.is_empty() {
        oracle.owners.resize(partitions, Vec::new());
        oracle.fallbacks.resize(partitions, Vec::new());
        return oracle;
    }
    let plan = Plan::new(members, partitions, replicas);
    let mut owned = BTreeMap::<NodeId, u32>::new();
    let mut led = BTreeMap::<NodeId, u32>::new();
    for partition in 0..partitions {
        let mut order: Vec<&Member> = members.iter().collect();
        order.sort_by(|a, b| {
            let score = |m: &Member| chord(draw(config, partition, m)) / plan.pull[&m.node];
            score(a).total_cmp(&score(b)).then(a.node.cmp(&b.node))
        });
        let must = plan.must(members, &owned, partitions - partition);
        let mut taken: Vec<&Member> = Vec::new();
        for bounded in [true, false] {
            for &member in &order {
                let held = |zone: &str| taken.iter().filter(|t| t.zone.as_str() == zone).count();
                let owed: usize = must.iter().map(|(z, &must)| must.saturating_sub(held(z))).sum();
                let zone = member.zone.as_str();
                let free = held(zone) < must[zone] || replicas - taken.len() > owed;
                let count = *owned.entry(member.node).or_default();
                if taken.len() < replicas
                    && !taken.contains(&member)
                    && held(zone) < plan.zone_limit
                    && (!bounded || (free && count < plan.cap[&member.node]))
                {
                    taken.push(member);
                    *owned.entry(member.node).or_default() += 1;
                    oracle.over_cap += u32::from(count >= plan.cap[&member.node]);
                }
            }
        }
        let mut zones: Vec<&str> = taken.iter().map(|m| m.zone.as_str()).collect();
        zones.sort_unstable();
        for zone in zones.chunk_by(|a, b| a == b) {
            oracle.crowded += zone.len().saturating_sub(plan.zone_even) as u32;
        }
        let mut owners: Vec<&Member> =
            order.iter().copied().filter(|m| taken.contains(m)).collect();
        let leads = |m: &Member| f64::from(led.get(&m.node).copied().unwrap_or(0));
        let fewest = |m: &Member| leads(m) / f64::from(m.weight);
        let least = owners.iter().map(|m| fewest(m)).fold(f64::INFINITY, f64::min);
        let leader = owners.iter().position(|m| fewest(m) == least).unwrap();
        let leader = owners.remove(leader);
        owners.insert(0, leader);
        *led.entry(leader.node).or_default() += 1;
        let mut others: Vec<&Member> =
            order.iter().copied().filter(|m| !taken.contains(m)).collect();
        others.sort_by_key(|m| zones.contains(&m.zone.as_str())); // stable
        oracle.owners.push(owners.iter().map(|m| m.node).collect());
        oracle.fallbacks.push(others.iter().map(|m| m.node).collect());
    }
    oracle
}

struct Plan {
    replicas: usize,
    zone_even: usize,
    zone_limit: usize,
    cap: BTreeMap<NodeId, u32>,
    pull: BTreeMap<NodeId, f64>,
}

impl Plan {
    fn new(members: &[Member], partitions: usize, replicas: usize) -> Plan {
        let q = partitions as f64;
        let mut zones = BTreeMap::<String, Vec<&Member>>::new();
        for member in members {
            zones.entry(member.zone.as_str().into()).or_default().push(member);
        }
        let held = |limit: usize| zones.values().map(|z| z.len().min(limit)).sum::<usize>();
        let zone_limit = (1..).find(|&limit| held(limit) >= replicas).unwrap();
        let zone_weights: Vec<(f64, f64)> = zones
            .values()
            .map(|z| (z.iter().map(|m| f64::from(m.weight)).sum(), z.len().min(zone_limit) as f64))
            .collect();
        let quotas = fill(
            replicas as f64 * q,
            &zone_weights.iter().map(|&(w, held)| (w, held * q)).collect::<Vec<_>>(),
        );
        let mean = partitions * replicas / members.len();
        let slack = (100.0 / f64::from(mean as u32).sqrt().floor().max(1.0)).floor();
        let slack = slack.clamp(3.0, 20.0);
        let mut cap = BTreeMap::new();
        let mut pull = BTreeMap::new();
        for (zone, quota) in zones.values().zip(quotas) {
            let weights: Vec<_> = zone.iter().map(|m| (f64::from(m.weight), q)).collect();
            for (member, fair) in zone.iter().zip(fill(quota, &weights)) {
                let exact = fair * (100.0 + slack) / 100.0;
                cap.insert(member.node, (exact - 1e-6).ceil().min(q) as u32);
                let missed = (1.0 - fair / q).clamp(1.0 / 16384.0, 1.0 - 1e-12);
                let weight = f64::from(member.weight);
                pull.insert(member.node, if zone_limit == 1 { weight } else { chord(missed) });
            }
        }
        let zone_even = replicas.div_ceil(zones.len());
        Plan { replicas, zone_even, zone_limit, cap, pull }
    }

    /// What each zone must get of the next partition when `left` of them are left.
    fn must(
        &self,
        members: &[Member],
        owned: &BTreeMap<NodeId, u32>,
        left: usize,
    ) -> BTreeMap<String, usize> {
        let mut rooms = BTreeMap::<String, usize>::new();
        for member in members {
            *rooms.entry(member.zone.as_str().into()).or_default() +=
                self.cap[&member.node] as usize;
        }
        for member in members {
            let room = rooms.get_mut(member.zone.as_str()).unwrap();
            *room = room.saturating_sub(owned.get(&member.node).copied().unwrap_or(0) as usize);
        }
        let now = |room: usize| room.min(self.zone_limit * left);
        let later = self.zone_limit * (left - 1);
        let usable: usize = rooms.values().map(|&room| now(room)).sum();
        let must = |room| now(room).saturating_sub(later);
        let owed: usize = rooms.values().map(|&room| must(room)).sum();
        let idle = usable - owed >= self.replicas * left || owed > self.replicas;
        rooms.into_iter().map(|(zone, room)| (zone, if idle { 0 } else { must(room) })).collect()
    }
}

/// Shares of (weight, limit) receivers: the level rises for all until their limits stop them.
fn fill(total: f64, receivers: &[(f64, f64)]) -> Vec<f64> {
    let at = |level: f64| receivers.iter().map(move |&(w, limit)| (w * level).min(limit));
    let (mut low, mut high) = (0.0, total * 2.0);
    for _ in 0..200 {
        let level = (low + high) / 2.0;
        *(if at(level).sum::<f64>() < total { &mut low } else { &mut high }) = level;
    }
    at(high).collect()
}

fn draw(config: &RingConfig, partition: usize, member: &Member) -> f64 {
    let mut bytes = Vec::from((partition as u16).to_le_bytes());
    bytes.extend(member.uuid.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, config.seed) as f64 / 2f64.powi(64)
}

/// −log2(x) on chords between 256 points per octave, as `score.rs` defines it.
fn chord(x: f64) -> f64 {
    let octave = x.log2().floor();
    let mantissa = x / octave.exp2();
    let steps = (mantissa - 1.0) * 256.0;
    let log2 = |step: f64| (1.0 + step / 256.0).log2();
    let (low, high) = (log2(steps.floor()), log2(steps.floor() + 1.0));
    -(octave + low + (high - low) * steps.fract())
}
