//! The name of one write: 16 bytes, never used twice.
//!
//! ```text
//! node:32 | boot:40 | birth:28 | number:28        big-endian, so bytes sort as numbers
//! └──────────── actor ────────┘
//! ```
//! An actor writes 1, 2, 3, ... on one key. Node ids are never reused, boots grow with every
//! start, births with every actor minted in a boot.

use core::fmt;

use crate::id::{Boot, NodeId};

/// Largest number of an actor; after it a new actor is minted.
pub const NUMBER_MAX: u32 = (1 << NUMBER_BITS) - 1;

/// Who names writes: one key's copy on one node, in one process life, since it was (re)born.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Actor(u128);

impl Actor {
    /// The actor of `node` in `boot` with `birth`.
    ///
    /// # Panics
    /// If `boot` needs more than 40 bits or `birth` more than 28.
    pub fn new(node: NodeId, boot: Boot, birth: u32) -> Actor {
        assert!(boot.0 < 1 << BOOT_BITS);
        assert!(birth < 1 << BIRTH_BITS);
        let boot_and_birth = u128::from(boot.0) << BIRTH_BITS | u128::from(birth);
        Actor(u128::from(node.0) << (BOOT_BITS + BIRTH_BITS) | boot_and_birth)
    }

    /// The node that writes.
    pub fn node(self) -> NodeId {
        NodeId((self.0 >> (BOOT_BITS + BIRTH_BITS)) as u32)
    }

    /// Its process life: 40 bits.
    pub fn boot(self) -> Boot {
        Boot((self.0 >> BIRTH_BITS) as u64 & ((1 << BOOT_BITS) - 1))
    }

    /// The birth within that life: 28 bits.
    pub fn birth(self) -> u32 {
        self.0 as u32 & ((1 << BIRTH_BITS) - 1)
    }
}

impl fmt::Debug for Actor {
    /// `node/boot/birth`, as traces show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node(), self.boot().0, self.birth())
    }
}

/// One write of one actor. Ordered by actor, then number.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dot(u128);

impl Dot {
    /// Write `number` of `actor`.
    ///
    /// # Panics
    /// If `number` is not in 1..=[`NUMBER_MAX`].
    pub fn new(actor: Actor, number: u32) -> Dot {
        assert!(number >= 1);
        assert!(number <= NUMBER_MAX);
        Dot(actor.0 << NUMBER_BITS | u128::from(number))
    }

    /// Whose write it is.
    pub fn actor(self) -> Actor {
        Actor(self.0 >> NUMBER_BITS)
    }

    /// Whether both are the same actor's writes.
    pub(super) fn is_of_actor_of(self, other: Dot) -> bool {
        (self.0 ^ other.0) >> NUMBER_BITS == 0
    }

    /// Its number among that actor's writes, from 1. 0 only in bytes that name no write, which
    /// records, version vectors and tokens refuse.
    pub fn number(self) -> u32 {
        self.0 as u32 & NUMBER_MAX
    }

    /// The 16 bytes of wire and disk, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The dot in these bytes; any bytes are one.
    pub fn from_bytes(bytes: [u8; 16]) -> Dot {
        Dot(u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for Dot {
    /// `node/boot/birth:number`, as traces show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.actor(), self.number())
    }
}

const BOOT_BITS: u32 = 40;
const BIRTH_BITS: u32 = 28;
const NUMBER_BITS: u32 = 28;

const _: () = assert!(32 + BOOT_BITS + BIRTH_BITS + NUMBER_BITS == 128, "a dot is 16 bytes");
