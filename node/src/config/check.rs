//! What settings mean together: the rules that no single value breaks.

use std::path::Path;

use ringmain_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use ringmain_runtime::data_dir::read_secret_file;
use ringmain_runtime::settings::{SEED_COUNT_MAX, Secret, Settings};

use super::units::name;
use crate::args::SettingArgs;
use crate::failure::Failure;

/// Checks `args` together and fills in what the host says. Reads the secret; writes nothing.
pub(crate) fn check(args: &SettingArgs) -> Result<Settings, Failure> {
    check_ports(args)?;
    check_counts(args)?;
    let advertise = args.advertise.unwrap_or(args.listen);
    if advertise.is_unspecified() {
        let what = format!("{advertise} is a wildcard, and others cannot reach one");
        return Err(Failure::usage(what, "give --advertise with this node's own address"));
    }
    Ok(Settings {
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        advertise,
        resp_port: args.resp_port,
        port: args.port,
        admin_port: args.admin_port,
        seeds: args.seed.clone(),
        found: args.found,
        cluster_secret: secret(args)?,
        join: args.join,
        name: args.name.clone().unwrap_or_else(host_name),
        zone: args.zone.clone(),
        weight: args.weight,
        shards: args.shards,
        cpus: args.cpus.as_ref().map(|cpus| cpus.0.clone()),
        partitions: args.partitions,
        n: args.n,
        r: args.r,
        w: args.w,
        durability: args.durability,
        request_timeout: args.request_timeout,
        anti_entropy_interval: args.anti_entropy_interval,
        hint_interval: args.hint_interval,
        probe_interval: args.probe_interval,
        reap_grace: args.reap_grace,
        scrub_rate: args.scrub_rate,
        max_key_bytes: args.max_key_bytes,
        max_value_bytes: args.max_value_bytes,
        max_connections: args.max_connections,
        log_level: args.log_level,
    })
}

/// The host's name, as far as it is a name to us.
pub(crate) fn host_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let short = host.split('.').next().unwrap_or_default();
    let end = short.floor_char_boundary(ringmain_core::limits::NAME_BYTES_MAX);
    name(&short[..end]).unwrap_or_else(|_| "ringmain".into())
}

fn check_ports(args: &SettingArgs) -> Result<(), Failure> {
    let ports =
        [("--resp-port", args.resp_port), ("--port", args.port), ("--admin-port", args.admin_port)];
    for (i, (name, port)) in ports.iter().enumerate() {
        if let Some((other, _)) = ports[..i].iter().find(|(_, other)| *port != 0 && other == port) {
            let what = format!("{other} and {name} are both {port}");
            return Err(Failure::usage(what, "give each its own port"));
        }
    }
    Ok(())
}

fn check_counts(args: &SettingArgs) -> Result<(), Failure> {
    for (flag, count) in [("--r", args.r), ("--w", args.w)] {
        if count > args.n {
            let what = format!("{flag} is {count}, but --n is {}", args.n);
            return Err(Failure::usage(what, format!("give {flag} of at most --n")));
        }
    }
    if let (Some(shards), Some(cpus)) = (args.shards, &args.cpus)
        && usize::from(shards) != cpus.0.len()
    {
        let what = format!("--shards is {shards}, but --cpus lists {}", cpus.0.len());
        return Err(Failure::usage(what, "give one CPU per shard, or leave out --shards"));
    }
    let sizes = [
        ("--max-key-bytes", args.max_key_bytes, KEY_BYTES_MAX, "4KiB"),
        ("--max-value-bytes", args.max_value_bytes, VALUE_BYTES_MAX, "4MiB"),
    ];
    for (flag, bytes, max, text) in sizes {
        if bytes as usize > max {
            let what = format!("{flag} is {bytes} bytes");
            return Err(Failure::usage(what, format!("give at most {text}")));
        }
    }
    if args.seed.len() > SEED_COUNT_MAX {
        let what = format!("--seed is given {} times", args.seed.len());
        return Err(Failure::usage(what, format!("give at most {SEED_COUNT_MAX}; one suffices")));
    }
    Ok(())
}

/// The secret as given. Beyond loopback there must be one: given, or kept since the founding
/// or joining.
fn secret(args: &SettingArgs) -> Result<Option<Secret>, Failure> {
    let Some(path) = &args.cluster_secret else {
        let kept = args.data_dir.join("secret");
        if args.listen.is_loopback() || kept.is_file() {
            return Ok(None);
        }
        let what = format!("listening on {} without a cluster secret", args.listen);
        let make = "give --cluster-secret FILE, made once for the whole cluster with \
                    `head -c 32 /dev/urandom > FILE`";
        return Err(Failure::usage(what, make));
    };
    given_secret(path).map(Some)
}

/// Reads a secret that an operator gave. It is configuration, not part of the data directory:
/// whatever is wrong with it is exit 2.
pub(crate) fn given_secret(path: &Path) -> Result<Secret, Failure> {
    read_secret_file(path).map_err(|error| {
        let what = format!("--cluster-secret {}: {error}", path.display());
        Failure::usage(what, error.remedy())
    })
}
