//! All connections of a server on one `io_uring`: the only unsafe code of the benchmarks.
//!
//! One multishot accept, a multishot receive into provided buffers for each connection, and at
//! most one send for each connection in a turn. What the kernel may touch after a call (the pool,
//! what is being sent) belongs to [`Ring`], which is leaked when it is dropped.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use memmap2::{MmapMut, MmapOptions};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};

const SUBMISSION_COUNT: u32 = 1024;
const COMPLETION_COUNT: u32 = 4096;
/// Buffers of the pool, a power of two, and the bytes of each.
const BUFFER_COUNT: u16 = 512;
const BUFFER_BYTES: u32 = 16 << 10;
const GROUP: u16 = 0;

/// What became of the bytes that a connection sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Served {
    /// So many are answered; the rest is a command that is not whole.
    Bytes(usize),
    /// They are no command: the connection is closed.
    Malformed,
    /// The server is to end.
    Stop,
}

/// See the module.
pub(crate) struct Ring(ManuallyDrop<State>);

struct State {
    uring: IoUring,
    pool: Pool,
    listener: TcpListener,
    connections: Vec<Connection>,
    free: Vec<u32>,
    /// Connections with something to send at the end of the turn.
    dirty: Vec<u32>,
    /// Completions of the turn.
    batch: Vec<cqueue::Entry>,
}

#[derive(Default)]
struct Connection {
    /// Open while its receive is armed.
    socket: Option<OwnedFd>,
    /// The begin of a command whose end did not come yet.
    carry: Vec<u8>,
    out: Vec<u8>,
    /// The kernel's from `sent` on, while `is_sending`.
    sending: Vec<u8>,
    sent: usize,
    is_sending: bool,
}

/// What a completion is about, as its user data.
#[derive(Clone, Copy)]
enum Token {
    Accept,
    Receive(u32),
    Send(u32),
}

impl Token {
    fn number(self) -> u64 {
        match self {
            Token::Accept => 0,
            Token::Receive(slot) => u64::from(slot) << 2 | 1,
            Token::Send(slot) => u64::from(slot) << 2 | 2,
        }
    }

    fn of(number: u64) -> Token {
        let slot = (number >> 2) as u32;
        match number & 3 {
            0 => Token::Accept,
            1 => Token::Receive(slot),
            _ => Token::Send(slot),
        }
    }
}

impl Ring {
    /// The ring of the calling thread, with an accept under way.
    pub(crate) fn new(listener: TcpListener) -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETION_COUNT)
            .build(SUBMISSION_COUNT)?;
        let pool = Pool::new(&uring)?;
        let mut state = State {
            uring,
            pool,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            batch: Vec::new(),
        };
        state.accept()?;
        Ok(Ring(ManuallyDrop::new(state)))
    }

    /// Submits, waits for something to do, and does all of it: `serve` answers what a connection
    /// sent by appending to the vector. False once it says [`Served::Stop`].
    pub(crate) fn turn(
        &mut self,
        serve: impl FnMut(&[u8], &mut Vec<u8>) -> Served,
    ) -> io::Result<bool> {
        self.0.turn(serve)
    }
}

impl State {
    fn turn(&mut self, mut serve: impl FnMut(&[u8], &mut Vec<u8>) -> Served) -> io::Result<bool> {
        match self.uring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let mut goes_on = true;
        let mut batch = mem::take(&mut self.batch);
        batch.extend(self.uring.completion());
        for entry in batch.drain(..) {
            match Token::of(entry.user_data()) {
                Token::Accept => self.on_accepted(&entry)?,
                Token::Receive(slot) => goes_on &= self.on_received(slot, &entry, &mut serve)?,
                Token::Send(slot) => self.on_sent(slot, entry.result()),
            }
        }
        self.batch = batch;
        while let Some(slot) = self.dirty.pop() {
            let connection = &mut self.connections[slot as usize];
            if connection.sent == connection.sending.len() {
                connection.sending.clear();
                connection.sent = 0;
                mem::swap(&mut connection.out, &mut connection.sending);
            }
            self.send(slot)?;
        }
        Ok(goes_on)
    }

