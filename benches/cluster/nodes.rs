//! Nodes of the shipped binary, and what they say of themselves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at the nodes.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// A running node, on the default ports of an address of its own. Dropping it kills it.
pub(crate) struct Node {
    child: Child,
    host: Ipv4Addr,
}

impl Node {
    /// Starts `binary` and waits until it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub(crate) fn start(binary: &Path, dir: &Path, host: Ipv4Addr, settings: &[&str]) -> Node {
        let mut command = Command::new(binary);
        command.args(["start", "--log-level", "warn", "--listen", &host.to_string()]);
        command.arg("--data-dir").arg(dir.join(host.to_string())).args(settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let stdout = child.stdout.take().expect("it was piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        let node = Node { child, host };
        assert!(line.starts_with("ready "), "{host} did not start: is its address taken?");
        node
    }

    /// Where clients connect.
    pub(crate) fn resp(&self) -> SocketAddr {
        (self.host, 7379).into()
    }

    /// Where others enter.
    pub(crate) fn native(&self) -> String {
        format!("{}:7400", self.host)
    }

    /// One of its metrics, summed over its shards.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.page("/metrics");
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        let value = |line: &str| line.rsplit(' ').next().and_then(|it| it.parse::<f64>().ok());
        text.lines().filter(of).filter_map(value).map(|value| value as u64).sum()
    }

    /// The cluster as it sees it.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.page("/status")).unwrap_or_default()
    }

    /// Waits until there are `count` members, and all data is where it belongs.
    pub(crate) fn await_settled(&self, count: usize) {
        loop {
            let status = self.status();
            let members = status["nodes"].as_array().map_or(0, Vec::len);
            if members == count && status["active_topologies"] == 1 {
                return;
            }
            thread::sleep(LOOK_PAUSE);
        }
    }

    fn page(&self, path: &str) -> String {
        let page = || {
            let mut stream = TcpStream::connect((self.host, 7480))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nhost: ringmain\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = page().expect("a node that runs answers on its admin port");
        text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.into())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `count` nodes that are one cluster, once that has settled. Their data lies in `dir`.
///
/// # Panics
/// If one does not start.
pub(crate) fn start_all(binary: &Path, dir: &Path, count: u8, settings: &[&str]) -> Vec<Node> {
    let first = Node::start(binary, dir, host(1), settings);
    let seed = first.native();
    let settings = [settings, &["--seed", &seed, "--join"]].concat();
    let others = (2..=count).map(|index| Node::start(binary, dir, host(index), &settings));
    let nodes: Vec<Node> = std::iter::once(first).chain(others).collect();
    nodes[0].await_settled(nodes.len());
    nodes
}

/// The address of node `index`, from 1, in a loopback network that few other processes take.
pub(crate) fn host(index: u8) -> Ipv4Addr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 100 + high % 100, low, index)
}

/// The binary that is measured.
pub(crate) fn release_binary() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../target/release/ringmain"].iter().collect()
}

/// The binary that a tiny run takes: that of the process tests, built if it is missing.
///
/// # Panics
/// If it does not build.
pub(crate) fn tiny_binary() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "ringmain", "--target-dir", "target/process"]);
    let built = build.current_dir(&workspace).status().expect("cargo runs this");
    assert!(built.success(), "ringmain does not build");
    workspace.join("target/process/debug/ringmain")
}
