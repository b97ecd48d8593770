//! `ringmain log …`: what an operator learns of a data directory whose node is stopped.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use ringmain_runtime::data_dir::DataDir;
use ringmain_tests::process::{command, run};
use ringmain_tests::stored::{KEY_COUNT, Stored, files};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn log(tool: &str, dir: &Path) -> Output {
    run(&["log", tool, dir.to_str().unwrap()])
}

/// Runs a command that must succeed, and returns what it printed.
fn printed(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// Checks that a command refused the directory with one line, which is returned.
fn refusal(output: &Output) -> &str {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{line}");
    assert!(line.starts_with("ringmain: ") && line.lines().count() == 1, "{line:?}");
    assert!(!line.contains("defect"), "{line}");
    line.trim_end()
}

/// A copy of a directory in which `change` has changed one file.
fn copy_with(
    stored: &Stored,
    file: impl AsRef<Path>,
    change: impl FnOnce(&mut Vec<u8>),
) -> tempfile::TempDir {
    let copy = stored.copy();
    let path = copy.path().join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    copy
}

/// A line of the list.
#[derive(Debug)]
struct Listed {
    shard: usize,
    segment: usize,
    offset: usize,
    bytes: usize,
    siblings: String,
    key: String,
}

impl Listed {
    fn all(dir: &Path) -> Vec<Listed> {
        printed(&log("dump", dir)).lines().map(Listed::of).collect()
    }

    fn of(line: &str) -> Listed {
        let words: Vec<_> = line.split(' ').collect();
        let (segment, offset) = words[2].split_once(':').unwrap();
        Listed {
            shard: words[0].parse().unwrap(),
            segment: segment.parse().unwrap(),
            offset: offset.parse().unwrap(),
            bytes: words[3].parse().unwrap(),
            siblings: words[4].into(),
            key: words[5].into(),
        }
    }

    fn file(&self, suffix: &str) -> String {
        format!("shard-{:03}/{:010}.{suffix}", self.shard, self.segment)
    }
}

#[test]
fn a_sound_directory_is_verified_and_listed_and_stays_as_it_is() {
    let stored = Stored::new();
    let dir = stored.dir();
    let before = files(&dir);
    let verified = log("verify", &dir);
    let rows = printed(&verified).lines().skip_while(|line| !line.contains("tombstones")).skip(1);
    let (mut keys, mut tombstones) = (0, 0);
    for (shard, row) in rows.enumerate() {
        let row: Vec<usize> = row.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let segments = before.iter().filter(|(name, _)| {
            name.starts_with(format!("shard-{shard:03}"))
                && name.extension() == Some("segment".as_ref())
        });
        assert_eq!((row[0], row[1], row[6]), (shard, segments.count(), 0), "{row:?}");
        keys += row[4];
        tombstones += row[5];
    }
    assert_eq!((keys, tombstones), (KEY_COUNT, KEY_COUNT / 5));

    let lines = Listed::all(&dir);
    let wanted: BTreeSet<_> = (0..KEY_COUNT).map(|n| format!("key-{n}")).collect();
    assert_eq!(lines.len(), wanted.len());
    assert_eq!(lines.iter().map(|line| line.key.clone()).collect::<BTreeSet<_>>(), wanted);
    for (key, siblings) in
        [("key-0", "1/0"), ("key-1", "1/0"), ("key-2", "0/1"), ("key-3", "2/0"), ("key-4", "1/1")]
    {
        let line = lines.iter().find(|line| line.key == key).unwrap();
        assert_eq!(line.siblings, siblings, "{key}");
    }
    let json = run(&["log", "dump", "--json", dir.to_str().unwrap()]);
    let objects = printed(&json).lines().map(|line| serde_json::from_str(line).unwrap());
    let keys: BTreeSet<_> =
        objects.map(|one: serde_json::Value| one["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, wanted);
    assert!(files(&dir) == before, "a file has changed");
}

#[test]
fn a_directory_in_use_is_refused() {
    let stored = Stored::new();
    let in_use = DataDir::open(&stored.dir()).unwrap();
    let wanted = format!("in use by process {}: ", std::process::id());
    for tool in ["verify", "dump"] {
        assert!(refusal(&log(tool, &stored.dir())).contains(&wanted));
    }
    drop(in_use);
    stored.forget_lock();
    printed(&log("verify", &stored.dir()));
}

#[test]
fn a_torn_tail_is_told_of_and_is_no_damage() {
    let stored = Stored::killed();
    printed(&log("verify", &stored.dir()));
    let newest = |line: &Listed| (line.segment, line.offset);
    let shard_0 = Listed::all(&stored.dir()).into_iter().filter(|line| line.shard == 0);
    let last = shard_0.max_by_key(newest).unwrap();
    let torn = copy_with(&stored, last.file("segment"), |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end] ^= 1;
    });
    let before = files(torn.path());
    let verified = log("verify", torn.path());
    let wanted = format!("torn tail cut off at offset {} of segment {}", last.offset, last.segment);
    assert!(printed(&verified).contains(&wanted), "{verified:?}");
    assert!(files(torn.path()) == before, "a file has changed");
}

#[test]
fn damage_is_exit_4_and_says_where() {
    let stored = Stored::new();
    let lines = Listed::all(&stored.dir());
    let check = |file: &str, wanted: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let copy = copy_with(&stored, file, change);
        let before = files(copy.path());
        let output = log("verify", copy.path());
        let line = refusal(&output);
        assert!(line.contains(wanted), "{wanted}: {line}");
        let listed = log("dump", copy.path());
        assert!(refusal(&listed).contains(wanted), "{wanted}");
        assert!(files(copy.path()) == before, "a file has changed");
    };
    let has_snapshot = |line: &&Listed| stored.dir().join(line.file("snapshot")).exists();
    let old = lines.iter().find(has_snapshot).unwrap();
    let Listed { shard, segment, offset, bytes, .. } = *old;
    let wanted =
        format!("shard {shard}: a record in segment {segment} is damaged from offset {offset} ");
    check(&old.file("segment"), &format!("{wanted}on: "), &|file| file[offset] ^= 1);
    let to = format!("{wanted}to {}: ", offset + bytes);
    check(&old.file("segment"), &to, &|file| file[offset + bytes - 1] ^= 1);
    // Without a snapshot the scan meets it.
    let new = lines.iter().find(|line| !has_snapshot(line)).unwrap();
    let Listed { shard, segment, offset, bytes, .. } = *new;
    let end = (offset + bytes).next_multiple_of(8);
    let wanted =
        format!("shard {shard}: segment {segment} is damaged from offset {offset} to {end}: ");
    check(&new.file("segment"), &wanted, &|file| file[offset + 40] ^= 1);
    for line in [old, new] {
        let file = line.file("segment");
        let wanted =
            format!("shard {}: log segment {} is damaged at offset 0: ", line.shard, line.segment);
        check(&file, &wanted, &|file| file[20] ^= 1);
        for end in [0, 1, 2000] {
            check(&file, &wanted, &|file| file.truncate(end));
        }
    }
    let Listed { shard, segment, .. } = *old;
    let wanted = format!("shard {shard}: the snapshot of segment {segment} is damaged");
    for at in [9, 100] {
        check(&old.file("snapshot"), &wanted, &|file| file[at] ^= 1);
    }
    for end in [0, 3, 99] {
        check(&old.file("snapshot"), &wanted, &|file| file.truncate(end));
    }
    for file in ["identity", "members", "secret", "boot", "origin", "shard-001/stopped"] {
        check(file, &format!("{file} is damaged: "), &|file| file[22] ^= 1);
        check(file, &format!("{file} is damaged: "), &|file| file.truncate(10));
    }
}

