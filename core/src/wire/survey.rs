//! What nodes ask each other before records leave for good. The request number of the frames names
//! the survey. Lists are lent as they travel.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

use super::exchange::Entry;
use super::layout;
use super::payload::{Malformed, Payload};
use crate::id::Partition;
use crate::limits::{ERASE_ENTRY_COUNT_MAX, SURVEY_ENTRY_COUNT_MAX};

codes! {
    /// What a survey is for.
    pub enum Purpose {
        /// Records that have ended are to leave all nodes.
        Reap = 1,
        /// A copy of a partition that the sender does not own any more is to leave it.
        Fence = 2,
    }
}

/// A bit for each entry of a survey.
pub type Bits = [u64; SURVEY_ENTRY_COUNT_MAX / 64];

/// SURVEY: do you agree that these records leave?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Survey<'a> {
    /// Of the keys.
    pub partition: Partition,
    /// Why they are to leave.
    pub purpose: Purpose,
    /// 1..=`SURVEY_ENTRY_COUNT_MAX` keys and the versions of their records, ascending by order, no
    /// two of one order.
    pub entries: &'a [Entry],
}

impl<'a> Survey<'a> {
    /// Reads the payload of a SURVEY. O(entries).
    pub fn new_checked(payload: &'a [u8]) -> Result<Survey<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Survey>(payload)?;
        let purpose = Purpose::from_number(fixed.purpose).ok_or(Malformed)?;
        let entries = entries(rest, SURVEY_ENTRY_COUNT_MAX)?;
        if fixed.reserved != [0; 5] {
            return Err(Malformed);
        }
        Ok(Survey { partition: Partition(fixed.partition.get()), purpose, entries })
    }
}

impl Payload for Survey<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Survey>() + size_of_val(self.entries)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(is_sound(self.entries, SURVEY_ENTRY_COUNT_MAX));
        let (partition, purpose) = (self.partition.0.into(), self.purpose.number());
        let rest = layout::put(&layout::Survey { partition, purpose, reserved: [0; 5] }, out);
        rest.copy_from_slice(self.entries.as_bytes());
    }
}

/// SURVEYED: the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Surveyed {
    /// To which entries the sender agrees, by their position.
    pub agreed: Bits,
    /// How old a frame may be that the sender still takes, milliseconds.
    pub frame_age_max_ms: u32,
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
        Ok(Surveyed { agreed, frame_age_max_ms })
    }
}

impl Payload for Surveyed {
    fn bytes(&self) -> usize {
        size_of::<layout::Surveyed>()
    }

    fn write(&self, out: &mut [u8]) {
        let agreed = self.agreed.map(U64::new);
        let frame_age_max_ms = self.frame_age_max_ms.into();
        let fixed = layout::Surveyed { agreed, frame_age_max_ms, reserved: 0.into() };
        assert!(layout::put(&fixed, out).is_empty());
    }
}

/// ERASE: all have agreed; who still has these records drops them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Erase<'a> {
    /// Of the keys.
    pub partition: Partition,
    /// 1..=`ERASE_ENTRY_COUNT_MAX`, as in a SURVEY.
    pub entries: &'a [Entry],
}

impl<'a> Erase<'a> {
    /// Reads the payload of an ERASE. O(entries).
    pub fn new_checked(payload: &'a [u8]) -> Result<Erase<'a>, Malformed> {
        let (fixed, rest) = layout::split::<layout::Erase>(payload)?;
        let entries = entries(rest, ERASE_ENTRY_COUNT_MAX)?;
        if fixed.reserved != [0; 6] {
            return Err(Malformed);
        }
        Ok(Erase { partition: Partition(fixed.partition.get()), entries })
    }
}

impl Payload for Erase<'_> {
    fn bytes(&self) -> usize {
        size_of::<layout::Erase>() + size_of_val(self.entries)
    }

    fn write(&self, out: &mut [u8]) {
        assert!(is_sound(self.entries, ERASE_ENTRY_COUNT_MAX));
        let fixed = layout::Erase { partition: self.partition.0.into(), reserved: [0; 6] };
        layout::put(&fixed, out).copy_from_slice(self.entries.as_bytes());
    }
}

fn entries(bytes: &[u8], most: usize) -> Result<&[Entry], Malformed> {
    let entries = <[Entry]>::ref_from_bytes(bytes).map_err(|_| Malformed)?;
    if is_sound(entries, most) { Ok(entries) } else { Err(Malformed) }
}

fn is_sound(entries: &[Entry], most: usize) -> bool {
    (1..=most).contains(&entries.len())
        && entries.iter().all(|entry| entry.version() != 0)
        && entries.is_sorted_by(|one, next| one.order() < next.order())
}
