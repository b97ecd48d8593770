//! What a storage engine is to the comparison, and the list of those that take part.

use std::path::Path;

use crate::cells::Workload;
use crate::peers;
use crate::ringmain::Ringmain;

/// A key.
pub(crate) type Name = [u8; 16];

/// Pairs in a batch, and between two syncs.
pub(crate) const BATCH_COUNT: usize = 64;
/// What each engine with a cache of its own may cache, bytes.
pub(crate) const CACHE_BYTES: u64 = 1 << 30;

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) name: Name,
    pub(crate) value: Vec<u8>,
}

/// A store of pairs in a folder. Whatever fails is a panic: the child ends, its cells stay empty.
pub(crate) trait Engine: Sized {
    /// How it is called.
    const NAME: &str;
    /// Its package in `Cargo.lock`.
    const PACKAGE: &str;
    /// How it is set up, where that is not its default.
    const SETTINGS: &str;
    /// What is lost if its process is killed right after a put returned.
    const KILLED: &str;
    /// Whether its syncs reach the disk: if not, their cells are shown, but not compared.
    const IS_DURABLE: bool = true;

    /// A new store.
    fn open(dir: &Path) -> Self;

    /// Stores one pair.
    fn put(&mut self, name: &Name, value: &[u8]);

    /// Shows a value, if there is one, and says whether there is.
    fn get(&mut self, name: &Name, look: impl FnMut(&[u8])) -> bool;

    /// Stores a batch by the engine's own means for it.
    fn put_batch(&mut self, pairs: &[Pair]);

    /// Shows each value with its index in `names`; how many there are.
    fn get_batch(&mut self, names: &[Name], look: impl FnMut(usize, &[u8])) -> usize;

    /// The same as `put_batch`, and on disk when it returns.
    fn put_batch_synced(&mut self, pairs: &[Pair]);

    /// Everything put so far is on disk when it returns.
    fn sync(&mut self);
}

/// An engine as the list has it.
pub(crate) struct Listed {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) settings: &'static str,
    pub(crate) killed: &'static str,
    pub(crate) is_durable: bool,
    pub(crate) run: fn(&Workload, &Path),
}

/// All engines that were compiled, ours first.
pub(crate) fn engines() -> Vec<Listed> {
    vec![
        listed::<Ringmain>(),
        listed::<peers::fjall::Fjall>(),
        listed::<peers::redb::Redb>(),
        listed::<peers::sled::Sled>(),
        #[cfg(feature = "rocksdb")]
        listed::<peers::rocksdb::RocksDb>(),
    ]
}

fn listed<E: Engine>() -> Listed {
    Listed {
        name: E::NAME,
        package: E::PACKAGE,
        settings: E::SETTINGS,
        killed: E::KILLED,
        is_durable: E::IS_DURABLE,
        run: crate::cells::run::<E>,
    }
}
