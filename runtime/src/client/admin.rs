//! What a client asks about the cluster, and has done to it.

use ringmain_core::id::Partition;
use ringmain_core::wire::admin::{Commit, Repair, Scrub, Stage};
use ringmain_core::wire::message::Message;
use ringmain_core::wire::op::Op;
use ringmain_core::wire::payload::Payload;
use ringmain_core::wire::reply::Status;

use super::{Client, ClientError, message, told};

impl Client {
    /// The cluster's status as this node sees it: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn status(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::Status, &[], &[].as_slice())
    }

    /// Owners and fallbacks of the partition of `key`, or of all: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn ring(&mut self, key: Option<&[u8]>) -> Result<String, ClientError> {
        self.ask_admin(Op::Ring, key.unwrap_or_default(), &[].as_slice())
    }

    /// Has the node check all that it stores, and then give up what is lost if `accepts_loss`.
    ///
    /// # Errors
    /// Any. `Busy`: a sweep is under way that does not give up what this one would.
    pub fn scrub(&mut self, accepts_loss: bool) -> Result<(), ClientError> {
        self.ask_admin(Op::Scrub, &[], &Scrub { accepts_loss }).map(drop)
    }

    /// How far the latest such sweep is, and what it has found: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn scrub_status(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::ScrubStatus, &[], &[].as_slice())
    }

    /// What the node keeps for others: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn hints(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::Hints, &[], &[].as_slice())
    }

    /// When the node's copies were last found equal to those of owners above it, and in how many
    /// keys they differed: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn exchanges(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::Exchanges, &[], &[].as_slice())
    }

    /// Has the node compare its copies of `partition`, or all, with those of owners above it now.
    ///
    /// # Errors
    /// Any. `Busy`: some have begun; try again.
    pub fn repair(&mut self, partition: Option<Partition>) -> Result<(), ClientError> {
        self.ask_admin(Op::Repair, &[], &Repair { partition }).map(drop)
    }

    /// How far that is: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn repair_status(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::RepairStatus, &[], &[].as_slice())
    }

    /// Has the node see now what may leave for good.
    ///
    /// # Errors
    /// Any. `Busy`: some have begun; try again.
    pub fn reap(&mut self) -> Result<(), ClientError> {
        self.ask_admin(Op::Reap, &[], &[].as_slice()).map(drop)
    }

    /// How far that is: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn reap_status(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::ReapStatus, &[], &[].as_slice())
    }

    /// Puts down a change of the membership, to be committed: what, JSON.
    ///
    /// # Errors
    /// Any. [`ClientError::Told`]: it cannot be.
    ///
    /// # Panics
    /// If a word is longer than `limits::NAME_BYTES_MAX`, or does not go with the verb.
    pub fn stage(&mut self, stage: &Stage<'_>) -> Result<String, ClientError> {
        self.ask_admin(Op::Stage, &[], stage)
    }

    /// What a commit of all that is staged would do: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn plan(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::Plan, &[], &[].as_slice())
    }

    /// Commits all that is staged, if `commit` names the plan: JSON.
    ///
    /// # Errors
    /// Any. [`ClientError::Told`]: nothing was committed.
    pub fn commit(&mut self, commit: Commit) -> Result<String, ClientError> {
        self.ask_admin(Op::Commit, &[], &commit)
    }

    /// Drops all that is staged.
    ///
    /// # Errors
    /// Any.
    pub fn clear(&mut self) -> Result<(), ClientError> {
        self.ask_admin(Op::Clear, &[], &[].as_slice()).map(drop)
    }

    /// How far the node has caught up with what it gains, and whom the cluster waits for: JSON.
    ///
    /// # Errors
    /// Any.
    pub fn transfers(&mut self) -> Result<String, ClientError> {
        self.ask_admin(Op::Transfers, &[], &[].as_slice())
    }

    fn ask_admin(
        &mut self,
        op: Op,
        key: &[u8],
        payload: &impl Payload,
    ) -> Result<String, ClientError> {
        let frame = self.ask(op, key, payload)?;
        let Message::AdminReply(reply) = message(&frame)? else {
            return Err(ClientError::Malformed);
        };
        match reply.status {
            Status::Ok => Ok(reply.text.into()),
            status => {
                let failed = ClientError::Failed { status, needed: 0, got: 0 };
                Err(told(reply.text).unwrap_or(failed))
            }
        }
    }
}
