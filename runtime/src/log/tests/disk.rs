//! A disk with a page cache: what is written is readable at once and durable after a sync; a
//! crash keeps any subset of the unsynced sectors, and of some only a part.

use std::collections::BTreeMap;

use super::super::*;
use super::FREE;
use ringmain_core::prng::Prng;

/// What a crash keeps or loses as one.
const SECTOR_BYTES: usize = 512;

const ENOSPC: Errno = Errno(28);

#[derive(Clone, Debug, Default)]
struct Image {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Of its bytes, those without blocks.
    hole_bytes: usize,
}

/// Something under way.
#[derive(Debug)]
enum Open {
    Create {
        segment: u32,
        bytes: u32,
        header: [u8; SEGMENT_HEADER_BYTES],
    },
    Write {
        segment: u32,
        offset: u32,
        buffer: Buffer,
        then_sync: bool,
    },
    Read(Read),
    Store {
        segment: u32,
        offset: u64,
        bytes: Vec<u8>,
        is_last: bool,
    },
    /// Makes what was cached when it was asked for durable.
    Sync {
        segment: u32,
        image: Vec<u8>,
    },
}

/// How one request ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Whole,
    /// Of a write: about half of it.
    Short,
    Error,
}

/// How something ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Completion(Completion),
    Read(Read, Result<Vec<u8>, Errno>),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Whole ones, by their segments.
    snapshots: BTreeMap<u32, Vec<u8>>,
    unfinished: Vec<u8>,
    images: BTreeMap<u32, Image>,
    open: Vec<Open>,
    /// Since the folder was last synced, with their snapshots.
    removed: Vec<(u32, Image, Option<Vec<u8>>)>,
    /// Bytes that files take beyond which there is no space; none = the disk is never full.
    pub(crate) bytes_max: Option<u64>,
    /// Nothing is in memory.
    pub(crate) is_cold: bool,
    /// Syncs ended, linked ones included.
    pub(crate) sync_count: usize,
    pub(crate) write_count: usize,
    /// Of segments and snapshots, headers included.
    pub(crate) written_bytes: u64,
}

impl Maps for Disk {
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let image = self.images.get(&segment).filter(|_| !self.is_cold)?;
        image.cached.get(offset as usize..offset as usize + bytes)
    }

    /// All that it may give: whoever believes what lies behind is found out.
    fn bytes_on(&self, segment: u32, offset: u32, bytes: usize, most: usize) -> Option<&[u8]> {
        assert!(bytes <= most);
        let image = self.images.get(&segment).filter(|_| !self.is_cold)?;
        let rest = image.cached.get(offset as usize..)?;
        (rest.len() >= bytes).then(|| &rest[..most.min(rest.len())])
    }
}

