//! What waits for the log: this node's own share, and acknowledgments owed to coordinators.

use super::*;
use crate::records::Full;

const ALWAYS: Setup = Setup {
    nodes: 3,
    n: 3,
    r: 2,
    w: 2,
    shard: 0,
    shards: 1,
    slots: 8,
    unsynced: 8,
    sync_before_ack: true,
    keeps_hints: true,
    written: AT_ONCE,
};

/// Without `always`, and with a log that tells when it has written.
const LATER: Setup = Setup { sync_before_ack: false, written: Place(100), ..ALWAYS };

/// A record of node 2 for this replica, up to its join at the next place.
fn joined(rig: &mut Rig, request: u32, sync: bool) -> Vec<Output> {
    let frame = DataFrame { sync, ..frame(TWO, request) };
    let outputs = rig.input(Input::Replicate(frame));
    assert_eq!(outputs, [join(request, sync)]);
    rig.place.0 += 10;
    let result = Ok(Joined { place: rig.place, lost_mine: None, before: 0, after: 0, entries: 1 });
    let link = Link(2);
    rig.input(Input::Joined { link, request, order: KEY.order, sync, result })
}

fn join(request: u32, sync: bool) -> Output {
    Output::Join { link: Link(2), node: TWO, request, order: KEY.order, sync }
}

fn ack(request: u32, durable: bool) -> Output {
    Output::Ack { link: Link(2), request, order: KEY.order, durable }
}

fn reject(request: u32, reason: RejectReason) -> Output {
    Output::Reject { link: Link(2), request, order: KEY.order, reason }
}

fn sync_to(rig: &mut Rig, place: u64) -> Vec<Output> {
    rig.stored_to(AT_ONCE, Place(place))
}

#[test]
fn nothing_counts_before_it_is_synced() {
    let mut rig = Rig::new(ALWAYS);
    let (op, outputs) = rig.put(2, 0, 0);
    assert_eq!(outputs.len(), 2, "exposed before the sync, not counted");
    let place = rig.place.0;
    assert_eq!(sync_to(&mut rig, place), [], "the record at the mark is above it");
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(sync_to(&mut rig, place + 1), [rig.stored(op)]);
    assert_eq!(joined(&mut rig, 5, false), []);
    let place = rig.place.0;
    assert_eq!(sync_to(&mut rig, place), []);
    assert_eq!(sync_to(&mut rig, place + 1), [ack(5, true)]);
}

#[test]
fn without_always_an_acknowledgment_waits_only_if_asked_to() {
    let mut rig = Rig::new(Setup::default());
    assert_eq!(joined(&mut rig, 5, false), [ack(5, false)]);
    assert_eq!(joined(&mut rig, 6, true), [Output::Sync]);
    let place = rig.place.0;
    assert_eq!(sync_to(&mut rig, place + 1), [ack(6, true)]);
}

/// A write that goes through a ring outlives the process only once it has ended.
#[test]
fn without_always_nothing_counts_before_it_is_written() {
    let mut rig = Rig::new(LATER);
    let (op, outputs) = rig.put(2, 0, 0);
    assert_eq!(outputs.len(), 2, "exposed before it is written, not counted");
    let stored = rig.stored(op);
    assert_eq!(joined(&mut rig, 5, false), []);
    assert_eq!(joined(&mut rig, 6, true), [Output::Sync]);
    assert_eq!(joined(&mut rig, 7, false), []);
    let (own, five, six) = (111, 121, 131);
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(rig.stored_to(Place(own - 1), Place(100)), []);
    assert_eq!(rig.stored_to(Place(own), Place(100)), [stored]);
    assert_eq!(rig.stored_to(Place(five), Place(own)), [ack(5, false)]);
    assert_eq!(rig.stored_to(Place(1 << 40), Place(five)), [], "the next waits for its sync");
    assert_eq!(rig.stored_to(Place(1 << 40), Place(six)), [ack(6, true), ack(7, false)]);
}

