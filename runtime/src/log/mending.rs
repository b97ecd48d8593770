//! What damage has left that anti-entropy puts right.
//!
//! *Problem.* A record that cannot be read any more is at other owners, but this node's tree still
//! says that it has it, so no exchange would look. *Answer.* Its leaf is made to differ from all
//! others until the record was replaced; then the leaf is summed anew from the records in it. What
//! took its place may be older: reads and writes of the key fail here, as before, until the copy
//! was found equal to all other owners'.
//! *Invariant.* A leaf is the sum of the versions of its keys, or one of [`Mending`]'s; nothing is
//! given up before another owner has sent its copy.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::RangeInclusive;

use ringmain_core::causality::Lifespan;
use ringmain_core::hash::Key;
use ringmain_core::id::{NodeId, Partition};
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::{Place, Stored, Unread, leaf_of, leaf_orders};
use ringmain_core::request::KeyPlace;

use super::{Log, Maps, Source};

/// What is to be mended.
#[derive(Debug)]
pub(super) struct Mending {
    /// Added to a leaf once that is no sum. Random, or two owners that have lost different keys of
    /// a leaf would look equal.
    different: u64,
    /// Leaves that are no sums, by partition: a bit for each.
    leaves: BTreeMap<Partition, Box<[u64; MERKLE_LEAF_COUNT / 64]>>,
    /// Owners whose copies were found equal since the start, by partition, until they are all.
    equal: BTreeMap<Partition, BTreeSet<NodeId>>,
    /// Partitions that were found equal to all other owners' copies: what was doubted in them,
    /// since records of unknown keys are lost, is believed again. With fewer, what was acknowledged
    /// might be at the one that is missing.
    believed: BTreeSet<Partition>,
    /// Keys whose damaged records another owner's copies have replaced, by partition.
    unproven: BTreeMap<Partition, Unproven>,
}

/// Keys whose records may not be the last: what was acknowledged might be at an owner whose copy
/// has not been compared since.
#[derive(Debug, Default)]
struct Unproven {
    orders: BTreeSet<u64>,
    /// Owners whose copies were found equal since the last of them came.
    equal: BTreeSet<NodeId>,
}

impl Mending {
    /// Nothing to mend.
    pub(super) fn new(seed: u64) -> Mending {
        let (leaves, equal, believed, unproven) = Default::default();
        Mending { different: seed | 1, leaves, equal, believed, unproven }
    }

    /// Whether the record of `key` took a damaged one's place, and may be older than that was.
    pub(super) fn is_unproven(&self, key: &Key<'_>) -> bool {
        !self.unproven.is_empty()
            && !key.is_hint()
            && self.unproven.get(&key.partition).is_some_and(|one| one.orders.contains(&key.order))
    }

    /// The records that are there are taken for the last ones: somebody said so.
    pub(super) fn believe_all(&mut self) {
        self.unproven.clear();
    }

    /// Whether the copy of `partition` was found equal to all other owners'.
    pub(super) fn is_equal(&self, partition: Partition) -> bool {
        self.believed.contains(&partition)
    }

    /// Whether there is nothing to mend.
    fn is_none(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Whether the leaf is no sum.
    fn contains(&self, partition: Partition, leaf: usize) -> bool {
        self.leaves.get(&partition).is_some_and(|bits| bits[leaf / 64] >> (leaf % 64) & 1 == 1)
    }

    /// Notes a leaf; whether it is new.
    fn insert(&mut self, partition: Partition, leaf: usize) -> bool {
        let bits = self.leaves.entry(partition).or_insert_with(|| Box::new([0; _]));
        let before = bits[leaf / 64];
        bits[leaf / 64] |= 1 << (leaf % 64);
        bits[leaf / 64] != before
    }

    fn remove(&mut self, partition: Partition, leaf: usize) {
        let Some(bits) = self.leaves.get_mut(&partition) else { return };
        bits[leaf / 64] &= !(1 << (leaf % 64));
        if bits.iter().all(|word| *word == 0) {
            self.leaves.remove(&partition);
        }
    }
}

impl<M: Maps> Log<M> {
    /// A key of `order` cannot be read: the next exchange is to find that.
    pub(super) fn on_unreadable(&mut self, partition: Partition, order: u64) {
        let leaf = leaf_of(order);
        if self.mending.insert(partition, leaf) {
            let leaf = &mut self.leaves.of(partition)[leaf];
            *leaf = leaf.wrapping_add(self.mending.different);
        }
    }

    /// A leaf is the sum of what is in it again.
    pub(super) fn on_summed(&mut self, partition: Partition, leaf: usize) {
        self.mending.remove(partition, leaf);
    }

