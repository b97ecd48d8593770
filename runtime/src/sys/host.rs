//! What the host must have, asked before any executor starts: glommio panics where it is missing.

use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{MembarrierCommand, sched_getaffinity};
use rustix::time::ClockId;

use super::errno::Errno;
use super::ring::Ring;

/// What the host lacks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HostError {
    /// The kernel has no multishot receive or deferred task run.
    #[error("kernel {release} is too old")]
    KernelTooOld {
        /// What `uname -r` says.
        release: String,
    },
    /// An administrator switched io_uring off.
    #[error("io_uring is disabled")]
    DisabledBySysctl,
    /// Something refuses the system call, mostly the default profile of a container engine.
    #[error("io_uring is blocked ({0})")]
    Blocked(Errno),
    /// The soft limit is below what the executors check for.
    #[error("memlock is limited to {bytes} bytes")]
    MemlockTooLow {
        /// The soft limit.
        bytes: u64,
    },
    /// The ring cannot be made for another reason.
    #[error("io_uring does not work: {0}")]
    Broken(Errno),
}

impl HostError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            HostError::KernelTooOld { .. } => "run Linux 6.1 or newer",
            HostError::DisabledBySysctl => "set sysctl kernel.io_uring_disabled=0",
            HostError::Blocked(_) => {
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's \
                 seccomp profile (docker: --security-opt seccomp=unconfined)"
            }
            HostError::MemlockTooLow { .. } => {
                "raise it to 512 KiB: ulimit -l 512, LimitMEMLOCK=512K, --ulimit memlock=524288"
            }
            HostError::Broken(_) => "look for what restricts io_uring on this host",
        }
    }
}

/// Whether the rings can be made here. Cheap; call it in `main`, after [`raise_memlock`].
pub fn probe() -> Result<(), HostError> {
    let name = rustix::system::uname();
    check_release(&name.release().to_string_lossy())?;
    if memlock_limit() < MEMLOCK_BYTES_MIN {
        return Err(HostError::MemlockTooLow { bytes: memlock_limit() });
    }
    match Ring::<()>::new(8, 16, 1, 4096) {
        Ok(_) => Ok(()),
        Err(errno) => Err(explain(errno, std::fs::read_to_string(DISABLED_PATH).ok().as_deref())),
    }
}

/// The soft limit of locked memory, bytes.
pub fn memlock_limit() -> u64 {
    rustix::process::getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit of locked memory to the hard one, and says what it is now.
pub fn raise_memlock() -> u64 {
    raise(Resource::Memlock)
}

/// Raises the soft limit of open files to the hard one, and says what it is now.
pub fn raise_nofile() -> u64 {
    raise(Resource::Nofile)
}

/// Keeps the program's code, and what it only reads, in memory; how many bytes. Where memory is
/// short the kernel drops them as it drops what nobody read for a while, and a shard that then runs
/// that code waits for the disk. Files that are mapped shared, as segments are, are left alone.
///
/// # Errors
/// ENOMEM or EPERM if that is more than may be locked; the errno of reading `/proc/self/maps`.
pub fn keep_program_resident() -> Result<usize, Errno> {
    let maps = std::fs::read_to_string("/proc/self/maps");
    let maps = maps.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let mut bytes = 0;
    for range in maps.lines().filter_map(program_range) {
        // SAFETY: locking changes nothing that a program can see, whatever lies there by now; a
        // range that is gone is refused.
        unsafe { rustix::mm::mlock(std::ptr::without_provenance_mut(range.start), range.len())? };
        bytes += range.len();
    }
    Ok(bytes)
}

/// The addresses in a line of `/proc/PID/maps`, if it is of a private, unwritable part of a file.
pub(super) fn program_range(line: &str) -> Option<std::ops::Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (addresses, access) = (fields.next()?, fields.next()?);
    let is_of_file = fields.nth(2)? != "0";
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = address(start)?..address(end)?;
    (is_of_file && matches!(access, "r-xp" | "r--p") && range.start < range.end).then_some(range)
}

/// Tells the kernel that this process will use expedited memory barriers, as glommio does when it
/// parks: registering with several threads running takes tens of milliseconds, so `main` does it.
pub fn register_membarrier() -> Result<(), Errno> {
    Ok(rustix::thread::membarrier(MembarrierCommand::RegisterPrivateExpedited)?)
}

/// The CPUs that this process may run on, ascending.
pub fn cpus() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// CPU time that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// How long one thread was ready and had no CPU: other threads, or another machine's, had it.
#[derive(Debug)]
pub struct RunDelay {
    /// None where the kernel does not count it.
    file: Option<std::fs::File>,
}

impl RunDelay {
    /// That of the calling thread.
    pub fn of_this_thread() -> RunDelay {
        RunDelay { file: std::fs::File::open("/proc/thread-self/schedstat").ok() }
    }

    /// All of it so far; 0 if nobody knows. Takes about a microsecond.
    pub fn total(&self) -> Duration {
        let mut text = [0; 64];
        let read = self
            .file
            .as_ref()
            .and_then(|file| std::os::unix::fs::FileExt::read_at(file, &mut text, 0).ok());
        run_delay(str::from_utf8(&text[..read.unwrap_or(0)]).unwrap_or_default())
    }
}

/// The second word of a `schedstat`, nanoseconds.
pub(super) fn run_delay(schedstat: &str) -> Duration {
    let nanos = schedstat.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// How often the calling thread has waited for the disk in a page fault.
pub fn thread_major_faults() -> u64 {
    // SAFETY:
    // - all zero bits are a value of this type of integers;
    // - the call writes one such value, which lives through it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let result = libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        (result == 0).then_some(usage)
    };
    usage.map_or(0, |usage| usage.ru_majflt as u64)
}

/// `release` is what `uname -r` says; one that cannot be read is given the benefit of the doubt.
pub(super) fn check_release(release: &str) -> Result<(), HostError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < KERNEL_MIN => {
            Err(HostError::KernelTooOld { release: release.into() })
        }
        _ => Ok(()),
    }
}

/// `disabled` is the content of the sysctl, if there is one.
pub(super) fn explain(errno: Errno, disabled: Option<&str>) -> HostError {
    match errno.0 {
        libc::EPERM | libc::EACCES if disabled.is_some_and(|it| it.trim() != "0") => {
            HostError::DisabledBySysctl
        }
        libc::EPERM | libc::EACCES | libc::ENOSYS => HostError::Blocked(errno),
        libc::ENOMEM => HostError::MemlockTooLow { bytes: memlock_limit() },
        _ => HostError::Broken(errno),
    }
}

fn raise(resource: Resource) -> u64 {
    let Rlimit { current, maximum } = rustix::process::getrlimit(resource);
    let raised = Rlimit { current: maximum, maximum };
    let now = match rustix::process::setrlimit(resource, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    now.unwrap_or(u64::MAX)
}

/// Locked memory that glommio's executors demand, bytes.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
const KERNEL_MIN: (u32, u32) = (6, 1);
const DISABLED_PATH: &str = "/proc/sys/kernel/io_uring_disabled";
