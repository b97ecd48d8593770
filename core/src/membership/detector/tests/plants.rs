//! Planted bugs are found. A plant is a switch of the whole process, hence the processes.

use std::process::Command;

use super::*;
use crate::plant::{self, Plant};

/// What every plant breaks in a part of it: a lossy network, a quick restart, a split.
fn scenario() {
    let mut network = Network::new(5, 1);
    network.loss_percent = 15;
    network.run(seconds(300));
    assert_eq!(network.down_count(), 0, "nobody has failed");
    network.heal();
    network.crash(2);
    network.run(millis(300));
    network.restart(2);
    network.assert_settles(seconds(20));
    network.split(&[0, 1]);
    network.run(seconds(60));
    network.heal();
    network.assert_settles(seconds(60));
}

const PLANTS: [Plant; 3] = [Plant::SuspicionNotRefuted, Plant::BootIgnored, Plant::DownNotProbed];

/// Only for [`every_planted_bug_is_found`].
#[test]
#[ignore = "runs with a plant, in a process of its own"]
fn scenario_with_a_plant() {
    let name = std::env::var("RINGMAIN_PLANT").unwrap();
    let plant = PLANTS.into_iter().find(|plant| plant.name() == name);
    plant::set(plant.unwrap_or(Plant::None));
    scenario();
}

#[test]
fn every_planted_bug_is_found() {
    let test = "membership::detector::tests::plants::scenario_with_a_plant";
    let none = [Plant::None];
    for plant in PLANTS.iter().chain(&none) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", test, "--ignored"]).env("RINGMAIN_PLANT", plant.name());
        let output = child.output().unwrap();
        let text = std::string::String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("running 1 test"), "{text}");
        let is_found = !output.status.success();
        assert_eq!(is_found, *plant != Plant::None, "{}: {text}", plant.name());
        let reason = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
        std::println!("{}: {}", plant.name(), reason.unwrap_or("nothing"));
    }
}
