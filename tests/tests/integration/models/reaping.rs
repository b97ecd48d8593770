//! Reaping: a deleted key is forgotten everywhere, and what was deleted does not come back
//! (correctness §1.6, protocol §26).
//!
//! One key, three owners; another node keeps a hint for one of them, and a fourth one, which owned
//! the key once, has a fenced copy. The old value is at one owner, in the hint and in the fenced
//! copy to begin with. Then it is deleted, once, by whoever reads it; another value is written
//! once, blindly or after a read, before or after that.
//!
//! The protocol. The first owner begins when its record is a tombstone and nothing else. PREPARE:
//! each owner answers yes while it has exactly this version on disk, each other node while it has
//! no hint and no fenced copy, on disk neither; all must answer. Then it waits until whatever was
//! in flight when the last one answered has come or is refused for its age: frames, and what
//! requests in flight may still send of what they have read. VERIFY: all answer once more; a node
//! that has taken a hint since it answered PREPARE, or has restarted, says no. Then ERASE, which
//! each owner does if its version is still the same, at any moment, or never, or twice. Hints and
//! fenced copies are dropped once whoever is to have them has something on disk that covers them:
//! one owner, or all three. (That a fenced copy which all find equal needs no hint is the same
//! rule, met at once.)
//!
//! Records, versions and what reads show of them are the shipped code's; the protocol is the
//! model's own.
//!
//! Records go from node to node as they are, any number of times; one that a node has no more may
//! be in flight still. Any owner may have a hint kept of what it has at any moment. What a node
//! had may have been synced or not when it changed; a crash brings back what was.
//!
//! Left out: several keys, lost disks, changes of the membership while an attempt runs (it would
//! end the attempt), hints that owners keep.
//!
//! Claimed: once one owner has done ERASE, no owner ever shows what was deleted again, so no read
//! of any quorum does; it is in no hint, no fenced copy and no frame either, and on no disk. A
//! write that two owners have on disk is in every read of two, unless it was deleted itself.
//!
//! Sizes: what there is beside the owners and the delete, as `what_is_reaped_stays_gone` lists it;
//! all at once is too much. Nodes differ by their ids and by who begins: the value is at the second
//! owner first, and the delete at the first.

mod runs;

use self::runs::{GONE, KEPT};
use super::shelf::{NOTHING, Own, Rec, Shelf, Writer, Writes, Written};
use super::{breaks, holds, is_soak};

const OWNERS: usize = 3;
/// Keeps a hint.
const KEEPER: usize = 3;
/// Has a fenced copy.
const FORMER: usize = 4;
const NODES: usize = 5;
const FRAMES_MAX: usize = 2;
const ALL: u8 = (1 << NODES) - 1;
/// Owners that must have a write on disk.
const W: u32 = 2;
/// So many have it, and which ones does not matter.
const STORED: u8 = (1 << OWNERS) - 1;

const OLD_VALUE: u8 = 0;
const DELETE: u8 = 1;
const NEW_VALUE: u8 = 2;

/// How much may happen in a run.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// There is a hint.
    hint: bool,
    /// There is a fenced copy.
    fenced: bool,
    /// The key is written once more.
    rewritten: bool,
    /// Some node crashes.
    crash: bool,
    /// In flight at once, of records that no node has any more.
    frames: usize,
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    Nothing,
    /// ERASE follows PREPARE.
    NotVerified,
    /// VERIFY follows PREPARE at once.
    NotAwaited,
    /// What was in flight when PREPARE began is awaited, and no more.
    AwaitedFromBegin,
    /// Who keeps hints is not asked.
    HintsNotAsked,
    /// Who has fenced copies is not asked.
    FencedNotAsked,
    /// At VERIFY only hints count that are there at that moment.
    HintsBetweenIgnored,
    /// A hint or fenced copy counts as dropped before that is on disk.
    DroppedUnsynced,
    /// An owner answers before what it has is on disk.
    AnsweredUnsynced,
    /// ERASE removes what there is.
    NotCompared,
}

