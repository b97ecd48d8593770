//! What a seed turns on. Every run draws its own mix (swarm testing, Groce et al. 2012): a run
//! with all faults at once hides the bugs that need one of them to be absent.

use std::time::Duration;

use ringmain_core::limits::{COMPACT_COUNT_MIN, FRAME_AGE_MAX};

use super::random::Random;

mod rare;

/// The mix of one run.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Shards of each node; its length is the number of nodes.
    pub shards: Vec<u16>,
    /// Nodes are added amid faults and first writes, for this long; none = in peace.
    pub early: Option<Duration>,
    /// Nodes that are started when the cluster grows.
    pub spares: usize,
    /// The nodes, a bit for each, that begin as builds of the version of the protocol before.
    pub older: u8,
    /// Owners of a partition, R and W, as the cluster was founded.
    pub n: u8,
    /// See `n`.
    pub r: u8,
    /// See `n`.
    pub w: u8,
    /// When a write counts as stored.
    pub durability: Durability,
    /// Requests that a shard can have in flight.
    pub slot_count: usize,
    /// Acknowledgments of a shard that can wait for a sync.
    pub unsynced_count: usize,
    /// Operations of a shard that can wait for cold records, and their bytes.
    pub waiting_count: usize,
    /// See `waiting_count`.
    pub waiting_bytes: usize,
    /// Deadline of a request.
    pub request_timeout: Duration,
    /// How old a tombstone must be to be reaped: years, or short.
    pub reap_grace: Duration,
    /// Version vectors with more entries may be compacted.
    pub long_entries: usize,
    /// Copies are compared; none = only hints and reads bring them together.
    pub anti_entropy: Option<AntiEntropy>,
    /// See there.
    pub network: NetworkOptions,
    /// See there.
    pub disk: DiskOptions,
    /// See there.
    pub faults: FaultOptions,
    /// A disk is put back from an older copy; none = never.
    pub put_back: Option<PutBack>,
    /// See there.
    pub clients: ClientOptions,
}

/// Which disk is put back from older copies of it.
#[derive(Clone, Copy, Debug)]
pub struct PutBack {
    /// Of this node.
    pub node: usize,
    /// Mean time until it is copied, then put back, then copied again.
    pub interval: Duration,
}

/// How copies are compared.
#[derive(Clone, Copy, Debug)]
pub struct AntiEntropy {
    /// Of each pair of owners.
    pub interval: Duration,
    /// Exchanges that a shard asks for at once.
    pub asking: usize,
    /// Exchanges that it answers at once.
    pub answering: usize,
    /// Nothing is kept for owners that are away: exchanges alone bring them what they lack.
    pub is_alone: bool,
}

/// `--durability`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// After a sync.
    Always,
    /// When appended; a sync follows within this time.
    Interval(Duration),
    /// When appended.
    None,
}

/// What may go wrong, drawn per seed. Shares are per mille of the frames.
#[derive(Clone, Copy, Debug)]
pub struct NetworkOptions {
    /// Usual one-way delay between nodes.
    pub delay: Duration,
    /// Frames of one connection arrive in order, as on TCP.
    pub ordered: bool,
    /// Frames that a split stops wait for its end instead of being lost.
    pub holds: bool,
    /// Lost frames.
    pub lost: u32,
    /// Frames that arrive twice.
    pub duplicated: u32,
    /// Frames that take up to 300 times as long.
    pub slow: u32,
    /// Frames with one flipped bit behind the first 32 bytes.
    pub corrupted: u32,
    /// What was sent longer ago is not acted upon.
    pub age_max: Duration,
}

