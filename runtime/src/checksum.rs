//! CRC32C by the CPU's instruction: the one checksum of frames and of the log.

/// CRC32C of `bytes`, continuing from `so_far` (0 to begin).
pub(crate) fn crc32c(so_far: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(so_far, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive oracle: one bit at a time, polynomial 0x1EDC6F41 reflected.
    fn bitwise(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
            })
        })
    }

    #[test]
    fn agrees_with_the_bitwise_oracle_and_the_published_value() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        let bytes: Vec<u8> = (0..5000u32).map(|n| (n * 7 + n / 13) as u8).collect();
        for len in (0..300).chain([1023, 1024, 1025, 4999]) {
            assert_eq!(crc32c(0, &bytes[..len]), bitwise(&bytes[..len]), "{len} bytes");
            let half = len / 2;
            assert_eq!(
                crc32c(crc32c(0, &bytes[..half]), &bytes[half..len]),
                bitwise(&bytes[..len])
            );
        }
    }
}
