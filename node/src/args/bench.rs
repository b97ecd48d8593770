//! The command line of `ringmain bench`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringmain_core::limits::VALUE_BYTES_MAX;

use crate::bench::limits::{CONNECTION_COUNT_MAX, KEY_COUNT_MAX, PIPELINE_COUNT_MAX, RATE_MAX};
use crate::config::units;
use crate::failure::Unfit;

/// What the node speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Target {
    /// The wire protocol of Ringmain.
    Native,
    /// That of Redis, which any such server speaks.
    Resp,
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Distribution {
    /// All as often.
    Uniform,
    /// Few very often: Zipf's law with exponent 0.99.
    Zipfian,
}

/// With --rate, requests are sent at fixed times whether answers have come or not, and what one
/// took counts from when it was to be sent. Without, each connection sends as answers come.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  ringmain bench --rate 20000 --duration 1m
      how long a node takes to answer 20000 requests per second, half of them reads
  ringmain bench --target resp --node 127.0.0.1:6379 --pipeline 16
      how much Redis answers at most
  ringmain bench --rate 20000 --read-ratio 1 --json --hgrm reads.hgrm --plot reads.svg
      reads alone, as JSON, as a table of HdrHistogram, and as a picture")]
pub(crate) struct BenchArgs {
    /// Protocol
    #[arg(long, value_enum, default_value_t = Target::Native)]
    pub(crate) target: Target,
    /// Address of the node [default: 127.0.0.1:7400; with --target resp 127.0.0.1:7379]
    #[arg(long, value_name = "IP:PORT", value_parser = units::address)]
    pub(crate) node: Option<SocketAddr>,
    /// Requests per second of all connections
    #[arg(long, value_name = "OPS", value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    pub(crate) rate: Option<u64>,
    /// How long it measures
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::interval)]
    pub(crate) duration: Duration,
    /// How long it sends before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    pub(crate) warmup: Duration,
    /// Ask each key's own shard, of whatever node, as clients that know the ring do; native only
    #[arg(long)]
    pub(crate) routed: bool,
    /// Connections; with --routed, to each shard
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=CONNECTION_COUNT_MAX))]
    pub(crate) connections: u64,
    /// Requests in flight on each connection at most
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=PIPELINE_COUNT_MAX))]
    pub(crate) pipeline: u64,
    /// Part of the requests that are reads, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.5, value_parser = part)]
    pub(crate) read_ratio: f64,
    /// Keys, which are all written first
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=KEY_COUNT_MAX))]
    pub(crate) keys: u64,
    /// Which keys are asked for
    #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
    pub(crate) distribution: Distribution,
    /// Bytes of each value
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = value_bytes)]
    pub(crate) value_bytes: u32,
    /// Copies that a read waits for, native only [default: the cluster's]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) r: Option<u8>,
    /// Copies that a write waits for, native only [default: the cluster's]
    #[arg(long, value_name = "COUNT", value_parser = units::replicas)]
    pub(crate) w: Option<u8>,
    /// Print the result as one JSON object, behind the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the latencies of all requests here, in HdrHistogram's percentile format, milliseconds
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write a picture of latency by percentile here, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

fn part(text: &str) -> Result<f64, Unfit> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or(Unfit { what: "is not a part", remedy: "give a number from 0 to 1" })
}

fn value_bytes(text: &str) -> Result<u32, Unfit> {
    let large = Unfit { what: "is larger than a value may be", remedy: "give 4MiB or less" };
    const _: () = assert!(VALUE_BYTES_MAX == 4 << 20, "as the remedy says");
    let bytes = units::size(text)?;
    if bytes as usize <= VALUE_BYTES_MAX { Ok(bytes) } else { Err(large) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_sizes_have_bounds() {
        assert_eq!(part("0"), Ok(0.0));
        assert_eq!(part("1"), Ok(1.0));
        for text in ["-0.01", "1.01", "NaN", "half", ""] {
            assert!(part(text).is_err(), "{text}");
        }
        assert_eq!(value_bytes("4MiB"), Ok(4 << 20));
        assert!(value_bytes("4194305").is_err());
        assert!(value_bytes("0").is_err());
    }
}
