//! Random histories with crashes, in every durability mode: with merging and snapshots, records
//! that are not in memory, and a disk that is full for a while.

use super::*;

/// Histories of each mode in every test run.
const HISTORY_COUNT: u64 = 30;

/// Power cuts of each mode in a long one.
const SOAK_CUT_COUNT: usize = 2000;

/// How often each thing came up, so that the test shows what it did.
#[derive(Debug, Default)]
struct Seen {
    crashes: usize,
    kills: usize,
    cuts: usize,
    lost: usize,
    stops: usize,
    failures: usize,
    merged: u64,
    snapshots: u64,
    refused: usize,
    full: usize,
    cold: usize,
    returned: usize,
    segments: u32,
    erased: usize,
    dropped: u64,
}

impl Seen {
    /// Everything came up, and often enough to mean something.
    fn check(&self) {
        assert!(self.crashes > 100 && self.kills > 50 && self.cuts > 20, "{self:?}");
        assert!(self.lost > 20 && self.stops > 20 && self.failures > 5, "{self:?}");
        assert!(self.refused > 20 && self.segments > 20, "{self:?}");
        assert!(self.full > 20 && self.cold > 20 && self.returned > 0, "{self:?}");
        assert!(self.erased > 300 && self.dropped > 100, "{self:?}");
        assert!(self.merged > 20 && self.snapshots > 20, "{self:?}");
    }
}

struct Run {
    world: World,
    prng: Prng,
    names: Vec<Vec<u8>>,
    seen: Seen,
}

impl Run {
    fn step(&mut self) {
        match self.prng.below(1000) {
            0..300 => self.append(),
            300..330 => self.erase(),
            330..400 => self.work(),
            400..450 => self.read(),
            450..650 => self.world.submit(),
            650..920 => self.complete(),
            920..950 => self.pass_time(),
            950..960 => self.world.log.sync_wanted(),
            960..965 => self.look_for_space(),
            965..967 => self.change_space(),
            967..970 => self.change_memory(),
            970..976 => self.crash(true),
            976..981 => self.crash(false),
            981..984 => self.stop(),
            _ => self.world.settle(),
        }
    }

    fn work(&mut self) {
        let before = self.world.log.background_counts();
        for _ in 0..self.prng.below(20) {
            self.world.log.step();
            self.world.submit();
            if self.prng.chance(50) {
                self.complete();
            }
        }
        let after = self.world.log.background_counts();
        // A crash begins the counts anew.
        self.seen.dropped += after.dropped.saturating_sub(before.dropped);
        self.seen.merged += after.merged.saturating_sub(before.merged);
        self.seen.snapshots += after.snapshots.saturating_sub(before.snapshots);
    }

    fn append(&mut self) {
        let name = self.names[self.prng.below(self.names.len() as u64) as usize].clone();
        let bytes = match self.prng.below(100) {
            0..80 => self.prng.below(300),
            80..99 => self.prng.below(3000),
            _ => self.prng.below(40_000),
        };
        let value = value(&mut self.prng, bytes as usize);
        let result = if self.prng.chance(30) {
            self.world.append_received(&name, &value)
        } else {
            self.world.append(&name, &value)
        };
        self.seen.refused += usize::from(result.is_err());
        self.seen.full += usize::from(result == Err(Full::NoSpace));
    }

    fn erase(&mut self) {
        let name = &self.names[self.prng.below(self.names.len() as u64) as usize];
        let is_erased = self.world.erase(name);
        self.seen.erased += usize::from(is_erased == Ok(true));
    }

    fn read(&mut self) {
        let name = &self.names[self.prng.below(self.names.len() as u64) as usize];
        let wanted = self.world.expected().get(name).cloned().cloned();
        let log = &mut self.world.log;
        if wanted.is_some() && log.is_cold(&key(name)) {
            assert_eq!(log.record(&key(name)).unwrap_err(), Unread::Cold);
            log.fetch(&key(name));
            assert_eq!(log.take_wanted().len(), 1);
            log.maps_mut().is_cold = false;
            self.seen.cold += 1;
        }
        self.world.check_read(name, wanted.as_ref());
    }

