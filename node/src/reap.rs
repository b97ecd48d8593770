//! `ringmain reap`: has all nodes see now what may leave for good, and waits for that.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use ringmain_core::wire::op::Op;
use serde::{Deserialize, Serialize};

use crate::args::ReapArgs;
use crate::cluster::{Everyone, json_text, unreadable};
use crate::config::given_secret;
use crate::failure::Failure;
use crate::output::print_line;
use crate::progress::Progress;

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// How far a node is, or all of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Reaping {
    is_running: bool,
    shards: u64,
    /// Shards that go on.
    left: u64,
    /// Keys that left all members.
    reaped: u64,
    /// Copies that left a member which does not own them.
    given_away: u64,
    /// Keys that will end, or have not ended for long enough.
    young: u64,
    /// Records to which not all have agreed.
    put_off: u64,
    /// How often that was so since a member is away.
    away: u64,
    /// Members whose build is too old to agree that something leaves.
    #[serde(default)]
    too_old: BTreeSet<String>,
    /// Shards from which nothing may leave now.
    barred: u64,
    /// Deleted keys that are left; each counts at every member that has it, as what follows.
    tombstones: u64,
    /// Copies that are left at a member which does not own them.
    unowned: u64,
    /// Members that did not answer: what they hold is not counted above.
    #[serde(default)]
    unasked: Vec<String>,
}

/// Waits until all members have looked at all that they hold.
pub(crate) fn run(args: &ReapArgs) -> Result<(), Failure> {
    let secret = args.cluster_secret.as_deref().map(given_secret).transpose()?;
    let mut everyone = Everyone::connect(&args.node, secret.as_ref())?;
    everyone.must_know(Op::Reap)?;
    everyone.ask(|client| client.reap());
    let mut progress = Progress::new("reap", "shards");
    let sum = loop {
        let answers = everyone.ask(|client| client.reap_status());
        let mut sum = Reaping::default();
        for text in &answers {
            sum.add(&parse(text)?);
        }
        if !sum.is_running {
            break sum;
        }
        progress.show(sum.shards - sum.left, sum.shards);
        sleep(LOOK_PAUSE);
    };
    progress.end();
    let sum = Reaping { unasked: everyone.missing().to_vec(), ..sum };
    if args.node.json {
        print_line(&json_text(&sum)?)?;
    } else {
        print_line(&sum.text())?;
    }
    everyone.verdict()?;
    sum.verdict()
}

fn parse(text: &str) -> Result<Reaping, Failure> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

impl Reaping {
    fn add(&mut self, other: &Reaping) {
        self.is_running |= other.is_running;
        self.shards += other.shards;
        self.left += other.left;
        self.reaped += other.reaped;
        self.given_away += other.given_away;
        self.young += other.young;
        self.put_off += other.put_off;
        self.away += other.away;
        self.barred += other.barred;
        self.too_old.extend(other.too_old.iter().cloned());
        self.tombstones += other.tombstones;
        self.unowned += other.unowned;
    }

    fn text(&self) -> String {
        let Reaping { reaped, given_away, tombstones, unowned, .. } = self;
        let mut text = format!(
            "left for good: {reaped} keys that were deleted or expired, {given_away} copies that \
             others own\nkept, all members together: {tombstones} tombstones, {unowned} copies \
             that others own"
        );
        if self.young > 0 {
            text += &format!("\ntoo young: {} keys wait for the grace", self.young);
        }
        if self.put_off > 0 {
            let why = match self.away {
                0 => {
                    "copies differ, are not on disk yet, a node did not answer, or has started in \
                     the last minute"
                }
                _ => "a member is away",
            };
            text += &format!("\nput off: {} records: {why}", self.put_off);
        }
        for node in &self.too_old {
            text += &format!("\nput off: the build of node {node} is too old to agree: upgrade it");
        }
        if self.barred > 0 {
            text += "\nput off: data moves, or a node may not write";
        }
        for member in &self.unasked {
            text += &format!("\nnot asked: {member}; nothing is reaped without it");
        }
        text
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.barred > 0 {
            let what = format!("nothing may leave {} shards now", self.barred);
            let remedy = "see `ringmain cluster transfers`, and the nodes' logs for failed disks";
            return Err(Failure::failed(what, remedy));
        }
        if self.put_off > 0 {
            let what = format!("{} records were put off", self.put_off);
            let remedy = "bring back who is away, `ringmain repair`, then reap again: a minute \
                          behind a start all may agree";
            return Err(Failure::failed(what, remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"is_running":false,"shards":2,"left":0,"reaped":3,"given_away":4,
        "young":5,"put_off":0,"away":0,"barred":0,"tombstones":6,"unowned":7}"#;

    #[test]
    fn what_was_put_off_is_told_and_a_failure() {
        let mut sum = Reaping::default();
        assert!(sum.verdict().is_ok());
        sum.add(&parse(TEXT).unwrap());
        sum.add(&parse(TEXT).unwrap());
        let told = sum.text();
        for part in [": 6 keys", "8 copies", "12 tombstones", "14 copies", "young: 10 keys"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(!told.contains("put off") && sum.verdict().is_ok(), "{told}");
        sum.put_off = 9;
        assert!(sum.text().contains("9 records: copies differ"));
        assert!(sum.verdict().unwrap_err().to_string().contains("9 records"));
        sum.away = 1;
        assert!(sum.text().contains("9 records: a member is away"));
        sum.add(
            &parse(&TEXT.replace("\"away\":0", "\"away\":0,\"too_old\":[\"0000002a\"]")).unwrap(),
        );
        assert!(sum.text().contains("node 0000002a is too old"), "{}", sum.text());
        sum.barred = 1;
        assert!(sum.verdict().unwrap_err().to_string().contains("1 shards"));
        sum.unasked.push("a (00000001)".into());
        assert!(sum.text().contains("not asked: a (00000001)"));
        assert!(parse("[]").is_err());
    }
}
