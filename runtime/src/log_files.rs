//! The files of a shard's log: what [`log`](crate::log) asks for, done with plain file calls.
//!
//! A driver does most of it through its ring, and makes segments on a thread of their own, one
//! ahead of their use. Who has nothing else to do lets [`LogFiles::carry_out`] do all of it,
//! waiting for each: before a shard serves, in tools, in benchmarks.

use crate::data_dir::open_regular;
use crate::log::{Completion, Errno, Log, Read, Request, SEGMENT_HEADER_BYTES};
use crate::sys::{Map, expect_random};
use ringmain_core::records::Place;
use ringmain_core::time::Instant;
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod maps;

pub use maps::SegmentMaps;

const SUFFIX: &str = ".segment";
const SNAPSHOT_SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".unfinished";

/// What is given back lies between multiples of this many bytes.
const BLOCK_BYTES: u64 = 4096;
/// So many bytes are looked at together before.
const LOOK_BYTES: usize = 256 << 10;

/// The snapshots that were found, for recovery alone.
#[derive(Debug, Default)]
pub struct Snapshots(BTreeMap<u32, Map>);

/// A segment's file, open and mapped.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: Arc<File>,
    pub(crate) map: Map,
}

/// The folder of a shard's log, and its open files.
#[derive(Debug)]
pub struct LogFiles {
    dir: PathBuf,
    files: BTreeMap<u32, Arc<File>>,
    /// To read into.
    spare: Vec<u8>,
}