    fn look_for_space(&mut self) {
        let free_bytes = self.world.log.maps_mut().free_bytes();
        self.world.log.offer_space(free_bytes);
    }

    /// Others fill the disk, or clear it.
    fn change_space(&mut self) {
        let is_full = self.prng.chance(60);
        let (more, disk) = (self.prng.below(40_000), self.world.log.maps_mut());
        disk.bytes_max = is_full.then(|| disk.file_bytes() + more);
    }

    /// Pages leave memory, or come back.
    fn change_memory(&mut self) {
        let is_cold = self.prng.chance(70);
        self.world.log.maps_mut().is_cold = is_cold;
    }

    fn complete(&mut self) {
        let choice = self.prng.next_u64();
        let fate = match self.prng.below(1000) {
            0..930 => Fate::Whole,
            930..992 => Fate::Short,
            _ => Fate::Error,
        };
        self.world.complete(choice, fate);
        if self.world.log.failure().is_some() {
            self.seen.failures += 1;
            self.fail();
        }
    }

    /// After a failure nothing is taken, and nothing served that a failed sync may have lost or
    /// that was never written.
    fn fail(&mut self) {
        let served = match self.world.log.failure() {
            Some(Failure::Sync(_)) => self.world.log.synced(),
            _ => self.world.log.written(),
        };
        let name = self.names[0].clone();
        assert_eq!(self.world.append(&name, b"x"), Err(Full::ReadOnly));
        assert!(matches!(self.world.log.refusal(), Some(Refusal::Failed(_))));
        assert!(self.world.log.poll_request(self.world.now).is_none());
        for entry in self.world.history.iter().filter(|entry| entry.place >= served) {
            assert_eq!(self.world.log.record_at(entry.place).unwrap_err(), Unread::Damaged);
        }
        let synced = self.world.log.synced();
        while !self.world.log.maps_mut().is_idle() {
            self.world.complete(0, Fate::Whole);
        }
        assert!(self.world.log.synced() <= served.max(synced));
        self.crash(true);
    }

    fn pass_time(&mut self) {
        let world = &mut self.world;
        world.now = world.now + Duration::from_micros(self.prng.below(12_000));
        world.log.handle_timeout(world.now);
    }

    fn crash(&mut self, is_power: bool) {
        let disk = self.world.log.maps_mut();
        disk.is_cold = false;
        let segments = disk.files().len();
        if is_power {
            disk.crash(&mut self.prng)
        } else {
            disk.kill(&mut self.prng)
        }
        self.seen.returned += usize::from(disk.files().len() > segments + 1);
        self.seen.cuts += usize::from(
            recover(&identity(), &self.world.log.maps_mut().files(), Place(0))
                .unwrap()
                .cut
                .is_some(),
        );
        self.seen.lost += self.world.reopen();
        self.seen.segments = self.seen.segments.max(self.world.log.end().segment());
        *(if is_power { &mut self.seen.crashes } else { &mut self.seen.kills }) += 1;
    }

    fn stop(&mut self) {
        self.world.log.stop();
        let name = self.names[0].clone();
        assert_eq!(self.world.append(&name, b"x"), Err(Full::ReadOnly));
        self.world.settle();
        assert!(self.world.log.is_stopped());
        self.world.stopped = self.world.log.stopped_at().unwrap();
        let is_begun = self.world.log.is_ready();
        self.world.log.maps_mut().is_cold = false;
        self.world.log.maps_mut().crash(&mut self.prng);
        let recovered = recover(&identity(), &self.world.log.maps_mut().files(), Place(0)).unwrap();
        // Stopped before it had a segment, the log still ends where the last crash cut it.
        assert!(!is_begun || recovered.is_clean && recovered.cut.is_none());
        assert_eq!(self.world.reopen(), 0, "a clean stop loses nothing");
        self.seen.stops += 1;
    }
}

