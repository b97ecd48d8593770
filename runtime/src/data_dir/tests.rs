use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ringmain_core::id::{ClusterId, NodeId, ShardIndex};
use ringmain_core::records::Place;

use super::*;

fn identity() -> Identity {
    Identity {
        cluster: ClusterId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        node: NodeId(0xdead_beef),
        uuid: 0x1234_5678_9abc_def0_0fed_cba9_8765_4321,
        shards: 2,
        partition_bits: 10,
        n: 3,
        r: 2,
        w: 2,
        name: "oak".into(),
    }
}

fn secret() -> Secret {
    Secret::new(&(0..40).collect::<Vec<u8>>()).unwrap()
}

/// A directory in which every file is written.
fn filled() -> (tempfile::TempDir, DataDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    dir.next_boot(Boot(0)).unwrap();
    dir.write_secret(&secret()).unwrap();
    dir.write_members(b"operations").unwrap();
    dir.write_identity(&identity()).unwrap();
    dir.keep_origin().unwrap();
    (folder, dir)
}

/// Reads the file of `kind` as its own reader does.
fn read(dir: &DataDir, kind: Kind) -> Result<(), DataDirError> {
    match kind {
        Kind::Boot => dir.next_boot(Boot(0)).map(drop),
        Kind::Secret => dir.secret().map(drop),
        Kind::Members => dir.members().map(drop),
        Kind::Identity => dir.identity().map(drop),
        Kind::Origin => dir.is_in_place().map(drop),
        Kind::Stopped => dir.stopped(&identity(), ShardIndex(0)).map(drop),
    }
}

#[test]
fn what_was_written_is_read_after_reopening() {
    let (folder, dir) = filled();
    drop(dir);
    let dir = DataDir::open(folder.path()).unwrap();
    assert_eq!(dir.identity().unwrap(), Some(identity()));
    assert_eq!(dir.secret().unwrap(), Some(secret()));
    assert_eq!(dir.members().unwrap().as_deref(), Some(&b"operations"[..]));
    assert_eq!(dir.path(), folder.path());
    dir.write_members(b"").unwrap();
    assert_eq!(dir.members().unwrap().as_deref(), Some(&b""[..]));
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Boot) {
        assert!(!folder.path().join(format!("{}.new", kind.name())).exists());
    }
}

#[test]
fn an_empty_directory_knows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(&folder.path().join("deep/er")).unwrap();
    assert_eq!(dir.identity().unwrap(), None);
    assert_eq!(dir.secret().unwrap(), None);
    assert_eq!(dir.members().unwrap(), None);
}

#[test]
fn every_truncation_and_every_flipped_byte_is_damage() {
    let (folder, dir) = filled();
    for kind in Kind::ALL {
        let path = folder.path().join(kind.name());
        let whole = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match read(&dir, kind) {
                Err(DataDirError::Damaged { file }) => assert_eq!(file, path),
                other => panic!("{kind:?} {bytes:?}: {other:?}"),
            }
        };
        for bytes in 0..whole.len() {
            refused(&whole[..bytes]);
        }
        for at in 0..whole.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= mask;
                refused(&bytes);
            }
        }
        refused(&[&whole[..], b"x"].concat());
        fs::write(&path, &whole).unwrap();
        read(&dir, kind).unwrap();
    }
}

#[test]
fn members_of_the_format_before_are_read() {
    let (folder, dir) = filled();
    let path = folder.path().join(Kind::Members.name());
    for (version, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
        fs::write(&path, file::encode(Kind::Members, version, b"some")).unwrap();
        assert_eq!(dir.members().is_ok(), is_read, "format {version}");
    }
}

#[test]
fn a_file_of_the_future_is_named_with_both_versions() {
    let (folder, dir) = filled();
    for kind in Kind::ALL {
        let path = folder.path().join(kind.name());
        fs::write(&path, file::encode(kind, 7, b"12345678")).unwrap();
        let error = read(&dir, kind).unwrap_err();
        let ours = kind.version();
        let is_named = |known| known == ours;
        assert!(
            matches!(error, DataDirError::UnknownVersion { found: 7, known, .. } if is_named(known))
        );
        let text = error.to_string();
        assert!(text.contains("format 7") && text.contains(&format!("format {ours}")), "{text}");
        fs::remove_file(path).unwrap();
        dir.write_identity(&identity()).unwrap();
    }
}

