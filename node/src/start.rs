//! `ringmain start`: one node in the foreground.

use std::net::{SocketAddr, TcpListener};

use clap::ArgMatches;
use ringmain_core::id::NodeId;
use ringmain_runtime::settings::Settings;

use crate::admin::Admin;
use crate::args::StartArgs;
use crate::boot::{self, Entry, Opened};
use crate::config;
use crate::doctor;
use crate::failure::{Exit, Failure};
use crate::{logs, parent};

/// What the one line on stdout tells, once the node is recovered and listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ready {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) resp: SocketAddr,
    pub(crate) native: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) shards: u16,
}

impl Ready {
    /// The line of the contract.
    pub(crate) fn line(&self) -> String {
        let Ready { node, name, resp, native, admin, shards } = self;
        format!("ready node={node} name={name} resp={resp} native={native} admin={admin} shards={shards}")
    }
}

/// Resolves settings and runs the node, or only prints them.
pub(crate) fn run(args: &StartArgs, flags: &ArgMatches) -> Result<(), Failure> {
    if let Some(parent) = args.parent {
        parent::end_with(parent)?;
    }
    let resolved = config::resolve(flags, std::env::vars_os())?;
    if args.check_config {
        return config::print_checked(&resolved);
    }
    let settings = config::check(&resolved)?;
    doctor::require(&settings.data_dir)?;
    let log = logs::start(settings.log_level)?;
    let opened = boot::open(&settings, &doctor::usable_cpus())?;
    tell_entry(&settings, &opened);
    let admin = bind_admin(&settings)?;
    let ended = serve(&settings, opened, admin);
    log.flush(std::time::Duration::from_secs(1));
    ended
}

fn tell_entry(settings: &Settings, opened: &Opened) {
    let dir = opened.dir.path().display();
    match &opened.entry {
        Entry::Member { identity, .. } => {
            tracing::info!("node {} of a cluster, from {dir}", identity.node);
        }
        Entry::Found { identity, .. } => {
            tracing::info!("node {} founds a cluster, in {dir}", identity.node);
        }
        Entry::Enter { .. } => {
            tracing::info!("a new node asks {} seeds, from {dir}", settings.seeds.len());
        }
    }
    let Settings { request_timeout, reap_grace, .. } = settings;
    if settings.reap_grace() > *reap_grace {
        let grace = config::units::duration_text(settings.reap_grace());
        let timeout = config::units::duration_text(*request_timeout);
        tracing::warn!("--reap-grace is raised to {grace}, ten request time-outs of {timeout}");
    }
}

fn bind_admin(settings: &Settings) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(settings.listen, settings.admin_port);
    TcpListener::bind(address).map_err(|error| port_failure("--admin-port", address, &error))
}

/// Why a port cannot be listened on: the host's fault, exit 3.
pub(crate) fn port_failure(flag: &str, address: SocketAddr, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let what = format!("cannot listen on {address}: {error}");
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => format!("stop what listens there, or give another {flag}"),
        ErrorKind::AddrNotAvailable => "give --listen an address of this machine".into(),
        ErrorKind::PermissionDenied => format!("give {flag} a port from 1024 on"),
        _ => format!("give another {flag} or --listen"),
    };
    Failure::new(Exit::Host, what, remedy)
}
