//! `ringmain demo`: a cluster on one machine, one process per node, as the real thing has one
//! machine per node. Each node can be killed and started again by hand; the demo only reports it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::args::DemoArgs;
use crate::cluster;
use crate::config::units::{cpus_text, log_level_text};
use crate::doctor;
use crate::failure::{Exit, Failure};
use crate::output::{print_line, tell};
use crate::start::port_failure;
use children::{Children, Event, Plan};

mod children;

const RESP_PORT: u16 = 7379;
const NATIVE_PORT: u16 = 7400;
const ADMIN_PORT: u16 = 7480;

/// How long stopping nodes may take before they are killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long the ring may take to form before the demo says that it still waits.
const FORM_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the forming ring.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the cluster until Ctrl-C.
pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let addresses: Vec<Ipv4Addr> = (1..=args.nodes).map(|i| host(args.network, i)).collect();
    check_ports(&addresses)?;
    let temporary = match &args.data_dir {
        Some(_) => None,
        None => Some(temporary_dir()?),
    };
    let base = match (&args.data_dir, &temporary) {
        (Some(given), _) => given.clone(),
        (None, Some(made)) => made.path().into(),
        (None, None) => PathBuf::new(),
    };
    let plans = plans(args, &addresses, &base)?;
    let mut children = Children::watch_signals()?;
    let ended = live(&mut children, plans, &addresses);
    children.stop(STOP_PATIENCE);
    ended
}

/// Everything between the first start and the stop; `Ok` when a signal asked to stop.
fn live(children: &mut Children, plans: Vec<Plan>, addresses: &[Ipv4Addr]) -> Result<(), Failure> {
    let count = plans.len();
    for (index, plan) in plans.into_iter().enumerate() {
        children.spawn(plan)?;
        // The first one must listen before others can reach it; the others start together.
        if index == 0 && await_ready(children, 1)? == Asked::Stop {
            return Ok(());
        }
    }
    if await_ready(children, count)? == Asked::Stop {
        return Ok(());
    }
    if await_ring(children, SocketAddr::from((addresses[0], NATIVE_PORT)))? == Asked::Stop {
        return Ok(());
    }
    print_line(&directions(children, addresses))?;
    loop {
        match children.next(None) {
            Some(Event::Ended(index)) => {
                report_death(children, index);
                if children.living() == 0 {
                    return Err(Failure::failed("no node is left", "see the lines above"));
                }
            }
            Some(Event::Signal) => return Ok(()),
            Some(Event::Ready(..)) | None => {}
        }
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Nothing,
    Stop,
}

/// Waits until `count` nodes have printed their `ready` line. One that ends instead fails the
/// demo, with the node's own exit code where that says more than 1.
fn await_ready(children: &mut Children, count: usize) -> Result<Asked, Failure> {
    while children.ready() < count {
        match children.next(None) {
            Some(Event::Signal) => return Ok(Asked::Stop),
            Some(Event::Ended(index)) => return Err(children.failure(index)),
            Some(Event::Ready(..)) | None => {}
        }
    }
    Ok(Asked::Nothing)
}

/// Waits until all living nodes are members and alive in the eyes of the first.
fn await_ring(children: &mut Children, first: SocketAddr) -> Result<Asked, Failure> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let alive = cluster::status_of(first).map_or(0, |status| status.alive());
        if alive >= children.living() {
            return Ok(Asked::Nothing);
        }
        if !told && began.elapsed() > FORM_PATIENCE {
            let all = children.living();
            tell(&format!("{alive} of {all} nodes are in the ring: still waiting"));
            told = true;
        }
        match children.next(Some(LOOK_INTERVAL)) {
            Some(Event::Signal) => return Ok(Asked::Stop),
            Some(Event::Ended(index)) => {
                report_death(children, index);
                if children.living() == 0 {
                    return Err(children.failure(index));
                }
            }
            Some(Event::Ready(..)) | None => {}
        }
    }
}

fn report_death(children: &Children, index: usize) {
    let how = children.ending(index);
    let again = children.command(index);
    tell(&format!("node {} {how}; to start it again: {again}", index + 1));
}