#[test]
fn where_a_log_was_stopped_is_not_read_of_a_future_format() {
    let (_folder, dir) = filled();
    dir.make_shard_dirs(1).unwrap();
    dir.write_stopped(&identity(), ShardIndex(0), Place(64)).unwrap();
    let path = dir.shard_dir(ShardIndex(0)).unwrap().join("stopped");
    let body = fs::read(&path).unwrap().split_off(20);
    fs::write(&path, file::encode(Kind::Stopped, 2, &body)).unwrap();
    let error = read(&dir, Kind::Stopped).unwrap_err();
    assert!(matches!(error, DataDirError::UnknownVersion { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_body_with_a_right_checksum_and_wrong_content_is_damage() {
    let (folder, dir) = filled();
    let whole = identity().to_bytes(Mark::None);
    for (at, value) in [(20, 0), (22, 5), (22, 15), (23, 0), (23, 9), (24, 4), (25, 0), (26, 9)] {
        let mut body = whole.clone();
        body[at] = value;
        let path = folder.path().join("identity");
        fs::write(path, file::encode(Kind::Identity, 1, &body)).unwrap();
        assert!(matches!(dir.identity(), Err(DataDirError::Damaged { .. })), "{at}");
    }
    for mark in [&b"\0"[..], b"\x03", b"\x01\x01", b"\x02\x01"] {
        let body = [&whole[..], mark].concat();
        fs::write(folder.path().join("identity"), file::encode(Kind::Identity, 1, &body)).unwrap();
        assert!(matches!(dir.identity(), Err(DataDirError::Damaged { .. })), "{mark:?}");
    }
    let short = file::encode(Kind::Secret, 1, b"too short");
    fs::write(folder.path().join("secret"), short).unwrap();
    assert!(matches!(dir.secret(), Err(DataDirError::Damaged { .. })));
    fs::write(folder.path().join("boot"), file::encode(Kind::Boot, 1, b"1234567")).unwrap();
    dir.write_identity(&identity()).unwrap();
    assert!(matches!(dir.next_boot(Boot(0)), Err(DataDirError::Damaged { .. })));
}

#[test]
fn the_lock_names_its_holder_and_ends_with_it() {
    let (folder, dir) = filled();
    match DataDir::open(folder.path()).unwrap_err() {
        DataDirError::Locked { pid, .. } => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other}"),
    }
    drop(dir);
    DataDir::open(folder.path()).unwrap();
}

#[test]
fn the_lock_without_a_number_is_still_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let holder = File::create(folder.path().join("lock")).unwrap();
    holder.lock().unwrap();
    let error = DataDir::open(folder.path()).unwrap_err();
    assert!(matches!(error, DataDirError::Locked { pid: None, .. }));
    assert!(error.to_string().ends_with("in use by another process"));
}

#[test]
fn foreign_directories_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("boot.new"), b"torn").unwrap();
    DataDir::open(folder.path()).unwrap();
    fs::write(folder.path().join("letter.txt"), b"dear").unwrap();
    let error = DataDir::open(folder.path()).unwrap_err();
    assert!(matches!(&error, DataDirError::Foreign { file } if file.ends_with("letter.txt")));
    fs::remove_file(folder.path().join("letter.txt")).unwrap();
    let shard = folder.path().join("shard-000");
    fs::create_dir(&shard).unwrap();
    drop(DataDir::open(folder.path()).expect("an empty one was made for an identity to come"));
    fs::write(shard.join("0000000001.segment"), b"").unwrap();
    let error = DataDir::open(folder.path()).unwrap_err();
    assert!(matches!(&error, DataDirError::Missing { file } if file.ends_with("identity")));
}

#[test]
fn boots_only_grow() {
    let (folder, dir) = filled();
    let mut last = dir.next_boot(Boot(0)).unwrap();
    for _ in 0..10 {
        let next = dir.next_boot(Boot(0)).unwrap();
        assert!(next > last);
        last = next;
    }
    let floor = Boot(last.0 + 1_000_000);
    assert_eq!(dir.next_boot(floor).unwrap(), Boot(floor.0 + 1));
    fs::remove_file(folder.path().join("boot")).unwrap();
    let error = dir.next_boot(Boot(0)).unwrap_err();
    assert!(matches!(error, DataDirError::Missing { .. }));
}

