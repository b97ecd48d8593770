//! Loopback networks of one's own: every cluster of a test takes a 127.x.y.0/24 that no other
//! test on this machine holds, so all can use the default ports.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::target_dir;

/// A network, held until it is dropped. Tests that hold one run one at a time: each cluster
/// wants the CPUs for itself.
#[derive(Debug)]
pub struct Network {
    octets: [u8; 3],
    /// The kernel frees the network when this is closed, however the test ends.
    _lock: File,
    _turn: MutexGuard<'static, ()>,
}

impl Network {
    /// Takes a random network, after every other test of this process has given its back.
    ///
    /// # Panics
    /// If lock files cannot be made.
    pub fn take() -> Network {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = target_dir().join("process/networks");
        fs::create_dir_all(&folder).expect("the target directory is writable");
        loop {
            let noise = RandomState::new().hash_one(0);
            // 127.0.x.y is left to people and their demos.
            let octets = [127, 1 + (noise % 254) as u8, (noise >> 8) as u8];
            let [_, x, y] = octets;
            let lock = File::create(folder.join(format!("127.{x}.{y}.lock")));
            let lock = lock.expect("the target directory is writable");
            match lock.try_lock() {
                Ok(()) => return Network { octets, _lock: lock, _turn: turn },
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => panic!("cannot lock: {error}"),
            }
        }
    }

    /// Its first address, as `demo --network` takes it.
    pub fn base(&self) -> Ipv4Addr {
        self.host(0)
    }

    /// Its `index`-th host: 127.x.y.`index`.
    pub fn host(&self, index: u8) -> Ipv4Addr {
        let [a, b, c] = self.octets;
        Ipv4Addr::new(a, b, c, index)
    }
}
