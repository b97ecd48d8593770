//! A crowd in front of a node: those who behave are served, and it keeps within its bounds. No
//! timing is asserted here; the program `crowd` prints that.

use std::io::{Read, Write};
use std::net::TcpStream;

use ringmain_tests::crowd::{
    Active, Deaf, Idle, Slow, Target, native_mutants, resp_mutants, store_large,
};
use ringmain_tests::process::{Cluster, raise_file_limit, until};
use rustix::process::Signal;

const SETTINGS: [&str; 4] = ["--shards", "2", "--durability", "interval:10ms"];
const LARGE_BYTES: usize = 1 << 20;
const MIB: u64 = 1 << 20;

fn lone(more: &[&str]) -> (Cluster, Target) {
    let cluster = Cluster::form_with(1, &[&SETTINGS[..], more].concat());
    let process = cluster.process(0);
    let target = Target { ready: process.ready().clone(), id: process.id() };
    (cluster, target)
}

fn await_connections(target: &Target, count: u64) {
    let what = format!("{count} connections");
    until(&what, || target.metric("ringmain_connections") == count);
}

/// Whatever it was, all of it is given back.
fn await_rest(target: &Target, before_bytes: u64) {
    until("memory to be given back", || {
        let taken = target.taken();
        taken.buffer_bytes < MIB && taken.anonymous_bytes < before_bytes + 48 * MIB
    });
}

#[test]
fn those_who_behave_are_served_in_a_crowd() {
    raise_file_limit();
    let (cluster, target) = lone(&["--max-connections", "4000"]);
    let (resp, native) = (target.resp(), target.ready.native);
    store_large(resp, LARGE_BYTES);
    await_connections(&target, 0);
    let before = target.taken();
    let mut active = Active::connect(resp, 50);
    let idle = Idle::open(resp, 1000);
    let mut deaf = Deaf::connect(resp, 20);
    deaf.ask(200);
    let mut slow = Slow::connect(resp, 200, 64 << 10);
    await_connections(&target, 50 + 1000 + 20 + 200);
    for seed in 0..3 {
        let (resp, native) = (resp_mutants(resp, seed, 2000), native_mutants(native, seed, 200));
        assert_eq!((resp.input_count, native.input_count), (2000, 200));
        assert!(resp.error_count * 2 > resp.connection_count, "{resp}");
        slow.send_byte(200);
        deaf.ask(200);
        let latencies = active.work(2000);
        assert_eq!(latencies.count() as u64 + latencies.busy_count, 2000);
        assert_eq!(latencies.busy_count, 0, "there is memory for these");
        let taken = target.taken();
        assert!(taken.buffer_bytes < target.metric("ringmain_buffer_bytes_max"), "{taken:?}");
    }
    drop((active, idle, deaf, slow));
    await_connections(&target, 0);
    await_rest(&target, before.anonymous_bytes);
    // Those of segments that were made meanwhile.
    assert!(target.taken().file_count <= before.file_count + 8);
    assert!(!cluster.process(0).log().iter().any(|line| line.contains("panicked")));
}

/// As from Redis. Nobody waits for a descriptor, and those that others need are not given away.
#[test]
fn one_client_too_many_is_told() {
    raise_file_limit();
    let (_cluster, target) = lone(&["--max-connections", "100"]);
    await_connections(&target, 0);
    let mut idle = Idle::open(target.resp(), 100);
    await_connections(&target, 100);
    for _ in 0..50 {
        let mut late = TcpStream::connect(target.resp()).unwrap();
        let mut told = String::new();
        late.read_to_string(&mut told).unwrap();
        assert_eq!(told, "-ERR max number of clients reached\r\n");
    }
    idle.work_once(100);
    assert_eq!(target.metric("ringmain_connections_refused_total"), 50);
    drop(idle);
    await_connections(&target, 0);
    Idle::open(target.resp(), 100).work_once(100);
}

/// Strangers on the native port take no client's and no peer's place: the oldest makes room.
#[test]
fn who_does_not_say_hello_makes_room() {
    raise_file_limit();
    let (_cluster, target) = lone(&["--max-connections", "100"]);
    let native = target.ready.native;
    let mut first = TcpStream::connect(native).unwrap();
    let crowd: Vec<_> = (0..3000).map(|_| TcpStream::connect(native).unwrap()).collect();
    let mut heard = Vec::new();
    // It was closed long before its time was over, or by that.
    let _reset = first.read_to_end(&mut heard);
    assert!(heard.is_empty());
    assert_eq!(native_mutants(native, 1, 20).input_count, 20);
    until("those that make room are gone", || target.taken().connection_count <= 1024 + 100);
    drop(crowd);
    await_connections(&target, 0);
}

/// One byte of many commands each, again and again: none of them ends, and others are served.
#[test]
fn half_commands_are_given_up_before_memory_is_full() {
    raise_file_limit();
    let (_cluster, target) = lone(&["--max-connections", "4000"]);
    await_connections(&target, 0);
    let before = target.taken();
    let most = target.metric("ringmain_buffer_bytes_max");
    let each = 900 << 10;
    let mut slow: Vec<TcpStream> = Vec::new();
    let mut active = Active::connect(target.resp(), 10);
    let command = format!("*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n${}\r\n", 1_000_000);
    while (slow.len() as u64) * each < most + most / 4 {
        let mut stream = TcpStream::connect(target.resp()).unwrap();
        stream.write_all(command.as_bytes()).unwrap();
        stream.write_all(&vec![b's'; each as usize]).unwrap();
        slow.push(stream);
        if slow.len().is_multiple_of(50) {
            assert_eq!(active.work(100).busy_count, 0);
            assert!(target.metric("ringmain_buffer_bytes") < most);
        }
    }
    until("some are given up", || target.metric("ringmain_commands_shed_total") > 0);
    assert_eq!(active.work(100).busy_count, 0);
    drop((slow, active));
    await_connections(&target, 0);
    await_rest(&target, before.anonymous_bytes);
}

/// It hangs, as one whose disk does: its links stand, and nothing on them is read.
#[test]
fn a_peer_that_never_reads_costs_others_no_more_than_its_bound() {
    let cluster = Cluster::form_with(3, &SETTINGS);
    let process = cluster.process(0);
    let target = Target { ready: process.ready().clone(), id: process.id() };
    let before = target.taken();
    cluster.process(2).signal(Signal::STOP);
    let mut client = cluster.client(0);
    let value = vec![b'p'; LARGE_BYTES];
    for index in 0..128 {
        let key = format!("peer-{index}");
        let set: [&[u8]; 3] = [b"SET", key.as_bytes(), &value];
        until("a write to two nodes", || client.say::<()>(&set).is_ok());
        // Two shards, each with a link to a shard of it.
        let held = target.metric("ringmain_buffer_bytes");
        assert!(held < 2 * 40 * MIB, "{held} bytes");
    }
    cluster.process(2).signal(Signal::CONT);
    await_rest(&target, before.anonymous_bytes);
}
