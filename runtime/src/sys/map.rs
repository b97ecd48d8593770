//! Files and zeros as slices.

use std::fs::File;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, RemapOptions};
use rustix::fs::OFlags;
use zerocopy::FromZeros;

use super::bus::Guard;
use super::errno::Errno;

/// All of a file, readable. Parts are borrowed one by one, and only parts that never change again.
/// A page that the disk does not give is zeros.
#[derive(Debug)]
pub struct Map {
    /// Goes before the map does.
    guard: Guard,
    raw: MmapRaw,
}

impl Map {
    /// Maps the whole of `file`, as long as it is now.
    ///
    /// # Errors
    /// EACCES for a file that was opened for writing too: the kernel treats a map of such a file
    /// as one that may become writable, and interrupts every core when it cleans a page.
    pub fn new(file: &File) -> Result<Map, Errno> {
        let flags = rustix::fs::fcntl_getfl(file)?;
        if flags & OFlags::RWMODE != OFlags::RDONLY {
            return Err(Errno(libc::EACCES));
        }
        let raw = MmapOptions::new().map_raw_read_only(file);
        let raw = raw.map_err(|error| Errno::of(&error))?;
        Ok(Map { guard: Guard::new(raw.as_ptr() as usize, raw.len()), raw })
    }

    /// Bytes of the file when it was mapped.
    #[expect(clippy::len_without_is_empty, reason = "an empty file cannot be mapped")]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Pages that the disk did not give, so far.
    pub fn lost_page_count(&self) -> usize {
        self.guard.lost_count()
    }

    /// Where it begins in memory.
    pub fn address(&self) -> usize {
        self.raw.as_ptr() as usize
    }

    /// A part; `None` if the file is shorter. The caller asks only for bytes that were written
    /// and never will be again (below the `written` mark of a log), in a file that nobody cuts.
    pub fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.raw.len() {
            return None;
        }
        // SAFETY:
        // - the range lies inside the map, which lives as long as `self`;
        // - the log writes every byte once, before it publishes the place, and never truncates a
        //   mapped file, so the bytes of a published range do not change under the slice. A file
        //   changed by another process breaks that: the data directory is locked against them;
        // - any bytes are valid `u8`s. After a read error of the disk they are zeros; a page that
        //   was read before and left memory may become that under a slice, as with a bad disk.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(range.start), range.len()) })
    }
}

/// Says that reads of this file will jump about, so that a miss reads no more than it needs. Else
/// about 128 KiB are read, and memory for them found, in the midst of a page fault. What the
/// kernel makes of this advice is its affair.
pub fn expect_random(file: &File, map: &Map) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
    let _ = map.raw.advise(Advice::Random);
}

/// Whether all of a part of a file is in memory, or just being read into it: if nobody reads it,
/// reading it from a map blocks on nothing. Takes about 0.4 µs. False if it cannot be known.
pub fn is_cached(file: &File, range: Range<u64>) -> bool {
    let bytes = range.end.saturating_sub(range.start);
    let asked = [range.start, bytes];
    let mut counts = [0_u64; 5];
    // SAFETY:
    // - the call reads two words and writes five, which live through it;
    // - the descriptor is open, as it is borrowed.
    let result = unsafe {
        let fd = std::os::fd::AsRawFd::as_raw_fd(file);
        libc::syscall(SYS_CACHESTAT, fd, asked.as_ptr(), counts.as_mut_ptr(), 0)
    };
    if result != 0 {
        return is_read_at_once(file, range);
    }
    let pages = range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES;
    counts[0] >= pages
}

/// The same before Linux 6.5: one byte of each page is read, if that can be done without waiting.
pub(super) fn is_read_at_once(file: &File, range: Range<u64>) -> bool {
    let first = range.start / PAGE_BYTES * PAGE_BYTES;
    let mut pages = (first..range.end).step_by(PAGE_BYTES as usize);
    pages.clone().nth(READ_COUNT_MAX).is_none()
        && pages.all(|page| {
            let mut byte = [0];
            let mut parts = [std::io::IoSliceMut::new(&mut byte)];
            let flags = rustix::io::ReadWriteFlags::NOWAIT;
            rustix::io::preadv2(file, &mut parts, page.max(range.start), flags) == Ok(1)
        })
}

/// `count` values of all zero bits, in huge pages where the system gives them. Memory is taken
/// page by page, at the first touch, from the node of the thread that touches.
pub struct ZeroMap<T> {
    map: MmapMut,
    count: usize,
    _values: PhantomData<T>,
}

impl<T: FromZeros> ZeroMap<T> {
    /// Maps them.
    ///
    /// # Errors
    /// ENOMEM, also if their size overflows.
    pub fn new(count: usize) -> Result<ZeroMap<T>, Errno> {
        const { assert!(0 < size_of::<T>()) };
        const { assert!(!std::mem::needs_drop::<T>()) };
        const { assert!(align_of::<T>() <= 4096) };
        let bytes = count.checked_mul(size_of::<T>()).ok_or(Errno(libc::ENOMEM))?;
        let map = MmapOptions::new().len(bytes.max(1)).map_anon();
        let map = map.map_err(|error| Errno::of(&error))?;
        if bytes >= HUGE_PAGE_BYTES {
            // Only a hint: kernels without huge pages refuse it.
            let _ = map.advise(Advice::HugePage);
        }
        Ok(ZeroMap { map, count, _values: PhantomData })
    }

    /// Gives the memory of all values but the first `count` back; without effect if there are not
    /// more. Cost: about 50 µs per MiB.
    pub fn truncate(&mut self, count: usize) {
        if count >= self.count {
            return;
        }
        let bytes = (count * size_of::<T>()).max(1);
        // SAFETY: the map becomes shorter where it is, and `self` is borrowed for writing, so
        // there is no slice of what goes.
        let remapped = unsafe { self.map.remap(bytes, RemapOptions::new().may_move(false)) };
        // A map that the kernel did not shorten is only longer than is used.
        self.count = count;
        debug_assert!(remapped.is_ok());
    }
}

impl<T: FromZeros> Deref for ZeroMap<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY:
        // - the map holds at least `count` values, starts at a page and lives as long as
        //   `self`, whose borrow the slice has;
        // - all zero bits are a value (`FromZeros`), and later ones came through `DerefMut` or from
        //   within a cell; a map is shared between threads only if its values may be.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.count) }
    }
}

impl<T: FromZeros> DerefMut for ZeroMap<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed for writing, so there is no other slice.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.count) }
    }
}

/// Size of a huge page on the machines we run on; below it the advice is of no use.
const HUGE_PAGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: u64 = 4096;
/// Most pages that are asked for one by one; more are not worth the calls.
const READ_COUNT_MAX: usize = 64;
/// Not in the C library yet.
const SYS_CACHESTAT: libc::c_long = 451;