/// How disks behave.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Usual time of a sync.
    pub sync: Duration,
    /// Syncs, per mille, that take up to 300 times as long.
    pub slow: u32,
    /// Appends, per mille, that are refused since too much waits.
    pub busy: u32,
    /// Records, per mille, that are not in memory until they are fetched.
    pub cold: u32,
    /// How long a record usually stays in memory, or out of it.
    pub stay: Duration,
    /// Fetches, per mille, that fail.
    pub unread: u32,
    /// Writes, per mille, that are done in part.
    pub short: u32,
    /// Requests, per 100 000, that fail; then the log takes nothing until a restart.
    pub errors: u32,
    /// Largest segment, bytes.
    pub segment_bytes: u32,
    /// On every disk one call of this kind fails, after so many that did not.
    pub failing: Option<(FileCall, u32)>,
    /// Mean time between two changes of a disk's free space; none = no disk is ever full.
    pub space: Option<Duration>,
    /// Mean time between two bits that turn; none = never.
    pub rot: Option<Duration>,
    /// A write lands elsewhere, after so many that did not.
    pub misdirected: Option<u32>,
    /// The nodes, a bit for each, whose disks may lose what they hold.
    pub victims: u8,
}

/// Kinds of calls that a log's files need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileCall {
    /// A segment is made.
    Create,
    /// A batch is written.
    Write,
    /// A segment is synced.
    Sync,
    /// A part of a snapshot is written.
    Store,
    /// A snapshot gets its name.
    Rename,
    /// A segment is removed.
    Remove,
    /// Background work reads.
    Read,
}

impl FileCall {
    const ALL: [FileCall; 7] = [
        FileCall::Create,
        FileCall::Write,
        FileCall::Sync,
        FileCall::Store,
        FileCall::Rename,
        FileCall::Remove,
        FileCall::Read,
    ];
}

/// How often faults begin, each as the mean time between two; none = never.
#[derive(Clone, Copy, Debug)]
pub struct FaultOptions {
    /// The network splits.
    pub split: Option<Duration>,
    /// Usual length of a split.
    pub split_length: Duration,
    /// All connections of two nodes are reset.
    pub reset: Option<Duration>,
    /// The bytes of two nodes' connections lie in buffers, and come later.
    pub clog: Option<Duration>,
    /// A node crashes.
    pub crash: Option<Duration>,
    /// Usual time until it is back.
    pub restart: Duration,
    /// Crashes, per mille, that take the unsynced part of the disk with them.
    pub power_loss: u32,
    /// Peers notice a lost node at once, not only by their requests' deadlines.
    pub notices: bool,
    /// A node is stopped for a while.
    pub pause: Option<Duration>,
    /// Usual length of a pause.
    pub pause_length: Duration,
    /// The wall clock of a node jumps by up to years.
    pub clock_step: Option<Duration>,
    /// The membership changes.
    pub change: Option<Duration>,
    /// A node is upgraded.
    pub upgrade: Option<Duration>,
    /// Frames, per mille, that a sender's full queue refuses.
    pub unsent: u32,
}

impl FaultOptions {
    /// No faults.
    pub const NONE: FaultOptions = FaultOptions {
        split: None,
        split_length: Duration::from_millis(1),
        reset: None,
        clog: None,
        crash: None,
        restart: Duration::from_millis(1),
        power_loss: 0,
        notices: true,
        pause: None,
        pause_length: Duration::from_millis(1),
        clock_step: None,
        change: None,
        upgrade: None,
        unsent: 0,
    };
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How many there are.
    pub count: usize,
    /// How many keys they share.
    pub key_count: usize,
    /// Half of the keys are used at a time, in turns.
    pub turns: bool,
    /// Usual pause between two operations of a client.
    pub think: Duration,
    /// How likely each kind of operation is; see `client::Kind`.
    pub weights: [u32; 7],
    /// Requests, per mille, that name R, W, PR, PW or DW themselves.
    pub explicit: u32,
    /// Writes, per mille, whose value expires, or that change when others do.
    pub expiring: u32,
    /// Largest value, bytes.
    pub value_bytes_max: usize,
    /// Every key has one writer, which reads before it writes.
    pub sequential: bool,
    /// Acknowledged operations that a run needs at least.
    pub acknowledged: u64,
}

