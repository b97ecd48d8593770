//! `ringmain start`: one node in the foreground.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ArgMatches;
use ringmain_core::id::NodeId;
use ringmain_runtime::data_dir::Identity;
use ringmain_runtime::log::OpenError;
use ringmain_runtime::log_writer::{FLUSH_PATIENCE, LogQueue};
use ringmain_runtime::reshard::reshard;
use ringmain_runtime::session::native::bootstrap::{Bootstrap, Newcomer, bootstrap};
use ringmain_runtime::settings::{Secret, Settings};
use ringmain_runtime::start::{self, Handle, NodeStart, StartError};
use ringmain_runtime::sys::{self, Stops};

use crate::admin::{Admin, Pages};
use crate::args::StartArgs;
use crate::boot::{self, Entry, Opened};
use crate::config;
use crate::doctor;
use crate::failure::{Exit, Failure};
use crate::output::print_line;
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
    /// The line that scripts wait for.
    pub(crate) fn line(&self) -> String {
        let Ready { node, name, resp, native, admin, shards } = self;
        let ports = format!("resp={resp} native={native} admin={admin}");
        format!("ready node={node} name={name} {ports} shards={shards}")
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
    // Before any other thread: one that does not block the signals would die of them.
    let stops = Stops::block().map_err(|errno| no_thread(&errno))?;
    let log = logs::start(settings.log_level)?;
    let stop = StopSwitch::default();
    let (switch, lines) = (stop.clone(), log.clone());
    stops.spawn(move |_| switch.turn(&lines)).map_err(|errno| no_thread(&errno))?;
    let opened = boot::open(&settings, &doctor::usable_cpus())?;
    tell_entry(&settings, &opened);
    let ended = serve(&settings, opened, &stop);
    log.flush(FLUSH_PATIENCE);
    ended
}

/// What SIGINT and SIGTERM do: they stop the node, or end a process that has none yet, as one
/// that waits for its seeds; nothing is in flight then, and every file is written whole.
#[derive(Clone, Default)]
struct StopSwitch(Arc<Mutex<Option<Handle>>>);

impl StopSwitch {
    fn turn(&self, log: &LogQueue) {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(node) => node.stop(),
            None => {
                log.flush(FLUSH_PATIENCE);
                std::process::exit(0);
            }
        }
    }

    fn set(&self, node: Handle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }
}

fn no_thread(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Host, format!("cannot watch signals: {error}"), "raise ulimit -u")
}

const _: () = assert!(
    start::STOP_TIME_MAX.as_millis() + FLUSH_PATIENCE.as_millis() < 10_000,
    "supervisors are promised an end within 10 s"
);

/// From the open data directory to the end of the process: listens, tells that it is ready,
/// and waits for the node to stop.
fn serve(settings: &Settings, opened: Opened, stop: &StopSwitch) -> Result<(), Failure> {
    let listener = bind_admin(settings)?;
    let address = listener.local_addr().map_err(|error| {
        let asked = SocketAddr::new(settings.listen, settings.admin_port);
        port_failure("--admin-port", asked, &error)
    })?;
    let pages = Pages::default();
    let admin = serve_pages(listener, &pages)?;
    let node = start_node(settings, opened, address)?;
    pages.set(node.handle.clone());
    if let Err(errno) = sys::keep_program_resident() {
        tracing::debug!("the program's code may leave memory: {errno}; raise ulimit -l");
    }
    stop.set(node.handle.clone());
    let announced = print_line(&node.ready.line());
    if announced.is_err() {
        // Clients may have written by now: what they were told is kept.
        node.handle.stop();
    }
    let ended = (node.wait)();
    drop(admin);
    announced.and(ended)
}

/// Serves HTTP while the result lives.
fn serve_pages(listener: TcpListener, pages: &Pages) -> Result<Admin, Failure> {
    let pages = pages.clone();
    Admin::start(listener, move |page| pages.answer(page)).map_err(|error| {
        Failure::new(Exit::Host, format!("cannot serve HTTP: {error}"), "raise ulimit -u and -n")
    })
}

/// A node that is recovered and listens, on threads of its own.
struct Running {
    ready: Ready,
    handle: Handle,
    /// Returns once the node has stopped.
    wait: Box<dyn FnOnce() -> Result<(), Failure>>,
}

