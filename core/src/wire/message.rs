//! All payloads in one closed enum: what a checked frame says.

use super::ITEM_BYTES_MAX;
use super::admin::{AdminReply, Commit, Repair, Scrub, Stage};
use super::epochs::Epochs;
use super::exchange;
use super::frame::Frame;
use super::get::GetRequest;
use super::gossip::Gossip;
use super::hello::{Hello, HelloReply, Proof, Refused};
use super::op::Op;
use super::payload::{Malformed, Payload};
use super::peer::{Ack, Hint, Read, ReadSame, Reject};
use super::put::PutRequest;
use super::reply::Reply;
use super::routes::{RoutesReply, RoutesRequest};
use super::scan::{Page, ScanRequest};
use super::survey::{Erase, Survey, Surveyed};
use super::topology::{Staged, Topology};

/// What a frame says, by op.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message<'a> {
    /// HELLO.
    Hello(Hello),
    /// HELLO_REPLY.
    HelloReply(HelloReply<'a>),
    /// PROOF.
    Proof(Proof),
    /// WELCOME.
    Welcome,
    /// REFUSED.
    Refused(Refused),
    /// GET.
    Get(GetRequest<'a>),
    /// PUT.
    Put(PutRequest<'a>),
    /// REPLY.
    Reply(Reply<'a>),
    /// ROUTES.
    Routes(RoutesRequest),
    /// ROUTES_REPLY.
    RoutesReply(RoutesReply<'a>),
    /// REPLICATE, with a Record v1 that is not checked here.
    Replicate(&'a [u8]),
    /// REPLICATE_SYNC, with the same.
    ReplicateSync(&'a [u8]),
    /// ACK.
    Ack(Ack),
    /// READ.
    Read(Read),
    /// READ_REPLY, with a Record v1 that is not checked here; empty = not found.
    ReadReply(&'a [u8]),
    /// REJECT.
    Reject(Reject),
    /// READ_SAME.
    ReadSame(ReadSame),
    /// HINT, with a Record v1 that is not checked here.
    Hint(Hint<'a>),
    /// HINT_SYNC, with the same.
    HintSync(Hint<'a>),
    /// BEAT.
    Beat,
    /// TOPOLOGY.
    Topology(Topology<'a>),
    /// WARM.
    Warm,
    /// STAGED.
    Staged(Staged<'a>),
    /// CANDIDATE, with an operation that is not checked here.
    Candidate(&'a [u8]),
    /// EPOCHS.
    Epochs(Epochs<'a>),
    /// SCAN.
    Scan(ScanRequest),
    /// PAGE.
    Page(ScanRequest),
    /// PAGE_REPLY.
    PageReply(Page<'a>),
    /// STATUS.
    Status,
    /// RING; with the frame's key, of that key alone.
    Ring,
    /// ADMIN_REPLY.
    AdminReply(AdminReply<'a>),
    /// SCRUB.
    Scrub(Scrub),
    /// SCRUB_STATUS.
    ScrubStatus,
    /// HINTS.
    Hints,
    /// EXCHANGES.
    Exchanges,
    /// REPAIR.
    Repair(Repair),
    /// REPAIR_STATUS.
    RepairStatus,
    /// STAGE.
    Stage(Stage<'a>),
    /// PLAN.
    Plan,
    /// COMMIT.
    Commit(Commit),
    /// CLEAR.
    Clear,
    /// TRANSFERS.
    Transfers,
    /// REAP.
    Reap,
    /// REAP_STATUS.
    ReapStatus,
    /// PING, PING_REQUEST, PONG, RELAYING, SYNC or SYNC_TABLE.
    Gossip(Gossip<'a>),
    /// EXCHANGE_OPEN.
    ExchangeOpen(exchange::Open),
    /// EXCHANGE_SAME.
    ExchangeSame,
    /// EXCHANGE_NODES.
    ExchangeNodes(exchange::Nodes),
    /// EXCHANGE_HASHES.
    ExchangeHashes(exchange::Hashes<'a>),
    /// EXCHANGE_LIST.
    ExchangeList(exchange::List<'a>),
    /// EXCHANGE_LISTED.
    ExchangeListed(exchange::Listed<'a>),
    /// EXCHANGE_RECORD, with a Record v1 that is not checked here.
    ExchangeRecord(&'a [u8]),
    /// EXCHANGE_FETCH.
    ExchangeFetch(exchange::Fetch<'a>),
    /// EXCHANGE_FETCHED.
    ExchangeFetched(exchange::Fetched),
    /// EXCHANGE_STREAM.
    ExchangeStream(exchange::Stream),
    /// EXCHANGE_STREAMED.
    ExchangeStreamed(exchange::Streamed),
    /// EXCHANGE_END.
    ExchangeEnd(exchange::End),
    /// SURVEY.
    Survey(Survey<'a>),
    /// SURVEYED.
    Surveyed(Surveyed),
    /// ERASE.
    Erase(Erase<'a>),
}

impl<'a> Message<'a> {
    /// Reads the payload of `frame`.
    pub fn new_checked(frame: &Frame<'a>) -> Result<Message<'a>, Malformed> {
        let payload = frame.payload();
        match frame.op() {
            Op::Hello => Hello::new_checked(payload).map(Message::Hello),
            Op::HelloReply => HelloReply::new_checked(payload).map(Message::HelloReply),
            Op::Proof => Proof::new_checked(payload).map(Message::Proof),
            Op::Welcome => empty(payload, Message::Welcome),
            Op::Refused => Refused::new_checked(payload).map(Message::Refused),
            Op::Get => GetRequest::new_checked(payload).map(Message::Get),
            Op::Put => PutRequest::new_checked(payload).map(Message::Put),
            Op::Reply => Reply::new_checked(payload).map(Message::Reply),
            Op::Routes => RoutesRequest::new_checked(payload).map(Message::Routes),
            Op::RoutesReply => RoutesReply::new_checked(payload).map(Message::RoutesReply),
            Op::Replicate => present(payload).map(Message::Replicate),
            Op::ReplicateSync => present(payload).map(Message::ReplicateSync),
            Op::Ack => Ack::new_checked(payload).map(Message::Ack),
            Op::Read => Read::new_checked(payload).map(Message::Read),
            Op::ReadReply => Ok(Message::ReadReply(payload)),
            Op::Reject => Reject::new_checked(payload).map(Message::Reject),
            Op::ReadSame => ReadSame::new_checked(payload).map(Message::ReadSame),
            Op::Hint => Hint::new_checked(payload).map(Message::Hint),
            Op::HintSync => Hint::new_checked(payload).map(Message::HintSync),
            Op::Beat => empty(payload, Message::Beat),
            Op::Topology => Topology::new_checked(payload).map(Message::Topology),
            Op::Warm => empty(payload, Message::Warm),
            Op::Staged => Staged::new_checked(payload).map(Message::Staged),
            Op::Candidate => item(payload).map(Message::Candidate),
            Op::Epochs => Epochs::new_checked(payload).map(Message::Epochs),
            Op::Scan => ScanRequest::new_checked(payload).map(Message::Scan),
            Op::Page => ScanRequest::new_checked(payload).map(Message::Page),
            Op::PageReply => Page::new_checked(payload).map(Message::PageReply),
            Op::Status => empty(payload, Message::Status),
            Op::Ring => empty(payload, Message::Ring),
            Op::AdminReply => AdminReply::new_checked(payload).map(Message::AdminReply),
            Op::Scrub => Scrub::new_checked(payload).map(Message::Scrub),
            Op::ScrubStatus => empty(payload, Message::ScrubStatus),
            Op::Hints => empty(payload, Message::Hints),
            Op::Exchanges => empty(payload, Message::Exchanges),
            Op::Repair => Repair::new_checked(payload).map(Message::Repair),
            Op::RepairStatus => empty(payload, Message::RepairStatus),
            Op::Stage => Stage::new_checked(payload).map(Message::Stage),
            Op::Plan => empty(payload, Message::Plan),
            Op::Commit => Commit::new_checked(payload).map(Message::Commit),
            Op::Clear => empty(payload, Message::Clear),
            Op::Transfers => empty(payload, Message::Transfers),
            Op::Reap => empty(payload, Message::Reap),
            Op::ReapStatus => empty(payload, Message::ReapStatus),
            op @ (Op::Ping | Op::PingRequest | Op::Pong | Op::Relaying) => {
                Gossip::new_checked(op, payload).map(Message::Gossip)
            }
            op @ (Op::Sync | Op::SyncTable) => {
                Gossip::new_checked(op, payload).map(Message::Gossip)
            }
            Op::Survey => Survey::new_checked(payload).map(Message::Survey),
            Op::Surveyed => Surveyed::new_checked(payload).map(Message::Surveyed),
            Op::Erase => Erase::new_checked(payload).map(Message::Erase),
            op => Message::of_exchange(op, payload),
        }
    }

    /// Reads the payload of a frame of an exchange.
    fn of_exchange(op: Op, payload: &'a [u8]) -> Result<Message<'a>, Malformed> {
        match op {
            Op::ExchangeOpen => exchange::Open::new_checked(payload).map(Message::ExchangeOpen),
            Op::ExchangeSame => empty(payload, Message::ExchangeSame),
            Op::ExchangeNodes => exchange::Nodes::new_checked(payload).map(Message::ExchangeNodes),
            Op::ExchangeHashes => {
                exchange::Hashes::new_checked(payload).map(Message::ExchangeHashes)
            }
            Op::ExchangeList => exchange::List::new_checked(payload).map(Message::ExchangeList),
            Op::ExchangeListed => {
                exchange::Listed::new_checked(payload).map(Message::ExchangeListed)
            }
            Op::ExchangeRecord => present(payload).map(Message::ExchangeRecord),
            Op::ExchangeFetch => exchange::Fetch::new_checked(payload).map(Message::ExchangeFetch),
            Op::ExchangeFetched => {
                exchange::Fetched::new_checked(payload).map(Message::ExchangeFetched)
            }
            Op::ExchangeStream => {
                exchange::Stream::new_checked(payload).map(Message::ExchangeStream)
            }
            Op::ExchangeStreamed => {
                exchange::Streamed::new_checked(payload).map(Message::ExchangeStreamed)
            }
            Op::ExchangeEnd => exchange::End::new_checked(payload).map(Message::ExchangeEnd),
            _ => Err(Malformed),
        }
    }

    /// The op of a frame that carries this.
    pub fn op(&self) -> Op {
        match self {
            Message::Hello(_) => Op::Hello,
            Message::HelloReply(_) => Op::HelloReply,
            Message::Proof(_) => Op::Proof,
            Message::Welcome => Op::Welcome,
            Message::Refused(_) => Op::Refused,
            Message::Get(_) => Op::Get,
            Message::Put(_) => Op::Put,
            Message::Reply(_) => Op::Reply,
            Message::Routes(_) => Op::Routes,
            Message::RoutesReply(_) => Op::RoutesReply,
            Message::Replicate(_) => Op::Replicate,
            Message::ReplicateSync(_) => Op::ReplicateSync,
            Message::Ack(_) => Op::Ack,
            Message::Read(_) => Op::Read,
            Message::ReadReply(_) => Op::ReadReply,
            Message::Reject(_) => Op::Reject,
            Message::ReadSame(_) => Op::ReadSame,
            Message::Hint(_) => Op::Hint,
            Message::HintSync(_) => Op::HintSync,
            Message::Beat => Op::Beat,
            Message::Topology(_) => Op::Topology,
            Message::Warm => Op::Warm,
            Message::Staged(_) => Op::Staged,
            Message::Candidate(_) => Op::Candidate,
            Message::Epochs(_) => Op::Epochs,
            Message::Scan(_) => Op::Scan,
            Message::Page(_) => Op::Page,
            Message::PageReply(_) => Op::PageReply,
            Message::Status => Op::Status,
            Message::Ring => Op::Ring,
            Message::AdminReply(_) => Op::AdminReply,
            Message::Scrub(_) => Op::Scrub,
            Message::ScrubStatus => Op::ScrubStatus,
            Message::Hints => Op::Hints,
            Message::Exchanges => Op::Exchanges,
            Message::Repair(_) => Op::Repair,
            Message::RepairStatus => Op::RepairStatus,
            Message::Stage(_) => Op::Stage,
            Message::Plan => Op::Plan,
            Message::Commit(_) => Op::Commit,
            Message::Clear => Op::Clear,
            Message::Transfers => Op::Transfers,
            Message::Reap => Op::Reap,
            Message::ReapStatus => Op::ReapStatus,
            Message::Gossip(payload) => payload.signal.op(),
            Message::ExchangeOpen(_) => Op::ExchangeOpen,
            Message::ExchangeSame => Op::ExchangeSame,
            Message::ExchangeNodes(_) => Op::ExchangeNodes,
            Message::ExchangeHashes(_) => Op::ExchangeHashes,
            Message::ExchangeList(_) => Op::ExchangeList,
            Message::ExchangeListed(_) => Op::ExchangeListed,
            Message::ExchangeRecord(_) => Op::ExchangeRecord,
            Message::ExchangeFetch(_) => Op::ExchangeFetch,
            Message::ExchangeFetched(_) => Op::ExchangeFetched,
            Message::ExchangeStream(_) => Op::ExchangeStream,
            Message::ExchangeStreamed(_) => Op::ExchangeStreamed,
            Message::ExchangeEnd(_) => Op::ExchangeEnd,
            Message::Survey(_) => Op::Survey,
            Message::Surveyed(_) => Op::Surveyed,
            Message::Erase(_) => Op::Erase,
        }
    }

    /// Gives the payload inside to `visit`.
    fn visit<T>(&self, visit: impl FnOnce(&dyn Payload) -> T) -> T {
        match self {
            Message::Hello(payload) => visit(payload),
            Message::HelloReply(payload) => visit(payload),
            Message::Proof(payload) => visit(payload),
            Message::Welcome
            | Message::Beat
            | Message::Warm
            | Message::Status
            | Message::Ring
            | Message::ScrubStatus
            | Message::Hints
            | Message::Exchanges
            | Message::RepairStatus
            | Message::Plan
            | Message::Clear
            | Message::Transfers
            | Message::Reap
            | Message::ReapStatus
            | Message::ExchangeSame => visit(&[].as_slice()),
            Message::Refused(payload) => visit(payload),
            Message::Get(payload) => visit(payload),
            Message::Put(payload) => visit(payload),
            Message::Reply(payload) => visit(payload),
            Message::Routes(payload) => visit(payload),
            Message::RoutesReply(payload) => visit(payload),
            Message::Replicate(record) | Message::ReplicateSync(record) => visit(record),
            Message::Ack(payload) => visit(payload),
            Message::Read(payload) => visit(payload),
            Message::ReadReply(record) | Message::ExchangeRecord(record) => visit(record),
            Message::Reject(payload) => visit(payload),
            Message::ReadSame(payload) => visit(payload),
            Message::Hint(payload) | Message::HintSync(payload) => visit(payload),
            Message::Topology(payload) => visit(payload),
            Message::Staged(payload) => visit(payload),
            Message::Candidate(operation) => visit(operation),
            Message::Epochs(payload) => visit(payload),
            Message::Scan(payload) | Message::Page(payload) => visit(payload),
            Message::PageReply(payload) => visit(payload),
            Message::Stage(payload) => visit(payload),
            Message::Commit(payload) => visit(payload),
            Message::AdminReply(payload) => visit(payload),
            Message::Scrub(payload) => visit(payload),
            Message::Repair(payload) => visit(payload),
            Message::Gossip(payload) => visit(payload),
            Message::ExchangeOpen(payload) => visit(payload),
            Message::ExchangeNodes(payload) => visit(payload),
            Message::ExchangeHashes(payload) => visit(payload),
            Message::ExchangeList(payload) => visit(payload),
            Message::ExchangeListed(payload) => visit(payload),
            Message::ExchangeFetch(payload) => visit(payload),
            Message::ExchangeFetched(payload) => visit(payload),
            Message::ExchangeStream(payload) => visit(payload),
            Message::ExchangeStreamed(payload) => visit(payload),
            Message::ExchangeEnd(payload) => visit(payload),
            Message::Survey(payload) => visit(payload),
            Message::Surveyed(payload) => visit(payload),
            Message::Erase(payload) => visit(payload),
        }
    }
}

impl Payload for Message<'_> {
    fn bytes(&self) -> usize {
        self.visit(|payload| payload.bytes())
    }

    fn write(&self, out: &mut [u8]) {
        self.visit(|payload| payload.write(out));
    }
}

/// A payload that must be empty.
fn empty<'a>(payload: &[u8], message: Message<'a>) -> Result<Message<'a>, Malformed> {
    if payload.is_empty() { Ok(message) } else { Err(Malformed) }
}

/// One item.
fn item(payload: &[u8]) -> Result<&[u8], Malformed> {
    let is_one = (1..=ITEM_BYTES_MAX).contains(&payload.len());
    if is_one { Ok(payload) } else { Err(Malformed) }
}

/// A record that must be there.
fn present(record: &[u8]) -> Result<&[u8], Malformed> {
    if record.is_empty() { Err(Malformed) } else { Ok(record) }
}
