//! Ending with the process that started this one, so that a killed demo leaves no nodes.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::failure::{Exit, Failure};

/// Asks the kernel for SIGTERM when `parent` dies, and makes sure that it has not died before.
///
/// The kernel watches the thread that forked; the demo forks from its main thread.
pub(crate) fn end_with(parent: u32) -> Result<(), Failure> {
    let failed = |what: String| Failure::new(Exit::Failed, what, "start it again");
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| failed(format!("cannot watch process {parent}: {error}")))?;
    let alive = getppid().map(Pid::as_raw_pid) == i32::try_from(parent).ok();
    if alive { Ok(()) } else { Err(failed(format!("process {parent} is gone"))) }
}
