//! Settings as TOML, in a form that `--config` reads back to the same settings.

use std::path::Path;

use ringmain_runtime::settings::Settings;
use serde::Serialize;

use super::units;
use crate::args::SettingArgs;

/// The file's shape: the settings by name, in the order of the help.
#[derive(Serialize)]
struct Document<'a> {
    data_dir: &'a Path,
    listen: String,
    advertise: String,
    resp_port: u16,
    port: u16,
    admin_port: u16,
    seed: Vec<String>,
    found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_secret: Option<&'a Path>,
    join: bool,
    name: &'a str,
    zone: &'a str,
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<String>,
    partitions: u32,
    n: u8,
    r: u8,
    w: u8,
    durability: String,
    request_timeout: String,
    anti_entropy_interval: String,
    hint_interval: String,
    probe_interval: String,
    reap_grace: String,
    scrub_rate: String,
    max_key_bytes: String,
    max_value_bytes: String,
    max_connections: u32,
    log_level: &'a str,
}

/// The resolved settings. `args` has what [`Settings`] no longer names: the secret's path.
pub(crate) fn to_toml(args: &SettingArgs, settings: &Settings) -> Result<String, toml::ser::Error> {
    toml::to_string(&Document {
        data_dir: &settings.data_dir,
        listen: settings.listen.to_string(),
        advertise: settings.advertise.to_string(),
        resp_port: settings.resp_port,
        port: settings.port,
        admin_port: settings.admin_port,
        seed: settings.seeds.iter().map(ToString::to_string).collect(),
        found: settings.found,
        cluster_secret: args.cluster_secret.as_deref(),
        join: settings.join,
        name: &settings.name,
        zone: &settings.zone,
        weight: settings.weight,
        shards: settings.shards,
        cpus: settings.cpus.as_deref().map(units::cpus_text),
        partitions: settings.partitions,
        n: settings.n,
        r: settings.r,
        w: settings.w,
        durability: units::durability_text(settings.durability),
        request_timeout: units::duration_text(settings.request_timeout),
        anti_entropy_interval: units::duration_text(settings.anti_entropy_interval),
        hint_interval: units::duration_text(settings.hint_interval),
        probe_interval: units::duration_text(settings.probe_interval),
        reap_grace: units::duration_text(settings.reap_grace),
        scrub_rate: units::rate_text(settings.scrub_rate),
        max_key_bytes: units::size_text(settings.max_key_bytes),
        max_value_bytes: units::size_text(settings.max_value_bytes),
        max_connections: settings.max_connections,
        log_level: units::log_level_text(settings.log_level),
    })
}
