//! Log lines must never hang a shard: a terminal that was stopped, or a full pipe behind
//! stderr, blocks whoever writes to it. So shards put finished lines into a bounded queue
//! without waiting, one thread writes them out, and a line that finds the queue full is dropped
//! and counted. When the thread gets on again it writes one line that says how many were lost.
//!
//! Memory is bounded by [`LINE_COUNT_MAX`] × [`LINE_BYTES_MAX`]. For `tracing-subscriber`, a
//! closure that calls [`LogQueue::line`] is a `MakeWriter`.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait for the writer thread.
pub const LINE_COUNT_MAX: usize = 1024;
/// Longest line; the rest is cut off.
pub const LINE_BYTES_MAX: usize = 4096;
/// How long the last log lines of a process may take to be written.
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// The queue of this process's own log.
static OF_PROCESS: OnceLock<LogQueue> = OnceLock::new();

/// Where shards put their lines. Clones share one queue.
#[derive(Clone, Debug)]
pub struct LogQueue {
    items: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

/// One line being written; dropping it puts it into the queue. Control characters become
/// spaces, but for the newline at the end, which is added if it is missing.
#[derive(Debug)]
pub struct LogLine<'a> {
    queue: &'a LogQueue,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Everything before this is written: answer, which the sender may no longer await.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// Starts the writer thread over `sink`. It ends with the last clone of the queue.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<LogQueue> {
        let (items, waiting) = sync_channel(LINE_COUNT_MAX);
        let queue = LogQueue { items, dropped: Arc::new(AtomicU64::new(0)) };
        let dropped = Arc::clone(&queue.dropped);
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&waiting, &dropped, sink))?;
        Ok(queue)
    }

    /// Makes this the queue that [`end_process`] flushes. The first one stays.
    pub fn serve_process(&self) {
        let _ = OF_PROCESS.set(self.clone());
    }

    /// An empty line to write into. Never waits, and neither does its drop.
    pub fn line(&self) -> LogLine<'_> {
        LogLine { queue: self, bytes: Vec::with_capacity(256) }
    }

    /// Lines lost since the start, because the queue was full or the sink refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line put so far is written, at most `patience`; for the end of the
    /// process. False if lines may be left.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let (done, flushed) = sync_channel(1);
        let mut item = Item::Flush(done);
        while let Err(refused) = self.items.try_send(item) {
            let TrySendError::Full(back) = refused else { return false };
            if Instant::now() >= until {
                return false;
            }
            item = back;
            thread::sleep(Duration::from_millis(1));
        }
        flushed.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// Ends the process where it stands, as a crash would, but once the lines that say why are
/// written, or after [`FLUSH_PATIENCE`] if they cannot be.
pub fn end_process() -> ! {
    flush();
    std::process::abort();
}

/// The same, with an exit code: nothing is wrong with this process, but it must not go on.
pub fn end_process_with(code: i32) -> ! {
    flush();
    std::process::exit(code);
}

fn flush() {
    if let Some(queue) = OF_PROCESS.get() {
        queue.flush(FLUSH_PATIENCE);
    }
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        // Whatever a message quotes, it stays one line and cannot pose as another.
        for byte in bytes.iter_mut().filter(|byte| byte.is_ascii_control()) {
            *byte = b' ';
        }
        if bytes.last() == Some(&b' ') || bytes.len() == LINE_BYTES_MAX {
            bytes.pop();
        }
        bytes.push(b'\n');
        let line = Item::Line(bytes);
        if self.queue.items.try_send(line).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The writer thread. A sink that fails loses lines, nothing more.
fn write_lines(waiting: &Receiver<Item>, dropped: &AtomicU64, mut sink: impl Write) {
    let mut told = 0;
    while let Ok(item) = waiting.recv() {
        let now = dropped.load(Ordering::Relaxed);
        if now > told && writeln!(sink, "ringmain: {} log lines were dropped", now - told).is_ok() {
            told = now;
        }
        match item {
            Item::Line(line) => {
                if sink.write_all(&line).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Item::Flush(done) => {
                // A sink that cannot flush has already lost what it lost.
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
