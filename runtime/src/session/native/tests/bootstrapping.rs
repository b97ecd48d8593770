//! A newcomer's first call, over real sockets.

use super::*;

const LONG: Duration = Duration::from_secs(600);

/// An acceptor on a socket: joins with its last step, once the newcomer has hung up.
fn listen(end: End) -> (SocketAddr, JoinHandle<Step>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut acceptor = Acceptor::<Software>::new([2; 16], true);
        let mut piece = [0; 7];
        loop {
            let mut out = Vec::new();
            let count = stream.read(&mut piece).unwrap();
            let step = acceptor.receive(&end.local(), &piece[..count], &mut out).step;
            stream.write_all(&out).unwrap();
            if count == 0 || step != Step::Wait {
                return step;
            }
        }
    });
    (address, thread)
}

fn seed() -> End {
    End { shard: 0, ..End::member(2) }
}

fn newcomer(secret: Option<&Secret>) -> Newcomer<'_> {
    Newcomer { node: NodeId(1), shards: 3, secret }
}

#[test]
fn a_newcomer_learns_the_cluster_and_its_secret_and_hangs_up() {
    for known in [None, Some(secret(1))] {
        let (address, acceptor) = listen(seed());
        let learned = bootstrap(address, &newcomer(known.as_ref()), LONG).unwrap();
        assert_eq!((learned.cluster, learned.secret), (cluster(7), secret(1)));
        assert_eq!(learned.seed, NodeId(2));
        assert_eq!(acceptor.join().unwrap(), Step::Wait, "it never was a peer");
    }
}

#[test]
fn a_newcomer_that_may_not_enter_is_told_why() {
    let (address, acceptor) = listen(seed());
    let error = bootstrap(address, &newcomer(Some(&secret(9))), LONG).unwrap_err();
    assert!(matches!(error, BootstrapError::Refused(DialError::OtherSecret)));
    assert!(!error.is_temporary());
    acceptor.join().unwrap();

    let (address, acceptor) = listen(End { secret: None, ..seed() });
    let error = bootstrap(address, &newcomer(None), LONG).unwrap_err();
    assert!(matches!(error, BootstrapError::Refused(DialError::NoSecret)));
    acceptor.join().unwrap();

    let (address, acceptor) = listen(End::newcomer(2));
    let error = bootstrap(address, &newcomer(None), LONG).unwrap_err();
    assert!(matches!(error, BootstrapError::Refused(DialError::Refused(Reason::NoCluster))));
    assert!(error.is_temporary());
    acceptor.join().unwrap();
}

#[test]
fn silence_and_nobody_are_temporary() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let error = bootstrap(address, &newcomer(None), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, BootstrapError::TimedOut | BootstrapError::Unreachable(_)));
    assert!(error.is_temporary());

    let nobody = SocketAddr::from(([127, 93, 9, 1], 1));
    let error = bootstrap(nobody, &newcomer(None), LONG).unwrap_err();
    assert!(matches!(error, BootstrapError::Unreachable(_)) && error.is_temporary());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hangs_up = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = bootstrap(address, &newcomer(None), LONG).unwrap_err();
    assert!(matches!(error, BootstrapError::Lost(_)) && error.is_temporary());
    hangs_up.join().unwrap();
}
