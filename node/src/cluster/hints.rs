//! `ringmain cluster hints`: what nodes keep for others that lacked it.

use comfy_table::{Table, presets};
use ringmain_runtime::settings::Secret;
use serde::{Deserialize, Serialize};

use super::everyone::Everyone;
use super::{json_text, unreadable};
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::output::print_line;

/// What one node keeps for another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Hints {
    holder: String,
    target: String,
    count: u64,
    bytes: u64,
    oldest_s: u64,
}

pub(super) fn run(args: &NodeArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let mut everyone = Everyone::connect(args, secret)?;
    let mut all = Vec::new();
    for text in everyone.ask(|client| client.hints()) {
        all.extend(parse(&text)?);
    }
    if args.json {
        print_line(&json_text(&all)?)?;
    } else if all.is_empty() && !everyone.missing().is_empty() {
        print_line(&format!("no hints at the {} members that were asked", everyone.count()))?;
    } else {
        print_line(&text(&all))?;
    }
    everyone.verdict()
}

fn parse(text: &str) -> Result<Vec<Hints>, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

fn text(all: &[Hints]) -> String {
    if all.is_empty() {
        return "no hints".into();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["holder", "for", "keys", "bytes", "for seconds"]);
    for one in all {
        let Hints { holder, target, count, bytes, oldest_s } = one;
        let numbers = [count, bytes, oldest_s].map(u64::to_string);
        let [count, bytes, oldest] = numbers;
        table.add_row([holder.clone(), target.clone(), count, bytes, oldest]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"[{"holder":"0000002a","target":"0000002b","count":3,"bytes":192,
        "oldest_s":17}]"#;

    #[test]
    fn the_json_of_a_node_is_read_and_told() {
        let all = parse(TEXT).unwrap();
        let told = text(&all);
        for part in ["0000002a", "0000002b", "192", "17"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert_eq!(parse(&json_text(&all).unwrap()).unwrap(), all);
        assert_eq!(text(&[]), "no hints");
        assert!(parse("{}").is_err());
    }
}
