use super::*;

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
