//! A simulated disk under the shipped log: files with a page cache, requests that take time and
//! may fail, and crashes that lose what was not synced: all of it, none, or any sectors. What a
//! failed sync was to store is lost for good (fsyncgate; Rebello et al., ATC 2020).

use std::collections::BTreeMap;

use ringmain_core::records::Place;
use ringmain_runtime::log::{Completion, Errno, File, Maps, Read, Request};

use super::cold::Cold;
use super::random::Random;

/// What a crash keeps or loses as one.
const SECTOR_BYTES: usize = 512;

/// An input/output error.
const EIO: Errno = Errno(5);

/// One file.
#[derive(Debug)]
struct Image {
    /// What reads see.
    cached: Vec<u8>,
    /// What a power failure leaves.
    durable: Vec<u8>,
    /// Ranges that were written since the last sync; the log never writes one twice.
    dirty: Vec<(usize, usize)>,
    /// Ranges whose sync failed: shown as long as the process lives, and never on disk, however
    /// often they are synced (the kernel took them for clean).
    doomed: Vec<(usize, usize)>,
}

/// A request under way.
#[derive(Debug)]
enum Open {
    /// Of these.
    Request(Request),
    /// A sync of so many dirty ranges.
    Sync { segment: u32, ranges: usize },
}

/// How a request ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// As it should.
    Whole,
    /// A write: about half of it.
    Short,
    /// With an error.
    Error,
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its completion, and the number of a sync that was linked behind it.
    Completion(Completion, Option<u64>),
    /// What was read.
    Read(Read, Result<Vec<u8>, Errno>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Disk {
    images: BTreeMap<u32, Image>,
    /// Whole snapshots, by their segments.
    snapshots: BTreeMap<u32, Vec<u8>>,
    /// The snapshot that is being written.
    unfinished: Vec<u8>,
    open: BTreeMap<u64, Open>,
    latest: u64,
    /// What is not in memory.
    pub(super) cold: Cold,
}

impl Disk {
    /// An empty disk.
    pub(super) fn new(cold: Cold) -> Disk {
        Disk { cold, ..Disk::default() }
    }

    /// Takes a request; its number, under which it is to be completed, unless it has no
    /// completion.
    pub(super) fn submit(&mut self, request: Request) -> Option<u64> {
        match request {
            Request::Remove { segment } => {
                self.images.remove(&segment).expect("what is removed was made");
                self.snapshots.remove(&segment);
                None
            }
            Request::Sync { segment } => Some(self.sync(segment)),
            request => Some(self.open(Open::Request(request))),
        }
    }

    /// Ends request `number`.
    pub(super) fn complete(&mut self, number: u64, fate: Fate) -> Ended {
        let open = self.open.remove(&number).expect("it was submitted and not completed");
        let completion = match open {
            Open::Sync { segment, ranges } if fate == Fate::Error => {
                if let Some(image) = self.images.get_mut(&segment) {
                    image.doomed.extend(image.dirty.drain(..ranges));
                }
                Completion::Synced { result: Err(EIO) }
            }
            Open::Sync { segment, ranges } => {
                self.on_synced(segment, ranges);
                Completion::Synced { result: Ok(()) }
            }
            Open::Request(Request::Create { segment, .. }) if fate == Fate::Error => {
                Completion::Created { segment, result: Err(Errno(28)) }
            }
            Open::Request(Request::Create { segment, bytes, header, .. }) => {
                self.create(segment, bytes, &header);
                Completion::Created { segment, result: Ok(()) }
            }
            Open::Request(Request::Write { .. }) if fate == Fate::Error => {
                Completion::Written { result: Err(EIO) }
            }
            Open::Request(Request::Write { segment, offset, buffer, then_sync }) => {
                let whole = buffer.len();
                let bytes = if fate == Fate::Short { whole.div_ceil(2) } else { whole };
                self.write(segment, offset, &buffer[..bytes]);
                let linked = (then_sync && bytes == whole).then(|| self.sync(segment));
                return Ended::Completion(Completion::Written { result: Ok(bytes) }, linked);
            }
            Open::Request(Request::Read(read)) => {
                // A sweep may read what merging has removed meanwhile.
                let image = self.images.get(&read.segment).filter(|_| fate != Fate::Error);
                let range = read.offset as usize..(read.offset + read.bytes) as usize;
                return Ended::Read(
                    read,
                    image.map(|image| image.cached[range].to_vec()).ok_or(EIO),
                );
            }
            Open::Request(Request::Store { .. }) if fate == Fate::Error => {
                Completion::Stored { result: Err(EIO) }
            }
            Open::Request(Request::Store { segment, offset, bytes, is_last }) => {
                self.unfinished.truncate(offset as usize);
                assert_eq!(self.unfinished.len() as u64, offset, "parts come in order");
                self.unfinished.extend(bytes);
                if is_last {
                    self.snapshots.insert(segment, std::mem::take(&mut self.unfinished));
                }
                Completion::Stored { result: Ok(()) }
            }
            Open::Request(Request::Sync { .. } | Request::Remove { .. }) => {
                unreachable!("they are not opened as requests")
            }
        };
        Ended::Completion(completion, None)
    }

    /// The oldest request under way.
    pub(super) fn first_open(&self) -> Option<u64> {
        self.open.keys().next().copied()
    }

    /// The process dies. What it asked for may have been done in part; the page cache lives on,
    /// unless the power fails, too.
    pub(super) fn crash(&mut self, power_loss: bool, random: &mut Random) {
        for open in std::mem::take(&mut self.open).into_values() {
            match open {
                Open::Request(Request::Write { segment, offset, buffer, .. }) => {
                    let bytes = random.below(buffer.len() + 1);
                    self.write(segment, offset, &buffer[..bytes]);
                }
                Open::Request(Request::Create { segment, bytes, header, .. })
                    if random.chance(500) =>
                {
                    self.create(segment, bytes, &header);
                }
                _ => {}
            }
        }
        self.images.values_mut().for_each(Image::forget_doomed);
        if power_loss {
            let kept = [0, 1000, 500, 900, 100][random.below(5)];
            self.images.values_mut().for_each(|image| image.lose(kept, random));
        }
    }

    /// The files, for recovery.
    pub(super) fn files<'a>(&'a self) -> Vec<File<'a>> {
        let images = self.images.iter();
        let file = |(segment, image): (&u32, &'a Image)| {
            let snapshot = self.snapshots.get(segment).map(Vec::as_slice);
            let (bytes, zeros_from) = (&image.cached[..], image.cached.len());
            File { segment: *segment, bytes, zeros_from, snapshot }
        };
        images.map(file).collect()
    }

    fn open(&mut self, open: Open) -> u64 {
        self.latest += 1;
        self.open.insert(self.latest, open);
        self.latest
    }

    fn create(&mut self, segment: u32, bytes: u32, header: &[u8]) {
        let mut cached = vec![0; bytes as usize];
        cached[..header.len()].copy_from_slice(header);
        let image =
            Image { durable: cached.clone(), cached, dirty: Vec::new(), doomed: Vec::new() };
        let other = self.images.insert(segment, image);
        assert!(other.is_none(), "segments are new when they are made");
    }

    fn write(&mut self, segment: u32, offset: u32, bytes: &[u8]) {
        let image = self.images.get_mut(&segment).expect("what is written to was made");
        let range = (offset as usize, offset as usize + bytes.len());
        image.cached[range.0..range.1].copy_from_slice(bytes);
        image.dirty.push(range);
    }

    /// Begins a sync of what is written by now.
    fn sync(&mut self, segment: u32) -> u64 {
        let ranges = self.images[&segment].dirty.len();
        self.open(Open::Sync { segment, ranges })
    }

    fn on_synced(&mut self, segment: u32, ranges: usize) {
        let Some(image) = self.images.get_mut(&segment) else { return };
        for (from, to) in image.dirty.drain(..ranges) {
            image.durable[from..to].copy_from_slice(&image.cached[from..to]);
        }
    }
}

impl Image {
    /// Shows what the disk has where a sync failed.
    fn forget_doomed(&mut self) {
        for (from, to) in self.doomed.drain(..) {
            self.cached[from..to].copy_from_slice(&self.durable[from..to]);
        }
    }

    /// Keeps, per mille, some of the sectors that were not synced, and of a few only a part.
    fn lose(&mut self, kept: u32, random: &mut Random) {
        for (from, to) in std::mem::take(&mut self.dirty) {
            let mut at = from;
            while at < to {
                let end = (at / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES).min(to);
                let torn = random.chance(50);
                let last = if torn { at + random.below(end - at) } else { end };
                if torn || random.chance(kept) {
                    self.durable[at..last].copy_from_slice(&self.cached[at..last]);
                }
                at = end;
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

impl Maps for Disk {
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let is_warm = !self.cold.contains(Place::new(segment, offset));
        let image = self.images.get(&segment).filter(|_| is_warm)?;
        image.cached.get(offset as usize..(offset as usize).checked_add(bytes)?)
    }
}
