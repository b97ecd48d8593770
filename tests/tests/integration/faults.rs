//! Hosts, disks and strangers at their worst: a node says what is wrong, or serves on.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use redis::Value;
use ringmain_core::checksum::Software;
use ringmain_core::id::{Boot, ClusterId, NodeId, RequestId, ShardIndex, TopologyId};
use ringmain_core::wire::VERSION;
use ringmain_core::wire::frame::{Hop, frame_length, write_frame};
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::hello::{Hello, Kind};
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_tests::crowd::Target;
use ringmain_tests::process::{
    Client, Cluster, Network, PATIENCE, Ringmain, binary, code, command, until,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// What a node of these tests never needs, whatever strangers send, KiB.
const RESIDENT_KIB_MAX: u64 = 512 << 10;

/// A node that held data and was stopped.
fn stopped() -> Cluster {
    let mut cluster = Cluster::form(1);
    let lines: Vec<_> = (0..200).map(|key| format!("SET {key} value-{key}")).collect();
    cluster.client(0).pipeline::<Vec<Value>>(&lines).unwrap();
    cluster.end_all(Signal::TERM);
    cluster
}

/// Starts what cannot start: exit `exit`, nothing on stdout. Gives the one line for people.
fn refused(exit: i32, command: Command) -> String {
    let mut process = Ringmain::of(command);
    assert_eq!(process.line(), None, "it started");
    let status = process.wait();
    let line = process.log_with("ringmain: ");
    assert_eq!(status.code(), Some(exit), "{line}");
    line
}

fn start(cluster: &Cluster, dir: &Path, more: &[&str]) -> Command {
    let listen = cluster.network().host(1).to_string();
    let mut command = command(&[&["start", "--listen", &listen], more].concat());
    command.arg("--data-dir").arg(dir);
    command
}

#[test]
fn a_damaged_file_is_named() {
    let mut cluster = stopped();
    let dir = cluster.dir(0);
    for name in ["identity", "secret", "members", "boot"] {
        let file = dir.join(name);
        let whole = fs::read(&file).unwrap();
        let flipped = [0, whole.len() / 2, whole.len() - 1].map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            bytes
        });
        let cut = [whole[..whole.len() - 1].to_vec(), Vec::new()];
        for bytes in flipped.into_iter().chain(cut) {
            fs::write(&file, bytes).unwrap();
            let line = refused(4, start(&cluster, &dir, &[]));
            assert!(line.contains(&format!("{name} is damaged")), "{line}");
        }
        fs::write(&file, whole).unwrap();
    }
    cluster.start(0);
    assert_eq!(cluster.client(0).ask::<String>("GET 7").unwrap(), "value-7");
}

/// Whose record was lost is unknown: whatever may have been it is an error, not "not found".
#[test]
fn a_damaged_record_is_never_taken_for_none() {
    let mut cluster = stopped();
    let dir = cluster.dir(0);
    let file = dir.join("shard-000/0000000001.segment");
    let whole = fs::read(&file).unwrap();
    let place = |part: &[u8]| whole.windows(part.len()).position(|it| it == part).unwrap();
    let damage = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
    };
    damage(0);
    let line = refused(4, start(&cluster, &dir, &[]));
    assert!(line.contains("shard 0: log segment 1 is damaged at offset 0"), "{line}");
    for key in [3, 150] {
        damage(place(format!("value-{key}").as_bytes()));
        let line = refused(4, start(&cluster, &dir, &["--shards", "2"]));
        assert!(line.contains("shard 0 log segment 1 is damaged at offset "), "{line}");
        assert!(line.contains("start it with --shards as it was"), "{line}");
        cluster.start(0);
        cluster.process(0).log_with("log segment 1 is damaged from offset ");
        let mut client = cluster.client(0);
        for other in [key, key - 1, 999] {
            assert_eq!(code(client.ask::<Value>(&format!("GET {other}"))), "NOQUORUM");
        }
        cluster.end_all(Signal::TERM);
    }
    fs::write(&file, whole).unwrap();
    cluster.start(0);
    assert_eq!(cluster.client(0).ask::<String>("GET 7").unwrap(), "value-7");
}

#[test]
fn the_log_of_another_cluster_is_refused() {
    let (dir, line) = {
        let other = stopped();
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("segment");
        fs::copy(other.dir(0).join("shard-000/0000000001.segment"), &kept).unwrap();
        drop(other);
        let cluster = stopped();
        fs::copy(&kept, cluster.dir(0).join("shard-000/0000000001.segment")).unwrap();
        (cluster.dir(0), refused(4, start(&cluster, &cluster.dir(0), &[])))
    };
    assert!(line.contains("shard 0") && line.contains("another"), "{}: {line}", dir.display());
}

