//! The payloads that open a connection. What the proofs are made of is in
//! [`handshake`](super::handshake).

use super::layout;
use super::payload::{Malformed, Payload};
use super::version::Versions;
use super::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};
use crate::id::{Boot, ClusterId, NodeId, ShardIndex};
use crate::limits::{PARTITION_BITS_MAX, PARTITION_BITS_MIN, REPLICA_COUNT_MAX, SHARD_COUNT_MAX};

codes! {
    /// Who dials.
    pub enum Kind {
        /// A member, to replicate and to gossip.
        Peer = 1,
        /// A client or a command of an operator.
        Client = 2,
        /// A node that wants to become a member.
        Joiner = 3,
    }

    /// Why a connection is refused.
    pub enum Reason {
        /// No protocol version in common.
        UnknownVersion = 1,
        /// The dialer belongs to another cluster.
        OtherCluster = 2,
        /// The dialer does not know the secret.
        BadProof = 3,
        /// The dialer is not a member, or not yet known as one.
        NotMember = 4,
        /// The joiner's data directory holds data.
        DataPresent = 5,
        /// The dialer was removed for good: it must serve nothing and delete nothing.
        Removed = 6,
        /// The acceptor is in no cluster yet.
        NoCluster = 7,
        /// The acceptor has no such shard.
        NoShard = 8,
        /// The acceptor has no room for another connection.
        Full = 9,
        /// A node of the dialer's id runs elsewhere, with this boot or a later one.
        Duplicate = 10,
        /// The first frames were not those of a handshake.
        Malformed = 11,
    }
}

/// HELLO: the dialer's first words. Its layout, and that of HELLO_REPLY, PROOF and REFUSED, is the
/// same in every version, for ever: a build must be able to read what one says that it was never
/// made to speak to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Oldest protocol version that the dialer speaks, ≥ 1.
    pub version_min: u8,
    /// Newest, ≥ `version_min`.
    pub version_max: u8,
    /// Who dials.
    pub kind: Kind,
    /// The acceptor's shard that the dialer wants; shard 0 always exists.
    pub shard: ShardIndex,
    /// The dialer's own shard; 0 for clients.
    pub source_shard: ShardIndex,
    /// How many shards the dialer has; 0 for clients.
    pub shards: u16,
    /// The dialer; 0 for clients.
    pub node: NodeId,
    /// The dialer's process life, 40 bits; 0 for clients.
    pub boot: Boot,
    /// Random, new for every connection.
    pub nonce: [u8; 16],
    /// The cluster that the dialer belongs to; 0 = not known yet.
    pub cluster: ClusterId,
}

impl Hello {
    /// What the dialer speaks.
    pub fn versions(&self) -> Versions {
        Versions { oldest: self.version_min, newest: self.version_max }
    }

