//! `ringmain cluster exchanges`: how long ago the copies of each partition were found equal.

use comfy_table::{Table, presets};
use ringmain_runtime::settings::Secret;
use serde::{Deserialize, Serialize};

use super::everyone::Everyone;
use super::{json_text, unreadable};
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::output::print_line;

/// A pair of owners of a partition.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Pair {
    node: String,
    partition: u16,
    peer: String,
    /// None: not since the node was started.
    last_equal_s: Option<u64>,
    differences: u64,
}

/// The pairs of two nodes, for people.
#[derive(Debug, Default)]
struct Sum {
    partitions: u64,
    equal: u64,
    oldest_s: u64,
    differences: u64,
}

pub(super) fn run(args: &NodeArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let mut everyone = Everyone::connect(args, secret)?;
    let mut all = Vec::new();
    for text in everyone.ask(|client| client.exchanges()) {
        all.extend(parse(&text)?);
    }
    if args.json {
        print_line(&json_text(&all)?)?;
    } else {
        print_line(&text(&all))?;
    }
    everyone.verdict()
}

fn parse(text: &str) -> Result<Vec<Pair>, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

/// A line for each two nodes; partitions that differ one by one.
fn text(all: &[Pair]) -> String {
    let mut sums = std::collections::BTreeMap::<(&str, &str), Sum>::new();
    for pair in all {
        let sum = sums.entry((&pair.node, &pair.peer)).or_default();
        sum.partitions += 1;
        sum.equal += u64::from(pair.last_equal_s.is_some());
        sum.oldest_s = sum.oldest_s.max(pair.last_equal_s.unwrap_or_default());
        sum.differences += pair.differences;
    }
    if sums.is_empty() {
        return "nothing has two copies".into();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["node", "peer", "partitions", "found equal", "seconds ago", "keys differ"]);
    for ((node, peer), sum) in &sums {
        let Sum { partitions, equal, oldest_s, differences } = sum;
        let oldest = if *equal == 0 { "-".into() } else { format!("up to {oldest_s}") };
        let numbers = [partitions, equal].map(u64::to_string);
        let [partitions, equal] = numbers;
        let differences = differences.to_string();
        table.add_row([(*node).into(), (*peer).into(), partitions, equal, oldest, differences]);
    }
    let mut text = table.to_string();
    for pair in all.iter().filter(|pair| pair.differences > 0) {
        let Pair { node, partition, peer, differences, .. } = pair;
        text += &format!("\npartition {partition}: {differences} keys differ in {node} and {peer}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"[
        {"node":"0000002a","partition":7,"peer":"0000002b","last_equal_s":12,"differences":0},
        {"node":"0000002a","partition":8,"peer":"0000002b","last_equal_s":null,"differences":5}]"#;

    #[test]
    fn the_json_of_a_node_is_read_and_told() {
        let all = parse(TEXT).unwrap();
        let told = text(&all);
        for part in ["0000002a", "up to 12", "partition 8: 5 keys differ"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert_eq!(parse(&json_text(&all).unwrap()).unwrap(), all);
        assert!(text(&[]).contains("two copies"));
        assert!(parse("{}").is_err());
    }
}
