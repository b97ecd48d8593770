//! `ringmain`: the part of Ringmain that talks to people.
//!
//! It reads the command line, the environment and the configuration, checks them together,
//! starts a node or asks one something, and turns every failure into one line
//! `ringmain: what happened: what to do` and an exit code. What the node does
//! with a request lies in `ringmain-runtime`; what it decides, in `ringmain-core`.
#![forbid(unsafe_code)]

use std::panic;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command};
use failure::{Exit, Failure};

mod admin;
mod args;
mod bench;
mod boot;
mod cluster;
mod config;
mod demo;
mod doctor;
mod failure;
mod get;
mod log;
mod logs;
mod operation;
mod output;
mod parent;
mod progress;
mod put;
mod reap;
mod repair;
mod scrub;
mod start;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or("?".into(), ToString::to_string);
        let what = info.payload_as_str().unwrap_or("no message");
        let failure = Failure::new(Exit::Failed, format!("defect at {place}: {what}"), "report it");
        output::tell(&failure.to_string());
    }));
    match panic::catch_unwind(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            output::tell(&failure.to_string());
            ExitCode::from(failure.exit as u8)
        }
        // The hook has told it.
        Err(_) => ExitCode::from(Exit::Failed as u8),
    }
}

fn run() -> Result<(), Failure> {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return told_by_clap(&error),
    };
    let of_clap = |error| Failure::of_clap(&error, "ringmain");
    let cli = Cli::from_arg_matches(&matches).map_err(of_clap)?;
    match &cli.command {
        Command::Start(args) => match matches.subcommand() {
            Some((_, flags)) => start::run(args, flags),
            None => Ok(()),
        },
        Command::Demo(args) => demo::run(args),
        Command::Get(args) => get::run(args),
        Command::Put(args) => put::run(args),
        Command::Del(args) => put::run_del(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Scrub(args) => scrub::run(args),
        Command::Repair(args) => repair::run(args),
        Command::Reap(args) => reap::run(args),
        Command::Log(args) => log::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Doctor(args) => doctor::run(args),
    }
}

/// Help and version are printed; anything else is a failure.
fn told_by_clap(error: &clap::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.print().map_err(|error| {
            Failure::failed(format!("cannot write to stdout: {error}"), "check where it leads")
        }),
        _ => Err(Failure::of_clap(error, &subcommand())),
    }
}

/// The command line up to the last word that names a subcommand, for a hint at its help.
fn subcommand() -> String {
    let (mut command, mut text) = (Cli::command(), String::from("ringmain"));
    for word in std::env::args_os().skip(1) {
        let Some(below) = word.to_str().and_then(|word| command.find_subcommand(word)) else {
            break;
        };
        text = format!("{text} {}", below.get_name());
        command = below.clone();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
            assert!(help.lines().all(|line| line.len() <= 110), "{help}");
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
