//! What a shard's thread allocates while it serves: nothing for a request, once it is warm. What
//! is written goes to segments of a log, and each of those costs a few for its file and its map.
//!
//! An allocator that counts stands in for the system's, and looks at one thread alone: the whole
//! of it, not only the turns of its driver.

#![expect(clippy::unwrap_used, reason = "all of this binary is a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use ringmain_core::id::{Boot, ClusterId, NodeId, RequestId};
use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};
use ringmain_runtime::client::{Client, Codec};
use ringmain_runtime::data_dir::{DataDir, Identity};
use ringmain_runtime::settings::{Durability, Secret, Settings};
use ringmain_runtime::start::{self, NodeStart, Running};
use rustix::thread::gettid;

/// Requests of each kind, behind a warm-up of a tenth of them; with `RINGMAIN_SOAK=1`, and else.
const REQUEST_COUNTS: [usize; 2] = [1_000_000, 100_000];
/// Requests that a connection has under way.
const DEPTH: usize = 16;
const KEY_COUNT: usize = 1000;
/// What a segment may cost: it is made, mapped, merged into another one and removed.
const PER_SEGMENT_MAX: u64 = 50;
/// What may be allocated meanwhile for other reasons: sweeps and timers.
const BACKGROUND_MAX: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(60);
const VALUE: [u8; 100] = [b'v'; 100];

/// The thread that is looked at; 0 = none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
/// What it has allocated while it was.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The thread's own id; 0 until it has allocated once.
    static ID: Cell<i32> = const { Cell::new(0) };
}

struct Counting;

/// This thread has allocated once.
fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    if watched == 0 {
        return;
    }
    let id = ID.get();
    let id = if id != 0 { id } else { gettid().as_raw_nonzero().get() };
    ID.set(id);
    if id == watched {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's does it all; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A cluster of one node with one shard, in this process.
fn node(folder: &tempfile::TempDir) -> Running {
    let durability = Durability::None;
    let settings = Settings { resp_port: 0, port: 0, durability, ..Settings::default() };
    let identity = Identity {
        cluster: ClusterId(1),
        node: NodeId(7),
        uuid: 7,
        shards: 1,
        partition_bits: 6,
        n: 3,
        r: 2,
        w: 2,
        name: "oak".into(),
    };
    let secret = Secret::new(&[7; 32]).unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let boot = dir.next_boot(Boot(0)).unwrap();
    start::found(&dir, &settings, &identity, &secret).unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], 1));
    let dir = Arc::new(dir);
    start::start(NodeStart { settings, dir, identity, secret, boot, cpus: None, admin }).unwrap()
}

/// The id of the thread of shard 0.
fn shard_thread() -> i32 {
    let mut tasks = fs::read_dir("/proc/self/task").unwrap();
    let task = tasks.find_map(|task| {
        let path = task.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        (name.trim() == "shard-0").then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
    });
    task.expect("a thread of that name").parse().unwrap()
}

fn key(number: usize) -> String {
    format!("key-{:06}", number % KEY_COUNT)
}

/// What a client says over its connection, and what it hears.
trait Speech {
    fn ask(&mut self, out: &mut Vec<u8>, number: usize);
    /// Bytes of the first answer, if it is there.
    fn answer(&self, bytes: &[u8]) -> Option<usize>;
    fn stream(&mut self) -> &mut TcpStream;

    /// Asks so many times, [`DEPTH`] at once.
    fn ask_all(&mut self, count: usize) {
        let (mut out, mut heard) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(DEPTH) {
            out.clear();
            (first..first + DEPTH).for_each(|number| self.ask(&mut out, number));
            self.stream().write_all(&out).unwrap();
            let mut answered = 0;
            while answered < DEPTH {
                while let Some(bytes) = self.answer(&heard) {
                    heard.drain(..bytes);
                    answered += 1;
                }
                let begin = heard.len();
                if answered < DEPTH {
                    heard.resize(begin + 4096, 0);
                    let read = self.stream().read(&mut heard[begin..]).unwrap();
                    assert_ne!(read, 0, "the node has closed the connection");
                    heard.truncate(begin + read);
                }
            }
        }
    }

