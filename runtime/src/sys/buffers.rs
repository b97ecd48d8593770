//! The receive buffers of a ring: a fixed pool that the kernel takes from and we give back to.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use memmap2::{Advice, MmapMut, MmapOptions};

use super::errno::Errno;

/// Most buffers of a pool, set by the kernel.
pub const BUFFER_COUNT_MAX: u16 = 1 << 15;
/// The number that the kernel knows the pool by; a ring has one.
pub(super) const GROUP: u16 = 0;

/// A pool of equal buffers. Each belongs either to the kernel, which may write into it at any
/// time, or to us, from the completion that filled it until [`Buffers::give_back`].
pub struct Buffers {
    /// What the kernel reads: one entry per buffer given to it, and where the last one is.
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    /// Bytes of one buffer.
    bytes_each: u32,
    /// Per buffer: how many bytes of it were filled, if it is ours.
    ours: Box<[Option<u32>]>,
    /// Buffers ever given to the kernel, wrapping.
    tail: u16,
    /// Buffers that are ours now.
    ours_count: u16,
    // The two pointers above point into these.
    _entries: MmapMut,
    _bytes: MmapMut,
}

impl Buffers {
    /// Makes `count` buffers (a power of two) of `bytes_each` and registers them with `ring`.
    pub(super) fn new(ring: &IoUring, count: u16, bytes_each: u32) -> Result<Buffers, Errno> {
        assert!(count.is_power_of_two());
        assert!(count <= BUFFER_COUNT_MAX);
        assert!(0 < bytes_each);
        let entry_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let mut entries = map(entry_bytes)?;
        let mut bytes = map(usize::from(count) * bytes_each as usize)?;
        let mut buffers = Buffers {
            entries: NonNull::new(entries.as_mut_ptr().cast()).ok_or(Errno(libc::ENOMEM))?,
            bytes: NonNull::new(bytes.as_mut_ptr()).ok_or(Errno(libc::ENOMEM))?,
            bytes_each,
            ours: vec![Some(0); usize::from(count)].into(),
            tail: 0,
            ours_count: count,
            _entries: entries,
            _bytes: bytes,
        };
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        let address = buffers.entries.as_ptr() as u64;
        // SAFETY:
        // - the address is the start of a page-aligned map with room for `count` entries;
        // - `Ring` keeps `Buffers` mapped until it unregistered them or no operation is left,
        //   and leaks them otherwise.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0) }
            .map_err(|error| Errno::of(&error))?;
        Ok(buffers)
    }

    /// How many buffers there are.
    pub fn count(&self) -> u16 {
        self.ours.len() as u16
    }

    /// Bytes of each.
    pub fn bytes_each(&self) -> u32 {
        self.bytes_each
    }

    /// How many buffers are not ours: the kernel's, or named by a completion not taken yet.
    pub fn free_count(&self) -> u16 {
        self.count() - self.ours_count
    }

    /// What a completion put into `buffer`; empty if the buffer is not ours.
    pub fn filled(&mut self, buffer: u16) -> &mut [u8] {
        let Some(Some(filled)) = self.ours.get(usize::from(buffer)).copied() else {
            return &mut [];
        };
        let start = usize::from(buffer) * self.bytes_each as usize;
        // SAFETY:
        // - `buffer` < count and `filled` <= `bytes_each` (checked in `take`), so the range is
        //   inside the map, which is never moved nor unmapped while `self` lives;
        // - the buffer is ours: the kernel does not touch it, and since a borrow of all of
        //   `self` is returned there is no second slice of it and no `give_back` meanwhile;
        // - all of the map is initialized, by the kernel with zeros.
        unsafe {
            let first = self.bytes.as_ptr().add(start);
            std::slice::from_raw_parts_mut(first, filled as usize)
        }
    }

    /// What a completion that is here, but was not taken yet, says that it put into `buffer`; none
    /// if that cannot be.
    ///
    /// For [`Ring`](super::Ring) alone, which knows of such completions.
    pub(super) fn filled_next(&self, buffer: u16, bytes: u32) -> Option<&[u8]> {
        let is_taken = self.ours.get(usize::from(buffer))?.is_some();
        if is_taken || bytes > self.bytes_each {
            return None;
        }
        let start = usize::from(buffer) * self.bytes_each as usize;
        // SAFETY:
        // - `buffer` < count and `bytes` <= `bytes_each`, so the range is inside the map, which is
        //   never moved nor unmapped while `self` lives;
        // - the kernel has filled the buffer and named it in a completion: it does not touch it
        //   before it is given back, which needs `self` mutably;
        // - all of the map is initialized, by the kernel with zeros.
        Some(unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().add(start), bytes as usize) })
    }

    /// Gives a buffer to the kernel, to be filled again. Does nothing if it is the kernel's.
    pub fn give_back(&mut self, buffer: u16) {
        let index = usize::from(buffer);
        if self.ours.get(index).copied().flatten().is_none() {
            return;
        }
        self.ours[index] = None;
        self.ours_count -= 1;
        let place = usize::from(self.tail & (self.count() - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY:
        // - `place` < count and `index` < count, so both pointers stay inside their maps;
        // - the kernel reads no entry at or behind the tail that it was told, and since each
        //   buffer is in the ring at most once, entry `place` is behind it until the store below;
        // - no field set here is the tail, which shares the first entry's spare bytes.
        unsafe {
            let address = self.bytes.as_ptr().add(index * self.bytes_each as usize);
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(address as u64);
            entry.set_len(self.bytes_each);
            entry.set_bid(buffer);
        }
        // SAFETY:
        // - `entries` is the start of the ring, aligned to a page, and initialized;
        // - the kernel reads the tail with an acquire load while we store, so it is atomic here.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Notes that a completion put `bytes` into `buffer`, which is ours now. False if that cannot
    /// be: then it stays the kernel's.
    pub(super) fn take(&mut self, buffer: u16, bytes: u32) -> bool {
        match self.ours.get_mut(usize::from(buffer)) {
            Some(ours @ None) if bytes <= self.bytes_each => {
                *ours = Some(bytes);
                self.ours_count += 1;
                true
            }
            _ => false,
        }
    }
}

/// Zeros, in memory from the start: the thread that makes a pool is the one that uses it. In a huge
/// page, if it takes one and there is one.
fn map(bytes: usize) -> Result<MmapMut, Errno> {
    let map = MmapOptions::new().len(bytes).map_anon().map_err(|error| Errno::of(&error))?;
    let _ = map.advise(Advice::HugePage);
    map.advise(Advice::PopulateWrite).map_err(|error| Errno::of(&error))?;
    Ok(map)
}