/// A start on a disk without a free byte failed, since the new number needed a block.
#[test]
fn a_boot_needs_no_space() {
    let (folder, dir) = filled();
    let [path, beside] = ["boot", "boot.new"].map(|name| folder.path().join(name));
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
    for _ in 0..3 {
        let (old, files) = (fs::read(&path).unwrap(), [inode(&path), inode(&beside)]);
        assert_eq!(blocks(&path), blocks(&beside), "the spare has its block");
        let boot = dir.next_boot(Boot(0)).unwrap();
        assert_eq!([inode(&beside), inode(&path)], files, "no file was made");
        assert_eq!(fs::read(&beside).unwrap(), old, "the old one was whole to the end");
        assert!(fs::read(&path).unwrap().ends_with(&boot.0.to_le_bytes()));
    }
}

/// Whatever a power failure leaves of the spare, the number in `boot` counts.
#[test]
fn a_spare_that_is_torn_is_made_anew() {
    let (folder, dir) = filled();
    let beside = folder.path().join("boot.new");
    let mut last = dir.next_boot(Boot(1 << 39)).unwrap();
    let whole = fs::read(&beside).unwrap();
    for bytes in 0..=whole.len() + 1 {
        let torn = [&whole[..bytes.min(whole.len())], &[0xff][..]].concat();
        fs::write(&beside, &torn[..bytes.min(torn.len())]).unwrap();
        let next = dir.next_boot(Boot(0)).unwrap();
        assert_eq!(next, Boot(last.0 + 1), "{bytes} bytes of the spare");
        last = next;
        assert_eq!(fs::read(&beside).unwrap().len(), whole.len());
    }
    fs::remove_file(&beside).unwrap();
    assert_eq!(dir.next_boot(Boot(0)).unwrap(), Boot(last.0 + 1));
    fs::remove_file(&beside).unwrap();
    fs::create_dir(&beside).unwrap();
    let error = dir.next_boot(Boot(0)).unwrap_err();
    assert!(matches!(error, DataDirError::Io { step: Step::Write, .. }), "{error:?}");
}

#[test]
fn the_clock_only_adds_to_boots() {
    assert_eq!(boot_after(0, 0, 9), Some(Boot(9)));
    assert_eq!(boot_after(9, 0, 9), Some(Boot(10)));
    assert_eq!(boot_after(5, 1 << 20, 3), Some(Boot((1 << 28) + 3)));
    assert_eq!(boot_after(5, 1 << 32, 3), Some(Boot(6)), "a clock beyond its bits");
    assert_eq!(boot_after((1 << 40) - 2, 0, 0), Some(Boot((1 << 40) - 1)));
    assert_eq!(boot_after((1 << 40) - 1, 0, 0), None);
    assert_eq!(boot_after(u64::MAX, 0, 0), None);
}

#[test]
fn modes_keep_others_out() {
    let (folder, dir) = filled();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("secret") & 0o777, 0o600);
    dir.next_boot(Boot(0)).unwrap();
    assert_eq!([mode("boot") & 0o777, mode("boot.new") & 0o777], [0o600; 2]);
    // A file left by a crash, readable by all, does not lend the secret its mode.
    let beside = folder.path().join("secret.new");
    fs::write(&beside, b"torn").unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o644)).unwrap();
    dir.write_secret(&secret()).unwrap();
    assert_eq!(mode("secret") & 0o777, 0o600);
    dir.make_shard_dirs(8).unwrap();
    dir.make_shard_dirs(8).unwrap();
    assert_eq!(dir.shard_dir(ShardIndex(7)).unwrap(), folder.path().join("shard-007"));
    assert!(matches!(dir.shard_dir(ShardIndex(8)), Err(DataDirError::Missing { .. })));
    assert_eq!(mode("shard-007") & 0o777, 0o700);
}

#[test]
fn an_identity_has_one_mark_at_a_time() {
    let (_folder, dir) = filled();
    let marks = || (dir.is_new().unwrap(), dir.is_exchanging().unwrap());
    assert_eq!(marks(), (false, false));
    dir.write_new_identity(&identity()).unwrap();
    assert_eq!(marks(), (true, false));
    dir.begin_exchange(&identity()).unwrap();
    assert_eq!(marks(), (false, true));
    dir.write_identity(&identity()).unwrap();
    assert_eq!(marks(), (false, false));
    assert_eq!(dir.identity().unwrap(), Some(identity()));
}

