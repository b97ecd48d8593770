//! CRC-32C of a few bytes.
//!
//! The checksum of a place part covers 28 bytes, and is made or checked for every record that is
//! read or written. The `crc32c` crate is made for long runs: it looks for aligned words, and
//! splits what is left by three. Of so few bytes that is most of the time.

/// Below this length the CPU's instruction, word by word, is faster than the `crc32c` crate.
pub const SHORT_BYTES: usize = 64;

/// CRC-32C of `so_far` and then `bytes`; `None` where the CPU has no instruction for it.
#[inline]
pub fn short_crc32c(so_far: u32, bytes: &[u8]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the CPU has the instructions, as was just asked.
        return Some(unsafe { by_instruction(so_far, bytes) });
    }
    let _ = (so_far, bytes);
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn by_instruction(so_far: u32, bytes: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u32, _mm_crc32_u64};
    let (words, rest) = bytes.as_chunks::<8>();
    let word = |sum, word: &[u8; 8]| _mm_crc32_u64(sum, u64::from_le_bytes(*word));
    let sum = words.iter().fold(u64::from(!so_far), word) as u32;
    let (half, rest) = rest.as_chunks::<4>();
    let sum = half.iter().fold(sum, |sum, half| _mm_crc32_u32(sum, u32::from_le_bytes(*half)));
    !rest.iter().fold(sum, |sum, byte| _mm_crc32_u8(sum, *byte))
}
