//! How values are written: each function reads one kind of value and says what it expected.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ringmain_core::limits::{
    NAME_BYTES_MAX, PARTITION_BITS_MAX, PARTITION_BITS_MIN, REPLICA_COUNT_MAX, REQUEST_TIMEOUT_MAX,
    SHARD_COUNT_MAX,
};
use ringmain_core::membership::member::Name;
use ringmain_runtime::settings::{Durability, LogLevel};

use crate::failure::Unfit;

/// Units of time, largest first, in microseconds.
const TIMES: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
/// Units of size, largest first, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Longest duration of any setting.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

const DURATION: Unfit = Unfit {
    what: "is not a duration of at most a year",
    remedy: "write a number and us, ms, s, m, h or d, as in 500ms",
};

/// `500ms`, `1s`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration, Unfit> {
    let micros = scaled(text, &TIMES).map(Duration::from_micros);
    micros.filter(|&time| time <= DURATION_MAX).ok_or(DURATION)
}

/// A duration of the background work: from 10 ms on, so that none spins.
pub(crate) fn interval(text: &str) -> Result<Duration, Unfit> {
    let time = duration(text)?;
    let short = Unfit { what: "is too short", remedy: "give 10ms or more" };
    if time < Duration::from_millis(10) { Err(short) } else { Ok(time) }
}

/// The deadline of a request: 1 ms to 30 s.
pub(crate) fn request_timeout(text: &str) -> Result<Duration, Unfit> {
    let time = duration(text)?;
    let unfit = Unfit { what: "is not a time-out", remedy: "give 1ms to 30s" };
    let bounds = Duration::from_millis(1)..=REQUEST_TIMEOUT_MAX;
    if bounds.contains(&time) { Ok(time) } else { Err(unfit) }
}

/// `always`, `interval:10ms`, `none`.
pub(crate) fn durability(text: &str) -> Result<Durability, Unfit> {
    let unfit = Unfit {
        what: "is not a durability",
        remedy: "give always, none, or interval: with 1ms to 60s, as in interval:10ms",
    };
    match text.split_once(':') {
        None if text == "always" => Ok(Durability::Always),
        None if text == "none" => Ok(Durability::None),
        Some(("interval", time)) => {
            let time = duration(time).map_err(|_| unfit)?;
            let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
            if bounds.contains(&time) { Ok(Durability::Interval(time)) } else { Err(unfit) }
        }
        _ => Err(unfit),
    }
}

/// `1MiB`, `4096`, `4096B`.
pub(crate) fn size(text: &str) -> Result<u32, Unfit> {
    let bytes = match text.parse() {
        Ok(bytes) => Some(bytes),
        Err(_) => scaled(text, &SIZES),
    };
    let unfit = Unfit { what: "is not a size", remedy: "write bytes, or as 4KiB or 1MiB" };
    bytes.and_then(|bytes| u32::try_from(bytes).ok()).filter(|&bytes| bytes > 0).ok_or(unfit)
}

/// `4MiB/s`; `0` is none.
pub(crate) fn rate(text: &str) -> Result<u32, Unfit> {
    let unfit = Unfit { what: "is not a rate", remedy: "write as 512KiB/s or 4MiB/s, or 0" };
    if text == "0" {
        return Ok(0);
    }
    let bytes = text.strip_suffix("/s").ok_or(unfit)?;
    size(bytes).map_err(|_| unfit)
}

/// A power of two in 64..=16384.
pub(crate) fn partitions(text: &str) -> Result<u32, Unfit> {
    let unfit =
        Unfit { what: "is not a partition count", remedy: "give a power of two from 64 to 16384" };
    let bounds = 1 << PARTITION_BITS_MIN..=1 << PARTITION_BITS_MAX;
    let count = text.parse().ok().filter(|count: &u32| count.is_power_of_two());
    count.filter(|count| bounds.contains(count)).ok_or(unfit)
}

/// A number of replicas.
pub(crate) fn replicas(text: &str) -> Result<u8, Unfit> {
    let unfit = Unfit { what: "is not a number of replicas", remedy: "give 1 to 8" };
    const _: () = assert!(REPLICA_COUNT_MAX == 8, "as the remedy says");
    text.parse().ok().filter(|&count| (1..=REPLICA_COUNT_MAX as u8).contains(&count)).ok_or(unfit)
}

