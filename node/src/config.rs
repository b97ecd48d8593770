//! From flags, environment, file and defaults to checked settings.
//!
//! There is one grammar: every layer is turned into flags (`RINGMAIN_DATA_DIR=x` and
//! `data_dir = "x"` both into `--data-dir=x`) and read by the one parser that [`SettingArgs`]
//! derives, so names, types and messages cannot differ between layers. A setting given in a
//! higher layer hides the same setting in the lower ones, also where it is a list.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches};

use crate::args::SettingArgs;
use crate::failure::{Failure, meant};
use nearest::nearest;

mod check;
mod nearest;
mod print;
pub(crate) mod units;

pub(crate) use check::{check, given_secret};

/// What every environment variable of ours begins with.
pub(crate) const PREFIX: &str = "RINGMAIN_";

/// Largest configuration file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Settings by name (`data_dir`), each with its values in one layer.
type Layer = BTreeMap<String, Vec<OsString>>;

/// Merges the layers: `flags` as parsed, then `environment`, then the file that `--config` or
/// `RINGMAIN_CONFIG` names, then the defaults.
pub(crate) fn resolve(
    flags: &ArgMatches,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<SettingArgs, Failure> {
    let (mut merged, named) = environment_layer(environment)?;
    let given = flags.get_one::<PathBuf>("config").cloned();
    if let Some(path) = given.or(named) {
        for (name, values) in file_layer(&path)? {
            merged.entry(name).or_insert(values);
        }
    }
    for name in names() {
        if flags.value_source(&name) == Some(ValueSource::CommandLine) {
            let raw = flags.get_raw(&name).into_iter().flatten();
            let values = raw.map(OsStr::to_owned).collect();
            merged.insert(name, values);
        }
    }
    parse(&merged)
}

/// All settings by name, in the order of the help.
fn names() -> Vec<String> {
    SettingArgs::augment_args(clap::Command::new("start"))
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect()
}

/// What the environment says, and the file that it names.
fn environment_layer(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Layer, Option<PathBuf>), Failure> {
    let names = names();
    let mut layer = Layer::new();
    let mut config = None;
    for (variable, value) in environment {
        let Some(name) = variable.to_str().and_then(|text| text.strip_prefix(PREFIX)) else {
            continue;
        };
        let (name, known) = (name.to_ascii_lowercase(), variable.to_string_lossy());
        if name == "config" {
            config = Some(PathBuf::from(value));
            continue;
        }
        if !names.contains(&name) || *known != variable_of(&name) {
            let all = names.iter().map(String::as_str).chain(["config"]);
            let near = variable_of(nearest(&name, all).unwrap_or_default());
            let what = format!("unknown environment variable {known}");
            return Err(Failure::usage(what, meant(&near)));
        }
        // One setting alone, so that a refusal can name its variable.
        let values = vec![value];
        parse(&Layer::from([(name.clone(), values.clone())]))
            .map_err(|failure| failure.at(&known))?;
        layer.insert(name, values);
    }
    Ok((layer, config))
}

/// `RINGMAIN_DATA_DIR` of `data_dir`.
pub(crate) fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

fn file_layer(path: &Path) -> Result<Layer, Failure> {
    let text = read_text(path)?;
    let place = path.display();
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        let what = format!("{place}: line {line}: {}", error.message());
        Failure::usage(what, "write TOML, as `ringmain start --check-config` prints it")
    })?;
    let names = names();
    let mut layer = Layer::new();
    for (name, value) in &table {
        if !names.contains(name) {
            let near = nearest(name, names.iter().map(String::as_str)).unwrap_or_default();
            return Err(Failure::usage(format!("{place}: unknown key {name}"), meant(near)));
        }
        let values = match value {
            toml::Value::Array(items) => items.iter().map(plain).collect(),
            item => plain(item).map(|item| vec![item]),
        };
        let Some(values) = values else {
            let what = format!("{place}: {name} is neither a plain value nor a list of them");
            return Err(Failure::usage(what, "write it as `--check-config` prints it"));
        };
        parse(&Layer::from([(name.clone(), values.clone())]))
            .map_err(|failure| failure.at(place.to_string()))?;
        layer.insert(name.clone(), values);
    }
    Ok(layer)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| {
            let what = format!("cannot read {}: {error}", path.display());
            Failure::usage(what, "check the path that --config gives")
        })?;
    if read as u64 > FILE_BYTES_MAX {
        let what = format!("{} is larger than 1 MiB", path.display());
        return Err(Failure::usage(what, "give a file of settings"));
    }
    Ok(text)
}

/// A TOML scalar as a flag writes it.
fn plain(value: &toml::Value) -> Option<OsString> {
    Some(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.to_string().into(),
        toml::Value::Boolean(on) => on.to_string().into(),
        _ => return None,
    })
}

/// Reads merged settings; what they leave out has its default.
fn parse(layer: &Layer) -> Result<SettingArgs, Failure> {
    let mut line = vec![OsString::from("ringmain start")];
    for (name, values) in layer {
        for value in values {
            let mut flag = OsString::from(format!("--{}=", name.replace('_', "-")));
            flag.push(value);
            line.push(flag);
        }
    }
    SettingArgs::augment_args(clap::Command::new("start"))
        .try_get_matches_from(line)
        .and_then(|matches| SettingArgs::from_arg_matches(&matches))
        .map_err(|error| Failure::of_clap(&error, "ringmain start"))
}

/// The part of `start` that does not run a node.
pub(crate) fn print_checked(args: &SettingArgs) -> Result<(), Failure> {
    let settings = check(args)?;
    let text = print::to_toml(args, &settings)
        .map_err(|_| Failure::usage("a path is not UTF-8", "rename it: TOML holds no other"))?;
    crate::output::print(text.as_bytes())
}

#[cfg(test)]
mod tests;
