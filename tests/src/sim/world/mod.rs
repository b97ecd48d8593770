//! One run: a cluster of shipped machines, its clients, its faults, and a queue of what happens
//! next. Everything follows from the seed.
//!
//! ```text
//! forming ── a node published the whole ring ──► running ── enough acknowledged ──► healing
//!            faults off                          faults on                          faults off
//! healing ── clients are done ──► closing: every key read from all, written to all ──► judged
//! ```
//! Some seeds do not wait: faults and clients begin with the first node, and the others join
//! meanwhile.

mod ages;
mod changes;
mod clients;
mod disks;
mod faults;
mod finish;
mod followers;
mod health;
mod links;
mod membership;
mod put_back;
mod turn;
mod versions;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringmain_core::drive::TurnSettings;
use ringmain_core::id::{ClusterId, NodeId, TopologyId};
use ringmain_core::node::NodeInput;
use ringmain_core::request::KeyPlace;
use ringmain_core::time::Instant;
use ringmain_runtime::log::Wanted;

use super::client::{Clients, Operation};
use super::host::{Host, Persisted, Pool, contact};
use super::judge::Judge;
use super::mark::{Mark, Marks};
use super::network::{Network, Parcel, Site};
use super::oracle::{Invariant, Violation};
use super::outbox::Reply;
use super::queue::Queue;
use super::random::Random;
use super::swarm::Swarm;
use super::trace::Trace;
use ages::LinkClocks;
use clients::Tickets;
use finish::Closing;
use followers::{Follower, Followers};

/// Most events of a run; more mean that it does not end.
const EVENT_COUNT_MAX: u64 = 2_000_000;

/// Most changes of the membership in a run.
const CHANGE_COUNT_MAX: u32 = 12;

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A frame arrives.
    Arrive(Parcel),
    /// A client's command reaches a shard.
    Command {
        site: Site,
        life: u64,
        ticket: u64,
        operation: Operation,
    },
    /// A read follows a write.
    Follow {
        site: Site,
        life: u64,
        follower: Follower,
    },
    /// A shard has something to do.
    Wake {
        site: Site,
        life: u64,
    },
    /// The machine of a node has something to do.
    WakeNode {
        node: usize,
        life: u64,
    },
    /// A request of a shard's log ends.
    Disk {
        site: Site,
        life: u64,
        number: u64,
    },
    /// The read of a cold record ends.
    Fetched {
        site: Site,
        life: u64,
        wanted: Wanted,
    },
    Roomy {
        site: Site,
        life: u64,
        key: KeyPlace,
    },
    /// The topology is on disk.
    Persisted {
        node: usize,
        life: u64,
        persisted: Persisted,
    },
    /// A connection between two nodes came up or was lost, as one of them sees it.
    Peer {
        node: usize,
        life: u64,
        peer: usize,
        up: bool,
    },
    /// A shard has what its node gains in a topology.
    ShardWarm {
        node: usize,
        life: u64,
        topology: TopologyId,
    },
    /// A shard wants the reap epoch of its node above that.
    Raise {
        node: usize,
        life: u64,
        above: u64,
    },
    /// A node was told that its disk is an older copy.
    Outdated {
        node: usize,
        life: u64,
    },
    /// A shard met a peer on another topology.
    Differs {
        node: usize,
        life: u64,
        peer: NodeId,
    },
    /// Two nodes try to connect.
    Connect {
        a: usize,
        b: usize,
    },
    /// Two nodes lose their connections.
    Disconnect {
        a: usize,
        b: usize,
    },
    /// A client begins its next operation.
    Client {
        client: usize,
    },
    /// A client has waited long enough for a reply.
    GiveUp {
        ticket: u64,
    },
    /// The last requests go on.
    Close,
    /// A fault of that kind begins, if faults still happen.
    Fault(Fault),
    /// Splits end.
    Heal,
    /// What is sent from one node to another comes at once again, if that is still the life of
    /// their connections.
    Unclog {
        from: usize,
        to: usize,
        connection: u32,
    },
    /// A stopped process goes on.
    Resume {
        node: usize,
    },
    /// A process whose log failed is replaced by another.
    Replace {
        node: usize,
        life: u64,
    },
    /// A crashed process starts again.
    Restart {
        node: usize,
    },
}