#[test]
fn shard_folders_are_exchanged_in_steps_that_may_be_repeated() {
    let (folder, dir) = filled();
    let path = folder.path();
    dir.make_shard_dirs(3).unwrap();
    fs::write(path.join("shard-000/old"), b"").unwrap();
    for shard in [0, 1] {
        let new = dir.make_new_shard_dir(ShardIndex(shard)).unwrap();
        fs::write(new.join("new"), b"").unwrap();
        assert!(dir.make_new_shard_dir(ShardIndex(shard)).is_err(), "it was not discarded");
    }
    assert!(!dir.is_exchanging().unwrap());
    dir.begin_exchange(&identity()).unwrap();
    assert!(dir.is_exchanging().unwrap());
    assert_eq!(dir.identity().unwrap(), Some(identity()));
    for _ in 0..2 {
        for shard in [0, 1].map(ShardIndex) {
            dir.remove_replaced(shard).unwrap();
            dir.remove_replaced(shard).unwrap();
            dir.rename_new(shard).unwrap();
            assert!(dir.shard_dir(shard).unwrap().join("new").exists());
        }
    }
    assert!(!path.join("shard-000/old").exists() && path.join("shard-002").exists());
    dir.end_exchange(&identity()).unwrap();
    dir.end_exchange(&identity()).unwrap();
    assert!(!dir.is_exchanging().unwrap() && !path.join("shard-002").exists());
    dir.make_new_shard_dir(ShardIndex(300)).unwrap();
    dir.discard_new_shard_dirs().unwrap();
    assert!(!path.join("new-shard-300").exists() && path.join("shard-001/new").exists());
}

#[test]
fn what_the_file_system_refuses_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::Io { step: Step::Create, .. }), "{error:?}");
        assert_eq!(error.remedy(), "give another path");
    }
    let (folder, dir) = filled();
    let beside = folder.path().join("members.new");
    fs::create_dir(&beside).unwrap();
    assert!(matches!(dir.write_members(b"new"), Err(DataDirError::Io { step: Step::Write, .. })));
    assert_eq!(dir.members().unwrap().as_deref(), Some(&b"operations"[..]), "the old one holds");
    fs::remove_file(folder.path().join("secret")).unwrap();
    fs::create_dir(folder.path().join("secret")).unwrap();
    assert!(matches!(dir.secret(), Err(DataDirError::Io { step: Step::Read, .. })));
    let full = DataDirError::io(Step::Write, &file, io::ErrorKind::StorageFull.into());
    assert_eq!(full.remedy(), "free space on its file system");
}

#[test]
fn an_operators_secret_is_raw_or_a_kept_one() {
    let (folder, _dir) = filled();
    let raw = folder.path().join("raw");
    fs::write(&raw, [b'k'; 32]).unwrap();
    assert_eq!(read_secret_file(&raw).unwrap().bytes(), [b'k'; 32]);
    assert_eq!(read_secret_file(&folder.path().join("secret")).unwrap(), secret());
    for bytes in [31, 257, 10_000] {
        fs::write(&raw, vec![b'k'; bytes]).unwrap();
        assert!(matches!(read_secret_file(&raw), Err(DataDirError::SecretBounds { .. })));
    }
    let none = folder.path().join("none");
    assert!(matches!(read_secret_file(&none), Err(DataDirError::Io { step: Step::Read, .. })));
    let kept = fs::read(folder.path().join("secret")).unwrap();
    fs::write(&raw, &kept[..kept.len() - 1]).unwrap();
    assert!(matches!(read_secret_file(&raw), Err(DataDirError::Damaged { .. })));
}