    /// Reads a HELLO.
    pub fn new_checked(payload: &[u8]) -> Result<Hello, Malformed> {
        let fixed = layout::exact::<layout::Hello>(payload)?;
        let hello = Hello {
            version_min: fixed.version_min,
            version_max: fixed.version_max,
            kind: Kind::from_number(fixed.kind).ok_or(Malformed)?,
            shard: ShardIndex(fixed.shard.get()),
            source_shard: ShardIndex(fixed.source_shard.get()),
            shards: fixed.shards.get(),
            node: NodeId(fixed.node.get()),
            boot: Boot(fixed.boot.get()),
            nonce: fixed.nonce,
            cluster: ClusterId(fixed.cluster.get()),
        };
        let reserved = u16::from(fixed.reserved) | fixed.reserved2.get();
        if reserved == 0 && hello.is_valid() { Ok(hello) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        let sender = match self.kind {
            Kind::Client => {
                self.shards == 0 && self.source_shard.0 == 0 && self.node.0 == 0 && self.boot.0 == 0
            }
            Kind::Peer | Kind::Joiner => {
                (1..=SHARD_COUNT_MAX).contains(&usize::from(self.shards))
                    && self.source_shard.0 < self.shards
                    && self.node.0 != 0
                    && self.boot.0 >> 40 == 0
            }
        };
        sender
            && 1 <= self.version_min
            && self.version_min <= self.version_max
            && usize::from(self.shard.0) < SHARD_COUNT_MAX
    }
}

impl Payload for Hello {
    fn bytes(&self) -> usize {
        size_of::<layout::Hello>()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let fixed = layout::Hello {
            version_min: self.version_min,
            version_max: self.version_max,
            kind: self.kind.number(),
            reserved: 0,
            shard: self.shard.0.into(),
            source_shard: self.source_shard.0.into(),
            shards: self.shards.into(),
            reserved2: 0.into(),
            node: self.node.0.into(),
            boot: self.boot.0.into(),
            nonce: self.nonce,
            cluster: self.cluster.0.into(),
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// What a node tells of its cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cluster {
    /// Its id, not 0.
    pub id: ClusterId,
    /// Seed of its key hash.
    pub hash_seed: u64,
    /// log2 of its partitions: `PARTITION_BITS_MIN..=PARTITION_BITS_MAX`.
    pub partition_bits: u8,
    /// Owners of a partition: 1..=`REPLICA_COUNT_MAX`.
    pub n: u8,
    /// Answers that a read waits for by default: 1..=n.
    pub r: u8,
    /// Acknowledgements that a write waits for by default: 1..=n.
    pub w: u8,
}

/// HELLO_REPLY: the acceptor's first words, and its proof that it knows the secret.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct HelloReply<'a> {
    /// The protocol version chosen, ≥ 1.
    pub version: u8,
    /// The acceptor, not 0.
    pub node: NodeId,
    /// The acceptor's process life, 40 bits.
    pub boot: Boot,
    /// How many shards the acceptor has: 1..=`SHARD_COUNT_MAX`.
    pub shards: u16,
    /// Its cluster; `None` while it is in none.
    pub cluster: Option<Cluster>,
    /// Random, new for every connection.
    pub nonce: [u8; 16],
    /// The acceptor's proof; zeros while it knows no secret.
    pub proof: [u8; 16],
    /// The cluster secret itself, for joiners over loopback only:
    /// `SECRET_BYTES_MIN..=SECRET_BYTES_MAX`.
    pub secret: Option<&'a [u8]>,
}

const SECRET: u8 = 1;

impl<'a> HelloReply<'a> {
    /// Reads a HELLO_REPLY.
    pub fn new_checked(payload: &'a [u8]) -> Result<HelloReply<'a>, Malformed> {
        let (fixed, secret) = layout::split::<layout::HelloReply>(payload)?;
        if fixed.flags & !SECRET != 0 || fixed.reserved.get() != 0 {
            return Err(Malformed);
        }
        if usize::from(fixed.secret_bytes.get()) != secret.len() {
            return Err(Malformed);
        }
        let has_secret = fixed.flags & SECRET != 0;
        if !has_secret && !secret.is_empty() {
            return Err(Malformed);
        }
        let cluster = Cluster {
            id: ClusterId(fixed.cluster.get()),
            hash_seed: fixed.hash_seed.get(),
            partition_bits: fixed.partition_bits,
            n: fixed.n,
            r: fixed.r,
            w: fixed.w,
        };
        let reply = HelloReply {
            version: fixed.version,
            node: NodeId(fixed.node.get()),
            boot: Boot(fixed.boot.get()),
            shards: fixed.shards.get(),
            cluster: (cluster != NO_CLUSTER).then_some(cluster),
            nonce: fixed.nonce,
            proof: fixed.proof,
            secret: has_secret.then_some(secret),
        };
        if reply.is_valid() { Ok(reply) } else { Err(Malformed) }
    }

    fn is_valid(&self) -> bool {
        let secret = self
            .secret
            .is_none_or(|secret| (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()));
        let cluster = self.cluster.is_none_or(|cluster| cluster.is_valid());
        secret
            && cluster
            && self.version >= 1
            && self.node.0 != 0
            && self.boot.0 >> 40 == 0
            && (1..=SHARD_COUNT_MAX).contains(&usize::from(self.shards))
    }
}

impl Cluster {
    fn is_valid(&self) -> bool {
        (PARTITION_BITS_MIN..=PARTITION_BITS_MAX).contains(&u32::from(self.partition_bits))
            && self.id.0 != 0
            && (1..=REPLICA_COUNT_MAX).contains(&usize::from(self.n))
            && (1..=self.n).contains(&self.r)
            && (1..=self.n).contains(&self.w)
    }
}

/// How a node in no cluster fills the fields.
const NO_CLUSTER: Cluster =
    Cluster { id: ClusterId(0), hash_seed: 0, partition_bits: 0, n: 0, r: 0, w: 0 };

impl Payload for HelloReply<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::HelloReply>() + self.secret.map_or(0, <[u8]>::len)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.is_valid());
        let cluster = self.cluster.unwrap_or(NO_CLUSTER);
        let secret = self.secret.unwrap_or_default();
        let fixed = layout::HelloReply {
            version: self.version,
            flags: if self.secret.is_some() { SECRET } else { 0 },
            partition_bits: cluster.partition_bits,
            n: cluster.n,
            r: cluster.r,
            w: cluster.w,
            shards: self.shards.into(),
            node: self.node.0.into(),
            secret_bytes: (secret.len() as u16).into(),
            reserved: 0.into(),
            boot: self.boot.0.into(),
            hash_seed: cluster.hash_seed.into(),
            cluster: cluster.id.0.into(),
            nonce: self.nonce,
            proof: self.proof,
        };
        layout::put(&fixed, out).copy_from_slice(secret);
    }
}

