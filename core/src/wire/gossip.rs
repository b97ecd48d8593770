//! What the failure detectors of two nodes tell each other: a signal, and updates on its back.
//! What they mean is `membership::detector`'s.

use super::layout;
use super::op::Op;
use super::payload::{Malformed, Payload};
use crate::id::{Boot, NodeId};
use crate::limits::{BOOT_BITS, MEMBER_COUNT_MAX, UPDATE_COUNT_MAX};

codes! {
    /// What is claimed of a node, by increasing rank: of two claims about the same incarnation
    /// the later one holds.
    #[derive(Default, Ord, PartialOrd)]
    pub enum Liveness {
        /// It answers.
        #[default]
        Alive = 1,
        /// It did not answer somebody, and may still refute that.
        Suspect = 2,
        /// It did not refute in time.
        Down = 3,
    }
}

/// One claim about a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Update {
    /// The node that it is about. Not 0.
    pub node: NodeId,
    /// Its process life. Below 2^40.
    pub boot: Boot,
    /// Raised by the node itself, within one boot, to refute what others say of it.
    pub incarnation: u32,
    /// What is claimed.
    pub status: Liveness,
    /// Who suspects it; 0 if the claim is another.
    pub accuser: NodeId,
}

/// One encoded update.
pub type Encoded = [u8; Update::BYTES];

impl Update {
    /// Length of the encoding.
    pub const BYTES: usize = size_of::<layout::Update>();

    /// Checks bytes from outside.
    pub fn from_bytes(bytes: &Encoded) -> Result<Update, Malformed> {
        let fixed: layout::Update = zerocopy::transmute!(*bytes);
        let update = Update {
            node: NodeId(fixed.node.get()),
            boot: Boot(fixed.boot.get()),
            incarnation: fixed.incarnation.get(),
            status: Liveness::from_number(fixed.status).ok_or(Malformed)?,
            accuser: NodeId(fixed.accuser.get()),
        };
        let is_sound = fixed.reserved == [0; 3] && update.is_valid();
        if is_sound { Ok(update) } else { Err(Malformed) }
    }

    /// The encoding.
    ///
    /// # Panics
    /// If a field is out of its bounds, since no other node would accept that.
    pub fn to_bytes(&self) -> Encoded {
        assert!(self.is_valid());
        zerocopy::transmute!(layout::Update {
            node: self.node.0.into(),
            incarnation: self.incarnation.into(),
            boot: self.boot.0.into(),
            accuser: self.accuser.0.into(),
            status: self.status.number(),
            reserved: [0; 3],
        })
    }

    fn is_valid(&self) -> bool {
        let is_accused = self.status == Liveness::Suspect;
        let bounded = self.node.0 != 0 && self.boot.0 >> BOOT_BITS == 0;
        bounded && is_accused == (self.accuser.0 != 0)
    }
}

/// A checked view over encoded updates, in the sender's order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Updates<'a>(&'a [Encoded]);

impl<'a> Updates<'a> {
    /// No updates.
    pub const EMPTY: Updates<'static> = Updates(&[]);

    /// Checks updates from outside, at most `count_max`. O(bytes).
    pub fn new_checked(bytes: &'a [u8], count_max: usize) -> Result<Updates<'a>, Malformed> {
        let (encoded, rest) = bytes.as_chunks();
        if !rest.is_empty() || encoded.len() > count_max {
            return Err(Malformed);
        }
        for update in encoded {
            Update::from_bytes(update)?;
        }
        Ok(Updates(encoded))
    }

    /// Writes `updates` into `room` and is a view over them.
    ///
    /// # Panics
    /// If they are more than there is room for, or one is out of its bounds.
    pub fn write(updates: impl Iterator<Item = Update>, room: &'a mut [Encoded]) -> Updates<'a> {
        let mut count = 0;
        for update in updates {
            room[count] = update.to_bytes();
            count += 1;
        }
        Updates(&room[..count])
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The updates.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Update> + 'a {
        let decoded =
            |encoded| Update::from_bytes(encoded).expect("every way into a view checks or encodes");
        self.0.iter().map(decoded)
    }
}

/// What a detector asks or answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// Say that you are there.
    Ping {
        /// The prober's number of its probe.
        sequence: u32,
        /// Who probes: the sender, or whom it relays for. Not 0.
        origin: NodeId,
    },
    /// Ping another node for me.
    PingRequest {
        /// The sender's number of its probe.
        sequence: u32,
        /// Whom to ping. Not 0.
        target: NodeId,
    },
    /// I am here; or, if the origin is not who receives this, pass it on.
    Pong {
        /// As in the ping.
        sequence: u32,
        /// As in the ping. Not 0.
        origin: NodeId,
    },
    /// I relay your ping: if nothing comes back, that is not your own fault.
    Relaying {
        /// As in the request.
        sequence: u32,
        /// As in the request. Not 0.
        target: NodeId,
    },
    /// What my table hashes to; send yours if it is another.
    Sync {
        /// Of the whole table, however it is sorted.
        digest: u64,
    },
    /// The updates are my whole table.
    SyncTable {
        /// Send yours, too.
        is_request: bool,
    },
}

impl Signal {
    /// The op of a frame that carries this.
    pub fn op(&self) -> Op {
        match self {
            Signal::Ping { .. } => Op::Ping,
            Signal::PingRequest { .. } => Op::PingRequest,
            Signal::Pong { .. } => Op::Pong,
            Signal::Relaying { .. } => Op::Relaying,
            Signal::Sync { .. } => Op::Sync,
            Signal::SyncTable { .. } => Op::SyncTable,
        }
    }

