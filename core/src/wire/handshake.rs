//! How two ends of a connection prove to each other that they know the cluster secret, without
//! sending it: each answers the other's nonce with a keyed hash.
//!
//! ```text
//! dialer                                    acceptor
//!   HELLO        nonce a              ──►
//!                                     ◄──  HELLO_REPLY  nonce b, proof(Acceptor, a, b)
//!   PROOF        proof(Dialer, a, b)  ──►
//!                                     ◄──  WELCOME, or REFUSED
//! ```
//!
//! A proof names its direction, so that it cannot be sent back, and both nonces, so that it
//! cannot be sent again. It proves who opens the connection; it hides nothing and does not
//! protect the frames that follow from someone who can change them on their way. The hash is
//! SipHash-2-4 with 128 bits (Aumasson and Bernstein 2012), a keyed pseudo-random function.
//!
//! The secret of the cluster is used for nothing but to derive one key per purpose.

use core::fmt;
use core::hash::Hasher;
use core::hint::black_box;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::SECRET_BYTES_MIN;
use crate::id::{ClusterId, NodeId};

/// The keys of a cluster. Not printed by `Debug`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Keys {
    /// Signs context tokens.
    pub context: [u8; 16],
    /// Makes proofs.
    pub peer: [u8; 16],
}

/// The secret has fewer than `SECRET_BYTES_MIN` bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretTooShort;

impl Keys {
    /// Derives the keys from the whole secret. O(bytes).
    pub fn derive(secret: &[u8]) -> Result<Keys, SecretTooShort> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort);
        }
        let (key, rest) = secret.split_first_chunk().ok_or(SecretTooShort)?;
        Ok(Keys { context: derive(key, rest, b"ctx"), peer: derive(key, rest, b"peer") })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Whose proof it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Prover {
    /// The end that opened the connection.
    Dialer = 1,
    /// The end that accepted it.
    Acceptor = 2,
}

/// What both ends know after HELLO and HELLO_REPLY, and prove over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// The cluster, as the acceptor named it.
    pub cluster: ClusterId,
    /// The dialer; 0 for clients.
    pub dialer: NodeId,
    /// The acceptor.
    pub acceptor: NodeId,
    /// The nonce of HELLO.
    pub dialer_nonce: [u8; 16],
    /// The nonce of HELLO_REPLY.
    pub acceptor_nonce: [u8; 16],
}

impl Challenge {
    /// The proof that `prover` knows the peer key.
    pub fn proof(&self, peer_key: &[u8; 16], prover: Prover) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(peer_key);
        hasher.write(PROOF_LABEL);
        hasher.write(&[prover as u8]);
        hasher.write(&self.cluster.0.to_le_bytes());
        hasher.write(&self.dialer.0.to_le_bytes());
        hasher.write(&self.acceptor.0.to_le_bytes());
        hasher.write(&self.dialer_nonce);
        hasher.write(&self.acceptor_nonce);
        hasher.finish128().as_bytes()
    }

    /// Whether `proof` is the one that `prover` makes with the peer key. Takes the same time
    /// wherever they differ.
    pub fn verify(&self, peer_key: &[u8; 16], prover: Prover, proof: &[u8; 16]) -> bool {
        equal(&self.proof(peer_key, prover), proof)
    }
}

/// Begins what a proof is made over; every field behind it has a fixed length.
const PROOF_LABEL: &[u8; 16] = b"ringmain proof 1";

/// One key: the secret's first 16 bytes key a hash of the label, the rest and its length.
fn derive(key: &[u8; 16], rest: &[u8], label: &[u8]) -> [u8; 16] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(label);
    hasher.write(rest);
    hasher.write(&(rest.len() as u64).to_le_bytes());
    hasher.finish128().as_bytes()
}

/// Compares in a time that depends on nothing.
fn equal(left: &[u8; 16], right: &[u8; 16]) -> bool {
    let difference = left.iter().zip(right).fold(0, |all, (l, r)| black_box(all | (l ^ r)));
    black_box(difference) == 0
}

impl fmt::Display for SecretTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cluster secret has fewer than {SECRET_BYTES_MIN} bytes")
    }
}

impl core::error::Error for SecretTooShort {}
