//! What the figures were measured on.

use std::path::Path;
use std::process::Command;

/// Machine, kernel, file system and commit, one line.
pub(crate) fn describe(dir: &Path) -> String {
    let cpus = std::thread::available_parallelism().map_or(0, |count| count.get());
    let memory = field("/proc/meminfo", "MemTotal").map_or(0, |kib| kib >> 10);
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    format!(
        "{}, {cpus} CPUs, {memory} MiB, Linux {kernel}, {}; commit {}",
        cpu_model(),
        file_system(dir),
        commit()
    )
}

/// The number behind `name:` in a file of the kernel.
pub(crate) fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split_once(": "));
    model.map_or("unknown CPU", |(_, model)| model).into()
}

/// The type of the file system that holds `dir`: of the longest mount point above it.
fn file_system(dir: &Path) -> String {
    let Ok(dir) = dir.canonicalize() else { return "unknown file system".into() };
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut parts = line.split(' ').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let above = mounts.filter(|(point, _)| dir.starts_with(point));
    let nearest = above.max_by_key(|(point, _)| point.len());
    nearest.map_or("unknown file system", |(_, kind)| kind).into()
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let folder = env!("CARGO_MANIFEST_DIR");
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let is_changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    if is_changed { format!("{commit} and changes") } else { commit }
}
