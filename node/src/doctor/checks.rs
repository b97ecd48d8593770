//! The judgements: one function per check, from what was read to what to do.

use ringmain_runtime::settings::Settings;
use ringmain_runtime::start::client_count_max;
use ringmain_runtime::sys::{HostError, MEMLOCK_BYTES_MIN};

use super::host::Host;
use super::{Finding, Grade};
use crate::config::units::cpus_text;

/// Below this many a node of two shards has no file left for connections.
const FILE_COUNT_MIN: u64 = 256;
/// Less free space than this is soon used up.
const FREE_BYTES_MIN: u64 = 1 << 30;

pub(super) fn all(host: &Host) -> Vec<Finding> {
    let checks = [kernel, io_uring, memlock, files, cpus, file_system, clock_source, clock, memory];
    checks.iter().map(|check| check(host)).collect()
}

pub(super) fn kernel(host: &Host) -> Finding {
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<u32>().ok()
    };
    let mut parts = host.release.split('.');
    let version = (parts.next().and_then(number), parts.next().and_then(number));
    let (grade, remedy) = match version {
        (Some(major), Some(minor)) if (major, minor) >= (6, 5) => (Grade::Ok, ""),
        (Some(major), Some(minor)) if (major, minor) >= (6, 1) => {
            (Grade::Ok, "6.5 or newer finds cold data cheaper")
        }
        (Some(_), Some(_)) => (Grade::Fail, "run Linux 6.1 or newer"),
        _ => (Grade::Warn, "make sure that it is Linux 6.1 or newer"),
    };
    Finding { check: "kernel", grade, found: host.release.clone(), remedy }
}

pub(super) fn io_uring(host: &Host) -> Finding {
    // The other errors are about what other checks look at.
    if let Some(error @ (HostError::Blocked(_) | HostError::Broken(_))) = &host.refused {
        let (found, remedy) = (error.to_string(), error.remedy());
        return Finding { check: "io_uring", grade: Grade::Fail, found, remedy };
    }
    let (grade, found, remedy) = match (host.io_uring_disabled, host.is_root) {
        (Some(2), _) => (Grade::Fail, "disabled", "set sysctl kernel.io_uring_disabled=0"),
        (Some(1), false) => (
            Grade::Fail,
            "only for the privileged",
            "set sysctl kernel.io_uring_disabled=0, or kernel.io_uring_group to a group of ours",
        ),
        _ if host.seccomp => (
            Grade::Warn,
            "enabled, but a seccomp filter is active and may block it",
            "in a container allow io_uring_setup, io_uring_enter and io_uring_register",
        ),
        _ => (Grade::Ok, "enabled", ""),
    };
    Finding { check: "io_uring", grade, found: found.into(), remedy }
}

pub(super) fn memlock(host: &Host) -> Finding {
    let enough = host.memlock_bytes.is_none_or(|bytes| bytes >= MEMLOCK_BYTES_MIN);
    let (grade, remedy) = match enough {
        true => (Grade::Ok, ""),
        false => (Grade::Fail, "raise it to 512 KiB: ulimit -l, LimitMEMLOCK=, --ulimit memlock="),
    };
    let found = host.memlock_bytes.map_or("unlimited".into(), bytes_text);
    Finding { check: "memlock", grade, found, remedy }
}

pub(super) fn files(host: &Host) -> Finding {
    let asked = Settings::default().max_connections;
    let clients = |limit| client_count_max(limit, host.cpus.len() as u32, 0);
    let mut found =
        host.file_count_max.map_or("unlimited".into(), |count| format!("{count} files"));
    let remedy = "raise the hard limit to 32768: ulimit -Hn, LimitNOFILE=";
    let (grade, remedy) = match host.file_count_max {
        Some(count) if count < FILE_COUNT_MIN => (Grade::Fail, remedy),
        Some(count) if clients(count) < asked => {
            found += &format!(", enough for {} clients", clients(count));
            (Grade::Warn, remedy)
        }
        _ => (Grade::Ok, ""),
    };
    Finding { check: "open files", grade, found, remedy }
}

pub(super) fn cpus(host: &Host) -> Finding {
    let count = host.cpus.len() as u64;
    let mut found = format!("{count} usable ({})", cpus_text(&host.cpus));
    let short = host.cpu_quota_milli.filter(|&quota| quota < count * 1000);
    let (grade, remedy) = match short {
        None => (Grade::Ok, ""),
        Some(quota) => {
            found += &format!(", but a quota of {}.{:03}", quota / 1000, quota % 1000);
            (Grade::Warn, "raise the quota, or give no more --shards than it feeds")
        }
    };
    Finding { check: "cpus", grade, found, remedy }
}

pub(super) fn file_system(host: &Host) -> Finding {
    let check = "file system";
    let Some((kind, free)) = host.file_system else {
        let found = format!("{} does not tell", host.place.display());
        return Finding { check, grade: Grade::Warn, found, remedy: "use ext4 or xfs" };
    };
    let (name, complaint) = match kind {
        0xef53 => ("ext4", ""),
        0x5846_5342 => ("xfs", ""),
        0x9123_683e => ("btrfs", "use ext4 or xfs: copying on write makes syncs slow"),
        0x2fc1_2fc1 => ("zfs", "use ext4 or xfs: its cache is not the page cache that is read"),
        0x0102_1994 | 0x8584_58f6 => ("tmpfs", "use ext4 or xfs: data is gone with the power"),
        0x794c_7630 => ("overlay", "mount a volume: data is gone with the container"),
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 => {
            ("network", "use a local disk: its syncs and locks promise less")
        }
        0x6573_5546 => ("fuse", "use ext4 or xfs"),
        _ => ("unknown", "use ext4 or xfs"),
    };
    let found = format!("{name}, {} free ({})", bytes_text(free), host.place.display());
    let (grade, remedy) = match (complaint, free < FREE_BYTES_MIN) {
        ("", false) => (Grade::Ok, ""),
        ("", true) => (Grade::Warn, "free space: a node needs 1 GiB to be useful"),
        (complaint, _) => (Grade::Warn, complaint),
    };
    Finding { check, grade, found, remedy }
}

pub(super) fn clock_source(host: &Host) -> Finding {
    let found = host.clock_source.clone().unwrap_or_else(|| "unknown".into());
    let slow = ["hpet", "acpi_pm", "jiffies", "pit", "unknown"].contains(&found.as_str());
    let (grade, remedy) = match slow {
        false => (Grade::Ok, ""),
        true => (Grade::Warn, "boot with a fast one (tsc, kvm-clock): each reading is a call"),
    };
    Finding { check: "clock source", grade, found, remedy }
}

pub(super) fn clock(host: &Host) -> Finding {
    let (grade, found, remedy) = match host.clock_synchronized {
        true => (Grade::Ok, "a time daemon runs", ""),
        false => (
            Grade::Warn,
            "no time daemon found",
            "run chrony or systemd-timesyncd: expiry and plain GET go by the clock",
        ),
    };
    Finding { check: "clock", grade, found: found.into(), remedy }
}

pub(super) fn memory(host: &Host) -> Finding {
    let found = host.huge_pages.clone().unwrap_or_else(|| "unknown".into());
    let (grade, remedy) = match found.as_str() {
        "always" | "madvise" => (Grade::Ok, ""),
        _ => (Grade::Warn, "write madvise to /sys/kernel/mm/transparent_hugepage/enabled"),
    };
    Finding { check: "huge pages", grade, found, remedy }
}

/// With one decimal, in the largest unit that is not below 1.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}
