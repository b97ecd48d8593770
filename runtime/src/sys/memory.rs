//! How much memory a process may use, and how it gives back what it does not.

use std::fs;
use std::path::{Path, PathBuf};

/// Has the allocator give large buffers back to the kernel as soon as they are freed: by itself
/// it keeps them once it has freed one, and a burst of large values would stay resident.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator, which takes its own lock for that.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BUFFER_BYTES);
    }
}

/// Has the allocator give the pages of what was freed back to the kernel, also those between
/// others. Who allocates meanwhile may have to wait, as long as the freed pages of his arena take.
pub fn return_free_pages() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it looks at what is free of each arena, under the lock of that.
    unsafe {
        libc::malloc_trim(FREE_BYTES_KEPT);
    }
}

/// Memory that this process may use, bytes: that of the host, or what its control groups leave.
pub fn usable_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let host = info.totalram.saturating_mul(info.mem_unit.into());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(limit_files).filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        text.trim().parse::<u64>().ok()
    });
    limits.min().unwrap_or(host).min(host)
}

/// The files that may limit the memory of a group and of those around it, of a line of
/// `/proc/self/cgroup`: its number, its controllers, its path.
pub(super) fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, name) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    // In a container the path may be that of outside; the root is there in any case.
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    groups.map(|group| Path::new(root).join(group).join(name)).collect()
}

/// Buffers from this size on, bytes, are mapped one by one: a page fault for each of their pages
/// costs less than the copy that fills it.
#[cfg(target_env = "gnu")]
const LARGE_BUFFER_BYTES: libc::c_int = 256 << 10;
/// Kept at the top of the heap, bytes: what the next requests need.
#[cfg(target_env = "gnu")]
const FREE_BYTES_KEPT: usize = 1 << 20;
