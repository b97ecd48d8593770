use super::*;
use ringmain_core::causality::{Change, Context, Record, Write};
use ringmain_core::id::{Boot, ClusterId, NodeId};
use ringmain_core::records::{Author, event};
use ringmain_core::time::UnixMs;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const BITS: u8 = 6;
/// One key of so many is also kept for another node.
const HINT_EVERY: usize = 10;
/// By whom it is kept for (0: nobody) and key: the record, and the actor of ours.
type Model = BTreeMap<(NodeId, Vec<u8>), (Vec<u8>, Option<u16>)>;

fn identity(shards: u16) -> Identity {
    Identity {
        cluster: ClusterId(42),
        node: NodeId(7),
        uuid: 7,
        shards,
        partition_bits: BITS,
        n: 3,
        r: 2,
        w: 2,
        name: "oak".into(),
    }
}

fn key(name: &[u8]) -> Key<'_> {
    Key::new(name, identity(1).cluster.hash_seed(), BITS.into())
}

/// A directory of that many shards, which hold `count` keys: written once or more often, deleted,
/// with siblings, received from others, some also kept for another node; and what they hold.
fn filled(shards: u16, count: usize) -> (TempDir, DataDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    let identity = identity(shards);
    for shard in (0..shards).map(ShardIndex) {
        let mut new = New::open(&dir, &identity, shard).unwrap();
        for n in 0..count {
            let name = format!("key-{n}");
            let key = key(name.as_bytes());
            if ShardIndex::of(key.partition, shards, BITS.into()) == shard {
                fill(&mut new, &key, n);
            }
        }
        new.finish().unwrap();
        dir.rename_new(shard).unwrap();
    }
    dir.write_identity(&identity).unwrap();
    let model = held(&dir);
    let partitions = |is_hint: bool| -> Vec<Partition> {
        let keys = model.keys().filter(|(target, _)| (*target != NodeId(0)) == is_hint);
        keys.map(|(_, name)| key(name).partition).collect()
    };
    assert_eq!(partitions(false).len(), count);
    assert_eq!(partitions(true).len(), count.div_ceil(HINT_EVERY));
    let partitions: BTreeSet<_> = partitions(false).into_iter().collect();
    assert_eq!(partitions.len(), 1 << BITS, "every bound of any layout has keys on both sides");
    (folder, dir, model)
}

fn fill(new: &mut New, key: &Key<'_>, n: usize) {
    // Three of four hundred take most of a segment.
    let value = vec![n as u8; if n % 400 > 396 { 3 << 20 } else { n }];
    if n.is_multiple_of(HINT_EVERY) {
        let target = NodeId(8 + n as u32 % 3);
        let change = Change::Value { expires: None, value: b"kept" };
        let write = Write { context: Context::Local, timestamp: UnixMs(5), change };
        let author = Author { node: NodeId(7), boot: Boot(1), birth: 2, now: UnixMs(5) };
        event(&mut new.log, &key.kept_for(target), author, &write).unwrap();
    }
    let mut write = |context, tombstone| {
        let change = match tombstone {
            true => Change::Tombstone,
            false => Change::Value { expires: None, value: &value },
        };
        let write = Write { context, timestamp: UnixMs(5), change };
        let author = Author { node: NodeId(7), boot: Boot(1), birth: 1, now: UnixMs(5) };
        event(&mut new.log, key, author, &write).unwrap();
        new.write_out().unwrap();
    };
    write(Context::Local, false);
    match n % 5 {
        0 => write(Context::Local, true),
        1 => write(Context::Given(Record::empty().version_vector()), false),
        2 => write(Context::Local, false),
        3 => {
            let place = new.log.record(key).unwrap().unwrap().place;
            let bytes = new.log.body(place).unwrap().bytes().to_vec();
            let body = ringmain_core::wire::body::Body::without_checksum(&bytes).unwrap();
            new.log.append_received(key, body).unwrap();
            new.write_out().unwrap();
        }
        _ => {}
    }
}