impl Swarm {
    /// Draws a mix.
    pub fn draw(random: &mut Random) -> Swarm {
        let node_count = [1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6][random.below(12)];
        let shards = (0..node_count).map(|_| [1, 1, 2, 3, 4][random.below(5)]).collect();
        let calm = random.chance(100);
        let early = (random.chance(250) && !calm && node_count > 2)
            .then(|| Duration::from_millis(random.between(200, 8_000)));
        // While nodes are added, owners must change for a mistake to show.
        let n = if early.is_some() { [1, 1, 2, 2, 3] } else { [1, 2, 3, 3, 4] }[random.below(5)];
        let (r, w) = match random.below(4) {
            0 => (random.between(1, n) as u8, random.between(1, n) as u8),
            _ => ((n / 2 + 1) as u8, (n / 2 + 1) as u8),
        };
        let clients = ClientOptions::draw(random);
        let durability = Durability::draw(random);
        let length = clients.length();
        let mut faults = FaultOptions::NONE;
        if !calm {
            faults = FaultOptions::draw(random, length);
            if faults.reset.or(faults.pause).is_none() || node_count == 1 {
                faults.crash = faults.crash.or(Some(length / 6));
            }
        }
        let mut swarm = Swarm {
            shards,
            early,
            spares: 0,
            older: 0,
            n: n as u8,
            r,
            w,
            durability,
            slot_count: [2, 4, 16, 64][random.below(4)],
            unsynced_count: [4, 64][random.below(2)],
            waiting_count: [2, 8, 64][random.below(3)],
            waiting_bytes: [8 << 10, 1 << 20][random.below(2)],
            request_timeout: Duration::from_millis(random.between(100, 2000)),
            reap_grace: NO_REAPING,
            long_entries: COMPACT_COUNT_MIN,
            anti_entropy: None,
            network: network(random, calm),
            disk: DiskOptions {
                sync: Duration::from_micros(random.between(20, 10_000)),
                slow: some(random, calm, 50),
                busy: some(random, calm, 20),
                cold: some(random, calm, 600),
                stay: Duration::from_micros(random.between(500, 100_000)),
                unread: some(random, calm, 300),
                short: some(random, calm, 100),
                errors: if durability == Durability::Always { some(random, calm, 50) } else { 0 },
                segment_bytes: [8 << 10, 64 << 10, 1 << 20][random.below(3)],
                failing: None,
                space: None,
                rot: None,
                misdirected: None,
                victims: 0,
            },
            faults,
            put_back: None,
            clients,
        };
        swarm.anti_entropy = AntiEntropy::draw(&mut random.clone().fork().fork());
        swarm.draw_expiring(&mut random.clone().fork().fork().fork());
        swarm.draw_reaping(&mut random.clone().fork().fork().fork().fork());
        if !calm {
            swarm.draw_apart(random, length);
        }
        swarm
    }

    /// Hints are never lost in this run, or find no room: no process ends, every disk takes what
    /// it is given, and all nodes own all keys, so that each may keep what others lack.
    pub fn keeps_all_hints(&self) -> bool {
        let DiskOptions { busy, cold, errors, failing, space, victims, .. } = self.disk;
        self.shards.len() <= usize::from(self.n)
            && self.early.is_none()
            && self.faults.change.is_none()
            && self.faults.crash.is_none()
            && self.faults.upgrade.is_none()
            && self.put_back.is_none()
            && busy + cold + errors == 0
            && failing.is_none()
            && space.is_none()
            && victims == 0
    }

    /// Nothing fails in this run.
    pub fn is_calm(&self) -> bool {
        let NetworkOptions { lost, duplicated, slow, corrupted, .. } = self.network;
        let FaultOptions { split, reset, clog, crash, pause, unsent, change, upgrade, .. } =
            self.faults;
        let faults = [split, reset, clog, crash, pause, change, upgrade];
        lost + duplicated + slow + corrupted + unsent + self.disk.busy + self.disk.slow == 0
            && self.disk.failing.is_none()
            && self.disk.space.is_none()
            && self.put_back.is_none()
            && self.disk.victims == 0
            && self.disk.cold + self.disk.unread + self.disk.short + self.disk.errors == 0
            && faults.iter().all(Option::is_none)
    }
}

