//! The data directory: which node of which cluster this is, and nothing that could let two
//! processes, two nodes or two lives of one node be taken for each other.
//!
//! ```text
//! lock        held by flock while a process uses the directory; its text is that process's id
//! boot        the number of the last process life, written before the life does anything
//! secret      the cluster's secret, readable by its owner alone
//! members     topology operations, last known addresses and reap epochs, opaque here
//! identity    cluster, node, shard count and the cluster's constants
//! origin      which file `lock` is: not that of a directory that was copied from this one
//! shard-NNN/  log, snapshots and hints of one shard, and where it was stopped (`stopped`)
//! new-shard-NNN/  the same for another shard count, while it is being built
//! ```
//! Each file but `lock` begins with magic, format version and checksum (see the module
//! `file`) and is replaced whole:
//!
//! | step | if power fails here |
//! |---|---|
//! | write `NAME.new`, sync it | the old file holds; `NAME.new` is overwritten next time |
//! | rename it over `NAME` | the old or the new file holds, each whole |
//! | sync the directory | the new file holds |
//!
//! `boot` is written at every start, also on a disk without a free byte: such a node still serves
//! reads. So the replaced file stays as `boot.new`, the next number is written over it, in blocks
//! that it has, and the two exchange their names:
//!
//! | step | if power fails here |
//! |---|---|
//! | write over `boot.new`, sync it | `boot` holds; `boot.new` is overwritten next time |
//! | exchange the names | the old or the new file is `boot`, each whole |
//! | sync the directory | the new file holds |
//!
//! A new directory gets `boot`, `secret`, `members`, `origin` and empty shard folders first and
//! `identity` last.
//! The first start takes a mark out of `identity` once each shard folder holds a log: one that is
//! found empty later has lost it.
//! Invariant: where `identity` is, all that it needs is; where it is not, nothing was promised,
//! so the others may be overwritten. Shard folders with anything in them are refused without it:
//! they may hold data whose owner is unknown.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmain_core::id::{Boot, ClusterId, NodeId};

use crate::settings::Secret;

mod error;
mod file;
mod folders;
mod identity;
mod origin;
mod stopped;

pub use error::{DataDirError, Step};
pub(crate) use file::open_regular;
pub use identity::Identity;

use file::Kind;
use identity::Mark;

/// Boot numbers are below 2^40: dots carry 40 bits of them.
const BOOT_BITS: u32 = 40;

