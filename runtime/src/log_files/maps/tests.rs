//! Segments whose parts are lent while they leave.

use std::path::Path;

use super::*;
use crate::log::{Completion, SEGMENT_HEADER_BYTES};
use crate::log_files::{LogFiles, NewSegment};

const SEGMENT_BYTES: u32 = 4 << 20;

fn made(dir: &Path, disk: &mut LogFiles, maps: &mut SegmentMaps, segment: u32) {
    let header = [segment as u8; SEGMENT_HEADER_BYTES];
    let new = NewSegment { segment, bytes: SEGMENT_BYTES, is_written: true, header };
    disk.add(maps, new.create(dir).unwrap());
}

fn write(disk: &LogFiles, segment: u32, offset: u32, bytes: &[u8]) {
    let written = disk.write_inline(segment, offset, bytes);
    assert!(matches!(written, Completion::Written { result: Ok(count) } if count == bytes.len()));
}

/// Maps of segments in this folder that this process has, gone or not.
fn mapped_count(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(dir.to_str().unwrap())).count()
}

#[test]
fn only_large_parts_of_maps_are_lent() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    for segment in 1..=5 {
        made(folder.path(), &mut disk, &mut maps, segment);
        write(&disk, segment, 4096, &vec![segment as u8; LENT_BYTES_MIN]);
    }
    maps.begin_turn(Instant(1));
    assert!(maps.lend(&vec![1; LENT_BYTES_MIN]).is_none(), "memory of its own");
    for segment in 1..=5 {
        let stored = maps.bytes(segment, 4096, LENT_BYTES_MIN).unwrap();
        assert!(maps.lend(&stored[1..]).is_none());
        assert_eq!(maps.lend(stored).unwrap().bytes(), stored);
        let end = SEGMENT_BYTES as usize - LENT_BYTES_MIN;
        let last = maps.bytes(segment, end as u32, LENT_BYTES_MIN).unwrap();
        assert_eq!(maps.lend(last).unwrap().bytes().as_ptr(), last.as_ptr());
    }
    maps.on_major_fault();
    maps.begin_turn(Instant(2));
    let stored = maps.bytes(1, 4096, LENT_BYTES_MIN).unwrap();
    assert!(maps.lend(stored).is_none(), "memory is short");
}

#[test]
fn a_segment_leaves_at_once_and_its_map_after_the_last_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    for segment in 1..=3 {
        made(folder.path(), &mut disk, &mut maps, segment);
        write(&disk, segment, 8192, &vec![segment as u8; LENT_BYTES_MIN]);
    }
    assert_eq!(mapped_count(folder.path()), 3);
    let lend = |maps: &SegmentMaps, segment| {
        let stored = maps.bytes(segment, 8192, LENT_BYTES_MIN).unwrap();
        maps.lend(stored).unwrap()
    };
    let (of_one, of_two) = (lend(&maps, 1), lend(&maps, 2));
    let of_one_too = of_one.clone();
    for segment in 1..=3 {
        disk.forget(&mut maps, segment).unwrap().carry_out();
        assert!(disk.forget(&mut maps, segment).is_none());
        assert!(maps.bytes(segment, 8192, 1).is_none());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the files are gone");
    assert_eq!(mapped_count(folder.path()), 2, "nobody reads the third");
    assert!(maps.take_left().is_none());
    drop(of_one);
    assert!(maps.take_left().is_none());
    assert_eq!(of_one_too.bytes(), vec![1; LENT_BYTES_MIN]);
    drop(of_one_too);
    drop(maps.take_left().unwrap());
    assert!(maps.take_left().is_none());
    assert_eq!(mapped_count(folder.path()), 1);
    assert_eq!(of_two.bytes(), vec![2; LENT_BYTES_MIN]);
    drop(of_two);
    assert_eq!(maps.take_left().unwrap().len(), SEGMENT_BYTES as usize);
    assert_eq!(mapped_count(folder.path()), 0);
}
