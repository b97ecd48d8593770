//! Native connections as pure code: frames out of bytes, and the handshake of both ends.
//!
//! Every connection of the native port opens alike ([`handshake`]); `kind` in HELLO says who
//! dials. [`Acceptor`](acceptor::Acceptor) answers, [`Dialer`](dialer::Dialer) calls; what
//! follows is read by a [`FrameReader`](frames::FrameReader).
//!
//! ```text
//! client                    node          peer, joiner               node
//!   HELLO            ──►                    HELLO             ──►
//!                    ◄──  HELLO_REPLY                         ◄──  HELLO_REPLY, its proof
//!   requests         ──►                    PROOF             ──►
//!   PROOF, if it has ──►                                      ◄──  WELCOME
//!   the secret       ◄──  WELCOME           frames            ──►  and back
//! ```
//!
//! A client needs no secret and waits for no WELCOME: it goes on at once. If it has the secret
//! it may send PROOF at any time, first for instance, and is then trusted with cluster verbs.
//! At any point the acceptor may send REFUSED and close.
//!
//! Connections that ask for another shard are handed over before anything is sent. A joiner
//! that dials over loopback without a secret is given it in HELLO_REPLY, and only then.
//! Deadlines are the driver's: it closes a connection whose handshake takes too long.
//!
//! All of this does no I/O, but for [`bootstrap`](bootstrap::bootstrap), which blocks.
//!
//! [`handshake`]: ringmain_core::wire::handshake

use ringmain_core::id::{Boot, ClusterId, NodeId, RequestId, ShardIndex, TopologyId};
use ringmain_core::time::Instant;
use ringmain_core::wire::frame::Hop;
use ringmain_core::wire::handshake::Keys;
use ringmain_core::wire::hello::Cluster;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::version::Versions;

use crate::settings::Secret;

pub mod acceptor;
pub mod ahead;
pub mod bootstrap;
pub mod clock;
pub mod dialer;
pub mod frames;

#[cfg(test)]
mod tests;

/// What a handshake must know of its own end, as it is at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// The versions of the protocol that it speaks.
    pub versions: Versions,
    /// This node, not 0.
    pub node: NodeId,
    /// Its process life.
    pub boot: Boot,
    /// The shard at whose end the connection is.
    pub shard: ShardIndex,
    /// How many shards this node has.
    pub shards: u16,
    /// Its cluster; `None` while it is in none.
    pub cluster: Option<Cluster>,
    /// Keys of the cluster secret; `None` while it knows none. A node in a cluster has them.
    pub keys: Option<&'a Keys>,
    /// The secret, if joiners over loopback shall be given it.
    pub secret: Option<&'a Secret>,
    /// The topology to put into frames; 0 = none.
    pub topology: TopologyId,
    /// The time, read after all that is given to the handshake had arrived.
    pub now: Instant,
}

impl Local<'_> {
    fn cluster_id(&self) -> ClusterId {
        self.cluster.map_or(ClusterId(0), |cluster| cluster.id)
    }

    fn hop(&self, op: Op, request: RequestId) -> Hop {
        Hop {
            op,
            request,
            deadline_ms: 0,
            sent_ms: 0,
            topology: self.topology,
            cluster_digest: digest_of(self.cluster_id()),
        }
    }
}

/// What frames carry of a cluster; 0 of none.
fn digest_of(cluster: ClusterId) -> u64 {
    if cluster == ClusterId(0) { 0 } else { cluster.digest() }
}
