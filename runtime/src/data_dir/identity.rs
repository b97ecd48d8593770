//! Who a node is: the body of the file `identity`.
//!
//! | bytes | field |
//! |---|---|
//! | 0..16 | cluster id, u128, not 0 |
//! | 16..20 | node id, u32, not 0 |
//! | 20..22 | shard count, u16 |
//! | 22 | log2 of the partition count |
//! | 23, 24, 25 | n, r, w |
//! | 26 | length of the name |
//! | 27..43 | uuid, u128, not 0 |
//! | 43.. | name, UTF-8 |
//! | behind the name | 1: shard folders are exchanged; 2: they may be empty; else absent |

use ringmain_core::id::{ClusterId, NodeId};
use ringmain_core::limits::{
    NAME_BYTES_MAX, PARTITION_BITS_MAX, PARTITION_BITS_MIN, REPLICA_COUNT_MAX, SHARD_COUNT_MAX,
};

const NAME_AT: usize = 43;

/// What stands behind the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mark {
    /// No start has made a log in each shard folder yet.
    New,
    /// Nothing: each shard folder holds a log.
    None,
    /// Shard folders are being exchanged for those of this shard count.
    Exchanging,
}

impl Mark {
    const ALL: [Mark; 3] = [Mark::New, Mark::None, Mark::Exchanging];

    fn bytes(self) -> &'static [u8] {
        match self {
            Mark::New => &[2],
            Mark::None => &[],
            Mark::Exchanging => &[1],
        }
    }
}

/// Which node of which cluster a data directory belongs to, and the cluster's constants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The cluster; never 0.
    pub cluster: ClusterId,
    /// The node; never 0.
    pub node: NodeId,
    /// The node's identity for ever: what the ring draws by, and what tells two nodes apart that
    /// drew the same id.
    pub uuid: u128,
    /// The shard count that the folders are laid out for, 1..=`limits::SHARD_COUNT_MAX`.
    pub shards: u16,
    /// log2 of the cluster's partition count.
    pub partition_bits: u8,
    /// Owners per partition, 1..=`limits::REPLICA_COUNT_MAX`.
    pub n: u8,
    /// Replicas that a read waits for, 1..=n.
    pub r: u8,
    /// Replicas that a write waits for, 1..=n.
    pub w: u8,
    /// The node's name when it entered the cluster, 1..=`limits::NAME_BYTES_MAX` bytes.
    pub name: String,
}

impl Identity {
    /// Decodes and checks every bound; `None` if one is broken.
    pub(super) fn new_checked(body: &[u8]) -> Option<(Identity, Mark)> {
        let (head, rest) = body.split_first_chunk::<NAME_AT>()?;
        let (name, mark) = rest.split_at_checked(head[26].into())?;
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let mark = Mark::ALL.into_iter().find(|one| one.bytes() == mark)?;
        let identity = Identity {
            cluster: ClusterId(u128::from_le_bytes(head[..16].try_into().ok()?)),
            node: NodeId(u32::from_le_bytes(head[16..20].try_into().ok()?)),
            uuid: u128::from_le_bytes(head[27..43].try_into().ok()?),
            shards: u16::from_le_bytes([head[20], head[21]]),
            partition_bits: head[22],
            n: head[23],
            r: head[24],
            w: head[25],
            name,
        };
        identity.is_bounded().then_some((identity, mark))
    }

    /// # Panics
    /// If a bound is broken: what is checked after reading is checked before writing.
    pub(super) fn to_bytes(&self, mark: Mark) -> Vec<u8> {
        assert!(self.is_bounded());
        let mut bytes = Vec::with_capacity(NAME_AT + self.name.len() + 1);
        bytes.extend_from_slice(&self.cluster.0.to_le_bytes());
        bytes.extend_from_slice(&self.node.0.to_le_bytes());
        bytes.extend_from_slice(&self.shards.to_le_bytes());
        bytes.extend_from_slice(&[self.partition_bits, self.n, self.r, self.w]);
        bytes.push(self.name.len() as u8);
        bytes.extend_from_slice(&self.uuid.to_le_bytes());
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(mark.bytes());
        bytes
    }

    fn is_bounded(&self) -> bool {
        self.cluster.0 != 0
            && self.node.0 != 0
            && self.uuid != 0
            && (1..=SHARD_COUNT_MAX).contains(&usize::from(self.shards))
            && (PARTITION_BITS_MIN..=PARTITION_BITS_MAX).contains(&u32::from(self.partition_bits))
            && (1..=REPLICA_COUNT_MAX).contains(&usize::from(self.n))
            && (1..=self.n).contains(&self.r)
            && (1..=self.n).contains(&self.w)
            && (1..=NAME_BYTES_MAX).contains(&self.name.len())
    }
}
