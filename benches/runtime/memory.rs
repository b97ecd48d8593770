//! A log in memory: whatever it asks of the disk is done at once, and what it writes is kept.

use ringmain_core::causality::{Change, Context, Write};
use ringmain_core::hash::Key;
use ringmain_core::id::{Boot, ClusterId, NodeId, ShardIndex};
use ringmain_core::records::{Author, Place, event};
use ringmain_core::time::{Instant, UnixMs};
use ringmain_runtime::log::{
    Completion, Config, Durability, Identity, Log, Maps, Request, SegmentSizes, recover,
};

/// Appends between two writes of the tail: what a turn of a busy shard takes in.
pub(crate) const TURN_COUNT: usize = 64;
/// Keys that are named ahead at once.
pub(crate) const AHEAD_COUNT: usize = 16;
/// What such a log is told of free space, so that its segments grow to full size.
const FREE_BYTES: u64 = 1 << 40;
const IDENTITY: Identity =
    Identity { cluster: ClusterId(42), shard: ShardIndex(0), shards: 1, partition_bits: 10 };
const AUTHOR: Author = Author { node: NodeId(1), boot: Boot(1), birth: 1, now: UnixMs(1) };

/// The segments of a log, from 1 on.
#[derive(Debug, Default)]
pub(crate) struct Segments(Vec<Vec<u8>>);

impl Maps for Segments {
    fn bytes(&self, segment: u32, offset: u32, bytes: usize) -> Option<&[u8]> {
        let segment = self.0.get((segment as usize).checked_sub(1)?)?;
        segment.get(offset as usize..)?.get(..bytes)
    }
}

/// The name of key `number`: 16 bytes.
pub(crate) fn name(number: u64) -> [u8; 16] {
    let text = format!("user:{number:011}");
    *text.as_bytes().first_chunk().expect("numbers have at most 11 digits here")
}

/// A key with its place.
pub(crate) fn key(name: &[u8]) -> Key<'_> {
    Key::new(name, IDENTITY.cluster.hash_seed(), IDENTITY.partition_bits)
}

/// A log that holds `value` for each of `names`, all of it written.
pub(crate) fn log_of(names: &[[u8; 16]], value: &[u8]) -> Log<Segments> {
    let recovered = recover(&IDENTITY, &[], Place(0)).expect("no files, no damage");
    let config = Config {
        identity: IDENTITY,
        durability: Durability::None,
        sizes: SegmentSizes::default(),
        seed: 1,
    };
    let mut log = Log::new(config, Segments::default(), recovered, FREE_BYTES);
    log.take_all_hints();
    settle(&mut log);
    for names in names.chunks(TURN_COUNT) {
        for name in names {
            append(&mut log, &key(name), value);
        }
        settle(&mut log);
    }
    log
}

/// What a `SET` without replication does.
///
/// # Panics
/// If the log refuses, which one that is settled once a turn does not.
pub(crate) fn append(log: &mut Log<Segments>, key: &Key<'_>, value: &[u8]) {
    let write = Write {
        context: Context::Local,
        timestamp: UnixMs(1_700_000_000_000),
        change: Change::Value { expires: None, value },
    };
    event(log, key, AUTHOR, &write).expect("the log was settled");
}

/// Does all that the log asks for.
pub(crate) fn settle(log: &mut Log<Segments>) {
    while let Some(request) = log.poll_request(Instant(0)) {
        let segments = &mut log.maps_mut().0;
        let completion = match request {
            Request::Create { segment, bytes, header, .. } => {
                assert_eq!(segment as usize, segments.len() + 1);
                let mut file = vec![0; bytes as usize];
                file[..header.len()].copy_from_slice(&header);
                segments.push(file);
                Completion::Created { segment, result: Ok(()) }
            }
            Request::Write { segment, offset, buffer, then_sync } => {
                let from = offset as usize;
                let file = &mut segments[segment as usize - 1];
                file[from..from + buffer.len()].copy_from_slice(&buffer);
                let written = Completion::Written { result: Ok(buffer.len()) };
                // The log uses the buffer again if nobody holds it.
                drop(buffer);
                log.handle_completion(written);
                if !then_sync {
                    continue;
                }
                Completion::Synced { result: Ok(()) }
            }
            Request::Sync { .. } => Completion::Synced { result: Ok(()) },
            Request::Remove { segment } => {
                segments[segment as usize - 1] = Vec::new();
                continue;
            }
            Request::Store { .. } => Completion::Stored { result: Ok(()) },
            Request::Discard { .. } => continue,
            Request::Read(read) => {
                let file = &segments[read.segment as usize - 1];
                let bytes = file[read.offset as usize..][..read.bytes as usize].to_vec();
                log.handle_read(read, Ok(bytes));
                continue;
            }
        };
        log.handle_completion(completion);
    }
}
