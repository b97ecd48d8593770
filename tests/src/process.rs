//! Real processes: the shipped binary, built apart from the tests, so that no feature of theirs
//! reaches it; started, listened to, and ended by id.
//!
//! Nothing here sleeps: a test waits for a line, an exit or an answer, each with a patience
//! that only a defect uses up.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

mod build;
mod client;
mod cluster;
mod fate;
mod http;
mod load;
mod lone;
mod modifiers;
mod namespace;
mod network;
mod roaming;
mod small_disk;

pub use build::Build;
pub use client::{Client, code, until, until_within};
pub use cluster::Cluster;
pub use fate::Fate;
pub use http::fetch;
pub use load::{Failed, Load, newest};
pub use lone::Lone;
pub use modifiers::{Modifiers, siblings};
pub use namespace::Namespace;
pub use network::Network;
pub use roaming::{Counts, Fault, Promised, Roaming};
pub use small_disk::SmallDisk;

/// How long anything may take before the test gives it up for broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `ringmain` binary as it is shipped; the first call of a test run builds it.
///
/// # Panics
/// If it does not build, with the compiler's words.
pub fn binary() -> &'static Path {
    Build::Newest.binary()
}

/// The target directory that this test binary lies in.
fn target_dir() -> PathBuf {
    let program = env::current_exe().expect("a test knows its own path");
    let target = program.ancestors().find(|path| path.join("CACHEDIR.TAG").exists());
    target.expect("cargo marks its target directory").into()
}

/// A command of the binary, without settings from this process's environment.
pub fn command(arguments: &[&str]) -> Command {
    Build::Newest.command(arguments)
}

