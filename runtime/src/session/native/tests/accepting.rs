//! The acceptor against dialers that are written out by hand.

use super::*;

/// What a fresh acceptor at shard 2 of node 2 makes of `bytes`, and what it sends.
fn accept(end: &End, over_loopback: bool, bytes: &[u8]) -> (usize, Step, Vec<u8>) {
    let mut out = Vec::new();
    let mut acceptor = Acceptor::<Software>::new([2; 16], over_loopback);
    let received = acceptor.receive(&end.local(), bytes, &mut out);
    (received.consumed, received.step, out)
}

#[test]
fn a_client_goes_on_at_once() {
    let end = End::member(2);
    let hello = frame_of(Op::Hello, &client());
    let all = [&hello[..], &get()].concat();
    for cut in 0..hello.len() {
        let mut out = Vec::new();
        let mut acceptor = Acceptor::<Software>::new([2; 16], true);
        let first = acceptor.receive(&end.local(), &all[..cut], &mut out);
        assert_eq!((first.consumed, first.step, out.len()), (cut, Step::Wait, 0));
        let second = acceptor.receive(&end.local(), &all[cut..], &mut out);
        assert_eq!(cut + second.consumed, hello.len());
        assert!(acceptor.held().is_empty());
        assert!(matches!(second.step, Step::Accepted(Accepted::Client { .. })));
        one(&out, |frame, message| {
            let Message::HelloReply(reply) = message else { panic!("{message:?}") };
            let expected = HelloReply {
                version: VERSION,
                node: NodeId(2),
                boot: Boot(12),
                shards: 4,
                cluster: Some(cluster(7)),
                nonce: [2; 16],
                proof: proof(&end, 0, 2, Prover::Acceptor).0,
                secret: None,
            };
            assert_eq!(reply, expected);
            assert_eq!(frame.hop().request, RequestId(5));
            assert!(frame.is_of(ClusterId(7).digest()));
        });
    }
}

#[test]
fn a_client_proves_the_secret_later_or_is_refused() {
    let end = End::member(2);
    let (_, step, _) = accept(&end, false, &frame_of(Op::Hello, &client()));
    let Step::Accepted(Accepted::Client { challenge, .. }) = step else { panic!("{step:?}") };
    let answer = |bytes: &[u8]| {
        let mut out = Vec::new();
        let frame = Frame::new_checked::<Software>(bytes).unwrap();
        let answer = answer_proof::<Software>(&end.local(), &challenge, &frame, &mut out);
        one(&out, |frame, message| {
            assert_eq!(answer.is_ok(), message == Message::Welcome);
            assert_eq!(frame.hop().request, RequestId(5));
        });
        answer
    };
    let good = proof(&end, 0, 2, Prover::Dialer);
    assert_eq!(answer(&frame_of(Op::Proof, &good)), Ok(()));
    let wrong = [
        proof(&end, 0, 2, Prover::Acceptor),
        proof(&end, 1, 2, Prover::Dialer),
        proof(&end.clone().with_keys(9), 0, 2, Prover::Dialer),
        Proof([0; 16]),
    ];
    for wrong in wrong {
        assert_eq!(answer(&frame_of(Op::Proof, &wrong)), Err(Reason::BadProof));
    }
    assert_eq!(answer(&frame_of(Op::Hello, &client())), Err(Reason::Malformed));
    let mut other_digest = frame_of(Op::Proof, &good);
    other_digest[24] ^= 1;
    assert_eq!(answer(&other_digest), Err(Reason::OtherCluster));
}

#[test]
fn a_node_in_no_cluster_serves_clients_alone() {
    let hello = frame_of(Op::Hello, &client());
    for (end, proof) in [
        (End::newcomer(2), Proof([0; 16])),
        (
            End::newcomer(2).with_keys(1),
            proof(&End::newcomer(2).with_keys(1), 0, 2, Prover::Acceptor),
        ),
    ] {
        let end = End { shard: 2, ..end };
        let (_, step, out) = accept(&end, false, &hello);
        assert!(matches!(step, Step::Accepted(Accepted::Client { .. })));
        one(&out, |frame, message| {
            let Message::HelloReply(reply) = message else { panic!("{message:?}") };
            assert_eq!((reply.cluster, reply.proof), (None, proof.0));
            assert_eq!(frame.hop().cluster_digest, 0);
        });
        let knows = Hello { cluster: ClusterId(7), ..client() };
        for hello in [knows, peer(), Hello { kind: Kind::Joiner, cluster: ClusterId(0), ..peer() }]
        {
            let (_, step, out) = accept(&end, true, &frame_of(Op::Hello, &hello));
            assert_eq!(step, Step::Refused(Reason::NoCluster));
            assert_eq!(reason(&out), Reason::NoCluster);
        }
    }
}

#[test]
fn each_wrong_hello_has_its_reason() {
    let end = End::member(2);
    let joiner = Hello { kind: Kind::Joiner, ..peer() };
    for (hello, expected) in [
        (Hello { shard: ShardIndex(4), ..client() }, Reason::NoShard),
        (Hello { cluster: ClusterId(8), ..client() }, Reason::OtherCluster),
        (Hello { cluster: ClusterId(8), ..peer() }, Reason::OtherCluster),
        (Hello { cluster: ClusterId(8), ..joiner }, Reason::OtherCluster),
        (Hello { cluster: ClusterId(0), ..peer() }, Reason::OtherCluster),
        (Hello { node: NodeId(2), ..peer() }, Reason::Duplicate),
        (Hello { node: NodeId(2), ..joiner }, Reason::Duplicate),
    ] {
        let bytes = frame_of(Op::Hello, &hello);
        let (consumed, step, out) = accept(&end, true, &bytes);
        assert_eq!((consumed, step), (bytes.len(), Step::Refused(expected)), "{hello:?}");
        assert_eq!(reason(&out), expected);
    }
    // A dialer of a later version that still speaks this one.
    let later = Hello { version_max: 9, ..peer() };
    let (_, step, out) = accept(&end, true, &frame_of(Op::Hello, &later));
    assert_eq!(step, Step::Wait);
    one(&out, |_, message| {
        assert!(matches!(message, Message::HelloReply(HelloReply { version: VERSION, .. })));
    });
}

