//! What a request costs a shard does not grow with the shards that there are.

use super::*;

/// Shards of a node, up to one for each partition.
const COUNTS: [u16; 5] = [1, 2, 8, 32, 1 << BITS];

/// A request to `to`, and the frames that it takes until all is quiet.
fn frames(cluster: &mut Cluster, to: At, key: &[u8], command: Command<'_>) -> Vec<(At, At, Op)> {
    let mut seen = Vec::new();
    cluster.send(to, key, command);
    while let Some(flight) = cluster.network.flights.pop_front() {
        seen.push((flight.from, flight.to, flight.op()));
        cluster.deliver(&flight);
    }
    let got = cluster.reply().expect("a reply once all frames are delivered");
    assert_eq!(got.status, Status::Ok);
    seen
}

/// Who asks the shard that has the key crosses none; each shard then speaks to one of each peer.
#[test]
fn a_request_takes_as_many_frames_with_sixty_four_shards_as_with_one() {
    for count in COUNTS {
        let mut cluster = Cluster::new(Setup { shards: count, ..THREE });
        for number in 0..50 {
            let key = format!("key {number}").into_bytes();
            let shard = ShardIndex::of(cluster.key(&key).partition, count, BITS).0;
            let put = frames(&mut cluster, at(1, shard), &key, Command::Put(set(b"v")));
            assert_eq!(put.len(), 4, "two copies, two acknowledgments: {put:?}");
            let get = frames(&mut cluster, at(1, shard), &key, get(2));
            assert_eq!(get.len(), 2, "one question, one answer: {get:?}");
            for (from, to, _) in put.iter().chain(&get) {
                assert_eq!((from.shard, to.shard), (shard, shard), "{count} shards");
            }
        }
    }
}

/// Who asks any other shard crosses two of them, once there and once back.
#[test]
fn a_request_to_another_shard_is_handed_on_once() {
    for count in COUNTS.into_iter().filter(|count| *count > 1) {
        let mut cluster = Cluster::new(Setup { shards: count, ..THREE });
        for number in 0..50 {
            let key = format!("key {number}").into_bytes();
            let shard = ShardIndex::of(cluster.key(&key).partition, count, BITS).0;
            let other = (shard + 1) % count;
            let put = frames(&mut cluster, at(1, other), &key, Command::Put(set(b"v")));
            let get = frames(&mut cluster, at(1, other), &key, get(2));
            for (seen, inside) in [(put, 4), (get, 2)] {
                assert_eq!(seen.len(), inside + 2, "{count} shards: {seen:?}");
                let crossing = seen.iter().filter(|(from, to, _)| from.shard != to.shard);
                let crossing: Vec<_> = crossing.map(|(from, to, _)| (*from, *to)).collect();
                let (here, there) = (at(1, other), at(1, shard));
                assert_eq!(crossing, [(here, there), (there, here)]);
            }
        }
    }
}

/// What a shard keeps for partitions is its share of them; nothing else depends on the shards.
#[test]
fn what_shards_keep_is_shared_out_among_them() {
    for count in COUNTS {
        let cluster = Cluster::new(Setup { shards: count, nodes: 1, ..THREE });
        let partitions =
            |shard| Shard::partition_count(cluster.sites[&at(1, shard)].shard.config());
        assert_eq!((0..count).map(partitions).sum::<usize>(), 1 << BITS);
        let most = (1_usize << BITS).div_ceil(count.into());
        assert!((0..count).all(|shard| partitions(shard) <= most), "{count} shards");
    }
}

fn get(r: u8) -> Command<'static> {
    Command::Get(GetRequest { r, ..GET })
}
