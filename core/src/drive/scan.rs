//! Pages of scans, between frames and the store.
//!
//! A scan is a read whose key is a position ([`scan`](crate::scan)): the machine asks as many
//! owners as it would for a GET, and what is gathered for it is a page instead of a record.

use super::answer::{self, Answer};
use super::kept::kept;
use super::{AtHand, Bodies, Command, FrameRefused, Links, To, Turn, Waiting};
use crate::causality::{Record, stripped_bytes, write_stripped};
use crate::checksum::Checksum;
use crate::hash::Key;
use crate::id::{NodeId, RequestId};
use crate::limits::{SCAN_PAGE_BYTES, SCAN_PAGE_COUNT_MAX};
use crate::records::{Place, Records, Unread};
use crate::request::{Failure, Found, Link, Origin, Outcome};
use crate::scan::{JoinedPage, last_of_group};
use crate::shard::{DataFrame, Input};
use crate::wire::frame::{Frame, Hop, frame_length, write_frame};
use crate::wire::op::Op;
use crate::wire::payload::Payload;
use crate::wire::peer::RejectReason;
use crate::wire::scan::{Page, PageHead, PageWriter, ScanRequest, entry_bytes, page_bytes};
use heapless::Vec;

/// Keys that one page holds: what it is asked for at most, and the rest of the last group.
const LISTED_COUNT_MAX: usize = SCAN_PAGE_COUNT_MAX + 32;

/// What an answer to a scan says of its replica: versions are of no interest.
const ANSWERED: Found = Found { version: 0, covered: true };

impl<S: Records, L: Links, B: Bodies, W: Waiting, C: Checksum> Turn<'_, '_, S, L, B, W, C> {
    /// SCAN of another shard of this node.
    pub(super) fn on_scan(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        node.ok_or(FrameRefused::NotPermitted)?;
        let scan = self.scan_of(frame)?;
        let origin = Origin::Frame { link, request: frame.hop().request.0, order: scan.from };
        if let Some(failure) = self.refusal(node) {
            self.answer_failure(origin, failure);
            return Ok(());
        }
        let deadline = self.deadline(frame.hop().deadline_ms);
        self.command_until(origin, key_of(scan), Command::Scan(scan), deadline);
        Ok(())
    }

    /// PAGE of a coordinator.
    pub(super) fn on_page(
        &mut self,
        link: Link,
        node: Option<NodeId>,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let node = node.ok_or(FrameRefused::NotPermitted)?;
        let scan = self.scan_of(frame)?;
        let request = frame.hop().request.0;
        let deadline = self.deadline(frame.hop().deadline_ms);
        if deadline <= self.now {
            self.reject(link, request, scan.from, RejectReason::TooOld);
            self.input(Input::Heard { node, op: RequestId::NONE });
            return Ok(());
        }
        let key = key_of(scan);
        let read = DataFrame {
            link,
            node,
            request,
            topology: frame.hop().topology,
            key: scan.place(),
            sync: false,
            target: NodeId(0),
        };
        self.run(Input::Read(read), AtHand::Frame(key, frame, deadline));
        Ok(())
    }

    /// The request of a SCAN or a PAGE, of a partition that there is.
    fn scan_of(&self, frame: Frame<'_>) -> Result<ScanRequest, FrameRefused> {
        let scan = ScanRequest::new_checked(frame.payload())?;
        let bits = self.shard.config().partition_bits;
        let is_there = u32::from(scan.partition.0) < 1 << bits;
        if is_there { Ok(scan) } else { Err(FrameRefused::Malformed) }
    }

    /// PAGE_REPLY of a replica.
    pub(super) fn on_page_reply(
        &mut self,
        node: NodeId,
        frame: Frame<'_>,
    ) -> Result<(), FrameRefused> {
        let op = frame.hop().request;
        let page = Page::new_checked(frame.payload())?;
        let bits = self.shard.config().partition_bits;
        let is_record = |bytes| Record::new_checked(bytes).is_ok();
        if page.head.last != last_of_group(page.head.last, bits)
            || !page.entries().all(|entry| is_record(entry.record))
        {
            return Err(FrameRefused::Malformed);
        }
        let PageHead { partition, from, .. } = page.head;
        let is_asked = |scan: ScanRequest| (scan.partition, scan.from) == (partition, from);
        match kept(self.bodies, op) {
            Some((_, Command::Scan(scan))) if is_asked(scan) => {}
            // It is late.
            _ => {
                self.input(Input::Heard { node, op });
                return Ok(());
            }
        }
        if self.shard.is_reading(op) {
            self.gather_page(op, page);
        }
        self.input(Input::Answered { node, op, order: from, found: ANSWERED });
        Ok(())
    }

