//! What a process uses of its machine, and what it was built with.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::machine::field;

/// The version of a package in the lock file this was compiled with.
pub(crate) fn version(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \""));
    version.map_or("?", |version| version.trim_end_matches('"'))
}

/// Bytes allocated to the files below `dir`. One that vanishes meanwhile counts as none.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// Memory of this process: its own bytes, and those of files it maps.
pub(crate) fn memory() -> (u64, u64) {
    let bytes = |name| field("/proc/self/status", name).unwrap_or(0) << 10;
    (bytes("RssAnon"), bytes("RssFile"))
}
