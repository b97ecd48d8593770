//! SIGINT and SIGTERM as a value that one thread waits for.

use std::mem::MaybeUninit;

use super::errno::Errno;

/// The request to stop, as the operating system makes it. While it exists, and after, the thread
/// that made it and the threads it starts from then on are not interrupted by those signals.
#[derive(Debug)]
pub struct Stops {
    _blocked: (),
}

/// Which signal asked for the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// SIGINT, as by Ctrl-C.
    Interrupt,
    /// SIGTERM, as by a supervisor.
    Terminate,
}

impl Stops {
    /// Keeps the two signals pending from now on instead of ending the process, and likewise
    /// SIGXFSZ: a file over the limit of its size is an error of that write alone (EFBIG). To be
    /// called in `main` before any other thread exists: a thread that does not block them takes
    /// them.
    pub fn block() -> Result<Stops, Errno> {
        let set = set(&[libc::SIGINT, libc::SIGTERM, libc::SIGXFSZ]);
        // SAFETY: `set` is an initialized signal set, and the old mask is not asked for.
        let errno = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if errno == 0 { Ok(Stops { _blocked: () }) } else { Err(Errno(errno)) }
    }

    /// Blocks until one of them comes: at once if one came since [`Stops::block`].
    pub fn wait(&self) -> Result<Stop, Errno> {
        let set = set(&[libc::SIGINT, libc::SIGTERM]);
        let mut signal = 0;
        // SAFETY: both pointers are to locals that live through the call, `set` initialized.
        match unsafe { libc::sigwait(&set, &mut signal) } {
            0 if signal == libc::SIGINT => Ok(Stop::Interrupt),
            0 => Ok(Stop::Terminate),
            errno => Err(Errno(errno)),
        }
    }

    /// Starts a thread that calls `then` for each stop, the second as the first.
    pub fn spawn(self, mut then: impl FnMut(Stop) + Send + 'static) -> Result<(), Errno> {
        let wait = move || {
            while let Ok(stop) = self.wait() {
                then(stop);
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).spawn(wait);
        thread.map(drop).map_err(|error| Errno::of(&error))
    }
}

fn set(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY:
    // - `sigemptyset` initializes the set it is given, which is a local;
    // - `sigaddset` gets that initialized set; a number that is no signal only fails.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}
