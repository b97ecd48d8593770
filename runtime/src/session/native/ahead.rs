//! Looking ahead in the frames that arrived together, so that the memory of their keys arrives
//! while others are served: most of the time of a read from memory is waiting for that.

use ringmain_core::wire::frame::{Frame, frame_bytes};

use crate::session::request::EXPECTED_COUNT_MAX;

/// The frames that are about to be taken from lent bytes.
#[derive(Debug)]
pub struct Ahead<'b> {
    /// What was not looked at.
    rest: &'b [u8],
    /// Frames to be taken before it is looked at again.
    left: usize,
}

/// Keys of frames that follow one another, at most [`EXPECTED_COUNT_MAX`].
#[derive(Clone, Copy, Debug)]
pub struct Keys<'b> {
    keys: [&'b [u8]; EXPECTED_COUNT_MAX],
    count: usize,
}

impl<'b> Ahead<'b> {
    /// Of `bytes`, which come behind what a reader holds.
    pub fn new(held: &[u8], bytes: &'b [u8]) -> Ahead<'b> {
        let missing = match held {
            [] => Some(0),
            // Of a lone front; behind a pause, more may be held, and nothing is looked at.
            _ => frame_bytes(held).ok().flatten().and_then(|whole| whole.checked_sub(held.len())),
        };
        let rest = missing.and_then(|missing| bytes.get(missing..)).unwrap_or_default();
        Ahead { rest, left: usize::from(!held.is_empty()) }
    }

    /// A frame is about to be taken: the keys of it and of those behind it, if it is time to look.
    /// Only a hint: nothing of them was checked.
    pub fn keys(&mut self) -> Option<Keys<'b>> {
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        let mut keys = Keys { keys: [&[]; EXPECTED_COUNT_MAX], count: 0 };
        let mut frames = 0;
        while frames < EXPECTED_COUNT_MAX
            && let Some((frame, rest)) = first_frame(self.rest)
        {
            self.rest = rest;
            frames += 1;
            if !frame.key().is_empty() {
                keys.keys[keys.count] = frame.key();
                keys.count += 1;
            }
        }
        match frames {
            // What ends in later bytes comes with them.
            0 => self.left = usize::MAX,
            _ => self.left = frames - 1,
        }
        (keys.count > 1).then_some(keys)
    }
}

impl<'b> Keys<'b> {
    /// Them.
    pub fn as_slice(&self) -> &[&'b [u8]] {
        &self.keys[..self.count]
    }
}

/// The key of the frame that `bytes` are, if they are one and no more. Nothing of it was checked.
pub fn lone_key(bytes: &[u8]) -> Option<&[u8]> {
    let (frame, rest) = first_frame(bytes)?;
    let key = frame.key();
    (rest.is_empty() && !key.is_empty()).then_some(key)
}

fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let length = frame_bytes(bytes).ok().flatten()?;
    let (frame, rest) = bytes.split_at_checked(length)?;
    Some((Frame::without_checksum(frame).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmain_core::checksum::Software;
    use ringmain_core::id::{RequestId, TopologyId};
    use ringmain_core::wire::frame::{Hop, frame_length, write_frame};
    use ringmain_core::wire::op::Op;

    /// As many READs, of the keys "a0", "a1" and so on.
    fn frames(count: u32) -> Vec<u8> {
        let mut all = Vec::new();
        for number in 0..count {
            let hop = Hop {
                op: Op::Read,
                request: RequestId(number),
                deadline_ms: 0,
                sent_ms: 0,
                topology: TopologyId(0),
                cluster_digest: 0,
            };
            let (key, payload) = (format!("a{number}"), [0_u8; 16]);
            let begin = all.len();
            all.resize(begin + frame_length(key.len(), 16), 0);
            write_frame::<Software>(&hop, key.as_bytes(), &&payload[..], &mut all[begin..]);
        }
        all
    }

    /// What is looked at before each of `count` frames is taken.
    fn looks(mut ahead: Ahead<'_>, count: usize) -> Vec<Vec<String>> {
        let text = |key: &&[u8]| String::from_utf8_lossy(key).into_owned();
        let look = |_| ahead.keys().map(|keys| keys.as_slice().iter().map(text).collect());
        (0..count).map(look).map(Option::unwrap_or_default).collect()
    }

    fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("a{number}")).collect()
    }

    #[test]
    fn each_key_is_seen_once_in_front_of_its_frame() {
        let bytes = frames(40);
        let looked = looks(Ahead::new(&[], &bytes), 40);
        for (at, keys) in looked.iter().enumerate() {
            let expected = match at {
                0 | 16 => names(at..at + 16),
                32 => names(32..40),
                _ => vec![],
            };
            assert_eq!(*keys, expected, "{at}");
        }
    }

    #[test]
    fn it_begins_behind_the_frame_whose_front_is_held() {
        let bytes = frames(4);
        let first = frames(1).len();
        for cut in 1..first {
            let looked = looks(Ahead::new(&bytes[..cut], &bytes[cut..]), 4);
            // No length is known of a few bytes.
            let keys = if cut < 8 { vec![] } else { names(1..4) };
            assert_eq!(looked[1], keys, "{cut}");
            assert!(looked[0].is_empty() && looked[2].is_empty() && looked[3].is_empty());
        }
        // What a pause left is more than one frame.
        assert!(looks(Ahead::new(&bytes[..first + 1], &bytes[first + 1..]), 4).concat().is_empty());
    }

    #[test]
    fn a_lone_key_is_that_of_one_whole_frame() {
        let bytes = frames(2);
        let first = frames(1).len();
        assert_eq!(lone_key(&bytes[..first]), Some(&b"a0"[..]));
        for end in (0..bytes.len() + 1).filter(|end| *end != first) {
            assert_eq!(lone_key(&bytes[..end]), None, "{end}");
        }
        assert_eq!(lone_key(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn what_is_cut_or_no_frame_ends_the_look() {
        let bytes = frames(3);
        assert_eq!(looks(Ahead::new(&[], &bytes[..bytes.len() - 1]), 3)[0], names(0..2));
        assert!(looks(Ahead::new(&[], b"GET / HTTP/1.1\r\n"), 2).concat().is_empty());
        assert!(looks(Ahead::new(b"GET / HT", &bytes), 2).concat().is_empty());
        // One alone has nobody to wait beside.
        assert!(looks(Ahead::new(&[], &frames(1)), 1).concat().is_empty());
    }
}
