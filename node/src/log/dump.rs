//! `ringmain log dump`: one line for each current record.

use std::io::{self, BufWriter, ErrorKind, Write};

use ringmain_core::id::Partition;
use ringmain_core::records::Place;
use serde_json::json;

use super::{Findings, Shard, Stopped};
use crate::args::DumpArgs;
use crate::failure::Failure;
use crate::operation::bytes_json;

/// Prints all that can be read; fails if something cannot. A reader that has enough ends it.
pub(super) fn run(args: &DumpArgs) -> Result<(), Failure> {
    let stopped = Stopped::open(&args.dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut tell = |_: &str| Ok(());
    let mut findings = Findings::new(&mut tell);
    stopped.check_files(&mut findings)?;
    for index in stopped.shards() {
        let Some(shard) = stopped.shard(index, &mut findings)? else { continue };
        for (partition, place) in shard.places(&stopped.log_identity(index)) {
            let Some(line) = Line::read(&shard, partition, place) else {
                findings.add(shard.damaged(place))?;
                continue;
            };
            let text = if args.json { line.json() } else { line.text() };
            if let Err(error) = writeln!(out, "{text}") {
                return unwritten(&error);
            }
        }
    }
    match out.flush() {
        Ok(()) => findings.end(),
        Err(error) => unwritten(&error),
    }
}

fn unwritten(error: &io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => {
            let what = format!("cannot write to stdout: {error}");
            Err(Failure::failed(what, "check where it leads"))
        }
    }
}

/// What is said of a record.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    shard: u16,
    partition: Partition,
    place: Place,
    bytes: usize,
    values: usize,
    tombstones: usize,
    key: &'a [u8],
}

impl<'a> Line<'a> {
    /// `None` if the record is damaged.
    fn read(shard: &'a Shard, partition: Partition, place: Place) -> Option<Line<'a>> {
        let (key, stored) = shard.log.check(place).ok()?;
        let bytes = shard.log.frame(place)?.len();
        let siblings = stored.record.siblings();
        let tombstones = siblings.filter(|sibling| sibling.is_tombstone()).count();
        let values = stored.record.sibling_count() - tombstones;
        Some(Line { shard: shard.index.0, partition, place, bytes, values, tombstones, key })
    }

    fn text(&self) -> String {
        let Line { shard, partition, place, bytes, values, tombstones, key } = self;
        let (partition, segment, offset) = (partition.0, place.segment(), place.offset());
        let key = key.escape_ascii();
        format!("{shard} {partition} {segment}:{offset} {bytes} {values}/{tombstones} {key}")
    }

    fn json(&self) -> String {
        json!({
            "shard": self.shard,
            "partition": self.partition.0,
            "segment": self.place.segment(),
            "offset": self.place.offset(),
            "bytes": self.bytes,
            "values": self.values,
            "tombstones": self.tombstones,
            "key": bytes_json(self.key),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_without_loss() {
        let (partition, place) = (Partition(7), Place::new(3, 4096));
        let line =
            |key| Line { shard: 1, partition, place, bytes: 97, values: 2, tombstones: 1, key };
        assert_eq!(line(b"cart").text(), "1 7 3:4096 97 2/1 cart");
        assert_eq!(line(b"a\\\n\xff").text(), "1 7 3:4096 97 2/1 a\\\\\\n\\xff");
        let expected = json!({
            "shard": 1, "partition": 7, "segment": 3, "offset": 4096, "bytes": 97,
            "values": 2, "tombstones": 1, "key": {"base64url": "_w"},
        });
        assert_eq!(line(b"\xff").json(), expected.to_string());
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert_eq!(unwritten(&ErrorKind::BrokenPipe.into()), Ok(()));
        assert!(unwritten(&ErrorKind::StorageFull.into()).is_err());
    }
}