/// What a person can do now.
fn directions(children: &Children, addresses: &[Ipv4Addr]) -> String {
    let mut text = match addresses.len() {
        1 => "1 node, which keeps the only copy, forms a ring:\n".into(),
        count => format!("{count} nodes form a ring:\n"),
    };
    for (index, address) in addresses.iter().enumerate() {
        let pid = children.pid(index);
        text += &format!(
            "  node {}  pid {pid}  resp {address}:{RESP_PORT}  native {address}:{NATIVE_PORT}  \
             http://{address}:{ADMIN_PORT}/status\n",
            index + 1,
        );
    }
    let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
    let pid = children.pid(addresses.len() - 1);
    text += &format!(
        "\nTry in another terminal:
  redis-cli -h {first} -p {RESP_PORT} SET cart apples
  redis-cli -h {last} -p {RESP_PORT} GET cart
  ringmain get cart --node {first}:{NATIVE_PORT}
  ringmain cluster status --node {first}:{NATIVE_PORT}
  kill -9 {pid}     and go on writing; then start that node again as it will be told here
RM.GET key shows every concurrent value and a context; RM.PUT key context value replaces them.

Ctrl-C stops all nodes."
    );
    text
}

/// The `index`-th address of a network that ends in 0.
fn host(network: Ipv4Addr, index: u8) -> Ipv4Addr {
    let [a, b, c, _] = network.octets();
    Ipv4Addr::new(a, b, c, index)
}

/// Finds a taken port before any process is started.
fn check_ports(addresses: &[Ipv4Addr]) -> Result<(), Failure> {
    for address in addresses {
        for port in [RESP_PORT, NATIVE_PORT, ADMIN_PORT] {
            let address = SocketAddr::from((*address, port));
            if let Err(error) = TcpListener::bind(address) {
                return Err(match error.kind() {
                    std::io::ErrorKind::AddrInUse => Failure::new(
                        Exit::Host,
                        format!("cannot listen on {address}: {error}"),
                        "stop what listens there, or give another --network, as 127.7.7.0",
                    ),
                    _ => port_failure("--network", address, &error),
                });
            }
        }
    }
    Ok(())
}

fn temporary_dir() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new().prefix("ringmain-demo-").tempdir().map_err(|error| {
        let what = format!("cannot make a temporary directory: {error}");
        Failure::new(Exit::DataDir, what, "give --data-dir")
    })
}

/// The command of each node.
fn plans(args: &DemoArgs, addresses: &[Ipv4Addr], base: &Path) -> Result<Vec<Plan>, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::failed(format!("cannot find this program: {error}"), "start it by its path")
    })?;
    let cpus = spread(&doctor::usable_cpus(), addresses.len());
    let plan = |(index, address): (usize, &Ipv4Addr)| {
        let dir = base.join(format!("node-{}", index + 1));
        let is_new = !dir.join("identity").exists();
        let mut arguments: Vec<std::ffi::OsString> = vec!["start".into()];
        let mut flag = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
            arguments.push(name.into());
            arguments.push(value.as_ref().into());
        };
        flag("--data-dir", &dir);
        flag("--listen", &address.to_string());
        flag("--resp-port", &RESP_PORT.to_string());
        flag("--port", &NATIVE_PORT.to_string());
        flag("--admin-port", &ADMIN_PORT.to_string());
        flag("--name", &format!("node-{}", index + 1));
        flag("--log-level", &log_level_text(args.log_level));
        // A node keeps the shards that its directory was made with, wherever they run.
        if is_new {
            flag("--cpus", &cpus_text(&cpus[index]));
        }
        if index > 0 {
            flag("--seed", &format!("{}:{NATIVE_PORT}", addresses[0]));
            arguments.push("--join".into());
        }
        Plan { program: program.clone(), arguments }
    };
    Ok(addresses.iter().enumerate().map(plan).collect())
}

/// Shares `cpus` among nodes: contiguous equal runs, or one each in turn when they are few.
fn spread(cpus: &[u16], nodes: usize) -> Vec<Vec<u16>> {
    let share = |node: usize| match cpus.len() >= nodes {
        true => cpus[node * cpus.len() / nodes..(node + 1) * cpus.len() / nodes].to_vec(),
        false => vec![cpus[node % cpus.len()]],
    };
    (0..nodes).map(share).collect()
}

#[cfg(test)]
mod tests;