/// One finding does not hide the others, nor the sound rest.
#[test]
fn everything_that_is_wrong_is_told() {
    let stored = Stored::new();
    let copy = stored.copy();
    for file in ["boot", "members", "secret"] {
        fs::remove_file(copy.path().join(file)).unwrap();
    }
    fs::remove_dir_all(copy.path().join("shard-000")).unwrap();
    let output = log("verify", copy.path());
    let line = refusal(&output);
    assert!(line.contains("boot is missing, the first of 4 findings: "), "{line}");
    let told: Vec<_> = text(&output.stdout).lines().collect();
    let wanted =
        ["boot is missing", "secret is missing", "members is missing", "shard-000 is missing"];
    for (line, wanted) in told.iter().zip(wanted) {
        assert!(line.contains(wanted), "{told:?}");
    }
    let row: Vec<_> = told.last().unwrap().split_whitespace().collect();
    assert!(row[0] == "1" && row[4] != "0" && row[6] == "0", "{row:?}");
}

#[test]
fn a_directory_of_no_node_is_exit_4_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    for (dir, fault) in [(folder.path(), "holds no identity"), (&missing, "is not a directory")] {
        for tool in ["verify", "dump"] {
            assert!(refusal(&log(tool, dir)).contains(fault));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_reader_of_the_list_may_stop() {
    let stopped = Stored::new();
    let dir = stopped.dir();
    let mut dump = command(&["log", "dump", dir.to_str().unwrap()]);
    // Nobody reads any of it: the first write fails.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = dump.stdout(writer).output().unwrap();
    assert_eq!(printed(&output), "");
}
