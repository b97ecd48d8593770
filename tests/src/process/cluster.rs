//! Clusters of real nodes, each cluster on a network of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Build, Client, Network, Ringmain, until};

/// Nodes, by index from 0. Node 0 founds; the others enter by it. Dropping it kills them.
pub struct Cluster {
    nodes: Vec<Node>,
    /// For every node.
    common: Vec<String>,
    /// Of nodes that are added.
    build: Build,
    folder: TempDir,
    network: Network,
}

struct Node {
    /// None while it is down.
    process: Option<Ringmain>,
    /// What it is always started with.
    arguments: Vec<String>,
    build: Build,
}

impl Cluster {
    /// A cluster of `count` nodes of one shard each, that has formed and serves.
    ///
    /// # Panics
    /// As all of its methods: if what they wait for does not come.
    pub fn form(count: usize) -> Cluster {
        Cluster::form_with(count, &["--shards", "1"])
    }

    /// The same, with other settings for all nodes.
    pub fn form_with(count: usize, common: &[&str]) -> Cluster {
        Cluster::form_of(Build::Newest, count, common)
    }

    /// The same, of another build.
    pub fn form_of(build: Build, count: usize, common: &[&str]) -> Cluster {
        let mut cluster = Cluster { build, ..Cluster::empty(common) };
        for _ in 0..count {
            cluster.add(&[]);
        }
        cluster.await_formed();
        cluster
    }

    /// Node `index`, which is down, is started as that build from now on.
    pub fn set_build(&mut self, index: usize, build: Build) {
        assert!(self.nodes[index].process.is_none(), "it runs");
        self.nodes[index].build = build;
    }

    /// No node yet; what all will be started with.
    pub fn empty(common: &[&str]) -> Cluster {
        let network = Network::take();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Cluster { nodes: Vec::new(), common: owned(common), build: Build::Newest, folder, network }
    }

    /// Starts one more node, with more settings, and waits until it is ready. The first founds.
    pub fn add(&mut self, settings: &[&str]) -> usize {
        let index = self.add_unready(settings);
        self.process_mut(index).await_ready();
        index
    }

    /// Starts one more node and returns at once.
    pub fn add_unready(&mut self, settings: &[&str]) -> usize {
        let seed = SocketAddr::new(self.network.host(1).into(), 7400).to_string();
        let entering = ["--seed", seed.as_str(), "--join"];
        let index = self.nodes.len();
        let arguments = self.common.iter().cloned().chain(owned(settings)).collect();
        self.nodes.push(Node { process: None, arguments, build: self.build });
        self.spawn(index, if index == 0 { &[] } else { &entering });
        index
    }

    /// Starts one more node, which does not join but waits, and waits until it is ready.
    pub fn add_waiting(&mut self, settings: &[&str]) -> usize {
        let seed = SocketAddr::new(self.network.host(1).into(), 7400).to_string();
        let index = self.nodes.len();
        let arguments = self.common.iter().cloned().chain(owned(settings)).collect();
        self.nodes.push(Node { process: None, arguments, build: self.build });
        self.spawn(index, &["--seed", &seed]);
        self.process_mut(index).await_ready();
        index
    }

    /// Starts a node that is down from what is on its disk, without a seed.
    pub fn start(&mut self, index: usize) {
        self.spawn(index, &[]);
        self.process_mut(index).await_ready();
    }

    /// The same, with more settings for this life.
    pub fn start_with(&mut self, index: usize, settings: &[&str]) {
        self.spawn(index, settings);
        self.process_mut(index).await_ready();
    }

    /// Waits until a node that was started unready is ready.
    pub fn await_ready(&mut self, index: usize) {
        self.process_mut(index).await_ready();
    }

    fn spawn(&mut self, index: usize, more: &[&str]) {
        assert!(self.nodes[index].process.is_none(), "it runs");
        let listen = self.network.host(index as u8 + 1).to_string();
        let dir = self.dir(index);
        let dir = dir.to_str().expect("temporary folders have plain names");
        let own = self.nodes[index].arguments.iter().map(String::as_str).collect::<Vec<_>>();
        let words = [&["start", "--listen", &listen, "--data-dir", dir], &own[..], more].concat();
        let command = self.nodes[index].build.command(&words);
        self.nodes[index].process = Some(Ringmain::of(command));
    }

    /// Kills a node: it cannot do anything about it.
    pub fn kill(&mut self, index: usize) {
        let mut node = self.nodes[index].process.take().expect("it runs");
        node.signal(Signal::KILL);
        node.wait();
    }

