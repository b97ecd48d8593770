//! What is kept for a request that outlives its turn: its command (which one it is, the length of
//! its key, the key, and the payload as it stands in a frame), and what was gathered for it.

use super::{Bodies, Command};
use crate::causality::{self, Join, Record};
use crate::id::RequestId;
use crate::wire::get::GetRequest;
use crate::wire::payload::Payload;
use crate::wire::put::PutRequest;
use crate::wire::scan::ScanRequest;

/// What precedes a kept key: which command, and the length of the key.
const HEAD_BYTES: usize = 3;

/// Length of `command` on `key` when it is kept.
pub(super) fn kept_bytes(key: &[u8], command: &Command<'_>) -> usize {
    HEAD_BYTES + key.len() + command.bytes()
}

/// Writes `command` on `key` into `out`, which is [`kept_bytes`] long.
pub(super) fn write_kept(key: &[u8], command: &Command<'_>, out: &mut [u8]) {
    out[0] = match command {
        Command::Get(_) => 0,
        Command::Put(_) => 1,
        Command::Scan(_) => 2,
    };
    out[1..HEAD_BYTES].copy_from_slice(&(key.len() as u16).to_le_bytes());
    let (front, payload) = out[HEAD_BYTES..].split_at_mut(key.len());
    front.copy_from_slice(key);
    command.write(payload);
}

/// The key and command that [`write_kept`] wrote.
pub(super) fn read_kept(bytes: &[u8]) -> (&[u8], Command<'_>) {
    let key_bytes = usize::from(u16::from_le_bytes([bytes[1], bytes[2]]));
    let (key, payload) = bytes[HEAD_BYTES..].split_at(key_bytes);
    let command = match bytes[0] {
        0 => GetRequest::new_checked(payload).map(Command::Get),
        1 => PutRequest::new_checked(payload).map(Command::Put),
        _ => ScanRequest::new_checked(payload).map(Command::Scan),
    };
    (key, command.expect("it was written by `write_kept`"))
}

/// The key and command that were kept for `op`.
pub(super) fn kept<B: Bodies>(bodies: &B, op: RequestId) -> Option<(&[u8], Command<'_>)> {
    bodies.kept(op).map(read_kept)
}

/// The record that was gathered for `op`.
pub(super) fn gathered<B: Bodies>(bodies: &B, op: RequestId) -> Option<Record<'_>> {
    let bytes = bodies.gathered(op)?;
    Some(Record::new_checked(bytes).expect("what is gathered was written by a join"))
}

/// Joins `record` into what is gathered for `op`.
pub(super) fn gather<B: Bodies>(bodies: &mut B, op: RequestId, record: Record<'_>) {
    let Some(old) = gathered(bodies, op) else {
        let bytes = record.bytes();
        return bodies.gather(op, bytes.len(), |_, out| out.copy_from_slice(bytes));
    };
    match causality::join(old, record) {
        Join::KeepLeft => {}
        Join::TakeRight => {
            let bytes = record.bytes();
            bodies.gather(op, bytes.len(), |_, out| out.copy_from_slice(bytes));
        }
        Join::Both { bytes } => bodies.gather(op, bytes, |old, out| {
            let old = old.expect("it was gathered before");
            let old = Record::new_checked(old).expect("what is gathered was written by a join");
            causality::write_join(old, record, out);
        }),
    }
}
