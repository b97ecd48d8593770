//! `ringmain log …`: what lies in the data directory of a node that is stopped.
//!
//! *Problem.* An operator whose disk is in doubt must learn what is still sound, without a node
//! that goes on from there. *Answer.* Each shard's log is recovered as a start does it, but nothing
//! is appended; then its records are read, one shard at a time, so that memory is that of one
//! index. *Invariant.* The directory is locked meanwhile, and nothing in it changes but the file
//! `lock`, and files that a crash left unfinished, which are removed as at every start.

use std::path::Path;

use ringmain_core::id::{Partition, ShardIndex};
use ringmain_core::records::Place;
use ringmain_runtime::data_dir::{DataDir, Identity};
use ringmain_runtime::log::{self, Config, Cut, Durability, Log, SegmentSizes};
use ringmain_runtime::log_files::{LogFiles, SegmentMaps, Snapshots};
use ringmain_runtime::start::{self, StartError};
use ringmain_runtime::sys::raise_nofile;

use crate::args::{LogArgs, LogCommand};
use crate::failure::{Exit, Failure};
use crate::start::start_failure;

mod dump;
mod verify;

pub(crate) fn run(args: &LogArgs) -> Result<(), Failure> {
    match &args.command {
        LogCommand::Verify(args) => verify::run(args),
        LogCommand::Dump(args) => dump::run(args),
    }
}

/// A locked directory of a node that is stopped.
struct Stopped {
    dir: DataDir,
    identity: Identity,
}

impl Stopped {
    /// Opens what is there; makes neither a directory nor a lock where no node was.
    fn open(path: &Path) -> Result<Stopped, Failure> {
        let foreign = || {
            let fault = match path.is_dir() {
                true => "holds no identity of a node",
                false => "is not a directory",
            };
            let what = format!("{} {fault}", path.display());
            Failure::new(Exit::DataDir, what, "give the data directory of a node")
        };
        if !["identity", "lock"].iter().any(|name| path.join(name).exists()) {
            return Err(foreign());
        }
        let dir = DataDir::open(path)?;
        let identity = dir.identity()?.ok_or_else(foreign)?;
        if dir.is_exchanging()? {
            let what = format!("{} is between two numbers of shards", path.display());
            return Err(Failure::new(Exit::DataDir, what, "start its node once, which ends that"));
        }
        raise_nofile();
        Ok(Stopped { dir, identity })
    }

    fn shards(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        (0..self.identity.shards).map(ShardIndex)
    }

    /// Reads the files beside the logs, as a start does.
    fn check_files(&self, findings: &mut Findings<'_>) -> Result<(), Failure> {
        for error in start::file_errors(&self.dir) {
            findings.add(start_failure(error))?;
        }
        if let Err(error) = self.dir.is_in_place() {
            findings.add(Failure::new(Exit::DataDir, error.to_string(), ORIGIN))?;
        }
        Ok(())
    }

    /// Recovers the log of a shard. What is wrong with it goes to `findings`; `None` if nothing of
    /// it can be read then.
    fn shard(
        &self,
        index: ShardIndex,
        findings: &mut Findings<'_>,
    ) -> Result<Option<Shard>, Failure> {
        let (maps, snapshots) = match self.files(index) {
            Ok(opened) => opened,
            Err(error) => {
                findings.add(start_failure(error))?;
                return Ok(None);
            }
        };
        let identity = self.log_identity(index);
        let files = maps.files(&snapshots);
        let segment_count = files.len();
        let file_bytes = files.iter().map(|file| file.bytes.len() as u64).sum();
        for file in files.iter().filter(|file| !file.is_snapshot_whole()) {
            let what = format!("shard {}: the snapshot of segment {}", index.0, file.segment);
            let what = format!("{what} is damaged, or another one's");
            findings.add(Failure::new(Exit::DataDir, what, SNAPSHOT))?;
        }
        let failed = |error| StartError::Log { shard: index.0, error };
        let begun = start::check_begun(&self.dir, index, &files);
        let stopped = self.stopped(index, findings)?;
        let recovered = begun.and_then(|()| {
            let recovered = log::recover(&identity, &files, stopped);
            recovered.map_err(failed)
        });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                findings.add(start_failure(error))?;
                return Ok(None);
            }
        };
        if let Err(error) = maps.check_read(recovered.end()) {
            findings.add(start_failure(StartError::Files { shard: index.0, error }))?;
        }
        for lost in &recovered.damage {
            let log::Damage { segment, offset, end } = lost;
            let what = format!("segment {segment} is damaged from offset {offset} to {end}");
            findings.add(lost_records(format!("shard {}: {what}", index.0)))?;
        }
        let (scanned, cut) = (recovered.scanned.clone(), recovered.cut);
        let (durability, sizes) = (Durability::None, SegmentSizes::default());
        let config = Config { identity, durability, sizes, seed: 0 };
        let log = Log::new(config, maps, recovered, 0);
        Ok(Some(Shard { index, log, segment_count, file_bytes, scanned, cut }))
    }

    /// Where the log of a shard was last stopped, as far as that is known.
    fn stopped(&self, index: ShardIndex, findings: &mut Findings<'_>) -> Result<Place, Failure> {
        match self.dir.stopped(&self.identity, index) {
            Ok(stopped) => Ok(stopped),
            Err(error) => {
                findings.add(Failure::new(Exit::DataDir, error.to_string(), STOPPED))?;
                Ok(Place(0))
            }
        }
    }

    /// The files of a shard's log, mapped.
    fn files(&self, index: ShardIndex) -> Result<(SegmentMaps, Snapshots), StartError> {
        let path = self.dir.shard_dir(index)?;
        let opened = LogFiles::open(&path);
        let failed = |error| StartError::Files { shard: index.0, error };
        let (_, mut maps, snapshots) = opened.map_err(failed)?;
        maps.wait_for_disk();
        Ok((maps, snapshots))
    }

    fn log_identity(&self, shard: ShardIndex) -> log::Identity {
        let Identity { cluster, shards, partition_bits, .. } = self.identity;
        log::Identity { cluster, shard, shards, partition_bits: partition_bits.into() }
    }
}

