//! The ports of a node.

use super::StartError;
use std::io;
use std::io::ErrorKind::AddrInUse;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Connections that may wait to be accepted: with the usual 128, those of a thousand clients that
/// come at once would be tried again a second later. The kernel may allow fewer (`somaxconn`).
const WAITING_COUNT_MAX: i32 = 4096;
/// How long a port that is in use is tried again.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two such tries.
const PORT_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn bind(
    setting: &'static str,
    ip: IpAddr,
    port: u16,
) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(ip, port);
    listen(address).map_err(|error| StartError::Port { setting, address, error })
}

/// Listens, if need be once the port has become free, for up to 5 s: the kernel takes the sockets
/// of a killed process's io_uring back a while after that process is gone.
///
/// # Errors
/// Why the kernel refuses.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let given_up = Instant::now() + PORT_PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == AddrInUse && Instant::now() < given_up => {
                std::thread::sleep(PORT_PAUSE);
            }
            bound => {
                let listener = bound?;
                // Listening again only changes how many may wait to be accepted.
                rustix::net::listen(&listener, WAITING_COUNT_MAX)?;
                return Ok(listener);
            }
        }
    }
}

pub(super) fn address_of(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Threads(error.to_string()))
}

pub(super) fn clone(listener: &TcpListener) -> Result<TcpListener, StartError> {
    listener.try_clone().map_err(|error| StartError::Threads(error.to_string()))
}
