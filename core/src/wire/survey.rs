//! What nodes ask each other before records leave for good. The request number of the frames names
//! the survey. Lists are lent as they travel.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

use super::exchange::Entry;
use super::layout;
use super::payload::{Malformed, Payload};
use crate::causality::Dot;
use crate::id::Partition;
use crate::limits::{COMPACT_ENTRY_COUNT_MAX, ERASE_ENTRY_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX};

codes! {
    /// What a survey is for.
    pub enum Purpose {
        /// Records that have ended are to leave all nodes.
        Reap = 1,
        /// A copy of a partition that the sender does not own any more is to leave it.
        Fence = 2,
        /// Entries of a version vector are to leave it at all owners.
        Compact = 3,
    }
}

/// How far a node's data directory has come: for as long as it lives, neither falls. See
/// [`Node`](crate::node::Node).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Epochs {
    /// Its reap epoch. What is on disk is at most that.
    pub raised: u64,
    /// The least epoch that any member, itself included, has had on disk, as this node has on disk.
    pub floor: u64,
}

/// A bit for each entry of a survey.
pub type Bits = [u64; SURVEY_ENTRY_COUNT_MAX / 64];

/// The entry of a version vector as the lists of surveys carry it.
pub fn entry_of(dot: Dot) -> Entry {
    let bytes = u128::from_be_bytes(dot.to_bytes());
    Entry::new((bytes >> 64) as u64, bytes as u64)
}

/// The entry of a version vector that [`entry_of`] made.
pub fn dot_of(entry: Entry) -> Dot {
    let bytes = u128::from(entry.order()) << 64 | u128::from(entry.version());
    Dot::from_bytes(bytes.to_be_bytes())
}

/// SURVEY: do you agree that these records leave, or these entries of a version vector?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Survey<'a> {
    /// Of the keys.
    pub partition: Partition,
    /// Why they are to leave.
    pub purpose: Purpose,
    /// To compact: the order of the key. Else 0.
    pub order: u64,
    /// To compact: what the receiver has agreed to before must be on disk by now.
    pub is_last: bool,
    /// 1..=`SURVEY_ENTRY_COUNT_MAX` keys and the versions of their records, ascending by order, no
    /// two of one order; to compact: dots, ascending (see [`entry_of`]).
    pub entries: &'a [Entry],
}

impl<'a> Survey<'a> {
    /// Reads the payload of a SURVEY. O(entries).
    pub fn new_checked(payload: &'a [u8]) -> Result<Survey<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Survey>(payload)?;
        let purpose = Purpose::from_number(fixed.purpose).ok_or(Malformed)?;
        let (order, is_last) = (fixed.order.get(), fixed.flags == LAST);
        let entries = <[Entry]>::ref_from_bytes(rest).map_err(|_| Malformed)?;
        let is_plain = order == 0 && !is_last;
        if fixed.flags & !LAST != 0
            || fixed.reserved.get() != 0
            || !(is_plain || purpose == Purpose::Compact)
            || !is_sound(entries, purpose, SURVEY_ENTRY_COUNT_MAX)
        {
            return Err(Malformed);
        }
        let partition = Partition(fixed.partition.get());
        Ok(Survey { partition, purpose, order, is_last, entries })
    }
}

impl Payload for Survey<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Survey>() + size_of_val(self.entries)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(is_sound(self.entries, self.purpose, SURVEY_ENTRY_COUNT_MAX));
        let fixed = layout::Survey {
            order: self.order.into(),
            partition: self.partition.0.into(),
            purpose: self.purpose.number(),
            flags: if self.is_last { LAST } else { 0 },
            reserved: 0.into(),
        };
        layout::put(&fixed, out).copy_from_slice(self.entries.as_bytes());
    }
}

/// SURVEYED: the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Surveyed {
    /// To which entries the sender agrees, by their position.
    pub agreed: Bits,
    /// How old a frame may be that the sender still takes, milliseconds.
    pub frame_age_max_ms: u32,
    /// What is to be known of its data directory.
    pub epochs: Epochs,
}

impl Surveyed {
    /// Reads the payload of a SURVEYED.
    pub fn new_checked(payload: &[u8]) -> Result<Surveyed, Malformed> {
        let fixed = layout::exact::<layout::Surveyed>(payload)?;
        let agreed = fixed.agreed.map(U64::get);
        let frame_age_max_ms = fixed.frame_age_max_ms.get();
        if fixed.reserved.get() != 0 {
            return Err(Malformed);
        }
        let epochs = Epochs { raised: fixed.raised.get(), floor: fixed.floor.get() };
        Ok(Surveyed { agreed, frame_age_max_ms, epochs })
    }
}

impl Payload for Surveyed {
    fn bytes(&self) -> usize {
        size_of::<layout::Surveyed>()
    }

    fn write(&self, out: &mut [u8]) {
        let agreed = self.agreed.map(U64::new);
        let frame_age_max_ms = self.frame_age_max_ms.into();
        let (raised, floor) = (self.epochs.raised.into(), self.epochs.floor.into());
        let reserved = 0.into();
        let fixed = layout::Surveyed { agreed, frame_age_max_ms, reserved, raised, floor };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// ERASE: all have agreed; who still has these records, or entries, drops them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Erase<'a> {
    /// Of the keys.
    pub partition: Partition,
    /// To reap or to compact.
    pub purpose: Purpose,
    /// As in a SURVEY.
    pub order: u64,
    /// 1..=`ERASE_ENTRY_COUNT_MAX`, to compact `COMPACT_ENTRY_COUNT_MAX`, as in a SURVEY.
    pub entries: &'a [Entry],
}

impl<'a> Erase<'a> {
    /// Reads the payload of an ERASE. O(entries).
    pub fn new_checked(payload: &'a [u8]) -> Result<Erase<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Erase>(payload)?;
        let purpose = Purpose::from_number(fixed.purpose).ok_or(Malformed)?;
        let order = fixed.order.get();
        let entries = <[Entry]>::ref_from_bytes(rest).map_err(|_| Malformed)?;
        if fixed.reserved != [0; 5]
            || purpose == Purpose::Fence
            || (order != 0 && purpose != Purpose::Compact)
            || !is_sound(entries, purpose, most_erased(purpose))
        {
            return Err(Malformed);
        }
        Ok(Erase { partition: Partition(fixed.partition.get()), purpose, order, entries })
    }
}

impl Payload for Erase<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Erase>() + size_of_val(self.entries)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(is_sound(self.entries, self.purpose, most_erased(self.purpose)));
        let fixed = layout::Erase {
            order: self.order.into(),
            partition: self.partition.0.into(),
            purpose: self.purpose.number(),
            reserved: [0; 5],
        };
        layout::put(&fixed, out).copy_from_slice(self.entries.as_bytes());
    }
}

/// Flag of a SURVEY.
const LAST: u8 = 1;

fn most_erased(purpose: Purpose) -> usize {
    if purpose == Purpose::Compact { COMPACT_ENTRY_COUNT_MAX } else { ERASE_ENTRY_COUNT_MAX }
}

fn is_sound(entries: &[Entry], purpose: Purpose, most: usize) -> bool {
    let is_sorted = match purpose {
        Purpose::Compact => {
            entries.iter().all(|entry| dot_of(*entry).number() != 0)
                && entries.is_sorted_by(|one, next| one < next)
        }
        Purpose::Reap | Purpose::Fence => {
            entries.iter().all(|entry| entry.version() != 0)
                && entries.is_sorted_by(|one, next| one.order() < next.order())
        }
    };
    (1..=most).contains(&entries.len()) && is_sorted
}