    /// Asks a node to stop and waits until it has.
    pub fn stop(&mut self, index: usize) {
        let mut node = self.nodes[index].process.take().expect("it runs");
        node.signal(Signal::TERM);
        assert_eq!(node.wait().code(), Some(0), "a node that is asked to stops");
    }

    /// Waits until a node has ended by itself, and gives it back.
    pub fn await_end(&mut self, index: usize) -> Ringmain {
        let mut node = self.nodes[index].process.take().expect("it runs");
        node.wait();
        node
    }

    /// Sends all nodes a signal, then waits for the end of all; gives them back.
    pub fn end_all(&mut self, signal: Signal) -> Vec<Ringmain> {
        let mut ended: Vec<_> =
            self.nodes.iter_mut().filter_map(|node| node.process.take()).collect();
        for node in &ended {
            node.signal(signal);
        }
        for node in &mut ended {
            node.wait();
        }
        ended
    }

    /// Waits until every node that runs knows all nodes, and all reach each other.
    pub fn await_formed(&mut self) {
        let all = self.nodes.len();
        for index in 0..all {
            self.await_members(index, all);
        }
        for index in 0..all {
            self.await_settled(index);
        }
        for index in 0..all {
            self.await_writes(index, all.min(3));
        }
    }

    /// Waits until node `index` knows `count` members.
    pub fn await_members(&self, index: usize, count: usize) {
        self.await_told(index, &format!("members:{count}\r\n"));
    }

    /// Waits until all data is where the membership that node `index` knows says: until then a
    /// write needs those who had it before, who may be few.
    pub fn await_settled(&self, index: usize) {
        self.await_told(index, "active_topologies:1\r\n");
    }

    fn await_told(&self, index: usize, line: &str) {
        let mut client = self.client(index);
        let mut look = || client.ask::<String>("INFO cluster").is_ok_and(|it| it.contains(line));
        until(&format!("{line:?} of node {index}"), &mut look);
    }

    /// Waits until a write at node `index` reaches `count` nodes, from every shard of it.
    pub fn await_writes(&self, index: usize, count: usize) {
        let mut client = self.client(index);
        for key in 0..16 {
            let line = format!("RM.PUT formed-{key} - yes W {count}");
            until(&format!("a write to {count} nodes from node {index}"), || {
                let _clean = client.ask::<redis::Value>(&format!("DEL formed-{key}"));
                client.ask::<redis::Value>(&line).is_ok()
            });
        }
    }

    /// A new connection to a node.
    pub fn client(&self, index: usize) -> Client {
        Client::connect(self.resp(index)).expect("a ready node accepts clients")
    }

    /// One new connection to each node that runs.
    pub fn clients(&self) -> Vec<Client> {
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.process.is_some());
        running.map(|(index, _)| self.client(index)).collect()
    }

    /// Requests that the nodes that run have passed on, as `INFO` tells, a moment ago.
    ///
    /// # Panics
    /// If it does not.
    pub fn forward_count(&self) -> u64 {
        let of_node = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("requests_forwarded_total:"));
            line.and_then(|count| count.trim().parse::<u64>().ok()).expect("INFO has all counters")
        };
        let info = |client: &mut Client| client.ask("INFO stats").expect("a ready node answers");
        self.clients().iter_mut().map(|client| of_node(info(client))).sum()
    }

    /// Where node `index` takes RESP clients, whether it runs or not.
    pub fn resp(&self, index: usize) -> SocketAddr {
        SocketAddr::new(self.network.host(index as u8 + 1).into(), 7379)
    }

    /// Where node `index` takes native clients and peers, whether it runs or not.
    pub fn native(&self, index: usize) -> SocketAddr {
        SocketAddr::new(self.network.host(index as u8 + 1).into(), 7400)
    }

    /// The data directory of node `index`.
    pub fn dir(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("node-{index}"))
    }

    /// A running node.
    pub fn process(&self, index: usize) -> &Ringmain {
        self.nodes[index].process.as_ref().expect("it runs")
    }

    /// The process of node `index`, which runs, to wait for its end.
    pub fn process_mut(&mut self, index: usize) -> &mut Ringmain {
        self.nodes[index].process.as_mut().expect("it runs")
    }

    /// How many nodes there are, also those that are down.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// The network, for addresses beyond those of the nodes.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| String::from(*word)).collect()
}
