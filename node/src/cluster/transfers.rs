//! `ringmain cluster transfers`: how far members have caught up with what they gain.

use comfy_table::{Table, presets};
use ringmain_runtime::settings::Secret;
use serde::{Deserialize, Serialize};

use super::everyone::Everyone;
use super::{json_text, unreadable};
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::output::print_line;

/// What one member says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Transfers {
    node: String,
    name: String,
    topology: String,
    pub(super) is_moving: bool,
    /// Partitions with which it must catch up, and those that are left.
    pub(super) gains: u64,
    pub(super) left: u64,
    keys: u64,
    exchanges: u64,
    records_sent: u64,
    bytes_sent: u64,
    /// Members for which the change waits.
    pub(super) awaited: Vec<Awaited>,
}

/// A member that has not caught up, or has not handed over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Awaited {
    pub(super) node: String,
    name: Option<String>,
    state: String,
}

pub(super) fn run(args: &NodeArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let mut everyone = Everyone::connect(args, secret)?;
    let mut all = Vec::new();
    for text in everyone.ask(|client| client.transfers()) {
        all.push(parse(&text)?);
    }
    if args.json {
        print_line(&json_text(&all)?)?;
    } else {
        print_line(&text(&all))?;
    }
    everyone.verdict()
}

pub(super) fn parse(text: &str) -> Result<Transfers, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

impl Awaited {
    /// Whether it does not answer.
    pub(super) fn is_away(&self) -> bool {
        self.state != "alive"
    }

    /// Its name and id.
    pub(super) fn text(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} ({})", self.node),
            None => self.node.clone(),
        }
    }
}

fn text(all: &[Transfers]) -> String {
    if !all.iter().any(|one| one.is_moving) {
        return "nothing moves".into();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["node", "name", "gains", "left", "keys", "records sent", "bytes sent"]);
    for one in all {
        let Transfers { node, name, gains, left, keys, records_sent, bytes_sent, .. } = one;
        let numbers = [gains, left, keys, records_sent, bytes_sent].map(u64::to_string);
        table.add_row([node.clone(), name.clone()].into_iter().chain(numbers));
    }
    let mut text = table.to_string();
    let awaited = all.iter().find(|one| one.is_moving).map(|one| &one.awaited);
    for one in awaited.into_iter().flatten() {
        text += &format!("\nwaits for {}, which is {}", one.text(), one.state);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"node":"0000002a","name":"oak","topology":"0123456789abcdef",
        "is_moving":true,"gains":48,"left":7,"keys":100,"exchanges":9,"records_sent":50,
        "bytes_sent":5000,"awaited":[{"node":"0000002b","name":"elm","state":"down"}]}"#;

    #[test]
    fn the_json_of_a_node_is_read_and_told() {
        let mut one = parse(TEXT).unwrap();
        let told = text(&[one.clone()]);
        for part in ["0000002a", "48", "7", "5000", "waits for elm (0000002b), which is down"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(one.awaited[0].is_away());
        assert_eq!(parse(&json_text(&one).unwrap()).unwrap(), one);
        one.is_moving = false;
        assert_eq!(text(&[one]), "nothing moves");
        assert!(parse("[]").is_err());
    }
}
