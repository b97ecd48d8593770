//! `ringmain cluster commit`: has what is staged done, and waits for that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringmain_core::id::TopologyId;
use ringmain_core::wire::admin::Commit;
use ringmain_runtime::client::{Client, ClientError};
use ringmain_runtime::settings::Secret;
use serde::Deserialize;

use super::transfers::{self, Transfers};
use super::{LOOK_TIMEOUT, Status, unreadable};
use crate::args::CommitArgs;
use crate::failure::Failure;
use crate::operation::{connect, refused};
use crate::output::print_line;
use crate::progress::Progress;

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// How long the node that is asked, or one that is waited for, may be away.
const AWAY_PATIENCE: Duration = Duration::from_secs(60);

/// What was committed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Committed {
    topology: String,
    moves: u64,
}

pub(super) fn run(args: &CommitArgs, secret: Option<&Secret>) -> Result<(), Failure> {
    let address = args.node.node;
    let mut client = connect(&args.node, secret)?;
    let commit = Commit { hash: TopologyId(args.hash), accepts_loss: args.accept_loss };
    let text = client.commit(commit).map_err(|error| refused(address, &error))?;
    let Committed { topology, moves } =
        serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    if !args.node.json {
        print_line(&format!("committed {topology}: {moves} copies of partitions move"))?;
    }
    if args.wait {
        Wait { address, secret, clients: [(address, client)].into(), all: 0, away: None }.run()?;
    }
    match (args.node.json, args.wait) {
        (true, _) => print_line(&text),
        (false, true) => print_line("all data is where it belongs"),
        (false, false) => print_line("see `ringmain cluster transfers` for how far that is"),
    }
}

/// Looks at all members until nothing moves any more.
struct Wait<'a> {
    /// The node that is asked: the change is over when it says so.
    address: SocketAddr,
    secret: Option<&'a Secret>,
    clients: BTreeMap<SocketAddr, Client>,
    /// Partitions to catch up with, as many as were ever seen.
    all: u64,
    /// Who is away and since when, without pause.
    away: Option<(String, Instant)>,
}

impl Wait<'_> {
    fn run(mut self) -> Result<(), Failure> {
        let mut progress = Progress::new("moving", "partitions");
        let result = loop {
            match self.look(&mut progress) {
                Ok(true) => break Ok(()),
                Ok(false) => sleep(LOOK_PAUSE),
                Err(failure) => break Err(failure),
            }
        };
        progress.end();
        result
    }

    /// True once nothing moves.
    fn look(&mut self, progress: &mut Progress) -> Result<bool, Failure> {
        let Ok(own) = self.ask(self.address, |client| client.transfers()) else {
            self.note_away(self.address.to_string())?;
            return Ok(false);
        };
        let own = transfers::parse(&own)?;
        if !own.is_moving {
            return Ok(true);
        }
        match own.awaited.iter().find(|awaited| awaited.is_away()) {
            Some(awaited) => self.note_away(awaited.text())?,
            None => self.away = None,
        }
        let (gains, left) = self.sums(own)?;
        self.all = self.all.max(gains);
        progress.show(self.all.saturating_sub(left), self.all);
        Ok(false)
    }

    /// What all that answer gain, and what of that is left.
    fn sums(&mut self, own: Transfers) -> Result<(u64, u64), Failure> {
        let mut sums = (own.gains, own.left);
        let Ok(status) = self.ask(self.address, |client| client.status()) else { return Ok(sums) };
        let status = Status::parse(&status)?;
        let others = status.addresses().filter_map(|(.., address)| address);
        let own = self.address;
        for address in others.filter(|address| *address != own) {
            if let Ok(text) = self.ask(address, |client| client.transfers()) {
                let other = transfers::parse(&text)?;
                sums = (sums.0 + other.gains, sums.1 + other.left);
            }
        }
        Ok(sums)
    }

    /// One question to a node, over the connection to it if one stands.
    fn ask(
        &mut self,
        address: SocketAddr,
        question: impl FnOnce(&mut Client) -> Result<String, ClientError>,
    ) -> Result<String, ClientError> {
        let mut client = match self.clients.remove(&address) {
            Some(client) => client,
            None => Client::connect(address, self.secret, LOOK_TIMEOUT)?,
        };
        let answer = question(&mut client)?;
        self.clients.insert(address, client);
        Ok(answer)
    }

    /// A failure if it has been away for too long.
    fn note_away(&mut self, who: String) -> Result<(), Failure> {
        match &self.away {
            Some((known, since)) if *known == who && since.elapsed() > AWAY_PATIENCE => {
                let seconds = AWAY_PATIENCE.as_secs();
                Err(Failure::failed(
                    format!("the change is not over: {who} has not answered for {seconds} s"),
                    "bring it back, or forget it; `ringmain cluster transfers` shows the rest",
                ))
            }
            Some((known, _)) if *known == who => Ok(()),
            _ => {
                self.away = Some((who, Instant::now()));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_for_long_ends_the_wait() {
        let address = "127.0.0.1:7400".parse().unwrap();
        let mut wait = Wait { address, secret: None, clients: [].into(), all: 0, away: None };
        assert_eq!(wait.note_away("oak".into()), Ok(()));
        assert_eq!(wait.note_away("oak".into()), Ok(()));
        let long_ago = Instant::now().checked_sub(2 * AWAY_PATIENCE).unwrap();
        wait.away = Some(("oak".into(), long_ago));
        assert_eq!(wait.note_away("elm".into()), Ok(()), "another one");
        wait.away = Some(("oak".into(), long_ago));
        let failure = wait.note_away("oak".into()).unwrap_err();
        assert!(failure.to_string().contains("oak has not answered for 60 s"), "{failure}");
    }
}
