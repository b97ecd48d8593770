//! The order of a start: what must be true before a node may speak.
//!
//! 1. the host has what the server needs (`doctor`), else exit 3;
//! 2. the data directory is ours and locked, else exit 4;
//! 3. this is a member, founds, or enters, decided from what is on disk first and from flags
//!    only in an empty directory, so the same command line restarts a node for ever;
//! 4. shards are placed on CPUs: as many as are asked for, else as many as the directory holds;
//! 5. the process life has a number of its own on disk.
//!
//! Nothing of a cluster is written here: who founds or enters writes `secret` and `members`
//! first and `identity` last, once it has them.

use ringmain_core::id::{Boot, NodeId};
use ringmain_core::limits::SHARD_COUNT_MAX;
use ringmain_runtime::data_dir::{
    DataDir, Identity, random_bytes, random_cluster_id, random_node_id,
};
use ringmain_runtime::settings::{Secret, Settings};

use crate::config::units::cpus_text;
use crate::failure::{Exit, Failure};

/// A node that may start: its directory is locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) dir: DataDir,
    pub(crate) boot: Boot,
    pub(crate) placement: Placement,
    pub(crate) entry: Entry,
}

/// How this node comes to its cluster.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It is in one; seeds and founding flags are ignored.
    Member { identity: Identity, secret: Secret },
    /// It makes one. Nothing of this is on disk yet.
    Found { identity: Identity, secret: Secret },
    /// It asks the seeds, under this id if they accept it. Without a secret it must be handed
    /// one, over loopback.
    Enter { node: NodeId, secret: Option<Secret> },
}

/// How many shards, and the CPU of each; `None` leaves them unpinned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Placement {
    pub(crate) shards: u16,
    pub(crate) cpus: Option<Vec<u16>>,
}

/// Opens the data directory and decides how this node starts.
pub(crate) fn open(settings: &Settings, usable: &[u16]) -> Result<Opened, Failure> {
    let dir = DataDir::open(&settings.data_dir)?;
    let identity = dir.identity()?;
    let placement = place(settings, usable, identity.as_ref())?;
    let entry = match identity {
        Some(identity) => {
            let secret = member_secret(settings, &dir)?;
            Entry::Member { identity, secret }
        }
        None => enter_or_found(settings, placement.shards)?,
    };
    let boot = dir.next_boot(Boot(0))?;
    Ok(Opened { dir, boot, placement, entry })
}

/// Chooses shards and CPUs among the `usable` ones; a member keeps its count unless another one is
/// asked for, however many CPUs there are.
pub(crate) fn place(
    settings: &Settings,
    usable: &[u16],
    member: Option<&Identity>,
) -> Result<Placement, Failure> {
    let listed = settings.cpus.as_ref().map(|cpus| cpus.len() as u16);
    let asked = settings.shards.or(listed);
    let partitions = member.map_or(settings.partitions, |member| 1 << member.partition_bits);
    if let Some(cpu) = settings.cpus.iter().flatten().find(|cpu| !usable.contains(cpu)) {
        let what = format!("--cpus lists CPU {cpu}, which this process may not use");
        let remedy = format!("choose from {}", cpus_text(usable));
        return Err(Failure::usage(what, remedy));
    }
    let one_each = usable.len().clamp(1, SHARD_COUNT_MAX) as u16;
    let stored = member.map(|member| member.shards);
    let shards = asked.or(stored).unwrap_or(one_each.min(partitions as u16));
    if u32::from(shards) > partitions {
        let what = format!("{shards} shards cannot share {partitions} partitions");
        let remedy = match member {
            Some(_) => "give fewer --shards",
            None => "give fewer --shards or more --partitions",
        };
        return Err(Failure::usage(what, remedy));
    }
    let all = (usize::from(shards) == usable.len()).then(|| usable.to_vec());
    Ok(Placement { shards, cpus: settings.cpus.clone().or(all) })
}

fn member_secret(settings: &Settings, dir: &DataDir) -> Result<Secret, Failure> {
    let kept = dir.secret()?;
    match (&settings.cluster_secret, kept) {
        (None, Some(kept)) => Ok(kept),
        (Some(given), Some(kept)) if *given == kept => Ok(kept),
        (Some(_), Some(_)) => {
            let what = "--cluster-secret differs from the one this node entered its cluster with";
            Err(Failure::usage(what, "give the cluster's own secret, or leave it out"))
        }
        (_, None) => {
            let what = format!("{} is missing", dir.path().join("secret").display());
            let remedy = "copy the file from another node of the cluster";
            Err(Failure::new(Exit::DataDir, what, remedy))
        }
    }
}

/// In a directory without an identity, the flags decide.
fn enter_or_found(settings: &Settings, shards: u16) -> Result<Entry, Failure> {
    let given = settings.cluster_secret.clone();
    match (settings.seeds.is_empty(), settings.found) {
        (false, true) => {
            let what = "--found makes a new cluster, --seed enters an existing one";
            Err(Failure::usage(what, "give one of them"))
        }
        (false, false) => Ok(Entry::Enter { node: random_node_id()?, secret: given }),
        (true, _) if settings.join => {
            let what = "--join in an empty data directory, and no cluster to join";
            Err(Failure::usage(what, "give --seed with any node of the cluster"))
        }
        (true, found) if found || settings.is_loopback() => {
            let secret = match given {
                Some(secret) => secret,
                None => made_secret()?,
            };
            Ok(Entry::Found { identity: new_identity(settings, shards)?, secret })
        }
        (true, _) => {
            let what = "the data directory is empty, and there is no cluster to enter";
            Err(Failure::usage(what, "give --seed to enter one, or --found to make a new one"))
        }
    }
}

fn made_secret() -> Result<Secret, Failure> {
    let bytes: [u8; 32] = random_bytes()?;
    Ok(Secret::new(&bytes).expect("32 bytes are a secret's minimum"))
}

/// Random, not 0.
pub(crate) fn random_uuid() -> Result<u128, Failure> {
    Ok(u128::from_le_bytes(random_bytes()?).max(1))
}

fn new_identity(settings: &Settings, shards: u16) -> Result<Identity, Failure> {
    Ok(Identity {
        cluster: random_cluster_id()?,
        node: random_node_id()?,
        uuid: random_uuid()?,
        shards,
        partition_bits: settings.partitions.ilog2() as u8,
        n: settings.n,
        r: settings.r,
        w: settings.w,
        name: settings.name.clone(),
    })
}

#[cfg(test)]
mod tests;
