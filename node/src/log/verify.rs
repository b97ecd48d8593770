//! `ringmain log verify`: every current record's checksum.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use ringmain_core::id::ShardIndex;
use ringmain_core::records::Place;

use super::{Findings, Shard, Stopped};
use crate::args::VerifyArgs;
use crate::failure::Failure;
use crate::output::print_line;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Prints what is found, and a table; fails if anything is damaged.
pub(super) fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let stopped = Stopped::open(&args.dir)?;
    let mut rows = Vec::new();
    let mut tell = |what: &str| print_line(what);
    let mut findings = Findings::new(&mut tell);
    stopped.check_files(&mut findings)?;
    for index in stopped.shards() {
        let before = findings.count;
        let mut row = match stopped.shard(index, &mut findings)? {
            Some(shard) => check(&stopped, &shard, &mut findings)?,
            None => Row::default(),
        };
        row.damaged = findings.count - before;
        rows.push((index, row));
    }
    print_line(&table(&rows).to_string())?;
    findings.end()
}

/// What the table says of a shard.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    segments: u64,
    file_bytes: u64,
    live_bytes: u64,
    keys: u64,
    tombstones: u64,
    damaged: u64,
}

impl Row {
    fn cells(&self, shard: String) -> [String; 7] {
        let Row { segments, file_bytes, live_bytes, keys, tombstones, damaged } = *self;
        let counts = [segments, file_bytes, live_bytes, keys, tombstones, damaged];
        let [segments, file_bytes, live_bytes, keys, tombstones, damaged] =
            counts.map(|count| count.to_string());
        [shard, segments, file_bytes, live_bytes, keys, tombstones, damaged]
    }
}

fn table(rows: &[(ShardIndex, Row)]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let names = ["shard", "segments", "file bytes", "live bytes", "keys", "tombstones", "damaged"];
    table.set_header(names);
    for (shard, row) in rows {
        table.add_row(row.cells(shard.0.to_string()));
    }
    table
}

/// Reads every current record, in the order of the log, so that a disk reads ahead.
fn check(stopped: &Stopped, shard: &Shard, findings: &mut Findings<'_>) -> Result<Row, Failure> {
    let number = shard.index.0;
    for segment in &shard.scanned {
        print_line(&format!("shard {number}: segment {segment} has no good snapshot: scanned"))?;
    }
    if let Some(cut) = shard.cut {
        let (segment, offset) = (cut.place.segment(), cut.place.offset());
        let what = format!("torn tail cut off at offset {offset} of segment {segment}");
        print_line(&format!("shard {number}: {what}: a crash leaves one"))?;
    }
    let identity = stopped.log_identity(shard.index);
    let mut places: Vec<Place> = shard.places(&identity).map(|(_, place)| place).collect();
    let keys = places.len() as u64;
    for (target, ..) in shard.log.hint_targets() {
        places.extend(shard.log.hints_of(target));
    }
    places.sort_unstable();
    let mut progress = Progress::begin(number, stopped.identity.shards, places.len());
    let mut tombstones = 0;
    for (place, done) in places.iter().zip(1..) {
        match shard.log.check(*place) {
            Ok((_, stored)) => {
                let is_deleted = stored.record.siblings().all(|sibling| sibling.is_tombstone());
                tombstones += u64::from(is_deleted);
            }
            Err(_) => {
                progress.clear();
                findings.add(shard.damaged(*place))?;
            }
        }
        progress.at(done);
    }
    progress.clear();
    Ok(Row {
        segments: shard.segment_count as u64,
        file_bytes: shard.file_bytes,
        live_bytes: shard.log.live_bytes(),
        keys,
        tombstones,
        damaged: 0,
    })
}

/// Tells stderr how far it is: on a terminal in one line that is written over.
struct Progress {
    shard: u16,
    shards: u16,
    total: usize,
    told: Instant,
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    fn begin(shard: u16, shards: u16, total: usize) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        Progress { shard, shards, total, told: Instant::now(), is_terminal, is_shown: false }
    }

    fn at(&mut self, done: usize) {
        if done.is_multiple_of(LOOK_RECORDS) && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let line = progress_line((self.shard, self.shards), (done, self.total));
            self.write(&if self.is_terminal { format!("\r{line}") } else { format!("{line}\n") });
            self.is_shown = self.is_terminal;
        }
    }

    /// Makes room for another line.
    fn clear(&mut self) {
        if self.is_shown {
            self.is_shown = false;
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Progress that nobody takes is no failure.
        let _lost = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn progress_line((shard, shards): (u16, u16), (done, total): (usize, usize)) -> String {
    format!("shard {shard} of 0 to {}: {done} of {total} records", shards - 1)
}

/// The clock is looked at after so many records: large ones take that long.
const LOOK_RECORDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_each_name() {
        let (segments, file_bytes, live_bytes) = (1, 2, 3);
        let row = Row { segments, file_bytes, live_bytes, keys: 4, tombstones: 5, damaged: 6 };
        let table = table(&[(ShardIndex(0), row)]).to_string();
        let words: Vec<_> = table.lines().map(|line| line.split_whitespace().count()).collect();
        // Two of the names are two words.
        assert_eq!(words, [9, 7], "{table}");
        let last = table.lines().last().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(last, Some(vec!["0", "1", "2", "3", "4", "5", "6"]));
    }

    #[test]
    fn progress_names_the_shard() {
        assert_eq!(progress_line((1, 3), (64, 100)), "shard 1 of 0 to 2: 64 of 100 records");
    }
}
