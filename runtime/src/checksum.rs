//! CRC-32C by the CPU's own instruction: the one checksum of frames and of the log.

use ringmain_core::checksum::Checksum;

use crate::sys::{SHORT_BYTES, short_crc32c};

/// CRC-32C in hardware where the CPU has it (SSE 4.2, ARMv8), found out at run time.
#[derive(Clone, Copy, Debug)]
pub struct Hardware;

impl Checksum for Hardware {
    fn crc32c(so_far: u32, bytes: &[u8]) -> u32 {
        let short = if bytes.len() < SHORT_BYTES { short_crc32c(so_far, bytes) } else { None };
        short.unwrap_or_else(|| crc32c::crc32c_append(so_far, bytes))
    }
}

#[cfg(test)]
mod tests {
    use ringmain_core::checksum::Software;

    use super::*;

    #[test]
    fn agrees_with_the_portable_one_at_every_length_and_split() {
        let bytes: Vec<u8> = (0..5000u32).map(|n| (n * 7 + n / 13) as u8).collect();
        for len in (0..300).chain([1023, 1024, 1025, 4999]) {
            let (first, second) = bytes[..len].split_at(len / 3);
            let wanted = Software::crc32c(0, &bytes[..len]);
            assert_eq!(Hardware::crc32c(0, &bytes[..len]), wanted, "{len} bytes");
            assert_eq!(Hardware::crc32c(Hardware::crc32c(0, first), second), wanted);
        }
    }
}