/// A number of shards.
pub(crate) fn shards(text: &str) -> Result<u16, Unfit> {
    let unfit = Unfit { what: "is not a number of shards", remedy: "give 1 to 256" };
    const _: () = assert!(SHARD_COUNT_MAX == 256, "as the remedy says");
    text.parse().ok().filter(|&count| (1..=SHARD_COUNT_MAX as u16).contains(&count)).ok_or(unfit)
}

/// The name of a node or zone.
pub(crate) fn name(text: &str) -> Result<String, Unfit> {
    let unfit = Unfit {
        what: "is not a name",
        remedy: "give 1 to 32 bytes without spaces or control characters",
    };
    const _: () = assert!(NAME_BYTES_MAX == 32, "as the remedy says");
    Name::new(text).map(|_| text.into()).map_err(|_| unfit)
}

/// The hash of a plan.
pub(crate) fn hash(text: &str) -> Result<u64, Unfit> {
    let unfit = Unfit {
        what: "is not the hash of a plan",
        remedy: "give the 16 hex digits that `ringmain cluster plan` shows",
    };
    let is_hash = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = u64::from_str_radix(text, 16).map_err(|_| unfit)?;
    if is_hash { Ok(hash) } else { Err(unfit) }
}

/// `IP:PORT`, as in `10.0.0.1:7400` or `[fd00::1]:7400`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Unfit> {
    let unfit = Unfit {
        what: "is not the address of a node",
        remedy: "write IP:PORT, as in 10.0.0.1:7400 or [fd00::1]:7400",
    };
    let address: SocketAddr = text.parse().map_err(|_| unfit)?;
    let reachable = address.port() != 0 && !address.ip().is_unspecified();
    if reachable { Ok(address) } else { Err(unfit) }
}

/// The first address of a loopback network of 256, as in `127.7.7.0`.
pub(crate) fn network(text: &str) -> Result<Ipv4Addr, Unfit> {
    let unfit = Unfit {
        what: "is not a loopback network",
        remedy: "give an address from 127.0.0.0 to 127.255.255.0 that ends in 0",
    };
    let address: Ipv4Addr = text.parse().map_err(|_| unfit)?;
    let first = address.is_loopback() && address.octets()[3] == 0;
    if first { Ok(address) } else { Err(unfit) }
}

/// Numbers and ranges: `0-3,6`. Ascending order is not asked for, repetition is refused.
pub(crate) fn cpus(text: &str) -> Result<CpuList, Unfit> {
    let unfit = Unfit {
        what: "is not a list of at most 256 different CPUs",
        remedy: "write numbers and ranges, as in 0-3,6",
    };
    let mut cpus: Vec<u16> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<u16>().map_err(|_| unfit);
        let (first, last) = (number(first)?, number(last)?);
        if first > last || usize::from(last - first) >= SHARD_COUNT_MAX - cpus.len() {
            return Err(unfit);
        }
        cpus.extend(first..=last);
    }
    let mut sorted = cpus.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == cpus.len() { Ok(CpuList(cpus)) } else { Err(unfit) }
}

/// CPUs in the order given, each once. A type of its own, so that clap takes it for one value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CpuList(pub(crate) Vec<u16>);

/// A level of the log.
pub(crate) fn log_level(text: &str) -> Result<LogLevel, Unfit> {
    let unfit =
        Unfit { what: "is not a log level", remedy: "give error, warn, info, debug or trace" };
    Ok(match text {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return Err(unfit),
    })
}

/// As [`duration`] reads it, exactly.
pub(crate) fn duration_text(time: Duration) -> String {
    scaled_text(time.as_micros() as u64, &TIMES)
}

/// As [`size`] reads it, exactly.
pub(crate) fn size_text(bytes: u32) -> String {
    scaled_text(bytes.into(), &SIZES)
}

/// As [`rate`] reads it, exactly.
pub(crate) fn rate_text(bytes: u32) -> String {
    if bytes == 0 { "0".into() } else { size_text(bytes) + "/s" }
}

