//! `ringmain repair`: has all nodes compare their copies now, and waits for that.

use std::thread::sleep;
use std::time::Duration;

use ringmain_core::id::Partition;
use serde::{Deserialize, Serialize};

use crate::args::RepairArgs;
use crate::cluster::{Everyone, json_text, unreadable};
use crate::config::given_secret;
use crate::failure::Failure;
use crate::output::print_line;
use crate::progress::Progress;

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// How far a node is, or all of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Repair {
    is_running: bool,
    pairs: u64,
    left: u64,
    deferred: Vec<Deferred>,
    differences: u64,
    /// Members that did not answer: the pairs that they would begin are not counted above.
    #[serde(default)]
    unasked: Vec<String>,
}

/// A pair of owners that could not be compared.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Deferred {
    partition: u16,
    peer: String,
}

/// Waits until all pairs of owners were compared, or cannot be now; that is a failure.
pub(crate) fn run(args: &RepairArgs) -> Result<(), Failure> {
    let secret = args.cluster_secret.as_deref().map(given_secret).transpose()?;
    let mut everyone = Everyone::connect(&args.node, secret.as_ref())?;
    let partition = args.partition.map(Partition);
    if let Some(Partition(number)) = partition
        && u32::from(number) >= everyone.partitions()
    {
        let what = format!("there is no partition {number}");
        let remedy = format!("the cluster has 0 to {}", everyone.partitions() - 1);
        return Err(Failure::usage(what, remedy));
    }
    everyone.ask(|client| client.repair(partition));
    let mut progress = Progress::new("repair", "pairs of copies");
    let sum = loop {
        let answers = everyone.ask(|client| client.repair_status());
        let mut sum = Repair::default();
        for text in &answers {
            sum.add(parse(text)?);
        }
        if !sum.is_running {
            break sum;
        }
        progress.show(sum.pairs - sum.left, sum.pairs);
        sleep(LOOK_PAUSE);
    };
    progress.end();
    let sum = Repair { unasked: everyone.missing().to_vec(), ..sum };
    if args.node.json {
        print_line(&json_text(&sum)?)?;
    } else {
        print_line(&sum.text())?;
    }
    everyone.verdict()?;
    sum.verdict()
}

fn parse(text: &str) -> Result<Repair, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

impl Repair {
    fn add(&mut self, other: Repair) {
        self.is_running |= other.is_running;
        self.pairs += other.pairs;
        self.left += other.left;
        self.deferred.extend(other.deferred);
        self.differences += other.differences;
    }

    fn text(&self) -> String {
        let mut peers = std::collections::BTreeMap::<&str, u64>::new();
        for deferred in &self.deferred {
            *peers.entry(&deferred.peer).or_default() += 1;
        }
        let equal = self.pairs - self.deferred.len() as u64;
        let mut text = format!("{equal} of {} pairs of copies were compared", self.pairs);
        if self.differences > 0 {
            text += &format!("\n{} keys still differ", self.differences);
        }
        for (peer, count) in peers {
            text += &format!(
                "\ndeferred: {count} with {peer}: it is away or hangs, or a node may not write"
            );
        }
        for member in &self.unasked {
            text += &format!("\nnot asked: {member}; some of its copies are not compared");
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if !self.deferred.is_empty() {
            let what = format!("{} pairs of copies were not compared", self.deferred.len());
            return Err(Failure::failed(what, "repair again once their nodes are back"));
        }
        if self.differences > 0 {
            let what = format!("{} keys still differ", self.differences);
            let remedy =
                "look for a full or failed disk in `cluster exchanges` and the nodes' logs";
            return Err(Failure::failed(what, remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"is_running":false,"pairs":4,"left":0,"differences":2,
        "deferred":[{"partition":3,"peer":"0000002b"}]}"#;

    #[test]
    fn what_was_deferred_is_told_and_a_failure() {
        let mut sum = Repair::default();
        assert!(sum.verdict().is_ok());
        sum.add(parse(TEXT).unwrap());
        sum.add(parse(TEXT).unwrap());
        let told = sum.text();
        for part in ["6 of 8", "4 keys", "2 with 0000002b"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(sum.verdict().unwrap_err().to_string().contains("2 pairs"));
        sum.unasked.push("a (00000001)".into());
        assert!(sum.text().contains("not asked: a (00000001)"));
        sum.deferred.clear();
        assert!(sum.verdict().unwrap_err().to_string().contains("differ"));
        assert!(parse("[]").is_err());
    }
}
