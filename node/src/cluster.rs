//! `ringmain cluster …`: what a node knows of its cluster. The node answers in JSON;
//! here it is checked and made readable, or passed on as it came.

use std::net::SocketAddr;
use std::time::Duration;

use ringmain_runtime::client::{Client, ClientError};

use crate::args::{ClusterArgs, ClusterCommand};
use crate::config::given_secret;
use crate::failure::Failure;
use crate::operation::refused;

mod everyone;
mod exchanges;
mod hints;
mod ring;
mod status;

pub(crate) use everyone::Everyone;
pub(crate) use status::Status;

/// How long one look at the forming ring may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ClusterArgs) -> Result<(), Failure> {
    let secret = args.cluster_secret.as_deref().map(given_secret).transpose()?;
    match &args.command {
        ClusterCommand::Status(args) => status::run(args, secret.as_ref()),
        ClusterCommand::Ring(args) => ring::run(args, secret.as_ref()),
        ClusterCommand::Hints(args) => hints::run(args, secret.as_ref()),
        ClusterCommand::Exchanges(args) => exchanges::run(args, secret.as_ref()),
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
