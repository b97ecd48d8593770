//! Segments whose parts are lent while they leave.

use std::path::Path;

use super::*;
use crate::log::{Completion, Read, SEGMENT_HEADER_BYTES};
use crate::log_files::{LogFiles, NewSegment};

const SEGMENT_BYTES: u32 = 4 << 20;

fn made(dir: &Path, disk: &mut LogFiles, maps: &mut SegmentMaps, segment: u32) {
    let header = [segment as u8; SEGMENT_HEADER_BYTES];
    let new = NewSegment { segment, bytes: SEGMENT_BYTES, header };
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
    plenty(&mut maps);
    assert!(maps.lend(&vec![1; LENT_BYTES_MIN]).is_none(), "memory of its own");
    for segment in 1..=5 {
        let stored = maps.bytes(segment, 4096, LENT_BYTES_MIN).unwrap();
        assert!(maps.lend(&stored[1..]).is_none());
        assert_eq!(maps.lend(stored).unwrap().bytes(), stored);
        let end = SEGMENT_BYTES - LENT_BYTES_MIN as u32;
        write(&disk, segment, end, &[segment as u8; LENT_BYTES_MIN]);
        let last = maps.bytes(segment, end, LENT_BYTES_MIN).unwrap();
        assert_eq!(maps.lend(last).unwrap().bytes().as_ptr(), last.as_ptr());
    }
    maps.on_major_fault();
    maps.begin_turn(maps.memory.believed_until);
    let stored = maps.bytes(1, 4096, LENT_BYTES_MIN).unwrap();
    assert!(maps.lend(stored).is_none(), "memory is short");
}

/// What lies behind is given to the end of the page, and no more of it than may be.
#[test]
fn bytes_go_on_to_the_end_of_their_page() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    plenty(&mut maps);
    made(folder.path(), &mut disk, &mut maps, 1);
    write(&disk, 1, 4096, &[7; 8192]);
    write(&disk, 1, SEGMENT_BYTES - 100, &[8; 100]);
    let length = |offset, bytes, most| maps.bytes_on(1, offset, bytes, most).map(<[u8]>::len);
    assert_eq!(length(4096, 28, usize::MAX), Some(4096));
    assert_eq!(length(4100, 28, usize::MAX), Some(4092));
    assert_eq!(length(4100, 28, 28), Some(28));
    assert_eq!(length(4100, 28, 29), Some(29));
    assert_eq!(length(4100, 28, 4092), Some(4092));
    assert_eq!(length(4100, 28, 4093), Some(4092));
    // A page begins in its midst.
    assert_eq!(length(8191, 1, usize::MAX), Some(1));
    assert_eq!(length(8191, 2, usize::MAX), Some(4097));
    assert_eq!(length(SEGMENT_BYTES - 100, 28, usize::MAX), Some(100));
    assert_eq!(length(SEGMENT_BYTES - 28, 28, usize::MAX), Some(28));
    assert_eq!(length(SEGMENT_BYTES - 27, 28, usize::MAX), None);
    assert_eq!(maps.bytes_on(2, 4096, 28, usize::MAX), None);
    assert!(maps.bytes_on(1, 4100, 28, usize::MAX).unwrap().iter().all(|byte| *byte == 7));
    // What was read for who goes on now is all that is known.
    let read = Read { segment: 1, offset: 4100, bytes: 40 };
    maps.begin_landing(read, vec![9; 40]);
    assert_eq!(maps.bytes_on(1, 4100, 28, usize::MAX), Some(&[9; 28][..]));
    maps.end_landing();
}

#[test]
fn a_segment_leaves_at_once_and_its_map_after_the_last_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    plenty(&mut maps);
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

