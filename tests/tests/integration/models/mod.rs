//! Small clusters, every run of them: each state that a model can reach is visited, and in each one
//! every property is looked at. What decides in a model is the shipped code, as far as a state can
//! hold what that needs, so a model that holds says something of it. Whatever a model decides by
//! itself is named at its beginning.
//!
//! A model that cannot fail is worth nothing: each rule that matters can be left out, and then a
//! run must be found in which a property does not hold. Nor is one that visits less than it says:
//! the states are counted.
//!
//! The clock is nowhere: what takes time may happen at any moment, or never. `RINGMAIN_SOAK=1`
//! takes greater sizes; `RINGMAIN_STORIES=1` tells each run that breaks something.

mod reaping;
mod record;
mod shelf;
mod topology;

use std::env;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path};

/// Visits every state of `model`: all that must be so is, all that should happen somewhere does,
/// and there are at least so many states.
fn holds<M>(name: &str, model: M, state_count_min: usize) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let start = Instant::now();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let count = checker.unique_state_count();
    let seconds = start.elapsed().as_secs_f32();
    eprintln!("{name}: {count} states, {} steps deep, {seconds:.1} s", checker.max_depth());
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match (property.expectation.discovery_is_failure(), found) {
            (true, Some(path)) => panic!("{name}: not {}:{}", property.name, story(path)),
            (false, None) => panic!("{name}: never {}", property.name),
            (true, None) | (false, Some(_)) => {}
        }
    }
    assert!(count >= state_count_min, "{name}: {count} states, {state_count_min} were expected");
    count
}

/// In `model`, which lacks a rule, a run is found in which `property` does not hold.
fn breaks<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let start = Instant::now();
    let checker =
        model.checker().finish_when(HasDiscoveries::AnyOf([property].into())).spawn_bfs().join();
    let (count, seconds) = (checker.unique_state_count(), start.elapsed().as_secs_f32());
    let Some(path) = checker.discovery(property) else {
        let found: Vec<_> = checker.discoveries().into_keys().collect();
        panic!("{name}: {property} in all of {count} states, but not {found:?}");
    };
    let story = if env::var_os("RINGMAIN_STORIES").is_some() { story(path) } else { String::new() };
    eprintln!("{name}: not {property} after {count} states, {seconds:.1} s{story}");
}

/// What happened, one line for each step.
fn story<S, A>(path: Path<S, A>) -> String
where
    S: Clone + Debug + PartialEq,
    A: Clone + Debug + PartialEq,
{
    let steps = path.into_vec();
    let (last, _) = steps.last().expect("a path has a state");
    let actions: String = steps
        .iter()
        .filter_map(|(_, action)| action.as_ref())
        .fold(String::new(), |story, action| format!("{story}\n  {action:?}"));
    format!("{actions}\n  {last:?}")
}

fn is_soak() -> bool {
    env::var_os("RINGMAIN_SOAK").is_some()
}