/// Kinds of faults that begin at times the seed draws.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The network is split.
    Split,
    /// Two nodes lose their connections.
    Reset,
    /// Connections of two nodes are clogged.
    Clog,
    /// A node crashes.
    Crash,
    /// A process is stopped for a while.
    Pause,
    /// A wall clock jumps.
    ClockStep,
    /// The membership changes.
    Change,
    /// The free space of a disk changes.
    Space,
    /// A bit on a disk turns.
    Rot,
    /// A node is started as a build of another version.
    Upgrade,
    /// A disk is copied, or put back from its copy.
    PutBack,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Forming,
    Running,
    Healing,
    Closing,
}

/// See the module.
pub(super) struct World<'m> {
    now: Instant,
    queue: Queue<Event>,
    swarm: Swarm,
    random: Random,
    hosts: Vec<Host<'m>>,
    pool: Pool<'m>,
    network: Network,
    /// `connected[a][b]`: a has connections with b, as far as a knows.
    connected: Vec<Vec<bool>>,
    link_clocks: LinkClocks,
    settings: TurnSettings,
    clients: Clients,
    tickets: Tickets,
    followers: Followers,
    closing: Closing,
    judge: Judge,
    /// The reply that arrived last, if nothing else has since: it may be on its way back.
    arrived: Option<Reply>,
    /// Changes of the membership that are still to come.
    changes_left: u32,
    stage: Stage,
    /// When the stage began.
    since: Instant,
    marks: Marks,
    trace: Rc<RefCell<Trace>>,
}

/// Notes a line in the trace of a world.
macro_rules! note {
    ($world:expr, $($format:tt)*) => {
        $world.trace.borrow_mut().note($world.now, format_args!($($format)*))
    };
}
use note;

impl<'m> World<'m> {
    /// A cluster that has not been formed.
    pub(super) fn new(
        swarm: Swarm,
        mut random: Random,
        pool: Pool<'m>,
        trace: Rc<RefCell<Trace>>,
    ) -> World<'m> {
        let nodes = swarm.shards.len();
        let cluster = ClusterId(u128::from(random.bits()));
        let settings = TurnSettings {
            cluster_digest: cluster.digest(),
            hash_seed: cluster.hash_seed(),
            context_key: [7; 16],
            request_timeout: swarm.request_timeout,
            key_bytes_max: 64,
            value_bytes_max: 4096,
        };
        let mut network = Network::new(nodes, swarm.network, random.fork());
        network.set_faulty(false);
        let hosts = (0..nodes).map(|node| Host::new(&swarm, node, cluster, &mut random)).collect();
        let clients = Clients::new(&swarm, &mut random);
        let judge = Judge::new(&swarm, clients.keys());
        World {
            now: Instant(0),
            queue: Queue::default(),
            random,
            hosts,
            pool,
            network,
            connected: vec![vec![false; nodes]; nodes],
            link_clocks: LinkClocks::default(),
            settings,
            clients,
            tickets: Tickets::default(),
            followers: Followers::default(),
            closing: Closing::default(),
            judge,
            arrived: None,
            changes_left: CHANGE_COUNT_MAX,
            stage: Stage::Forming,
            since: Instant(0),
            marks: Marks::default(),
            trace,
            swarm,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first violation.
    pub(super) fn run(&mut self) -> Result<(), Violation> {
        note!(self, "{:?}", self.swarm);
        for node in 0..self.hosts.len() {
            if !self.hosts[node].is_spare {
                self.start(node)?;
            }
        }
        for _ in 0..EVENT_COUNT_MAX {
            if self.advance()? {
                return Ok(());
            }
            let Some((at, event)) = self.queue.pop() else {
                let detail = format!("nothing is left to happen while {:?}", self.stage);
                return Err(Violation::new(Invariant::Recovery, detail));
            };
            self.now = at;
            self.handle(event)?;
        }
        Err(Violation::new(Invariant::Recovery, "the run does not end"))
    }

    /// Schedules `event` for `delay` from now.
    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    /// The life of the running process of `node`; 0 if none runs.
    pub(super) fn life(&self, node: usize) -> u64 {
        if self.hosts[node].process.is_some() { self.hosts[node].lives } else { 0 }
    }

    pub(super) fn handle(&mut self, event: Event) -> Result<(), Violation> {
        let event = match self.park(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Arrive(parcel) => self.on_arrive(&parcel),
            Event::Command { site, life, ticket, operation } => {
                if life == self.life(site.node) {
                    return self.on_command(site, ticket, &operation);
                }
                Ok(())
            }
            Event::Follow { site, life, follower } if life == self.life(site.node) => {
                self.on_follow(site, follower)
            }
            Event::Wake { site, life } if life == self.life(site.node) => self.on_wake(site),
            Event::WakeNode { node, life } if life == self.life(node) => self.on_wake_node(node),
            Event::Disk { site, life, number } if life == self.life(site.node) => {
                self.on_disk(site, number)
            }
            Event::Fetched { site, life, wanted } if life == self.life(site.node) => {
                self.on_fetched(site, wanted)
            }
            Event::Roomy { site, life, key } if life == self.life(site.node) => {
                self.on_roomy(site, key)
            }
            Event::Persisted { node, life, persisted } if life == self.life(node) => {
                self.on_persisted(node, persisted)
            }
            Event::Peer { node, life, peer, up } if life == self.life(node) => {
                self.on_peer(node, peer, up)
            }
            Event::Differs { node, life, peer } if life == self.life(node) => {
                self.node_turn(node, NodeInput::Differs(peer))
            }
            Event::Raise { node, life, above } if life == self.life(node) => {
                self.node_turn(node, NodeInput::Raise { above })
            }
            Event::Outdated { node, life } if life == self.life(node) => self.on_outdated(node),
            Event::ShardWarm { node, life, topology } if life == self.life(node) => {
                self.node_turn(node, NodeInput::ShardWarm { topology })
            }
            Event::Follow { .. }
            | Event::ShardWarm { .. }
            | Event::Raise { .. }
            | Event::Outdated { .. }
            | Event::Wake { .. }
            | Event::WakeNode { .. }
            | Event::Differs { .. }
            | Event::Disk { .. }
            | Event::Fetched { .. }
            | Event::Roomy { .. }
            | Event::Persisted { .. }
            | Event::Peer { .. } => Ok(()),
            Event::Connect { a, b } => self.on_connect(a, b),
            Event::Disconnect { a, b } => self.disconnect(a, b),
            Event::Client { client } => self.on_client(client),
            Event::Close => self.on_close(),
            Event::GiveUp { ticket } => self.on_give_up(ticket),
            event => self.handle_fault(event),
        }
    }

    /// What the mix does to nodes and connections.
    fn handle_fault(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Fault(fault) => self.on_fault(fault),
            Event::Heal => {
                self.heal();
                Ok(())
            }
            Event::Unclog { from, to, connection } => self.unclog(from, to, connection),
            Event::Resume { node } => self.resume(node),
            Event::Replace { node, life } => self.replace(node, life),
            Event::Restart { node } => {
                let host = &self.hosts[node];
                if host.process.is_none() && !host.is_gone { self.start(node) } else { Ok(()) }
            }
            _ => unreachable!("it is of those above"),
        }
    }