/// Has the kernel drop a segment whose pages nobody touched through its map; as often as it takes,
/// as a page that the kernel works on stays.
fn drop_pages(disk: &LogFiles, segment: u32) {
    let file = disk.file(segment).unwrap();
    file.sync_all().unwrap();
    let pages = (0..SEGMENT_BYTES as u64).step_by(PAGE_BYTES);
    while pages.clone().any(|page| is_cached(file, page..page + 1)) {
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// Brings them back.
fn fetch_pages(disk: &LogFiles, segment: u32) {
    let mut bytes = vec![0; SEGMENT_BYTES as usize];
    std::os::unix::fs::FileExt::read_exact_at(&**disk.file(segment).unwrap(), &mut bytes, 0)
        .unwrap();
}

/// Lets time pass in which no page is missing; until when.
fn plenty(maps: &mut SegmentMaps) -> Instant {
    let mut now = Instant(1);
    while maps.memory.belief < BELIEF_MAX {
        now = maps.memory.believed_until.max(now);
        maps.begin_turn(now);
    }
    now
}

#[test]
fn what_was_in_memory_is_believed_for_a_while() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    made(folder.path(), &mut disk, &mut maps, 1);
    write(&disk, 1, 0, &vec![1; SEGMENT_BYTES as usize]);
    let kind = rustix::fs::fstatfs(&**disk.file(1).unwrap()).unwrap().f_type;
    if kind == libc::TMPFS_MAGIC {
        return eprintln!("skipped: a file of tmpfs is always in memory");
    }
    let is_there = |maps: &SegmentMaps, page: u32| maps.bytes(1, page * 4096, 10).is_some();
    let mut now = plenty(&mut maps);
    assert!(is_there(&maps, 3));
    drop_pages(&disk, 1);
    maps.begin_turn(now + BELIEF_MAX / 2);
    assert!(is_there(&maps, 3) && is_there(&maps, 40), "they were asked for together");
    assert!(!is_there(&maps, 64) && !is_there(&maps, 100));
    fetch_pages(&disk, 1);
    // Now memory is short.
    now = now + BELIEF_MAX;
    maps.begin_turn(now);
    assert!(is_there(&maps, 3));
    drop_pages(&disk, 1);
    maps.begin_turn(now + BELIEF_MIN / 2);
    assert!(is_there(&maps, 3), "it was seen just now");
    maps.on_written(1, 4 * 4096 + 1..5 * 4096);
    assert!(is_there(&maps, 4) && !is_there(&maps, 5), "each page was asked for alone");
    maps.begin_turn(now + BELIEF_MIN / 2);
    assert!(!is_there(&maps, 3) && !is_there(&maps, 4), "one was not there");
    // Without a miss, belief grows.
    fetch_pages(&disk, 1);
    now = plenty(&mut maps);
    assert!(is_there(&maps, 3));
    drop_pages(&disk, 1);
    maps.begin_turn(now + BELIEF_MAX);
    assert!(!is_there(&maps, 3));
}

#[test]
fn what_was_read_is_served_while_it_lands() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    made(folder.path(), &mut disk, &mut maps, 1);
    made(folder.path(), &mut disk, &mut maps, 2);
    maps.begin_turn(Instant(1));
    let read = Read { segment: 1, offset: 5000, bytes: 100 };
    let stored = |maps: &SegmentMaps, segment, offset, bytes| {
        maps.bytes(segment, offset, bytes).map(<[u8]>::to_vec)
    };
    maps.begin_landing(read, (0..100).collect());
    assert_eq!(stored(&maps, 1, 5000, 100), Some((0..100).collect()));
    assert_eq!(stored(&maps, 1, 5010, 90), Some((10..100).collect()));
    assert_eq!(stored(&maps, 1, 5099, 1), Some(vec![99]));
    // What is not wholly in it comes from the map, where all is zero.
    let elsewhere = [(1, 4999, 2), (1, 5099, 2), (1, 5100, 1), (2, 5000, 100)];
    let from_map = |maps: &SegmentMaps| {
        elsewhere.map(|(segment, offset, bytes)| {
            stored(maps, segment, offset, bytes).is_none_or(|bytes| bytes.iter().all(|it| *it == 0))
        })
    };
    assert_eq!(from_map(&maps), [true; 4]);
    maps.end_landing();
    assert_ne!(stored(&maps, 1, 5000, 100), Some((0..100).collect()));
}

#[test]
fn what_is_being_read_is_not_there() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    made(folder.path(), &mut disk, &mut maps, 1);
    write(&disk, 1, 0, &vec![1; SEGMENT_BYTES as usize]);
    let kind = rustix::fs::fstatfs(&**disk.file(1).unwrap()).unwrap().f_type;
    if kind == libc::TMPFS_MAGIC {
        return eprintln!("skipped: a file of tmpfs is always in memory");
    }
    let is_there = |maps: &SegmentMaps, page: u32| maps.bytes(1, page * 4096, 10).is_some();
    let read = |offset, bytes| Read { segment: 1, offset, bytes };
    plenty(&mut maps);
    maps.begin_reading(read(0, SEGMENT_BYTES));
    assert!(is_there(&maps, 3), "all of it is in memory");
    maps.end_reading(read(0, SEGMENT_BYTES));
    drop_pages(&disk, 1);
    // Two reads that overlap, and a page before, behind and between.
    let (first, second) = (read(2 * 4096 + 5, 4096), read(3 * 4096 + 4095, 4096));
    maps.begin_reading(first);
    maps.begin_reading(second);
    fetch_pages(&disk, 1);
    for page in 0..100 {
        assert_eq!(is_there(&maps, page), !(2..5).contains(&page), "{page}");
    }
    maps.end_reading(first);
    assert!(is_there(&maps, 2) && !is_there(&maps, 3));
    maps.end_reading(second);
    assert!(is_there(&maps, 3) && is_there(&maps, 4));
    // Of a segment that is gone nothing is known.
    disk.forget(&mut maps, 1).unwrap().carry_out();
    maps.begin_reading(first);
    maps.end_reading(first);
}

/// Zeros in the place of a page would be taken for the unwritten rest of the log.
#[test]
fn a_page_that_cannot_be_read_at_the_end_of_the_log_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, mut maps, _) = LogFiles::open(folder.path()).unwrap();
    (1..=3).for_each(|segment| made(folder.path(), &mut disk, &mut maps, segment));
    maps.wait_for_disk();
    maps.check_read(Place::new(1, 64)).unwrap();
    disk.file(2).unwrap().set_len(4096).unwrap();
    maps.check_read(Place::new(1, 64)).expect("nobody has read it");
    assert_eq!(maps.bytes(2, 8192, 16), Some(&[0; 16][..]));
    for end in [1, 2] {
        let error = maps.check_read(Place::new(end, 64)).unwrap_err().to_string();
        assert_eq!(error, "pages of segment 2 that cannot be read: 1");
    }
    maps.check_read(Place::new(3, 64)).expect("damage before the end is found as such");
}
