//! Files: writes with the sync linked behind them, syncs and reads.

use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use super::event::{Event, Token};
use super::ring::HotRing;
use crate::sys::{Completion, Errno, Handle, Lent};

/// There is no room for one more: wait for events, then ask again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full;

/// The writes in flight, and how many operations on files there are in all.
pub(super) struct Writes {
    /// By slot, which tokens name; a slot is free once all its operations ended.
    slots: Vec<Option<Write>>,
    count: u32,
    count_max: u32,
}

/// One write, and the sync behind it.
struct Write {
    tag: u64,
    /// Where the first byte goes.
    offset: u64,
    /// Bytes before that one, which are not written.
    from: usize,
    /// Bytes written so far.
    done: usize,
    then_sync: bool,
    /// Ends without a byte since the last one written.
    idle_count: u32,
    /// How often the kernel had split submissions when it was started.
    split_count: u64,
    linked: Linked,
    /// Nothing more is to be said about it; only the linked sync has not ended.
    is_over: bool,
}

/// The sync that is linked behind the first part of a write. The rest after a short one has none
/// linked: its sync is started when all is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Linked {
    /// In flight, and the write too.
    Waiting,
    /// In flight, and started after all was written: its result is the sync's.
    Counting,
    /// In flight, but it may have been started too early.
    Ignored,
    /// It ended, or there was none.
    Ended,
}

impl HotRing {
    /// Writes all of `bytes` without the first `from` at `offset`; `Written` follows. With
    /// `then_sync` the data of the file is synced once all is written, and `Synced` follows a
    /// successful `Written`. The bytes are let go of before `Written` comes out.
    ///
    /// # Errors
    /// If `file_operation_count_max` operations are in flight.
    pub fn write(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        (bytes, from): (Rc<dyn AsRef<[u8]>>, usize),
        then_sync: bool,
        tag: u64,
    ) -> Result<(), Full> {
        self.writes.take_one()?;
        let write = Write {
            tag,
            offset,
            from,
            done: 0,
            then_sync,
            idle_count: 0,
            split_count: self.ring.split_count(),
            linked: if then_sync { Linked::Waiting } else { Linked::Ended },
            is_over: false,
        };
        let slot = self.writes.insert(write);
        let tokens = (Token::Write(slot), then_sync.then_some(Token::SyncBehind(slot)));
        self.ring.write(file, offset, bytes, from, tokens);
        Ok(())
    }

    /// Makes what was written to a file durable; `Synced` follows.
    pub fn sync(&mut self, file: &Arc<File>, tag: u64) -> Result<(), Full> {
        self.writes.take_one()?;
        self.ring.sync(file, Token::Sync(tag));
        Ok(())
    }

    /// Reads at `offset` into all of `buffer`; [`Event::Read`] follows. With `drops` what was not
    /// in the page cache before does not stay there; EOPNOTSUPP or EINVAL where that cannot be.
    ///
    /// # Errors
    /// Gives the buffer back if `file_operation_count_max` operations are in flight.
    pub fn read(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        (buffer, drops): (Vec<u8>, bool),
        tag: u64,
    ) -> Result<(), (Vec<u8>, Full)> {
        if self.writes.take_one().is_err() {
            return Err((buffer, Full));
        }
        self.ring.read(file, offset, (buffer, drops), Token::Read(tag));
        Ok(())
    }

    pub(super) fn on_written(
        &mut self,
        slot: usize,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let (Handle::File(file), Lent::Shared(bytes)) = (completion.handle, completion.lent) else {
            return None;
        };
        let write = self.writes.find(slot)?;
        let length = (*bytes).as_ref().len().saturating_sub(write.from);
        let written = match completion.result {
            Ok(written) => written as usize,
            Err(Errno(libc::EINTR | libc::EAGAIN)) => 0,
            Err(errno) => return self.on_write_failed(slot, errno),
        };
        let is_first_part = write.done == 0;
        write.done += written;
        if write.done >= length {
            drop(bytes);
            return self.on_all_written(slot, &file, is_first_part);
        }
        write.idle_count = if written > 0 { 0 } else { write.idle_count + 1 };
        if write.idle_count >= IDLE_COUNT_MAX {
            return self.on_write_failed(slot, Errno(libc::EIO));
        }
        let (offset, from) = (write.offset + write.done as u64, write.from + write.done);
        self.ring.write(&file, offset, bytes, from, (Token::Write(slot), None));
        None
    }