fn run(durability: Durability, seed: u64, seen: Seen) -> Seen {
    let world = World::new(config(durability));
    let mut run = Run { world, prng: Prng::new(seed), names: with_hints(names(12)), seen };
    for _ in 0..900 {
        run.step();
    }
    run.crash(true);
    run.seen
}

#[test]
fn nothing_claimed_is_lost_and_nothing_is_invented() {
    for durability in MODES {
        let mut seen = Seen::default();
        for seed in 0..HISTORY_COUNT {
            seen = run(durability, seed, seen);
        }
        println!("{durability:?}: {seen:?}");
        seen.check();
    }
}

#[test]
fn thousands_of_power_cuts_in_each_mode() {
    if std::env::var_os("RINGMAIN_SOAK").is_none() {
        return eprintln!("skipped: set RINGMAIN_SOAK=1 to cut the power thousands of times");
    }
    for durability in MODES {
        let mut seen = Seen::default();
        for seed in HISTORY_COUNT.. {
            seen = run(durability, seed, seen);
            if seen.crashes >= SOAK_CUT_COUNT {
                break;
            }
        }
        println!("{durability:?}: {seen:?}");
        seen.check();
    }
}

/// Every subset of the sectors that a batch touched: the log keeps a prefix of it.
#[test]
fn every_subset_of_sectors_of_an_unsynced_batch() {
    let names = names(6);
    let sizes = SegmentSizes { min: 16384, max: 16384, spare: 0 };
    let mut world = World::ready(Config { sizes, ..config(Durability::None) });
    world.append(&names[0], b"synced").unwrap();
    world.log.sync_wanted();
    world.settle();
    let before = Disk::into_files(std::mem::take(world.log.maps_mut()));
    *world.log.maps_mut() = Disk::from_files(&before);
    for (n, name) in names.iter().enumerate() {
        world.append(name, &vec![n as u8; 40 + 300 * n]).unwrap();
    }
    world.settle();
    let after = Disk::into_files(std::mem::take(world.log.maps_mut()));
    let segment = world.log.end().segment();
    let (old, new) = (&before[&segment], &after[&segment]);
    let sectors = old.len() / 512;
    let differ: Vec<_> =
        (0..sectors).filter(|n| old[n * 512..][..512] != new[n * 512..][..512]).collect();
    assert!((8..13).contains(&differ.len()), "{} sectors", differ.len());
    let mut prefixes = std::collections::BTreeSet::new();
    for subset in 0..1u32 << differ.len() {
        let mut files = before.clone();
        let file = files.get_mut(&segment).unwrap();
        for (_, n) in differ.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1) {
            file[n * 512..][..512].copy_from_slice(&new[n * 512..][..512]);
        }
        let mut crashed = World {
            log: Log::new(
                world.config,
                Disk::from_files(&files),
                recover(&identity(), &[], Place(0)).unwrap(),
                FREE,
            ),
            history: world.history.clone(),
            ..World::new(world.config)
        };
        crashed.claimed = 1;
        crashed.reopen();
        prefixes.insert(crashed.history.len());
    }
    assert_eq!(prefixes.into_iter().collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
}

/// A start wrote its roster over that of an earlier one that nothing had followed. Torn, it did not
/// say any more that the log had been begun there, and what was removed since was missed.
#[test]
fn what_was_written_is_never_written_over() {
    let mut world = World::ready(config(Durability::None));
    world.append(&names(1)[0], b"x").unwrap();
    let mut before: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for _ in 0..6 {
        // Before the log has made another segment.
        world.log.stop();
        world.settle();
        for file in world.log.maps_mut().files() {
            let old = before.insert(file.segment, file.bytes.to_vec()).unwrap_or_default();
            let is_kept = |(old, new): (&u8, &u8)| *old == 0 || old == new;
            assert!(old.iter().zip(file.bytes).all(is_kept), "segment {}", file.segment);
        }
        world.reopen();
    }
    assert_eq!(world.history.len(), 1);
}
