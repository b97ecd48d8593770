//! CRC-32C (Castagnoli, CRC-32/ISCSI), the one checksum of frames and log records.
//!
//! It finds damage, not malice. The protocol takes it as a type parameter: [`Software`] runs
//! everywhere, the runtime brings one that uses the CPU's own instruction.

use crc::{CRC_32_ISCSI, Crc, Table};

/// A way to compute CRC-32C. All implementations give the same numbers.
pub trait Checksum {
    /// The CRC-32C of all bytes so far and `bytes`, where `so_far` is the CRC-32C of the bytes
    /// before them (0 for none). O(bytes).
    fn crc32c(so_far: u32, bytes: &[u8]) -> u32;
}

/// CRC-32C by tables, 16 bytes at a step, for any CPU.
#[derive(Clone, Copy, Debug)]
pub struct Software;

impl Checksum for Software {
    fn crc32c(so_far: u32, bytes: &[u8]) -> u32 {
        // The algorithm inverts its register at the end and mirrors a given start value.
        let register = (!so_far).reverse_bits();
        let mut digest = CRC_32C.digest_with_initial(register);
        digest.update(bytes);
        digest.finalize()
    }
}

/// The tables: 16 KiB, shared by all users.
static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use std::vec::Vec;

    /// One bit at a time, straight from the definition (reflected polynomial 0x82f63b78).
    fn bitwise(so_far: u32, bytes: &[u8]) -> u32 {
        let mut register = !so_far;
        for &byte in bytes {
            register ^= u32::from(byte);
            for _ in 0..8 {
                let low = register & 1;
                register >>= 1;
                if low == 1 {
                    register ^= 0x82f6_3b78;
                }
            }
        }
        !register
    }

    #[test]
    fn known_answers() {
        assert_eq!(Software::crc32c(0, b""), 0);
        assert_eq!(Software::crc32c(0, b"123456789"), 0xe306_9283);
        // RFC 3720, appendix B.4.
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(Software::crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(Software::crc32c(0, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(Software::crc32c(0, &ascending), 0x46dd_794e);
        assert_eq!(Software::crc32c(0, &descending), 0x113f_db5c);
    }

    #[test]
    fn every_length_and_split_agrees_with_the_definition() {
        let mut prng = Prng::new(3);
        let bytes: Vec<u8> = (0..80).map(|_| prng.next_u64() as u8).collect();
        for length in 0..=bytes.len() {
            let whole = bitwise(0, &bytes[..length]);
            for split in 0..=length {
                let first = Software::crc32c(0, &bytes[..split]);
                assert_eq!(Software::crc32c(first, &bytes[split..length]), whole);
            }
        }
    }
}
