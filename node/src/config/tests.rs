use std::fs;
use std::time::Duration;

use ringmain_runtime::settings::{Durability, Settings};

use super::*;
use crate::failure::Exit;

/// Flags as `start` gets them.
fn flags(words: &[&str]) -> Result<ArgMatches, Failure> {
    let line = std::iter::once("start").chain(words.iter().copied());
    crate::args::StartArgs::augment_args(clap::Command::new("start"))
        .try_get_matches_from(line)
        .map_err(|error| Failure::of_clap(&error, "ringmain start"))
}

fn resolved(words: &[&str], environment: &[(&str, &str)]) -> Result<SettingArgs, Failure> {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    resolve(&flags(words)?, environment.collect::<Vec<_>>())
}

fn checked(words: &[&str]) -> Result<Settings, Failure> {
    check(&resolved(words, &[])?)
}

/// A usage failure, as its line.
fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage, "{failure}");
    let line = failure.to_string();
    assert!(!line.contains('\n') && line.contains(": "), "{line}");
    line
}

/// A file of the given text, and the words that name it.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    fs::write(&path, text).unwrap();
    (folder, format!("--config={}", path.display()))
}

#[test]
fn defaults_are_those_of_the_runtime() {
    let mut settings = checked(&[]).unwrap();
    settings.name = Settings::default().name;
    assert_eq!(settings, Settings::default());
}

#[test]
fn a_higher_layer_hides_a_lower_one() {
    let (_folder, config) = file("port = 1\nadmin_port = 2\nw = 1\nseed = [\"10.0.0.1:1\"]\n");
    let environment = [("RINGMAIN_PORT", "3"), ("RINGMAIN_ADMIN_PORT", "4"), ("HOME", "/root")];
    let args = resolved(&[&config, "--port", "5"], &environment).unwrap();
    assert_eq!((args.port, args.admin_port, args.w, args.r), (5, 4, 1, 2));
    assert_eq!(args.seed, ["10.0.0.1:1".parse().unwrap()]);
    // Lists are hidden whole, not joined.
    let seeds = [("RINGMAIN_SEED", "10.0.0.2:1,10.0.0.3:1")];
    assert_eq!(resolved(&[&config], &seeds).unwrap().seed.len(), 2);
    let words = [&config, "--seed", "10.0.0.4:1", "--seed", "10.0.0.5:1", "--seed=10.0.0.6:1"];
    assert_eq!(resolved(&words, &seeds).unwrap().seed.len(), 3);
    // A flag that says the default is still said.
    assert_eq!(resolved(&[&config, "--port", "7400"], &environment).unwrap().port, 7400);
}

#[test]
fn the_environment_may_name_the_file_and_a_flag_another() {
    let (_first, first) = file("w = 1");
    let (_second, second) = file("r = 1");
    let path = first.strip_prefix("--config=").unwrap();
    let environment = [("RINGMAIN_CONFIG", path)];
    assert_eq!(resolved(&[], &environment).unwrap().w, 1);
    let args = resolved(&[&second], &environment).unwrap();
    assert_eq!((args.r, args.w), (1, 2));
}

#[test]
fn switches_can_be_switched_off_again() {
    let (_folder, config) = file("found = true\njoin = false\n");
    assert!(resolved(&[&config], &[]).unwrap().found);
    let args = resolved(&[&config, "--found=false", "--join"], &[]).unwrap();
    assert_eq!((args.found, args.join), (false, true));
    assert!(resolved(&[], &[("RINGMAIN_JOIN", "true")]).unwrap().join);
    assert!(refusal(resolved(&[], &[("RINGMAIN_JOIN", "yes")])).contains("RINGMAIN_JOIN"));
}

#[test]
fn unknown_names_are_met_with_the_nearest_known_one() {
    let (_folder, config) = file("resp_prot = 1");
    let line = refusal(resolved(&[&config], &[]));
    assert!(line.ends_with("node.toml: unknown key resp_prot: did you mean resp_port?"), "{line}");
    let line = refusal(resolved(&[], &[("RINGMAIN_DATADIR", "x")]));
    let expected = "unknown environment variable RINGMAIN_DATADIR: did you mean RINGMAIN_DATA_DIR?";
    assert_eq!(line, expected);
    let line = refusal(resolved(&[], &[("RINGMAIN_data_dir", "x")]));
    assert!(line.ends_with("did you mean RINGMAIN_DATA_DIR?"), "{line}");
    let line = refusal(resolved(&["--durabilty", "none"], &[]));
    assert_eq!(line, "unknown flag --durabilty: did you mean --durability?");
    let (_folder, config) = file("[node]\nport = 1");
    assert!(refusal(resolved(&[&config], &[])).contains("unknown key node"));
}

