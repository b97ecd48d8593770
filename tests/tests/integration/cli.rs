//! The command line as scripts see it: exit codes, one line of error, nothing else on stdout.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ringmain_tests::process::{
    Client, Cluster, Network, Ready, Ringmain, binary, command, run, until,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command that must fail: with `code`, an empty stdout, and one line for people,
/// which is returned.
fn refused(code: i32, arguments: &[&str]) -> String {
    refusal(code, &run(arguments))
}

fn refusal(code: i32, output: &Output) -> String {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(text(&output.stdout), "");
    assert!(line.starts_with("ringmain: ") && line.ends_with('\n'), "{line:?}");
    assert_eq!(line.lines().count(), 1, "{line:?}");
    assert!(line.matches(": ").count() >= 2, "what happened: what to do, in {line:?}");
    line.trim_end().into()
}

/// A `start` that must not get beyond its data directory.
fn start_in(dir: &Path) -> Output {
    let ports = ["--port", "0", "--resp-port", "0", "--admin-port", "0"];
    let dir = dir.to_str().expect("temporary folders have plain names");
    run(&[&["start"][..], &ports, &["--data-dir", dir]].concat())
}

#[test]
fn every_command_has_help_with_an_example() {
    for words in [
        &[][..],
        &["start"],
        &["demo"],
        &["get"],
        &["put"],
        &["del"],
        &["cluster"],
        &["cluster", "status"],
        &["cluster", "ring"],
        &["cluster", "join"],
        &["cluster", "leave"],
        &["cluster", "replace"],
        &["cluster", "forget"],
        &["cluster", "weight"],
        &["cluster", "zone"],
        &["cluster", "plan"],
        &["cluster", "commit"],
        &["cluster", "clear"],
        &["cluster", "transfers"],
        &["scrub"],
        &["repair"],
        &["reap"],
        &["log"],
        &["log", "verify"],
        &["log", "dump"],
        &["doctor"],
    ] {
        let output = run(&[words, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(text(&output.stdout).contains("Example"), "{words:?}");
        assert_eq!(text(&output.stderr), "");
    }
    assert!(text(&run(&["--version"]).stdout).starts_with("ringmain "));
}

#[test]
fn bad_usage_is_exit_2() {
    let line = refused(2, &["strat"]);
    assert_eq!(line, "ringmain: unknown command 'strat': did you mean start?");
    assert!(refused(2, &["start", "--data-dri", "x"]).ends_with("did you mean --data-dir?"));
    assert!(refused(2, &["put", "key"]).contains("`ringmain put --help`"));
    for words in [
        &[][..],
        &["get"],
        &["get", ""],
        &["get", "k", "--node", "7400"],
        &["get", "k", "--context", "=="],
        &["cluster"],
        &["cluster", "ring", "--key", ""],
        &["demo", "--nodes", "0"],
        &["demo", "--network", "10.0.0.0"],
        &["start", "--w", "4"],
        &["start", "--name", "in\u{200b}visible"],
        &["start", "--zone", "in\u{200b}visible"],
        &["start", "--zone", "bell\u{7}"],
        &["start", "--request-timeout", "31s"],
        &["start", "--listen", "0.0.0.0", "--advertise", "10.0.0.1"],
        &["start", "--cluster-secret", "/nowhere"],
    ] {
        refused(2, words);
    }
}

#[test]
fn settings_are_resolved_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.toml");
    fs::write(&config, "w = 1\nname = \"oak\"\ndurability = \"interval:20ms\"\n").unwrap();
    let data = folder.path().join("data");
    let words = ["start", "--check-config", "--name", "elm", "--data-dir"];
    let mut check = command(&words);
    check.arg(&data).env("RINGMAIN_CONFIG", &config).env("RINGMAIN_DURABILITY", "none");
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for line in ["w = 1", "r = 2", "name = \"elm\"", "durability = \"none\"", "port = 7400"] {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
    assert!(!data.exists(), "a check writes nothing");

    let mut unknown = command(&["start"]);
    let line = refusal(2, &unknown.env("RINGMAIN_DATADIR", "x").output().unwrap());
    assert!(line.ends_with("did you mean RINGMAIN_DATA_DIR?"), "{line}");
    fs::write(&config, "resp_prot = 1\n").unwrap();
    let config = config.to_str().unwrap();
    let line = refused(2, &["start", "--config", config]);
    assert!(line.ends_with("node.toml: unknown key resp_prot: did you mean resp_port?"), "{line}");
}

#[test]
fn a_node_that_is_not_there_is_exit_1() {
    let network = Network::take();
    let node = format!("{}:7400", network.host(1));
    for words in [&["get", "k"][..], &["put", "k", "v"], &["del", "k"], &["cluster", "status"]] {
        let line = refused(1, &[words, &["--node", &node]].concat());
        assert!(line.contains(&node), "{line}");
    }
}

#[test]
fn a_taken_port_is_exit_3() {
    let network = Network::take();
    let held = TcpListener::bind((network.host(2), 7400)).unwrap();
    let base = network.base().to_string();
    let line = refused(3, &["demo", "--network", &base]);
    assert!(line.contains(&format!("{}:7400", network.host(2))), "{line}");
    drop(held);
}

#[test]
fn a_data_directory_that_cannot_be_used_is_exit_4() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    refusal(4, &start_in(&file));
    let line = refusal(4, &start_in(folder.path()));
    assert!(line.contains("is not a file of Ringmain"), "{line}");

    let dir = folder.path().join("data");
    fs::create_dir(&dir).unwrap();
    let lock = fs::File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    fs::write(dir.join("lock"), "4711\n").unwrap();
    assert!(refusal(4, &start_in(&dir)).contains("in use by process 4711"));
    drop(lock);

    fs::write(dir.join("identity"), "rm-iden\nnot really").unwrap();
    assert!(refusal(4, &start_in(&dir)).contains("identity is damaged"));
    fs::remove_file(dir.join("identity")).unwrap();
    fs::create_dir(dir.join("shard-000")).unwrap();
    fs::write(dir.join("shard-000/0000000001.segment"), "").unwrap();
    assert!(refusal(4, &start_in(&dir)).contains("identity is missing"));
}

#[test]
fn a_node_serves_until_it_is_asked_to_stop() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, dir) = (network.host(1).to_string(), folder.path().join("data"));
    let dir = dir.to_str().unwrap();
    let start = ["--listen", &listen, "--data-dir", dir, "--name", "oak", "--shards", "1"];
    let mut names = Vec::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Ringmain::start(&start);
        assert_eq!((node.ready().name.as_str(), node.ready().shards), ("oak", 1));
        assert_eq!(node.ready().native.to_string(), format!("{listen}:7400"));
        names.push(node.ready().node.clone());
        let line = refusal(4, &start_in(Path::new(dir)));
        assert!(line.contains(&format!("in use by process {}", node.id())), "{line}");
        node.log_with("nothing is replicated yet");
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(0), "{:?}", node.log());
        assert_eq!(node.line(), None, "one line on stdout");
    }
    assert_eq!(names[0], names[1], "the same node again");
}

