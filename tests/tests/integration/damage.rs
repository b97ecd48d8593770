//! A small data directory with each byte flipped, each file cut short, missing, or another's:
//! what is served is right, and who cannot be served is told so; or the directory is refused with
//! a line that names the file. Never a panic, another value, or a key that is silently not found.
//!
//! Here the directory is opened in this process, as a start opens it; `started` has the binary
//! itself do it. `RINGMAIN_SOAK=1` takes every byte, else some are left out.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ringmain_core::id::ShardIndex;
use ringmain_core::records::{Place, Records, Unread};
use ringmain_runtime::data_dir::DataDir;
use ringmain_runtime::log::{
    Config, Damage, Durability, Log, SEGMENT_HEADER_BYTES, SegmentSizes, recover,
};
use ringmain_runtime::log_files::LogFiles;
use ringmain_runtime::start::{check_begun, file_errors};
use ringmain_tests::stored::{SHARDS, Stored, files, identity, key, log_identity, shard_of};

mod started;

/// Of the bytes of a segment one in so many is flipped, and one length in so many is tried.
const STRIDE: usize = 61;
/// The same of a snapshot.
const SNAPSHOT_STRIDE: usize = 17;
/// Of the zeros behind the log's end one in so many is flipped.
const ZEROS_STRIDE: usize = 97;

fn is_soak() -> bool {
    env::var_os("RINGMAIN_SOAK").is_some()
}

/// What became of a directory, or of a shard.
#[derive(Debug)]
enum Outcome {
    /// It was refused, with this line.
    Refused(String),
    Served(Served),
}

impl Outcome {
    /// Every read is answered.
    fn is_harmless(&self) -> bool {
        matches!(self, Outcome::Served(Served { refused: 0, .. }))
    }
}

/// All that is served is right; the rest is refused.
#[derive(Debug, Default)]
struct Served {
    /// Keys whose reads are refused.
    refused: usize,
    damage: Vec<Damage>,
}

