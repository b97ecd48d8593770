//! The dialer against acceptors that are written out by hand.

use super::*;

fn reply(end: &End) -> HelloReply<'static> {
    HelloReply {
        version: VERSION,
        node: NodeId(2),
        boot: Boot(12),
        shards: 4,
        cluster: Some(cluster(7)),
        nonce: [2; 16],
        proof: proof(end, 1, 2, Prover::Acceptor).0,
        secret: None,
    }
}

/// What a dialer, node 1 of cluster 7, makes of `bytes`, and what it sends behind HELLO.
fn dial(call: Call, bytes: &[u8]) -> (usize, dialer::Step, Vec<u8>) {
    let (end, mut out) = (End::member(1), Vec::new());
    let mut dialer = Dialer::<Software>::new(&end.local(), call, &mut out);
    out.clear();
    let received = dialer.receive(&end.local(), bytes, &mut out);
    (received.consumed, received.step, out)
}

#[test]
fn hello_says_who_dials() {
    let (end, mut out) = (End::member(1), Vec::new());
    Dialer::<Software>::new(&end.local(), call(), &mut out);
    one(&out, |frame, message| {
        let expected = Hello { source_shard: ShardIndex(2), shards: 4, ..peer() };
        assert_eq!(message, Message::Hello(expected));
        assert!(frame.is_of(ClusterId(7).digest()));
    });
    let (end, mut out) = (End::newcomer(1), Vec::new());
    Dialer::<Software>::new(&end.local(), join(), &mut out);
    one(&out, |frame, message| {
        let Message::Hello(hello) = message else { panic!("{message:?}") };
        assert_eq!((hello.kind, hello.cluster), (Kind::Joiner, ClusterId(0)));
        assert_eq!(frame.hop().cluster_digest, 0);
    });
}

#[test]
fn what_follows_welcome_is_the_links() {
    let end = End::member(2);
    let shaken =
        [frame_of(Op::HelloReply, &reply(&end)), frame_of(Op::Welcome, &[].as_slice())].concat();
    let all = [&shaken[..], &frames::tests::frame(1, 20)].concat();
    let (consumed, step, out) = dial(call(), &all);
    assert_eq!(consumed, shaken.len());
    let dialer::Step::Dialed(dialed) = step else { panic!("{step:?}") };
    assert_eq!((dialed.node, dialed.boot, dialed.shards), (NodeId(2), Boot(12), 4));
    one(&out, |frame, message| {
        assert_eq!(message, Message::Proof(proof(&end, 1, 2, Prover::Dialer)));
        assert!(frame.is_of(ClusterId(7).digest()));
    });
}

#[test]
fn each_wrong_reply_has_its_error() {
    let end = End::member(2);
    let good = reply(&end);
    let constants = Cluster { partition_bits: 11, ..cluster(7) };
    for (reply, expected) in [
        (HelloReply { version: VERSION + 1, ..good }, DialError::Unsupported(VERSION + 1)),
        (HelloReply { cluster: None, ..good }, DialError::NoCluster),
        (HelloReply { cluster: Some(cluster(8)), ..good }, DialError::OtherCluster),
        (HelloReply { cluster: Some(constants), ..good }, DialError::OtherCluster),
        (HelloReply { node: NodeId(3), ..good }, DialError::OtherNode(NodeId(3))),
        (HelloReply { node: NodeId(1), ..good }, DialError::OtherNode(NodeId(1))),
        (HelloReply { nonce: [3; 16], ..good }, DialError::OtherSecret),
        (HelloReply { proof: [0; 16], ..good }, DialError::OtherSecret),
        (HelloReply { proof: proof(&end, 1, 2, Prover::Dialer).0, ..good }, DialError::OtherSecret),
    ] {
        let (_, step, out) = dial(call(), &frame_of(Op::HelloReply, &reply));
        assert_eq!(step, dialer::Step::Failed(expected), "{reply:?}");
        assert!(out.is_empty());
    }
    let myself = HelloReply { node: NodeId(1), ..good };
    let seed = Call { node: None, ..call() };
    let (_, step, _) = dial(seed, &frame_of(Op::HelloReply, &myself));
    assert_eq!(step, dialer::Step::Failed(DialError::OtherNode(NodeId(1))));
    let mut other_digest = frame_of(Op::HelloReply, &good);
    other_digest[24] ^= 1;
    assert_eq!(dial(call(), &other_digest).1, dialer::Step::Failed(DialError::OtherCluster));
}