    /// Joins `page` into what is gathered for the scan `op`.
    fn gather_page(&mut self, op: RequestId, page: Page<'_>) {
        let bits = self.shard.config().partition_bits;
        let Some(old) = self.bodies.gathered(op) else {
            return self.bodies.gather(op, page.bytes(), |_, out| page.write(out));
        };
        let joined = JoinedPage::plan(gathered_page(old), page, bits);
        self.bodies.gather(op, joined.bytes(), |old, out| {
            joined.write(gathered_page(old.expect("it was gathered before")), page, out);
        });
    }

    /// Joins this node's own page into what is gathered for the scan `op`.
    pub(super) fn look_at_page(&mut self, op: RequestId, scan: ScanRequest) -> Input<'static> {
        let own = match self.own_page(scan) {
            Ok(own) => own,
            Err(unread) => return Input::Looked { op, result: Err(unread) },
        };
        let bits = self.shard.config().partition_bits;
        let own = OwnPage { page: &own, store: self.store };
        let bytes = own.bytes();
        let before = self.bodies.gathered(op).map_or(0, <[u8]>::len);
        // Behind what others have sent, for a moment: there is no other place to write it to.
        self.bodies.gather(op, before + bytes, |old, out| {
            let (front, back) = out.split_at_mut(before);
            front.copy_from_slice(old.unwrap_or_default());
            own.write(back);
        });
        if before > 0 {
            let both = self.bodies.gathered(op).expect("it was gathered just now");
            let (left, right) = split_pages(both, before);
            let joined = JoinedPage::plan(left, right, bits);
            self.bodies.gather(op, joined.bytes(), |old, out| {
                let both = old.expect("it was gathered just now");
                let (left, right) = split_pages(both, before);
                joined.write(left, right, out);
            });
        }
        Input::Looked { op, result: Ok(ANSWERED) }
    }

    /// Whether a replica was asked for its page.
    pub(super) fn ask_page(
        &mut self,
        (op, to): (RequestId, To),
        deadline_ms: u16,
        scan: ScanRequest,
    ) -> bool {
        let hop = Hop { deadline_ms, ..self.hop(Op::Page, op.0) };
        let bytes = frame_length(0, scan.bytes());
        self.links.send(to, bytes, |out| write_frame::<C>(&hop, &[], &scan, out)).is_ok()
    }

    /// Answers the PAGE in `frame`.
    pub(super) fn serve_page(&mut self, link: Link, request: u32, frame: Frame<'_>) {
        let scan = ScanRequest::new_checked(frame.payload()).expect("checked at the border");
        let reason = match self.own_page(scan) {
            Ok(page) => {
                let hop = self.hop(Op::PageReply, request);
                let own = OwnPage { page: &page, store: self.store };
                let bytes = frame_length(0, own.bytes());
                // Who does not get it finds out by the deadline or by the lost connection.
                let _lost = self
                    .links
                    .send(To::Link(link), bytes, |out| write_frame::<C>(&hop, &[], &own, out));
                return;
            }
            Err(Unread::Cold) => RejectReason::Busy,
            Err(Unread::Damaged) => RejectReason::Damaged,
        };
        self.reject(link, request, scan.from, reason);
    }

    /// Answers the scan `op`.
    pub(super) fn reply_to_scan(&mut self, op: RequestId, origin: Origin, outcome: Outcome) {
        let page = self.bodies.gathered(op).map(gathered_page);
        let answer = match (outcome, page) {
            (Outcome::Got, Some(page)) => Answer::Page { page, now: self.wall },
            (Outcome::Failed(failure), _) => Answer::failed(failure),
            // An owner that answered lost its place, and another one was counted instead.
            _ => Answer::failed(Failure::Busy),
        };
        answer::give::<L, C>(self.links, self.hop(Op::Reply, 0), origin, answer);
        self.bodies.release(op);
    }

    /// What this node has of a page. One record that is damaged, or that may be missing, makes it
    /// no page: other owners have it whole. It ends before the first group that is cold.
    fn own_page(&mut self, scan: ScanRequest) -> Result<Listed, Unread> {
        let ScanRequest { partition, count, from } = scan;
        let head = PageHead { partition, from, last: u64::MAX, keys: 0 };
        let mut listed = Listed { head, keys: Vec::new(), entries_bytes: 0 };
        // Nobody has a key without bytes; that this is certain says that no key is missing.
        if matches!(self.store.record(&key_of(scan)), Err(Unread::Damaged)) {
            return Err(Unread::Damaged);
        }
        if count == 0 {
            listed.head.keys = self.store.live_count(partition);
            return Ok(listed);
        }
        let bits = self.shard.config().partition_bits;
        self.list_groups(&mut listed, count);
        // Keys and bytes of the groups that are whole by now, and the last order of those.
        let (mut whole, mut group) = ((0, 0), None);
        for index in 0..listed.keys.len() {
            let (order, place) = listed.keys[index];
            let end = last_of_group(order, bits);
            if let Some(before) = group.filter(|before| *before != end) {
                if listed.entries_bytes >= SCAN_PAGE_BYTES {
                    listed.cut(before, (index, listed.entries_bytes));
                    break;
                }
                whole = (index, listed.entries_bytes);
            }
            match self.listed_bytes(scan, order, place) {
                Ok(bytes) => listed.entries_bytes += bytes,
                Err(Unread::Damaged) => return Err(Unread::Damaged),
                Err(Unread::Cold) => {
                    self.read_keys_ahead(partition, order, u64::MAX);
                    let (count, _) = whole;
                    let last = count.checked_sub(1).ok_or(Unread::Cold)?;
                    listed.cut(last_of_group(listed.keys[last].0, bits), whole);
                    break;
                }
            }
            group = Some(end);
        }
        self.sort_equals(&mut listed);
        Ok(listed)
    }

    /// Lists the first groups that have `count` keys together.
    fn list_groups(&self, listed: &mut Listed, count: u16) {
        let bits = self.shard.config().partition_bits;
        let PageHead { partition, from, .. } = listed.head;
        for (order, place) in self.store.keys_from(partition, from) {
            let before = listed.keys.last().map(|(order, _)| last_of_group(*order, bits));
            if let Some(before) = before.filter(|before| *before < order)
                && listed.keys.len() >= usize::from(count)
            {
                listed.head.last = before;
                return;
            }
            // That so many keys are one group is out of reach of anybody who chooses keys: then
            // some of them are passed over.
            let _full = listed.keys.push((order, place));
        }
    }

    /// Length of the entry of a key in a page, if its record can be read.
    fn listed_bytes(&self, scan: ScanRequest, order: u64, place: Place) -> Result<usize, Unread> {
        let key = self.stored_key(self.store.body(place)?.key())?;
        match self.store.record(&key)? {
            Some(stored)
                if stored.place == place
                    && (key.partition, key.order) == (scan.partition, order) =>
            {
                Ok(entry_bytes(key.bytes.len(), stripped_bytes(stored.record)))
            }
            _ => Err(Unread::Damaged),
        }
    }

    /// Sorts keys of equal orders, which hardly ever are.
    fn sort_equals(&self, listed: &mut Listed) {
        if listed.keys.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            let key = |place| self.store.body(place).map(|body| body.key()).unwrap_or_default();
            let place = |(order, place): &(u64, Place)| (*order, key(*place));
            listed.keys.sort_unstable_by(|one, other| place(one).cmp(&place(other)));
        }
    }
}