impl LogFiles {
    /// Opens and maps every segment in `dir`; what a crash left unfinished is removed.
    ///
    /// # Errors
    /// If the folder or a file cannot be read, or not mapped; the text names the file.
    pub fn open(dir: &Path) -> io::Result<(LogFiles, SegmentMaps, Snapshots)> {
        let mut disk = LogFiles { dir: dir.to_owned(), files: BTreeMap::new(), spare: Vec::new() };
        let mut maps = SegmentMaps::default();
        let mut snapshots = BTreeMap::new();
        let number = |name: &str, suffix| name.strip_suffix(suffix)?.parse::<u32>().ok();
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let named = |error| of_file(name, error);
            if name.ends_with(UNFINISHED) {
                std::fs::remove_file(dir.join(name)).map_err(named)?;
            } else if let Some(id) = number(name, SNAPSHOT_SUFFIX) {
                // One that cannot be mapped is none.
                if let Ok(map) = Map::new(&open_regular(&dir.join(name)).map_err(named)?) {
                    snapshots.insert(id, map);
                }
            } else if let Some(id) = number(name, SUFFIX) {
                let segment = open_segment(dir, id).map_err(named)?;
                disk.add(&mut maps, segment);
            }
        }
        // A segment has a snapshot only if all of it was synced.
        for (_, file) in disk.files.iter().filter(|(id, _)| !snapshots.contains_key(id)) {
            forget_unwritten(file)?;
        }
        Ok((disk, maps, Snapshots(snapshots)))
    }

    /// Takes a segment that was made.
    pub(crate) fn add(&mut self, maps: &mut SegmentMaps, segment: Segment) {
        maps.insert(segment.id, &segment.file, segment.map);
        self.files.insert(segment.id, segment.file);
    }

    /// The file of a segment that exists.
    pub(crate) fn file(&self, segment: u32) -> Option<&Arc<File>> {
        self.files.get(&segment)
    }

    /// Lets go of a segment in which no part of the log lies; what is to be removed.
    pub(crate) fn forget(&mut self, maps: &mut SegmentMaps, segment: u32) -> Option<Removal> {
        let file = self.files.remove(&segment)?;
        let map = maps.remove(segment);
        Some(Removal { dir: self.dir.clone(), segment, _open: (map, file) })
    }

    /// Gives back the blocks behind the end of a recovered log, where nothing will be written any
    /// more: on a full disk they may be all there is for the next segment. Only zeros are given
    /// back, so that the file reads as before, and the disk says that they are: in a map they may
    /// stand for a page that could not be read, and what a file system calls a hole may be data
    /// that it has not placed yet.
    pub(crate) fn give_back_rest(&self, end: Place) {
        let Some(file) = self.files.get(&end.segment()) else { return };
        let Ok(stat) = file.metadata() else { return };
        let Ok(from) = zeros_from(file, end.offset().into(), stat.len()) else { return };
        let from = from.next_multiple_of(BLOCK_BYTES);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if from < stat.len() {
            // A file system that cannot keeps them.
            let _ = fallocate(file.as_ref(), flags, from, stat.len() - from);
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Does what a log that was just opened asks for, until it takes appends, or cannot since the
    /// disk is full: then it serves reads.
    ///
    /// # Errors
    /// If a segment cannot be made for another reason, or the log fails.
    pub fn make_ready(&mut self, log: &mut Log<SegmentMaps>) -> io::Result<()> {
        while !log.is_ready() && !log.is_refused() {
            if !self.carry_out(log, Instant(1))? {
                return Err(io::Error::other("the log cannot be made ready"));
            }
        }
        Ok(())
    }

    /// Does the next thing that the log asks for, waiting for it; false if there is none.
    ///
    /// # Errors
    /// If a segment cannot be made, or the log fails.
    pub fn carry_out(&mut self, log: &mut Log<SegmentMaps>, now: Instant) -> io::Result<bool> {
        let Some(request) = log.poll_request(now) else { return Ok(false) };
        match request {
            Request::Create { segment, bytes, header } => {
                let new = NewSegment { segment, bytes, header };
                let result = match new.create(&self.dir) {
                    Ok(made) => {
                        self.add(log.maps_mut(), made);
                        Ok(())
                    }
                    Err(error) if is_full(&error) => Err(errno(&error)),
                    Err(error) => return Err(error),
                };
                log.handle_completion(Completion::Created { segment, result });
            }
            Request::Write { segment, offset, buffer, then_sync } => {
                let completion = self.write_inline(segment, offset, &buffer);
                drop(buffer);
                log.handle_completion(completion);
                if then_sync {
                    self.sync(log, segment);
                }
            }
            Request::Sync { segment } => self.sync(log, segment),
            Request::Remove { segment } => {
                if let Some(removal) = self.forget(log.maps_mut(), segment) {
                    removal.carry_out();
                }
            }
            Request::Read(read) => {
                let result = self.read(&read);
                self.spare = log.handle_read(read, result);
            }
            Request::Store { segment, offset, bytes, is_last } => {
                let stored = store_snapshot(&self.dir, segment, offset, &bytes, is_last);
                let result = stored.map_err(|error| errno(&error));
                log.handle_completion(Completion::Stored { result });
            }
            Request::Discard { segment } => discard_snapshot(&self.dir, segment),
        }
        match log.failure() {
            Some(failure) => Err(io::Error::other(failure.to_string())),
            None => Ok(true),
        }
    }

    fn sync(&self, log: &mut Log<SegmentMaps>, segment: u32) {
        let result = match self.files.get(&segment) {
            Some(file) => file.sync_data().map_err(|error| errno(&error)),
            None => Err(Errno(libc::ENOENT)),
        };
        log.handle_completion(Completion::Synced { result });
    }

    fn read(&mut self, read: &Read) -> Result<Vec<u8>, Errno> {
        let file = self.files.get(&read.segment).ok_or(Errno(libc::ENOENT))?;
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.resize(read.bytes as usize, 0);
        file.read_exact_at(&mut bytes, read.offset.into()).map_err(|error| errno(&error))?;
        Ok(bytes)
    }

    /// Whether the file of a segment has no name any more, though nobody here removed it.
    pub(crate) fn is_removed(&self, segment: u32) -> bool {
        let metadata = self.files.get(&segment).map(|file| file.metadata());
        metadata.is_some_and(|metadata| metadata.is_ok_and(|metadata| metadata.nlink() == 0))
    }

    /// Writes at once; the answer to a `Write`.
    pub(crate) fn write_inline(&self, segment: u32, offset: u32, bytes: &[u8]) -> Completion {
        let result = match self.files.get(&segment) {
            Some(file) => file.write_at(bytes, offset.into()).map_err(|error| errno(&error)),
            None => Err(Errno(libc::ENOENT)),
        };
        Completion::Written { result }
    }
}

/// A segment that nobody reads any more. Unmapping and unlinking a large file takes milliseconds.
#[derive(Debug)]
pub(crate) struct Removal {
    dir: PathBuf,
    segment: u32,
    /// Without the map if parts of it are lent.
    _open: (Option<Map>, Arc<File>),
}

impl Removal {
    /// Removes it and its snapshot. What cannot be removed now is at the next start.
    pub(crate) fn carry_out(self) {
        let segment = self.segment;
        // The snapshot first: one without its segment would stay for ever.
        let removed = remove_if_there(&snapshot_path(&self.dir, segment))
            .and_then(|()| remove_if_there(&segment_path(&self.dir, segment)));
        if let Err(error) = removed {
            tracing::warn!("segment {segment} cannot be removed: {error}");
        }
    }
}

/// Removes a file, unless somebody was faster.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a part of a snapshot, as [`Request::Store`] says.
pub(crate) fn store_snapshot(
    dir: &Path,
    segment: u32,
    offset: u64,
    bytes: &[u8],
    is_last: bool,
) -> io::Result<()> {
    let unfinished = unfinished_snapshot_path(dir, segment);
    let stored = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create(offset == 0).truncate(offset == 0).mode(0o600);
        let file = options.open(&unfinished)?;
        file.write_all_at(bytes, offset)?;
        if is_last {
            file.sync_all()?;
            std::fs::rename(&unfinished, snapshot_path(dir, segment))?;
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    })();
    if stored.is_err() {
        // The space must come back; what cannot be removed now is removed at the next start.
        let _ = std::fs::remove_file(&unfinished);
    }
    stored
}

