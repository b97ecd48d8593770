//! What clients want: a few hot keys, read and written in every way that the protocol offers.

use std::fmt;

use ringmain_core::drive::Command;
use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Condition, Content, PutRequest, Replaces};

use super::oracle::{Context, Set};
use super::random::Random;
use super::swarm::Swarm;

/// Stamps of writes: 1, 2, 3, ... from here, in milliseconds since 1970.
const FIRST_STAMP: u64 = 1_700_000_000_000;
/// Writes in a turn of half of the keys.
const TURN_COUNT: u64 = 60;

/// Longest life of a value that expires, milliseconds: some outlive the run.
const TTL_MS_MAX: u64 = 10_000;

/// A context that a client was given: the token, and what it stands for.
#[derive(Clone, Default, Eq, PartialEq)]
pub(super) struct Known {
    /// The raw token.
    pub(super) token: Vec<u8>,
    /// The events that it covers.
    pub(super) events: Set,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.fmt(f)
    }
}

/// One request of a client.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// Which key.
    pub(super) key: usize,
    /// What is done.
    pub(super) action: Action,
}

/// What a request does.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Reads, with a context that the answer must cover, if any.
    Get { r: u8, pr: u8, cover: Option<Known> },
    /// Writes.
    Put(Put),
}

/// A write.
#[derive(Clone)]
pub(super) struct Put {
    /// Its name.
    pub(super) stamp: u64,
    /// What it leaves.
    pub(super) content: Written,
    /// How long what it leaves lives, milliseconds; none: for ever.
    pub(super) ttl_ms: Option<u64>,
    /// When that is over by the clock of the node that it was sent to, once it was.
    pub(super) expires: Option<UnixMs>,
    /// What it replaces.
    pub(super) replaces: Replace,
    /// Quorum parameters; 0 = default or none.
    pub(super) w: u8,
    /// See `w`.
    pub(super) pw: u8,
    /// See `w`.
    pub(super) dw: u8,
    /// Whether the reply should bring a context.
    pub(super) want_context: bool,
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Put { stamp, content, expires, replaces, w, pw, dw, .. } = self;
        let kind = match content {
            Written::Nothing => "delete",
            Written::Value(_) => "value",
            Written::Expiry => "expiry",
        };
        write!(f, "{kind} {stamp} until {expires:?} replaces {replaces:?} W {w} PW {pw} DW {dw}")
    }
}

/// What a write leaves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// A deletion.
    Nothing,
    /// A value.
    Value(Vec<u8>),
    /// The values that a read finds, with another expiry.
    Expiry,
}

/// What a write replaces.
#[derive(Clone, Debug)]
pub(super) enum Replace {
    /// This; nothing, if it is empty.
    Given(Known),
    /// What the coordinator knows.
    Local,
    /// What a read by the coordinator finds.
    ReadFirst {
        /// R of that read.
        r: u8,
    },
}

impl Operation {
    /// The operation as a command of the protocol.
    pub(super) fn command(&self) -> Command<'_> {
        match &self.action {
            Action::Get { r, pr, cover } => Command::Get(GetRequest {
                r: *r,
                pr: *pr,
                forwarded: false,
                want_context: true,
                context: cover.as_ref().map_or(&[], |known| &known.token),
            }),
            Action::Put(put) => Command::Put(put.request()),
        }
    }
}

impl Put {
    fn request(&self) -> PutRequest<'_> {
        let replaces = match &self.replaces {
            Replace::Given(known) => Replaces::Given(&known.token),
            Replace::Local => Replaces::Local,
            Replace::ReadFirst { r } => {
                let condition = match (&self.content, self.ttl_ms) {
                    (Written::Expiry, None) => Condition::IfExpires,
                    _ => Condition::Always,
                };
                Replaces::ReadFirst { r: *r, condition, return_old: false }
            }
        };
        let expires = self.expires;
        let content = match &self.content {
            Written::Nothing => Content::Tombstone,
            Written::Value(value) => Content::Value { expires, value },
            Written::Expiry => Content::ExpiryOnly { expires },
        };
        PutRequest {
            w: self.w,
            pw: self.pw,
            dw: self.dw,
            forwarded: false,
            want_context: self.want_context,
            timestamp: UnixMs(self.stamp),
            replaces,
            content,
        }
    }

    /// What the oracle must know of it.
    pub(super) fn context(&self) -> Context {
        match &self.replaces {
            Replace::Given(known) => Context::Given(known.events.clone()),
            Replace::Local => Context::Local,
            Replace::ReadFirst { .. } => Context::ReadFirst,
        }
    }
}

