//! Every record that a model meets, kept once. A state names it by its number, so states are small
//! and cheap to compare, and each write and each join of the shipped code is done once for all
//! states that need it.
//!
//! What changes a record here is what ships: `records::event` and `records::join_record`, over a
//! store that holds one key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard};

use ringmain_core::causality::{
    self, Change, Context, Dot, Join, Record, Sibling, Write, encode_record, record_bytes,
};
use ringmain_core::hash::Key;
use ringmain_core::id::{Boot, NodeId, Partition};
use ringmain_core::limits::MERKLE_LEAF_COUNT;
use ringmain_core::records::{self, Author, Full, Place, Records, Stored, Unread, leaf_index};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::body::Body;

/// The number of a record.
pub(super) type Rec = u16;
/// A set of writes, a bit for each by its number.
pub(super) type Writes = u8;

/// No record, which is not the same as an unreadable one.
pub(super) const NOTHING: Rec = 0;

/// A node's own copy of the key: its record, and the entry that it may extend.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Own {
    pub(super) record: Rec,
    pub(super) mine: Option<u8>,
}

/// Who writes: node, process life, and the next birth.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Writer {
    pub(super) node: u8,
    pub(super) boot: u8,
    pub(super) birth: u8,
}

/// What is written.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Written {
    /// Its number, by which models know it: its time stamp, and its value.
    pub(super) number: u8,
    pub(super) is_delete: bool,
    /// The context, as a record whose version vector it is; none: the writer's own copy.
    pub(super) context: Option<Rec>,
}

/// What a write leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) own: Own,
    pub(super) dot: Dot,
    /// A new actor was made with the birth.
    pub(super) minted: bool,
    /// The writer may be given the context of what it wrote.
    pub(super) sole: bool,
}

/// What a join leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    pub(super) own: Own,
    /// The process life whose events this node had lost.
    pub(super) lost_mine: Option<u8>,
}

/// What was found out, by what it is about.
pub(super) type Memo<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Mixes a few small numbers: a model asks its memos more than it does anything else, and tests are
/// not optimized.
#[derive(Debug, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

/// The records.
#[derive(Debug)]
pub(super) struct Shelf(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Vec<u8>, Rec>,
    records: Vec<Vec<u8>>,
    store: Store,
    joined: Memo<(Own, Rec), Joined>,
    applied: Memo<(Own, Writer, Written), Applied>,
    contexts: Memo<Rec, Rec>,
    sights: Memo<Rec, Sight>,
    is_lenient: bool,
}

/// What is seen of a record.
#[derive(Clone, Copy, Debug)]
struct Sight {
    siblings: Writes,
    live: Writes,
    version: u64,
}

impl Shelf {
    /// Of a model without a rule (`is_lenient`) laws need not hold that follow from it.
    pub(super) fn new(is_lenient: bool) -> Shelf {
        let mut known = Known { is_lenient, ..Known::default() };
        assert!(known.number(Record::empty().bytes()) == NOTHING);
        Shelf(Mutex::new(known))
    }

    /// `own` after `received` has come to it, as every replica does it.
    pub(super) fn join(&self, own: Own, received: Rec) -> Joined {
        let mut known = self.known();
        if let Some(joined) = known.joined.get(&(own, received)) {
            return *joined;
        }
        let joined = known.join(own, received);
        known.joined.insert((own, received), joined);
        joined
    }

    /// What two records are together.
    pub(super) fn both(&self, left: Rec, right: Rec) -> Rec {
        self.join(Own { record: left, mine: None }, right).own.record
    }

    /// `own` after `written`, as every coordinator does it.
    pub(super) fn write(&self, own: Own, writer: Writer, written: Written) -> Applied {
        let mut known = self.known();
        if let Some(applied) = known.applied.get(&(own, writer, written)) {
            return *applied;
        }
        let applied = known.write(own, writer, written);
        known.applied.insert((own, writer, written), applied);
        applied
    }

    /// What a reader of `record` is given to write with: its version vector, alone.
    pub(super) fn context(&self, record: Rec) -> Rec {
        let mut known = self.known();
        if let Some(context) = known.contexts.get(&record) {
            return *context;
        }
        let version_vector = known.record(record).version_vector();
        let mut bytes = vec![0; record_bytes(version_vector, &[])];
        encode_record(version_vector, &[], &mut bytes);
        let context = known.number(&bytes);
        known.contexts.insert(record, context);
        context
    }

    /// The writes that are siblings in `record`, values and deletes.
    pub(super) fn siblings(&self, record: Rec) -> Writes {
        self.known().sight(record).siblings
    }

    /// The writes that a read of `record` shows.
    pub(super) fn live(&self, record: Rec) -> Writes {
        self.known().sight(record).live
    }

    /// What replicas compare; 0: no sibling.
    pub(super) fn version(&self, record: Rec) -> u64 {
        self.known().sight(record).version
    }

    /// Whether the version vector of `record` covers `dot`.
    pub(super) fn covers(&self, record: Rec, dot: Dot) -> bool {
        self.known().record(record).version_vector().covers(dot)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("a model that has failed is not asked again")
    }
}

impl Known {
    fn number(&mut self, bytes: &[u8]) -> Rec {
        if let Some(number) = self.numbers.get(bytes) {
            return *number;
        }
        Record::new_checked(bytes).expect("V1 and V4 hold in what the shipped code writes");
        let number = Rec::try_from(self.records.len()).expect("models are small");
        self.numbers.insert(bytes.to_vec(), number);
        self.records.push(bytes.to_vec());
        number
    }

