use proptest::prelude::*;
use ringmain_core::checksum::Software;
use ringmain_core::id::{RequestId, TopologyId};
use ringmain_core::prng::Prng;

use super::*;

/// A REPLICATE frame of request `number`, whose record is `payload_bytes` ≥ 1 random bytes.
pub(crate) fn frame(number: u32, payload_bytes: usize) -> Vec<u8> {
    let mut prng = Prng::new(u64::from(number));
    let payload: Vec<u8> = (0..payload_bytes).map(|_| prng.next_u64() as u8).collect();
    let hop = Hop {
        op: Op::Replicate,
        request: RequestId(number),
        deadline_ms: 1,
        sent_ms: 2,
        topology: TopologyId(3),
        cluster_digest: 4,
    };
    let mut out = vec![0; frame_length(1, payload_bytes)];
    write_frame::<Software>(&hop, b"k", &payload.as_slice(), &mut out);
    out
}

/// The bytes that a frame was read from.
pub(crate) fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let body = frame.body().bytes();
    let mut bytes = vec![0; FIRST_BYTES];
    frame.hop().write(body.len(), &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

type Reader = FrameReader<Software>;

/// Memory that a reader may use: the invariant of the module's page.
fn check_memory(reader: &Reader) {
    let allowed = (2 * reader.held().len()).max(REST_BYTES_KEPT);
    assert!(reader.memory_bytes() <= allowed, "{} bytes", reader.memory_bytes());
}

/// Feeds all pieces without a pause.
fn read_all<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in pieces {
        let flow = reader.feed(piece, |frame| {
            frames.push(bytes_of(&frame));
            ControlFlow::Continue(())
        });
        assert_eq!(flow, Ok(Flow::Drained));
        check_memory(&reader);
    }
    assert!(reader.held().is_empty());
    frames
}

#[test]
fn every_two_cuts_of_a_transcript_give_the_same_frames() {
    let frames: Vec<_> = [1, 60, 7, 1].iter().zip(0..).map(|(&n, i)| frame(i, n)).collect();
    let all = frames.concat();
    for first in 0..=all.len() {
        for second in first..=all.len() {
            let pieces = [&all[..first], &all[first..second], &all[second..]];
            assert_eq!(read_all(pieces), frames, "cut at {first} and {second}");
        }
    }
    assert_eq!(read_all(all.chunks(1)), frames);
}

#[test]
fn whole_frames_are_read_where_they_lie_and_nothing_is_copied() {
    let all: Vec<u8> = (0..50).flat_map(|number| frame(number, 100)).collect();
    let last = frame(50, 100);
    let lent = [&all[..], &last[..17]].concat();
    let mut reader = Reader::new(FRAME_BYTES_MAX);
    let mut count = 0;
    let mut each = |frame: Frame<'_>| {
        assert!(lent.as_ptr_range().contains(&frame.body().bytes().as_ptr()));
        count += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(reader.feed(&lent[..all.len()], &mut each), Ok(Flow::Drained));
    assert_eq!(reader.memory_bytes(), 0);
    assert_eq!(reader.feed(&lent, each), Ok(Flow::Drained));
    assert_eq!(count, 100);
    assert_eq!(reader.held(), &last[..17]);
    assert_eq!(reader.memory_bytes(), REST_BYTES_MIN);
}

