//! Why a data directory cannot be used, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::settings::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};

/// Why a data directory cannot be used. The text says what happened;
/// [`remedy`](DataDirError::remedy) what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("{} is in use by {}", .dir.display(), user(.pid))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process that holds the lock, if it wrote its id.
        pid: Option<u32>,
    },
    /// It belongs to no node and is not empty either.
    #[error("{} is not a file of Ringmain, and its directory holds no identity", .file.display())]
    Foreign {
        /// The first foreign entry.
        file: PathBuf,
    },
    /// A file is gone that others depend on.
    #[error("{} is missing", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file's checksum, length or content is wrong.
    #[error("{} is damaged", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// A whole file in a format that this program does not know.
    #[error("{} has format {found}, and this program knows format {known}", .file.display())]
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Every 40-bit boot number is used.
    #[error("{} has no greater number left", .file.display())]
    BootsExhausted {
        /// The file with the last one.
        file: PathBuf,
    },
    /// A secret too short or too long.
    #[error("{} does not hold {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes", .file.display())]
    SecretBounds {
        /// The file.
        file: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {} {}: {source}", .step.verb(), .path.display())]
    Io {
        /// What was tried.
        step: Step,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What was being done when the file system refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Making a directory.
    Create,
    /// Taking the lock.
    Lock,
    /// Reading a file or directory.
    Read,
    /// Writing a file beside the old one.
    Write,
    /// Syncing a file or directory.
    Sync,
    /// Renaming the new file over the old one.
    Rename,
    /// Removing a folder.
    Remove,
}

impl DataDirError {
    pub(super) fn io(step: Step, path: &Path, source: io::Error) -> DataDirError {
        DataDirError::Io { step, path: path.into(), source }
    }

    /// Whether the directory is as it should be, and its file system takes nothing.
    pub fn is_of_host(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let DataDirError::Io { source, .. } = self else { return false };
        matches!(source.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
    }

    /// What the operator can do, as a clause that begins with a verb.
    pub fn remedy(&self) -> &'static str {
        match self {
            DataDirError::Locked { .. } => "stop that process, or give another directory",
            DataDirError::Foreign { .. } => "give an empty or a new --data-dir",
            DataDirError::Missing { .. } => {
                "restore it, or start with an empty --data-dir as a new node"
            }
            DataDirError::Damaged { .. } => {
                "check the disk; restore the file, or start as a new node"
            }
            DataDirError::UnknownVersion { .. } => "start the version of ringmain that wrote it",
            DataDirError::BootsExhausted { .. } => "start with an empty --data-dir as a new node",
            DataDirError::SecretBounds { .. } => {
                "make one, as with `head -c 32 /dev/urandom > FILE`"
            }
            DataDirError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free space on its file system"
                }
                io::ErrorKind::PermissionDenied => "give this user access to it",
                io::ErrorKind::ReadOnlyFilesystem => "mount its file system writable",
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "give another path",
                io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => {
                    "put the file back that belongs there"
                }
                _ => "check the disk and its file system",
            },
        }
    }
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Step::Create => "create",
            Step::Lock => "lock",
            Step::Read => "read",
            Step::Write => "write",
            Step::Sync => "sync",
            Step::Rename => "replace",
            Step::Remove => "remove",
        }
    }
}

fn user(pid: &Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".into(),
    }
}
