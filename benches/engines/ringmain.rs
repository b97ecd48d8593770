//! Our log, as a server without replication uses it: the same function writes a record, the same
//! files hold it.

use std::path::Path;

use ringmain_core::causality::{Change, Context, Write};
use ringmain_core::hash::Key;
use ringmain_core::id::{Boot, ClusterId, NodeId, ShardIndex};
use ringmain_core::records::{Author, Full, Place, Records, Refusal, event};
use ringmain_core::time::{Instant, UnixMs};
use ringmain_runtime::log::{Config, Durability, Identity, Log, SegmentSizes, recover};
use ringmain_runtime::log_files::{LogFiles, SegmentMaps, free_bytes};

use crate::engine::{Engine, Name, Pair};

/// Keys named ahead at once, as the server does.
const AHEAD_COUNT: usize = 16;
pub(crate) const IDENTITY: Identity =
    Identity { cluster: ClusterId(42), shard: ShardIndex(0), shards: 1, partition_bits: 10 };
const AUTHOR: Author = Author { node: NodeId(1), boot: Boot(1), birth: 1, now: UnixMs(1) };

/// The log of one shard.
pub(crate) struct Ringmain {
    log: Log<SegmentMaps>,
    files: LogFiles,
}

impl Engine for Ringmain {
    const NAME: &str = "Ringmain";
    const PACKAGE: &str = "ringmain-runtime";
    const SETTINGS: &str = "one shard, durability `none`; the index is in memory, records are \
        read through maps of the segments, waiting for the disk; segments are made, and merged, \
        inline";
    const KILLED: &str = "nothing: the tail is written behind each put or batch";

    fn open(dir: &Path) -> Ringmain {
        let (mut files, mut maps, snapshots) = LogFiles::open(dir).expect("the folder is new");
        let recovered =
            recover(&IDENTITY, &maps.files(&snapshots), Place(0)).expect("no files, no damage");
        // Like the others, it has nothing else to do while a record comes from the disk.
        maps.wait_for_disk();
        let config = Config {
            identity: IDENTITY,
            durability: Durability::None,
            sizes: SegmentSizes::default(),
            seed: 1,
        };
        let mut log = Log::new(config, maps, recovered, free_bytes(dir));
        files.make_ready(&mut log).expect("there is room for a segment");
        Ringmain { log, files }
    }

    fn put(&mut self, name: &Name, value: &[u8]) {
        self.append(&key(name), value);
        self.settle();
    }

    fn get(&mut self, name: &Name, mut look: impl FnMut(&[u8])) -> bool {
        self.read(&key(name), &mut look)
    }

    fn put_batch(&mut self, pairs: &[Pair]) {
        for pairs in pairs.chunks(AHEAD_COUNT) {
            let keys = keys(pairs.iter().map(|pair| &pair.name));
            self.log.prefetch(&keys[..pairs.len()]);
            for (key, pair) in keys.iter().zip(pairs) {
                self.append(key, &pair.value);
            }
        }
        self.settle();
    }

    fn get_batch(&mut self, names: &[Name], mut look: impl FnMut(usize, &[u8])) -> usize {
        let mut found = 0;
        for (chunk, names) in names.chunks(AHEAD_COUNT).enumerate() {
            let keys = keys(names.iter());
            self.log.prefetch(&keys[..names.len()]);
            for (at, key) in keys[..names.len()].iter().enumerate() {
                let mut look = |value: &[u8]| look(chunk * AHEAD_COUNT + at, value);
                found += usize::from(self.read(key, &mut look));
            }
        }
        found
    }

    fn put_batch_synced(&mut self, pairs: &[Pair]) {
        self.put_batch(pairs);
        self.sync();
    }

    fn sync(&mut self) {
        let end = self.log.end();
        self.log.sync_wanted();
        self.settle();
        // What merging appended meanwhile nobody waits for.
        assert!(self.log.synced() >= end);
    }
}

impl Ringmain {
    /// What a `SET` without replication does; waits where the server would read no further.
    fn append(&mut self, key: &Key<'_>, value: &[u8]) {
        while let Err(refusal) = append(&mut self.log, key, value) {
            assert_eq!(refusal, Refusal::Full(Full::Busy));
            let is_carried_out = self.files.carry_out(&mut self.log, Instant(1));
            assert!(is_carried_out.expect("the disk takes it"), "a busy log waits for something");
        }
    }

    fn read(&self, key: &Key<'_>, look: &mut impl FnMut(&[u8])) -> bool {
        let stored = self.log.record(key).expect("what was written can be read");
        let winner = stored.and_then(|stored| stored.record.live(UnixMs(1)).winner());
        winner.map(|sibling| look(sibling.value)).is_some()
    }

    /// Does all that the log asks for: a write of what was appended, a segment ahead of its use.
    fn settle(&mut self) {
        loop {
            let mut is_waiting = true;
            while self.files.carry_out(&mut self.log, Instant(1)).expect("the disk takes it") {
                is_waiting = false;
            }
            // What merging owes is paid at once.
            if !self.log.is_step_due() || !self.log.step() && is_waiting {
                return;
            }
        }
    }
}

/// Appends as the server does for a client that gives no context.
pub(crate) fn append<R: Records>(
    log: &mut R,
    key: &Key<'_>,
    value: &[u8],
) -> Result<Place, Refusal> {
    let write = Write {
        context: Context::Local,
        timestamp: UnixMs(1_700_000_000_000),
        change: Change::Value { expires: None, value },
    };
    event(log, key, AUTHOR, &write).map(|applied| applied.place)
}

/// A key with its place.
pub(crate) fn key(name: &Name) -> Key<'_> {
    Key::new(name, IDENTITY.cluster.hash_seed(), IDENTITY.partition_bits)
}

fn keys<'a>(names: impl Iterator<Item = &'a Name>) -> [Key<'a>; AHEAD_COUNT] {
    let mut keys = [Key::default(); AHEAD_COUNT];
    for (place, name) in keys.iter_mut().zip(names) {
        *place = key(name);
    }
    keys
}
