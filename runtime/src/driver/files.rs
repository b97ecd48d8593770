//! A shard's thread for what would block it: segments are made and removed there, and snapshots
//! written. Nobody waits for that; what came of it arrives as a message.

use super::Control;
use super::io::LateDoorbell;
use crate::log::Errno;
use crate::log_files::{NewSegment, Removal, discard_snapshot, errno, store_snapshot};
use crate::mesh::Controls;
use crate::sys::{Map, return_free_pages};
use ringmain_core::id::ShardIndex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Pause before a message is tried again that found the shard's queue full.
const TELL_PAUSE: Duration = Duration::from_millis(1);

/// One thing to do.
pub(crate) enum FileJob {
    /// Make a segment; answered by `Control::Created`.
    Create(NewSegment),
    /// Write a part of a snapshot; answered by `Control::Stored`.
    Store { segment: u32, offset: u64, bytes: Vec<u8>, is_last: bool },
    /// Remove the parts of one that will not be ended.
    Discard { segment: u32 },
    /// Remove a segment.
    Remove(Removal),
    /// Unmap one that was removed.
    Unmap(Map),
    /// Give pages of freed memory back to the kernel.
    GiveBackPages,
}

/// The thread. It ends when this is dropped, once it has done what it was given.
pub(crate) struct Files {
    jobs: Sender<FileJob>,
    is_over: Arc<AtomicBool>,
}

impl Files {
    /// Begins the thread of `shard`, whose log lies in `dir`.
    pub(crate) fn begin(
        dir: PathBuf,
        shard: ShardIndex,
        controls: Controls<Control, LateDoorbell>,
    ) -> io::Result<Files> {
        let (jobs, received) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let files = Files { jobs, is_over: Arc::clone(&is_over) };
        let work = move || {
            for job in received {
                let Some(mut control) = carry_out(&dir, job) else { continue };
                // The shard empties its queue every turn, as long as there is one.
                while let Err(back) = controls.control(shard, control)
                    && !is_over.load(Ordering::Relaxed)
                {
                    control = back;
                    std::thread::sleep(TELL_PAUSE);
                }
            }
        };
        std::thread::Builder::new().name(format!("files-{}", shard.0)).spawn(work)?;
        Ok(files)
    }

    /// Has one thing done.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub(crate) fn give(&self, job: FileJob) {
        self.jobs.send(job).expect("the thread ends only after this");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn carry_out(dir: &std::path::Path, job: FileJob) -> Option<Control> {
    let number = |error: io::Error| -> Errno { errno(&error) };
    match job {
        FileJob::Create(new) => {
            let (segment, result) = (new.segment, new.create(dir).map_err(number));
            Some(Control::Created { segment, result })
        }
        FileJob::Store { segment, offset, bytes, is_last } => {
            let result = store_snapshot(dir, segment, offset, &bytes, is_last).map_err(number);
            Some(Control::Stored { result })
        }
        FileJob::Discard { segment } => {
            discard_snapshot(dir, segment);
            None
        }
        FileJob::Remove(removal) => {
            removal.carry_out();
            None
        }
        FileJob::Unmap(map) => {
            drop(map);
            None
        }
        FileJob::GiveBackPages => {
            return_free_pages();
            None
        }
    }
}