#[test]
fn a_host_that_lacks_something_is_told_what() {
    let cluster = stopped();
    for (port, flag) in [(7379, "--resp-port"), (7400, "--port"), (7480, "--admin-port")] {
        let held = TcpListener::bind((cluster.network().host(1), port)).unwrap();
        let line = refused(3, start(&cluster, &cluster.dir(0), &[]));
        assert!(line.contains(&format!(":{port}: ")) && line.ends_with(flag), "{line}");
        drop(held);
    }
    let listen = cluster.network().host(1).to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -l 64; exec \"$@\"", "sh"]).arg(binary());
    shell.args(["start", "--listen", &listen, "--data-dir"]).arg(cluster.dir(0));
    let line = refused(3, shell);
    assert!(line.contains("memlock") && line.contains("ulimit -l"), "{line}");
}

/// A stranger's connection. All that it sends may be refused, but in time.
fn stranger(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `bytes` and the end of the stream; what comes until the node closes.
fn until_closed(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = stranger(address);
    // A node that has read enough may close before it has all.
    let _early = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "not closed in time");
    }
    answer
}

/// Bytes without any order, the same at each run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut prng = ringmain_core::prng::Prng::new(seed);
    (0..count).map(|_| prng.next_u64() as u8).collect()
}

/// The cluster serves, its nodes need no more memory than they may, and none has panicked.
fn is_well(cluster: &Cluster) {
    for (index, client) in cluster.clients().iter_mut().enumerate() {
        client.ask::<()>(&format!("SET well-{index} yes")).unwrap();
        assert_eq!(client.ask::<String>(&format!("GET well-{index}")).unwrap(), "yes");
        let resident = cluster.process(index).resident_kib();
        assert!(resident < RESIDENT_KIB_MAX, "{resident} KiB");
        let log = cluster.process(index).log();
        assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
    }
}

#[test]
fn noise_on_any_port_is_refused() {
    let cluster = Cluster::form_with(2, &["--shards", "2"]);
    for seed in 0..200 {
        let bytes = noise(seed, 1 << (seed % 16));
        until_closed(cluster.native(0), &bytes);
        until_closed(cluster.resp(0), &bytes);
        // With a first byte that a request may have.
        until_closed(cluster.resp(1), &[b"*", &bytes[..]].concat());
    }
    is_well(&cluster);
}

#[test]
fn announcements_cost_nothing() {
    let cluster = Cluster::form(2);
    let held: Vec<_> = [
        &b"*2147483647\r\n"[..],
        b"*1048576\r\n$4\r\nMGET\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048576\r\n",
        b"*2\r\n$3\r\nGET\r\n$2147483647\r\n",
        b"*1\r\n$-5\r\n",
        b"*1\r\n$99999999999999999999\r\n",
    ]
    .iter()
    .cycle()
    .take(600)
    .map(|bytes| {
        let mut stream = stranger(cluster.resp(0));
        stream.write_all(bytes).unwrap();
        stream
    })
    .collect();
    is_well(&cluster);
    drop(held);
    // Each length in a header of the native protocol, also one that no node can hold.
    let mut header = [0; 32];
    for (at, byte) in noise(1, 32).into_iter().enumerate() {
        header[at] = byte;
        header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        until_closed(cluster.native(1), &header);
    }
    is_well(&cluster);
}

#[test]
fn requests_may_come_in_single_bytes_and_stop_anywhere() {
    let cluster = Cluster::form(2);
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let mut slow = stranger(cluster.resp(0));
    for byte in request {
        slow.write_all(&[*byte]).unwrap();
    }
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n$1\r\nb\r\n");
    let set_bytes = request.iter().rposition(|byte| *byte == b'*').unwrap();
    for end in 0..request.len() {
        let answer = until_closed(cluster.resp(1), &request[..end]);
        let whole: &[u8] = if end >= set_bytes { b"+OK\r\n" } else { b"" };
        assert_eq!(answer, whole, "the first {end} bytes");
    }
    let answer = until_closed(cluster.resp(1), request);
    assert_eq!(answer, b"+OK\r\n$1\r\nb\r\n", "who sends no more still reads");
    is_well(&cluster);
}