    /// Reads note what they cannot read; here its leaf is marked.
    pub(super) fn mark_unreadable(&mut self) {
        // Another owner's copy may have taken its place since.
        if let Some((partition, order)) = self.unreadable.take()
            && !self.damaged_places(partition, order).is_empty()
        {
            self.on_unreadable(partition, order);
        }
    }

    /// Leaves that are no sums, in all partitions.
    pub fn unmended_count(&self) -> usize {
        let bits = self.mending.leaves.values().flat_map(|bits| bits.iter());
        bits.map(|word| word.count_ones() as usize).sum()
    }

    /// See [`Records::record_left`](ringmain_core::records::Records::record_left).
    pub(super) fn find_left(&self, key: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let source = Source { is_certain: false, ..self.source() };
        let (_, frame) = source.find(self.index.of(key), key)?;
        frame.map(|frame| frame.stored()).transpose()
    }

    /// Where damaged records lie of keys of this order.
    pub(super) fn damaged_places(&self, partition: Partition, order: u64) -> Vec<Place> {
        let source = self.source();
        let of_order = self.index.table(partition).iter_from(order);
        let of_order = of_order.take_while(|(other, _)| *other == order);
        let is_damaged = |place: &Place| match source.frame(*place) {
            Ok(frame) => !frame.is_intact(),
            Err(unread) => unread == Unread::Damaged,
        };
        of_order.map(|(_, place)| place).filter(is_damaged).collect()
    }

    /// The keys of this order at those places leave the index.
    pub(super) fn give_up(&mut self, key: &Key<'_>, damaged: &[Place]) {
        self.on_unreadable(key.partition, key.order);
        let unproven = self.mending.unproven.entry(key.partition).or_default();
        unproven.orders.insert(key.order);
        unproven.equal.clear();
        for place in damaged {
            self.index.table_mut(key.partition).remove_at(key.order, *place);
        }
    }

    /// They are back, unreadable as they were.
    pub(super) fn take_back(&mut self, key: &Key<'_>, damaged: &[Place]) {
        let table = self.index.table_mut(key.partition);
        for place in damaged {
            let Ok(probe) = table.find(key.order, |_, _| Ok::<_, Infallible>(false));
            table.put(probe, key.order, (*place, Lifespan::Lasting), false);
        }
    }

    /// See [`Records::mend_leaves`](ringmain_core::records::Records::mend_leaves).
    pub(super) fn mend(
        &mut self,
        partition: Partition,
        orders: RangeInclusive<u64>,
    ) -> Result<(), Unread> {
        if self.mending.is_none() {
            return Ok(());
        }
        for leaf in leaf_of(*orders.start())..=leaf_of(*orders.end()) {
            if self.mending.contains(partition, leaf) {
                self.mend_leaf(partition, leaf)?;
            }
        }
        Ok(())
    }

    fn mend_leaf(&mut self, partition: Partition, leaf: usize) -> Result<(), Unread> {
        let (first, last) = leaf_orders(leaf);
        let keys = self.index.table(partition).iter_from(first);
        let keys: Vec<(u64, Place)> = keys.take_while(|(order, _)| *order <= last).collect();
        let mut sum = 0_u64;
        let mut cold = Vec::new();
        for (order, place) in keys {
            match self.version_at(place) {
                Ok(version) => sum = sum.wrapping_add(version),
                Err(Unread::Cold) => cold.push((order, place)),
                // It is to be replaced first.
                Err(Unread::Damaged) => return Ok(()),
            }
        }
        if cold.is_empty() {
            self.leaves.of(partition)[leaf] = sum;
            self.on_summed(partition, leaf);
            return Ok(());
        }
        for (order, place) in cold {
            self.want_place(KeyPlace { partition, order }, place, false);
        }
        Err(Unread::Cold)
    }

    fn version_at(&self, place: Place) -> Result<u64, Unread> {
        let frame = self.source().frame(place)?;
        if !frame.is_intact() {
            return Err(Unread::Damaged);
        }
        self.version_of(&frame).ok_or(Unread::Damaged)
    }

    /// See [`Records::on_equal`](ringmain_core::records::Records::on_equal).
    pub(super) fn believe(&mut self, partition: Partition, peer: NodeId, others: usize) {
        if let Some(unproven) = self.mending.unproven.get_mut(&partition) {
            unproven.equal.insert(peer);
            if unproven.equal.len() >= others {
                self.mending.unproven.remove(&partition);
            }
        }
        if self.suspect == Place(0) || self.mending.is_equal(partition) {
            return;
        }
        let equal = self.mending.equal.entry(partition).or_default();
        equal.insert(peer);
        if equal.len() >= others {
            self.mending.equal.remove(&partition);
            self.mending.believed.insert(partition);
        }
    }

    /// Whether what damage of unknown extent has left of `partition` is believed, since all other
    /// owners have no more of it.
    pub fn is_believed(&self, partition: Partition) -> bool {
        self.mending.is_equal(partition)
    }
}
