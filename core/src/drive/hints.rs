//! Records that are kept for other nodes, between frames and the store.

use super::{Bodies, Command, Links, To, Turn, Waiting};
use crate::causality::Record;
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::NodeId;
use crate::limits::KEY_BYTES_MAX;
use crate::records::{self, Place, Records};
use crate::request::KeyPlace;
use crate::wire::FIRST_BYTES;
use crate::wire::body::Body;
use crate::wire::frame::{Frame, Hop, frame_length, write_frame};
use crate::wire::op::Op;
use crate::wire::payload::{Malformed, Payload};
use crate::wire::peer::{Hint, Read};

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// Sends the record at `place`, to be kept for `target`. Whether it was sent; none if it could
    /// not be read, or is damaged: it travels under a new checksum, so nobody else would notice.
    /// What fits no frame together with its target is not sent. O(bytes).
    pub(super) fn send_hint(
        &mut self,
        to: To,
        hop: Hop,
        place: Place,
        target: NodeId,
    ) -> Option<bool> {
        let body = Body::new_checked::<C>(self.store.body(place).ok()?.bytes()).ok()?;
        let hint = Hint { target, record: body.payload() };
        let bytes = frame_length(body.key().len(), hint.bytes());
        if bytes > FIRST_BYTES + hop.op.body_bytes_max() {
            return Some(false);
        }
        let sent = self.links.send(to, bytes, |out| write_frame::<C>(&hop, body.key(), &hint, out));
        Some(sent.is_ok())
    }

    /// Keeps in mind that `target` lacks what is at `place`: an empty record, which stands for this
    /// node's own copy, so that a key which is written often takes no more room. What finds no room
    /// is left to anti-entropy.
    pub(super) fn keep_hint(&mut self, place: Place, key: KeyPlace, target: NodeId) {
        // By the end of a slow write its record may have been replaced, or moved by merging.
        let moved = || {
            let mut keys = self.store.keys_from(key.partition, key.order);
            keys.next().filter(|(order, _)| *order == key.order).map(|(_, place)| place)
        };
        let body = match self.store.body(place) {
            Ok(body) => Some(body),
            Err(_) => moved().and_then(|place| self.store.body(place).ok()),
        };
        let Some(body) = body else { return };
        // The tail moves when something is appended.
        let bytes = heapless::Vec::<u8, KEY_BYTES_MAX>::from_slice(body.key());
        let bytes = bytes.expect("a body has no longer key");
        let key = self.place(&bytes).kept_for(target);
        let _refused = records::join_record(self.store, &key, Record::empty());
    }

    /// The key of a command, and whose copy this node would work on as its coordinator now.
    pub(super) fn coordinated<'k>(&self, key: Key<'k>, command: &Command<'_>) -> Key<'k> {
        key.kept_for(self.shard.would_stand_for(key.partition, command.forwarded()))
    }
}

/// The record of a data frame.
pub(super) fn record_of(frame: Frame<'_>) -> Result<Record<'_>, Malformed> {
    let payload = frame.payload();
    let bytes = match frame.op() {
        Op::Hint | Op::HintSync => Hint::new_checked(payload)?.record,
        _ => payload,
    };
    Record::new_checked(bytes).map_err(|_| Malformed)
}

/// For whom the record of a data frame is kept; 0 = the replica itself.
pub(super) fn target_of(frame: Frame<'_>) -> Result<NodeId, Malformed> {
    match frame.op() {
        Op::Hint | Op::HintSync => Ok(Hint::new_checked(frame.payload())?.target),
        Op::Read => Ok(Read::new_checked(frame.payload())?.target),
        _ => Ok(NodeId(0)),
    }
}
