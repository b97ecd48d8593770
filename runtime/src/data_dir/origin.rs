//! Whether the directory stands where its last process left it, or was copied from there.
//!
//! A copy may hold what was deleted and has left all nodes since. The file `lock` is made once and
//! never replaced, so its inode and the time at which that was made name the directory itself:
//! whoever makes new files cannot give both to them. Who puts a snapshot of a file system back, or
//! writes over the files that are there, keeps both, and removes the file `origin` to say it. A
//! file system that knows no birth times may give a copy the inode of what was removed before.
//!
//! | bytes of the body | field |
//! |---|---|
//! | 0..8 | inode of `lock`, u64 |
//! | 8..24 | when that was made, nanoseconds since 1970, u128; 0 if the file system does not say |

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use super::error::Step;
use super::file::{self, Kind};
use super::{DataDir, DataDirError};

const INODE_BYTES: usize = 8;
/// As a birth time.
const UNKNOWN: [u8; 16] = [0; 16];
pub(super) const ORIGIN_BYTES: usize = INODE_BYTES + UNKNOWN.len();

impl DataDir {
    /// Whether this is known for the directory that was [kept](Self::keep_origin) last: false for a
    /// copy, and for one of a build that did not write it down.
    ///
    /// # Errors
    /// As for [`identity`](Self::identity).
    pub fn is_in_place(&self) -> Result<bool, DataDirError> {
        let path = self.path.join(Kind::Origin.name());
        let Some(kept) = file::read(&path, Kind::Origin)? else { return Ok(false) };
        let Ok(kept) = <[u8; ORIGIN_BYTES]>::try_from(kept) else {
            return Err(DataDirError::Damaged { file: path });
        };
        let Ok(origin) = self.origin() else { return Ok(false) };
        // A newer kernel may know birth times that an older one did not.
        let compared = if kept.ends_with(&UNKNOWN) { INODE_BYTES } else { ORIGIN_BYTES };
        Ok(kept[..compared] == origin[..compared])
    }

    /// From now on this directory is the original. Durable when it returns.
    ///
    /// # Errors
    /// As for [`write_identity`](Self::write_identity).
    pub fn keep_origin(&self) -> Result<(), DataDirError> {
        file::write(&self.path, Kind::Origin, &self.origin()?)
    }

    fn origin(&self) -> Result<[u8; ORIGIN_BYTES], DataDirError> {
        let failed = |source| DataDirError::io(Step::Read, &self.path.join("lock"), source);
        Ok(origin_of(&self.lock.metadata().map_err(failed)?))
    }
}

fn origin_of(lock: &Metadata) -> [u8; ORIGIN_BYTES] {
    let made = lock.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let nanos = made.map_or(0, |made| made.as_nanos());
    let mut bytes = [0; ORIGIN_BYTES];
    bytes[..INODE_BYTES].copy_from_slice(&lock.ino().to_le_bytes());
    bytes[INODE_BYTES..].copy_from_slice(&nanos.to_le_bytes());
    bytes
}