impl Disk {
    pub(crate) fn submit(&mut self, request: Request) {
        let open = match request {
            Request::Create { segment, bytes, header } => Open::Create { segment, bytes, header },
            Request::Write { segment, offset, buffer, then_sync } => {
                assert!(!buffer.is_empty());
                Open::Write { segment, offset, buffer, then_sync }
            }
            Request::Sync { segment } => {
                Open::Sync { segment, image: self.images[&segment].cached.clone() }
            }
            Request::Remove { segment } => {
                let image = self.images.remove(&segment).unwrap();
                self.removed.push((segment, image, self.snapshots.remove(&segment)));
                return;
            }
            Request::Discard { .. } => {
                let is_storing = |open: &Open| matches!(open, Open::Store { .. });
                assert!(!self.open.iter().any(is_storing), "parts come in order");
                assert!(!std::mem::take(&mut self.unfinished).is_empty());
                return;
            }
            Request::Read(read) => Open::Read(read),
            Request::Store { segment, offset, bytes, is_last } => {
                Open::Store { segment, offset, bytes, is_last }
            }
        };
        let kind = std::mem::discriminant(&open);
        assert!(self.open.iter().all(|one| std::mem::discriminant(one) != kind), "one at a time");
        self.open.push(open);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Which choice ends the open `Create`.
    pub(crate) fn creating(&self) -> Option<u64> {
        let creates = |open: &Open| matches!(open, Open::Create { .. });
        self.open.iter().position(creates).map(|at| at as u64)
    }

    /// Which choice ends something other than the making of a segment.
    pub(crate) fn beside_creates(&self) -> Option<u64> {
        let is_other = |open: &Open| !matches!(open, Open::Create { .. });
        self.open.iter().position(is_other).map(|at| at as u64)
    }

    /// Which choice ends something other than a sync.
    pub(crate) fn beside_syncs(&self) -> Option<u64> {
        let is_other = |open: &Open| !matches!(open, Open::Sync { .. });
        self.open.iter().position(is_other).map(|at| at as u64)
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.is_idle() && self.images.values().all(|image| image.cached == image.durable)
    }

    /// Ends the request that `choice` picks.
    pub(crate) fn complete(&mut self, choice: u64, fate: Fate) -> Option<Ended> {
        if self.open.is_empty() {
            return None;
        }
        let open = self.open.remove(choice as usize % self.open.len());
        let error = Err(Errno(5));
        Some(Ended::Completion(match open {
            Open::Read(read) => {
                // A sweep may read what merging has removed meanwhile.
                let image = self.images.get(&read.segment).filter(|_| fate != Fate::Error);
                let range = read.offset as usize..(read.offset + read.bytes) as usize;
                let result = image.map(|image| image.cached[range].to_vec()).ok_or(Errno(5));
                return Some(Ended::Read(read, result));
            }
            Open::Store { .. } if fate == Fate::Error => Completion::Stored { result: error },
            Open::Store { bytes, .. } if bytes.len() as u64 > self.free_bytes() => {
                Completion::Stored { result: Err(ENOSPC) }
            }
            Open::Store { segment, offset, bytes, is_last } => {
                self.unfinished.truncate(offset as usize);
                assert_eq!(self.unfinished.len() as u64, offset, "parts come in order");
                self.written_bytes += bytes.len() as u64;
                self.unfinished.extend(bytes);
                if is_last {
                    self.snapshots.insert(segment, std::mem::take(&mut self.unfinished));
                    self.removed.clear();
                }
                Completion::Stored { result: Ok(()) }
            }
            Open::Create { segment, .. } if fate == Fate::Error => {
                Completion::Created { segment, result: error }
            }
            Open::Create { segment, bytes, .. } if u64::from(bytes) > self.free_bytes() => {
                Completion::Created { segment, result: Err(ENOSPC) }
            }
            Open::Create { segment, bytes, header } => {
                self.removed.clear();
                self.written_bytes += header.len() as u64;
                let mut cached = vec![0; bytes as usize];
                cached[..header.len()].copy_from_slice(&header);
                let image = Image { durable: cached.clone(), cached, hole_bytes: 0 };
                assert!(self.images.insert(segment, image).is_none(), "ids are new");
                Completion::Created { segment, result: Ok(()) }
            }
            Open::Write { .. } if fate == Fate::Error => {
                Completion::Written { result: Err(Errno(5)) }
            }
            Open::Write { segment, offset, buffer, then_sync } => {
                self.write_count += 1;
                let bytes =
                    if fate == Fate::Short { buffer.len().div_ceil(2) } else { buffer.len() };
                self.write(segment, offset, &buffer[..bytes]);
                if then_sync && bytes == buffer.len() {
                    let image = self.images[&segment].cached.clone();
                    self.open.push(Open::Sync { segment, image });
                }
                Completion::Written { result: Ok(bytes) }
            }
            Open::Sync { .. } if fate == Fate::Error => {
                Completion::Synced { result: Err(Errno(5)) }
            }
            Open::Sync { segment, image } => {
                self.sync_count += 1;
                if let Some(file) = self.images.get_mut(&segment) {
                    file.durable = image;
                }
                Completion::Synced { result: Ok(()) }
            }
        }))
    }

    fn write(&mut self, segment: u32, offset: u32, bytes: &[u8]) {
        self.written_bytes += bytes.len() as u64;
        let image = self.images.get_mut(&segment).unwrap();
        image.cached[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// The process dies: what it asked for may happen in part, and the page cache lives on.
    pub(crate) fn kill(&mut self, prng: &mut Prng) {
        for open in std::mem::take(&mut self.open) {
            if let Open::Write { segment, offset, buffer, .. } = open {
                let bytes = prng.below(buffer.len() as u64 + 1) as usize;
                self.write(segment, offset, &buffer[..bytes]);
            } else if let Open::Create { segment, bytes, header } = open
                && u64::from(bytes) <= self.free_bytes()
                && prng.chance(50)
            {
                let mut cached = vec![0; bytes as usize];
                cached[..header.len()].copy_from_slice(&header);
                self.images
                    .insert(segment, Image { durable: cached.clone(), cached, hole_bytes: 0 });
            }
        }
    }

    /// The power fails.
    pub(crate) fn crash(&mut self, prng: &mut Prng) {
        self.kill(prng);
        // A name that was removed is back, unless its folder was synced.
        for (segment, image, snapshot) in std::mem::take(&mut self.removed) {
            if prng.chance(50) {
                self.images.insert(segment, image);
                self.snapshots.extend(snapshot.map(|bytes| (segment, bytes)));
            }
        }
        // All, none, or any subset: each sector by itself, some only in part.
        let kept_percent = [0, 100, 50, 90, 10][prng.below(5) as usize];
        for image in self.images.values_mut() {
            let sectors = image.cached.chunks(SECTOR_BYTES);
            for (cached, durable) in sectors.zip(image.durable.chunks_mut(SECTOR_BYTES)) {
                if cached == durable {
                    continue;
                }
                if prng.chance(10) {
                    let torn = prng.below(cached.len() as u64) as usize;
                    durable[..torn].copy_from_slice(&cached[..torn]);
                } else if prng.chance(kept_percent) {
                    durable.copy_from_slice(cached);
                }
            }
            image.cached.clone_from(&image.durable);
        }
    }

    /// What recovery is given.
    pub(crate) fn files<'a>(&'a self) -> Vec<File<'a>> {
        let file = |(segment, image): (&u32, &'a Image)| {
            let snapshot = self.snapshots.get(segment).map(Vec::as_slice);
            let (bytes, zeros_from) = (&image.cached[..], image.cached.len());
            File { segment: *segment, bytes, zeros_from, snapshot }
        };
        self.images.iter().map(file).collect()
    }

    /// The files by themselves, to damage them.
    pub(crate) fn into_files(self) -> BTreeMap<u32, Vec<u8>> {
        self.images.into_iter().map(|(segment, image)| (segment, image.cached)).collect()
    }

    /// Free space, bytes.
    pub(crate) fn free_bytes(&self) -> u64 {
        let snapshots = self.snapshots.values().chain([&self.unfinished]);
        let used = self.file_bytes() + snapshots.map(|bytes| bytes.len() as u64).sum::<u64>();
        self.bytes_max.map_or(FREE, |most| most.saturating_sub(used))
    }

    /// Bytes of all segments.
    pub(crate) fn file_bytes(&self) -> u64 {
        let bytes = |image: &Image| (image.cached.len() - image.hole_bytes) as u64;
        self.images.values().map(bytes).sum()
    }

    /// Gives back the blocks behind the end of a log that hold nothing.
    pub(crate) fn give_back_rest(&mut self, end: Place) {
        let Some(image) = self.images.get_mut(&end.segment()) else { return };
        let used = image.cached.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let end = used.max(end.offset() as usize);
        image.hole_bytes = image.cached.len() - end.next_multiple_of(SECTOR_BYTES);
    }

    /// As [`Disk::file_bytes`], with those of snapshots.
    pub(crate) fn all_file_bytes(&self) -> u64 {
        let snapshots: usize = self.snapshots.values().map(Vec::len).sum();
        self.file_bytes() + (snapshots + self.unfinished.len()) as u64
    }

    /// A bit rots.
    pub(crate) fn flip(&mut self, segment: u32, offset: u32) {
        self.images.get_mut(&segment).unwrap().cached[offset as usize] ^= 4;
    }

    /// A bit rots, on disk and in memory.
    pub(crate) fn rot(&mut self, segment: u32, offset: u32) {
        let image = self.images.get_mut(&segment).unwrap();
        image.cached[offset as usize] ^= 4;
        image.durable[offset as usize] ^= 4;
    }

    /// The bytes of a segment.
    pub(crate) fn bytes_of(&self, segment: u32) -> &[u8] {
        &self.images[&segment].cached
    }

    /// Parts of a snapshot that has no name yet, bytes.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.unfinished.len()
    }

    /// The snapshots, to damage or lose them.
    pub(crate) fn snapshots(&mut self) -> &mut BTreeMap<u32, Vec<u8>> {
        &mut self.snapshots
    }

    /// A disk on which just these files lie.
    pub(crate) fn from_files(files: &BTreeMap<u32, Vec<u8>>) -> Disk {
        let image = |bytes: &Vec<u8>| Image {
            cached: bytes.clone(),
            durable: bytes.clone(),
            hole_bytes: 0,
        };
        let images = files.iter().map(|(&segment, bytes)| (segment, image(bytes))).collect();
        Disk { images, ..Disk::default() }
    }
}