/// Leaves the secret out.
impl core::fmt::Debug for HelloReply<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HelloReply")
            .field("version", &self.version)
            .field("node", &self.node)
            .field("boot", &self.boot)
            .field("shards", &self.shards)
            .field("cluster", &self.cluster)
            .field("secret_bytes", &self.secret.map(<[u8]>::len))
            .finish_non_exhaustive()
    }
}

/// PROOF: the dialer's proof that it knows the secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Proof(pub [u8; 16]);

impl Proof {
    /// Reads a PROOF.
    pub fn new_checked(payload: &[u8]) -> Result<Proof, Malformed> {
        layout::exact::<layout::Proof>(payload).map(|fixed| Proof(fixed.proof))
    }
}

impl Payload for Proof {
    fn bytes(&self) -> usize {
        size_of::<layout::Proof>()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(layout::put(&layout::Proof { proof: self.0 }, out).is_empty());
    }
}

/// REFUSED: the connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Oldest protocol version that the acceptor speaks.
    pub version_min: u8,
    /// Newest.
    pub version_max: u8,
}

impl Refused {
    /// What the acceptor speaks.
    ///
    /// # Errors
    /// It is no range.
    pub fn versions(&self) -> Result<Versions, Malformed> {
        let (oldest, newest) = (self.version_min, self.version_max);
        if 1 <= oldest && oldest <= newest {
            Ok(Versions { oldest, newest })
        } else {
            Err(Malformed)
        }
    }

    /// Reads a REFUSED.
    pub fn new_checked(payload: &[u8]) -> Result<Refused, Malformed> {
        let fixed = layout::exact::<layout::Refused>(payload)?;
        if fixed.reserved != [0; 5] {
            return Err(Malformed);
        }
        let reason = Reason::from_number(fixed.reason).ok_or(Malformed)?;
        Ok(Refused { reason, version_min: fixed.version_min, version_max: fixed.version_max })
    }
}

impl Payload for Refused {
    fn bytes(&self) -> usize {
        size_of::<layout::Refused>()
    }

    fn write(&self, out: &mut [u8]) {
        let fixed = layout::Refused {
            reason: self.reason.number(),
            version_min: self.version_min,
            version_max: self.version_max,
            reserved: [0; 5],
        };
        assert!(layout::put(&fixed, out).is_empty());
    }
}