/// Founds or enters a cluster where that is still to be done, or lays a member's data out for
/// the shards it shall have, and starts them.
fn start_node(settings: &Settings, opened: Opened, admin: SocketAddr) -> Result<Running, Failure> {
    let Opened { dir, boot, placement, entry } = opened;
    let (identity, secret) = match entry {
        Entry::Member { secret, .. } => {
            (reshard(&dir, placement.shards).map_err(start_failure)?, secret)
        }
        Entry::Found { identity, secret } => {
            start::found(&dir, settings, &identity, &secret)?;
            (identity, secret)
        }
        Entry::Enter { node, secret } => {
            let (identity, secret) = enter(settings, node, secret, placement.shards)?;
            start::enter(&dir, &identity, &secret)?;
            (identity, secret)
        }
    };
    let (node, shards, n) = (identity.node, identity.shards, identity.n);
    let start = NodeStart {
        settings: settings.clone(),
        dir: Arc::new(dir),
        identity,
        secret,
        boot,
        cpus: placement.cpus,
        admin,
    };
    let running = start::start(start).map_err(start_failure)?;
    let (resp, native) = (running.resp, running.native);
    if let Some(line) = missing_copies(running.member_count, n) {
        tracing::info!("{line}");
    }
    Ok(Running {
        ready: Ready { node, name: settings.name.clone(), resp, native, admin, shards },
        handle: running.handle(),
        wait: Box::new(move || {
            running
                .wait()
                .map_err(|why| Failure::failed(why, "restart it: what was synced is safe"))
        }),
    })
}

/// What is told while there are fewer members than copies; a node that is still to join knows of
/// none.
fn missing_copies(members: usize, n: u8) -> Option<String> {
    match members {
        1 if n > 1 => Some(
            "nothing is replicated yet: a lone node keeps the only copy; add nodes before the \
             first write"
                .into(),
        ),
        2.. if members < n.into() => {
            Some(format!("each key has {members} copies, not {n}: there are no more nodes"))
        }
        _ => None,
    }
}

/// Asks the seeds, again and again, which cluster this is, and for its secret where they give
/// it. Nothing is founded and nothing is served meanwhile.
fn enter(
    settings: &Settings,
    node: NodeId,
    secret: Option<Secret>,
    shards: u16,
) -> Result<(Identity, Secret), Failure> {
    let newcomer = Newcomer { node, shards, secret: secret.as_ref() };
    let mut told = String::new();
    loop {
        for seed in &settings.seeds {
            match bootstrap(*seed, &newcomer, SEED_TIMEOUT) {
                Ok(Bootstrap { cluster, secret, .. }) => {
                    let identity = Identity {
                        cluster: cluster.id,
                        node,
                        uuid: boot::random_uuid()?,
                        shards,
                        partition_bits: cluster.partition_bits,
                        n: cluster.n,
                        r: cluster.r,
                        w: cluster.w,
                        name: settings.name.clone(),
                    };
                    return Ok((identity, secret));
                }
                Err(error) if error.is_temporary() => {
                    let why = format!("seed {seed} does not let this node in: {error}");
                    if why != told {
                        tracing::warn!("{why}; asking again");
                        told = why;
                    }
                }
                Err(error) => {
                    let what = format!("seed {seed} does not let this node in: {error}");
                    return Err(Failure::usage(what, "check --seed and --cluster-secret"));
                }
            }
        }
        std::thread::sleep(SEED_PAUSE);
    }
}

/// Each kind of failed start by whose fault it is.
pub(crate) fn start_failure(error: StartError) -> Failure {
    let what = error.to_string();
    match error {
        StartError::Port { setting, address, error } => port_failure(setting, address, &error),
        StartError::DataDir(error) => error.into(),
        StartError::Members => {
            Failure::new(Exit::DataDir, what, "restore the directory, or enter as a new node")
        }
        StartError::Log { error: OpenError::NoMemory, .. } => {
            Failure::new(Exit::Host, what, "give the process more memory; the data is sound")
        }
        StartError::Log { error: OpenError::Version { .. }, .. } => {
            Failure::new(Exit::DataDir, what, "start the version of ringmain that wrote it")
        }
        StartError::Log { .. } => {
            let remedy = "restore the directory, or replace this node by a new one";
            Failure::new(Exit::DataDir, what, remedy)
        }
        StartError::Unsound { .. } => {
            let remedy = "start it with --shards as it was, and `ringmain scrub --accept-loss`, \
                          or replace this node by a new one";
            Failure::new(Exit::DataDir, what, remedy)
        }
        StartError::Files { error, .. } => {
            use std::io::ErrorKind::{
                FileTooLarge, OutOfMemory, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
            };
            match error.kind() {
                StorageFull | QuotaExceeded => {
                    Failure::new(Exit::Host, what, "free space in the file system of --data-dir")
                }
                FileTooLarge => Failure::new(Exit::Host, what, "raise the limit: ulimit -f"),
                ReadOnlyFilesystem => {
                    Failure::new(Exit::Host, what, "mount the file system of --data-dir writable")
                }
                OutOfMemory => Failure::new(Exit::Host, what, "give the process more memory"),
                _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
                    Failure::new(Exit::Host, what, "raise the limit of open files: ulimit -n")
                }
                _ => Failure::new(Exit::DataDir, what, "look at the error; the data is as it was"),
            }
        }
        StartError::Space(_) => {
            let remedy = "free space in the file system of --data-dir, or leave --shards as it was";
            Failure::new(Exit::Host, what, remedy)
        }
        StartError::Ring(_) | StartError::Threads(_) => {
            Failure::new(Exit::Host, what, "run `ringmain doctor`")
        }
    }
}

