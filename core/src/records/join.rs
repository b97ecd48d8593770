//! Records of others that are joined into the store: replication, repair, handoff, hints and
//! exchanges, always the same.

use super::{Full, Place, Records, Refusal, Unread, update_leaf};
use crate::causality::{self, Join, Record};
use crate::hash::Key;
use crate::id::Boot;
use crate::limits;
use crate::wire::body::{Body, body_bytes};

/// What a join did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Joined {
    /// Where the record that covers the received one lies.
    pub place: Place,
    /// This node had lost events of its own actor of that process life. A life that has ended
    /// may lose what it had not synced; the one that runs must end.
    pub lost_mine: Option<Boot>,
    /// Version of the record that was there; 0 = none.
    pub before: u64,
    /// Version of the record that is there now.
    pub after: u64,
    /// Entries of its version vector; 0 if it is the one that was there.
    pub entries: usize,
}

/// Joins a received record into the store (replication, repair, handoff, hints: always the same).
/// `body` is the received body that holds `received`; it is stored unchanged when it wins.
///
/// # Errors
/// [`Refusal`], never for the limits of client writes; [`Refusal::TooLarge`] only if the joined
/// record does not fit a frame any more.
pub fn join<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    received: Record<'_>,
    body: Body<'_>,
) -> Result<Joined, Refusal> {
    join_from(records, key, received, Some(body), Believed::Certain)
}

/// As [`join`], of a record that another owner sent in an exchange: what this node has lost of it
/// is given up for it.
///
/// # Errors
/// As [`join`].
pub fn join_exchanged<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    received: Record<'_>,
    body: Body<'_>,
) -> Result<Joined, Refusal> {
    let result = join_from(records, key, received, Some(body), Believed::Left);
    if result != Err(Refusal::Unread(Unread::Damaged)) {
        return result;
    }
    let Some(place) = records.replace_damaged(key, body).map_err(Refusal::Full)? else {
        return result;
    };
    let after = received.version(key);
    update_leaf(records, key, 0, after);
    Ok(Joined {
        place,
        lost_mine: None,
        before: 0,
        after,
        entries: received.version_vector().len(),
    })
}

/// As [`join`], of a record that has no body, since it was joined from what several nodes sent.
///
/// # Errors
/// As [`join`].
pub fn join_record<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    received: Record<'_>,
) -> Result<Joined, Refusal> {
    join_from(records, key, received, None, Believed::Certain)
}

/// Which of this node's records a join believes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Believed {
    /// Those that were certainly the last.
    Certain,
    /// What is left.
    Left,
}

fn join_from<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    received: Record<'_>,
    body: Option<Body<'_>>,
    believed: Believed,
) -> Result<Joined, Refusal> {
    // A hint only adds: what damage may have taken of an earlier one is lost either way.
    let is_certain = believed == Believed::Certain && !key.is_hint();
    let old = if is_certain { records.record(key) } else { records.record_left(key) };
    let Some(old) = old.map_err(Refusal::Unread)? else {
        let after = received.version(key);
        let place = append_whole(records, key, None, received, body).map_err(Refusal::Full)?;
        update_leaf(records, key, 0, after);
        let entries = received.version_vector().len();
        return Ok(Joined { place, lost_mine: None, before: 0, after, entries });
    };
    let before = old.record.version(key);
    let actor = old.mine.map(|mine| old.record.version_vector().dot(usize::from(mine)).actor());
    let mine = actor.and_then(|actor| causality::mine_after_join(old.record, received, actor));
    let lost_mine = actor.filter(|_| mine.is_none()).map(|actor| actor.boot());
    let (mut after, mut entries) = (0, 0);
    let join = causality::join(old.record, received);
    if let Join::Both { bytes } = join
        && body_bytes(key.bytes.len(), bytes) > limits::BODY_BYTES_MAX
    {
        return Err(Refusal::TooLarge);
    }
    let place = match join {
        Join::KeepLeft => {
            let place = old.place;
            return Ok(Joined { place, lost_mine: None, before, after: before, entries });
        }
        Join::TakeRight => {
            (after, entries) = (received.version(key), received.version_vector().len());
            append_whole(records, key, mine, received, body)
        }
        Join::Both { bytes } => records.append(key, mine, bytes, |old, out| {
            let old = old.expect("the record that was joined is still current").record;
            causality::write_join(old, received, out);
            let joined = Record::new_checked(out).expect("a join is well-formed");
            (after, entries) = (joined.version(key), joined.version_vector().len());
        }),
    };
    let place = place.map_err(Refusal::Full)?;
    #[cfg(feature = "plant")]
    if crate::plant::is(crate::plant::Plant::LeafForgotten) {
        return Ok(Joined { place, lost_mine, before, after, entries });
    }
    update_leaf(records, key, before, after);
    Ok(Joined { place, lost_mine, before, after, entries })
}

/// Appends `received` as it is: its body unchanged, if it has one and this node no actor in it.
fn append_whole<R: Records>(
    records: &mut R,
    key: &Key<'_>,
    mine: Option<u16>,
    received: Record<'_>,
    body: Option<Body<'_>>,
) -> Result<Place, Full> {
    let bytes = received.bytes();
    match body {
        Some(body) if mine.is_none() => records.append_received(key, body),
        _ => records.append(key, mine, bytes.len(), |_, out| out.copy_from_slice(bytes)),
    }
}
