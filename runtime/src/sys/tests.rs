use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::bus::{Guard, is_guarded};
use super::host::{check_release, explain, program_range, run_delay};
use super::map::is_read_at_once;
use super::memory::{limit_files, usable_memory};
use super::*;

pub(crate) use super::send_buffer::tests::Lender;

#[test]
fn releases() {
    for release in ["6.1.0", "6.1", "6.18.44-fc", "10.0.1-rc1", "strange", "6"] {
        assert_eq!(check_release(release), Ok(()), "{release}");
    }
    for release in ["6.0.19", "5.15.0-generic", "4.19"] {
        let expected = HostError::KernelTooOld { release: release.into() };
        assert_eq!(check_release(release), Err(expected));
    }
}

#[test]
fn refusals_are_explained() {
    let blocked = Errno(libc::EPERM);
    assert_eq!(explain(blocked, Some("2\n")), HostError::DisabledBySysctl);
    assert_eq!(explain(blocked, Some("0\n")), HostError::Blocked(blocked));
    assert_eq!(explain(blocked, None), HostError::Blocked(blocked));
    assert_eq!(explain(Errno(libc::ENOSYS), None), HostError::Blocked(Errno(libc::ENOSYS)));
    assert_eq!(explain(Errno(libc::EIO), None), HostError::Broken(Errno(libc::EIO)));
    assert!(explain(blocked, None).remedy().contains("seccomp"));
    let low = HostError::MemlockTooLow { bytes: 65_536 };
    assert!(low.to_string().contains("65536"), "{low}");
    assert!(low.remedy().contains(&MEMLOCK_BYTES_MIN.to_string()));
}

#[test]
fn this_host_will_do() {
    assert!(raise_memlock() >= 1 << 19);
    assert_eq!(probe(), Ok(()));
    register_membarrier().unwrap();
    assert!(raise_nofile() >= 1_024);
    let cpus = cpus().unwrap();
    assert!(!cpus.is_empty() && cpus.is_sorted());
    let before = thread_cpu_time();
    while thread_cpu_time() == before {}
}

#[test]
fn stops_are_waited_for() {
    std::thread::spawn(|| {
        let stops = Stops::block().unwrap();
        for (signal, stop) in [(libc::SIGTERM, Stop::Terminate), (libc::SIGINT, Stop::Interrupt)] {
            // SAFETY: `raise` takes any number; the signal is blocked in this thread, which is
            // the one that it goes to.
            assert_eq!(unsafe { libc::raise(signal) }, 0);
            assert_eq!(stops.wait(), Ok(stop));
        }
    })
    .join()
    .unwrap();
}

#[test]
fn a_map_is_the_file_and_sees_later_writes() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 10_000]).unwrap();
    assert_eq!(Map::new(file.as_file()).err(), Some(Errno(libc::EACCES)));
    let map = Map::new(&File::open(file.path()).unwrap()).unwrap();
    assert_eq!(map.len(), 10_000);
    assert_eq!(map.bytes(9_999..10_000), Some(&[7][..]));
    assert_eq!(map.bytes(0..0), Some(&[][..]));
    assert_eq!(map.bytes(9_999..10_001), None);
    #[expect(clippy::reversed_empty_ranges, reason = "what a damaged index may ask for")]
    let reversed = 2..1;
    assert_eq!(map.bytes(reversed), None);
    expect_random(file.as_file(), &map);
    std::os::unix::fs::FileExt::write_all_at(file.as_file(), &[8; 10], 20).unwrap();
    assert_eq!(map.bytes(19..31), Some(&[7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7][..]));
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(Map::new(&File::open(empty.path()).unwrap()).is_ok_and(|map| map.len() == 0));
}

#[test]
fn what_was_dropped_from_memory_is_not_cached() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 40_000]).unwrap();
    let file = file.as_file();
    for is_cached in [is_cached, is_read_at_once] {
        assert!(is_cached(file, 0..40_000));
        assert!(is_cached(file, 4_095..4_097));
        assert!(!is_cached(file, 36_000..400_000), "beyond the end");
    }
    assert!(!is_read_at_once(file, 0..1 << 40));
    let kind = rustix::fs::fstatfs(file).unwrap().f_type;
    if kind == libc::TMPFS_MAGIC {
        return eprintln!("skipped: a file of tmpfs is always in memory");
    }
    file.sync_all().unwrap();
    for is_cached in [is_cached, is_read_at_once] {
        // More than once: the kernel keeps a page that it just works on, and a read that may not
        // wait begins one that the disk may end within the call.
        let is_dropped = || {
            rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            !is_cached(file, 0..40_000)
        };
        assert!((0..1_000).any(|_| is_dropped()));
    }
}

#[test]
fn a_program_is_kept_in_memory_as_far_as_it_may_be() {
    let line = "55d0c0a00000-55d0c0a02000 r-xp 00001000 fe:01 1234    /usr/bin/a name with blanks";
    assert_eq!(program_range(line), Some(0x55d0_c0a0_0000..0x55d0_c0a0_2000));
    for other in [
        "55d0c0a00000-55d0c0a02000 rw-p 00001000 fe:01 1234 /usr/bin/program",
        "55d0c0a00000-55d0c0a02000 r--s 00001000 fe:01 1234 /data/0000000001.segment",
        "7ffd3a5fe000-7ffd3a600000 r-xp 00000000 00:00 0 [vdso]",
        "55d0c0a00000-55d0c0a00000 r-xp 00001000 fe:01 1234 /usr/bin/program",
        "r-xp",
        "",
    ] {
        assert_eq!(program_range(other), None, "{other}");
    }
    match keep_program_resident() {
        Ok(bytes) => assert!(bytes > 100_000),
        Err(errno) => assert!(matches!(errno.0, libc::ENOMEM | libc::EPERM), "{errno}"),
    }
}

