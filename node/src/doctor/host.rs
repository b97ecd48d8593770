//! What the host says about itself. `None`: it does not say.

use std::fs;
use std::path::{Path, PathBuf};

use ringmain_core::limits::SHARD_COUNT_MAX;
use ringmain_runtime::sys::{self, HostError};
use rustix::process::{Resource, geteuid, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

/// Everything that the checks look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// `uname -r`.
    pub(super) release: String,
    /// `/proc/sys/kernel/io_uring_disabled`: 0 open, 1 for the privileged, 2 closed.
    pub(super) io_uring_disabled: Option<u32>,
    pub(super) is_root: bool,
    /// Why a ring could not be made just now.
    pub(super) refused: Option<HostError>,
    /// Whether a seccomp filter restricts this process, as in a container.
    pub(super) seccomp: bool,
    /// Soft limit, bytes; `None` is unlimited.
    pub(super) memlock_bytes: Option<u64>,
    /// Hard limit of open files; `None` is unlimited.
    pub(super) file_count_max: Option<u64>,
    /// CPUs that this process may use, ascending.
    pub(super) cpus: Vec<u16>,
    /// Thousandths of a CPU that the cgroup grants.
    pub(super) cpu_quota_milli: Option<u64>,
    /// The directory whose file system was asked: the data directory or its nearest parent.
    pub(super) place: PathBuf,
    /// Type and free bytes of that file system.
    pub(super) file_system: Option<(u64, u64)>,
    pub(super) clock_source: Option<String>,
    /// Whether a time daemon says that it synchronizes the clock.
    pub(super) clock_synchronized: bool,
    /// The setting of transparent huge pages: `always`, `madvise`, `never`.
    pub(super) huge_pages: Option<String>,
}

impl Host {
    /// Reads it, after raising the limits as a node does when it starts.
    pub(super) fn read(data_dir: &Path) -> Host {
        sys::raise_memlock();
        sys::raise_nofile();
        let place = nearest_existing(data_dir);
        Host {
            release: rustix::system::uname().release().to_string_lossy().into(),
            io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
            is_root: geteuid().is_root(),
            refused: sys::probe().err(),
            seccomp: seccomp(),
            memlock_bytes: getrlimit(Resource::Memlock).current,
            file_count_max: getrlimit(Resource::Nofile).maximum,
            cpus: usable_cpus(),
            cpu_quota_milli: text("/sys/fs/cgroup/cpu.max").and_then(|text| quota(&text)),
            file_system: file_system(&place),
            place,
            clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_synchronized: clock_synchronized(),
            huge_pages: text("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| bracketed(&text)),
        }
    }
}

/// The CPUs that this process may use, ascending; at least one.
pub(crate) fn usable_cpus() -> Vec<u16> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).map(|cpu| cpu as u16);
    let cpus: Vec<u16> = cpus.take(SHARD_COUNT_MAX).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// `50000 100000` is half a CPU; `max 100000` is no quota.
pub(super) fn quota(text: &str) -> Option<u64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

/// `madvise` of `always [madvise] never`.
pub(super) fn bracketed(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.into())
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().into())
}

fn number(path: &str) -> Option<u32> {
    text(path)?.parse().ok()
}

fn seccomp() -> bool {
    let status = text("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

fn clock_synchronized() -> bool {
    ["/run/systemd/timesync/synchronized", "/run/chrony", "/run/ntpd.pid", "/run/openntpd"]
        .iter()
        .any(|path| Path::new(path).exists())
}

fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).into()
}

fn file_system(place: &Path) -> Option<(u64, u64)> {
    let kind = rustix::fs::statfs(place).ok()?.f_type as u64;
    let space = rustix::fs::statvfs(place).ok()?;
    Some((kind, space.f_bavail.saturating_mul(space.f_frsize)))
}
