//! What requests gather from stores, and what that says.

use super::kept::{gather, gathered, kept};
use super::{AtHand, Bodies, Command, Links, Turn, Waiting};
use crate::causality::{self, Record};
use crate::checksum::Checksum;
use crate::id::{NodeId, RequestId};
use crate::records::{Place, Records, Unread};
use crate::wire::get::GetRequest;
use crate::wire::put::Content;

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    pub(super) fn gather_place(&mut self, op: RequestId, place: Place) -> Result<(), Unread> {
        let body = self.store.body(place)?;
        let record = Record::new_checked(body.payload()).map_err(|_| Unread::Damaged)?;
        gather(self.bodies, op, record);
        Ok(())
    }

    pub(super) fn gather(&mut self, op: RequestId, record: Record<'_>) {
        gather(self.bodies, op, record);
    }

    /// Whether what is gathered covers the context that the read was given.
    pub(super) fn covered(&self, op: RequestId, hand: AtHand<'_>) -> bool {
        #[cfg(feature = "plant")]
        if crate::plant::is(crate::plant::Plant::CoverIgnored) {
            return true;
        }
        let (key, command) = match hand {
            AtHand::Command(key, command) => (key.bytes, command),
            _ => match kept(self.bodies, op) {
                Some(kept) => kept,
                None => return true,
            },
        };
        let Command::Get(GetRequest { context, .. }) = command else { return true };
        if context.is_empty() {
            return true;
        }
        let Ok(wanted) = causality::decode_token(&self.settings.context_key, key, context) else {
            return false;
        };
        match gathered(self.bodies, op) {
            Some(record) => record.version_vector().covers_all(wanted),
            None => wanted.is_empty(),
        }
    }

    /// Where values get another expiry, they are those of the own copy as it is now, too: none
    /// that was replaced since the read comes back.
    pub(super) fn gather_own(&mut self, op: RequestId, target: NodeId) {
        let Some((key, Command::Put(put))) = kept(self.bodies, op) else { return };
        if !matches!(put.content, Content::ExpiryOnly { .. }) {
            return;
        }
        let key = self.place(key).kept_for(target);
        // What cannot be read, the event meets, too.
        if let Ok(Some(stored)) = self.store.record(&key) {
            let place = stored.place;
            let _unread = self.gather_place(op, place);
        }
    }
}
