//! The links of one shard to the shards of other nodes: which are wanted, which stand, and when
//! a lost one is dialed again.
//!
//! A shard needs a link to every shard of a peer that holds some of its partitions: one if both
//! nodes have as many shards. A peer counts as up while all of them stand.

use crate::session::native::dialer::Backoff;
use ringmain_core::hash::KeyHash;
use ringmain_core::id::{NodeId, Partition, ShardIndex};
use ringmain_core::membership::member::Contact;
use ringmain_core::prng::Prng;
use ringmain_core::request::Link;
use ringmain_core::shard::{ShardConfig, first_partition};
use ringmain_core::time::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What a link is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Dialed again at that time.
    Resting(Instant),
    /// Being connected, or in its handshake.
    Dialing,
    /// It stands.
    Up(Link),
}

#[derive(Debug)]
struct PeerLink {
    shard: ShardIndex,
    state: State,
    backoff: Backoff,
}

#[derive(Debug)]
struct Peer {
    contact: Contact,
    links: Vec<PeerLink>,
    /// The shards of this node and the machine think that it is up.
    is_up: bool,
}

/// A link to be dialed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Dial {
    pub(crate) node: NodeId,
    pub(crate) shard: ShardIndex,
    pub(crate) address: SocketAddr,
}

/// The links of one shard.
#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    shard: ShardIndex,
    shards: u16,
    partition_bits: u32,
    peers: BTreeMap<NodeId, Peer>,
    prng: Prng,
}

impl Peers {
    /// The links of a shard that knows no peers yet.
    pub(crate) fn of(config: &ShardConfig, seed: u64) -> Peers {
        let ShardConfig { node: me, shard, shards, partition_bits, .. } = *config;
        let prng = Prng::new(seed);
        Peers { me, shard, shards, partition_bits, peers: BTreeMap::new(), prng }
    }

    /// Takes the addresses of the members; a node that changed its address or shard count, or was
    /// started again, loses its links, which the caller closes. Says also which nodes are down by
    /// that.
    pub(crate) fn set_contacts(
        &mut self,
        contacts: &[Contact],
        now: Instant,
    ) -> (Vec<Link>, Vec<NodeId>) {
        let (mut lost, mut down) = (Vec::new(), Vec::new());
        for contact in contacts.iter().filter(|contact| contact.node != self.me) {
            let known = self.peers.get(&contact.node);
            if known.is_some_and(|peer| same_address(&peer.contact, contact)) {
                continue;
            }
            let links = self.shards_of(contact.shards).map(|shard| PeerLink {
                shard,
                state: State::Resting(now),
                backoff: Backoff::default(),
            });
            let peer = Peer { contact: *contact, links: links.collect(), is_up: false };
            if let Some(old) = self.peers.insert(contact.node, peer) {
                down.extend(old.is_up.then_some(contact.node));
                lost.extend(old.links.iter().filter_map(|link| match link.state {
                    State::Up(link) => Some(link),
                    State::Resting(_) | State::Dialing => None,
                }));
            }
        }
        (lost, down)
    }

    /// The shards of a node with `shards` that hold partitions of this shard.
    fn shards_of(&self, shards: u16) -> impl Iterator<Item = ShardIndex> + use<> {
        let bits = self.partition_bits;
        let first = first_partition(self.shard, self.shards, bits);
        let end = first_partition(ShardIndex(self.shard.0 + 1), self.shards, bits);
        let low = ShardIndex::of(Partition(first), shards, bits);
        let high = ShardIndex::of(Partition(end - 1), shards, bits);
        (low.0..=high.0).map(ShardIndex)
    }

