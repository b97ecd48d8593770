//! A simulated disk under the shipped log: files with a page cache, requests that take time and
//! may fail, and crashes that lose what was not synced: all of it, none, or any sectors; names
//! that were removed may be back. What a failed sync was to store may be stored, be stored later,
//! or be lost for good although it is shown (fsyncgate; Rebello et al., ATC 2020). What else goes
//! wrong is in [`faults`].

use std::collections::BTreeMap;

use ringmain_core::records::Place;
use ringmain_runtime::log::{Completion, Errno, File, Maps, Read, Request, SEGMENT_HEADER_BYTES};

use super::cold::Cold;
use super::mark::Mark;
use super::random::Random;
use super::swarm::{FileCall, Swarm};
use faults::{Faults, Unsynced};

mod faults;

/// What a crash keeps or loses as one.
const SECTOR_BYTES: usize = 512;

/// An input/output error.
const EIO: Errno = Errno(5);

/// No space is left.
const ENOSPC: Errno = Errno(28);

/// One file.
#[derive(Clone, Debug)]
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
    /// Nothing was ever written behind the first so many bytes.
    used: usize,
}

/// A request under way.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    images: BTreeMap<u32, Image>,
    /// Whole snapshots, by their segments.
    snapshots: BTreeMap<u32, Vec<u8>>,
    /// The snapshot that is being written.
    unfinished: Vec<u8>,
    open: BTreeMap<u64, Open>,
    latest: u64,
    /// Removed since the folder was last synced, with their snapshots.
    removed: Vec<(u32, Image, Option<Vec<u8>>)>,
    /// What is not in memory.
    pub(super) cold: Cold,
    faults: Faults,
}

impl Disk {
    /// An empty disk; `may_damage` = it may lose what it holds.
    pub(super) fn new(swarm: &Swarm, may_damage: bool, random: &mut Random) -> Disk {
        let cold = Cold::new(swarm, random);
        // Without a draw of its own: so the others stay what they are.
        let faults = Faults::new(swarm, may_damage, random.clone().fork());
        Disk { cold, faults, ..Disk::default() }
    }

    /// Takes a request; its number, under which it is to be completed, unless it has no
    /// completion.
    pub(super) fn submit(&mut self, request: Request) -> Option<u64> {
        match request {
            Request::Remove { segment } => {
                self.remove(segment);
                None
            }
            Request::Discard { .. } => {
                self.faults.free_bytes += std::mem::take(&mut self.unfinished).len() as u64;
                None
            }
            Request::Sync { segment } => Some(self.sync(segment)),
            request => Some(self.open(Open::Request(request))),
        }
    }

    /// Request `number` is about to end: whether the mix says that it fails.
    pub(super) fn is_failing(&mut self, number: u64) -> bool {
        let call = match &self.open[&number] {
            Open::Sync { .. } => FileCall::Sync,
            Open::Request(Request::Create { .. }) => FileCall::Create,
            Open::Request(Request::Write { .. }) => FileCall::Write,
            Open::Request(Request::Read(_)) => FileCall::Read,
            Open::Request(Request::Store { is_last: true, .. }) => FileCall::Rename,
            Open::Request(_) => FileCall::Store,
        };
        self.faults.is_failing(call)
    }

    /// Ends request `number`.
    pub(super) fn complete(&mut self, number: u64, fate: Fate) -> Ended {
        let open = self.open.remove(&number).expect("it was submitted and not completed");
        let is_failed = fate == Fate::Error;
        let completion = match open {
            Open::Sync { segment, ranges } => {
                if is_failed {
                    self.on_unsynced(segment, ranges);
                } else {
                    self.on_synced(segment, ranges);
                }
                Completion::Synced { result: if is_failed { Err(EIO) } else { Ok(()) } }
            }
            Open::Request(Request::Create { segment, bytes, header, .. }) => {
                let result =
                    if is_failed { Err(EIO) } else { self.create(segment, bytes, &header) };
                Completion::Created { segment, result }
            }
            Open::Request(Request::Write { .. }) if is_failed => {
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
                let image = self.images.get(&read.segment).filter(|_| !is_failed);
                let (from, to) = (read.offset as usize, (read.offset + read.bytes) as usize);
                // Damage shows where the pages were not in memory.
                let is_reread = self.is_damaged() && self.faults.random.chance(500);
                let bytes = image.map(|image| match is_reread {
                    true => image.reread()[from..to].to_vec(),
                    false => image.cached[from..to].to_vec(),
                });
                return Ended::Read(read, bytes.ok_or(EIO));
            }
            Open::Request(Request::Store { segment, offset, bytes, is_last }) => {
                let stored = self.store(segment, offset, bytes, is_last && !is_failed);
                let result = if is_failed { Err(EIO) } else { stored };
                if result.is_err() {
                    self.faults.free_bytes += self.unfinished.len() as u64;
                    self.unfinished.clear();
                }
                Completion::Stored { result }
            }
            Open::Request(
                Request::Sync { .. } | Request::Remove { .. } | Request::Discard { .. },
            ) => unreachable!("they are not opened as requests"),
        };
        Ended::Completion(completion, None)
    }

