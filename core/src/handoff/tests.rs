use super::*;

const TWO: NodeId = NodeId(2);
const INTERVAL: Duration = Duration::from_secs(10);

fn near(_: NodeId) -> bool {
    true
}

/// A pass that takes longer than the interval is followed by the next one at once, however often
/// something new wakes its target: what was passed over is not forgotten.
#[test]
fn passes_begin_at_least_once_in_an_interval() {
    let (mut handoff, mut now) = (Handoff::new(INTERVAL), Instant(1 << 40));
    handoff.learn(TWO, now);
    assert_eq!(handoff.seek(now, near), Some((TWO, Place(0))));
    handoff.on_passed(TWO, Place(5));
    for place in 6..13 {
        assert_eq!(handoff.seek(now, near), Some((TWO, Place(place - 1))));
        handoff.on_found(now, TWO, Place(place), 1);
        assert_eq!(handoff.seek(now, near), Some((TWO, Place(place))));
        handoff.on_end(now, TWO);
        handoff.on_delivered(TWO);
        now = now + INTERVAL / 9;
        assert_eq!(handoff.seek(now, near), None);
        handoff.learn(TWO, now);
    }
    assert_eq!(handoff.seek(now, near), Some((TWO, Place(12))));
    now = now + INTERVAL;
    handoff.on_end(now, TWO);
    assert_eq!(handoff.seek(now, near), Some((TWO, Place(0))));
}

/// The answer that there is no hint came behind one that had just been kept: nobody handed it off.
#[test]
fn what_is_kept_while_the_next_is_looked_for_is_not_forgotten() {
    let (mut handoff, now) = (Handoff::new(INTERVAL), Instant(1 << 40));
    handoff.learn(TWO, now);
    assert_eq!(handoff.seek(now, near), Some((TWO, Place(0))));
    handoff.learn(TWO, now);
    handoff.on_end(now, TWO);
    assert_eq!(handoff.seek(now, near), Some((TWO, Place(0))));
    handoff.on_end(now, TWO);
    assert_eq!(handoff.targets().count(), 0);
}

/// Each target has its turn, whatever the order in which they were learnt of.
#[test]
fn targets_take_turns() {
    let (mut handoff, now) = (Handoff::new(INTERVAL), Instant(1 << 40));
    (2..=4).for_each(|node| handoff.learn(NodeId(node), now));
    for place in 1..=HANDOFF_COUNT_MAX as u64 {
        for node in (2..=4).map(NodeId) {
            assert_eq!(handoff.seek(now, near), Some((node, Place(place - 1))));
            handoff.on_found(now, node, Place(place), 1);
        }
    }
    assert_eq!(handoff.seek(now, near), None);
    assert_eq!(handoff.in_flight(), 3 * HANDOFF_COUNT_MAX);
    handoff.on_delivered(NodeId(3));
    assert_eq!(handoff.seek(now, |node| node != NodeId(3)), None);
    assert_eq!(handoff.seek(now, near).unwrap().0, NodeId(3));
}

#[test]
fn more_targets_than_there_is_room_for_are_not_learnt_of() {
    let (mut handoff, now) = (Handoff::new(INTERVAL), Instant(1 << 40));
    (1..=300).for_each(|node| handoff.learn(NodeId(node), now));
    assert_eq!(handoff.targets().count(), MEMBER_COUNT_MAX);
    let mut seen = std::collections::BTreeSet::new();
    while let Some((node, _)) = handoff.seek(now, near) {
        handoff.on_end(now, node);
        seen.insert(node);
    }
    assert_eq!(seen.len(), MEMBER_COUNT_MAX);
    assert_eq!((handoff.targets().count(), handoff.in_flight()), (0, 0));
    handoff.learn(NodeId(300), now);
    assert_eq!(handoff.seek(now, near), Some((NodeId(300), Place(0))));
}
