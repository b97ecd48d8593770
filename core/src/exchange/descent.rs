//! From the roots to the leaves that differ.

use zerocopy::little_endian::U64;

use crate::limits::{EXCHANGE_NODE_COUNT_MAX, MERKLE_FANOUT, MERKLE_LEAF_COUNT};
use crate::merkle::{LEAF_LEVEL, Tree};
use crate::wire::exchange::{Hashes, Nodes};
use crate::wire::payload::Malformed;

const LEAF_WORDS: usize = MERKLE_LEAF_COUNT / 64;

/// Nodes that are known to differ and whose children are not compared yet, and the leaves that
/// were found. Level by level, each from the left.
#[derive(Clone, Debug)]
pub(super) struct Descent {
    /// Of levels 0, 1 and 2; bit i is node i.
    nodes: [[u64; 4]; LEAF_LEVEL as usize],
    leaves: [u64; LEAF_WORDS],
    asked: Nodes,
}

impl Descent {
    /// The roots differ, and the children of the peer's come unasked.
    pub(super) fn new() -> Descent {
        let mut descent = Descent {
            nodes: [[0; 4]; LEAF_LEVEL as usize],
            leaves: [0; LEAF_WORDS],
            asked: Nodes { level: 0, bits: [1, 0, 0, 0] },
        };
        descent.nodes[0][0] = 1;
        descent
    }

    /// What was asked last.
    pub(super) fn asked(&self) -> Nodes {
        self.asked
    }

    /// Chooses what to ask next; false if all differing leaves are known.
    pub(super) fn ask(&mut self) -> bool {
        let level = self.nodes.iter().position(|nodes| *nodes != [0; 4]);
        let Some(level) = level else { return false };
        let nodes = self.nodes[level];
        let differing = (0..256).filter(|index| nodes[index / 64] >> (index % 64) & 1 == 1);
        let mut bits = [0; 4];
        for index in differing.take(EXCHANGE_NODE_COUNT_MAX) {
            bits[index / 64] |= 1 << (index % 64);
        }
        self.asked = Nodes { level: level as u8, bits };
        true
    }

    /// Compares the children that were asked for with those of `tree`. At most 272 hashes.
    ///
    /// # Errors
    /// These are not the children that were asked for.
    pub(super) fn on_hashes(
        &mut self,
        tree: Tree<'_>,
        hashes: &Hashes<'_>,
    ) -> Result<(), Malformed> {
        let Nodes { level, bits } = self.asked;
        let count = self.asked.count();
        if hashes.level != level || hashes.hashes.len() != count * MERKLE_FANOUT {
            return Err(Malformed);
        }
        let nodes = &mut self.nodes[usize::from(level)];
        for (nodes, asked) in nodes.iter_mut().zip(bits) {
            *nodes &= !asked;
        }
        for (index, theirs) in self.asked.iter().zip(hashes.hashes.chunks(MERKLE_FANOUT)) {
            self.compare(level, index, &tree.children(level, index), theirs);
        }
        Ok(())
    }

    /// The next leaf that differs, from `leaf` on.
    pub(super) fn leaf_from(&self, leaf: usize) -> Option<usize> {
        (leaf..MERKLE_LEAF_COUNT).find(|leaf| self.leaves[leaf / 64] >> (leaf % 64) & 1 == 1)
    }

    fn compare(&mut self, level: u8, index: usize, mine: &[u64], theirs: &[U64]) {
        for (child, (mine, theirs)) in mine.iter().zip(theirs).enumerate() {
            #[cfg(feature = "plant")]
            if crate::plant::is(crate::plant::Plant::LastChildSkipped) && child == 15 {
                continue;
            }
            if *mine == theirs.get() {
                continue;
            }
            let node = index * MERKLE_FANOUT + child;
            let below = match self.nodes.get_mut(usize::from(level) + 1) {
                Some(nodes) => nodes.as_mut_slice(),
                None => &mut self.leaves,
            };
            below[node / 64] |= 1 << (node % 64);
        }
    }
}