#[test]
fn zero_maps() {
    for count in [0, 1, 4096, 1 << 19] {
        let mut zeros = ZeroMap::<u64>::new(count).unwrap();
        assert_eq!(zeros.len(), count);
        assert!(zeros.iter().all(|word| *word == 0));
        zeros.fill(3);
        assert_eq!(zeros.iter().sum::<u64>(), 3 * count as u64);
    }
    assert_eq!(ZeroMap::<u64>::new(usize::MAX / 4).err(), Some(Errno(libc::ENOMEM)));
}

/// A receive, a read and an accept are in flight when the ring goes; so is what they lent.
#[test]
fn a_ring_is_dropped_with_operations_in_flight() {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = std::rc::Rc::new(OwnedFd::from(near));
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let eventfd = std::sync::Arc::new(File::from(eventfd));
    let mut ring = Ring::<u8>::new(8, 8, 4, 4096).unwrap();
    ring.receive(&socket, false, 1);
    ring.read(&eventfd, 0, (vec![0; 8], false), 2);
    ring.timeout(Duration::from_secs(1_000), 3);
    for _ in 0..20 {
        ring.timeout(Duration::from_secs(1_000), 3);
    }
    ring.enter(Wait::No).unwrap();
    assert_eq!(ring.in_flight_count(), 23);
    drop(ring);
    assert_eq!(std::rc::Rc::strong_count(&socket), 1);
    assert_eq!(std::sync::Arc::strong_count(&eventfd), 1);
    drop(far);
}

#[test]
fn a_buffer_is_the_kernels_or_ours() {
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = std::rc::Rc::new(OwnedFd::from(near));
    let mut ring = Ring::<u8>::new(8, 8, 2, 16).unwrap();
    assert_eq!((ring.buffers().count(), ring.buffers().free_count()), (2, 2));
    far.write_all(&[9; 20]).unwrap();
    ring.receive(&socket, false, 1);
    ring.enter(Wait::Forever).unwrap();
    let first = ring.next_completion().unwrap();
    let second = ring.next_completion().unwrap();
    assert_eq!((first.result, second.result), (Ok(16), Ok(4)));
    assert!(first.has_more);
    let (first, second) = (first.buffer.unwrap(), second.buffer.unwrap());
    assert_eq!(ring.buffers().free_count(), 0);
    assert_eq!(ring.buffers().filled(first), [9; 16]);
    assert_eq!(ring.buffers().filled(second), [9; 4]);
    assert!(ring.buffers().filled(7).is_empty());
    for _ in 0..2 {
        ring.buffers().give_back(first);
        assert_eq!(ring.buffers().free_count(), 1);
        assert!(ring.buffers().filled(first).is_empty());
    }
    ring.buffers().give_back(7);
    assert_eq!(ring.buffers().free_count(), 1);
}

#[test]
fn time_without_a_cpu() {
    assert_eq!(run_delay("120 345 6\n"), Duration::from_nanos(345));
    for text in ["", "120", "120 x 6", "-1 -1 -1"] {
        assert_eq!(run_delay(text), Duration::ZERO, "{text}");
    }
    let delay = RunDelay::of_this_thread();
    let before = delay.total();
    assert!(delay.total() >= before);
}

/// A file that is cut under its map: as a disk with bad sectors, to whoever reads it.
#[test]
fn a_page_that_cannot_be_read_is_zeros() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 4 * 4096]).unwrap();
    let map = Map::new(&File::open(file.path()).unwrap()).unwrap();
    assert_eq!(map.bytes(0..4 * 4096), Some(&[7; 4 * 4096][..]));
    assert_eq!(map.lost_page_count(), 0);
    file.as_file().set_len(4096).unwrap();
    std::thread::scope(|scope| {
        let read = || assert_eq!(map.bytes(4096..3 * 4096), Some(&[0; 2 * 4096][..]));
        scope.spawn(read);
        scope.spawn(read);
    });
    assert_eq!(map.bytes(0..4096), Some(&[7; 4096][..]));
    assert_eq!(map.bytes(3 * 4096..4 * 4096), Some(&[0; 4096][..]));
    assert!(map.lost_page_count() >= 3, "two threads may replace the same one");
}

#[test]
fn what_is_guarded_is_what_is_mapped() {
    // No map lies so low.
    let spans = [(4096, 4096), (16_384, 8192), (8192, 1)];
    let is_inside = |address: usize| {
        spans.iter().any(|(start, bytes)| (*start..start + bytes).contains(&address))
    };
    for _ in 0..3 {
        let guards = spans.map(|(start, bytes)| Guard::new(start, bytes));
        for address in 4000..30_000 {
            assert_eq!(is_guarded(address), is_inside(address), "{address}");
        }
        drop(guards);
        assert!(!(4000..30_000).any(is_guarded));
    }
}

#[test]
fn memory_is_limited_by_every_group_around_a_process() {
    let files = |line| -> Vec<String> {
        limit_files(line).iter().map(|path| path.display().to_string()).collect()
    };
    let root = "/sys/fs/cgroup";
    assert_eq!(
        files("0::/a/b"),
        [
            format!("{root}/a/b/memory.max"),
            format!("{root}/a/memory.max"),
            format!("{root}/memory.max"),
        ]
    );
    assert_eq!(files("0::/"), [format!("{root}/memory.max")]);
    let old = files("3:cpu,memory:/a");
    assert_eq!(old[0], format!("{root}/memory/a/memory.limit_in_bytes"));
    for other in ["3:cpu:/a", "nonsense", "", "1:name=systemd:/"] {
        assert!(files(other).is_empty(), "{other}");
    }
    assert!(usable_memory() > 1 << 20);
}
