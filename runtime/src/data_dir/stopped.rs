//! Where the log of a shard had come to when it was last stopped: the file `stopped` in its folder.
//!
//! *Problem.* Nothing in a log follows its last records but the header of a clean stop. Where a
//! disk gives zeros for both, it looks like one that ended earlier. *Answer.* The same is said once
//! more, apart from the log. *Invariant.* What the file says was true once and stays so: all before
//! the place was on disk. So nobody has to remove it before the log goes on, and the table of
//! [`data_dir`](super) holds for it: the old file is as true as the new one. A log without it is
//! one of which nobody knows, as after a crash.
//!
//! | bytes | field |
//! |---|---|
//! | 0..16 | cluster id, u128 |
//! | 16..20 | node id, u32 |
//! | 20..22 | shard, u16 |
//! | 22..24 | shard count, u16 |
//! | 24..32 | the place: segment and offset, u64 |

use std::path::Path;

use ringmain_core::id::ShardIndex;
use ringmain_core::records::Place;

use super::file::{self, Kind};
use super::{DataDir, DataDirError, Identity};

/// Bytes that say whose log it is.
const OWNER_BYTES: usize = 24;
/// Bytes of the file's body.
pub(super) const STOPPED_BYTES: usize = OWNER_BYTES + 8;

impl DataDir {
    /// Before which place all of a shard's log was on disk when it was last stopped; place 0 if
    /// nobody knows.
    ///
    /// # Errors
    /// As for [`identity`](Self::identity); also if it is the file of another log. Whoever goes on
    /// without it knows less of the log, not something wrong.
    pub fn stopped(&self, identity: &Identity, shard: ShardIndex) -> Result<Place, DataDirError> {
        let path = self.shard_dir(shard)?.join(Kind::Stopped.name());
        let Some(body) = file::read(&path, Kind::Stopped)? else { return Ok(Place(0)) };
        let place =
            body.strip_prefix(&owner(identity, shard)).and_then(|place| place.try_into().ok());
        let damaged = DataDirError::Damaged { file: path };
        Ok(Place(u64::from_le_bytes(place.ok_or(damaged)?)))
    }

    /// Keeps where a shard's log was stopped.
    ///
    /// # Errors
    /// As for [`write_identity`](Self::write_identity). Then what was kept before holds.
    pub fn write_stopped(
        &self,
        identity: &Identity,
        shard: ShardIndex,
        place: Place,
    ) -> Result<(), DataDirError> {
        let dir: &Path = &self.shard_dir(shard)?;
        let mut body = [0; STOPPED_BYTES];
        body[..OWNER_BYTES].copy_from_slice(&owner(identity, shard));
        body[OWNER_BYTES..].copy_from_slice(&place.0.to_le_bytes());
        file::write(dir, Kind::Stopped, &body)
    }
}

fn owner(identity: &Identity, shard: ShardIndex) -> [u8; OWNER_BYTES] {
    let mut bytes = [0; OWNER_BYTES];
    bytes[..16].copy_from_slice(&identity.cluster.0.to_le_bytes());
    bytes[16..20].copy_from_slice(&identity.node.0.to_le_bytes());
    bytes[20..22].copy_from_slice(&shard.0.to_le_bytes());
    bytes[22..].copy_from_slice(&identity.shards.to_le_bytes());
    bytes
}
