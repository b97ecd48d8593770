//! `ringmain scrub`: has a node check all that it stores, and waits for that.

use std::thread::sleep;
use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Deserialize;

use crate::args::ScrubArgs;
use crate::cluster::unreadable;
use crate::config::given_secret;
use crate::failure::Failure;
use crate::operation::{connect, refused};
use crate::output::print_line;
use crate::progress::Progress;

/// Pause between two looks at a sweep.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What a node has found, as far as people are shown it.
#[derive(Debug, Deserialize)]
struct Sweep {
    is_running: bool,
    shards: Vec<Shard>,
}

#[derive(Debug, Deserialize)]
struct Shard {
    shard: u16,
    is_whole: bool,
    segments: u64,
    bytes: u64,
    bytes_checked: u64,
    damage: Vec<Range>,
    damage_count: u64,
    keys_lost: u64,
    is_suspect: bool,
    was_suspect: bool,
    is_accepted: bool,
}

#[derive(Debug, Deserialize)]
struct Range {
    segment: u32,
    offset: u32,
    end: u32,
}

/// Waits for the end of a sweep and prints what it found; damage that stays is a failure.
pub(crate) fn run(args: &ScrubArgs) -> Result<(), Failure> {
    let secret = args.cluster_secret.as_deref().map(given_secret).transpose()?;
    let mut client = connect(&args.node, secret.as_ref())?;
    let failed = |error| refused(args.node.node, &error);
    client.scrub(args.accept_loss).map_err(failed)?;
    let mut progress = Progress::new("scrub", "MiB");
    let (text, sweep) = loop {
        let text = client.scrub_status().map_err(failed)?;
        let sweep = Sweep::parse(&text)?;
        if !sweep.is_running {
            break (text, sweep);
        }
        let sum = |of: fn(&Shard) -> u64| sweep.shards.iter().map(of).sum::<u64>() >> 20;
        progress.show(sum(|one| one.bytes_checked), sum(|one| one.bytes));
        sleep(LOOK_PAUSE);
    };
    progress.end();
    if args.node.json {
        print_line(&text)?
    } else {
        print_line(&sweep.text())?
    }
    sweep.verdict()
}

impl Sweep {
    fn parse(text: &str) -> Result<Sweep, Failure> {
        serde_json::from_str(text).map_err(|error| unreadable(&error))
    }

    fn verdict(&self) -> Result<(), Failure> {
        let shards = |is: fn(&Shard) -> bool| self.shards.iter().filter(|one| is(one)).count();
        let all = self.shards.len();
        let damaged = shards(|one| !one.is_accepted && (one.damage_count > 0 || one.is_suspect));
        if damaged > 0 {
            let what = format!("segments of {damaged} of {all} shards are damaged");
            let remedy = "run `ringmain repair`, which brings back what other nodes own, too; then \
                          give up what nobody has with --accept-loss while this node runs: its \
                          next start may refuse such a log";
            return Err(Failure::failed(what, remedy));
        }
        match shards(|one| !one.is_whole) {
            0 => Ok(()),
            count => {
                let what = format!("{count} of {all} shards were not checked to their end");
                Err(Failure::failed(what, "see the node's log, and try again"))
            }
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["shard", "segments", "bytes", "damaged ranges", "keys lost"]);
        for one in &self.shards {
            table.add_row([
                one.shard.to_string(),
                one.segments.to_string(),
                one.bytes_checked.to_string(),
                one.damage_count.to_string(),
                one.keys_lost(),
            ]);
        }
        let mut text = table.to_string();
        for one in &self.shards {
            let shard = one.shard;
            for Range { segment, offset, end } in &one.damage {
                text += &format!("\nshard {shard}: segment {segment}: {offset} to {end}");
            }
            let others = one.damage_count - one.damage.len() as u64;
            if others > 0 {
                text += &format!("\nshard {shard}: and {others} more");
            }
            if one.is_suspect {
                text += &format!("\nshard {shard}: a start met damage: keys that were written ");
                text += "last before it, or never, get errors";
            }
            if one.is_accepted {
                text += &format!("\nshard {shard}: what was lost is given up");
                if one.was_suspect {
                    text += "; of keys whose newest record a start could not read, an older one ";
                    text += "counts now, if there is one";
                }
            }
        }
        text
    }
}

impl Shard {
    /// What damage that a start met has taken is unknown.
    fn keys_lost(&self) -> String {
        match (self.keys_lost, self.was_suspect) {
            (0, true) => "unknown".into(),
            (count, true) => format!("{count} or more"),
            (count, false) => count.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"is_running":false,"accepts_loss":false,"shards":[
        {"shard":0,"is_running":false,"is_whole":true,"segments":3,"bytes":900,
         "bytes_checked":900,"damage":[{"segment":2,"offset":64,"end":128}],"damage_count":3,
         "keys_lost":1,"is_suspect":true,"was_suspect":true,"is_accepted":false}]}"#;

    #[test]
    fn damage_is_told_and_a_failure() {
        let mut sweep = Sweep::parse(TEXT).unwrap();
        let text = sweep.text();
        let parts =
            ["segment 2: 64 to 128", "and 2 more", "a start met damage", "900", "1 or more"];
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(sweep.verdict().unwrap_err().to_string().contains("--accept-loss"));
        sweep.shards[0].is_accepted = true;
        assert!(sweep.verdict().is_ok());
        assert!(sweep.text().contains("given up; of keys"));
        sweep.shards[0].keys_lost = 0;
        assert!(sweep.text().contains("unknown"));
        sweep.shards[0].was_suspect = false;
        assert!(!sweep.text().contains("unknown") && !sweep.text().contains("of keys"));
        sweep.shards[0].is_whole = false;
        assert!(sweep.verdict().unwrap_err().to_string().contains("not checked"));
    }

    #[test]
    fn other_json_is_an_error() {
        for text in ["", "{}", "[]", "{\"shards\":1}"] {
            assert!(Sweep::parse(text).is_err(), "{text}");
        }
    }
}
