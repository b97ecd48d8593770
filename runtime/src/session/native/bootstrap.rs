//! A newcomer's first call: which cluster is this, and what is its secret?
//!
//! A node must know both before it can write its identity, open its log and start its shards;
//! so this one call is made early, and blocks. It hangs up in front of PROOF, so no acceptor
//! ever takes it for a peer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmain_core::id::{Boot, NodeId, ShardIndex, TopologyId};
use ringmain_core::wire::handshake::Keys;
use ringmain_core::wire::hello::Cluster;
use ringmain_core::wire::version::Versions;

use super::Local;
use super::dialer::{Call, DialError, Dialer, Step};
use crate::checksum::Hardware;
use crate::data_dir::random_bytes;
use crate::settings::Secret;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// The id that it wants to have, not 0.
    pub node: NodeId,
    /// How many shards it will have, at least 1.
    pub shards: u16,
    /// The secret, if it was given one.
    pub secret: Option<&'a Secret>,
}

/// What a newcomer learns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bootstrap {
    /// The cluster.
    pub cluster: Cluster,
    /// Its secret: as given, and proved to be the cluster's; or else as the seed told it.
    pub secret: Secret,
    /// The node that answered.
    pub seed: NodeId,
}

/// Why a newcomer learned nothing.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Lost(io::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// An answer that does not let it in.
    #[error("{0}")]
    Refused(DialError),
    /// This host gives no random numbers.
    #[error("this host gives no random numbers")]
    NoRandom,
}

impl BootstrapError {
    /// Whether the same call may succeed later, without anyone changing this node's settings.
    pub fn is_temporary(&self) -> bool {
        use ringmain_core::wire::hello::Reason;
        match self {
            BootstrapError::Unreachable(_) | BootstrapError::Lost(_) | BootstrapError::TimedOut => {
                true
            }
            BootstrapError::Refused(DialError::Refused(reason)) => {
                matches!(reason, Reason::NoCluster | Reason::Full)
            }
            BootstrapError::Refused(error) => *error == DialError::NoCluster,
            BootstrapError::NoRandom => false,
        }
    }
}

/// Asks the node at `seed`, within `timeout`.
///
/// # Errors
/// [`BootstrapError`].
///
/// # Panics
/// If the newcomer's node or shard count is 0, or `timeout` is.
pub fn bootstrap(
    seed: SocketAddr,
    newcomer: &Newcomer<'_>,
    timeout: Duration,
) -> Result<Bootstrap, BootstrapError> {
    assert!(!timeout.is_zero());
    let deadline = Instant::now() + timeout;
    let mut stream =
        TcpStream::connect_timeout(&seed, timeout).map_err(BootstrapError::Unreachable)?;
    let own = stream.local_addr().map_err(BootstrapError::Lost)?;
    let call = Call {
        joiner: true,
        node: None,
        shard: ShardIndex(0),
        nonce: random_bytes().map_err(|_| BootstrapError::NoRandom)?,
        over_loopback: own.ip().is_loopback() && seed.ip().is_loopback(),
    };
    // A secret has enough bytes for keys.
    let keys = newcomer.secret.and_then(|secret| Keys::derive(secret.bytes()).ok());
    let local = Local {
        versions: Versions::OWN,
        node: newcomer.node,
        boot: Boot(0),
        shard: ShardIndex(0),
        shards: newcomer.shards,
        cluster: None,
        keys: keys.as_ref(),
        secret: None,
        topology: TopologyId(0),
        // Only links need it.
        now: ringmain_core::time::Instant(0),
    };
    let mut out = Vec::new();
    let mut dialer = Dialer::<Hardware>::new(&local, call, &mut out);
    stream.set_write_timeout(Some(timeout)).map_err(BootstrapError::Lost)?;
    stream.write_all(&out).map_err(lost)?;
    loop {
        let mut piece = [0; PIECE_BYTES];
        let count = read(&mut stream, &mut piece, deadline)?;
        // What it appends is a PROOF, which is not sent.
        let received = dialer.receive(&local, &piece[..count], &mut out);
        if let Some(dialed) = dialer.greeted() {
            let secret = dialed.secret.as_ref().or(newcomer.secret);
            let secret = secret.ok_or(BootstrapError::Refused(DialError::NoSecret))?.clone();
            return Ok(Bootstrap { cluster: dialed.cluster, secret, seed: dialed.node });
        }
        match received.step {
            Step::Failed(error) => return Err(BootstrapError::Refused(error)),
            Step::Wait | Step::Dialed(_) => {}
        }
    }
}

/// Room for what one read may bring: more than any HELLO_REPLY.
const PIECE_BYTES: usize = 1024;

/// What has arrived, at least one byte.
fn read(
    stream: &mut TcpStream,
    piece: &mut [u8],
    deadline: Instant,
) -> Result<usize, BootstrapError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(BootstrapError::TimedOut);
        }
        stream.set_read_timeout(Some(left)).map_err(BootstrapError::Lost)?;
        match stream.read(piece) {
            Ok(0) => return Err(BootstrapError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(lost(error)),
        }
    }
}

fn lost(error: io::Error) -> BootstrapError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => BootstrapError::TimedOut,
        _ => BootstrapError::Lost(error),
    }
}