/// A locked data directory. The lock ends with it.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held: the kernel drops the lock when it is closed.
    lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, locks it, and refuses one that is not ours.
    ///
    /// # Errors
    /// Locked by another process; holds foreign files, or shards without an identity; or the
    /// file system refused.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        create(path)?;
        let lock = lock(path)?;
        let dir = DataDir { path: path.into(), lock };
        dir.check_entries()?;
        Ok(dir)
    }

    /// Where it is, as given to [`open`](Self::open).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who this node is; `None` in a directory that belongs to no cluster yet.
    ///
    /// # Errors
    /// Damage, an unknown version, or a failed read: as for every reader here.
    pub fn identity(&self) -> Result<Option<Identity>, DataDirError> {
        Ok(self.marked_identity()?.map(|(identity, _)| identity))
    }

    /// The identity and its mark.
    fn marked_identity(&self) -> Result<Option<(Identity, Mark)>, DataDirError> {
        let path = self.path.join(Kind::Identity.name());
        let Some(body) = file::read(&path, Kind::Identity)? else { return Ok(None) };
        match Identity::new_checked(&body) {
            Some(marked) => Ok(Some(marked)),
            None => Err(DataDirError::Damaged { file: path }),
        }
    }

    /// Makes this new directory that node's, whose logs the first start makes. Written last, once
    /// the other files are.
    ///
    /// # Errors
    /// As for [`write_identity`](Self::write_identity).
    pub(crate) fn write_new_identity(&self, identity: &Identity) -> Result<(), DataDirError> {
        file::write(&self.path, Kind::Identity, &identity.to_bytes(Mark::New))
    }

    /// Makes this directory that node's, whose shard folders hold a log each.
    ///
    /// # Errors
    /// When the file system refuses: as for every writer here.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), DataDirError> {
        file::write(&self.path, Kind::Identity, &identity.to_bytes(Mark::None))
    }

    /// Begins a process life: a number greater than every earlier one of this node, than
    /// `floor` (the greatest that others have seen of it; 0 if unknown), and not below the
    /// clock's, so that even a restored old directory gets a new one. Synced before it returns.
    /// The clock only adds safety. Within a second it says nothing of which life is the younger
    /// one, so who may follow a life that it does not know of waits for the next: up to a second.
    ///
    /// # Errors
    /// Also when 40 bits are used up, or when the number is missing beside an identity.
    pub fn next_boot(&self, floor: Boot) -> Result<Boot, DataDirError> {
        let last = self.last_boot()?;
        // What keeps a start from knowing that is told by whoever acts upon it.
        if self.identity()?.is_some() && !self.is_in_place().unwrap_or(false) {
            std::thread::sleep(until_next_second(SystemTime::now()));
        }
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let [noise] = random_bytes()?;
        match boot_after(last.0.max(floor.0), seconds, noise) {
            Some(boot) => {
                file::exchange(&self.path, Kind::Boot, &boot.0.to_le_bytes())?;
                Ok(boot)
            }
            None => Err(DataDirError::BootsExhausted { file: self.path.join(Kind::Boot.name()) }),
        }
    }

    /// The number of the last process life; 0 if there was none.
    ///
    /// # Errors
    /// As for [`next_boot`](Self::next_boot), of what is read.
    pub fn last_boot(&self) -> Result<Boot, DataDirError> {
        let path = self.path.join(Kind::Boot.name());
        match file::read(&path, Kind::Boot)? {
            Some(body) => match <[u8; 8]>::try_from(&body[..]) {
                Ok(body) => Ok(Boot(u64::from_le_bytes(body))),
                Err(_) => Err(DataDirError::Damaged { file: path }),
            },
            None if self.identity()?.is_some() => Err(DataDirError::Missing { file: path }),
            None => Ok(Boot(0)),
        }
    }

    /// What [`write_members`](Self::write_members) stored last; `None` if nothing.
    ///
    /// # Errors
    /// As for [`identity`](Self::identity).
    pub fn members(&self) -> Result<Option<Vec<u8>>, DataDirError> {
        file::read(&self.path.join(Kind::Members.name()), Kind::Members)
    }

    /// Stores topology operations, contacts and reap epochs, encoded by core.
    ///
    /// # Errors
    /// As for [`write_identity`](Self::write_identity).
    ///
    /// # Panics
    /// Above 4 MiB, which core's bounds exclude.
    pub fn write_members(&self, bytes: &[u8]) -> Result<(), DataDirError> {
        file::write(&self.path, Kind::Members, bytes)
    }

    /// The cluster's secret, if one was kept.
    ///
    /// # Errors
    /// As for [`identity`](Self::identity).
    pub fn secret(&self) -> Result<Option<Secret>, DataDirError> {
        let path = self.path.join(Kind::Secret.name());
        let Some(body) = file::read(&path, Kind::Secret)? else { return Ok(None) };
        match Secret::new(&body) {
            Some(secret) => Ok(Some(secret)),
            None => Err(DataDirError::Damaged { file: path }),
        }
    }

    /// Keeps the cluster's secret, readable by its owner alone.
    ///
    /// # Errors
    /// As for [`write_identity`](Self::write_identity).
    pub fn write_secret(&self, secret: &Secret) -> Result<(), DataDirError> {
        file::write(&self.path, Kind::Secret, secret.bytes())
    }

    /// Refuses shard folders or foreign files where no identity is.
    fn check_entries(&self) -> Result<(), DataDirError> {
        let identity = self.path.join(Kind::Identity.name());
        let failed = |source| DataDirError::io(Step::Read, &self.path, source);
        if identity.try_exists().map_err(failed)? {
            return Ok(());
        }
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let text = name.to_string_lossy();
            if text.starts_with("shard-") {
                // An empty one was made for an identity that was never written.
                let mut inside = fs::read_dir(self.path.join(&name)).map_err(failed)?;
                if inside.next().is_some() {
                    return Err(DataDirError::Missing { file: identity });
                }
                continue;
            }
            let base = text.strip_suffix(".new").unwrap_or(&text);
            let ours = Kind::ALL.iter().any(|kind| kind.name() == base);
            if !ours && text != "lock" && text != "lost+found" {
                return Err(DataDirError::Foreign { file: self.path.join(&name) });
            }
        }
        Ok(())
    }
}

