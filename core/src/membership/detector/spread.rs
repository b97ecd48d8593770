//! What messages carry besides what they ask: updates, or the whole table.

use heapless::Vec;

use super::claim::Claim;
use super::{Detector, Entry};
use crate::id::{Boot, NodeId};
use crate::limits::{MEMBER_COUNT_MAX, UPDATE_COUNT_MAX};
use crate::wire::gossip::{Encoded, Gossip, Liveness, Signal, Update, Updates};

/// The updates of one message.
type Picked = Vec<Update, UPDATE_COUNT_MAX>;

impl Detector<'_> {
    /// The message that [`DetectorOutput::Send`](super::DetectorOutput::Send) asks for, with its
    /// updates written into `room`. To be called once for each, since it counts them as sent.
    /// O(members × sends of an update) while there is news, O(members) otherwise.
    ///
    /// # Panics
    /// If `room` is shorter than [`Signal::update_count_max`].
    pub fn gossip<'r>(
        &mut self,
        to: NodeId,
        signal: Signal,
        room: &'r mut [Encoded],
    ) -> Gossip<'r> {
        assert!(room.len() >= signal.update_count_max());
        let updates = if matches!(signal, Signal::SyncTable { .. }) {
            Updates::write(self.rows(), room)
        } else {
            Updates::write(self.pick(to).into_iter(), room)
        };
        Gossip { signal, updates }
    }

    /// A hash of the table that does not depend on its order: equal tables, equal digests.
    /// O(members).
    pub fn digest(&self) -> u64 {
        let hashes = self.rows().map(|update| {
            // Who accuses is not agreed on, only that somebody does.
            let accuser = NodeId(u32::from(update.status == Liveness::Suspect));
            xxhash_rust::xxh3::xxh3_64(&Update { accuser, ..update }.to_bytes())
        });
        hashes.fold(0, u64::wrapping_add)
    }

    /// The whole table: what is claimed of each member, this node included if it is one.
    fn rows(&self) -> impl Iterator<Item = Update> + '_ {
        let me = self.is_member.then_some(&self.me);
        me.into_iter().chain(&self.entries[..self.count]).map(Entry::row)
    }

    /// What is claimed of the receiver first, so that it can refute an accusation, or hear of a
    /// younger process under its own id; then what was sent least.
    fn pick(&mut self, to: NodeId) -> Picked {
        let mut picked = Picked::new();
        let is_said = |claim: Claim| claim.status != Liveness::Alive || claim.boot != Boot(0);
        let said = self.find(to).filter(|&at| is_said(self.entries[at].claim));
        if let Some(index) = said {
            picked.extend([self.entries[index].update()]);
        }
        let count_max = self.pace().send_count_max();
        // Where there is more news than room, no entry comes always first.
        let start = self.sequence as usize % self.count.max(1);
        let (behind, ahead) = self.entries[..self.count].split_at_mut(start);
        let me = self.is_member.then_some(&mut self.me);
        let mut news: Vec<&mut Entry, { MEMBER_COUNT_MAX + 1 }> = Vec::new();
        let is_news = |entry: &&mut Entry| entry.sent < count_max && entry.node() != to;
        news.extend(me.into_iter().chain(ahead).chain(behind).filter(is_news));
        news.sort_unstable_by_key(|entry| entry.sent);
        for entry in news {
            if picked.push(entry.update()).is_err() {
                break;
            }
            entry.sent += 1;
        }
        picked
    }
}
