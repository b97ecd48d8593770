//! The steps of a run, and what is looked at in each state.

use stateright::{Model, Property};

use super::super::shelf::{NOTHING, Own};
use super::{
    Action, Change, Cluster, FORMER, FRAMES_MAX, Frame, KEEPER, Keep, NEW_VALUE, NODES, Node,
    OLD_VALUE, OWNERS, Phase, STORED, State, changed,
};

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = Node { boot: 1, ..Node::default() };
        let mut state = State {
            nodes: [node; NODES],
            frames: [Frame::default(); FRAMES_MAX],
            target: 0,
            phase: Phase::Idle,
            record: NOTHING,
            answered: 0,
            erased: NOTHING,
            is_erased: false,
            victim: None,
            deleted: 0,
            is_deleted: false,
            is_rewritten: !self.size.rewritten,
            stored: 0,
        };
        self.write(&mut state, OLD_VALUE, 1, NOTHING);
        let own = Own { mine: None, ..state.nodes[1].own };
        for (node, is_there) in [(KEEPER, self.size.hint), (FORMER, self.size.fenced)] {
            state.nodes[node].own = if is_there { own } else { Own::default() };
        }
        let victims = (0..NODES as u8).map(Some).chain([None]);
        let mut states = Vec::new();
        for victim in victims.filter(|victim| self.size.crash == victim.is_some()) {
            for target in [0, 2].into_iter().take(if self.size.hint { 2 } else { 1 }) {
                let mut state = state;
                state.nodes.iter_mut().for_each(|node| node.synced = node.own);
                (state.victim, state.target) = (victim, target);
                self.tidy(&mut state);
                states.push(state);
            }
        }
        states
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let is_there = |node: &usize| state.nodes[*node].own.record != NOTHING;
        let mut changes = Vec::new();
        if !state.is_deleted {
            changes.push(Change::Delete);
        }
        for at in 0..OWNERS {
            if !state.is_rewritten {
                changes.extend([false, true].map(|is_blind| Change::Write { at, is_blind }));
            }
            let holders = [KEEPER, FORMER].into_iter().filter(is_there);
            changes.extend(holders.map(|holder| Change::Tell { holder, owner: at }));
            changes.push(Change::Ack { owner: at });
            if state.erased != NOTHING {
                changes.push(Change::Erase { owner: at });
            }
            let from = (0..NODES).filter(is_there);
            changes.extend(from.map(|from| Change::Join { to: at, from }));
        }
        let nodes = OWNERS + usize::from(self.size.hint);
        let frames = (0..FRAMES_MAX).filter(|frame| state.frames[*frame].record != NOTHING);
        for frame in frames {
            changes.extend((0..nodes).map(|to| Change::JoinFrame { to, frame }));
        }
        changes.extend(state.victim.map(|node| Change::Crash { node: node.into() }));
        match state.phase {
            Phase::Idle => changes.push(Change::Begin),
            Phase::Waiting => changes.push(Change::EndWait),
            Phase::Preparing | Phase::Verifying => {
                let nodes = (0..NODES).filter(|node| state.answered & 1 << node == 0);
                changes.extend(nodes.map(|node| Change::Answer { node }));
            }
        }
        for change in changes {
            let is_kept = changed(change).is_some_and(|node| is_there(&node));
            let frames = (0..if is_kept { self.size.frames } else { 0 }).map(Some).chain([None]);
            let is_victim = changed(change).is_some_and(|node| state.victim == Some(node as u8));
            for frame in frames {
                actions.push(Action { change, keep: Keep { frame, synced: false } });
                if is_victim {
                    actions.push(Action { change, keep: Keep { frame, synced: true } });
                }
            }
        }
    }

    fn next_state(&self, last: &State, Action { change, keep }: Action) -> Option<State> {
        let mut state = *last;
        if let Change::Crash { node } = change
            && keep.synced
        {
            (state.nodes[node].synced != state.nodes[node].own).then_some(())?;
            state.nodes[node].synced = state.nodes[node].own;
        }
        self.change(&mut state, change)?;
        if let Some(node) = changed(change) {
            let (before, after) = (last.nodes[node].own, state.nodes[node].own);
            let is_crash = matches!(change, Change::Crash { .. });
            let keep = Keep { synced: keep.synced && !is_crash, ..keep };
            if keep != Keep::default() {
                (before.record != after.record).then_some(())?;
                self.keep(&mut state, node, before, keep)?;
            }
        }
        self.tidy(&mut state);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        let mut properties = vec![
            Property::always(GONE, |model: &Cluster, state: &State| {
                let shown = |node: &Node| model.shelf.live(node.own.record) & state.deleted != 0;
                !state.is_erased || !state.nodes[..OWNERS].iter().any(shown)
            }),
            Property::always(KEPT, |model: &Cluster, state: &State| {
                let is_shown = |at, other| {
                    model.shelf.live(model.read(state, at, other)) & 1 << NEW_VALUE != 0
                };
                state.stored != STORED
                    || state.deleted & 1 << NEW_VALUE != 0
                    || is_shown(0, 1) && is_shown(1, 2) && is_shown(0, 2)
            }),
            Property::always(NOWHERE, |model: &Cluster, state: &State| {
                let copies = state.nodes.iter().flat_map(|node| [node.own, node.synced]);
                let copies = copies.map(|own| own.record);
                let mut records = copies.chain(state.frames.iter().map(|frame| frame.record));
                !state.is_erased
                    || records.all(|record| model.shelf.live(record) & state.deleted == 0)
            }),
            Property::sometimes("all is reaped", |_: &Cluster, state: &State| {
                state.is_erased && state.nodes.iter().all(|node| node.own.record == NOTHING)
            }),
        ];
        if self.size.rewritten {
            properties.push(Property::sometimes(RENEWED, |model: &Cluster, state: &State| {
                let live = |node: &Node| model.shelf.live(node.own.record) != 0;
                state.is_erased && state.nodes[..OWNERS].iter().any(live)
            }));
        }
        if let Some(property) = self.broken.property() {
            properties.retain(|other| other.name == property);
        }
        properties
    }
}

pub(super) const GONE: &str = "after ERASE nothing deleted is seen";
pub(super) const RENEWED: &str = "a newer write meets ERASE";
pub(super) const KEPT: &str = "a newer write stays";
pub(super) const NOWHERE: &str = "after ERASE nothing deleted is anywhere";
