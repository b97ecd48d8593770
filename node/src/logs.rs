//! Log lines: from `tracing` to the bounded queue of the runtime, and from there to stderr.

use std::io;

use ringmain_runtime::log_writer::LogQueue;
use ringmain_runtime::settings::LogLevel;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::{Exit, Failure};

/// Sends this process's log lines to stderr. The queue is for the flush at the end.
pub(crate) fn start(level: LogLevel) -> Result<LogQueue, Failure> {
    let failed = |error: String| {
        Failure::new(Exit::Host, format!("cannot start the log: {error}"), "raise ulimit -u")
    };
    let queue = LogQueue::start(io::stderr()).map_err(|error| failed(error.to_string()))?;
    queue.serve_process();
    // One leaked queue handle: lines borrow it for as long as the process lives.
    let lines: &'static LogQueue = Box::leak(Box::new(queue.clone()));
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(filter(level))
        .with_writer(|| lines.line())
        .try_init()
        .map_err(|error| failed(error.to_string()))?;
    Ok(queue)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