/// The same, without settings from this process's environment and without stdin.
fn plain(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("RINGMAIN_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command of the binary to its end, which comes by a kill if patience runs out.
///
/// # Panics
/// If it cannot be run.
pub fn run(arguments: &[&str]) -> Output {
    run_to_end(command(arguments))
}

/// The same, of a prepared command.
///
/// # Panics
/// As [`run`].
pub fn run_to_end(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary was just built");
    let id = child.id();
    let watch = thread::spawn(move || {
        if !ends(id) {
            // It may end at this very moment.
            let _ended = kill_process(pid(id), Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("a child can be waited for");
    watch.join().expect("a process can be watched");
    output
}

/// The addresses and names of a node's `ready` line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Eight hex digits.
    pub node: String,
    /// Its name.
    pub name: String,
    /// RESP address.
    pub resp: SocketAddr,
    /// Native address.
    pub native: SocketAddr,
    /// HTTP address.
    pub admin: SocketAddr,
    /// Its shards.
    pub shards: u16,
}

impl Ready {
    /// Reads the line; `None` if it is anything else.
    pub fn parse(line: &str) -> Option<Ready> {
        let mut words = line.strip_prefix("ready ")?.split(' ');
        let mut field = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let ready = Ready {
            node: field("node")?.into(),
            name: field("name")?.into(),
            resp: field("resp")?.parse().ok()?,
            native: field("native")?.parse().ok()?,
            admin: field("admin")?.parse().ok()?,
            shards: field("shards")?.parse().ok()?,
        };
        words.next().is_none().then_some(ready)
    }
}

/// A running process of the binary. Dropping it kills it; if the test is failing then, its log
/// is printed.
#[derive(Debug)]
pub struct Ringmain {
    child: Child,
    /// Lines of stdout; closed at its end.
    lines: Receiver<String>,
    log: Arc<Log>,
    ready: Option<Ready>,
    status: Option<ExitStatus>,
}

impl Ringmain {
    /// Starts a process and returns at once.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(arguments: &[&str]) -> Ringmain {
        Ringmain::of(command(arguments))
    }

    /// Starts a prepared command, as [`command`] gives it.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn of(mut command: Command) -> Ringmain {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was just built");
        let (sender, lines) = channel();
        let log = Arc::new(Log::default());
        let kept = Arc::clone(&log);
        // Once a receiver is gone its lines are read all the same: a full pipe would stop the
        // process.
        read_lines(child.stdout.take(), move |line| drop(sender.send(line)));
        read_lines(child.stderr.take(), move |line| kept.push(line));
        Ringmain { child, lines, log, ready: None, status: None }
    }

    /// Starts `ringmain start` with `arguments` and waits for its `ready` line.
    ///
    /// # Panics
    /// If another line or the end comes instead, with its log.
    pub fn start(arguments: &[&str]) -> Ringmain {
        let mut node = Ringmain::spawn(&[&["start"], arguments].concat());
        node.await_ready();
        node
    }

    /// Waits for the `ready` line of a node that was only spawned.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn await_ready(&mut self) {
        assert!(self.try_ready().is_some(), "it ends instead");
    }

    /// Waits for the `ready` line of a node that was only spawned, or the end of its stdout.
    ///
    /// # Panics
    /// If another line comes instead.
    pub fn try_ready(&mut self) -> Option<&Ready> {
        let line = self.line()?;
        self.ready = Ready::parse(&line);
        assert!(self.ready.is_some(), "not a ready line: {line:?}");
        self.ready.as_ref()
    }

    /// What its `ready` line said.
    ///
    /// # Panics
    /// If nobody waited for the line.
    pub fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("`start` or `await_ready` came first")
    }

    /// Resident memory, KiB.
    ///
    /// # Panics
    /// If it has ended.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("a running process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        number.expect("the kernel says how much memory a process has")
    }

    /// The next line of its stdout; `None` at the end, or when patience runs out.
    pub fn line(&mut self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }

    /// The first line of its stdout from now on that contains `part`.
    ///
    /// # Panics
    /// If none comes.
    pub fn line_with(&mut self, part: &str) -> String {
        let found = std::iter::from_fn(|| self.line()).find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no line of stdout contains {part:?}"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its stdin, if the command piped it.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Lines of its stderr so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines().clone()
    }

    /// The first line of its stderr so far, or to come, that contains `part`.
    ///
    /// # Panics
    /// If none comes.
    pub fn log_with(&self, part: &str) -> String {
        let lacks = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(part));
        let waited = self.log.grew.wait_timeout_while(self.log.lines(), PATIENCE, lacks);
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let found = lines.iter().find(|line| line.contains(part)).cloned();
        drop(lines);
        found.unwrap_or_else(|| panic!("no line of stderr contains {part:?}"))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has been waited for: its id may be another's by now.
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none());
        kill_process(pid(self.id()), signal).expect("a child that was not waited for exists");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        assert!(ends(self.id()), "process {} does not end", self.id());
        let status = self.child.wait().expect("a child can be waited for");
        *self.status.insert(status)
    }
}

impl Drop for Ringmain {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It may have ended by itself: then there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("log of process {}:\n{}", self.child.id(), self.log().join("\n"));
        }
    }
}

/// Waits for the end of any process, also of one that is not a child; false if it lives on.
///
/// # Panics
/// If the kernel cannot watch it.
pub fn ends(id: u32) -> bool {
    let handle = match pidfd_open(pid(id), PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return true,
        Err(error) => panic!("cannot watch process {id}: {error}"),
    };
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [PollFd::new(&handle, PollFlags::IN)];
    poll(&mut polled, Some(&patience)).expect("a pidfd can be polled") == 1
}

/// Lets this process open as many files as the host allows it: each connection of a crowd is one.
pub fn raise_file_limit() -> u64 {
    ringmain_runtime::sys::raise_nofile()
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("the kernel gave this id")
}

fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    mut each: impl FnMut(String) + Send + 'static,
) {
    let pipe = pipe.expect("the caller piped it");
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            each(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// Lines of stderr, and a way to wait for more.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

impl Log {
    /// Readable also when a test that held it has failed.
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        self.lines().push(line);
        self.grew.notify_all();
    }
}