#[derive(Debug)]
struct Cluster {
    size: Size,
    broken: Broken,
    shelf: Shelf,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Node {
    /// An owner's copy, a hint, or a fenced copy.
    own: Own,
    /// While there may be a crash: what was synced last but that.
    synced: Own,
    boot: u8,
    births: u8,
    /// Of a hint or fenced copy: the owners that have it.
    told: u8,
    /// Nothing was taken since PREPARE was answered.
    is_clean: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
struct Frame {
    record: Rec,
    /// From before the wait.
    is_old: bool,
}

/// How far an attempt has come: its variants read as its life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Phase {
    Idle,
    Preparing,
    Waiting,
    Verifying,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct State {
    nodes: [Node; NODES],
    frames: [Frame; FRAMES_MAX],
    /// For which owner the hint is.
    target: u8,
    phase: Phase,
    /// What is to be reaped.
    record: Rec,
    answered: u8,
    /// Of which ERASE may be in flight.
    erased: Rec,
    /// ERASE was done somewhere.
    is_erased: bool,
    /// Who may still crash.
    victim: Option<u8>,
    /// The values that were deleted.
    deleted: Writes,
    is_deleted: bool,
    is_rewritten: bool,
    /// Owners that have said that the new value is on their disk.
    stored: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Action {
    change: Change,
    keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// By the first owner, after a read of it and the second.
    Delete,
    /// After a read of that owner, or blindly.
    Write {
        at: usize,
        is_blind: bool,
    },
    Join {
        to: usize,
        from: usize,
    },
    JoinFrame {
        to: usize,
        frame: usize,
    },
    /// The owner says that it has what is kept for it.
    Tell {
        holder: usize,
        owner: usize,
    },
    Ack {
        owner: usize,
    },
    Crash {
        node: usize,
    },
    Begin,
    Answer {
        node: usize,
    },
    EndWait,
    Erase {
        owner: usize,
    },
}

/// What stays of a copy that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Keep {
    frame: Option<usize>,
    synced: bool,
}

impl Cluster {
    fn new(size: Size, broken: Broken) -> Cluster {
        assert!(size.frames <= FRAMES_MAX);
        Cluster { size, broken, shelf: Shelf::new(false) }
    }

    fn version(&self, own: Own) -> u64 {
        self.shelf.version(own.record)
    }

    /// The write of `number` at an owner, with the context that is read of these two.
    fn write(&self, state: &mut State, number: u8, at: usize, read: Rec) {
        let node = &mut state.nodes[at];
        let writer = Writer { node: at as u8, boot: node.boot, birth: node.births };
        let context = Some(self.shelf.context(read));
        let written = Written { number, is_delete: number == DELETE, context };
        let applied = self.shelf.write(node.own, writer, written);
        node.own = applied.own;
        node.births += u8::from(applied.minted);
    }

    fn read(&self, state: &State, at: usize, other: usize) -> Rec {
        self.shelf.both(state.nodes[at].own.record, state.nodes[other].own.record)
    }

    fn join(&self, state: &mut State, to: usize, received: Rec) {
        let node = &mut state.nodes[to];
        node.own = self.shelf.join(node.own, received).own;
        if to >= OWNERS {
            node.own.mine = None;
            (node.told, node.is_clean) = (0, false);
        }
    }

    /// `owner` says that what it has covers what `holder` keeps.
    fn tell(&self, state: &mut State, holder: usize, owner: usize) -> Option<()> {
        let (kept, has) = (state.nodes[holder].own.record, state.nodes[owner].own);
        (kept != NOTHING && self.shelf.both(has.record, kept) == has.record).then_some(())?;
        state.nodes[owner].synced = has;
        let node = &mut state.nodes[holder];
        node.told |= 1 << owner;
        let needed = if holder == FORMER { 0b111 } else { 1 << state.target };
        if node.told & needed == needed {
            (node.own, node.told) = (Own::default(), 0);
        }
        Some(())
    }

    /// `node` answers yes, if it may.
    fn answer(&self, state: &mut State, at: usize) -> Option<()> {
        let version = self.shelf.version(state.record);
        let is_verifying = state.phase == Phase::Verifying;
        let node = &mut state.nodes[at];
        if at < OWNERS {
            (self.version(node.own) == version).then_some(())?;
            if self.broken != Broken::AnsweredUnsynced {
                node.synced = node.own;
            }
        } else {
            let is_clean = node.is_clean || self.broken == Broken::HintsBetweenIgnored;
            (node.own.record == NOTHING && (is_clean || !is_verifying)).then_some(())?;
            if self.broken != Broken::DroppedUnsynced {
                node.synced = node.own;
            }
            node.is_clean = true;
        }
        state.answered |= 1 << at;
        if state.answered == ALL {
            match state.phase {
                Phase::Preparing if self.broken == Broken::NotVerified => self.erase(state),
                Phase::Preparing => state.phase = Phase::Waiting,
                _ => self.erase(state),
            }
            if state.phase == Phase::Waiting && self.broken != Broken::AwaitedFromBegin {
                state.frames.iter_mut().for_each(|frame| frame.is_old = frame.record != NOTHING);
            }
        }
        Some(())
    }

    fn begin(&self, state: &mut State) -> Option<()> {
        let record = state.nodes[0].own.record;
        let is_tombstone = self.shelf.siblings(record) != 0 && self.shelf.live(record) == 0;
        (is_tombstone && state.phase == Phase::Idle).then_some(())?;
        (state.phase, state.record, state.answered) = (Phase::Preparing, record, self.unasked());
        if self.broken == Broken::AwaitedFromBegin {
            state.frames.iter_mut().for_each(|frame| frame.is_old = frame.record != NOTHING);
        }
        Some(())
    }

    /// Who counts as having answered.
    fn unasked(&self) -> u8 {
        let hints = self.size.hint && self.broken != Broken::HintsNotAsked;
        let fenced = self.size.fenced && self.broken != Broken::FencedNotAsked;
        u8::from(!hints) << KEEPER | u8::from(!fenced) << FORMER
    }

    fn end_wait(&self, state: &mut State) -> Option<()> {
        (state.phase == Phase::Waiting).then_some(())?;
        (state.phase, state.answered) = (Phase::Verifying, self.unasked());
        if self.broken != Broken::NotAwaited {
            let is_young = |frame: &Frame| frame.record != NOTHING && !frame.is_old;
            state.frames.iter_mut().filter(|frame| !is_young(frame)).for_each(|frame| {
                *frame = Frame::default();
            });
        }
        Some(())
    }

    /// ERASE goes to all owners.
    fn erase(&self, state: &mut State) {
        state.erased = state.record;
        give_up(state);
    }

    fn crash(&self, state: &mut State, at: usize) {
        let Node { synced, boot, .. } = state.nodes[at];
        state.nodes[at] = Node { own: synced, synced, boot: boot + 1, ..Node::default() };
        state.victim = None;
        if at == 0 {
            give_up(state);
        }
    }

    fn change(&self, state: &mut State, change: Change) -> Option<()> {
        match change {
            Change::Delete => {
                let read = self.read(state, 0, 1);
                state.deleted = self.shelf.live(read);
                (state.deleted & 1 << OLD_VALUE != 0).then_some(())?;
                state.is_deleted = true;
                self.write(state, DELETE, 0, read);
            }
            Change::Write { at, is_blind } => {
                let read = if is_blind { NOTHING } else { state.nodes[at].own.record };
                state.is_rewritten = true;
                self.write(state, NEW_VALUE, at, read);
            }
            Change::Join { to, from } => self.join(state, to, state.nodes[from].own.record),
            Change::JoinFrame { to, frame } => self.join(state, to, state.frames[frame].record),
            Change::Tell { holder, owner } => self.tell(state, holder, owner)?,
            Change::Ack { owner } => {
                let node = &mut state.nodes[owner];
                let has = self.shelf.siblings(node.own.record) & 1 << NEW_VALUE != 0;
                (has && state.stored & 1 << owner == 0).then_some(())?;
                node.synced = node.own;
                state.stored |= 1 << owner;
                if state.stored.count_ones() == W {
                    state.stored = STORED;
                }
            }
            Change::Crash { node } => self.crash(state, node),
            Change::Begin => self.begin(state)?,
            Change::Answer { node } => self.answer(state, node)?,
            Change::EndWait => self.end_wait(state)?,
            Change::Erase { owner } => {
                let node = &mut state.nodes[owner];
                let is_same = self.version(node.own) == self.shelf.version(state.erased);
                let is_meant = is_same || self.broken == Broken::NotCompared;
                (is_meant && node.own.record != NOTHING).then_some(())?;
                node.own = Own::default();
                state.is_erased = true;
            }
        }
        Some(())
    }

    /// Keeps something of `copy`, which `at` had.
    fn keep(&self, state: &mut State, at: usize, copy: Own, keep: Keep) -> Option<()> {
        if keep.synced {
            (state.nodes[at].synced != copy).then_some(())?;
            state.nodes[at].synced = copy;
        }
        if let Some(place) = keep.frame {
            let Own { record, .. } = copy;
            let is_there = state.nodes.iter().any(|node| node.own.record == record)
                || state.frames.iter().any(|frame| frame.record == record);
            (record != NOTHING && !is_there).then_some(())?;
            state.frames[place] = Frame { record, is_old: false };
        }
        Some(())
    }

    /// One form for states that differ in nothing.
    fn tidy(&self, state: &mut State) {
        for (node, at) in state.nodes.iter_mut().zip(0..) {
            if state.victim != Some(at) {
                node.synced = Own::default();
            }
        }
        state
            .frames
            .sort_unstable_by_key(|frame| (frame.record == NOTHING, frame.record, frame.is_old));
    }
}

/// Ends the attempt.
fn give_up(state: &mut State) {
    (state.phase, state.record, state.answered) = (Phase::Idle, NOTHING, 0);
    state.nodes.iter_mut().for_each(|node| node.is_clean = false);
    state.frames.iter_mut().for_each(|frame| frame.is_old = false);
}

/// Whose copy a change may change.
fn changed(change: Change) -> Option<usize> {
    match change {
        Change::Delete => Some(0),
        Change::Write { at, .. } => Some(at),
        Change::Join { to, .. } | Change::JoinFrame { to, .. } => Some(to),
        Change::Tell { holder, .. } => Some(holder),
        Change::Crash { node } => Some(node),
        Change::Erase { owner } => Some(owner),
        Change::Ack { .. } | Change::Begin | Change::Answer { .. } | Change::EndWait => None,
    }
}

impl Broken {
    /// What does not hold then; none if nothing is broken.
    fn property(self) -> Option<&'static str> {
        match self {
            Broken::Nothing => None,
            Broken::NotCompared => Some(KEPT),
            _ => Some(GONE),
        }
    }
}

#[test]
fn what_is_reaped_stays_gone() {
    let none = Size { frames: 1, ..Size::default() };
    let crash = Size { crash: true, ..none };
    let mut sizes = vec![
        (Size { rewritten: true, ..none }, 54_000),
        (Size { hint: true, frames: 2, ..none }, 5_600),
        (Size { hint: true, fenced: true, ..crash }, 220_000),
        (Size { fenced: true, rewritten: true, ..none }, 140_000),
    ];
    if is_soak() {
        sizes.push((Size { hint: true, rewritten: true, ..none }, 1_080_000));
        sizes.push((Size { rewritten: true, ..crash }, 1_010_000));
    }
    for (size, state_count_min) in sizes {
        let model = Cluster::new(size, Broken::Nothing);
        holds(&format!("{size:?}"), model, state_count_min);
    }
}

#[test]
fn each_rule_of_reaping_is_needed() {
    let none = Size { frames: 1, ..Size::default() };
    let hint = Size { hint: true, ..none };
    let fenced = Size { fenced: true, ..none };
    let crash = Size { crash: true, ..none };
    for (broken, size) in [
        (Broken::NotVerified, hint),
        (Broken::NotAwaited, none),
        (Broken::AwaitedFromBegin, none),
        (Broken::HintsNotAsked, hint),
        (Broken::FencedNotAsked, fenced),
        (Broken::HintsBetweenIgnored, hint),
        (Broken::DroppedUnsynced, Size { hint: true, ..crash }),
        (Broken::DroppedUnsynced, Size { fenced: true, ..crash }),
        (Broken::AnsweredUnsynced, crash),
        (Broken::NotCompared, Size { rewritten: true, ..none }),
    ] {
        let property = broken.property().expect("a rule is left out");
        breaks(&format!("{broken:?}"), Cluster::new(size, broken), property);
    }
}