impl AntiEntropy {
    fn draw(random: &mut Random) -> Option<AntiEntropy> {
        let options = AntiEntropy {
            interval: Duration::from_millis(random.between(200, 2_000)),
            asking: random.between(1, 3) as usize,
            answering: random.between(1, 4) as usize,
            is_alone: random.chance(400),
        };
        random.chance(600).then_some(options)
    }
}

impl Durability {
    fn draw(random: &mut Random) -> Durability {
        match random.below(10) {
            0 => Durability::None,
            1 | 2 => Durability::Interval(Duration::from_millis(random.between(1, 50))),
            _ => Durability::Always,
        }
    }
}

impl FaultOptions {
    /// Faults for a run that may take about `length`.
    fn draw(random: &mut Random, length: Duration) -> FaultOptions {
        FaultOptions {
            split: every(random, length),
            split_length: part(random, length),
            reset: every(random, length),
            clog: None,
            crash: every(random, length),
            restart: part(random, length),
            power_loss: [0, 500, 1000][random.below(3)],
            notices: random.chance(700),
            pause: every(random, length),
            pause_length: part(random, length),
            clock_step: every(random, length),
            change: None,
            upgrade: None,
            unsent: some(random, false, 20),
        }
    }
}

/// Kinds of operations that delete, by their positions in `client::Kind`.
const DELETES: [usize; 2] = [2, 5];

/// Nothing gets so old.
const NO_REAPING: Duration = Duration::from_secs(1 << 40);

impl ClientOptions {
    fn draw(random: &mut Random) -> ClientOptions {
        let sequential = random.chance(200);
        let key_count = random.between(1, 8) as usize;
        let mut weights = std::array::from_fn(|_| [0, 1, 2, 4][random.below(4)]);
        if weights == [0; 7] {
            // One in 16384.
            weights = [1; 7];
        }
        ClientOptions {
            count: random.between(if sequential { key_count as u64 } else { 2 }, 12) as usize,
            key_count,
            turns: false,
            think: Duration::from_micros(random.between(100, 50_000)),
            weights,
            explicit: some(random, false, 500),
            expiring: 0,
            value_bytes_max: [0, 100, 2000][random.below(3)],
            sequential,
            acknowledged: random.between(300, 400),
        }
    }

    /// Has all of them together do an operation every so many milliseconds, in turns of half of
    /// the keys, and some deletes: so that there is something to reap, and time.
    fn slow_down(&mut self, pause_ms: u32) {
        if self.sequential {
            return;
        }
        self.key_count = 8;
        self.turns = true;
        self.think = self.think.max(Duration::from_millis(1) * pause_ms * self.count as u32);
        for kind in DELETES {
            self.weights[kind] = self.weights[kind].max(2);
        }
    }

    /// About how long a run takes with these clients.
    fn length(&self) -> Duration {
        let operation = self.think * 3 / 2 + Duration::from_millis(5);
        operation * self.acknowledged as u32 / self.count as u32
    }
}

fn network(random: &mut Random, calm: bool) -> NetworkOptions {
    NetworkOptions {
        delay: Duration::from_micros(random.between(20, 5_000)),
        ordered: random.chance(700),
        holds: random.chance(500),
        lost: some(random, calm, 100),
        duplicated: some(random, calm, 100),
        slow: some(random, calm, 50),
        corrupted: some(random, calm, 20),
        age_max: FRAME_AGE_MAX,
    }
}

/// A share per mille: 0 in half of the runs.
fn some(random: &mut Random, never: bool, max: u64) -> u32 {
    let share = random.between(1, max) as u32;
    if random.chance(500) || never { 0 } else { share }
}

/// A mean time between faults: never in half of the runs, else 2 to 15 in a run.
fn every(random: &mut Random, length: Duration) -> Option<Duration> {
    let mean = length / random.between(2, 15) as u32;
    random.chance(500).then_some(mean)
}

/// A small part of a run.
fn part(random: &mut Random, length: Duration) -> Duration {
    length / random.between(4, 100) as u32
}
