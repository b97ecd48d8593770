//! `ringmain cluster ring`.

use comfy_table::{Table, presets};
use ringmain_runtime::settings::Secret;
use serde::Deserialize;

use super::unreadable;
use crate::args::RingArgs;
use crate::failure::Failure;
use crate::operation::{connect, key_of, refused};
use crate::output::print_line;

/// The nodes of one partition, in order of preference.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Arc {
    partition: u16,
    owners: Vec<String>,
    fallbacks: Vec<String>,
}

/// One partition, or all of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    One(Arc),
    All(Vec<Arc>),
}

pub(super) fn run(args: &RingArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let key = args.key.as_deref().map(key_of).transpose()?;
    let mut client = connect(&args.node, secret)?;
    let text = client.ring(key).map_err(|error| refused(args.node.node, &error))?;
    let arcs = parse(&text)?;
    if args.node.json { print_line(&text) } else { print_line(&table(&arcs).to_string()) }
}

fn parse(text: &str) -> Result<Vec<Arc>, Failure> {
    match serde_json::from_str(text) {
        Ok(Answer::One(arc)) => Ok(vec![arc]),
        Ok(Answer::All(arcs)) => Ok(arcs),
        Err(error) => Err(unreadable(&error)),
    }
}

fn table(arcs: &[Arc]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["partition", "owners", "fallbacks"]);
    for arc in arcs {
        let (owners, fallbacks) = (arc.owners.join(" "), arc.fallbacks.join(" "));
        table.add_row([arc.partition.to_string(), owners, fallbacks]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_or_all_are_read() {
        let one = r#"{"partition":7,"owners":["0000002a","0000002b"],"fallbacks":[]}"#;
        let arcs = parse(one).unwrap();
        assert_eq!((arcs[0].partition, arcs[0].owners.len()), (7, 2));
        assert_eq!(parse(&format!("[{one},{one}]")).unwrap().len(), 2);
        assert_eq!(parse("[]").unwrap(), []);
        assert!(table(&arcs).to_string().contains("0000002a 0000002b"));
        for text in ["", "{}", "[1]"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
