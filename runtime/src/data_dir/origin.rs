//! Whether the directory stands where its last process left it, or was copied from there.
//!
//! A copy may hold what was deleted and has left all nodes since. The file `lock` is made once and
//! never replaced, so its inode and the time at which that was made name the directory itself: no
//! tool that copies files can give both to a copy. A snapshot of a whole file system has both; who
//! puts one back removes the file `origin` from it.
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

pub(super) const ORIGIN_BYTES: usize = 24;

impl DataDir {
    /// Whether this is known for the directory that was [kept](Self::keep_origin) last: false for a
    /// copy, and for one of a build that did not write it down.
    ///
    /// # Errors
    /// As for [`identity`](Self::identity).
    pub fn is_in_place(&self) -> Result<bool, DataDirError> {
        let kept = file::read(&self.path.join(Kind::Origin.name()), Kind::Origin)?;
        Ok(kept.is_some_and(|kept| self.origin().is_ok_and(|origin| kept == origin)))
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
    bytes[..8].copy_from_slice(&lock.ino().to_le_bytes());
    bytes[8..].copy_from_slice(&nanos.to_le_bytes());
    bytes
}
