//! The operations that a [`Ring`] can start. Each owns what it names until it ended.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags, Timespec};
use io_uring::{opcode, squeue};
use rustix::net::SocketAddrAny;

use super::buffers::GROUP;
use super::message::Message;
use super::operations::{Handle, Lent, Operation, OperationId};
use super::ring::{IGNORED, Ring};
use super::send_buffer::SendBuffer;

impl<T: Copy> Ring<T> {
    /// Accepts until it ends, one completion with a socket for each.
    pub fn accept(&mut self, listener: &Rc<OwnedFd>, token: T) -> OperationId {
        let handle = Handle::Socket(Rc::clone(listener));
        let entry = opcode::AcceptMulti::new(Fd(handle.raw())).flags(libc::SOCK_CLOEXEC).build();
        let operation = Operation { token, handle, lent: Lent::Nothing, is_accept: true };
        self.start(operation, entry, None)
    }

    /// Receives into buffers of the pool: once, or until it ends with one completion for each.
    pub fn receive(&mut self, socket: &Rc<OwnedFd>, is_once: bool, token: T) -> OperationId {
        let handle = Handle::Socket(Rc::clone(socket));
        let fd = Fd(handle.raw());
        let entry = match is_once {
            true => opcode::Recv::new(fd, std::ptr::null_mut(), self.buffers().bytes_each())
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            false => opcode::RecvMulti::new(fd, GROUP).build(),
        };
        self.start(Operation { token, handle, lent: Lent::Nothing, is_accept: false }, entry, None)
    }

    /// Sends `buffer` without its first `from` bytes, or as much of that as one operation takes:
    /// says how much that is. The kernel goes on after a short send where it can; the result may
    /// still be short.
    pub fn send(
        &mut self,
        socket: &Rc<OwnedFd>,
        buffer: SendBuffer,
        from: usize,
        token: T,
    ) -> (OperationId, usize) {
        let handle = Handle::Socket(Rc::clone(socket));
        let (fd, flags) = (Fd(handle.raw()), libc::MSG_NOSIGNAL | libc::MSG_WAITALL);
        let (entry, lent, asked) = match buffer.into_own() {
            Ok(bytes) => {
                let part = bytes.get(from..).unwrap_or_default();
                let entry = opcode::Send::new(fd, part.as_ptr(), length(part.len())).flags(flags);
                let asked = part.len();
                (entry.build(), Lent::Bytes(bytes), asked)
            }
            Err(buffer) => {
                let message = Message::new(buffer, from);
                let entry = opcode::SendMsg::new(fd, message.header()).flags(flags as u32);
                let asked = message.bytes();
                (entry.build(), Lent::Message(message), asked)
            }
        };
        let operation = Operation { token, handle, lent, is_accept: false };
        (self.start(operation, entry, None), asked)
    }

    /// Connects, or ends with ECANCELED after `timeout`.
    pub fn connect(
        &mut self,
        socket: &Rc<OwnedFd>,
        address: SocketAddr,
        timeout: Duration,
        token: T,
    ) -> OperationId {
        let handle = Handle::Socket(Rc::clone(socket));
        let target = Box::new((SocketAddrAny::from(address), Timespec::from(timeout)));
        let entry =
            opcode::Connect::new(Fd(handle.raw()), target.0.as_ptr().cast(), target.0.addr_len())
                .build();
        let limit = opcode::LinkTimeout::new(&raw const target.1).build().user_data(IGNORED);
        let lent = Lent::Target(target);
        self.start(Operation { token, handle, lent, is_accept: false }, entry, Some(limit))
    }

    /// Ends with ETIME after `duration`.
    pub fn timeout(&mut self, duration: Duration, token: T) -> OperationId {
        let time = Box::new(Timespec::from(duration));
        let entry = opcode::Timeout::new(&raw const *time).build();
        let (handle, lent) = (Handle::None, Lent::Time(time));
        self.start(Operation { token, handle, lent, is_accept: false }, entry, None)
    }

    /// Reads at `offset` into all of `bytes`; fewer may come. With `drops` what was not in the page
    /// cache before does not stay there: EOPNOTSUPP or EINVAL where that cannot be asked for.
    pub fn read(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        (mut bytes, drops): (Vec<u8>, bool),
        token: T,
    ) -> OperationId {
        let handle = Handle::File(Arc::clone(file));
        let entry = opcode::Read::new(Fd(handle.raw()), bytes.as_mut_ptr(), length(bytes.len()))
            .offset(offset)
            .rw_flags(if drops { libc::RWF_DONTCACHE } else { 0 })
            .build();
        let operation = Operation { token, handle, lent: Lent::Bytes(bytes), is_accept: false };
        self.start(operation, entry, None)
    }

    /// Writes `bytes` without its first `from` at `offset`; fewer may be written. With `then_sync`
    /// a data sync of the file is linked behind it, with a completion of its own: ECANCELED if
    /// not all was written.
    pub fn write(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        bytes: Rc<dyn AsRef<[u8]>>,
        from: usize,
        (token, then_sync): (T, Option<T>),
    ) -> OperationId {
        let handle = Handle::File(Arc::clone(file));
        // Asked for once per write: nothing obliges `as_ref` to say the same twice. It is on the
        // heap already, so moving the pointer below moves no byte.
        let part = (*bytes).as_ref().get(from..).unwrap_or_default();
        let mut entry = opcode::Write::new(Fd(handle.raw()), part.as_ptr(), length(part.len()))
            .offset(offset)
            .build();
        let sync = then_sync.map(|token| {
            entry = entry.clone().flags(squeue::Flags::IO_LINK);
            let (id, entry) = self.enter_sync(file, token);
            entry.user_data(id.0)
        });
        let operation = Operation { token, handle, lent: Lent::Shared(bytes), is_accept: false };
        let id = self.operations.insert(operation);
        self.push(entry.user_data(id.0), sync);
        id
    }

    /// Makes the data of a file durable.
    pub fn sync(&mut self, file: &Arc<File>, token: T) -> OperationId {
        let (id, entry) = self.enter_sync(file, token);
        self.push(entry.user_data(id.0), None);
        id
    }

    /// Asks an operation to end; if it did already, nothing happens.
    pub fn cancel(&mut self, operation: OperationId) {
        let entry = opcode::AsyncCancel::new(operation.0).build().user_data(IGNORED);
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), None);
    }

    fn enter_sync(&mut self, file: &Arc<File>, token: T) -> (OperationId, squeue::Entry) {
        let handle = Handle::File(Arc::clone(file));
        let entry = opcode::Fsync::new(Fd(handle.raw())).flags(FsyncFlags::DATASYNC).build();
        let operation = Operation { token, handle, lent: Lent::Nothing, is_accept: false };
        (self.operations.insert(operation), entry)
    }

    fn start(
        &mut self,
        operation: Operation<T>,
        entry: squeue::Entry,
        linked: Option<squeue::Entry>,
    ) -> OperationId {
        let id = self.operations.insert(operation);
        let entry = entry.user_data(id.0);
        match linked {
            Some(_) => self.push(entry.flags(squeue::Flags::IO_LINK), linked),
            None => self.push(entry, None),
        }
        id
    }
}

/// A length as the kernel takes it: longer ones are worked off in parts.
fn length(bytes: usize) -> u32 {
    const LENGTH_MAX: usize = 0x7fff_f000;
    bytes.min(LENGTH_MAX) as u32
}