#[test]
fn a_cluster_that_places_keys_otherwise_is_none_to_join() {
    let (end, newcomer, mut out) = (End::member(2), End::newcomer(1), Vec::new());
    let strange = Cluster { hash_seed: 1, ..cluster(7) };
    let mut dialer = Dialer::<Software>::new(&newcomer.local(), join(), &mut out);
    let reply = HelloReply { cluster: Some(strange), ..reply(&end) };
    let bytes = frame_of(Op::HelloReply, &reply);
    let received = dialer.receive(&newcomer.local(), &bytes, &mut out);
    assert_eq!(received.step, dialer::Step::Failed(DialError::Malformed));
    assert!(dialer.greeted().is_none());
}

#[test]
fn a_secret_that_its_giver_does_not_use_is_not_taken() {
    let (end, newcomer, mut out) = (End::member(2), End::newcomer(1), Vec::new());
    let other = secret(9);
    let mut dialer = Dialer::<Software>::new(&newcomer.local(), join(), &mut out);
    let reply = HelloReply { secret: Some(other.bytes()), ..reply(&end) };
    let bytes = frame_of(Op::HelloReply, &reply);
    let received = dialer.receive(&newcomer.local(), &bytes, &mut out);
    assert_eq!(received.step, dialer::Step::Failed(DialError::OtherSecret));
}

#[test]
fn refusals_and_strangers_end_the_call() {
    let end = End::member(2);
    let good = frame_of(Op::HelloReply, &reply(&end));
    let refused = Refused { reason: Reason::NotMember, version_min: 1, version_max: 1 };
    let mut foreign = frame_of(Op::Refused, &refused);
    foreign[24] ^= 1;
    let refusal = DialError::Refused(Reason::NotMember);
    for (bytes, expected) in [
        (foreign.clone(), refusal),
        ([&good[..], &foreign].concat(), refusal),
        (frame_of(Op::Welcome, &[].as_slice()), DialError::Malformed),
        ([&good[..], &good].concat(), DialError::Malformed),
        (get(), DialError::Malformed),
    ] {
        assert_eq!(dial(call(), &bytes).1, dialer::Step::Failed(expected));
    }
    for bytes in [b"HTTP/1.1 400".to_vec(), frames::tests::frame(1, 1 << 20)] {
        let (_, step, _) = dial(call(), &bytes);
        assert!(matches!(step, dialer::Step::Failed(DialError::Foreign(_))));
    }
    for seed in 0..2000 {
        let mut prng = Prng::new(seed);
        let mut bytes = if prng.chance(50) { good.clone() } else { Vec::new() };
        bytes.extend((0..prng.below(200)).map(|_| prng.next_u64() as u8));
        assert!(!matches!(dial(call(), &bytes).1, dialer::Step::Dialed(_)));
    }
}

#[test]
fn pauses_grow_within_their_bounds_and_start_again() {
    let mut prng = Prng::new(1);
    for _ in 0..50 {
        let mut backoff = Backoff::default();
        let mut longest = 2 * PAUSE_MIN;
        for _ in 0..100 {
            let pause = backoff.on_failure(&mut prng);
            assert!(longest / 2 <= pause && pause <= longest, "{pause:?} of {longest:?}");
            assert!((PAUSE_MIN..=PAUSE_MAX).contains(&pause));
            longest = (2 * longest).min(PAUSE_MAX);
        }
        backoff.on_success();
        assert_eq!(backoff, Backoff::default());
    }
    let mut backoff = Backoff::default();
    let pauses: Vec<_> = (0..20).map(|_| backoff.on_failure(&mut prng)).collect();
    assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]), "drawn at random");
}