#[test]
fn a_handshake_that_does_not_go_on_is_given_up() {
    let cluster = Cluster::form(1);
    let mut silent = stranger(cluster.native(0));
    let mut begun = stranger(cluster.native(0));
    begun.write_all(&[0]).unwrap();
    // The first byte of every frame.
    let mut right = stranger(cluster.native(0));
    right.write_all(&[0xa7]).unwrap();
    for stream in [&mut silent, &mut begun, &mut right] {
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        assert!(closed.is_ok(), "closed by the node, after {answer:?}");
    }
    is_well(&cluster);
}

#[test]
fn thousands_of_idle_connections_are_held() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let cluster = Cluster::form(2);
    let idle: Vec<_> = (0..3000).map(|_| stranger(cluster.resp(0))).collect();
    is_well(&cluster);
    let mut last = idle.last().unwrap();
    last.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    last.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    drop(idle);
    is_well(&cluster);
}

#[test]
fn clients_that_never_read_stop_only_themselves() {
    // The host may be slow: what is refused must be refused for another reason.
    let cluster = Cluster::form_with(3, &["--shards", "1", "--request-timeout", "20s"]);
    let value = vec![b'v'; 1 << 20];
    cluster.client(0).say::<()>(&[b"SET", b"large", &value]).unwrap();
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = stranger(cluster.resp(0));
            stream.set_nonblocking(true).unwrap();
            let request = b"*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n".repeat(100);
            // Until the node takes no more.
            while (0..1000).all(|_| stream.write(&request).is_ok()) {}
            stream
        })
        .collect();
    let mut other = Client::connect(cluster.resp(0)).unwrap();
    for number in 0..300 {
        other.ask::<()>(&format!("SET other {number}")).unwrap();
        assert_eq!(other.ask::<u32>("GET other").unwrap(), number);
    }
    is_well(&cluster);
    drop(asked);
    is_well(&cluster);
}

#[test]
fn typed_commands_wait_for_each_other() {
    let cluster = Cluster::form(2);
    let mut stream = stranger(cluster.resp(0));
    stream.write_all(b"SET a 1\r\nGET a\r\nSET a 2\r\nGET a\r\n").unwrap();
    let mut answer = [0; 24];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n");
}

#[test]
fn clients_over_the_limit_are_told_and_peers_still_meet() {
    let mut cluster = Cluster::form_with(3, &["--max-connections", "20", "--shards", "2"]);
    cluster.kill(1);
    cluster.kill(2);
    let mut idle: Vec<_> = (0..20).map(|_| stranger(cluster.resp(0))).collect();
    for stream in &mut idle {
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
    }
    let answer = until_closed(cluster.resp(0), b"PING\r\n");
    assert_eq!(answer, b"-ERR max number of clients reached\r\n");
    cluster.start(1);
    cluster.start(2);
    cluster.await_writes(1, 3);
    drop(idle);
    until("the node has met the end of all of them", || {
        let info = Client::connect(cluster.resp(0)).and_then(|mut one| one.ask("INFO clients"));
        info.is_ok_and(|info: String| info.contains("connected_clients:1\r"))
    });
    is_well(&cluster);
}

/// No file may grow over 4 MiB: the log fills its first segments and gets no larger one.
#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let listen = network.host(1).to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"]).arg(binary());
    shell.args(["start", "--shards", "1", "--listen", &listen, "--data-dir"]).arg(folder.path());
    let mut node = Ringmain::of(shell);
    node.await_ready();
    let mut client = Client::connect(node.ready().resp).unwrap();
    let value = "v".repeat(1 << 20);
    let mut stored = 0;
    let refused = loop {
        match client.ask::<Value>(&format!("SET {stored} {value}")) {
            Ok(_) => stored += 1,
            refused => break code(refused),
        }
        assert!(stored < 100, "the disk is never full");
    };
    assert_eq!(refused, "NOSPACE");
    let mut other = Client::connect(node.ready().resp).unwrap();
    for key in 0..stored {
        assert!(other.ask::<String>(&format!("GET {key}")).unwrap() == value);
    }
    assert_eq!(code(other.ask::<Value>(&format!("SET more {value}"))), "NOSPACE");
    node.log_with("cannot be made");
    let target = Target { ready: node.ready().clone(), id: node.id() };
    until("a full log in the metrics", || target.metric("ringmain_log_full") == 1);
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
    let told = node.log().iter().filter(|line| line.contains("cannot be made")).count();
    assert_eq!(told, 1, "said once");
    let mut node = Ringmain::start(&[
        "--listen",
        &listen,
        "--data-dir",
        folder.path().to_str().expect("temporary folders have plain names"),
    ]);
    let mut client = Client::connect(node.ready().resp).unwrap();
    assert!(client.ask::<String>("GET 0").unwrap() == value);
    client.ask::<Value>(&format!("SET more {value}")).unwrap();
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn what_is_missing_is_not_taken_for_empty() {
    let mut cluster = stopped();
    let dir = cluster.dir(0);
    let away = dir.with_extension("away");
    for name in ["secret", "members", "identity", "shard-000", "shard-000/0000000001.segment"] {
        fs::rename(dir.join(name), &away).unwrap();
        let line = refused(4, start(&cluster, &dir, &[]));
        assert!(line.contains("missing"), "{name}: {line}");
        fs::rename(&away, dir.join(name)).unwrap();
    }
    cluster.start(0);
    assert_eq!(cluster.client(0).ask::<String>("GET 7").unwrap(), "value-7");
}