    /// What concerns a stopped process waits until it goes on.
    fn park(&mut self, event: Event) -> Option<Event> {
        let node = match &event {
            Event::Arrive(parcel) => parcel.to.node,
            Event::Command { site, .. }
            | Event::Follow { site, .. }
            | Event::Wake { site, .. }
            | Event::Disk { site, .. }
            | Event::Fetched { site, .. }
            | Event::Roomy { site, .. } => site.node,
            Event::WakeNode { node, .. }
            | Event::Persisted { node, .. }
            | Event::ShardWarm { node, .. }
            | Event::Raise { node, .. }
            | Event::Outdated { node, .. }
            | Event::Differs { node, .. }
            | Event::Peer { node, .. } => *node,
            _ => return Some(event),
        };
        match &mut self.hosts[node].stopped {
            Some(waiting) => {
                waiting.push(event);
                None
            }
            None => Some(event),
        }
    }

    /// Starts a process at `node`.
    pub(super) fn start(&mut self, node: usize) -> Result<(), Violation> {
        let seed = self.random.bits();
        self.hosts[node].start(&self.swarm, node, &mut self.pool, seed);
        let life = self.life(node);
        note!(self, "n{node} starts, boot {life}");
        if life > 1 {
            self.marks.hit(Mark::Restart);
        }
        self.recover(node)?;
        self.provoke(node);
        let own = contact(&self.swarm, node, life);
        self.on_started(node, own)?;
        for peer in 0..self.hosts.len() {
            if peer != node {
                let (a, b) = (node.min(peer), node.max(peer));
                let delay = self.random.delay(Duration::from_millis(1));
                self.after(delay, Event::Connect { a, b });
            }
        }
        Ok(())
    }
}
