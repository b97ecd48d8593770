//! Reads that follow a plain write over the same connection, without waiting for its answer.
//! Operations of one key take effect in the order of their arrival, so what such a read finds
//! covers the write, unless the write was refused; also when the write waits for a cold record.

use std::collections::BTreeMap;

use ringmain_core::drive::Command;
use ringmain_core::hash::Key;
use ringmain_core::id::TopologyId;
use ringmain_core::limits::FETCH_COUNT_MAX;
use ringmain_core::request::{KeyPlace, Origin};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::reply::Status;

use super::super::client::{Action, Operation, Replace};
use super::super::mark::Mark;
use super::super::network::Site;
use super::super::oracle::Violation;
use super::super::outbox::{PARTITION_BITS, Reply};
use super::{Event, World, note};

/// Plain writes, per mille, that are followed by a read.
const FOLLOWED: u32 = 300;

/// A read that follows a write.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Follower {
    key: usize,
    /// The write.
    stamp: u64,
    /// The ticket of the write.
    write: u64,
    /// On another topology, both may be answered by another node.
    topology: TopologyId,
    /// The disk does not give the record: like a damaged one, it is looked for at other owners.
    is_unread: bool,
}

/// Such reads under way.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// By ticket.
    open: BTreeMap<u64, (Site, KeyPlace, Follower)>,
    /// How often in a row a record could not be read into memory.
    failed_reads: BTreeMap<(Site, KeyPlace), u32>,
}

impl Followers {
    /// The read with this ticket is answered.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<Follower> {
        self.open.remove(&ticket).map(|(.., follower)| follower)
    }

    /// An awaited record was read into memory, or could not be.
    pub(super) fn on_fetched(&mut self, site: Site, key: KeyPlace, is_read: bool) {
        let failed = self.failed_reads.entry((site, key)).or_default();
        *failed = if is_read { 0 } else { *failed + 1 };
        if *failed < FETCH_COUNT_MAX {
            return;
        }
        let waiting = self.open.values_mut().filter(|(at, of, _)| (*at, *of) == (site, key));
        waiting.for_each(|(.., follower)| follower.is_unread = true);
    }
}

impl World<'_> {
    /// A write was handed to `site`: perhaps a read follows, soon.
    pub(super) fn follow(&mut self, site: Site, write: u64, operation: &Operation) {
        let Action::Put(put) = &operation.action else { return };
        let (key, stamp) = (operation.key, put.stamp);
        if !matches!(put.replaces, Replace::Local) || !self.random.chance(FOLLOWED) {
            return;
        }
        let seed = self.settings.hash_seed;
        let partition = Key::new(self.clients.key(key), seed, PARTITION_BITS).partition;
        let (life, shard) = (self.life(site.node), self.shard_mut(site));
        if shard.machine.is_coordinator(partition) {
            let topology = shard.machine.topology();
            let follower = Follower { key, stamp, write, topology, is_unread: false };
            let delay = self.random.delay(self.swarm.disk.stay);
            self.after(delay, Event::Follow { site, life, follower });
        }
    }

    pub(super) fn on_follow(&mut self, site: Site, follower: Follower) -> Result<(), Violation> {
        if self.is_closed() || self.shard_mut(site).machine.topology() != follower.topology {
            return Ok(());
        }
        let ticket = self.new_ticket();
        note!(self, "{site:?} gets {ticket}: a read behind {}", follower.write);
        let key = self.clients.key(follower.key).to_vec();
        let place = KeyPlace::of(&Key::new(&key, self.settings.hash_seed, PARTITION_BITS));
        self.followers.open.insert(ticket, (site, place, follower));
        let get = GetRequest { r: 1, pr: 0, forwarded: false, want_context: true, context: &[] };
        self.turn(site, |turn| turn.command(Origin::Session(ticket), &key, Command::Get(get)))
    }

    /// S19: the read found the write.
    pub(super) fn on_follower_reply(
        &mut self,
        site: Site,
        follower: Follower,
        reply: &Reply,
    ) -> Result<(), Violation> {
        let Follower { key, stamp, write, topology, .. } = follower;
        // Where a record is damaged or cannot be read, or is not served since the log failed, both
        // go to other owners.
        let host = &self.hosts[site.node];
        let is_unread = follower.is_unread || host.is_damaged || host.has_failed();
        let has_moved = is_unread || self.shard_mut(site).machine.topology() != topology;
        if reply.status != Status::Ok || has_moved {
            return Ok(());
        }
        let named = (key, self.clients.key(key));
        let is_open = self.is_open(write);
        self.judge.on_follower(named, stamp, is_open, reply, &self.settings.context_key)?;
        self.marks.hit(Mark::Followed);
        Ok(())
    }
}
