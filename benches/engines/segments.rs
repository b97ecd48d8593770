//! Segments of a log whose driver is the benchmark: made on a thread of their own, like the
//! server's, so that no write waits for a new file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ringmain_runtime::log::{Completion, Log, Maps, SEGMENT_HEADER_BYTES};
use ringmain_runtime::net::Doorbell;
use ringmain_runtime::sys::Map;
use rustix::fs::{FallocateFlags, fallocate};

/// An open segment.
pub(crate) struct Segment {
    id: u32,
    file: Arc<File>,
    map: Map,
}

/// All segments of a log.
pub(crate) struct Segments {
    dir: PathBuf,
    open: BTreeMap<u32, Segment>,
}

impl Maps for Segments {
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let start = offset as usize;
        self.open.get(&segment)?.map.bytes(start..start.checked_add(bytes)?)
    }
}

impl Segments {
    pub(crate) fn new(dir: &Path) -> Segments {
        Segments { dir: dir.to_owned(), open: BTreeMap::new() }
    }

    /// The file of a segment that was made.
    pub(crate) fn file(&self, segment: u32) -> &Arc<File> {
        &self.open[&segment].file
    }
}

/// Where segments are ordered, and where they arrive.
pub(crate) struct Maker {
    bell: Doorbell,
    made: Receiver<Segment>,
    sender: Sender<Segment>,
}

impl Maker {
    /// Rings the bell when a segment was made.
    pub(crate) fn new(bell: Doorbell) -> Maker {
        let (sender, made) = channel();
        Maker { bell, made, sender }
    }

    /// Has a segment made.
    pub(crate) fn order(
        &self,
        segments: &Segments,
        id: u32,
        bytes: u32,
        header: [u8; SEGMENT_HEADER_BYTES],
    ) {
        let (path, dir) = (segments.dir.join(format!("{id}.segment")), segments.dir.clone());
        let (sender, bell) = (self.sender.clone(), self.bell.clone());
        std::thread::spawn(move || {
            let file = preallocated(&path, bytes.into());
            file.write_all_at(&header, 0).expect("it has the room");
            file.sync_all().expect("the disk takes it");
            File::open(dir).and_then(|dir| dir.sync_all()).expect("the folder can be synced");
            let map = Map::new(&File::open(&path).expect("it was made")).expect("it can be mapped");
            // Once the benchmark is over nobody wants it.
            let _ = sender.send(Segment { id, file: Arc::new(file), map });
            bell.ring();
        });
    }

    /// Gives the log what was made.
    pub(crate) fn deliver(&self, log: &mut Log<Segments>) {
        for segment in self.made.try_iter() {
            let id = segment.id;
            log.maps_mut().open.insert(id, segment);
            log.handle_completion(Completion::Created { segment: id, result: Ok(()) });
        }
    }
}

/// A new file of so many bytes, allocated as a segment of a log is.
pub(crate) fn preallocated(path: &Path, bytes: u64) -> File {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path);
    let file = file.expect("the folder can be written to");
    fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("the disk has room");
    file
}