/// Kinds of operations, in the order of `ClientOptions::weights`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A read.
    Read,
    /// A read, then a write with its context.
    Modify,
    /// A read, then a delete with its context.
    Delete,
    /// A write with the empty context.
    Blind,
    /// A plain SET.
    Plain,
    /// A delete whose coordinator reads first.
    DeleteFirst,
    /// A read that must cover what the client knows.
    Session,
}

const KINDS: [Kind; 7] = [
    Kind::Read,
    Kind::Modify,
    Kind::Delete,
    Kind::Blind,
    Kind::Plain,
    Kind::DeleteFirst,
    Kind::Session,
];

/// One client: serial, with at most one request under way.
#[derive(Debug)]
pub(super) struct Client {
    random: Random,
    /// Draws what expires.
    lifetimes: Random,
    /// The ticket it waits for.
    pub(super) waits: Option<u64>,
    /// What it does once the read under way is answered: a value, or a delete.
    then: Option<Kind>,
    /// What it knows of each key.
    known: Vec<Known>,
    /// A write of this client has an unknown outcome.
    unsure: bool,
    /// The write to be tried again.
    again: Option<Operation>,
}

/// All clients of a run.
#[derive(Debug)]
pub(super) struct Clients {
    swarm: Swarm,
    keys: Vec<Vec<u8>>,
    clients: Vec<Client>,
    stamp: u64,
    /// Operations that ended well.
    pub(super) acknowledged: u64,
    /// Writes that were refused since their key had all the siblings that it may have.
    pub(super) crowded: u64,
}

impl Clients {
    /// Clients as `swarm` says.
    pub(super) fn new(swarm: &Swarm, random: &mut Random) -> Clients {
        let mut lifetimes = random.clone().fork().fork();
        let options = &swarm.clients;
        let keys: Vec<Vec<u8>> =
            (0..options.key_count).map(|key| format!("key-{key}").into_bytes()).collect();
        let client = |_| Client {
            random: random.fork(),
            lifetimes: lifetimes.fork(),
            waits: None,
            then: None,
            known: vec![Known::default(); options.key_count],
            unsure: false,
            again: None,
        };
        let clients = (0..options.count).map(client).collect();
        Clients {
            swarm: swarm.clone(),
            keys,
            clients,
            stamp: FIRST_STAMP,
            acknowledged: 0,
            crowded: 0,
        }
    }

    /// The keys.
    pub(super) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// Key `key`.
    pub(super) fn key(&self, key: usize) -> &[u8] {
        &self.keys[key]
    }

    /// How many clients there are.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Client `client`.
    pub(super) fn client(&mut self, client: usize) -> &mut Client {
        &mut self.clients[client]
    }

    /// Whether a write of `client` ever had an unknown outcome.
    pub(super) fn is_unsure(&self, client: usize) -> bool {
        self.clients[client].unsure
    }

    /// No client waits for a reply.
    pub(super) fn are_idle(&self) -> bool {
        self.clients.iter().all(|client| client.waits.is_none())
    }

    /// The next request of `client`.
    pub(super) fn next(&mut self, client: usize) -> Operation {
        let options = &self.swarm.clients;
        let Client { random, then, known, again, .. } = &mut self.clients[client];
        if let Some(Operation { key, action: Action::Put(put) }) = again.take() {
            self.stamp += 1;
            let content = match put.content {
                Written::Value(_) => Written::Value(self.value(client, self.stamp, key)),
                content => content,
            };
            let put = Put { stamp: self.stamp, content, ..put };
            return Operation { key, action: Action::Put(put) };
        }
        let own = options.sequential && client < options.key_count;
        let key = if own { client } else { random.below(options.key_count) };
        // So that deleted keys are left alone for long enough.
        let key = match options.turns {
            true if !own => key / 2 * 2 + (self.stamp / TURN_COUNT % 2) as usize,
            _ => key,
        };
        let kind = match random.weighted(&options.weights) {
            _ if options.sequential && !own => Kind::Read,
            kind if options.sequential => [Kind::Read, Kind::Modify, Kind::Delete][kind % 3],
            kind => KINDS[kind],
        };
        *then = matches!(kind, Kind::Modify | Kind::Delete).then_some(kind);
        let (first, cover) = (known[key].clone(), known[key].clone());
        match kind {
            Kind::Read | Kind::Modify | Kind::Delete => self.get(client, key, None),
            Kind::Session => self.get(client, key, Some(cover)),
            Kind::Plain => self.put(client, key, Replace::Local, true),
            Kind::Blind => {
                // Now and then a context that is old, not empty.
                let old = self.clients[client].random.chance(200);
                let known = if old { first } else { Known::default() };
                self.put(client, key, Replace::Given(known), true)
            }
            Kind::DeleteFirst => {
                let r = self.explicit(client);
                self.put(client, key, Replace::ReadFirst { r }, false)
            }
        }
    }

