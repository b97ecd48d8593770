//! Damaged files: never a wrong value.

use std::collections::BTreeMap;

use ringmain_core::checksum::Checksum;

use super::*;

type Files = BTreeMap<u32, Vec<u8>>;

/// A log of a few segments: records synced one by one, then a tail that no header vouches for.
fn small_log() -> (Vec<Entry>, Files) {
    let names = with_hints(names(4));
    let mut world = World::ready(config(Durability::Always));
    for n in 0..24 {
        world.append(&names[n % names.len()], &vec![n as u8; 20 + n * 23]).unwrap();
        if n % 5 == 4 {
            assert_eq!(world.erase(&names[(n - 3) % names.len()]), Ok(true));
        }
        if n % 2 == 0 {
            world.settle();
        }
    }
    world.settle();
    assert!(world.log.end().segment() >= 3);
    (world.history.clone(), std::mem::take(world.log.maps_mut()).into_files())
}

fn views(files: &Files) -> Vec<File<'_>> {
    let pairs = files.iter().map(|(&segment, bytes)| (segment, &bytes[..], bytes.len()));
    pairs
        .map(|(segment, bytes, zeros_from)| File { segment, bytes, zeros_from, snapshot: None })
        .collect()
}

/// Recovers and compares with the history: a prefix of it, or damage that is told. Returns how
/// many entries are left, or the first damage. Where there is damage, a key is served only if no
/// later record of it may be lost.
fn outcome(history: &[Entry], files: &Files) -> Result<usize, OpenError> {
    let recovered = recover(&identity(), &views(files), Place(0))?;
    let end = recovered.end();
    let kept = history.partition_point(|entry| entry.place < end);
    let latest: BTreeMap<_, _> =
        history[..kept].iter().map(|entry| (&entry.name[..], entry)).collect();
    let damage = recovered.damage.first().copied();
    let log = Log::new(config(Durability::Always), Disk::from_files(files), recovered, FREE);
    let is_own =
        |(name, entry): &(&&[u8], &&Entry)| !key(name).is_hint() && !entry.record.is_empty();
    let own_count = latest.iter().filter(is_own).count();
    assert!(damage.is_some() || log.key_count() == own_count);
    for (name, entry) in latest {
        let found = match log.record(&key(name)) {
            Err(Unread::Damaged) if damage.is_some() => continue,
            found => found.unwrap(),
        };
        assert_eq!(found.is_none(), entry.record.is_empty());
        let Some(found) = found else { continue };
        assert_eq!((found.place, found.mine), (entry.place, entry.mine));
        assert_eq!(found.record.bytes(), entry.record);
    }
    match damage {
        None => Ok(kept),
        Some(Damage { segment, offset, .. }) => {
            assert_eq!(log.record(&key(b"unknown-1")).unwrap_err(), Unread::Damaged);
            Err(OpenError::Damaged { segment, offset })
        }
    }
}

/// Entries before the place that the newest batch header vouches for.
fn vouched(history: &[Entry], files: &Files) -> usize {
    let synced = recover(&identity(), &views(files), Place(0)).unwrap().synced();
    history.partition_point(|entry| entry.place < synced)
}

#[test]
fn every_flipped_byte_is_harmless_a_torn_tail_or_an_error() {
    let (history, files) = small_log();
    assert_eq!(outcome(&history, &files), Ok(history.len()));
    let vouched = vouched(&history, &files);
    assert!(vouched > 10 && vouched < history.len());
    let (mut same, mut shorter, mut damaged) = (0, 0, 0);
    for (&segment, bytes) in &files {
        for at in 0..bytes.len() {
            // Zeros far behind the end are all alike.
            if at % 97 != 0 && bytes[at.saturating_sub(64)..].iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut files = files.clone();
            files.get_mut(&segment).unwrap()[at] ^= 1 << (at % 8);
            match outcome(&history, &files) {
                Ok(kept) if kept == history.len() => same += 1,
                Ok(kept) => {
                    assert!(kept >= vouched, "segment {segment} byte {at}: {kept} left");
                    shorter += 1;
                }
                Err(OpenError::Damaged { segment: named, offset }) => {
                    assert_eq!(named, segment, "byte {at}");
                    assert!(offset as usize <= at, "byte {at} blamed on {offset}");
                    damaged += 1;
                }
                Err(error) => panic!("segment {segment} byte {at}: {error}"),
            }
        }
    }
    println!("{same} the same, {shorter} shorter, {damaged} damaged");
    assert!(same > 100 && shorter > 100 && damaged > 1000);
}

