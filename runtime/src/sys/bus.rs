//! Pages of a mapped file that cannot be read.
//!
//! *Problem.* A bad sector under a map, or a file that somebody cuts, is a SIGBUS, and that ends
//! the process: then a node cannot start for one sector, nor can the tool that should say which.
//! *Answer.* A handler puts zeros in the place of a page that cannot be read. They fail every
//! checksum, so whoever reads them finds damage, says where, and goes on behind it. *Invariant.*
//! Only pages of registered maps are replaced; any other SIGBUS ends the process as it always did.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Most maps that are guarded at once; a page of another one ends the process.
const MAP_COUNT_MAX: usize = 1 << 14;
const PAGE_BYTES: usize = 4096;

/// Where a map begins and ends in memory; both 0: none.
struct Span {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Pages replaced.
    lost: AtomicUsize,
}

impl Span {
    const fn none() -> Span {
        let [start, end, lost] = [const { AtomicUsize::new(0) }; 3];
        Span { start, end, lost }
    }
}

static SPANS: [Span; MAP_COUNT_MAX] = [const { Span::none() }; MAP_COUNT_MAX];
/// Behind it no span was ever used.
static USED_COUNT: AtomicUsize = AtomicUsize::new(0);
/// Spans below [`USED_COUNT`] that are free again.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Keeps a map guarded; to be dropped before the map.
#[derive(Debug)]
pub(super) struct Guard {
    span: Option<usize>,
}

impl Guard {
    /// Guards the map of `bytes` bytes that begins at `start`.
    pub(super) fn new(start: usize, bytes: usize) -> Guard {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = USED_COUNT.load(Ordering::Relaxed);
        let span = free.pop().or((unused < MAP_COUNT_MAX).then_some(unused));
        if let Some(at) = span {
            SPANS[at].lost.store(0, Ordering::Relaxed);
            SPANS[at].end.store(start + bytes, Ordering::Relaxed);
            SPANS[at].start.store(start, Ordering::Release);
            USED_COUNT.fetch_max(at + 1, Ordering::Release);
        }
        Guard { span }
    }

    /// Pages of the map that are zeros since they could not be read.
    pub(super) fn lost_count(&self) -> usize {
        self.span.map_or(0, |at| SPANS[at].lost.load(Ordering::Acquire))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(at) = self.span {
            SPANS[at].start.store(0, Ordering::Relaxed);
            SPANS[at].end.store(0, Ordering::Release);
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(at);
        }
    }
}

/// The span of the guarded map in which `address` lies.
fn guarding(address: usize) -> Option<&'static Span> {
    let used = &SPANS[..USED_COUNT.load(Ordering::Acquire)];
    used.iter().find(|span| {
        let start = span.start.load(Ordering::Acquire);
        start != 0 && start <= address && address < span.end.load(Ordering::Acquire)
    })
}

#[cfg(test)]
pub(super) fn is_guarded(address: usize) -> bool {
    guarding(address).is_some()
}

fn install() {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus;
    // SAFETY:
    // - an action of zeros is a valid one, with an empty mask, and its fields are set below;
    // - the handler has the type that SA_SIGINFO asks for, and calls nothing but what may be
    //   called in one: atomic loads, mmap and signal.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // Without it a page that cannot be read ends the process, no worse than before.
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
}

extern "C" fn on_bus(signal: libc::c_int, about: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY:
    // - the kernel hands in what it knows of the signal, an address for this one;
    // - `errno` is this thread's, and is put back;
    // - the page replaced lies in a map of a file that is read only and guarded while it exists,
    //   and a page of zeros is what the interrupted read gets instead of a signal.
    unsafe {
        let address = (*about).si_addr() as usize;
        let errno = *libc::__errno_location();
        let page = (address & !(PAGE_BYTES - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        match guarding(address) {
            Some(span)
                if libc::mmap(page, PAGE_BYTES, libc::PROT_READ, flags, -1, 0)
                    != libc::MAP_FAILED =>
            {
                span.lost.fetch_add(1, Ordering::Release);
            }
            // The instruction is tried again, and then it ends the process.
            _ => drop(libc::signal(signal, libc::SIG_DFL)),
        }
        *libc::__errno_location() = errno;
    }
}
