//! ROUTES: a client learns who coordinates what, so that it asks the right shard of the right node.

use super::State;
use crate::checksum::Hardware;
use crate::session::native::frames::append_frame;
use ringmain_core::drive::FrameRefused;
use ringmain_core::id::{NodeId, Partition, TopologyId};
use ringmain_core::request::Link;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::routes::{NO_NODE, RouteNode, Routes, RoutesReply, RoutesRequest};
use std::net::IpAddr;
use zerocopy::little_endian::U16;

impl State {
    /// Any client may know the way: all shards do.
    pub(super) fn on_routes(&mut self, link: Link, frame: &Frame<'_>) -> Result<(), FrameRefused> {
        if !frame.is_of(self.engine.settings.cluster_digest) {
            return Err(FrameRefused::OtherCluster);
        }
        let asked = RoutesRequest::new_checked(frame.payload());
        let RoutesRequest { known } = asked.map_err(|_| FrameRefused::Malformed)?;
        let mut hop = self.hop(Op::RoutesReply, frame.hop().request);
        let nodes = self.route_nodes();
        // Who cannot be named yet will be, without another topology.
        if nodes.len() < self.engine.shard.rings().nodes().len() {
            hop.topology = TopologyId(0);
        }
        let rows;
        let reply = if known == hop.topology && known != TopologyId(0) {
            RoutesReply::Same
        } else {
            rows = self.route_rows(&nodes);
            let partition_bits = self.about.partition_bits;
            RoutesReply::Routes(Routes { partition_bits, nodes: &nodes, rows: &rows })
        };
        if let Some(connection) = self.io.connections.of(link) {
            append_frame::<Hardware>(connection.out.tail(), &hop, &reply);
            self.io.mark(link.0 as u32);
        }
        Ok(())
    }

    /// Whoever may coordinate something, ascending, as far as their addresses are known.
    fn route_nodes(&self) -> Vec<RouteNode> {
        let nodes = self.engine.shard.rings().nodes();
        nodes.into_iter().filter_map(|node| self.route_node(node)).collect()
    }

    fn route_node(&self, node: NodeId) -> Option<RouteNode> {
        if node == self.about.node {
            let (native, shards) = (self.about.native, self.engine.shard.config().shards);
            return Some(RouteNode::new(node, native.port(), shards, octets(native.ip())));
        }
        let contact = self.io.peers.contact(node)?;
        Some(RouteNode::new(node, contact.native_port, contact.shards, contact.ip))
    }

    /// The coordinators of each partition, by their places among `nodes`.
    fn route_rows(&self, nodes: &[RouteNode]) -> Vec<U16> {
        let rings = self.engine.shard.rings();
        let count = rings.replica_count_max();
        let partitions = 0..1_u32 << self.about.partition_bits;
        let mut rows = Vec::with_capacity(count << self.about.partition_bits);
        for partition in partitions {
            let of = rings.coordinators(Partition(partition as u16));
            let place = |node| nodes.binary_search_by_key(node, RouteNode::node).ok();
            let known = of.iter().filter_map(place).map(|place| U16::new(place as u16));
            let row = known.chain(std::iter::repeat(NO_NODE)).take(count);
            rows.extend(row);
        }
        rows
    }
}

/// An address as it travels.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
