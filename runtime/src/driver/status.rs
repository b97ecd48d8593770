//! The cluster as JSON, for the admin port and the command line.

use super::ledger::Ledger;
use super::membership::Membership;
use super::peers::ip;
use super::resp::About;
use crate::metrics::Gauge;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::membership::member::{Contact, Member};
use ringmain_core::ring::{Ring, Rings};
use ringmain_core::time::Instant;
use ringmain_core::wire::VERSION;
use ringmain_core::wire::gossip::Liveness;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// `cluster status`.
pub(crate) fn status(members: &Membership, about: &About, ledger: &Ledger, now: Instant) -> String {
    let node = &members.node;
    let ring = node.rings().committed();
    let seats = node.operations().members();
    // What other nodes keep, and find different, is not known here: the command line asks them.
    let hints = about.metrics.gauge_total(Gauge::Hints);
    let unrepaired = ledger.differences();
    let own = Kept { hints, oldest_s: ledger.oldest_hint(now).map(|age| age.as_secs()) };
    let kept = |seat: &Member| (about.node == seat.node).then_some(own);
    let of_member = |seat| of_member((members, about), ring, seat, kept(seat));
    let operations = node.operations();
    let leaving = operations.leaving();
    let has_left = operations.is_removed(about.node) && !node.rings().contains(about.node);
    let gone = leaving.iter().copied().chain(has_left.then_some(about.node));
    let gone: Vec<Member> = gone.filter_map(|node| operations.last_known(node)).collect();
    let nodes: Vec<Value> = seats.iter().chain(&gone).map(of_member).collect();
    let all_alive = seats.iter().all(|seat| state(members, seat.node) == "alive");
    let is_moving = node.operations().is_moving();
    let is_quiet = !is_moving && hints == 0 && unrepaired == 0;
    let is_settled = all_alive && !seats.is_empty() && is_quiet;
    json!({
        "cluster": format!("{:032x}", about.cluster.0),
        "topology": format!("{:016x}", node.published().0),
        "ring_hash": format!("{:016x}", ring.hash()),
        "partitions": 1_u32 << about.partition_bits,
        "n": ring.config().n,
        "r": about.r,
        "w": about.w,
        "nodes": nodes,
        "active_topologies": 1 + u8::from(is_moving),
        "hints_pending": hints,
        "unrepaired": unrepaired,
        "converged": is_settled,
    })
    .to_string()
}

/// What this node keeps for others.
#[derive(Clone, Copy)]
struct Kept {
    hints: u64,
    oldest_s: Option<u64>,
}

fn of_member(
    (members, about): (&Membership, &About),
    ring: &Ring<'_>,
    seat: &Member,
    kept: Option<Kept>,
) -> Value {
    let contact = members.node.contacts().iter().find(|contact| contact.node == seat.node);
    let address = |port: fn(&Contact) -> u16| {
        contact.map_or(Value::Null, |contact| {
            SocketAddr::new(ip(contact), port(contact)).to_string().into()
        })
    };
    json!({
        "node": seat.node.to_string(),
        "name": contact.map(|contact| contact.name.as_str().to_owned()),
        "zone": seat.zone.as_str(),
        "weight": seat.weight,
        "state": state(members, seat.node),
        "resp": address(|contact| contact.resp_port),
        "native": address(|contact| contact.native_port),
        "admin": address(|contact| contact.admin_port),
        "owned": ring.owned_count(seat.node),
        "leads": ring.led_count(seat.node),
        "wire": version(members, about, seat.node),
        "hints_held": kept.map(|kept| kept.hints),
        "oldest_hint_s": kept.and_then(|kept| kept.oldest_s),
    })
}

/// The newest version of the protocol that the build of `node` speaks; none if nobody knows it now.
fn version(members: &Membership, about: &About, node: NodeId) -> Option<u8> {
    if node == about.node { Some(VERSION) } else { members.newest.get(&node).copied() }
}

/// How many members are alive, suspected, down.
pub(crate) fn member_counts(members: &Membership) -> [u64; 3] {
    let seats = members.node.operations().members();
    let count =
        |wanted| seats.iter().filter(|seat| health(members, seat.node) == wanted).count() as u64;
    ["alive", "suspect", "down"].map(count)
}

/// What a node does, or else how it is.
fn state(members: &Membership, node: NodeId) -> &'static str {
    let operations = members.node.operations();
    if !operations.is_removed(node) {
        return if operations.is_joining(node) { "joining" } else { health(members, node) };
    }
    if members.node.rings().contains(node) { "leaving" } else { "left" }
}

/// What the cluster holds a member for; one that it does not suspect yet, but that this node cannot
/// reach, is suspected, too.
pub(super) fn health(members: &Membership, node: NodeId) -> &'static str {
    match members.node.liveness(node) {
        Some(Liveness::Alive) if members.node.is_reachable(node) => "alive",
        Some(Liveness::Alive | Liveness::Suspect) | None => "suspect",
        Some(Liveness::Down) => "down",
    }
}

/// `cluster ring`: one partition, or all.
pub(crate) fn ring(rings: &Rings<'_>, partition: Option<Partition>) -> String {
    if let Some(partition) = partition {
        return of_partition(rings, partition).to_string();
    }
    let all = 0..rings.committed().config().partition_count() as u32;
    let all = all.map(|partition| of_partition(rings, Partition(partition as u16)));
    Value::Array(all.collect()).to_string()
}

fn of_partition(rings: &Rings<'_>, partition: Partition) -> Value {
    let owners = rings.owners(partition).iter().map(NodeId::to_string).collect::<Vec<_>>();
    let fallbacks = rings.fallbacks(partition);
    let fallbacks = fallbacks.iter().map(NodeId::to_string).collect::<Vec<_>>();
    json!({ "partition": partition.0, "owners": owners, "fallbacks": fallbacks })
}
