//! Asking every member of a cluster, found through one of them.

use std::net::SocketAddr;

use ringmain_core::wire::VERSION;
use ringmain_core::wire::op::Op;
use ringmain_runtime::client::{Client, ClientError};
use ringmain_runtime::settings::Secret;

use super::Status;
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::operation::{connect, connect_to, refused};
use crate::output::tell;

/// The members that could be connected to, and the names of those that could not.
pub(crate) struct Everyone {
    members: Vec<Member>,
    missing: Vec<String>,
    partitions: u32,
}

struct Member {
    name: String,
    address: SocketAddr,
    client: Client,
}

impl Everyone {
    /// Connects to all members that the node of `args` knows. Who cannot be is told on stderr.
    pub(crate) fn connect(args: &NodeArgs, secret: Option<&Secret>) -> Result<Everyone, Failure> {
        let mut client = connect(args, secret)?;
        let text = client.status().map_err(|error| refused(args.node, &error))?;
        let status = Status::parse(&text)?;
        let partitions = status.partitions();
        let mut everyone = Everyone { members: Vec::new(), missing: Vec::new(), partitions };
        let mut first = Some(client);
        for (node, name, address) in status.addresses() {
            let Some(address) = address else {
                tell(&format!("{name} has no known address"));
                everyone.missing.push(name);
                continue;
            };
            // The node may be asked under another name than it gives.
            let known = if address == args.node { first.take() } else { None };
            match known.map_or_else(|| connect_to(address, secret), Ok) {
                Ok(client) if client.node().to_string() != node => {
                    tell(&format!("{name}: another node, {}, answers at {address}", client.node()));
                    everyone.missing.push(name);
                }
                Ok(client) => everyone.members.push(Member { name, address, client }),
                Err(failure) => {
                    tell(&format!("{name}: {failure}"));
                    everyone.missing.push(name);
                }
            }
        }
        Ok(everyone)
    }

    /// What each of them says; one that fails is told of, and asked no more.
    pub(crate) fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Vec<T> {
        let mut answers = Vec::new();
        let missing = &mut self.missing;
        self.members.retain_mut(|Member { name, address, client }| match question(client) {
            Ok(answer) => {
                answers.push(answer);
                true
            }
            Err(error) => {
                tell(&refused(*address, &error).to_string());
                missing.push(name.clone());
                false
            }
        });
        answers
    }

    /// A failure if not all know `op`, with the name of one that is too old, or of this command.
    pub(crate) fn must_know(&self, op: Op) -> Result<(), Failure> {
        let needed = op.since();
        if VERSION < needed {
            let what = format!("this command speaks version {VERSION}, and this needs {needed}");
            return Err(Failure::failed(what, "take the one of a newer build"));
        }
        let older = self.members.iter().find(|member| member.client.version() < needed);
        let Some(Member { name, client, .. }) = older else { return Ok(()) };
        let version = client.version();
        let what = format!(
            "node {name} speaks version {version} of the wire protocol, and this needs {needed} of \
             all members"
        );
        Err(Failure::failed(what, "upgrade it, see `ringmain cluster status`, then ask again"))
    }

    /// How many were asked.
    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// Partitions of the cluster.
    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The names of those that could not be asked.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// A failure if some could not be asked.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        match self.missing.len() {
            0 => Ok(()),
            missing => {
                let all = missing + self.members.len();
                let what = format!("{missing} of {all} members could not be asked");
                Err(Failure::failed(what, "bring them back, or ask again from where they answer"))
            }
        }
    }
}