    /// The write that follows a read, if the client meant to write.
    pub(super) fn follow(&mut self, client: usize, key: usize, read: &Known) -> Option<Operation> {
        self.clients[client].known[key] = read.clone();
        let kind = self.clients[client].then.take()?;
        let replaces = Replace::Given(read.clone());
        Some(self.put(client, key, replaces, kind == Kind::Modify))
    }

    /// A read or write failed: what was to follow does not.
    pub(super) fn give_up(&mut self, client: usize) {
        self.clients[client].then = None;
    }

    /// The client will, perhaps, try `operation` again. Returns whether it will.
    pub(super) fn retry(&mut self, client: usize, operation: &Operation) -> bool {
        let Client { random, again, unsure, .. } = &mut self.clients[client];
        *unsure = true;
        let retries = random.chance(500);
        *again = retries.then(|| operation.clone());
        retries
    }

    /// The client learned the context behind its own write.
    pub(super) fn learn(&mut self, client: usize, key: usize, known: Known) {
        self.clients[client].known[key] = known;
    }

    /// A read of all owners.
    pub(super) fn get_all(&self, key: usize, r: u8) -> Operation {
        Operation { key, action: Action::Get { r, pr: r, cover: None } }
    }

    /// A write to all owners that replaces what a read found.
    pub(super) fn put_all(&mut self, key: usize, w: u8, read: &Known) -> Operation {
        self.stamp += 1;
        let put = Put {
            stamp: self.stamp,
            content: Written::Value(self.value(usize::MAX, self.stamp, key)),
            ttl_ms: None,
            expires: None,
            replaces: Replace::Given(read.clone()),
            w,
            pw: w,
            dw: 0,
            want_context: true,
        };
        Operation { key, action: Action::Put(put) }
    }

    fn get(&mut self, client: usize, key: usize, cover: Option<Known>) -> Operation {
        let (r, pr) = (self.explicit(client), self.explicit(client));
        Operation { key, action: Action::Get { r, pr, cover } }
    }

    fn put(&mut self, client: usize, key: usize, replaces: Replace, is_value: bool) -> Operation {
        self.stamp += 1;
        let stamp = self.stamp;
        let lifetimes = &mut self.clients[client].lifetimes;
        let is_expiring = lifetimes.chance(self.swarm.clients.expiring);
        let life_ms = (!lifetimes.chance(300)).then(|| lifetimes.between(1, TTL_MS_MAX));
        let reads_first = matches!(replaces, Replace::ReadFirst { .. });
        let content = match is_value {
            true => Written::Value(self.value(client, stamp, key)),
            false if is_expiring && reads_first => Written::Expiry,
            false => Written::Nothing,
        };
        let ttl_ms = life_ms.filter(|_| is_expiring && content != Written::Nothing);
        let put = Put {
            stamp,
            content,
            ttl_ms,
            expires: None,
            replaces,
            w: self.explicit(client),
            pw: self.explicit(client),
            dw: self.explicit(client),
            want_context: self.clients[client].random.chance(500),
        };
        Operation { key, action: Action::Put(put) }
    }

    /// A quorum parameter: mostly 0, for the default.
    fn explicit(&mut self, client: usize) -> u8 {
        let n = u64::from(self.swarm.n);
        let random = &mut self.clients[client].random;
        let share = self.swarm.clients.explicit;
        // Rarely more than there are nodes: refused.
        let most = if random.chance(50) { n + 1 } else { n };
        let drawn = random.between(0, most) as u8;
        if random.chance(share) { drawn } else { 0 }
    }

    /// A value that names its writer, its write and its key, of some length.
    fn value(&self, client: usize, stamp: u64, key: usize) -> Vec<u8> {
        let mut value = format!("{client}:{stamp}:{key}:").into_bytes();
        let padding = stamp as usize * 31 % (self.swarm.clients.value_bytes_max + 1);
        value.resize(value.len() + padding, b'.');
        value
    }
}