/// Each connection needs a file, and so do the log and the rings.
#[test]
fn more_clients_than_files_are_refused_and_the_node_goes_on() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let listen = network.host(1).to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]).arg(binary());
    shell.args(["start", "--shards", "1", "--listen", &listen, "--data-dir"]).arg(folder.path());
    let mut node = Ringmain::of(shell);
    node.await_ready();
    node.log_with("raise the limit of open files");
    let ready = node.ready().clone();
    let mut client = Client::connect(ready.resp).unwrap();
    let held: Vec<_> = (0..300).map(|_| stranger(ready.resp)).collect();
    let silent: Vec<_> = (0..300).map(|_| stranger(ready.native)).collect();
    for number in 0..100 {
        client.ask::<()>(&format!("SET a {number}")).unwrap();
    }
    drop((held, silent));
    until("room for another client", || {
        let mut other = Client::connect(ready.resp).ok();
        other.as_mut().is_some_and(|other| other.ask::<u32>("GET a").is_ok_and(|it| it == 99))
    });
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0));
}

/// A frame of a client that knows no cluster.
fn frame(op: Op, key: &[u8], payload: &impl Payload) -> Vec<u8> {
    let hop = Hop {
        op,
        request: RequestId(0),
        deadline_ms: 0,
        sent_ms: 0,
        topology: TopologyId(0),
        cluster_digest: 0,
    };
    let mut bytes = vec![0; frame_length(key.len(), payload.bytes())];
    write_frame::<Software>(&hop, key, payload, &mut bytes);
    bytes
}

fn hello(shard: ShardIndex) -> Vec<u8> {
    let hello = Hello {
        version_min: VERSION,
        version_max: VERSION,
        kind: Kind::Client,
        shard,
        source_shard: ShardIndex(0),
        shards: 0,
        node: NodeId(0),
        boot: Boot(0),
        nonce: [1; 16],
        cluster: ClusterId(0),
    };
    frame(Op::Hello, &[], &hello)
}

/// The HELLO names the shard that the connection is handed over to.
#[test]
fn a_greeting_may_come_in_single_bytes_for_any_shard() {
    let cluster = Cluster::form_with(1, &["--shards", "2"]);
    for shard in [0, 1].map(ShardIndex) {
        let mut stream = stranger(cluster.native(0));
        for byte in hello(shard) {
            stream.write_all(&[byte]).unwrap();
        }
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[3], Op::HelloReply.number(), "{answer:?}");
    }
}

/// What was refused has no answer to wait for.
#[test]
fn a_native_client_that_is_refused_is_closed() {
    let network = Network::take();
    let folder = tempfile::tempdir().unwrap();
    let (listen, dir) = (network.host(1).to_string(), folder.path().to_str().unwrap());
    let limit = ["--max-connections", "1"];
    let node = Ringmain::start(&[&["--listen", &listen, "--data-dir", dir], &limit[..]].concat());
    let (native, resp) = (node.ready().native, node.ready().resp);
    let read = GetRequest { r: 0, pr: 0, forwarded: false, want_context: false, context: &[] };
    let foreign = [hello(ShardIndex(0)), frame(Op::Get, b"key", &read)].concat();
    let answer = until_closed(native, &foreign);
    assert_eq!(answer[3], Op::HelloReply.number(), "a request of another cluster");
    let mut held = stranger(resp);
    held.write_all(b"PING\r\n").unwrap();
    held.read_exact(&mut [0; 7]).unwrap();
    until_closed(native, &foreign);
    drop(held);
    until("room for another client", || {
        let client = Client::connect(resp);
        client.is_ok_and(|mut client| client.ask::<Value>("PING").is_ok())
    });
}