    /// Links whose time to be dialed has come; they count as being dialed from now on.
    pub(crate) fn dials(&mut self, now: Instant) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (node, peer) in &mut self.peers {
            let address = native_address(&peer.contact);
            for link in &mut peer.links {
                if matches!(link.state, State::Resting(at) if at <= now) {
                    link.state = State::Dialing;
                    dials.push(Dial { node: *node, shard: link.shard, address });
                }
            }
        }
        dials
    }

    /// When the next link is to be dialed.
    pub(crate) fn next_dial(&self) -> Option<Instant> {
        let links = self.peers.values().flat_map(|peer| &peer.links);
        let resting = links.filter_map(|link| match link.state {
            State::Resting(at) => Some(at),
            State::Dialing | State::Up(_) => None,
        });
        resting.min()
    }

    /// A link stands. True if its peer is up by that.
    pub(crate) fn on_up(&mut self, node: NodeId, shard: ShardIndex, link: Link) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return false };
        let Some(known) = peer.links.iter_mut().find(|known| known.shard == shard) else {
            return false;
        };
        known.state = State::Up(link);
        known.backoff = Backoff::default();
        let is_up = peer.links.iter().all(|link| matches!(link.state, State::Up(_)));
        let rose = is_up && !peer.is_up;
        peer.is_up = is_up;
        rose
    }

    /// A link could not be dialed. Nothing changes if another call to the same shard has stood
    /// since, as one to an earlier address of that node may fail late.
    pub(crate) fn on_dial_failed(&mut self, node: NodeId, shard: ShardIndex, now: Instant) {
        let peer = self.peers.get(&node);
        let link = peer.and_then(|peer| peer.links.iter().find(|link| link.shard == shard));
        if link.is_some_and(|link| link.state == State::Dialing) {
            let _was_up = self.on_down(node, shard, now);
        }
    }

    /// A link was lost. True if its peer is down by that.
    pub(crate) fn on_down(&mut self, node: NodeId, shard: ShardIndex, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return false };
        let Some(known) = peer.links.iter_mut().find(|known| known.shard == shard) else {
            return false;
        };
        let pause = known.backoff.on_failure(&mut self.prng);
        known.state = State::Resting(now + pause);
        std::mem::take(&mut peer.is_up)
    }

    /// Whether that link is the one in use, or none is.
    pub(crate) fn is_current(&self, node: NodeId, shard: ShardIndex, link: Link) -> bool {
        let Some(peer) = self.peers.get(&node) else { return false };
        let known = peer.links.iter().find(|known| known.shard == shard);
        known.is_some_and(|known| known.state == State::Up(link))
    }

    /// The link that serves `partition` on `node`, if it stands.
    pub(crate) fn link(&self, node: NodeId, partition: Partition) -> Option<Link> {
        let peer = self.peers.get(&node)?;
        let shard = ShardIndex::of(partition, peer.contact.shards, self.partition_bits);
        let link = peer.links.iter().find(|link| link.shard == shard)?;
        match link.state {
            State::Up(link) => Some(link),
            State::Resting(_) | State::Dialing => None,
        }
    }

    /// The links to `node` that stand.
    pub(crate) fn links(&self, node: NodeId) -> impl Iterator<Item = Link> + '_ {
        let links = self.peers.get(&node).into_iter().flat_map(|peer| &peer.links);
        links.filter_map(|link| match link.state {
            State::Up(link) => Some(link),
            State::Resting(_) | State::Dialing => None,
        })
    }

    /// How many peers are up.
    pub(crate) fn up_count(&self) -> usize {
        self.peers.values().filter(|peer| peer.is_up).count()
    }

    /// What is known of `node`.
    pub(crate) fn contact(&self, node: NodeId) -> Option<&Contact> {
        self.peers.get(&node).map(|peer| &peer.contact)
    }
}

/// Where a node takes native connections.
pub(crate) fn native_address(contact: &Contact) -> SocketAddr {
    SocketAddr::new(ip(contact), contact.native_port)
}

/// The address of a contact: IPv4 where it is mapped.
pub(crate) fn ip(contact: &Contact) -> IpAddr {
    Ipv6Addr::from(contact.ip).to_canonical()
}

/// The partition of a key, for callers that have no ring at hand.
pub(crate) fn partition(seed: u64, key: &[u8], partition_bits: u32) -> Partition {
    KeyHash::new(seed, key).partition(partition_bits)
}

fn same_address(a: &Contact, b: &Contact) -> bool {
    (a.ip, a.native_port, a.shards, a.boot) == (b.ip, b.native_port, b.shards, b.boot)
}