#[test]
fn a_connection_for_another_shard_is_handed_over_with_all_its_bytes() {
    let end = End::member(2);
    for hello in [client(), peer(), Hello { cluster: ClusterId(8), ..peer() }] {
        let hello = Hello { shard: ShardIndex(3), ..hello };
        let all = [frame_of(Op::Hello, &hello), get()].concat();
        for cut in 0..=all.len() {
            let mut out = Vec::new();
            let mut acceptor = Acceptor::<Software>::new([2; 16], true);
            let mut received = acceptor.receive(&end.local(), &all[..cut], &mut out);
            let mut rest = &all[received.consumed..cut];
            if received.step == Step::Wait {
                received = acceptor.receive(&end.local(), &all[cut..], &mut out);
                rest = &all[cut + received.consumed..];
            }
            assert_eq!(received.step, Step::HandOver(ShardIndex(3)));
            assert!(out.is_empty());
            let handed = [acceptor.held(), rest].concat();
            assert!(all.starts_with(&handed) && handed.len() >= cut);

            let there = End { shard: 3, ..end.clone() };
            let (_, step, out) = accept(&there, true, &handed);
            assert!(!matches!(step, Step::HandOver(_)));
            assert!(!out.is_empty());
        }
    }
}

#[test]
fn whatever_is_no_hello_comes_too_early() {
    let end = End::member(2);
    let good = proof(&end, 1, 2, Prover::Dialer);
    let early = [
        get(),
        frame_of(Op::Proof, &good),
        frame_of(Op::Welcome, &[].as_slice()),
        frame_of(Op::Status, &[].as_slice()),
        frames::tests::frame(1, 20),
        frames::tests::frame(1, 1 << 20)[..40].to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
    ];
    for bytes in early {
        let (consumed, step, out) = accept(&end, true, &bytes);
        assert_eq!((consumed, step), (bytes.len(), Step::Refused(Reason::Malformed)));
        assert_eq!(reason(&out), Reason::Malformed);
    }
    let mut version = frame_of(Op::Hello, &client());
    version[2] = 2;
    let (_, step, out) = accept(&end, true, &version);
    assert_eq!(step, Step::Refused(Reason::UnknownVersion));
    assert_eq!(reason(&out), Reason::UnknownVersion);
}

#[test]
fn a_peer_must_prove_the_secret_next() {
    let end = End::member(2);
    let hello = frame_of(Op::Hello, &peer());
    let good = proof(&end, 1, 2, Prover::Dialer);
    let replayed = Acceptor::<Software>::new([3; 16], true);
    let fresh = || Acceptor::<Software>::new([2; 16], true);
    for (mut acceptor, second, expected) in [
        (fresh(), frame_of(Op::Proof, &good), None),
        (replayed, frame_of(Op::Proof, &good), Some(Reason::BadProof)),
        (
            fresh(),
            frame_of(Op::Proof, &proof(&end, 1, 2, Prover::Acceptor)),
            Some(Reason::BadProof),
        ),
        (fresh(), frame_of(Op::Proof, &proof(&end, 3, 2, Prover::Dialer)), Some(Reason::BadProof)),
        (fresh(), hello.clone(), Some(Reason::Malformed)),
        (fresh(), frame_of(Op::Status, &[].as_slice()), Some(Reason::Malformed)),
        (fresh(), frames::tests::frame(1, 20), Some(Reason::Malformed)),
        (fresh(), b"garbage".to_vec(), Some(Reason::Malformed)),
    ] {
        let mut out = Vec::new();
        let first = acceptor.receive(&end.local(), &hello, &mut out);
        assert_eq!(first.step, Step::Wait);
        out.clear();
        let behind = [&second[..], &get()].concat();
        let received = acceptor.receive(&end.local(), &behind, &mut out);
        match expected {
            None => {
                assert!(matches!(received.step, Step::Accepted(Accepted::Peer { .. })));
                assert_eq!(received.consumed, second.len());
                one(&out, |frame, message| {
                    assert_eq!((frame.hop().request, message), (RequestId(5), Message::Welcome));
                });
            }
            Some(expected) => {
                assert_eq!(received.step, Step::Refused(expected));
                assert_eq!(reason(&out), expected);
            }
        }
    }
}

#[test]
fn no_garbage_is_accepted() {
    let end = End::member(2);
    let hello = frame_of(Op::Hello, &peer());
    for seed in 0..2000 {
        let mut prng = Prng::new(seed);
        let mut bytes = if prng.chance(50) { hello.clone() } else { Vec::new() };
        for _ in 0..prng.below(200) {
            bytes.push(prng.next_u64() as u8);
        }
        let (_, step, out) = accept(&end, true, &bytes);
        assert!(matches!(
            step,
            Step::Wait | Step::Refused(Reason::Malformed | Reason::UnknownVersion)
        ));
        assert!(out.len() <= 200);
    }
}

#[test]
fn a_driver_refuses_on_its_own_account() {
    let end = End::newcomer(2);
    let mut out = Vec::new();
    let step = refuse::<Software>(&end.local(), RequestId(0), Reason::Full, &mut out);
    assert_eq!((step, reason(&out)), (Step::Refused(Reason::Full), Reason::Full));
}
