//! The folders of shards, and their exchange for those of another shard count.
//!
//! Every function here may be repeated after a crash in the midst of it, with the same end; the
//! module [`reshard`](crate::reshard) has their order.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ringmain_core::id::ShardIndex;

use super::file::{self, Kind};
use super::{DataDir, DataDirError, Identity, Mark, Step};

const PREFIX: &str = "shard-";
const NEW_PREFIX: &str = "new-shard-";

impl DataDir {
    /// Makes the folders of a new node's shards; before its identity is written.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn make_shard_dirs(&self, shards: u16) -> Result<(), DataDirError> {
        for shard in (0..shards).map(ShardIndex) {
            let path = self.shard_path(shard);
            if !path.is_dir() {
                create(&path)?;
            }
        }
        file::sync_dir(&self.path)
    }

    /// The folder of one shard.
    ///
    /// # Errors
    /// If it is gone: what it held is not "not found".
    pub fn shard_dir(&self, shard: ShardIndex) -> Result<PathBuf, DataDirError> {
        let path = self.shard_path(shard);
        if path.is_dir() { Ok(path) } else { Err(DataDirError::Missing { file: path }) }
    }

    fn shard_path(&self, shard: ShardIndex) -> PathBuf {
        self.path.join(format!("{PREFIX}{:03}", shard.0))
    }

    fn new_shard_path(&self, shard: ShardIndex) -> PathBuf {
        self.path.join(format!("{NEW_PREFIX}{:03}", shard.0))
    }

    /// Makes the empty folder of a shard of another layout.
    pub(crate) fn make_new_shard_dir(&self, shard: ShardIndex) -> Result<PathBuf, DataDirError> {
        let path = self.new_shard_path(shard);
        create(&path)?;
        Ok(path)
    }

    /// Removes what was built of another layout: of use only while the identity is not marked.
    pub(crate) fn discard_new_shard_dirs(&self) -> Result<(), DataDirError> {
        for shard in self.shards_with(NEW_PREFIX)? {
            remove(&self.new_shard_path(shard))?;
        }
        Ok(())
    }

    /// Whether the identity is marked: its shards are those in the new folders, where there are
    /// such.
    ///
    /// # Errors
    /// As for [`identity`](Self::identity).
    pub fn is_exchanging(&self) -> Result<bool, DataDirError> {
        self.has_mark(Mark::Exchanging)
    }

    /// Whether shard folders may be empty: no start has made their logs yet.
    pub(crate) fn is_new(&self) -> Result<bool, DataDirError> {
        self.has_mark(Mark::New)
    }

    fn has_mark(&self, wanted: Mark) -> Result<bool, DataDirError> {
        Ok(self.marked_identity()?.is_some_and(|(_, mark)| mark == wanted))
    }

    /// From now on the new folders count, which are complete and synced. Durable when it returns.
    pub(crate) fn begin_exchange(&self, identity: &Identity) -> Result<(), DataDirError> {
        file::sync_dir(&self.path)?;
        file::write(&self.path, Kind::Identity, &identity.to_bytes(Mark::Exchanging))
    }

    /// Removes the folder that a new one shall replace.
    pub(crate) fn remove_replaced(&self, shard: ShardIndex) -> Result<(), DataDirError> {
        if self.is_there(&self.new_shard_path(shard))? {
            remove(&self.shard_path(shard))?;
        }
        Ok(())
    }

    /// Gives a new folder its name for good, whose former owner is removed.
    pub(crate) fn rename_new(&self, shard: ShardIndex) -> Result<(), DataDirError> {
        let (new, path) = (self.new_shard_path(shard), self.shard_path(shard));
        if !self.is_there(&new)? {
            return Ok(());
        }
        fs::rename(&new, &path).map_err(|source| DataDirError::io(Step::Rename, &path, source))
    }

    /// Removes the folders beyond the shard count and takes the mark away.
    pub(crate) fn end_exchange(&self, identity: &Identity) -> Result<(), DataDirError> {
        for shard in self.shards_with(PREFIX)?.into_iter().filter(|it| it.0 >= identity.shards) {
            remove(&self.shard_path(shard))?;
        }
        file::sync_dir(&self.path)?;
        self.write_identity(identity)
    }

    /// The shards that have a folder whose name begins with `prefix`.
    fn shards_with(&self, prefix: &str) -> Result<Vec<ShardIndex>, DataDirError> {
        let failed = |source| DataDirError::io(Step::Read, &self.path, source);
        let mut shards = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            shards.extend(number.map(ShardIndex));
        }
        Ok(shards)
    }

    fn is_there(&self, path: &Path) -> Result<bool, DataDirError> {
        path.try_exists().map_err(|source| DataDirError::io(Step::Read, path, source))
    }
}

fn create(path: &Path) -> Result<(), DataDirError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|source| DataDirError::io(Step::Create, path, source))
}

fn remove(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != NotFound => {
            Err(DataDirError::io(Step::Remove, path, source))
        }
        _ => Ok(()),
    }
}
