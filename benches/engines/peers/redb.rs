//! redb: a copy-on-write B-tree. It has no log: what a commit without durability wrote is in
//! memory until one with it.

use std::path::Path;

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::engine::{CACHE_BYTES, Engine, Name, Pair};

type Value = &'static [u8];

const TABLE: TableDefinition<'_, Name, Value> = TableDefinition::new("keys");

pub(crate) struct Redb {
    database: Database,
    /// Kept open from read to read, as long as nothing is written.
    reader: Option<ReadOnlyTable<Name, Value>>,
}

impl Engine for Redb {
    const NAME: &str = "redb";
    const PACKAGE: &str = "redb";
    const SETTINGS: &str = "cache 1 GiB; a transaction with `Durability::None` per put or batch, \
        `Immediate` to sync; gets share one read transaction";
    const KILLED: &str = "everything since the last sync: it has no log";

    fn open(dir: &Path) -> Redb {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES as usize);
        let database = builder.create(dir.join("redb")).expect("redb opens");
        let mut engine = Redb { database, reader: None };
        engine.write(std::iter::empty(), Durability::Immediate);
        engine
    }

    fn put(&mut self, name: &Name, value: &[u8]) {
        self.write(std::iter::once((name, value)), Durability::None);
    }

    fn get(&mut self, name: &Name, look: impl FnMut(&[u8])) -> bool {
        let value = self.reader().get(name).expect("redb reads");
        value.as_ref().map(|value| value.value()).map(look).is_some()
    }

    fn put_batch(&mut self, pairs: &[Pair]) {
        self.write(slices(pairs), Durability::None);
    }

    fn get_batch(&mut self, names: &[Name], mut look: impl FnMut(usize, &[u8])) -> usize {
        let found = names.iter().enumerate();
        found.filter(|(at, name)| self.get(name, |value| look(*at, value))).count()
    }

    fn put_batch_synced(&mut self, pairs: &[Pair]) {
        self.write(slices(pairs), Durability::Immediate);
    }

    fn sync(&mut self) {
        self.write(std::iter::empty(), Durability::Immediate);
    }
}

impl Redb {
    fn write<'a>(
        &mut self,
        pairs: impl Iterator<Item = (&'a Name, &'a [u8])>,
        durability: Durability,
    ) {
        self.reader = None;
        let mut transaction = self.database.begin_write().expect("redb begins");
        transaction.set_durability(durability).expect("redb has no savepoint");
        {
            let mut table = transaction.open_table(TABLE).expect("redb opens its table");
            for (name, value) in pairs {
                table.insert(name, value).expect("redb writes");
            }
        }
        transaction.commit().expect("redb commits");
    }

    fn reader(&mut self) -> &ReadOnlyTable<Name, Value> {
        let database = &self.database;
        self.reader.get_or_insert_with(|| {
            let transaction = database.begin_read().expect("redb begins");
            transaction.open_table(TABLE).expect("redb opens its table")
        })
    }
}

fn slices(pairs: &[Pair]) -> impl Iterator<Item = (&Name, &[u8])> {
    pairs.iter().map(|pair| (&pair.name, pair.value.as_slice()))
}
