//! Counting by valgrind, which executes every instruction itself: neither the machine's load nor
//! its caches matter, and it needs no counter of the hardware.
//!
//! What could still differ between machines is code that looks for features of the CPU. Of
//! valgrind's own CPU most are fixed; those that it takes from the host's are SSE 4.2, which the
//! checksum of frames needs and every machine that runs this has ([`assert_features`]), and AVX2,
//! by which the C library chooses how it copies: it is told to take no notice ([`TUNABLES`]).

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

/// How often a path is gone through, and twice that. A multiple of every period that a path has
/// (keys in a ring, reads between two that ask everybody).
const TIMES: u64 = 2048;
/// For the C library.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Instructions that each of `paths` takes when it is gone through once, in their order.
///
/// # Panics
/// If valgrind cannot be run.
pub(crate) fn count(paths: &[&str]) -> Vec<f64> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir().expect("the folder for temporary files can be written to");
    let (next, (told, counts)) = (AtomicUsize::new(0), channel());
    thread::scope(|scope| {
        for _ in 0..workers {
            let (next, told, folder) = (&next, told.clone(), folder.path());
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(index) else { return };
                    let file = folder.join(index.to_string());
                    let [once, twice] = [TIMES, 2 * TIMES].map(|times| total(path, times, &file));
                    let count = (twice - once) as f64 / TIMES as f64;
                    told.send((index, count)).expect("it is awaited");
                }
            });
        }
    });
    drop(told);
    let mut counts: Vec<(usize, f64)> = counts.iter().collect();
    counts.sort_by_key(|(index, _)| *index);
    assert!(counts.len() == paths.len());
    counts.into_iter().map(|(_, count)| count).collect()
}

/// Instructions of a process that goes through `path` so many times; `file` is scratch.
fn total(path: &str, times: u64, file: &Path) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=callgrind"]);
    command.arg(format!("--callgrind-out-file={}", file.display()));
    command.arg(std::env::current_exe().expect("this binary lies somewhere"));
    command.args(["run", path, &times.to_string()]).env("GLIBC_TUNABLES", TUNABLES);
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("valgrind can be started (Debian has a package of that name)");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path} does not run under valgrind:\n{words}");
    let text = std::fs::read_to_string(file).expect("callgrind writes what it counted");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).expect("callgrind writes the total")
}

/// What [`count`] counts is what the paths do where this holds.
///
/// # Panics
/// If it does not.
pub(crate) fn assert_features() {
    #[cfg(target_arch = "x86_64")]
    assert!(std::is_x86_feature_detected!("sse4.2"), "this CPU has no instruction for CRC-32C");
}
