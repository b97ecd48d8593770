//! What goes wrong with one disk beside crashes: the k-th call of a kind fails, a full disk, bits
//! that rot, a write that lands elsewhere. It draws from a source of its own, so that a seed
//! without these faults is the same run as if there were none.

use ringmain_core::records::Place;

use super::super::mark::Mark;
use super::super::random::Random;
use super::super::swarm::{FileCall, Swarm};
use super::{Disk, SECTOR_BYTES, SEGMENT_HEADER_BYTES};

/// Free space of a disk that is not full, bytes.
const FREE_BYTES: u64 = 1 << 30;

/// What becomes of a range whose sync failed: nobody knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unsynced {
    /// It was stored all the same.
    Stored,
    /// It waits for a later sync.
    Dirty,
    /// It is shown, and lost with the next crash.
    Doomed,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub(super) random: Random,
    /// The call that fails, and how many of its kind go well before.
    failing: Option<(FileCall, u32)>,
    /// How many writes find their place before one does not.
    misdirected: Option<u32>,
    /// Free space, bytes.
    pub(super) free_bytes: u64,
    /// The last bytes of ranges that are not what they should be.
    damage: Vec<Place>,
    pub(super) reached: Vec<Mark>,
}

impl Faults {
    /// As the mix of a run says; `may_damage` = this disk may lose what it holds.
    pub(super) fn new(swarm: &Swarm, may_damage: bool, random: Random) -> Faults {
        Faults {
            random,
            failing: swarm.disk.failing,
            misdirected: swarm.disk.misdirected.filter(|_| may_damage),
            free_bytes: FREE_BYTES,
            damage: Vec::new(),
            reached: Vec::new(),
        }
    }

    /// A call of that kind is made: whether it is the one that fails.
    pub(super) fn is_failing(&mut self, call: FileCall) -> bool {
        match &mut self.failing {
            Some((kind, left)) if *kind == call && *left == 0 => {
                self.failing = None;
                true
            }
            Some((kind, left)) if *kind == call => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    /// What becomes of a range whose sync failed.
    pub(super) fn unsynced(&mut self) -> Unsynced {
        *self.random.pick(&[Unsynced::Stored, Unsynced::Dirty, Unsynced::Doomed])
    }

    /// Takes `bytes` of the free space, if there are as many.
    pub(super) fn take_space(&mut self, bytes: u64) -> bool {
        let left = self.free_bytes.checked_sub(bytes);
        self.free_bytes = left.unwrap_or(self.free_bytes);
        if left.is_none() {
            self.reached.push(Mark::DiskFull);
        }
        left.is_some()
    }

    /// A write begins: whether it lands elsewhere.
    pub(super) fn is_misdirected(&mut self) -> bool {
        match self.misdirected {
            Some(0) => {
                self.misdirected = None;
                true
            }
            left => {
                self.misdirected = left.map(|left| left - 1);
                false
            }
        }
    }
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            random: Random::new(0),
            failing: None,
            misdirected: None,
            free_bytes: FREE_BYTES,
            damage: Vec::new(),
            reached: Vec::new(),
        }
    }
}

impl Disk {
    /// Nothing goes wrong from now on, crashes aside.
    pub(in super::super) fn calm(&mut self) {
        (self.faults.failing, self.faults.misdirected) = (None, None);
        self.cold.warm();
        self.set_free_bytes(None);
    }

    /// Others fill the disk, or clear it; `None` = it is as good as empty.
    pub(in super::super) fn set_free_bytes(&mut self, free_bytes: Option<u64>) {
        self.faults.free_bytes = free_bytes.unwrap_or(FREE_BYTES);
    }

    /// Free space, bytes.
    pub(in super::super) fn free_bytes(&self) -> u64 {
        self.faults.free_bytes
    }

    /// Whether bytes that were on disk are not what they should be, here or elsewhere.
    pub(in super::super) fn is_damaged(&self) -> bool {
        !self.faults.damage.is_empty()
    }

    /// Whether such bytes lie at or behind `place`.
    pub(in super::super) fn is_damaged_from(&self, place: Place) -> bool {
        self.faults.damage.iter().any(|last| *last >= place)
    }

    /// What was reached since the last call.
    pub(in super::super) fn take_reached(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.faults.reached)
    }

    /// One bit of what is on disk turns, also if the page is in memory as it was; false if nothing
    /// is there yet.
    pub(in super::super) fn rot(&mut self) -> bool {
        let random = &mut self.faults.random;
        let bit = 1 << random.below(8);
        let segments: Vec<u32> = self.images.keys().copied().collect();
        if segments.is_empty() {
            return false;
        }
        let segment = *random.pick(&segments);
        self.faults.reached.push(Mark::BitRot);
        if let Some(snapshot) = self.snapshots.get_mut(&segment)
            && random.chance(200)
        {
            let at = random.below(snapshot.len());
            snapshot[at] ^= bit;
            self.faults.damage.push(Place::new(segment, 0));
            return true;
        }
        let image = self.images.get_mut(&segment).expect("it was picked among them");
        let first = if random.chance(100) { SEGMENT_HEADER_BYTES } else { image.used };
        let at = random.below(first);
        image.durable[at] ^= bit;
        self.faults.damage.push(Place::new(segment, at as u32));
        true
    }

    /// Has a write that should go to `offset` of `segment` land anywhere in any file.
    pub(super) fn stray(&mut self, segment: u32, offset: u32, bytes: &[u8]) {
        let segments: Vec<u32> = self.images.keys().copied().collect();
        let Faults { random, damage, reached, .. } = &mut self.faults;
        let other = if random.chance(500) { segment } else { *random.pick(&segments) };
        let image = self.images.get_mut(&other).expect("it was picked among them");
        // Where something lies, or anywhere.
        let most = if random.chance(700) { image.used } else { image.durable.len() };
        let sector = random.chance(500);
        let at = random.below(most);
        let at = if sector { at / SECTOR_BYTES * SECTOR_BYTES } else { at };
        let end = image.durable.len().min(at + bytes.len());
        image.durable[at..end].copy_from_slice(&bytes[..end - at]);
        image.used = image.used.max(end);
        let last = offset as usize + bytes.len() - 1;
        damage.extend([Place::new(segment, last as u32), Place::new(other, end as u32 - 1)]);
        reached.push(Mark::Misdirected);
    }
}
