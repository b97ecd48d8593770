//! The data directory of a lone node that was stopped, made without a process: two shards of many
//! small segments, so that every byte of it can be damaged in turn.
//!
//! Each key's history is one of five: written once, replaced, deleted, two siblings, or a value
//! beside a tombstone. Writes are synced a few at a time; old segments have snapshots, and some
//! were merged away.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringmain_core::causality::{Change, Context, Record, Write};
use ringmain_core::hash::Key;
use ringmain_core::id::{Boot, ClusterId, NodeId, ShardIndex};
use ringmain_core::records::{Author, Place, Records, event};
use ringmain_core::time::{Instant, UnixMs};
use ringmain_runtime::data_dir::{DataDir, Identity};
use ringmain_runtime::log::{self, Config, Durability, Log, SegmentSizes, recover};
use ringmain_runtime::log_files::{LogFiles, SegmentMaps, free_bytes};
use ringmain_runtime::settings::{Secret, Settings};
use ringmain_runtime::start::found;
use tempfile::TempDir;

/// Its keys are `key-0` and so on.
pub const KEY_COUNT: usize = 140;
/// Its shards.
pub const SHARDS: u16 = 2;
const PARTITION_BITS: u8 = 6;
/// Writes of each key are made in so many rounds.
const ROUNDS: usize = 3;

/// A record as the log holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The Record v1 bytes.
    pub record: Vec<u8>,
    /// The node's own actor.
    pub mine: Option<u16>,
    /// The values of the siblings that are no tombstones, ascending.
    pub values: Vec<Vec<u8>>,
}

/// The directory and what it holds.
pub struct Stored {
    folder: TempDir,
    /// By key.
    pub held: BTreeMap<Vec<u8>, Held>,
}

impl Stored {
    /// Makes one, of a node that was stopped.
    ///
    /// # Panics
    /// If the file system refuses.
    pub fn new() -> Stored {
        Stored::of(true)
    }

    /// One of a node that was killed: nothing vouches for its last writes.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn killed() -> Stored {
        Stored::of(false)
    }

    fn of(is_stopped: bool) -> Stored {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = DataDir::open(folder.path()).expect("the folder is new");
        dir.next_boot(Boot(0)).expect("the folder is writable");
        let secret = Secret::new(&[7; 32]).expect("that is long enough");
        found(&dir, &Settings::default(), &identity(), &secret).expect("the folder is writable");
        let mut held = BTreeMap::new();
        for shard in (0..SHARDS).map(ShardIndex) {
            let end = Shard::open(&dir, shard).fill(is_stopped, &mut held);
            if let Some(end) = end {
                dir.write_stopped(&identity(), shard, end).expect("the folder is writable");
            }
        }
        // As the first start does.
        dir.write_identity(&identity()).expect("the folder is writable");
        drop(dir);
        let stored = Stored { folder, held };
        stored.forget_lock();
        stored
    }

    /// Another process or thread may lock it next. One that was locked here stays so for a moment
    /// where another test starts a process just then: that has the lock until it executes.
    ///
    /// # Panics
    /// If there is no lock.
    pub fn forget_lock(&self) {
        forget_lock(&self.dir());
    }

    /// A copy of it.
    ///
    /// # Panics
    /// If the file system refuses.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_files(&self.dir(), copy.path());
        copy
    }

    /// Where it is.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().into()
    }
}

impl Default for Stored {
    fn default() -> Stored {
        Stored::new()
    }
}

/// Copies all files below `from`, a data directory whose node does not run, to where they are below
/// `to`.
///
/// # Panics
/// If the file system refuses.
pub fn copy_files(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path = to.join(name);
        let folder = path.parent().expect("it lies in the copy");
        fs::create_dir_all(folder).expect("the folder is writable");
        fs::write(path, bytes).expect("the folder is writable");
    }
}

/// As [`Stored::forget_lock`], of any directory.
///
/// # Panics
/// If there is no lock.
pub fn forget_lock(dir: &Path) {
    fs::remove_file(dir.join("lock")).expect("it was locked");
}

/// Whose directory it is.
pub fn identity() -> Identity {
    Identity {
        cluster: ClusterId(42),
        node: NodeId(7),
        uuid: 7,
        shards: SHARDS,
        partition_bits: PARTITION_BITS,
        n: 1,
        r: 1,
        w: 1,
        name: "oak".into(),
    }
}

/// Whose log a shard's is.
pub fn log_identity(shard: ShardIndex) -> log::Identity {
    let Identity { cluster, shards, partition_bits, .. } = identity();
    log::Identity { cluster, shard, shards, partition_bits: partition_bits.into() }
}

