//! Proofs and keys, against values that another program computed.

use super::golden::golden;
use super::*;
use crate::wire::handshake::{Challenge, Keys, Prover, SecretTooShort};

fn challenge() -> Challenge {
    Challenge {
        cluster: CLUSTER,
        dialer: NodeId(0xaabb_ccdd),
        acceptor: NodeId(0x1122_3344),
        dialer_nonce: nonce(0x30),
        acceptor_nonce: nonce(0x40),
    }
}

fn keys() -> Keys {
    Keys::derive(&COUNT[0x60..0x81]).unwrap()
}

#[test]
fn keys_and_proofs_are_as_golden() {
    let keys = keys();
    assert_eq!(keys.context.to_vec(), golden("key_context"));
    assert_eq!(keys.peer.to_vec(), golden("key_peer"));
    let proof = |prover| challenge().proof(&keys.peer, prover).to_vec();
    assert_eq!(proof(Prover::Dialer), golden("proof_dialer"));
    assert_eq!(proof(Prover::Acceptor), golden("proof_acceptor"));
}

#[test]
fn every_bit_of_the_secret_counts() {
    let secret = &COUNT[0x60..0x81];
    for bit in 0..secret.len() * 8 {
        let mut other = secret.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        let other = Keys::derive(&other).unwrap();
        assert_ne!(other.context, keys().context);
        assert_ne!(other.peer, keys().peer);
    }
    let longer = [secret, &[0]].concat();
    assert_ne!(Keys::derive(&longer).unwrap().peer, keys().peer);
}

#[test]
fn short_secrets_are_refused() {
    for length in 0..=40 {
        let derived = Keys::derive(&COUNT[..length]);
        assert_eq!(derived.is_ok(), length >= 32);
        assert!(length >= 32 || derived == Err(SecretTooShort));
    }
}

#[test]
fn a_proof_holds_for_its_own_challenge_only() {
    let key = keys().peer;
    let mine = challenge();
    let proof = mine.proof(&key, Prover::Dialer);
    assert!(mine.verify(&key, Prover::Dialer, &proof));
    assert!(!mine.verify(&key, Prover::Acceptor, &proof), "sent back");
    assert!(!mine.verify(&keys().context, Prover::Dialer, &proof), "the wrong key");
    let others = [
        Challenge { cluster: ClusterId(1), ..mine },
        Challenge { dialer: NodeId(1), ..mine },
        Challenge { acceptor: NodeId(1), ..mine },
        Challenge { dialer: mine.acceptor, acceptor: mine.dialer, ..mine },
        Challenge { dialer_nonce: nonce(0x31), ..mine },
        Challenge { acceptor_nonce: nonce(0x31), ..mine },
        Challenge { dialer_nonce: mine.acceptor_nonce, acceptor_nonce: nonce(0x30), ..mine },
    ];
    for other in others {
        assert!(!other.verify(&key, Prover::Dialer, &proof), "{other:?}");
    }
    for bit in 0..128 {
        let mut flipped = proof;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!mine.verify(&key, Prover::Dialer, &flipped));
    }
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(std::format!("{:?}", keys()), "Keys { .. }");
    let samples = handshake_samples();
    let (_, _, reply) = samples.iter().find(|sample| sample.0 == "hello_reply_secret").unwrap();
    let text = std::format!("{reply:?}");
    assert!(text.contains("secret_bytes: Some(33)"));
    assert!(!text.contains("97, 98"), "{text}");
}