/// As [`durability`] reads it.
pub(crate) fn durability_text(durability: Durability) -> String {
    match durability {
        Durability::Always => "always".into(),
        Durability::Interval(time) => format!("interval:{}", duration_text(time)),
        Durability::None => "none".into(),
    }
}

/// As [`log_level`] reads it.
pub(crate) fn log_level_text(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// As [`cpus`] reads it: runs of ascending numbers become ranges.
pub(crate) fn cpus_text(cpus: &[u16]) -> String {
    let mut text = String::new();
    for run in cpus.chunk_by(|&a, &b| a.checked_add(1) == Some(b)) {
        if !text.is_empty() {
            text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = match run {
            [first, .., last] => write!(text, "{first}-{last}"),
            [only] => write!(text, "{only}"),
            [] => Ok(()),
        };
    }
    text
}

/// The number times its unit; `None` without a number, with another unit, or on overflow.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let &(_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// In the largest unit that leaves no rest.
fn scaled_text(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |&&(_, scale): &&(&str, u64)| number != 0 && number.is_multiple_of(scale);
    // The smallest unit is 1, so it leaves no rest: only 0 finds none.
    match units.iter().find(fits) {
        Some((unit, scale)) => format!("{}{unit}", number / scale),
        None => format!("0{}", if units == TIMES { "s" } else { "B" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_round_trip() {
        for text in ["0s", "1us", "1500us", "500ms", "1s", "90s", "2m", "1h", "3d", "365d"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        for text in ["1B", "4095B", "4KiB", "1MiB", "1025KiB", "3GiB"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
        assert_eq!(size("4096"), Ok(4096));
        for text in ["", "1", "s", "1.5s", "-1s", "1 s", "1S", "366d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "0", "0B", "MiB", "1M", "4GiB", "-1", "1.5MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(interval("9ms").is_err() && interval("10ms").is_ok());
        assert!(request_timeout("30s").is_ok() && request_timeout("30001ms").is_err());
        assert!(request_timeout("0s").is_err());
    }

    #[test]
    fn rates_round_trip() {
        for text in ["0", "1B/s", "1500B/s", "4MiB/s", "3GiB/s"] {
            assert_eq!(rate_text(rate(text).unwrap()), text);
        }
        for text in ["", "/s", "4MiB", "0/s", "4MiB/m", "4 MiB/s", "4GiB/s", "-1"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durabilities_round_trip() {
        for text in
            ["always", "none", "interval:10ms", "interval:60s".replace("60s", "1m").as_str()]
        {
            assert_eq!(durability_text(durability(text).unwrap()), text);
        }
        for text in
            ["", "Always", "interval", "interval:", "interval:0s", "interval:61s", "none:1s"]
        {
            assert!(durability(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpu_lists_round_trip() {
        for (text, list) in [
            ("0", &[0][..]),
            ("0-3", &[0, 1, 2, 3]),
            ("5,0-2,9", &[5, 0, 1, 2, 9]),
            ("3,2,1", &[3, 2, 1]),
            ("65535", &[65535]),
        ] {
            assert_eq!(cpus(text).unwrap().0, list);
            assert_eq!(cpus_text(list), text);
        }
        assert_eq!(cpus("0-255").unwrap().0.len(), 256);
        for text in
            ["", ",", "1,", "a", "3-1", "1,1", "0-3,2", "0-256", "0-65535", "1-2-3", "65536"]
        {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_and_names_are_bounded() {
        let counts: Vec<u32> = (0..20_000).filter(|q| partitions(&q.to_string()).is_ok()).collect();
        assert_eq!(counts, [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]);
        let counts: Vec<u8> = (0..=255).filter(|n| replicas(&n.to_string()).is_ok()).collect();
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(shards("256").is_ok() && shards("257").is_err() && shards("0").is_err());
        assert!(name("oak-1").is_ok() && name("été").is_ok() && name(&"x".repeat(32)).is_ok());
        for text in ["", "a b", "a\n", "\u{a0}", "a\u{200b}b", "\u{202e}a", &"x".repeat(33)] {
            assert!(name(text).is_err(), "{text:?}");
        }
        assert!(address("[::1]:7400").is_ok());
        for text in ["", "oak:7400", "127.0.0.1", "127.0.0.1:0", "0.0.0.0:7400", "[::]:7400"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