    /// The record of `bytes` bytes at `place` leaves memory and comes back.
    pub(super) fn reread(&mut self, place: Place, bytes: usize) {
        if self.is_damaged()
            && let Some(image) = self.images.get_mut(&place.segment())
        {
            let range = place.offset() as usize..place.offset() as usize + bytes;
            let whole = image.reread();
            image.cached[range.clone()].copy_from_slice(&whole[range]);
        }
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
                    // For lack of space it is not there either.
                    let _made = self.create(segment, bytes, &header);
                }
                Open::Request(Request::Store { segment, offset, bytes, is_last: true })
                    if self.faults.random.chance(500) =>
                {
                    let _stored = self.store(segment, offset, bytes, true);
                }
                _ => {}
            }
        }
        self.faults.free_bytes += std::mem::take(&mut self.unfinished).len() as u64;
        self.images.values_mut().for_each(Image::forget_doomed);
        if self.is_damaged() && self.faults.random.chance(500) {
            // Pages leave memory and come back.
            self.images.values_mut().for_each(|image| image.cached = image.reread());
        }
        if power_loss {
            let kept = [0, 1000, 500, 900, 100][random.below(5)];
            self.images.values_mut().for_each(|image| image.lose(kept, random));
            self.bring_back_removed();
        }
        self.removed.clear();
    }

    /// A name that was removed comes back with a power failure, unless the folder was synced.
    fn bring_back_removed(&mut self) {
        for (segment, mut image, snapshot) in std::mem::take(&mut self.removed) {
            if !self.faults.random.chance(500) {
                continue;
            }
            self.faults.reached.push(Mark::RemovedIsBack);
            image.cached.clone_from(&image.durable);
            image.dirty.clear();
            image.doomed.clear();
            self.images.insert(segment, image);
            if let Some(snapshot) = snapshot
                && self.faults.random.chance(500)
            {
                self.snapshots.insert(segment, snapshot);
            }
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

    fn create(&mut self, segment: u32, bytes: u32, header: &[u8]) -> Result<(), Errno> {
        if !self.faults.take_space(bytes.into()) {
            return Err(ENOSPC);
        }
        let mut cached = vec![0; bytes as usize];
        cached[..header.len()].copy_from_slice(header);
        let (durable, used) = (cached.clone(), header.len());
        let image = Image { durable, cached, dirty: Vec::new(), doomed: Vec::new(), used };
        let other = self.images.insert(segment, image);
        assert!(other.is_none(), "segments are new when they are made");
        // With its name those that were removed are on disk.
        self.removed.clear();
        Ok(())
    }

    fn remove(&mut self, segment: u32) {
        if self.faults.is_failing(FileCall::Remove) {
            self.faults.reached.push(Mark::DiskError);
            // The snapshot goes first.
            if self.faults.random.chance(500) {
                self.snapshots.remove(&segment);
            }
            return;
        }
        let image = self.images.remove(&segment).expect("what is removed was made");
        let snapshot = self.snapshots.remove(&segment);
        let bytes = image.cached.len() + snapshot.as_ref().map_or(0, Vec::len);
        self.faults.free_bytes += bytes as u64;
        self.removed.push((segment, image, snapshot));
    }

    /// Takes a part of a snapshot; with `is_last` it gets its name.
    fn store(
        &mut self,
        segment: u32,
        offset: u64,
        bytes: Vec<u8>,
        is_last: bool,
    ) -> Result<(), Errno> {
        if offset == 0 {
            self.faults.free_bytes += std::mem::take(&mut self.unfinished).len() as u64;
        }
        assert_eq!(self.unfinished.len() as u64, offset, "parts come in order");
        if !self.faults.take_space(bytes.len() as u64) {
            return Err(ENOSPC);
        }
        self.unfinished.extend(bytes);
        if is_last {
            self.snapshots.insert(segment, std::mem::take(&mut self.unfinished));
            self.removed.clear();
        }
        Ok(())
    }

    /// Writes into the page cache; on disk it may land elsewhere, later or now.
    fn write(&mut self, segment: u32, offset: u32, bytes: &[u8]) {
        let is_stray = self.faults.is_misdirected();
        if is_stray {
            self.stray(segment, offset, bytes);
        }
        let image = self.images.get_mut(&segment).expect("what is written to was made");
        let range = (offset as usize, offset as usize + bytes.len());
        image.cached[range.0..range.1].copy_from_slice(bytes);
        image.used = image.used.max(range.1);
        if !is_stray {
            image.dirty.push(range);
        }
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

    /// A sync failed.
    fn on_unsynced(&mut self, segment: u32, ranges: usize) {
        let Some(image) = self.images.get_mut(&segment) else { return };
        let failed: Vec<_> = image.dirty.drain(..ranges).collect();
        for (from, to) in failed {
            match self.faults.unsynced() {
                Unsynced::Stored => {
                    image.durable[from..to].copy_from_slice(&image.cached[from..to]);
                }
                Unsynced::Dirty => image.dirty.push((from, to)),
                Unsynced::Doomed => image.doomed.push((from, to)),
            }
        }
    }
}

impl Image {
    /// What reads would see if no page were in memory but those that were never synced.
    fn reread(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for &(from, to) in self.dirty.iter().chain(&self.doomed) {
            bytes[from..to].copy_from_slice(&self.cached[from..to]);
        }
        bytes
    }

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