#[test]
fn random_ids_are_not_zero_and_differ() {
    let ids: Vec<_> = (0..8).map(|_| random_node_id().unwrap()).collect();
    assert!(ids.iter().all(|id| id.0 != 0));
    assert!(ids.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn where_a_log_was_stopped_is_known_of_that_log_alone() {
    let (folder, dir) = filled();
    let mine = Identity { shards: 2, ..identity() };
    dir.make_shard_dirs(2).unwrap();
    let (shard, place) = (ShardIndex(1), Place::new(7, 4096));
    assert_eq!(dir.stopped(&mine, shard).unwrap(), Place(0));
    dir.write_stopped(&mine, shard, Place::new(6, 64)).unwrap();
    dir.write_stopped(&mine, shard, place).unwrap();
    assert_eq!(dir.stopped(&mine, shard).unwrap(), place);
    assert_eq!(dir.stopped(&mine, ShardIndex(0)).unwrap(), Place(0));
    let path = folder.path().join("shard-001/stopped");
    let refused = |identity: &Identity, shard| match dir.stopped(identity, shard) {
        Err(DataDirError::Damaged { file }) => assert!(file.ends_with("stopped")),
        other => panic!("{other:?}"),
    };
    refused(&Identity { cluster: ClusterId(1), ..mine.clone() }, shard);
    refused(&Identity { node: NodeId(1), ..mine.clone() }, shard);
    refused(&Identity { shards: 3, ..mine.clone() }, shard);
    fs::copy(&path, folder.path().join("shard-000/stopped")).unwrap();
    refused(&mine, ShardIndex(0));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        refused(&mine, shard);
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        refused(&mine, shard);
    }
}

/// As `cp -a` does it: the same names, bytes and times in other files.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.path().join(path.file_name().unwrap());
        fs::copy(&path, &copied).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&copied).unwrap().set_modified(modified).unwrap();
    }
    to
}

#[test]
fn a_copied_directory_is_not_in_its_place() {
    let (folder, dir) = filled();
    assert!(dir.is_in_place().unwrap());
    drop(dir);
    assert!(DataDir::open(folder.path()).unwrap().is_in_place().unwrap(), "the next process");

    let copied = copy(folder.path());
    let dir = DataDir::open(copied.path()).unwrap();
    assert!(!dir.is_in_place().unwrap());
    assert_eq!(dir.identity().unwrap(), Some(identity()), "it is whole otherwise");
    drop(dir);
    assert!(!DataDir::open(copied.path()).unwrap().is_in_place().unwrap(), "nor later");

    // Whatever name it has: also that of the original, once that is gone.
    let place = folder.path().to_path_buf();
    fs::remove_dir_all(&place).unwrap();
    fs::rename(copied.path(), &place).unwrap();
    let dir = DataDir::open(&place).unwrap();
    assert!(!dir.is_in_place().unwrap());
    dir.keep_origin().unwrap();
    assert!(dir.is_in_place().unwrap());
    drop(dir);

    // Its own name does not matter.
    let moved = place.with_extension("moved");
    fs::rename(&place, &moved).unwrap();
    let dir = DataDir::open(&moved).unwrap();
    assert!(dir.is_in_place().unwrap());
    // Noted where no birth time was known, and looked at where one is.
    let kept = fs::read(moved.join("origin")).unwrap();
    let mut body = kept[file::HEADER_BYTES..].to_vec();
    body[8..].fill(0);
    fs::write(moved.join("origin"), file::encode(Kind::Origin, 1, &body)).unwrap();
    assert!(dir.is_in_place().unwrap());
    for wrong in [&body[..23], &body[..8], b""] {
        fs::write(moved.join("origin"), file::encode(Kind::Origin, 1, wrong)).unwrap();
        assert!(matches!(dir.is_in_place(), Err(DataDirError::Damaged { .. })));
    }
    fs::remove_file(moved.join("origin")).unwrap();
    assert!(!dir.is_in_place().unwrap(), "as who puts back a snapshot says");
    fs::remove_dir_all(moved).unwrap();
}

/// The other nodes take the greater number for the younger process, and have the other one stop.
#[test]
fn a_copy_that_is_put_back_begins_the_younger_life() {
    for _ in 0..4 {
        let (folder, dir) = filled();
        let copied = copy(folder.path());
        let unknown_to_it = dir.next_boot(Boot(0)).unwrap();
        drop(dir);
        let dir = DataDir::open(copied.path()).unwrap();
        assert!(dir.next_boot(Boot(0)).unwrap() > unknown_to_it);
    }
    let at = |nanos| until_next_second(UNIX_EPOCH + Duration::new(7, nanos));
    assert_eq!(at(0), Duration::from_secs(1));
    assert_eq!(at(999_999_999), Duration::from_nanos(1));
}