    /// What the shard's thread allocates for so many requests, once it is warm.
    fn count(&mut self, requests: usize) -> u64 {
        self.ask_all(requests / 10);
        COUNT.store(0, Ordering::SeqCst);
        WATCHED.store(shard_thread(), Ordering::SeqCst);
        self.ask_all(requests);
        WATCHED.store(0, Ordering::SeqCst);
        COUNT.load(Ordering::SeqCst)
    }
}

/// SET or GET as a Redis client says it.
struct Resp {
    stream: TcpStream,
    writes: bool,
}

impl Speech for Resp {
    fn ask(&mut self, out: &mut Vec<u8>, number: usize) {
        let key = key(number);
        let words: &[&[u8]] =
            if self.writes { &[b"SET", key.as_bytes(), &VALUE] } else { &[b"GET", key.as_bytes()] };
        write!(out, "*{}\r\n", words.len()).unwrap();
        for word in words {
            write!(out, "${}\r\n", word.len()).unwrap();
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn answer(&self, bytes: &[u8]) -> Option<usize> {
        let head: &[u8] = if self.writes { b"+OK\r\n" } else { b"$100\r\n" };
        let length = head.len() + if self.writes { 0 } else { VALUE.len() + 2 };
        let answer = bytes.get(..length)?;
        assert!(answer.starts_with(head), "{}", String::from_utf8_lossy(answer));
        Some(length)
    }

    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// PUT or GET as a native client says it.
struct Native {
    stream: TcpStream,
    codec: Codec,
    writes: bool,
}

impl Speech for Native {
    fn ask(&mut self, out: &mut Vec<u8>, number: usize) {
        let (key, request) = (key(number), RequestId(1 + number as u32));
        if self.writes {
            let put = PutRequest {
                w: 0,
                pw: 0,
                dw: 0,
                forwarded: false,
                want_context: false,
                timestamp: UnixMs(0),
                replaces: Replaces::Local,
                content: Content::Value { expires: None, value: &VALUE },
            };
            self.codec.put(out, request, key.as_bytes(), &put);
        } else {
            let get =
                GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] };
            self.codec.get(out, request, key.as_bytes(), &get);
        }
    }

    fn answer(&self, bytes: &[u8]) -> Option<usize> {
        let answer = self.codec.answer(bytes).unwrap()?;
        let reply = answer.reply.expect("nothing else is asked").unwrap();
        assert_eq!(reply.siblings().count(), usize::from(!self.writes));
        Some(answer.bytes)
    }

    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

/// The number of the newest segment of shard 0.
fn newest_segment(folder: &tempfile::TempDir) -> u64 {
    let files = fs::read_dir(folder.path().join("shard-000")).unwrap();
    let segment = |path: PathBuf| {
        let is_segment = path.extension().is_some_and(|extension| extension == "segment");
        is_segment.then(|| path.file_stem().unwrap().to_str().unwrap().parse().unwrap())
    };
    files.filter_map(|file| segment(file.unwrap().path())).max().unwrap()
}

/// One test alone: the counter is that of the process.
#[test]
fn a_shard_allocates_nothing_for_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let running = node(&folder);
    let requests = REQUEST_COUNTS[usize::from(std::env::var_os("RINGMAIN_SOAK").is_none())];
    for writes in [true, false] {
        for is_native in [false, true] {
            let before = newest_segment(&folder);
            let allocated = if is_native {
                let client = Client::connect(running.native, None, PATIENCE).unwrap();
                let (stream, codec) = client.into_parts();
                Native { stream, codec, writes }.count(requests)
            } else {
                Resp { stream: TcpStream::connect(running.resp).unwrap(), writes }.count(requests)
            };
            let segments = newest_segment(&folder) - before;
            println!("native {is_native}, writes {writes}: {allocated}, {segments} segments");
            assert!(segments == 0 || writes, "only writes begin segments");
            assert!(segments <= requests as u64 / 10_000, "a segment is for many requests");
            assert!(allocated <= BACKGROUND_MAX + PER_SEGMENT_MAX * segments, "{allocated}");
        }
    }
    running.handle().stop();
    running.wait().unwrap();
}
