//! `ringmain cluster …`: its commands, their flags and their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ringmain_runtime::settings::WEIGHT_MAX;

use super::NodeArgs;
use crate::config::units;

/// Changes are staged first, by join, leave, replace, forget, weight and zone; plan shows what is
/// staged and what would move; commit has it done. Any member may be asked. NODE is an id of 8 hex
/// digits, or a name that one node has.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ringmain cluster status
  ringmain cluster leave oak
  ringmain cluster plan
  ringmain cluster commit 6b2c9d0f13a4e857 --wait
      with the hash that the plan showed; returns when all data has moved")]
pub(crate) struct ClusterArgs {
    /// File with the cluster's secret; needed from beyond loopback
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cluster_secret: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Who is in the cluster, how they are, and whether it has converged
    #[command(after_help = "Examples:
  ringmain cluster status
  ringmain cluster status --node 10.0.0.1:7400 --cluster-secret /etc/ringmain.key --json")]
    Status(NodeArgs),
    /// Which nodes own a partition, and who stands in for them
    #[command(after_help = "Examples:
  ringmain cluster ring --key cart
  ringmain cluster ring --json")]
    Ring(RingArgs),
    /// Stage that a node which waits becomes a member: the one that is asked, or NODE
    #[command(after_help = "Examples:
  ringmain start --listen 10.0.0.4 --seed 10.0.0.1:7400 --cluster-secret /etc/ringmain.key
      on the new machine: without --join it waits
  ringmain cluster join --node 10.0.0.4:7400 --cluster-secret /etc/ringmain.key
      or by its name at any member: ringmain cluster join fir")]
    Join(JoinArgs),
    /// Stage that a member hands over what it has, and is none any more
    #[command(after_help = "Example: ringmain cluster leave oak
It goes on serving until its data has moved, so it must run. A node that has left never comes back
with the same data directory.")]
    Leave(LeaveArgs),
    /// Stage that a node which waits takes the place of a member
    #[command(after_help = "Example: ringmain cluster replace oak fir
If oak answers it hands over what it has; if not, it counts as lost, as with forget.")]
    Replace(ReplaceArgs),
    /// Stage that a member which will never return is none any more; final
    #[command(after_help = "Examples:
  ringmain cluster forget oak
  ringmain cluster forget oak --force
      though it answers: what it alone has is lost")]
    Forget(ForgetArgs),
    /// Stage another share of the data for a member
    #[command(after_help = "Example: ringmain cluster weight oak 200
Twice as much as a member with the default, 100.")]
    Weight(WeightArgs),
    /// Stage another zone for a member
    #[command(after_help = "Example: ringmain cluster zone oak east")]
    Zone(ZoneArgs),
    /// What is staged, what would move, and the hash to commit it by
    #[command(after_help = "Examples:
  ringmain cluster plan
  ringmain cluster plan --json
      {\"hash\":…,\"staged\":[{\"op\":…,\"node\":…}],\"moves\":…,\"bytes\":…,\"peak_over_fair\":…}
Moves are copies of partitions; bytes are estimated from what the asked node has. Peak over fair is
how much more than its fair share the fullest node would own.")]
    Plan(NodeArgs),
    /// Commit what is staged, if it is what the plan with this hash showed
    #[command(after_help = "Examples:
  ringmain cluster commit 6b2c9d0f13a4e857 --wait
  ringmain cluster commit 6b2c9d0f13a4e857 --accept-loss
      also if the plan says that too few copies of some partitions are left")]
    Commit(CommitArgs),
    /// Drop what is staged
    #[command(after_help = "Example: ringmain cluster clear")]
    Clear(NodeArgs),
    /// How far each member has caught up with what it gains
    #[command(after_help = "Example: ringmain cluster transfers")]
    Transfers(NodeArgs),
    /// What nodes keep for others that lacked it
    #[command(after_help = "Example: ringmain cluster hints")]
    Hints(NodeArgs),
    /// How long ago copies were found equal, and what differs
    #[command(after_help = "Example: ringmain cluster exchanges")]
    Exchanges(NodeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RingArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Only the partition of this key
    #[arg(long)]
    pub(crate) key: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// The node that waits, by id or name [default: the one that is asked]
    #[arg(value_name = "NODE", value_parser = units::name)]
    pub(crate) joiner: Option<String>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct LeaveArgs {
    /// The member, by id or name
    #[arg(value_name = "NODE", value_parser = units::name)]
    pub(crate) leaver: String,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ReplaceArgs {
    /// The member, by id or name
    #[arg(value_parser = units::name)]
    pub(crate) old: String,
    /// The node that waits to join, by id or name
    #[arg(value_parser = units::name)]
    pub(crate) new: String,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ForgetArgs {
    /// The member, by id or name
    #[arg(value_name = "NODE", value_parser = units::name)]
    pub(crate) lost: String,
    /// Also if it answers
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WeightArgs {
    /// The member, by id or name
    #[arg(value_name = "NODE", value_parser = units::name)]
    pub(crate) member: String,
    /// Its share of the data relative to others
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(WEIGHT_MAX)))]
    pub(crate) weight: u16,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ZoneArgs {
    /// The member, by id or name
    #[arg(value_name = "NODE", value_parser = units::name)]
    pub(crate) member: String,
    /// What fails together with it
    #[arg(value_parser = units::name)]
    pub(crate) zone: String,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CommitArgs {
    /// The hash of the plan
    #[arg(value_parser = units::hash)]
    pub(crate) hash: u64,
    /// Also if too few copies of some partitions are left
    #[arg(long)]
    pub(crate) accept_loss: bool,
    /// Return when all data has moved
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}
