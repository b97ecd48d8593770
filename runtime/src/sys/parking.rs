//! An eventfd that a task of a glommio executor awaits.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;

use super::errno::Errno;

/// A counter that something else counts up; a task waits until it is above zero.
pub struct Parking {
    file: BufferedFile,
}

impl Parking {
    /// Takes a *blocking* eventfd: glommio's ring waits for it.
    ///
    /// # Panics
    /// Outside of a glommio executor.
    pub fn new(eventfd: OwnedFd) -> Parking {
        // SAFETY: the descriptor is open and nobody else's, since it was an `OwnedFd`.
        Parking { file: unsafe { BufferedFile::from_raw_fd(eventfd.into_raw_fd()) } }
    }

    /// Waits until the count is above zero, then makes it zero.
    pub async fn wait(&self) -> Result<(), Errno> {
        match self.file.read_at(0, size_of::<u64>()).await {
            Ok(_) => Ok(()),
            Err(glommio::GlommioError::IoError(error)) => Err(Errno::of(&error)),
            Err(glommio::GlommioError::EnhancedIoError { source, .. }) => Err(Errno::of(&source)),
            Err(_) => Err(Errno(libc::EIO)),
        }
    }
}
