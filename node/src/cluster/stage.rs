//! `ringmain cluster join`, `leave`, `replace`, `forget`, `weight` and `zone`, which stage a
//! change, and `clear`.

use ringmain_core::wire::admin::Stage;
use ringmain_runtime::settings::Secret;
use serde::Deserialize;

use super::unreadable;
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::operation::{connect, refused};
use crate::output::print_line;

/// A change, as nodes tell of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(super) struct Change {
    op: String,
    node: String,
    /// None of a node that never told it.
    name: Option<String>,
    weight: Option<u32>,
    zone: Option<String>,
}

pub(super) fn run(
    args: &NodeArgs,
    secret: Option<&Secret>,
    stage: &Stage<'_>,
) -> Result<(), Failure> {
    let mut client = connect(args, secret)?;
    let text = client.stage(stage).map_err(|error| refused(args.node, &error))?;
    if args.json { print_line(&text) } else { print_line(&told(&parse(&text)?)) }
}

pub(super) fn clear(args: &NodeArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let mut client = connect(args, secret)?;
    client.clear().map_err(|error| refused(args.node, &error))?;
    print_line(if args.json { "{}" } else { "nothing is staged any more" })
}

fn parse(text: &str) -> Result<Vec<Change>, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

fn told(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        text += &format!("staged: {}\n", change.text());
    }
    text + "nothing moves yet: see `ringmain cluster plan`"
}

impl Change {
    /// In one line, for people.
    pub(super) fn text(&self) -> String {
        let Change { op, node, name, weight, zone } = self;
        let mut text = match name {
            Some(name) => format!("{op} {name} ({node})"),
            None => format!("{op} {node}"),
        };
        if let Some(weight) = weight {
            text += &format!(" weight {weight}");
        }
        if let Some(zone) = zone {
            text += &format!(" zone {zone}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told() {
        let text = r#"[{"op":"leave","node":"0000002a","name":"oak"},
            {"op":"join","node":"0000002b","name":null,"weight":100,"zone":"east"}]"#;
        let told = told(&parse(text).unwrap());
        for part in ["leave oak (0000002a)", "join 0000002b weight 100 zone east", "plan"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(parse("{}").is_err());
    }
}
