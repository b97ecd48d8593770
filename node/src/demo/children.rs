//! The processes of a demo: started, listened to, stopped. Events of all of them, and signals
//! to the demo itself, arrive on one channel, so the demo waits in one place.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::PREFIX;
use crate::failure::{Exit, Failure};

/// Longest line taken from a node, bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// How one node is started.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// What happened; nodes by their index.
#[derive(Debug)]
pub(super) enum Event {
    /// The node printed its `ready` line.
    Ready(usize),
    /// The node ended, or closed its stdout, which it does only then.
    Ended(usize),
    /// SIGINT, SIGTERM or SIGHUP to the demo.
    Signal,
}

/// All nodes started so far.
#[derive(Debug)]
pub(super) struct Children {
    nodes: Vec<Node>,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

#[derive(Debug)]
struct Node {
    plan: Plan,
    child: Child,
    ready: bool,
    /// Once it has ended and was waited for: from then on its pid is not ours.
    ended: Option<ExitStatus>,
}

impl Children {
    /// No nodes yet; signals that end a process arrive as events from now on.
    pub(super) fn watch_signals() -> Result<Children, Failure> {
        let children = Children::new();
        let sender = children.sender.clone();
        Signals::new([SIGHUP, SIGINT, SIGTERM])
            .and_then(|mut signals| {
                thread::Builder::new().name("signals".into()).spawn(move || {
                    // Ends with the process, or when nobody listens any more.
                    signals.forever().all(|_| sender.send(Event::Signal).is_ok());
                })
            })
            .map_err(|error| {
                Failure::failed(format!("cannot watch signals: {error}"), "try again")
            })?;
        Ok(children)
    }

    /// As [`watch_signals`](Self::watch_signals), without signals.
    pub(super) fn new() -> Children {
        let (sender, events) = channel();
        Children { nodes: Vec::new(), events, sender }
    }

    /// Starts one more node, in a process group of its own (Ctrl-C goes to the demo alone),
    /// told to end with this process, and free of this process's environment settings.
    pub(super) fn spawn(&mut self, plan: Plan) -> Result<(), Failure> {
        let mut command = Command::new(&plan.program);
        command.args(&plan.arguments);
        command.arg("--parent").arg(std::process::id().to_string());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(PREFIX) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = command.process_group(0).spawn();
        let mut child = started.map_err(|error| {
            let what = format!("cannot start {}: {error}", plan.program.display());
            Failure::failed(what, "check that the program is still there")
        })?;
        let index = self.nodes.len();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        self.nodes.push(Node { plan, child, ready: false, ended: None });
        let sender = self.sender.clone();
        let listening = thread::Builder::new().spawn(move || {
            for_lines(stdout, |line| {
                if line.starts_with(b"ready ") {
                    let _ = sender.send(Event::Ready(index));
                }
            });
            let _ = sender.send(Event::Ended(index));
        });
        let passing = thread::Builder::new().spawn(move || {
            for_lines(stderr, |line| pass_on(index, line));
        });
        listening.and(passing).map(drop).map_err(|error| {
            Failure::failed(format!("cannot start a thread: {error}"), "raise ulimit -u")
        })
    }

    /// The next event, waiting for at most `patience` (`None`: for ever); `None` if there was
    /// none. What it says of a node is true of the queries below from now on.
    pub(super) fn next(&mut self, patience: Option<Duration>) -> Option<Event> {
        // `sender` is ours, so the channel cannot be closed.
        let event = match patience {
            Some(patience) => self.events.recv_timeout(patience),
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let event = event.ok()?;
        match event {
            Event::Ready(index) => self.nodes[index].ready = true,
            Event::Ended(index) => {
                let node = &mut self.nodes[index];
                node.ended = Some(node.child.wait().unwrap_or_default());
            }
            Event::Signal => {}
        }
        Some(event)
    }

    /// How many nodes have said that they are ready.
    pub(super) fn ready(&self) -> usize {
        self.nodes.iter().filter(|node| node.ready).count()
    }

    /// How many nodes have not ended.
    pub(super) fn living(&self) -> usize {
        self.nodes.iter().filter(|node| node.ended.is_none()).count()
    }

    /// The process id of a node, past or present.
    pub(super) fn pid(&self, index: usize) -> u32 {
        self.nodes[index].child.id()
    }

    /// How a node ended, as a clause.
    pub(super) fn ending(&self, index: usize) -> String {
        match self.nodes[index].ended {
            None => "runs".into(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, Some(signal)) => format!("was killed by signal {signal}"),
                (None, None) => "ended".into(),
            },
        }
    }

    /// The command that starts a node again by hand.
    pub(super) fn command(&self, index: usize) -> String {
        let Plan { program, arguments } = &self.nodes[index].plan;
        let words =
            std::iter::once(program.as_os_str()).chain(arguments.iter().map(|a| a.as_ref()));
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Why the demo cannot go on without this node.
    pub(super) fn failure(&self, index: usize) -> Failure {
        let code = self.nodes[index].ended.and_then(|status| status.code());
        let exit = match code {
            Some(2) => Exit::Usage,
            Some(3) => Exit::Host,
            Some(4) => Exit::DataDir,
            _ => Exit::Failed,
        };
        let what = format!("node {} {}", index + 1, self.ending(index));
        Failure::new(exit, what, "see its lines above")
    }

    /// SIGTERM to every living node; SIGKILL to those that live on after `patience`, or at once
    /// on a second signal to the demo.
    pub(super) fn stop(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for node in self.nodes.iter().filter(|node| node.ended.is_none()) {
            // Not waited for yet, so the pid is still its own.
            let pid = i32::try_from(node.child.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        while self.living() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(Some(left)) {
                Some(Event::Ready(_) | Event::Ended(_)) => {}
                Some(Event::Signal) | None => break,
            }
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.ended.is_none() {
                let _ = node.child.kill();
                node.ended = node.child.wait().ok();
                let _ = writeln!(io::stderr(), "ringmain: node {} had to be killed", index + 1);
            }
        }
    }
}

impl Drop for Children {
    /// A demo that fails leaves no process behind.
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// Calls `each` with every line, without its end, until the pipe is closed.
fn for_lines(pipe: Option<impl Read>, mut each: impl FnMut(&[u8])) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        each(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
}

/// A log line of a node, with its number in front.
fn pass_on(index: usize, line: &[u8]) {
    let mut text = format!("{} | ", index + 1).into_bytes();
    text.extend_from_slice(line);
    text.push(b'\n');
    // When our stderr is gone there is nobody left to tell.
    let _ = io::stderr().write_all(&text);
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
