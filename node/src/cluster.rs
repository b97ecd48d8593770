//! `ringmain cluster …`: what a node knows of its cluster. The node answers in JSON;
//! here it is checked and made readable, or passed on as it came.

use std::net::SocketAddr;
use std::time::Duration;

use ringmain_core::wire::admin::{Stage, Verb};
use ringmain_runtime::client::{Client, ClientError};

use crate::args::{ClusterArgs, ClusterCommand};
use crate::config::given_secret;
use crate::failure::Failure;
use crate::operation::refused;

mod commit;
mod everyone;
mod exchanges;
mod hints;
mod plan;
mod ring;
mod stage;
mod status;
mod transfers;

pub(crate) use everyone::Everyone;
pub(crate) use status::Status;

/// How long one look at a node may take where others follow.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    let secret = args.cluster_secret.as_deref().map(given_secret).transpose()?;
    let secret = secret.as_ref();
    let of = |verb, node| Stage { verb, is_forced: false, weight: 0, node, argument: "" };
    match &args.command {
        ClusterCommand::Status(args) => status::run(args, secret),
        ClusterCommand::Ring(args) => ring::run(args, secret),
        ClusterCommand::Join(args) => {
            let joiner = args.joiner.as_deref().unwrap_or_default();
            stage::run(&args.node, secret, &of(Verb::Join, joiner))
        }
        ClusterCommand::Leave(args) => {
            stage::run(&args.node, secret, &of(Verb::Leave, &args.leaver))
        }
        ClusterCommand::Replace(args) => {
            let stage = Stage { argument: &args.new, ..of(Verb::Replace, &args.old) };
            stage::run(&args.node, secret, &stage)
        }
        ClusterCommand::Forget(args) => {
            let stage = Stage { is_forced: args.force, ..of(Verb::Forget, &args.lost) };
            stage::run(&args.node, secret, &stage)
        }
        ClusterCommand::Weight(args) => {
            let stage = Stage { weight: args.weight, ..of(Verb::Weight, &args.member) };
            stage::run(&args.node, secret, &stage)
        }
        ClusterCommand::Zone(args) => {
            let stage = Stage { argument: &args.zone, ..of(Verb::Zone, &args.member) };
            stage::run(&args.node, secret, &stage)
        }
        ClusterCommand::Plan(args) => plan::run(args, secret),
        ClusterCommand::Commit(args) => commit::run(args, secret),
        ClusterCommand::Clear(args) => stage::clear(args, secret),
        ClusterCommand::Transfers(args) => transfers::run(args, secret),
        ClusterCommand::Hints(args) => hints::run(args, secret),
        ClusterCommand::Exchanges(args) => exchanges::run(args, secret),
    }
}

/// One look at the cluster through one node; a failed one is worth as much as an empty one.
pub(crate) fn status_of(node: SocketAddr) -> Result<Status, Failure> {
    let failed = |error: ClientError| refused(node, &error);
    let mut client = Client::connect(node, None, LOOK_TIMEOUT).map_err(failed)?;
    Status::parse(&client.status().map_err(failed)?)
}

/// JSON of another shape.
pub(crate) fn unreadable(error: &serde_json::Error) -> Failure {
    let what = format!("the node's answer is unreadable: {error}");
    Failure::failed(what, "check that node and command have the same version")
}

/// An answer put together from those of several nodes.
pub(crate) fn json_text(answer: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(answer);
    text.map_err(|error| Failure::failed(format!("no JSON: {error}"), "report this as a defect"))
}
