//! What is kept for other nodes, found and made ready for the way to them.
//!
//! A full hint is sent as it lies in the log. An empty one stands for this node's own copy, which
//! is sent instead; and if this node owns the key of a full one by now, that is joined into its own
//! copy, which then counts for both.

use super::compact::on_entries;
use super::kept::gathered;
use super::{Bodies, Links, Notice, Turn, Waiting};
use crate::causality::Record;
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::{NodeId, RequestId};
use crate::limits::{HANDOFF_COUNT_MAX, KEY_BYTES_MAX};
use crate::records::{self, Place, Records, Refusal, Unread};
use crate::request::KeyPlace;
use crate::shard::{FoundHint, Sought};
use crate::wire::body::Body;
use heapless::Vec;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// Looks for the oldest hint for `target` behind `after`.
    pub(super) fn seek_hint(&mut self, op: RequestId, target: NodeId, after: Place) -> Sought {
        let Some(place) = self.store.next_hint(target, after) else { return Sought::Nothing };
        let found = match self.read_hint(target, place) {
            Ok((key, kind)) => self.prepare_hint(op, (target, place), &key, kind),
            Err(unread) => Err(Refusal::Unread(unread)),
        };
        match found {
            Ok(found) => found.map_or(Sought::Passed { place }, Sought::Found),
            Err(Refusal::Unread(Unread::Cold)) => {
                self.read_ahead(target, after);
                Sought::Cold { place }
            }
            // Neither is given up, nor do others wait for it.
            Err(Refusal::Unread(Unread::Damaged) | Refusal::Siblings | Refusal::TooLarge) => {
                self.links.notice(Notice::HintUnsendable { target, place });
                Sought::Passed { place }
            }
            Err(Refusal::Full(_)) => Sought::Refused,
        }
    }

    /// The hint for `target` at `place`, for which what lay at `sent` was sent, has come home. One
    /// that cannot be read any more is handed off once more, with the next pass. So is one that
    /// stands for this node's own copy, if that has changed: whoever lacks the change is kept in
    /// mind by the same hint.
    pub(super) fn drop_hint(&mut self, target: NodeId, place: Place, sent: Place) {
        let Ok(body) = self.store.body(place) else { return };
        let bytes = key_of(body);
        let Ok(own) = self.stored_key(&bytes) else { return };
        let is_current = || {
            let stored = self.store.record(&own).ok().flatten();
            stored.is_some_and(|stored| stored.place == sent)
        };
        if sent == place || is_current() {
            if target == self.shard.config().node && !self.drop_given_away(&own, place) {
                return;
            }
            self.erase_hint(&own.kept_for(target), place);
        }
    }

    /// All who own `own` have what was set aside for them at `place`: so the own copy goes, if it
    /// is that. False if it would, but cannot now.
    fn drop_given_away(&mut self, own: &Key<'_>, place: Place) -> bool {
        if self.shard.owns(own.partition) {
            return true;
        }
        let version = self.store.body(place).ok().and_then(|body| {
            Record::new_checked(body.payload()).ok().map(|record| record.version(own))
        });
        let stored = self.store.record(own).ok().flatten();
        let is_it = stored.filter(|stored| Some(stored.record.version(own)) == version);
        let Some(copy) = is_it.map(|stored| stored.place) else { return true };
        match records::erase(self.store, own, copy) {
            Err(_) => false,
            Ok(erasure) => {
                if let Some(erasure) = erasure {
                    self.shard.on_given_away(erasure);
                }
                true
            }
        }
    }

    /// One that finds no room stays, and comes home once more.
    fn erase_hint(&mut self, hint: &Key<'_>, place: Place) {
        if let Ok(Some(place)) = self.store.erase(hint, place) {
            self.shard.on_erased(place);
        }
    }

    /// The key of the hint for `target` at `place`, checked, and what that is.
    fn read_hint(&self, target: NodeId, place: Place) -> Result<(KeyBytes, HintKind), Unread> {
        let body = self.store.body(place)?;
        let key = self.stored_key(body.key())?.kept_for(target);
        if self.store.record(&key)?.is_none_or(|stored| stored.place != place) {
            return Err(Unread::Damaged);
        }
        let record = Record::new_checked(body.payload()).map_err(|_| Unread::Damaged)?;
        let kind =
            if is_reference(record) { HintKind::Reference } else { HintKind::Full(size(body)) };
        Ok((key_of(body), kind))
    }

    /// What is to be sent for the hint at `place`; none if it refers to what is not there.
    fn prepare_hint(
        &mut self,
        op: RequestId,
        (target, place): (NodeId, Place),
        bytes: &[u8],
        kind: HintKind,
    ) -> Result<Option<FoundHint>, Refusal> {
        let own = self.place(bytes);
        let key = KeyPlace::of(&own);
        let joined = match kind {
            HintKind::Full(bytes) if !self.shard.owns(own.partition) => {
                return Ok(Some(FoundHint { place, sends: place, key, bytes, joined: false }));
            }
            HintKind::Full(_) => {
                self.join_hint(op, place, &own)?;
                true
            }
            HintKind::Reference => false,
        };
        let stored = match self.store.record(&own) {
            Err(Unread::Cold) => {
                self.store.fetch_ahead(&own);
                return Err(Refusal::Unread(Unread::Cold));
            }
            stored => stored.map_err(Refusal::Unread)?,
        };
        let Some(sends) = stored.map(|stored| stored.place) else {
            if !self.shard.owns(own.partition) {
                // All who own it have what this node gave away.
                self.erase_hint(&own.kept_for(target), place);
            }
            return Ok(None);
        };
        let bytes = size(self.store.body(sends).map_err(Refusal::Unread)?);
        Ok(Some(FoundHint { place, sends, key, bytes, joined }))
    }

    /// Joins the hint at `place` into this node's own copy of its key.
    fn join_hint(&mut self, op: RequestId, place: Place, own: &Key<'_>) -> Result<(), Refusal> {
        if self.store.is_stalled() || self.store.is_room_awaited() {
            return Err(Refusal::Full(records::Full::Busy));
        }
        if self.store.is_cold(own) {
            self.store.fetch_ahead(own);
            return Err(Refusal::Unread(Unread::Cold));
        }
        self.gather_place(op, place).map_err(Refusal::Unread)?;
        let record = gathered(self.bodies, op).expect("it was gathered just now");
        let joined = records::join_record(self.store, own, record);
        self.bodies.release(op);
        let joined = joined?;
        let boot = self.shard.config().boot;
        if joined.lost_mine == Some(boot) {
            self.links.notice(Notice::LostOwnEvents);
        }
        on_entries((self.shard, self.store), own, joined.entries);
        Ok(())
    }

    /// Has the next hints for `target` behind `after`, and what they refer to, read into memory, so
    /// that not each of them is waited for.
    fn read_ahead(&mut self, target: NodeId, mut after: Place) {
        for _ in 0..HANDOFF_COUNT_MAX {
            let Some(place) = self.store.next_hint(target, after) else { return };
            after = place;
            match self.read_hint(target, place) {
                Err(Unread::Cold) => self.store.fetch_place(place),
                Ok((bytes, HintKind::Reference)) => {
                    let own = self.place(&bytes);
                    if self.store.is_cold(&own) {
                        self.store.fetch_ahead(&own);
                    }
                }
                Ok(_) | Err(Unread::Damaged) => {}
            }
        }
    }
}

/// The store may move what it lends when something is appended, so keys of hints are copied.
type KeyBytes = Vec<u8, KEY_BYTES_MAX>;

fn key_of(body: Body<'_>) -> KeyBytes {
    KeyBytes::from_slice(body.key()).expect("a body has no longer key")
}

fn size(body: Body<'_>) -> u32 {
    body.bytes().len() as u32
}

/// What lies at the place of a hint.
#[derive(Clone, Copy, Debug)]
enum HintKind {
    /// All that its target lacks; the length of its body, bytes.
    Full(u32),
    /// It stands for this node's own copy.
    Reference,
}

/// Whether a hint is an empty record.
fn is_reference(record: Record<'_>) -> bool {
    record.bytes() == Record::empty().bytes()
}