/// Removes the parts of a snapshot, as [`Request::Discard`] says. What cannot be removed now is at
/// the next start.
pub(crate) fn discard_snapshot(dir: &Path, segment: u32) {
    let _ = std::fs::remove_file(unfinished_snapshot_path(dir, segment));
}

/// A segment to be made.
#[derive(Debug)]
pub(crate) struct NewSegment {
    pub(crate) segment: u32,
    pub(crate) bytes: u32,
    pub(crate) header: [u8; SEGMENT_HEADER_BYTES],
}

impl NewSegment {
    /// Makes it: under another name, allocated, its header written, synced; then renamed and the
    /// folder synced.
    pub(crate) fn create(&self, dir: &Path) -> io::Result<Segment> {
        let id = self.segment;
        let unfinished = dir.join(format!("{id:010}{UNFINISHED}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&unfinished)?;
        let made = (|| {
            allocate(&file, self.bytes.into())?;
            file.write_all_at(&self.header, 0)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, segment_path(dir, id))?;
            File::open(dir)?.sync_all()
        })();
        if let Err(error) = made {
            // The space must come back; what cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
        let segment = open_segment(dir, id)?;
        expect_random(&segment.file, &segment.map);
        Ok(segment)
    }
}

/// From where on `file` reads as zeros, bytes: not before `start`.
fn zeros_from(file: &File, start: u64, end: u64) -> io::Result<u64> {
    let mut piece = vec![0; LOOK_BYTES];
    let mut zeros_from = end;
    while zeros_from > start {
        let at = zeros_from.saturating_sub(LOOK_BYTES as u64).max(start);
        let piece = &mut piece[..(zeros_from - at) as usize];
        file.read_exact_at(piece, at)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            return Ok(at + last as u64 + 1);
        }
        zeros_from = at;
    }
    Ok(start.min(end))
}

/// Gives `file` its blocks. A sync of blocks that were only allocated waits for the journal of the
/// file system, so a device that can is asked to make zeros of them. To write zeros instead would
/// double what is written, for little (benches/README.md).
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    const WRITE_ZEROES: FallocateFlags = FallocateFlags::from_bits_retain(0x80);
    match fallocate(file, WRITE_ZEROES, 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::INVAL) => {
            Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
        }
        allocated => Ok(allocated?),
    }
}

/// The same error, saying which file it is about.
fn of_file(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Whether there is a log in `dir`.
pub(crate) fn has_segments(dir: &Path) -> io::Result<bool> {
    let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<io::Result<_>>()?;
    Ok(names.iter().any(|name| name.to_str().is_some_and(|name| name.ends_with(SUFFIX))))
}

/// Free bytes of the file system under `dir`.
pub fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail * stat.f_frsize)
}

/// The number of an error of the operating system.
pub(crate) fn errno(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Drops what the kernel holds of a segment: after a failed sync that may differ from the disk
/// (Rebello et al., ATC 2020), and recovery must see the disk. Pages that still wait to be
/// written stay.
fn forget_unwritten(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

fn open_segment(dir: &Path, id: u32) -> io::Result<Segment> {
    let path = segment_path(dir, id);
    let map = Map::new(&open_regular(&path)?).map_err(io::Error::from)?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    Ok(Segment { id, file: Arc::new(file), map })
}

fn snapshot_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:010}{SNAPSHOT_SUFFIX}"))
}

fn unfinished_snapshot_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:010}{SNAPSHOT_SUFFIX}{UNFINISHED}"))
}

fn segment_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:010}{SUFFIX}"))
}

#[cfg(test)]
mod tests;