#[test]
fn memory_grows_with_what_arrives_and_is_given_back() {
    let large = frame(1, 3 << 20);
    let mut reader = Reader::new(FRAME_BYTES_MAX);
    let mut count = 0;
    for piece in large.chunks(40) {
        let read = reader.feed(piece, |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        read.unwrap();
        let allowed = (2 * reader.held().len()).max(REST_BYTES_MIN);
        assert!(reader.memory_bytes() <= allowed.min(large.len()));
    }
    assert_eq!((count, reader.memory_bytes()), (1, 0));
}

#[test]
fn a_frame_that_is_given_up_is_passed_over() {
    let (long, next) = (frame(7, 1000), frame(8, 10));
    let all = [&long[..], &next].concat();
    for cut in 0..=all.len() {
        let mut reader = Reader::new(FRAME_BYTES_MAX);
        let mut requests = Vec::new();
        let mut feed = |reader: &mut Reader, bytes: &[u8]| {
            let read = reader.feed(bytes, |frame| {
                requests.push(frame.hop().request.0);
                ControlFlow::Continue(())
            });
            assert_eq!(read, Ok(Flow::Drained));
        };
        feed(&mut reader, &all[..cut]);
        let given_up = reader.give_up();
        let (is_of_long, is_of_next) =
            ((12..long.len()).contains(&cut), (long.len() + 12..all.len()).contains(&cut));
        let of = if is_of_next { 8 } else { 7 };
        assert_eq!(given_up, (is_of_long || is_of_next).then_some(RequestId(of)), "at {cut}");
        assert!(given_up.is_none() || reader.memory_bytes() == 0);
        for byte in &all[cut..] {
            feed(&mut reader, &[*byte]);
        }
        assert!(reader.held().is_empty());
        let expected: &[u32] = match (is_of_long, is_of_next) {
            (true, _) => &[8],
            (_, true) => &[7],
            _ => &[7, 8],
        };
        assert_eq!(requests, expected, "at {cut}");
    }
}

#[test]
fn a_reader_that_rests_keeps_what_it_holds() {
    let bytes = frame(7, 100);
    let mut reader = Reader::new(FRAME_BYTES_MAX);
    assert_eq!(reader.feed(&bytes[..50], |_| unreachable!()), Ok(Flow::Drained));
    reader.rest();
    assert_eq!(reader.held(), &bytes[..50]);
    let mut count = 0;
    let mut each = |_: Frame<'_>| {
        count += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(reader.feed(&bytes[50..], &mut each), Ok(Flow::Drained));
    reader.rest();
    assert_eq!((count, reader.memory_bytes()), (1, 0));
}

#[test]
fn a_frame_that_is_too_long_is_refused_when_announced() {
    let long = frame(1, 100);
    for max in [long.len(), long.len() - 1] {
        let mut reader = Reader::new(max);
        let seven = reader.feed(&long[..7], |_| ControlFlow::Continue(()));
        assert_eq!(seven, Ok(Flow::Drained));
        let eight = reader.feed(&long[7..8], |_| ControlFlow::Continue(()));
        let fits = max == long.len();
        assert_eq!(eight, if fits { Ok(Flow::Drained) } else { Err(FrameError::TooLarge) });
        assert_eq!(reader.memory_bytes() > 0, fits);
    }
}

#[test]
fn the_first_broken_frame_ends_the_stream() {
    let mut broken = frame(2, 9);
    *broken.last_mut().unwrap() ^= 1;
    let all = [frame(1, 9), broken, frame(3, 9)].concat();
    for cut in 0..=all.len() {
        let mut reader = Reader::new(FRAME_BYTES_MAX);
        let mut count = 0;
        let mut each = |_: Frame<'_>| {
            count += 1;
            ControlFlow::Continue(())
        };
        let first = reader.feed(&all[..cut], &mut each);
        let second = reader.feed(&all[cut..], &mut each);
        assert_eq!(second, Err(FrameError::BadChecksum), "cut at {cut}: {first:?}");
        assert_eq!(reader.feed(&frame(4, 9), each), second);
        assert_eq!((count, reader.memory_bytes()), (1, 0));
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_a_prefix_with_other_hops() {
    let frames: Vec<_> = (0..3).map(|number| frame(number, 5)).collect();
    let all = frames.concat();
    for bit in 0..all.len() * 8 {
        let mut flipped = all.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        for piece in [1, 30, all.len()] {
            let mut reader = Reader::new(FRAME_BYTES_MAX);
            let mut bodies = Vec::new();
            let ends = flipped.chunks(piece).find_map(|piece| {
                let each = |frame: Frame<'_>| {
                    bodies.push(frame.body().bytes().to_vec());
                    ControlFlow::Continue(())
                };
                reader.feed(piece, each).err()
            });
            let whole = bodies.len() == frames.len() && reader.held().is_empty();
            // The hop part is not covered, but what tells where frames end is.
            assert_eq!(ends.is_some() || !reader.held().is_empty(), !whole, "bit {bit}");
            for (body, frame) in bodies.iter().zip(&frames) {
                assert_eq!(body, &frame[FIRST_BYTES..]);
            }
        }
    }
}

/// What a pausing consumer sees, against frames that were never cut.
fn check_pauses(seed: u64, lend_again: bool) {
    let mut prng = Prng::new(seed);
    let count = 1 + prng.below(20) as u32;
    let sizes = [8, 300, 2000, 90_000];
    let frames: Vec<_> = (0..count)
        .map(|number| {
            let size = sizes[prng.below(4) as usize];
            frame(number, 1 + prng.below(size) as usize)
        })
        .collect();
    let all = frames.concat();
    let mut reader = Reader::new(FRAME_BYTES_MAX);
    let (mut read, mut at, mut paused) = (Vec::new(), 0, false);
    while at < all.len() || paused {
        let room = [1, 40, 5000, 70_000][prng.below(4) as usize];
        let fed = if paused && !lend_again { 0 } else { prng.below(room) as usize };
        let piece = &all[at..(at + fed).min(all.len())];
        let each = |frame: Frame<'_>| match prng.below(4) {
            0 => ControlFlow::Break(Pause::Before),
            choice => {
                read.push(bytes_of(&frame));
                if choice == 1 {
                    ControlFlow::Break(Pause::After)
                } else {
                    ControlFlow::Continue(())
                }
            }
        };
        let flow = if lend_again {
            let taken = reader.take(piece, each).unwrap();
            at += taken.bytes;
            assert!(taken.bytes == piece.len() || taken.flow == Flow::Paused);
            taken.flow
        } else {
            at += piece.len();
            reader.feed(piece, each).unwrap()
        };
        paused = flow == Flow::Paused;
        check_memory(&reader);
    }
    assert!(reader.held().is_empty());
    assert_eq!(read, frames);
}

#[test]
fn random_cuts_and_pauses_lose_and_repeat_nothing() {
    for seed in 0..300 {
        check_pauses(seed, false);
        check_pauses(seed, true);
    }
}

proptest! {
    #[test]
    fn garbage_neither_panics_nor_grows(pieces: Vec<Vec<u8>>, honest in 0usize..3) {
        let mut reader = Reader::new(FRAME_BYTES_MAX);
        let mut failed = false;
        let front: Vec<u8> = (0..honest as u32).flat_map(|number| frame(number, 3)).collect();
        for piece in std::iter::once(&front).chain(&pieces) {
            let read = reader.feed(piece, |_| ControlFlow::Continue(()));
            prop_assert!(!failed || read.is_err());
            failed = read.is_err();
            check_memory(&reader);
        }
    }
}