/// A key of the directory's cluster.
pub fn key(name: &[u8]) -> Key<'_> {
    Key::new(name, identity().cluster.hash_seed(), PARTITION_BITS.into())
}

/// The shard that holds a key.
pub fn shard_of(name: &[u8]) -> ShardIndex {
    ShardIndex::of(key(name).partition, SHARDS, PARTITION_BITS.into())
}

/// All files below a directory but its lock, with their bytes.
///
/// # Panics
/// If one cannot be read.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("lock") {
                let bytes = fs::read(&path).expect("a file can be read");
                let name = path.strip_prefix(dir).expect("it was found there");
                files.insert(name.to_owned(), bytes);
            }
        }
    }
    files
}

/// The log of a shard, open.
struct Shard {
    shard: ShardIndex,
    log: Log<SegmentMaps>,
    files: LogFiles,
}

impl Shard {
    fn open(dir: &DataDir, shard: ShardIndex) -> Shard {
        let path = dir.shard_dir(shard).expect("it was made");
        let (mut files, mut maps, _) = LogFiles::open(&path).expect("it can be read");
        maps.wait_for_disk();
        let identity = log_identity(shard);
        let recovered = recover(&identity, &[], Place(0)).expect("nothing is there to be damaged");
        let sizes = SegmentSizes { min: 4096, max: 4096, spare: 0 };
        let config =
            Config { identity, durability: Durability::Always, sizes, seed: shard.0.into() };
        let mut log = Log::new(config, maps, recovered, free_bytes(&path));
        files.make_ready(&mut log).expect("the folder is writable");
        Shard { shard, log, files }
    }

    /// Writes all keys of the shard, and stops; where.
    fn fill(mut self, is_stopped: bool, held: &mut BTreeMap<Vec<u8>, Held>) -> Option<Place> {
        let names: Vec<_> = (0..KEY_COUNT).map(|n| (n, format!("key-{n}").into_bytes())).collect();
        let is_here = |name: &[u8]| shard_of(name) == self.shard;
        let names: Vec<_> = names.into_iter().filter(|(_, name)| is_here(name)).collect();
        for round in 0..ROUNDS {
            for (n, name) in &names {
                self.write(*n, name, round);
            }
        }
        self.work();
        for (_, name) in &names {
            let stored = self.log.record(&key(name)).expect("it is whole");
            let stored = stored.expect("it was written");
            let live = stored.record.live(UnixMs(5)).siblings();
            let mut values: Vec<_> = live.map(|sibling| sibling.value.to_vec()).collect();
            values.sort();
            let record = stored.record.bytes().to_vec();
            held.insert(name.clone(), Held { record, mine: stored.mine, values });
        }
        if is_stopped {
            self.log.stop();
            self.carry_out();
            assert!(self.log.is_stopped());
        }
        self.log.stopped_at()
    }

    /// The write of a key in a round, if it has one there.
    fn write(&mut self, n: usize, name: &[u8], round: usize) {
        let blind = Context::Given(Record::empty().version_vector());
        let (context, tombstone) = match (n % 5, round) {
            (_, 0) => (Context::Local, false),
            (0, _) | (1, 2) => return,
            (1, _) => (Context::Local, false),
            (2, 1) => (Context::Local, true),
            (3, 2) => (blind, false),
            (4, 2) => (blind, true),
            _ => return,
        };
        // Of any length, and nothing that occurs twice.
        let value: Vec<u8> =
            (0..30 + n * 7 % 90).map(|at| b'a' + ((at + n + round) % 26) as u8).collect();
        let change = match tombstone {
            true => Change::Tombstone,
            false => Change::Value { expires: None, value: &value },
        };
        let write = Write { context, timestamp: UnixMs(5), change };
        let now = UnixMs(5);
        let author = Author { node: identity().node, boot: Boot(1), birth: 1, now };
        event(&mut self.log, &key(name), author, &write).expect("there is room");
        if n.is_multiple_of(3) {
            self.work();
        }
    }

    /// Does all that the log asks for, and its background work.
    fn work(&mut self) {
        self.carry_out();
        while self.log.step() || self.carry_out() {}
    }

    /// Whether anything was asked for.
    fn carry_out(&mut self) -> bool {
        let mut is_any = false;
        while self.files.carry_out(&mut self.log, Instant(1)).expect("the disk works") {
            is_any = true;
        }
        is_any
    }
}
