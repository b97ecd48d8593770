//! Synced writes of 64 writers: what the log costs above the disk.
//!
//! *Problem.* How many synced writes a machine does is a figure of its disk. *Answer.* The log,
//! driven like the server drives it (one ring, durability `always`: a write and its sync linked,
//! one such pair in flight), then the control: the same number of batches, of the same bytes, each
//! a linked WRITE → FSYNC(DATASYNC) by a bare ring, back to back into a preallocated file of the
//! same file system. The two take short turns, because the speed of a shared disk changes from
//! second to second, and their rates are compared turn by turn. *Invariant.* A writer
//! appends its next record when its last is on disk, not before; so a batch holds what was
//! appended while the one before it was synced.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use ringmain_core::records::Place;
use ringmain_core::time::Instant;
use ringmain_runtime::log::{
    Completion, Config, Durability, Errno, Log, Request, SegmentSizes, recover,
};
use ringmain_runtime::log_files::free_bytes;
use ringmain_runtime::net::{Event, HotRing, HotRingConfig};
use ringmain_runtime::sys::{Ring, Wait};

use crate::draw::{Values, name};
use crate::machine::describe;
use crate::meter::Meter;
use crate::ringmain::{IDENTITY, append, key};
use crate::segments::{Maker, Segments, preallocated};

/// Of a segment and of a file of the control. Both are small and made in turn, so that neither
/// lies on blocks that the disk serves faster: a virtual one may never have had some of them.
const FILE_BYTES: u32 = 16 << 20;
/// Larger than any batch of these writers.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// What is measured, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Value sizes, bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 1024])]
    sizes: Vec<usize>,
    /// Writers, each with one write under way.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Seconds of each turn of ours.
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Turns of both.
    #[arg(long, default_value_t = 41)]
    rounds: usize,
    /// Where the files are made; [default: the folder for temporary files].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Whether this only shows that it works.
    #[arg(skip)]
    is_tiny: bool,
}

impl Options {
    /// Both, in no time.
    pub(crate) fn tiny() -> Options {
        let (sizes, writers, seconds, rounds) = (vec![128], 64, 0.001, 1);
        Options { sizes, writers, seconds, rounds, dir: None, is_tiny: true }
    }
}

/// Measures, and prints a table.
///
/// # Panics
/// If there is no ring, or the disk fails.
pub(crate) fn run(options: &Options) {
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    if !options.is_tiny {
        println!("{}\n", describe(&dir));
        println!(
            "{} writers, {} turns of {} s; medians, and between which four of five turns lie.\n",
            options.writers, options.rounds, options.seconds
        );
        println!("{HEAD}");
    }
    for bytes in &options.sizes {
        let folder = tempfile::Builder::new().prefix("durable-").tempdir_in(&dir);
        let folder = folder.expect("the folder for files can be written to");
        let turns = measure(options, *bytes, folder.path());
        if !options.is_tiny {
            println!("{}", row(*bytes, &turns));
        }
    }
}

const HEAD: &str = "\
| value | batch | writes/s, log | bare loop | ratio | of most turns | CPU µs, log | bare loop |
|---|---|---|---|---|---|---|---|";

/// One turn of both.
struct Turn {
    ours: Meter,
    control: Meter,
    batch_bytes: f64,
}

impl Turn {
    fn ratio(&self) -> f64 {
        self.ours.per_second() / self.control.per_second()
    }
}

fn measure(options: &Options, value_bytes: usize, dir: &Path) -> Vec<Turn> {
    let mut ours = Ours::new(dir, options.writers, value_bytes);
    let mut control = Control::new(dir);
    let seconds = Duration::from_secs_f64(options.seconds);
    // What the control repeats: the batches of our last turn, its own or the one before.
    let (mut batches, mut count) = (Vec::new(), 0);
    let mut turns = Vec::new();
    for number in 0..=options.rounds {
        let mut turn = Turn { ours: Meter::default(), control: Meter::default(), batch_bytes: 0.0 };
        // Who is first changes, so that neither always meets a disk that rested.
        let is_control_first = number % 2 == 1;
        if is_control_first {
            turn.control.measure(count, || control.write(&batches));
        }
        turn.ours.measure(0, || count = ours.write_for(seconds));
        turn.ours.operations = count as u64;
        batches = std::mem::take(&mut ours.batches);
        control.make_room(&batches);
        if !is_control_first {
            turn.control.measure(count, || control.write(&batches));
            control.make_room(&batches);
        }
        turn.batch_bytes = batches.iter().sum::<usize>() as f64 / batches.len() as f64;
        // The first only warms up.
        if number > 0 {
            turns.push(turn);
        }
    }
    turns
}

fn row(value_bytes: usize, turns: &[Turn]) -> String {
    let sorted = |of: fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |of| sorted(of)[turns.len() / 2];
    let ratios = sorted(Turn::ratio);
    let shown = [
        format!("{value_bytes} B"),
        format!("{:.0} B", median(|turn| turn.batch_bytes)),
        format!("{:.0}", median(|turn| turn.ours.per_second())),
        format!("{:.0}", median(|turn| turn.control.per_second())),
        format!("{:.2}", median(Turn::ratio)),
        format!("{:.2}–{:.2}", ratios[turns.len() / 10], ratios[turns.len() * 9 / 10]),
        format!("{:.2}", median(|turn| turn.ours.cpu_us())),
        format!("{:.2}", median(|turn| turn.control.cpu_us())),
    ];
    format!("| {} |", shown.join(" | "))
}

/// The log and its writers, on one thread.
struct Ours {
    ring: HotRing,
    log: Log<Segments>,
    maker: Maker,
    values: Values,
    /// Where the last record of each writer lies, while it is not on disk.
    writers: Vec<Option<Place>>,
    key_count: u64,
    /// Bytes of each write.
    batches: Vec<usize>,
}

