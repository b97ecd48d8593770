//! What a client knows of the ring.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};

use ringmain_core::hash::KeyHash;
use ringmain_core::id::{NodeId, Partition, ShardIndex, TopologyId};
use ringmain_core::wire::hello::Cluster;
use ringmain_core::wire::routes::{RouteNode, Routes};

/// A shard of a node, and where that is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) shard: ShardIndex,
    pub(super) address: SocketAddr,
}

/// A [`Routes`] of its own.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) topology: TopologyId,
    hash_seed: u64,
    partition_bits: u32,
    nodes: Vec<Node>,
    /// Of each partition, places among `nodes`.
    rows: Vec<Vec<u16>>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    node: NodeId,
    address: SocketAddr,
    shards: u16,
}

impl Table {
    pub(super) fn new(cluster: &Cluster, topology: TopologyId, routes: &Routes<'_>) -> Table {
        let nodes: Vec<Node> = routes.nodes.iter().map(Node::of).collect();
        let places: HashMap<NodeId, u16> = nodes.iter().map(|node| node.node).zip(0..).collect();
        let partitions = 0..1_u32 << routes.partition_bits;
        let rows = partitions.map(|partition| {
            let row = routes.coordinators(Partition(partition as u16));
            row.map(|node| places[&node.node()]).collect()
        });
        Table {
            topology,
            hash_seed: cluster.hash_seed,
            partition_bits: routes.partition_bits,
            rows: rows.collect(),
            nodes,
        }
    }

    pub(super) fn partition(&self, key: &[u8]) -> Partition {
        KeyHash::new(self.hash_seed, key).partition(self.partition_bits)
    }

    /// The shards that coordinate `partition`, the one that is asked first being the first.
    pub(super) fn coordinators(&self, partition: Partition) -> impl Iterator<Item = Place> {
        let row = &self.rows[usize::from(partition.0)];
        row.iter().map(move |index| self.place(&self.nodes[usize::from(*index)], partition))
    }

    /// The shards that have `partition` on all nodes, owners or not: they pass on.
    pub(super) fn everywhere(&self, partition: Partition) -> impl Iterator<Item = Place> {
        self.nodes.iter().map(move |node| self.place(node, partition))
    }

    fn place(&self, node: &Node, partition: Partition) -> Place {
        let shard = ShardIndex::of(partition, node.shards, self.partition_bits);
        Place { node: node.node, shard, address: node.address }
    }

    /// Whether there is that shard.
    pub(super) fn has(&self, node: NodeId, shard: ShardIndex) -> bool {
        let known = self.nodes.iter().find(|known| known.node == node);
        known.is_some_and(|known| shard.0 < known.shards)
    }
}

impl Node {
    fn of(node: &RouteNode) -> Node {
        let ip = Ipv6Addr::from(node.ip()).to_canonical();
        let address = SocketAddr::new(ip, node.native_port());
        Node { node: node.node(), address, shards: node.shards() }
    }
}
