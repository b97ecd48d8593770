//! One real node without peers.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use super::{Network, Ringmain};

/// One node on a network and in a directory of its own, whose processes the test holds.
pub struct Lone {
    folder: TempDir,
    network: Network,
}

impl Lone {
    /// An empty directory.
    ///
    /// # Panics
    /// As all of its methods: if the host refuses.
    #[expect(clippy::new_without_default, reason = "it takes a network and makes a folder")]
    pub fn new() -> Lone {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Lone { folder, network: Network::take() }
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Where the node takes RESP clients, whether it runs or not.
    pub fn resp(&self) -> SocketAddr {
        SocketAddr::new(self.network.host(1).into(), 7379)
    }

    /// Starts a process and returns at once.
    pub fn spawn(&self, shards: Option<&str>) -> Ringmain {
        let dir = self.dir().to_str().expect("temporary folders have plain names");
        let listen = self.network.host(1).to_string();
        let mut words = vec!["start", "--listen", &listen, "--data-dir", dir];
        words.extend(shards.iter().flat_map(|shards| ["--shards", shards]));
        Ringmain::spawn(&words)
    }

    /// Starts a process and waits until it is ready.
    pub fn start(&self, shards: Option<&str>) -> Ringmain {
        let mut node = self.spawn(shards);
        node.await_ready();
        node
    }

    /// The files of the log's segments, as paths below the data directory.
    pub fn segments(&self) -> BTreeSet<String> {
        let names = |dir: &Path| -> Vec<String> {
            let entries = fs::read_dir(dir).expect("a node made it");
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.collect()
        };
        let shards = names(self.dir()).into_iter().filter(|name| name.starts_with("shard-"));
        let files = shards.flat_map(|shard| {
            let files = names(&self.dir().join(&shard));
            files.into_iter().map(move |file| format!("{shard}/{file}"))
        });
        files.filter(|file| file.ends_with(".segment")).collect()
    }
}
