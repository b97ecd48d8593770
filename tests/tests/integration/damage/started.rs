//! The same, in a spread of cases, with the binary itself: `log verify` looks at the directory,
//! then `start` serves what is right or ends with exit code 4 and one line, and they agree.

use std::fs;
use std::path::Path;
use std::thread;

use redis::RedisResult;
use ringmain_core::id::Boot;
use ringmain_runtime::data_dir::DataDir;
use ringmain_runtime::settings::{Secret, Settings};
use ringmain_runtime::start::found;
use ringmain_tests::process::{Client, Network, Ringmain, run};
use ringmain_tests::stored::{Stored, forget_lock, identity};
use rustix::process::Signal;

use super::{Target, is_soak};

/// Without `RINGMAIN_SOAK` one case in so many is taken: a number that no kind of file has cases
/// a multiple of.
const STRIDE: usize = 7;
/// Cases that run at the same time.
const THREADS: usize = 4;

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(usize),
    Cut(usize),
    Remove,
}

impl Change {
    /// A few for each file: in its head, what it holds, its end and behind that.
    fn all(target: &Target) -> Vec<Change> {
        let (used, bytes) = (target.used(), target.bytes.len());
        let flips = [0, 9, 20, used / 5, used / 3, used / 2, used * 2 / 3, used - 1, bytes - 1];
        let cuts = [0, used / 2, bytes - 1];
        let flips = flips.into_iter().map(Change::Flip);
        flips.chain(cuts.map(Change::Cut)).chain([Change::Remove]).collect()
    }

    fn apply(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Change::Flip(at) => bytes[at] ^= 0x10,
            Change::Cut(end) => bytes.truncate(end),
            Change::Remove => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What became of a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Refused,
    /// Some reads were refused.
    Partly,
    Whole,
}

/// A node that was spawned in a directory, and where it listens.
fn spawn(dir: &Path) -> (Ringmain, Network) {
    let network = Network::take();
    let listen = network.host(1).to_string();
    let dir = dir.to_str().unwrap();
    (Ringmain::spawn(&["start", "--listen", &listen, "--data-dir", dir]), network)
}

/// The one line that tells of a failure; the others are logs.
fn failure(node: &mut Ringmain) -> String {
    assert_eq!(node.wait().code(), Some(4));
    let line = node.log_with("ringmain: ");
    let log = node.log();
    let told: Vec<_> = log.iter().filter(|line| line.starts_with("ringmain: ")).collect();
    assert_eq!(told.len(), 1, "{log:?}");
    line
}

/// Reads every key; says how many reads were refused.
fn refused_reads(stored: &Stored, node: &Ringmain) -> usize {
    let mut client = Client::connect(node.ready().resp).unwrap();
    let mut refused = 0;
    for (name, held) in &stored.held {
        let name = name.escape_ascii();
        let found: RedisResult<Vec<Vec<u8>>> = client.ask(&format!("RM.GET {name}"));
        let Ok(found) = found else {
            refused += 1;
            continue;
        };
        let mut values = found[1..].to_vec();
        values.sort();
        assert!(values == held.values, "{name}: {} values", values.len());
    }
    refused
}

fn check(stored: &Stored, target: &Target, change: Change) -> End {
    let copy = stored.copy();
    change.apply(&copy.path().join(&target.name));
    let case = format!("{:?} {change:?}", target.name);
    let verified = run(&["log", "verify", copy.path().to_str().unwrap()]);
    let text = String::from_utf8([verified.stdout, verified.stderr].concat()).unwrap();
    let is_sound = verified.status.success();
    assert!(is_sound || verified.status.code() == Some(4), "{case}: {text}");

    let (mut node, _network) = spawn(copy.path());
    if node.try_ready().is_none() {
        let line = failure(&mut node);
        assert!(target.is_named(&line), "{case}: {line}");
        assert!(!is_sound && target.is_named(&text), "{case}: {line}: {text}");
        return End::Refused;
    }
    let refused = refused_reads(stored, &node);
    assert!(refused == 0 || !is_sound, "{case}: {refused} reads: {text}");
    node.signal(Signal::TERM);
    assert_eq!(node.wait().code(), Some(0), "{case}");
    if refused > 0 { End::Partly } else { End::Whole }
}

fn check_all(stored: &Stored, cases: &[(&Target, Change)]) -> Vec<End> {
    cases.iter().map(|(target, change)| check(stored, target, *change)).collect()
}

#[test]
fn a_node_serves_what_is_right_or_refuses() {
    let stored = Stored::new();
    let targets = Target::all(&stored);
    let cases = targets
        .iter()
        .flat_map(|target| Change::all(target).into_iter().map(move |change| (target, change)));
    let stride = if is_soak() { 1 } else { STRIDE };
    let cases: Vec<_> = cases.step_by(stride).collect();
    let stored = &stored;
    let ends: Vec<End> = thread::scope(|scope| {
        let parts = cases.chunks(cases.len().div_ceil(THREADS));
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(move || check_all(stored, part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = |wanted| ends.iter().filter(|end| **end == wanted).count();
    let counts = [End::Refused, End::Partly, End::Whole].map(count);
    println!("of {} starts refused, partly, whole: {counts:?}", ends.len());
    assert!(counts.iter().all(|count| *count > 3), "{counts:?}");
}

/// A crash between founding and the first start leaves shards without a log; later, such a shard
/// has lost it.
#[test]
fn a_shard_folder_may_only_be_empty_before_the_first_start() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    dir.next_boot(Boot(0)).unwrap();
    let secret = Secret::new(&[7; 32]).unwrap();
    found(&dir, &Settings::default(), &identity(), &secret).unwrap();
    drop(dir);
    forget_lock(folder.path());
    let verify = || run(&["log", "verify", folder.path().to_str().unwrap()]);
    assert!(verify().status.success());
    for _ in 0..2 {
        let (mut node, _network) = spawn(folder.path());
        node.await_ready();
        node.signal(Signal::TERM);
        assert_eq!(node.wait().code(), Some(0));
    }
    let shard = folder.path().join("shard-001");
    fs::remove_dir_all(&shard).unwrap();
    fs::create_dir(&shard).unwrap();
    let wanted = "shard-001/*.segment is missing: ";
    let (mut node, _network) = spawn(folder.path());
    assert!(failure(&mut node).contains(wanted));
    let verified = verify();
    assert_eq!(verified.status.code(), Some(4));
    assert!(String::from_utf8(verified.stderr).unwrap().contains(wanted));
}
