//! A cluster that is upgraded while it serves: nodes of two builds, which differ by one version of
//! the protocol. An older one runs the same code, but says and is told that it is older, as a
//! shipped node does: frames of ops that it does not know must never be sent to it.

use ringmain_core::wire::frame::Frame;
use ringmain_core::wire::{VERSION, VERSION_MIN};

use super::super::host::LIFE_COUNT_SPARED;
use super::super::mark::Mark;
use super::super::network::{Parcel, Site};
use super::super::oracle::{Invariant, Violation};
use super::{World, note};

/// In so many upgrades, per mille, somebody puts a node back to the older build.
const BACK_PER_MILLE: u32 = 150;

impl World<'_> {
    /// The version on which two nodes that connect now agree.
    pub(super) fn common_version(&self, a: usize, b: usize) -> u8 {
        self.hosts[a].version.min(self.hosts[b].version)
    }

    /// A node is killed and started as another build: mostly an older one as the newer.
    pub(super) fn change_build(&mut self) -> Result<(), Violation> {
        let is_back = self.random.chance(BACK_PER_MILLE);
        let (from, to) = if is_back { (VERSION, VERSION_MIN) } else { (VERSION_MIN, VERSION) };
        let is_meant = |node: &usize| {
            let host = &self.hosts[*node];
            host.version == from && host.is_running() && host.lives_left() > LIFE_COUNT_SPARED
        };
        let meant: Vec<usize> = (0..self.hosts.len()).filter(is_meant).collect();
        if meant.is_empty() {
            return Ok(());
        }
        let node = *self.random.pick(&meant);
        self.marks.hit(if is_back { Mark::Downgraded } else { Mark::Upgraded });
        note!(self, "n{node} is to be started as a build of version {to}");
        self.hosts[node].version = to;
        self.crash(node)
    }

    /// S24: what is acted upon says the version of its connection.
    pub(super) fn check_version(
        &self,
        parcel: &Parcel,
        frame: &Frame<'_>,
    ) -> Result<(), Violation> {
        let Parcel { from, to, .. } = *parcel;
        let version = self.link_clocks.version(from.node, to.node);
        if frame.speaks(version) {
            return Ok(());
        }
        let (op, said) = (frame.op(), frame.version());
        let detail = format!("{to:?} gets {op:?} of {from:?} that says {said}, not {version}");
        Err(Violation::new(Invariant::OneVersion, detail))
    }

    /// Notes whether a survey waits since somebody is not upgraded.
    pub(super) fn note_waiting_surveys(&mut self, site: Site) {
        let Some(process) = &self.hosts[site.node].process else { return };
        let machine = &process.shards[site.shard].machine;
        if machine.older_count() > 0 && machine.survey_pass().too_old.is_some() {
            self.marks.hit(Mark::SurveyWaited);
        }
    }
}
