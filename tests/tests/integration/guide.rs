//! The guide for operators is right: its commands are typed into one shell as they stand, one after
//! the other, each ends well, and what it is said to print is printed.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use ringmain_tests::process::{Namespace, Network, PATIENCE, binary};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const GUIDE: &str = include_str!("../../../node/OPERATING.md");
/// Stands for any words.
const ELLIPSIS: &str = "…";
/// What the shell says behind each command, before the exit code.
const END: &str = "exit code of a command: ";

/// A command and the lines that it prints, as the guide has them.
struct Typed {
    command: String,
    printed: Vec<String>,
}

/// The commands in its blocks for consoles.
fn commands(guide: &str) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut is_console = false;
    for line in guide.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => is_console = line == "```console",
            _ if !is_console => {}
            Some(command) => all.push(Typed { command: command.into(), printed: Vec::new() }),
            None => {
                let last = all.last_mut().expect("a block begins with a command");
                last.printed.push(line.into());
            }
        }
    }
    all
}

/// Whether a line is what the guide has, but for ids, hashes, numbers, blanks and ellipses.
fn is_as(line: &str, guide: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(general).collect::<Vec<_>>();
    are_as(&words(line), &words(guide))
}

fn are_as(line: &[String], guide: &[String]) -> bool {
    match guide.split_first() {
        None => line.is_empty(),
        Some((first, rest)) if first == ELLIPSIS => {
            (0..=line.len()).any(|skipped| are_as(&line[skipped..], rest))
        }
        Some((first, rest)) => {
            line.split_first().is_some_and(|(word, more)| word == first && are_as(more, rest))
        }
    }
}

/// A word without what differs from one cluster to the next.
fn general(word: &str) -> String {
    // In `node=f93b5c0e` the id stands behind its name.
    let (name, value) = word.split_once('=').unwrap_or(("", word));
    let bare = value.trim_matches([':', ',', ';', '(', ')']);
    let value = match is_hash(bare) || is_id(bare) {
        true => "hex".into(),
        false => value.replace(|c: char| c.is_ascii_digit(), ""),
    };
    format!("{name}{value}")
}

fn is_hex(word: &str, digits: usize) -> bool {
    word.len() == digits && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_hash(word: &str) -> bool {
    is_hex(word, 16)
}

fn is_id(word: &str) -> bool {
    is_hex(word, 8) || is_hex(word, 32)
}

/// A shell in a folder of its own. Dropping it ends it, and all that it started.
struct Shell {
    child: Child,
    lines: Receiver<String>,
    /// The hash that a plan showed last.
    hash: String,
    _folder: TempDir,
}

impl Shell {
    fn start() -> Shell {
        let folder = tempfile::tempdir().unwrap();
        let path = env::var_os("PATH").unwrap_or_default();
        let own = binary().parent().unwrap().to_path_buf();
        let all = env::join_paths([own].into_iter().chain(env::split_paths(&path))).unwrap();
        let mut command = Command::new("bash");
        command.current_dir(&folder).env("PATH", all);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let mut shell = Shell { child, lines, hash: String::new(), _folder: folder };
        shell.say("exec 2>&1; trap 'kill -9 $(jobs -p)' EXIT");
        shell
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Types a command, and waits until it has ended and all has been printed.
    fn check(&mut self, typed: &Typed) {
        let words = typed.command.split(' ').map(|word| match is_hash(word) {
            true => self.hash.clone(),
            false => word.into(),
        });
        let command = words.collect::<Vec<_>>().join(" ");
        self.say(&command);
        // A value is printed without an end of line.
        self.say(&format!("printf '\\n{END}%s\\n' $?"));
        let mut awaited = typed.printed.iter().filter(|line| *line != ELLIPSIS).peekable();
        let (mut code, mut all) = (None, Vec::new());
        while code.is_none() || awaited.peek().is_some() {
            let line = self.lines.recv_timeout(5 * PATIENCE);
            let Ok(line) = line else { panic!("{command}: no {:?} in {all:#?}", awaited.peek()) };
            if let Some(found) = line.strip_prefix(END) {
                code = Some(found.to_owned());
                continue;
            }
            awaited.next_if(|guide| is_as(&line, guide));
            if let Some((_, commit)) = line.split_once("cluster commit ") {
                self.hash = commit.split(' ').next().unwrap().into();
            }
            all.push(line);
        }
        assert_eq!(code.as_deref(), Some("0"), "{command}: {all:#?}");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended by itself, at the end of its input.
        let id = Pid::from_raw(self.child.id() as i32).unwrap();
        let _ended = kill_process(id, Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    let Some(_namespace) = Namespace::enter() else {
        return eprintln!("skipped: the addresses of the guide need root and `ip`");
    };
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: the guide needs `curl`");
    }
    let _turn = Network::take();
    let commands = commands(GUIDE);
    assert!(commands.len() > 50, "{} commands", commands.len());
    let mut shell = Shell::start();
    commands.iter().for_each(|typed| shell.check(typed));
}

#[test]
fn a_line_is_held_against_the_guide() {
    let line = " 1ae3dcc3  oak   alive  default  100  1024  127.0.0.1:7379 ";
    assert!(is_as(line, "f93b5c0e oak alive default 100 768 127.0.0.1:7379"));
    assert!(is_as(line, "… oak … 127.0.0.1:7379") && is_as(line, "… oak …"));
    assert!(!is_as(line, "… elm …") && !is_as(line, "f93b5c0e oak"));
    assert!(is_as("ready node=1ae3dcc3 name=oak", "ready node=00000000 name=oak"));
    assert!(!is_as("ready node=1ae3dcc3 name=oak", "ready node=00000000 name=elm"));
    assert!(is_as(
        "committed c49b25383214c37b: 761 copies",
        "committed 6f368fff88f841f5: 8 copies"
    ));
    assert!(is_as("", "") && is_as("", ELLIPSIS) && !is_as("", "converged"));
}
