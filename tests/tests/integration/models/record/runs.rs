//! The steps of a run, and what is looked at in each state.

use stateright::{Model, Property};

use super::{Action, Change, Cluster, Copy, NODES, Node, OLD_MAX, Source, State, seen};

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = Node { boot: 1, ..Node::default() };
        let victims = (0..1 << NODES).filter(|set: &u8| set.count_ones() == self.size.victims());
        let state = |victims| State {
            nodes: [node; NODES],
            old: [Copy::default(); OLD_MAX],
            history: 0,
            victims,
            faults: 0,
            lost: 0,
            set_back: false,
        };
        victims.map(state).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let written = self.written(state);
        // Without a rule a run goes no further than to what that breaks: nothing is promised then.
        if written == self.size.writes || !self.is_named_once(state) {
            return;
        }
        // Nodes differ by their ids alone until the first write.
        for node in 0..if written == 0 { 1 } else { NODES } {
            let keeps = self.keeps(state, node);
            for change in self.changes(state, node, written) {
                actions.extend(keeps.iter().map(|keep| Action { node, change, keep: *keep }));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let Action { node, change, keep } = action;
        let mut state = *last;
        let copy_of = |source| match source {
            Source::Nothing => Copy::default(),
            Source::Node(node) => last.nodes[node].copy,
            Source::Old(old) => last.old[old],
        };
        match change {
            Change::Write(read) => self.write(&mut state, node, copy_of(read)),
            Change::Join(sent) => self.join(&mut state, node, copy_of(sent)),
            Change::Crash | Change::LoseRecord => {}
        }
        let is_fault = matches!(change, Change::Crash | Change::LoseRecord);
        if !is_fault && state.nodes[node].copy == last.nodes[node].copy {
            return None;
        }
        let copy = std::mem::replace(&mut state.nodes[node].copy, last.nodes[node].copy);
        self.keep(&mut state, node, keep);
        state.nodes[node].copy = copy;
        if is_fault {
            self.lose(&mut state, node, change == Change::Crash);
        }
        if state.faults == self.size.faults {
            state.nodes.iter_mut().for_each(|node| node.synced = Copy::default());
            state.victims = 0;
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        let mut properties = vec![
            Property::always(ONE_WRITE_PER_DOT, Cluster::is_named_once),
            Property::always(EXACT, Cluster::all_exact),
            Property::always(KEPT, |model: &Cluster, state: &State| {
                let written = (1 << model.written(state)) - 1;
                (seen(state) | state.lost) & written == written
            }),
            Property::always(HEALED, Cluster::heals),
            Property::always(NOT_SET_BACK, |_: &Cluster, state: &State| !state.set_back),
            Property::sometimes("siblings", |model: &Cluster, state: &State| {
                model.shelf.siblings(model.together(state)).count_ones() >= 2
            }),
            Property::sometimes("a delete and nothing else", |model: &Cluster, state: &State| {
                let all = model.together(state);
                model.shelf.siblings(all) != 0 && model.shelf.live(all) == 0
            }),
            Property::sometimes("a write is lost by a fault", |_: &Cluster, state: &State| {
                state.lost & !seen(state) != 0
            }),
        ];
        if self.size.old > 0 {
            properties.push(Property::sometimes(BACK, |_: &Cluster, state: &State| {
                state.lost & seen(state) != 0
            }));
        }
        if let Some(property) = self.broken.property() {
            properties.retain(|other| other.name == property);
        }
        properties
    }
}

pub(super) const BACK: &str = "a lost write comes back";
pub(super) const ONE_WRITE_PER_DOT: &str = "a dot names one write";
pub(super) const EXACT: &str = "records are what their writes make of them";
pub(super) const KEPT: &str = "a write is gone only with all its copies";
pub(super) const HEALED: &str = "healed nodes are equal";
pub(super) const NOT_SET_BACK: &str = "no process loses its own events while it runs";