/// Opens a directory as a start does, and reads every key.
fn outcome(stored: &Stored) -> Outcome {
    let dir = DataDir::open(&stored.dir());
    stored.forget_lock();
    let dir = match dir {
        Ok(dir) => dir,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    match dir.identity() {
        Ok(found) => assert_eq!(found, Some(identity())),
        Err(error) => return Outcome::Refused(error.to_string()),
    }
    if let Some(error) = file_errors(&dir).first() {
        return Outcome::Refused(error.to_string());
    }
    let mut all = Served::default();
    for shard in (0..SHARDS).map(ShardIndex) {
        match shard_outcome(stored, &dir, shard) {
            Outcome::Served(served) => {
                all.refused += served.refused;
                all.damage.extend(served.damage);
            }
            refused => return refused,
        }
    }
    Outcome::Served(all)
}

fn shard_outcome(stored: &Stored, dir: &DataDir, shard: ShardIndex) -> Outcome {
    let told =
        |error: &dyn std::fmt::Display| Outcome::Refused(format!("shard {}: {error}", shard.0));
    let path = match dir.shard_dir(shard) {
        Ok(path) => path,
        Err(error) => return told(&error),
    };
    let (_, mut maps, snapshots) = match LogFiles::open(&path) {
        Ok(opened) => opened,
        Err(error) => return told(&error),
    };
    maps.wait_for_disk();
    // As a start does, which tells of it.
    let stopped = dir.stopped(&identity(), shard).unwrap_or(Place(0));
    let identity = log_identity(shard);
    let found = maps.files(&snapshots);
    if let Err(error) = check_begun(dir, shard, &found) {
        return Outcome::Refused(error.to_string());
    }
    let recovered = match recover(&identity, &found, stopped) {
        Ok(recovered) => recovered,
        Err(error) => return told(&error),
    };
    let damage = recovered.damage.clone();
    let sizes = SegmentSizes::default();
    let log = Log::new(
        Config { identity, durability: Durability::None, sizes, seed: 0 },
        maps,
        recovered,
        0,
    );
    let mut refused = 0;
    for (name, held) in stored.held.iter().filter(|(name, _)| shard_of(name) == shard) {
        match log.record(&key(name)) {
            Ok(Some(found)) => {
                assert!(found.record.bytes() == held.record, "another value of {name:?}");
                assert_eq!(found.mine, held.mine);
            }
            Ok(None) => panic!("{} is silently not found", name.escape_ascii()),
            Err(Unread::Damaged) => refused += 1,
            Err(Unread::Cold) => panic!("reads wait for the disk"),
        }
    }
    Outcome::Served(Served { refused, damage })
}

/// A file of the directory.
struct Target {
    name: PathBuf,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Target {
    fn all(stored: &Stored) -> Vec<Target> {
        let found = files(&stored.dir()).into_iter();
        found.map(|(name, bytes)| Target { path: stored.dir().join(&name), name, bytes }).collect()
    }

    /// The shard and the segment that it belongs to.
    fn of_shard(&self) -> Option<(ShardIndex, u32)> {
        let folder = self.name.parent()?.to_str()?.strip_prefix("shard-")?;
        let segment = self.name.file_stem()?.to_str()?.parse().ok()?;
        Some((ShardIndex(folder.parse().ok()?), segment))
    }

    fn is_segment(&self) -> bool {
        self.name.extension().is_some_and(|extension| extension == "segment")
    }

    fn is_snapshot(&self) -> bool {
        self.name.extension().is_some_and(|extension| extension == "snapshot")
    }

    /// A start makes it anew, or does without.
    fn is_dispensable(&self) -> bool {
        let is_note = self.name.file_name().is_some_and(|name| name == "stopped");
        let is_of_node = ["boot.new", "origin"].iter().any(|name| self.name.as_os_str() == *name);
        self.is_snapshot() || is_note || is_of_node
    }

    /// Whether a line names this file that refuses the directory because of it.
    fn is_named(&self, line: &str) -> bool {
        match self.of_shard() {
            Some((shard, segment)) => {
                let shard = format!("shard {}: ", shard.0);
                line.contains(&shard) && line.contains(&format!("log segment {segment} "))
            }
            None => line.contains(&format!("{} ", self.name.display())),
        }
    }

    /// Where its zeros begin.
    fn used(&self) -> usize {
        self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).unwrap();
    }

    /// Changes one byte in place.
    fn flip(&self, at: usize, mask: u8) {
        let file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(&[self.bytes[at] ^ mask], at as u64).unwrap();
    }
}

/// How many cases ended in which way.
#[derive(Debug, Default)]
struct Counts(BTreeMap<&'static str, usize>);

impl Counts {
    /// Counts an outcome; a refusal must name `target`, and so must what was found damaged, which
    /// begins at or before `at`.
    fn add(&mut self, target: &Target, at: usize, outcome: &Outcome) {
        let kind = match outcome {
            Outcome::Refused(line) => {
                assert!(target.is_named(line), "{line:?} does not name {:?}", target.name);
                "refused"
            }
            Outcome::Served(Served { refused, damage }) => {
                for one in damage {
                    assert_eq!(Some(one.segment), target.of_shard().map(|(_, segment)| segment));
                    assert!(one.offset as usize <= at, "{one:?}");
                }
                match (refused, &damage[..]) {
                    (0, []) => "harmless",
                    (_, []) => "found by reads",
                    (..) => "found at the start",
                }
            }
        };
        *self.0.entry(kind).or_default() += 1;
    }

    fn of(&self, kind: &str) -> usize {
        self.0.get(kind).copied().unwrap_or(0)
    }
}

/// The offsets to change in a file, and the lengths to cut it to: all, or a part that is another
/// one in each file.
fn offsets(target: &Target) -> impl Iterator<Item = usize> + use<> {
    let (used, is_soak) = (target.used(), is_soak());
    let first = target.of_shard().map_or(0, |(_, segment)| segment as usize);
    let stride = match (target.is_segment(), target.is_snapshot()) {
        (true, _) => STRIDE,
        (_, true) => SNAPSHOT_STRIDE,
        _ => 1,
    };
    (0..target.bytes.len()).filter(move |at| match *at < used || stride == 1 {
        true => is_soak || (at + first).is_multiple_of(stride),
        false => at.is_multiple_of(ZEROS_STRIDE),
    })
}

/// Calls `check` with each file, and the directory if it may stay open meanwhile.
fn each_target(stored: &Stored, mut check: impl FnMut(&Target, &dyn Fn() -> Outcome)) {
    for target in Target::all(stored) {
        match target.of_shard() {
            Some((shard, _)) => {
                let dir = DataDir::open(&stored.dir()).unwrap();
                stored.forget_lock();
                check(&target, &|| shard_outcome(stored, &dir, shard));
            }
            None => check(&target, &|| outcome(stored)),
        }
        target.put(&target.bytes);
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_told() {
    let stored = Stored::new();
    let mut counts = Counts::default();
    each_target(&stored, |target, outcome| {
        for at in offsets(target) {
            for mask in [0x01, 0x80] {
                target.flip(at, mask);
                let outcome = outcome();
                counts.add(target, at, &outcome);
                let is_beyond = target.is_segment() && at >= target.used();
                let is_unread = target.is_dispensable() || is_beyond;
                assert!(outcome.is_harmless() || !is_unread, "{:?} at {at}", target.name);
                let is_needed = target.of_shard().is_none() && !target.is_dispensable();
                assert!(!outcome.is_harmless() || !is_needed, "{:?} at {at}", target.name);
            }
            target.flip(at, 0);
        }
    });
    println!("flipped: {counts:?}");
    for kind in ["harmless", "refused", "found by reads", "found at the start"] {
        assert!(counts.of(kind) > 100, "{kind}: {counts:?}");
    }
}

/// Of a log that was stopped nothing is missed silently, whatever part of its end a disk gives
/// zeros for: they were taken for a torn tail.
#[test]
fn zeros_at_the_end_of_a_stopped_log_are_harmless_or_told() {
    let stored = Stored::new();
    let mut counts = Counts::default();
    each_target(&stored, |target, outcome| {
        if !target.is_segment() {
            return;
        }
        for from in offsets(target).filter(|from| *from < target.used()) {
            let mut bytes = target.bytes.clone();
            bytes[from..].fill(0);
            target.put(&bytes);
            counts.add(target, from, &outcome());
        }
    });
    println!("zeros: {counts:?}");
    assert!(counts.of("refused") > 10 && counts.of("found at the start") > 20, "{counts:?}");
}

#[test]
fn every_truncation_is_harmless_or_refused() {
    let stored = Stored::new();
    let mut counts = Counts::default();
    each_target(&stored, |target, outcome| {
        for end in offsets(target) {
            target.put(&target.bytes[..end]);
            let outcome = outcome();
            counts.add(target, end, &outcome);
            // Without its snapshot a segment is scanned; without anything else nothing is right.
            let wanted = target.is_dispensable();
            assert_eq!(outcome.is_harmless(), wanted, "{:?} to {end}", target.name);
            let is_served = matches!(outcome, Outcome::Served(_));
            assert_eq!(is_served, wanted, "{:?} to {end}", target.name);
        }
    });
    println!("cut short: {counts:?}");
    assert!(counts.of("refused") > 200 && counts.of("harmless") > 50, "{counts:?}");
}

#[test]
fn a_missing_file_is_harmless_or_refused() {
    let stored = Stored::new();
    let mut counts = Counts::default();
    each_target(&stored, |target, outcome| {
        fs::remove_file(&target.path).unwrap();
        let outcome = outcome();
        counts.add(target, 0, &outcome);
        let is_spare = target.is_segment() && target.used() <= SEGMENT_HEADER_BYTES;
        let wanted = target.is_dispensable() || is_spare;
        assert_eq!(outcome.is_harmless(), wanted, "{:?}: {outcome:?}", target.name);
    });
    println!("missing: {counts:?}");
}

#[test]
fn a_file_that_is_anothers_is_harmless_or_told() {
    let stored = Stored::new();
    let mut counts = Counts::default();
    let others: Vec<_> = files(&stored.dir()).into_iter().collect();
    each_target(&stored, |target, outcome| {
        for (name, bytes) in others.iter().filter(|(name, _)| *name != target.name) {
            target.put(bytes);
            let outcome = outcome();
            counts.add(target, 0, &outcome);
            // The number of an earlier life; the clock's is greater.
            let is_boot = target.is_named("boot ") && name.as_os_str() == "boot.new";
            let is_served = matches!(outcome, Outcome::Served(_));
            let wanted = target.is_dispensable() || is_boot;
            assert_eq!(is_served, wanted, "{:?} is {name:?}", target.name);
            assert_eq!(outcome.is_harmless(), is_served, "{:?} is {name:?}", target.name);
        }
    });
    println!("another's: {counts:?}");
}

#[test]
fn a_shards_folder_that_is_missing_empty_or_anothers_is_refused() {
    let stored = Stored::new();
    let (dir, aside) = (stored.dir(), stored.dir().join("shard-aside"));
    let folders = [0, 1].map(|shard| dir.join(format!("shard-{shard:03}")));
    let line = |wanted: &str| match outcome(&stored) {
        Outcome::Refused(line) => assert!(line.contains(wanted), "{wanted}: {line}"),
        served => panic!("{wanted}: {served:?}"),
    };
    for (shard, folder) in folders.iter().enumerate() {
        fs::rename(folder, &aside).unwrap();
        line(&format!("shard-{shard:03} is missing"));
        fs::create_dir(folder).unwrap();
        line(&format!("shard-{shard:03}/*.segment is missing"));
        fs::remove_dir(folder).unwrap();
        fs::rename(&aside, folder).unwrap();
    }
    fs::rename(&folders[0], &aside).unwrap();
    fs::rename(&folders[1], &folders[0]).unwrap();
    fs::rename(&aside, &folders[1]).unwrap();
    line("shard 0: log segment ");
    line("belongs to another cluster or shard layout");
}