    fn record(&self, number: Rec) -> Record<'_> {
        Record::new_checked(&self.records[usize::from(number)]).expect("it was checked")
    }

    fn sight(&mut self, number: Rec) -> Sight {
        if let Some(sight) = self.sights.get(&number) {
            return *sight;
        }
        let record = self.record(number);
        let set = |set, sibling: Sibling<'_>| set | 1 << sibling.timestamp.0;
        let siblings = record.siblings().fold(0, set);
        let live = record.live(UnixMs(0)).siblings().fold(0, set);
        let sight = Sight { siblings, live, version: record.version(&key()) };
        self.sights.insert(number, sight);
        sight
    }

    fn join(&mut self, own: Own, received: Rec) -> Joined {
        self.lay_out(own);
        let received = self.records[usize::from(received)].clone();
        let received = Record::new_checked(&received).expect("it was checked");
        let done = records::join_record(&mut self.store, &key(), received).expect("there is room");
        let plain = plain_join(self.record(own.record), received);
        let own = self.take_up();
        let is_plain = self.records[usize::from(own.record)] == plain;
        assert!(is_plain || self.is_lenient, "joins are one join, and commute");
        Joined { own, lost_mine: done.lost_mine.map(|boot| boot.0 as u8) }
    }

    fn write(&mut self, own: Own, writer: Writer, written: Written) -> Applied {
        self.lay_out(own);
        let given = written.context.map(|context| self.records[usize::from(context)].clone());
        let given = given.as_deref().map(|bytes| Record::new_checked(bytes).expect("checked"));
        let context = given.map_or(Context::Local, |given| Context::Given(given.version_vector()));
        let timestamp = UnixMs(written.number.into());
        let value = [written.number];
        let change = if written.is_delete {
            Change::Tombstone
        } else {
            Change::Value { expires: None, value: &value }
        };
        let author = Author {
            node: NodeId(u32::from(writer.node) + 1),
            boot: Boot(writer.boot.into()),
            birth: writer.birth.into(),
            now: UnixMs(0),
        };
        let write = Write { context, timestamp, change };
        let done = records::event(&mut self.store, &key(), author, &write).expect("it is admitted");
        let dot = self.store.dot_of(timestamp);
        let own = self.take_up();
        Applied { own, dot, minted: done.minted, sole: done.sole }
    }

    /// Puts `own` into the store.
    fn lay_out(&mut self, own: Own) {
        let bytes = self.records[usize::from(own.record)].clone();
        let leaf = Record::new_checked(&bytes).expect("it was checked").version(&key());
        self.store.leaves[leaf_index(&key())] = leaf;
        let is_there = own.record != NOTHING;
        self.store.current = is_there.then_some((bytes, own.mine.map(u16::from)));
    }

    /// The record that is in the store now.
    fn take_up(&mut self) -> Own {
        let (bytes, mine) = self.store.current.take().expect("a write or join leaves a record");
        let record = self.number(&bytes);
        let leaf = self.store.leaves[leaf_index(&key())];
        assert!(leaf == self.record(record).version(&key()), "the leaf is the sum of versions");
        Own { record, mine: mine.map(|mine| u8::try_from(mine).expect("models are small")) }
    }
}

/// The join by the two functions of `causality` alone; no bytes if it is another from the other
/// side.
fn plain_join(left: Record<'_>, right: Record<'_>) -> Vec<u8> {
    let joined = |left: Record<'_>, right: Record<'_>| {
        let bytes = match causality::join(left, right) {
            Join::KeepLeft => left.bytes().len(),
            Join::TakeRight => right.bytes().len(),
            Join::Both { bytes } => bytes,
        };
        let mut out = vec![0; bytes];
        causality::write_join(left, right, &mut out);
        out
    };
    let out = joined(left, right);
    let is_commutative = out == joined(right, left);
    if is_commutative { out } else { Vec::new() }
}

fn key() -> Key<'static> {
    Key::new(b"key", 0, 6)
}

/// A store of one key.
#[derive(Debug)]
struct Store {
    current: Option<(Vec<u8>, Option<u16>)>,
    leaves: Vec<u64>,
}

impl Default for Store {
    fn default() -> Store {
        Store { current: None, leaves: vec![0; MERKLE_LEAF_COUNT] }
    }
}

impl Store {
    /// The name of the write with this time stamp.
    fn dot_of(&self, timestamp: UnixMs) -> Dot {
        let stored = self.record(&key()).expect("readable").expect("it was written");
        let mut siblings = stored.record.siblings();
        siblings.find(|sibling| sibling.timestamp == timestamp).expect("it was written").dot
    }
}

impl Records for Store {
    fn record(&self, _: &Key<'_>) -> Result<Option<Stored<'_>>, Unread> {
        Ok(self.current.as_ref().map(|(bytes, mine)| Stored {
            record: Record::new_checked(bytes).expect("it was checked"),
            mine: *mine,
            place: Place(0),
        }))
    }

    fn append(
        &mut self,
        key: &Key<'_>,
        mine: Option<u16>,
        bytes: usize,
        fill: impl FnOnce(Option<Stored<'_>>, &mut [u8]),
    ) -> Result<Place, Full> {
        let mut out = vec![0; bytes];
        fill(self.record(key).expect("readable"), &mut out);
        self.current = Some((out, mine));
        Ok(Place(0))
    }

    fn append_received(&mut self, _: &Key<'_>, _: Body<'_>) -> Result<Place, Full> {
        unreachable!("records are joined without a body")
    }

    fn body(&self, _: Place) -> Result<Body<'_>, Unread> {
        unreachable!("nobody asks for a body")
    }

    fn leaves(&mut self, _: Partition) -> &mut [u64] {
        &mut self.leaves
    }
}
