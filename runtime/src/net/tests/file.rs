use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::sys::Errno;

/// All of these bytes.
fn whole(bytes: impl AsRef<[u8]> + 'static) -> (Rc<dyn AsRef<[u8]>>, usize) {
    (Rc::new(bytes), 0)
}

fn ended(ring: &mut HotRing) -> (u64, bool, Result<(), Errno>) {
    match next(ring) {
        Seen::Other(Event::Written { tag, result }) => (tag, false, result),
        Seen::Other(Event::Synced { tag, result }) => (tag, true, result),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read() {
    let mut ring = HotRing::new(small()).unwrap();
    let file = Arc::new(tempfile::tempfile().unwrap());
    let bytes = Rc::new(pattern(4, 3 << 20));
    for (tag, then_sync) in [(1, false), (2, true)] {
        let shared: Rc<[u8]> = bytes.as_slice().into();
        let offset = tag * (4 << 20);
        ring.write(&file, offset, whole(Rc::clone(&shared)), then_sync, tag).unwrap();
        assert_eq!(ended(&mut ring), (tag, false, Ok(())));
        assert_eq!(Rc::strong_count(&shared), 1, "dropped before the event");
        if then_sync {
            assert_eq!(ended(&mut ring), (tag, true, Ok(())));
        }
        ring.read(&file, offset, (vec![0; bytes.len() + 10], false), 9).unwrap();
        let Seen::Other(Event::Read { tag: 9, buffer, result }) = next(&mut ring) else { panic!() };
        let end = if tag == 1 { bytes.len() } else { result.unwrap() };
        assert!(buffer[..end] == bytes[..]);
    }
    ring.sync(&file, 3).unwrap();
    assert_eq!(ended(&mut ring), (3, true, Ok(())));
    assert_quiet(&mut ring, 0);
    assert_eq!(Arc::strong_count(&file), 1);
}

/// What a read brings into the page cache need not stay there; not every file system can do that.
#[test]
fn a_read_that_drops_gives_the_same_or_is_refused() {
    let mut ring = HotRing::new(small()).unwrap();
    let file = Arc::new(tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap());
    let bytes = pattern(4, 1 << 20);
    ring.write(&file, 0, whole(bytes.clone()), true, 1).unwrap();
    assert_eq!(ended(&mut ring), (1, false, Ok(())));
    assert_eq!(ended(&mut ring), (1, true, Ok(())));
    ring.read(&file, 4096, (vec![0; 8192], true), 2).unwrap();
    let Seen::Other(Event::Read { tag: 2, buffer, result }) = next(&mut ring) else { panic!() };
    match result {
        Ok(count) => assert!(count > 0 && buffer[..count] == bytes[4096..][..count]),
        Err(Errno(errno)) => assert!([libc::EOPNOTSUPP, libc::EINVAL].contains(&errno)),
    }
    assert_quiet(&mut ring, 0);
}

#[test]
fn a_failed_write_is_not_synced() {
    let mut ring = HotRing::new(small()).unwrap();
    let path = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(File::open(path.path()).unwrap());
    ring.write(&file, 0, whole(b"x"), true, 1).unwrap();
    assert_eq!(ended(&mut ring), (1, false, Err(Errno(libc::EBADF))));
    ring.sync(&file, 2).unwrap();
    assert_eq!(ended(&mut ring), (2, true, Ok(())));
    assert_quiet(&mut ring, 0);
}

#[test]
fn a_full_disk_is_an_error() {
    let mut ring = HotRing::new(small()).unwrap();
    let full = Arc::new(File::options().write(true).open("/dev/full").unwrap());
    ring.write(&full, 0, whole(vec![1; 100]), true, 1).unwrap();
    assert_eq!(ended(&mut ring), (1, false, Err(Errno(libc::ENOSPC))));
    assert_quiet(&mut ring, 0);
}

/// A pipe takes a part at a time, as a disk may, and cannot be synced: which shows that the sync
/// was asked for anew after the last part.
#[test]
fn short_writes_are_continued_and_then_synced() {
    let mut ring = HotRing::new(small()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let file = Arc::new(File::from(OwnedFd::from(writer)));
    let bytes = pattern(8, 1 << 20);
    std::thread::scope(|scope| {
        let bytes = bytes.clone();
        let reader = scope.spawn(move || {
            let mut all = vec![0; 1 << 20];
            { reader }.read_exact(&mut all).unwrap();
            assert!(all == bytes);
        });
        let (with_others, _) = whole([&[7; 13], &pattern(8, 1 << 20)[..]].concat());
        ring.write(&file, 0, (with_others, 13), true, 1).unwrap();
        assert_eq!(ended(&mut ring), (1, false, Ok(())));
        assert_eq!(ended(&mut ring), (1, true, Err(Errno(libc::EINVAL))));
        reader.join().unwrap();
    });
    assert_quiet(&mut ring, 0);
}

#[test]
fn more_operations_than_allowed_are_refused() {
    let config = HotRingConfig { file_operation_count_max: 3, ..small() };
    let mut ring = HotRing::new(config).unwrap();
    let file = Arc::new(tempfile::tempfile().unwrap());
    for _ in 0..10 {
        ring.write(&file, 0, whole(vec![1; 10]), true, 1).unwrap();
        ring.sync(&file, 2).unwrap();
        ring.read(&file, 0, (vec![0; 10], false), 3).unwrap();
        assert_eq!(ring.write(&file, 0, whole(vec![7]), true, 4), Err(Full));
        assert_eq!(ring.sync(&file, 4), Err(Full));
        assert_eq!(ring.read(&file, 0, (vec![7], false), 4), Err((vec![7], Full)));
        let mut events = 0;
        while events < 4 {
            match next(&mut ring) {
                Seen::Other(Event::Written { result: Ok(()), .. }) => events += 1,
                Seen::Other(Event::Synced { result: Ok(()), .. }) => events += 1,
                Seen::Other(Event::Read { .. }) => events += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_quiet(&mut ring, 0);
}

/// Many at once through queues of 8, so that links meet full queues.
#[test]
fn writes_through_tiny_queues() {
    let config = HotRingConfig { submission_count: 8, completion_count: 8, ..small() };
    let mut ring = HotRing::new(config).unwrap();
    // Appended to, so that a write that is done twice is seen.
    let path = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(File::options().append(true).open(path.path()).unwrap());
    for round in 0..10 {
        // An odd entry, so that a write and its sync come to meet one free entry.
        ring.sync(&file, 99).unwrap();
        for tag in 0..60 {
            ring.write(&file, tag * 100, whole(vec![tag as u8 + round; 100]), true, tag).unwrap();
        }
        let mut written = [false; 60];
        let mut synced = 0;
        while synced < 61 {
            let (tag, is_sync, result) = ended(&mut ring);
            assert_eq!(result, Ok(()));
            if tag == 99 {
                synced += 1;
                continue;
            }
            assert_eq!(written[tag as usize], is_sync, "written, then synced");
            written[tag as usize] = true;
            synced += u32::from(is_sync);
        }
    }
    assert_eq!(file.metadata().unwrap().len(), 10 * 60 * 100);
    assert_quiet(&mut ring, 0);
}
