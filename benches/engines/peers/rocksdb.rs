//! RocksDB: a log-structured merge tree.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Options,
    WriteBatch, WriteOptions,
};

use crate::engine::{CACHE_BYTES, Engine, Name, Pair};

/// Of a Bloom filter, per key.
const FILTER_BITS: f64 = 10.0;

/// The family that every RocksDB has; named, because a batch of gets must name one.
const KEYS: &str = "default";

pub(crate) struct RocksDb(DB);

impl Engine for RocksDb {
    const NAME: &str = "RocksDB";
    const PACKAGE: &str = "librocksdb-sys";
    const SETTINGS: &str = "block cache 1 GiB, Bloom filter of 10 bits, no compression; batch: \
        `WriteBatch`, `MultiGet`; gets are pinned, not copied";
    const KILLED: &str = "nothing: the log is written behind each put or batch";

    fn open(dir: &Path) -> RocksDb {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES as usize));
        blocks.set_bloom_filter(FILTER_BITS, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_block_based_table_factory(&blocks);
        let keys = ColumnFamilyDescriptor::new(KEYS, options.clone());
        RocksDb(DB::open_cf_descriptors(&options, dir, [keys]).expect("RocksDB opens"))
    }

    fn put(&mut self, name: &Name, value: &[u8]) {
        self.0.put(name, value).expect("RocksDB writes");
    }

    fn get(&mut self, name: &Name, look: impl FnMut(&[u8])) -> bool {
        let value = self.0.get_pinned(name).expect("RocksDB reads");
        value.as_deref().map(look).is_some()
    }

    fn put_batch(&mut self, pairs: &[Pair]) {
        self.0.write(batch(pairs)).expect("RocksDB writes");
    }

    fn get_batch(&mut self, names: &[Name], mut look: impl FnMut(usize, &[u8])) -> usize {
        let values = self.0.batched_multi_get_cf(self.keys(), names, false);
        let mut found = 0;
        for (at, value) in values.into_iter().enumerate() {
            if let Some(value) = value.expect("RocksDB reads") {
                look(at, &value);
                found += 1;
            }
        }
        found
    }

    fn put_batch_synced(&mut self, pairs: &[Pair]) {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.0.write_opt(batch(pairs), &options).expect("RocksDB writes");
    }

    fn sync(&mut self) {
        self.0.flush_wal(true).expect("RocksDB syncs");
    }
}

impl RocksDb {
    fn keys(&self) -> &ColumnFamily {
        self.0.cf_handle(KEYS).expect("it was opened with it")
    }
}

fn batch(pairs: &[Pair]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for pair in pairs {
        batch.put(pair.name, &pair.value);
    }
    batch
}