/// All that the directory's shards hold; each key once, at the shard that its partition names.
fn held(dir: &DataDir) -> Model {
    let identity = dir.identity().unwrap().unwrap();
    let mut model = Model::new();
    for shard in (0..identity.shards).map(ShardIndex) {
        let old = Old::open(dir, &identity, shard).unwrap();
        let (first, count) = log_identity(&identity, shard).partitions();
        for partition in (first.0..).take(count).map(Partition) {
            for (_, place) in old.log.keys_from(partition, 0) {
                let (name, stored) = old.log.record_at(place).unwrap();
                let record = (stored.record.bytes().to_vec(), stored.mine);
                assert_eq!(model.insert((NodeId(0), name.to_vec()), record), None);
                assert_eq!(key(name).partition, partition);
            }
        }
        for (target, ..) in old.log.hint_targets().collect::<Vec<_>>() {
            for place in old.log.hints_of(target) {
                let (name, stored) = old.log.record_at(place).unwrap();
                let record = (stored.record.bytes().to_vec(), stored.mine);
                assert_eq!(model.insert((target, name.to_vec()), record), None);
                assert!((first.0..).take(count).any(|one| one == key(name).partition.0));
            }
        }
    }
    model
}

/// That it is whole, and nothing is left of another layout.
fn check(dir: &DataDir, shards: u16, model: &Model) {
    assert_eq!(dir.identity().unwrap(), Some(identity(shards)));
    assert!(!dir.is_exchanging().unwrap());
    assert!(held(dir) == *model);
    let wanted: Vec<_> = (0..shards).map(|n| format!("shard-{n:03}")).collect();
    assert_eq!(folders(dir.path()), wanted);
}

