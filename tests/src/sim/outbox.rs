//! What one turn of a shard sends: frames to other sites, replies to clients, notices to its
//! node. Collected here, and acted upon when the turn is over.

use ringmain_core::drive::{Answer, Links, Lost, Notice, To};
use ringmain_core::id::{NodeId, RequestId, ShardIndex};
use ringmain_core::request::{Failure, Link, Outcome};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::peer::{Reject, RejectReason};
use ringmain_core::wire::reply::{self, Status};

use super::mark::{Mark, Marks};
use super::network::{Network, Site};
use super::random::Random;

/// log2 of the partitions of every simulated cluster: few, so that keys share them.
pub(super) const PARTITION_BITS: u32 = 6;

/// The node at index `node`, as the cluster knows it.
pub(super) fn node_id(node: usize) -> NodeId {
    NodeId(0x1000 + node as u32)
}

/// The index of a node.
pub(super) fn node_index(id: NodeId) -> usize {
    (id.0 - 0x1000) as usize
}

/// The name, at `at`, of its connection with `other` in that connection's life.
pub(super) fn link_to(other: Site, connection: u32) -> Link {
    Link((other.node as u64) << 40 | (other.shard as u64) << 32 | u64::from(connection))
}

/// The reverse of [`link_to`].
fn link_target(link: Link) -> (Site, u32) {
    let site = Site { node: (link.0 >> 40) as usize, shard: (link.0 >> 32 & 0xff) as usize };
    (site, link.0 as u32)
}

/// An answer as a client sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reply {
    /// How the request ended.
    pub(super) status: Status,
    /// The raw context token; empty for the empty context, or none.
    pub(super) context: Vec<u8>,
    /// Live siblings: stamp and value.
    pub(super) siblings: Vec<(u64, Vec<u8>)>,
    /// What the clock showed where it was decided, if that is known.
    pub(super) wall: Option<UnixMs>,
    /// Live siblings after a write.
    pub(super) live: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Outbox<'w> {
    /// The sender.
    pub(super) site: Site,
    /// Shards of each node.
    pub(super) shards: &'w [u16],
    /// Which peers the sender has a connection with.
    pub(super) connected: &'w [bool],
    /// The connections.
    pub(super) network: &'w Network,
    /// Frames, per mille, that a full queue refuses.
    pub(super) unsent: u32,
    /// Draws those.
    pub(super) random: &'w mut Random,
    /// Situations reached.
    pub(super) marks: &'w mut Marks,
    /// What its clock shows.
    pub(super) wall: UnixMs,
    /// What was sent.
    pub(super) sent: Sent,
}

/// What a turn sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Frames.
    pub(super) frames: Vec<(Site, Vec<u8>)>,
    /// Replies, by ticket.
    pub(super) replies: Vec<(u64, Reply)>,
    /// Notices.
    pub(super) notices: Vec<Notice>,
}

impl Outbox<'_> {
    /// Where a frame goes; none if it cannot go.
    fn target(&self, to: To) -> Option<Site> {
        match to {
            To::Shard(shard) => Some(Site { node: self.site.node, shard: usize::from(shard.0) }),
            To::Link(link) => {
                let (site, connection) = link_target(link);
                let alive = self.network.connection(self.site, site) == connection;
                alive.then_some(site)
            }
            To::Node(id, partition) => {
                let node = node_index(id);
                let shard = ShardIndex::of(partition, self.shards[node], PARTITION_BITS);
                let site = Site { node, shard: usize::from(shard.0) };
                self.connected[node].then_some(site)
            }
        }
    }
}

impl Links for Outbox<'_> {
    fn send(&mut self, to: To, bytes: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), Lost> {
        if self.unsent > 0 && self.random.chance(self.unsent) {
            self.marks.hit(Mark::Unsent);
            return Err(Lost);
        }
        let target = self.target(to).ok_or(Lost)?;
        let mut frame = vec![0; bytes];
        fill(&mut frame);
        let hop = *Frame::without_checksum(&frame).expect("a whole frame was written").hop();
        match hop.op {
            Op::Reject if is_too_old(&frame) => self.marks.hit(Mark::StaleRefused),
            Op::ReadSame => self.marks.hit(Mark::ReadSame),
            Op::Replicate if hop.request == RequestId::NONE => self.marks.hit(Mark::ReadRepaired),
            _ => {}
        }
        self.sent.frames.push((target, frame));
        Ok(())
    }

    fn answer(&mut self, ticket: u64, answer: Answer<'_>) {
        self.sent.replies.push((ticket, reply(answer, self.wall)));
    }

    fn notice(&mut self, notice: Notice) {
        self.sent.notices.push(notice);
    }
}

/// Whether a REJECT says that what it refuses has been given up.
fn is_too_old(frame: &[u8]) -> bool {
    let frame = Frame::without_checksum(frame).expect("a whole frame was written");
    let reject = Reject::new_checked(frame.payload()).expect("it was written just now");
    reject.reason == RejectReason::TooOld
}

impl Reply {
    /// What a REPLY says; `wall` is what the clock of its coordinator shows, if that is known.
    pub(super) fn of_frame(frame: &Frame<'_>, wall: Option<UnixMs>) -> Reply {
        let reply = reply::Reply::new_checked(frame.payload()).expect("a node has written it");
        Reply::of(&reply, wall)
    }

    fn of(remote: &reply::Reply<'_>, wall: Option<UnixMs>) -> Reply {
        Reply {
            status: remote.head.status,
            context: remote.context.to_vec(),
            siblings: remote.siblings().map(|one| (one.timestamp.0, one.value.to_vec())).collect(),
            wall,
            live: remote.head.live,
        }
    }
}

fn reply(answer: Answer<'_>, wall: UnixMs) -> Reply {
    match answer {
        Answer::Local { outcome, record, context, live, .. } => {
            let mut token = vec![0; context.map_or(0, |token| token.bytes())];
            if let Some(context) = context {
                context.write(&mut token);
            }
            let siblings = record.into_iter().flat_map(|record| record.siblings());
            let siblings = siblings.map(|one| (one.timestamp.0, one.value.to_vec())).collect();
            let wall = Some(wall);
            Reply { status: status(outcome), context: token, siblings, wall, live }
        }
        Answer::Remote(remote) => Reply::of(&remote, None),
        Answer::Page { .. } => unreachable!("nobody scans here"),
    }
}

fn status(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Got | Outcome::Stored(_) => Status::Ok,
        Outcome::ConditionFailed => Status::ConditionFailed,
        Outcome::Failed(failure) => match failure {
            Failure::NoQuorum { .. } => Status::NoQuorum,
            Failure::Unavailable { .. } => Status::Unavailable,
            Failure::NotCovered => Status::NotCovered,
            Failure::BadContext => Status::BadContext,
            Failure::TooLarge => Status::TooLarge,
            Failure::Siblings => Status::Siblings,
            Failure::Busy => Status::Busy,
            Failure::NoSpace => Status::NoSpace,
            Failure::ReadOnly => Status::ReadOnly,
            Failure::Damaged => Status::Damaged,
        },
    }
}
