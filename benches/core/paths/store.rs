//! The records of one key, in memory.

use ringmain_core::causality::Record;
use ringmain_core::hash::Key;
use ringmain_core::id::Partition;
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::{Full, Place, Records, Stored, Unread};
use ringmain_core::wire::body::{Body, body_bytes, write_body};
use ringmain_runtime::checksum::Hardware;

/// A store of one key that forgets all but its current record.
pub(crate) struct OneKey {
    bodies: [Vec<u8>; 2],
    /// The record is the body of this place, modulo 2; 0: there is none.
    place: u64,
    mine: Option<u16>,
    leaves: Vec<u64>,
}

impl Default for OneKey {
    fn default() -> OneKey {
        let leaves = vec![0; MERKLE_LEAF_COUNT];
        OneKey { bodies: Default::default(), place: 0, mine: None, leaves }
    }
}

impl OneKey {
    /// `body` is that of the current record from now on.
    fn take(&mut self, body: Vec<u8>, mine: Option<u16>) -> Place {
        (self.place, self.mine) = (self.place + 1, mine);
        self.bodies[self.place as usize % 2] = body;
        Place(self.place)
    }

    /// The memory of the next body.
    fn spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bodies[(self.place + 1) as usize % 2])
    }
}

impl Records for OneKey {
    fn record(&self, _: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        let place = Place(self.place);
        if self.place == 0 {
            return Ok(None);
        }
        let record = Record::new_checked(self.body(place)?.payload());
        Ok(Some(Stored { record: record.map_err(|_| Unread::Damaged)?, mine: self.mine, place }))
    }

    fn is_cold(&self, _: &Key<'_>) -> bool {
        false
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        let mut body = self.spare();
        body.resize(body_bytes(key.bytes.len(), bytes), 0);
        let old = self.record(key).expect("memory can be read");
        write_body::<Hardware>(key.bytes, &mut body, |out| fill(old, out));
        Ok(self.take(body, mine))
    }

    fn append_received(&mut self, _: &Key<'_>, received: Body<'_>) -> Result<Place, Full> {
        let mut body = self.spare();
        body.clear();
        body.extend_from_slice(received.bytes());
        Ok(self.take(body, None))
    }

    fn body(&self, place: Place) -> Result<Body<'_>, Unread> {
        assert_eq!(place.0, self.place);
        let body = &self.bodies[place.0 as usize % 2];
        Body::without_checksum(body).map_err(|_| Unread::Damaged)
    }

    fn leaves(&mut self, _: Partition) -> &mut [u64] {
        &mut self.leaves
    }
}