#[test]
fn every_truncation_is_an_error() {
    let (history, files) = small_log();
    for (&segment, bytes) in &files {
        for len in 0..bytes.len() {
            let mut files = files.clone();
            files.get_mut(&segment).unwrap().truncate(len);
            let error = outcome(&history, &files).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { segment: named, .. } if named == segment));
        }
    }
}

/// As a file system does that lost the length of a file, or handed out zeros: zeros to the end.
#[test]
fn zeros_from_every_byte_on_are_a_torn_tail_or_an_error() {
    let (history, files) = small_log();
    let vouched = vouched(&history, &files);
    for (&segment, bytes) in &files {
        for from in 0..bytes.len() {
            if from % 97 != 0 && bytes[from..].iter().all(|&byte| byte == 0) {
                continue;
            }
            let mut files = files.clone();
            files.get_mut(&segment).unwrap()[from..].fill(0);
            match outcome(&history, &files) {
                // Without headers behind them, a file's last records are not vouched for.
                Ok(kept) => {
                    assert!(kept >= vouched || kept == history.len() || is_last(&files, segment))
                }
                Err(OpenError::Damaged { segment: named, .. }) => assert_eq!(named, segment),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The same of a log that was stopped: what lies before that was on disk, whatever the log says.
#[test]
fn zeros_from_every_byte_on_of_a_stopped_log_are_told() {
    let names = names(5);
    let mut world = World::ready(config(Durability::Always));
    for n in 0..24 {
        world.append(&names[n % 5], &vec![n as u8; 20 + n * 23]).unwrap();
        world.settle();
    }
    assert_eq!(world.log.stopped_at(), None);
    world.log.stop();
    world.settle();
    let stopped = world.log.stopped_at().unwrap();
    let history = world.history.clone();
    let last = history.last().unwrap().place;
    let files = std::mem::take(world.log.maps_mut()).into_files();
    assert!(last < stopped && stopped.segment() >= 3);
    let (mut same, mut damaged, mut refused) = (0, 0, 0);
    for (&segment, bytes) in files.range(..=stopped.segment()) {
        for from in (0..bytes.len()).filter(|from| bytes[*from] != 0) {
            let mut files = files.clone();
            files.get_mut(&segment).unwrap()[from..].fill(0);
            let Ok(recovered) = recover(&identity(), &views(&files), stopped) else {
                refused += 1;
                continue;
            };
            let lost = history.iter().filter(|Entry { place, name, record, .. }| {
                let start = place.offset() as usize;
                let body = body_bytes(name.len(), record.len());
                let range = start..start + record::padded_bytes(body);
                place.segment() == segment && files[&segment][range.clone()] != bytes[range]
            });
            let lost: Vec<_> = lost.map(|entry| entry.place).collect();
            let Some(Damage { segment: named, offset, end }) = recovered.damage.first().copied()
            else {
                assert_eq!(lost.len(), 0, "segment {segment} from {from}");
                same += 1;
                continue;
            };
            damaged += 1;
            assert_eq!((named, recovered.damage.len()), (segment, 1));
            assert!(offset as usize <= from, "segment {segment} from {from}");
            assert!(lost.iter().all(|place| (offset..end).contains(&place.offset())));
            assert!(Place::new(segment, end) <= stopped.max(Place::new(segment + 1, 0)));
        }
    }
    println!("{same} the same, {damaged} damaged, {refused} refused");
    assert!(same > 10 && damaged > 1000 && refused > 100);
}

/// The last segment, or all behind its header, is gone, and nothing of the log says so.
#[test]
fn a_stopped_log_without_its_last_segment_is_refused() {
    let mut world = World::ready(config(Durability::Always));
    for name in names(30) {
        world.append(&name, &[1; 300]).unwrap();
        world.settle();
    }
    world.log.stop();
    world.settle();
    let stopped = world.log.stopped_at().unwrap();
    let segment = stopped.segment();
    let mut files = std::mem::take(world.log.maps_mut()).into_files();
    files.retain(|id, _| *id <= segment);
    assert!(segment > 1 && recover(&identity(), &views(&files), stopped).is_ok());
    files.get_mut(&segment).unwrap()[SEGMENT_HEADER_BYTES..].fill(0);
    assert!(recover(&identity(), &views(&files), Place(0)).is_ok(), "the control");
    let offset = SEGMENT_HEADER_BYTES as u32;
    let error = recover(&identity(), &views(&files), stopped).unwrap_err();
    assert_eq!(error, OpenError::Damaged { segment, offset });
    files.remove(&segment);
    let error = recover(&identity(), &views(&files), stopped).unwrap_err();
    assert_eq!(error, OpenError::Ended { segment });
    assert!(error.to_string().contains(&format!("log segment {segment} is missing")));
    let error = recover(&identity(), &[], stopped).unwrap_err();
    assert_eq!(error, OpenError::Ended { segment });
}

fn is_last(files: &Files, segment: u32) -> bool {
    files.range(segment + 1..).all(|(_, bytes)| bytes[64..].iter().all(|&byte| byte == 0))
}

#[test]
fn a_missing_segment_is_named() {
    let (_, files) = small_log();
    let used: Vec<u32> =
        files.iter().filter(|(_, bytes)| bytes[64] != 0).map(|(&segment, _)| segment).collect();
    assert!(used.len() >= 3);
    for &segment in &used[..used.len() - 1] {
        let mut files = files.clone();
        files.remove(&segment);
        let by = *used.last().unwrap();
        let error = recover(&identity(), &views(&files), Place(0)).unwrap_err();
        assert_eq!(error, OpenError::Missing { segment, by });
    }
}

#[test]
fn segments_of_others_are_refused() {
    let (_, files) = small_log();
    let segment = 1;
    let mine = identity();
    for other in [
        Identity { cluster: ClusterId(78), ..mine },
        Identity { shard: ShardIndex(0), ..mine },
        Identity { shards: 3, ..mine },
        Identity { partition_bits: BITS + 1, ..mine },
    ] {
        let error = recover(&other, &views(&files), Place(0)).unwrap_err();
        assert_eq!(error, OpenError::Foreign { segment });
    }
    for found in [1, FORMAT_VERSION + 1] {
        let mut other = files.clone();
        set_version(other.get_mut(&segment).unwrap(), found);
        let error = recover(&mine, &views(&other), Place(0)).unwrap_err();
        assert_eq!(error, OpenError::Version { segment, found });
        let text = error.to_string();
        assert!(text.contains(&format!("version {found}")) && text.contains("not 2..=3"), "{text}");
    }
}

fn set_version(file: &mut [u8], version: u32) {
    let header = &mut file[..SEGMENT_HEADER_BYTES];
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = Hardware::crc32c(0, &header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
}

/// What the build before this one wrote is read; it goes on in segments of its own.
#[test]
fn a_log_of_the_version_before_goes_on_in_the_current_one() {
    let mut world = World::ready(config(Durability::Always));
    for (n, name) in names(20).iter().enumerate() {
        world.append(name, &vec![n as u8; 300]).unwrap();
        world.settle();
    }
    let mut files = std::mem::take(world.log.maps_mut()).into_files();
    files.values_mut().for_each(|file| set_version(file, FORMAT_VERSION - 1));
    let old: Vec<u32> = files.keys().copied().collect();
    *world.log.maps_mut() = Disk::from_files(&files);
    world.reopen();
    world.settle();
    assert_eq!(world.erase(&names(1)[0]), Ok(true));
    world.settle();
    let files = std::mem::take(world.log.maps_mut());
    let version = |file: &File<'_>| u32::from(file.bytes[8]);
    for file in files.files() {
        let is_old = old.contains(&file.segment);
        assert_eq!(version(&file), FORMAT_VERSION - u32::from(is_old), "{}", file.segment);
    }
    *world.log.maps_mut() = files;
    world.reopen();
    assert_eq!(world.expected().len(), 19);
}

/// A client writes what looks like a batch header into a value, and the record is torn: the
/// header vouches for nothing, since it lacks the segment's nonce.
#[test]
fn a_batch_header_inside_a_value_vouches_for_nothing() {
    let name = &names(1)[0];
    let store = |nonce: Option<u64>| {
        let mut world = World::ready(config(Durability::Always));
        let place = world.append(name, &[0; 1024]).unwrap();
        let inside = place.offset() as usize + 512;
        world.settle();
        let mut files = std::mem::take(world.log.maps_mut()).into_files();
        let file = files.get_mut(&place.segment()).unwrap();
        let nonce = nonce.unwrap_or(record::u64_at(file, 24));
        let synced = Place(u64::MAX);
        let at = Place::new(place.segment(), inside as u32);
        let out = &mut file[inside..inside + record::BATCH_HEADER_BYTES];
        record::write_batch_header(at, (synced, nonce), (false, false), &[], out);
        (place, recover(&identity(), &views(&files), Place(0)))
    };
    let (place, recovered) = store(Some(0));
    assert_eq!(recovered.unwrap().cut, Some(Cut { place }));
    // The control: with the nonce, which no client knows, it would.
    let (_, recovered) = store(None);
    let damage = recovered.unwrap().damage;
    assert_eq!((damage[0].segment, damage[0].offset), (place.segment(), place.offset()));
}

/// A client writes what looks like a record into a value, and a byte of the value rots: what the
/// value holds was taken for a record. Only the place part tells, and it holds.
#[test]
fn a_record_inside_a_damaged_value_is_none() {
    let names = names(3);
    let mut world = World::ready(config(Durability::Always));
    let outer = world.append(&names[0], &[0; 1024]).unwrap();
    world.settle();
    let later = world.append(&names[1], b"later").unwrap();
    world.settle();
    // Each batch's header vouches for the one before it.
    world.append(&names[1], b"latest").unwrap();
    world.settle();
    let mut files = std::mem::take(world.log.maps_mut()).into_files();
    let file = files.get_mut(&outer.segment()).unwrap();
    let inside = (outer.offset() as usize + 512).next_multiple_of(limits::RECORD_ALIGN);
    let record = record_of(77, b"forged");
    let mut body = vec![0; body_bytes(names[2].len(), record.len())];
    let checksum = write_body::<Hardware>(&names[2], &mut body, |out| out.copy_from_slice(&record));
    let (part, rest) = file[inside..].split_at_mut(PLACE_BYTES);
    let at = Place::new(outer.segment(), inside as u32);
    record::stamp_record(part, at, body.len(), (None, false, NodeId(0)), checksum);
    rest[..body.len()].copy_from_slice(&body);
    let recovered = recover(&identity(), &views(&files), Place(0)).unwrap();
    let (segment, offset) = (outer.segment(), outer.offset());
    let damage = recovered.damage.clone();
    assert_eq!(damage.len(), 1);
    assert_eq!((damage[0].segment, damage[0].offset), (segment, offset));
    assert!(offset + 1024 < damage[0].end && damage[0].end <= later.offset());
    let log = Log::new(config(Durability::Always), Disk::from_files(&files), recovered, FREE);
    assert_eq!(log.record(&key(&names[2])).unwrap_err(), Unread::Damaged);
    assert!(log.record(&key(&names[1])).unwrap().is_some());
    // The control: without the place part nobody knows where the next one begins.
    files.get_mut(&segment).unwrap()[offset as usize + 4] ^= 1;
    let recovered = recover(&identity(), &views(&files), Place(0)).unwrap();
    assert_eq!(recovered.damage[0].end, at.offset());
}

/// Nothing of a segment without a name is lost yet, and to accept the loss loses nothing.
#[test]
fn what_a_removed_segment_holds_is_saved() {
    let mut world = World::ready(config(Durability::Always));
    for name in names(40) {
        world.append(&name, &[1; 300]).unwrap();
        world.settle();
    }
    world.work();
    let segment = world.history[0].place.segment();
    assert!(world.log.end().segment() > segment);
    for accepts_loss in [false, true] {
        assert!(!world.log.note_removed(segment), "no sweep is at it");
        world.log.begin_sweep(accepts_loss);
        assert!(!world.log.note_removed(segment), "nor yet");
        while !world.log.note_removed(segment) {
            world.log.step();
        }
        world.work();
        let report = world.log.sweep_report().clone();
        let end = SEGMENT_HEADER_BYTES as u32;
        assert_eq!(report.damage, [Damage { segment, offset: 0, end }]);
        assert_eq!((report.keys_lost, report.is_accepted), (0, accepts_loss));
    }
    assert!(!world.log.maps_mut().files().iter().any(|file| file.segment == segment));
    world.reopen();
}

/// Two rounds of a cut, and then the torn bytes turn up after all: they stay out.
#[test]
fn what_appears_behind_a_cut_stays_out() {
    let names = names(4);
    let mut world = World::ready(config(Durability::None));
    world.append(&names[0], b"kept").unwrap();
    world.log.sync_wanted();
    world.settle();
    let torn = world.append(&names[1], b"torn").unwrap();
    world.append(&names[2], b"torn too").unwrap();
    world.settle();
    let whole = std::mem::take(world.log.maps_mut()).into_files();
    let mut files = whole.clone();
    files.get_mut(&torn.segment()).unwrap()[torn.offset() as usize..].fill(0);
    for _ in 0..2 {
        *world.log.maps_mut() = Disk::from_files(&files);
        world.reopen();
        assert_eq!(world.history.len(), 1);
        world.settle();
        files = std::mem::take(world.log.maps_mut()).into_files();
        files.insert(torn.segment(), whole[&torn.segment()].clone());
    }
    *world.log.maps_mut() = Disk::from_files(&files);
    world.append(&names[3], b"new").unwrap();
    world.settle();
    world.reopen();
    let kept: Vec<_> = world.history.iter().map(|entry| &entry.name).collect();
    assert_eq!(kept, [&names[0], &names[3]]);
}

/// After a restart that found damage, an old record was merged to a place behind the damage, and
/// passed for current: it may have been replaced by what was lost.
#[test]
fn what_may_have_been_replaced_is_not_moved() {
    let names = names(3);
    let mut world = World::ready(config(Durability::Always));
    let fill = |world: &mut World, segments: u32| {
        let end = world.log.end().segment() + segments;
        while world.log.end().segment() < end {
            let _full = world.append(&names[1], &[2; 300]);
            world.settle();
        }
    };
    let old = world.append(&names[0], b"old").unwrap();
    fill(&mut world, 2);
    let new = world.append(&names[0], b"new").unwrap();
    world.settle();
    fill(&mut world, 1);
    let mut files = std::mem::take(world.log.maps_mut()).into_files();
    files.get_mut(&new.segment()).unwrap()[new.offset() as usize + PLACE_BYTES + 20] ^= 1;
    for _ in 0..2 {
        let recovered = recover(&identity(), &views(&files), Place(0)).unwrap();
        assert_eq!(recovered.damage.len(), 1);
        world.log = Log::new(world.config, Disk::from_files(&files), recovered, FREE);
        world.config.seed += 1;
        world.synced = Place(0);
        world.settle();
        fill(&mut world, 1);
        world.work();
        assert_eq!(world.log.record(&key(&names[0])).unwrap_err(), Unread::Damaged);
        let found = world.log.record(&key(&names[1])).unwrap().unwrap();
        assert_eq!(found.record.bytes(), world.expected()[&names[1]].record);
        files = std::mem::take(world.log.maps_mut()).into_files();
        assert!(files.contains_key(&old.segment()), "what is left of the key stays");
    }
}

/// A record that was checked, left memory and came back from the disk was not checked again.
#[test]
fn what_comes_from_the_disk_again_is_checked_again() {
    let name = &names(1)[0];
    let mut world = World::ready(config(Durability::Always));
    let place = world.append(name, &[7; 500]).unwrap();
    world.settle();
    assert!(world.log.record(&key(name)).unwrap().is_some());
    world.log.maps_mut().is_cold = true;
    assert_eq!(world.log.record(&key(name)).unwrap_err(), Unread::Cold);
    // Two ask for it; the first has it, and checks it, before the second.
    world.log.fetch(&key(name));
    let wanted = world.log.take_wanted()[0];
    assert_eq!(wanted.place, place);
    world.log.maps_mut().is_cold = false;
    world.log.on_fetched(wanted.key, place);
    assert!(world.log.record(&key(name)).unwrap().is_some());
    world.log.maps_mut().flip(place.segment(), place.offset() + 400);
    world.log.on_fetched(wanted.key, place);
    assert_eq!(world.log.record(&key(name)).unwrap_err(), Unread::Damaged);
}
