//! A disk that is full to the brim: what was acknowledged stays, and service returns by itself.

use std::collections::BTreeMap;

use redis::Value;
use ringmain_tests::process::{Client, Network, Ringmain, SmallDisk, code, until};
use rustix::process::Signal;

const DISK_MIB: u32 = 64;
const VALUE_BYTES: usize = 20_000;
/// So many refused keys are of all shards.
const REFUSED_COUNT: usize = 50;

/// A lone node on a small disk, and what it has acknowledged.
struct Small {
    disk: SmallDisk,
    network: Network,
    durability: &'static str,
    node: Ringmain,
    client: Client,
    acknowledged: BTreeMap<String, Vec<u8>>,
    count: usize,
}

impl Small {
    fn start(disk: SmallDisk, durability: &'static str) -> Small {
        let network = Network::take();
        let (node, client) = Small::run(&disk, &network, durability);
        Small { disk, network, durability, node, client, acknowledged: BTreeMap::new(), count: 0 }
    }

    fn run(disk: &SmallDisk, network: &Network, durability: &str) -> (Ringmain, Client) {
        let (listen, dir) = (network.host(1).to_string(), disk.path().join("data"));
        let words = ["start", "--listen", &listen, "--data-dir", dir.to_str().unwrap()];
        let more = ["--shards", "2", "--durability", durability];
        let mut node = Ringmain::of(disk.command(&[&words[..], &more].concat()));
        node.await_ready();
        let client = Client::connect(node.ready().resp).unwrap();
        (node, client)
    }

    fn kill(&mut self) {
        self.node.signal(Signal::KILL);
        self.node.wait();
        (self.node, self.client) = Small::run(&self.disk, &self.network, self.durability);
    }

    /// Writes a key; the refusal's code, if it is refused.
    fn set(&mut self, key: String) -> Option<String> {
        self.count += 1;
        let value = self.count.to_string().repeat(VALUE_BYTES / 4);
        let said = self.client.say::<Value>(&[b"SET", key.as_bytes(), value.as_bytes()]);
        if said.is_err() {
            return Some(code(said));
        }
        self.acknowledged.insert(key, value.into_bytes());
        None
    }

    /// Writes new keys until no shard has space for another.
    fn fill(&mut self, round: &str) {
        let mut refused_count = 0;
        for number in 0.. {
            match self.set(format!("{round}-{number}")).as_deref() {
                None => refused_count = 0,
                Some("BUSY") => {}
                Some("NOSPACE") if refused_count == REFUSED_COUNT => return,
                Some("NOSPACE") => refused_count += 1,
                Some(other) => panic!("refused with {other}"),
            }
        }
    }

    fn delete(&mut self, keys: Vec<String>) {
        for key in keys {
            until("a delete is taken", || self.client.ask::<u64>(&format!("DEL {key}")).is_ok());
            self.acknowledged.remove(&key);
        }
    }

    fn check(&mut self) {
        for (key, value) in &self.acknowledged {
            let got: Option<Vec<u8>> = self.client.ask(&format!("GET {key}")).unwrap();
            assert!(got.as_ref() == Some(value), "{key} is not what was acknowledged");
        }
    }

    fn await_service(&mut self) {
        until("writes are taken again", || self.set("probe".into()).is_none());
    }
}

fn filled_and_freed(durability: &'static str) {
    let Some(disk) = SmallDisk::mount(DISK_MIB) else { return };
    let mut small = Small::start(disk, durability);
    small.fill("first");
    assert!(small.acknowledged.len() > 1000, "{} fit", small.acknowledged.len());
    small.check();

    // Others take the rest. They give it back, and that is all the help there is.
    small.disk.fill();
    until("no more is taken", || small.set("more".into()).as_deref() == Some("NOSPACE"));
    small.check();
    small.kill();
    small.check();
    small.disk.clear();

    // Deletes, half of all, are taken and give room.
    let half: Vec<String> = small.acknowledged.keys().step_by(2).cloned().collect();
    small.delete(half);
    small.await_service();
    small.fill("second");
    small.kill();
    small.check();

    // All else gone, it takes as much again.
    small.delete(small.acknowledged.keys().cloned().collect());
    small.await_service();
    small.fill("third");
    assert!(small.acknowledged.len() > 800, "{} fit", small.acknowledged.len());
    small.check();
    small.node.signal(Signal::TERM);
    assert_eq!(small.node.wait().code(), Some(0));
}

#[test]
fn a_full_disk_comes_back_with_every_write_on_disk() {
    filled_and_freed("always");
}

#[test]
fn a_full_disk_comes_back_with_timed_syncs() {
    filled_and_freed("interval:20ms");
}

#[test]
fn a_full_disk_comes_back_without_syncs() {
    filled_and_freed("none");
}