#[test]
fn one_node_stores_what_commands_tell_it() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, dir) = (network.host(1).to_string(), folder.path().join("data"));
    let dir = dir.to_str().unwrap();
    let node = Ringmain::start(&["--listen", &listen, "--data-dir", dir]);
    let native = node.ready().native.to_string();
    let ask = |words: &[&str]| {
        let output = run(&[words, &["--node", &native]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?} {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let missing = run(&["get", "cart", "--node", &native]);
    assert!(refusal(1, &missing).contains("cart is not found"));
    assert!(ask(&["put", "cart", "apples"]).starts_with("context "));
    assert_eq!(ask(&["get", "cart"]), "apples");
    assert_eq!(ask(&["put", "cart", "pears", "--context", "-"]), "siblings 2\n");
    let both = ask(&["get", "cart"]);
    let lines: Vec<_> = both.lines().collect();
    assert_eq!(lines.len(), 3, "{both}");
    assert!(lines[0].starts_with("1) ") && lines[1].starts_with("2) "), "{both}");
    let context = lines[2].strip_prefix("context ").unwrap();
    assert!(ask(&["put", "cart", "plums", "--context", context]).starts_with("context "));
    assert_eq!(ask(&["get", "cart"]), "plums");
    let deleted: serde_json::Value =
        serde_json::from_str(&ask(&["del", "cart", "--json"])).unwrap();
    assert_eq!(deleted["siblings"], 0);
    let status = ask(&["cluster", "status"]);
    assert!(status.contains(&node.ready().node) && status.contains("alive"), "{status}");
    assert!(ask(&["cluster", "ring", "--key", "cart"]).contains(&node.ready().node));
}

/// The time-out is the node's, whatever patience a command has.
#[test]
fn a_write_without_its_quorum_fails_within_the_nodes_time() {
    let cluster = Cluster::form_with(3, &["--shards", "1", "--request-timeout", "1s"]);
    cluster.process(2).signal(Signal::STOP);
    let node = cluster.native(0).to_string();
    let began = Instant::now();
    let line = refused(1, &["put", "cart", "apples", "--w", "3", "--node", &node]);
    assert!(line.contains("NOQUORUM 3 2") || line.contains("UNAVAILABLE"), "{line}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// Only a secret that the founder made itself is told to joiners, and only on this machine.
#[test]
fn a_secret_that_was_given_is_told_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, [1; 32]).unwrap();
    let secret = secret.to_str().unwrap();
    let mut cluster = Cluster::empty(&["--shards", "1"]);
    cluster.add(&["--cluster-secret", secret]);
    let (listen, seed) = (cluster.network().host(9).to_string(), cluster.native(0).to_string());
    let dir = folder.path().join("data");
    let dir = dir.to_str().unwrap();
    let start = ["start", "--listen", &listen, "--seed", &seed, "--join", "--data-dir", dir];
    let mut stranger = Ringmain::spawn(&start);
    stranger.log_with("has a secret that this node was not given");
    assert_eq!(stranger.wait().code(), Some(2));
    cluster.add(&["--cluster-secret", secret]);
    cluster.await_members(0, 2);
}

#[test]
fn a_command_proves_the_cluster_secret() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, dir) = (network.host(1).to_string(), folder.path().join("data"));
    let dir = dir.to_str().unwrap();
    let node = Ringmain::start(&["--listen", &listen, "--data-dir", dir]);
    let native = node.ready().native.to_string();
    let status =
        |secret: &str| run(&["cluster", "status", "--node", &native, "--cluster-secret", secret]);
    let known = status(&format!("{dir}/secret"));
    assert!(text(&known.stdout).contains(&node.ready().node), "{}", text(&known.stderr));
    let other = folder.path().join("other");
    fs::write(&other, [1; 32]).unwrap();
    let line = refusal(1, &status(other.to_str().unwrap()));
    assert!(line.contains("does not have this cluster secret"), "{line}");
}