/// How long one seed may take to answer.
const SEED_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two rounds of asking.
const SEED_PAUSE: Duration = Duration::from_millis(250);

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
    let pinned = match &opened.placement.cpus {
        Some(cpus) => format!("on CPUs {}", config::units::cpus_text(cpus)),
        None => "unpinned".into(),
    };
    tracing::info!("boot {}, {} shards {pinned}", opened.boot.0, opened.placement.shards);
    let Settings { request_timeout, reap_grace, .. } = settings;
    if settings.reap_grace() > *reap_grace {
        let grace = config::units::duration_text(settings.reap_grace());
        let timeout = config::units::duration_text(*request_timeout);
        tracing::warn!("--reap-grace is raised to {grace}, ten request time-outs of {timeout}");
    }
}

fn bind_admin(settings: &Settings) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(settings.listen, settings.admin_port);
    start::listen(address).map_err(|error| port_failure("--admin-port", address, &error))
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

#[cfg(test)]
mod tests {
    use ringmain_runtime::reshard::NoSpace;

    use super::*;

    /// A remedy must not have a sound directory replaced.
    #[test]
    fn a_failed_start_names_what_helps() {
        use std::io::Error;
        let told = |error| {
            let failure = start_failure(error);
            (failure.exit, failure.to_string())
        };
        for errno in [28, 122] {
            let error = Error::from_raw_os_error(errno);
            let (exit, line) = told(StartError::Files { shard: 0, error });
            assert_eq!(exit, Exit::Host);
            assert!(line.ends_with("free space in the file system of --data-dir"), "{line}");
        }
        for (errno, remedy) in
            [(27, "ulimit -f"), (30, "writable"), (12, "more memory"), (23, "-n"), (24, "-n")]
        {
            let error = Error::from_raw_os_error(errno);
            let (exit, line) = told(StartError::Files { shard: 0, error });
            assert_eq!(exit, Exit::Host);
            assert!(line.ends_with(remedy), "{line}");
        }
        let (_, line) = told(StartError::Files { shard: 0, error: Error::from_raw_os_error(5) });
        assert!(line.ends_with("the data is as it was"), "{line}");
        let log = |error| told(StartError::Log { shard: 1, error });
        let (exit, line) = log(OpenError::Version { segment: 1, found: 9 });
        assert_eq!(exit, Exit::DataDir);
        assert!(line.ends_with("the version of ringmain that wrote it"), "{line}");
        assert_eq!(log(OpenError::NoMemory).0, Exit::Host);
        let (exit, line) = told(StartError::Space(NoSpace { needed: 5 << 20, free: 3 << 20 }));
        assert_eq!(exit, Exit::Host);
        assert!(line.contains("needs 5 MiB") && line.contains("are 3: free space"), "{line}");
        let error = OpenError::Damaged { segment: 1, offset: 64 };
        let (exit, line) = told(StartError::Unsound { shard: 1, error });
        assert_eq!(exit, Exit::DataDir);
        assert!(line.contains("in shard 1 log segment 1") && line.contains("as it was"), "{line}");
        let (exit, line) = log(OpenError::Damaged { segment: 1, offset: 64 });
        assert_eq!(exit, Exit::DataDir);
        assert!(line.contains("restore the directory"), "{line}");
    }

    #[test]
    fn copies_that_are_missing_are_told() {
        assert!(missing_copies(1, 3).unwrap().contains("nothing is replicated"));
        assert!(missing_copies(2, 3).unwrap().contains("2 copies, not 3"));
        for (members, n) in [(0, 3), (1, 1), (2, 1), (3, 3), (4, 3)] {
            assert_eq!(missing_copies(members, n), None, "{members} {n}");
        }
    }

    #[test]
    fn the_ready_line_is_what_scripts_wait_for() {
        let ready = Ready {
            node: NodeId(0x2a),
            name: "oak".into(),
            resp: "127.0.0.1:7379".parse().unwrap(),
            native: "[::1]:7400".parse().unwrap(),
            admin: "127.0.0.1:7480".parse().unwrap(),
            shards: 2,
        };
        let expected = "ready node=0000002a name=oak resp=127.0.0.1:7379 native=[::1]:7400 \
                        admin=127.0.0.1:7480 shards=2";
        assert_eq!(ready.line(), expected);
    }
}
