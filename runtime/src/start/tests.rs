use super::*;
use crate::data_dir::random_cluster_id;
use ringmain_core::id::NodeId;
use tempfile::TempDir;

/// What a founded node of two shards starts from, on free ports of loopback.
fn founded() -> (TempDir, NodeStart) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { resp_port: 0, port: 0, ..Settings::default() };
    let identity = Identity {
        cluster: random_cluster_id().unwrap(),
        node: NodeId(7),
        uuid: 7,
        shards: 2,
        partition_bits: 6,
        n: 3,
        r: 2,
        w: 2,
        name: "oak".into(),
    };
    let secret = Secret::new(&[7; 32]).unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let boot = dir.next_boot(Boot(0)).unwrap();
    found(&dir, &settings, &identity, &secret).unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], 1));
    let dir = Arc::new(dir);
    (folder, NodeStart { settings, dir, identity, secret, boot, cpus: None, admin })
}

/// What the shards of a node begin with, each with a plan of its own.
fn begins(starts: [NodeStart; 2]) -> (Vec<Begin>, Handle, Receiver<Event>) {
    let doorbells: Vec<_> = (0..2).map(|_| LateDoorbell::default()).collect();
    let endpoints: Vec<MeshEndpoint> = mesh(doorbells.clone(), MeshLimits::for_shards(2));
    let (events, ended) = channel();
    let controls = endpoints[0].controls();
    let (metrics, recorders) = Metrics::new(2);
    let is_stopping = Arc::default();
    let handle = Handle { controls, events, is_stopping, metrics: metrics.clone() };
    let parts = endpoints.into_iter().zip(doorbells).zip(recorders).zip(starts);
    let begins = parts.map(|(((endpoint, doorbell), recorder), start)| {
        let listeners = ["--resp-port", "--port"].map(|port| bind(port, start.settings.listen, 0));
        let [resp, native] = listeners.map(Result::unwrap);
        let addresses = (address_of(&resp).unwrap(), address_of(&native).unwrap());
        let plan = Arc::new(Plan::new(start, addresses, metrics.clone()).unwrap());
        Begin { plan, endpoint, doorbell, recorder, listeners: (resp, native) }
    });
    (begins.collect(), handle, ended)
}

/// A shard of a node with another one, which nobody runs.
pub(crate) fn one_driver() -> ([TempDir; 2], Driver) {
    let ((folder, start), (other_folder, other)) = (founded(), founded());
    let (mut begins, ..) = begins([start, other]);
    ([folder, other_folder], driver(begins.swap_remove(0)).unwrap())
}

fn end(shard: u16, events: &Sender<Event>) -> End {
    End { shard: ShardIndex(shard), events: Some(events.clone()) }
}

