//! `ringmain cluster plan`: what a commit of all that is staged would do.

use ringmain_runtime::settings::Secret;
use serde::Deserialize;

use super::stage::Change;
use super::unreadable;
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::operation::{connect, refused};
use crate::output::print_line;

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Plan {
    hash: String,
    staged: Vec<Change>,
    moves: u64,
    bytes: u64,
    bytes_are_known: bool,
    peak_over_fair: f64,
    members: u64,
    zone_relaxations: u64,
    thin: u64,
    thin_partitions: Vec<u16>,
}

pub(super) fn run(args: &NodeArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let mut client = connect(args, secret)?;
    let text = client.plan().map_err(|error| refused(args.node, &error))?;
    if args.json { print_line(&text) } else { print_line(&parse(&text)?.text(args)) }
}

fn parse(text: &str) -> Result<Plan, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

impl Plan {
    fn text(&self, args: &NodeArgs) -> String {
        let Plan { hash, moves, members, peak_over_fair, .. } = self;
        if self.staged.is_empty() {
            return "nothing is staged".into();
        }
        let mut text = String::new();
        for change in &self.staged {
            text += &format!("{}\n", change.text());
        }
        text += &format!("\n{moves} copies of partitions move");
        text += &match self.bytes_are_known {
            true => format!(", about {}\n", bytes_text(self.bytes)),
            false => "; ask a member that has data for how many bytes that is\n".into(),
        };
        text += &format!("{members} members after it; the fullest owns {peak_over_fair:.2} times ");
        text += "its fair share\n";
        if self.zone_relaxations > 0 {
            let count = self.zone_relaxations;
            text +=
                &format!("{count} copies share a zone with others, for lack of zones or nodes\n");
        }
        let mut accept = "";
        if self.thin > 0 {
            let some: Vec<_> = self.thin_partitions.iter().take(8).map(u16::to_string).collect();
            text += &format!(
                "of {} partitions too few copies are left to have all that was written: {}{}\n",
                self.thin,
                some.join(" "),
                if self.thin > some.len() as u64 { " …" } else { "" },
            );
            accept = " --accept-loss";
        }
        let node = args.node;
        text + &format!("\nto do it: ringmain cluster commit {hash}{accept} --wait --node {node}")
    }
}

/// Bytes for people.
fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KiB", bytes >> 10),
        10_000_000..10_000_000_000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"hash":"0123456789abcdef","staged":[{"op":"leave","node":"0000002a",
        "name":"oak"}],"moves":48,"bytes":20000000,"bytes_are_known":true,"peak_over_fair":1.034,
        "members":3,"zone_relaxations":2,"cap_relaxations":0,"thin":9,
        "thin_partitions":[1,2,3,4,5,6,7,8,9]}"#;

    #[test]
    fn a_plan_is_told() {
        let args = NodeArgs { node: "127.0.0.1:7400".parse().unwrap(), json: false };
        let mut plan = parse(TEXT).unwrap();
        let told = plan.text(&args);
        for part in [
            "leave oak (0000002a)",
            "48 copies",
            "about 19 MiB",
            "1.03 times",
            "3 members",
            "2 copies share a zone",
            "of 9 partitions",
            "7 8 …",
            "commit 0123456789abcdef --accept-loss --wait --node 127.0.0.1:7400",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
        plan.thin = 0;
        plan.bytes_are_known = false;
        let told = plan.text(&args);
        assert!(!told.contains("accept-loss") && told.contains("ask a member"), "{told}");
        plan.staged.clear();
        assert_eq!(plan.text(&args), "nothing is staged");
        assert!(parse("[]").is_err());
    }

    #[test]
    fn bytes_have_a_unit() {
        let texts = [9_999, 10_000, 10_000_000, 20_000_000_000].map(bytes_text);
        assert_eq!(texts, ["9999 bytes", "9 KiB", "9 MiB", "18 GiB"]);
    }
}
