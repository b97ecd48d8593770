//! sled: a B-tree of page fragments in a log.

use std::path::Path;

use sled::{Batch, Config, Db, Mode};

use crate::engine::{CACHE_BYTES, Engine, Name, Pair};

pub(crate) struct Sled(Db);

impl Engine for Sled {
    const NAME: &str = "sled";
    const PACKAGE: &str = "sled";
    const SETTINGS: &str = "cache 1 GiB, `HighThroughput`, no flush by time; batch: `Batch`, it \
        has no batch of gets; its flush only starts and awaits the write of pages";
    const KILLED: &str = "up to 512 KiB: its log is buffered, and waits for the disk behind each \
        full buffer";
    // It calls sync_file_range and nothing else: neither the disk's cache nor the file's length
    // is flushed.
    const IS_DURABLE: bool = false;

    fn open(dir: &Path) -> Sled {
        let config = Config::new().path(dir).cache_capacity(CACHE_BYTES);
        let config = config.mode(Mode::HighThroughput).flush_every_ms(None);
        Sled(config.open().expect("sled opens"))
    }

    fn put(&mut self, name: &Name, value: &[u8]) {
        self.0.insert(name, value).expect("sled writes");
    }

    fn get(&mut self, name: &Name, look: impl FnMut(&[u8])) -> bool {
        let value = self.0.get(name).expect("sled reads");
        value.as_deref().map(look).is_some()
    }

    fn put_batch(&mut self, pairs: &[Pair]) {
        let mut batch = Batch::default();
        for pair in pairs {
            batch.insert(&pair.name, pair.value.as_slice());
        }
        self.0.apply_batch(batch).expect("sled writes");
    }

    fn get_batch(&mut self, names: &[Name], mut look: impl FnMut(usize, &[u8])) -> usize {
        let found = names.iter().enumerate();
        found.filter(|(at, name)| self.get(name, |value| look(*at, value))).count()
    }

    fn put_batch_synced(&mut self, pairs: &[Pair]) {
        self.put_batch(pairs);
        self.sync();
    }

    fn sync(&mut self) {
        self.0.flush().expect("sled syncs");
    }
}