/// Reads a secret that an operator gave: raw bytes, or a `secret` file of a data directory, so
/// that a founder's own secret can be copied to other machines.
///
/// # Errors
/// When it cannot be read, is damaged, or is not within the bounds of [`Secret`].
pub fn read_secret_file(path: &Path) -> Result<Secret, DataDirError> {
    let bytes = match file::read_bytes(File::open(path), path, Kind::Secret)? {
        Some(bytes) => bytes,
        None => {
            let source = io::ErrorKind::NotFound.into();
            return Err(DataDirError::io(Step::Read, path, source));
        }
    };
    let body = if file::has_magic(&bytes, Kind::Secret) {
        file::new_checked(path, Kind::Secret, &bytes)?
    } else {
        &bytes
    };
    Secret::new(body).ok_or_else(|| DataDirError::SecretBounds { file: path.into() })
}

/// Random bytes of the kernel, good enough for ids and secrets.
///
/// # Errors
/// When `/dev/urandom` is missing, as in a badly made container.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], DataDirError> {
    let mut bytes = [0; N];
    let path = Path::new("/dev/urandom");
    let read = File::open(path).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|source| DataDirError::io(Step::Read, path, source))?;
    Ok(bytes)
}

/// A node id that nobody has yet, with overwhelming likelihood; the commit of its Add decides.
///
/// # Errors
/// As for [`random_bytes`].
pub fn random_node_id() -> Result<NodeId, DataDirError> {
    loop {
        let id = NodeId(u32::from_le_bytes(random_bytes()?));
        if id.0 != 0 {
            return Ok(id);
        }
    }
}

/// A new cluster's id.
///
/// # Errors
/// As for [`random_bytes`].
pub fn random_cluster_id() -> Result<ClusterId, DataDirError> {
    loop {
        let id = ClusterId(u128::from_le_bytes(random_bytes()?));
        if id.0 != 0 {
            return Ok(id);
        }
    }
}

/// Never 0, and not more than a second.
fn until_next_second(now: SystemTime) -> Duration {
    let begun = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    Duration::from_secs(1) - Duration::from_nanos(begun.into())
}

/// The next boot number after `last`, or `None` when 40 bits do not hold it. A clock beyond 40
/// bits is ignored, so that it cannot use them up.
fn boot_after(last: u64, unix_seconds: u64, noise: u8) -> Option<Boot> {
    let clock = match unix_seconds < 1 << (BOOT_BITS - 8) {
        true => unix_seconds << 8 | u64::from(noise),
        false => 0,
    };
    let boot = last.checked_add(1)?.max(clock);
    (boot < 1 << BOOT_BITS).then_some(Boot(boot))
}

fn create(path: &Path) -> Result<(), DataDirError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // From the top: a folder lasts once its parent is synced.
    create(parent)?;
    let failed = |source| DataDirError::io(Step::Create, path, source);
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created.map_err(failed)?,
    }
    file::sync_dir(parent)
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // A link could have us make a file anywhere.
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(&path);
    let mut lock = opened.map_err(|source| DataDirError::io(Step::Lock, &path, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The number only helps the message: without it the message is shorter.
            let _ = lock.take(16).read_to_string(&mut text);
            return Err(DataDirError::Locked { dir: dir.into(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => {
            return Err(DataDirError::io(Step::Lock, &path, source));
        }
    }
    // Nor does a full disk stop us here.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

#[cfg(test)]
mod tests;