#[test]
fn a_node_whose_stdout_nobody_reads_says_so_and_stops() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, dir) = (network.host(1).to_string(), folder.path().to_str().unwrap());
    let start = ["start", "--listen", &listen, "--data-dir", dir, "--log-level", "error"];
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&start).stdout(writer).output().unwrap();
    let line = refusal(1, &output);
    assert!(line.contains("cannot write to stdout: Broken pipe"), "{line}");
    // Closed from the start: nobody wants the line.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" >&-", "sh"]).arg(binary()).args(start);
    let mut node = Ringmain::of(shell);
    until("a node that answers", || TcpStream::connect((network.host(1), 7379)).is_ok());
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0), "{:?}", node.log());
}

/// What a supervisor must not take for a stop in order.
#[test]
fn a_stop_that_cannot_sync_is_exit_1() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, dir) = (network.host(1).to_string(), folder.path().to_str().unwrap());
    let start = ["start", "--shards", "1", "--listen", &listen, "--data-dir", dir];
    let mut node = Ringmain::spawn(&start);
    node.await_ready();
    let mut client = Client::connect(node.ready().resp).unwrap();
    client.ask::<()>("SET cart apples").unwrap();
    // From now on every write to a file fails, without the signal that would end the node.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Pid::from_raw(node.id() as i32), Resource::Fsize, none).unwrap();
    assert!(client.ask::<()>("SET cart pears").is_err());
    let began = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(1), "{:?}", node.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    node.log_with("before all of its log was on disk");
}

#[test]
fn a_node_that_waits_for_its_seed_can_be_stopped() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, seed) = (network.host(1).to_string(), format!("{}:7400", network.host(2)));
    let dir = folder.path().to_str().unwrap();
    let start = ["start", "--listen", &listen, "--seed", &seed, "--join", "--data-dir", dir];
    let mut node = Ringmain::spawn(&start);
    node.log_with(&seed);
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0), "{:?}", node.log());
    assert_eq!(node.line(), None, "never ready");
    assert!(!folder.path().join("identity").exists(), "nothing is founded");
}

#[test]
fn a_child_of_nobody_does_not_start() {
    assert!(refused(1, &["start", "--parent", "1"]).contains("process 1 is gone"));
}

#[test]
fn the_doctor_examines_this_host() {
    let output = run(&["doctor"]);
    let printed = text(&output.stdout);
    let failed = printed.lines().any(|line| line.trim_start().starts_with("fail"));
    assert_eq!(output.status.code(), Some(if failed { 3 } else { 0 }));
    for check in ["kernel", "io_uring", "memlock", "cpus", "file system", "clock"] {
        assert!(printed.contains(check), "{check} in {printed}");
    }
}

#[test]
fn a_ready_line_is_read_whole_or_not_at_all() {
    let line = "ready node=0000002a name=oak resp=127.0.0.1:1 native=[::1]:2 \
                admin=127.0.0.1:3 shards=2";
    let ready = Ready::parse(line).unwrap();
    assert_eq!((ready.node.as_str(), ready.name.as_str(), ready.shards), ("0000002a", "oak", 2));
    for at in 0..line.len() {
        assert_eq!(Ready::parse(&line[..at]), None, "{at}");
    }
    assert_eq!(Ready::parse(&format!("{line} more=1")), None);
}
