//! ROUTES and ROUTES_REPLY: which shards coordinate what, so that a client can ask them itself.
//!
//! A client that asks any other node, or any other shard, is answered as well, but with a detour.
//! Nodes and places are lent as they travel.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout;
use super::payload::{Malformed, Payload};
use crate::id::{NodeId, Partition, TopologyId};
use crate::limits::{
    MEMBER_COUNT_MAX, PARTITION_BITS_MAX, PARTITION_BITS_MIN, REPLICA_COUNT_MAX, SHARD_COUNT_MAX,
};

/// ROUTES: the topology of the routes that the client has, 0 = none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RoutesRequest {
    /// See the type.
    pub known: TopologyId,
}

impl RoutesRequest {
    /// Reads the payload of a ROUTES.
    pub fn new_checked(payload: &[u8]) -> Result<RoutesRequest, Malformed> {
        let fixed = layout::exact::<layout::Routes>(payload)?;
        Ok(RoutesRequest { known: TopologyId(fixed.known.get()) })
    }
}

impl Payload for RoutesRequest {
    fn bytes(&self) -> usize {
        size_of::<layout::Routes>()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(layout::put(&layout::Routes { known: self.known.0.into() }, out).is_empty());
    }
}

/// Where a node takes native connections. As it travels, 24 bytes.
#[derive(
    Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned,
)]
#[repr(C)]
pub struct RouteNode {
    node: U32,
    native_port: U16,
    shards: U16,
    ip: [u8; 16],
}

impl RouteNode {
    /// A node, not 0, with its port, not 0, its shards, `1 ..= SHARD_COUNT_MAX`, and its address,
    /// IPv4 as `::ffff:a.b.c.d`.
    pub const fn new(node: NodeId, native_port: u16, shards: u16, ip: [u8; 16]) -> RouteNode {
        let (node, native_port) = (U32::new(node.0), U16::new(native_port));
        RouteNode { node, native_port, shards: U16::new(shards), ip }
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        NodeId(self.node.get())
    }

    /// Its native port.
    pub fn native_port(&self) -> u16 {
        self.native_port.get()
    }

    /// How many shards it has.
    pub fn shards(&self) -> u16 {
        self.shards.get()
    }

    /// Its address, IPv4 as `::ffff:a.b.c.d`.
    pub fn ip(&self) -> [u8; 16] {
        self.ip
    }

    fn is_sound(&self) -> bool {
        let shards = usize::from(self.shards());
        self.node().0 != 0 && self.native_port() != 0 && (1..=SHARD_COUNT_MAX).contains(&shards)
    }
}

/// What stands in a row of [`Routes`] behind the last coordinator.
pub const NO_NODE: U16 = U16::MAX_VALUE;

/// ROUTES_REPLY: who coordinates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoutesReply<'a> {
    /// Whoever did so in the topology that was asked about.
    Same,
    /// These, in the topology of the frame.
    Routes(Routes<'a>),
}

/// Who coordinates each partition, in the order in which they are best asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Routes<'a> {
    /// log2 of the number of partitions.
    pub partition_bits: u32,
    /// Nodes, at most `MEMBER_COUNT_MAX`.
    pub nodes: &'a [RouteNode],
    /// A row for each partition, all of one length of at most `REPLICA_COUNT_MAX`: indices into
    /// `nodes`, then [`NO_NODE`].
    pub rows: &'a [U16],
}

impl<'a> Routes<'a> {
    /// The coordinators of a partition, the first one first.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn coordinators(&self, partition: Partition) -> impl Iterator<Item = &'a RouteNode> {
        let begin = usize::from(partition.0) * self.row_count();
        let row = &self.rows[begin..begin + self.row_count()];
        let nodes = self.nodes;
        row.iter().take_while(|index| **index != NO_NODE).map(|index| &nodes[usize::from(*index)])
    }

    /// Places in a row.
    fn row_count(&self) -> usize {
        self.rows.len() >> self.partition_bits
    }

    fn is_sound(&self) -> bool {
        (PARTITION_BITS_MIN..=PARTITION_BITS_MAX).contains(&self.partition_bits)
            && self.rows.len() == self.row_count() << self.partition_bits
            && self.row_count() <= REPLICA_COUNT_MAX
            && self.nodes.len() <= MEMBER_COUNT_MAX
            && self.nodes.iter().all(RouteNode::is_sound)
            && self.rows.chunks_exact(self.row_count().max(1)).all(|row| {
                // Indices, then none: never an index behind none.
                let mut ended = false;
                row.iter().all(|index| {
                    ended |= *index == NO_NODE;
                    ended == (*index == NO_NODE)
                        && (ended || usize::from(*index) < self.nodes.len())
                })
            })
    }
}

impl<'a> RoutesReply<'a> {
    /// Reads the payload of a ROUTES_REPLY. O(partitions).
    pub fn new_checked(payload: &'a [u8]) -> Result<RoutesReply<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::RoutesReply>(payload)?;
        if fixed.reserved.get() != 0 {
            return Err(Malformed);
        }
        if fixed.partition_bits == 0 {
            let is_plain = fixed.row == 0 && fixed.node_count.get() == 0 && rest.is_empty();
            return if is_plain { Ok(RoutesReply::Same) } else { Err(Malformed) };
        }
        let count = usize::from(fixed.node_count.get());
        let (nodes, rest) =
            <[RouteNode]>::ref_from_prefix_with_elems(rest, count).map_err(|_| Malformed)?;
        let rows = <[U16]>::ref_from_bytes(rest).map_err(|_| Malformed)?;
        let routes = Routes { partition_bits: fixed.partition_bits.into(), nodes, rows };
        let is_whole = routes.is_sound() && routes.row_count() == usize::from(fixed.row);
        if is_whole { Ok(RoutesReply::Routes(routes)) } else { Err(Malformed) }
    }
}

impl Payload for RoutesReply<'_> {
    fn bytes(&self) -> usize {
        let rest = match self {
            RoutesReply::Same => 0,
            RoutesReply::Routes(routes) => size_of_val(routes.nodes) + size_of_val(routes.rows),
        };
        size_of::<layout::RoutesReply>() + rest
    }

    fn write(&self, out: &mut [u8]) {
        let RoutesReply::Routes(routes) = self else {
            let (partition_bits, row) = (0, 0);
            let (node_count, reserved) = (0.into(), 0.into());
            let fixed = layout::RoutesReply { partition_bits, row, node_count, reserved };
            assert!(layout::put(&fixed, out).is_empty());
            return;
        };
        assert!(routes.is_sound());
        let fixed = layout::RoutesReply {
            partition_bits: routes.partition_bits as u8,
            row: routes.row_count() as u8,
            node_count: (routes.nodes.len() as u16).into(),
            reserved: 0.into(),
        };
        let rest = layout::put(&fixed, out);
        let (nodes, rows) = rest.split_at_mut(size_of_val(routes.nodes));
        nodes.copy_from_slice(routes.nodes.as_bytes());
        rows.copy_from_slice(routes.rows.as_bytes());
    }
}