#[test]
fn a_failed_log_takes_back_what_was_not_written() {
    let mut rig = Rig::new(LATER);
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(joined(&mut rig, 5, false), []);
    let lack = Output::Keep { place: Place(110), key: KEY, target: TWO };
    assert_eq!(rig.reject(TWO, op, RejectReason::Busy), [lack]);
    let failed = rig.failed(op, no_quorum(2, 0));
    assert_eq!(rig.input(Input::LogFailed), [failed, reject(5, RejectReason::ReadOnly)]);
}

/// DW under `interval`: the sync is started for this write, and everywhere.
#[test]
fn dw_syncs_although_the_mode_would_not() {
    let mut rig = Rig::new(Setup::default());
    let (op, outputs) = rig.put(1, 0, 1);
    assert!(outputs.contains(&rig.replicate(op, TWO, true)));
    assert!(outputs.contains(&rig.replicate(op, THREE, true)));
    assert!(outputs.contains(&Output::Sync));
    assert_eq!(outputs.len(), 3);
    assert_eq!(rig.ack(TWO, op), [], "W is met, DW is not");
    let place = rig.place.0;
    assert_eq!(sync_to(&mut rig, place + 1), [rig.stored(op)]);
}

#[test]
fn a_join_that_changed_nothing_is_acknowledged_with_its_old_place() {
    let mut rig = Rig::new(ALWAYS);
    assert_eq!(rig.input(Input::Replicate(frame(TWO, 1))), [join(1, false)]);
    let result = Ok(Joined { place: Place(99), lost_mine: None, before: 0, after: 0, entries: 1 });
    let (link, order) = (Link(2), KEY.order);
    let outputs = rig.input(Input::Joined { link, request: 1, order, sync: false, result });
    assert_eq!(outputs, [ack(1, true)], "synced long ago");
}

#[test]
fn lost_events_are_told_but_the_record_is_acknowledged() {
    let mut rig = Rig::new(Setup::default());
    for (boot, told) in [(Boot(1), true), (Boot(7), false)] {
        assert_eq!(rig.input(Input::Replicate(frame(TWO, 1))), [join(1, false)]);
        let result = Ok(Joined {
            place: Place(999),
            lost_mine: Some(boot),
            before: 0,
            after: 0,
            entries: 1,
        });
        let (link, order) = (Link(2), KEY.order);
        let outputs = rig.input(Input::Joined { link, request: 1, order, sync: false, result });
        let lost = told.then_some(Output::LostOwnEvents);
        assert_eq!(outputs, Vec::from_iter(lost.into_iter().chain([ack(1, false)])));
    }
}

#[test]
fn refused_joins_are_refused_with_their_reason() {
    let mut rig = Rig::new(Setup::default());
    for (refusal, reason) in [
        (Refusal::Full(Full::Busy), RejectReason::Busy),
        (Refusal::Full(Full::NoSpace), RejectReason::NoSpace),
        (Refusal::Full(Full::ReadOnly), RejectReason::ReadOnly),
        (Refusal::Unread(Unread::Cold), RejectReason::Busy),
        (Refusal::Unread(Unread::Damaged), RejectReason::Damaged),
        (Refusal::TooLarge, RejectReason::TooLarge),
    ] {
        assert_eq!(rig.input(Input::Replicate(frame(TWO, 1))), [join(1, false)]);
        let (link, order) = (Link(2), KEY.order);
        let joined = Input::Joined { link, request: 1, order, sync: false, result: Err(refusal) };
        assert_eq!(rig.input(joined), [reject(1, reason)]);
    }
}

