//! fjall: a log-structured merge tree.

use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{CACHE_BYTES, Engine, Name, Pair};

pub(crate) struct Fjall {
    database: Database,
    keys: Keyspace,
}

impl Engine for Fjall {
    const NAME: &str = "fjall";
    const PACKAGE: &str = "fjall";
    const SETTINGS: &str = "cache 1 GiB, no compression; batch: `WriteBatch`, it has no batch of \
        gets";
    const KILLED: &str = "nothing: the journal is written behind each put or batch";

    fn open(dir: &Path) -> Fjall {
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .journal_compression(CompressionType::None)
            .open()
            .expect("fjall opens");
        let options = || {
            let none = CompressionPolicy::all(CompressionType::None);
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(none.clone())
                .index_block_compression_policy(none)
        };
        let keys = database.keyspace("keys", options).expect("fjall makes a keyspace");
        Fjall { database, keys }
    }

    fn put(&mut self, name: &Name, value: &[u8]) {
        self.keys.insert(name, value).expect("fjall writes");
    }

    fn get(&mut self, name: &Name, look: impl FnMut(&[u8])) -> bool {
        let value = self.keys.get(name).expect("fjall reads");
        value.as_deref().map(look).is_some()
    }

    fn put_batch(&mut self, pairs: &[Pair]) {
        self.write(pairs, PersistMode::Buffer);
    }

    fn get_batch(&mut self, names: &[Name], mut look: impl FnMut(usize, &[u8])) -> usize {
        let found = names.iter().enumerate();
        found.filter(|(at, name)| self.get(name, |value| look(*at, value))).count()
    }

    fn put_batch_synced(&mut self, pairs: &[Pair]) {
        self.write(pairs, PersistMode::SyncData);
    }

    fn sync(&mut self) {
        self.database.persist(PersistMode::SyncData).expect("fjall syncs");
    }
}

impl Fjall {
    fn write(&self, pairs: &[Pair], mode: PersistMode) {
        let mut batch = self.database.batch().durability(Some(mode));
        for pair in pairs {
            batch.insert(&self.keys, pair.name, pair.value.as_slice());
        }
        batch.commit().expect("fjall writes");
    }
}
