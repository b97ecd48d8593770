//! `ringmain cluster status`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use comfy_table::{ContentArrangement, Table, presets};
use ringmain_runtime::settings::Secret;
use serde::Deserialize;
use serde_json::Value;

use super::unreadable;
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::operation::{connect, connect_to, refused};
use crate::output::print_line;

/// What a node knows of its cluster, as far as people are shown it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct Status {
    cluster: String,
    topology: String,
    partitions: u32,
    n: u8,
    r: u8,
    w: u8,
    nodes: Vec<Member>,
    active_topologies: u64,
    hints_pending: u64,
    converged: bool,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Member {
    node: String,
    /// None, as the addresses are, of a member that never said it.
    name: Option<String>,
    zone: String,
    weight: u32,
    state: String,
    resp: Option<String>,
    native: Option<String>,
    owned: u64,
    leads: u64,
    /// The newest version of the wire protocol that its build speaks; none, as what follows, where
    /// the node that was asked does not know it.
    #[serde(default)]
    wire: Option<u8>,
    hints_held: Option<u64>,
}

pub(super) fn run(args: &NodeArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let mut client = connect(args, secret)?;
    let text = client.status().map_err(|error| refused(args.node, &error))?;
    let others = Status::parse(&text)?.others();
    let others = others.into_iter().map(|(node, address)| {
        let other = connect_to(address, secret).ok();
        let other = other.filter(|other| other.node().to_string() == node);
        let answer = other.and_then(|mut other| other.status().ok());
        (node, answer.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    });
    let mut value: Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    complete(&mut value, &others.collect());
    let text = value.to_string();
    if args.json { print_line(&text) } else { print_line(&Status::parse(&text)?.text()) }
}

/// Adds what the other members say of themselves to the `status` of one of them: who did not
/// answer may keep hints, so the cluster has not converged.
fn complete(status: &mut Value, others: &BTreeMap<String, Value>) {
    let mut pending = status["hints_pending"].as_u64().unwrap_or_default();
    let mut has_converged = status["converged"] == true;
    for member in status["nodes"].as_array_mut().into_iter().flatten() {
        if !member["hints_held"].is_null() {
            continue;
        }
        let other = member["node"].as_str().and_then(|node| others.get(node));
        let mut seats = other.and_then(|other| other["nodes"].as_array()).into_iter().flatten();
        let own = seats.find(|seat| seat["node"] == member["node"]);
        has_converged &= other.is_some_and(|other| other["converged"] == true);
        if let Some(own) = own {
            pending += own["hints_held"].as_u64().unwrap_or_default();
            member["wire"] = own["wire"].clone();
            (member["hints_held"], member["oldest_hint_s"]) =
                (own["hints_held"].clone(), own["oldest_hint_s"].clone());
        }
    }
    status["hints_pending"] = pending.into();
    status["converged"] = has_converged.into();
}

impl Status {
    /// Reads the JSON of a node; fields that are not shown are left out.
    pub(crate) fn parse(text: &str) -> Result<Status, Failure> {
        serde_json::from_str(text).map_err(|error| unreadable(&error))
    }

    /// The members, each by its id, by its name and id, and with its native address, if known.
    pub(crate) fn addresses(
        &self,
    ) -> impl Iterator<Item = (&str, String, Option<SocketAddr>)> + '_ {
        self.nodes.iter().map(|member| {
            let name = match member.name.as_deref() {
                Some(name) => format!("{name} ({})", member.node),
                None => member.node.clone(),
            };
            (&*member.node, name, member.native.as_deref().and_then(|native| native.parse().ok()))
        })
    }

    /// The members that may answer but did not say this themselves, and their native addresses.
    fn others(&self) -> Vec<(String, SocketAddr)> {
        let answers = |state: &str| matches!(state, "alive" | "joining" | "leaving");
        let others =
            self.nodes.iter().filter(|one| answers(&one.state) && one.hints_held.is_none());
        let address = |one: &Member| one.native.as_deref().and_then(|native| native.parse().ok());
        others.filter_map(|one| Some((one.node.clone(), address(one)?))).collect()
    }

    /// Partitions of the cluster.
    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// How many nodes are alive.
    pub(crate) fn alive(&self) -> usize {
        self.nodes.iter().filter(|member| member.state == "alive").count()
    }

    fn text(&self) -> String {
        let Status { cluster, topology, partitions, n, r, w, .. } = self;
        let mut text = format!("cluster {cluster}  topology {topology}  {partitions} partitions  ");
        text += &format!("n={n} r={r} w={w}\n");
        text += &self.table().to_string();
        text += match self.converged {
            true => "\nconverged",
            false => "\nnot converged",
        };
        if self.active_topologies > 1 {
            text += &format!(", {} active topologies", self.active_topologies);
        }
        if self.hints_pending > 0 {
            text += &format!(", {} hints pending", self.hints_pending);
        }
        if self.nodes.iter().any(|one| one.state == "left") {
            text += "\nthe node that was asked has left the cluster: it serves nothing";
        }
        if self.nodes.len() == 1 {
            text += "\nnothing is replicated yet: a lone node keeps the only copy";
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if table.is_tty() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        table.set_header([
            "node", "name", "state", "wire", "zone", "weight", "owned", "leads", "hints", "resp",
            "native",
        ]);
        for member in &self.nodes {
            table.add_row([
                member.node.as_str(),
                known(&member.name),
                &member.state,
                &member.wire.map_or("?".into(), |version| version.to_string()),
                &member.zone,
                &member.weight.to_string(),
                &member.owned.to_string(),
                &member.leads.to_string(),
                &member.hints_held.map_or("?".into(), |count| count.to_string()),
                known(&member.resp),
                known(&member.native),
            ]);
        }
        table
    }
}

fn known(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"cluster":"0123","topology":"89ab","ring_hash":"cd","partitions":1024,
        "n":3,"r":2,"w":2,"nodes":[
        {"node":"0000002a","name":"oak","zone":"a","weight":100,"state":"alive",
         "resp":"127.0.0.1:7379","native":"127.0.0.1:7400","admin":"127.0.0.1:7480",
         "owned":1024,"leads":512,"hints_held":3,"oldest_hint_s":1},
        {"node":"0000002b","name":"elm","zone":"b","weight":100,"state":"down",
         "resp":"127.0.0.2:7379","native":"127.0.0.2:7400","admin":"127.0.0.2:7480",
         "owned":1024,"leads":512,"hints_held":0,"oldest_hint_s":0}],
        "active_topologies":2,"hints_pending":3,"converged":false}"#;

    #[test]
    fn the_json_of_a_node_is_read_and_told() {
        let status = Status::parse(TEXT).unwrap();
        assert_eq!(status.alive(), 1);
        let text = status.text();
        for part in
            ["0000002a", "elm", "down", "2 active topologies", "3 hints pending", "not converged"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("nothing is replicated"));
    }

    #[test]
    fn what_others_say_of_themselves_is_added() {
        let own = |node: &str, hints: u64, converged: bool| {
            serde_json::json!({ "nodes": [
                { "node": "0000002a", "hints_held": (node == "0000002a").then_some(hints) },
                { "node": "0000002b", "hints_held": (node == "0000002b").then_some(hints) },
            ], "hints_pending": hints, "converged": converged })
        };
        for (others, pending, converged) in [
            (Some(own("0000002b", 0, true)), 0, true),
            (Some(own("0000002b", 5, false)), 5, false),
            (Some(own("0000002b", 0, false)), 0, false),
            (None, 0, false),
        ] {
            let mut status = own("0000002a", 0, true);
            let is_known = others.is_some();
            complete(
                &mut status,
                &others.map(|one| ("0000002b".into(), one)).into_iter().collect(),
            );
            assert_eq!(
                (&status["hints_pending"], &status["converged"]),
                (&pending.into(), &converged.into())
            );
            assert_eq!(status["nodes"][1]["hints_held"].is_u64(), is_known);
        }
    }

    #[test]
    fn a_lone_node_is_told_that_nothing_is_replicated() {
        let mut status = Status::parse(TEXT).unwrap();
        status.nodes.pop();
        assert!(status.text().contains("nothing is replicated"));
    }

    #[test]
    fn other_json_is_an_error() {
        for text in ["", "{}", "[]", "{\"cluster\":1}"] {
            assert!(Status::parse(text).is_err(), "{text}");
        }
    }
}
