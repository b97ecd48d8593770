use super::*;

const A: Site = Site { node: 0, shard: 0 };
const B: Site = Site { node: 1, shard: 0 };
const QUIET: NetworkOptions = NetworkOptions {
    delay: Duration::from_micros(100),
    ordered: true,
    holds: false,
    lost: 0,
    duplicated: 0,
    slow: 0,
    corrupted: 0,
    age_max: Duration::from_secs(60),
};

/// Sends `count` frames of 40 bytes from A to B, one each microsecond; their arrivals.
fn send(network: &mut Network, count: u64, marks: &mut Marks) -> Vec<(Instant, Parcel)> {
    let mut arrivals = Vec::new();
    for index in 0..count {
        let bytes = [index as u8; 40];
        network.send(Instant(index), A, B, &bytes, marks, |at, parcel| arrivals.push((at, parcel)));
    }
    arrivals
}

fn network(options: NetworkOptions) -> (Network, Marks) {
    (Network::new(2, options, Random::new(1)), Marks::default())
}

#[test]
fn a_quiet_network_keeps_order_and_loses_nothing() {
    let (mut network, mut marks) = network(QUIET);
    let arrivals = send(&mut network, 200, &mut marks);
    assert_eq!(arrivals.len(), 200);
    assert!(arrivals.is_sorted_by_key(|(at, _)| *at));
    assert!(arrivals.iter().zip(0..).all(|((_, parcel), index)| parcel.bytes == [index; 40]));
}

#[test]
fn every_fault_happens() {
    let faults = NetworkOptions { lost: 100, duplicated: 100, slow: 100, corrupted: 100, ..QUIET };
    let (mut network, mut marks) = network(NetworkOptions { ordered: false, ..faults });
    let arrivals = send(&mut network, 250, &mut marks);
    for mark in [Mark::FrameLost, Mark::FrameDuplicated, Mark::FrameCorrupted, Mark::FrameReordered]
    {
        assert!(marks.count(mark) > 5, "{mark:?}");
    }
    let sent = 250 + marks.count(Mark::FrameDuplicated) - marks.count(Mark::FrameLost);
    assert_eq!(arrivals.len() as u64, sent);
    let damaged = arrivals.iter().filter(|(_, parcel)| parcel.bytes[32..] != [parcel.bytes[0]; 8]);
    assert_eq!(damaged.count() as u64, marks.count(Mark::FrameCorrupted));
    network.set_faulty(false);
    assert_eq!(send(&mut network, 100, &mut marks).len(), 100);
}

#[test]
fn a_split_stops_frames_until_it_heals() {
    for holds in [false, true] {
        let (mut network, mut marks) = network(NetworkOptions { holds, ..QUIET });
        let before = send(&mut network, 1, &mut marks);
        while !network.is_blocked(0, 1) {
            network.split(&mut marks);
        }
        assert!(send(&mut network, 3, &mut marks).is_empty());
        assert!(!network.delivers(before[0].0, &before[0].1, &mut marks));
        let mut late = Vec::new();
        network.heal(Instant(5_000_000), &mut marks, |at, parcel| late.push((at, parcel)));
        assert_eq!(late.len(), if holds { 4 } else { 0 });
        assert!(late.iter().all(|(at, parcel)| network.delivers(*at, parcel, &mut marks)));
        assert!(marks.count(Mark::FrameBlocked) == 4);
    }
}

#[test]
fn a_reset_loses_what_is_under_way() {
    let (mut network, mut marks) = network(QUIET);
    let before = send(&mut network, 1, &mut marks);
    network.reset(B.node, A.node);
    let after = send(&mut network, 1, &mut marks);
    assert!(!network.delivers(before[0].0, &before[0].1, &mut marks));
    assert!(network.delivers(after[0].0, &after[0].1, &mut marks));
}

#[test]
fn what_is_clogged_comes_later_in_order() {
    let (mut network, mut marks) = network(QUIET);
    let under_way = send(&mut network, 2, &mut marks);
    network.clog(A.node, B.node);
    assert!(send(&mut network, 3, &mut marks).is_empty());
    for (at, parcel) in &under_way {
        assert!(!network.delivers(*at, parcel, &mut marks));
    }
    let mut late = Vec::new();
    let arrive = |at, parcel| late.push((at, parcel));
    network.unclog(Instant(90_000_000), (A.node, B.node), &mut marks, arrive);
    assert_eq!(late.len(), 5);
    assert!(late.is_sorted_by_key(|(at, _)| *at));
    assert!(late.is_sorted_by_key(|(_, parcel)| parcel.sent));
    assert!(late.iter().all(|(at, parcel)| network.delivers(*at, parcel, &mut marks)));
    network.clog(A.node, B.node);
    assert!(send(&mut network, 1, &mut marks).is_empty());
    network.reset(A.node, B.node);
    assert_eq!(send(&mut network, 1, &mut marks).len(), 1, "another connection");
}

#[test]
fn what_overtakes_others_is_lost_once_it_is_old() {
    for ordered in [false, true] {
        let (mut network, mut marks) = network(NetworkOptions { ordered, ..QUIET });
        let (_, parcel) = send(&mut network, 1, &mut marks).remove(0);
        let bound = parcel.sent + QUIET.age_max;
        assert!(network.delivers(bound, &parcel, &mut marks));
        let past = bound + Duration::from_micros(1);
        assert_eq!(network.delivers(past, &parcel, &mut marks), ordered);
    }
}

/// Frames that a split stopped go on with new delays; a later one may come before them.
#[test]
fn a_stream_delivers_nothing_behind_what_was_sent_later() {
    for ordered in [false, true] {
        let (mut network, mut marks) = network(NetworkOptions { ordered, ..QUIET });
        let arrivals = send(&mut network, 3, &mut marks);
        let delivered = [0, 2, 1, 2].map(|index: usize| {
            let (_, parcel) = &arrivals[index];
            network.delivers(Instant(1_000), parcel, &mut marks)
        });
        assert_eq!(delivered, [true, true, !ordered, true]);
    }
}