impl Ours {
    fn new(dir: &Path, writer_count: usize, value_bytes: usize) -> Ours {
        let ring = HotRing::new(HotRingConfig { buffer_count: 1, ..HotRingConfig::default() });
        let ring = ring.expect("the kernel gives a ring");
        let config = Config {
            identity: IDENTITY,
            durability: Durability::Always,
            sizes: SegmentSizes { min: FILE_BYTES, max: FILE_BYTES, spare: 0 },
            seed: 1,
        };
        let recovered = recover(&IDENTITY, &[], Place(0)).expect("no files, no damage");
        let maker = Maker::new(ring.doorbell());
        let mut ours = Ours {
            ring,
            log: Log::new(config, Segments::new(dir), recovered, free_bytes(dir)),
            maker,
            values: Values::new(value_bytes),
            writers: vec![None; writer_count],
            key_count: 0,
            batches: Vec::new(),
        };
        while !ours.log.is_ready() {
            ours.turn();
        }
        ours.batches.clear();
        ours
    }

    /// Lets the writers write for so long, and waits for the last of them; how many writes.
    fn write_for(&mut self, duration: Duration) -> usize {
        let began = Clock::now();
        let before = self.key_count;
        while began.elapsed() < duration {
            self.append();
            self.turn();
        }
        while self.log.synced() < self.log.end() {
            self.turn();
        }
        (self.key_count - before) as usize
    }

    /// Every writer whose last record is on disk appends another.
    fn append(&mut self) {
        let synced = self.log.synced();
        for writer in &mut self.writers {
            if writer.is_some_and(|place| place >= synced) {
                continue;
            }
            let name = name(self.key_count);
            let place = append(&mut self.log, &key(&name), self.values.next(&name));
            // Without room it tries again next turn.
            *writer = place.ok();
            self.key_count += u64::from(writer.is_some());
        }
    }

    /// What a driver does behind the appends of a turn, and what has ended until the next.
    fn turn(&mut self) {
        while let Some(request) = self.log.poll_request(Instant(1)) {
            self.carry_out(request);
        }
        self.ring.submit_and_wait(None).expect("the kernel keeps the ring");
        while let Some(event) = self.ring.next_event() {
            let completion = match event {
                Event::Written { tag, result } => {
                    let result = result.map(|()| tag as usize).map_err(|errno| Errno(errno.0));
                    Completion::Written { result }
                }
                Event::Synced { result, .. } => {
                    Completion::Synced { result: result.map_err(|errno| Errno(errno.0)) }
                }
                _ => continue,
            };
            self.log.handle_completion(completion);
        }
        self.maker.deliver(&mut self.log);
        assert_eq!(self.log.failure(), None);
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Create { segment, bytes, header, .. } => {
                self.maker.order(self.log.maps_mut(), segment, bytes, header);
            }
            Request::Write { segment, offset, buffer, then_sync } => {
                self.batches.push(buffer.len());
                let tag = buffer.len() as u64;
                let file = self.log.maps_mut().file(segment);
                let bytes = buffer.into_parts();
                let started = self.ring.write(file, offset.into(), bytes, then_sync, tag);
                assert!(started.is_ok(), "one write is open, the ring takes more");
            }
            Request::Sync { segment } => {
                let started = self.ring.sync(self.log.maps_mut().file(segment), 0);
                assert!(started.is_ok(), "one sync is open, the ring takes more");
            }
            other => unreachable!("a log without old keys asks for nothing else: {other:?}"),
        }
    }
}

/// The bare loop.
struct Control {
    ring: Ring<()>,
    dir: PathBuf,
    /// Preallocated; the last is written to.
    files: Vec<Arc<File>>,
    file_count: u32,
    end: u64,
    bytes: Rc<[u8]>,
}

/// The first bytes of what is written over and over.
struct First(Rc<[u8]>, usize);

impl AsRef<[u8]> for First {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

impl Control {
    fn new(dir: &Path) -> Control {
        Control {
            ring: Ring::new(8, 16, 1, 4096).expect("the kernel gives a ring"),
            dir: dir.to_owned(),
            files: Vec::new(),
            file_count: 0,
            end: 0,
            bytes: vec![7; BATCH_BYTES_MAX].into(),
        }
    }

    /// Makes files for such batches.
    fn make_room(&mut self, batches: &[usize]) {
        // What no batch fits into any more is left at the end of each file.
        let room = u64::from(FILE_BYTES) - BATCH_BYTES_MAX as u64;
        let needed = 1 + batches.iter().sum::<usize>() as u64 / room + 1;
        while (self.files.len() as u64) < needed {
            let path = self.dir.join(format!("control-{}", self.file_count));
            let file = preallocated(&path, FILE_BYTES.into());
            file.sync_all().expect("the disk takes it");
            self.files.insert(0, Arc::new(file));
            self.file_count += 1;
        }
    }

    fn write(&mut self, batches: &[usize]) {
        for bytes in batches {
            if self.end + *bytes as u64 > FILE_BYTES.into() {
                self.files.pop();
                self.end = 0;
            }
            let file = self.files.last().expect("there is room for all");
            let first = Rc::new(First(Rc::clone(&self.bytes), *bytes));
            self.ring.write(file, self.end, first, 0, ((), Some(())));
            let mut ended_count = 0;
            while ended_count < 2 {
                self.ring.enter(Wait::Forever).expect("the kernel keeps the ring");
                while let Some(completion) = self.ring.next_completion() {
                    completion.result.expect("the disk takes it");
                    ended_count += 1;
                }
            }
            self.end += *bytes as u64;
        }
    }
}