fn folders(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<_> = folders.map(|it| it.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Lets `count` pauses pass, then ends the start as a crash would.
fn crash_after(mut count: usize) -> impl FnMut() -> Result<(), StartError> {
    move || {
        let left = count.checked_sub(1).ok_or(StartError::Members)?;
        count = left;
        Ok(())
    }
}

#[test]
fn records_stay_as_they_are() {
    let (_folder, dir, model) = filled(1, 400);
    assert!(model.values().any(|(_, mine)| mine.is_none()), "received from others");
    assert!(model.values().any(|(_, mine)| mine.is_some()));
    for shards in [2, 1, 1, 3, 4, 1, 64, 7] {
        assert_eq!(reshard(&dir, shards).unwrap(), identity(shards));
        check(&dir, shards, &model);
    }
    let (_folder, dir, model) = filled(2, 300);
    reshard(&dir, 3).unwrap();
    check(&dir, 3, &model);
}

#[test]
fn empty_logs_are_laid_out_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = DataDir::open(folder.path()).unwrap();
    dir.make_shard_dirs(3).unwrap();
    dir.write_new_identity(&identity(3)).unwrap();
    reshard(&dir, 2).unwrap();
    check(&dir, 2, &Model::new());
}

/// Ends a start at each of its pauses; then another start, to `next` shards.
fn crash_everywhere(from: u16, to: u16, next: u16) {
    let mut marked = 0;
    for step in 0.. {
        let (_folder, dir, model) = filled(from, 250);
        if run(&dir, to, &mut crash_after(step)).is_ok() {
            assert!(step >= 8 && marked >= 3, "{step} steps, {marked} of them marked");
            return;
        }
        marked += usize::from(dir.is_exchanging().unwrap());
        reshard(&dir, next).unwrap();
        check(&dir, next, &model);
    }
}

#[test]
fn a_crash_at_any_step_loses_and_doubles_nothing() {
    // At once, as they mostly wait for the disk.
    std::thread::scope(|scope| {
        for (from, to) in [(1, 2), (2, 3), (3, 1)] {
            for next in [to, 4] {
                scope.spawn(move || crash_everywhere(from, to, next));
            }
        }
    });
}

#[test]
fn a_crash_while_folders_go_or_after_another_crash_is_healed() {
    let (_folder, dir, model) = filled(2, 250);
    let mut step = 0;
    while !dir.is_exchanging().unwrap() {
        assert!(run(&dir, 3, &mut crash_after(step)).is_err());
        step += 1;
    }
    // The removal of the first folder got half way.
    let path = dir.shard_dir(ShardIndex(0)).unwrap();
    let file = fs::read_dir(path).unwrap().next().unwrap().unwrap();
    fs::remove_file(file.path()).unwrap();
    for step in 0..3 {
        assert!(run(&dir, 3, &mut crash_after(step)).is_err());
        assert!(dir.is_exchanging().unwrap());
    }
    reshard(&dir, 3).unwrap();
    check(&dir, 3, &model);
}

#[test]
fn what_a_crash_left_is_removed_by_a_start_with_the_old_count() {
    let (_folder, dir, model) = filled(2, 250);
    assert!(run(&dir, 4, &mut crash_after(5)).is_err());
    assert!(folders(dir.path()).len() > 2);
    reshard(&dir, 2).unwrap();
    check(&dir, 2, &model);
}

#[test]
fn a_damaged_log_is_refused_before_anything_is_written() {
    let (_folder, dir, model) = filled(2, 250);
    let path = dir.shard_dir(ShardIndex(1)).unwrap().join("0000000001.segment");
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    let key = whole.windows(4).position(|bytes| bytes == b"key-").unwrap();
    damaged[key] ^= 1;
    fs::write(&path, damaged).unwrap();
    let error = reshard(&dir, 3).unwrap_err();
    assert!(matches!(error, StartError::Unsound { shard: 1, .. }), "{error}");
    assert_eq!(folders(dir.path()), ["shard-000", "shard-001"]);
    fs::write(&path, whole).unwrap();
    check(&dir, 2, &model);
}

#[test]
fn a_failed_copy_gives_its_space_back_and_a_failed_exchange_keeps_all() {
    let (_folder, dir, model) = filled(2, 250);
    let (mut step, mut kept) = (0, 0);
    while run(&dir, 3, &mut crash_after(step)).is_err() {
        let built = folders(dir.path());
        give_back(&dir);
        if dir.is_exchanging().unwrap() {
            assert_eq!(folders(dir.path()), built);
            // From now on each start goes on with the exchange alone, whose steps are fewer.
            step = if kept == 0 { 0 } else { step + 1 };
            kept += 1;
        } else {
            check(&dir, 2, &model);
            step += 1;
        }
    }
    assert!(kept > 2);
    check(&dir, 3, &model);
}

#[test]
fn room_is_looked_for_first() {
    let (_folder, dir, model) = filled(2, 250);
    let identity = identity(2);
    let olds: VecDeque<_> =
        [0, 1].map(|shard| Old::open(&dir, &identity, ShardIndex(shard)).unwrap()).into();
    let files: u64 = olds.iter().map(|old| old.file_bytes).sum();
    let segments = 3 * u64::from(SEGMENT_BYTES_MIN);
    assert!(check_space(files + segments, &olds, 3).is_ok());
    let live: u64 = olds.iter().map(|old| old.log.live_bytes()).sum();
    let least: usize = model.iter().map(|((_, name), (record, _))| name.len() + record.len()).sum();
    assert!((least as u64..least as u64 + 100 * 275).contains(&live), "{least} {live}");
    assert!(live * 2 < files, "old versions and free ends are not counted");
    let Err(StartError::Space(NoSpace { needed, free: 9 })) = check_space(9, &olds, 3) else {
        panic!("9 bytes are not enough")
    };
    assert!((live + segments..live + segments + live / 50).contains(&needed));
    assert!(check_space(needed, &olds, 3).is_ok());
    assert!(check_space(needed - 1, &olds, 3).is_err());
}
