//! The steps of a run, and what is looked at in each state.

use stateright::{Model, Property};

use super::sets::{Set, is_in};
use super::{Action, Broken, Cluster, NODES, Node, SETS_MAX, State};

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            nodes: [Node { set: 1, heard: 0 }; NODES],
            having: 0,
            committed: [false; 2],
            warm: [0; SETS_MAX],
            write: None,
            is_acked: false,
            read: None,
            is_missed: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let is_alive = |node: &usize| !is_in(self.dead, *node);
        let lacking = (0..NODES).filter(|node| is_alive(node) && !is_in(state.having, *node));
        if state.is_acked && lacking.count() < usize::from(self.quorums.r) {
            // No read can miss it any more.
            return;
        }
        actions.extend([0, 1].map(|operation| Action::Commit { operation }));
        let mut sets: Vec<Set> = state.nodes.iter().map(|node| node.set).collect();
        sets.sort_unstable();
        sets.dedup();
        for node in (0..NODES).filter(is_alive) {
            actions.extend(sets.iter().map(|set| Action::Learn { node, set: *set }));
            let others = (0..node).filter(is_alive);
            actions.extend(others.map(|other| Action::Exchange { one: node, other }));
            actions.push(Action::Settle { node });
            if state.write.is_none() {
                actions.push(Action::Write { coordinator: node });
            }
            if state.read.is_none() && state.is_acked {
                actions.push(Action::Read { coordinator: node });
            }
            actions.extend([Action::Take { node }, Action::Serve { node }]);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Commit { operation } => {
                let node = self.pair.at[operation];
                let first = self.sets.with(1, self.pair.operations[0].settled());
                let is_first = operation == 0 && self.in_sequence;
                let is_due = is_first || self.sets.has_settled(state.nodes[node].set, first);
                (is_due || !self.in_sequence).then_some(())?;
                self.commit(&mut state, operation)?;
            }
            Action::Learn { node, set } => {
                let merged = self.sets.merged(state.nodes[node].set, set);
                (merged != state.nodes[node].set).then_some(())?;
                self.publish(&mut state, node, merged);
            }
            Action::Exchange { one, other } => self.exchange(&mut state, one, other)?,
            Action::Settle { node } => self.settle(&mut state, node)?,
            Action::Write { coordinator } => {
                state.write = Some(self.begin(&state, coordinator)?);
                state.having |= 1 << coordinator;
            }
            Action::Read { coordinator } => state.read = Some(self.begin(&state, coordinator)?),
            Action::Take { node } => self.take(&mut state, node)?,
            Action::Serve { node } => self.serve(&mut state, node)?,
        }
        self.finish(&mut state);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        let mut properties = vec![
            Property::always(MET, |model: &Cluster, state: &State| {
                !state.is_missed || model.broken == Broken::Nothing && !model.in_sequence
            }),
            Property::always(HEALED, Cluster::heals),
            Property::sometimes(
                "a write is acknowledged late",
                |model: &Cluster, state: &State| {
                    state.is_acked
                        && !model.known(state, 0).is_moving
                        && state.committed == [true; 2]
                },
            ),
            Property::sometimes(
                "a write goes on with another set",
                |_: &Cluster, state: &State| {
                    state.write.is_some_and(|write| write.sent.count_ones() > 1)
                },
            ),
        ];
        if self.dead.count_ones() <= 1 {
            // With fewer nodes no two lack what was acknowledged.
            properties.push(Property::sometimes(LACKED, |_: &Cluster, state: &State| {
                state.read.is_some_and(|read| read.lacked != 0)
            }));
        }
        if self.broken != Broken::Nothing {
            properties.retain(|property| property.name == MET);
        }
        properties
    }
}

pub(super) const LACKED: &str = "a read comes to one that lacks the write";
pub(super) const MET: &str = "a read shows what was acknowledged before";
pub(super) const HEALED: &str = "all comes to one settled set that reads can rely on";
