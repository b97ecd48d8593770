use super::*;

const LONG: Duration = Duration::from_secs(600);

/// A node whose program is a line of shell.
fn shell(script: &str) -> Plan {
    Plan { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
}

fn until_ready(children: &mut Children, count: usize) {
    assert_eq!(await_ready(children, count).unwrap(), Asked::Nothing);
}

#[test]
fn nodes_that_are_ready_are_stopped_by_a_polite_signal() {
    let mut children = Children::new();
    for _ in 0..2 {
        children.spawn(shell("echo hello; echo ready node=1; exec sleep 1000")).unwrap();
    }
    until_ready(&mut children, 2);
    assert_eq!((children.ready(), children.living()), (2, 2));
    children.stop(LONG);
    assert_eq!(children.living(), 0);
    assert_eq!(children.ending(0), "was killed by signal 15");
}

#[test]
fn a_node_that_ignores_the_signal_is_killed() {
    let mut children = Children::new();
    children.spawn(shell("trap '' TERM; echo ready node=1; exec sleep 1000")).unwrap();
    until_ready(&mut children, 1);
    children.stop(Duration::from_millis(10));
    assert_eq!(children.ending(0), "was killed by signal 9");
}

#[test]
fn a_node_that_ends_is_reported_with_its_code() {
    for (code, exit) in [(1, Exit::Failed), (2, Exit::Usage), (3, Exit::Host), (4, Exit::DataDir)] {
        let mut children = Children::new();
        children.spawn(shell(&format!("echo not so >&2; exit {code}"))).unwrap();
        let failure = await_ready(&mut children, 1).unwrap_err();
        assert_eq!(failure.exit, exit);
        assert!(failure.to_string().contains(&format!("node 1 ended with exit code {code}")));
    }
}

#[test]
fn a_death_does_not_end_the_others() {
    let mut children = Children::new();
    children.spawn(shell("echo ready node=1; exec sleep 1000")).unwrap();
    until_ready(&mut children, 1);
    children.spawn(shell("echo ready node=1; kill -9 $$")).unwrap();
    until_ready(&mut children, 2);
    assert!(matches!(children.next(Some(LONG)), Some(Event::Ended(1))));
    assert_eq!(children.ending(1), "was killed by signal 9");
    assert_eq!(children.living(), 1);
    assert_eq!(children.ending(0), "runs");
}

#[test]
fn a_dropped_demo_leaves_no_process() {
    let mut children = Children::new();
    children.spawn(shell("echo ready node=1; exec sleep 1000")).unwrap();
    until_ready(&mut children, 1);
    let pid = rustix::process::Pid::from_raw(children.pid(0) as i32).unwrap();
    drop(children);
    assert!(rustix::process::test_kill_process(pid).is_err());
}

#[test]
fn the_command_to_start_again_is_what_a_shell_reads() {
    let mut children = Children::new();
    children.spawn(shell("echo 'it''s'; exit 0")).unwrap();
    assert_eq!(children.command(0), r"/bin/sh -c 'echo '\''it'\'''\''s'\''; exit 0'");
}

#[test]
fn cpus_are_spread() {
    assert_eq!(spread(&[0, 1], 3), [[0], [1], [0]]);
    assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6], 3), [&[0, 1][..], &[2, 3], &[4, 5, 6]]);
    for cpus in 1..20u16 {
        for nodes in 1..20 {
            let list: Vec<u16> = (0..cpus).collect();
            let spread = spread(&list, nodes);
            assert_eq!(spread.len(), nodes);
            assert!(spread.iter().all(|share| !share.is_empty()));
            let used: usize = spread.iter().map(Vec::len).sum();
            assert_eq!(used, nodes.max(cpus.into()), "all CPUs, and none twice but for want");
        }
    }
}

#[test]
fn plans_name_the_first_node_as_the_seed() {
    let args = DemoArgs {
        nodes: 2,
        data_dir: None,
        network: Ipv4Addr::new(127, 7, 7, 0),
        log_level: ringmain_runtime::settings::LogLevel::Warn,
    };
    let addresses = [host(args.network, 1), host(args.network, 2)];
    let plans = plans(&args, &addresses, Path::new("/nowhere")).unwrap();
    let words = |plan: &Plan| {
        plan.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    assert!(!words(&plans[0]).contains(&"--join".into()));
    let second = words(&plans[1]).join(" ");
    assert!(second.starts_with("start --data-dir /nowhere/node-2 --listen 127.7.7.2 "), "{second}");
    assert!(second.ends_with(" --seed 127.7.7.1:7400 --join"), "{second}");
}

#[test]
fn a_taken_port_is_the_hosts_fault() {
    // Two addresses: one that was held may be so for a moment after, by a child between its
    // fork and its exec.
    let (free, taken) = (Ipv4Addr::new(127, 93, 7, 2), Ipv4Addr::new(127, 93, 7, 1));
    let _held = TcpListener::bind((taken, NATIVE_PORT)).unwrap();
    check_ports(&[free]).unwrap();
    let failure = check_ports(&[free, taken]).unwrap_err();
    assert_eq!(failure.exit, Exit::Host);
    assert!(failure.to_string().contains("127.93.7.1:7400"), "{failure}");
}
