//! The common form of the small files: everything is checked before any of it is believed.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic, one per kind |
//! | 8..12 | format version, u32 |
//! | 12..16 | length of the body, u32 |
//! | 16..20 | CRC32C over bytes 0..16 and the body |
//! | 20.. | body |
//!
//! Integers are little-endian. These 20 bytes are the same in every version, so that a damaged
//! file is never taken for one of the future.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::error::{DataDirError, Step};
use super::origin::ORIGIN_BYTES;
use super::stopped::STOPPED_BYTES;
use crate::settings::SECRET_BYTES_MAX;

/// The files of this form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Boot,
    Secret,
    Members,
    Identity,
    Origin,
    Stopped,
}

pub(super) const HEADER_BYTES: usize = 20;

impl Kind {
    /// Those in the data directory itself.
    pub(super) const ALL: [Kind; 5] =
        [Kind::Boot, Kind::Secret, Kind::Members, Kind::Identity, Kind::Origin];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Boot => "boot",
            Kind::Secret => "secret",
            Kind::Members => "members",
            Kind::Identity => "identity",
            Kind::Origin => "origin",
            Kind::Stopped => "stopped",
        }
    }

    /// The format that is written; those before it are read.
    pub(super) fn version(self) -> u32 {
        match self {
            // The second has claims behind the contacts.
            Kind::Members => 2,
            _ => 1,
        }
    }

    fn magic(self) -> &'static [u8; 8] {
        match self {
            Kind::Boot => b"rm-boot\n",
            Kind::Secret => b"rm-secr\n",
            Kind::Members => b"rm-memb\n",
            Kind::Identity => b"rm-iden\n",
            Kind::Origin => b"rm-orig\n",
            Kind::Stopped => b"rm-stop\n",
        }
    }

    fn body_bytes_max(self) -> usize {
        match self {
            Kind::Boot => 8,
            Kind::Secret => SECRET_BYTES_MAX,
            Kind::Members => 4 << 20,
            Kind::Identity => 256,
            Kind::Origin => ORIGIN_BYTES,
            Kind::Stopped => STOPPED_BYTES,
        }
    }
}

/// The body of the file at `path`; `None` if there is no such file.
pub(super) fn read(path: &Path, kind: Kind) -> Result<Option<Vec<u8>>, DataDirError> {
    let Some(mut bytes) = read_bytes(open_regular(path), path, kind)? else { return Ok(None) };
    new_checked(path, kind, &bytes)?;
    bytes.drain(..HEADER_BYTES);
    Ok(Some(bytes))
}

/// Everything in the file that was opened, up to one byte more than `kind` allows.
pub(super) fn read_bytes(
    opened: io::Result<File>,
    path: &Path,
    kind: Kind,
) -> Result<Option<Vec<u8>>, DataDirError> {
    let limit = HEADER_BYTES + kind.body_bytes_max() + 1;
    let mut bytes = Vec::new();
    let read = opened.and_then(|file| file.take(limit as u64).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::io(Step::Read, path, source)),
    }
}

/// Opens a file to read it. To open something else could wait for ever, as a pipe does that nobody
/// writes to.
///
/// # Errors
/// InvalidInput if it is neither a file nor a folder, which cannot be read.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

pub(super) fn has_magic(bytes: &[u8], kind: Kind) -> bool {
    bytes.starts_with(kind.magic())
}

/// The body in `bytes`, once magic, length and checksum are right and the version is ours.
pub(super) fn new_checked<'a>(
    path: &Path,
    kind: Kind,
    bytes: &'a [u8],
) -> Result<&'a [u8], DataDirError> {
    let damaged = || DataDirError::Damaged { file: path.into() };
    let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(damaged)?;
    let field = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let bounded = body.len() <= kind.body_bytes_max();
    let whole = has_magic(bytes, kind) && bounded && field(12) as usize == body.len();
    if !whole || field(16) != checksum(&header[..16], body) {
        return Err(damaged());
    }
    let (found, known) = (field(8), kind.version());
    if (1..=known).contains(&found) {
        return Ok(body);
    }
    Err(DataDirError::UnknownVersion { file: path.into(), found, known })
}

/// Replaces the file of this kind in `dir`: beside it, synced, renamed, directory synced.
///
/// # Panics
/// If the body is larger than the kind allows.
pub(super) fn write(dir: &Path, kind: Kind, body: &[u8]) -> Result<(), DataDirError> {
    assert!(body.len() <= kind.body_bytes_max());
    let path = dir.join(kind.name());
    let beside = dir.join(format!("{}.new", kind.name()));
    let bytes = encode(kind, kind.version(), body);
    // A file left by a crash may have another mode: begin anew.
    match fs::remove_file(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(DataDirError::io(Step::Write, &beside, source));
        }
        _ => {}
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let mut file = opened.map_err(|source| DataDirError::io(Step::Write, &beside, source))?;
    file.write_all(&bytes).map_err(|source| DataDirError::io(Step::Write, &beside, source))?;
    file.sync_all().map_err(|source| DataDirError::io(Step::Sync, &beside, source))?;
    fs::rename(&beside, &path).map_err(|source| DataDirError::io(Step::Rename, &path, source))?;
    sync_dir(dir)
}

/// As [`write`], without a block that the disk does not have yet: the new bytes go over the file
/// that was replaced last, which is kept as `NAME.new`, and the two exchange their names. A file
/// system that cannot exchange names, or copies blocks when they are written, needs space.
///
/// # Panics
/// As [`write`].
pub(super) fn exchange(dir: &Path, kind: Kind, body: &[u8]) -> Result<(), DataDirError> {
    assert!(body.len() <= kind.body_bytes_max());
    let path = dir.join(kind.name());
    let beside = dir.join(format!("{}.new", kind.name()));
    let bytes = encode(kind, kind.version(), body);
    // A spare that is torn, of another length or not there is no error: then it is made anew.
    let has_room = |at: &Path| fs::metadata(at).is_ok_and(|it| it.len() == bytes.len() as u64);
    if has_room(&path) && has_room(&beside) {
        let written = overwrite(&beside, &bytes);
        written.map_err(|source| DataDirError::io(Step::Write, &beside, source))?;
        match rustix::fs::renameat_with(CWD, &beside, CWD, &path, RenameFlags::EXCHANGE) {
            Ok(()) => return sync_dir(dir),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(source) => return Err(DataDirError::io(Step::Rename, &path, source.into())),
        }
    }
    write(dir, kind, body)?;
    // Without it only a start on a full disk fails.
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&beside);
    let written = made.and_then(|mut spare| spare.write_all(&bytes).and(spare.sync_all()));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok(())
}

/// Puts `bytes` in the place of a file's first bytes, on disk.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), DataDirError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| DataDirError::io(Step::Sync, dir, source))
}

/// The bytes of a file; the version is an argument for the tests alone.
pub(super) fn encode(kind: Kind, version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(kind.magic());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let checksum = checksum(&bytes, body);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}
