//! What few runs have.

use super::*;

impl Swarm {
    /// Draws the faults that few runs have.
    fn draw_rare(&mut self, random: &mut Random, length: Duration) {
        let disk = &mut self.disk;
        if random.chance(250) {
            let call = *random.pick(&FileCall::ALL);
            // The other modes promise nothing once a log has failed.
            let fails_log = matches!(call, FileCall::Write | FileCall::Sync);
            let is_kept = !fails_log || self.durability == Durability::Always;
            let count = random.below(if fails_log || call == FileCall::Create { 30 } else { 4 });
            disk.failing = is_kept.then_some((call, count as u32));
        }
        if random.chance(150) {
            disk.space = Some(length / random.between(2, 15) as u32);
        }
        // Who is lost for good keeps others from joining.
        if random.chance(200) && self.early.is_none() {
            let nodes = self.shards.len();
            for _ in 0..random.between(1, 1.max(nodes.saturating_sub(1) as u64 / 2)) {
                disk.victims |= 1 << random.below(nodes);
            }
            let kind = random.below(3);
            disk.rot = (kind > 0).then(|| length / random.between(1, 8) as u32);
            disk.misdirected = (kind < 2).then(|| random.below(40) as u32);
            // So that what is damaged is noticed and replaced before the run ends.
            if let Some(options) = &mut self.anti_entropy {
                options.interval = options.interval.min(Duration::from_millis(100));
                self.request_timeout = self.request_timeout.min(Duration::from_millis(200));
            }
        }
    }

    /// Draws whether the membership changes, and how often.
    fn draw_changes(&mut self, random: &mut Random, length: Duration) {
        if !random.chance(300) {
            return;
        }
        let nodes = self.shards.len() as u64;
        // Who is lost for good may be all that there is before the cluster grows.
        let spares = if self.disk.victims == 0 { nodes / 2 } else { 0 };
        self.spares = random.between(0, spares) as usize;
        self.faults.change = Some(length / random.between(2, 8) as u32);
    }

    /// Draws whether connections are clogged, and how old frames may be then: much less than in a
    /// node, as most runs do not last for a minute.
    fn draw_clogs(&mut self, random: &mut Random, length: Duration) {
        // Ages are those of streams.
        if self.network.ordered && self.shards.len() > 1 && random.chance(300) {
            self.network.age_max = Duration::from_millis(random.between(100, 1_000));
            self.faults.clog = Some(length / random.between(2, 8) as u32);
        }
    }

    /// Draws what came later from sources of its own: without it a seed is the run that it was.
    pub(super) fn draw_apart(&mut self, random: &Random, length: Duration) {
        self.draw_rare(&mut random.clone().fork(), length);
        self.draw_changes(&mut random.clone().fork().fork().fork(), length);
        self.draw_clogs(&mut random.clone().fork().fork().fork().fork(), length);
        self.draw_starts(random.clone(), length);
    }

    /// Draws with what nodes start that is not what they ended with: another build, an older disk.
    fn draw_starts(&mut self, mut source: Random, length: Duration) {
        let source = source.fork().fork().fork().fork().fork().fork();
        self.draw_upgrades(&mut source.clone(), length);
        self.draw_put_back(&mut source.clone(), length);
    }

    /// Draws which nodes begin as older builds, and how often one is upgraded.
    fn draw_upgrades(&mut self, random: &mut Random, length: Duration) {
        if self.shards.len() > 1 && random.chance(200) {
            self.older = random.bits() as u8 | 1;
            self.faults.upgrade = Some(length / random.between(2, 8) as u32);
        }
    }

    /// Draws whether a disk is put back from older copies, in runs that reap: of a node without
    /// which others have what was acknowledged.
    fn draw_put_back(&mut self, random: &mut Random, length: Duration) {
        let is_safe = self.n > 1 && self.w > 1 && self.shards.len() > 2 && self.disk.victims == 0;
        if random.chance(400) && is_safe && self.early.is_none() && self.reap_grace < NO_REAPING {
            let interval = length / random.between(3, 8) as u32;
            self.put_back = Some(PutBack { node: random.below(self.shards.len()), interval });
        }
    }

    /// Draws how many writes expire: in half of the runs none.
    pub(super) fn draw_expiring(&mut self, random: &mut Random) {
        self.clients.expiring = if random.chance(500) { random.between(1, 500) as u32 } else { 0 };
    }

    /// Draws whether what is deleted leaves, and how soon.
    pub(super) fn draw_reaping(&mut self, random: &mut Random) {
        if random.chance(500) {
            self.reap_grace = Duration::from_millis(random.between(10, 400));
            self.long_entries = 1 + self.reap_grace.as_millis() as usize % 4;
            // Frames must have gone before anything is reaped.
            self.request_timeout = self.request_timeout.min(Duration::from_millis(200));
            let age_max = Duration::from_millis(random.between(100, 500));
            self.network.age_max = self.network.age_max.min(age_max);
            self.clients.slow_down(random.between(20, 60) as u32);
        }
    }
}