    fn on_accepted(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        if !cqueue::more(entry.flags()) {
            self.accept()?;
        }
        if entry.result() < 0 {
            return Ok(());
        }
        // SAFETY: the result of an accept is a new descriptor that is ours alone, and each
        // completion is taken once.
        let socket = unsafe { OwnedFd::from_raw_fd(entry.result()) };
        sockopt::set_tcp_nodelay(&socket, true)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            self.connections.len() as u32 - 1
        });
        self.connections[slot as usize].socket = Some(socket);
        self.receive(slot)
    }

    /// False if the server is to end.
    fn on_received(
        &mut self,
        slot: u32,
        entry: &cqueue::Entry,
        serve: &mut impl FnMut(&[u8], &mut Vec<u8>) -> Served,
    ) -> io::Result<bool> {
        let connection = &mut self.connections[slot as usize];
        let is_starved = entry.result() == -Errno::NOBUFS.raw_os_error();
        let Some(buffer) = cqueue::buffer_select(entry.flags()) else {
            if is_starved {
                self.receive(slot)?;
            } else {
                self.close(slot);
            }
            return Ok(true);
        };
        let bytes = self.pool.filled(buffer, entry.result());
        let served = if connection.carry.is_empty() {
            let served = serve(bytes, &mut connection.out);
            if let Served::Bytes(used) = served {
                connection.carry.extend_from_slice(&bytes[used..]);
            }
            served
        } else {
            connection.carry.extend_from_slice(bytes);
            let served = serve(&connection.carry, &mut connection.out);
            if let Served::Bytes(used) = served {
                connection.carry.drain(..used);
            }
            served
        };
        self.pool.give_back(buffer);
        if !connection.is_sending && !connection.out.is_empty() {
            connection.is_sending = true;
            self.dirty.push(slot);
        }
        if served == Served::Malformed
            && let Some(socket) = &connection.socket
        {
            // Its receive ends for it, and closes it.
            let _gone = shutdown(socket, Shutdown::Both);
        }
        if !cqueue::more(entry.flags()) {
            self.receive(slot)?;
        }
        Ok(served != Served::Stop)
    }

    fn on_sent(&mut self, slot: u32, result: i32) {
        let connection = &mut self.connections[slot as usize];
        // A connection that broke says so to its receive.
        connection.sent += usize::try_from(result).unwrap_or(connection.sending.len());
        connection.sent = connection.sent.min(connection.sending.len());
        if connection.socket.is_none() {
            connection.is_sending = false;
            self.close(slot);
        } else if connection.sent == connection.sending.len() && connection.out.is_empty() {
            connection.is_sending = false;
        } else {
            self.dirty.push(slot);
        }
    }

    /// No receive is armed any more. The slot is free once nothing is being sent.
    fn close(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.socket = None;
        connection.carry.clear();
        connection.out.clear();
        if !connection.is_sending {
            connection.sending.clear();
            connection.sent = 0;
            self.free.push(slot);
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let listener = Fd(self.listener.as_raw_fd());
        self.push(opcode::AcceptMulti::new(listener).build(), Token::Accept)
    }

    fn receive(&mut self, slot: u32) -> io::Result<()> {
        let Some(socket) = &self.connections[slot as usize].socket else { return Ok(()) };
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(entry, Token::Receive(slot))
    }

    /// Sends what is left of `sending`. One whose socket is closed by now is over.
    fn send(&mut self, slot: u32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        let Some(socket) = &connection.socket else {
            connection.is_sending = false;
            self.close(slot);
            return Ok(());
        };
        let left = &connection.sending[connection.sent..];
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), left.as_ptr(), left.len() as u32);
        self.push(entry.build(), Token::Send(slot))
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        let entry = entry.user_data(token.number());
        // SAFETY:
        // - an accept and a receive point to nothing: received bytes go to the pool;
        // - a send points into `sending` of its connection, on the heap, which is neither changed
        //   nor freed until its completion: slots are used again only behind it, and all of
        //   `State` is leaked;
        // - the descriptors are open when the kernel takes the entry, or are meant by nobody
        //   else: a socket is closed only while completions are handled, once its receive ended,
        //   and sends are pushed behind that.
        if unsafe { self.uring.submission().push(&entry) }.is_ok() {
            return Ok(());
        }
        self.uring.submit()?;
        // SAFETY: as above.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        pushed.map_err(|_| io::Error::other("the kernel takes no entries"))
    }
}

/// The receive buffers: each is the kernel's, or ours between its completion and `give_back`.
struct Pool {
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    /// Buffers ever given to the kernel, wrapping.
    tail: u16,
    // The pointers point into these.
    _entries: MmapMut,
    _bytes: MmapMut,
}

impl Pool {
    fn new(uring: &IoUring) -> io::Result<Pool> {
        let zeros = |bytes| MmapOptions::new().len(bytes).populate().map_anon();
        let mut entries = zeros(usize::from(BUFFER_COUNT) * size_of::<BufRingEntry>())?;
        let mut bytes = zeros(usize::from(BUFFER_COUNT) * BUFFER_BYTES as usize)?;
        let nothing = || io::Error::other("a map without an address");
        let mut pool = Pool {
            entries: NonNull::new(entries.as_mut_ptr().cast()).ok_or_else(nothing)?,
            bytes: NonNull::new(bytes.as_mut_ptr()).ok_or_else(nothing)?,
            tail: 0,
            _entries: entries,
            _bytes: bytes,
        };
        (0..BUFFER_COUNT).for_each(|buffer| pool.give_back(buffer));
        let address = pool.entries.as_ptr() as u64;
        // SAFETY: the map begins on a page and has room for all entries; it stays as long as the
        // process, since `State` is leaked.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, BUFFER_COUNT, GROUP, 0) }?;
        Ok(pool)
    }

    /// What a completion with that result put into `buffer`.
    fn filled(&self, buffer: u16, result: i32) -> &[u8] {
        assert!(buffer < BUFFER_COUNT);
        let bytes = u32::try_from(result).unwrap_or(0);
        assert!(bytes <= BUFFER_BYTES);
        // SAFETY:
        // - both are below their bounds, so the range is inside the map, which is initialized;
        // - the kernel named the buffer in a completion and does not touch it until it is given
        //   back, for which `self` would have to be borrowed mutably.
        unsafe {
            let first = self.bytes.as_ptr().add(usize::from(buffer) * BUFFER_BYTES as usize);
            std::slice::from_raw_parts(first, bytes as usize)
        }
    }

    fn give_back(&mut self, buffer: u16) {
        assert!(buffer < BUFFER_COUNT);
        let place = usize::from(self.tail & (BUFFER_COUNT - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY:
        // - `place` and `buffer` are below the count, so the pointers stay inside their maps;
        // - the kernel reads no entry at or behind the tail that it knows, and there are as many
        //   places as buffers, so it does not read this one until the store;
        // - it reads the tail with an acquire load, so it is atomic here, too.
        unsafe {
            let address = self.bytes.as_ptr().add(usize::from(buffer) * BUFFER_BYTES as usize);
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(address as u64);
            entry.set_len(BUFFER_BYTES);
            entry.set_bid(buffer);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}