#[test]
fn a_bad_value_is_named_with_its_place() {
    let line = refusal(resolved(&["--request-timeout", "31s"], &[]));
    assert_eq!(line, "--request-timeout: '31s' is not a time-out: give 1ms to 30s");
    let line = refusal(resolved(&[], &[("RINGMAIN_PARTITIONS", "1000")]));
    assert!(line.starts_with("RINGMAIN_PARTITIONS: --partitions: '1000' is not"), "{line}");
    let (_folder, config) = file("w = 1\nreap_grace = 60\n");
    let line = refusal(resolved(&[&config], &[]));
    assert!(line.contains("node.toml: --reap-grace: '60' is not a duration"), "{line}");
    let (_folder, config) = file("w = 1\nr = = 2\n");
    assert!(refusal(resolved(&[&config], &[])).contains("node.toml: line 2: "));
    for text in ["port = 1.5", "seed = [[\"x\"]]", "name = {}", "w = 1979-05-27"] {
        let (_folder, config) = file(text);
        refusal(resolved(&[&config], &[]));
    }
    refusal(resolved(&["--config", "/nowhere/node.toml"], &[]));
    let (_folder, config) = file(&"#".repeat(2 << 20));
    assert!(refusal(resolved(&[&config], &[])).contains("larger than 1 MiB"));
}

#[test]
fn every_bound_is_refused_in_one_line() {
    for words in [
        &["--partitions", "32"][..],
        &["--partitions", "32768"],
        &["--n", "0"],
        &["--n", "9"],
        &["--r", "4"],
        &["--w", "4"],
        &["--n", "1"],
        &["--weight", "0"],
        &["--weight", "10001"],
        &["--shards", "0"],
        &["--shards", "257"],
        &["--cpus", "1-0"],
        &["--cpus", "0,1", "--shards", "1"],
        &["--max-key-bytes", "4097"],
        &["--max-value-bytes", "5MiB"],
        &["--max-connections", "0"],
        &["--name", "a b"],
        &["--zone", ""],
        &["--seed", "oak:7400"],
        &["--seed", ""],
        &["--port", "65536"],
        &["--port", "7379"],
        &["--admin-port", "7400"],
        &["--listen", "localhost"],
        &["--listen", "0.0.0.0"],
        &["--listen", "10.0.0.1"],
        &["--advertise", "::"],
        &["--durability", "interval"],
        &["--probe-interval", "1ms"],
        &["--log-level", "loud"],
        &["--w"],
        &["--w", "1", "--w", "2"],
        &["stray"],
        &["-x"],
    ] {
        refusal(checked(words));
    }
}

#[test]
fn ports_that_are_picked_may_be_equal() {
    checked(&["--port", "0", "--resp-port", "0", "--admin-port", "0"]).unwrap();
}

#[test]
fn beyond_loopback_a_secret_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, short) = (folder.path().join("secret.key"), folder.path().join("short.key"));
    fs::write(&secret, [7; 32]).unwrap();
    fs::write(&short, [7; 31]).unwrap();
    let dir = format!("--data-dir={}", folder.path().display());
    let with = |path: &std::path::Path| format!("--cluster-secret={}", path.display());
    let beyond = ["--listen", "10.0.0.1", &dir];

    assert!(refusal(checked(&beyond)).contains("--cluster-secret"));
    let given = checked(&[&beyond[..], &[&with(&secret)]].concat()).unwrap();
    assert_eq!(given.cluster_secret.unwrap().bytes(), [7; 32]);
    assert!(refusal(checked(&[&beyond[..], &[&with(&short)]].concat())).contains("32"));
    refusal(checked(&[&with(&folder.path().join("none"))]));
    // A wildcard needs both a secret and an address to tell.
    let wildcard = ["--listen", "0.0.0.0", &dir, &with(&secret)];
    assert!(refusal(checked(&wildcard)).contains("--advertise"));
    let told = checked(&[&wildcard[..], &["--advertise", "10.0.0.1"]].concat()).unwrap();
    assert_eq!(told.advertise.to_string(), "10.0.0.1");
    // A member has kept its secret.
    fs::write(folder.path().join("secret"), b"kept").unwrap();
    assert_eq!(checked(&beyond).unwrap().cluster_secret, None);
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("a \"quoted\" key");
    fs::write(&secret, [7; 32]).unwrap();
    let secret = format!("--cluster-secret={}", secret.display());
    for words in [
        &[][..],
        &["--found", "--join", "--shards", "2", "--cpus", "1,0", "--durability", "interval:5ms"],
        &["--seed", "10.0.0.1:1", "--seed", "[::1]:2", "--reap-grace", "0s", "--name", "été"],
        &["--listen", "::", "--advertise", "fd00::1", &secret, "--max-value-bytes", "1000"],
    ] {
        let args = resolved(words, &[]).unwrap();
        let settings = check(&args).unwrap();
        let text = print::to_toml(&args, &settings).unwrap();
        let (_folder, config) = file(&text);
        let again = resolved(&[&config], &[]).unwrap();
        assert_eq!(check(&again).unwrap(), settings, "{text}");
        assert_eq!(print::to_toml(&again, &settings).unwrap(), text);
        let table: toml::Table = text.parse().unwrap();
        let mut known = names();
        known.retain(|name| table.contains_key(name));
        assert_eq!(known.len(), table.len(), "{text}");
    }
}

#[test]
fn durations_and_sizes_arrive() {
    let words = ["--durability", "interval:10ms", "--request-timeout", "1500ms"];
    let settings = checked(&[&words[..], &["--max-value-bytes", "2KiB"]].concat()).unwrap();
    assert_eq!(settings.durability, Durability::Interval(Duration::from_millis(10)));
    assert_eq!(settings.request_timeout, Duration::from_millis(1500));
    assert_eq!(settings.max_value_bytes, 2048);
}

#[test]
fn the_hosts_name_is_a_name() {
    assert!(units::name(&check::host_name()).is_ok());
}