    fn on_all_written(
        &mut self,
        slot: usize,
        file: &Arc<File>,
        is_first_part: bool,
    ) -> Option<Event<'static>> {
        let is_held = self.ring.split_count() == self.writes.find(slot)?.split_count;
        let write = self.writes.find(slot)?;
        let event = Event::Written { tag: write.tag, result: Ok(()) };
        if !write.then_sync {
            self.writes.end(slot);
            return Some(event);
        }
        if write.linked == Linked::Waiting && is_first_part && is_held {
            write.linked = Linked::Counting;
            return Some(event);
        }
        if write.linked == Linked::Waiting {
            write.linked = Linked::Ignored;
        }
        self.ring.sync(file, Token::SyncAfter(slot));
        Some(event)
    }

    fn on_write_failed(&mut self, slot: usize, errno: Errno) -> Option<Event<'static>> {
        let tag = self.writes.find(slot)?.tag;
        self.writes.end(slot);
        Some(Event::Written { tag, result: Err(errno) })
    }

    pub(super) fn on_synced_behind(
        &mut self,
        slot: usize,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let write = self.writes.find(slot)?;
        let linked = std::mem::replace(&mut write.linked, Linked::Ended);
        let (tag, is_over) = (write.tag, write.is_over);
        if linked == Linked::Counting || is_over {
            self.writes.end(slot);
        }
        let result = completion.result.map(|_| ());
        (linked == Linked::Counting).then_some(Event::Synced { tag, result })
    }

    pub(super) fn on_synced_after(
        &mut self,
        slot: usize,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        let tag = self.writes.find(slot)?.tag;
        self.writes.end(slot);
        Some(Event::Synced { tag, result: completion.result.map(|_| ()) })
    }

    pub(super) fn on_synced(&mut self, tag: u64, completion: Completion<Token>) -> Event<'static> {
        self.writes.give_one();
        Event::Synced { tag, result: completion.result.map(|_| ()) }
    }

    pub(super) fn on_read(
        &mut self,
        tag: u64,
        completion: Completion<Token>,
    ) -> Option<Event<'static>> {
        self.writes.give_one();
        let Lent::Bytes(buffer) = completion.lent else { return None };
        let result = completion.result.map(|count| count as usize);
        Some(Event::Read { tag, buffer, result })
    }
}

impl Writes {
    pub(super) fn new(count_max: u32) -> Writes {
        Writes { slots: Vec::new(), count: 0, count_max }
    }

    fn take_one(&mut self) -> Result<(), Full> {
        if self.count >= self.count_max {
            return Err(Full);
        }
        self.count += 1;
        Ok(())
    }

    fn give_one(&mut self) {
        self.count -= 1;
    }

    fn insert(&mut self, write: Write) -> usize {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(write);
        slot
    }

    fn find(&mut self, slot: usize) -> Option<&mut Write> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Nothing more is to be said about a write. Its slot is kept until its linked sync ended,
    /// whose token names it.
    fn end(&mut self, slot: usize) {
        let Some(write) = self.find(slot) else { return };
        match write.linked {
            Linked::Ended => {
                self.slots[slot] = None;
                self.give_one();
            }
            Linked::Waiting | Linked::Counting | Linked::Ignored => {
                write.linked = Linked::Ignored;
                write.is_over = true;
            }
        }
    }
}

/// How often a write may end without a byte before that counts as an error.
const IDLE_COUNT_MAX: u32 = 8;
