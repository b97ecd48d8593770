//! A send of several pieces, as the kernel wants it described.

use std::mem::MaybeUninit;

use super::send_buffer::SendBuffer;

/// Most pieces of one send; what is behind them takes another one.
const PIECE_COUNT_MAX: usize = 64;

/// A buffer, and the description of its pieces. All of it stays where it is until it is dropped:
/// the description in its box, own bytes and pieces in memory of their own, and the buffer is out
/// of reach, so nobody appends to it.
pub struct Message {
    buffer: SendBuffer,
    pieces: Vec<libc::iovec>,
    header: libc::msghdr,
}

impl Message {
    /// Describes as much of `buffer` behind its first `from` bytes as one send takes.
    pub(super) fn new(buffer: SendBuffer, from: usize) -> Box<Message> {
        let piece = |piece: &[u8]| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        };
        let pieces = buffer.pieces(from).take(PIECE_COUNT_MAX).map(piece).collect();
        // SAFETY: all zeros are a message header: no address, no pieces, no control data.
        let header = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
        let mut message = Box::new(Message { buffer, pieces, header });
        message.header.msg_iov = message.pieces.as_mut_ptr();
        message.header.msg_iovlen = message.pieces.len() as _;
        message
    }

    /// What the kernel reads.
    pub(super) fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }

    /// Bytes that this send takes at most.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.iov_len).sum()
    }

    /// The buffer again.
    pub(super) fn into_buffer(self) -> SendBuffer {
        self.buffer
    }
}
