//! Entries of a version vector that leave it: see [`causality`](crate::causality).

use super::{Place, Records, Refusal};
use crate::causality::{Dot, compacted_bytes, index_when_compacted, write_compacted};
use crate::hash::Key;

/// Has those of `entries` leave the version vector of `key` that are spent there; returns where the
/// record lies now, or none if there are none. Its version stays what it was.
///
/// # Errors
/// [`Refusal`]; then nothing changed.
pub fn compact<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    entries: &[Dot],
) -> Result<Option<Place>, Refusal> {
    assert!(!key.is_hint());
    let Some(old) = records.record(key).map_err(Refusal::Unread)? else { return Ok(None) };
    let spent = old.record.spent_of(entries);
    if spent.is_empty() {
        return Ok(None);
    }
    let mine = old.mine.and_then(|mine| index_when_compacted(old.record, &spent, mine));
    let bytes = compacted_bytes(old.record, &spent);
    let place = records.append(key, mine, bytes, |old, out| {
        let old = old.expect("the record that is compacted is still current").record;
        write_compacted(old, &spent, out);
    });
    place.map(Some).map_err(Refusal::Full)
}
