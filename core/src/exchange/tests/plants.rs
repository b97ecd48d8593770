//! Planted bugs are found by the tests of this module, each in a process of its own, since a
//! plant is a switch of the whole process.

use std::env;
use std::process::Command;
use std::string::String;

use crate::plant::{self, Plant};

const VARIABLE: &str = "RINGMAIN_EXCHANGE_PLANT";

pub(super) fn set_from_environment() {
    let Ok(name) = env::var(VARIABLE) else { return };
    let planted = Plant::OF_EXCHANGES.into_iter().find(|plant| plant.name() == name);
    plant::set(planted.expect("a plant has this name"));
}

/// Whether `test` of this module passes with `plant`.
fn passes(test: &str, plant: Plant) -> bool {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &std::format!("exchange::tests::{test}")]);
    command.env(VARIABLE, plant.name());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("running 1 test"), "{text}");
    output.status.success()
}

#[test]
fn every_planted_bug_is_found() {
    let found_by = [
        (Plant::LastChildSkipped, "exhaustive::every_placement_is_repaired_by_one_exchange"),
        (Plant::RecheckSkipped, "figures::few_writes_in_flight_are_sent_again"),
        (Plant::JoinNotReturned, "exhaustive::every_placement_is_repaired_by_one_exchange"),
    ];
    assert_eq!(found_by.map(|(plant, _)| plant), Plant::OF_EXCHANGES);
    for (plant, test) in found_by {
        assert!(!passes(test, plant), "{} was not found by {test}", plant.name());
    }
}