#[test]
fn the_first_bad_end_is_told_at_once() {
    let (ended, events) = channel();
    let [first, second, third] = [0, 1, 2].map(|shard| end(shard, &ended));
    first.tell(Ok(()));
    let panicked = std::thread::spawn(move || {
        let _end = second;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.join().is_err());
    let told = all_ended(&events, 3, STOP_TIME_MAX);
    assert_eq!(told, Err("shard 1 panicked".into()), "the third still runs");
    third.tell(Ok(()));
}

#[test]
fn shards_that_do_not_stop_are_given_up() {
    let (ended, events) = channel();
    ended.send(Event::Stopping).unwrap();
    end(0, &ended).tell(Ok(()));
    let told = all_ended(&events, 3, Duration::from_millis(1));
    assert_eq!(told, Err("2 shards do not stop".into()));
}

#[test]
fn a_shard_that_fails_while_stopping_cuts_no_other_short() {
    let (ended, events) = channel();
    ended.send(Event::Stopping).unwrap();
    end(0, &ended).tell(Err("not synced".into()));
    let told = all_ended(&events, 2, Duration::from_millis(1));
    assert_eq!(told, Err("not synced".into()), "given up only when patience ran out");
    ended.send(Event::Stopping).unwrap();
    end(0, &ended).tell(Err("not synced".into()));
    end(1, &ended).tell(Ok(()));
    assert_eq!(all_ended(&events, 2, STOP_TIME_MAX), Err("not synced".into()));
    assert!(events.try_recv().is_err(), "the other was waited for");
}

#[test]
fn a_node_stops_when_it_is_told_to() {
    let (_folder, start) = founded();
    let dir = Arc::clone(&start.dir);
    let running = super::start(start).unwrap();
    assert_eq!(running.member_count, 1);
    let handle = running.handle();
    assert!(handle.status().is_some());
    handle.stop();
    assert_eq!(running.wait(), Ok(()));
    assert_eq!(handle.status(), None);
    assert_eq!(handle.unready(), Some(Unready::Stopping));
    assert_eq!(Arc::strong_count(&dir), 1, "nothing holds the directory");
}

/// A panic in the last of two shards once left the first serving half of the keys, and the
/// process waiting for it.
/// A panic in the last of two shards once left the first serving half of the keys, and the
/// process waiting for it.
#[test]
fn a_panic_in_one_shard_ends_the_node() {
    let (_folder, start) = founded();
    let dir = Arc::clone(&start.dir);
    let (_other_folder, mut other) = founded();
    // Shard 0 will tell the other one a ring of another shape: a defect, which that asserts.
    other.identity.partition_bits += 1;
    let (begins, handle, events) = begins([start, other]);
    let shards = start_shards(begins.into_iter().map(Ok), &handle).unwrap();
    let [resp, native] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let running = Running { resp, native, member_count: 1, shards, handle: handle.clone(), events };
    assert_eq!(running.wait(), Err("shard 1 panicked".into()));
    assert!(Arc::strong_count(&dir) > 1, "the first shard runs all the same");
    handle.stop();
}

#[test]
fn a_start_that_fails_leaves_nothing_running() {
    let (folder, start) = founded();
    let dir = Arc::clone(&start.dir);
    std::fs::remove_dir(folder.path().join("shard-001")).unwrap();
    assert!(matches!(super::start(start), Err(StartError::DataDir(_))));
    assert_eq!(Arc::strong_count(&dir), 1, "the other shard has ended");

    let ((_folder, start), (_other_folder, other)) = (founded(), founded());
    let dir = Arc::clone(&start.dir);
    let (mut begins, handle, _events) = begins([start, other]);
    begins.truncate(1);
    let mut begins: Vec<_> = begins.into_iter().map(Ok).collect();
    begins.push(Err(StartError::Threads("no more".into())));
    let started = start_shards(begins.into_iter(), &handle);
    assert!(matches!(started, Err(StartError::Threads(_))));
    assert_eq!(Arc::strong_count(&dir), 1, "the shard that was started has ended");
}

#[test]
fn files_leave_room_for_clients() {
    assert_eq!(client_count_max(0, 2, 0), 2, "one for each shard, whatever the limit");
    assert_eq!(client_count_max(64 + 2 * 64 + 400, 2, 0), 300);
    assert_eq!(client_count_max(u64::MAX, 1, 0), u32::MAX - u32::MAX / 4);
    let (folder, start) = founded();
    let dir = start.dir.shard_dir(ShardIndex(1)).unwrap();
    for name in ["0000000001.segment", "0000000002.segment", "0000000001.snapshot"] {
        std::fs::write(dir.join(name), b"").unwrap();
    }
    assert_eq!([plan::segment_count(&dir), plan::segment_count(folder.path())], [2, 0]);
    assert_eq!(client_count_max(64 + 2 * 64 + 2 * 2 + 400, 2, 2), 300);
    assert_eq!([0, 400, 1 << 20].map(plan::stranger_count_max), [1, 25, 1024]);
}

/// Shards whose queues have room for one message, and that is taken.
fn with_full_queues(shards: u16) -> Vec<MeshEndpoint> {
    let limits = MeshLimits { control_count: 1, ..MeshLimits::for_shards(shards) };
    let doorbells = vec![LateDoorbell::default(); shards.into()];
    let endpoints: Vec<MeshEndpoint> = mesh(doorbells, limits);
    let controls = endpoints[0].controls();
    for shard in (0..shards).map(ShardIndex) {
        assert!(controls.control(shard, Control::Repair { round: 0, partition: None }).is_ok());
    }
    endpoints
}

#[test]
fn a_shard_with_a_full_queue_is_told_to_stop_once_there_is_room() {
    let mut endpoints = with_full_queues(2);
    let controls = endpoints[0].controls();
    std::thread::scope(|scope| {
        scope.spawn(|| stop_all(&controls, Duration::from_secs(60)));
        for endpoint in endpoints.iter_mut().rev() {
            assert!(matches!(
                endpoint.next_control(),
                Some(Control::Repair { round: 0, partition: None })
            ));
        }
    });
    for endpoint in &mut endpoints {
        assert!(matches!(endpoint.next_control(), Some(Control::Stop)));
    }
}

#[test]
fn a_shard_that_is_stuck_keeps_no_other_from_stopping() {
    let mut endpoints = with_full_queues(2);
    assert!(endpoints[1].next_control().is_some());
    stop_all(&endpoints[0].controls(), Duration::ZERO);
    assert!(matches!(endpoints[1].next_control(), Some(Control::Stop)));
    assert!(
        matches!(endpoints[0].next_control(), Some(Control::Repair { round: 0, partition: None })),
        "still stuck"
    );
}

/// Where the disk has no room for a log, the mark stays, and the next start may find none.
#[test]
fn a_directory_is_new_until_every_shard_has_a_log() {
    let (_folder, start) = founded();
    let dir = Arc::clone(&start.dir);
    let (metrics, _recorders) = Metrics::new(2);
    let none = SocketAddr::from(([127, 0, 0, 1], 1));
    let plan = Plan::new(start, (none, none), metrics).unwrap();
    for shard in [0, 1].map(ShardIndex) {
        plan.end_founding().unwrap();
        assert!(dir.is_new().unwrap());
        plan.open_log(shard).unwrap();
    }
    plan.end_founding().unwrap();
    assert!(!dir.is_new().unwrap());
    let path = dir.shard_dir(ShardIndex(1)).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    plan.open_log(ShardIndex(0)).unwrap();
    let error = plan.open_log(ShardIndex(1)).map(drop).unwrap_err().to_string();
    assert!(error.ends_with("shard-001/*.segment is missing"), "{error}");
}
