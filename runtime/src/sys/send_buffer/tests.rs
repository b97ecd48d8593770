//! Against a buffer that copies everything.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ringmain_core::prng::Prng;

use super::*;

/// Lends copies of bytes, from a file of its own.
pub(crate) struct Lender {
    file: File,
    map: Arc<Map>,
    used: Cell<usize>,
}

impl Lender {
    pub(crate) fn new() -> Lender {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAP_BYTES).unwrap();
        let map = Map::new(&File::open(file.path()).unwrap()).unwrap();
        Lender { file: file.into_file(), map: Arc::new(map), used: Cell::new(0) }
    }

    pub(crate) fn lend(&self, bytes: &[u8]) -> MapPart {
        let start = self.used.get();
        self.file.write_all_at(bytes, start as u64).unwrap();
        self.used.set(start + bytes.len());
        MapPart::of(&self.map, self.map.bytes(start..start + bytes.len()).unwrap()).unwrap()
    }

    /// Parts that are still lent.
    pub(crate) fn lent_count(&self) -> usize {
        Arc::strong_count(&self.map) - 1
    }
}

const MAP_BYTES: u64 = 256 << 20;

/// A buffer, what it should hold, and its marks with the bytes before each.
struct Model {
    lender: Lender,
    buffer: SendBuffer,
    copy: Vec<u8>,
    marks: Vec<(Mark, usize)>,
    next: u8,
}

impl Model {
    fn new() -> Model {
        let (buffer, copy) = (SendBuffer::default(), Vec::new());
        let marks = vec![(buffer.end(), 0)];
        Model { lender: Lender::new(), buffer, copy, marks, next: 0 }
    }

    /// Bytes that differ from those around them.
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let bytes = (0..count).map(|_| {
            self.next = self.next.wrapping_add(1);
            self.next
        });
        bytes.collect()
    }

    fn put(&mut self, count: usize, is_lent: bool) {
        let bytes = self.bytes(count);
        match is_lent {
            true => self.buffer.lend(self.lender.lend(&bytes)),
            false => self.buffer.tail().extend_from_slice(&bytes),
        }
        self.copy.extend_from_slice(&bytes);
        self.marks.push((self.buffer.end(), self.copy.len()));
    }

    fn truncate(&mut self, at: usize) {
        let (mark, bytes) = self.marks[at];
        self.buffer.truncate(mark);
        self.copy.truncate(bytes);
        self.marks.truncate(at + 1);
    }

    fn remove(&mut self, from: usize, to: usize) {
        let ((from_mark, from_bytes), (to_mark, to_bytes)) = (self.marks[from], self.marks[to]);
        self.buffer.remove(from_mark, to_mark);
        self.copy.drain(from_bytes..to_bytes);
        self.marks.truncate(from + 1);
    }

    /// Takes what is before a mark, and checks it.
    fn take(&mut self, at: usize) {
        let (mark, bytes) = self.marks[at];
        let mut taken = std::mem::take(&mut self.buffer);
        taken.split_to(mark, &mut self.buffer);
        assert_eq!(taken.to_vec(), self.copy[..bytes]);
        assert_eq!(taken.bytes(), bytes);
        self.copy.drain(..bytes);
        let marks = self.marks.split_off(at);
        self.marks = marks.iter().map(|(it, before)| (it.behind(mark), before - bytes)).collect();
    }

    /// With short sends that end at each of `ends`.
    fn check(&self, mut ends: impl Iterator<Item = usize>) {
        assert_eq!(self.buffer.bytes(), self.copy.len());
        assert_eq!(self.buffer.is_empty(), self.copy.is_empty());
        assert!(self.marks.iter().all(|(mark, bytes)| mark.bytes() == *bytes));
        assert_eq!(self.buffer.to_vec(), self.copy);
        assert!(ends.all(|from| {
            let pieces: Vec<&[u8]> = self.buffer.pieces(from).collect();
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            pieces.concat() == self.copy[from..]
        }));
        let lent: usize = self.buffer.lent.iter().map(|(_, part)| part.bytes().len()).sum();
        assert_eq!(self.buffer.lent_bytes(), lent);
        assert_eq!(self.lender.lent_count(), self.buffer.lent.len());
    }
}

/// Every sequence of up to four pieces of up to two bytes, cut in every way.
#[test]
fn short_buffers_are_what_a_copy_is() {
    let kinds = 6_usize;
    let build = |model: &mut Model, count: u32, sequence: usize| {
        for index in 0..count {
            let kind = sequence / kinds.pow(index) % kinds;
            model.put(kind / 2, kind.is_multiple_of(2));
        }
    };
    let mut model = Model::new();
    let mut afresh = |count, sequence, act: &dyn Fn(&mut Model)| {
        model.take(model.marks.len() - 1);
        model.marks.truncate(1);
        build(&mut model, count, sequence);
        act(&mut model);
        model.check(0..=model.copy.len());
        // It goes on as if nothing had been.
        model.put(1, true);
        model.put(1, false);
        model.check(0..=model.copy.len());
    };
    for count in 0..=4_u32 {
        for sequence in 0..kinds.pow(count) {
            for at in 0..=count as usize {
                afresh(count, sequence, &|model| model.truncate(at));
                afresh(count, sequence, &|model| model.take(at));
                for to in at..=count as usize {
                    afresh(count, sequence, &|model| model.remove(at, to));
                }
            }
        }
    }
}

#[test]
fn long_buffers_are_what_a_copy_is() {
    let mut prng = Prng::new(11);
    for _ in 0..50 {
        let mut model = Model::new();
        for _ in 0..400 {
            let mark = prng.below(model.marks.len() as u64) as usize;
            let behind = mark + prng.below((model.marks.len() - mark) as u64) as usize;
            match prng.below(20) {
                0 => model.truncate(mark),
                1 => model.remove(mark, behind),
                2 => model.take(mark),
                3 => {
                    let mut other = SendBuffer::default();
                    other.append(&model.buffer);
                    assert_eq!(other.to_vec(), model.copy);
                    model.buffer.append(&other);
                    model.copy.extend_from_within(..);
                    model.marks.push((model.buffer.end(), model.copy.len()));
                }
                4 if prng.below(4) == 0 => {
                    model.buffer.clear();
                    model.copy.clear();
                    model.marks.truncate(1);
                }
                _ => model.put(prng.below(40) as usize, prng.below(2) == 0),
            }
            if model.copy.len() > 20_000 {
                model.take(model.marks.len() - 1);
            }
            let bytes = model.copy.len() as u64;
            model.check((0..4).map(|_| prng.below(bytes + 1) as usize));
        }
    }
}

#[test]
fn a_part_is_of_the_map_that_it_lies_in() {
    let (one, other) = (Lender::new(), Lender::new());
    let (first, second) = (one.lend(b"first"), other.lend(b"second"));
    assert_eq!((first.bytes(), second.bytes()), (&b"first"[..], &b"second"[..]));
    assert!(MapPart::of(&one.map, second.bytes()).is_none());
    assert!(MapPart::of(&other.map, first.bytes()).is_none());
    assert!(MapPart::of(&one.map, b"elsewhere").is_none());
    let whole = one.map.bytes(0..one.map.len()).unwrap();
    assert_eq!(MapPart::of(&one.map, whole).unwrap().range, 0..one.map.len());
    assert_eq!(MapPart::of(&one.map, &first.bytes()[1..3]).unwrap().bytes(), b"ir");
}