    /// Most updates that it may carry.
    pub fn update_count_max(&self) -> usize {
        match self {
            Signal::SyncTable { .. } => MEMBER_COUNT_MAX,
            _ => UPDATE_COUNT_MAX,
        }
    }
}

/// The payload of PING to SYNC_TABLE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gossip<'a> {
    /// What is asked or answered.
    pub signal: Signal,
    /// At most [`Signal::update_count_max`] updates.
    pub updates: Updates<'a>,
}

const REQUEST: u8 = 1;

impl<'a> Gossip<'a> {
    /// Reads the payload of a frame of `op`. O(bytes).
    pub fn new_checked(op: Op, payload: &'a [u8]) -> Result<Gossip<'a>, Malformed> {
        let (signal, rest) = match op {
            Op::Ping | Op::PingRequest | Op::Pong | Op::Relaying => {
                let (fixed, rest) = layout::split::<layout::Probe>(payload)?;
                (Gossip::probe(op, fixed)?, rest)
            }
            Op::Sync => {
                let (fixed, rest) = layout::split::<layout::Sync>(payload)?;
                (Signal::Sync { digest: fixed.digest.get() }, rest)
            }
            Op::SyncTable => {
                let (fixed, rest) = layout::split::<layout::SyncTable>(payload)?;
                if fixed.flags & !REQUEST != 0 || fixed.reserved != [0; 7] {
                    return Err(Malformed);
                }
                (Signal::SyncTable { is_request: fixed.flags & REQUEST != 0 }, rest)
            }
            _ => return Err(Malformed),
        };
        let updates = Updates::new_checked(rest, signal.update_count_max())?;
        Ok(Gossip { signal, updates })
    }

    fn probe(op: Op, fixed: &layout::Probe) -> Result<Signal, Malformed> {
        let (sequence, node) = (fixed.sequence.get(), NodeId(fixed.node.get()));
        if node.0 == 0 {
            return Err(Malformed);
        }
        match op {
            Op::Ping => Ok(Signal::Ping { sequence, origin: node }),
            Op::PingRequest => Ok(Signal::PingRequest { sequence, target: node }),
            Op::Pong => Ok(Signal::Pong { sequence, origin: node }),
            Op::Relaying => Ok(Signal::Relaying { sequence, target: node }),
            _ => Err(Malformed),
        }
    }
}

impl Payload for Gossip<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Probe>() + self.updates.0.as_flattened().len()
    }

    fn write(&self, out: &mut [u8]) {
        assert!(self.updates.len() <= self.signal.update_count_max());
        let rest = match self.signal {
            Signal::Ping { sequence, origin: node }
            | Signal::PingRequest { sequence, target: node }
            | Signal::Pong { sequence, origin: node }
            | Signal::Relaying { sequence, target: node } => {
                assert!(node.0 != 0);
                let node = node.0.into();
                layout::put(&layout::Probe { sequence: sequence.into(), node }, out)
            }
            Signal::Sync { digest } => layout::put(&layout::Sync { digest: digest.into() }, out),
            Signal::SyncTable { is_request } => {
                let flags = u8::from(is_request) * REQUEST;
                layout::put(&layout::SyncTable { flags, reserved: [0; 7] }, out)
            }
        };
        rest.copy_from_slice(self.updates.0.as_flattened());
    }
}

const _: () = assert!(Update::BYTES == 24, "the documented size");
const _: () = assert!(size_of::<layout::Sync>() == size_of::<layout::Probe>());
const _: () = assert!(size_of::<layout::SyncTable>() == size_of::<layout::Probe>());