#[test]
fn a_failed_log_takes_back_what_was_not_synced() {
    let mut rig = Rig::new(ALWAYS);
    let (first, _) = rig.put(2, 0, 0);
    let stored = rig.stored(first);
    assert_eq!(joined(&mut rig, 5, false), []);
    let below = rig.place.0 + 1;
    let (second, _) = rig.put(2, 0, 0);
    let failed = rig.failed(second, no_quorum(2, 0));
    assert_eq!(joined(&mut rig, 6, false), []);
    assert_eq!(rig.ack(TWO, first), []);
    assert_eq!(sync_to(&mut rig, below), [stored, ack(5, true)]);
    let lack = Output::Keep { place: Place(130), key: KEY, target: TWO };
    assert_eq!(rig.reject(TWO, second, RejectReason::Busy), [lack]);
    let outputs = rig.input(Input::LogFailed);
    assert_eq!(outputs, [failed, reject(6, RejectReason::ReadOnly)]);
    assert_eq!(rig.fire(), []);

    let outputs = rig.request(put(1, 0, 0));
    assert_eq!(outputs, rig.refused(Failure::ReadOnly));
    let outputs = rig.request(read_first(1, 1));
    assert_eq!(outputs, rig.refused(Failure::ReadOnly));
    let outputs = rig.input(Input::Replicate(frame(TWO, 7)));
    assert_eq!(outputs, [reject(7, RejectReason::ReadOnly)]);
    let (op, _) = rig.get(1, 0);
    assert_eq!(rig.looked(op), [rig.reply(op, Outcome::Got)], "reads go on");
    let serve = Output::Serve { link: Link(2), request: 8, order: KEY.order };
    assert_eq!(rig.input(Input::Read(frame(TWO, 8))), [serve]);
}

#[test]
fn a_write_whose_log_failed_may_still_meet_w_elsewhere() {
    let mut rig = Rig::new(ALWAYS);
    let (op, _) = rig.put(2, 0, 0);
    assert_eq!(rig.input(Input::LogFailed), []);
    assert_eq!(rig.ack(TWO, op), []);
    assert_eq!(rig.ack(THREE, op), [rig.stored(op)]);
}

#[test]
fn one_more_than_the_unsynced_limit_is_busy() {
    let mut rig = Rig::new(Setup { unsynced: 4, ..ALWAYS });
    for request in 0..2 {
        assert_eq!(joined(&mut rig, request, false), []);
        let (_, outputs) = rig.put(3, 0, 0);
        assert_eq!(outputs.len(), 2);
    }
    for kind in [put(1, 0, 0), read_first(1, 1)] {
        let outputs = rig.request(kind);
        assert_eq!(outputs, rig.refused(Failure::Busy));
    }
    assert_eq!(rig.input(Input::Replicate(frame(TWO, 9))), [reject(9, RejectReason::Busy)]);
    // The oldest leaves: there is room for one.
    assert_eq!(sync_to(&mut rig, 111), [ack(0, true)]);
    assert_eq!(joined(&mut rig, 10, false), []);
    let outputs = rig.request(put(1, 0, 0));
    assert_eq!(outputs, rig.refused(Failure::Busy));
}

#[test]
fn many_acknowledgments_leave_in_bounded_steps() {
    for failed in [false, true] {
        let mut rig = Rig::new(Setup { unsynced: 500, ..ALWAYS });
        for request in 0..500 {
            assert_eq!(joined(&mut rig, request, false), []);
        }
        let mut outputs = match failed {
            true => rig.input(Input::LogFailed),
            false => sync_to(&mut rig, 1 << 40),
        };
        assert!(outputs.len() < OUTPUT_COUNT_MAX);
        let mut steps = 0;
        while let Some(more) = rig.step() {
            assert!(!more.is_empty());
            outputs.extend(more);
            steps += 1;
        }
        assert!(steps > 500 / OUTPUT_COUNT_MAX);
        let readonly = RejectReason::ReadOnly;
        let expected = (0..500).map(|n| if failed { reject(n, readonly) } else { ack(n, true) });
        assert_eq!(outputs, Vec::from_iter(expected), "in order");
    }
}