impl ScanRequest {
    /// Where it begins.
    pub(super) fn place(self) -> crate::request::KeyPlace {
        crate::request::KeyPlace { partition: self.partition, order: self.from }
    }
}

/// The begin of a scan as a key without bytes.
pub(super) fn key_of(scan: ScanRequest) -> Key<'static> {
    Key { partition: scan.partition, order: scan.from, ..Key::default() }
}

/// Own keys that make a page, ascending by order and key.
struct Listed {
    head: PageHead,
    keys: Vec<(u64, Place), LISTED_COUNT_MAX>,
    entries_bytes: usize,
}

impl Listed {
    /// Leaves so many keys, with so many bytes; `last` is the last order of their groups.
    fn cut(&mut self, last: u64, (count, bytes): (usize, usize)) {
        self.keys.truncate(count);
        self.entries_bytes = bytes;
        self.head.last = last;
    }
}

/// The page of own keys as a payload, read from the store as it is written.
struct OwnPage<'a, S> {
    page: &'a Listed,
    store: &'a S,
}

impl<S: Records> Payload for OwnPage<'_, S> {
    fn bytes(&self) -> usize {
        page_bytes(self.page.entries_bytes)
    }

    fn write(&self, out: &mut [u8]) {
        let Listed { head, keys, .. } = self.page;
        let mut writer = PageWriter::new(*head, keys.len() as u16, out);
        for (order, place) in keys {
            let body = self.store.body(*place).expect("it was read when it was listed");
            let record = Record::new_checked(body.payload()).expect("likewise");
            writer.entry(*order, body.key(), stripped_bytes(record), |out| {
                write_stripped(record, out);
            });
        }
        writer.finish();
    }
}

/// A page that was gathered.
fn gathered_page(bytes: &[u8]) -> Page<'_> {
    Page::new_checked(bytes).expect("what is gathered was written as a page")
}

/// Two pages, of which the first has `before` bytes.
fn split_pages(bytes: &[u8], before: usize) -> (Page<'_>, Page<'_>) {
    let (left, right) = bytes.split_at(before);
    (gathered_page(left), gathered_page(right))
}
