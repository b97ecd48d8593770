//! What of a disk's written records is in memory: by the seed, a share of them that changes with
//! time, and besides what was fetched lately. Nothing changes within a turn.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmain_core::prng::Prng;
use ringmain_core::records::Place;
use ringmain_core::time::Instant;

use super::random::Random;
use super::swarm::Swarm;

/// See the module. By default nothing is ever cold.
#[derive(Clone, Debug, Default)]
pub(super) struct Cold {
    /// Records, per mille, that are not in memory.
    share: u32,
    /// How long a record usually stays cold or warm.
    stay: Duration,
    seed: u64,
    now: Instant,
    /// Until when what was fetched stays in memory.
    fetched: BTreeMap<Place, Instant>,
    /// The judge looks: to it nothing is cold.
    is_judged: bool,
}

impl Cold {
    /// As the mix of a run says.
    pub(super) fn new(swarm: &Swarm, random: &mut Random) -> Cold {
        let (share, stay) = (swarm.disk.cold, swarm.disk.stay);
        Cold { share, stay, seed: random.bits(), ..Cold::default() }
    }

    /// A turn begins.
    pub(super) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// The record at `place` was read into memory.
    pub(super) fn on_fetched(&mut self, place: Place) {
        self.fetched.insert(place, self.now + self.stay);
    }

    /// The judge begins to look, or is done.
    pub(super) fn set_judged(&mut self, is_judged: bool) {
        self.is_judged = is_judged;
    }

    /// There is memory for all from now on.
    pub(super) fn warm(&mut self) {
        self.share = 0;
    }

    /// Whether a read of the record at `place` has to wait.
    pub(super) fn contains(&self, place: Place) -> bool {
        let is_warm = self.share == 0 || self.is_judged;
        if is_warm || self.fetched.get(&place).is_some_and(|until| self.now < *until) {
            return false;
        }
        let stay = self.stay.as_micros() as u64;
        let mut place_bits = Prng::new(self.seed ^ place.0);
        let period = (self.now.0 + place_bits.below(stay)) / stay;
        Prng::new(place_bits.next_u64() ^ period).below(1000) < u64::from(self.share)
    }
}
