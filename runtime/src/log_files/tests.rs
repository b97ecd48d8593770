use super::*;
use rustix::fs::{SeekFrom, seek};

/// The names in `dir`, ascending.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Its parts go under another name first: when it cannot have its own, their space comes back.
#[test]
fn a_snapshot_that_cannot_be_renamed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::create_dir_all(snapshot_path(dir, 7).join("inside")).unwrap();
    store_snapshot(dir, 7, 0, b"first", false).unwrap();
    assert_eq!(names(dir).len(), 2);
    store_snapshot(dir, 7, 5, b"last", true).unwrap_err();
    assert_eq!(names(dir), ["0000000007.snapshot"]);
    let (_, _, snapshots) = LogFiles::open(dir).unwrap();
    assert!(snapshots.0.is_empty(), "a folder is none");
    std::fs::remove_dir_all(snapshot_path(dir, 7)).unwrap();
    store_snapshot(dir, 7, 0, b"whole", true).unwrap();
    assert_eq!(std::fs::read(snapshot_path(dir, 7)).unwrap(), b"whole");
}

#[test]
fn a_snapshot_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    store_snapshot(dir, 7, 0, b"first", false).unwrap();
    store_snapshot(dir, 8, 0, b"whole", true).unwrap();
    for _ in 0..2 {
        discard_snapshot(dir, 7);
        discard_snapshot(dir, 8);
        assert_eq!(names(dir), ["0000000008.snapshot"]);
    }
}

#[test]
fn a_segment_that_cannot_be_made_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let header = [1; SEGMENT_HEADER_BYTES];
    let new = NewSegment { segment: 7, bytes: 8192, header };
    // Its name is taken, then the one before.
    std::fs::create_dir_all(segment_path(dir, 7).join("inside")).unwrap();
    new.create(dir).unwrap_err();
    assert_eq!(names(dir), ["0000000007.segment"]);
    LogFiles::open(dir).unwrap_err();
    std::fs::remove_dir_all(segment_path(dir, 7)).unwrap();
    let unfinished = dir.join("0000000007.unfinished");
    std::fs::create_dir(&unfinished).unwrap();
    new.create(dir).unwrap_err();
    LogFiles::open(dir).unwrap_err();
    std::fs::remove_dir(unfinished).unwrap();
    assert_eq!(new.create(dir).unwrap().id, 7);
    assert_eq!(names(dir), ["0000000007.segment"]);
}

#[test]
fn a_file_in_the_place_of_the_folder_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    LogFiles::open(file.path()).unwrap_err();
    let header = [1; SEGMENT_HEADER_BYTES];
    let new = NewSegment { segment: 1, bytes: 4096, header };
    new.create(file.path()).unwrap_err();
    store_snapshot(file.path(), 1, 0, b"x", true).unwrap_err();
}

/// A segment of `bytes`, as a device leaves it that writes its zeros.
fn segment_of(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = segment_path(dir, 7);
    std::fs::write(&path, bytes).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    path
}

/// Where the blocks of a file end.
fn blocks_end(path: &Path) -> u64 {
    seek(File::open(path).unwrap(), SeekFrom::Hole(0)).unwrap()
}

#[test]
fn the_rest_behind_the_logs_end_is_given_back_up_to_what_holds_something() {
    const BYTES: usize = 3 * LOOK_BYTES;
    for (used, end, wanted) in [
        (5000, 5000, 8192),
        // Zeros before the end of the log are part of it.
        (5000, 200_000, 200_704),
        (5000, LOOK_BYTES + 1, LOOK_BYTES + 4096),
        // A torn tail stays as it is.
        (2 * LOOK_BYTES + 1, 5000, 2 * LOOK_BYTES + 4096),
        (BYTES, 5000, BYTES),
        (BYTES - 5000, BYTES, BYTES),
        (5000, BYTES + 8, BYTES),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; BYTES];
        bytes[..used].fill(1);
        let path = segment_of(folder.path(), &bytes);
        let (disk, ..) = LogFiles::open(folder.path()).unwrap();
        disk.give_back_rest(Place::new(7, end as u32));
        assert_eq!(blocks_end(&path), wanted as u64, "{used} used, ends at {end}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{used} used, ends at {end}");
    }
}

/// A page that could not be read once was zeros in the map from then on, counted as the unwritten
/// rest, and was given back: what had been acknowledged was gone.
#[test]
fn what_could_not_be_read_is_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = [1; 8 * 4096];
    let path = segment_of(folder.path(), &bytes);
    let (disk, maps, snapshots) = LogFiles::open(folder.path()).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    // As a disk with bad sectors, to whoever reads the map.
    file.set_len(4096).unwrap();
    assert!(maps.files(&snapshots)[0].bytes[4096..].iter().all(|byte| *byte == 0));
    file.write_all_at(&bytes, 0).unwrap();
    disk.give_back_rest(Place::new(7, 4096));
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert!(maps.check_read(Place::new(7, 4096)).is_err(), "and no log goes on from there");
}