/// The log of a shard, to read from.
struct Shard {
    index: ShardIndex,
    log: Log<SegmentMaps>,
    segment_count: usize,
    file_bytes: u64,
    /// Segments that were on disk whole, but had no snapshot that could be used.
    scanned: Vec<u32>,
    cut: Option<Cut>,
}

impl Shard {
    /// The places of all current records of a shard, by partition and order.
    fn places(&self, identity: &log::Identity) -> impl Iterator<Item = (Partition, Place)> + '_ {
        let (first, count) = identity.partitions();
        (first.0..).take(count).map(Partition).flat_map(|partition| {
            self.log.keys_from(partition, 0).map(move |(_, place)| (partition, place))
        })
    }

    /// What is said of a record that cannot be read. Where it ends is unknown if its length is
    /// damaged.
    fn damaged(&self, place: Place) -> Failure {
        let (shard, segment, offset) = (self.index.0, place.segment(), place.offset());
        let end = self.log.frame(place).map(|bytes| offset as usize + bytes.len());
        let end = end.map_or("on".into(), |end| format!("to {end}"));
        lost_records(format!(
            "shard {shard}: a record in segment {segment} is damaged from offset {offset} {end}"
        ))
    }
}

/// What is wrong in a directory: counted, the first one kept.
struct Findings<'a> {
    first: Option<Failure>,
    count: u64,
    /// Gets each.
    tell: &'a mut dyn FnMut(&str) -> Result<(), Failure>,
}

impl<'a> Findings<'a> {
    fn new(tell: &'a mut dyn FnMut(&str) -> Result<(), Failure>) -> Findings<'a> {
        Findings { first: None, count: 0, tell }
    }

    /// Fails with what is not the directory's fault.
    fn add(&mut self, failure: Failure) -> Result<(), Failure> {
        if failure.exit != Exit::DataDir {
            return Err(failure);
        }
        (self.tell)(failure.what())?;
        self.count += 1;
        self.first.get_or_insert(failure);
        Ok(())
    }

    /// A failure that names the first, if there is one.
    fn end(self) -> Result<(), Failure> {
        match (self.first, self.count) {
            (None, _) => Ok(()),
            (Some(failure), 1) => Err(failure),
            (Some(failure), count) => Err(failure.first_of(count)),
        }
    }
}

fn lost_records(what: String) -> Failure {
    let remedy = "restore the directory, replace this node by a new one, or start it and give up \
                  what is lost with `ringmain scrub --accept-loss`";
    Failure::new(Exit::DataDir, what, remedy)
}

/// What to do about a lost snapshot.
const SNAPSHOT: &str = "check the disk, and remove the snapshot: its segment is read without it";

/// What to do about a lost file `origin`.
const ORIGIN: &str = "check the disk, and remove the file: the node is taken for a copy then, and \
                      serves nobody before another member has spoken to it";

/// What to do about a lost file `stopped`.
const STOPPED: &str = "check the disk, and remove the file: the log is read without it, but what \
                       it has lost at its end is not noticed";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_finding_is_the_failure() {
        let mut told = Vec::new();
        let mut tell = |what: &str| {
            told.push(what.to_owned());
            Ok(())
        };
        assert_eq!(Findings::new(&mut tell).end(), Ok(()));
        let mut findings = Findings::new(&mut tell);
        assert_eq!(findings.add(Failure::new(Exit::DataDir, "one", "mend it")), Ok(()));
        assert_eq!(findings.add(lost_records("two".into())), Ok(()));
        assert_eq!(
            findings.add(Failure::new(Exit::Host, "other", "-")).unwrap_err().exit,
            Exit::Host
        );
        let failure = findings.end().expect_err("there are two");
        assert_eq!(failure.exit, Exit::DataDir);
        assert_eq!(failure.to_string(), "one, the first of 2 findings: mend it");
        assert_eq!(told, ["one", "two"]);
    }

    #[test]
    fn a_directory_without_a_node_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = folder.path().join("missing");
        for path in [folder.path(), &missing] {
            let failure = Stopped::open(path).err().expect("there is no node");
            assert_eq!(failure.exit, Exit::DataDir);
        }
        assert!(!missing.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}
