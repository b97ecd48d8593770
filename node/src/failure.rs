//! How a command fails: one line for people, one number for scripts.

use std::error::Error;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use ringmain_runtime::data_dir::DataDirError;

/// The exit codes: whose fault it is. Success is 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// The operation failed.
    Failed = 1,
    /// Bad usage or configuration.
    Usage = 2,
    /// The host lacks something: kernel, io_uring, memlock, file system, a free port.
    Host = 3,
    /// The data directory is locked, damaged, or belongs to another node or cluster.
    DataDir = 4,
}

/// Why a command ends without success. Displayed as `what happened: what to do`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    what: String,
    remedy: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure { exit, what: one_line(what), remedy: one_line(remedy) }
    }

    pub(crate) fn usage(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, what, remedy)
    }

    pub(crate) fn failed(what: impl fmt::Display, remedy: impl fmt::Display) -> Failure {
        Failure::new(Exit::Failed, what, remedy)
    }

    /// The same failure, saying where the value came from.
    pub(crate) fn at(self, place: impl fmt::Display) -> Failure {
        Failure { what: format!("{}: {}", one_line(place), self.what), ..self }
    }

    /// The same failure, as the first of so many.
    pub(crate) fn first_of(self, count: u64) -> Failure {
        Failure { what: format!("{}, the first of {count} findings", self.what), ..self }
    }

    /// What happened, without what to do.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// What clap refused, in one line; `command` is the command line up to the subcommand.
    pub(crate) fn of_clap(error: &clap::Error, command: &str) -> Failure {
        let help = format!("see `{command} --help`");
        let text = |kind| error.get(kind).map(plain);
        let arg = text(ContextKind::InvalidArg).unwrap_or_default();
        match error.kind() {
            ErrorKind::UnknownArgument => match text(ContextKind::SuggestedArg) {
                Some(near) => Failure::usage(format!("unknown flag {arg}"), meant(&near)),
                None => Failure::usage(format!("unexpected argument {arg}"), help),
            },
            ErrorKind::InvalidSubcommand => {
                let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
                let near = text(ContextKind::SuggestedSubcommand);
                let remedy = near.map_or(help, |near| meant(&near));
                Failure::usage(format!("unknown command '{name}'"), remedy)
            }
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Failure::usage("a command is missing", help)
            }
            ErrorKind::MissingRequiredArgument => Failure::usage(format!("{arg} is missing"), help),
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                let value = text(ContextKind::InvalidValue).unwrap_or_default();
                Failure::of_value(error, flag_of(&arg), &value, help)
            }
            _ => {
                let rendered = error.to_string();
                let first = rendered.lines().next().unwrap_or_default();
                Failure::usage(first.trim_start_matches("error: "), help)
            }
        }
    }

    fn of_value(error: &clap::Error, flag: &str, value: &str, help: String) -> Failure {
        if value.is_empty() {
            return Failure::usage(format!("{flag} needs a value"), help);
        }
        if let Some(valid) = error.get(ContextKind::ValidValue).map(plain) {
            let what = format!("{flag}: '{value}' is not one of its values");
            return Failure::usage(what, format!("give one of {valid}"));
        }
        match error.source().map(|source| (source, source.downcast_ref::<Unfit>())) {
            Some((_, Some(unfit))) => {
                Failure::usage(format!("{flag}: '{value}' {}", unfit.what), unfit.remedy)
            }
            Some((source, None)) => Failure::usage(format!("{flag}: '{value}': {source}"), help),
            None => Failure::usage(format!("{flag}: '{value}' does not fit"), help),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Failure {
        let exit = if error.is_of_host() { Exit::Host } else { Exit::DataDir };
        Failure::new(exit, &error, error.remedy())
    }
}

/// Why a value does not fit its setting: completes the sentence `'VALUE' …`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Unfit {
    pub(crate) what: &'static str,
    pub(crate) remedy: &'static str,
}

/// The suggestion for a misspelled name.
pub(crate) fn meant(near: &str) -> String {
    format!("did you mean {near}?")
}

/// Without what could break or forge the line.
fn one_line(text: impl fmt::Display) -> String {
    let text = text.to_string();
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn plain(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        other => other.to_string(),
    }
}

/// `--port` of `--port <PORT>`.
fn flag_of(arg: &str) -> &str {
    arg.split([' ', '[', '=']).next().unwrap_or(arg)
}
