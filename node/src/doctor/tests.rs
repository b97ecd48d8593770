use ringmain_runtime::sys::{Errno, HostError};

use super::checks::*;
use super::host::{bracketed, quota};
use super::*;

/// A host without a complaint.
fn good() -> Host {
    Host {
        release: "6.18.44-generic".into(),
        io_uring_disabled: Some(0),
        is_root: false,
        seccomp: false,
        refused: None,
        memlock_bytes: Some(8 << 20),
        file_count_max: Some(1 << 20),
        cpus: vec![0, 1],
        cpu_quota_milli: None,
        place: "/var".into(),
        file_system: Some((0xef53, 100 << 30)),
        clock_source: Some("tsc".into()),
        clock_synchronized: true,
        huge_pages: Some("madvise".into()),
    }
}

fn grade(check: fn(&Host) -> Finding, change: impl FnOnce(&mut Host)) -> Grade {
    let mut host = good();
    change(&mut host);
    let finding = check(&host);
    assert!(finding.grade == Grade::Ok || !finding.remedy.is_empty(), "{finding:?}");
    finding.grade
}

#[test]
fn a_good_host_has_no_complaint() {
    for finding in all(&good()) {
        assert_eq!((finding.grade, finding.remedy), (Grade::Ok, ""), "{finding:?}");
    }
}

#[test]
fn old_kernels_fail() {
    let of = |release: &str| grade(kernel, |host| host.release = release.into());
    for release in ["6.1.0-18-amd64", "6.5.0", "6.18", "7.0-rc1", "10.2.3"] {
        assert_eq!(of(release), Grade::Ok, "{release}");
    }
    for release in ["6.0.19", "5.15.0-generic", "4.18.0-553.el8"] {
        assert_eq!(of(release), Grade::Fail, "{release}");
    }
    for release in ["", "six", "6"] {
        assert_eq!(of(release), Grade::Warn, "{release}");
    }
}

#[test]
fn a_closed_io_uring_fails() {
    let of = |disabled, is_root, seccomp| {
        grade(io_uring, |host| {
            (host.io_uring_disabled, host.is_root, host.seccomp) = (disabled, is_root, seccomp);
        })
    };
    assert_eq!(of(None, false, false), Grade::Ok, "before 6.6 there was no switch");
    assert_eq!(of(Some(1), true, false), Grade::Ok);
    assert_eq!(of(Some(1), false, false), Grade::Fail);
    assert_eq!(of(Some(2), true, false), Grade::Fail);
    assert_eq!(of(Some(0), true, true), Grade::Warn);
    let blocked = Host { refused: Some(HostError::Blocked(Errno(1))), ..good() };
    let finding = io_uring(&blocked);
    assert_eq!(finding.grade, Grade::Fail);
    assert!(finding.remedy.contains("seccomp"), "{}", finding.remedy);
}

#[test]
fn limits_are_compared() {
    let memlock = |bytes| grade(memlock, |host| host.memlock_bytes = bytes);
    assert_eq!(memlock(None), Grade::Ok);
    assert_eq!(memlock(Some(512 << 10)), Grade::Ok);
    assert_eq!(memlock(Some((512 << 10) - 1)), Grade::Fail);
    let files = |count| grade(files, |host| host.file_count_max = count);
    assert_eq!(files(None), Grade::Ok);
    assert_eq!(files(Some(4096)), Grade::Warn);
    // A node of two shards would start with fewer than the default of 10000 clients.
    assert_eq!(files(Some(12_000)), Grade::Warn);
    let of_shards = |shards, count| {
        grade(super::checks::files, |host| {
            host.cpus = (0..shards).collect();
            host.file_count_max = Some(count);
        })
    };
    for shards in [1, 2, 256] {
        assert_eq!(of_shards(shards, 32_768), Grade::Ok, "as the remedy says");
    }
    assert_eq!(files(Some(256)), Grade::Warn);
    assert_eq!(files(Some(255)), Grade::Fail);
    let cpus = |quota| grade(cpus, |host| host.cpu_quota_milli = quota);
    assert_eq!(cpus(Some(2000)), Grade::Ok);
    assert_eq!(cpus(Some(1999)), Grade::Warn);
}

#[test]
fn volatile_and_remote_disks_are_named() {
    let of = |kind, free| grade(file_system, |host| host.file_system = Some((kind, free)));
    assert_eq!(of(0x5846_5342, 1 << 30), Grade::Ok);
    assert_eq!(of(0xef53, (1 << 30) - 1), Grade::Warn);
    for kind in [0x0102_1994, 0x6969, 0x794c_7630, 0x1234] {
        assert_eq!(of(kind, 1 << 40), Grade::Warn, "{kind:x}");
    }
    assert_eq!(grade(file_system, |host| host.file_system = None), Grade::Warn);
}

#[test]
fn clocks_and_pages() {
    assert_eq!(grade(clock_source, |host| host.clock_source = Some("hpet".into())), Grade::Warn);
    assert_eq!(grade(clock_source, |host| host.clock_source = None), Grade::Warn);
    assert_eq!(grade(clock, |host| host.clock_synchronized = false), Grade::Warn);
    assert_eq!(grade(memory, |host| host.huge_pages = Some("never".into())), Grade::Warn);
}

#[test]
fn the_kernels_texts_are_read() {
    assert_eq!(quota("max 100000"), None);
    assert_eq!(quota("150000 100000"), Some(1500));
    assert_eq!(quota("1 0"), None);
    assert_eq!(bracketed("always [madvise] never").as_deref(), Some("madvise"));
    assert_eq!(bracketed("always"), None);
    assert_eq!(bytes_text(0), "0 B");
    assert_eq!(bytes_text(1536), "1.5 KiB");
    assert_eq!(bytes_text(u64::MAX), "16777215.9 TiB");
}

#[test]
fn this_host_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::read(&folder.path().join("not/yet/there"));
    assert_eq!(host.place, folder.path());
    assert!(!host.cpus.is_empty());
    assert!(!host.release.is_empty());
    assert_eq!(all(&host).len(), 9);
}
